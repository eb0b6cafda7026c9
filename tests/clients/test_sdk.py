"""openstacksdk's Python API."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clients.calls import Calls, calls
from tests.clients.record import Record
from tests.clients.runner import Named
from tests.clients.stage import HOSTS, Stage


@pytest.fixture
def sdk(stage: Stage, record: Record, tmp_path: Path) -> Iterator[Calls]:
    with calls("osc", "openstacksdk", stage.style, stage.access(), tmp_path, record) as process:
        yield process


def test_servers(stage: Stage, sdk: Calls) -> None:
    server = stage.guest()
    listed = {each["id"]: each for each in sdk.ok("list(conn.compute.servers(all_projects=True))")}
    assert (listed[server]["status"], listed[server]["compute_host"]) == ("ACTIVE", "node1")
    shown = sdk.ok("conn.compute.get_server({server})", server=server)
    assert (shown["id"], shown["hypervisor_hostname"], shown["flavor"]["ram"]) == (server, "node1", 256)
    assert sdk.ok("conn.compute.find_server({name})", name=Named(shown["name"], "NAME"))["id"] == server
    assert sdk.ok("conn.compute.find_server('nosuch')") is None
    assert "NotFoundException" in sdk.refused("conn.compute.get_server('nosuch')")


def test_a_server_is_migrated(stage: Stage, sdk: Calls) -> None:
    server = stage.guest()
    for call, host in (
        ("conn.compute.live_migrate_server({server}, host='node2')", "node2"),
        ("conn.compute.live_migrate_server({server}, host='node3', block_migration=False)", "node3"),
        ("conn.compute.live_migrate_server({server}, host='node1', force=True)", "node1"),
    ):
        sdk.ok(call, server=server)
        waited = sdk.ok("conn.compute.wait_for_server(conn.compute.get_server({server}), interval=0.2)", server=server)
        assert (waited["status"], waited["compute_host"]) == ("ACTIVE", host)
    sdk.ok("conn.compute.live_migrate_server({server})", server=server)
    assert stage.settle(server)[0] == "ACTIVE"
    assert "Compute host nosuch could not be found." in sdk.refused("conn.compute.live_migrate_server({server}, host='nosuch')", server=server)


def test_a_migration_in_progress(stage: Stage, sdk: Calls) -> None:
    busy = stage.guest("busy")
    sdk.ok("conn.compute.live_migrate_server({busy}, host='node2')", busy=busy)
    (listed,) = sdk.ok("list(conn.compute.server_migrations({busy}))", busy=busy)
    number = Named(listed["id"], "NUMBER")
    shown = sdk.ok("conn.compute.get_server_migration({number}, {busy})", number=number, busy=busy)
    assert (shown["server_uuid"], shown["source_compute"], shown["dest_compute"]) == (busy, "node1", "node2")
    sdk.ok("conn.compute.abort_server_migration({number}, {busy}, ignore_missing=False)", number=number, busy=busy)
    assert stage.settle(busy) == ("ACTIVE", "node1")
    sdk.ok("conn.compute.live_migrate_server({busy}, host='node2')", busy=busy)
    stage.running(busy)
    (listed,) = sdk.ok("list(conn.compute.server_migrations({busy}))", busy=busy)
    sdk.ok("conn.compute.force_complete_server_migration({number}, {busy})", number=Named(listed["id"], "NUMBER"), busy=busy)
    assert stage.settle(busy) == ("ACTIVE", "node2")
    migrations = sdk.ok("list(conn.compute.migrations(instance_uuid={busy}))", busy=busy)
    assert [each["status"] for each in migrations] == ["completed", "cancelled"]


def test_services_and_hypervisors(stage: Stage, sdk: Calls) -> None:
    (service,) = sdk.ok("list(conn.compute.services(host='node3', binary='nova-compute'))")
    identity = Named(service["id"], "SERVICE")
    assert sdk.ok("conn.compute.disable_service({service}, disabled_reason='a new disk')", service=identity)["status"] == "disabled"
    assert sdk.ok("conn.compute.enable_service({service})", service=identity)["status"] == "enabled"
    assert sdk.ok("conn.compute.update_service_forced_down({service}, forced=True)", service=identity)["is_forced_down"] is True
    assert sdk.ok("conn.compute.update_service_forced_down({service}, forced=False)", service=identity)["is_forced_down"] is False
    found = {each["name"]: each for each in sdk.ok("list(conn.compute.hypervisors(details=True, with_servers=True))")}
    assert set(found) == set(HOSTS)
    assert {"moved1", "moved2"} <= {each["name"] for each in found["node3"]["servers"]}
    assert sdk.ok("conn.compute.get_hypervisor({hypervisor})", hypervisor=Named(found["node1"]["id"], "HYPERVISOR"))["name"] == "node1"


def test_what_was_done_to_a_server(stage: Stage, sdk: Calls) -> None:
    server = stage.guest()
    sdk.ok("conn.compute.live_migrate_server({server}, host='node2')", server=server)
    stage.settle(server)
    (action,) = sdk.ok("list(conn.compute.server_actions({server}))", server=server)
    assert action["action"] == "live-migration"
    shown = sdk.ok("conn.compute.get_server_action({request}, {server})", request=Named(action["request_id"], "REQUEST"), server=server)
    assert shown["events"]


def test_the_cloud_layer(stage: Stage, sdk: Calls) -> None:
    server = stage.guest()
    assert server in {each["id"] for each in sdk.ok("conn.list_servers(all_projects=True, bare=True)")}
    assert sdk.ok("conn.get_server({server}, bare=True)", server=server)["id"] == server
