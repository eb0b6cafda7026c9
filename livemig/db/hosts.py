"""The rows of `hosts`."""

from __future__ import annotations

import uuid
from collections.abc import Iterable

from sqlalchemy import delete, insert, select, update

from livemig import facts
from livemig.db import models
from livemig.db.engine import Database, retried
from livemig.db.rows import to_host
from livemig.facts import HostFacts
from livemig.runtime import Runtime


def host_uuid(name: str) -> str:
    """A host's id in the API: the same for ever for the same name."""
    return str(uuid.uuid5(uuid.NAMESPACE_DNS, f"{name}.hosts.livemig"))


class Hosts:
    """Hosts as the API and the checks read them."""

    def __init__(self, database: Database, runtime: Runtime) -> None:
        self._database = database
        self._runtime = runtime

    @retried
    def enable(self, names: Iterable[str]) -> None:
        """Make exactly `names` the enabled hosts. What is known of the others stays."""
        wanted = set(names)
        with self._database.write() as session:
            session.execute(update(models.Host).values(enabled=models.Host.name.in_(wanted)))
            missing = wanted - set(session.scalars(select(models.Host.name)))
            for name in sorted(missing):
                session.execute(insert(models.Host).values(name=name, uuid=host_uuid(name), enabled=True, up=False))

    @retried
    def came_up(self, name: str, said: HostFacts) -> None:
        """The watcher reached the host."""
        values = {field: getattr(said, field) for field in HostFacts.__slots__ if field != "hostname"}
        with self._database.write() as session:
            session.execute(update(models.Host).where(models.Host.name == name).values(up=True, updated_at=self._runtime.now(), **values))

    @retried
    def went_down(self, name: str) -> None:
        """The watcher cannot reach the host any more."""
        with self._database.write() as session:
            session.execute(update(models.Host).where(models.Host.name == name).values(up=False, updated_at=self._runtime.now()))

    def get(self, name: str) -> facts.Host | None:
        """An enabled host."""
        with self._database.read() as session:
            row = session.scalars(select(models.Host).where(models.Host.enabled, models.Host.name == name)).one_or_none()
            return None if row is None else to_host(row)

    def all(self) -> list[facts.Host]:
        """The enabled hosts, by name."""
        with self._database.read() as session:
            rows = session.scalars(select(models.Host).where(models.Host.enabled).order_by(models.Host.name))
            return [to_host(row) for row in rows]

    @retried
    def forget(self, name: str) -> None:
        """Remove a host and all sightings on it."""
        with self._database.write() as session:
            session.execute(delete(models.Sighting).where(models.Sighting.host == name))
            session.execute(delete(models.Host).where(models.Host.name == name))
