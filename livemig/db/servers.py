"""The rows of `servers` and of `sightings`, from which they follow."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import delete, func, insert, select, update
from sqlalchemy.orm import Session

from livemig import exceptions, facts
from livemig.db import models
from livemig.db.engine import Database, retried
from livemig.db.rows import to_server
from livemig.facts import Presence, ServerFacts
from livemig.runtime import Runtime
from livemig.whereabouts import SHOWN, found_again, where

OWNER = {"project_id": "admin", "user_id": "admin"}  # libvirt knows no owners: a guest is the administrator's


class Servers:
    """Servers as the API reads them and as the watchers see them."""

    def __init__(self, database: Database, runtime: Runtime) -> None:
        self._database = database
        self._runtime = runtime

    def get(self, uuid: str) -> facts.Server:
        """Raises ServerNotFound."""
        with self._database.read() as session:
            row = session.get(models.Server, uuid)
            if row is None:
                raise exceptions.ServerNotFound(server=uuid)
            return to_server(row)

    def list(self, limit: int, marker: str | None = None) -> Sequence[facts.Server]:
        """Up to `limit` servers, the newest first, from after the one with the uuid `marker`. Raises ServerNotFound for the marker."""
        newest_first = (models.Server.created_at.desc(), models.Server.uuid.desc())
        query = select(models.Server).order_by(*newest_first).limit(limit)
        with self._database.read() as session:
            if marker is not None:
                last = session.get(models.Server, marker)
                if last is None:
                    raise exceptions.ServerNotFound(server=marker)
                query = query.where(
                    (models.Server.created_at < last.created_at) | ((models.Server.created_at == last.created_at) & (models.Server.uuid < last.uuid))
                )
            return [to_server(row) for row in session.scalars(query)]

    @retried
    def see(self, host: str, seen: Iterable[ServerFacts], complete: bool = False) -> None:
        """Take down how `host` has each of `seen`; `complete` says that it has no others. The servers follow, but for those that migrate."""
        said = {server.uuid: server for server in seen}
        with self._database.write() as session:
            session.execute(update(models.Host).where(models.Host.name == host).values(updated_at=self._runtime.now()))
            before = set(session.scalars(select(models.Sighting.server_uuid).where(models.Sighting.host == host)))
            touched = set(said) | (before if complete else set())
            write_sightings(session, host, {uuid: said[uuid].presence if uuid in said else Presence.ABSENT for uuid in touched})
            follow(session, self._runtime.now(), touched, said)

    def count(self) -> int:
        with self._database.read() as session:
            return session.scalar(select(func.count()).select_from(models.Server)) or 0


def follow(session: Session, now: datetime, uuids: Iterable[str], said: Mapping[str, ServerFacts] | None = None) -> None:
    """Let servers follow their sightings, but for those that migrate: they are where the engine knows them to be."""
    rows = {row.uuid: row for row in session.scalars(select(models.Server).where(models.Server.uuid.in_(uuids)).with_for_update())}
    sightings: dict[str, dict[str, Presence]] = {uuid: {} for uuid in sorted(uuids)}
    for sighting in session.scalars(select(models.Sighting).where(models.Sighting.server_uuid.in_(uuids))):
        sightings[sighting.server_uuid][sighting.host] = Presence(sighting.presence)
    for uuid, seen in sightings.items():
        row = rows.get(uuid)
        if row is None or row.task_state is None:
            _place(session, now, uuid, row, seen, (said or {}).get(uuid))


def _place(session: Session, now: datetime, uuid: str, row: models.Server | None, seen: dict[str, Presence], said: ServerFacts | None) -> None:
    if row is not None and row.lost and not found_again(seen):
        return
    host = where(row.host if row else None, seen)
    if host is None:
        session.execute(delete(models.Server).where(models.Server.uuid == uuid))
        return
    vm_state, power_state = SHOWN[seen[host]]
    values: dict[str, Any] = {"host": host, "vm_state": vm_state, "power_state": int(power_state), "lost": False}
    if said is not None and said.presence is not Presence.ABSENT:
        values.update(name=said.name, memory_mib=said.memory_mib, vcpus=said.vcpus)
    if row is None:
        session.execute(insert(models.Server).values({"uuid": uuid, "name": uuid, "created_at": now, "updated_at": now, **OWNER, **values}))
    elif any(getattr(row, name) != value for name, value in values.items()):
        session.execute(update(models.Server).where(models.Server.uuid == uuid).values(updated_at=now, **values))


def write_sightings(session: Session, host: str, presences: dict[str, Presence]) -> None:
    """Replace the sightings of these servers on `host`."""
    session.execute(delete(models.Sighting).where(models.Sighting.host == host, models.Sighting.server_uuid.in_(presences)))
    present = [{"server_uuid": uuid, "host": host, "presence": presence.value} for uuid, presence in presences.items() if presence is not Presence.ABSENT]
    if present:
        session.execute(insert(models.Sighting), present)
