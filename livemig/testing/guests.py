"""What a simulated guest is, and what it does."""

from __future__ import annotations

import uuid as uuids
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

EMULATOR = "/usr/bin/qemu-system-x86_64"
MACHINES = {"pc": "pc-i440fx-7.2", "q35": "pc-q35-7.2"}


@dataclass(frozen=True, slots=True)
class Disk:
    """A guest's disk: `path` is a file's, or the image's name when `network` names a protocol such as "rbd"."""

    path: str
    size_mib: int = 0
    target: str = "vda"
    network: str | None = None
    read_only: bool = False
    device: str = "disk"
    format: str = "raw"
    backing: str = ""
    """The path of its image's backing file, a raw one."""


@dataclass(frozen=True, slots=True)
class Interface:
    """A guest's network interface on a libvirt network, or on a bridge of its host when `kind` is "bridge".

    `addresses` are the guest's on it. `known_by` says which of libvirt's sources knows them: "lease", "agent" or "arp".
    """

    mac: str
    network: str = "default"
    addresses: tuple[str, ...] = ()
    kind: str = "network"
    known_by: str = "lease"


@dataclass(slots=True)
class Definition:
    """What a domain's XML says. `xml` is kept when a client gave one; otherwise it is made when asked for."""

    name: str
    uuid: str
    memory_mib: int = 2048
    vcpus: int = 2
    disks: tuple[Disk, ...] = ()
    interfaces: tuple[Interface, ...] = ()
    agent: bool = False
    cpu_model: str = "qemu64"
    machine: str = "pc-q35-7.2"
    virt_type: str = "kvm"
    xml: str | None = None
    metadata: dict[str, tuple[str, str]] = field(default_factory=dict)
    title: str | None = None
    description: str | None = None


@dataclass(slots=True)
class Load:
    """What a guest does, which may be changed at any time: it rewrites `working_set_mib` of its memory at `dirty_mib_s`.

    One that `ignores_acpi` neither shuts down nor reboots when it is asked to. One whose agent `ignores_questions` lets those who ask it wait.
    """

    dirty_mib_s: float = 10.0
    working_set_mib: float = 1024.0
    ignores_acpi: bool = False
    ignores_questions: bool = False


def guest_uuid(name: str) -> str:
    """The uuid of a guest that was given none."""
    return str(uuids.uuid5(uuids.NAMESPACE_URL, f"guest:{name}"))


def each_disk(given: Iterable[Disk | dict[str, Any] | str]) -> Iterator[Disk]:
    for number, disk in enumerate(given):
        if isinstance(disk, str):
            disk = {"path": disk}
        yield disk if isinstance(disk, Disk) else Disk(**{"target": f"vd{chr(97 + number)}", **disk})


def each_interface(given: Iterable[Interface | dict[str, Any] | str], guest: str) -> Iterator[Interface]:
    """A text names a network. A MAC that is not given follows from the guest's name and the interface's place."""
    for number, interface in enumerate(given):
        if isinstance(interface, Interface):
            yield interface
            continue
        facts: dict[str, Any] = {"network": interface} if isinstance(interface, str) else dict(interface)
        facts["addresses"] = tuple(facts.get("addresses", ()))
        yield Interface(**{"mac": mac(guest, number), **facts})


def mac(guest: str, number: int) -> str:
    """The MAC address of a guest's interface that was given none."""
    return "52:54:00:" + uuids.uuid5(uuids.NAMESPACE_URL, f"mac:{guest}/{number}").bytes[:3].hex(":")
