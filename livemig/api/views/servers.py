"""A server as Nova shows it (nova/api/openstack/compute/views/servers.py)."""

from __future__ import annotations

import hashlib
from datetime import datetime
from typing import Any

from livemig.api.request import Request
from livemig.facts import Server

_STATUS = {"active": "ACTIVE", "paused": "PAUSED", "suspended": "SUSPENDED", "stopped": "SHUTOFF", "error": "ERROR"}


def summary(request: Request, server: Server) -> dict[str, Any]:
    """An item of GET /servers."""
    return {"id": server.uuid, "name": server.name, "links": _links(request, "servers", server.uuid)}


def detail(request: Request, server: Server) -> dict[str, Any]:
    """GET /servers/{id}, and an item of GET /servers/detail."""
    return summary(request, server) | {
        "status": status(server),
        "tenant_id": server.project_id,
        "user_id": server.user_id,
        "metadata": {},
        "hostId": host_id(server),
        "image": "",
        "flavor": _flavor(request, server),
        "addresses": {},
        "accessIPv4": "",
        "accessIPv6": "",
        "progress": server.progress,
        "created": _time(server.created_at),
        "updated": _time(server.updated_at or server.created_at),
        "key_name": None,
        "config_drive": "",
        "OS-DCF:diskConfig": "MANUAL",
        "OS-EXT-AZ:availability_zone": "nova",
        "OS-EXT-SRV-ATTR:host": server.host,
        "OS-EXT-SRV-ATTR:hypervisor_hostname": server.host,
        "OS-EXT-SRV-ATTR:instance_name": server.name,
        "OS-EXT-STS:power_state": server.power_state,
        "OS-EXT-STS:task_state": server.task_state,
        "OS-EXT-STS:vm_state": server.vm_state,
        "OS-SRV-USG:launched_at": _time(server.created_at).rstrip("Z") + ".000000",
        "OS-SRV-USG:terminated_at": None,
        "os-extended-volumes:volumes_attached": [],
    }


def status(server: Server) -> str:
    """Nova's one word for vm_state and task_state."""
    return "MIGRATING" if server.task_state == "migrating" else _STATUS[server.vm_state]


def host_id(server: Server) -> str:
    """Tells a project whether two of its servers share a host, without saying which (nova/objects/instance.py)."""
    return hashlib.sha224((server.project_id + server.host).encode()).hexdigest()


def _flavor(request: Request, server: Server) -> dict[str, Any]:
    name = f"{server.vcpus}-{server.memory_mib}"
    links = [{"rel": "bookmark", "href": f"{request.application_url}/flavors/{name}"}]
    return {"id": name, "vcpus": server.vcpus, "ram": server.memory_mib, "disk": 0, "links": links}


def _links(request: Request, noun: str, key: str) -> list[dict[str, str]]:
    return [
        {"rel": "self", "href": f"{request.prefix}/{noun}/{key}"},
        {"rel": "bookmark", "href": f"{request.application_url}/{noun}/{key}"},
    ]


def _time(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
