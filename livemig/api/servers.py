"""GET /servers, /servers/detail, /servers/{id}, and what hangs below a server and needs no module of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import webob
import webob.exc
from oslo_log import log

from livemig import exceptions, microversions
from livemig.api import filters_of_servers as filters
from livemig.api import pages, server_actions
from livemig.api.request import Request
from livemig.api.views import diagnostics as diagnostics_view
from livemig.api.views import links
from livemig.api.views import servers as view
from livemig.db.rows import OWNER
from livemig.db.selection import Selection
from livemig.records import Server

LOG = log.getLogger(__name__)


def list_servers(request: Request) -> webob.Response:
    return _list(request, "servers", "index")


def list_servers_detail(request: Request) -> webob.Response:
    return _list(request, "servers/detail", "detail")


def show_server(request: Request) -> webob.Response:
    server = request.server()
    request.require("servers:show", server)
    shown = view.detail(view.lens(request), server)
    if request.version >= microversions.SERVER_GROUPS:
        shown["server_groups"] = []
    return webob.Response(json_body={"server": shown})


def show_diagnostics(request: Request) -> webob.Response:
    """GET /servers/{id}/diagnostics: the one answer that a hypervisor is asked for, since it says what is so at this moment."""
    server = request.server()
    request.require("os-server-diagnostics", server)
    if server.vm_state not in ("active", "paused"):
        raise exceptions.ServerInvalidState(server=server.uuid, action="get_diagnostics", attribute="vm_state", state=server.vm_state)
    try:
        found = request.services.conductor.diagnostics(request.context, server.uuid, server.host)
    except exceptions.HypervisorUnavailable as error:
        LOG.warning("No diagnostics of server %s: %s", server.uuid, error)
        raise exceptions.Unavailable from error
    except exceptions.HypervisorError as error:
        raise server_actions.failed(request, "get_diagnostics", server, error) from error
    show = diagnostics_view.standard if request.version >= microversions.DIAGNOSTICS else diagnostics_view.libvirt
    return webob.Response(json_body=show(server, found))


def list_volume_attachments(request: Request) -> webob.Response:
    """GET /servers/{id}/os-volume_attachments: a guest's disks are libvirt's own, and no volume service knows them."""
    request.require("os-volumes-attachments:index", request.server())
    return webob.Response(json_body={"volumeAttachments": []})


def _list(request: Request, path: str, rule: str) -> webob.Response:
    request.require(f"servers:{rule}")
    selection = _selection(request, rule)
    servers = _found(request, selection)
    body: dict[str, Any] = {"servers": _shown(request, servers, rule)}
    if selection.limit and len(servers) == selection.limit:
        body["servers_links"] = links.next_page(request, path, servers[-1].uuid, limit=selection.limit)
    return webob.Response(json_body=body)


def _found(request: Request, selection: Selection) -> Sequence[Server]:
    try:
        return request.services.store.servers.find(selection)
    except exceptions.ServerNotFound:
        raise webob.exc.HTTPBadRequest(f"marker [{selection.marker}] not found") from None


def _shown(request: Request, servers: Sequence[Server], rule: str) -> list[dict[str, Any]]:
    if rule == "index":
        return [view.summary(request, server) for server in servers]
    through = view.lens(request)
    return [view.detail(through, server) for server in servers]


def _selection(request: Request, rule: str) -> Selection:
    asked = filters.asked(request)
    whole = filters.selection(request, asked)
    return replace(whole, limit=pages.limit(request), marker=request.one("marker"), projects=_projects(request, asked, rule))


def _projects(request: Request, asked: Mapping[str, Sequence[str]], rule: str) -> tuple[str, ...] | None:
    """The projects whose servers are listed, None for all (nova/api/openstack/compute/servers.py, _get_servers)."""
    if filters.everywhere(asked):
        request.require(f"servers:{rule}:get_all_tenants")
        return None
    own = request.context.project_id
    if not request.context.is_admin:
        return request.projects()
    if not own or filters.project(asked):
        return None  # an administrator who names a project means that one
    return (own, OWNER)  # what nobody owns is the administrator's as well: so a server goes by its name without a word about projects
