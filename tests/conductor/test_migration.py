"""A migration from the request to the verdict, on a simulated fleet and a virtual clock."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from livemig.db.engine import Database
from livemig.states import Status
from livemig.testing.fleet import Domain, guest_uuid
from tests.service import Service
from tests.simulation.runtime import GreenletRuntime

WEB = guest_uuid("web")


def add(service: Service, name: str = "web", **facts: object) -> Domain:
    domain = service.fleet.add_guest(name, "node1", **facts)  # type: ignore[arg-type]
    service.runtime.sleep(0.5)
    return domain


def test_moves_the_guest_and_says_so(service: Service) -> None:
    add(service)
    answer = service.live_migrate(WEB)
    assert (answer.status_int, answer.body) == (202, b"")
    assert service.state(WEB) == ("MIGRATING", "node1", "migrating")
    migration = service.wait_idle(WEB)
    assert (migration.status, migration.destination, migration.reason) == (Status.COMPLETED, "node2", None)
    assert migration.downtime_ms is not None and migration.memory_total_bytes
    assert service.state(WEB) == ("ACTIVE", "node2", None)
    assert service.fleet.running_on(WEB) == ["node2"]
    story = service.story(WEB)
    order = ["accepted", "every check passed", "queued", "preparing", "running", "iteration 1", "migrateToURI3 returned", "verdict", "status: completed"]
    assert sorted(order, key=story.index) == order


def test_the_source_keeps_no_definition_and_a_transient_guest_stays_transient(service: Service) -> None:
    add(service)
    add(service, "gone", persistent=False)
    for server in (WEB, guest_uuid("gone")):
        service.live_migrate(server)
        service.wait_idle(server)
    node1, node2 = service.fleet.hosts["node1"], service.fleet.hosts["node2"]
    assert not node1.domains
    assert node2.domains[WEB].persistent
    assert not node2.domains[guest_uuid("gone")].persistent


def test_progress_rises_while_it_runs(service: Service) -> None:
    service.fleet.hosts["node1"].bandwidth_mib_s = 100.0
    add(service, memory_mib=4096, dirty_mib_s=1)
    service.live_migrate(WEB)
    seen = []
    while (shown := service.show(WEB))["status"] == "MIGRATING":
        seen.append(shown["progress"])
        service.runtime.sleep(2)
    assert seen == sorted(seen)
    assert len(set(seen)) > 5
    assert service.show(WEB)["progress"] == 0


def test_a_job_that_fails_leaves_the_guest_where_it_is(service: Service) -> None:
    add(service)
    service.fleet.hosts["node2"].migration_error = "the destination said no"
    assert service.live_migrate(WEB).status_int == 202
    migration = service.wait_idle(WEB)
    assert migration.status is Status.FAILED
    assert "the destination said no" in (migration.reason or "")
    assert service.state(WEB) == ("ACTIVE", "node1", None)
    assert service.fleet.running_on(WEB) == ["node1"]
    assert service.live_migrate(WEB).status_int == 202
    assert service.wait_idle(WEB).status is Status.COMPLETED


def test_the_weightiest_destination_is_taken(service: Service) -> None:
    service.fleet.hosts["node2"].memory_mib = 8192
    service.restart_conductor()
    add(service)
    assert service.live_migrate(WEB, None).status_int == 202
    assert service.wait_idle(WEB).destination == "node3"


def test_the_next_candidate_is_tried_when_a_check_fails(service: Service) -> None:
    service.fleet.hosts["node2"].memory_mib = 131072
    service.restart_conductor()
    service.fleet.hosts["node2"].refuses_cpu = True
    add(service)
    assert service.live_migrate(WEB, None).status_int == 202
    assert service.wait_idle(WEB).destination == "node3"
    assert "node2: cpu_compatible" in service.story(WEB)


def test_one_at_a_time_leaves_a_host(service: Service) -> None:
    add(service, "one")
    add(service, "two")
    first, second = guest_uuid("one"), guest_uuid("two")
    assert service.live_migrate(first).status_int == 202
    assert service.live_migrate(second).status_int == 202
    service.wait_status(first, Status.RUNNING)
    assert service.store.migrations.of_server(second)[0].status is Status.QUEUED
    one, two = service.wait_idle(first), service.wait_idle(second)
    assert one.finished_at and two.started_at and two.started_at >= one.finished_at
    assert service.fleet.running_on(second) == ["node2"]


def test_several_leave_at_once_when_the_limit_allows(tmp_path: Path, runtime: GreenletRuntime) -> None:
    with Service(tmp_path, runtime, max_concurrent_live_migrations=0) as service:
        servers = [guest_uuid(name) for name in ("one", "two", "three")]
        for name in ("one", "two", "three"):
            add(service, name)
        for server in servers:
            service.live_migrate(server)
        for server in servers:
            service.wait_status(server, Status.RUNNING)
        assert all(service.wait_idle(server).status is Status.COMPLETED for server in servers)


def test_permitted_downtime_rises_until_a_busy_guest_fits(tmp_path: Path, runtime: GreenletRuntime) -> None:
    with Service(tmp_path, runtime, libvirt__live_migration_downtime_delay=3) as service:
        service.fleet.hosts["node1"].bandwidth_mib_s = 100.0
        add(service, dirty_mib_s=20, working_set_mib=20)
        service.live_migrate(WEB)
        assert service.wait_idle(WEB, 600).status is Status.COMPLETED
        assert "max downtime 50 ms" in service.story(WEB)
        assert "max downtime 95 ms" in service.story(WEB)


def test_a_guest_that_never_converges_is_left_alone_after_the_time_out(tmp_path: Path, runtime: GreenletRuntime) -> None:
    with Service(tmp_path, runtime, libvirt__live_migration_completion_timeout=30) as service:
        service.fleet.hosts["node1"].bandwidth_mib_s = 100.0
        add(service, dirty_mib_s=500)
        service.live_migrate(WEB)
        migration = service.wait_idle(WEB, 600)
        assert migration.status is Status.FAILED
        assert migration.started_at and migration.finished_at
        assert 60 <= (migration.finished_at - migration.started_at).total_seconds() < 63
        assert "not completed after 60 s" in service.story(WEB)
        assert service.state(WEB) == ("ACTIVE", "node1", None)


def test_time_in_the_queue_does_not_count(tmp_path: Path, runtime: GreenletRuntime) -> None:
    with Service(tmp_path, runtime, libvirt__live_migration_completion_timeout=30) as service:
        service.fleet.hosts["node1"].bandwidth_mib_s = 50.0
        add(service, "first", dirty_mib_s=1)
        add(service, "second", dirty_mib_s=1)
        for name in ("first", "second"):
            assert service.live_migrate(guest_uuid(name)).status_int == 202
        for name in ("first", "second"):  # each takes about 40 of its 60 s
            assert service.wait_idle(guest_uuid(name), 200).status is Status.COMPLETED


def test_force_complete_pauses_a_guest_that_never_converges(tmp_path: Path, runtime: GreenletRuntime) -> None:
    options: dict[str, Any] = {"libvirt__live_migration_completion_timeout": 30, "libvirt__live_migration_timeout_action": "force_complete"}
    with Service(tmp_path, runtime, **options) as service:
        service.fleet.hosts["node1"].bandwidth_mib_s = 100.0
        add(service, dirty_mib_s=500)
        service.live_migrate(WEB)
        assert service.wait_idle(WEB, 600).status is Status.COMPLETED
        assert service.state(WEB) == ("ACTIVE", "node2", None)
        assert service.fleet.running_on(WEB) == ["node2"]


def slow(service: Service) -> None:
    """A migration that takes 40 s, well under way."""
    service.fleet.hosts["node1"].bandwidth_mib_s = 50.0
    add(service, dirty_mib_s=1)
    assert service.live_migrate(WEB).status_int == 202
    service.runtime.sleep(5)
    assert service.store.migrations.of_server(WEB)[0].status is Status.RUNNING


def test_a_destination_daemon_that_dies_fails_it(service: Service) -> None:
    slow(service)
    service.fleet.hosts["node2"].daemon_restart()
    assert service.wait_idle(WEB).status is Status.FAILED
    assert service.state(WEB) == ("ACTIVE", "node1", None)


def test_an_outcome_is_undecided_while_a_host_cannot_be_asked(service: Service) -> None:
    slow(service)
    service.fleet.hosts["node2"].up = False
    service.runtime.sleep(60)
    assert service.state(WEB) == ("MIGRATING", "node1", "migrating")
    assert "ask again" in service.story(WEB)
    service.fleet.hosts["node2"].up = True
    assert service.wait_idle(WEB, 20).status is Status.FAILED
    assert service.fleet.running_on(WEB) == ["node1"]


def test_a_source_daemon_that_restarts_cancels_the_job(service: Service) -> None:
    slow(service)
    service.fleet.hosts["node1"].daemon_restart(5)
    assert service.wait_idle(WEB).status is Status.FAILED
    assert service.state(WEB) == ("ACTIVE", "node1", None)


@pytest.mark.parametrize("killed", [False, True])
def test_a_source_daemon_that_dies_right_after_the_switch_over_leaves_a_copy_and_no_doubt(service: Service, killed: bool) -> None:
    """Its successor knows of no job, and leaves the guest paused: that stays so until a person destroys the copy, whatever becomes of the guest."""
    service.fleet.finish_s = 2.0
    copy = add(service)
    service.live_migrate(WEB)
    while service.fleet.running_on(WEB) != ["node2"]:
        service.runtime.sleep(0.1)
    service.fleet.hosts["node1"].daemon_restart(3)
    service.runtime.sleep(15)
    assert service.state(WEB) == ("MIGRATING", "node1", "migrating")
    if killed:
        service.fleet.hosts["node2"].domains[WEB].persistent = False
        service.fleet.hosts["node2"].kill_guest(WEB)
        migration = service.wait_idle(WEB, 30)
        assert (migration.status, service.show(WEB)["status"]) == (Status.ERROR, "ERROR")
        return
    migration = service.wait_idle(WEB, 20)
    assert migration.status is Status.COMPLETED
    assert "left a paused copy: never resume it" in (migration.reason or "")
    assert service.state(WEB) == ("ACTIVE", "node2", None)
    assert copy.active and service.fleet.running_on(WEB) == ["node2"]


def test_a_guest_killed_by_a_fault_ends_in_error_for_a_person(service: Service) -> None:
    service.fleet.hosts["node1"].bandwidth_mib_s = 50.0
    add(service, persistent=False)
    service.live_migrate(WEB)
    service.runtime.sleep(5)
    service.fleet.hosts["node1"].kill_guest(WEB)
    migration = service.wait_idle(WEB)
    assert migration.status is Status.ERROR
    assert "a person must look" in (migration.reason or "")
    assert service.show(WEB)["status"] == "ERROR"


def test_a_persistent_guest_killed_by_a_fault_is_shown_off_on_its_source(service: Service) -> None:
    slow(service)
    service.fleet.hosts["node1"].kill_guest(WEB)
    assert service.wait_idle(WEB).status is Status.FAILED
    assert service.state(WEB) == ("SHUTOFF", "node1", None)


def test_a_restarted_conductor_adopts_a_running_job_with_its_policy(tmp_path: Path, runtime: GreenletRuntime) -> None:
    with Service(tmp_path, runtime, libvirt__live_migration_completion_timeout=30) as service:
        service.fleet.hosts["node1"].bandwidth_mib_s = 100.0
        add(service, dirty_mib_s=500)
        service.live_migrate(WEB)
        runtime.sleep(20)
        service.restart_conductor()
        migration = service.wait_idle(WEB, 600)
        assert migration.status is Status.FAILED
        assert migration.started_at and migration.finished_at
        assert 60 <= (migration.finished_at - migration.started_at).total_seconds() < 63
        assert "taken up by conductor:" in service.story(WEB)


def test_a_job_that_ended_while_nobody_looked_gets_its_verdict(service: Service) -> None:
    slow(service)
    service.conductor.stop()
    service.runtime.sleep(120)
    assert service.fleet.running_on(WEB) == ["node2"]
    service.restart_conductor()
    migration = service.wait_idle(WEB, 10)
    assert migration.status is Status.COMPLETED
    assert migration.downtime_ms is not None
    assert service.state(WEB) == ("ACTIVE", "node2", None)


@pytest.mark.parametrize("status", [Status.ACCEPTED, Status.QUEUED, Status.PREPARING, Status.RUNNING])
def test_a_migration_that_was_not_begun_is_taken_up(service: Service, status: Status) -> None:
    """The conductor died between two writes. Where libvirt was not told yet it is told now; where it may have been, the hosts are asked."""
    add(service)
    service.conductor.stop()
    migration = service.begin(WEB)
    migrations = service.store.migrations
    migrations.claim(migration.id, "conductor:dead", 60, "api")
    for step in (Status.QUEUED, Status.PREPARING, Status.RUNNING):
        if status is not Status.ACCEPTED and list(Status).index(step) <= list(Status).index(status):
            assert migrations.advance(migration.id, step, "conductor:dead", destination="node2")
    service.restart_conductor()
    expected = Status.FAILED if status is Status.RUNNING else Status.COMPLETED
    assert service.wait_idle(WEB, 15).status is expected
    assert service.state(WEB) == ("ACTIVE", "node1" if status is Status.RUNNING else "node2", None)


def test_another_conductors_migration_waits_for_its_lease(service: Service) -> None:
    add(service)
    migration = service.begin(WEB)
    service.store.migrations.claim(migration.id, "other:life", 12, "api")
    service.runtime.sleep(10)
    assert service.store.migrations.get(migration.id).status is Status.ACCEPTED
    assert service.wait_idle(WEB, 20).status is Status.COMPLETED


def test_refused_when_taken_up_ends_in_error(service: Service) -> None:
    add(service)
    service.conductor.stop()
    service.begin(WEB, "nosuch")
    service.runtime.sleep(60)
    service.restart_conductor()
    migration = service.wait_idle(WEB, 20)
    assert (migration.status, migration.reason) == (Status.ERROR, "Compute host nosuch could not be found.")


def test_a_withdrawn_migration_is_not_begun(service: Service) -> None:
    """The API gave up before the conductor took the message from the queue."""
    from livemig.facts import Outcome

    add(service)
    migration = service.begin(WEB)
    assert service.store.migrations.finish(migration, Outcome(Status.ERROR, "node1", "withdrawn"), None, before=[Status.ACCEPTED])
    service.conductor.engine.accept(migration.id)
    service.runtime.sleep(30)
    assert service.fleet.running_on(WEB) == ["node1"]
    assert service.store.migrations.get(migration.id).reason == "withdrawn"


def test_a_running_job_outlives_the_database(tmp_path: Path, runtime: GreenletRuntime) -> None:
    with Service(tmp_path, runtime, database=Database) as service:
        slow(service)
        with closing(service.other_process()) as other:
            other.execute("BEGIN EXCLUSIVE")
            service.runtime.sleep(60)
            assert service.fleet.running_on(WEB) == ["node2"]
            other.execute("ROLLBACK")
        assert service.wait_idle(WEB, 30).status is Status.COMPLETED
        assert service.state(WEB) == ("ACTIVE", "node2", None)


def test_a_host_taken_out_of_the_configuration_keeps_its_migration_open(service: Service) -> None:
    slow(service)
    service.conductor.stop()
    service.conf.set_override("enabled_hosts", ["node1", "node3"])
    service.restart_conductor()
    service.runtime.sleep(30)
    assert service.state(WEB) == ("MIGRATING", "node1", "migrating")
    service.conf.set_override("enabled_hosts", ["node1", "node2", "node3"])
    service.conductor.reload()
    assert service.wait_idle(WEB, 60).status is Status.COMPLETED
