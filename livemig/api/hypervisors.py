"""/os-hypervisors: each host as its hypervisor (nova/api/openstack/compute/hypervisors.py). All of it comes from the database."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import webob
import webob.exc

from livemig import microversions
from livemig.api import pages
from livemig.api.request import Request
from livemig.api.schemas import validation
from livemig.api.views import hypervisors as view
from livemig.api.views import links
from livemig.records import Host, Usage


def list_hypervisors(request: Request) -> webob.Response:
    request.require("os-hypervisors:list")
    return _list(request, "os-hypervisors", detail=False)


def list_hypervisors_detail(request: Request) -> webob.Response:
    request.require("os-hypervisors:list-detail")
    return _list(request, "os-hypervisors/detail", detail=True)


def show_hypervisor(request: Request) -> webob.Response:
    request.require("os-hypervisors:show")
    host = _host(request)
    servers = request.services.store.servers.on_hosts([host.name]) if _with_servers(request) else {}
    shown = view.detail(request.version, host, _usage(request, host), request.services.runtime.now())
    if _with_servers(request):
        shown |= view.servers(request.version, servers.get(host.name, ()))
    return webob.Response(json_body={"hypervisor": shown})


def show_uptime(request: Request) -> webob.Response:
    """GET /os-hypervisors/{id}/uptime. A host that is down cannot be asked: 400, as in Nova."""
    request.require("os-hypervisors:uptime")
    host = _host(request)
    if not host.usable:
        raise webob.exc.HTTPBadRequest(f"Compute service of {host.name} is unavailable at this time.")
    uptime = view.uptime(host, request.services.runtime.now()) or "unknown"
    return webob.Response(json_body={"hypervisor": view.summary(request.version, host) | {"uptime": uptime}})


def show_statistics(request: Request) -> webob.Response:
    request.require("os-hypervisors:statistics")
    store = request.services.store
    return webob.Response(json_body={"hypervisor_statistics": view.statistics(store.hosts.all(), store.hosts.usage())})


def search(request: Request) -> webob.Response:
    """GET /os-hypervisors/{part of a name}/search."""
    request.require("os-hypervisors:search")
    return webob.Response(json_body={"hypervisors": [view.summary(request.version, host) for host in _matching(request, request.parameters["id"])]})


def list_servers(request: Request) -> webob.Response:
    """GET /os-hypervisors/{part of a name}/servers. A hypervisor without servers has no `servers`, as in Nova."""
    request.require("os-hypervisors:servers")
    hosts = _matching(request, request.parameters["id"])
    servers = request.services.store.servers.on_hosts([host.name for host in hosts])
    shown = [view.summary(request.version, host) | view.servers(request.version, servers.get(host.name, ())) for host in hosts]
    return webob.Response(json_body={"hypervisors": shown})


def _list(request: Request, path: str, detail: bool) -> webob.Response:
    hosts, more = _page(request)
    store, version = request.services.store, request.version
    if detail:
        usage, now = store.hosts.usage(), request.services.runtime.now()
        shown = [view.detail(version, host, usage.get(host.name, Usage()), now) for host in hosts]
    else:
        shown = [view.summary(version, host) for host in hosts]
    if _with_servers(request):
        servers = store.servers.on_hosts([host.name for host in hosts])
        shown = [item | view.servers(version, servers.get(host.name, ())) for item, host in zip(shown, hosts, strict=True)]
    body: dict[str, Any] = {"hypervisors": shown}
    if more:
        body["hypervisors_links"] = links.next_page(request, path, view.identity(version, hosts[-1]), limit=len(hosts))
    return webob.Response(json_body=body)


def _page(request: Request) -> tuple[Sequence[Host], bool]:
    """The hosts of the page, and whether there may be more."""
    pattern = request.one("hypervisor_hostname_pattern")
    if pattern is not None:
        if request.query.keys() & {"limit", "marker"}:
            raise webob.exc.HTTPBadRequest("Paging over hypervisors with the hypervisor_hostname_pattern query parameter is not supported.")
        return _matching(request, pattern), False
    hosts = request.services.store.hosts.all()
    if request.version < microversions.PAGED_HYPERVISORS:
        return hosts, False
    limit, marker = pages.limit(request), request.one("marker")
    if marker is not None:
        places = [place for place, host in enumerate(hosts, start=1) if str(view.identity(request.version, host)) == marker]
        if not places:
            raise webob.exc.HTTPBadRequest(f"marker [{marker}] not found")
        hosts = hosts[places[0] :]
    return hosts[:limit], bool(limit) and len(hosts[:limit]) == limit


def _matching(request: Request, pattern: str) -> list[Host]:
    """Hosts with this in their name. Raises HTTPNotFound."""
    found = [host for host in request.services.store.hosts.all() if pattern in host.name]
    if not found:
        raise webob.exc.HTTPNotFound(f"No hypervisor matching '{pattern}' could be found.")
    return found


def _host(request: Request) -> Host:
    asked, hosts = request.parameters["id"], request.services.store.hosts
    if request.version >= microversions.UUIDS:
        if not validation.is_uuid(asked):
            raise webob.exc.HTTPNotFound(f"Hypervisor with ID '{asked}' could not be found.")
        host = hosts.by("uuid", asked)
    else:
        host = hosts.by("number", int(asked)) if asked.isascii() and asked.isdecimal() and len(asked) < 10 else None
    if host is None:
        raise webob.exc.HTTPNotFound(f"Hypervisor with ID '{asked}' could not be found.")
    return host


def _usage(request: Request, host: Host) -> Usage:
    return request.services.store.hosts.usage([host.name]).get(host.name, Usage())


def _with_servers(request: Request) -> bool:
    return request.one("with_servers") in validation.TRUE
