"""What is written down about servers, hosts, migrations and conductors, as a whole, to be compared with what the hosts say; and the repairs of rows.

Columns only: there may be a hundred thousand servers.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from sqlalchemy import ColumnElement, and_, case, exists, func, not_, or_, select, text, update
from sqlalchemy.orm import Session

from livemig.db import models
from livemig.db.clock import Clock
from livemig.db.engine import Database, newest_revision, retried
from livemig.db.files import KEPT
from livemig.db.migrations import MIGRATING
from livemig.db.rows import to_files
from livemig.db.servers import follow, write_sightings
from livemig.facts import Presence
from livemig.records import LeftFile
from livemig.runtime import Runtime
from livemig.states import FINAL, Status

_PART = 500  # keys in one statement


@dataclass(frozen=True, slots=True)
class ServerRow:
    """What is shown of a server; `migrating` is its task_state."""

    uuid: str
    name: str
    host: str
    vm_state: str
    power_state: int
    migrating: bool = False
    lost: bool = False
    condemned: bool = False


@dataclass(frozen=True, slots=True)
class MigrationRow:
    """A migration that is open, or that has left something. `open` is that its server counts as its own. `forsaken`: nobody has held it for a
    while; or it ended that long ago."""

    id: int
    server: str
    status: Status
    source: str
    destination: str | None
    open: bool = True
    holder: str | None = None
    forsaken: bool = False
    files: tuple[LeftFile, ...] = ()
    untidy: bool = False


@dataclass(frozen=True, slots=True)
class Rows:
    """`sightings` are by server and host. `hosts` has whether each is up, by name; `former` are those that are not configured any more.

    `conductors` says of each whether it lives. `moved` has (source, destination) of the last migration that completed, by server, of those that were asked for.
    """

    servers: Mapping[str, ServerRow] = field(default_factory=dict)
    sightings: Mapping[str, Mapping[str, Presence]] = field(default_factory=dict)
    migrations: Sequence[MigrationRow] = ()
    hosts: Mapping[str, bool] = field(default_factory=dict)
    former: Collection[str] = ()
    conductors: Mapping[str, bool] = field(default_factory=dict)
    moved: Mapping[str, tuple[str, str]] = field(default_factory=dict)


class Inspection:
    """Reads everything at once, and writes only what no other module would ever write: what somebody has left behind in a row."""

    def __init__(self, database: Database, runtime: Runtime, clock: Clock) -> None:
        self._database = database
        self._runtime = runtime
        self._clock = clock

    def rows(self, patience_s: float, hosts: Collection[str] | None = None, servers: Iterable[str] = (), defined: Iterable[str] = ()) -> Rows:
        """All servers; or those that are on `hosts`, have been seen there, or are among `servers`. A migration is forsaken after `patience_s`.

        `moved` is looked up for those that are `defined` in more than one place.
        """
        with self._database.read() as session:
            wanted = None if hosts is None else self._near(session, hosts) | set(servers)
            known = session.execute(select(models.Host.name, models.Host.up, models.Host.configured)).all()
            return Rows(
                servers={row.uuid: row for row in _servers(session, wanted)},
                sightings=_sightings(session, wanted),
                migrations=self._migrations(session, patience_s),
                hosts={name: up for name, up, configured in known if configured},
                former=frozenset(name for name, _up, configured in known if not configured),
                conductors=self._conductors(session),
                moved={server: ends for part in _parts(defined) for server, ends in _moved(session, part)},
            )

    def keeping(self) -> Sequence[MigrationRow]:
        """Migrations that have left files because they are not provably livemig's to remove; only these are among their `files`."""
        row = models.Migration
        columns = (row.id, row.server_uuid, row.status, row.source, row.destination, row.files)
        with self._database.read() as session:
            found = session.execute(select(*columns).where(row.keeps).order_by(row.id)).all()
        kept = ((rest, tuple(file for file in to_files(files) if file.after == KEPT)) for *rest, files in found)
        return [MigrationRow(number, server, Status(status), source, to, open=False, files=files) for (number, server, status, source, to), files in kept]

    def revision(self) -> tuple[str | None, str]:
        """The tables' revision (None: there are none), and the newest."""
        with self._database.read() as session:
            connection = session.connection()
            there = connection.dialect.has_table(connection, "alembic_version")
            return session.scalar(text("SELECT version_num FROM alembic_version")) if there else None, newest_revision()

    def clock_ahead_s(self) -> float:
        """By how much the database's clock is ahead of this machine's."""
        with self._database.read() as session:
            moment = session.scalar(select(self._clock.now(session)))
            return (moment - self._runtime.now()).total_seconds() if moment else 0.0

    def knows(self, server_uuid: str) -> bool:
        """Whether a server has a row."""
        with self._database.read() as session:
            return session.get(models.Server, server_uuid) is not None

    @retried
    def release(self, server_uuid: str) -> bool:
        """Let go of a server that shows MIGRATING while no migration has it, and end the claim of migrations that ended long since. Whether there was one."""
        server, migration = models.Server, models.Migration
        over = (migration.active_server_uuid == server_uuid, migration.status.in_([status.value for status in FINAL]))
        claimed = exists().where(migration.active_server_uuid == server_uuid)
        stuck = (server.uuid == server_uuid, server.task_state == MIGRATING, not_(claimed))
        now = self._runtime.now()
        with self._database.write() as session:
            ended = session.execute(update(migration).where(*over).values(active_server_uuid=None, lease_owner=None, lease_expires_at=None))
            freed = session.execute(update(server).where(*stuck).values(task_state=None, progress=0, updated_at=now))
            if freed.rowcount:  # type: ignore[attr-defined]
                follow(session, now, [server_uuid])
            return bool(ended.rowcount or freed.rowcount)  # type: ignore[attr-defined]

    @retried
    def lose(self, server_uuid: str, reason: str, presences: Mapping[str, Presence]) -> bool:
        """Show a server in error, with a fault, until it is on one host again. False if it migrates, or is shown so already.

        `presences` (host → presence) are the sightings on which that rests.
        """
        server, now = models.Server, self._runtime.now()
        idle = (server.uuid == server_uuid, server.task_state.is_(None), server.lost.is_(False))
        fault = {"code": 500, "message": reason, "created": now.isoformat()}
        with self._database.write() as session:
            found = session.execute(update(server).where(*idle).values(vm_state="error", lost=True, fault=fault, updated_at=now))
            if not found.rowcount:  # type: ignore[attr-defined]
                return False
            for host, presence in presences.items():
                write_sightings(session, host, {server_uuid: presence})
            return True

    def _near(self, session: Session, hosts: Collection[str]) -> set[str]:
        on = {uuid for part in _parts(hosts) for uuid in session.scalars(select(models.Server.uuid).where(models.Server.host.in_(part)))}
        seen = {uuid for part in _parts(hosts) for uuid in session.scalars(select(models.Sighting.server_uuid).where(models.Sighting.host.in_(part)))}
        return on | seen

    def _migrations(self, session: Session, patience_s: float) -> Sequence[MigrationRow]:
        """Those that are open, hold a lease, or have files in their journal: an index has the first and the last, and the others are few."""
        row, long_ago = models.Migration, self._runtime.now() - timedelta(seconds=patience_s)
        unheld = or_(row.lease_expires_at < self._clock.later(session, -patience_s), and_(row.lease_owner.is_(None), row.updated_at < long_ago))
        silent = case((row.finished_at.is_(None), unheld), else_=row.finished_at < long_ago)
        columns = (row.id, row.server_uuid, row.status, row.source, row.destination, row.active_server_uuid, row.lease_owner, row.files, row.untidy)
        aside = exists().where(models.Server.uuid == row.server_uuid, models.Server.lost)
        rule = or_(row.active_server_uuid.is_not(None), row.lease_owner.is_not(None), row.untidy, aside)
        found = session.execute(select(*columns, silent).where(rule).order_by(row.id))
        return [
            MigrationRow(number, server, Status(status), source, to, claim is not None, holder, bool(forsaken), to_files(files), untidy)
            for number, server, status, source, to, claim, holder, files, untidy, forsaken in found
        ]

    def _conductors(self, session: Session) -> Mapping[str, bool]:
        conductor = models.Conductor
        lives: ColumnElement[Any] = conductor.expires_at >= self._clock.now(session)
        return {owner: bool(alive) for owner, alive in session.execute(select(conductor.owner, lives).order_by(conductor.owner))}


def _servers(session: Session, wanted: Collection[str] | None) -> Iterable[ServerRow]:
    row = models.Server
    columns = (row.uuid, row.instance_name, row.host, row.vm_state, row.power_state, row.task_state.is_not(None), row.lost, row.condemned)
    for part in [None] if wanted is None else _parts(wanted):
        query = select(*columns) if part is None else select(*columns).where(row.uuid.in_(part))
        yield from (ServerRow(*found) for found in session.execute(query))


def _sightings(session: Session, wanted: Collection[str] | None) -> Mapping[str, Mapping[str, Presence]]:
    row, found = models.Sighting, dict[str, dict[str, Presence]]()
    for part in [None] if wanted is None else _parts(wanted):
        query = select(row.server_uuid, row.host, row.presence)
        for uuid, host, presence in session.execute(query if part is None else query.where(row.server_uuid.in_(part))):
            found.setdefault(uuid, {})[host] = Presence(presence)
    return found


def _moved(session: Session, servers: Sequence[str]) -> Iterable[tuple[str, tuple[str, str]]]:
    row = models.Migration
    last = select(func.max(row.id)).where(row.server_uuid.in_(servers), row.status == Status.COMPLETED.value).group_by(row.server_uuid)
    query = select(row.server_uuid, row.source, row.destination).where(row.id.in_(last))
    return [(uuid, (source, to or "")) for uuid, source, to in session.execute(query)]


def _parts(keys: Iterable[str]) -> Iterable[Sequence[str]]:
    names = sorted(keys)
    return [names[begin : begin + _PART] for begin in range(0, len(names), _PART)]
