"""The API's time for a request, through the whole PasteDeploy pipeline, in this process and on one core; then requests per second over HTTP.

Servers stand in the database as watchers would have written them; no conductor runs, so that nothing else works on the same core. A POST of
os-migrateLive at 2.34 is timed to its 202: the migration's row, the server MIGRATING, and the message to a conductor (an in-memory transport). The
last line is one JSON object.
"""

from __future__ import annotations

import http.client
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from oslo_config import cfg

from livemig import conf as configuration
from livemig import rpc
from livemig.api.loading import load_application
from livemig.api.request import Request, Services
from livemig.db import store as stores
from livemig.db.store import Store
from livemig.facts import Address, HostFacts, Presence, ServerFacts
from livemig.lab.service import free_port
from livemig.policies import Policies
from livemig.runtime import ThreadRuntime
from livemig.testing.fleet import guest_uuid
from tests.lab.deployment import postgresql

RUNTIME = ThreadRuntime()
HOSTS = 100
ROUNDS = 300
SECONDS = 5.0
ASYNCHRONOUS = {"OpenStack-API-Version": "compute 2.96"}
FACTS = HostFacts("host", "QEMU", 7002022, 9000000, 64, 262144, 131072)


def fill(store: Store, servers: int) -> list[str]:
    """Hosts, and running servers spread over them; the servers' uuids."""
    names = [f"host{number}" for number in range(HOSTS)]
    store.hosts.configure(dict.fromkeys(names, "192.0.2.1"))
    for name in names:
        store.hosts.came_up(name, FACTS)
        mine = [f"{name}-guest{number}" for number in range(servers // HOSTS)]
        store.servers.see(name, [facts(guest) for guest in mine], complete=True)
    return [guest_uuid(f"{name}-guest{number}") for name in names for number in range(servers // HOSTS)]


def facts(guest: str) -> ServerFacts:
    return ServerFacts(guest_uuid(guest), guest, Presence.RUNNING, 2048, 2, name=guest, addresses=(Address("default", "192.0.2.7", 4, "52:54:00:00:00:01"),))


def timed(application: Any, requests: Iterator[Callable[[], Request]], rounds: int, status: int) -> dict[str, float]:
    """Milliseconds of one request each: median and 95th percentile."""
    took = []
    for _ in range(rounds):
        request = next(requests)()
        began = RUNTIME.monotonic()
        response = request.get_response(application)
        took.append((RUNTIME.monotonic() - began) * 1000)
        assert response.status_int == status, response.text
    return {"median_ms": round(statistics.median(took), 2), "p95_ms": round(statistics.quantiles(took, n=20)[-1], 2)}


def forever(make: Callable[[int], Request]) -> Iterator[Callable[[], Request]]:
    number = 0
    while True:
        yield lambda number=number: make(number)  # type: ignore[misc]
        number += 1


def show(uuids: list[str]) -> Callable[[int], Request]:
    return lambda number: Request.blank(f"/v2.1/servers/{uuids[number * 37 % len(uuids)]}", headers=ASYNCHRONOUS)


def detail(_number: int) -> Request:
    return Request.blank("/v2.1/servers/detail?limit=100&all_tenants=1", headers=ASYNCHRONOUS)


def migrate(uuids: list[str]) -> Callable[[int], Request]:
    body = {"os-migrateLive": {"host": None, "block_migration": "auto"}}
    return lambda number: Request.blank(f"/v2.1/servers/{uuids[number]}/action", method="POST", json=body, headers=ASYNCHRONOUS)


def configured(directory: Path, connection: str) -> Any:
    """cfg.CONF: oslo.messaging reads options of its own from nowhere else."""
    conf = cfg.CONF
    conf.reset()
    configuration.register(conf)
    conf([], project="livemig", default_config_files=[], default_config_dirs=[])
    conf.set_override("state_path", str(directory))
    conf.set_override("connection", connection, group="database")
    return conf


def measure(connection: str, servers: int, directory: Path) -> dict[str, Any]:
    conf = configured(directory, connection)
    store = stores.from_conf(conf, RUNTIME)
    store.database.upgrade()
    uuids = fill(store, servers)
    transport = rpc.in_memory_transport(conf)
    client = rpc.ConductorClient(transport, 60, RUNTIME)
    application = load_application(Services(conf, store, client, RUNTIME, Policies(conf, RUNTIME), (), RUNTIME.now()))
    for make in (show(uuids), detail):  # once, uncounted: caches are filled and connections opened
        timed(application, forever(make), 20, 200)
    figures: dict[str, Any] = {
        "show": timed(application, forever(show(uuids)), ROUNDS, 200),
        "detail_100": timed(application, forever(detail), ROUNDS // 3, 200),
        "migrate": timed(application, forever(migrate(uuids)), ROUNDS, 202),
    }
    store.database.close()
    transport.cleanup()
    figures["requests_per_s"] = over_http(connection, uuids, directory)
    return figures


def over_http(connection: str, uuids: list[str], directory: Path) -> dict[str, float]:
    """GET /servers/{id} of livemig-api under waitress, by clients that keep their connections, on another core."""
    with served(connection, directory) as port:
        load(port, uuids, 1, 1.0)
        return {f"{clients}_client{'s' * (clients > 1)}": load(port, uuids, clients, SECONDS) for clients in (1, 8)}


@contextmanager
def served(connection: str, directory: Path) -> Iterator[int]:
    port = free_port()
    config = directory / "livemig.conf"
    config.write_text(
        f"[DEFAULT]\ntransport_url = kombu+memory://\nlog_file = {directory}/log\n[api]\nlisten_port = {port}\n[database]\nconnection = {connection}\n"
    )
    command = [str(Path(sys.executable).with_name("livemig-api")), "--config-file", str(config)]
    process = subprocess.Popen(["taskset", "-c", "0", *command], start_new_session=True)
    try:
        wait_for(port)
        yield port
    finally:
        process.terminate()
        process.wait(30)


def wait_for(port: int) -> None:
    deadline = RUNTIME.monotonic() + 30
    while True:
        try:
            http.client.HTTPConnection("127.0.0.1", port).request("GET", "/")
            return
        except OSError:
            assert RUNTIME.monotonic() < deadline, "livemig-api does not answer"
            RUNTIME.sleep(0.1)


def load(port: int, uuids: list[str], clients: int, seconds: float) -> float:
    """Requests per second of so many clients."""
    counts = [0] * clients
    until = RUNTIME.monotonic() + seconds

    def ask(client: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port)
        while RUNTIME.monotonic() < until:
            connection.request("GET", f"/v2.1/servers/{uuids[(counts[client] * 37 + client) % len(uuids)]}", headers=ASYNCHRONOUS)
            answer = connection.getresponse()
            answer.read()
            assert answer.status == 200
            counts[client] += 1

    threads = [threading.Thread(target=ask, args=(client,)) for client in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return round(sum(counts) / seconds, 1)


def main(servers: int) -> None:
    os.sched_setaffinity(0, {1} if len(os.sched_getaffinity(0)) > 1 else os.sched_getaffinity(0))
    figures: dict[str, Any] = {"servers": servers}
    with tempfile.TemporaryDirectory(prefix="livemig-bench-") as directory:
        figures["sqlite"] = measure(f"sqlite:///{directory}/livemig.sqlite", servers, Path(directory))
        report("SQLite", figures["sqlite"])
    with tempfile.TemporaryDirectory(prefix="livemig-bench-") as directory, postgresql() as connection:
        figures["postgresql"] = measure(connection, servers, Path(directory))
        report("PostgreSQL", figures["postgresql"])
    print(json.dumps(figures))


def report(name: str, figures: dict[str, Any]) -> None:
    for what in ("show", "detail_100", "migrate"):
        print(f"{name:10} {what:10} median {figures[what]['median_ms']:6.2f} ms, 95 % within {figures[what]['p95_ms']:6.2f} ms")
    print(f"{name:10} GET /servers/{{id}} over HTTP: {figures['requests_per_s']} requests a second")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10000)
