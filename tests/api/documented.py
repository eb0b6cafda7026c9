"""Every answer in the tests is held against the OpenAPI document that the API itself serves at its microversion: the operation, its status, its body."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any

import webob
from jsonschema import Draft202012Validator

from livemig import microversions
from livemig.api import openapi
from livemig.api.routes import ROUTES

Application = Callable[..., Iterable[bytes]]

_ROOT = re.compile(r"(?:/v2\.1|/v2)?(?:/(?:[0-9a-fA-F]{32}|[0-9a-fA-F-]{36}))?(?=/|$)")


@cache
def documented(version: microversions.Version) -> dict[str, Any]:
    return openapi.document(ROUTES, version, "http://localhost/v2.1")


class Documented:
    """WSGI filter of the tests: raises AssertionError for an answer that the document does not have so."""

    def __init__(self, application: Application) -> None:
        self._application = application

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        request = webob.Request(environ)
        path, method = environ.get("PATH_INFO", "").encode("latin-1").decode(errors="replace"), request.method
        response = request.get_response(self._application)
        marked = response.headers.get(microversions.LEGACY_HEADER)
        found = _ROOT.match(path)
        path = path[found.end() :] if found else path
        if marked and response.status_int != 406 and path.strip("/"):  # a 406 is of a microversion that there is not
            _check(tuple(map(int, marked.split("."))), method, path, response)  # type: ignore[arg-type]
        return response(environ, start_response)


def _check(version: microversions.Version, method: str, path: str, response: webob.Response) -> None:
    document = documented(version)
    operation = _operation(document["paths"], method, path)
    assert operation is not None, f"{method} {path} at {version} is answered, but not documented"
    status = str(response.status_int)
    assert status in operation["responses"], f"{method} {path} at {version}: {status} is not documented"
    if response.status_int >= 400:
        _FAULT.validate(response.json_body)
        return
    content = operation["responses"][status].get("content")
    if content is None:
        assert response.body == b"", f"{method} {path} at {version}: a body that is not documented"
    else:
        Draft202012Validator(content["application/json"]["schema"]).validate(response.json_body)


_FAULT = Draft202012Validator(documented(microversions.MIN)["components"]["schemas"]["Fault"])


def _operation(paths: dict[str, Any], method: str, path: str) -> dict[str, Any] | None:
    """The most literal path first, as OpenAPI has it."""
    for template in sorted(paths, key=lambda template: template.count("{")):
        if method.lower() in paths[template] and re.fullmatch(re.sub(r"{\w+}", "[^/]+", template), path):
            operation: dict[str, Any] = paths[template][method.lower()]
            return operation
    return None
