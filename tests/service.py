"""The whole service in one process over a simulated fleet: what the API and conductor tests stand on."""

from __future__ import annotations

import sqlite3
import uuid
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from keystonemiddleware.opts import list_auth_token_opts
from oslo_config import cfg
from oslo_middleware import cors, http_proxy_to_wsgi
from oslo_policy import opts as policy_options

from livemig import conf as configuration
from livemig import context
from livemig.api.loading import load_application
from livemig.api.request import Request, Services
from livemig.conductor.service import Conductor
from livemig.conf.options import AGGREGATE_OPTS, HOST_OPTS
from livemig.db.engine import Database
from livemig.db.store import Store
from livemig.diagnostics import Diagnostics
from livemig.facts import MigrationRequest
from livemig.policies import Policies
from livemig.records import Migration
from livemig.runtime import Runtime
from livemig.testing.fleet import Fleet
from livemig.testing.runtime import VirtualRuntime
from tests.api.documented import Documented
from tests.api.spec import Validated
from tests.memory import MemoryDatabase

HOSTS = ("node1", "node2", "node3")


class DirectClient:
    """In place of RPC where threads must be the runtime's own: the conductor is called as a function."""

    def __init__(self, service: Service) -> None:
        self.service = service

    @property
    def _service(self) -> Service:
        return self.service

    def live_migrate(self, _context: context.RequestContext, migration_id: int) -> None:
        self._service.conductor.engine.accept(migration_id)

    def wake(self, _context: context.RequestContext, migration_id: int) -> None:
        self._service.conductor.engine.wake(migration_id)

    def perform(self, _context: context.RequestContext, server_uuid: str, host: str, deed: str) -> None:
        self._service.conductor.answers["perform"](server_uuid, host, deed)

    def diagnostics(self, _context: context.RequestContext, server_uuid: str, host: str) -> Diagnostics:
        found: Diagnostics = self._service.conductor.answers["diagnostics"](server_uuid, host)
        return found


class Service(AbstractContextManager["Service"]):
    """API, store and conductor over a fleet of three hosts. `options` are given as group__name, or name for [DEFAULT].

    Without a `database` it is a file in real time, and in memory on a virtual clock.
    """

    def __init__(self, directory: Path, runtime: Runtime, client: Any = None, database: Callable[..., Any] | None = None, **options: Any) -> None:
        self.runtime = runtime
        self.directory = directory
        virtual = isinstance(runtime, VirtualRuntime)
        self._patience = 0.25 if virtual else 0.02
        self.fleet = Fleet(runtime)
        for name in HOSTS:
            self.fleet.add_host(name)
        # Threads that are real wait for one another's transactions; of a virtual runtime's only one goes at a time, and would wait for itself.
        self.conf = configured(directory, options, 0.01 if virtual else 10)
        database = database or (MemoryDatabase if virtual else Database)
        self.store = Store(database(self.conf.database.connection, sqlite_synchronous=False), runtime)
        self.conductor = Conductor(self.conf, self.store, self.fleet.libvirt(), runtime)
        told: Any = client or DirectClient(self)
        self.services = Services(self.conf, self.store, told, runtime, Policies(self.conf, runtime), configuration.aggregates(self.conf), runtime.now())
        self.application = Documented(Validated(load_application(self.services)))

    def __enter__(self) -> Service:
        self.conductor.start()
        self.conductor.inventory.wait_settled(10)
        return self

    def __exit__(self, *_error: object) -> None:
        self.conductor.stop()
        self.store.database.close()

    def other_process(self) -> sqlite3.Connection:
        """A connection of another process to the database, which is a file: it can lock it (BEGIN EXCLUSIVE)."""
        path = self.store.database.engine.url.database
        assert path, "a database in memory cannot be locked by another process"
        return sqlite3.connect(path, timeout=0, check_same_thread=False)

    def restart_conductor(self) -> None:
        """Another life of the conductor. The former one is dead: it is cut off from the store, and its connections are closed."""
        self.conductor.engine.stop()
        self.conductor._stopping.set()
        self.conductor.inventory.stop()
        self.conductor = Conductor(self.conf, self.store, self.fleet.libvirt(), self.runtime)
        self.conductor.start()
        self.conductor.inventory.wait_settled(10)

    def request(self, method: str, path: str, **given: Any) -> Any:
        """One request through the whole pipeline."""
        return Request.blank(path, method=method, **given).get_response(self.application)

    def live_migrate(self, server: str, host: str | None = "node2", block: Any = False, over_commit: Any = False) -> Any:
        """POST os-migrateLive."""
        asked = {"host": host, "block_migration": block, "disk_over_commit": over_commit}
        return self.request("POST", f"/v2.1/servers/{server}/action", json={"os-migrateLive": asked})

    def show(self, server: str) -> dict[str, Any]:
        """GET /servers/{id}; `changed` leaves out what every look changes."""
        shown: dict[str, Any] = self.request("GET", f"/v2.1/servers/{server}").json["server"]
        return shown

    def state(self, server: str) -> tuple[str, str, str | None]:
        """(status, host, task_state) as the API shows it."""
        shown = self.show(server)
        return shown["status"], shown["OS-EXT-SRV-ATTR:host"], shown["OS-EXT-STS:task_state"]

    def begin(self, server: str, host: str | None = "node2", block: bool = False) -> Migration:
        """An accepted migration of which no conductor has been told."""
        asked = MigrationRequest(host, block, False)
        return self.store.migrations.begin(server, asked, configuration.policy(self.conf), context.system(), 60)

    def wait_idle(self, server: str, seconds: float = 60) -> Migration:
        """Wait until the server has no migration in progress; the last one."""
        deadline = self.runtime.monotonic() + seconds
        while self.store.servers.get(server).task_state is not None:
            assert self.runtime.monotonic() < deadline, self.story(server)
            self.runtime.sleep(self._patience)
        return self.store.migrations.of_server(server)[0]

    def wait_status(self, server: str, status: str, seconds: float = 60) -> Migration:
        """Wait until the server's last migration has that status."""
        deadline = self.runtime.monotonic() + seconds
        while (migration := self.store.migrations.of_server(server)[0]).status != status:
            assert self.runtime.monotonic() < deadline, self.story(server)
            self.runtime.sleep(self._patience)
        return migration

    def story(self, server: str) -> str:
        """The event log of the server's last migration."""
        return "\n".join(f"{event.kind}: {event.text}" for event in self.store.migrations.events(self.store.migrations.of_server(server)[0].id))


@cache
def tables() -> bytes:
    """The file of a database at the newest revision: a copy takes a hundredth of the time that alembic does."""
    with TemporaryDirectory() as directory:
        path = Path(directory, "tables.sqlite")
        database = Database(f"sqlite:///{path}", sqlite_synchronous=False)
        database.upgrade()
        database.close()
        return path.read_bytes()


def configured(directory: Path, options: dict[str, Any], lock_timeout_s: float | None) -> Any:
    """The configuration; with a time-out for locks, on a new database."""
    conf = cfg.ConfigOpts()
    configuration.register(conf)
    policy_options._register(conf)
    conf.register_opts(cors.OPTS, group="cors")
    conf.register_opts(http_proxy_to_wsgi.OPTS, group="oslo_middleware")
    for group, opts in list_auth_token_opts():
        conf.register_opts(opts, group=group)
    for name in options.get("aggregates", ()):
        conf.register_opts(AGGREGATE_OPTS, group=f"aggregate:{name}")
    conf([], project="livemig", default_config_files=[], default_config_dirs=[])
    given = {"host": "conductor", "enabled_hosts": list(HOSTS), "state_path": str(directory), **options}
    for name, value in given.items():
        group, _, option = name.rpartition("__")
        conf.set_override(option, value, group=group or None)
    if lock_timeout_s is not None:
        file = directory / f"{uuid.uuid4()}.sqlite"
        file.write_bytes(tables())
        conf.set_override("connection", f"sqlite:///{file}?timeout={lock_timeout_s}", group="database")
    for name in HOSTS:
        conf.register_opts(HOST_OPTS, group=f"host:{name}")
        conf.set_override("connection_uri", f"qemu+tcp://{name}/system", group=f"host:{name}")
    return conf
