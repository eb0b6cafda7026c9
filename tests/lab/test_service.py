"""livemig-all as a process, on real libvirt hosts with real guests."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from livemig import context
from livemig.cli.wiring import LATE
from livemig.db.engine import Database
from livemig.db.store import Store
from livemig.facts import MigrationRequest, Policy
from livemig.lab.guests import Guest
from livemig.lab.host import Host
from livemig.lab.lab import Lab
from livemig.lab.service import Service
from livemig.records import Migration
from livemig.runtime import ThreadRuntime
from livemig.states import Status

pytestmark = [pytest.mark.lab, pytest.mark.timeout(900)]

RUNTIME = ThreadRuntime()
SETTINGS = """
[libvirt]
keepalive_interval = 2
keepalive_count = 3
"""


@pytest.fixture(scope="module")
def service(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    service = Service(tmp_path_factory.mktemp("service"), lab.config(), RUNTIME, SETTINGS)
    service.start()
    yield service
    service.stop()


@pytest.fixture
def guest(lab: Lab, service: Service) -> Iterator[Guest]:
    """An idle guest, on node1 at first."""
    guest = lab.add_guest("web", "node1")
    service.wait_seen(guest.uuid, ("ACTIVE", "node1"))
    yield guest
    for host in lab.hosts:
        host.start_daemon()
        host.heal()
    guest.remove()


def other(lab: Lab, guest: Guest) -> Host:
    """The host on which the guest is not."""
    here = guest.where()
    return next(host for host in lab.hosts if host != here)


def last(service: Service, guest: Guest) -> Migration:
    store = Store(Database(f"sqlite:///{service.directory}/livemig.sqlite"), RUNTIME)
    migration = store.migrations.of_server(guest.uuid)[0]
    store.database.close()
    return migration


def move(lab: Lab, service: Service, guest: Guest) -> None:
    """One migration by POST, which must succeed."""
    destination = other(lab, guest).name
    status, _headers, body = service.live_migrate(guest.uuid, destination)
    assert (status, body) == (202, b"")
    shown = service.wait_idle(guest.uuid)
    assert (shown["status"], shown["OS-EXT-SRV-ATTR:host"]) == ("ACTIVE", destination), service.log()[-3000:]


def test_moved_twenty_times_without_a_tick_lost_or_doubled(lab: Lab, service: Service, guest: Guest) -> None:
    for _ in range(20):
        move(lab, service, guest)
    RUNTIME.sleep(0.5)
    ticks = guest.ticks()
    assert ticks.unbroken, ticks
    assert len(guest.holders()) == 1


def test_downtime_is_the_measured_one(lab: Lab, service: Service, guest: Guest) -> None:
    move(lab, service, guest)
    migration = last(service, guest)
    assert migration.status is Status.COMPLETED
    assert migration.downtime_ms is not None and 0 < migration.downtime_ms < 3000
    assert migration.memory_total_bytes and migration.memory_total_bytes > 256 * 1024**2


def test_shared_disk_moves_and_probes_leave_nothing(lab: Lab, service: Service) -> None:
    guest = lab.add_guest("disk", "node1", disks=["shared"])
    service.wait_seen(guest.uuid, ("ACTIVE", "node1"))
    before = {path.name for path in lab.shared.iterdir()}
    move(lab, service, guest)
    assert guest.ticks().unbroken
    assert {path.name for path in lab.shared.iterdir()} == before
    assert all(not host.virsh("pool-list", "--all", "--name").strip() for host in lab.hosts)
    guest.remove()


def test_local_disk_is_refused_with_a_reason(lab: Lab, service: Service) -> None:
    guest = lab.add_guest("disk", "node1", disks=["local"])
    service.wait_seen(guest.uuid, ("ACTIVE", "node1"))
    status, _headers, body = service.live_migrate(guest.uuid, "node2")
    assert status == 400
    assert json.loads(body)["badRequest"]["message"].startswith("node2 is not on shared storage: ")
    assert service.state(guest.uuid) == ("ACTIVE", "node1")
    assert all(not host.virsh("pool-list", "--all", "--name").strip() for host in lab.hosts)
    guest.remove()


def test_what_is_done_by_hand_is_shown_by_its_event(lab: Lab, service: Service, guest: Guest) -> None:
    """Not by the next look at the whole host, a minute later at the earliest."""
    node1, node2 = lab.hosts[:2]
    for words, state in (
        (("suspend", guest.name), ("PAUSED", "node1")),
        (("resume", guest.name), ("ACTIVE", "node1")),
        (("migrate", "--live", "--p2p", "--persistent", "--undefinesource", guest.name, node2.uri), ("ACTIVE", "node2")),
    ):
        node1.virsh(*words)
        service.wait_seen(guest.uuid, state)
    for words, state in ((("destroy", guest.name), ("SHUTOFF", "node2")), (("start", guest.name), ("ACTIVE", "node2"))):
        node2.virsh(*words)
        service.wait_seen(guest.uuid, state)


def test_a_paused_guest_stays_paused(lab: Lab, service: Service, guest: Guest) -> None:
    lab.host("node1").virsh("suspend", guest.name)
    service.wait_seen(guest.uuid, ("PAUSED", "node1"))
    assert service.live_migrate(guest.uuid, "node2")[0] == 202
    service.wait_idle(guest.uuid)
    assert service.state(guest.uuid) == ("PAUSED", "node2")
    assert lab.host("node2").virsh("domstate", guest.name).strip() == "paused"


def test_a_host_that_is_down_is_400_until_it_is_back(lab: Lab, service: Service, guest: Guest) -> None:
    node2 = lab.host("node2")
    node2.kill_daemon()
    status, _headers, body = service.live_migrate(guest.uuid, "node2")
    assert (status, json.loads(body)["badRequest"]["message"]) == (400, "Compute service of node2 is unavailable at this time.")
    assert service.state(guest.uuid) == ("ACTIVE", "node1")
    node2.start_daemon()
    service.wait(lambda: service.live_migrate(guest.uuid, "node2")[0] == 202, 60, "node2 to be connected to", 0.2)
    service.wait_idle(guest.uuid)
    assert service.state(guest.uuid) == ("ACTIVE", "node2")


def test_a_destination_lost_under_way_fails_it_and_the_guest_goes_on(lab: Lab, service: Service, guest: Guest) -> None:
    begin_slowly(lab, service, guest)
    lab.host("node2").kill_daemon()
    RUNTIME.sleep(1)
    lab.host("node2").start_daemon()
    service.wait_idle(guest.uuid)
    assert service.state(guest.uuid) == ("ACTIVE", "node1")
    assert last(service, guest).status is Status.FAILED
    assert guest.ticks().unbroken


def test_a_cut_link_fails_it_and_the_guest_goes_on(lab: Lab, service: Service, guest: Guest) -> None:
    begin_slowly(lab, service, guest)
    lab.host("node2").cut()
    RUNTIME.sleep(10)
    assert service.state(guest.uuid) == ("MIGRATING", "node1")  # nobody can ask node2 whether it runs there
    lab.host("node2").heal()
    service.wait_idle(guest.uuid)
    assert service.state(guest.uuid) == ("ACTIVE", "node1")
    assert guest.ticks().unbroken


def begin_slowly(lab: Lab, service: Service, guest: Guest) -> None:
    """A migration to node2 that takes some ten seconds, its first pages sent."""
    lab.host("node1").slow(60)
    assert service.live_migrate(guest.uuid, "node2")[0] == 202
    service.wait(lambda: service.show(guest.uuid)["progress"] > 0, 60, "progress")


def test_killed_while_it_migrates_and_started_again(lab: Lab, service: Service, guest: Guest) -> None:
    """The job goes on in libvirt; the new process takes it up and tells the truth from its first answer."""
    begin_slowly(lab, service, guest)
    service.kill()
    RUNTIME.sleep(0.5)
    service.start()
    assert service.state(guest.uuid) == ("MIGRATING", "node1")
    lab.host("node1").heal()
    service.wait_idle(guest.uuid, 60)
    assert service.state(guest.uuid) == ("ACTIVE", "node2")
    assert last(service, guest).status is Status.COMPLETED
    assert guest.ticks().unbroken


def test_killed_and_the_job_ended_well_meanwhile(lab: Lab, service: Service, guest: Guest) -> None:
    begin_slowly(lab, service, guest)
    service.kill()
    lab.host("node1").heal()
    service.wait(lambda: not lab.host("node1").has_guest(guest.name), 60, "libvirt to finish", 0.2)
    service.start()
    service.wait_seen(guest.uuid, ("ACTIVE", "node2"))
    migration = last(service, guest)
    assert migration.status is Status.COMPLETED
    assert migration.downtime_ms is not None
    assert guest.ticks().unbroken


def test_killed_and_the_job_failed_meanwhile(lab: Lab, service: Service, guest: Guest) -> None:
    begin_slowly(lab, service, guest)
    service.kill()
    lab.host("node1").virsh("domjobabort", guest.name)
    service.start()
    service.wait_seen(guest.uuid, ("ACTIVE", "node1"))
    assert last(service, guest).status is Status.FAILED
    assert guest.ticks().unbroken


def test_stopped_by_sigterm_while_it_migrates(lab: Lab, service: Service, guest: Guest) -> None:
    begin_slowly(lab, service, guest)
    service.stop()
    assert LATE not in service.log()
    lab.host("node1").heal()
    service.start()
    service.wait_idle(guest.uuid, 60)
    assert service.state(guest.uuid) == ("ACTIVE", "node2")


def test_a_changed_configuration_is_read_on_sighup(lab: Lab, service: Service, guest: Guest) -> None:
    whole = service.config.read_text()
    service.config.write_text(whole.replace("enabled_hosts = node1,node2", "enabled_hosts = node1"))
    service.reload()

    def message() -> str:
        answer = json.loads(service.live_migrate(guest.uuid, "node2")[2] or b"{}")
        service.wait_idle(guest.uuid)
        return str(answer.get("badRequest", {}).get("message"))

    try:
        service.wait(lambda: message() == "Compute host node2 could not be found.", 60, "node2 to be forgotten", 0.2)
    finally:
        service.config.write_text(whole)
        service.reload()
    service.wait(lambda: moved(lab, service, guest), 60, "a migration between both hosts", 0.2)


def moved(lab: Lab, service: Service, guest: Guest) -> bool:
    destination = other(lab, guest).name
    if service.live_migrate(guest.uuid, destination)[0] != 202:
        return False
    return str(service.wait_idle(guest.uuid)["OS-EXT-SRV-ATTR:host"]) == destination


def test_killed_while_a_request_waits_for_its_answer(lab: Lab, service: Service, guest: Guest) -> None:
    """Accepted, and no conductor has looked at it: the row is the work, and the next process does it at once."""
    service.kill()
    store = Store(Database(f"sqlite:///{service.directory}/livemig.sqlite"), RUNTIME)
    store.migrations.begin(guest.uuid, MigrationRequest("node2", False, False), Policy(), context.system(), 65)
    store.database.close()
    service.start()
    service.wait_seen(guest.uuid, ("ACTIVE", "node2"))
    assert last(service, guest).status is Status.COMPLETED
