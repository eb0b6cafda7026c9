"""livemig on a cluster of RabbitMQ (three nodes, quorum queues) and of PostgreSQL (a primary and its synchronous standby), while their nodes die under it."""

from __future__ import annotations

import signal
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, cast

import pytest

from livemig.lab.guests import Guest
from livemig.lab.lab import Lab
from tests.faults.cluster import RUNTIME, Cluster, cluster
from tests.lab.clusters import brokers, databases, said

pytestmark = [pytest.mark.lab, pytest.mark.timeout(900)]

QUORUM = """[oslo_messaging_rabbit]
rabbit_quorum_queue = true
rabbit_transient_quorum_queue = true
heartbeat_timeout_threshold = 10
"""
SLOW = "[libvirt]\nlive_migration_link_bandwidth = 2\n"  # MiB/s
AGAIN_S = 90.0


@pytest.fixture(scope="module")
def service(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with cluster(lab, tmp_path_factory.mktemp("clusters"), 2, brokers, databases, QUORUM) as made:
        yield made


@pytest.fixture
def resident(lab: Lab, service: Cluster) -> Iterator[Guest]:
    """It stays on node1."""
    with seen(lab, service, "resident") as made:
        yield made


@pytest.fixture
def traveller(lab: Lab, service: Cluster) -> Iterator[Guest]:
    """It is on its way to node2, slowly."""
    with seen(lab, service, "traveller") as made:
        service.configure(SLOW)
        move(service, made)
        service.wait(lambda: server(service, made).get("progress"), 30, "memory to be sent", service.log)
        yield made


@contextmanager
def seen(lab: Lab, service: Cluster, name: str) -> Iterator[Guest]:
    """A new guest on node1 that the API shows."""
    made = lab.add_guest(name, "node1")
    try:
        service.wait(lambda: rests(service, made, "node1"), 60, f"{name} to be seen", service.log)
        yield made
    finally:
        made.remove()


def move(service: Cluster, guest: Guest) -> None:
    service.post(guest.uuid, {"os-migrateLive": {"host": "node2", "block_migration": "auto"}})


def server(service: Cluster, guest: Guest) -> Mapping[str, Any]:
    """What the API shows; {} while it does not answer."""
    return cast(Mapping[str, Any], service.get(f"/v2.1/servers/{guest.uuid}").get("server", {}))


def rests(service: Cluster, guest: Guest, host: str) -> bool:
    shown = server(service, guest)
    return (shown.get("status"), shown.get("OS-EXT-SRV-ATTR:host")) == ("ACTIVE", host)


def diagnosed(service: Cluster, guest: Guest) -> int:
    """The status of a request that only a conductor can answer: it takes a broker there and back."""
    try:
        with urllib.request.urlopen(f"{service.service.url}/v2.1/servers/{guest.uuid}/diagnostics", timeout=90) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as fault:
        return fault.code


def arrives(service: Cluster, guest: Guest) -> None:
    service.configure()
    service.wait(lambda: rests(service, guest, "node2"), 60, f"{guest.name} to arrive", service.log)
    assert guest.ticks().unbroken


def statuses_until_answered(service: Cluster, guest: Guest) -> list[int]:
    statuses: list[int] = []

    def answered() -> bool:
        statuses.append(diagnosed(service, guest))
        return statuses[-1] == 200

    service.wait(answered, AGAIN_S, "a conductor's answer", lambda: f"{statuses}\n{service.log()}")
    return statuses


def test_each_node_of_the_broker_dies_in_turn(service: Cluster, resident: Guest, traveller: Guest) -> None:
    assert diagnosed(service, resident) == 200
    assert service.broker.queues()["livemig-conductor"] == "quorum"
    for number, node in enumerate(service.broker.nodes, start=1):
        node.stop(signal.SIGKILL)
        died_at = RUNTIME.monotonic()
        statuses = statuses_until_answered(service, resident)
        print(f"without node {number}: a conductor's answer after {RUNTIME.monotonic() - died_at:.1f} s, {statuses}")
        assert set(statuses) <= {200, 503}
        node.start()
    arrives(service, traveller)


def test_the_primary_database_dies(service: Cluster, resident: Guest, traveller: Guest) -> None:
    """What was accepted right before is not lost: a synchronous standby has it."""
    assert said(service.database.primary, "SELECT sync_state FROM pg_stat_replication") == "sync"
    move(service, resident)
    service.database.fail_over()
    died_at = RUNTIME.monotonic()
    service.wait(lambda: server(service, traveller), AGAIN_S, "an answer", service.log)
    print(f"the standby as primary: an answer after {RUNTIME.monotonic() - died_at:.1f} s")
    for guest in (traveller, resident):
        arrives(service, guest)
