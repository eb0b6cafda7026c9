"""What a daemon says of its host: processors, storage, boot."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from livemig import exceptions
from livemig.facts import Flavor, HostFacts, Presence, ServerChanged
from livemig.hypervisor import host
from livemig.hypervisor.storage import PREFIX
from livemig.testing import constants as C
from livemig.testing.errors import Fault
from livemig.testing.fleet import guest_uuid
from livemig.testing.runtime import VirtualRuntime
from tests.unit.gate import WEB, World

CAPABILITIES = """
<capabilities><host>
  <uuid>7a1c2f70-32ab-4b84-9d2a-4d9f6c0a5b11</uuid>
  <cpu>
    <arch>x86_64</arch><model>Cascadelake-Server</model><vendor>Intel</vendor>
    <microcode version='1'/><counter name='tsc' frequency='2596136000' scaling='no'/>
    <topology sockets='2' dies='1' cores='12' threads='2'/>
    <feature name='vmx'/><feature name='pcid'/>
  </cpu>
  <topology><cells num='2'><cell id='0'/><cell id='1'/></cells></topology>
</host></capabilities>
"""


@pytest.fixture
def world(runtime: VirtualRuntime) -> Iterator[World]:
    world = World(runtime)
    yield world
    world.close()


def test_processors() -> None:
    assert host.processors(CAPABILITIES) == {
        "arch": "x86_64",
        "model": "Cascadelake-Server",
        "vendor": "Intel",
        "topology": {"cells": 2, "sockets": 2, "cores": 12, "threads": 2},
        "features": ["vmx", "pcid"],
    }


@pytest.mark.parametrize(
    ("xml", "known"),
    [
        ("<capabilities/>", {}),
        ("<capabilities><host/></capabilities>", {}),
        (
            "<capabilities><host><cpu><arch>aarch64</arch></cpu></host></capabilities>",
            {"arch": "aarch64", "model": "", "vendor": "", "topology": {"cells": 1}, "features": []},
        ),
    ],
)
def test_processors_that_libvirt_knows_little_of(xml: str, known: dict[str, Any]) -> None:
    assert host.processors(xml) == known


NOW = datetime(2026, 11, 24, 12)
S = 10**9


def cpu_stats(seconds: float, cpus: int = 4) -> dict[str, int]:
    total = int(seconds * cpus * S)
    return {"kernel": total // 4, "user": total // 4, "idle": total // 4, "iowait": total - 3 * (total // 4), "intr": 7, "utilization": 3}


def test_the_boot() -> None:
    assert host.booted_at(cpu_stats(3600), 4, NOW, None) == NOW - timedelta(hours=1)
    assert host.booted_at({}, 4, NOW, None) is None
    assert host.booted_at({}, 4, NOW, NOW) is None


@pytest.mark.parametrize(
    ("up_s", "off_s", "same"),
    [(600, 59, True), (600, -59, True), (600, 61, False), (600, -600, False), (10**6, 15_000, True), (10**6, 25_000, False)],
)
def test_the_boot_does_not_jitter(up_s: float, off_s: float, same: bool) -> None:
    """Nor does it drift: processors' times leave interrupts and stolen time out."""
    before = NOW - timedelta(seconds=up_s)
    found = host.booted_at(cpu_stats(up_s - off_s), 4, NOW, before)
    assert found == (before if same else before + timedelta(seconds=off_s))


# Through the gate


def test_all_facts(world: World) -> None:
    world.fleet.add_local_directory("a", "/small", capacity_mib=10 * 1024)
    world.fleet.add_local_directory("a", "/large", capacity_mib=100 * 1024)
    world.fleet.add_local_directory("a", "/huge", capacity_mib=1000 * 1024)
    world.fleet.add_local_directory("a", "/probed", capacity_mib=2000 * 1024)
    world.fleet.add_guest("disk", "a", memory_mib=1024, disks=[{"path": "/large/disk.raw", "size_mib": 30 * 1024}])
    with world.a.use() as connection:
        for name, path in (("small", "/small"), ("large", "/large"), (f"{PREFIX}1", "/probed")):
            connection.storagePoolCreateXML(f"<pool type='dir'><name>{name}</name><target><path>{path}</path></target></pool>", 0)
        connection.storagePoolDefineXML("<pool type='dir'><name>off</name><target><path>/huge</path></target></pool>", 0)
    world.runtime.sleep(1000)
    found = world.a.all_facts(world.runtime.now())
    assert found == replace(world.a.facts(), disk_gib=100, disk_free_gib=70, booted_at=datetime(2026, 1, 1))
    assert world.a.learn_processors() and not world.a.learn_processors()
    cpu = world.a.all_facts(world.runtime.now()).cpu
    assert (cpu["model"], cpu["vendor"], cpu["topology"]["cores"]) == ("Cascadelake-Server", "Intel", 4)
    world.runtime.sleep(1000)
    assert world.a.all_facts(world.runtime.now()).booted_at == datetime(2026, 1, 1)


def test_processors_are_learnt_again_after_a_reconnection(world: World) -> None:
    world.a.learn_processors()
    world.a.close()
    world.hosts["a"].cpu_model = "Icelake-Server"
    world.a.connect()
    assert world.a.all_facts(NOW).cpu["model"] == "Cascadelake-Server", "what was known is shown until it is asked"
    assert world.a.learn_processors()
    assert world.a.all_facts(NOW).cpu["model"] == "Icelake-Server"


@pytest.mark.parametrize("verb", ["getCPUStats", "getCapabilities", "listAllStoragePools"])
def test_what_a_daemon_cannot_tell_is_left_out(world: World, verb: str) -> None:
    def refuse(*_given: object) -> None:
        raise Fault(C.VIR_ERR_NO_SUPPORT, C.VIR_FROM_NONE, "this function is not supported")()

    world.runtime.sleep(10)
    for hypervisor in (world.a, world.b):
        world.fleet.add_local_directory(hypervisor.name, "/srv", capacity_mib=10 * 1024)
        with hypervisor.use() as connection:
            connection.storagePoolCreateXML("<pool type='dir'><name>p</name><target><path>/srv</path></target></pool>", 0)
    with world.a.use() as connection:
        setattr(connection, verb, refuse)
    world.a.learn_processors()
    found = world.a.all_facts(world.runtime.now())
    whole = world.b.learn_processors() and world.b.all_facts(world.runtime.now())
    assert isinstance(whole, HostFacts)
    changed = {"getCPUStats": {"booted_at"}, "getCapabilities": {"cpu"}, "listAllStoragePools": {"disk_gib", "disk_free_gib"}}[verb]
    differing = {field for field in HostFacts.__slots__ if getattr(found, field) != getattr(whole, field)}
    assert differing - {"hostname", "memory_free_mib"} == changed


def test_a_dead_daemon_is_unavailable(world: World) -> None:
    world.hosts["a"].up = False
    for ask in (lambda: world.a.all_facts(NOW), world.a.learn_processors):
        with pytest.raises(exceptions.HypervisorUnavailable):
            ask()


# Servers


def test_a_saved_server(world: World) -> None:
    world.fleet.add_guest("kept", "a", state="saved")
    uuid = guest_uuid("kept")
    assert world.a.server(uuid).presence is Presence.SAVED
    assert {server.uuid: server.presence for server in world.a.servers()}[uuid] is Presence.SAVED
    assert world.a.presence(uuid) is Presence.SHUT_OFF


def test_metadata_that_changes_is_told_of_and_read(world: World) -> None:
    with world.a.use() as connection:
        domain = connection.lookupByUUIDString(WEB)
        element = "<server><name>named</name><flavor name='large'/></server>"
        domain.setMetadata(C.VIR_DOMAIN_METADATA_ELEMENT, element, "livemig", "urn:livemig:server:1")
    world.runtime.sleep(0.01)
    assert world.said == [ServerChanged(WEB, "metadata changed")]
    found = world.a.server(WEB)
    assert (found.name, found.instance_name, found.flavor) == ("named", "web", Flavor("large", "large", 2048, 2))
