"""GET /os-migrations."""

from __future__ import annotations

from typing import Any

import webob
import webob.exc

from livemig import exceptions, microversions
from livemig.api import pages
from livemig.api.request import Request
from livemig.api.schemas import validation
from livemig.api.views import links
from livemig.api.views import migrations as view
from livemig.db.selection import Conditions, Selection

_COLUMNS = {"instance_uuid": "server_uuid", "source_compute": "source", "status": "status", "user_id": "user_id", "project_id": "project_id"}
_OLDEST_FIRST = (("id", "asc"),)
_NEWEST_FIRST = (("created_at", "desc"), ("id", "desc"))


def list_migrations(request: Request) -> webob.Response:
    request.require("os-migrations:index")
    selection = _selection(request)
    try:
        migrations = request.services.store.migrations.find(selection)
    except exceptions.MigrationNotFound:
        raise webob.exc.HTTPBadRequest(f"Marker {selection.marker} could not be found.") from None
    sees_hosts = request.allows("os-migrations:index:host")
    body: dict[str, Any] = {"migrations": [view.listed(request, migration, sees_hosts) for migration in migrations]}
    if request.version >= microversions.PAGED_MIGRATIONS and selection.limit and len(migrations) == selection.limit:
        body["migrations_links"] = links.next_page(request, "os-migrations", migrations[-1].uuid, limit=selection.limit)
    return webob.Response(json_body=body)


def _selection(request: Request) -> Selection:
    paged = request.version >= microversions.PAGED_MIGRATIONS
    since, before = pages.period(request)
    return Selection(
        _equal(request),
        _groups(request),
        changed_since=since,
        changed_before=before,
        sort=_NEWEST_FIRST if paged else _OLDEST_FIRST,
        limit=pages.limit(request),
        marker=request.one("marker"),
        projects=_projects(request),
    )


def _equal(request: Request) -> dict[str, Any]:
    equal = {column: request.one(name) for name, column in _COLUMNS.items() if request.query.get(name)}
    if request.one("host"):
        equal.pop("source", None)  # Nova: host wins over source_compute
    return equal


def _projects(request: Request) -> tuple[str, ...] | None:
    """Whose migrations are listed; None: all of them. Raises Forbidden for a project that is another's."""
    if request.allows("os-migrations:index:all_projects"):
        return None
    own, asked = request.context.project_id, request.one("project_id")
    if asked is not None and asked != own:
        request.require("os-migrations:index:all_projects")
    return (own,) if own else ()


def _groups(request: Request) -> list[list[Conditions]]:
    groups: list[list[Conditions]] = []
    if host := request.one("host"):
        groups.append([{"source": host}, {"destination": host}])
    if request.one("migration_type") not in (None, view.LIVE_MIGRATION) or request.one("hidden") in validation.TRUE:
        groups.append([])
    return groups
