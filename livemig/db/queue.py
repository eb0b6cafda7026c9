"""The queue: the rows of `migrations` that are queued, oldest first. It has no table of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from sqlalchemy import bindparam, insert, select, update
from sqlalchemy.orm import Session

from livemig import records
from livemig.db import models
from livemig.db.engine import Database, retried
from livemig.db.migrations import Migrations
from livemig.db.rows import to_migration
from livemig.runtime import Runtime
from livemig.states import ADMITTED, Status

Choose = Callable[[Sequence[records.Place], Sequence[records.Place]], tuple[Sequence[int], Mapping[int, str]]]

_IN_PLACE = [status.value for status in ADMITTED]


class Queue:
    """Who waits, and who is next."""

    def __init__(self, database: Database, runtime: Runtime, migrations: Migrations) -> None:
        self._database = database
        self._runtime = runtime
        self._migrations = migrations

    def waiting(self) -> Sequence[records.Migration]:
        """The queued migrations, in their order."""
        migration = models.Migration
        with self._database.read() as session:
            rows = session.scalars(select(migration).where(migration.status == Status.QUEUED.value).order_by(migration.id))
            return [to_migration(row) for row in rows]

    @retried
    def redirect(self, migration: records.Migration, destination: str, why: str) -> bool:
        """Have a queued migration wait for another destination. False when it is not queued for its former one any more, or is to be aborted."""
        row = models.Migration
        rule = [row.id == migration.id, row.status == Status.QUEUED.value, row.destination == migration.destination, row.abort_requested.is_(False)]
        with self._database.write() as session:
            changed = session.execute(update(row).where(*rule).values(destination=destination, waits_for=None, updated_at=self._runtime.now()))
            if not changed.rowcount:  # type: ignore[attr-defined]
                return False
            self._migrations.log(session, migration.id, "queue", f"to {destination}: {why}")
            return True

    def moves(self, but: int) -> Sequence[records.Move]:
        """What is under way, or waits to be, between hosts: all open migrations that have a destination, `but` for one."""
        migration, server = models.Migration, models.Server
        query = (
            select(migration.source, migration.destination, server.memory_mib, server.vcpus)
            .join(server, server.uuid == migration.active_server_uuid)
            .where(migration.destination.is_not(None), migration.id != but)
        )
        with self._database.read() as session:
            return [records.Move(source, to or "", memory_mib, vcpus) for source, to, memory_mib, vcpus in session.execute(query)]

    @retried
    def admit(self, owner: str, seconds: float, choose: Choose) -> Sequence[records.Migration]:
        """Let queued migrations in, under one lock for all conductors; those that start become preparing and `owner`'s, whoever queued them.

        `choose(queued, admitted)` says who starts, and what each of the others waits for; that is written down where it is new. Nobody who queues one after
        the first look misses anything by that: he comes here himself.
        """
        if not self._any():
            return []
        with self._database.write() as session:
            self._migrations.lock(session)
            queued, admitted = _places(session, [Status.QUEUED.value]), _places(session, _IN_PLACE)
            if not queued:
                return []
            starting, waiting = choose(queued, admitted)
            started = [number for number in starting if self._start(session, number, owner, seconds)]
            self._tell(session, {place.id: waiting[place.id] for place in queued if waiting.get(place.id, place.waits_for) != place.waits_for})
            migration = models.Migration
            return [to_migration(row) for row in session.scalars(select(migration).where(migration.id.in_(started)).order_by(migration.id))]

    def _any(self) -> bool:
        migration = models.Migration
        with self._database.read() as session:
            return session.scalars(select(migration.id).where(migration.status == Status.QUEUED.value).limit(1)).first() is not None

    def _start(self, session: Session, number: int, owner: str, seconds: float) -> bool:
        lease = {"lease_owner": owner, "lease_expires_at": self._migrations.later(session, seconds)}
        return self._migrations.enter(session, number, Status.PREPARING, None, "", None, **lease, waits_for=None)

    def _tell(self, session: Session, reasons: Mapping[int, str]) -> None:
        if not reasons:
            return
        migrations, events = (models.Base.metadata.tables[name] for name in ("migrations", "migration_events"))
        rows = [{"number": number, "why": reason} for number, reason in reasons.items()]
        session.execute(update(migrations).where(migrations.c.id == bindparam("number")).values(waits_for=bindparam("why")), rows)
        now = self._runtime.now()
        session.execute(insert(events), [{"migration_id": number, "at": now, "kind": "queue", "text": f"waits: {text}"} for number, text in reasons.items()])


def _places(session: Session, statuses: Sequence[str]) -> list[records.Place]:
    """Columns only: there may be thousands of rows."""
    migration = models.Migration
    columns = (migration.id, migration.source, migration.destination, migration.waits_for, migration.requested_host.is_(None))
    query = select(*columns).where(migration.status.in_(statuses)).order_by(migration.id)
    return [records.Place(number, source, to or "", waits_for, bool(anywhere)) for number, source, to, waits_for, anywhere in session.execute(query)]
