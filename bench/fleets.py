"""1,000 hosts with 100 servers each beside 10 hosts with 100 each, and two conductors beside one, on simulated hosts. The last line is one JSON object.

- memory: a conductor watches all hosts of each fleet, in a process of its own; what it takes is its resident memory less what the simulated fleet alone
  takes in another process. Its database is what `cost` works on.
- cost: the API's requests, through the whole PasteDeploy pipeline, one by one and in turn on the small database and on the large one, so that whatever else
  the machine does strikes both alike. Given are medians of CPU time of this process (SQLite works within it), and their ratio. At 2.34 a POST of
  os-migrateLive is timed to its 202; at 2.33 a conductor checks source and destination before the answer, and its work counts in full. With no host named
  it weighs every host there is: that grows with the fleet, and is given apart.
- carry: migrations that run as long as is wanted, on PostgreSQL and RabbitMQ. How many one conductor carries is limited by its one core of Python: as many
  as run, divided by the share of a core that following them takes. Two conductors run twice as many; each has a core of its own to spend, so what both carry
  is the sum of theirs. That no progress is late is looked for in the rows meanwhile. Every process has a simulated fleet of its own, whose work counts as
  the conductor's.
"""

from __future__ import annotations

import gc
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from oslo_config import cfg
from sqlalchemy import func, select

from livemig import conf as configuration
from livemig import context, rpc
from livemig.api.loading import load_application
from livemig.api.request import Request, Services
from livemig.conductor.service import Conductor
from livemig.conf.options import HOST_OPTS
from livemig.db import models
from livemig.db import store as stores
from livemig.db.selection import Selection
from livemig.db.store import Store
from livemig.policies import Policies
from livemig.rpc import ConductorClient, ConductorServer
from livemig.runtime import ThreadRuntime
from livemig.states import Status
from livemig.testing.fleet import Fleet, guest_uuid
from tests.lab.deployment import postgresql, rabbitmq

RUNTIME = ThreadRuntime()
SMALL, LARGE, GUESTS = 10, 1000, 100
ROUNDS = 60
CARRIED = 60  # migrations of one conductor
LOOK_S = 20.0
MIB = 2**20


def names(hosts: int) -> list[str]:
    return [f"host{number}" for number in range(hosts)]


def guest(host: str, number: int) -> str:
    return f"{host}-guest{number}"


def made(hosts: int, guests: int, memory_mib: int = 2048, **facts: Any) -> Fleet:
    fleet = Fleet(RUNTIME)
    for host in names(hosts):
        fleet.add_host(host, memory_mib=1048576, **facts)
        for number in range(guests):
            fleet.add_guest(guest(host, number), host, memory_mib=memory_mib, dirty_mib_s=1)
    return fleet


def configured(connection: str, hosts: int, **options: Any) -> Any:
    """oslo.messaging reads some options from cfg.CONF alone, so it is always that one."""
    conf = cfg.CONF
    conf.reset()
    configuration.register(conf)
    conf([], project="livemig", default_config_files=[], default_config_dirs=[])
    rpc.transport(conf).cleanup()  # which registers the options of oslo.messaging
    for name, value in {"enabled_hosts": names(hosts), **options}.items():
        group, _, option = name.rpartition("__")
        conf.set_override(option, value, group=group or None)
    conf.set_override("connection", connection, group="database")
    for host in names(hosts):
        conf.register_opts(HOST_OPTS, group=f"host:{host}")
        conf.set_override("connection_uri", f"qemu+tcp://{host}/system", group=f"host:{host}")
    return conf


def resident_mib() -> float:
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / MIB


def part(*words: object) -> Any:
    """What this file says in a process of its own."""
    command = [sys.executable, __file__, *map(str, words)]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()[-1])


# Memory


def fleet_alone(hosts: int) -> dict[str, float]:
    before = resident_mib()
    fleet = made(hosts, GUESTS)
    return {"fleet_mib": round(resident_mib() - before, 1), "hosts": len(fleet.hosts)}


def watch(connection: str, hosts: int) -> dict[str, float]:
    """A conductor that has seen every guest, and looked at every host once more."""
    conf = configured(connection, hosts, host="watcher")
    store = stores.from_conf(conf, RUNTIME)
    store.database.upgrade()
    conductor = Conductor(conf, store, made(hosts, GUESTS).libvirt(), RUNTIME)
    began = RUNTIME.monotonic()
    conductor.start()
    wait(lambda: store.servers.count() == hosts * GUESTS, 1800)
    took = RUNTIME.monotonic() - began
    conductor.inventory.wait_settled(600)
    busy = time.process_time()
    RUNTIME.sleep(70)  # every host is looked at once a minute
    busy = (time.process_time() - busy) / 70
    figures = {"resident_mib": round(resident_mib(), 1), "peak_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1)}
    conductor.stop()
    return figures | {"seen_after_s": round(took, 1), "cores_at_rest": round(busy, 3)}


def wait(what: Callable[[], object], seconds: float, said: Callable[[], object] = lambda: "it did not come about in time") -> None:
    deadline = RUNTIME.monotonic() + seconds
    while not what():
        assert RUNTIME.monotonic() < deadline, said()
        RUNTIME.sleep(0.5)


def memory(connections: Mapping[int, str]) -> dict[str, Any]:
    figures: dict[str, Any] = {}
    for hosts, connection in connections.items():
        fleet, whole = part("fleet-alone", hosts)["fleet_mib"], part("watch", connection, hosts)
        figures[str(hosts)] = {**whole, "fleet_mib": fleet, "conductor_mib": round(whole["resident_mib"] - fleet, 1)}
        print(f"{hosts:5} hosts: a conductor takes {figures[str(hosts)]['conductor_mib']} MiB, beside {fleet} MiB of the simulated fleet; {whole}")
    return figures


# Cost


class Direct:
    """In place of RPC: the conductor works in this process, so that its time counts."""

    def __init__(self, conductor: Conductor) -> None:
        self._conductor = conductor

    def live_migrate(self, _context: context.RequestContext, migration_id: int) -> None:
        self._conductor.engine.accept(migration_id)

    def wake(self, _context: context.RequestContext, migration_id: int) -> None:
        """Nothing is carried out."""


class Site:
    """API and conductor on a database that a conductor has filled before. Its migrations are queued, and wait: there is one place in all, which is taken."""

    def __init__(self, connection: str, hosts: int) -> None:
        self.hosts = hosts
        conf = configured(connection, hosts, host="bench", max_total_live_migrations=1)
        self.store = stores.from_conf(conf, RUNTIME)
        self.fleet = made(hosts, GUESTS, bandwidth_mib_s=0.001)
        self.conductor = Conductor(conf, self.store, self.fleet.libvirt(), RUNTIME)
        self.store.watches.balance("other:1", 86400, names(hosts), lambda holders, _away: (holders, ()))  # who looks at the hosts meanwhile
        self.conductor.start()
        self.conductor.inventory.wait_settled(600)
        services = Services(conf, self.store, Direct(self.conductor), RUNTIME, Policies(conf, RUNTIME), (), RUNTIME.now())  # type: ignore[arg-type]
        self.application = load_application(services)
        self.asked = 0

    def close(self) -> None:
        self.conductor.stop()
        self.store.database.close()

    def next(self) -> str:
        """A server that nobody has asked for."""
        self.asked += 1
        return guest_uuid(guest(f"host{self.asked % self.hosts}", self.asked // self.hosts))

    def cpu_ms(self, request: Request, status: int) -> float:
        gc.disable()
        began = time.process_time()
        response = request.get_response(self.application)
        took = (time.process_time() - began) * 1000
        gc.enable()
        assert response.status_int == status, response.text
        return took


def get(path: str) -> Callable[[Site], Request]:
    return lambda site: Request.blank(path.format(server=site.next()), headers={"OpenStack-API-Version": "compute 2.96"})


def post(version: str, named: bool) -> Callable[[Site], Request]:
    def make(site: Site) -> Request:
        server = site.next()
        host = f"host{(site.asked + 1) % site.hosts}" if named else None
        body = {"os-migrateLive": {"host": host, "block_migration": "auto"}}
        return Request.blank(f"/v2.1/servers/{server}/action", method="POST", json=body, headers={"OpenStack-API-Version": f"compute {version}"})

    return make


REQUESTS: dict[str, tuple[Callable[[Site], Request], int]] = {
    "GET /servers/{id}": (get("/v2.1/servers/{server}"), 200),
    "GET /servers/detail?limit=100": (get("/v2.1/servers/detail?limit=100&all_tenants=1"), 200),
    "POST os-migrateLive at 2.34": (post("2.34", True), 202),
    "POST os-migrateLive at 2.33": (post("2.33", True), 202),
    "POST os-migrateLive at 2.33, no host named": (post("2.33", False), 202),
}


def cost(connections: Mapping[int, str]) -> dict[str, Any]:
    sites = [Site(connection, hosts) for hosts, connection in connections.items()]
    figures = {}
    for name, (make, status) in REQUESTS.items():
        taken: list[list[float]] = [[], []]
        for number in range(ROUNDS + 5):
            for site, took in zip(sites, taken, strict=True):
                spent = site.cpu_ms(make(site), status)
                if number >= 5:  # caches are filled
                    took.append(spent)
        small, large = map(statistics.median, taken)
        figures[name] = {"small_ms": round(small, 2), "large_ms": round(large, 2), "ratio": round(large / small, 3)}
        print(f"{name:45} {small:7.2f} ms of CPU with {SMALL} hosts, {large:7.2f} ms with {LARGE}: ratio {large / small:.2f}")
    for site in sites:
        site.close()
    return figures


# What conductors carry


def conduct(connection: str, transport_url: str, name: str, hosts: int) -> None:
    """A conductor alone, until its standard input ends."""
    more = {
        "conductor__lease_time": 60,
        "database__max_overflow": 30,
    }  # PostgreSQL has 100 connections
    conf = configured(connection, hosts, host=name, transport_url=transport_url, max_concurrent_live_migrations=0, **more)
    store = stores.from_conf(conf, RUNTIME)
    conductor = Conductor(conf, store, made(hosts, 1, 65536, bandwidth_mib_s=30.0).libvirt(), RUNTIME)
    server = ConductorServer(rpc.transport(conf), conf.host, conductor.answers)
    conductor.start()
    server.start()
    sys.stdin.read()
    conductor.stop()
    os._exit(0)  # the broker's threads need not be waited for


@contextmanager
def conductors(connection: str, transport_url: str, count: int, hosts: int) -> Iterator[Sequence[subprocess.Popen[bytes]]]:
    command = [sys.executable, __file__, "conduct", connection, transport_url]
    processes = [subprocess.Popen([*command, f"c{number}", str(hosts)], stdin=subprocess.PIPE) for number in range(count)]
    try:
        yield processes
    finally:
        for process in processes:
            assert process.stdin is not None
            process.stdin.close()
        for process in processes:
            process.wait(30)


def cpu_s(process: subprocess.Popen[bytes]) -> float:
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def carried(count: int) -> dict[str, Any]:
    """So many conductors with CARRIED migrations each."""
    hosts = count * CARRIED
    with ExitStack() as stack:
        connection, transport_url = stack.enter_context(postgresql()), stack.enter_context(rabbitmq())
        conf = configured(connection, hosts, transport_url=transport_url)
        store = stores.from_conf(conf, RUNTIME)
        stack.callback(store.database.close)
        store.database.upgrade()
        transport = rpc.transport(conf)
        stack.callback(transport.cleanup)
        processes = stack.enter_context(conductors(connection, transport_url, count, hosts))
        wait(lambda: store.servers.count() == hosts, 300)
        services = Services(conf, store, ConductorClient(transport, 60, RUNTIME), RUNTIME, Policies(conf, RUNTIME), (), RUNTIME.now())
        application = load_application(services)
        for number in range(hosts):
            body = {"os-migrateLive": {"host": f"host{(number + 1) % hosts}", "block_migration": "auto"}}
            path, headers = f"/v2.1/servers/{guest_uuid(guest(f'host{number}', 0))}/action", {"OpenStack-API-Version": "compute 2.34"}
            assert Request.blank(path, method="POST", json=body, headers=headers).get_response(application).status_int == 202
        wait(lambda: running(store) == hosts, 300, lambda: [(each.status, each.reason) for each in store.migrations.find(Selection())])
        return look(store, processes)


def running(store: Store) -> int:
    return sum(each.status is Status.RUNNING for each in store.migrations.open())


def look(store: Store, processes: Sequence[subprocess.Popen[bytes]]) -> dict[str, Any]:
    RUNTIME.sleep(10)
    before, began, oldest = list(map(cpu_s, processes)), RUNTIME.monotonic(), 0.0
    while (took := RUNTIME.monotonic() - began) < LOOK_S:
        oldest = max(oldest, age_s(store))
        RUNTIME.sleep(1)
    cores = [(after - former) / took for after, former in zip(map(cpu_s, processes), before, strict=True)]
    owners = shares(store)
    each = [{"migrations": owners[place], "cores": round(used, 3), "carries_per_core": round(owners[place] / used)} for place, used in enumerate(cores)]
    return {"conductors": each, "oldest_progress_s": round(oldest, 2), "carries": sum(one["carries_per_core"] for one in each)}


def age_s(store: Store) -> float:
    """How old the progress is that was written longest ago."""
    with store.database.read() as session:
        oldest = session.scalar(select(func.min(models.Migration.updated_at)).where(models.Migration.status == Status.RUNNING.value))
    return 0.0 if oldest is None else float((RUNTIME.now() - oldest).total_seconds())


def shares(store: Store) -> list[int]:
    """How many migrations each conductor has, by their names."""
    owner = models.Migration.lease_owner
    with store.database.read() as session:
        return [count for _owner, count in session.execute(select(owner, func.count()).where(owner.is_not(None)).group_by(owner).order_by(owner))]


def carry() -> dict[str, Any]:
    figures: dict[str, Any] = {}
    for count in (1, 2):
        figures[str(count)] = carried(count)
        print(f"{count} conductor{'s' * (count > 1)}: {figures[str(count)]}")
    figures["ratio"] = round(figures["2"]["carries"] / figures["1"]["carries"], 2)
    print(f"two carry {figures['ratio']} times what one carries")
    return figures


def main(what: Sequence[str]) -> None:
    figures: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="livemig-bench-") as directory:
        connections = {hosts: f"sqlite:///{directory}/{hosts}.sqlite" for hosts in (SMALL, LARGE)}
        if {"memory", "cost"} & set(what):
            figures["memory"] = memory(connections)
        if "cost" in what:
            figures["cost"] = cost(connections)
    if "carry" in what:
        figures["carry"] = carry()
    print(json.dumps(figures))


PARTS: dict[str, Callable[..., Any]] = {
    "fleet-alone": lambda hosts: print(json.dumps(fleet_alone(int(hosts)))),
    "watch": lambda connection, hosts: print(json.dumps(watch(connection, int(hosts)))),
    "conduct": lambda connection, transport_url, name, hosts: conduct(connection, transport_url, name, int(hosts)),
}

if __name__ == "__main__":
    if len(sys.argv) > 1 and sys.argv[1] in PARTS:
        PARTS[sys.argv[1]](*sys.argv[2:])
    else:
        main(sys.argv[1:] or ["memory", "cost", "carry"])
