"""The router: version, route, method, handler; and the one place where errors become answers."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import webob
import webob.dec
import webob.exc

from livemig import microversions
from livemig.api import errors, server_actions, servers, versions
from livemig.api.loading import services as services_being_loaded
from livemig.api.request import Request, Services
from livemig.microversions import MIN, Version

Handler = Callable[[Request], webob.Response]


@cache
def _pattern(template: str) -> re.Pattern[str]:
    """A template's pattern, made once and not for every request."""
    return re.compile(re.sub(r"{(\w+)}", r"(?P<\1>[^/]+)", template))


@dataclass(frozen=True, slots=True)
class Route:
    """`template` has {name} for one path segment; `since` is the first microversion that has the route."""

    method: str
    template: str
    handler: Handler
    since: Version = MIN

    def match(self, method: str, path: str) -> dict[str, str] | None:
        found = _pattern(self.template).fullmatch(path)
        return found.groupdict() if found and method == self.method else None


ROUTES = (
    Route("GET", "/servers", servers.list_servers),
    Route("GET", "/servers/detail", servers.list_servers_detail),
    Route("GET", "/servers/{id}", servers.show_server),
    Route("POST", "/servers/{id}/action", server_actions.act),
)

_VERSION_DOCUMENTS: dict[str, Handler] = {"/": versions.list_versions, "": versions.list_versions, "/v2.1": versions.show_version}


class Api:
    """The WSGI application, behind the authentication filters."""

    def __init__(self, services: Services) -> None:
        self._services = services

    @webob.dec.wsgify(RequestClass=Request)
    def __call__(self, request: Request) -> webob.Response:
        request.services = self._services
        try:
            response = self._dispatch(request)
        except Exception as error:  # noqa: BLE001 - answer() logs what is unexpected
            response = errors.answer(error)
        response.headers["x-compute-request-id"] = request.context.request_id
        return response

    def _dispatch(self, request: Request) -> webob.Response:
        document = _VERSION_DOCUMENTS.get(request.path_info.rstrip("/"))
        if document is not None and request.method in ("GET", "HEAD"):
            return document(request)
        request.version = versions.negotiate(request)
        route, request.parameters = _find(request)
        try:
            response = route.handler(request)
        except Exception as error:  # noqa: BLE001 - as above; a fault of a known route says its version
            response = errors.answer(error)
        versions.mark(response, microversions.text(request.version))
        return response


def _find(request: Request) -> tuple[Route, dict[str, str]]:
    path = request.path_info.removeprefix("/v2.1")
    for route in ROUTES:
        parameters = route.match(request.method, path)
        if parameters is not None and route.since <= request.version:
            return route, parameters
    raise webob.exc.HTTPNotFound("The resource could not be found.")


def app_factory(_global_conf: dict[str, str], **_local_conf: str) -> Api:
    """PasteDeploy's entry."""
    return Api(services_being_loaded())
