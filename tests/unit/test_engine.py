"""The conductor where something gives way at a bad moment. Everything else of it is in tests/conductor."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from livemig import context, exceptions
from livemig.conductor.verdict import Verdict
from livemig.db.engine import Database
from livemig.states import Status
from livemig.testing.fleet import guest_uuid
from livemig.testing.runtime import VirtualRuntime
from tests.moments import when
from tests.service import Service

WEB = guest_uuid("web")


@pytest.fixture
def service(tmp_path: Path, runtime: VirtualRuntime) -> Iterator[Service]:
    """On a database file, which another process can lock."""
    with Service(tmp_path, runtime, database=Database) as service:
        add(service)
        yield service


def add(service: Service, name: str = "web", **facts: Any) -> str:
    service.fleet.add_guest(name, "node1", **{"dirty_mib_s": 1, **facts})
    service.runtime.sleep(0.5)
    return guest_uuid(name)


def lock_database(service: Service, seconds: float) -> None:
    """Take the database away for so long."""
    other = service.other_process()
    other.execute("BEGIN EXCLUSIVE")

    def unlock() -> None:
        service.runtime.sleep(seconds)
        other.execute("ROLLBACK")
        other.close()

    service.runtime.start("unlock", unlock)


def story_has(service: Service, words: str) -> bool:
    return words in service.story(WEB)


@pytest.mark.parametrize("after", [0.5, 2.5, 6.5, 10.5])
def test_a_database_that_goes_away_during_the_checks_leaves_nothing_stuck(service: Service, after: float) -> None:
    """The answer may be a 503, or none; the migration is withdrawn, or goes on."""
    service.fleet.latency_s = 1.0
    answers: list[int] = []
    task = service.runtime.start("request", lambda: answers.append(service.live_migrate(WEB).status_int))
    service.runtime.sleep(after)
    lock_database(service, 40)
    task.join()
    service.runtime.sleep(40)
    service.fleet.latency_s = 0.0
    migration = service.wait_idle(WEB, 300)
    assert migration.status in (Status.COMPLETED, Status.ERROR)
    if answers == [202]:
        assert migration.status is Status.COMPLETED
    assert len(service.fleet.running_on(WEB)) == 1


def test_an_outcome_waits_for_the_database(service: Service) -> None:
    with when(lambda: lock_database(service, 20), kind="verdict", verdict=Verdict.COMPLETED.name):
        service.live_migrate(WEB)
        service.runtime.sleep(15)
        assert service.state(WEB) == ("MIGRATING", "node1", "migrating")
        assert service.wait_idle(WEB).status is Status.COMPLETED
    assert service.state(WEB) == ("ACTIVE", "node2", None)


def test_stopping_without_the_database_lets_leases_expire(service: Service, caplog: pytest.LogCaptureFixture) -> None:
    with closing(service.other_process()) as other:
        other.execute("BEGIN EXCLUSIVE")
        service.conductor.stop()
        other.execute("ROLLBACK")
    assert any("will expire by themselves" in record.getMessage() for record in caplog.records)


def test_housekeeping_goes_on_after_an_unexpected_error(service: Service, caplog: pytest.LogCaptureFixture) -> None:
    def execute(statement: str) -> None:
        with service.store.database.engine.begin() as connection:
            connection.execute(text(statement))

    execute("INSERT INTO conductors (owner, expires_at, away) VALUES ('broken', '2999-01-01 00:00:00.000000', 'no JSON')")
    service.runtime.sleep(10)
    assert any("Housekeeping failed" in record.getMessage() for record in caplog.records)
    execute("DELETE FROM conductors WHERE owner = 'broken'")
    service.begin(WEB)
    assert service.wait_idle(WEB, 120).status is Status.COMPLETED


def test_a_conductor_that_fails_in_the_middle_takes_it_up_again(service: Service, caplog: pytest.LogCaptureFixture) -> None:
    """An error of ours, while a migration that waited for its place is checked again."""
    other = add(service, "other")
    service.fleet.hosts["node1"].bandwidth_mib_s = 100.0
    assert service.live_migrate(other).status_int == service.live_migrate(WEB, "node3").status_int == 202
    service.fleet.hosts["node3"].memory_mib = None  # type: ignore[assignment]
    service.wait_idle(other)
    service.runtime.sleep(10)
    assert any("the conductor failed; it is taken up again" in record.getMessage() for record in caplog.records)
    assert service.state(WEB)[0] == "MIGRATING"
    service.fleet.hosts["node3"].memory_mib = 65536
    assert service.wait_idle(WEB, 120).status is Status.COMPLETED


def test_a_migration_that_waited_is_checked_again(service: Service) -> None:
    other = add(service, "other")
    service.fleet.hosts["node1"].bandwidth_mib_s = 100.0
    assert service.live_migrate(other).status_int == service.live_migrate(WEB, "node3").status_int == 202
    service.fleet.hosts["node3"].refuses_cpu = True
    migration = service.wait_idle(WEB, 120)
    assert migration.status is Status.ERROR and "Unacceptable CPU" in (migration.reason or "")
    assert service.state(WEB) == ("ACTIVE", "node1", None)


def test_without_a_source_no_destination_is_looked_for(service: Service) -> None:
    service.fleet.hosts["node1"].up = False
    answer = service.live_migrate(WEB, None)
    assert answer.json["badRequest"]["message"] == "Compute service of node1 is unavailable at this time."


def test_a_guest_that_is_gone_is_refused(service: Service) -> None:
    del service.fleet.hosts["node1"].domains[WEB]  # no event tells
    assert f"Instance {WEB} is absent on node1" in service.live_migrate(WEB).json["badRequest"]["message"]


def test_a_message_that_comes_twice_is_done_once(service: Service) -> None:
    assert service.live_migrate(WEB).status_int == 202
    migration = service.store.migrations.of_server(WEB)[0]
    service.conductor.engine.accept(migration.id)
    service.wait_idle(WEB)
    service.conductor.engine.accept(migration.id)
    assert [each.status for each in service.store.migrations.of_server(WEB)] == [Status.COMPLETED]


def test_a_message_that_comes_after_the_checks_changes_nothing(service: Service) -> None:
    """The lease is free again, but it is queued already."""
    service.fleet.hosts["node1"].bandwidth_mib_s = 50.0
    service.live_migrate(add(service, "other"))
    service.live_migrate(WEB)
    migration = service.store.migrations.of_server(WEB)[0]
    assert migration.status is Status.QUEUED
    service.store.migrations.release_former("conductor:another life")
    service.conductor.engine.accept(migration.id)
    assert service.store.migrations.get(migration.id).status is Status.QUEUED
    assert service.wait_idle(WEB, 300).status is Status.COMPLETED


def test_a_call_that_fails_in_an_unexpected_way_is_one_witness_more(service: Service) -> None:
    watcher = service.conductor.inventory.get("node2")
    assert watcher is not None
    watcher.settings = replace(watcher.settings, migration_uri="qemu+tcp://[node2/system")  # no configuration may say so
    service.live_migrate(WEB)
    migration = service.wait_idle(WEB)
    assert migration.status is Status.FAILED and "Invalid IPv6 URL" in (migration.reason or "")
    assert service.state(WEB) == ("ACTIVE", "node1", None)


def test_a_job_that_turns_out_to_run_is_followed_on(service: Service) -> None:
    """Taken up while the source could not be asked."""
    service.fleet.hosts["node1"].bandwidth_mib_s = 20.0
    service.live_migrate(WEB)
    service.runtime.sleep(5)
    service.fleet.cut("client", "node1")
    service.restart_conductor()
    service.runtime.sleep(10)
    assert service.state(WEB)[0] == "MIGRATING"
    assert story_has(service, "ask again (source: unknown, destination: paused (migrating))")
    service.fleet.heal("client", "node1")
    assert service.wait_idle(WEB, 300).status is Status.COMPLETED
    assert service.fleet.running_on(WEB) == ["node2"]


def never_converges(tmp_path: Path, runtime: VirtualRuntime, action: str) -> Service:
    return Service(tmp_path, runtime, libvirt__live_migration_completion_timeout=5, libvirt__live_migration_timeout_action=action)


def begin_endless(service: Service) -> None:
    service.fleet.hosts["node1"].bandwidth_mib_s = 100.0
    add(service, dirty_mib_s=500)
    service.fleet.latency_s = 0.3
    service.live_migrate(WEB)


def test_a_guest_paused_when_its_job_was_just_over_goes_on(tmp_path: Path, runtime: VirtualRuntime) -> None:
    with never_converges(tmp_path, runtime, "force_complete") as service:
        with when(service.fleet.hosts["node2"].daemon_restart, kind="pause"):
            begin_endless(service)
            assert service.wait_idle(WEB, 100).status is Status.FAILED
        service.runtime.sleep(5)
        assert story_has(service, "resumed on the source")
        assert service.state(WEB) == ("ACTIVE", "node1", None)
        assert service.fleet.running_on(WEB) == ["node1"]


def test_a_job_that_was_over_before_it_was_aborted(tmp_path: Path, runtime: VirtualRuntime) -> None:
    with never_converges(tmp_path, runtime, "abort") as service:
        with when(service.fleet.hosts["node2"].daemon_restart, kind="abort"):
            begin_endless(service)
            assert service.wait_idle(WEB, 100).status is Status.FAILED
        assert story_has(service, "Abort: node1: Requested operation is not valid: no job is active")


# The API's side


class Client:
    """In place of RPC: has the conductor queue it, or not, and fails."""

    def __init__(self, queues_it: bool, error: Exception) -> None:
        self.service: Service | None = None
        self.queues_it = queues_it
        self.error = error

    def live_migrate(self, _context: context.RequestContext, migration_id: int) -> None:
        if self.queues_it and self.service is not None:
            self.service.conductor.engine.accept(migration_id)
        raise self.error


@pytest.mark.parametrize(("queues_it", "host", "status"), [(False, "node2", 400), (False, None, 400), (True, "node2", 202)])
def test_rpc_that_fails_in_an_unexpected_way(tmp_path: Path, runtime: VirtualRuntime, queues_it: bool, host: str | None, status: int) -> None:
    client = Client(queues_it, ZeroDivisionError("inside"))
    with Service(tmp_path, runtime, client) as service:
        client.service = service
        add(service)
        answer = service.live_migrate(WEB, host)
        assert answer.status_int == status
        if status == 400:
            where = f"host {host}" if host else "another host"
            assert answer.json["badRequest"]["message"] == f"Live migration of instance {WEB} to {where} failed"
            assert "inside" not in answer.text
        assert service.wait_idle(WEB).status is (Status.ERROR if status == 400 else Status.COMPLETED)


@pytest.mark.parametrize(("queues_it", "status"), [(False, 503), (True, 202)])
def test_a_conductor_without_a_database_is_503_unless_it_was_queued(tmp_path: Path, runtime: VirtualRuntime, queues_it: bool, status: int) -> None:
    client = Client(queues_it, exceptions.DatabaseUnavailable())
    with Service(tmp_path, runtime, client) as service:
        client.service = service
        add(service)
        assert service.live_migrate(WEB).status_int == status
        assert (service.state(WEB)[2] is None) is (status == 503)
        assert service.wait_idle(WEB).status is (Status.ERROR if status == 503 else Status.COMPLETED)
