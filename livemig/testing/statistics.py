"""Statistics of domains and of hosts. What a guest has read, written and sent does not change: only its processors' time goes on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from livemig.testing import constants as C
from livemig.testing.fleet import Domain, Host
from livemig.testing.networks import devices
from livemig.testing.storage import MIB

BUSY = 0.1
"""The share of time in which a processor, a guest's or a host's, is not idle."""
TRAFFIC = ("bytes", "pkts", "errs", "drop")


def of_host(host: Host) -> dict[str, int]:
    """virNodeGetCPUStats for all processors together, in nanoseconds since the boot."""
    total = int((host.fleet.time() - host.booted_s) * 1e9) * host.vcpus
    busy = int(total * BUSY)
    return {"kernel": busy // 4, "user": busy - busy // 4, "idle": total - busy, "iowait": 0}


def of_domain(domain: Domain, groups: int) -> dict[str, Any]:
    """virConnectGetAllDomainStats, by the groups asked for (0: all)."""
    found: dict[str, Any] = {}
    for group, told in GROUPS.items():
        if not groups or groups & group:
            found |= told(domain)
    return found


def cpu_time_ns(domain: Domain) -> int:
    """Of each of a running guest's processors."""
    return int(domain.host.fleet.time() * BUSY * 1e9) if domain.active else 0


def memory(domain: Domain) -> dict[str, int]:
    """virDomainMemoryStats, in KiB."""
    kib = domain.definition.memory_mib * 1024
    return {"actual": kib, "rss": kib // 2}


def _state(domain: Domain) -> dict[str, Any]:
    return {"state.state": domain.state, "state.reason": domain.reason}


def _cpu(domain: Domain) -> dict[str, Any]:
    time = cpu_time_ns(domain) * domain.definition.vcpus
    return {"cpu.time": time, "cpu.user": time - time // 4, "cpu.system": time // 4} if domain.active else {}


def _balloon(domain: Domain) -> dict[str, Any]:
    told = memory(domain)
    return {"balloon.current": told["actual"], "balloon.maximum": told["actual"], **({"balloon.rss": told["rss"]} if domain.active else {})}


def _vcpus(domain: Domain) -> dict[str, Any]:
    count = domain.definition.vcpus
    each = {"state": C.VIR_VCPU_RUNNING, "time": cpu_time_ns(domain), "wait": 0}
    running = {f"vcpu.{number}.{name}": value for number in range(count * domain.active) for name, value in each.items()}
    return {"vcpu.current": count, "vcpu.maximum": count, **running}


def _interfaces(domain: Domain) -> dict[str, Any]:
    if not domain.active:
        return {}
    found: dict[str, Any] = {"net.count": len(domain.definition.interfaces)}
    for number, (name, _interface) in enumerate(devices(domain)):
        traffic = {f"net.{number}.{way}.{what}": 0 for way in ("rx", "tx") for what in TRAFFIC}
        found |= {f"net.{number}.name": name, **traffic, f"net.{number}.rx.bytes": 90, f"net.{number}.rx.pkts": 1}
    return found


def _blocks(domain: Domain) -> dict[str, Any]:
    found: dict[str, Any] = {"block.count": len(domain.definition.disks)}
    for number, disk in enumerate(domain.definition.disks):
        done = {"rd.reqs": 100, "rd.bytes": MIB, "rd.times": 1, "wr.reqs": 10, "wr.bytes": MIB // 2, "wr.times": 1} if domain.active else {}
        told = {"name": disk.target, "path": disk.path, **done, "capacity": disk.size_mib * MIB}
        found |= {f"block.{number}.{name}": value for name, value in told.items()}
    return found


GROUPS: dict[int, Callable[[Domain], dict[str, Any]]] = {
    C.VIR_DOMAIN_STATS_STATE: _state,
    C.VIR_DOMAIN_STATS_CPU_TOTAL: _cpu,
    C.VIR_DOMAIN_STATS_BALLOON: _balloon,
    C.VIR_DOMAIN_STATS_VCPU: _vcpus,
    C.VIR_DOMAIN_STATS_INTERFACE: _interfaces,
    C.VIR_DOMAIN_STATS_BLOCK: _blocks,
}
