"""What livemig reads in a domain's XML (https://libvirt.org/formatdomain.html)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from lxml import etree

from livemig.facts import Backing, Disk, Guest, Presence, ServerFacts
from livemig.hypervisor import bound, metadata
from livemig.hypervisor.metadata import Interface

# libvirt is trusted with its own XML, but nothing in it may reach for a file or the network.
_PARSER = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False)

# Where a disk's source stands, by libvirt's disk type.
_SOURCE_ATTRIBUTES = {"file": "file", "block": "dev", "dir": "dir", "network": "name", "volume": "volume", "vhostuser": "path", "nvme": "namespace"}

_AGENT = "devices/channel/target[@name='org.qemu.guest_agent.0'][@state='connected']"


@dataclass(frozen=True, slots=True)
class Description:
    """A server as its domain's XML describes it. `addresses` of the facts are those that the metadata names; `agent` says that its guest agent is there."""

    facts: ServerFacts
    interfaces: tuple[Interface, ...] = ()
    agent: bool = False
    domain_type: str = ""


# What is raised for XML that cannot be read, or has no number where one must be.
UNREADABLE = (etree.XMLSyntaxError, ValueError)


def parse(xml: str) -> etree._Element:
    """Raises one of UNREADABLE."""
    return etree.fromstring(xml.encode(), _PARSER)


def describe(uuid: str, presence: Presence, xml: str) -> Description:
    """The facts of a server: named by its metadata, else by its title, else by its domain. Of XML that cannot be read, no details."""
    try:
        return _description(uuid, presence, parse(xml))
    except UNREADABLE:
        return Description(ServerFacts(uuid, "", presence, details=False))


def _description(uuid: str, presence: Presence, domain: etree._Element) -> Description:
    name, memory_mib, vcpus = domain.findtext("name", ""), _memory_mib(domain), _vcpus(domain)
    interfaces = tuple(_interface(element) for element in domain.iterfind("devices/interface"))
    disks = _disks(domain)
    told: dict[str, Any] = {
        "name": domain.findtext("title") or name,
        "description": domain.findtext("description"),
        "root_device": _root_device(disks),
        "config_drive": any(map(_is_config_drive, disks)),
        **metadata.facts(domain, memory_mib, vcpus, interfaces),
    }
    facts = ServerFacts(uuid, name, presence, memory_mib, vcpus, **told)
    return Description(facts, interfaces, domain.find(_AGENT) is not None, domain.get("type", ""))


def guest(xml: str, persistent: bool, snapshots: int = 0, live: str = "") -> Guest:
    """The facts that a migration depends on, from its migratable XML. Only the `live` one has the backing files that libvirt has found. Raises as `parse`."""
    domain = parse(xml)
    os_type = domain.find("os/type")
    cpu = domain.find("cpu")
    return Guest(
        memory_mib=_memory_mib(domain),
        vcpus=int(domain.findtext("vcpu", "1")),
        persistent=persistent,
        domain_type=domain.get("type", ""),
        arch="" if os_type is None else os_type.get("arch", ""),
        machine="" if os_type is None else os_type.get("machine", ""),
        emulator=domain.findtext("devices/emulator", ""),
        cpu_xml="" if cpu is None else etree.tostring(cpu, encoding="unicode", with_tail=False),
        disks=_disks(parse(live) if live else domain),
        name=domain.findtext("name", ""),
        cpu_mode="" if cpu is None else cpu.get("mode", ""),
        huge_pages_kib=bound.huge_pages_kib(domain),
        cpus=bound.cpus(domain),
        numa_nodes=bound.numa_nodes(domain),
        plugs=bound.plugs(domain),
        devices=bound.devices(domain),
        snapshots=snapshots,
    )


def _memory_mib(domain: etree._Element) -> int:
    return int(domain.findtext("memory", "0")) // 1024  # libvirt always writes KiB


def _vcpus(domain: etree._Element) -> int:
    """Those that are plugged in."""
    vcpu = domain.find("vcpu")
    return 1 if vcpu is None else int(vcpu.get("current") or vcpu.text or 1)


def _disks(domain: etree._Element) -> tuple[Disk, ...]:
    return tuple(_disk(element) for element in domain.iterfind("devices/disk"))


def _disk(element: etree._Element) -> Disk:
    target, driver = element.find("target"), element.find("driver")
    return Disk(
        target="" if target is None else target.get("dev", ""),
        kind=element.get("type", "file"),
        path=_source(element),
        device=element.get("device", "disk"),
        read_only=element.find("readonly") is not None,
        shareable=element.find("shareable") is not None,
        format="raw" if driver is None else driver.get("type", "raw"),
        backing=tuple(_backing(element)),
    )


def _source(element: etree._Element) -> str | None:
    """Where the source of a disk, or of its backing store, is."""
    source = element.find("source")
    return None if source is None else source.get(_SOURCE_ATTRIBUTES.get(element.get("type", "file"), "file"))


def _backing(disk: etree._Element) -> Iterator[Backing]:
    store = disk.find("backingStore")
    while store is not None and store.find("source") is not None:
        kind = store.find("format")
        yield Backing(_source(store) or "", "raw" if kind is None else kind.get("type", "raw"), store.get("type", "file"))
        store = store.find("backingStore")


def _interface(element: etree._Element) -> Interface:
    source, target = element.find("source"), element.find("target")
    network = "" if source is None else source.get("network") or source.get("bridge") or source.get("dev") or ""
    mac, port = element.find("mac"), element.find("virtualport/parameters")
    return Interface(
        mac="" if mac is None else mac.get("address", "").lower(),
        kind=element.get("type", ""),
        network=network or metadata.UNKNOWN_NETWORK,
        device="" if target is None else target.get("dev", ""),
        port="" if port is None else port.get("interfaceid", ""),
    )


def _root_device(disks: Iterable[Disk]) -> str | None:
    """That of the first disk; a CD-ROM is none."""
    return next((f"/dev/{disk.target}" for disk in disks if disk.device in ("disk", "lun") and disk.target), None)


def _is_config_drive(disk: Disk) -> bool:
    """Nova's disk.config (nova/virt/libvirt/driver.py), or a file or image that bears the file system label which cloud-init looks for: config-2."""
    name = PurePosixPath(disk.path or "").name
    return name.endswith("disk.config") or PurePosixPath(name).stem == "config-2"
