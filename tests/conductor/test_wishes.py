"""Abort and force complete at every moment of a migration, with many orders of the threads, and what becomes of it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import cycle
from pathlib import Path

import pytest

from livemig import conf as configuration
from livemig import context
from livemig.conductor.verdict import Verdict
from livemig.db.migrations import NOT_BEGUN
from livemig.facts import MigrationRequest
from livemig.records import Migration
from livemig.states import Status
from livemig.testing.fleet import guest_uuid
from tests.drawn import amount
from tests.moments import PatientDatabase, when
from tests.service import Service
from tests.simulation.runtime import GreenletRuntime

WEB, OTHER = guest_uuid("web"), guest_uuid("other")
SEEDS = range(amount("scenes"))  # always the first ones: together they are in every moment that is asked for


@pytest.fixture
def runtime() -> None:
    """Each test here makes its own, one for each seed."""


def each_seed(tmp_path: Path, play: Callable[[Service], object], **options: object) -> None:
    """Play a scene once for each seed, on a database between whose transactions others go on."""
    for seed in SEEDS:
        runtime = GreenletRuntime(seed)
        try:
            with Service(tmp_path, runtime, database=partial(PatientDatabase, runtime), **options) as service:
                service.fleet.add_guest("web", "node1", dirty_mib_s=1)
                runtime.sleep(0.5)
                service.fleet.latency_s = 0.05
                play(service)
        finally:
            runtime.close()


def begin(service: Service, server: str = WEB) -> Migration:
    """As the API does since microversion 2.34: a row that nobody holds, and a conductor that is woken."""
    asked = MigrationRequest("node2", None, None, False)
    migration = service.store.migrations.begin(server, asked, configuration.policy(service.conf), context.system(), 0)
    service.conductor.engine.wake(migration.id)
    return migration


def now(service: Service, migration: Migration) -> Status:
    return service.store.migrations.get(migration.id).status


def abort(service: Service, migration: Migration, wake: bool = True) -> bool:
    """As the API does it."""
    done = service.store.migrations.ask_abort(migration, context.system())
    if done and wake:
        service.conductor.engine.wake(migration.id)
    return done


def force(service: Service, migration: Migration, wake: bool = True) -> bool:
    done = service.store.migrations.ask_completion(migration, context.system())
    if done and wake:
        service.conductor.engine.wake(migration.id)
    return done


def settled(service: Service, seconds: float = 120) -> Migration:
    """The migration at its end: nothing is stuck, the guest lives on one host, and the API says which."""
    migration = service.wait_idle(WEB, seconds)
    service.fleet.latency_s = 0.0
    service.runtime.sleep(3)
    [host] = service.fleet.running_on(WEB)
    assert host == ("node2" if migration.status is Status.COMPLETED else "node1"), service.story(WEB)
    assert service.state(WEB) == ("ACTIVE", host, None), service.story(WEB)
    return migration


def moves_again(service: Service) -> None:
    """Nothing is left of the last migration."""
    source = service.state(WEB)[1]
    answer = service.live_migrate(WEB, "node3")
    assert answer.status_int == 202, answer.text
    assert service.wait_idle(WEB, 120).status is Status.COMPLETED
    assert service.state(WEB) == ("ACTIVE", "node3", None)
    assert service.fleet.running_on(WEB) == ["node3"] and WEB not in service.fleet.hosts[source].domains


def test_an_abort_at_any_time_leaves_the_guest_on_one_host(tmp_path: Path) -> None:
    """From the request to after the end: what the API said yes to was cancelled, unless the end was first."""
    met: set[Status] = set()
    moments = cycle([0.0, 0.1, 0.5, 1.0, 1.5, 2.0, 3.0, 5.0])

    def play(service: Service) -> None:
        migration = begin(service)
        service.runtime.sleep(next(moments) + service.runtime.random.uniform(0, 0.1))  # type: ignore[attr-defined]
        before = now(service, migration)
        said = abort(service, migration, wake=service.runtime.random.random() < 0.5)  # type: ignore[attr-defined]
        ended = settled(service)
        met.add(before)
        if said:
            assert ended.status in (Status.CANCELLED, Status.COMPLETED), service.story(WEB)
        else:
            assert ended.status is Status.COMPLETED
        if ended.status is Status.CANCELLED and ended.started_at is None:
            assert "migrateToURI3" not in service.story(WEB) and "iteration" not in service.story(WEB)
        moves_again(service)

    each_seed(tmp_path, play)
    assert met >= {Status.ACCEPTED, Status.RUNNING}


def test_one_that_was_not_begun_never_reaches_libvirt(tmp_path: Path) -> None:
    """Aborted while it is accepted, queued, or preparing: one at a time leaves a host, and one that waited is checked again."""
    met: set[Status] = set()

    def play(service: Service) -> None:
        random = service.runtime.random  # type: ignore[attr-defined]
        service.fleet.add_guest("other", "node1", dirty_mib_s=1)
        service.runtime.sleep(0.5)
        service.fleet.hosts["node1"].bandwidth_mib_s = 200.0
        begin(service, OTHER)
        service.wait_status(OTHER, Status.RUNNING)
        migration = begin(service)
        wanted = random.choice(NOT_BEGUN)
        deadline = service.runtime.monotonic() + 120
        while now(service, migration) is not wanted:
            assert service.runtime.monotonic() < deadline
            service.runtime.sleep(0.01)
        service.runtime.sleep(random.choice([0.0, 0.05, 0.1, 0.3]))
        met.add(before := now(service, migration))
        said = abort(service, migration, wake=random.random() < 0.5)
        assert said
        after = now(service, migration)
        assert after is Status.CANCELLED or (after is Status.RUNNING and before in (Status.PREPARING, Status.RUNNING))
        if after is Status.CANCELLED:
            assert service.state(WEB) == ("ACTIVE", "node1", None)
        service.wait_idle(OTHER, 120)
        ended = settled(service)
        assert ended.status is Status.CANCELLED
        if after is Status.CANCELLED:
            assert ended.reason == "Aborted by livemig before it began."
            assert "migrateToURI3" not in service.story(WEB) and "status: running" not in service.story(WEB)
        assert service.store.migrations.of_server(OTHER)[0].status is Status.COMPLETED
        moves_again(service)

    each_seed(tmp_path, play)
    assert met >= set(NOT_BEGUN)


LATE: dict[str, dict[str, object]] = {
    "iteration": {"kind": "source", "event": "Iteration"},
    "job completed": {"kind": "source", "event": "JobCompleted"},
    "migrateToURI3 returned": {"kind": "libvirt", "succeeded": True},
    "verdict: the guest is on the destination": {"kind": "verdict", "verdict": Verdict.COMPLETED.name},
}


@pytest.mark.parametrize("moment", LATE)
def test_an_abort_as_it_just_completes(tmp_path: Path, moment: str) -> None:
    said: list[bool] = []

    def play(service: Service) -> None:
        with when(lambda: said.append(abort(service, service.store.migrations.of_server(WEB)[0])), **LATE[moment]):
            begin(service)
            ended = settled(service)
        assert ended.status is Status.COMPLETED or (said[-1] and ended.status is Status.CANCELLED), service.story(WEB)
        moves_again(service)

    each_seed(tmp_path, play)
    assert any(said)


def test_a_running_one_is_aborted_at_once_when_its_conductor_is_woken(tmp_path: Path) -> None:
    def play(service: Service) -> None:
        service.fleet.hosts["node1"].bandwidth_mib_s = 20.0
        migration = begin(service)
        service.runtime.sleep(10)
        asked_at = service.runtime.now()
        assert abort(service, migration)
        ended = settled(service)
        assert ended.status is Status.CANCELLED and ended.finished_at
        assert (ended.finished_at - asked_at).total_seconds() < 0.8
        assert "abort: libvirt is told to stop the job" in service.story(WEB)

    each_seed(tmp_path, play)


def test_a_running_one_is_aborted_soon_when_nobody_is_woken(tmp_path: Path) -> None:
    def play(service: Service) -> None:
        service.fleet.hosts["node1"].bandwidth_mib_s = 20.0
        migration = begin(service)
        service.runtime.sleep(10)
        asked_at = service.runtime.now()
        assert abort(service, migration, wake=False)
        ended = settled(service)
        assert ended.status is Status.CANCELLED and ended.finished_at
        assert (ended.finished_at - asked_at).total_seconds() < 3

    each_seed(tmp_path, play)


def test_the_next_conductor_does_what_was_wished(tmp_path: Path) -> None:
    """The one that was to abort it died."""

    def play(service: Service) -> None:
        service.fleet.hosts["node1"].bandwidth_mib_s = 20.0
        migration = begin(service)
        service.runtime.sleep(10)
        assert abort(service, migration, wake=False)
        service.fleet.latency_s = 0.0
        service.restart_conductor()
        assert settled(service).status is Status.CANCELLED

    each_seed(tmp_path, play)


def test_one_that_is_cancelled_during_its_checks_is_not_queued(tmp_path: Path) -> None:
    """Asked for before 2.34, when a client waits for the checks: they passed, so nothing is raised."""

    def play(service: Service) -> None:
        service.fleet.latency_s = 0.3
        answers: list[int] = []
        task = service.runtime.start("request", lambda: answers.append(service.live_migrate(WEB).status_int))
        while not (migrations := service.store.migrations.of_server(WEB)):
            service.runtime.sleep(0.01)
        service.runtime.sleep(service.runtime.random.uniform(0, 1))  # type: ignore[attr-defined]
        before = now(service, migrations[0])
        assert abort(service, migrations[0])
        task.join()
        assert answers == [202]
        ended = settled(service)
        assert ended.status is Status.CANCELLED
        assert before is not Status.ACCEPTED or "status: queued" not in service.story(WEB)

    each_seed(tmp_path, play)


def test_completion_is_forced_at_any_time(tmp_path: Path) -> None:
    """A guest that never converges completes, and runs; one that is completing completes; one that has not begun cannot be forced."""
    met: set[Status] = set()

    def play(service: Service) -> None:
        random = service.runtime.random  # type: ignore[attr-defined]
        never = random.random() < 0.5
        if never:
            service.fleet.hosts["node1"].bandwidth_mib_s = 200.0
            service.fleet.hosts["node1"].domains[WEB].load.dirty_mib_s = 500
        migration = begin(service)
        service.runtime.sleep(random.uniform(0, 6))
        said = False
        while not said and now(service, migration) not in (Status.COMPLETED, Status.FAILED):
            met.add(before := now(service, migration))
            said = force(service, migration, wake=random.random() < 0.5)
            assert not said or before not in (Status.ACCEPTED, Status.QUEUED) or now(service, migration) is Status.RUNNING
            if said and random.random() < 0.5:
                force(service, migration)  # and again
            service.runtime.sleep(random.uniform(0, 1))
        assert settled(service).status is Status.COMPLETED, service.story(WEB)
        assert service.story(WEB).count("pause: ") <= 1
        assert not never or "pause: the guest is paused, for the migration to complete" in service.story(WEB)
        moves_again(service)

    each_seed(tmp_path, play)
    assert Status.RUNNING in met


def test_a_forced_guest_goes_on_where_it_was_when_the_job_fails(tmp_path: Path) -> None:
    def play(service: Service) -> None:
        service.fleet.hosts["node1"].bandwidth_mib_s = 20.0
        migration = begin(service)
        service.runtime.sleep(10)
        assert force(service, migration)
        service.runtime.sleep(service.runtime.random.uniform(0, 4))  # type: ignore[attr-defined]
        service.fleet.hosts["node2"].daemon_restart()
        if service.runtime.random.random() < 0.5:  # type: ignore[attr-defined]
            service.fleet.latency_s = 0.0
            service.restart_conductor()
        assert settled(service).status is Status.FAILED

    each_seed(tmp_path, play)


def test_who_paused_a_guest_is_written_down_before_it_is_paused(tmp_path: Path) -> None:
    """A conductor that dies then leaves it to the next to let the guest go on."""
    seen: list[bool] = []

    def look(service: Service) -> None:
        service.runtime.sleep(0.5)
        seen.append("pause: the guest is paused" in service.story(WEB) and service.fleet.running_on(WEB) == ["node1"])

    def play(service: Service) -> None:
        service.fleet.hosts["node1"].bandwidth_mib_s = 100.0
        migration = begin(service)
        service.runtime.sleep(4)
        service.fleet.latency_s = 1.0
        with when(lambda: service.runtime.start("look", look, service), kind="pause"):
            assert force(service, migration)
            service.runtime.sleep(15)
        assert settled(service).status is Status.COMPLETED

    each_seed(tmp_path, play)
    assert seen == [True] * len(SEEDS)


@pytest.mark.parametrize("fails", [False, True])
def test_a_guest_that_its_user_paused_stays_paused(tmp_path: Path, fails: bool) -> None:
    def play(service: Service) -> None:
        service.fleet.latency_s = 0.0
        assert service.request("POST", f"/v2.1/servers/{WEB}/action", json={"pause": None}).status_int == 202
        service.runtime.sleep(0.5)
        service.fleet.hosts["node1"].bandwidth_mib_s = 50.0
        migration = begin(service)
        service.runtime.sleep(10)
        assert force(service, migration)
        service.runtime.sleep(2)
        assert "is paused and need not be paused" in service.story(WEB)
        if fails:
            service.fleet.hosts["node2"].daemon_restart()
        ended = service.wait_idle(WEB, 120)
        assert ended.status is (Status.FAILED if fails else Status.COMPLETED)
        service.runtime.sleep(5)
        assert service.state(WEB) == ("PAUSED", "node1" if fails else "node2", None)
        assert "resumed on the source" not in service.story(WEB) and "pause: " not in service.story(WEB)

    each_seed(tmp_path, play)


def test_an_abort_of_what_was_forced(tmp_path: Path) -> None:
    """The guest goes on at its source."""

    def play(service: Service) -> None:
        service.fleet.hosts["node1"].bandwidth_mib_s = 20.0
        migration = begin(service)
        service.runtime.sleep(10)
        assert force(service, migration)
        service.runtime.sleep(service.runtime.random.uniform(0, 2))  # type: ignore[attr-defined]
        assert abort(service, migration)
        assert settled(service).status is Status.CANCELLED

    each_seed(tmp_path, play)


def test_waking_for_what_is_over_or_elsewhere_changes_nothing(tmp_path: Path) -> None:
    def play(service: Service) -> None:
        migration = begin(service)
        for _ in range(20):
            service.conductor.engine.wake(migration.id)
            service.runtime.sleep(0.2)
        assert settled(service).status is Status.COMPLETED
        service.conductor.engine.wake(migration.id)
        service.runtime.sleep(1)
        assert len(service.store.migrations.of_server(WEB)) == 1
        assert service.story(WEB).count("every check passed") == 1

    each_seed(tmp_path, play)


def test_without_being_woken_an_accepted_one_is_found(tmp_path: Path) -> None:
    def play(service: Service) -> None:
        asked = MigrationRequest("node2", None, None, False)
        service.store.migrations.begin(WEB, asked, configuration.policy(service.conf), context.system(), 0)
        assert settled(service, 20).status is Status.COMPLETED

    each_seed(tmp_path, play)
