"""What is done to a guest beside migrating it, and what is known of it: the same in the mock and from libvirtd. The guest ignores the power button."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from xml.etree import ElementTree

import pytest

from livemig import exceptions
from livemig.facts import Flavor, Presence, ServerChanged
from livemig.hypervisor import power
from livemig.hypervisor.connection import Hypervisor
from livemig.hypervisor.diagnostics import diagnose
from tests.contract.pair import SOURCE, Pair
from tests.contract.worlds import GUEST, RUNTIME

SMALL = """
<domain type='qemu'>
  <name>small</name>
  <title>A small one</title>
  <memory unit='MiB'>32</memory>
  <vcpu>2</vcpu>
  <os><type arch='x86_64' machine='q35'>hvm</type></os>
  <cpu mode='custom' match='exact'><model>qemu64</model></cpu>
  <devices>
    <interface type='ethernet'><mac address='52:54:00:00:00:07'/></interface>
    <controller type='usb' model='none'/>
    <memballoon model='none'/>
  </devices>
</domain>
"""
REBOOTS = ("<on_reboot>destroy</on_reboot>", "<on_reboot>restart</on_reboot>")


@pytest.fixture
def small(pair: Pair) -> Iterator[Any]:
    """A transient guest with a network interface, whose processors stand still."""
    domain = pair.source.createXML(SMALL, pair.libvirt.VIR_DOMAIN_START_PAUSED)
    yield domain
    domain.destroy()


@pytest.fixture
def gate(pair: Pair) -> Iterator[Hypervisor]:
    """livemig's own way to the source."""
    hypervisor = Hypervisor(pair.libvirt, "source", pair.source_uri, (2, 3))
    hypervisor.connect()
    yield hypervisor
    hypervisor.close()


def heard(pair: Pair, event: str) -> list[tuple[Any, ...]]:
    """What the source says from now on by events of one more kind."""
    said: list[tuple[Any, ...]] = []
    number = getattr(pair.libvirt, f"VIR_DOMAIN_EVENT_ID_{event}")
    pair.source.domainEventRegisterAny(None, number, lambda _connection, domain, *news: said.append((domain.name(), *news[:-1])), None)
    return said


def test_managed_save(pair: Pair) -> None:
    libvirt, guest = pair.libvirt, pair.guest
    assert guest.hasManagedSaveImage() == 0
    assert pair.code(guest.managedSaveGetXMLDesc, 0) == libvirt.VIR_ERR_OPERATION_INVALID
    guest.managedSave(0)
    pair.heard(SOURCE, "stopped", 4)
    assert guest.state() == [libvirt.VIR_DOMAIN_SHUTOFF, libvirt.VIR_DOMAIN_SHUTOFF_SAVED]
    assert guest.hasManagedSaveImage() == 1
    assert f"<name>{GUEST}</name>" in guest.managedSaveGetXMLDesc(0)
    for flag, names in ((libvirt.VIR_CONNECT_LIST_DOMAINS_MANAGEDSAVE, [GUEST]), (libvirt.VIR_CONNECT_LIST_DOMAINS_NO_MANAGEDSAVE, [])):
        assert [domain.name() for domain in pair.source.listAllDomains(flag)] == names
    for function in (guest.managedSave, guest.undefine):
        assert pair.code(function) == libvirt.VIR_ERR_OPERATION_INVALID
    guest.create()
    pair.heard(SOURCE, "resumed", 2)
    assert guest.state() == [libvirt.VIR_DOMAIN_RUNNING, libvirt.VIR_DOMAIN_RUNNING_RESTORED]
    assert guest.hasManagedSaveImage() == 0
    assert pair.names(SOURCE) == [
        ("suspended", 0),
        ("iteration",),
        ("completed",),
        *pair.world.release.shutdown,
        ("stopped", 4),
        ("started", 2),
        ("resumed", 2),
    ]


def test_managed_save_of_a_paused_guest(pair: Pair) -> None:
    """It comes back paused, and for the reason of a migration."""
    libvirt, guest = pair.libvirt, pair.guest
    guest.suspend()
    guest.managedSave(0)
    guest.create()
    pair.heard(SOURCE, "suspended", 4)
    assert guest.state() == [libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PAUSED_MIGRATION]
    guest.resume()


def test_saved_memory_thrown_away(pair: Pair) -> None:
    libvirt, guest = pair.libvirt, pair.guest
    assert pair.code(guest.managedSaveRemove, 0) == libvirt.VIR_ERR_SYSTEM_ERROR
    guest.managedSave(0)
    guest.managedSaveRemove(0)
    assert guest.hasManagedSaveImage() == 0
    guest.create()
    guest.managedSave(0)
    guest.createWithFlags(libvirt.VIR_DOMAIN_START_FORCE_BOOT)
    assert guest.state() == [libvirt.VIR_DOMAIN_RUNNING, libvirt.VIR_DOMAIN_RUNNING_BOOTED]
    assert guest.hasManagedSaveImage() == 0


def test_reset(pair: Pair) -> None:
    libvirt, guest = pair.libvirt, pair.guest
    xml = guest.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE)
    pair.source.defineXML(xml.replace(*REBOOTS))
    guest.destroy()
    guest.create()
    number = pair.source.lookupByName(GUEST).ID()
    said = heard(pair, "REBOOT")
    guest.reset(0)
    pair.until(lambda: (GUEST,) in said)
    guest.suspend()
    said.clear()
    guest.reset(0)
    pair.until(lambda: (GUEST,) in said)
    guest.resume()
    assert guest.state()[0] == libvirt.VIR_DOMAIN_RUNNING
    assert pair.source.lookupByName(GUEST).ID() == number, "it is the same run"
    pair.source.defineXML(xml)
    guest.destroy()
    guest.create()


def test_power_button(pair: Pair) -> None:
    libvirt, guest = pair.libvirt, pair.guest
    assert (guest.shutdown(), guest.reboot(0)) == (0, 0)
    assert guest.state()[0] == libvirt.VIR_DOMAIN_RUNNING
    guest.suspend()
    assert pair.code(guest.shutdown) == libvirt.VIR_ERR_OPERATION_INVALID
    assert guest.reboot(0) == 0
    guest.resume()
    assert pair.code(guest.pMWakeup, 0) == libvirt.VIR_ERR_INTERNAL_ERROR
    guest.destroy()
    for function in (guest.shutdown, guest.reboot, guest.reset, guest.managedSave, guest.pMWakeup, guest.memoryStats):
        assert pair.code(function) == libvirt.VIR_ERR_OPERATION_INVALID
    assert pair.code(guest.interfaceAddresses, libvirt.VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_LEASE) == libvirt.VIR_ERR_OPERATION_INVALID
    guest.create()


def test_metadata_change(pair: Pair) -> None:
    libvirt, guest = pair.libvirt, pair.guest
    said = heard(pair, "METADATA_CHANGE")
    guest.setMetadata(libvirt.VIR_DOMAIN_METADATA_TITLE, "A title", None, None, libvirt.VIR_DOMAIN_AFFECT_LIVE)
    guest.setMetadata(libvirt.VIR_DOMAIN_METADATA_TITLE, None, None, None, libvirt.VIR_DOMAIN_AFFECT_LIVE)
    guest.setMetadata(libvirt.VIR_DOMAIN_METADATA_ELEMENT, "<mark/>", "k", "http://example.org/livemig", libvirt.VIR_DOMAIN_AFFECT_LIVE)
    guest.setMetadata(libvirt.VIR_DOMAIN_METADATA_ELEMENT, None, "k", "http://example.org/livemig", libvirt.VIR_DOMAIN_AFFECT_LIVE)
    title, element = libvirt.VIR_DOMAIN_METADATA_TITLE, (libvirt.VIR_DOMAIN_METADATA_ELEMENT, "http://example.org/livemig")
    pair.until(lambda: len(said) >= 4)
    assert said == [(GUEST, title, None), (GUEST, title, None), (GUEST, *element), (GUEST, *element)]


def test_a_host_in_figures(pair: Pair) -> None:
    stats = pair.source.getCPUStats(pair.libvirt.VIR_NODE_CPU_STATS_ALL_CPUS, 0)
    assert set(stats) == {"kernel", "user", "idle", "iowait"} and sum(stats.values()) > 0
    assert pair.code(pair.source.networkLookupByName, "nowhere") == pair.libvirt.VIR_ERR_NO_NETWORK
    cpu = ElementTree.fromstring(pair.source.getCapabilities()).find("host/cpu/topology")
    assert cpu is not None and int(cpu.get("cores", "0")) > 0


def test_a_guest_in_figures(pair: Pair, small: Any) -> None:
    libvirt = pair.libvirt
    groups = sum(getattr(libvirt, f"VIR_DOMAIN_STATS_{name}") for name in ("STATE", "CPU_TOTAL", "BALLOON", "VCPU", "INTERFACE", "BLOCK"))
    [(_domain, stats)] = pair.source.domainListGetStats([small], groups, libvirt.VIR_CONNECT_GET_ALL_DOMAINS_STATS_NOWAIT)
    known = {"state.state", "state.reason", "cpu.time", "cpu.user", "cpu.system", "balloon.current", "balloon.maximum", "balloon.rss", "block.count"}
    known |= {"vcpu.current", "vcpu.maximum", "net.count", "net.0.name"} | {f"vcpu.{number}.{name}" for number in (0, 1) for name in ("state", "time", "wait")}
    known |= {f"net.0.{way}.{name}" for way in ("rx", "tx") for name in ("bytes", "pkts", "errs", "drop")}
    assert known <= set(stats)
    assert (stats["vcpu.maximum"], stats["balloon.maximum"], stats["net.count"], stats["block.count"]) == (2, 32 * 1024, 1, 0)
    assert set(small.memoryStats()) >= {"rss"}
    interface = ElementTree.fromstring(small.XMLDesc(0)).find("devices/interface")
    assert interface is not None
    names = {tag: element.attrib for tag in ("mac", "target") if (element := interface.find(tag)) is not None}
    assert names == {"mac": {"address": "52:54:00:00:00:07"}, "target": {"dev": stats["net.0.name"]}}
    assert small.interfaceAddresses(libvirt.VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_LEASE) == {}
    agent = libvirt.VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_AGENT
    assert pair.code(small.interfaceAddresses, agent) == libvirt.VIR_ERR_OPERATION_INVALID, "it does not run"
    assert pair.code(pair.guest.interfaceAddresses, agent) == libvirt.VIR_ERR_ARGUMENT_UNSUPPORTED, "it has none"
    assert pair.code(small.managedSave) == libvirt.VIR_ERR_OPERATION_INVALID


def test_figures_of_a_guest_that_is_off(pair: Pair) -> None:
    pair.guest.destroy()
    [(_domain, stats)] = pair.source.domainListGetStats([pair.guest], 0, 0)
    assert stats["vcpu.maximum"] == 1 and "vcpu.0.time" not in stats and "net.count" not in stats
    pair.guest.create()


# livemig's own verbs, on either


def test_the_gate_reads_servers_and_hosts(pair: Pair, gate: Hypervisor, small: Any) -> None:
    said = {server.instance_name: server for server in gate.servers()}
    assert set(said) == {GUEST, "small"}
    assert gate.server(small.UUIDString()) == said["small"]
    found = said["small"]
    assert (found.name, found.presence, found.memory_mib, found.vcpus) == ("A small one", Presence.PAUSED, 32, 2)
    assert (found.root_device, found.config_drive, found.addresses, found.flavor) == (None, False, (), None)
    assert gate.learn_processors()
    host = gate.all_facts(RUNTIME.now())
    assert host.cpu["arch"] == "x86_64" and host.cpu["model"] and host.cpu["topology"]["cores"] > 0
    assert host.booted_at is not None and host.booted_at < RUNTIME.now()
    assert gate.all_facts(RUNTIME.now()).booted_at == host.booted_at


def test_the_gate_reads_metadata_when_it_changes(pair: Pair, gate: Hypervisor) -> None:
    libvirt, uuid = pair.libvirt, pair.guest.UUIDString()
    heard: list[Any] = []
    gate.listen(heard.append)
    own = (libvirt.VIR_DOMAIN_METADATA_ELEMENT, "livemig", "urn:livemig:server:1", libvirt.VIR_DOMAIN_AFFECT_LIVE)
    kind, key, uri, live = own
    element = "<server><name>named</name><owner><project uuid='p'/></owner><flavor name='large'><disk>7</disk></flavor></server>"
    pair.guest.setMetadata(kind, element, key, uri, live)
    pair.until(lambda: ServerChanged(uuid, "metadata changed") in heard)
    found = gate.server(uuid)
    assert (found.name, found.instance_name, found.project_id, found.flavor) == ("named", GUEST, "p", Flavor("large", "large", 256, 1, 7))
    pair.guest.setMetadata(kind, None, key, uri, live)
    assert gate.server(uuid).name == GUEST


def test_the_gate_saves_and_restores(pair: Pair, gate: Hypervisor) -> None:
    uuid = pair.guest.UUIDString()
    with pytest.raises(exceptions.NoJob):
        power.restore(gate, uuid)
    pair.guest.suspend()
    power.save(gate, uuid)
    assert gate.server(uuid).presence is Presence.SAVED
    assert [server.presence for server in gate.servers()] == [Presence.SAVED]
    power.restore(gate, uuid)
    assert gate.presence(uuid) is Presence.RUNNING


def test_the_gate_switches_off_and_on(pair: Pair, gate: Hypervisor, small: Any) -> None:
    uuid = pair.guest.UUIDString()
    first = power.run(gate, uuid)
    power.reboot(gate, uuid)
    power.shutdown(gate, uuid)
    assert power.run(gate, uuid) == first is not None
    power.restart(gate, uuid)
    second = power.run(gate, uuid)
    assert second not in (None, first)
    power.destroy(gate, uuid)
    assert (power.run(gate, uuid), gate.presence(uuid)) == (None, Presence.SHUT_OFF)
    for verb in (power.destroy, power.shutdown, power.reboot, power.save, power.wake):
        with pytest.raises(exceptions.NoJob):
            verb(gate, uuid)
    power.start(gate, uuid)
    with pytest.raises(exceptions.NoJob):
        power.start(gate, uuid)
    for verb in (power.destroy, power.shutdown):
        with pytest.raises(exceptions.NoJob, match="transient"):
            verb(gate, small.UUIDString())
    power.restart(gate, small.UUIDString())


def test_the_gate_diagnoses(pair: Pair, gate: Hypervisor, small: Any) -> None:
    found = diagnose(gate, small.UUIDString())
    assert (found.presence, found.domain_type, found.memory_max_mib, found.memory_used_mib) == (Presence.PAUSED, "qemu", 32, 32)
    assert [processor.number for processor in found.processors] == [0, 1]
    assert [nic.mac for nic in found.nics] == ["52:54:00:00:00:07"] and found.disks == ()
    assert {"actual", "rss"} <= set(found.memory_kib)
