"""How long a page of a list is (nova/api/openstack/common.py, get_limit_and_marker)."""

from __future__ import annotations

from livemig.api.request import Request
from livemig.api.schemas import validation


def limit(request: Request, name: str = "limit") -> int:
    """What the query asks for, at most [api] max_limit."""
    most: int = request.services.conf.api.max_limit
    asked = request.one(name)
    return min(validation.number(asked), most) if asked else most
