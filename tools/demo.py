"""What tools/demo shows: one request, the migration it causes, and a judgement of both."""

from __future__ import annotations

import http
import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from livemig.db.engine import Database
from livemig.db.store import Store
from livemig.lab.lab import Lab
from livemig.lab.service import Service
from livemig.lab.shell import LabError
from livemig.records import Migration
from livemig.runtime import Runtime, ThreadRuntime
from livemig.states import Status
from tests.clients.environments import environment, version

LAB = Path("/var/tmp/livemig-demo")
LINK_MBIT = 200  # so slow that the eye can follow
COLUMNS = 79  # of the bar: in the last column of a narrow terminal some begin a new line
BAR = 16
FLEET = """
hosts:
  - {name: node1, bandwidth_mib_s: 400}
  - {name: node2, bandwidth_mib_s: 400}
guests:
  - {name: demo, host: node1, memory_mib: 2048, dirty_mib_s: 20, working_set_mib: 64}
"""
MORE = """
[conductor]
monitor_interval = 0.2
progress_interval = 0.2
"""


@dataclass
class Scene:
    """What is on the stage: the configuration of the hosts, and the guest's judge (None on the mock)."""

    config: str
    guest: Any = None


def main(arguments: list[str]) -> int:
    """Exit status: 0 when the guest moved and went on unbroken, 1 when not."""
    mock, keep = "--mock" in arguments, "--keep" in arguments
    runtime = ThreadRuntime()
    with ExitStack() as stack:
        print("1. The stage")
        state = Path(tempfile.mkdtemp(prefix="livemig-demo-"))
        stack.callback(shutil.rmtree, state, ignore_errors=True)
        openstack = None if mock else stack.enter_context(ThreadPoolExecutor()).submit(environment, "osc")  # meanwhile: it takes as long as the guest to boot
        scene = stack.enter_context(simulated(state) if mock else real(runtime))
        client = stack.enter_context(service(state, scene, runtime))
        server = wait_for_server(client)
        print(f"   server {server['id']} ({server['name']}, {server['flavor']['ram']} MiB) is {server['status']} on {server['OS-EXT-SRV-ATTR:host']}")
        if openstack:
            if not openstack.done():
                print("   OpenStack's client is still being installed", flush=True)
            print(f"   OpenStack's client {version('osc', 'python-openstackclient')} is in {openstack.result().relative_to(Path.cwd())}")
        good = play(client, scene, state, server, runtime)
        if scene.guest:
            good = encore(client, scene, state, server, runtime) and good
        if keep:
            keep_it(client, scene, server)
            sys.stdout.flush()
            os._exit(0 if good else 1)  # without leaving the contexts, which would take everything down
        print("\nCleaning up.")
    return 0 if good else 1


def play(client: Service, scene: Scene, state: Path, server: dict[str, Any], runtime: Runtime) -> bool:
    """The request, the progress, the summary. True when all is well."""
    source = server["OS-EXT-SRV-ATTR:host"]
    print("\n2. The request")
    asked_at = runtime.monotonic()
    with scene.guest.watch() if scene.guest else nullcontext() as watch:
        post(client, server["id"], "node2")
        print("\n3. The migration")
        migration = follow(client, Store(Database(f"sqlite:///{state}/livemig.sqlite"), runtime), server["id"], runtime)
        seconds = runtime.monotonic() - asked_at
        runtime.sleep(1)
    print("\n4. What became of it")
    return judge(client, migration, source, seconds, scene.guest, watch)


def encore(client: Service, scene: Scene, state: Path, server: dict[str, Any], runtime: Runtime) -> bool:
    """The way back, by the unmodified client of OpenStack's operators. True when all is well."""
    print("\n5. Back again, by OpenStack's own client")
    program = environment("osc") / "openstack"
    settings = {"OS_AUTH_TYPE": "none", "OS_ENDPOINT": f"{client.url}/v2.1", "OS_IDENTITY_API_VERSION": "3"}
    source, home = (client.show(server["id"])["OS-EXT-SRV-ATTR:host"], server["OS-EXT-SRV-ATTR:host"])
    words = ["openstack", "server", "migrate", "--live-migration", "--host", home, "--wait", "demo"]
    print("".join(f"   $ export {name}={value}\n" for name, value in settings.items()) + f"   $ {shlex.join(words)}")
    with scene.guest.watch() as watch:
        asked_at = runtime.monotonic()
        clean = {name: value for name, value in os.environ.items() if not name.startswith("OS_") and name != "PYTHONPATH"}
        done = subprocess.run([str(program), *words[1:]], env=clean | settings, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        seconds = runtime.monotonic() - asked_at
        runtime.sleep(1)
    print("".join(f"   {line}\n" for line in done.stdout.replace("\r", "\n").splitlines() if line.strip()), end="")
    print(f"   exit status {done.returncode}\n")
    migration = Store(Database(f"sqlite:///{state}/livemig.sqlite"), runtime).migrations.of_server(server["id"])[0]
    return judge(client, migration, source, seconds, scene.guest, watch) and done.returncode == 0


def follow(client: Service, store: Store, server: str, runtime: Runtime) -> Migration:
    """A bar until the API no longer says MIGRATING: in place on a terminal, else a line whenever something changed."""
    terminal = sys.stdout.isatty()
    last: tuple[float, int] | None = None
    rate, line = 0.0, ""
    while True:
        shown = client.get(f"/v2.1/servers/{server}")["server"]
        migration = store.migrations.of_server(server)[0]
        now, sent = runtime.monotonic(), migration.memory_processed_bytes or 0
        if last and sent > last[1]:
            rate = (sent - last[1]) / (now - last[0])
        if last is None or sent > last[1]:
            last = (now, sent)
        over = shown["status"] != "MIGRATING"
        seen = [event.text for event in store.migrations.events(migration.id) if event.kind in ("source", "destination")]
        phase = seen[-1] if seen and not over else migration.status.value
        before, line = line, bar(100 if over else shown["progress"], sent, migration.memory_total_bytes or 0, rate, phase)
        if terminal:
            print(f"\r{line:<{COLUMNS}}", end="\n" if over else "", flush=True)
        elif line != before:
            print(line, flush=True)
        if over:
            return store.migrations.of_server(server)[0]
        runtime.sleep(0.1 if terminal else 0.5)


def bar(percent: int, sent: int, total: int, rate: float, phase: str) -> str:
    """One line of at most COLUMNS columns. Sizes are in bytes, `rate` in bytes a second."""
    full = percent * BAR // 100
    numbers = f"{percent:3d} %  {sent / 1024**2:4.0f} of {total / 1024**2:4.0f} MiB {rate / 1024**2:4.0f} MiB/s"
    line = f"   [{'#' * full}{'.' * (BAR - full)}] {numbers}  {phase}".rstrip()
    return line if len(line) <= COLUMNS else f"{line[: COLUMNS - 1]}…"


def judge(client: Service, migration: Migration, source: str, seconds: float, guest: Any, watch: Any) -> bool:
    """Print what was measured; True when every line is as it should be."""
    shown = client.get(f"/v2.1/servers/{migration.server_uuid}")["server"]
    lines: list[tuple[str, str, bool]] = [
        ("status", migration.status.value, migration.status is Status.COMPLETED),
        ("source", source, True),
        ("destination, says the API", shown["OS-EXT-SRV-ATTR:host"], shown["OS-EXT-SRV-ATTR:host"] == migration.destination != source),
        ("from the request to the end", f"{seconds:.2f} s", True),
        ("downtime, says libvirt", f"{migration.downtime_ms} ms", migration.downtime_ms is not None),
    ]
    if guest is None:
        lines.append(("guest", "simulated: it prints no ticks to judge", True))
    else:
        ticks, where = guest.ticks(), guest.where()
        lines += [
            ("host, says libvirt", where.name if where else "none", where is not None and where.name == migration.destination),
            ("ticks of the guest", f"{ticks.count}, ten a second", ticks.count > 0),
            ("longest gap between two, on its clock", f"{ticks.longest_gap_s:.2f} s", True),
            ("longest gap between two, on ours", f"{watch.longest_gap_s:.2f} s", True),
            ("ticks missing", ", ".join(map(str, ticks.missing)) or "none", not ticks.missing),
            ("ticks doubled", ", ".join(map(str, ticks.doubled)) or "none", not ticks.doubled),
            ("otherwise unbroken", "yes" if ticks.unbroken else "no", ticks.unbroken),
        ]
    for name, value, good in lines:
        print(f"   {name + ':':40} {value}{'' if good else '   <- NOT AS IT SHOULD BE'}")
    return all(good for _name, _value, good in lines)


@contextmanager
def real(runtime: Runtime) -> Iterator[Scene]:
    """Two libvirt hosts with a ticking guest."""
    lab = Lab(LAB, runtime)
    lab.down() if LAB.exists() else None  # left by a demo that was killed, or kept
    try:
        lab.up(2)
        for host in lab.hosts:
            host.slow(LINK_MBIT)
            print(f"   libvirt host {host.name} at {host.uri}, its link at {LINK_MBIT} Mbit/s")
        guest = lab.add_guest("demo", "node1")
        print("   guest demo ticks ten times a second")
    except LabError:
        lab.down()
        raise
    try:
        yield Scene(lab.config(), guest)
    finally:
        lab.down()


@contextmanager
def simulated(state: Path) -> Iterator[Scene]:
    """Two hosts of the mock."""
    (state / "fleet.yaml").write_text(FLEET)
    hosts = "".join(f"\n[host:{name}]\nconnection_uri = qemu+tcp://{name}/system\n" for name in ("node1", "node2"))
    print("   two simulated hosts, node1 and node2")
    yield Scene(f"enabled_hosts = node1,node2\n{hosts}\n[libvirt]\ndriver = mock\n[mock]\nfleet = {state}/fleet.yaml\n")


@contextmanager
def service(state: Path, scene: Scene, runtime: Runtime) -> Iterator[Service]:
    """livemig-all, running."""
    service = Service(state, scene.config, runtime, MORE)
    try:
        service.start()
        print(f"   livemig-all at {service.url}, process {service.pid}")
        yield service
    finally:
        service.stop()


def post(client: Service, server: str, host: str) -> None:
    """Send the request, showing it and the answer."""
    asked = {"os-migrateLive": {"host": host, "block_migration": False, "disk_over_commit": False}}
    print(f"  > POST /v2.1/servers/{server}/action\n  > Content-Type: application/json\n  >\n  > {json.dumps(asked)}")
    status, headers, body = client.live_migrate(server, host)
    print(f"  < HTTP/1.1 {status} {http.HTTPStatus(status).phrase}")
    for name in ("Openstack-Api-Version", "X-Openstack-Request-Id", "Content-Length"):
        print(f"  < {name}: {headers[name]}")
    print(f"  <\n  < {body.decode()}" if body else "  <")


def wait_for_server(client: Service) -> dict[str, Any]:
    """The one server, once the inventory shows it."""

    def servers() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = client.get("/v2.1/servers/detail")["servers"]
        return found

    client.wait(lambda: [server["status"] for server in servers()] == ["ACTIVE"], 20, "the inventory to show the guest")
    return servers()[0]


def keep_it(client: Service, scene: Scene, server: dict[str, Any]) -> None:
    body = '{"os-migrateLive": {"host": null, "block_migration": false, "disk_over_commit": false}}'
    print(f"""
It keeps running. Try:

  curl {client.url}/v2.1/servers/detail
  curl -i -H 'Content-Type: application/json' -d '{body}' \\
       {client.url}/v2.1/servers/{server["id"]}/action
""")
    lab = f".venv/bin/livemig-lab --dir {LAB}"
    if scene.guest:
        print(f"  {lab} status\n  {lab} guest ticks demo\n")
    print(f"To end it:\n\n  kill {client.pid}; rm -r {client.directory}")
    if scene.guest:
        print(f"  {lab} down")


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
