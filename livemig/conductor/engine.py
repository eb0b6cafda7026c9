"""Takes migrations from accepted to their end: checks, destination, admission, and an attempt each in a thread of its own.

Whatever it holds is also in the database, under its lease; another conductor, or this one after a restart, goes on from there (`adopt`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

from oslo_log import log

from livemig import conf as configuration
from livemig import exceptions
from livemig.conductor import admission, arrival, planning, scheduling, sharing
from livemig.conductor.announcer import Announcer
from livemig.conductor.attempt import Attempt, Pace
from livemig.conductor.checks.situation import Situation
from livemig.conductor.choosing import Chooser
from livemig.conductor.images import Images
from livemig.conductor.inventory import Inventory, Watcher
from livemig.conductor.lease import Lapsed, Leases
from livemig.conductor.redirection import Redirection
from livemig.db.migrations import API
from livemig.db.store import Store
from livemig.facts import Outcome, Presence
from livemig.hypervisor import autostart
from livemig.records import Migration, Place
from livemig.runtime import Runtime
from livemig.states import ADMITTED, Status

LOG = log.getLogger(__name__)

T = TypeVar("T")

_DATABASE_PAUSE_S = 1.0
_SETTLE_S = 10.0  # how long a migration that nobody waits for waits for its hosts to be connected to, after a restart of ours or of theirs
_FRESH_S = 5.0  # the checks are repeated for a migration that waited longer in the queue


class Engine:
    """What it takes up it holds by `leases`."""

    def __init__(self, conf: Any, store: Store, inventory: Inventory, runtime: Runtime, leases: Leases, announcer: Announcer) -> None:
        self._conf = conf
        self._store = store
        self._inventory = inventory
        self._runtime = runtime
        self._leases = leases
        self._owner = leases.owner
        self._announcer = announcer
        self._stopping = runtime.event()
        self._chooser = Chooser(conf, store, inventory, runtime)
        self._redirection = Redirection(store, self._chooser, runtime, self._redirected)
        self._images = Images(conf, store, inventory, runtime, leases)
        self._limits, self._links = configuration.limits(conf), configuration.links(conf)  # read once: there may be a thousand hosts
        self._attempts: dict[int, Attempt] = {}  # those that are followed now
        self._checked: dict[int, tuple[float, Situation]] = {}  # what the checks read, for those that start at once

    def stop(self) -> None:
        """Begin nothing more. What runs goes on in libvirt."""
        self._stopping.set()

    def reload(self) -> None:
        """Follow a changed configuration: limits, and what the links of hosts carry."""
        self._limits, self._links = configuration.limits(self._conf), configuration.links(self._conf)
        self.share_links()
        with suppress(exceptions.DatabaseUnavailable):  # else the next that ends, or the next look at leases, does it
            self.admit()

    def accept(self, migration_id: int) -> None:
        """Check an accepted migration, choose its destination and queue it.

        Raises what refuses it, or LiveMigrationFailed for anything unexpected; the server is then as it was.
        """
        if self._leases.claim(migration_id, held_by=API):  # else it was withdrawn, or another conductor took it up
            self._check_and_queue(migration_id)

    def wake(self, migration_id: int) -> None:
        """Look at a migration's row now: the API has written something there. Nothing depends on it, everything is found a little later without."""
        attempt = self._attempts.get(migration_id)
        if attempt is not None:
            attempt.wake()
            return
        migration = self._store.migrations.get(migration_id)
        if migration.status is Status.ACCEPTED and self._may_take_up(migration) and self._leases.claim(migration_id):
            self._runtime.start(f"accept-{migration_id}", self._accept_alone, migration_id)
        elif migration.status is Status.CANCELLED and migration.started_at is None:
            self._announcer.tell(migration, "abort.start", "abort.end")

    def _check_and_queue(self, migration_id: int) -> None:
        with self._leases.worked_on(migration_id):
            self._check(migration_id)
        self.admit()

    def _check(self, migration_id: int) -> None:
        migration = self._store.migrations.get(migration_id)
        if migration.status is not Status.ACCEPTED:
            return
        try:
            situation = self._chooser.choose(migration)
        except exceptions.Refused as refusal:
            self._refuse(migration, str(refusal))
            raise
        except exceptions.DatabaseUnavailable:
            raise  # the migration is as it was, and is taken up again
        except Exception as error:
            raise self._failed(migration) from error
        self._queue(migration, situation, f"to {situation.destination.name}")

    def _queue(self, migration: Migration, situation: Situation, why: str) -> bool:
        """Queue it for the destination of `situation`. False when it was aborted meanwhile."""
        self._remember(migration.id, situation)
        if self._store.migrations.queue(migration, self._owner, why, situation.destination.name, migration.tried):
            return True
        self._checked.pop(migration.id, None)
        return False

    def _remember(self, migration_id: int, situation: Situation) -> None:
        """What the checks read, for as long as it is fresh."""
        now = self._runtime.monotonic()
        for other, (checked_at, _situation) in list(self._checked.items()):
            if now - checked_at >= _FRESH_S:
                self._checked.pop(other, None)
        self._checked[migration_id] = (now, situation)

    def admit(self) -> None:
        """Start every queued migration that the limits allow, whichever conductor has queued it: who frees a place fills it."""
        if self._stopping.is_set():
            return
        seen: tuple[Sequence[Place], Sequence[Place]] = ((), ())

        def choose(queued: Sequence[Place], admitted: Sequence[Place]) -> tuple[Sequence[int], Mapping[int, str]]:
            nonlocal seen
            seen = queued, admitted
            starting, waiting = admission.choose(queued, admitted, self._limits)
            ends = {place.id: (place.source, place.destination) for place in queued}
            return [number for number in starting if not self._inventory.is_for_others(*ends[number])], waiting

        started = self._leases.admit(choose)
        for migration in started:
            self._begin(migration)
        self._redirection.look(*admission.after(*seen, {migration.id for migration in started}), self._limits)

    def _redirected(self, migration_id: int, situation: Situation) -> None:
        self._remember(migration_id, situation)
        self.admit()

    def share_links(self, even_unlimited: bool = True) -> Mapping[int, int | None]:
        """Divide the hosts' links anew among all that run; what each has, by its number. If no link is limited any more, those that run are told only
        when it is asked for `even_unlimited`. The next that begins or ends makes good what the database did not take."""
        limits = self._links
        if not even_unlimited and not any(limits.values()):
            return {}
        try:
            return self._store.migrations.share(lambda running: sharing.shares(running, limits))
        except exceptions.DatabaseUnavailable:
            return {}

    def adopt(self) -> None:
        """Take up every open migration whose lease is free: its conductor is gone."""
        for migration in self._store.migrations.orphans():
            if self._may_take_up(migration) and not self._leases.works_on(migration.id) and self._leases.claim(migration.id):
                LOG.info("Migration %s of server %s taken up in status %s", migration.uuid, migration.server_uuid, migration.status)
                self._store.migrations.record(migration.id, ("conductor", f"taken up by {self._owner}"))
                self._take_up(self._store.migrations.get(migration.id))
        self.admit()
        for migration_id in self._store.files.to_tidy(self._leases.seconds):
            if not self._stopping.is_set() and not self._leases.works_on(migration_id):
                self._runtime.start(f"tidy-{migration_id}", self._despite_database, partial(self._tidy, migration_id))

    def _may_take_up(self, migration: Migration) -> bool:
        return not self._stopping.is_set() and not self._inventory.is_for_others(migration.source, migration.destination or migration.requested_host)

    def hand_over(self) -> None:
        """Leave those whose hosts another conductor reaches, and this one does not any more, to that one."""
        for number, attempt in list(self._attempts.items()):
            if self._leases.held(number) and self._inventory.is_for_others(*attempt.hosts, since_balance=True):
                self._store.migrations.record(number, ("conductor", f"left by {self._owner} to another that reaches {' and '.join(attempt.hosts)}"))
                self._leases.give_up(number)

    def _take_up(self, migration: Migration) -> None:
        if migration.status is Status.ACCEPTED:
            self._runtime.start(f"accept-{migration.id}", self._accept_alone, migration.id)
        elif migration.status in ADMITTED:
            self._begin(migration)

    def _accept_alone(self, migration_id: int) -> None:
        """Nobody waits for the answer: a refusal is in the event log, and that is all."""
        try:
            migration = self._store.migrations.get(migration_id)
            self._wait_for(migration.source, migration.requested_host)
            self._check_and_queue(migration_id)
        except exceptions.LivemigError as error:
            LOG.info("Migration %s: %s", migration_id, error)

    def _wait_for(self, source: str, destination: str | None) -> None:
        """… to be connected to; where any host may be the destination, for the others to have been tried."""
        deadline = self._runtime.monotonic() + _SETTLE_S
        self._inventory.wait_reached([source, destination], _SETTLE_S)
        if destination is None:
            self._inventory.wait_settled(max(0.0, deadline - self._runtime.monotonic()))

    def _begin(self, migration: Migration) -> None:
        self._runtime.start(f"migration-{migration.id}", self._carry_out, migration)

    def _carry_out(self, migration: Migration) -> None:
        """A migration that has its place, from preparing to the end."""
        try:
            with self._inventory.holding(migration.source, migration.destination):
                self._go_on(migration)
                self._despite_database(self.admit)
                self._despite_database(lambda: self._tidy(migration.id))
        except Exception:
            LOG.exception("Migration %s of server %s: the conductor failed; it is taken up again", migration.uuid, migration.server_uuid)

    def _go_on(self, migration: Migration) -> None:
        """… for as long as it is this conductor's."""
        try:
            with self._leases.worked_on(migration.id):
                attempt = self._despite_database(lambda: self._prepare(self._store.migrations.get(migration.id)))
                if attempt is not None:
                    self._despite_database(lambda: self._conclude(migration, attempt))
        except Lapsed as lapsed:
            LOG.info("Migration %s of server %s was aborted, or is left to another conductor: %s", migration.uuid, migration.server_uuid, lapsed)

    def _tidy(self, migration_id: int) -> None:
        """Remove what it leaves on the hosts, if it has ended."""
        with suppress(Lapsed), self._leases.worked_on(migration_id):
            self._images.tidy(migration_id)

    def _despite_database(self, step: Callable[[], T]) -> T | None:
        """Repeat a step while the database is away. None when the conductor stops first."""
        while not self._stopping.is_set():
            try:
                return step()
            except exceptions.DatabaseUnavailable as error:
                LOG.warning("The database is away; migrations go on and are written down when it is back: %s", error.why)
                self._stopping.wait(_DATABASE_PAUSE_S)
        return None

    def _prepare(self, migration: Migration) -> Attempt | None:
        """The attempt, started if it was not before; None when nothing is to be followed."""
        if migration.status is Status.PREPARING:
            return self._start(migration)
        return self._attempt(migration) if migration.status in ADMITTED else None

    def _attempt(self, migration: Migration) -> Attempt | None:
        ends = self._ends(migration)
        if ends is None:
            LOG.error("Migration %s: %s or %s is not in enabled_hosts any more", migration.uuid, migration.source, migration.destination)
            return None  # nothing can be asked, so nothing is decided: it is tried again when the lease has expired
        memory_mib = self._store.servers.get(migration.server_uuid).memory_mib
        source, destination = ends
        resumption = planning.resumption(destination.settings, migration.policy)
        hypervisors = (source.hypervisor, destination.hypervisor)
        tell, elapsed_s = partial(self._announcer.tell, migration), self._store.migrations.elapsed_s(migration.id)
        lease = self._leases.of(migration.id)
        return Attempt(self._store, self._runtime, migration, lease, *hypervisors, self._pace(), memory_mib, resumption, tell, elapsed_s)

    def _conclude(self, migration: Migration, attempt: Attempt) -> None:
        self._attempts[migration.id] = attempt
        try:
            outcome, presences = attempt.run()
        finally:
            self._attempts.pop(migration.id, None)
        self._end(self._store.migrations.get(migration.id), outcome, presences)
        self.share_links(even_unlimited=False)

    def _end(self, migration: Migration, outcome: Outcome, presences: Mapping[str, Presence]) -> None:
        """Write down how it ended; one that may be tried with another destination is queued instead."""
        before = self._announcer.look(migration)
        if outcome.status is Status.COMPLETED:
            self._settle(migration, presences)
        if outcome.status is Status.FAILED:
            if self._go_elsewhere(migration, outcome.reason):
                self._announcer.ended(migration, outcome, before)
                return
            if self._store.migrations.get(migration.id).abort_requested:  # meanwhile
                outcome = replace(outcome, status=Status.CANCELLED)
        if outcome.lost:
            self._store.files.set_aside(migration.id)
        if self._store.migrations.finish(migration, outcome, self._owner, presences):
            self._announcer.ended(migration, outcome, before)
            if not outcome.lost:
                self._look_again(migration.server_uuid, presences)

    def _go_elsewhere(self, migration: Migration, reason: str) -> bool:
        """After a failed transfer: queue it for another destination, if the request and its policy leave one. False when it ends here."""
        if not scheduling.may_go_elsewhere(migration, self._store.migrations.events(migration.id)):
            return False
        self._images.clear(migration)
        migration = replace(migration, tried=(*migration.tried, migration.destination or ""))
        try:
            situation = self._chooser.choose(migration)
        except exceptions.DatabaseUnavailable:
            raise
        except Exception as refusal:
            if not isinstance(refusal, exceptions.Refused):
                LOG.exception("Migration %s of server %s: no other destination could be chosen", migration.uuid, migration.server_uuid)
            self._store.migrations.record(migration.id, ("choice", f"no other destination: {refusal}"))
            return False
        return self._queue(migration, situation, f"to {situation.destination.name}, since the transfer to {migration.destination} failed: {reason}")

    def _settle(self, migration: Migration, presences: Mapping[str, Presence]) -> None:
        """What libvirt leaves to be done once the guest has arrived."""
        ends = self._ends(migration)
        if ends is not None:
            self._leases.of(migration.id).check()
            lines = tuple(arrival.settle(migration, ends[0].hypervisor, ends[1].hypervisor, presences))
            if lines:
                self._store.migrations.record(migration.id, *lines)

    def _start(self, migration: Migration) -> Attempt | None:
        """Have an attempt tell libvirt. None when it may not start after all."""
        self._announcer.tell(migration, "pre.start")
        try:
            self._images.start_anew(migration)
            situation = self._situation_now(migration)
            prepared = situation is not None and self._images.prepare(migration, situation)
        except exceptions.Refused as refusal:
            self._refuse(migration, str(refusal))
            self._announcer.not_begun(migration, str(refusal))
            return None
        ends, attempt = self._ends(migration), self._attempt(migration)
        self._leases.of(migration.id).check()
        if situation is None or not prepared or ends is None or attempt is None or not self._enter_running(migration, ends[0]):
            self._announcer.not_begun(migration)  # it goes elsewhere, it was aborted, or a host was just taken out of the configuration
            return None
        self._announcer.tell(migration, "pre.end")
        plan = planning.plan(situation, ends[1].settings, migration.policy)
        share = self.share_links(even_unlimited=False).get(migration.id)
        attempt.start(plan if share is None else replace(plan, bandwidth_mib_s=share))
        return attempt

    def _enter_running(self, migration: Migration, source: Watcher) -> bool:
        """False when it was aborted meanwhile."""
        try:
            starts = autostart.starts_with_host(source.hypervisor, migration.server_uuid)
        except exceptions.HypervisorError:
            starts = False  # the transfer will show what is wrong with the source
        tries = 0

        def enter() -> bool:
            """A database that broke off may have taken it nevertheless: nobody else has told libvirt, as long as the lease is ours."""
            nonlocal tries
            tries += 1
            if tries > 1 and not self._leases.claim(migration.id, held_by=self._owner):
                return False
            entered = self._store.migrations.advance(migration.id, Status.RUNNING, self._owner, autostart=starts)
            return entered or (tries > 1 and self._store.migrations.get(migration.id).status is Status.RUNNING)

        return bool(self._despite_database(enter))

    def _situation_now(self, migration: Migration) -> Situation | None:
        """What the checks found a moment ago; they are repeated for a migration that waited, or that was taken up.

        None when the destination will not do any more and it was queued for another one, or was aborted. Raises what refuses it.
        """
        checked_at, situation = self._checked.pop(migration.id, (float("-inf"), None))
        destination = migration.destination or ""
        if situation is None or situation.destination.name != destination or self._runtime.monotonic() - checked_at >= _FRESH_S:
            situation = None
            self._wait_for(migration.source, destination)
        try:
            return self._chooser.confirm(migration, destination, situation)
        except exceptions.Refused as refusal:
            if migration.requested_host is not None:
                raise
            situation = self._chooser.choose(migration, {destination: str(refusal)})
        self._queue(migration, situation, f"to {situation.destination.name}, since {destination} will not do any more")
        return None

    def _ends(self, migration: Migration) -> tuple[Watcher, Watcher] | None:
        source, destination = self._inventory.held(migration.source), self._inventory.held(migration.destination or "")
        return None if source is None or destination is None else (source, destination)

    def _look_again(self, server: str, hosts: Iterable[str]) -> None:
        """What changed between the verdict and the final transaction was kept from the server's row: have it seen now."""
        for watcher in filter(None, map(self._inventory.held, hosts)):
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

    def _pace(self) -> Pace:
        return Pace(self._conf.conductor.monitor_interval, self._conf.conductor.progress_interval)
