"""Several conductors on one store, each in a process that can be killed and frozen."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy.orm import Session

from livemig import conf as configuration
from livemig import context
from livemig.conductor.service import Conductor
from livemig.db.clock import Clock
from livemig.db.store import Store
from livemig.facts import MigrationRequest
from livemig.records import Migration
from livemig.states import Status
from livemig.testing.fleet import Domain, Fleet, guest_uuid
from tests.memory import MemoryDatabase
from tests.service import HOSTS, configured
from tests.simulation.process import Outages, Process, ProcessDatabase
from tests.simulation.runtime import GreenletRuntime

WEB = guest_uuid("web")
CALMLY = {"libvirt__live_migration_downtime_delay": 3, "libvirt__live_migration_downtime": 500}


class Trap(ProcessDatabase):
    """What one process sees of the database. `before` is called before each of its writes, `after` after each; both may freeze it."""

    before: Callable[[], None] = staticmethod(lambda: None)
    after: Callable[[], None] = staticmethod(lambda: None)

    @contextmanager
    def write(self) -> Iterator[Session]:
        self.before()
        with super().write() as session:
            yield session
        self.after()
        self._process.check()


class Life:
    """One conductor's."""

    def __init__(self, cluster: Cluster, name: str) -> None:
        self.process = Process(cluster.runtime, name)
        self.database = Trap(cluster.database, self.process, cluster.outages)
        conf = configured(cluster.directory, {**CALMLY, **cluster.options, "host": name}, None)
        self.conductor = Conductor(conf, Store(self.database, self.process, Clock(cluster.runtime)), self.process.libvirt(cluster.fleet), self.process)  # type: ignore[arg-type]
        self.owner = self.conductor._owner
        self.process.start("start", self.conductor.start)

    def freeze(self) -> None:
        self.process.frozen = True

    def thaw(self) -> None:
        self.process.frozen = False

    def kill(self) -> None:
        self.process.kill()


class Cluster:
    """Conductors one, two, …, over three hosts."""

    def __init__(self, directory: Path, runtime: GreenletRuntime, conductors: int, **options: Any) -> None:
        self.directory, self.runtime, self.options = directory, runtime, options
        self.fleet = Fleet(runtime)
        for name in HOSTS:
            self.fleet.add_host(name)
        self.policy = configuration.policy(configured(directory, {**CALMLY, **options}, None))
        self.database = MemoryDatabase()
        self.store = Store(self.database, runtime)
        self.outages = Outages(runtime.random)
        self.lives: list[Life] = []
        for number in range(conductors):
            self.add(f"c{number}")
            self.settle()

    def add(self, name: str) -> Life:
        self.lives.append(Life(self, name))
        return self.lives[-1]

    def settle(self) -> None:
        """Long enough for watches to be let go and taken."""
        self.runtime.sleep(12)

    def close(self) -> None:
        for life in self.lives:
            life.kill()

    def watched(self) -> dict[str, list[str]]:
        """Which hosts each living conductor watches."""
        found: dict[str, list[str]] = {life.owner: [] for life in self.lives if life.process.alive}
        for host, owner in self.store.watches.all().items():
            found.setdefault(owner or "nobody", []).append(host)
        return found

    def watcher_of(self, host: str) -> tuple[Life, Life]:
        """Whose host it is, and another."""
        owner = self.store.watches.all()[host]
        return next(life for life in self.lives if life.owner == owner), next(life for life in self.lives if life.owner != owner)

    def guest(self, name: str = "web", host: str = "node1", **facts: Any) -> Domain:
        domain = self.fleet.add_guest(name, host, **facts)
        self.runtime.sleep(0.5)
        return domain

    def by_hand(self, server: str = WEB, host: str = "node1") -> Any:
        """The guest as virsh would have it."""
        return self.fleet.libvirt().open(f"qemu+tcp://{host}/system").lookupByUUIDString(server)

    def begin(self, by: Life | None, server: str = WEB, to: str = "node2") -> Migration:
        """An accepted migration, of which that conductor is told."""
        migration = self.store.migrations.begin(server, MigrationRequest(to, False, False), self.policy, context.system(), 0)
        if by is not None:
            by.process.start("wake", by.conductor.answers["wake"], migration.id)
        return migration

    def wait(self, what: Callable[[], object], seconds: float = 60, pause: float = 0.25) -> float:
        """How long it took."""
        began = self.runtime.monotonic()
        while not what():
            assert self.runtime.monotonic() - began < seconds, self.story()
            self.runtime.sleep(pause)
        return self.runtime.monotonic() - began

    def last(self, server: str = WEB) -> Migration:
        return self.store.migrations.of_server(server)[0]

    def is_in(self, status: Status) -> Callable[[], bool]:
        return lambda: self.last().status is status

    def story(self, server: str = WEB) -> str:
        migrations = self.store.migrations.of_server(server)
        return "\n".join(f"{event.at} {event.kind}: {event.text}" for event in self.store.migrations.events(migrations[0].id)) if migrations else ""

    def taken_up_by(self, life: Life) -> Callable[[], bool]:
        return lambda: f"taken up by {life.owner}" in self.story()


Make = Callable[..., Cluster]
