"""A server as Nova shows it at each microversion (nova/api/openstack/compute/views/servers.py)."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from livemig import microversions
from livemig.api import zones
from livemig.api.request import Request
from livemig.api.views import links
from livemig.microversions import Version
from livemig.records import Server

# Nova's one word for a vm_state, while no task is under way.
STATUS = {"active": "ACTIVE", "paused": "PAUSED", "suspended": "SUSPENDED", "stopped": "SHUTOFF", "error": "ERROR"}
MIGRATING = "MIGRATING"
_WITH_PROGRESS = ("ACTIVE", MIGRATING)

Fields = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Lens:
    """What of the servers a client sees: its microversion, what its policies allow, and the hosts' zones."""

    request: Request
    version: Version
    attributes: bool
    host_status: bool
    extra_specs: bool
    zones: Mapping[str, str]


def lens(request: Request) -> Lens:
    """The lens of a request."""
    return Lens(
        request,
        request.version,
        request.allows("os-extended-server-attributes"),
        request.version >= microversions.HOST_STATUS and request.allows("servers:show:host_status"),
        request.version >= microversions.EMBEDDED_FLAVOR and request.allows("servers:show:flavor-extra-specs"),
        zones.of_hosts(request.services.aggregates),
    )


def summary(request: Request, server: Server) -> Fields:
    """An item of GET /servers."""
    return {"id": server.uuid, "name": server.name, "links": links.of(request, f"servers/{server.uuid}")}


def detail(through: Lens, server: Server) -> Fields:
    """GET /servers/{id}, and an item of GET /servers/detail."""
    shown = summary(through.request, server) | _always(through, server)
    for since, fields in _SINCE:
        if through.version >= since:
            shown.update(fields(through, server))
    return shown


def status(server: Server) -> str:
    """Nova's one word for vm_state and task_state."""
    return MIGRATING if server.task_state == "migrating" else STATUS[server.vm_state]


def host_id(project: str, host: str) -> str:
    """Tells a project whether two of its servers share a host, without saying which (nova/objects/instance.py)."""
    return hashlib.sha224((project + host).encode()).hexdigest()


def _always(through: Lens, server: Server) -> Fields:
    word = status(server)
    return {
        "status": word,
        "tenant_id": server.project_id,
        "user_id": server.user_id,
        "metadata": dict(server.user_metadata),
        "hostId": host_id(server.project_id, server.host),
        "image": "",
        "flavor": _flavor(through, server),
        "addresses": _addresses(server),
        "accessIPv4": "",
        "accessIPv6": "",
        "created": links.zulu(server.created_at),
        "updated": links.zulu(server.updated_at or server.created_at),
        "key_name": None,
        "config_drive": "True" if server.config_drive else "",
        "OS-DCF:diskConfig": "MANUAL",
        "OS-EXT-AZ:availability_zone": through.zones.get(server.host, zones.DEFAULT),
        "OS-EXT-STS:power_state": server.power_state,
        "OS-EXT-STS:task_state": server.task_state,
        "OS-EXT-STS:vm_state": server.vm_state,
        "OS-SRV-USG:launched_at": links.micro(server.created_at),
        "OS-SRV-USG:terminated_at": None,
        "os-extended-volumes:volumes_attached": [],
        **({"progress": server.progress} if word in _WITH_PROGRESS else {}),
        **({"fault": _fault(server)} if word == "ERROR" and server.fault else {}),
        **(_place(server) if through.attributes else {}),
    }


def _place(server: Server) -> Fields:
    return {
        "OS-EXT-SRV-ATTR:host": server.host,
        "OS-EXT-SRV-ATTR:hypervisor_hostname": server.host,
        "OS-EXT-SRV-ATTR:instance_name": server.instance_name,
    }


def _attributes(through: Lens, server: Server) -> Fields:
    if not through.attributes:
        return {}
    return {
        "OS-EXT-SRV-ATTR:hostname": _hostname(server),
        "OS-EXT-SRV-ATTR:reservation_id": None,
        "OS-EXT-SRV-ATTR:launch_index": 0,
        "OS-EXT-SRV-ATTR:kernel_id": "",
        "OS-EXT-SRV-ATTR:ramdisk_id": "",
        "OS-EXT-SRV-ATTR:root_device_name": server.root_device,
        "OS-EXT-SRV-ATTR:user_data": None,
    }


def _host_status(through: Lens, server: Server) -> Fields:
    return {"host_status": server.host_status.value} if through.host_status else {}


def _hostname(server: Server) -> str:
    """A host name made of the name, since libvirt knows none (oslo.utils' rule: letters, digits and hyphens)."""
    kept = "".join(letter if letter.isalnum() and letter.isascii() else "-" for letter in server.name.lower()).strip("-")
    return kept[:63] or f"server-{server.uuid}"


_SINCE: tuple[tuple[Version, Callable[[Lens, Server], Fields]], ...] = (
    (microversions.EXTENDED_ATTRIBUTES, _attributes),
    (microversions.LOCKED, lambda _lens, server: {"locked": server.locked_by is not None}),
    (microversions.HOST_STATUS, _host_status),
    (microversions.DESCRIPTION, lambda _lens, server: {"description": server.description}),
    (microversions.TAGS, lambda _lens, _server: {"tags": []}),
    (microversions.TRUSTED_CERTIFICATES, lambda _lens, _server: {"trusted_image_certificates": None}),
    (microversions.LOCKED_REASON, lambda _lens, server: {"locked_reason": server.locked_reason}),
    (microversions.HOSTNAME, lambda _lens, server: {"OS-EXT-SRV-ATTR:hostname": _hostname(server)}),
    (microversions.PINNED_ZONE, lambda _lens, _server: {"pinned_availability_zone": None}),
    (microversions.SCHEDULER_HINTS, lambda _lens, _server: {"scheduler_hints": {}}),
)


def _flavor(through: Lens, server: Server) -> Fields:
    flavor = server.flavor
    if through.version < microversions.EMBEDDED_FLAVOR:
        bookmark = f"{through.request.bookmark_prefix}/flavors/{flavor.id}"
        return {"id": flavor.id, "links": [{"rel": "bookmark", "href": bookmark}]}
    return {
        "vcpus": flavor.vcpus,
        "ram": flavor.memory_mib,
        "disk": flavor.disk_gib,
        "ephemeral": flavor.ephemeral_gib,
        "swap": flavor.swap_mib,
        "original_name": flavor.name,
        **({"extra_specs": dict(flavor.extra_specs)} if through.extra_specs else {}),
    }


_NO_MAC = "00:00:00:00:00:00"  # of an address whose interface is not known: Nova's field must look like a MAC


def _addresses(server: Server) -> Fields:
    networks: Fields = {}
    for address in server.addresses:
        shown = {"addr": address.ip, "version": address.version, "OS-EXT-IPS:type": "fixed", "OS-EXT-IPS-MAC:mac_addr": address.mac or _NO_MAC}
        networks.setdefault(address.network, []).append(shown)
    return networks


def _fault(server: Server) -> Fields:
    fault = dict(server.fault or {})
    return {"code": fault["code"], "created": fault["created"].partition(".")[0] + "Z", "message": fault["message"]}
