"""Look-ups, definitions, hosts and storage: the same in the mock and from libvirtd."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any
from xml.etree import ElementTree

import pytest

from tests.contract.pair import SOURCE, Pair
from tests.contract.worlds import GUEST

ABSENT = "00000000-0000-4000-8000-000000000000"


def test_look_ups(pair: Pair) -> None:
    guest, source = pair.guest, pair.source
    for found in (source.lookupByUUIDString(guest.UUIDString()), source.lookupByID(guest.ID()), source.listAllDomains(0)[0]):
        assert (found.name(), found.UUIDString()) == (GUEST, guest.UUIDString())
    codes = (
        (source.lookupByUUIDString, ABSENT, "VIR_ERR_NO_DOMAIN"),
        (source.lookupByUUIDString, "no uuid", "VIR_ERR_INVALID_ARG"),
        (source.lookupByName, "nobody", "VIR_ERR_NO_DOMAIN"),
        (source.lookupByID, 99999, "VIR_ERR_NO_DOMAIN"),
    )
    for function, key, code in codes:
        assert pair.code(function, key) == getattr(pair.libvirt, code), key
    assert source.numOfDomains() == 1
    assert source.listAllDomains(pair.libvirt.VIR_CONNECT_LIST_DOMAINS_INACTIVE) == []


def test_connections(pair: Pair) -> None:
    libvirt = pair.libvirt
    for uri in (pair.source_uri.replace("/system", ":1/system"), "qemu+tcp://no-such-host.invalid/system"):
        assert pair.code(libvirt.open, uri) == libvirt.VIR_ERR_SYSTEM_ERROR
    connection = pair.open(pair.source_uri)
    assert connection.isAlive() == 1
    assert connection.getURI() == pair.source_uri
    connection.close()
    assert pair.code(connection.getHostname) == libvirt.VIR_ERR_INVALID_CONN
    assert pair.code(connection.isAlive) == libvirt.VIR_ERR_INVALID_CONN


def test_host(pair: Pair) -> None:
    source = pair.source
    assert source.getType() == "QEMU"
    assert source.getHostname() in ("node1", "node2")
    assert source.getVersion() > 1_000_000 and source.getLibVersion() > 1_000_000
    model, memory_mib, cpus, *rest = source.getInfo()
    assert model == "x86_64" and memory_mib > 0 and cpus > 0 and len(rest) == 5
    stats = source.getMemoryStats(pair.libvirt.VIR_NODE_MEMORY_STATS_ALL_CELLS)
    assert set(stats) == {"total", "free", "buffers", "cached"}
    host = ElementTree.fromstring(source.getCapabilities())
    assert host.findtext("host/cpu/arch") == "x86_64"
    assert set(pair.world.release.machines) <= {machine.text for machine in host.iterfind("guest/arch/machine")}
    assert "eth0" in {interface.name() for interface in source.listAllInterfaces(0)}
    assert {network.name() for network in source.listAllNetworks(0)} <= {"default"}
    assert pair.code(source.networkLookupByName, "no-such-network") == pair.libvirt.VIR_ERR_NO_NETWORK


def test_processors(pair: Pair) -> None:
    libvirt, compare = pair.libvirt, pair.source.compareHypervisorCPU
    cpu = "<cpu mode='custom' match='exact'><model>{}</model></cpu>"
    here = (None, "x86_64", "q35", "qemu")
    assert compare(*here, cpu.format("qemu64"), 0) == libvirt.VIR_CPU_COMPARE_SUPERSET
    assert compare(*here, cpu.format(pair.world.bad_cpu), 0) == libvirt.VIR_CPU_COMPARE_INCOMPATIBLE
    strict = libvirt.VIR_CONNECT_COMPARE_CPU_FAIL_INCOMPATIBLE
    assert pair.code(compare, *here, cpu.format(pair.world.bad_cpu), strict) == libvirt.VIR_ERR_CPU_INCOMPATIBLE
    assert pair.code(compare, *here, cpu.format("NoSuchModel"), 0) == libvirt.VIR_ERR_INTERNAL_ERROR
    assert pair.code(compare, *here, "no xml", 0) == libvirt.VIR_ERR_XML_DETAIL
    assert pair.code(compare, None, "x86_64", "no-machine", "qemu", cpu.format("qemu64"), 0) == libvirt.VIR_ERR_INVALID_ARG


def test_domain_capabilities(pair: Pair) -> None:
    ask = pair.source.getDomainCapabilities
    root = ElementTree.fromstring(ask(None, "x86_64", "q35", "qemu", 0))
    assert (root.findtext("domain"), root.findtext("machine"), root.findtext("arch")) == ("qemu", pair.world.release.machines[-1], "x86_64")
    usable = {model.text: model.get("usable") for model in root.iterfind("cpu/mode[@name='custom']/model")}
    assert (usable["qemu64"], usable[pair.world.bad_cpu]) == ("yes", "no")
    assert pair.code(ask, None, "x86_64", "no-machine", "qemu", 0) == pair.libvirt.VIR_ERR_INVALID_ARG
    assert pair.code(ask, None, "no-arch", None, "qemu", 0) == pair.libvirt.VIR_ERR_INVALID_ARG


def test_what_domain_capabilities_refuse(pair: Pair) -> None:
    libvirt, ask, emulator = pair.libvirt, pair.source.getDomainCapabilities, "/usr/bin/qemu-system-x86_64"
    root = ElementTree.fromstring(ask(emulator, "x86_64", "pc-q35-7.2", "qemu", 0))
    assert (root.findtext("path"), root.find("vcpu").get("max")) == (emulator, "288")  # type: ignore[union-attr]
    assert {value.text for value in root.iterfind("devices/tpm/enum[@name='backendModel']/value")} >= {"passthrough"}
    codes = (
        (("/usr/bin/no-qemu", "x86_64", "pc-q35-7.2", "qemu"), "VIR_ERR_SYSTEM_ERROR"),
        ((emulator, "x86_64", "pc-q35-99", "qemu"), "VIR_ERR_INVALID_ARG"),
        ((emulator, "aarch64", "virt", "qemu"), "VIR_ERR_INVALID_ARG"),
        ((emulator, "x86_64", "pc-q35-7.2", "xen"), "VIR_ERR_INVALID_ARG"),
        ((emulator, "x86_64", "pc-q35-7.2", "no-type"), "VIR_ERR_INVALID_ARG"),
    )
    for arguments, code in codes:
        assert pair.code(ask, *arguments, 0) == getattr(libvirt, code), arguments


def test_interfaces_and_networks_by_state(pair: Pair) -> None:
    libvirt, source = pair.libvirt, pair.source
    interfaces = {each.name(): each.isActive() for each in source.listAllInterfaces(0)}
    assert (interfaces["eth0"], interfaces["lo"]) == (1, 0)
    for flag, state in ((libvirt.VIR_CONNECT_LIST_INTERFACES_ACTIVE, 1), (libvirt.VIR_CONNECT_LIST_INTERFACES_INACTIVE, 0)):
        assert {each.name() for each in source.listAllInterfaces(flag)} == {name for name, active in interfaces.items() if active == state}
    networks = {each.name(): each.isActive() for each in source.listAllNetworks(0)}
    for flag, state in ((libvirt.VIR_CONNECT_LIST_NETWORKS_ACTIVE, 1), (libvirt.VIR_CONNECT_LIST_NETWORKS_INACTIVE, 0)):
        assert {each.name() for each in source.listAllNetworks(flag)} == {name for name, active in networks.items() if active == state}


def test_processors_and_pages(pair: Pair) -> None:
    libvirt, source = pair.libvirt, pair.source
    count, online, active = source.getCPUMap(0)
    assert (len(online), sum(online)) == (count, active)
    cells = ElementTree.fromstring(source.getCapabilities()).findall("host/topology/cells/cell")
    assert "0" in {cell.get("id") for cell in cells}
    sizes = [int(pages.get("size", "0")) for pages in cells[0].iterfind("pages")]
    assert sizes[:2] == [4, 2048]
    assert set(source.getFreePages([2048], 0, 1)[0]) == {2048}
    assert set(source.getFreePages([4, 2048], -1, 1)[-1]) == {4, 2048}
    assert pair.code(source.getFreePages, [3], 0, 1) == libvirt.VIR_ERR_OPERATION_FAILED
    assert pair.code(source.getFreePages, [2048], 99, 1) == libvirt.VIR_ERR_INTERNAL_ERROR


SNAPSHOT = "<domainsnapshot><name>s</name><state>running</state><creationTime>1</creationTime><memory snapshot='no'/>{}</domainsnapshot>"


def test_a_guest_with_snapshots_does_not_migrate(pair: Pair) -> None:
    libvirt, guest = pair.libvirt, pair.guest
    assert guest.snapshotNum(0) == 0
    snapshot = guest.snapshotCreateXML(SNAPSHOT.format(guest.XMLDesc(0)), libvirt.VIR_DOMAIN_SNAPSHOT_CREATE_REDEFINE)
    try:
        assert guest.snapshotNum(0) == 1
        [found] = guest.listAllSnapshots(0)
        assert f"<name>{GUEST}</name>" in found.getXMLDesc(0), "it has the whole definition"
        for flag, there in ((libvirt.VIR_CONNECT_LIST_DOMAINS_HAS_SNAPSHOT, True), (libvirt.VIR_CONNECT_LIST_DOMAINS_NO_SNAPSHOT, False)):
            assert (GUEST in [domain.name() for domain in pair.source.listAllDomains(flag)]) is there
        assert pair.code(guest.migrateToURI3, pair.destination_uri, {}, pair.MOVE) == libvirt.VIR_ERR_OPERATION_INVALID
    finally:
        snapshot.delete(libvirt.VIR_DOMAIN_SNAPSHOT_DELETE_METADATA_ONLY)
    assert guest.snapshotNum(0) == 0


def test_guest_at_rest(pair: Pair) -> None:
    libvirt, guest = pair.libvirt, pair.guest
    assert guest.info()[:4] == [guest.state()[0], 256 * 1024, 256 * 1024, 1]
    assert guest.maxMemory() == 256 * 1024
    assert guest.jobStats() == {"type": libvirt.VIR_DOMAIN_JOB_NONE}
    assert guest.jobInfo() == [0] * 12
    for function in (guest.abortJob, guest.migrateStartPostCopy, guest.create):
        assert pair.code(function) == libvirt.VIR_ERR_OPERATION_INVALID
    root = ElementTree.fromstring(guest.XMLDesc(0))
    assert (root.findtext("name"), root.findtext("uuid"), root.get("id")) == (GUEST, guest.UUIDString(), str(guest.ID()))
    assert root.findtext("cpu/model") == "qemu64"
    assert ElementTree.fromstring(guest.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE)).get("id") is None
    [(domain, stats)] = pair.source.getAllDomainStats(libvirt.VIR_DOMAIN_STATS_STATE | libvirt.VIR_DOMAIN_STATS_BALLOON, 0)
    assert domain.UUIDString() == guest.UUIDString()
    assert [stats["state.state"], stats["state.reason"]] == guest.state()
    assert stats["balloon.maximum"] == 256 * 1024


def test_metadata(pair: Pair) -> None:
    libvirt, guest = pair.libvirt, pair.guest
    what = (libvirt.VIR_DOMAIN_METADATA_ELEMENT, "http://example.org/livemig")
    live = libvirt.VIR_DOMAIN_AFFECT_LIVE
    assert pair.code(guest.metadata, *what, live) == libvirt.VIR_ERR_NO_DOMAIN_METADATA
    guest.setMetadata(what[0], "<mark>1</mark>", "k", what[1], live)
    assert guest.metadata(*what, live) == "<mark>1</mark>"
    assert ElementTree.fromstring(guest.XMLDesc(0)).findtext(f"metadata/{{{what[1]}}}mark") == "1"
    guest.setMetadata(what[0], None, "k", what[1], live)
    assert pair.code(guest.metadata, *what, live) == libvirt.VIR_ERR_NO_DOMAIN_METADATA


def test_definition_of_a_running_guest(pair: Pair) -> None:
    libvirt, guest, xml = pair.libvirt, pair.guest, pair.guest.XMLDesc(pair.libvirt.VIR_DOMAIN_XML_INACTIVE)
    guest.setAutostart(1)
    assert guest.autostart() == 1
    guest.setAutostart(0)
    guest.undefine()
    pair.heard(SOURCE, "undefined", 0)
    assert (guest.isPersistent(), guest.isActive()) == (0, 1)
    assert pair.code(guest.undefine) == libvirt.VIR_ERR_OPERATION_INVALID
    assert pair.code(guest.setAutostart, 1) == libvirt.VIR_ERR_OPERATION_INVALID
    pair.source.defineXML(xml)
    pair.heard(SOURCE, "defined", 1)
    assert (guest.isPersistent(), guest.isActive()) == (1, 1)
    assert pair.code(pair.source.defineXML, "<domain/>") == libvirt.VIR_ERR_NO_NAME
    assert pair.code(pair.source.defineXML, "no xml") == libvirt.VIR_ERR_XML_DETAIL


def test_life(pair: Pair) -> None:
    libvirt, guest = pair.libvirt, pair.guest
    guest.suspend()
    assert guest.state() == [libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PAUSED_USER]
    guest.resume()
    assert guest.state() == [libvirt.VIR_DOMAIN_RUNNING, libvirt.VIR_DOMAIN_RUNNING_UNPAUSED]
    assert pair.code(guest.resume) == libvirt.VIR_ERR_OPERATION_INVALID
    guest.destroy()
    pair.heard(SOURCE, "stopped", 1)
    assert guest.state() == [libvirt.VIR_DOMAIN_SHUTOFF, libvirt.VIR_DOMAIN_SHUTOFF_DESTROYED]
    assert pair.source.lookupByName(GUEST).ID() == -1
    for function in (guest.suspend, guest.destroy, guest.migrateStartPostCopy):
        assert pair.code(function) == libvirt.VIR_ERR_OPERATION_INVALID
    assert pair.code(guest.migrateToURI3, pair.destination_uri, {}, pair.MOVE) == libvirt.VIR_ERR_OPERATION_INVALID
    guest.create()
    pair.heard(SOURCE, "started", 0)
    assert guest.state() == [libvirt.VIR_DOMAIN_RUNNING, libvirt.VIR_DOMAIN_RUNNING_BOOTED]
    assert [event for event in pair.names(SOURCE) if event[0] != "shutdown"] == [
        ("suspended", 0),
        ("resumed", 0),
        ("stopped", 1),
        ("resumed", 0),
        ("started", 0),
    ]


# Storage

POOL = "<pool type='dir'><name>{}</name><target><path>{}</path></target></pool>"
PROBE = "<volume><name>livemig-probe</name><capacity>0</capacity></volume>"


@pytest.fixture
def pools(pair: Pair) -> Iterator[Any]:
    """Makes pools on both hosts, and takes them away afterwards."""
    made: list[Any] = []

    def make(name: str, path: str) -> list[Any]:
        made.extend(connection.storagePoolCreateXML(POOL.format(name, path), 0) for connection in (pair.source, pair.destination))
        return made[-2:]

    yield make
    for pool in made:
        with suppress(pair.libvirt.libvirtError):
            pool.destroy()


@pytest.mark.parametrize("place", ["shared", "local"])
def test_probe_tells_shared_from_local(pair: Pair, pools: Any, place: str) -> None:
    here, there = pools("probe", getattr(pair.world, place))
    libvirt = pair.libvirt
    volume = here.createXML(PROBE, 0)
    try:
        assert volume.path() == f"{getattr(pair.world, place)}/livemig-probe"
        assert volume.info() == [libvirt.VIR_STORAGE_VOL_FILE, 0, 0]
        assert pair.code(here.createXML, PROBE, 0) == libvirt.VIR_ERR_STORAGE_VOL_EXIST
        assert pair.code(there.storageVolLookupByName, "livemig-probe") == libvirt.VIR_ERR_NO_STORAGE_VOL
        there.refresh(0)
        seen = pair.code(there.storageVolLookupByName, "livemig-probe")
        assert seen == (None if place == "shared" else libvirt.VIR_ERR_NO_STORAGE_VOL)
        assert pair.source.storageVolLookupByPath(volume.path()).name() == "livemig-probe"
        stale = there.storageVolLookupByName("livemig-probe") if place == "shared" else None
    finally:
        volume.delete(0)
    assert pair.code(volume.delete, 0) == libvirt.VIR_ERR_NO_STORAGE_VOL
    if stale:
        assert pair.code(stale.info) == libvirt.VIR_ERR_NO_STORAGE_VOL
        assert pair.code(stale.delete, 0) is None


def test_pools(pair: Pair, pools: Any) -> None:
    libvirt, source, path = pair.libvirt, pair.source, pair.world.shared
    assert pair.code(source.storagePoolLookupByTargetPath, path) == libvirt.VIR_ERR_NO_STORAGE_POOL
    pool, _other = pools("first", path)
    assert source.storagePoolLookupByTargetPath(path + "/").name() == "first"
    assert source.storagePoolLookupByName("first").UUIDString() == pool.UUIDString()
    assert [each.name() for each in source.listAllStoragePools(0)] == ["first"]
    assert (pool.isActive(), pool.isPersistent()) == (1, 0)
    state, capacity, allocation, available = pool.info()
    assert state == libvirt.VIR_STORAGE_POOL_RUNNING and capacity >= allocation + available
    assert ElementTree.fromstring(pool.XMLDesc(0)).findtext("target/path") == path
    codes = (
        (source.storagePoolCreateXML, (POOL.format("second", path), 0), "VIR_ERR_OPERATION_FAILED"),
        (source.storagePoolCreateXML, (POOL.format("first", "/var/lib/libvirt"), 0), "VIR_ERR_OPERATION_FAILED"),
        (source.storagePoolCreateXML, (POOL.format("third", "/no/such/directory"), 0), "VIR_ERR_SYSTEM_ERROR"),
        (source.storageVolLookupByPath, (f"{path}/none",), "VIR_ERR_NO_STORAGE_VOL"),
        (pool.create, (0,), "VIR_ERR_OPERATION_INVALID"),
        (pool.undefine, (), "VIR_ERR_OPERATION_INVALID"),
    )
    for function, args, code in codes:
        assert pair.code(function, *args) == getattr(libvirt, code), args
    pool.destroy()
    for call in (pool.destroy, pool.isActive, pool.info):
        assert pair.code(call) == libvirt.VIR_ERR_NO_STORAGE_POOL
