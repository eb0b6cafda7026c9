"""GET /openapi.json: the API at a microversion as an OpenAPI 3.1 document, made of the routes and of the schemas that validate."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import webob

from livemig import microversions
from livemig.api.errors import FAULTS
from livemig.api.request import Request
from livemig.api.schemas.validation import Schema, in_force
from livemig.microversions import Version

if TYPE_CHECKING:
    from livemig.api.routes import Route

_INTRODUCTION = (
    "Nova's live-migration API for plain libvirt hosts. This document is of one microversion: that of the request for it (header OpenStack-API-Version). "
    "Every answer carries the microversion that it was made for."
)
_FAULT: Schema = {
    "type": "object",
    "description": "One property, named after the status.",
    "minProperties": 1,
    "maxProperties": 1,
    "propertyNames": {"enum": sorted({*FAULTS.values(), "computeFault"})},
    "additionalProperties": {
        "type": "object",
        "properties": {"code": {"type": "integer"}, "message": {"type": "string"}, "retryAfter": {"type": "string"}},
        "required": ["code", "message"],
    },
}
# Who asks and for what, a microversion that there is not, a body or a query without end, and a part of livemig that is away.
_EVERYWHERE = (400, 401, 403, 404, 406, 413, 500, 503)
_CHANGING = (409,)
_WITH_BODY = (415,)
_RESPONSES = {
    str(status): {"description": HTTPStatus(status).phrase, "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Fault"}}}}
    for status in (*_EVERYWHERE, *_CHANGING, *_WITH_BODY)
}
_HEADER = {
    "name": microversions.HEADER,
    "in": "header",
    "description": "compute and a microversion, or compute latest. Without it, 2.1.",
    "schema": {"type": "string", "examples": [f"compute {microversions.text(microversions.MAX)}"]},
}


def handler(routes: Callable[[], Iterable[Route]]) -> Callable[[Request], webob.Response]:
    """The handler over these routes, which are not known yet when it is made one of them."""

    def show_document(request: Request) -> webob.Response:
        return webob.Response(json_body=document(routes(), request.version, request.prefix))

    return show_document


def document(routes: Iterable[Route], version: Version, url: str) -> dict[str, Any]:
    """The document of one microversion, for an API whose root is at `url`."""
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        if route.since <= version <= route.until:
            paths.setdefault(route.template, {})[route.method.lower()] = _operation(route, version)
    return {
        "openapi": "3.1.0",
        "info": {"title": "livemig", "version": microversions.text(version), "description": _INTRODUCTION, "license": {"name": "Apache-2.0"}},
        "servers": [{"url": url}],
        "paths": paths,
        "components": {
            "schemas": {"Fault": _FAULT},
            "responses": _RESPONSES,
            "parameters": {"microversion": _HEADER},
            "securitySchemes": {
                "token": {"type": "apiKey", "in": "header", "name": "X-Auth-Token", "description": "Keystone's, with [api] auth_strategy keystone"},
                "basic": {"type": "http", "scheme": "basic", "description": "with [api] auth_strategy http_basic"},
            },
        },
        "security": [{"token": []}, {"basic": []}, {}],
    }


def _operation(route: Route, version: Version) -> dict[str, Any]:
    query = in_force(route.query, version) or {}
    return {
        "operationId": _identifier(route),
        "summary": route.summary,
        "parameters": [{"$ref": "#/components/parameters/microversion"}, *_of_path(route.template), *_of_query(query)],
        **_body(route, version),
        "responses": _responses(route),
    }


def _identifier(route: Route) -> str:
    return "-".join([route.method.lower(), *re.findall(r"\w+", route.template)])


def _of_path(template: str) -> list[dict[str, Any]]:
    return [{"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in re.findall(r"{(\w+)}", template)]


def _of_query(schema: Schema) -> list[dict[str, Any]]:
    """Each property of a query's schema is a list; one that may be given once is shown as what it has."""
    return [
        {"name": name, "in": "query", "schema": _portable(values["items"] if values.get("maxItems") == 1 else values)}
        for name, values in schema.get("properties", {}).items()
    ]


def _body(route: Route, version: Version) -> dict[str, Any]:
    schemas = [_portable(schema) for body in route.bodies if (schema := in_force(body, version)) is not None]
    if not schemas:
        return {}
    schema = schemas[0] if len(schemas) == 1 else {"oneOf": schemas}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


def _responses(route: Route) -> dict[str, Any]:
    faults = {str(status): {"$ref": f"#/components/responses/{status}"} for status in _faults(route)}
    if route.success is None:
        return faults
    content = {} if route.success == 202 else {"content": {"application/json": {"schema": route.answer}}}
    return {str(route.success): {"description": route.summary, **content}, **faults}


def _faults(route: Route) -> list[int]:
    """The statuses by which an operation may be refused, or fail."""
    changing = route.method != "GET" and route.success is not None
    return sorted({*_EVERYWHERE, *(_CHANGING if changing else ()), *(_WITH_BODY if route.bodies else ()), *route.faults})


def _portable(schema: Any) -> Any:
    r"""A schema whose patterns end as ECMA 262 has it: $, which there lets no newline pass, in place of Python's \Z."""
    if isinstance(schema, Mapping):
        return {key: value.replace(r"\Z", "$") if key == "pattern" else _portable(value) for key, value in schema.items()}
    return [_portable(item) for item in schema] if isinstance(schema, Sequence) and not isinstance(schema, str) else schema
