"""The simulated fleet: switches, the network, jobs side by side, determinism, size. What libvirt itself does is in tests/contract."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from livemig.runtime import ThreadRuntime
from livemig.testing import constants as C
from livemig.testing import fleetfile
from livemig.testing import libvirt as module
from livemig.testing.fleet import Disk, Fleet, guest_uuid
from livemig.testing.runtime import VirtualRuntime

PLAIN = C.VIR_MIGRATE_LIVE | C.VIR_MIGRATE_PEER2PEER | C.VIR_MIGRATE_PERSIST_DEST | C.VIR_MIGRATE_UNDEFINE_SOURCE
POST_COPY = PLAIN | C.VIR_MIGRATE_POSTCOPY
BLOCK = PLAIN | C.VIR_MIGRATE_NON_SHARED_DISK
THERE = "qemu+tcp://b/system"


class Stage:
    """Two hosts with a guest of 2 GiB on the first, a client, and all that its callbacks said."""

    def __init__(self, seed: int = 0) -> None:
        self.runtime = VirtualRuntime(seed)
        self.fleet = Fleet(self.runtime)
        self.a, self.b = (self.fleet.add_host(name) for name in "ab")
        self.uuid = self.fleet.add_guest("web", self.a).definition.uuid
        self.libvirt = self.fleet.libvirt()
        self.libvirt.virEventRegisterDefaultImpl()
        self.said: list[Any] = []
        self.runtime.start("events", self._events)
        self.here, self.there = (self._open(name) for name in "ab")
        self.guest = self.here.lookupByName("web")

    def _events(self) -> None:
        while True:
            self.libvirt.virEventRunDefaultImpl()

    def _open(self, name: str) -> Any:
        connection = self.libvirt.open(f"qemu+tcp://{name}/system")
        connection.setKeepAlive(5, 5)
        connection.registerCloseCallback(lambda _c, reason, side: self.say(side, "closed", reason), name)
        for event in (C.VIR_DOMAIN_EVENT_ID_LIFECYCLE, C.VIR_DOMAIN_EVENT_ID_MIGRATION_ITERATION):
            connection.domainEventRegisterAny(None, event, lambda _c, _d, *news: self.say(*news), name)
        return connection

    def say(self, *news: Any) -> None:
        self.said.append((round(self.runtime.monotonic(), 6), *news))

    def migrate(self, flags: int = PLAIN, after: float = 0.0, meanwhile: Callable[[], Any] = lambda: None, **parameters: Any) -> int | None:
        """The error code of a migration, None for success, with something done `after` so many seconds."""
        result: list[int | None] = []
        task = self.runtime.start("migrate", lambda: result.append(self.code(self.guest.migrateToURI3, THERE, parameters, flags)))
        self.runtime.sleep(after)
        meanwhile()
        task.join()
        return result[0]

    def code(self, function: Callable[..., Any], *args: Any) -> int | None:
        try:
            function(*args)
        except self.libvirt.libvirtError as error:
            self.say(str(error))
            found: int | None = error.get_error_code()
            return found
        return None

    def where(self) -> list[str]:
        return self.fleet.running_on(self.uuid)


@pytest.fixture
def stage() -> Iterator[Stage]:
    made = Stage()
    yield made
    made.runtime.close()


def test_a_guest_moves(stage: Stage) -> None:
    assert stage.migrate() is None
    assert stage.where() == ["b"]
    assert list(stage.a.domains) == [] and stage.b.domains[stage.uuid].persistent


SLOW = {"bandwidth": 10}
FAILURES: dict[str, tuple[Callable[[Stage], Any], int]] = {
    "destination's daemon dies": (lambda stage: stage.b.daemon_restart(), C.VIR_ERR_INTERNAL_ERROR),
    "source's daemon dies": (lambda stage: stage.a.daemon_restart(), C.VIR_ERR_SYSTEM_ERROR),
    "cut": (lambda stage: stage.fleet.cut("a", "b"), C.VIR_ERR_INTERNAL_ERROR),
    "isolated": (lambda stage: setattr(stage.b, "isolated", True), C.VIR_ERR_INTERNAL_ERROR),
    "QEMU of the destination dies": (lambda stage: stage.b.kill_guest(stage.uuid), C.VIR_ERR_OPERATION_FAILED),
    "arranged": (lambda stage: setattr(stage.b, "migration_error", "boo"), C.VIR_ERR_INTERNAL_ERROR),
    "power of the destination fails": (lambda stage: stage.b.crash(), C.VIR_ERR_INTERNAL_ERROR),
}


@pytest.mark.parametrize("name", FAILURES)
def test_failures_in_pre_copy_leave_the_guest_on_the_source(stage: Stage, name: str) -> None:
    deed, code = FAILURES[name]
    assert stage.migrate(after=3, meanwhile=lambda: deed(stage), **SLOW) in (code, C.VIR_ERR_OPERATION_FAILED)
    stage.runtime.sleep(40)
    assert stage.where() == ["a"]
    assert stage.uuid not in stage.b.domains
    assert stage.a.domains[stage.uuid].job is None


REFUSALS: dict[str, tuple[Callable[[Stage], Any], int]] = {
    "down": (lambda stage: setattr(stage.b, "up", False), C.VIR_ERR_SYSTEM_ERROR),
    "isolated": (lambda stage: setattr(stage.b, "isolated", True), C.VIR_ERR_SYSTEM_ERROR),
    "CPU": (lambda stage: setattr(stage.b, "refuses_cpu", True), C.VIR_ERR_CPU_INCOMPATIBLE),
    "machine": (lambda stage: setattr(stage.b, "machines", ("pc-i440fx-7.2",)), C.VIR_ERR_CONFIG_UNSUPPORTED),
    "arranged": (lambda stage: stage.b.switch({"migration_error_phase": "prepare", "migration_error": "boo"}), C.VIR_ERR_INTERNAL_ERROR),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_refusals_of_the_destination(stage: Stage, name: str) -> None:
    deed, code = REFUSALS[name]
    deed(stage)
    assert stage.migrate() == code
    assert stage.where() == ["a"] and stage.uuid not in stage.b.domains


def test_failure_at_the_switch_over(stage: Stage) -> None:
    stage.b.switch({"migration_error_phase": "finish", "migration_error": "boo"})
    assert stage.migrate() == C.VIR_ERR_INTERNAL_ERROR
    assert stage.where() == ["a"]
    assert stage.guest.state() == [C.VIR_DOMAIN_RUNNING, C.VIR_DOMAIN_RUNNING_MIGRATION_CANCELED]
    assert stage.migrate() is None  # it happens once


def test_source_daemon_that_dies_after_the_switch_over_leaves_its_copy_paused(stage: Stage) -> None:
    stage.fleet.finish_s = 1.0
    assert stage.migrate(after=3.0, meanwhile=stage.a.daemon_restart) == C.VIR_ERR_SYSTEM_ERROR
    stage.runtime.sleep(2)
    assert stage.where() == ["b"]
    assert stage.a.domains[stage.uuid].state == C.VIR_DOMAIN_PAUSED


def test_post_copy_survives_both_daemons(stage: Stage) -> None:
    def meanwhile() -> None:
        stage.guest.migrateStartPostCopy()
        stage.b.daemon_restart(5)
        stage.a.daemon_restart(5)

    assert stage.migrate(POST_COPY, 3, meanwhile, bandwidth=10, **{"bandwidth.postcopy": 100}) == C.VIR_ERR_SYSTEM_ERROR
    assert stage.where() == ["b"]
    stage.runtime.sleep(40)
    assert stage.a.domains[stage.uuid].state == C.VIR_DOMAIN_SHUTOFF  # a daemon that died does not come to undefine it
    assert stage.b.domains[stage.uuid].reason == C.VIR_DOMAIN_RUNNING_MIGRATED


def test_post_copy_survives_a_cut(stage: Stage) -> None:
    def meanwhile() -> None:
        stage.guest.migrateStartPostCopy()
        stage.fleet.cut("a", "b")

    assert stage.migrate(POST_COPY, 3, meanwhile, bandwidth=10, **{"bandwidth.postcopy": 100}) == C.VIR_ERR_OPERATION_FAILED
    assert stage.guest.state() == [C.VIR_DOMAIN_PAUSED, C.VIR_DOMAIN_PAUSED_POSTCOPY_FAILED]
    stage.fleet.heal("a", "b")
    stage.runtime.sleep(40)
    assert stage.where() == ["b"] and stage.uuid not in stage.a.domains


def test_a_hung_daemon_blocks_until_keepalive(stage: Stage) -> None:
    stage.a.hung = True
    began = stage.runtime.monotonic()
    assert stage.code(stage.guest.state) == C.VIR_ERR_INTERNAL_ERROR
    assert stage.runtime.monotonic() - began == pytest.approx(30)
    assert stage.here.isAlive() == 0
    stage.runtime.sleep(0.1)
    assert stage.said[-1][1:] == ("a", "closed", C.VIR_CONNECT_CLOSE_REASON_KEEPALIVE)


def test_a_hung_daemon_that_heals_loses_nothing(stage: Stage) -> None:
    def heal() -> None:
        stage.runtime.sleep(10)
        stage.a.hung = False

    stage.a.hung = True
    stage.runtime.start("healer", heal)
    stage.a.kill_guest(stage.uuid)
    assert stage.guest.state()[0] == C.VIR_DOMAIN_SHUTOFF
    stage.runtime.sleep(0.1)
    assert any(said[1:3] == (C.VIR_DOMAIN_EVENT_STOPPED, C.VIR_DOMAIN_EVENT_STOPPED_FAILED) for said in stage.said)


def test_an_incoming_guest_answers_only_for_its_state(stage: Stage) -> None:
    def meanwhile() -> None:
        incoming = stage.there.lookupByName("web")
        assert incoming.state() == [C.VIR_DOMAIN_PAUSED, C.VIR_DOMAIN_PAUSED_MIGRATION]
        began = stage.runtime.monotonic()
        assert stage.code(incoming.jobStats) == C.VIR_ERR_OPERATION_TIMEOUT
        assert stage.runtime.monotonic() - began == pytest.approx(30)
        stage.guest.abortJob()

    assert stage.migrate(after=3, meanwhile=meanwhile, **SLOW) == C.VIR_ERR_OPERATION_ABORTED


def test_jobs_share_the_network(stage: Stage) -> None:
    def seconds(count: int) -> float:
        guests = [stage.fleet.add_guest(f"guest{count}{number}", "a", dirty_mib_s=0).definition.uuid for number in range(count)]
        began = stage.runtime.monotonic()
        tasks = [stage.runtime.start(uuid, stage.here.lookupByUUIDString(uuid).migrateToURI3, THERE, {}, PLAIN) for uuid in guests]
        for task in tasks:
            task.join()
        return stage.runtime.monotonic() - began

    assert seconds(4) > 3 * seconds(1)


@pytest.mark.parametrize(("full", "code"), [(False, None), (True, C.VIR_ERR_SYSTEM_ERROR)])
def test_block_migration(stage: Stage, full: bool, code: int | None) -> None:
    stage.a.domains.clear()
    stage.fleet.add_guest("web", "a", disks=[Disk("/var/lib/images/web.qcow2", 500), Disk("pool/web", 100, "vdb", network="rbd")])
    assert stage.migrate(PLAIN) == C.VIR_ERR_MIGRATE_UNSAFE
    assert stage.migrate(PLAIN | C.VIR_MIGRATE_UNSAFE) == C.VIR_ERR_SYSTEM_ERROR
    assert stage.migrate(BLOCK) == C.VIR_ERR_NO_STORAGE_POOL
    stage.fleet.add_local_directory("b", "/var/lib/images")
    stage.there.storagePoolCreateXML("<pool type='dir'><name>p</name><target><path>/var/lib/images</path></target></pool>", 0)
    stage.b.disk_full = full
    assert stage.migrate(BLOCK) == code
    assert (stage.b.file("/var/lib/images/web.qcow2") is not None) is not full


def test_shared_disk_is_not_copied(stage: Stage) -> None:
    stage.a.domains.clear()
    stage.fleet.add_directory("/srv")
    stage.fleet.add_guest("web", "a", disks=["/srv/web.raw"])
    assert stage.migrate() is None


def transcript(seed: int) -> list[Any]:
    stage = Stage(seed)
    stage.migrate(after=1, meanwhile=lambda: stage.guest.suspend(), bandwidth=100)
    stage.runtime.close()
    return stage.said


def test_the_same_seed_gives_the_same_transcript() -> None:
    assert transcript(7) == transcript(7)
    assert transcript(7)


def test_real_time_can_be_sped_up() -> None:
    runtime = ThreadRuntime()
    libvirt = module.load({"speed": 50, "hosts": [{"name": "a"}, {"name": "b"}], "guests": [{"name": "web", "host": "a"}]}, runtime)
    began = runtime.monotonic()
    assert libvirt.open("qemu+tcp://a/system").lookupByName("web").migrateToURI3(THERE, {}, PLAIN) == 0
    assert runtime.monotonic() - began < 1
    assert module.open("qemu+tcp://b/system").lookupByName("web").isActive() == 1


FLEET = """
hosts:
  - {name: "node{n}", address: "10.0.0.{n}", count: 3, memory_mib: 32768}
  - {name: old, cpu_model: Nehalem, refuses_cpu: true, machines: [pc-i440fx-7.2]}
directories:
  - {path: /srv/nova}
  - {path: /var/lib/images, host: node1}
guests:
  - {name: "web{n}", host: node1, count: 2, disks: [{path: /srv/nova/web.qcow2, size_mib: 100}]}
cuts: [[node1, node3]]
"""


def test_fleet_file(tmp_path: Path) -> None:
    path = tmp_path / "fleet.yaml"
    path.write_text(FLEET)
    fleet = module.load(str(path), VirtualRuntime()).fleet
    assert list(fleet.hosts) == ["node1", "node2", "node3", "old"]
    assert fleet.host("10.0.0.2").memory_mib == 32768
    assert fleet.host("old").refuses_cpu and fleet.host("old").machines == ("pc-i440fx-7.2",)
    assert fleet.running_on(guest_uuid("web2")) == ["node1"]
    assert not fleet.linked("node1", "node3") and fleet.linked("node1", "node2")
    path.write_text(FLEET.replace("refuses_cpu: true", "up: false").replace("[[node1, node3]]", "[]"))
    fleetfile.reload(fleet, str(path))
    assert not fleet.host("old").refuses_cpu and not fleet.host("old").up
    assert fleet.linked("node1", "node3")
    with pytest.raises(AttributeError, match="no switch 'colour'"):
        module.load({"hosts": [{"name": "a", "colour": "red"}]}, VirtualRuntime())


def test_thousands_of_guests_are_light() -> None:
    runtime = ThreadRuntime()
    began = time.thread_time()
    fleet = Fleet(runtime)
    for number in range(200):
        fleet.add_host(f"host{number}")
        for guest in range(100):
            fleet.add_guest(f"guest{number}.{guest}", f"host{number}")
    libvirt = fleet.libvirt()
    assert sum(len(libvirt.open(f"qemu+tcp://host{number}/system").listAllDomains(0)) for number in range(200)) == 20_000
    assert time.thread_time() - began < 10  # of processor time
