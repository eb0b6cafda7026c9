"""What no event has told is found by comparing, said, and mended where that needs no person: on the simulated fleet."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete, text, update

from livemig import exceptions
from livemig.conductor import remains, ruling
from livemig.conductor.doctor import Doctor, of_database, own_hands
from livemig.conductor.marks import WrittenMarks
from livemig.conductor.reconciliation import Disagreement
from livemig.db import models
from livemig.facts import Outcome, Presence
from livemig.hypervisor.connection import Hypervisor
from livemig.hypervisor.events import EventLoop
from livemig.records import LeftFile, Migration
from livemig.states import Status
from livemig.testing import constants as C
from livemig.testing.fleet import Disk, Domain, guest_uuid
from livemig.testing.storage import File
from tests.conductor.cluster import Cluster
from tests.service import HOSTS, Service
from tests.simulation.runtime import GreenletRuntime
from tests.unit.rows import take_all

WEB = guest_uuid("web")
NEVER: dict[str, Any] = {"conductor__reconcile_interval": 0}


@pytest.fixture
def service(tmp_path: Path, runtime: GreenletRuntime) -> Iterator[Service]:
    """Its rounds are made by the tests."""
    with Service(tmp_path, runtime, **NEVER) as service:
        yield service


def guest(service: Service, name: str = "web", host: str = "node1", **facts: Any) -> Domain:
    domain = service.fleet.add_guest(name, host, **facts)
    service.runtime.sleep(1)
    return domain


def doctor(service: Service, *hosts: str) -> Doctor:
    """One that asks the hosts itself, as livemig-manage does."""
    module = service.fleet.libvirt()
    EventLoop(module, service.runtime)
    hypervisors = {name: Hypervisor(module, name, f"qemu+tcp://{name}/system", (5, 5)) for name in hosts or HOSTS}
    return Doctor(service.store, service.runtime, lambda: hypervisors, own_hands(service.store, hypervisors), 30, 15, service.runtime.sleep)


def found(service: Service, *hosts: str) -> list[str]:
    return [each.text for each in doctor(service, *hosts).examine()]


def kinds(disagreements: list[Disagreement]) -> list[str]:
    return [each.kind.name for each in disagreements]


def edit(service: Service, table: Any, **values: Any) -> None:
    """As somebody does who edits the database by hand."""
    with service.store.database.write() as session:
        session.execute(update(table).values(**values))


def unheard(domain: Domain, state: int, reason: int) -> None:
    """It changes, and no event says so."""
    domain.become(state, reason)


def moved_unheard(service: Service, domain: Domain, host: str) -> None:
    """The guest is on another host, and no event says so."""
    del domain.host.domains[WEB]
    domain.host = service.fleet.hosts[host]
    domain.host.domains[WEB] = domain


def twin(service: Service, domain: Domain, host: str, state: tuple[int, int]) -> Domain:
    """Another host has the same guest, and no event says so."""
    other = Domain(service.fleet.hosts[host], domain.definition, domain.load, *state, persistent=True)
    service.fleet.hosts[host].domains[WEB] = other
    return other


RUNNING = (C.VIR_DOMAIN_RUNNING, C.VIR_DOMAIN_RUNNING_BOOTED)
OFF = (C.VIR_DOMAIN_SHUTOFF, C.VIR_DOMAIN_SHUTOFF_DESTROYED)


# A world that is well


def test_nothing_is_found_where_all_is_well(service: Service) -> None:
    guest(service)
    guest(service, "db", "node2", state="shutoff")
    guest(service, "saved", "node3", state="saved")
    guest(service, "paused", "node3", state="paused")
    assert found(service) == [] == of_database(service.store)


def test_nothing_is_found_while_livemig_moves_a_guest(service: Service) -> None:
    guest(service, memory_mib=16384)
    service.live_migrate(WEB)
    service.wait_status(WEB, "running")
    assert found(service) == []
    assert service.wait_idle(WEB).status is Status.COMPLETED
    assert found(service) == []


# Servers


def test_a_guest_that_has_moved_unheard_is_shown_where_it_is(service: Service, caplog: pytest.LogCaptureFixture) -> None:
    domain = guest(service)
    moved_unheard(service, domain, "node2")
    with caplog.at_level(logging.INFO):
        service.conductor.rounds.make()
        assert service.state(WEB) == ("ACTIVE", "node2", None)
        service.conductor.rounds.make()
    assert f"server {WEB} (web) is shown on node1, and is running on node2. By itself: have its hosts looked at again" in caplog.text
    assert f"it is not so any more: server {WEB} (web) is shown on node1" in caplog.text


CHANGES: dict[str, Callable[[Service, Domain], object]] = {
    "state": lambda _service, domain: unheard(domain, C.VIR_DOMAIN_PAUSED, C.VIR_DOMAIN_PAUSED_USER),
    "gone": lambda _service, domain: domain.host.domains.pop(WEB),
    "elsewhere": lambda service, domain: moved_unheard(service, domain, "node3"),
    "unknown": lambda service, _domain: forget(service),
}


def forget(service: Service) -> None:
    with service.store.database.write() as session:
        session.execute(delete(models.Server))


@pytest.mark.parametrize("kind", CHANGES)
def test_what_no_event_has_told(service: Service, kind: str) -> None:
    CHANGES[kind](service, guest(service))
    assert kinds(doctor(service).examine()) == [kind]
    service.conductor.rounds.make()
    assert found(service) == []


def test_a_host_that_was_not_looked_at_yet_is_left_out(service: Service, caplog: pytest.LogCaptureFixture) -> None:
    """After the start of a large fleet its guests are about to be written down."""
    guest(service)
    forget(service)
    watcher = service.conductor.inventory.get("node1")
    assert watcher is not None
    watcher.settled.clear()
    service.conductor.rounds.make()
    assert "the database does not know it" not in caplog.text
    watcher.settled.set()
    service.conductor.rounds.make()
    assert "the database does not know it" in caplog.text


@pytest.mark.parametrize("kind", CHANGES)
def test_the_doctor_reads_it_again_beside_the_conductor(service: Service, kind: str) -> None:
    CHANGES[kind](service, guest(service))
    physician = doctor(service)
    [each] = physician.examine()
    assert physician.mend(each)
    assert physician.examine() == []
    if kind == "unknown":
        assert service.show(WEB)["name"] == "web"


def test_the_rounds_come_by_themselves(tmp_path: Path, runtime: GreenletRuntime) -> None:
    with Service(tmp_path, runtime, conductor__reconcile_interval=20) as service:
        guest(service)
        runtime.sleep(35)
        forget(service)
        runtime.sleep(24)
        assert service.state(WEB) == ("ACTIVE", "node1", None)


def test_a_guest_that_runs_twice_is_shouted_about_and_left_alone(service: Service, caplog: pytest.LogCaptureFixture) -> None:
    domain = guest(service)
    twin(service, domain, "node2", RUNNING)
    assert kinds(doctor(service).examine()) == ["twice"]
    service.conductor.rounds.make()
    service.conductor.rounds.make()
    [shout] = [record for record in caplog.records if record.levelno == logging.CRITICAL]
    assert f"server {WEB} (web) lives on node1 and node2. For a person: find out which" in shout.getMessage()
    shown = service.show(WEB)
    assert shown["status"] == "ERROR"
    assert shown["fault"]["message"] == "The guest lives on node1 and node2. Nothing was done to it; a person must look."
    assert sorted(service.fleet.running_on(WEB)) == ["node1", "node2"]
    service.fleet.libvirt().open("qemu+tcp://node2/system").lookupByUUIDString(WEB).destroy()
    service.runtime.sleep(1)
    assert service.state(WEB) == ("ACTIVE", "node1", None)


def test_a_guest_that_is_moved_by_hand_is_told_of_and_left_alone(service: Service, runtime: GreenletRuntime, caplog: pytest.LogCaptureFixture) -> None:
    domain = guest(service, memory_mib=32768)
    by_hand = service.fleet.libvirt().open("qemu+tcp://node1/system").lookupByUUIDString(WEB)
    flags = C.VIR_MIGRATE_LIVE | C.VIR_MIGRATE_PEER2PEER
    task = service.runtime.start("by-hand", by_hand.migrateToURI3, "qemu+tcp://node2/system", {}, flags)
    runtime.wait_until(lambda: domain.job is not None and "node2" in {copy.host.name for copy in service.fleet.copies(WEB)}, 10)
    service.conductor.rounds.make()
    service.conductor.rounds.make()
    assert caplog.text.count("is moved by libvirt from or to node1 and node2, and not by livemig. For a person: wait for its end") == 1
    assert domain.job is not None
    task.join()
    service.runtime.sleep(1)
    assert service.state(WEB) == ("ACTIVE", "node2", None)
    assert kinds(doctor(service).examine()) == ["defined"]  # the hand has left it at the source, and may want it


def left(service: Service) -> tuple[Domain, Domain]:
    """livemig has moved a guest, and its source has its definition still: what runs, and what is left."""
    domain = guest(service)
    service.live_migrate(WEB)
    assert service.wait_idle(WEB).status is Status.COMPLETED
    running = service.fleet.hosts["node2"].domains[WEB]
    return running, twin(service, domain, "node1", OFF)


def test_a_definition_that_livemig_has_left_is_removed_by_the_doctor_alone(service: Service) -> None:
    left(service)
    service.conductor.rounds.make()
    physician = doctor(service)
    [each] = physician.examine()
    assert each.text == f"server {WEB} (web) is still defined on node1, from which livemig has moved it to node2"
    assert each.mend == "virsh -c qemu+tcp://node1/system undefine web"
    assert not service.conductor.rounds._doctor.mend(each)
    assert physician.mend(each)
    assert physician.examine() == []
    assert service.fleet.running_on(WEB) == ["node2"]
    service.live_migrate(WEB, "node1")
    assert service.wait_idle(WEB).status is Status.COMPLETED


KEPT: dict[str, Callable[[Service, Domain, Domain], object]] = {
    "it was started there": lambda _service, _running, off: unheard(off, *RUNNING),
    "the other would be gone for good": lambda _service, running, _off: setattr(running, "persistent", False),
    "a migration has begun": lambda service, _running, _off: service.begin(WEB, "node3"),
}


@pytest.mark.parametrize("case", KEPT)
def test_a_definition_is_kept_when_things_have_changed(service: Service, case: str) -> None:
    running, off = left(service)
    physician = doctor(service)
    found = next(each for each in physician.examine() if each.kind.name == "left")
    KEPT[case](service, running, off)
    with suppress(exceptions.NoJob):
        assert not physician.mend(found)
    assert WEB in service.fleet.hosts["node1"].domains


def lost(service: Service) -> Domain:
    """A guest whose migration was given up."""
    domain = guest(service)
    service.begin(WEB)
    outcome = Outcome(Status.ERROR, "node1", "It was nowhere.", lost=True)
    migration = service.store.migrations.of_server(WEB)[0]
    service.store.migrations.finish(migration, outcome, None, {"node1": Presence.ABSENT, "node2": Presence.ABSENT})
    return domain


def test_a_lost_guest_is_found_again(service: Service) -> None:
    lost(service)
    assert kinds(doctor(service).examine()) == ["found"]
    service.conductor.rounds.make()
    assert service.state(WEB) == ("ACTIVE", "node1", None)


def test_a_lost_guest_that_is_nowhere(service: Service) -> None:
    domain = lost(service)
    del domain.host.domains[WEB]
    service.conductor.rounds.make()
    assert found(service) == [f"server {WEB} (web) was given up as lost, and is nowhere"]
    assert service.state(WEB)[0] == "ERROR"


# Migrations


def test_a_server_that_is_stuck_is_let_go(service: Service) -> None:
    guest(service)
    edit(service, models.Server, task_state="migrating", host="node3")
    assert kinds(doctor(service).examine()) == ["stuck"]
    service.conductor.rounds.make()
    assert service.state(WEB) == ("ACTIVE", "node1", None)


def test_a_migration_that_was_ended_by_hand_lets_its_server_go(service: Service, caplog: pytest.LogCaptureFixture) -> None:
    guest(service)
    migration = service.begin(WEB)
    edit(service, models.Migration, status="error", lease_owner=None)
    physician = doctor(service)
    [each] = physician.examine()
    assert each.kind.name == "over" and physician.mend(each) and not physician.mend(each)
    assert service.state(WEB) == ("ACTIVE", "node1", None)
    assert service.live_migrate(WEB).status_int == 202
    assert service.wait_idle(WEB).status is Status.COMPLETED
    assert migration.id == 1


def test_one_whose_host_is_not_configured_any_more(service: Service) -> None:
    guest(service)
    migration = service.begin(WEB)
    edit(service, models.Migration, status="running", destination="node9", lease_owner="somebody:1")
    service.conductor.rounds.make()
    service.conductor.rounds.make()
    text = "reconciliation: is running, and node9 is not in enabled_hosts; put node9 into enabled_hosts again, and have conductors read it (SIGHUP)"
    assert service.story(WEB).count(text) == 1
    assert found(service) == [f"migration {migration.id} of server {WEB} is running, and node9 is not in enabled_hosts"]


def test_what_nobody_takes_up(service: Service) -> None:
    """No conductor lives."""
    guest(service)
    service.begin(WEB)
    service.conductor.stop()
    service.runtime.sleep(120)
    texts = found(service)
    assert f"migration 1 of server {WEB} is accepted, and no conductor holds it; its guest is running on node1" in texts
    assert "no conductor lives (open migrations: 1)" in texts


def test_a_conductor_that_fell_silent(service: Service) -> None:
    service.conductor.stop()
    service.store.watches.balance("dead:1", 10, HOSTS, take_all)
    service.runtime.sleep(20)
    assert found(service) == ["conductor dead:1 fell silent without another to replace it", "no conductor lives (open migrations: 0)"]


def test_files_that_are_left(service: Service) -> None:
    guest(service)
    file = LeftFile("node9", "/images/web.img", "failed")
    migration = service.begin(WEB)
    service.store.migrations.finish(migration, Outcome(Status.ERROR, "node1", "no"), None)
    edit(service, models.Migration, files=[{"host": file.host, "path": file.path, "after": file.after}], untidy=True)
    service.runtime.sleep(60)
    [text] = found(service)
    assert text == f"migration 1 of server {WEB} ended as error, and /images/web.img on node9 are still to be removed"


# What lies about on hosts


def lying_about(service: Service) -> list[str]:
    module = service.fleet.libvirt()
    loop = EventLoop(module, service.runtime)
    loop.start()
    hypervisors = {name: Hypervisor(module, name, f"qemu+tcp://{name}/system", (5, 5), WrittenMarks(service.store, "a person")) for name in HOSTS}
    try:
        return [f"{each.text} => {each.mend}" for each in remains.find(service.store, service.runtime, hypervisors, 15)]
    finally:
        loop.stop()


def test_a_file_that_stays_is_told_of_until_it_is_gone_or_a_guest_refers_to_it(service: Service) -> None:
    images = {host.name: service.fleet.add_local_directory(host, "/images") for host in service.fleet.hosts.values()}
    guest(service, disks=[Disk("/images/web.raw", 1), Disk("/images/web-seed.iso", 1, "sda", read_only=True, device="cdrom")], memory_mib=512)
    assert service.live_migrate(WEB, "node2", True).status_int == 202
    assert service.wait_idle(WEB).status is Status.COMPLETED
    service.runtime.sleep(30)
    told = f"migration 1 of server {WEB} has left /images/web-seed.iso on node1, since it is not provably livemig's to remove"
    assert lying_about(service) == [f"{told} => if nobody needs it there: rm /images/web-seed.iso, on node1"]
    assert found(service) == [], "a row that only keeps files is no disagreement"
    other = service.fleet.add_guest("other", "node1", state="shutoff", disks=["/images/web-seed.iso"])
    assert lying_about(service) == []
    service.fleet.hosts["node1"].remove(other)
    assert len(lying_about(service)) == 1
    service.fleet.hosts["node1"].up = False
    assert lying_about(service) == [], "a host that is away is told of elsewhere"
    service.fleet.hosts["node1"].up = True
    del images["node1"].files["web-seed.iso"]
    assert lying_about(service) == []
    assert set(images["node2"].files) == {"web.raw", "web-seed.iso"}


def test_what_looks_like_ours_is_told_of_and_what_is_made_just_now_is_not(service: Service) -> None:
    host = service.fleet.hosts["node1"]
    for name in ("one", "two"):
        service.fleet.add_local_directory(host, f"/{name}", pool=f"livemig-{name}")
    host.pools["livemig-two"].directory.files["livemig-probe-1"] = File()
    host.pools["livemig-two"].refresh()

    def pass_by() -> None:
        service.runtime.sleep(1)
        del host.pools["livemig-one"]

    passing = service.runtime.start("passing", pass_by)
    virsh = "virsh -c qemu+tcp://node1/system"
    assert lying_about(service) == [
        "host node1 has a pool livemig-two, which looks like what version 0.1 left => if no other livemig is at work there: "
        f"{virsh} pool-destroy livemig-two; {virsh} pool-undefine livemig-two",
        "host node1 has /two/livemig-probe-1, which looks like what version 0.1 left => if no other livemig is at work there: "
        f"{virsh} vol-delete /two/livemig-probe-1",
    ]
    passing.join()
    assert set(host.pools) == {"livemig-two"}


# A host that is gone for good


def gone(service: Service) -> Migration:
    """The destination of a migration that runs is gone, with all that was on it."""
    guest(service, memory_mib=16384)
    service.live_migrate(WEB)
    service.wait_status(WEB, "running")
    service.runtime.sleep(1)
    service.fleet.hosts["node2"].crash()
    service.runtime.sleep(30)
    assert service.state(WEB) == ("MIGRATING", "node1", "migrating")
    return service.store.migrations.of_server(WEB)[0]


def test_a_person_says_where_the_guest_is(service: Service) -> None:
    migration = gone(service)
    ended = ruling.end(service.store, doctor(service).ask(HOSTS), migration, "node1")
    assert isinstance(ended, Outcome) and ended.status is Status.FAILED
    service.runtime.sleep(20)
    assert service.state(WEB) == ("ACTIVE", "node1", None)
    assert "by hand: the guest is on node1" in service.story(WEB)
    assert service.live_migrate(WEB, "node3").status_int == 202
    assert service.wait_idle(WEB).status is Status.COMPLETED
    assert ruling.end(service.store, {}, migration, None) == ruling.Refusal("It has ended meanwhile.")


def test_a_person_gives_a_guest_up(service: Service) -> None:
    migration = gone(service)
    service.fleet.hosts["node1"].crash()
    service.runtime.sleep(30)
    ended = ruling.end(service.store, doctor(service).ask(HOSTS), migration, None)
    assert isinstance(ended, Outcome) and ended.lost
    service.runtime.sleep(20)
    assert service.state(WEB)[0] == "ERROR"
    service.fleet.hosts["node1"].up = True
    service.runtime.sleep(10)
    assert service.state(WEB) == ("SHUTOFF", "node1", None)


# Hosts


def test_a_host_that_hangs_is_a_finding(service: Service) -> None:
    guest(service)
    service.fleet.hosts["node2"].hung = True
    began = service.runtime.monotonic()
    texts = found(service)
    assert "host node2 cannot be asked: no answer within 15 s" in texts
    assert service.runtime.monotonic() - began < 40


def test_one_that_hangs_still_is_not_asked_again(service: Service) -> None:
    physician = doctor(service)
    service.fleet.hosts["node2"].hung = True
    service.fleet.hosts["node2"].keepalive = (1000, 1000)
    first = physician.ask(HOSTS)
    asked = service.fleet.hosts["node2"].calls["listAllDomains"]  # the conductor may still let go of its own connection
    assert physician.ask(HOSTS) == first and first["node2"].roll is None
    assert service.fleet.hosts["node2"].calls["listAllDomains"] == asked


def test_a_host_that_is_down_and_one_that_is_not_configured(service: Service) -> None:
    guest(service, host="node3")
    service.fleet.hosts["node2"].up = False
    service.runtime.sleep(1)
    texts = found(service, "node1", "node2")
    assert texts == [
        "host node2 cannot be asked: node2: unable to connect to server at 'node2:16509': Connection refused (libvirt error 38)",
        "host node3 is not in enabled_hosts here, and the conductors watch it",
    ]


def test_the_rounds_go_on_when_a_host_is_away_or_the_database(service: Service, caplog: pytest.LogCaptureFixture) -> None:
    domain = guest(service)
    service.fleet.hosts["node1"].up = False
    service.runtime.sleep(1)
    del domain.host.domains[WEB]
    service.conductor.rounds.make()
    assert service.show(WEB)["id"] == WEB  # nobody says that it is gone


def test_a_guest_whose_job_nobody_tells_is_taken_for_one_at_rest(service: Service) -> None:
    guest(service)
    service.fleet.hosts["node1"].unsupported = ("_job_stats",)
    assert found(service) == []


# Several conductors


def test_rounds_outlive_the_database_and_whatever_else(make: Callable[..., Cluster], caplog: pytest.LogCaptureFixture) -> None:
    cluster = make(1, conductor__reconcile_interval=10)
    cluster.guest()
    cluster.outages.database_away = True
    cluster.runtime.sleep(45)
    cluster.outages.database_away = False
    assert "The database is away; it is compared with the hosts next time" in caplog.text
    with cluster.database.engine.begin() as connection:
        connection.execute(text("ALTER TABLE sightings RENAME TO others"))
    cluster.runtime.sleep(11)
    assert "Reconciliation failed; it is tried again next time" in caplog.text
    with cluster.database.engine.begin() as connection:
        connection.execute(text("ALTER TABLE others RENAME TO sightings"))
    with cluster.store.database.write() as session:
        session.execute(delete(models.Server))
    cluster.runtime.sleep(14)
    assert cluster.store.servers.get(WEB).host == "node1"


def test_each_host_is_compared_by_one(make: Callable[..., Cluster]) -> None:
    cluster = make(2, **NEVER)
    cluster.guest()
    with cluster.store.database.write() as session:
        session.execute(delete(models.Server))
    owner, other = cluster.watcher_of("node1")
    other.conductor.rounds.make()
    assert cluster.store.servers.count() == 0
    owner.conductor.rounds.make()
    assert cluster.store.servers.get(WEB).host == "node1"


def test_two_hosts_of_two_conductors_are_both_asked(make: Callable[..., Cluster]) -> None:
    cluster = make(2, **NEVER)
    domain = cluster.guest()
    owner, other = cluster.watcher_of("node1")
    far = next(host for host, name in cluster.store.watches.all().items() if name == other.owner)
    twin(cluster, domain, far, RUNNING)  # type: ignore[arg-type]
    other.conductor.rounds.make()
    owner.conductor.rounds.make()
    assert cluster.store.servers.get(WEB).fault
