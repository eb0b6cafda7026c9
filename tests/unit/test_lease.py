"""When a conductor may act on a migration: for three quarters of the lease since it was last asked for with success, and not when another has it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from livemig.conductor import monitor
from livemig.conductor.course import Course
from livemig.conductor.journal import Journal
from livemig.conductor.knobs import Knobs
from livemig.conductor.lease import Lapsed, Lease, Leases
from livemig.db.store import Store
from livemig.records import Migration
from livemig.testing.runtime import VirtualRuntime


@pytest.fixture
def leases(store: Store, runtime: VirtualRuntime) -> Leases:
    return Leases(store, runtime, "us:1", 8)


@pytest.fixture
def lease(leases: Leases, migration: Migration) -> Lease:
    """One that was just taken."""
    assert leases.claim(migration.id, held_by="api")
    return leases.of(migration.id)


def test_what_was_never_taken_is_not_held(leases: Leases, migration: Migration) -> None:
    assert not leases.claim(migration.id), "the API has it"
    assert (leases.of(migration.id).held, leases.of(migration.id).gone) == (False, True)


def test_it_lapses_before_anybody_can_take_it(leases: Leases, lease: Lease, store: Store, runtime: VirtualRuntime) -> None:
    runtime.sleep(5.9)
    lease.check()
    runtime.sleep(0.2)
    assert (lease.held, lease.gone) == (False, False)
    with pytest.raises(Lapsed, match="has lapsed"):
        lease.check()
    assert not store.migrations.claim(lease.number, "them:1", 8)
    with leases.worked_on(lease.number):
        leases.renew()
    assert lease.held, "nobody has taken it"


def test_what_another_has_taken_is_gone(leases: Leases, lease: Lease, store: Store, runtime: VirtualRuntime) -> None:
    runtime.sleep(9)
    assert store.migrations.claim(lease.number, "them:1", 8)
    with leases.worked_on(lease.number):
        leases.renew()
    assert (lease.held, lease.gone) == (False, True)


def test_what_nobody_works_on_is_forgotten(leases: Leases, lease: Lease, runtime: VirtualRuntime) -> None:
    leases.renew()
    assert not lease.gone
    runtime.sleep(9)
    leases.renew()
    assert lease.gone and not leases.works_on(lease.number)


def test_who_stops_acts_on_nothing(leases: Leases, lease: Lease) -> None:
    leases.surrender()
    assert (lease.held, lease.gone) == (False, True)


def test_a_lease_that_lapses_between_the_decision_and_the_deed(lease: Lease, store: Store, migration: Migration, runtime: VirtualRuntime) -> None:
    """Nothing is told to a hypervisor (there is none), and it is not remembered as done."""
    knobs = Knobs(migration, lease, None, Journal(store, migration, runtime.monotonic), lambda _phase: None)  # type: ignore[arg-type]
    runtime.sleep(7)
    memory = knobs.perform(monitor.SetDowntime(300), monitor.Memory(step=3, downtime_ms=300))
    assert (memory.step, memory.downtime_ms) == (-1, 0)


@pytest.mark.parametrize("urge", [None, monitor.Abort("because"), monitor.Pause("so"), monitor.PostCopy("thus")], ids=str)
def test_what_is_remembered_is_recalled(urge: monitor.Abort | monitor.Pause | monitor.PostCopy | None) -> None:
    memory = monitor.Memory(3, 400, None, timed_out=True, urge=urge, stall_step=2, no_post_copy=True, disk_bytes=7, course=Course(4, 5, 6, 7, 8.0, 9.0))
    assert replace(monitor.recalled(monitor.remembered(memory)), speed=None) == memory


def test_what_another_version_remembered(store: Store) -> None:
    recalled = monitor.recalled({"downtime_ms": 300, "of_tomorrow": 1, "course": {"minimum": 5, "of_tomorrow": 2}})
    assert replace(recalled, speed=None) == monitor.Memory(downtime_ms=300, course=Course(minimum=5))
    assert replace(monitor.recalled(None), speed=None) == replace(monitor.recalled({}), speed=None) == monitor.Memory()
