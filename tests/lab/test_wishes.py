"""Abort and force complete by requests, on real libvirt hosts with real guests."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence

import pytest

from livemig.conductor.knobs import NEED_NOT_BE_PAUSED
from livemig.db.engine import Database
from livemig.db.store import Store
from livemig.lab.guests import Guest
from livemig.lab.lab import Lab
from livemig.lab.service import Service
from livemig.records import Migration, MigrationEvent
from livemig.runtime import ThreadRuntime
from livemig.states import Status

pytestmark = [pytest.mark.lab, pytest.mark.timeout(900)]

RUNTIME = ThreadRuntime()


@pytest.fixture(scope="module")
def service(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    service = Service(tmp_path_factory.mktemp("service"), lab.config(), RUNTIME)
    service.start()
    yield service
    service.stop()


@pytest.fixture
def guest(lab: Lab, service: Service) -> Iterator[Guest]:
    """A guest on node1, from which a migration takes a while."""
    guest = lab.add_guest("wishes", "node1")
    service.wait_seen(guest.uuid, ("ACTIVE", "node1"))
    lab.host("node1").slow(60)
    yield guest
    for host in lab.hosts:
        host.start_daemon()
        host.heal()
    guest.remove()


def ask(service: Service, method: str, path: str, body: object = None) -> int:
    """The status of an answer, at the newest microversion."""
    headers = {"OpenStack-API-Version": "compute latest", "Content-Type": "application/json"}
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"{service.url}/v2.1/servers/{path}", data, headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as fault:
        return fault.code


def begin(service: Service, guest: Guest) -> int:
    """The number of a migration that was accepted at once."""
    assert ask(service, "POST", f"{guest.uuid}/action", {"os-migrateLive": {"host": "node2", "block_migration": "auto"}}) == 202
    return last(service, guest).id


def under_way(service: Service, guest: Guest) -> int:
    number = begin(service, guest)
    service.wait(lambda: service.show(guest.uuid)["progress"] > 0, 60, "progress")
    return number


def abort(service: Service, guest: Guest, number: int) -> int:
    return ask(service, "DELETE", f"{guest.uuid}/migrations/{number}")


def force(service: Service, guest: Guest, number: int) -> int:
    return ask(service, "POST", f"{guest.uuid}/migrations/{number}/action", {"force_complete": None})


def last(service: Service, guest: Guest) -> Migration:
    store = Store(Database(f"sqlite:///{service.directory}/livemig.sqlite"), RUNTIME)
    migration = store.migrations.of_server(guest.uuid)[0]
    store.database.close()
    return migration


def events(service: Service, guest: Guest) -> Sequence[MigrationEvent]:
    store = Store(Database(f"sqlite:///{service.directory}/livemig.sqlite"), RUNTIME)
    try:
        return store.migrations.events(last(service, guest).id)
    finally:
        store.database.close()


def story(service: Service, guest: Guest) -> str:
    return "\n".join(f"{event.at} {event.kind}: {event.text}" for event in events(service, guest))


def kinds(service: Service, guest: Guest) -> set[str]:
    return {event.kind for event in events(service, guest)}


def test_an_abort_leaves_the_guest_running_where_it_is(lab: Lab, service: Service, guest: Guest) -> None:
    number = under_way(service, guest)
    began = RUNTIME.monotonic()
    assert abort(service, guest, number) == 202
    service.wait_idle(guest.uuid)
    assert RUNTIME.monotonic() - began < 30, story(service, guest)
    assert last(service, guest).status is Status.CANCELLED, story(service, guest)
    assert service.state(guest.uuid) == ("ACTIVE", "node1")
    assert [host.name for host in guest.holders()] == ["node1"]
    assert guest.ticks().unbroken


@pytest.mark.parametrize("after", [0.0, 0.02, 0.1, 0.2, 0.4, 0.8])
def test_an_abort_as_it_begins(lab: Lab, service: Service, guest: Guest, after: float) -> None:
    """Before libvirt is told, while it prepares, as QEMU starts to send."""
    number = begin(service, guest)
    RUNTIME.sleep(after)
    assert abort(service, guest, number) == 202
    service.wait_idle(guest.uuid)
    assert last(service, guest).status is Status.CANCELLED, story(service, guest)
    assert service.state(guest.uuid) == ("ACTIVE", "node1")
    assert lab.host("node1").virsh("domstate", guest.name).strip() == "running"
    assert guest.ticks().unbroken


def test_a_guest_that_never_converges_completes_by_force(lab: Lab, service: Service, guest: Guest) -> None:
    guest.set_dirty(200)
    number = under_way(service, guest)
    assert force(service, guest, number) == 202
    service.wait(lambda: "pause" in kinds(service, guest), 60, "the guest to be paused")
    assert force(service, guest, number) == 202  # and again, which changes nothing
    lab.host("node1").heal()
    service.wait_idle(guest.uuid)
    assert last(service, guest).status is Status.COMPLETED, story(service, guest)
    assert service.state(guest.uuid) == ("ACTIVE", "node2")
    assert lab.host("node2").virsh("domstate", guest.name).strip() == "running"
    assert story(service, guest).count("pause: ") == 1


@pytest.mark.parametrize("ends", ["the destination dies", "aborted"])
def test_a_forced_guest_goes_on_when_it_stays_after_all(lab: Lab, service: Service, guest: Guest, ends: str) -> None:
    guest.set_dirty(200)
    number = under_way(service, guest)
    assert force(service, guest, number) == 202
    service.wait(lambda: "pause" in kinds(service, guest), 60, "the guest to be paused")
    RUNTIME.sleep(1)
    assert lab.host("node1").virsh("domstate", guest.name).strip() == "paused"
    if ends == "aborted":
        assert abort(service, guest, number) == 202
    else:
        lab.host("node2").kill_daemon()
        RUNTIME.sleep(1)
        lab.host("node2").start_daemon()
    service.wait_idle(guest.uuid)
    assert last(service, guest).status is (Status.CANCELLED if ends == "aborted" else Status.FAILED), story(service, guest)
    service.wait_seen(guest.uuid, ("ACTIVE", "node1"))
    assert lab.host("node1").virsh("domstate", guest.name).strip() == "running", story(service, guest)


def test_a_guest_that_its_user_paused_stays_so(lab: Lab, service: Service, guest: Guest) -> None:
    assert ask(service, "POST", f"{guest.uuid}/action", {"pause": None}) == 202
    service.wait_seen(guest.uuid, ("PAUSED", "node1"))
    number = under_way(service, guest)
    assert force(service, guest, number) == 202
    service.wait(lambda: NEED_NOT_BE_PAUSED in story(service, guest), 60, "the wish to be read")
    assert abort(service, guest, number) == 202
    service.wait_idle(guest.uuid)
    RUNTIME.sleep(1)
    assert service.state(guest.uuid) == ("PAUSED", "node1")
    assert lab.host("node1").virsh("domstate", guest.name).strip() == "paused", story(service, guest)
