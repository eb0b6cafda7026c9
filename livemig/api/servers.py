"""GET /servers, /servers/detail, /servers/{id}."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

import webob
import webob.exc

from livemig import exceptions
from livemig.api.request import Request
from livemig.api.views import servers as view
from livemig.facts import Server


def list_servers(request: Request) -> webob.Response:
    return _list(request, view.summary, "servers")


def list_servers_detail(request: Request) -> webob.Response:
    return _list(request, view.detail, "servers/detail")


def show_server(request: Request) -> webob.Response:
    server = request.services.store.servers.get(request.parameters["id"])
    return webob.Response(json_body={"server": view.detail(request, server)})


def _list(request: Request, show: Callable[[Request, Server], dict[str, Any]], path: str) -> webob.Response:
    limit = _limit(request)
    marker = request.GET.get("marker")
    try:
        servers = request.services.store.servers.list(limit, marker)
    except exceptions.ServerNotFound:
        raise webob.exc.HTTPBadRequest(f"marker [{marker}] not found") from None
    body: dict[str, Any] = {"servers": [show(request, server) for server in servers]}
    if limit and len(servers) == limit:
        query = urlencode({**request.GET, "limit": limit, "marker": servers[-1].uuid})
        body["servers_links"] = [{"rel": "next", "href": f"{request.prefix}/{path}?{query}"}]
    return webob.Response(json_body=body)


def _limit(request: Request) -> int:
    most: int = request.services.conf.api.max_limit
    asked = request.GET.get("limit", str(most))
    if not (asked.isascii() and asked.isdigit()):
        raise webob.exc.HTTPBadRequest(f"Invalid input for query parameters limit. Value: {asked}. {asked!r} does not match '^[0-9]*$'")
    return min(int(asked), most)
