"""The mock's calls that no contract case needs, and its refusals that are hard to get from a real daemon."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from xml.etree import ElementTree

import pytest

from livemig.runtime import ThreadRuntime
from livemig.testing import constants as C
from livemig.testing import errors, fleetfile
from livemig.testing import libvirt as module
from livemig.testing.fleet import Fleet, guest_uuid
from livemig.testing.libvirt import Libvirt
from livemig.testing.runtime import VirtualRuntime

WEB = guest_uuid("web")
XML = """
<domain type='qemu'><name>made</name><memory unit='MiB'>512</memory><vcpu>3</vcpu><os><type arch='x86_64' machine='q35'>hvm</type></os>
<metadata><old xmlns='urn:old'/></metadata>
<devices><disk type='file'><source file='/srv/made.raw'/><target dev='vda'/></disk></devices></domain>
"""


@pytest.fixture
def fleet(runtime: VirtualRuntime) -> Fleet:
    fleet = Fleet(runtime)
    for name in "ab":
        fleet.add_host(name)
    fleet.add_directory("/srv")
    fleet.add_guest("web", "a", title="A <web> server", description="of ours", disks=["/srv/web.raw"])
    return fleet


@pytest.fixture
def libvirt(fleet: Fleet) -> Libvirt:
    return fleet.libvirt()


@pytest.fixture
def a(libvirt: Libvirt) -> Any:
    return libvirt.open("qemu+tcp://a/system")


def code(function: Any, *args: Any) -> int | None:
    try:
        function(*args)
    except errors.libvirtError as error:
        return error.get_error_code()
    return None


def test_an_error_has_all_parts_of_libvirts(a: Any) -> None:
    with pytest.raises(errors.libvirtError) as raised:
        a.lookupByName("nobody")
    error = raised.value
    assert (error.get_error_domain(), error.get_error_level()) == (C.VIR_FROM_QEMU, 2)
    assert "nobody" in (error.get_error_message() or "") and error.get_str1() and error.get_str2() is error.get_str3() is None
    assert error.get_int1() == error.get_int2() == -1
    empty = errors.libvirtError("words")
    accessors = [name for name in dir(empty) if name.startswith("get_")]
    assert str(empty) == "words" and {getattr(empty, name)() for name in accessors} == {None}


def test_ways_to_open(libvirt: Libvirt) -> None:
    for connection in (libvirt.openReadOnly("qemu+tcp://a/system"), libvirt.openAuth("qemu+tls://a/system", []), libvirt.open("qemu+ssh://root@a/system")):
        assert connection.getHostname() == "a"
    assert libvirt.getVersion() == 9_000_000
    for uri in ("qemu:///system", "xen://a", "", None):
        assert code(libvirt.open, uri) == C.VIR_ERR_NO_CONNECT
    with pytest.raises(AttributeError, match="no attribute 'openSideways'"):
        libvirt.openSideways  # noqa: B018


def test_small_facts_of_a_host(fleet: Fleet, a: Any) -> None:
    assert a.getMaxVcpus("kvm") > 0
    assert a.getFreeMemory() == (65536 - 2048) * 1024 * 1024
    assert "Haswell" in a.getCPUModelNames("x86_64")
    assert a.listAllInterfaces()[0].isActive() == 1
    assert repr(fleet.hosts["a"]) == "<Host a>"
    assert code(a.getDomainCapabilities, None, "vax", None, None) == C.VIR_ERR_INVALID_ARG


def test_connections_need_an_event_loop_for_keepalive(a: Any) -> None:
    assert code(a.setKeepAlive, 5, 5) == C.VIR_ERR_INTERNAL_ERROR
    a.close()
    assert code(a.close) == C.VIR_ERR_INVALID_CONN


def test_what_belongs_to_what(a: Any) -> None:
    guest = a.lookupByName("web")
    assert guest.connect() is a
    assert (guest.isPersistent(), guest.isActive(), guest.maxVcpus()) == (1, 1, 2)
    pool = a.storagePoolCreateXML("<pool type='dir'><name>p</name><target><path>/srv</path></target></pool>")
    volume = pool.storageVolLookupByName("web.raw")
    assert pool.connect() is volume.connect() is a
    assert volume.key() == volume.path() == "/srv/web.raw"
    assert [each.name() for each in pool.listAllVolumes()] == ["web.raw"] and [each.name() for each in a.listAllStoragePools()] == ["p"]
    assert (pool.isActive(), pool.isPersistent(), pool.UUIDString()) == (1, 0, pool.UUIDString())


def test_a_volume_that_somebody_removed_meanwhile(fleet: Fleet, a: Any) -> None:
    pool = a.storagePoolCreateXML("<pool type='dir'><name>p</name><target><path>/srv</path></target></pool>")
    volume = pool.storageVolLookupByName("web.raw")
    del fleet.shared["/srv"].files["web.raw"]
    assert code(volume.info) == C.VIR_ERR_NO_STORAGE_VOL
    pool.destroy()
    assert code(pool.info) == C.VIR_ERR_NO_STORAGE_POOL


def test_a_pool_that_is_defined_starts_and_stops(a: Any) -> None:
    pool = a.storagePoolDefineXML("<pool type='dir'><name>p</name><target><path>/srv</path></target></pool>")
    assert (pool.isActive(), pool.isPersistent(), pool.info()[0]) == (0, 1, C.VIR_STORAGE_POOL_INACTIVE)
    assert code(pool.refresh) == code(pool.destroy) == C.VIR_ERR_OPERATION_INVALID
    pool.create()
    assert code(pool.create) == code(pool.undefine) == C.VIR_ERR_OPERATION_INVALID
    assert pool.info()[0] == C.VIR_STORAGE_POOL_RUNNING
    pool.destroy()
    assert pool.isActive() == 0
    pool.undefine()
    assert a.listAllStoragePools() == []


def test_a_domain_of_a_clients_own_xml(a: Any) -> None:
    made = a.createXML(XML)
    root = ElementTree.fromstring(made.XMLDesc())
    assert (root.findtext("uuid"), root.get("id"), root.find("metadata") is not None) == (made.UUIDString(), str(made.ID()), True)
    assert ElementTree.fromstring(made.XMLDesc(C.VIR_DOMAIN_XML_INACTIVE)).get("id") is None
    made.setMetadata(C.VIR_DOMAIN_METADATA_ELEMENT, "<new/>", "n", "urn:new")
    made.setMetadata(C.VIR_DOMAIN_METADATA_ELEMENT, None, None, "urn:old")
    assert [element.tag for element in ElementTree.fromstring(made.XMLDesc()).iterfind("metadata/*")] == ["{urn:new}new"]
    assert code(a.createXML, XML) == C.VIR_ERR_OPERATION_INVALID
    assert code(made.setAutostart, 1) == C.VIR_ERR_OPERATION_INVALID
    assert code(made.undefine) == C.VIR_ERR_OPERATION_INVALID
    made.destroy()
    assert code(a.lookupByName, "made") == C.VIR_ERR_NO_DOMAIN


def test_a_domain_that_is_defined(a: Any) -> None:
    made = a.defineXML(XML)
    assert (made.isActive(), made.isPersistent()) == (0, 1)
    made.createWithFlags(C.VIR_DOMAIN_START_PAUSED)
    assert made.state()[0] == C.VIR_DOMAIN_PAUSED
    assert code(a.defineXML, XML.replace("</name>", f"</name><uuid>{WEB}</uuid>")) == C.VIR_ERR_OPERATION_FAILED
    assert code(a.defineXML, XML.replace("made", "other").replace("</name>", f"</name><uuid>{made.UUIDString()}</uuid>")) == C.VIR_ERR_OPERATION_FAILED
    assert code(a.defineXML, "<domain/>") == C.VIR_ERR_NO_NAME
    made.reset()
    made.reboot()
    made.resume()
    made.undefine()
    assert made.isPersistent() == 0


def test_titles(a: Any) -> None:
    guest = a.lookupByName("web")
    root = ElementTree.fromstring(guest.XMLDesc())
    assert (root.findtext("title"), root.findtext("description")) == ("A <web> server", "of ours")
    assert guest.metadata(C.VIR_DOMAIN_METADATA_TITLE, None) == "A <web> server"
    guest.setMetadata(C.VIR_DOMAIN_METADATA_TITLE, "new", None, None)
    guest.setMetadata(C.VIR_DOMAIN_METADATA_DESCRIPTION, None, None, None)
    assert guest.metadata(C.VIR_DOMAIN_METADATA_TITLE, None) == "new"
    assert code(guest.metadata, C.VIR_DOMAIN_METADATA_DESCRIPTION, None) == C.VIR_ERR_NO_DOMAIN_METADATA


def test_a_directory_with_a_pool(fleet: Fleet, a: Any) -> None:
    fleet.add_local_directory("a", "/images", capacity_mib=100, pool="default")
    assert a.storagePoolLookupByTargetPath("/images").info()[:2] == [C.VIR_STORAGE_POOL_RUNNING, 100 * 1024 * 1024]
    active, inactive = C.VIR_CONNECT_LIST_STORAGE_POOLS_ACTIVE, C.VIR_CONNECT_LIST_STORAGE_POOLS_INACTIVE
    assert [[pool.name() for pool in a.listAllStoragePools(flags)] for flags in (active, inactive, active | inactive)] == [["default"], [], ["default"]]


def test_interfaces_and_what_is_known_of_them(fleet: Fleet, a: Any) -> None:
    interfaces: list[Any] = [
        "default",
        {"network": "br0", "kind": "bridge", "addresses": ["192.0.2.1"], "known_by": "arp"},
        {"mac": "52:54:00:00:00:09", "addresses": ["10.0.0.9", "fd00::9"]},
    ]
    number = fleet.add_guest("net", "a", interfaces=interfaces, agent=True).id
    guest = a.lookupByName("net")
    root = ElementTree.fromstring(guest.XMLDesc())
    assert [source.attrib for source in root.iterfind("devices/interface/source")] == [{"network": "default"}, {"bridge": "br0"}, {"network": "default"}]
    assert [target.get("dev") for target in root.iterfind("devices/interface/target")] == [f"vnet{10 * number + place}" for place in range(3)]
    assert root.find("devices/channel/target[@state='connected']") is not None
    leases = guest.interfaceAddresses(C.VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_LEASE)
    assert [(device["hwaddr"], [each["addr"] for each in device["addrs"]]) for device in leases.values()] == [("52:54:00:00:00:09", ["10.0.0.9", "fd00::9"])]
    assert list(guest.interfaceAddresses(C.VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_ARP)) == [f"vnet{10 * number + 1}"]
    said = guest.interfaceAddresses(C.VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_AGENT)
    assert list(said) == ["lo", "eth0", "eth1", "eth2"] and said["eth0"]["addrs"] is None
    network = a.networkLookupByName("default")
    assert network.connect() is a and network.isActive() == 1
    assert [lease["ipaddr"] for lease in network.DHCPLeases()] == ["10.0.0.9", "fd00::9"]
    assert network.DHCPLeases("52:54:00:00:00:00") == []
    inactive = ElementTree.fromstring(guest.XMLDesc(C.VIR_DOMAIN_XML_INACTIVE))
    assert inactive.find("devices/interface/target") is None and inactive.find("devices/channel/target").attrib.keys() == {"type", "name"}  # type: ignore[union-attr]
    guest.destroy()
    assert network.DHCPLeases() == [] and code(guest.interfaceAddresses, C.VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_AGENT) == C.VIR_ERR_OPERATION_INVALID


def test_a_definition_with_an_interface_and_an_agent(a: Any) -> None:
    parts = "<interface type='bridge'><source bridge='br0'/></interface><channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>"
    made = a.createXML(XML.replace("</devices>", f"{parts}</devices>"))
    root = ElementTree.fromstring(made.XMLDesc())
    assert [{**memory.attrib, "": memory.text} for memory in root.iterfind("memory")] == [{"unit": "KiB", "": str(512 * 1024)}]
    mac = root.find("devices/interface/mac")
    assert mac is not None and mac.get("address", "").startswith("52:54:00:")
    assert "eth0" in made.interfaceAddresses(C.VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_AGENT)


def test_a_guest_that_sleeps_and_is_woken(fleet: Fleet, a: Any) -> None:
    fleet.add_guest("asleep", "a", state="pmsuspended")
    guest = a.lookupByName("asleep")
    assert code(a.lookupByName("web").pMWakeup) == C.VIR_ERR_INTERNAL_ERROR
    guest.pMWakeup()
    assert guest.state() == [C.VIR_DOMAIN_RUNNING, C.VIR_DOMAIN_RUNNING_WAKEUP]
    assert guest.memoryStats()["actual"] == 2048 * 1024


def test_a_saved_guest_is_undefined_with_its_image_only(fleet: Fleet, a: Any) -> None:
    fleet.add_guest("kept", "a", state="saved")
    guest = a.lookupByName("kept")
    assert code(guest.undefine) == C.VIR_ERR_OPERATION_INVALID
    guest.undefineFlags(C.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE)
    assert code(a.lookupByName, "kept") == C.VIR_ERR_NO_DOMAIN


def test_statistics_by_group(a: Any) -> None:
    guest = a.lookupByName("web")
    [(_domain, stats)] = a.domainListGetStats([guest], C.VIR_DOMAIN_STATS_VCPU)
    assert (stats["vcpu.current"], stats["vcpu.maximum"], stats["vcpu.1.state"]) == (2, 2, C.VIR_VCPU_RUNNING)
    assert {key.partition(".")[0] for key in stats} == {"vcpu"}
    assert a.getAllDomainStats()[0][1]["block.count"] == 1


THERE, PLAIN = "qemu+tcp://b/system", C.VIR_MIGRATE_LIVE | C.VIR_MIGRATE_PEER2PEER


def test_speed_and_post_copy_of_a_job(fleet: Fleet, a: Any, runtime: VirtualRuntime) -> None:
    guest = a.lookupByName("web")
    assert code(guest.migrateStartPostCopy) == code(guest.migrateToURI3, None, {}, C.VIR_MIGRATE_POSTCOPY_RESUME) == C.VIR_ERR_OPERATION_INVALID
    assert guest.migrateGetMaxSpeed() > 2**40
    guest.migrateSetMaxSpeed(10)
    assert guest.migrateGetMaxSpeed() == 10
    guest.migrateSetMaxDowntime(700)
    assert guest.migrateGetMaxDowntime() == 700
    task = runtime.start("migrate", code, guest.migrateToURI3, THERE, {}, PLAIN | C.VIR_MIGRATE_POSTCOPY)
    runtime.sleep(2)
    assert guest.jobStats()["memory_bps"] == 10 * 1024 * 1024
    guest.migrateSetMaxSpeed(20)
    guest.migrateSetMaxSpeed(50, C.VIR_DOMAIN_MIGRATE_MAX_SPEED_POSTCOPY)
    runtime.sleep(2)
    assert guest.jobStats()["memory_bps"] == 20 * 1024 * 1024
    assert code(guest.migrateToURI3, THERE, {}, PLAIN) == C.VIR_ERR_OPERATION_INVALID
    assert code(guest.abortJobFlags, C.VIR_DOMAIN_ABORT_JOB_POSTCOPY) == C.VIR_ERR_OPERATION_INVALID
    assert code(guest.migrateToURI3, None, {}, C.VIR_MIGRATE_POSTCOPY_RESUME) == C.VIR_ERR_OPERATION_INVALID
    guest.migrateStartPostCopy()
    guest.migrateStartPostCopy()
    assert code(guest.abortJob) == C.VIR_ERR_OPERATION_INVALID
    runtime.sleep(1)
    assert guest.jobStats()["memory_bps"] == 50 * 1024 * 1024
    task.join()
    assert fleet.running_on(WEB) == ["b"]


def test_a_guest_that_is_paused_meanwhile_arrives_as_it_left(fleet: Fleet, a: Any, runtime: VirtualRuntime) -> None:
    guest = a.lookupByName("web")
    guest.suspend()
    guest.suspend()
    assert guest.migrateToURI3(THERE, {}, PLAIN) == 0
    assert fleet.running_on(WEB) == []
    assert fleet.hosts["b"].domains[WEB].state == C.VIR_DOMAIN_PAUSED


def test_a_failed_migration_gives_a_stale_definition_back(fleet: Fleet, a: Any) -> None:
    stale = fleet.add_guest("web", "b", state="shutoff")
    fleet.hosts["b"].migration_error = "no"
    assert code(a.lookupByName("web").migrateToURI3, THERE, {}, PLAIN) == C.VIR_ERR_INTERNAL_ERROR
    assert fleet.hosts["b"].domains[WEB] is stale
    assert a.lookupByName("web").migrateToURI3(THERE, {}, PLAIN | C.VIR_MIGRATE_PERSIST_DEST) == 0
    assert fleet.running_on(WEB) == ["b"]


def test_killing_what_is_off_kills_nothing(fleet: Fleet) -> None:
    off = fleet.add_guest("off", "a", state="shutoff")
    before = (off.state, off.reason)
    fleet.hosts["a"].kill_guest(guest_uuid("off"))
    assert (off.state, off.reason) == before


def test_a_fleets_switches_are_read_again(fleet: Fleet) -> None:
    fleet.reload({"hosts": [{"name": "a", "up": False}, {"name": "new"}], "guests": [{"name": "web", "dirty_mib_s": 77}, {"name": "nobody"}]})
    assert (fleet.hosts["a"].up, fleet.hosts["b"].up, list(fleet.hosts)) == (False, True, ["a", "b"])
    assert fleet.hosts["a"].domains[WEB].load.dirty_mib_s == 77
    fleet.libvirt().reload({"hosts": [{"name": "a"}]})
    assert fleet.hosts["a"].up
    assert list(fleetfile.each([{"name": "n{n}", "count": 2, "vcpus": 4}])) == [{"name": "n1", "vcpus": 4}, {"name": "n2", "vcpus": 4}]


@pytest.fixture
def default_fleet() -> Iterator[None]:
    """The module's own fleet is put back."""
    before = module._default
    yield
    module._default = before


def test_the_module_stands_for_libvirt_python(default_fleet: None) -> None:
    module._default = None
    assert module.default() is module.default()
    assert code(module.open, "qemu+tcp://a/system") == C.VIR_ERR_SYSTEM_ERROR
    module.load({"speed": 50, "hosts": [{"name": "a"}]}, ThreadRuntime())
    assert module.open("qemu+tcp://a/system").getHostname() == "a"
    with pytest.raises(AttributeError, match="openSideways"):
        module.openSideways  # noqa: B018


def test_a_timer_that_is_gone_is_left_alone(libvirt: Libvirt) -> None:
    timer = libvirt.virEventAddTimeout(-1, lambda *_: None, None)
    libvirt.virEventRemoveTimeout(timer)
    libvirt.virEventUpdateTimeout(timer, 0)
    libvirt.virEventRemoveTimeout(timer)
