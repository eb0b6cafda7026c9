"""What of a guest is bound to its host: processors, memory, networks, devices, as its domain's XML has them (https://libvirt.org/formatdomain.html).

The kinds of device are the words of the checks' tables. What is here follows libvirt's own refusals (qemuMigrationSrcIsAllowed of 9.0), and what names a
file, an address or a device of the host.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from livemig.facts import Device, Plug

Element = Any  # lxml's

_QEMU = {"qemu": "http://libvirt.org/schemas/domain/qemu/1.0"}
_PINS = ("vcpupin", "emulatorpin", "iothreadpin")
_EVERYWHERE = ("0.0.0.0", "::", "127.0.0.1", "::1", "localhost")
_PLUGS = {"network": "network", "bridge": "bridge", "direct": "dev"}  # the attribute that names the source, by type of interface

# Kind of device; where it stands; what it is called. Both are XPath, the latter from the device itself.
DEVICES: tuple[tuple[str, str, str], ...] = (
    ("hostdev", "devices/hostdev[not(@type='usb')][not(@type='pci' and teaming/@type='transient')]", "string(@type)"),
    ("hostdev usb", "devices/hostdev[@type='usb']", "concat(source/vendor/@id, ':', source/product/@id)"),
    ("interface hostdev", "devices/interface[@type='hostdev'][not(teaming/@type='transient')]", "string(mac/@address)"),
    ("interface vdpa", "devices/interface[@type='vdpa']", "string(mac/@address)"),
    ("interface vhostuser", "devices/interface[@type='vhostuser']", "string(source/@path)"),
    ("filesystem virtiofs", "devices/filesystem[driver/@type='virtiofs']", "string(target/@dir)"),
    ("filesystem", "devices/filesystem[not(driver/@type='virtiofs')]", "string(target/@dir)"),
    ("shmem", "devices/shmem[model/@type='ivshmem' or not(@role='master')]", "string(@name)"),
    ("transient disk", "devices/disk[transient]", "string(target/@dev)"),
    ("block job", "devices/disk[mirror]", "string(target/@dev)"),
    ("invtsc", "cpu[feature[@name='invtsc'][not(@policy) or @policy='require' or @policy='force']][not(../clock/timer[@name='tsc']/@frequency)]", "''"),
    ("launchSecurity", "launchSecurity", "string(@type)"),
    ("3D acceleration", "devices/video/model[acceleration/@accel3d='yes']", "string(@type)"),
    ("tpm passthrough", "devices/tpm[backend/@type='passthrough']", "string(backend/device/@path)"),
    ("tpm emulator", "devices/tpm[backend/@type='emulator']", "string(@model)"),
    ("character device", "devices/*[self::serial or self::parallel or self::channel][@type='file' or @type='dev' or @type='pipe']", "string(source/@path)"),
    ("socket", "devices/*[self::serial or self::parallel or self::channel][@type='unix'][source/@mode='connect']", "string(source/@path)"),
    ("boot file", "os/*[self::kernel or self::initrd or self::dtb or self::loader][text()]", "string(.)"),
    ("vsock", "devices/vsock[not(cid/@auto='yes')]", "string(cid/@address)"),
    ("memory device", "devices/memory[source/path]", "string(source/path)"),
    ("input device", "devices/input[@type='passthrough' or @type='evdev']", "string(source/@evdev | source/@dev)"),
    ("arguments", "qemu:commandline[qemu:arg]", "string(qemu:arg/@value)"),
)

# Where a guest's QEMU listens on an address of its host.
_LISTENING = "devices/graphics/@listen | devices/graphics/listen[@type='address']/@address | devices/*[@type='tcp' or @type='udp']/source[@mode='bind']/@host"


def devices(domain: Element) -> tuple[Device, ...]:
    """What may not be at another host, in the order of the table; addresses come last."""
    found = ((kind, what, element) for kind, where, what in DEVICES for element in domain.xpath(where, namespaces=_QEMU))
    named = [Device(kind, str(element.xpath(what, namespaces=_QEMU))) for kind, what, element in found]
    addresses = dict.fromkeys(str(address) for address in domain.xpath(_LISTENING) if address not in _EVERYWHERE)
    return (*named, *(Device("address", address) for address in addresses))


def plugs(domain: Element) -> tuple[Plug, ...]:
    """The networks, bridges and devices that its interfaces use, each once."""
    found = ((interface.get("type", ""), interface.find("source")) for interface in domain.iterfind("devices/interface"))
    named = (Plug(kind, source.get(_PLUGS[kind], "")) for kind, source in found if kind in _PLUGS and source is not None)
    return tuple(dict.fromkeys(plug for plug in named if plug.name))


def cpus(domain: Element) -> frozenset[int]:
    """The host's processors that any of its threads is pinned to."""
    pins = (pin.get("cpuset", "") for name in _PINS for pin in domain.iterfind(f"cputune/{name}"))
    vcpu = domain.find("vcpu")
    return frozenset().union(*map(numbers, pins), numbers("" if vcpu is None else vcpu.get("cpuset", "")))


def numa_nodes(domain: Element) -> frozenset[int]:
    """The host's NUMA nodes that its memory comes from."""
    return frozenset().union(*(numbers(element.get("nodeset", "")) for element in domain.iterfind("numatune/*")))


def huge_pages_kib(domain: Element) -> Mapping[int, int]:
    """What of its memory is in huge pages, by their size in KiB; 0 is the size that the host has by default."""
    backing = domain.find("memoryBacking/hugepages")
    if backing is None:
        return {}
    pages = backing.findall("page")
    if not pages:
        return {0: _kib(domain.find("memory"))}
    cells = {int(cell.get("id", "0")): _kib(cell) for cell in domain.iterfind("cpu/numa/cell")} or {0: _kib(domain.find("memory"))}
    needed: dict[int, int] = {}
    for size, number in _by_cell(pages, cells):
        needed[size] = needed.get(size, 0) + cells[number]
    return needed


def _by_cell(pages: list[Element], cells: Mapping[int, int]) -> Iterator[tuple[int, int]]:
    """(size in KiB, cell): a page with a nodeset is for those cells, one without for all others."""
    chosen = {number: page for page in pages for number in numbers(page.get("nodeset", ""))}
    rest = next((page for page in pages if page.get("nodeset") is None), None)
    for number in cells:
        page = chosen.get(number, rest)
        if page is not None:
            yield _kib(page, "size"), number


def numbers(text: str) -> frozenset[int]:
    """A set of libvirt's: "0-3,^2,8" is 0, 1, 3 and 8 (virBitmapParse). Raises ValueError."""
    found: set[int] = set()
    for part in filter(None, text.split(",")):
        first, _, last = part.lstrip("^").partition("-")
        these = range(int(first), int(last or first) + 1)
        found = found - set(these) if part.startswith("^") else found | set(these)
    return frozenset(found)


_UNITS = {"b": 1 / 1024, "bytes": 1 / 1024, "KiB": 1, "k": 1, "K": 1, "MiB": 2**10, "M": 2**10, "GiB": 2**20, "G": 2**20, "TiB": 2**30, "T": 2**30}


def _kib(element: Element, attribute: str = "") -> int:
    """A size: an attribute (of a cell: memory), or the element's text."""
    if element is None:
        return 0
    text = element.get(attribute or "memory") or element.text or "0"
    return int(int(text) * _UNITS.get(element.get("unit", "KiB"), 1))
