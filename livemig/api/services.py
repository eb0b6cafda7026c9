"""/os-services: each host as its compute service. Disabled, it gets no migrations; forced down, it counts as down."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import webob
import webob.exc

from livemig import exceptions
from livemig.api import bodies, zones
from livemig.api.request import Request
from livemig.api.schemas import services as schemas
from livemig.api.schemas import validation
from livemig.api.schemas.validation import Versioned
from livemig.api.views import services as view
from livemig.records import Host

BINARY = "nova-compute"  # what clients look for


def list_services(request: Request) -> webob.Response:
    request.require("os-services:list")
    binary, name = request.one("binary") or BINARY, request.one("host")
    hosts = request.services.store.hosts
    found = list(hosts.named([name]).values()) if name else hosts.all()
    if binary != BINARY:
        found = []
    in_zone = zones.of_hosts(request.services.aggregates)
    return webob.Response(json_body={"services": [view.service(request.version, host, in_zone.get(host.name, zones.DEFAULT)) for host in found]})


def update_service(request: Request) -> webob.Response:
    """PUT /os-services/{id}: `status` with `disabled_reason`, or `forced_down`, or all of them."""
    request.require("os-services:update")
    asked = _checked(request, schemas.UPDATE)
    host = _by_uuid(request)
    if not asked.keys() & {"status", "forced_down"}:
        raise webob.exc.HTTPBadRequest("No updates were requested. Fields 'status' or 'forced_down' should be specified.")
    word: dict[str, Any] = {}
    if "status" in asked:
        word = _disabled(asked.get("disabled_reason")) if asked["status"] == "disabled" else _ENABLED
        if asked["status"] == "enabled" and "disabled_reason" in asked:
            raise webob.exc.HTTPBadRequest("Specifying 'disabled_reason' with status 'enabled' is invalid.")
    if "forced_down" in asked:
        word = {**word, "forced_down": validation.boolean(asked["forced_down"])}
    updated = request.services.store.hosts.decide(host.name, **word)
    zone = zones.of_hosts(request.services.aggregates).get(host.name, zones.DEFAULT)
    return webob.Response(json_body={"service": view.service(request.version, updated, zone)})


def enable(request: Request) -> webob.Response:
    return _old(request, schemas.HOST_BINARY, lambda _asked: dict(_ENABLED), {"status": "enabled"})


def disable(request: Request) -> webob.Response:
    return _old(request, schemas.HOST_BINARY, lambda _asked: _disabled(None), {"status": "disabled"})


def disable_with_reason(request: Request) -> webob.Response:
    return _old(request, schemas.DISABLE_REASON, lambda asked: _disabled(asked["disabled_reason"]), {"status": "disabled"}, "disabled_reason")


def force_down(request: Request) -> webob.Response:
    return _old(request, schemas.FORCE_DOWN, lambda asked: {"forced_down": validation.boolean(asked.get("forced_down", False))}, {}, "forced_down")


_ENABLED = {"disabled": False, "disabled_reason": None}


def _disabled(reason: str | None) -> dict[str, Any]:
    return {"disabled": True, "disabled_reason": reason}


def _old(request: Request, schema: Versioned, word: Callable[[Any], dict[str, Any]], said: dict[str, Any], *echoed: str) -> webob.Response:
    """The forms before UUIDS, which name the host in the body and echo it (nova/api/openstack/compute/services.py)."""
    request.require("os-services:update")
    asked = _checked(request, schema)
    if asked["binary"] != BINARY:
        raise webob.exc.HTTPBadRequest(f"Updating a {asked['binary']} service is not supported. Only nova-compute services can be updated.")
    try:
        updated = request.services.store.hosts.decide(asked["host"], **word(asked))
    except exceptions.HostNotFound:
        raise exceptions.HostBinaryNotFound(host=asked["host"], binary=BINARY) from None
    echo = {"host": asked["host"], "binary": BINARY, **said}
    for name in echoed:
        echo[name] = getattr(updated, name)
    return webob.Response(json_body={"service": echo})


def _by_uuid(request: Request) -> Host:
    asked = request.parameters["id"]
    if not validation.is_uuid(asked):
        raise webob.exc.HTTPBadRequest(f"Invalid uuid {asked}")
    host = request.services.store.hosts.by("service_uuid", asked)
    if host is None:
        raise webob.exc.HTTPNotFound(f"Service {asked} could not be found.")
    return host


def _checked(request: Request, schema: Versioned) -> dict[str, Any]:
    content: dict[str, Any] = bodies.read(request)
    if request.legacy:
        content = validation.pruned(schema, request.version, content)
    validation.check(schema, request.version, content)
    return content
