"""The rows of `servers` and of `sightings`, from which they follow."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import nullcontext
from datetime import datetime
from typing import Any

from sqlalchemy import and_, case, delete, func, insert, or_, select, update
from sqlalchemy.orm import InstrumentedAttribute, Session

from livemig import exceptions
from livemig.db import models
from livemig.db.engine import Database, retried
from livemig.db.patterns import searching
from livemig.db.rows import from_server, to_flavor, to_server
from livemig.db.selection import Selection, narrowed, of_projects, paged
from livemig.db.watches import Sight, may_write
from livemig.facts import Flavor, Presence, ServerFacts
from livemig.records import Member, Server, Usage
from livemig.runtime import Runtime
from livemig.states import Status
from livemig.whereabouts import SHOWN, found_again, where

_STATE = (models.Host.up, models.Host.forced_down, models.Host.disabled)
_ACTIVE = func.sum(case((models.Server.vm_state.in_(("stopped", "error")), 0), else_=1))
_SHOWN = select(models.Server, *_STATE).outerjoin(models.Host, and_(models.Host.name == models.Server.host, models.Host.configured))


class Servers:
    """Servers as the API reads them and as the watchers see them."""

    def __init__(self, database: Database, runtime: Runtime) -> None:
        self._database = database
        self._runtime = runtime

    def get(self, uuid: str) -> Server:
        """Raises ServerNotFound."""
        with self._database.read() as session:
            row = session.execute(_SHOWN.where(models.Server.uuid == uuid)).one_or_none()
            if row is None:
                raise exceptions.ServerNotFound(server=uuid)
            return to_server(*row)

    def find(self, selection: Selection) -> Sequence[Server]:
        """The servers of a selection. Raises ServerNotFound for its marker, InvalidPattern."""
        with self._database.read() as session, searching(session) if selection.patterns else nullcontext():
            marker = None
            if selection.marker is not None:
                marker = session.get(models.Server, selection.marker)
                if marker is None or not selection.shows(marker.project_id):
                    raise exceptions.ServerNotFound(server=selection.marker)
            query = paged(narrowed(_SHOWN, models.Server, selection), models.Server, selection, marker)
            return [to_server(*row) for row in session.execute(query)]

    def on_hosts(self, hosts: Iterable[str]) -> Mapping[str, Sequence[tuple[str, str]]]:
        """(uuid, instance name) of the servers on each of these hosts, by host; one without servers is left out."""
        found: dict[str, list[tuple[str, str]]] = {}
        server = models.Server
        query = select(server.host, server.uuid, server.instance_name).where(server.host.in_(list(hosts))).order_by(server.created_at, server.uuid)
        with self._database.read() as session:
            for host, uuid, name in session.execute(query):
                found.setdefault(host, []).append((uuid, name))
        return found

    def members(self, server: Server, key: str) -> Sequence[Member]:
        """The other servers whose user metadata has the same value under `key`; none if the server has no such key. One query, whatever the number of hosts."""
        group = server.user_metadata.get(key)
        if not group:
            return []
        row, migration = models.Server, models.Migration
        query = (
            select(row.host, migration.destination, migration.id, migration.status)
            .outerjoin(migration, migration.active_server_uuid == row.uuid)
            .where(row.user_metadata[key].as_string() == group, row.uuid != server.uuid)
        )
        with self._database.read() as session:
            return [Member(host, to, number, Status(status) if status else None) for host, to, number, status in session.execute(query)]

    @retried
    def see(self, host: str, seen: Iterable[ServerFacts], complete: bool = False, sight: Sight | None = None) -> bool:
        """Take down how `host` has each of `seen`; `complete` says that it has no others. The servers follow, but for those that migrate.

        False when somebody has written about the host since `sight`.
        """
        said = {server.uuid: server for server in seen}
        with self._database.write() as session:
            if not may_write(session, sight):
                return False
            session.execute(update(models.Host).where(models.Host.name == host).values(updated_at=self._runtime.now()))
            before = set(session.scalars(select(models.Sighting.server_uuid).where(models.Sighting.host == host)))
            touched = set(said) | (before if complete else set())
            write_sightings(session, host, {uuid: said[uuid].presence if uuid in said else Presence.ABSENT for uuid in touched})
            follow(session, self._runtime.now(), touched, said, host)
            return True

    @retried
    def lock(self, uuid: str, by: str | None, over: Collection[str | None], **reason: str | None) -> bool:
        """Lock a server for users (`by`: owner or admin), or unlock it (None), if what locks it now is one of `over`.

        The `locked_reason` stays as it is if none is given. False when something else locks it. Raises ServerNotFound.
        """
        server = models.Server
        rule = or_(*(server.locked_by.is_(each) if each is None else server.locked_by == each for each in over))
        with self._database.write() as session:
            values = {"locked_by": by, "updated_at": self._runtime.now(), **reason}
            if session.execute(update(server).where(server.uuid == uuid, rule).values(**values)).rowcount:  # type: ignore[attr-defined]
                return True
            if session.get(server, uuid) is None:
                raise exceptions.ServerNotFound(server=uuid)
            return False

    @retried
    def condemn(self, uuid: str, fault: Mapping[str, Any]) -> bool:
        """Show a server in error until `reprieve`; True. Raises ServerNotFound, or ServerInvalidState while it migrates."""
        return self._set(uuid, vm_state="error", condemned=True, fault=dict(fault))

    @retried
    def reprieve(self, uuid: str) -> bool:
        """Show a server again as the hosts have it, whatever it was in error for; True. Raises as `condemn`."""
        return self._set(uuid, condemned=False, lost=False, fault=None, then_follow=True)

    def _set(self, uuid: str, then_follow: bool = False, **values: Any) -> bool:
        server, now = models.Server, self._runtime.now()
        with self._database.write() as session:
            if not session.execute(update(server).where(server.uuid == uuid, server.task_state.is_(None)).values(updated_at=now, **values)).rowcount:  # type: ignore[attr-defined]
                row = session.get(server, uuid)
                if row is None:
                    raise exceptions.ServerNotFound(server=uuid)
                raise exceptions.ServerInvalidState(server=uuid, action="os-resetState", attribute="task_state", state=row.task_state)
            if then_follow:
                follow(session, now, [uuid])
            return True

    def usage(self, projects: Collection[str] | None) -> Usage:
        """What the servers of these projects (None: of all) add up to."""
        server = models.Server
        query = select(func.count(), _ACTIVE, func.sum(server.vcpus), func.sum(server.memory_mib))
        if projects is not None:
            query = query.where(of_projects(server.project_id, projects))
        with self._database.read() as session:
            return Usage(*(int(figure or 0) for figure in session.execute(query).one()))

    def flavors(self, projects: Collection[str] | None) -> Sequence[Flavor]:
        """The flavors of these projects' servers (None: of all), by id; where servers disagree on what is behind an id, one speaks for all."""
        server = models.Server
        one_of_each = select(func.min(server.uuid)).group_by(server.flavor_id)
        if projects is not None:
            one_of_each = one_of_each.where(of_projects(server.project_id, projects))
        with self._database.read() as session:
            rows = session.scalars(select(server).where(server.uuid.in_(one_of_each)).order_by(server.flavor_id))
            return [to_flavor(row) for row in rows]

    def count(self) -> int:
        with self._database.read() as session:
            return session.scalar(select(func.count()).select_from(models.Server)) or 0


def sums(session: Session, key: InstrumentedAttribute[str], keys: Iterable[str] | None) -> dict[str, Usage]:
    """What servers add up to, by a column; only those with one of `keys` in it, if they are given."""
    server = models.Server
    query = select(key, func.count(), _ACTIVE, func.sum(server.vcpus), func.sum(server.memory_mib)).group_by(key)
    if keys is not None:
        query = query.where(key.in_(list(keys)))
    return {name: Usage(*map(int, figures)) for name, *figures in session.execute(query)}


def follow(session: Session, now: datetime, uuids: Iterable[str], said: Mapping[str, ServerFacts] | None = None, by: str = "") -> None:
    """Let servers follow their sightings, but for those that migrate: they are where the engine knows them to be.

    What is `said` of them `by` a host counts if that is where they are: a definition left elsewhere may be an old one.
    """
    rows = {row.uuid: row for row in session.scalars(select(models.Server).where(models.Server.uuid.in_(uuids)).with_for_update())}
    sightings: dict[str, dict[str, Presence]] = {uuid: {} for uuid in sorted(uuids)}
    for sighting in session.scalars(select(models.Sighting).where(models.Sighting.server_uuid.in_(uuids))):
        sightings[sighting.server_uuid][sighting.host] = Presence(sighting.presence)
    new: list[dict[str, Any]] = []
    for uuid, seen in sightings.items():
        row = rows.get(uuid)
        if row is None or row.task_state is None:
            host = where(row.host if row else None, seen)
            _place(session, now, uuid, row, seen, host, (said or {}).get(uuid) if by == host else None, new)
    if new:
        session.execute(insert(models.Base.metadata.tables["servers"]), new)  # the table itself: a host may have hundreds


def _place(
    session: Session,
    now: datetime,
    uuid: str,
    row: models.Server | None,
    seen: dict[str, Presence],
    host: str | None,
    said: ServerFacts | None,
    new: list[dict[str, Any]],
) -> None:
    """Write down one that is known; the row of another is added to `new`."""
    if row is not None and row.lost and not found_again(seen):
        return
    if host is None:
        session.execute(delete(models.Server).where(models.Server.uuid == uuid))
        return
    vm_state, power_state = SHOWN[seen[host]]
    values: dict[str, Any] = {"host": host, "vm_state": vm_state, "power_state": int(power_state), "lost": False}
    if said is not None and said.details and said.presence is not Presence.ABSENT:
        values.update(from_server(said))
    if row is None:
        known = from_server(ServerFacts(uuid, uuid, Presence.UNKNOWN)) | values
        created_at = said.created_at if said is not None and said.created_at else now
        new.append({"uuid": uuid, "created_at": created_at, "updated_at": now, **known})
        return
    if row.condemned:
        del values["vm_state"]
    elif row.lost:
        values["fault"] = None
    if any(getattr(row, name) != value for name, value in values.items()):
        session.execute(update(models.Server).where(models.Server.uuid == uuid).values(updated_at=now, **values))


def write_sightings(session: Session, host: str, presences: dict[str, Presence]) -> None:
    """Replace the sightings of these servers on `host`."""
    session.execute(delete(models.Sighting).where(models.Sighting.host == host, models.Sighting.server_uuid.in_(presences)))
    present = [{"server_uuid": uuid, "host": host, "presence": presence.value} for uuid, presence in presences.items() if presence is not Presence.ABSENT]
    if present:
        session.execute(insert(models.Sighting), present)
