"""Takes migrations from accepted to their end: checks, destination, admission, and an attempt each in a thread of its own.

Whatever it holds is also in the database, under its lease; another conductor, or this one after a restart, goes on from there (`adopt`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeVar

from oslo_log import log

from livemig import exceptions
from livemig.conductor import admission, planning, scheduling
from livemig.conductor.announcer import Announcer
from livemig.conductor.attempt import Attempt, Pace
from livemig.conductor.checks import notes, refusals
from livemig.conductor.checks.hosts import NOT_ENOUGH
from livemig.conductor.checks.situation import Situation
from livemig.conductor.inventory import Inventory
from livemig.conductor.survey import Survey
from livemig.db.migrations import API
from livemig.db.store import Store
from livemig.facts import Outcome
from livemig.hypervisor.connection import Hypervisor
from livemig.records import Migration
from livemig.runtime import Runtime
from livemig.states import ADMITTED, Status

LOG = log.getLogger(__name__)

T = TypeVar("T")

_DATABASE_PAUSE_S = 1.0
_SETTLE_S = 5.0  # how long a migration taken up after a restart waits for hosts to be connected to
_FRESH_S = 5.0  # the checks are repeated for a migration that waited longer in the queue


class Engine:
    """`owner` is the name under which leases are held: NAME:LIFE, the life differing from start to start."""

    def __init__(self, conf: Any, store: Store, inventory: Inventory, runtime: Runtime, owner: str, announcer: Announcer) -> None:
        self._conf = conf
        self._store = store
        self._inventory = inventory
        self._runtime = runtime
        self._owner = owner
        self._announcer = announcer
        self._stopping = runtime.event()
        self._working: set[int] = set()
        self._attempts: dict[int, Attempt] = {}  # those that are followed now
        self._checked: dict[int, tuple[float, Situation]] = {}  # what the checks read, for those that start at once

    def stop(self) -> None:
        """Begin nothing more. What runs goes on in libvirt."""
        self._stopping.set()

    def renew(self) -> None:
        """Keep the leases of what is worked on, and of what waits in the queue."""
        self._store.migrations.renew(self._owner, self._conf.conductor.lease_time, tuple(self._working))

    def accept(self, migration_id: int) -> None:
        """Check an accepted migration, choose its destination and queue it.

        Raises what refuses it, or LiveMigrationFailed for anything unexpected; the server is then as it was.
        """
        if self._claim(migration_id, held_by=API):  # else it was withdrawn, or another conductor took it up
            self._check_and_queue(migration_id)

    def wake(self, migration_id: int) -> None:
        """Look at a migration's row now: the API has written something there. Nothing depends on it, everything is found a little later without."""
        attempt = self._attempts.get(migration_id)
        if attempt is not None:
            attempt.wake()
            return
        migration = self._store.migrations.get(migration_id)
        if migration.status is Status.ACCEPTED and not self._stopping.is_set() and self._claim(migration_id):
            self._runtime.start(f"accept-{migration_id}", self._accept_alone, migration_id)
        elif migration.status is Status.CANCELLED and migration.started_at is None:
            self._announcer.tell(migration, "abort.start", "abort.end")

    def _check_and_queue(self, migration_id: int) -> None:
        with self._worked_on(migration_id):
            self._check(migration_id)
        self.admit()

    def _check(self, migration_id: int) -> None:
        migration = self._store.migrations.get(migration_id)
        if migration.status is not Status.ACCEPTED:
            return
        try:
            situation = self._choose(migration)
        except exceptions.Refused as refusal:
            self._refuse(migration, str(refusal))
            raise
        except exceptions.DatabaseUnavailable:
            raise  # the migration is as it was, and is taken up again
        except Exception as error:
            raise self._failed(migration) from error
        self._remember(migration.id, situation)
        destination = situation.destination.name
        if not self._store.migrations.advance(migration.id, Status.QUEUED, self._owner, f"to {destination}", destination=destination):
            self._checked.pop(migration.id, None)  # it was aborted meanwhile

    def _remember(self, migration_id: int, situation: Situation) -> None:
        """What the checks read, for as long as it is fresh."""
        now = self._runtime.monotonic()
        for other, (checked_at, _situation) in list(self._checked.items()):
            if now - checked_at >= _FRESH_S:
                self._checked.pop(other, None)
        self._checked[migration_id] = (now, situation)

    def admit(self) -> None:
        """Start every queued migration of ours that the limits allow."""
        if self._stopping.is_set():
            return
        limit = self._conf.max_concurrent_live_migrations

        def choose(queued: Sequence[Migration], admitted: Sequence[Migration]) -> list[Migration]:
            return admission.choose(queued, admitted, limit)

        for migration in self._store.migrations.admit(self._owner, choose):
            self._begin(migration)

    def adopt(self) -> None:
        """Take up every open migration whose lease is free: its conductor is gone."""
        for migration in self._store.migrations.orphans():
            if not self._stopping.is_set() and self._claim(migration.id):
                LOG.info("Migration %s of server %s taken up in status %s", migration.uuid, migration.server_uuid, migration.status)
                self._store.migrations.record(migration.id, ("conductor", f"taken up by {self._owner}"))
                self._take_up(self._store.migrations.get(migration.id))
        self.admit()

    def _take_up(self, migration: Migration) -> None:
        if migration.status is Status.ACCEPTED:
            self._runtime.start(f"accept-{migration.id}", self._accept_alone, migration.id)
        elif migration.status in ADMITTED:
            self._begin(migration)

    def _accept_alone(self, migration_id: int) -> None:
        """Nobody waits for the answer: a refusal is in the event log, and that is all."""
        self._inventory.wait_settled(_SETTLE_S)
        try:
            self._check_and_queue(migration_id)
        except exceptions.LivemigError as error:
            LOG.info("Migration %s: %s", migration_id, error)

    def _choose(self, migration: Migration) -> Situation:
        """The situation at the destination that will be used. Raises what refuses it."""
        survey = Survey(self._inventory, self._store.hosts, migration)
        if migration.requested_host is not None:
            return self._pass(migration, survey.situation(migration.requested_host))
        reasons = []
        for host in scheduling.candidates(self._store.hosts.all(), migration.source, self._store.migrations.open()):
            try:
                return self._pass(migration, survey.situation(host.name))
            except exceptions.Refused as refusal:
                if _is_about_source(refusal, migration.source):
                    raise
                reasons.append(f"{host.name}: {refusal}")
        raise exceptions.NoValidHost(reason=" ".join([NOT_ENOUGH, *sorted(reasons)]))

    def _pass(self, migration: Migration, situation: Situation) -> Situation:
        refused = refusals(situation)
        if refused:
            self._store.migrations.record(migration.id, *(("check", f"{situation.destination.name}: {name}: {error}") for name, error in refused))
            raise refused[0][1]
        risks = [("note", f"{situation.destination.name}: {note}") for note in notes(situation)]
        self._store.migrations.record(migration.id, ("check", f"{situation.destination.name}: every check passed"), *risks)
        return situation

    def _begin(self, migration: Migration) -> None:
        self._runtime.start(f"migration-{migration.id}", self._carry_out, migration)

    def _carry_out(self, migration: Migration) -> None:
        """A migration that has its place, from preparing to the end."""
        try:
            with self._worked_on(migration.id):
                attempt = self._despite_database(lambda: self._prepare(self._store.migrations.get(migration.id)))
                if attempt is not None:
                    self._despite_database(lambda: self._conclude(migration, attempt))
            self._despite_database(self.admit)
        except Exception:
            LOG.exception("Migration %s of server %s: the conductor failed; it is taken up again", migration.uuid, migration.server_uuid)

    @contextmanager
    def _worked_on(self, migration_id: int) -> Iterator[None]:
        """While it lasts the lease is renewed. One that nobody works on any more, for whatever reason, expires and is taken up again."""
        self._working.add(migration_id)
        try:
            yield
        finally:
            self._working.discard(migration_id)

    def _despite_database(self, step: Callable[[], T]) -> T | None:
        """Repeat a step while the database is away. None when the conductor stops first."""
        while not self._stopping.is_set():
            try:
                return step()
            except exceptions.DatabaseUnavailable:
                LOG.warning("The database is away; migrations go on and are written down when it is back")
                self._stopping.wait(_DATABASE_PAUSE_S)
        return None

    def _prepare(self, migration: Migration) -> Attempt | None:
        """The attempt, started if it was not before; None when nothing is to be followed."""
        if migration.status not in ADMITTED:
            return None
        ends = self._ends(migration)
        if ends is None:
            self._unwatched(migration)
            return None
        memory_mib = self._store.servers.get(migration.server_uuid).memory_mib
        attempt = Attempt(self._store, self._runtime, migration, *ends, self._pace(), memory_mib, partial(self._announcer.tell, migration))
        if migration.status is Status.PREPARING and not self._start(migration, attempt):
            return None
        return attempt

    def _conclude(self, migration: Migration, attempt: Attempt) -> None:
        self._attempts[migration.id] = attempt
        try:
            outcome, presences = attempt.run()
        finally:
            self._attempts.pop(migration.id, None)
        before = self._announcer.look(migration)
        if self._store.migrations.finish(migration, outcome, self._owner, presences):
            self._announcer.ended(migration, outcome, before)
            if not outcome.lost:
                self._look_again(migration.server_uuid, presences)

    def _start(self, migration: Migration, attempt: Attempt) -> bool:
        """Have the attempt tell libvirt. False when it may not start after all."""
        self._announcer.tell(migration, "pre.start")
        try:
            situation = self._situation_now(migration)
        except exceptions.Refused as refusal:
            self._refuse(migration, str(refusal))
            self._announcer.not_begun(migration, str(refusal))
            return False
        destination = self._inventory.get(situation.destination.name)
        if situation.guest is None or destination is None:  # a check has refused both; for the type checker
            raise AssertionError(situation)
        now = self._runtime.now()
        if not self._store.migrations.advance(migration.id, Status.RUNNING, self._owner, started_at=now):
            self._announcer.not_begun(migration)  # it was aborted meanwhile
            return False
        self._announcer.tell(migration, "pre.end")
        attempt.start(planning.plan(situation, destination.settings, migration.policy), now)
        return True

    def _situation_now(self, migration: Migration) -> Situation:
        """What the checks found a moment ago; they are repeated for a migration that waited, or that was taken up. Raises what refuses it."""
        checked_at, situation = self._checked.pop(migration.id, (float("-inf"), None))
        if situation is not None and self._runtime.monotonic() - checked_at < _FRESH_S:
            return situation
        self._inventory.wait_settled(_SETTLE_S)
        return self._pass(migration, Survey(self._inventory, self._store.hosts, migration).situation(migration.destination or ""))

    def _ends(self, migration: Migration) -> tuple[Hypervisor, Hypervisor] | None:
        source, destination = self._inventory.get(migration.source), self._inventory.get(migration.destination or "")
        return None if source is None or destination is None else (source.hypervisor, destination.hypervisor)

    def _unwatched(self, migration: Migration) -> None:
        """A host was taken out of enabled_hosts: nothing can be asked, so nothing is decided. It is tried again when the lease has expired."""
        LOG.error("Migration %s: %s or %s is not in enabled_hosts any more", migration.uuid, migration.source, migration.destination)

    def _look_again(self, server: str, hosts: Iterable[str]) -> None:
        """What changed between the verdict and the final transaction was kept from the server's row: have it seen now."""
        for watcher in filter(None, map(self._inventory.get, hosts)):
            watcher.look(server, seconds=0)

    def _refuse(self, migration: Migration, reason: str) -> None:
        LOG.info("Migration %s of server %s refused: %s", migration.uuid, migration.server_uuid, reason)
        self._store.migrations.finish(migration, Outcome(Status.ERROR, migration.source, reason), self._owner)

    def _failed(self, migration: Migration) -> exceptions.LiveMigrationFailed:
        where = f"host {migration.requested_host}" if migration.requested_host else "another host"
        failure = exceptions.LiveMigrationFailed(server=migration.server_uuid, where=where)
        LOG.exception("%s", failure)
        self._refuse(migration, str(failure))
        return failure

    def _claim(self, migration_id: int, held_by: str | None = None) -> bool:
        return self._store.migrations.claim(migration_id, self._owner, self._conf.conductor.lease_time, held_by)

    def _pace(self) -> Pace:
        return Pace(self._conf.conductor.monitor_interval, self._conf.conductor.progress_interval)


def _is_about_source(refusal: exceptions.Refused, source: str) -> bool:
    """No other destination would help: the source's own daemon is away."""
    return isinstance(refusal, exceptions.ComputeServiceUnavailable) and refusal.kwargs["host"] == source
