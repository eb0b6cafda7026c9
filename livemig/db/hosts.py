"""The rows of `hosts`."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import delete, func, insert, select, update

from livemig import exceptions, records
from livemig.db import models
from livemig.db.engine import Database, retried
from livemig.db.rows import HOST, HOST_STATE, to_host
from livemig.db.servers import sums
from livemig.db.watches import Sight, may_write
from livemig.facts import HostFacts
from livemig.records import Usage
from livemig.runtime import Runtime


def host_uuid(name: str) -> str:
    """A hypervisor's id in the API: the same for ever for the same name."""
    return str(uuid.uuid5(uuid.NAMESPACE_DNS, f"{name}.hosts.livemig"))


def service_uuid(name: str) -> str:
    """The id of a host's compute service in the API."""
    return str(uuid.uuid5(uuid.NAMESPACE_DNS, f"{name}.services.livemig"))


class Hosts:
    """Hosts as the API and the checks read them: those of enabled_hosts. What is known of former ones stays, but is not shown."""

    def __init__(self, database: Database, runtime: Runtime) -> None:
        self._database = database
        self._runtime = runtime

    @retried
    def configure(self, addresses: Mapping[str, str]) -> None:
        """Make exactly the hosts with these names the configured ones; the values are the addresses that the API shows."""
        wanted = set(addresses)
        with self._database.write() as session:
            session.execute(update(models.Host).values(configured=models.Host.name.in_(wanted)))
            known = {row.name: row.address for row in session.execute(select(models.Host.name, models.Host.address))}
            last = session.scalar(select(func.max(models.Host.number))) or 0
            for number, name in enumerate(sorted(wanted - set(known)), start=last + 1):
                ids = {"number": number, "uuid": host_uuid(name), "service_uuid": service_uuid(name)}
                session.execute(insert(models.Host).values(name=name, **ids, address=addresses[name]))
            for name in wanted & set(known):
                if known[name] != addresses[name]:
                    session.execute(update(models.Host).where(models.Host.name == name).values(address=addresses[name]))

    def came_up(self, name: str, said: HostFacts, sight: Sight | None = None) -> bool:
        """The watcher reached the host. False when somebody has written about it since `sight`."""
        return self._found(name, sight, up=True, **{field: getattr(said, field) for field in HostFacts.__slots__ if field != "hostname"})

    def went_down(self, name: str, sight: Sight | None = None) -> bool:
        """The watcher cannot reach the host any more. False as for `came_up`."""
        return self._found(name, sight, up=False)

    @retried
    def _found(self, name: str, sight: Sight | None, **values: Any) -> bool:
        with self._database.write() as session:
            if not may_write(session, sight):
                return False
            session.execute(update(models.Host).where(models.Host.name == name).values(updated_at=self._runtime.now(), **values))
            return True

    @retried
    def decide(self, name: str, **word: Any) -> records.Host:
        """Take down an operator's word: `disabled`, `disabled_reason`, `forced_down`. Raises HostNotFound."""
        with self._database.write() as session:
            session.execute(update(models.Host).where(models.Host.name == name, models.Host.configured).values(**word))
            row = session.execute(select(*HOST).where(models.Host.configured, models.Host.name == name)).one_or_none()
            if row is None:
                raise exceptions.HostNotFound(host=name)
            return to_host(row)

    def get(self, name: str) -> records.Host | None:
        """A configured host."""
        return self.by("name", name)

    def by(self, key: str, value: Any) -> records.Host | None:
        """The configured host with this `uuid`, `service_uuid` or `number`."""
        with self._database.read() as session:
            row = session.execute(select(*HOST).where(models.Host.configured, getattr(models.Host, key) == value)).one_or_none()
            return None if row is None else to_host(row)

    def all(self) -> list[records.Host]:
        """The configured hosts, by name."""
        with self._database.read() as session:
            rows = session.execute(select(*HOST).where(models.Host.configured).order_by(models.Host.name))
            return [to_host(row) for row in rows]

    def states(self) -> list[records.HostState]:
        """What a choice looks at in each configured host."""
        with self._database.read() as session:
            rows = session.execute(select(*HOST_STATE).where(models.Base.metadata.tables["hosts"].c.configured)).all()
            return [records.HostState(*row) for row in rows]

    def named(self, names: Iterable[str]) -> dict[str, records.Host]:
        """Those of these hosts that are configured, by name."""
        with self._database.read() as session:
            rows = session.execute(select(*HOST).where(models.Host.configured, models.Host.name.in_(list(names))))
            return {row.name: to_host(row) for row in rows}

    def names(self) -> list[str]:
        """The names of the configured hosts."""
        with self._database.read() as session:
            return list(session.scalars(select(models.Host.name).where(models.Host.configured).order_by(models.Host.name)))

    def usage(self, names: Iterable[str] | None = None) -> dict[str, Usage]:
        """What the servers of each host (all, or these) add up to, by host; one without servers is left out."""
        with self._database.read() as session:
            return sums(session, models.Server.host, names)

    @retried
    def forget(self, name: str) -> None:
        """Remove a host and all sightings on it."""
        with self._database.write() as session:
            session.execute(delete(models.Sighting).where(models.Sighting.host == name))
            session.execute(delete(models.Watch).where(models.Watch.host == name))
            session.execute(delete(models.Host).where(models.Host.name == name))
