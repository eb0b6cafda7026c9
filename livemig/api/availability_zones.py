"""/os-availability-zone: the zones of the configured aggregates, and the default one for the hosts that are in none."""

from __future__ import annotations

from typing import Any

import webob

from livemig.api import zones
from livemig.api.request import Request
from livemig.api.views import links
from livemig.records import Host


def list_zones(request: Request) -> webob.Response:
    request.require("os-availability-zone:list")
    shown = [{"zoneName": zone, "zoneState": {"available": _available(hosts)}, "hosts": None} for zone, hosts in _zones(request).items()]
    return webob.Response(json_body={"availabilityZoneInfo": shown})


def list_zones_detail(request: Request) -> webob.Response:
    request.require("os-availability-zone:detail")
    shown = [
        {"zoneName": zone, "zoneState": {"available": _available(hosts)}, "hosts": {host.name: {"nova-compute": _service(host)} for host in hosts}}
        for zone, hosts in _zones(request).items()
    ]
    return webob.Response(json_body={"availabilityZoneInfo": shown})


def _zones(request: Request) -> dict[str, list[Host]]:
    in_zone = zones.of_hosts(request.services.aggregates)
    found: dict[str, list[Host]] = {}
    for host in request.services.store.hosts.all():
        found.setdefault(in_zone.get(host.name, zones.DEFAULT), []).append(host)
    return dict(sorted(found.items()))


def _available(hosts: list[Host]) -> bool:
    return any(not host.disabled for host in hosts)


def _service(host: Host) -> dict[str, Any]:
    return {"active": not host.disabled, "available": host.usable, "updated_at": links.micro_or_none(host.updated_at)}
