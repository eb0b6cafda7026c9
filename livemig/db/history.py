"""What is over, and how it shrinks: ended migrations with their event logs, and the actions on servers. Nothing else in the database grows for ever.

What somebody may still need stays, however old it is: whatever is open, or held, or has files in its journal; of a server that there is, its last migration
and the last that completed, by which reconciliation tells what livemig has left; and of a lost one all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, and_, delete, exists, func, insert, not_, or_, select, update
from sqlalchemy.orm import Session

from livemig.db import models
from livemig.db.clock import Clock
from livemig.db.engine import Database, retried
from livemig.states import FINAL, Status

ROWS = 500  # that one transaction removes at most
MIGRATIONS = 100  # that are looked at together
_NAME = "purge"


@dataclass(frozen=True, slots=True)
class Sum:
    """Rows that are removed, or would be."""

    migrations: int = 0
    events: int = 0
    actions: int = 0

    def __add__(self, other: Sum) -> Sum:
        return Sum(self.migrations + other.migrations, self.events + other.events, self.actions + other.actions)


class History:
    """Counts and removes what ended before a moment (UTC, naive, by the clocks of those who wrote it)."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    def count(self, before: datetime) -> Sum:
        """What `purge` would remove."""
        found = Sum()
        for numbers, servers in self._migrations(before):
            with self._database.read() as session:
                event = models.MigrationEvent
                events = session.scalar(select(func.count()).where(event.migration_id.in_(numbers))) or 0
                actions = session.scalar(select(func.count()).where(*_of(numbers, servers))) or 0
            found += Sum(len(numbers), events, actions)
        return found + Sum(actions=sum(len(part) for part in self._actions(before)))

    def purge(self, before: datetime, pause: Callable[[], bool]) -> Sum:
        """Remove it, a few rows in each transaction, so that nobody waits for long; `pause` is called between two, and says whether to go on.

        Returns what was removed. It may be broken off at any moment, and run beside anything.
        """
        done = Sum()
        for numbers, servers in self._migrations(before):
            for remove in (self._remove_events, self._remove_actions):
                while (removed := remove(numbers, servers)) != Sum():
                    done += removed
                    if not pause():
                        return done
            done += Sum(self._remove_migrations(numbers, before))
            if not pause():
                return done
        for part in self._actions(before):
            done += Sum(actions=self._remove("actions", part))
            if not pause():
                return done
        return done

    @retried
    def may_begin(self, every_s: float) -> bool:
        """Whether it is time, and nobody among all conductors has begun for so many seconds: from now on the caller has."""
        mutexes = models.Base.metadata.tables["mutexes"]
        named = mutexes.c.name == _NAME
        with self._database.write() as session:
            free = or_(mutexes.c.taken_at.is_(None), mutexes.c.taken_at < self._clock.later(session, -every_s))
            if session.execute(update(mutexes).where(named, free).values(taken_at=self._clock.now(session))).rowcount:  # type: ignore[attr-defined]
                return True
            if session.scalar(select(mutexes.c.name).where(named)) is not None:
                return False
            session.execute(insert(mutexes).values(name=_NAME, taken_at=self._clock.now(session)))
            return True

    def _migrations(self, before: datetime) -> Iterator[tuple[Sequence[int], Sequence[str]]]:
        """The numbers of migrations to be removed, and their servers, few at a time."""
        row, last = models.Migration, 0
        while True:
            with self._database.read() as session:
                query = select(row.id, row.server_uuid, row.files).where(row.id > last, *_over(before)).order_by(row.id).limit(MIGRATIONS)
                found = session.execute(query).all()
                if not found:
                    return
                last = found[-1].id
                needed = _needed(session, {each.server_uuid for each in found})
            doomed = [each for each in found if not each.files and not needed(each.id, each.server_uuid)]
            if doomed:
                yield [each.id for each in doomed], sorted({each.server_uuid for each in doomed})

    def _actions(self, before: datetime) -> Iterator[Sequence[int]]:
        """The numbers of actions that have no migration (any more), few at a time. One that never ended was cut off."""
        row, last = models.Action, 0
        old = or_(row.finished_at < before, and_(row.finished_at.is_(None), row.updated_at < before))
        free = or_(row.migration_id.is_(None), not_(exists().where(models.Migration.id == row.migration_id)))
        while True:
            with self._database.read() as session:
                query = select(row.id).where(row.id > last, row.started_at < before, old, free).order_by(row.id).limit(ROWS)
                found = session.scalars(query).all()
            if not found:
                return
            last = found[-1]
            yield found

    def _remove_events(self, numbers: Sequence[int], _servers: Sequence[str]) -> Sum:
        event = models.MigrationEvent
        with self._database.read() as session:
            found = session.scalars(select(event.id).where(event.migration_id.in_(numbers)).limit(ROWS)).all()
        return Sum(events=self._remove("migration_events", found)) if found else Sum()

    def _remove_actions(self, numbers: Sequence[int], servers: Sequence[str]) -> Sum:
        with self._database.read() as session:
            found = session.scalars(select(models.Action.id).where(*_of(numbers, servers)).limit(ROWS)).all()
        return Sum(actions=self._remove("actions", found)) if found else Sum()

    @retried
    def _remove_migrations(self, numbers: Sequence[int], before: datetime) -> int:
        row = models.Migration
        with self._database.write() as session:
            return _count(session.execute(delete(row).where(row.id.in_(numbers), *_over(before)).execution_options(synchronize_session=False)))

    @retried
    def _remove(self, table: str, numbers: Sequence[int]) -> int:
        rows = models.Base.metadata.tables[table]
        with self._database.write() as session:
            return _count(session.execute(delete(rows).where(rows.c.id.in_(numbers))))


def _count(result: Any) -> int:
    return int(result.rowcount)


def _over(before: datetime) -> Sequence[ColumnElement[bool]]:
    """Migrations that ended before, that nobody holds, and that left nothing to be removed."""
    row = models.Migration
    ended = (row.status.in_([status.value for status in FINAL]), row.finished_at < before, row.active_server_uuid.is_(None))
    return (row.created_at < before, *ended, row.lease_owner.is_(None), row.untidy.is_(False))


def _of(numbers: Sequence[int], servers: Sequence[str]) -> Sequence[ColumnElement[bool]]:
    """The actions of these migrations, found by the index that has the servers."""
    row = models.Action
    return row.server_uuid.in_(servers), row.migration_id.in_(numbers)


def _needed(session: Session, servers: set[str]) -> Callable[[int, str], bool]:
    """Whether a migration of one of these servers is still needed."""
    server, row = models.Server, models.Migration
    known = {each.uuid: each.lost for each in session.execute(select(server.uuid, server.lost).where(server.uuid.in_(servers)))}
    seen = set(session.scalars(select(models.Sighting.server_uuid).where(models.Sighting.server_uuid.in_(servers))))
    newest = select(func.max(row.id)).where(row.server_uuid.in_(servers)).group_by(row.server_uuid)
    last = {*session.scalars(newest), *session.scalars(newest.where(row.status == Status.COMPLETED.value))}

    def needed(number: int, uuid: str) -> bool:
        return bool(known.get(uuid)) or (number in last and (uuid in known or uuid in seen))

    return needed
