"""/os-simple-tenant-usage: what the servers of a project are, and have been since they were seen (nova/api/openstack/compute/simple_tenant_usage.py).

Servers that are gone have left no trace, so that the hours are those of the servers that there are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import webob
import webob.exc

from livemig import exceptions, microversions
from livemig.api import pages
from livemig.api.request import Request
from livemig.api.schemas import validation
from livemig.api.views import links
from livemig.db.selection import Selection
from livemig.records import Server

_PERIOD = timedelta(weeks=4)


@dataclass(frozen=True, slots=True)
class Period:
    """The time that is looked at: naive UTC."""

    start: datetime
    stop: datetime


def list_usage(request: Request) -> webob.Response:
    request.require("os-simple-tenant-usage:list")
    period = _period(request)
    servers = _servers(request, None)
    projects: dict[str, list[Server]] = {}
    for server in servers:
        projects.setdefault(server.project_id, []).append(server)
    detailed = request.one("detailed") == "1"
    body: dict[str, Any] = {"tenant_usages": [_usage(project, found, period, detailed) for project, found in projects.items()]}
    _add_next(request, body, "os-simple-tenant-usage", "tenant_usages_links", servers)
    return webob.Response(json_body=body)


def show_usage(request: Request) -> webob.Response:
    project = request.parameters["project"]
    request.services.policies.require(request.context, "os-simple-tenant-usage:show", {"project_id": project})
    period = _period(request)
    servers = _servers(request, (project,))
    body: dict[str, Any] = {"tenant_usage": _usage(project, servers, period, True)}
    _add_next(request, body, f"os-simple-tenant-usage/{project}", "tenant_usage_links", servers)
    return webob.Response(json_body=body)


def _servers(request: Request, projects: tuple[str, ...] | None) -> Sequence[Server]:
    paged = request.version >= microversions.USAGE_PAGES
    limit = pages.limit(request) if paged else None
    selection = Selection(sort=(("created_at", "asc"), ("uuid", "asc")), limit=limit, marker=request.one("marker"), projects=projects)
    try:
        return request.services.store.servers.find(selection)
    except exceptions.ServerNotFound:
        raise webob.exc.HTTPBadRequest(f"marker [{selection.marker}] not found") from None


def _add_next(request: Request, body: dict[str, Any], path: str, name: str, servers: Sequence[Server]) -> None:
    if request.version >= microversions.USAGE_PAGES and servers and len(servers) == pages.limit(request):
        body[name] = links.next_page(request, path, servers[-1].uuid)


def _period(request: Request) -> Period:
    now = request.services.runtime.now()
    stop = _moment(request.one("end")) or now
    start = _moment(request.one("start")) or (stop - _PERIOD if stop > datetime.min + _PERIOD else datetime.min)
    if start > stop:
        raise webob.exc.HTTPBadRequest("Invalid start time. The start time cannot occur after the end time.")
    return Period(start, min(stop, now))


def _moment(text: str | None) -> datetime | None:
    try:
        return validation.moment(text) if text else None
    except ValueError:
        raise webob.exc.HTTPBadRequest(f"Datetime is in invalid format: {text}") from None


def _hours(server: Server, period: Period) -> float:
    return max(0.0, (period.stop - max(period.start, server.created_at)).total_seconds() / 3600)


def _usage(project: str, servers: Sequence[Server], period: Period, detailed: bool) -> dict[str, Any]:
    hours = [(_hours(server, period), server) for server in servers]
    shown: dict[str, Any] = {
        "tenant_id": project,
        "start": links.micro(period.start),
        "stop": links.micro(period.stop),
        "total_hours": sum(each for each, _server in hours),
        "total_vcpus_usage": sum(each * server.vcpus for each, server in hours),
        "total_memory_mb_usage": sum(each * server.memory_mib for each, server in hours),
        "total_local_gb_usage": sum(each * server.flavor.disk_gib for each, server in hours),
    }
    if detailed:
        shown["server_usages"] = [_item(each, server, period) for each, server in hours]
    return shown


def _item(hours: float, server: Server, period: Period) -> dict[str, Any]:
    return {
        "name": server.name,
        "instance_id": server.uuid,
        "tenant_id": server.project_id,
        "flavor": server.flavor.name,
        "hours": hours,
        "vcpus": server.vcpus,
        "memory_mb": server.memory_mib,
        "local_gb": server.flavor.disk_gib,
        "state": server.vm_state,
        "started_at": links.micro(server.created_at),
        "ended_at": None,
        "uptime": int(max(0.0, (period.stop - server.created_at).total_seconds())),
    }
