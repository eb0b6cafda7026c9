"""A host as Nova shows its hypervisor at each microversion (nova/api/openstack/compute/hypervisors.py, _view_hypervisor)."""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from livemig import microversions
from livemig.api.views.services import state, status
from livemig.microversions import Version
from livemig.records import Host, Usage

Fields = dict[str, Any]


def identity(version: Version, host: Host) -> str | int:
    """The id: a UUID since UUIDS, a number before."""
    return host.uuid if version >= microversions.UUIDS else host.number


def summary(version: Version, host: Host) -> Fields:
    """An item of GET /os-hypervisors."""
    return {"id": identity(version, host), "hypervisor_hostname": host.name, "state": state(host), "status": status(host)}


def detail(version: Version, host: Host, usage: Usage, now: datetime) -> Fields:
    """GET /os-hypervisors/{id}, and an item of /os-hypervisors/detail. Since LEAN_HYPERVISORS without what Nova leaves to Placement."""
    shown = summary(version, host) | {
        "hypervisor_type": host.hypervisor_type,
        "hypervisor_version": host.hypervisor_version,
        "host_ip": host.address if _is_ip(host.address) else None,
        "service": {
            "id": host.service_uuid if version >= microversions.UUIDS else host.number,
            "host": host.name,
            "disabled_reason": host.disabled_reason,
        },
    }
    if version >= microversions.LEAN_HYPERVISORS:
        return shown | {"uptime": uptime(host, now)}
    cpu_info = _cpu_info(host)
    return shown | _sums(host, usage) | {"cpu_info": cpu_info if version >= microversions.CPU_INFO else json.dumps(cpu_info)}


def _is_ip(address: str) -> bool:
    """Whether an address is one and no name: the API's field takes no names."""
    try:
        return bool(ipaddress.ip_address(address))
    except ValueError:
        return False


def servers(version: Version, found: Sequence[tuple[str, str]]) -> Fields:
    """The servers of a hypervisor; before STRICT_QUERIES left out where there are none."""
    if not found and version < microversions.STRICT_QUERIES:
        return {}
    return {"servers": [{"uuid": uuid, "name": name} for uuid, name in found]}


def statistics(hosts: Iterable[Host], usage: Mapping[str, Usage]) -> Fields:
    """Sums over all hypervisors that are not disabled (nova/db/main/api.py, compute_node_statistics)."""
    counted = [_sums(host, usage.get(host.name, Usage())) for host in hosts if not host.disabled]
    return {"count": len(counted)} | {name: sum(sums[name] for sums in counted) for name in _SUMS}


def uptime(host: Host, now: datetime) -> str | None:
    """As much of the words of uptime(1) as libvirt knows: the time, and how long the host is up. None for a host that is down."""
    if host.booted_at is None or not host.usable:
        return None
    minutes = max(0, int((now - host.booted_at).total_seconds())) // 60
    days, hours = minutes // 1440, minutes // 60 % 24
    length = f"{f'{days} days, ' if days else ''}{hours}:{minutes % 60:02}"
    return f" {now:%H:%M:%S} up {length}"


_SUMS = (
    *("vcpus", "vcpus_used", "memory_mb", "memory_mb_used", "free_ram_mb", "local_gb", "local_gb_used", "free_disk_gb", "disk_available_least"),
    *("running_vms", "current_workload"),
)


def _sums(host: Host, usage: Usage) -> Fields:
    return {
        "vcpus": host.vcpus,
        "vcpus_used": usage.vcpus,
        "memory_mb": host.memory_mib,
        "memory_mb_used": host.memory_mib - host.memory_free_mib,
        "free_ram_mb": host.memory_free_mib,
        "local_gb": host.disk_gib,
        "local_gb_used": host.disk_gib - host.disk_free_gib,
        "free_disk_gb": host.disk_free_gib,
        "disk_available_least": host.disk_free_gib,
        "running_vms": usage.active,
        "current_workload": 0,
    }


def _cpu_info(host: Host) -> Fields:
    names = ("arch", "model", "vendor", "features", "topology")
    return {name: host.cpu[name] for name in names if name in host.cpu}
