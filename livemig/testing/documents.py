"""XML: what the mock's libvirt writes, made when it is asked for, and the parts it reads of what it is given."""

from __future__ import annotations

import uuid as uuids
from collections.abc import Iterator
from xml.etree import ElementTree
from xml.sax.saxutils import escape, quoteattr

from livemig.testing import capacity, errors, processors
from livemig.testing.fleet import Domain, Host
from livemig.testing.guests import EMULATOR, Definition, Disk, Interface, guest_uuid, mac
from livemig.testing.networks import devices
from livemig.testing.storage import MIB, File, Pool

UNITS = {"b": 1, "bytes": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "k": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
UNITS |= {"KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40, "PiB": 2**50, "EiB": 2**60}
AGENT = "org.qemu.guest_agent.0"


def parse(xml: str, what: str, fault: errors.Fault = errors.XML_DETAIL) -> ElementTree.Element:
    """Raises libvirt's error for what is no XML."""
    try:
        return ElementTree.fromstring(xml)
    except ElementTree.ParseError as reason:
        raise fault(what=what, reason=reason) from None


# Domains


def domain(guest: Domain, inactive: bool = False, migratable: bool = False) -> str:
    """virDomainGetXMLDesc. What libvirt has found out about backing files is in the live XML only, and not in its migratable form."""
    what = guest.definition
    if what.xml is not None:
        return _given(guest, inactive)
    number = f" id='{guest.id}'" if guest.active and not inactive else ""
    return f"""<domain type='{what.virt_type}'{number}>
  <name>{escape(what.name)}</name>
  <uuid>{what.uuid}</uuid>
{_texts(what)}  <memory unit='KiB'>{what.memory_mib * 1024}</memory>
  <currentMemory unit='KiB'>{what.memory_mib * 1024}</currentMemory>
  <vcpu placement='static'>{what.vcpus}</vcpu>
  <os>
    <type arch='x86_64' machine='{what.machine}'>hvm</type>
    <boot dev='hd'/>
  </os>
  <cpu mode='custom' match='exact' check='full'>
    <model fallback='forbid'>{what.cpu_model}</model>
  </cpu>
  <devices>
    <emulator>{EMULATOR}</emulator>
{_disks(guest, inactive or migratable)}{"".join(_interface(guest, *each, inactive) for each in devices(guest))}{_agent(guest, inactive)}  </devices>
</domain>
"""


def _texts(what: Definition) -> str:
    title = f"  <title>{escape(what.title)}</title>\n" if what.title else ""
    description = f"  <description>{escape(what.description)}</description>\n" if what.description else ""
    return title + description + (f"  <metadata>\n{''.join(_metadata(what))}  </metadata>\n" if what.metadata else "")


def _metadata(what: Definition) -> Iterator[str]:
    return (f"    {namespaced(xml, key, uri)}\n" for uri, (key, xml) in what.metadata.items())


def namespaced(xml: str, key: str, uri: str) -> str:
    """A metadata element under the prefix and the namespace that it was stored with."""
    element = ElementTree.fromstring(xml)
    ElementTree.register_namespace(key, uri)
    for each in element.iter():
        if not each.tag.startswith("{"):
            each.tag = f"{{{uri}}}{each.tag}"
    return ElementTree.tostring(element, encoding="unicode")


def _disks(guest: Domain, hidden: bool) -> str:
    return "".join(_disk(disk, _backing(guest, disk, hidden)) for disk in guest.definition.disks)


def _backing(guest: Domain, disk: Disk, hidden: bool) -> str:
    """The backing store of a running guest's disk, down to the last file."""
    if disk.network or not guest.active or (hidden and disk.format != "raw"):
        return ""
    found = guest.host.file(disk.path)
    return _store(guest.host, found.backing if found else None)


def _store(host: Host, backing: tuple[str, str] | None) -> str:
    if backing is None:
        return "<backingStore/>"
    path, kind = backing
    found = host.file(path)
    below = _store(host, found.backing if found else None)
    return f"<backingStore type='file'><format type='{kind}'/><source file={quoteattr(path)}/>{below}</backingStore>"


def _disk(disk: Disk, backing: str) -> str:
    source = f"<source protocol='{disk.network}' name={quoteattr(disk.path)}/>" if disk.network else f"<source file={quoteattr(disk.path)}/>"
    return f"""    <disk type='{"network" if disk.network else "file"}' device='{disk.device}'>
      <driver name='qemu' type='{disk.format}'/>
      {source}{backing}
      <target dev='{disk.target}' bus='virtio'/>
{"      <readonly/>" if disk.read_only else ""}    </disk>
"""


def _interface(guest: Domain, device: str, interface: Interface, inactive: bool) -> str:
    source = "bridge" if interface.kind == "bridge" else "network"
    target = f"      <target dev='{device}'/>\n" if guest.active and not inactive else ""
    return f"""    <interface type='{interface.kind}'>
      <mac address='{interface.mac}'/>
      <source {source}={quoteattr(interface.network)}/>
{target}      <model type='virtio'/>
    </interface>
"""


def _agent(guest: Domain, inactive: bool) -> str:
    state = "" if inactive or not guest.active else " state='connected'"
    channel = f"<channel type='unix'><target type='virtio' name='{AGENT}'{state}/></channel>"
    return f"    {channel}\n" if guest.definition.agent else ""


def _given(guest: Domain, inactive: bool) -> str:
    """A client's own XML, with what libvirt knows better."""
    root = ElementTree.fromstring(guest.definition.xml or "")
    if guest.active and not inactive:
        root.set("id", str(guest.id))
    uuid = root.find("uuid")
    if uuid is None:
        uuid = ElementTree.Element("uuid")
        root.insert(1, uuid)
    uuid.text = guest.definition.uuid
    devices_of = root.find("devices")
    if devices_of is not None and devices_of.find("emulator") is None:
        ElementTree.SubElement(devices_of, "emulator").text = EMULATOR
    for memory in root.findall("memory") + root.findall("currentMemory"):
        memory.text = str(size(memory) // 1024)
        memory.set("unit", "KiB")
    for element, (device, interface) in zip(root.iterfind("devices/interface"), devices(guest), strict=False):
        _set(element, "mac", "address", interface.mac)
        if guest.active and not inactive:
            _set(element, "target", "dev", device)
    for old in root.findall("metadata"):
        root.remove(old)
    if guest.definition.metadata:
        root.append(ElementTree.fromstring(f"<metadata>{''.join(_metadata(guest.definition))}</metadata>"))
    return ElementTree.tostring(root, encoding="unicode")


def _set(parent: ElementTree.Element, tag: str, attribute: str, value: str) -> None:
    element = parent.find(tag)
    (ElementTree.SubElement(parent, tag) if element is None else element).set(attribute, value)


def definition(xml: str, host: Host) -> Definition:
    """A domain's XML, as a host reads it. Raises libvirt's error for one that cannot be used."""
    root = parse(xml, "domain_definition")
    name = root.findtext("name")
    if not name:
        raise errors.NO_NAME()
    kind = root.find("os/type")
    machine = "pc" if kind is None else kind.get("machine", "pc")
    return Definition(
        name=name,
        uuid=str(uuids.UUID(root.findtext("uuid") or guest_uuid(name))),
        memory_mib=size(root.find("memory")) // MIB,
        vcpus=int(root.findtext("vcpu", "1")),
        disks=tuple(map(_parsed_disk, root.iterfind("devices/disk"))),
        interfaces=tuple(_parsed_interface(element, name, number) for number, element in enumerate(root.iterfind("devices/interface"))),
        agent=root.find(f"devices/channel/target[@name='{AGENT}']") is not None,
        cpu_model=root.findtext("cpu/model", "qemu64"),
        machine=capacity.canonical(host, machine),
        virt_type=root.get("type", "qemu"),
        xml=xml,
        metadata={element.tag[1:].partition("}")[0]: ("m", ElementTree.tostring(element, encoding="unicode")) for element in root.iterfind("metadata/*")},
        title=root.findtext("title"),
        description=root.findtext("description"),
    )


def _parsed_disk(element: ElementTree.Element) -> Disk:
    source, target, driver = (element.find(tag) for tag in ("source", "target", "driver"))
    source = ElementTree.Element("source") if source is None else source
    return Disk(
        path=source.get("file") or source.get("dev") or source.get("name") or "",
        target="" if target is None else target.get("dev", ""),
        network=source.get("protocol"),
        read_only=element.find("readonly") is not None,
        device=element.get("device", "disk"),
        format="raw" if driver is None else driver.get("type", "raw"),
    )


def _parsed_interface(element: ElementTree.Element, guest: str, number: int) -> Interface:
    source, address = element.find("source"), element.find("mac")
    given = {} if source is None else source.attrib
    return Interface(
        mac=mac(guest, number) if address is None else address.get("address", ""),
        network=given.get("network") or given.get("bridge") or given.get("dev") or "default",
        kind=element.get("type", "network"),
    )


def size(element: ElementTree.Element | None, unit: str = "KiB") -> int:
    """Bytes."""
    return 0 if element is None else int(float(element.text or 0) * UNITS[element.get("unit", unit)])


# Hosts


def capabilities(host: Host) -> str:
    """virConnectGetCapabilities."""
    machines = "".join(f"      <machine maxCpus='{host.max_vcpus}'>{machine}</machine>\n" for machine in host.machines)
    kinds = "".join(f"      <domain type='{kind}'/>\n" for kind in host.virt_types)
    machines += "".join(f"      <machine canonical='{machine}'>{alias}</machine>\n" for alias, machine in capacity.aliases(host).items())
    return f"""<capabilities>
  <host>
    <uuid>{host.uuid}</uuid>
    <cpu>
      <arch>x86_64</arch>
      <model>{host.cpu_model}</model>
      <vendor>{processors.vendor(host.cpu_model)}</vendor>
      <topology sockets='1' dies='1' cores='{host.vcpus}' threads='1'/>
    </cpu>
    <migration_features>
      <live/>
      <uri_transports>
        <uri_transport>tcp</uri_transport>
      </uri_transports>
    </migration_features>
    <topology>
      <cells num='{host.numa_nodes}'>
{"".join(_cell(host, number) for number in range(host.numa_nodes))}      </cells>
    </topology>
  </host>
  <guest>
    <os_type>hvm</os_type>
    <arch name='x86_64'>
      <wordsize>64</wordsize>
      <emulator>{EMULATOR}</emulator>
{machines}{kinds}    </arch>
  </guest>
</capabilities>
"""


def _cell(host: Host, number: int) -> str:
    memory = host.memory_mib * 1024 // host.numa_nodes
    counts = {4: memory // 4, 2048: 0, 1048576: 0, **host.huge_pages}
    pages = "".join(f"          <pages unit='KiB' size='{size}'>{count}</pages>\n" for size, count in counts.items())
    return f"        <cell id='{number}'>\n          <memory unit='KiB'>{memory}</memory>\n{pages}        </cell>\n"


def domain_capabilities(host: Host, machine: str, virt_type: str) -> str:
    """virConnectGetDomainCapabilities."""
    models = "".join(
        f"      <model usable='{'yes' if processors.runs(host.cpu_model, model) else 'no'}' vendor='{processors.vendor(model)}'>{model}</model>\n"
        for model in processors.KNOWN
    )
    backends = "".join(f"        <value>{backend}</value>\n" for backend in host.tpm_backends)
    return f"""<domainCapabilities>
  <path>{EMULATOR}</path>
  <domain>{virt_type}</domain>
  <machine>{machine}</machine>
  <arch>x86_64</arch>
  <vcpu max='{host.max_vcpus}'/>
  <cpu>
    <mode name='host-passthrough' supported='yes'/>
    <mode name='host-model' supported='yes'>
      <model fallback='forbid'>{host.cpu_model}</model>
      <vendor>{processors.vendor(host.cpu_model)}</vendor>
    </mode>
    <mode name='custom' supported='yes'>
{models}    </mode>
  </cpu>
  <devices>
    <tpm supported='yes'>
      <enum name='backendModel'>
{backends}      </enum>
    </tpm>
  </devices>
</domainCapabilities>
"""


# Storage


def pool(what: Pool) -> str:
    """virStoragePoolGetXMLDesc."""
    capacity, available = what.directory.capacity_mib * MIB, what.directory.available
    return f"""<pool type='dir'>
  <name>{escape(what.name)}</name>
  <uuid>{what.uuid}</uuid>
  <capacity unit='bytes'>{capacity}</capacity>
  <allocation unit='bytes'>{capacity - available}</allocation>
  <available unit='bytes'>{available}</available>
  <source>
  </source>
  <target>
    <path>{escape(what.path)}</path>
  </target>
</pool>
"""


def volume(path: str, name: str, file: File) -> str:
    """virStorageVolGetXMLDesc."""
    mode, owner, group = file.permissions
    backing = ""
    if file.backing:
        backing = f"  <backingStore>\n    <path>{escape(file.backing[0])}</path>\n    <format type='{file.backing[1]}'/>\n  </backingStore>\n"
    changed = f"{file.changed // 10**9}.{file.changed % 10**9:09}"
    return f"""<volume type='{"dir" if file.format == "dir" else "file"}'>
  <name>{escape(name)}</name>
  <key>{escape(path)}</key>
  <capacity unit='bytes'>{file.capacity}</capacity>
  <allocation unit='bytes'>{file.allocation}</allocation>
  <physical unit='bytes'>{file.length}</physical>
  <target>
    <path>{escape(path)}</path>
    <format type='{file.format}'/>
    <permissions>
      <mode>{mode}</mode>
      <owner>{owner}</owner>
      <group>{group}</group>
    </permissions>
    <timestamps>
      <atime>{changed}</atime>
      <mtime>{changed}</mtime>
      <ctime>{changed}</ctime>
      <btime>0</btime>
    </timestamps>
  </target>
{backing}</volume>
"""


def file(root: ElementTree.Element) -> File:
    """A volume's XML. A raw file takes its whole capacity unless it says otherwise; others grow."""
    kind = root.find("target/format")
    what = "raw" if kind is None else kind.get("type", "raw")
    capacity, allocation = size(root.find("capacity"), "bytes"), root.find("allocation")
    path = root.findtext("backingStore/path")
    base = root.find("backingStore/format")
    given = [root.findtext(f"target/permissions/{name}") for name in ("mode", "owner", "group")]
    mode, owner, group = (said or usual for said, usual in zip(given, File().permissions, strict=True))
    return File(
        capacity,
        size(allocation, "bytes") if allocation is not None else capacity * (what == "raw"),
        what,
        backing=(path, "raw" if base is None else base.get("type", "raw")) if path else None,
        permissions=(mode, owner, group),
    )
