"""The nova command."""

from __future__ import annotations

from tests.clients.runner import Client, Named
from tests.clients.stage import HOSTS, Stage


def wait_in_progress(stage: Stage, nova: Client, server: str) -> Named:
    """The number of a server's migration, once it runs and is known to move something."""
    found: list[dict[str, str]] = []

    def running() -> bool:
        found[:] = nova.ok("server-migration-list", server).rows
        return [row["Status"] for row in found] == ["running"] and found[0]["Total Memory Bytes"] != "-"

    stage.service.wait(running, 30, f"{server}'s migration to run")
    return Named(found[0]["Id"], "NUMBER")


def test_servers_are_listed_and_shown(stage: Stage, nova: Client) -> None:
    server = stage.guest()
    rows = {row["ID"]: row for row in nova.ok("list", "--all-tenants").rows}
    assert (rows[server]["Status"], rows[server]["Task State"], rows[server]["Power State"]) == ("ACTIVE", "-", "Running")
    assert {row["Status"] for row in nova.ok("list", "--all-tenants", "--status", "PAUSED").rows} == {"PAUSED"}
    assert {"moved1", "moved2"} <= {row["Name"] for row in nova.ok("list", "--all-tenants", "--host", "node3").rows}
    shown = nova.ok("show", server).properties
    assert (shown["id"], shown["status"], shown["OS-EXT-SRV-ATTR:host"], shown["host_status"]) == (server, "ACTIVE", "node1", "UP")
    assert "No server with a name or ID of 'nosuch' exists." in nova.refused("show", "nosuch")


def test_a_server_is_migrated(stage: Stage, nova: Client) -> None:
    server = stage.guest()
    nova.ok("live-migration", server)
    assert stage.settle(server)[0] == "ACTIVE"
    nova.ok("live-migration", server, "node1") if stage.state(server)[1] != "node1" else None
    assert stage.settle(server) == ("ACTIVE", "node1")
    nova.ok("--os-compute-api-version", "2.30", "live-migration", "--force", server, "node2")
    assert stage.settle(server) == ("ACTIVE", "node2")
    nova.ok("--os-compute-api-version", "2.24", "live-migration", "--disk-over-commit", server, "node3")
    assert stage.settle(server) == ("ACTIVE", "node3")
    nova.ok("--os-compute-api-version", "2.1", "live-migration", server, "node1")
    assert stage.settle(server) == ("ACTIVE", "node1")


def test_what_cannot_be_is_refused_with_the_reason(stage: Stage, nova: Client) -> None:
    server, off = stage.guest(), stage.guest("off")
    assert "in vm_state stopped (HTTP 409)" in nova.refused("live-migration", off, "node2")
    assert "Compute host nosuch could not be found. (HTTP 400)" in nova.refused("live-migration", server, "nosuch")


def test_migrations_are_listed_shown_aborted_and_forced(stage: Stage, nova: Client) -> None:
    busy = stage.guest("busy")
    nova.ok("live-migration", busy, "node2")
    number = wait_in_progress(stage, nova, busy)
    shown: dict[str, str] = {}

    def has_figures() -> bool:
        shown.update(nova.ok("server-migration-show", busy, number).properties)
        return shown["memory_total_bytes"] != "-"

    stage.service.wait(has_figures, 30, "the memory of the migration")
    assert (shown["id"], shown["server_uuid"], shown["source_compute"], shown["dest_compute"], shown["status"]) == (number, busy, "node1", "node2", "running")
    assert int(shown["memory_total_bytes"]) > 0
    nova.ok("live-migration-abort", busy, number)
    assert stage.settle(busy) == ("ACTIVE", "node1")
    nova.ok("live-migration", busy, "node2")
    nova.ok("live-migration-force-complete", busy, wait_in_progress(stage, nova, busy))
    assert stage.settle(busy) == ("ACTIVE", "node2")
    rows = nova.ok("migration-list", "--instance-uuid", busy).rows
    assert [(row["Status"], row["Dest Compute"], row["Type"]) for row in rows] == [
        ("completed", "node2", "live-migration"),
        ("cancelled", "node2", "live-migration"),
    ]
    assert {row["Status"] for row in nova.ok("migration-list", "--status", "completed", "--host", "node2").rows} == {"completed"}


def test_a_host_is_emptied(stage: Stage, nova: Client) -> None:
    """node3 is given one server and has some of its own; all of them go."""
    server = stage.guest()
    nova.ok("live-migration", server, "node3")
    assert stage.settle(server) == ("ACTIVE", "node3")
    rows = nova.ok("host-evacuate-live", "--target-host", "node2", "node3").rows
    assert server in {row["Server UUID"] for row in rows}
    assert {row["Live Migration Accepted"] for row in rows} == {"True"}
    for row in rows:
        assert stage.settle(row["Server UUID"])[1] == "node2"
    for row in rows:
        nova.ok("live-migration", Named(row["Server UUID"], "SERVER"), "node3")
        assert stage.settle(row["Server UUID"])[1] == "node3"


def test_services(stage: Stage, nova: Client) -> None:
    rows = {row["Host"]: row for row in nova.ok("service-list", "--binary", "nova-compute").rows}
    assert set(rows) == set(HOSTS)
    service = Named(rows["node3"]["Id"], "SERVICE")
    nova.ok("service-disable", "--reason", "a new disk", service)
    (row,) = nova.ok("service-list", "--host", "node3", "--binary", "nova-compute").rows
    assert (row["Status"], row["Disabled Reason"], row["State"]) == ("disabled", "a new disk", "up")
    nova.ok("service-enable", service)
    nova.ok("service-force-down", service)
    (row,) = nova.ok("service-list", "--host", "node3", "--binary", "nova-compute").rows
    assert (row["Status"], row["State"], row["Forced down"]) == ("enabled", "down", "True")
    nova.ok("service-force-down", "--unset", service)


def test_hypervisors(stage: Stage, nova: Client) -> None:
    server = stage.guest()
    rows = {row["Hypervisor hostname"]: row for row in nova.ok("hypervisor-list").rows}
    assert set(rows) == set(HOSTS)
    hypervisor = Named(rows["node1"]["ID"], "HYPERVISOR")
    assert nova.ok("hypervisor-show", "node1").properties["hypervisor_hostname"] == "node1"
    assert nova.ok("hypervisor-show", hypervisor).properties["hypervisor_hostname"] == "node1"
    assert server in {row["ID"] for row in nova.ok("hypervisor-servers", "node1").rows}
    nova.ok("--os-compute-api-version", "2.87", "hypervisor-uptime", hypervisor)
    statistics = nova.ok("--os-compute-api-version", "2.87", "hypervisor-stats").properties
    assert statistics["count"] == "3"


def test_what_was_done_to_a_server(stage: Stage, nova: Client) -> None:
    server = stage.guest()
    nova.ok("live-migration", server, "node2")
    stage.settle(server)
    (row,) = nova.ok("instance-action-list", server).rows
    assert row["Action"] == "live-migration"
    shown = nova.ok("instance-action", server, Named(row["Request_ID"], "REQUEST"))
    assert shown.properties["action"] == "live-migration"
    assert "compute_live_migration" in "".join(cells["Value"] for cells in shown.rows)  # a long value goes over several lines


def test_the_rest(stage: Stage, nova: Client) -> None:
    server = stage.guest()
    assert {row["Id"] for row in nova.ok("version-list").rows} >= {"v2.1"}
    assert "nova" in nova.ok("availability-zone-list").out
    assert nova.ok("aggregate-list").rows == []
    assert nova.ok("flavor-list", "--all").rows
    nova.ok("limits")
    nova.ok("diagnostics", server)
    for action, status in (
        ("pause", "PAUSED"),
        ("unpause", "ACTIVE"),
        ("suspend", "SUSPENDED"),
        ("resume", "ACTIVE"),
        ("stop", "SHUTOFF"),
        ("start", "ACTIVE"),
    ):
        nova.ok(action, server)
        stage.wait(server, (status, "node1"))
    nova.ok("reboot", "--hard", server)
    stage.wait(server, ("ACTIVE", "node1"))
    nova.ok("lock", server)
    nova.ok("unlock", server)
    nova.ok("reset-state", "--active", server)
    nova.ok("volume-attachments", server)
