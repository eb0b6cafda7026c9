"""/os-hosts, which is gone since NO_HOSTS_API (nova/api/openstack/compute/hosts.py)."""

from __future__ import annotations

from typing import Any

import webob

from livemig import exceptions
from livemig.api import zones
from livemig.api.request import Request
from livemig.records import Usage


def list_hosts(request: Request) -> webob.Response:
    request.require("os-hosts:list")
    in_zone = zones.of_hosts(request.services.aggregates)
    wanted = request.one("zone")
    found = [(name, in_zone.get(name, zones.DEFAULT)) for name in request.services.store.hosts.names()]
    shown = [{"host_name": name, "service": "compute", "zone": zone} for name, zone in found if wanted in (None, zone)]
    return webob.Response(json_body={"hosts": shown})


def show_host(request: Request) -> webob.Response:
    """What the host has, what is in use, and what its servers add up to."""
    request.require("os-hosts:show")
    name, hosts = request.parameters["name"], request.services.store.hosts
    host = hosts.get(name)
    if host is None:
        raise exceptions.HostUnknown(host=name)
    usage = hosts.usage([name]).get(name, Usage())
    resources = [
        _resource(name, "(total)", host.vcpus, host.memory_mib, host.disk_gib),
        _resource(name, "(used_now)", usage.vcpus, host.memory_mib - host.memory_free_mib, host.disk_gib - host.disk_free_gib),
        _resource(name, "(used_max)", usage.vcpus, usage.memory_mib, host.disk_gib - host.disk_free_gib),
    ]
    return webob.Response(json_body={"host": resources})


def _resource(host: str, project: str, cpu: int, memory_mib: int, disk_gib: int) -> dict[str, Any]:
    return {"resource": {"host": host, "project": project, "cpu": cpu, "memory_mb": memory_mib, "disk_gb": disk_gib}}
