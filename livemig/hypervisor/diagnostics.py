"""What a guest uses at this moment: one call for its figures, one for the names that go with them (virConnectGetAllDomainStats)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from livemig.diagnostics import Diagnostics, DiskUse, NicUse, ProcessorUse
from livemig.hypervisor import domain_xml
from livemig.hypervisor.connection import Hypervisor

_GROUPS = ("STATE", "BALLOON", "VCPU", "INTERFACE", "BLOCK")
_NIC = {"bytes": "bytes", "packets": "pkts", "errors": "errs", "drops": "drop"}
_DISK = {"read_bytes": "rd.bytes", "read_requests": "rd.reqs", "write_bytes": "wr.bytes", "write_requests": "wr.reqs"}
_MEMORY = {"current": "actual", "maximum": ""}  # libvirt's statistics and virDomainMemoryStats agree on all other names

Stats = Mapping[str, Any]


def diagnose(host: Hypervisor, uuid: str) -> Diagnostics:
    """Raises DomainNotFound. A guest that is off uses nothing."""
    groups = sum(getattr(host.libvirt, f"VIR_DOMAIN_STATS_{group}") for group in _GROUPS)
    with host.use() as connection:
        domain = connection.lookupByUUIDString(uuid)
        xml = domain.XMLDesc(0)
        [(_domain, stats)] = connection.domainListGetStats([domain], groups, host.libvirt.VIR_CONNECT_GET_ALL_DOMAINS_STATS_NOWAIT)
    return from_stats(domain_xml.describe(uuid, host.words.stats(stats), xml), stats)


def from_stats(described: domain_xml.Description, stats: Stats) -> Diagnostics:
    """Figures that a guest or an old libvirt does not tell count as 0."""
    facts = described.facts
    maximum_kib = stats.get("balloon.maximum", facts.memory_mib * 1024)
    macs = {interface.device: interface.mac for interface in described.interfaces}
    return Diagnostics(
        presence=facts.presence,
        domain_type=described.domain_type,
        memory_max_mib=maximum_kib // 1024,
        memory_used_mib=stats.get("balloon.current", maximum_kib) // 1024,
        config_drive=facts.config_drive,
        memory_kib=dict(_memory(stats)),
        processors=tuple(ProcessorUse(number, stats[f"vcpu.{number}.time"]) for number in _numbers(stats, "vcpu", "maximum", "time")),
        nics=tuple(_nic(stats, f"net.{number}", macs) for number in _numbers(stats, "net", "count", "name")),
        disks=tuple(_disk(stats, f"block.{number}") for number in _numbers(stats, "block", "count", "name")),
    )


def _numbers(stats: Stats, group: str, count: str, told: str) -> Iterator[int]:
    return (number for number in range(stats.get(f"{group}.{count}", 0)) if f"{group}.{number}.{told}" in stats)


def _memory(stats: Stats) -> Iterator[tuple[str, int]]:
    for key, value in stats.items():
        group, _dot, name = key.partition(".")
        if group == "balloon" and (known := _MEMORY.get(name, name)):
            yield known, value


def _nic(stats: Stats, prefix: str, macs: Mapping[str, str]) -> NicUse:
    device = stats[f"{prefix}.name"]
    figures = {f"{way}_{field}": stats.get(f"{prefix}.{way}.{name}", 0) for way in ("rx", "tx") for field, name in _NIC.items()}
    return NicUse(device, macs.get(device, ""), **figures)


def _disk(stats: Stats, prefix: str) -> DiskUse:
    return DiskUse(stats[f"{prefix}.name"], **{field: stats.get(f"{prefix}.{name}", 0) for field, name in _DISK.items()})
