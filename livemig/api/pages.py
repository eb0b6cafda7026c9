"""Which part of a list is asked for (nova/api/openstack/common.py, get_limit_and_marker)."""

from __future__ import annotations

from datetime import datetime

import webob.exc

from livemig.api.request import Request
from livemig.api.schemas import validation


def limit(request: Request) -> int:
    """How much the query asks for, at most [api] max_limit."""
    most: int = request.services.conf.api.max_limit
    asked = request.one("limit")
    return min(validation.number(asked), most) if asked else most


def period(request: Request) -> tuple[datetime | None, datetime | None]:
    """changes-since and changes-before of the query. Raises HTTPBadRequest when the former is the later one."""
    since, before = (validation.moment(asked) if (asked := request.one(name)) else None for name in ("changes-since", "changes-before"))
    if since and before and since > before:
        raise webob.exc.HTTPBadRequest("The value of changes-since must be less than or equal to changes-before.")
    return since, before
