"""What is told of a migration, in which order, in whose name, and how the server is shown in it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import oslo_messaging
import pytest
from oslo_messaging.notify import _impl_test as recorded

from livemig import context
from livemig.conductor.service import Conductor
from livemig.states import Status
from livemig.testing.fleet import guest_uuid
from tests.service import Service
from tests.simulation.runtime import GreenletRuntime

WEB = guest_uuid("web")

Told = list[tuple[str, str]]

PRE: Told = [("node2", "pre.start"), ("node2", "pre.end")]
ROLLBACK: Told = [("node1", "rollback.start"), ("node2", "rollback_dest.start"), ("node2", "rollback_dest.end"), ("node1", "rollback.end")]
POST: Told = [("node1", "post.start"), ("node2", "post_dest.start"), ("node2", "post_dest.end"), ("node1", "post.end")]


@pytest.fixture
def service(tmp_path: Path, runtime: GreenletRuntime) -> Iterator[Service]:
    """A service whose notifications are recorded by oslo.messaging's own driver for tests."""
    service = Service(tmp_path, runtime, aggregates=["racks"])
    oslo_messaging.get_notification_transport(service.conf).cleanup()  # registers its options
    service.conf.set_override("driver", ["test"], group="oslo_messaging_notifications")
    service.conf.set_override("notification_format", "versioned", group="notifications")
    service.conf.set_override("availability_zone", "west", group="aggregate:racks")
    service.conf.set_override("hosts", ["node2"], group="aggregate:racks")
    recorded.reset()
    service.conductor = Conductor(service.conf, service.store, service.fleet.libvirt(), runtime)
    with service:
        service.fleet.add_guest("web", "node1", dirty_mib_s=1)
        runtime.sleep(0.5)
        yield service


def messages() -> list[dict[str, Any]]:
    return [message for _context, message, _priority, _retry in recorded.NOTIFICATIONS]


def told() -> Told:
    """(host, phase), without those that say nothing of the end."""
    return [(each["publisher_id"].removeprefix("nova-compute:"), each["event_type"].removeprefix("instance.live_migration_")) for each in messages()]


def shown(phase: str) -> dict[str, Any]:
    [data] = [each["payload"]["nova_object.data"] for each in messages() if each["event_type"] == f"instance.live_migration_{phase}"]
    return dict(data)


def begun(service: Service) -> None:
    service.fleet.hosts["node1"].bandwidth_mib_s = 20.0
    assert service.live_migrate(WEB).status_int == 202
    service.runtime.sleep(10)


def settled(service: Service) -> Status:
    status = service.wait_idle(WEB, 300).status
    service.runtime.sleep(1)
    return status


def test_a_migration_that_completes_in_novas_order(service: Service) -> None:
    assert service.live_migrate(WEB).status_int == 202
    assert settled(service) is Status.COMPLETED
    assert told() == [*PRE, *POST]
    assert {each["priority"] for each in messages()} == {"INFO"}
    request = service.store.migrations.of_server(WEB)[0].request_id
    for phase, host, task, zone in (
        ("pre.start", "node1", "migrating", "nova"),
        ("pre.end", "node1", "migrating", "nova"),
        ("post.start", "node1", "migrating", "nova"),
        ("post_dest.start", "node1", "migrating", "nova"),
        ("post_dest.end", "node2", None, "west"),
        ("post.end", "node2", None, "west"),
    ):
        data = shown(phase)
        assert (data["host"], data["node"], data["task_state"], data["availability_zone"]) == (host, host, task, zone), phase
        assert (data["uuid"], data["display_name"], data["state"], data["fault"], data["request_id"]) == (WEB, "web", "active", None, request)


def test_a_job_that_fails_is_rolled_back_with_its_reason(service: Service) -> None:
    service.fleet.hosts["node2"].migration_error = "the destination said no"
    assert service.live_migrate(WEB).status_int == 202
    assert settled(service) is Status.FAILED
    assert told() == [*PRE, *ROLLBACK]
    assert [each["priority"] for each in messages()] == [*["INFO"] * 5, "ERROR"]
    assert shown("rollback.start")["task_state"] == "migrating"
    data = shown("rollback.end")
    assert (data["host"], data["task_state"]) == ("node1", None)
    assert "the destination said no" in data["fault"]["nova_object.data"]["exception_message"]


def test_an_abort_is_told_before_what_comes_of_it(service: Service) -> None:
    begun(service)
    migration = service.store.migrations.of_server(WEB)[0]
    service.store.migrations.ask_abort(migration, context.system())
    service.conductor.engine.wake(migration.id)
    assert settled(service) is Status.CANCELLED
    assert told() == [*PRE, ("node1", "abort.start"), ("node1", "abort.end"), *ROLLBACK]
    assert {each["priority"] for each in messages()} == {"INFO"}


def test_an_abort_of_one_that_waits(service: Service) -> None:
    other = guest_uuid("other")
    service.fleet.add_guest("other", "node1", dirty_mib_s=1)
    service.fleet.hosts["node1"].bandwidth_mib_s = 50.0
    service.runtime.sleep(0.5)
    service.live_migrate(other)
    service.wait_status(other, Status.RUNNING)
    assert service.live_migrate(WEB).status_int == 202
    recorded.reset()
    migration = service.store.migrations.of_server(WEB)[0]
    service.store.migrations.ask_abort(migration, context.system())
    service.conductor.engine.wake(migration.id)
    assert settled(service) is Status.CANCELLED
    assert told() == [("node1", "abort.start"), ("node1", "abort.end")]


def test_forced_completion(service: Service) -> None:
    begun(service)
    migration = service.store.migrations.of_server(WEB)[0]
    for _ in range(2):
        service.store.migrations.ask_completion(migration, context.system())
        service.conductor.engine.wake(migration.id)
        service.runtime.sleep(1)
    assert settled(service) is Status.COMPLETED
    assert told() == [*PRE, ("node1", "force_complete.start"), ("node1", "force_complete.end"), *POST]


def test_one_that_is_refused_when_its_turn_comes(service: Service) -> None:
    other = guest_uuid("other")
    service.fleet.add_guest("other", "node1", dirty_mib_s=1)
    service.fleet.hosts["node1"].bandwidth_mib_s = 100.0
    service.runtime.sleep(0.5)
    service.live_migrate(other)
    assert service.live_migrate(WEB).status_int == 202
    service.runtime.sleep(1)  # the other one has begun
    service.fleet.hosts["node2"].refuses_cpu = True
    assert settled(service) is Status.ERROR
    mine = [each for each in messages() if each["payload"]["nova_object.data"]["uuid"] == WEB]
    assert [each["event_type"].removeprefix("instance.live_migration_") for each in mine] == ["pre.start", "rollback.start", "rollback.end"]
    assert "Unacceptable CPU" in mine[-1]["payload"]["nova_object.data"]["fault"]["nova_object.data"]["exception_message"]


def test_a_guest_that_is_lost(service: Service) -> None:
    """Nothing was cleaned up at the destination."""
    lost = guest_uuid("lost")
    service.fleet.add_guest("lost", "node1", persistent=False)
    service.fleet.hosts["node1"].bandwidth_mib_s = 50.0
    service.runtime.sleep(0.5)
    service.live_migrate(lost)
    service.runtime.sleep(5)
    service.fleet.hosts["node1"].kill_guest(lost)
    assert service.wait_idle(lost).status is Status.ERROR
    service.runtime.sleep(1)
    assert told() == [*PRE, ("node1", "rollback.start"), ("node1", "rollback.end")]
    assert shown("rollback.end")["state"] == "error"
    assert "a person must look" in shown("rollback.end")["fault"]["nova_object.data"]["exception_message"]


def test_a_refused_request_is_told_to_nobody_but_its_client(service: Service) -> None:
    service.fleet.hosts["node2"].refuses_cpu = True
    assert service.live_migrate(WEB).status_int == 400
    service.runtime.sleep(1)
    assert told() == []
