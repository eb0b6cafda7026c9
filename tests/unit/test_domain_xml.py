"""What is read in a domain's XML, and what XML may not do."""

from __future__ import annotations

import socket
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from livemig.facts import Backing, Device, Disk, Guest, Plug, Presence
from livemig.hypervisor.domain_xml import UNREADABLE, describe, guest

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
        Disk("vda", "file", "/srv/a & b/web.qcow2", format="qcow2", backing=(Backing("/srv/base.qcow2", "raw"),)),
    ),
    "a chain": (
        "<disk><driver name='qemu' type='qcow2'/><source file='/srv/web'/><backingStore type='file'><format type='qcow2'/><source file='/srv/middle'/>"
        "<backingStore type='network'><format type='raw'/><source protocol='rbd' name='pool/base'/><backingStore/></backingStore></backingStore></disk>",
        Disk("", "file", "/srv/web", format="qcow2", backing=(Backing("/srv/middle", "qcow2"), Backing("pool/base", "raw", "network"))),
    ),
    "a backing store of tomorrow": (
        "<disk><source file='/srv/web'/><backingStore type='cloud'><source where='there'/></backingStore></disk>",
        Disk("", "file", "/srv/web", backing=(Backing("", "raw", "cloud"),)),
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


HUGE_TEXT = "x" * 11_000_000  # libxml2's limit for one text is 10 MB
BAD = {
    "deep": "<domain>" + "<a>" * 100_000 + "</a>" * 100_000 + "</domain>",
    "huge": f"<domain><title>{HUGE_TEXT}</title></domain>",
    "a huge attribute": f"<domain type='{HUGE_TEXT}'/>",
    "empty": "",
    "half of it": "<domain><name>web</name>",
    "no number": "<domain><memory>much</memory></domain>",
    "a surrogate": "<domain><name>\ud800</name></domain>",
    "NUL": "<domain><name>\0</name></domain>",
}


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_read_has_no_details(case: str) -> None:
    """It is in the list all the same: a guest that its own metadata hides would be lost."""
    facts = describe("5b2d7b1e-6d8f-4b5e-9a3c-2f1f0a4c6d7e", Presence.RUNNING, BAD[case]).facts
    assert (facts.presence, facts.details) == (Presence.RUNNING, False)
    with pytest.raises(UNREADABLE):
        guest(BAD[case], True)


@given(ELEMENTS)
def test_whatever_it_is_it_is_described(inside: str) -> None:
    for xml in (inside, f"<domain>{inside}</domain>", f"<domain><metadata>{inside}</metadata></domain>"):
        assert describe("5b2d7b1e-6d8f-4b5e-9a3c-2f1f0a4c6d7e", Presence.PAUSED, xml).facts.presence is Presence.PAUSED


# What is bound to the host

IN_DEVICES: dict[str, tuple[str, Device | None]] = {
    "PCI": ("<hostdev mode='subsystem' type='pci' managed='yes'><source><address bus='0x06'/></source></hostdev>", Device("hostdev", "pci")),
    "PCI that is unplugged": ("<hostdev mode='subsystem' type='pci'><teaming type='transient' persistent='ua-n'/></hostdev>", None),
    "mdev": ("<hostdev mode='subsystem' type='mdev'><teaming type='transient'/></hostdev>", Device("hostdev", "mdev")),
    "SCSI": ("<hostdev mode='subsystem' type='scsi'/>", Device("hostdev", "scsi")),
    "capability": ("<hostdev mode='capabilities' type='storage'/>", Device("hostdev", "storage")),
    "USB": (
        "<hostdev mode='subsystem' type='usb'><source><vendor id='0x1234'/><product id='0xbeef'/></source></hostdev>",
        Device("hostdev usb", "0x1234:0xbeef"),
    ),
    "PCI NIC": ("<interface type='hostdev'><mac address='52:54:00:00:00:01'/></interface>", Device("interface hostdev", "52:54:00:00:00:01")),
    "PCI NIC that is unplugged": ("<interface type='hostdev'><teaming type='transient'/></interface>", None),
    "vDPA": ("<interface type='vdpa'><mac address='52:54:00:00:00:02'/></interface>", Device("interface vdpa", "52:54:00:00:00:02")),
    "vhost-user": ("<interface type='vhostuser'><source type='unix' path='/run/v'/></interface>", Device("interface vhostuser", "/run/v")),
    "virtiofs": ("<filesystem type='mount'><driver type='virtiofs'/><target dir='src'/></filesystem>", Device("filesystem virtiofs", "src")),
    "9p": ("<filesystem type='mount'><source dir='/srv'/><target dir='data'/></filesystem>", Device("filesystem", "data")),
    "legacy shmem": ("<shmem name='s' role='master'><model type='ivshmem'/></shmem>", Device("shmem", "s")),
    "shmem peer": ("<shmem name='s'><model type='ivshmem-plain'/></shmem>", Device("shmem", "s")),
    "shmem master": ("<shmem name='s' role='master'><model type='ivshmem-plain'/></shmem>", None),
    "transient disk": ("<disk type='file'><target dev='vda'/><transient/></disk>", Device("transient disk", "vda")),
    "mirror": ("<disk type='file'><mirror type='file' job='copy'/><target dev='vdb'/></disk>", Device("block job", "vdb")),
    "3D": ("<video><model type='virtio'><acceleration accel3d='yes'/></model></video>", Device("3D acceleration", "virtio")),
    "2D": ("<video><model type='virtio'><acceleration accel3d='no'/></model></video>", None),
    "TPM of the host": (
        "<tpm model='tpm-tis'><backend type='passthrough'><device path='/dev/tpm0'/></backend></tpm>",
        Device("tpm passthrough", "/dev/tpm0"),
    ),
    "TPM": ("<tpm model='tpm-crb'><backend type='emulator' version='2.0'/></tpm>", Device("tpm emulator", "tpm-crb")),
    "serial file": ("<serial type='file'><source path='/var/log/web' append='on'/></serial>", Device("character device", "/var/log/web")),
    "serial of the host": ("<parallel type='dev'><source path='/dev/parport0'/></parallel>", Device("character device", "/dev/parport0")),
    "pty": ("<serial type='pty'><source path='/dev/pts/3'/></serial>", None),
    "socket": ("<channel type='unix'><source mode='bind' path='/run/agent'/></channel>", None),
    "socket of another's": ("<channel type='unix'><source mode='connect' path='/run/x'/></channel>", Device("socket", "/run/x")),
    "vsock": ("<vsock model='virtio'><cid auto='no' address='7'/></vsock>", Device("vsock", "7")),
    "vsock by itself": ("<vsock model='virtio'><cid auto='yes' address='3'/></vsock>", None),
    "NVDIMM": ("<memory model='nvdimm'><source><path>/srv/nv</path></source></memory>", Device("memory device", "/srv/nv")),
    "DIMM": ("<memory model='dimm'><target><size unit='KiB'>1</size></target></memory>", None),
    "evdev": ("<input type='evdev'><source dev='/dev/input/e1'/></input>", Device("input device", "/dev/input/e1")),
    "input": ("<input type='passthrough'><source evdev='/dev/input/e2'/></input>", Device("input device", "/dev/input/e2")),
    "VNC everywhere": ("<graphics type='vnc' listen='0.0.0.0'><listen type='address' address='0.0.0.0'/></graphics>", None),
    "VNC": ("<graphics type='vnc' listen='10.0.0.1'><listen type='address' address='10.0.0.1'/></graphics>", Device("address", "10.0.0.1")),
    "VNC on a socket": ("<graphics type='vnc'><listen type='socket' socket='/run/vnc'/></graphics>", None),
    "console by TCP": ("<serial type='tcp'><source mode='bind' host='10.0.0.5' service='23'/></serial>", Device("address", "10.0.0.5")),
    "console to TCP": ("<serial type='tcp'><source mode='connect' host='10.0.0.5' service='23'/></serial>", None),
}


@pytest.mark.parametrize("case", IN_DEVICES)
def test_devices_of_the_host(case: str) -> None:
    xml, device = IN_DEVICES[case]
    arguments = Device("arguments", "-snapshot")
    assert guest(WEB.format(disks=xml), True).devices == ((device, arguments) if device and device.kind != "address" else (arguments, *filter(None, [device])))


BESIDE: dict[str, tuple[str, tuple[Device, ...]]] = {
    "invtsc": ("<cpu><feature policy='require' name='invtsc'/></cpu>", (Device("invtsc"),)),
    "no invtsc": ("<cpu><feature policy='disable' name='invtsc'/></cpu>", ()),
    "invtsc of a known frequency": ("<cpu><feature name='invtsc'/></cpu><clock><timer name='tsc' frequency='2300000000'/></clock>", ()),
    "SEV": ("<launchSecurity type='sev'><policy>1</policy></launchSecurity>", (Device("launchSecurity", "sev"),)),
    "firmware": (
        "<os><loader type='pflash'>/usr/share/x.fd</loader><nvram>/var/n</nvram><kernel>/boot/v</kernel></os>",
        (Device("boot file", "/usr/share/x.fd"), Device("boot file", "/boot/v")),
    ),
    "nothing": ("<devices/>", ()),
}


@pytest.mark.parametrize("case", BESIDE)
def test_what_else_is_of_the_host(case: str) -> None:
    xml, devices = BESIDE[case]
    assert guest(f"<domain>{xml}</domain>", True).devices == devices


def test_where_it_is_plugged_in() -> None:
    interfaces = (
        "<interface type='network'><source network='blue' portid='x'/></interface>"
        "<interface type='network'><source network='blue'/></interface>"
        "<interface type='bridge'><source bridge='br0'/></interface>"
        "<interface type='direct'><source dev='eth0' mode='bridge'/></interface>"
        "<interface type='user'/><interface type='bridge'/><interface type='ethernet'><source/></interface>"
    )
    plugs = guest(f"<domain><devices>{interfaces}</devices></domain>", True).plugs
    assert plugs == (Plug("network", "blue"), Plug("bridge", "br0"), Plug("direct", "eth0"))


def test_pinning() -> None:
    read = guest(
        "<domain><vcpu cpuset='0-3,^2'>4</vcpu><cputune><vcpupin vcpu='0' cpuset='7'/><emulatorpin cpuset='8'/><iothreadpin iothread='1' cpuset='9'/>"
        "</cputune><numatune><memory mode='strict' nodeset='0'/><memnode cellid='0' mode='strict' nodeset='2-3'/></numatune></domain>",
        True,
    )
    assert (read.cpus, read.numa_nodes) == (frozenset({0, 1, 3, 7, 8, 9}), frozenset({0, 2, 3}))
    assert (guest("<domain><vcpu>4</vcpu></domain>", True).cpus, guest("<domain/>", True).numa_nodes) == (frozenset(), frozenset())


HUGE = "<page size='2048' unit='KiB' nodeset='0'/>"
CELLS = "<cpu><numa><cell id='0' memory='1048576' unit='KiB'/><cell id='1' memory='2097152' unit='KiB'/></numa></cpu>"
HUGE_PAGES: dict[str, tuple[str, dict[int, int]]] = {
    "none": ("", {}),
    "of the default size": ("<memoryBacking><hugepages/></memoryBacking>", {0: 4194304}),
    "of one size": ("<memoryBacking><hugepages><page size='1' unit='G'/></hugepages></memoryBacking>", {1048576: 4194304}),
    "for one cell": (f"{CELLS}<memoryBacking><hugepages>{HUGE}</hugepages></memoryBacking>", {2048: 1048576}),
    "of two sizes": (f"{CELLS}<memoryBacking><hugepages>{HUGE}<page size='1' unit='GiB'/></hugepages></memoryBacking>", {2048: 1048576, 1048576: 2097152}),
    "of one size for two cells": (f"{CELLS}<memoryBacking><hugepages><page size='2' unit='M'/></hugepages></memoryBacking>", {2048: 3145728}),
}


@pytest.mark.parametrize("case", HUGE_PAGES)
def test_huge_pages(case: str) -> None:
    xml, pages = HUGE_PAGES[case]
    assert guest(f"<domain><memory unit='KiB'>4194304</memory>{xml}</domain>", True).huge_pages_kib == pages


def test_huge_pages_of_no_memory() -> None:
    assert guest("<domain><memoryBacking><hugepages/></memoryBacking></domain>", True).huge_pages_kib == {0: 0}
