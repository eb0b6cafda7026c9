"""The router: version, route, query, handler; and the one place where errors become answers."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence

import webob
import webob.dec
import webob.exc

from livemig import microversions
from livemig.api import errors, versions
from livemig.api.loading import services as services_being_loaded
from livemig.api.request import Request, Services
from livemig.api.routes import ROUTES, Route
from livemig.api.schemas import validation
from livemig.db.engine import patient
from livemig.microversions import MIN

PATIENCE_S = 5.0  # that a request waits for a database which is locked, in all; then it is a 503
_ROOTS = ("/v2.1", "/v2")
# A project in a path, as Nova takes it ([api] project_id_regex): a UUID, with hyphens or without.
_PROJECT = re.compile(r"/([0-9a-fA-F]{32}|[0-9a-fA-F-]{36})(?=/)")


class Api:
    """The WSGI application, behind the authentication filters."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._routes: Mapping[str, Sequence[Route]] = _by_noun(ROUTES)

    @webob.dec.wsgify(RequestClass=Request)
    def __call__(self, request: Request) -> webob.Response:
        request.services = self._services
        try:
            with patient(PATIENCE_S, self._services.runtime.monotonic):
                return self._dispatch(request)
        except Exception as error:  # noqa: BLE001 - answer() logs what is unexpected
            return errors.answer(error)

    def _dispatch(self, request: Request) -> webob.Response:
        request.context.is_admin = self._services.policies.is_admin(request.context)
        path = _enter(request)
        try:
            request.version = MIN if request.legacy else versions.negotiate(request)
        except webob.exc.HTTPNotAcceptable as error:
            return versions.refused(request, error)
        route = self._find(request, path)
        try:
            _check_project(request)
            request.query = validation.check_query(route.query, request.version, _query(request))
            response = route.handler(request)
        except Exception as error:  # noqa: BLE001 - as above; a fault of a known route says its version
            response = errors.answer(error)
        if not request.legacy:
            versions.mark(response, microversions.text(request.version))
        return response

    def _find(self, request: Request, path: str) -> Route:
        for route in self._routes.get(path.removeprefix("/").partition("/")[0], ()):
            if (parameters := route.match(request.method, path, request.version)) is not None:
                request.template, request.parameters = route.template, parameters
                return route
        raise webob.exc.HTTPNotFound("The resource could not be found.")


def _enter(request: Request) -> str:
    """Take the API's root off the path: /v2.1 or the legacy /v2, and a project."""
    path: str = request.path_info
    root = next((root for root in _ROOTS if path.startswith(f"{root}/")), "")
    project = _PROJECT.match(path, len(root))
    request.root = path[: project.end()] if project else root
    request.legacy = root == "/v2"
    return path[len(request.root) :]


def _query(request: Request) -> Mapping[str, Sequence[str]]:
    """The query string. Raises HTTPBadRequest for one that is no text."""
    try:
        asked: Mapping[str, Sequence[str]] = request.GET.dict_of_lists()
    except UnicodeDecodeError:
        raise webob.exc.HTTPBadRequest("The query string is not UTF-8.") from None
    if "%00" in request.query_string:
        raise webob.exc.HTTPBadRequest("The query string contains NUL.")
    return asked


def _check_project(request: Request) -> None:
    """The project in a path is the token's (nova/api/openstack/wsgi.py, Resource._process_stack)."""
    project, own = request.root.rpartition("/")[2], request.context.project_id
    anybodys = own is None and request.context.is_admin  # an administrator of no project is one of each
    if project not in ("", "v2", "v2.1") and project != own and not anybodys:
        raise webob.exc.HTTPBadRequest(f"Malformed request URL: URL's project_id '{project}' doesn't match Context's project_id '{own}'")


def _by_noun(routes: Sequence[Route]) -> Mapping[str, Sequence[Route]]:
    """The routes by the first segment of their path, so that few are tried for a request."""
    found: defaultdict[str, list[Route]] = defaultdict(list)
    for route in routes:
        found[route.template.split("/", 2)[1]].append(route)
    return found


def app_factory(_global_conf: dict[str, str], **_local_conf: str) -> Api:
    """PasteDeploy's entry."""
    return Api(services_being_loaded())
