"""What a running server uses, as its host tells it (virDomainMemoryStats and the like) and the API shows it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from livemig.facts import Presence


@dataclass(frozen=True, slots=True)
class ProcessorUse:
    """What a virtual processor of a running server has used."""

    number: int
    time_ns: int


@dataclass(frozen=True, slots=True)
class NicUse:
    """What went through a network interface of a running server. `device` is the host's (vnet0)."""

    device: str
    mac: str
    rx_bytes: int = 0
    rx_packets: int = 0
    rx_errors: int = 0
    rx_drops: int = 0
    tx_bytes: int = 0
    tx_packets: int = 0
    tx_errors: int = 0
    tx_drops: int = 0


@dataclass(frozen=True, slots=True)
class DiskUse:
    """What went through a disk of a running server; `target` is its name there (vda). libvirt counts no errors for QEMU's disks."""

    target: str
    read_bytes: int = 0
    read_requests: int = 0
    write_bytes: int = 0
    write_requests: int = 0


@dataclass(frozen=True, slots=True)
class Diagnostics:
    """What a server uses at this moment. `memory_kib` is by libvirt's names (virDomainMemoryStats: actual, rss, unused, …), as far as the guest tells."""

    presence: Presence
    domain_type: str  # kvm or qemu
    memory_max_mib: int
    memory_used_mib: int
    config_drive: bool
    memory_kib: Mapping[str, int] = field(default_factory=dict)
    processors: tuple[ProcessorUse, ...] = ()
    nics: tuple[NicUse, ...] = ()
    disks: tuple[DiskUse, ...] = ()
