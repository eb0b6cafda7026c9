"""The version documents, and which microversion a request asks for."""

from __future__ import annotations

import microversion_parse
import webob.exc

from livemig import microversions
from livemig.api.request import Request
from livemig.microversions import MAX, MIN, Version

_UPDATED = "2013-07-23T11:33:21Z"  # Nova's date of v2.1; clients only show it


def negotiate(request: Request) -> Version:
    """The microversion of a request, 2.1 without a header. Raises HTTPBadRequest or HTTPNotAcceptable (with Nova's words)."""
    asked = microversion_parse.get_version(request.headers, service_type=microversions.SERVICE_TYPE, legacy_headers=[microversions.LEGACY_HEADER])
    if asked is None or not asked.strip():
        return MIN
    if asked.lower() == "latest":
        return MAX
    try:
        version = microversion_parse.parse_version_string(asked)
    except TypeError:
        detail = f"API Version String {asked} is of invalid format. Must be of format MajorNum.MinorNum."
        raise webob.exc.HTTPBadRequest(detail) from None
    wanted: Version = (version.major, version.minor)
    if not MIN <= wanted <= MAX:
        limits = f"Minimum is {microversions.text(MIN)} and maximum is {microversions.text(MAX)}."
        raise webob.exc.HTTPNotAcceptable(f"Version {asked} is not supported by the API. {limits}")
    return wanted


def mark(response: webob.Response, version: str) -> None:
    """The headers that say which microversion an answer has."""
    response.headers[microversions.HEADER] = f"{microversions.SERVICE_TYPE} {version}"
    response.headers[microversions.LEGACY_HEADER] = version
    response.headers["Vary"] = f"{microversions.HEADER}, {microversions.LEGACY_HEADER}"


def list_versions(request: Request) -> webob.Response:
    """GET /"""
    return webob.Response(json_body={"versions": [_document(request)]})


def show_version(request: Request) -> webob.Response:
    """GET /v2.1/"""
    media_types = [{"base": "application/json", "type": "application/vnd.openstack.compute+json;version=2.1"}]
    return webob.Response(json_body={"version": _document(request) | {"media-types": media_types}})


def _document(request: Request) -> dict[str, object]:
    return {
        "id": "v2.1",
        "status": "CURRENT",
        "version": microversions.text(MAX),
        "min_version": microversions.text(MIN),
        "updated": _UPDATED,
        "links": [{"rel": "self", "href": f"{request.prefix}/"}],
    }
