"""What livemig reads in a domain's XML (https://libvirt.org/formatdomain.html)."""

from __future__ import annotations

from lxml import etree

from livemig.facts import Disk, Guest

# libvirt is trusted with its own XML, but nothing in it may reach for a file or the network.
_PARSER = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False)

# Where a disk's source stands, by libvirt's disk type.
_SOURCE_ATTRIBUTES = {"file": "file", "block": "dev", "dir": "dir", "network": "name", "volume": "volume", "vhostuser": "path", "nvme": "namespace"}


def guest(xml: str, persistent: bool) -> Guest:
    """The facts that a migration depends on."""
    domain = etree.fromstring(xml.encode(), _PARSER)
    os_type = domain.find("os/type")
    cpu = domain.find("cpu")
    return Guest(
        memory_mib=int(domain.findtext("memory", "0")) // 1024,  # libvirt always writes KiB
        vcpus=int(domain.findtext("vcpu", "1")),
        persistent=persistent,
        domain_type=domain.get("type", ""),
        arch="" if os_type is None else os_type.get("arch", ""),
        machine="" if os_type is None else os_type.get("machine", ""),
        emulator=domain.findtext("devices/emulator", ""),
        cpu_xml="" if cpu is None else etree.tostring(cpu, encoding="unicode", with_tail=False),
        disks=tuple(_disk(element) for element in domain.iterfind("devices/disk")),
    )


def _disk(element: etree._Element) -> Disk:
    kind = element.get("type", "file")
    source = element.find("source")
    target = element.find("target")
    return Disk(
        target="" if target is None else target.get("dev", ""),
        kind=kind,
        path=None if source is None else source.get(_SOURCE_ATTRIBUTES.get(kind, "file")),
        device=element.get("device", "disk"),
        read_only=element.find("readonly") is not None,
        shareable=element.find("shareable") is not None,
    )
