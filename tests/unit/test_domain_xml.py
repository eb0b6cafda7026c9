"""What is read in a domain's XML, and what XML may not do."""

from __future__ import annotations

import socket
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from livemig.facts import Disk, Guest
from livemig.hypervisor.domain_xml import guest

WEB = """
<domain type='kvm' id='3' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>
  <name>web</name>
  <uuid>5b2d7b1e-6d8f-4b5e-9a3c-2f1f0a4c6d7e</uuid>
  <metadata><app:memory xmlns:app='http://example.org/'>1</app:memory></metadata>
  <memory unit='KiB'>4194304</memory>
  <currentMemory unit='KiB'>2097152</currentMemory>
  <vcpu placement='static' current='1'>4</vcpu>
  <os>
    <type arch='x86_64' machine='pc-q35-7.2'>hvm</type>
  </os>
  <cpu mode='custom' match='exact' check='full'>
    <model fallback='forbid'>Skylake-Server</model>
    <feature policy='require' name='hypervisor'/>
  </cpu>
  <devices>
    <emulator>/usr/bin/qemu-system-x86_64</emulator>
    {disks}
    <interface type='bridge'><source bridge='br0'/></interface>
  </devices>
  <qemu:commandline><qemu:arg value='-snapshot'/></qemu:commandline>
</domain>
"""

DISKS: dict[str, tuple[str, Disk]] = {
    "file": (
        "<disk type='file' device='disk'><driver name='qemu' type='qcow2' cache='none'/><source file='/srv/a &amp; b/web.qcow2' index='1'/>"
        "<backingStore type='file'><source file='/srv/base.qcow2'/></backingStore><target dev='vda' bus='virtio'/></disk>",
        Disk("vda", "file", "/srv/a & b/web.qcow2"),
    ),
    "block": ("<disk type='block' device='lun'><source dev='/dev/mapper/x'/><target dev='sda'/></disk>", Disk("sda", "block", "/dev/mapper/x", "lun")),
    "shared block": (
        "<disk type='block' device='disk'><source dev='/dev/sdb'/><target dev='vdb'/><shareable/></disk>",
        Disk("vdb", "block", "/dev/sdb", shareable=True),
    ),
    "rbd": (
        "<disk type='network' device='disk'><source protocol='rbd' name='pool/web'><host name='mon' port='6789'/></source><target dev='vda'/></disk>",
        Disk("vda", "network", "pool/web"),
    ),
    "nbd without a name": (
        "<disk type='network'><source protocol='nbd'><host name='h'/></source><target dev='vda'/></disk>",
        Disk("vda", "network", None),
    ),
    "volume": ("<disk type='volume' device='disk'><source pool='default' volume='web.img'/><target dev='vda'/></disk>", Disk("vda", "volume", "web.img")),
    "directory": ("<disk type='dir' device='floppy'><source dir='/srv/floppy'/><target dev='fda'/></disk>", Disk("fda", "dir", "/srv/floppy", "floppy")),
    "vhost-user": ("<disk type='vhostuser'><source type='unix' path='/run/s'/><target dev='vda'/></disk>", Disk("vda", "vhostuser", "/run/s")),
    "NVMe": ("<disk type='nvme'><source type='pci' managed='yes' namespace='1'/><target dev='vde'/></disk>", Disk("vde", "nvme", "1")),
    "a kind of tomorrow": ("<disk type='cloud'><source where='there'/><target dev='vda'/></disk>", Disk("vda", "cloud", None)),
    "CD": (
        "<disk type='file' device='cdrom'><source file='/srv/x.iso'/><target dev='sda' bus='sata'/><readonly/></disk>",
        Disk("sda", "file", "/srv/x.iso", "cdrom", read_only=True),
    ),
    "empty CD": ("<disk type='file' device='cdrom'><target dev='sda' bus='sata'/><readonly/></disk>", Disk("sda", "file", None, "cdrom", read_only=True)),
    "bare": ("<disk/>", Disk("", "file", None)),
}


@pytest.mark.parametrize("case", DISKS)
def test_disks(case: str) -> None:
    xml, disk = DISKS[case]
    assert guest(WEB.format(disks=xml), True).disks == (disk,)


def test_a_guest() -> None:
    read = guest(WEB.format(disks="".join(xml for xml, _disk in DISKS.values())), persistent=False)
    assert (read.memory_mib, read.vcpus, read.persistent) == (4096, 4, False)
    assert (read.domain_type, read.arch, read.machine, read.emulator) == ("kvm", "x86_64", "pc-q35-7.2", "/usr/bin/qemu-system-x86_64")
    assert len(read.disks) == len(DISKS)
    cpu = etree.fromstring(read.cpu_xml)
    assert (cpu.tag, cpu.findtext("model")) == ("cpu", "Skylake-Server")


def test_as_little_as_there_may_be() -> None:
    assert guest("<domain/>", True) == Guest(0, 1, True, "", "", "", "", "", ())


REFUSED = (etree.XMLSyntaxError, ValueError)


def read_or_refused(xml: str) -> Guest | None:
    with suppress(*REFUSED):
        return guest(xml, True)
    return None


@given(st.text())
def test_garbage_is_refused(text: str) -> None:
    assert read_or_refused(text) is None or text.lstrip().startswith("<")


NAMES = st.sampled_from(["domain", "memory", "vcpu", "os", "type", "cpu", "devices", "disk", "source", "target", "emulator"])
TEXTS = st.one_of(st.text(), st.sampled_from(["&x;", "1", "-1", "<![CDATA[1]]>", "<!-- -->", "1e9"]))
ELEMENTS = st.recursive(TEXTS, lambda inner: st.builds(lambda name, parts: f"<{name}>{''.join(parts)}</{name}>", NAMES, st.lists(inner, max_size=4)))


@given(ELEMENTS)
def test_anything_is_read_or_refused(inside: str) -> None:
    read = read_or_refused(f"<domain>{inside}</domain>")
    assert read is None or isinstance(read, Guest)


PLACES = {
    "text": "<domain><devices><emulator>&x;</emulator></devices></domain>",
    "CPU": "<domain><cpu><model>&x;</model></cpu></domain>",
    "number": "<domain><memory>&x;</memory></domain>",
}


def declared(entity: str, place: str) -> str:
    return f"<!DOCTYPE domain [{entity}]>{PLACES[place]}"


@pytest.mark.parametrize("place", PLACES)
def test_entities_read_no_file(tmp_path: Path, place: str) -> None:
    secret = tmp_path / "secret"
    secret.write_text("4711")
    read = read_or_refused(declared(f"<!ENTITY x SYSTEM '{secret.as_uri()}'>", place))
    assert read is None or ("4711" not in repr(read) and read.memory_mib == 0)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(
    "entity",
    ["<!ENTITY x SYSTEM 'http://{}/'>", "<!ENTITY % y SYSTEM 'http://{}/d.dtd'> %y; <!ENTITY x 'x'>", "<!ENTITY x PUBLIC 'p' 'ftp://{}/x'>"],
    ids=["entity", "parameter entity", "public"],
)
def test_entities_ask_nobody(entity: str, place: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        read_or_refused(declared(entity.format(f"127.0.0.1:{server.getsockname()[1]}"), place))
        with pytest.raises(BlockingIOError):
            server.accept()


def test_an_external_dtd_is_not_loaded(tmp_path: Path) -> None:
    (tmp_path / "d.dtd").write_text("<!ENTITY x '4711'><!ATTLIST domain type CDATA 'stolen'>")
    read = read_or_refused(f"<!DOCTYPE domain SYSTEM '{(tmp_path / 'd.dtd').as_uri()}'>{PLACES['text']}")
    assert read is None or (read.domain_type, read.emulator) == ("", "")


@pytest.mark.parametrize("place", PLACES)
def test_a_billion_laughs_are_not_laughed(place: str) -> None:
    entities = "<!ENTITY a0 'ha'>" + "".join(f"<!ENTITY a{n} '{f'&a{n - 1};' * 10}'>" for n in range(1, 10)) + "<!ENTITY x '&a9;'>"
    read = read_or_refused(declared(entities, place))
    assert read is None or len(repr(read)) < 1000


def test_deep_nesting_is_refused() -> None:
    with pytest.raises(etree.XMLSyntaxError):
        guest("<domain>" + "<a>" * 100_000 + "</a>" * 100_000 + "</domain>", True)
