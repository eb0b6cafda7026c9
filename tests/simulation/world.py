"""The whole service in one process on a virtual clock: API, store, conductors and fleet; what it must always be, and how it must end."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any

from livemig import exceptions
from livemig.api.loading import load_application
from livemig.api.request import Request, Services
from livemig.conductor.service import Conductor
from livemig.db.clock import Clock
from livemig.db.store import Store
from livemig.policies import Policies
from livemig.runtime import ThreadRuntime
from livemig.states import FINAL, NEXT, Status
from livemig.testing.constants import VIR_DOMAIN_RUNNING
from livemig.testing.fleet import Disk, Fleet, guest_uuid
from livemig.testing.migration import Migration as Job
from livemig.testing.runtime import VirtualTask
from tests.memory import MemoryDatabase
from tests.service import HOSTS, configured
from tests.simulation.broker import Broker, Client
from tests.simulation.process import Killed, Outages, Process, ProcessDatabase
from tests.simulation.runtime import GreenletRuntime

GUESTS = ("web", "db", "busy", "cache")
CONDUCTORS = ("conductor1", "conductor2", "conductor3")
APIS = ("api1", "api2")
LOCAL = {"db": "/var/lib/libvirt/images/db.qcow2"}  # guests whose disk is a file of their host
ISO = "/var/lib/libvirt/db/debian.iso"  # a CD of the administrator's, in a directory that is called like the guest that has it in its drive
POOL = ("livemig-data", "/srv/data")  # a pool of his, and its directory
SKEWS_S = (0.0, 0.3, -2.0, 45.0, -400.0)  # how far the wall clock of a machine may be from the database's
OUTBOUND_LIMIT = 1
SETTLE_S = 400.0
ROUNDS_S = 10  # in every fifth seed conductors compare rows and hosts, that often
OPTIONS = {
    "max_concurrent_live_migrations": OUTBOUND_LIMIT,
    "api__conductor_timeout": 10,
    "libvirt__live_migration_completion_timeout": 20,
    "libvirt__live_migration_downtime_delay": 3,
}


# What an operator may have set.
SETTINGS: tuple[dict[str, Any], ...] = (
    {},
    {"libvirt__live_migration_policy": "must-finish"},
    {"libvirt__live_migration_policy": "post-copy"},
    {"libvirt__live_migration_policy": "minimal-downtime"},
    {"libvirt__live_migration_permit_post_copy": True, "libvirt__live_migration_link_bandwidth": 500},
    {"libvirt__live_migration_other_destinations": 2, "max_concurrent_incoming_live_migrations": 1},
)


class Violation(AssertionError):
    """Something that must never be."""


class WatchedRuntime(GreenletRuntime):
    """Has the world looked at whenever another thread goes on."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.look: Any = lambda: None

    def _choose(self) -> VirtualTask:
        self.look()
        return super()._choose()


@dataclass
class Asked:
    """A request for a migration that the API has said yes to."""

    server: str
    request_id: str


@dataclass
class World:
    """`seed` decides everything that happens in it."""

    seed: int
    accepted: list[Asked] = field(default_factory=list)
    killed: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.runtime = WatchedRuntime(self.seed)
        self.chance = random.Random(f"world {self.seed}")
        self.fleet = Fleet(self.runtime)
        self.fleet.finish_s = self.chance.choice((0.05, 0.05, 1.0))
        for name in HOSTS:
            self.fleet.add_host(name, keepalive=(2, 3))
            self.fleet.add_local_directory(name, "/var/lib/libvirt")
            self.fleet.add_local_directory(name, "/var/lib/libvirt/images", pool="default")
            self.fleet.add_local_directory(name, POOL[1], pool=POOL[0])
        for name in GUESTS:
            speed = 5000 if name == "busy" else self.chance.choice((1, 200))
            disks = [Disk(LOCAL[name], 256, format="qcow2"), Disk(ISO, 1, "sda", read_only=True, device="cdrom")] if name in LOCAL else []
            self.fleet.add_guest(name, self.chance.choice(HOSTS), memory_mib=1024, dirty_mib_s=speed, persistent=name != "cache", disks=disks)
        self.contents = {name: next(file.content for host in self.fleet.hosts.values() if (file := host.file(path))) for name, path in LOCAL.items()}
        self.isos = {host.name: file.content for host in self.fleet.hosts.values() if (file := host.file(ISO))}
        self.settings = self.chance.randrange(len(SETTINGS))
        self.skews = {name: timedelta(seconds=self.chance.choice(SKEWS_S)) for name in (*CONDUCTORS, *APIS)}
        self.servers = {name: guest_uuid(name) for name in GUESTS}
        self.outages = Outages(self.chance)
        self.broker = Broker(self.runtime, self.chance)
        self.database = MemoryDatabase()
        self.store = Store(self.database, self.runtime)
        self.processes: dict[str, Process] = {}
        self.applications: dict[str, Any] = {}
        self.trouble: list[str] = []
        self.asking: list[VirtualTask] = []
        self.runtime.look = self.look

    # Processes

    def start(self) -> None:
        for name in (*self.chance.sample(CONDUCTORS, self.chance.choice((2, 3))), *APIS):
            self.start_process(name)
        self.runtime.sleep(3)

    def start_process(self, name: str) -> None:
        process = self.processes[name] = Process(self.runtime, name)
        process.skew = self.skews[name]
        store = Store(ProcessDatabase(self.database, process, self.outages), process, Clock(self.runtime))  # type: ignore[arg-type]
        if name in CONDUCTORS:
            self._start_conductor(name, process, store)
        else:
            self._start_api(name, process, store)

    def _start_conductor(self, name: str, process: Process, store: Store) -> None:
        conductor = Conductor(_conf(name, self.settings, ROUNDS_S if self.seed % 5 == 3 else 0), store, process.libvirt(self.fleet), process)
        self.broker.listening[process] = conductor
        process.start("start", self._run_conductor, conductor, process)

    def _run_conductor(self, conductor: Conductor, process: Process) -> None:
        """One that meets no database ends; its supervisor starts another a little later."""
        try:
            conductor.start()
        except exceptions.DatabaseUnavailable:
            process.sleep(1)
            self.kill_process(process.name)
            self.start_process(process.name)

    def one_of(self, names: Sequence[str]) -> str:
        """Of those that there are."""
        return self.chance.choice([name for name in names if name in self.processes])

    def kill_process(self, name: str) -> None:
        process = self.processes[name]
        self.broker.listening.pop(process, None)
        process.kill()

    def _start_api(self, name: str, process: Process, store: Store) -> None:
        conf = _conf(name, self.settings)
        services = Services(conf, store, Client(self.broker, process), process, _policies(), (), process.now())  # type: ignore[arg-type]
        self.applications[name] = load_application(services)

    # What is asked of it

    def ask(self, function: Callable[..., None], *arguments: Any) -> None:
        """In a thread of one of the API processes, if there is one that answers."""
        able = [name for name in APIS if self.processes[name].alive and not self.processes[name].frozen]
        if able:
            name = self.chance.choice(able)
            self.asking.append(self.processes[name].start("request", function, self.applications[name], *arguments))

    def request(self, application: Any, method: str, path: str, version: str, body: Any = None) -> Any:
        """The answer, or None when the API process died meanwhile."""
        headers = {"OpenStack-API-Version": f"compute {version}"}
        given = {} if body is None else {"json": body}
        try:
            return Request.blank(path, method=method, headers=headers, **given).get_response(application)
        except Killed:
            return None

    def migrate(self, application: Any, name: str, host: str | None, version: str) -> None:
        """Ask for it; who is told yes must find his migration's row."""
        asked: dict[str, Any] = {"host": host, "block_migration": name in LOCAL if version == "2.1" else "auto"}
        if version == "2.1":
            asked["disk_over_commit"] = False
        answer = self.request(application, "POST", f"/v2.1/servers/{self.servers[name]}/action", version, {"os-migrateLive": asked})
        if answer is not None and answer.status_int == 202:
            self.accepted.append(Asked(self.servers[name], answer.headers["x-compute-request-id"]))
        self.suspicious(answer, (202, 400, 404, 409, 503))

    def end(self, application: Any, name: str, how: str) -> None:
        """Abort the migration of a server that is under way, or force it to complete."""
        server = self.servers[name]
        listed = self.request(application, "GET", f"/v2.1/servers/{server}/migrations", "2.80")
        if listed is None or listed.status_int != 200:
            return
        for migration in listed.json["migrations"]:
            path = f"/v2.1/servers/{server}/migrations/{migration['id']}"
            given = ("DELETE", path, "2.80") if how == "abort" else ("POST", f"{path}/action", "2.80", {"force_complete": None})
            answer = self.request(application, *given)
            self.suspicious(answer, (202, 400, 404, 409, 503))

    def suspicious(self, answer: Any, expected: tuple[int, ...]) -> None:
        if answer is not None and answer.status_int not in expected:
            self.trouble.append(f"an answer of {answer.status_int}: {answer.text}")

    # What must be

    def look(self) -> None:
        """At every step."""
        running: dict[str, str] = {}
        for host in self.fleet.hosts.values():
            for server, domain in host.domains.items():
                if domain.state == VIR_DOMAIN_RUNNING:
                    if server in running:
                        self.trouble.append(f"{domain.definition.name} runs on {running[server]} and {host.name}")
                    running[server] = host.name
            if len(host.jobs) > OUTBOUND_LIMIT and (leaving := sum(_moves(job) for job in host.jobs if job.source.host is host)) > OUTBOUND_LIMIT:
                self.trouble.append(f"{leaving} migrations leave {host.name}")
        if self.trouble:
            self.runtime.look = lambda: None

    def heal(self) -> None:
        """Everything is as it should be again; whatever is dead is started again."""
        self.outages.database_away = self.outages.flaky = self.broker.away = self.broker.lossy = False
        self.fleet.set_cuts(())
        for host in self.fleet.hosts.values():
            host.up, host.hung, host.isolated, host.migration_error = True, False, False, None
        for name, process in self.processes.items():
            process.frozen = False
            if not process.alive:
                self.start_process(name)

    def settle(self) -> None:
        """Wait until nothing is under way. Raises Violation when something stays so."""
        deadline = self.runtime.monotonic() + SETTLE_S
        while self._under_way() and not self.trouble:
            if self.runtime.monotonic() > deadline:
                raise Violation(f"still under way: {self._under_way()}")
            self.runtime.sleep(1)
        self.runtime.sleep(10)

    def judge(self) -> None:
        """At the end. Raises Violation."""
        if self.trouble:
            raise Violation("; ".join(self.trouble))
        for name, server in self.servers.items():
            self._judge_server(name, server)
        self._judge_what_is_others()
        for asked in self.accepted:
            mine = [each for each in self.store.migrations.of_server(asked.server) if each.request_id == asked.request_id]
            if len(mine) != 1 or mine[0].status not in FINAL:
                raise Violation(f"an accepted request of {asked.server} came to nothing: {mine}")
        for server in self.servers.values():
            history = list(reversed(self.store.migrations.of_server(server)))
            for migration in history:
                self._judge_log(migration)
            if server not in self.killed:
                self._judge_history(history)

    def ends(self) -> dict[str, int]:
        """How many migrations ended how."""
        found: dict[str, int] = {}
        for server in self.servers.values():
            for migration in self.store.migrations.of_server(server):
                found[str(migration.status)] = found.get(str(migration.status), 0) + 1
        return found

    def stories(self) -> Iterator[str]:
        """The event logs, for people."""
        for name, server in self.servers.items():
            for migration in reversed(self.store.migrations.of_server(server)):
                yield f"{name}: migration {migration.id}: {migration.source} → {migration.destination}: {migration.status}: {migration.reason or ''}"
                yield from (f"    {event.at:%H:%M:%S.%f} {event.kind}: {event.text}" for event in self.store.migrations.events(migration.id))

    def close(self) -> None:
        self.runtime.look = lambda: None
        for process in self.processes.values():
            process.kill()
        self.runtime.close()

    def _under_way(self) -> list[str]:
        if any(task.is_alive() for task in self.asking):
            return ["a request"]
        open_rows = [f"migration {each.id} {each.status}" for each in self.store.migrations.open()]
        return open_rows or [f"{name} is {state}" for name, server in self.servers.items() if (state := self._task_state(server))] or self._untidy()

    def _untidy(self) -> list[str]:
        rows = [each for server in self.servers.values() for each in self.store.migrations.of_server(server)]
        return [f"migration {each.id} leaves {each.files}" for each in rows if each.untidy]

    def _task_state(self, server: str) -> str | None:
        try:
            return self.store.servers.get(server).task_state
        except exceptions.ServerNotFound:  # a transient one that was killed
            return None

    def _judge_server(self, name: str, server: str) -> None:
        running = self.fleet.running_on(server)
        if server in self.killed:
            return
        shown = self.store.servers.get(server)
        if running != [shown.host] or shown.vm_state != "active":
            raise Violation(f"{name} runs on {running}, and is shown {shown.vm_state} on {shown.host}")
        copies = [copy.host.name for copy in self.fleet.copies(server) if copy.runs or copy.host.name not in self._forgotten(server)]
        if copies != running:
            raise Violation(f"{name} runs on {running}, and is left on {copies}")
        disks = [host.name for host in self.fleet.hosts.values() if name in LOCAL and host.file(LOCAL[name])]
        if name in LOCAL and not set(running) <= set(disks) <= {*running, *self._forgotten(server)}:
            raise Violation(f"{name} runs on {running}, and its disk is on {disks}")
        if name in LOCAL and (content := self.fleet.hosts[running[0]].file(LOCAL[name]).content) != self.contents[name]:  # type: ignore[union-attr]
            raise Violation(f"the disk of {name} was {self.contents[name]!r}, and is {content!r}")

    def _judge_what_is_others(self) -> None:
        """Files and pools of others are where they were."""
        for name, content in self.isos.items():
            file = self.fleet.hosts[name].file(ISO)
            if file is None or file.content != content:
                raise Violation(f"{ISO} was on {name}, and is not any more")
        for host in self.fleet.hosts.values():
            pool = host.pools.get(POOL[0])
            if pool is None or not (pool.active and pool.persistent and host.directory(POOL[1])):
                raise Violation(f"pool {POOL[0]} was active on {host.name}, and is not any more")
            if left := [name for name, pool in host.pools.items() if not pool.persistent]:
                raise Violation(f"{host.name} has pools of nobody: {left}")

    def _forgotten(self, server: str) -> set[str]:
        """Where a paused copy of it is left, and a migration says so: its source's daemon died right after the switch-over."""
        return {
            each.source for each in self.store.migrations.of_server(server) if each.status is Status.COMPLETED and "left a paused copy" in (each.reason or "")
        }

    def _judge_history(self, history: list[Any]) -> None:
        """A guest that nothing killed is where each migration says, and never was lost."""
        for before, after in itertools.pairwise(history):
            ended_on = before.destination if before.status is Status.COMPLETED else before.source
            if after.source != ended_on:
                raise Violation(f"migration {before.id} ended {before.status} on {ended_on}, migration {after.id} began on {after.source}")
        for last in history[-1:]:
            if (ended_on := last.destination if last.status is Status.COMPLETED else last.source) not in self.fleet.running_on(last.server_uuid):
                raise Violation(f"migration {last.id}, the last, ended {last.status} on {ended_on}, where its guest is not")
        for migration in history:
            if migration.reason and migration.reason.startswith("The guest was found on neither host"):
                raise Violation(f"migration {migration.id} lost a guest that lives")

    def _judge_log(self, migration: Any) -> None:
        events = self.store.migrations.events(migration.id)
        words = [event.text.partition(":")[0] for event in events if event.kind == "status"]
        statuses = [Status(word) for word in words]
        if not statuses or statuses[-1] is not migration.status:
            raise Violation(f"the event log of migration {migration.id} ends {words}, its row is {migration.status}")
        for before, after in itertools.pairwise(statuses):
            if after not in NEXT[before]:
                raise Violation(f"migration {migration.id} went from {before} to {after}")
        if migration.status is not Status.COMPLETED and not migration.reason:
            raise Violation(f"nothing says why migration {migration.id} ended {migration.status}")


@contextmanager
def world(seed: int) -> Iterator[World]:
    """A world that has begun. One at a time: all have the same database, one after the other."""
    made = World(seed)
    try:
        made.start()
        yield made
    finally:
        made.close()


def _moves(job: Job) -> bool:
    """Whether it still takes something of its hosts' network."""
    return job.phase in ("prepare", "copy") and job.error is None


@cache
def _policies() -> Policies:
    """A twentieth of a seed otherwise. When it looks for a file that there is not has no influence on anything."""
    return Policies(_conf(APIS[0], 0), ThreadRuntime())


@cache
def _conf(name: str, settings: int, rounds_s: int = 0) -> Any:
    return configured(Path("/nonexistent"), {**OPTIONS, **SETTINGS[settings], "host": name, "conductor__reconcile_interval": rounds_s}, None)
