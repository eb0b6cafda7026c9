"""openstack server migrate, and openstack server migration."""

from __future__ import annotations

from tests.clients.runner import Client, Named
from tests.clients.stage import Stage

LIVE = ("server", "migrate", "--live-migration")


def test_livemig_chooses_the_host(stage: Stage, openstack: Client) -> None:
    server = stage.guest()
    openstack.ok(*LIVE, server)
    status, host = stage.settle(server)
    assert status == "ACTIVE"
    assert host in ("node2", "node3")


def test_the_operator_chooses_the_host_and_waits(stage: Stage, openstack: Client) -> None:
    server = stage.guest()
    openstack.ok(*LIVE, "--host", "node2", "--wait", server)
    assert stage.state(server) == ("ACTIVE", "node2")


def test_a_server_goes_by_its_name(stage: Stage, openstack: Client) -> None:
    server = stage.guest()
    openstack.ok(*LIVE, "--host", "node3", Named(stage.show(server)["name"], "NAME"))
    assert stage.settle(server) == ("ACTIVE", "node3")


def test_storage_can_be_called_shared_and_overcommitted(stage: Stage, openstack: Client) -> None:
    server = stage.guest()
    openstack.ok(*LIVE, "--host", "node2", "--shared-migration", server)
    assert stage.settle(server) == ("ACTIVE", "node2")
    openstack.ok(*LIVE, "--host", "node3", "--disk-overcommit", server)
    assert stage.settle(server) == ("ACTIVE", "node3")


def test_every_version_that_a_client_may_ask_for(stage: Stage, openstack: Client) -> None:
    server = stage.guest()
    for version, host in (("2.30", "node2"), ("2.67", "node3"), ("2.68", "node1"), ("2.79", "node2"), ("2.90", "node3")):
        openstack.ok("--os-compute-api-version", version, *LIVE, "--host", host, server)
        assert stage.settle(server) == ("ACTIVE", host)
    openstack.ok("--os-compute-api-version", "2.25", *LIVE, server)
    assert stage.settle(server)[0] == "ACTIVE"
    assert "2.30 or greater is required" in openstack.refused("--os-compute-api-version", "2.25", *LIVE, "--host", "node1", server)


def test_a_paused_server_stays_paused(stage: Stage, openstack: Client) -> None:
    paused = stage.guest("paused")
    openstack.ok(*LIVE, "--host", "node2", paused)
    assert stage.settle(paused) == ("PAUSED", "node2")


def test_what_cannot_be_is_refused_with_the_reason(stage: Stage, openstack: Client) -> None:
    server, off, local = stage.guest(), stage.guest("off"), stage.guest("local")
    assert "in vm_state stopped" in openstack.refused(*LIVE, "--host", "node2", off)
    assert "Compute host nosuch could not be found." in openstack.refused(*LIVE, "--host", "nosuch", server)
    assert "No valid host was found." in openstack.refused(*LIVE, "--host", "node1", server)
    assert "local.qcow2" in openstack.refused(*LIVE, "--host", "node2", "--shared-migration", local)
    assert stage.state(server) == stage.state(local) == ("ACTIVE", "node1")
    assert stage.state(off) == ("SHUTOFF", "node1")


def test_a_server_moves_once_at_a_time(stage: Stage, openstack: Client) -> None:
    busy = stage.guest("busy")
    openstack.ok(*LIVE, "--host", "node2", busy)
    assert stage.state(busy) == ("MIGRATING", "node1")
    assert "while it is in task_state migrating" in openstack.refused(*LIVE, "--host", "node3", busy)
    openstack.ok("server", "migration", "abort", busy, stage.number(busy))
    assert stage.settle(busy) == ("ACTIVE", "node1")


def test_migrations_are_listed_and_the_list_can_be_narrowed(stage: Stage, openstack: Client) -> None:
    server = stage.guest()
    for host in ("node2", "node3"):
        openstack.ok(*LIVE, "--host", host, server)
        assert stage.settle(server) == ("ACTIVE", host)
    back, there = openstack.json("server", "migration", "list", "--server", server)
    expected = {"Source Compute": "node2", "Dest Compute": "node3", "Status": "completed", "Server UUID": server, "Type": "live-migration"}
    assert {key: back[key] for key in expected} == expected
    assert (there["Source Node"], there["Dest Node"]) == ("node1", "node2")
    (limited,) = openstack.json("server", "migration", "list", "--server", server, "--limit", "1")
    assert limited == back
    marker = Named(back["UUID"], "MIGRATION")
    assert openstack.json("server", "migration", "list", "--server", server, "--marker", marker, "--limit", "1") == [there]
    listed = openstack.json("server", "migration", "list", "--host", "node3", "--status", "completed", "--type", "live-migration")
    assert back in listed
    assert there not in listed
    assert openstack.json("server", "migration", "list", "--server", server, "--changes-before", "2000-01-01T00:00:00Z") == []
    assert len(openstack.json("server", "migration", "list", "--server", server, "--changes-since", "2000-01-01T00:00:00Z")) == 2
    assert openstack.json("server", "migration", "list", "--status", "nosuch") == []


def test_a_migration_in_progress_is_shown_and_aborted(stage: Stage, openstack: Client) -> None:
    busy = stage.guest("busy")
    openstack.ok(*LIVE, "--host", "node2", busy)
    (listed,) = openstack.json("server", "migration", "list", "--server", busy)
    uuid = Named(listed["UUID"], "MIGRATION")
    shown = openstack.json("server", "migration", "show", busy, uuid)
    expected = {"UUID": uuid, "Server UUID": busy, "Source Compute": "node1", "Dest Compute": "node2", "Source Node": "node1", "Dest Node": "node2"}
    assert {key: shown[key] for key in expected} == expected
    assert shown["Status"] in ("queued", "preparing", "running")
    openstack.ok("server", "migration", "abort", busy, uuid)
    assert stage.settle(busy) == ("ACTIVE", "node1")
    (listed,) = openstack.json("server", "migration", "list", "--server", busy)
    assert listed["Status"] == "cancelled"


def test_a_migration_in_progress_is_forced_to_complete(stage: Stage, openstack: Client) -> None:
    for shown in ("number", "uuid"):
        busy = stage.guest("busy")
        openstack.ok(*LIVE, "--host", "node2", busy)
        stage.running(busy)
        (listed,) = openstack.json("server", "migration", "list", "--server", busy)
        openstack.ok("server", "migration", "force", "complete", busy, Named(listed["UUID"], "MIGRATION") if shown == "uuid" else stage.number(busy))
        assert stage.settle(busy) == ("ACTIVE", "node2")


def test_there_is_nothing_to_abort_or_to_force(stage: Stage, openstack: Client) -> None:
    server = stage.guest()
    assert "'abort live migration'" in openstack.refused("server", "migration", "abort", server, Named("1", "NUMBER"))
    assert "'force_complete'" in openstack.refused("server", "migration", "force", "complete", server, Named("1", "NUMBER"))


def test_a_migration_is_not_shown_by_its_number(stage: Stage, openstack: Client) -> None:
    """The client swaps server and migration in its request."""
    busy = stage.guest("busy")
    openstack.ok(*LIVE, "--host", "node2", busy)
    openstack.refused("server", "migration", "show", busy, stage.number(busy))
    openstack.ok("server", "migration", "abort", busy, stage.number(busy))
    assert stage.settle(busy) == ("ACTIVE", "node1")
