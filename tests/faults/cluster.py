"""livemig as it is deployed, to be hit: an API and two conductors under a supervisor, with a RabbitMQ and a PostgreSQL of their own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from signal import Signals
from typing import Any

from sqlalchemy import select

from livemig.cli.wiring import READ_AGAIN
from livemig.db import models
from livemig.db.engine import Database
from livemig.db.store import Store
from livemig.lab.lab import Lab
from livemig.lab.service import Service
from livemig.runtime import ThreadRuntime
from tests.lab.deployment import broker, database

RUNTIME = ThreadRuntime()
RESTART_S = 0.2
END_S = 10.5
START_S = 30.0
CONFIG = """keepalive_interval = 2
keepalive_count = 3
live_migration_permit_post_copy = true
[database]
connection = {connection}
[DEFAULT]
max_concurrent_live_migrations = {places}
{more}
"""
OWN = """[DEFAULT]
host = {name}
log_file = {directory}/{name}.log
"""


class Process:
    """A command that is started again whenever it dies, `restart_s` later, as systemd would."""

    def __init__(self, name: str, command: Sequence[str], directory: Path) -> None:
        self.name = name
        self.restart_s = RESTART_S
        self._command = command
        self._directory = directory
        self._wanted = RUNTIME.event()
        self._supervisor: Any = None
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """0 while it is down."""
        process = self._process
        return 0 if process is None or process.poll() is not None else process.pid

    def start(self) -> None:
        self._wanted.set()
        self._supervisor = RUNTIME.start(f"supervise-{self.name}", self._supervise)

    def signal(self, number: Signals) -> None:
        if pid := self.pid:
            os.kill(pid, number)

    def heeds(self, number: Signals) -> bool:
        """Whether it is so far that it has its own answer to a signal."""
        try:
            lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        except OSError:
            return False
        caught = next(int(line.split()[1], 16) for line in lines if line.startswith("SigCgt"))
        return bool(caught >> (number - 1) & 1)

    def restart(self) -> None:
        """Tell it to end (SIGTERM), which it must within 10 s, and wait until its successor would heed that too."""
        told = self.pid
        self.signal(signal.SIGTERM)
        steps: tuple[tuple[Callable[[], bool], float], ...] = ((lambda: self.pid != told, END_S), (lambda: self.heeds(signal.SIGTERM), START_S))
        for ready, seconds in steps:
            deadline = RUNTIME.monotonic() + seconds
            while not ready():
                assert RUNTIME.monotonic() < deadline, f"{self.name}: {self.log()[-3000:]}"
                RUNTIME.sleep(0.05)

    def stop(self) -> None:
        """End it by SIGTERM, and by SIGKILL when it does not heed that; it stays down."""
        self._wanted.clear()
        for number in (signal.SIGCONT, signal.SIGTERM):
            self.signal(number)
        if self._supervisor is not None:
            self._supervisor.join(20)
            self.signal(signal.SIGKILL)
            self._supervisor.join(5)

    def log(self) -> str:
        return "".join(path.read_text() for end in ("log", "output") if (path := self._directory / f"{self.name}.{end}").exists())

    def _supervise(self) -> None:
        with (self._directory / f"{self.name}.output").open("ab") as output:
            while self._wanted.is_set():
                self._process = subprocess.Popen(self._command, stdout=output, stderr=output, start_new_session=True)
                self._process.wait()
                restart_at = RUNTIME.monotonic() + self.restart_s
                while self._wanted.is_set() and RUNTIME.monotonic() < restart_at:
                    RUNTIME.sleep(0.05)


class Cluster:
    """The processes, and what is asked of the API."""

    def __init__(self, lab: Lab, directory: Path, rabbitmq: Any, postgresql: Any, places: int, more: str = "") -> None:
        self.lab = lab
        self.broker = rabbitmq
        self.database = postgresql
        hosts = lab.config(network="migration").replace("[DEFAULT]\n", f"[DEFAULT]\ntransport_url = {rabbitmq.url}\n")
        self.service = Service(directory, hosts, RUNTIME, CONFIG.format(connection=postgresql.url, places=places, more=more))
        self._plain = self.service.config.read_text()
        self.api = self._process("api", "livemig-api")
        self.conductors = [self._process(f"conductor{number}", "livemig-conductor") for number in (1, 2)]
        self.store = Store(Database(postgresql.url), RUNTIME)

    @property
    def processes(self) -> list[Process]:
        return [self.api, *self.conductors]

    def start(self) -> None:
        manage = Path(sys.executable).with_name("livemig-manage")
        subprocess.run([manage, "--config-file", self.service.config, "db", "sync"], check=True, capture_output=True)
        for process in self.processes:
            process.start()
        self.wait_for_hosts()

    def configure(self, more: str = "") -> None:
        """Have the conductors run with these options from now on; those that are down read them when they start."""
        self.service.config.write_text(f"{self._plain}{more}\n")
        times = {conductor: conductor.log().count(READ_AGAIN) for conductor in self.conductors}

        def read() -> bool:
            late = [conductor for conductor, before in times.items() if conductor.log().count(READ_AGAIN) == before]
            for conductor in late:
                if conductor.heeds(signal.SIGHUP):  # one that is just starting would die of it
                    conductor.signal(signal.SIGHUP)
            return not late

        self.wait(read, 40, READ_AGAIN, pause=0.3)

    def signal(self, number: Signals) -> None:
        """To both conductors."""
        for conductor in self.conductors:
            conductor.signal(number)

    def wait_for_hosts(self) -> None:
        """Until the API shows every host as up, and both conductors have connected to them."""

        def up() -> bool:
            found = self.get("/v2.1/os-hypervisors").get("hypervisors", [])
            return len(found) == len(self.lab.hosts) and all(host["state"] == "up" for host in found)

        self.wait(up, 60, "the hosts to be up")

    def get(self, path: str) -> dict[str, Any]:
        """The body of an answer; {} when there is none."""
        try:
            return self.service.get(path)
        except (OSError, ValueError):
            return {}

    def post(self, path: str, body: object) -> None:
        """An action on a server or on a migration (`path` below /servers) that must be accepted, sooner or later."""
        said: object = None

        def accepted() -> bool:
            nonlocal said
            headers = {"OpenStack-API-Version": "compute latest", "Content-Type": "application/json"}
            request = urllib.request.Request(f"{self.service.url}/v2.1/servers/{path}/action", json.dumps(body).encode(), headers, method="POST")
            try:
                with urllib.request.urlopen(request, timeout=30) as answer:
                    return bool(answer.status == 202)
            except urllib.error.HTTPError as fault:
                said = fault.read()
            except OSError as error:
                said = error
            return False

        self.wait(accepted, 30, f"{body} to be accepted", lambda: str(said), 0.3)

    def shown(self) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
        """What the API says of all servers, and of each one's latest migration; both by the server's UUID, {} while it does not answer."""
        servers = {server["id"]: server for server in self.get("/v2.1/servers/detail").get("servers", [])}
        migrations = sorted(self.get("/v2.1/os-migrations").get("migrations", []), key=lambda migration: migration["id"])
        return servers, {migration["instance_uuid"]: migration for migration in migrations}

    def events(self, migration_id: int) -> list[str]:
        """The event log of a migration, by what the database has."""
        return [f"{event.at:%H:%M:%S.%f} {event.kind}: {event.text}" for event in self.store.migrations.events(migration_id)]

    def lease_owners(self) -> Mapping[str, str]:
        """Who has the open migrations, by server."""
        migration = models.Migration
        leased = select(migration.server_uuid, migration.lease_owner).where(migration.active_server_uuid.is_not(None), migration.lease_owner.is_not(None))
        with self.store.database.read() as session:
            return {server: str(owner) for server, owner in session.execute(leased)}

    def wait(self, ready: Any, seconds: float, what: str, more: Any = lambda: "", pause: float = 0.1) -> None:
        """Until `ready()`."""
        deadline = RUNTIME.monotonic() + seconds
        while not ready():
            if RUNTIME.monotonic() > deadline:
                raise AssertionError(f"waited {seconds:g} s in vain for {what} {more()}")
            RUNTIME.sleep(pause)

    def log(self) -> str:
        return "\n".join(f"== {process.name}\n{process.log()[-6000:]}" for process in self.processes)

    def _process(self, name: str, command: str) -> Process:
        directory = self.service.directory
        own = directory / f"{name}.conf"
        own.write_text(OWN.format(name=name, directory=directory))
        script = str(Path(sys.executable).with_name(command))
        return Process(name, [script, "--config-file", str(self.service.config), "--config-file", str(own)], directory)


@contextmanager
def cluster(lab: Lab, directory: Path, places: int, brokers: Any = broker, databases: Any = database, more: str = "") -> Iterator[Cluster]:
    """It runs, with so many places for migrations that leave a host, on what these contexts yield; afterwards nothing of it is left."""
    with ExitStack() as stack:
        made = Cluster(lab, directory, stack.enter_context(brokers()), stack.enter_context(databases()), places, more)
        stack.callback(made.store.database.close)
        for process in made.processes:
            stack.callback(process.stop)
        made.start()
        yield made
