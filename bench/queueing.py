"""200 migrations, asked for at once over HTTP, on a simulated fleet of 20 hosts of which each sends and receives two at a time; real clock, real threads.

Every guest is the same, and its transfer takes the same time whatever else runs, so that the least possible time is known: what one migration takes by libvirt
alone, times the migrations of a host, by two. What is beyond that is livemig's: checks, queue, database, the looks at jobs, the verdicts.

- pairs: ten hosts with 20 guests each are emptied, each onto a host of its own. Only overhead can make it longer than the least possible time.
- round: each of 10 guests on each host goes to another host; every host sends 10 and receives 10, in an order that need cost nothing. But as some take
  a moment longer than others, places stay free at the end: whoever needs one waits for its other place.
- drain: ten disabled hosts with 20 guests each are emptied, host by host, and livemig chooses among the ten others.

The time counts from the first request to the last end. The last line is one JSON object.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import urllib.request
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from livemig.lab.service import Service
from livemig.runtime import ThreadRuntime
from livemig.testing import libvirt as mock
from livemig.testing.fleet import guest_uuid

RUNTIME = ThreadRuntime()
HOSTS = [f"host{number:02}" for number in range(20)]
MEMORY_MIB = 2048
LIMIT = 2
MORE = "[DEFAULT]\nmax_concurrent_live_migrations = {limit}\nmax_concurrent_incoming_live_migrations = {limit}\n"
MOCK = "[libvirt]\ndriver = mock\nlive_migration_bandwidth = {bandwidth}\n[mock]\nfleet = {fleet}\n"
HOST = "[host:{0}]\nconnection_uri = qemu+tcp://{0}/system\n"
HEADERS = {"Content-Type": "application/json", "OpenStack-API-Version": "compute 2.34"}  # the first version that answers before the checks

Wish = tuple[str, str | None]  # guest, destination


def fleet(guests: dict[str, str]) -> dict[str, Any]:
    """The fleet file: guests on hosts whose network is never what limits them."""
    hosts = [{"name": name, "memory_mib": 262144, "bandwidth_mib_s": 1_000_000.0} for name in HOSTS]
    return {"hosts": hosts, "guests": [{"name": name, "host": host, "memory_mib": MEMORY_MIB, "dirty_mib_s": 0} for name, host in guests.items()]}


def alone_s(bandwidth: int) -> float:
    """What libvirt's call takes for one such guest."""
    module = mock.load(fleet({"alone": HOSTS[0]}), RUNTIME)
    source = module.open(f"qemu+tcp://{HOSTS[0]}/system")
    flags = module.VIR_MIGRATE_LIVE | module.VIR_MIGRATE_PEER2PEER | module.VIR_MIGRATE_PERSIST_DEST | module.VIR_MIGRATE_UNDEFINE_SOURCE
    domain = source.lookupByUUIDString(guest_uuid("alone"))
    began = RUNTIME.monotonic()
    domain.migrateToURI3(f"qemu+tcp://{HOSTS[1]}/system", {module.VIR_MIGRATE_PARAM_BANDWIDTH: bandwidth}, flags)
    seconds = RUNTIME.monotonic() - began
    source.close()
    return seconds


def serve(directory: Path, guests: dict[str, str], bandwidth: int) -> Service:
    (directory / "fleet.yaml").write_text(json.dumps(fleet(guests)))  # JSON is YAML
    hosts = f"enabled_hosts = {','.join(HOSTS)}\n" + "".join(map(HOST.format, HOSTS))
    more = MORE.format(limit=LIMIT) + MOCK.format(bandwidth=bandwidth, fleet=directory / "fleet.yaml")
    service = Service(directory, hosts, RUNTIME, more)
    service.start()
    service.wait(lambda: len(service.get("/v2.1/servers?limit=1000")["servers"]) == len(guests), 60, "all guests to be seen")
    return service


def put(service: Service, path: str, body: dict[str, Any], method: str = "POST", headers: dict[str, str] = HEADERS) -> None:
    request = urllib.request.Request(service.url + path, json.dumps(body).encode(), headers, method=method)
    with urllib.request.urlopen(request, timeout=60) as answer:
        answer.read()


def disable(service: Service, hosts: Sequence[str]) -> None:
    for host in hosts:
        put(service, "/v2.1/os-services/disable", {"host": host, "binary": "nova-compute"}, "PUT", {"Content-Type": "application/json"})


def play(service: Service, wishes: Sequence[Wish], alone: float, seconds: float) -> dict[str, Any]:
    """Ask for all of it, wait for the end of it."""
    began = RUNTIME.monotonic()
    for guest, host in wishes:
        put(service, f"/v2.1/servers/{guest_uuid(guest)}/action", {"os-migrateLive": {"host": host, "block_migration": "auto"}})
    asked = RUNTIME.monotonic() - began
    open_ones = "/v2.1/servers?status=MIGRATING&limit=1"
    service.wait(lambda: not service.get(open_ones)["servers"], 20 * seconds + 60, "the end of all migrations", 0.5)
    took = RUNTIME.monotonic() - began
    rows = service.get("/v2.1/os-migrations?limit=1000")["migrations"]
    assert [row["status"] for row in rows] == ["completed"] * len(wishes), {row["status"] for row in rows}
    busiest = max(max(sum(row[end] == host for row in rows) for host in HOSTS) for end in ("source_compute", "dest_compute"))
    sent = max(sum(row["source_compute"] == host for row in rows) for host in HOSTS)
    least = alone * -(-max(sent, len(wishes) / len({row["dest_compute"] for row in rows})) // LIMIT)
    return {
        "migrations": len(rows),
        "asked_s": round(asked, 2),
        "took_s": round(took, 2),
        "least_s": round(least, 2),
        "ratio": round(took / least, 3),
        "busiest_host": busiest,
        "migration_median_s": round(statistics.median(map(lasted_s, rows)), 3),
    }


def lasted_s(row: dict[str, Any]) -> float:
    began, ended = (datetime.fromisoformat(row[name]) for name in ("created_at", "updated_at"))
    return (ended - began).total_seconds()


def scene(guests: dict[str, str], wishes: Sequence[Wish], emptied: Sequence[str], seconds: float) -> dict[str, Any]:
    bandwidth = round(MEMORY_MIB / seconds)
    alone = alone_s(bandwidth)
    with tempfile.TemporaryDirectory(prefix="livemig-bench-") as directory:
        service = serve(Path(directory), guests, bandwidth)
        try:
            disable(service, emptied)
            figures = {"alone_s": round(alone, 3), **play(service, wishes, alone, seconds), "rss_mib": round(service.rss_mib(), 1)}
        finally:
            service.stop()
    return figures


def main(name: str, seconds: float) -> None:
    guests = {f"{host}-{number}": host for number in range(10) for host in HOSTS}
    around: list[Wish] = [(guest, HOSTS[(HOSTS.index(host) + int(guest.rpartition("-")[2]) + 1) % len(HOSTS)]) for guest, host in guests.items()]
    full, empty = HOSTS[:10], {f"{host}-{number}": host for host in HOSTS[:10] for number in range(20)}
    drained: list[Wish] = [(guest, None) for guest in empty]
    paired: list[Wish] = [(f"{full[host]}-{number}", HOSTS[10 + host]) for number in range(20) for host in range(10)]
    scenes = {"pairs": (empty, paired, []), "round": (guests, around, []), "drain": (empty, drained, full)}
    print(json.dumps({"scene": name, **scene(*scenes[name], seconds)}))


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "pairs", float(sys.argv[2]) if len(sys.argv) > 2 else 20.0)
