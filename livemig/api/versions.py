"""The version documents, and which microversion a request asks for."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any

import microversion_parse
import webob
import webob.exc

from livemig import microversions
from livemig.api.errors import Application, StartResponse, answer
from livemig.microversions import MAX, MIN, Version

# Nova's dates; clients only show them.
_UPDATED = {"v2.0": "2011-01-21T11:33:21Z", "v2.1": "2013-07-23T11:33:21Z"}
# Nova's pattern (nova/api/openstack/api_version_request.py), with an end to the numbers.
_VERSION = re.compile(r"([1-9][0-9]{0,8})\.([1-9][0-9]{0,8}|0)")
_PATHS = re.compile(r"/?|/(?P<version>v2(?:\.1)?)(?:/(?P<project>[0-9a-fA-F-]{32,36}))?/?")


class VersionDocuments:
    """WSGI filter before the authentication: a client must be able to learn the versions without a token, else it takes the API for 2.1."""

    def __init__(self, application: Application) -> None:
        self._application = application

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        request = webob.Request(environ)
        if not _is_text(environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", "")):  # the former may be a proxy's X-Forwarded-Prefix
            return answer(webob.exc.HTTPNotFound("The resource could not be found."))(environ, start_response)
        path = _PATHS.fullmatch(request.path_info)
        if path is None or request.method not in ("GET", "HEAD"):
            return self._application(environ, start_response)
        return _documents(request, path["version"])(environ, start_response)


def _is_text(path: str) -> bool:
    """Whether a path (PATH_INFO, which WSGI has as Latin-1) is UTF-8 without NUL, which no database takes."""
    try:
        return "\0" not in path.encode("latin-1").decode()
    except UnicodeError:
        return False


def filter_factory(_global_conf: dict[str, str], **_local_conf: str) -> Callable[[Application], Application]:
    """PasteDeploy's entry."""
    return VersionDocuments


def _documents(request: webob.Request, version: str | None) -> webob.Response:
    if version is None:
        return webob.Response(json_body={"versions": [_document(request, "v2.0"), _document(request, "v2.1")]})
    if version == "v2":
        return webob.Response(json_body={"version": _document(request, "v2.0") | _more()})
    try:
        negotiated = negotiate(request)
    except webob.exc.HTTPNotAcceptable as error:
        return refused(request, error)
    except webob.exc.HTTPException as error:
        return answer(error)
    response = webob.Response(json_body={"version": _document(request, "v2.1") | _more(";version=2.1")})
    mark(response, microversions.text(negotiated))
    return response


def negotiate(request: webob.Request) -> Version:
    """The microversion of a request, 2.1 without a header. Raises HTTPBadRequest or HTTPNotAcceptable (with Nova's words)."""
    asked = _asked(request)
    if not asked:
        return MIN
    if asked.lower() == "latest":
        return MAX
    found = _VERSION.fullmatch(asked)
    if found is None:
        detail = f"API Version String {asked} is of invalid format. Must be of format MajorNum.MinorNum."
        raise webob.exc.HTTPBadRequest(detail)
    wanted: Version = (int(found[1]), int(found[2]))
    if not MIN <= wanted <= MAX:
        limits = f"Minimum is {microversions.text(MIN)} and maximum is {microversions.text(MAX)}."
        raise webob.exc.HTTPNotAcceptable(f"Version {asked} is not supported by the API. {limits}")
    return wanted


def refused(request: webob.Request, error: webob.exc.HTTPNotAcceptable) -> webob.Response:
    """The answer to a microversion that there is not: it names that one, as Nova's does."""
    response = answer(error)
    mark(response, _asked(request))
    return response


def _asked(request: webob.Request) -> str:
    """The microversion in the headers, "" for none."""
    asked = microversion_parse.get_version(request.headers, service_type=microversions.SERVICE_TYPE, legacy_headers=[microversions.LEGACY_HEADER])
    return (asked or "").strip()


def mark(response: webob.Response, version: str) -> None:
    """The headers that say which microversion an answer has."""
    response.headers[microversions.HEADER] = f"{microversions.SERVICE_TYPE} {version}"
    response.headers[microversions.LEGACY_HEADER] = version
    response.headers["Vary"] = f"{microversions.HEADER}, {microversions.LEGACY_HEADER}"


def _document(request: webob.Request, version: str) -> dict[str, object]:
    current = version == "v2.1"
    path = "v2.1" if current else "v2"
    return {
        "id": version,
        "status": "CURRENT" if current else "DEPRECATED",
        "version": microversions.text(MAX) if current else "",
        "min_version": microversions.text(MIN) if current else "",
        "updated": _UPDATED[version],
        "links": [{"rel": "self", "href": f"{request.application_url}/{path}/"}],
    }


def _more(parameter: str = "") -> dict[str, object]:
    return {"media-types": [{"base": "application/json", "type": f"application/vnd.openstack.compute+json{parameter or ';version=2'}"}]}
