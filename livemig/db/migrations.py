"""The rows of `migrations` and their event log. `advance()` and `finish()` are the only writers of a status."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Collection, Mapping, Sequence
from threading import Lock
from typing import Any

from sqlalchemy import ColumnElement, String, bindparam, insert, or_, select, update
from sqlalchemy.orm import Session

from livemig import exceptions, records
from livemig.db import models
from livemig.db.actions import ERROR, SUCCESS, insert_action
from livemig.db.clock import Clock
from livemig.db.conductors import former_lives, lock
from livemig.db.engine import Database, retried
from livemig.db.rows import from_policy, to_event, to_migration
from livemig.db.selection import Selection, narrowed, paged
from livemig.db.servers import follow, write_sightings
from livemig.facts import Job, MigrationRequest, Outcome, Policy, Presence
from livemig.runtime import Runtime
from livemig.states import SENDING, Status, sources

API = "api"  # who holds the lease of a migration that no conductor has taken yet
MIGRATING = "migrating"  # Nova's task_state
NOT_BEGUN = (Status.ACCEPTED, Status.QUEUED, Status.PREPARING)  # libvirt was not told
ABORTABLE = (*NOT_BEGUN, Status.RUNNING)
COMPLETABLE = (Status.RUNNING, Status.POST_COPY)  # in post-copy it is resumed, if it was interrupted
_SENDING = [status.value for status in SENDING]
Remembered = Mapping[str, Any] | None
_Said = tuple[str, Job, str | None, Remembered]
MIGRATABLE = ("active", "paused")  # vm_states from which Nova live-migrates (nova/compute/api.py, live_migrate)


class Migrations:
    """Migrations, from the request to the end."""

    def __init__(self, database: Database, runtime: Runtime, clock: Clock) -> None:
        self._database = database
        self._runtime = runtime
        self._clock = clock
        self._progress: dict[int, _Said] = {}  # what is still to be written
        self._writing = Lock()

    @retried
    def begin(self, server_uuid: str, request: MigrationRequest, policy: Policy, asked_by: Any, seconds: float) -> records.Migration:
        """Accept a migration: the row, and the server MIGRATING, in one transaction.

        `asked_by` is a `RequestContext`. For `seconds` the lease is the API's, until a conductor takes it; with 0 it is free for all from the start.
        Raises ServerNotFound, or ServerInvalidState for a server that may not migrate now.
        """
        now = self._runtime.now()
        server = models.Server
        free = (server.uuid == server_uuid, server.task_state.is_(None), server.vm_state.in_(MIGRATABLE))
        with self._database.write() as session:
            if not session.execute(update(server).where(*free).values(task_state=MIGRATING, progress=0, updated_at=now)).rowcount:  # type: ignore[attr-defined]
                raise _why_not(session.get(server, server_uuid), server_uuid)
            found = session.get_one(server, server_uuid)
            row = models.Migration(
                uuid=str(uuid.uuid4()),
                server_uuid=server_uuid,
                active_server_uuid=server_uuid,
                status=Status.ACCEPTED.value,
                source=found.host,
                requested_host=request.host,
                block_migration=request.block_migration,
                disk_over_commit=request.disk_over_commit,
                force=request.force,
                policy=from_policy(policy),
                request_id=asked_by.request_id,
                user_id=asked_by.user_id or found.user_id,
                project_id=asked_by.project_id or found.project_id,
                lease_owner=API if seconds else None,
                lease_expires_at=self.later(session, seconds) if seconds else None,
                created_at=now,
                updated_at=now,
            )
            session.add(row)
            session.flush()
            self.log(session, row.id, "status", f"accepted: from {row.source} to {request.host or 'any host'}")
            insert_action(session, now, found, "live-migration", asked_by, migration_id=row.id)
            return to_migration(row)

    def get(self, migration_id: int) -> records.Migration:
        """By its number. Raises NoResultFound: only those that exist are asked for."""
        with self._database.read() as session:
            return to_migration(session.scalars(select(models.Migration).where(models.Migration.id == migration_id)).one())

    def find(self, selection: Selection) -> Sequence[records.Migration]:
        """The migrations of a selection. Raises MigrationNotFound for its marker, which is a migration's uuid."""
        migration = models.Migration
        with self._database.read() as session:
            marker = None
            if selection.marker is not None:
                marker = session.scalars(select(migration).where(migration.uuid == selection.marker)).one_or_none()
                if marker is None or not selection.shows(marker.project_id):
                    raise exceptions.MigrationNotFound(migration=selection.marker)
            rows = session.scalars(paged(narrowed(select(migration), migration, selection), migration, selection, marker))
            return [to_migration(row) for row in rows]

    def open(self) -> Sequence[records.Migration]:
        """All migrations in progress, oldest first."""
        with self._database.read() as session:
            rows = session.scalars(select(models.Migration).where(models.Migration.active_server_uuid.is_not(None)).order_by(models.Migration.id))
            return [to_migration(row) for row in rows]

    def of_server(self, server_uuid: str) -> Sequence[records.Migration]:
        """All migrations of one server, newest first."""
        with self._database.read() as session:
            rows = session.scalars(select(models.Migration).where(models.Migration.server_uuid == server_uuid).order_by(models.Migration.id.desc()))
            return [to_migration(row) for row in rows]

    def events(self, migration_id: int) -> Sequence[records.MigrationEvent]:
        """The event log of a migration, in order."""
        event = models.MigrationEvent
        with self._database.read() as session:
            return [to_event(row) for row in session.scalars(select(event).where(event.migration_id == migration_id).order_by(event.id))]

    @retried
    def record(self, migration_id: int, *lines: tuple[str, str]) -> None:
        """Lines (kind, text) in the event log."""
        with self._database.write() as session:
            for kind, text in lines:
                self.log(session, migration_id, kind, text)

    @retried
    def advance(self, migration_id: int, to: Status, owner: str | None, text: str = "", **values: Any) -> bool:
        """Enter a state in progress. False when the migration is not in a state before it, or `owner` (if given) has lost its lease."""
        with self._database.write() as session:
            return self.enter(session, migration_id, to, owner, text, None, **values)

    def elapsed_s(self, migration_id: int) -> float:
        """Seconds since its start, by the database's clock: whoever takes it up may have another than whoever started it. 0 before it."""
        with self._database.read() as session:
            started_at, now = session.execute(select(models.Migration.started_at, self._clock.now(session)).where(models.Migration.id == migration_id)).one()
            return 0.0 if started_at is None else float((now - started_at).total_seconds())

    @retried
    def queue(self, migration: records.Migration, owner: str, text: str, destination: str, tried: Sequence[str] = ()) -> bool:
        """Queue a migration for a destination, be it for the first time or after it could not move to another one.

        False as for `advance`, for one that somebody wants aborted meanwhile, and for one that is not any more as it was read: two threads of one conductor
        may have checked it, and the other's may be on its way.
        """
        values: dict[str, Any] = {"started_at": None, "completion_forced": False, "bandwidth_mib_s": None, "remembered": None, **dict.fromkeys(_FIGURES)}
        values |= {"destination": destination, "tried": list(tried)}
        with self._database.write() as session:
            if not self.enter(session, migration.id, Status.QUEUED, owner, text, (migration.status,), **values):
                return False
            session.execute(update(models.Server).where(models.Server.uuid == migration.server_uuid).values(progress=0))
            return True

    def enter(
        self,
        session: Session,
        migration_id: int,
        to: Status,
        owner: str | None,
        text: str = "",
        before: Collection[Status] | None = None,
        **values: Any,
    ) -> bool:
        """`advance` inside a transaction, or `finish`; `before` narrows the states in which this may happen."""
        migration = models.Migration
        rule = [migration.id == migration_id, migration.status.in_([status.value for status in sources(to).intersection(before or sources(to))])]
        if owner is not None:
            rule.append(migration.lease_owner == owner)
        if to is Status.QUEUED:
            rule.append(migration.abort_requested.is_(False))
        if to is Status.RUNNING:
            values["started_at"] = self._clock.now(session)
        changed = session.execute(update(migration).where(*rule).values(status=to.value, updated_at=self._runtime.now(), **values))
        if not changed.rowcount:  # type: ignore[attr-defined]
            return False
        self.log(session, migration_id, "status", f"{to.value}: {text}" if text else to.value)
        return True

    @retried
    def finish(
        self,
        migration: records.Migration,
        outcome: Outcome,
        owner: str | None,
        presences: Mapping[str, Presence] | None = None,
        before: Collection[Status] | None = None,
    ) -> bool:
        """End a migration and free its server, in one transaction.

        `presences` (host → presence) are the sightings on which the outcome rests; the server follows them. `before` narrows the states in which this
        may happen. False as for `advance`.
        """
        with self._database.write() as session:
            return self._finish(session, migration, outcome, owner, presences, before)

    def _finish(
        self,
        session: Session,
        migration: records.Migration,
        outcome: Outcome,
        owner: str | None,
        presences: Mapping[str, Presence] | None = None,
        before: Collection[Status] | None = None,
    ) -> bool:
        now = self._runtime.now()
        job = outcome.job
        figures = {} if job is None else _figures(job) | ({"downtime_ms": job.downtime_ms} if job.completed else {})
        closed = {
            "active_server_uuid": None,
            "waits_for": None,
            "lease_owner": None,
            "lease_expires_at": None,
            "finished_at": now,
            "reason": outcome.reason or None,
        }
        uuid = migration.server_uuid
        server = update(models.Server).where(models.Server.uuid == uuid)
        if not self.enter(session, migration.id, outcome.status, owner, outcome.reason, before, **closed, **figures):
            return False
        result = SUCCESS if outcome.status is Status.COMPLETED else ERROR
        row = models.Action
        action = update(row).where(row.server_uuid == uuid, row.migration_id == migration.id, row.finished_at.is_(None))  # an index has the server
        session.execute(action.values(finished_at=now, updated_at=now, result=result, details=outcome.reason or None))
        for host, presence in (presences or {}).items():
            write_sightings(session, host, {uuid: presence})
        session.execute(server.values(task_state=None, progress=0, host=outcome.host, updated_at=now))
        if outcome.lost:
            fault = {"code": 500, "message": outcome.reason, "created": now.isoformat()}
            session.execute(server.values(vm_state="error", lost=True, fault=fault))
        else:
            follow(session, now, [uuid])
        return True

    def progress(self, migration: records.Migration, job: Job, owner: str | None = None, remembered: Remembered = None) -> None:
        """Take down how far a running job is, and what its `owner` would have another conductor know.

        One transaction writes what all have to say at that moment: those who come meanwhile leave it to the next.
        """
        self._progress[migration.id] = (migration.server_uuid, job, owner, remembered)
        if self._writing.acquire(blocking=False):
            try:
                self._write_progress([self._progress.popitem() for _ in range(len(self._progress))])
            finally:
                self._writing.release()

    @retried
    def _write_progress(self, said: Sequence[tuple[int, _Said]]) -> None:
        now = self._runtime.now()
        migrations, servers = (models.Base.metadata.tables[name] for name in ("migrations", "servers"))
        figures: dict[str, Any] = {name: bindparam(f"its_{name}") for name in _FIGURES}
        its = or_(bindparam("its_owner", type_=String).is_(None), migrations.c.lease_owner == bindparam("its_owner"))
        runs = (migrations.c.id == bindparam("its_id"), migrations.c.active_server_uuid.is_not(None), its)  # what has ended has its last figures
        shown = (servers.c.uuid == bindparam("its_uuid"), servers.c.task_state == MIGRATING)
        with self._database.write() as session:
            rows = [
                {"its_id": number, "its_owner": owner, "its_memory": memory, **{f"its_{name}": value for name, value in _figures(job).items()}}
                for number, (_uuid, job, owner, memory) in said
            ]
            remembered = {"remembered": bindparam("its_memory", type_=migrations.c.remembered.type)}
            session.execute(update(migrations).where(*runs).values(updated_at=now, **remembered, **figures), rows)
            progress = [{"its_uuid": uuid, "its_progress": job.progress} for _number, (uuid, job, _owner, _memory) in said]
            session.execute(update(servers).where(*shown).values(progress=bindparam("its_progress"), updated_at=now), progress)

    @retried
    def switched(self, migration: records.Migration, owner: str | None) -> bool:
        """Post-copy has begun: the guest runs on the destination, and so its server is there. False when that was known, is over, or is not `owner`'s."""
        server = models.Server
        moved = (server.uuid == migration.server_uuid, server.task_state == MIGRATING)
        with self._database.write() as session:
            if not self.enter(session, migration.id, Status.POST_COPY, owner, "the guest runs on the destination"):
                return False
            session.execute(update(server).where(*moved).values(host=migration.destination, updated_at=self._runtime.now()))
            return True

    @retried
    def share(self, divide: Callable[[Sequence[records.Migration]], Mapping[int, int | None]]) -> Mapping[int, int | None]:
        """Divide the links anew among all migrations that run, under one lock for all conductors; what each has now, in MiB/s, by its number."""
        migration = models.Migration
        with self._database.write() as session:
            self.lock(session)
            rows = session.scalars(select(migration).where(migration.status.in_(_SENDING)).order_by(migration.id)).all()
            shares = divide([to_migration(row) for row in rows])
            for row in rows:
                row.bandwidth_mib_s = shares.get(row.id)
            return shares

    @retried
    def heed_completion(self, migration_id: int) -> bool:
        """Take back the wish to complete; whether there was one. In post-copy it is a wish to resume, and can be had again."""
        migration = models.Migration
        with self._database.write() as session:
            wished = update(migration).where(migration.id == migration_id, migration.completion_forced).values(completion_forced=False)
            return bool(session.execute(wished).rowcount)  # type: ignore[attr-defined]

    @retried
    def claim(self, migration_id: int, owner: str, seconds: float, held_by: str | None = None) -> bool:
        """Take the lease of an open migration that nobody holds, whose holder fell silent, or is `held_by`. True when `owner` has it now."""
        migration = models.Migration
        with self._database.write() as session:
            takeable = self.free(session) if held_by is None else or_(self.free(session), migration.lease_owner == held_by)
            taken = session.execute(
                update(migration)
                .where(migration.id == migration_id, migration.active_server_uuid.is_not(None), takeable)
                .values(lease_owner=owner, lease_expires_at=self.later(session, seconds))
            )
            return bool(taken.rowcount)  # type: ignore[attr-defined]

    @retried
    def renew(self, owner: str, seconds: float, worked_on: Collection[int]) -> Collection[int]:
        """Keep the leases of `owner` on the migrations `worked_on`; returns those that it has.

        Those that are queued need none: whoever admits them takes theirs.
        """
        migration = models.Migration
        rule = (migration.lease_owner == owner, migration.id.in_(worked_on))
        with self._database.write() as session:
            session.execute(update(migration).where(*rule).values(lease_expires_at=self.later(session, seconds)))
            return set(session.scalars(select(migration.id).where(*rule)))

    def release(self, owner: str, migration_id: int | None = None) -> None:
        """Free the lease of `owner` on a migration; without one, all that it has: it is about to stop."""
        which = () if migration_id is None else (models.Migration.id == migration_id,)
        self._release(models.Migration.lease_owner == owner, *which)

    def release_former(self, owner: str) -> None:
        """Free the leases of former lives of `owner`."""
        self._release(*former_lives(owner, models.Migration.lease_owner))

    @retried
    def _release(self, *whose: ColumnElement[bool]) -> None:
        with self._database.write() as session:
            session.execute(update(models.Migration).where(*whose).values(lease_owner=None, lease_expires_at=None))

    def orphans(self) -> Sequence[records.Migration]:
        """Open migrations that need a holder and have none, oldest first."""
        migration = models.Migration
        rule = (migration.active_server_uuid.is_not(None), migration.status != Status.QUEUED.value)
        with self._database.read() as session:
            return [to_migration(row) for row in session.scalars(select(migration).where(*rule, self.free(session)).order_by(migration.id))]

    @retried
    def ask_abort(self, migration: records.Migration, asked_by: Any) -> bool:
        """Somebody wants a migration stopped. One that libvirt was not told of ends here and now; of another the wish is noted, for its conductor.

        False when it is over, or in post-copy, which has no way back. All in one transaction: between the wish and the end nobody can tell libvirt.
        """
        with self._database.write() as session:
            if not self._ask(session, migration, asked_by, "live_migration_cancel", "abort", "abort_requested", ABORTABLE):
                return False
            outcome = Outcome(Status.CANCELLED, migration.source, f"Aborted by {asked_by.user_id or 'somebody'} before it began.")
            self._finish(session, migration, outcome, owner=None, before=NOT_BEGUN)
            return True

    @retried
    def ask_completion(self, migration: records.Migration, asked_by: Any) -> bool:
        """Somebody wants a running migration to complete, whatever it costs the guest; one in post-copy to be resumed. False when none runs (any more)."""
        with self._database.write() as session:
            return self._ask(session, migration, asked_by, "live_migration_force_complete", "force complete", "completion_forced", COMPLETABLE)

    def _ask(self, session: Session, known: records.Migration, asked_by: Any, action: str, kind: str, wish: str, states: Collection[Status]) -> bool:
        migration, now = models.Migration, self._runtime.now()
        rule = (migration.id == known.id, migration.status.in_([status.value for status in states]))
        if not session.execute(update(migration).where(*rule).values({wish: True, "updated_at": now})).rowcount:  # type: ignore[attr-defined]
            return False
        self.log(session, known.id, kind, f"asked for by {asked_by.user_id or 'somebody'} ({asked_by.request_id})")
        values = {"migration_id": known.id, "finished_at": now, "result": SUCCESS}
        insert_action(session, now, session.get_one(models.Server, known.server_uuid), action, asked_by, **values)
        return True

    def free(self, session: Session) -> ColumnElement[bool]:
        """Nobody holds it, or its holder fell silent."""
        return or_(models.Migration.lease_owner.is_(None), models.Migration.lease_expires_at < self._clock.now(session))

    def later(self, session: Session, seconds: float) -> ColumnElement[Any]:
        """When a lease that is taken now expires, by the database's clock."""
        return self._clock.later(session, seconds)

    def lock(self, session: Session) -> None:
        """Only one conductor at a time admits, or looks at what others prepare, until the transaction ends."""
        lock(session, "admission", self._clock)

    def log(self, session: Session, migration_id: int, kind: str, text: str) -> None:
        """`record` inside a transaction."""
        line = {"migration_id": migration_id, "at": self._runtime.now(), "kind": kind, "text": text}
        session.execute(insert(models.Base.metadata.tables["migration_events"]), line)  # the table itself: a line has no need of the ORM, and there are many


def _why_not(server: models.Server | None, uuid: str) -> exceptions.LivemigError:
    if server is None:
        return exceptions.ServerNotFound(server=uuid)
    attribute = "task_state" if server.vm_state in MIGRATABLE else "vm_state"
    return exceptions.ServerInvalidState(server=uuid, action="os-migrateLive", attribute=attribute, state=getattr(server, attribute))


_FIGURES = [f"{name}_bytes" for name in ("memory_total", "memory_processed", "memory_remaining", "disk_total", "disk_processed", "disk_remaining")]


def _figures(job: Job) -> dict[str, Any]:
    return {name: getattr(job, name) for name in _FIGURES}
