"""Links, pages and times as Nova writes them (nova/api/openstack/common.py)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from livemig.api.request import Request


def of(request: Request, path: str) -> list[dict[str, str]]:
    """The two links of a thing: where the client found it, and one without a version."""
    return [
        {"rel": "self", "href": f"{request.prefix}/{path}"},
        {"rel": "bookmark", "href": f"{request.bookmark_prefix}/{path}"},
    ]


def next_page(request: Request, path: str, marker: object, given: Mapping[str, Iterable[str]] | None = None, **changed: Any) -> list[dict[str, str]]:
    """The link to what comes after `marker`: the same query, but for what is `changed`."""
    kept = [(name, value) for name, values in (given or request.GET.dict_of_lists()).items() if name not in ("marker", *changed) for value in values]
    query = urlencode([*kept, *changed.items(), ("marker", marker)])
    return [{"rel": "next", "href": f"{request.prefix}/{path}?{query}"}]


def zulu(moment: datetime) -> str:
    """As servers show their times: 2026-11-24T12:00:00Z."""
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def micro(moment: datetime) -> str:
    """As everything else does: 2026-11-24T12:00:00.000000."""
    return moment.isoformat(timespec="microseconds")


def micro_or_none(moment: datetime | None) -> str | None:
    return None if moment is None else micro(moment)
