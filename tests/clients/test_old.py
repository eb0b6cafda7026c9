"""A client of Ubuntu 22.04, which speaks 2.1 unless told otherwise."""

from __future__ import annotations

import pytest

from tests.clients.identity import REGION
from tests.clients.runner import Client, Named
from tests.clients.stage import HOSTS, Stage

LIVE = ("server", "migrate", "--live-migration")


def test_servers(stage: Stage, old: Client) -> None:
    server = stage.guest()
    rows = {row["ID"]: row for row in old.json("server", "list", "--all-projects", "--long")}
    assert (rows[server]["Status"], rows[server]["Host"]) == ("ACTIVE", "node1")
    shown = old.json("server", "show", server)
    assert (shown["id"], shown["status"], shown["OS-EXT-SRV-ATTR:host"]) == (server, "ACTIVE", "node1")


@pytest.mark.parametrize("stage", ["password"], indirect=True)
def test_it_asks_for_an_image_service(stage: Stage, old: Client) -> None:
    """Which may be livemig itself: see docs/clients.md."""
    assert "public endpoint for image service in RegionOne region not found" in old.refused("server", "list", OS_REGION_NAME=REGION)
    assert old.json("server", "list", "--all-projects")


def test_a_server_is_migrated_as_at_first(stage: Stage, old: Client) -> None:
    server = stage.guest()
    old.ok(*LIVE, server)
    assert stage.settle(server)[1] in ("node2", "node3")
    old.ok(*LIVE, "--wait", server)
    assert stage.state(server)[0] == "ACTIVE"
    old.ok(*LIVE, "--disk-overcommit", server)
    assert stage.settle(server)[0] == "ACTIVE"


def test_a_host_is_chosen(stage: Stage, old: Client) -> None:
    server = stage.guest()
    assert "2.30 or greater is required" in old.refused(*LIVE, "--host", "node2", server)
    old.ok("--os-compute-api-version", "2.30", *LIVE, "--host", "node2", server)
    assert stage.settle(server) == ("ACTIVE", "node2")
    old.ok("--os-compute-api-version", "2.latest", *LIVE, "--host", "node3", server)
    assert stage.settle(server) == ("ACTIVE", "node3")
    old.ok("--os-compute-api-version", "2.1", *LIVE, server)
    assert stage.settle(server)[0] == "ACTIVE"


def test_refusals(stage: Stage, old: Client) -> None:
    assert "in vm_state stopped" in old.refused(*LIVE, stage.guest("off"))
    assert "local.qcow2" in old.refused(*LIVE, stage.guest("local"))


def test_migrations(stage: Stage, old: Client) -> None:
    busy = stage.guest("busy")
    new = ("--os-compute-api-version", "2.80")
    old.ok("--os-compute-api-version", "2.30", *LIVE, "--host", "node2", busy)
    stage.running(busy)
    number = stage.number(busy)
    old.ok(*new, "server", "migration", "abort", busy, number)
    assert stage.settle(busy) == ("ACTIVE", "node1")
    listed = old.json("server", "migration", "list", "--server", busy)
    assert [row["Status"] for row in listed] == ["cancelled"]
    old.ok("--os-compute-api-version", "2.30", *LIVE, "--host", "node2", busy)
    stage.running(busy)
    old.ok("--os-compute-api-version", "2.22", "server", "migration", "force", "complete", busy, stage.number(busy))
    assert stage.settle(busy) == ("ACTIVE", "node2")


def test_hosts(stage: Stage, old: Client) -> None:
    assert {row["Host"] for row in old.json("compute", "service", "list", "--service", "nova-compute")} == set(HOSTS)
    old.ok("compute", "service", "set", "--disable", "--disable-reason", "a new disk", "node3", "nova-compute")
    old.ok("compute", "service", "set", "--enable", "node3", "nova-compute")
    rows = {row["Hypervisor Hostname"]: row for row in old.json("hypervisor", "list", "--long")}
    assert set(rows) == set(HOSTS)
    assert [row["Hypervisor Hostname"] for row in old.json("hypervisor", "list", "--matching", "node2")] == ["node2"]
    assert old.json("hypervisor", "show", "node1")["hypervisor_hostname"] == "node1"
    assert old.json("hypervisor", "show", Named(rows["node2"]["ID"], "HYPERVISOR"))["hypervisor_hostname"] == "node2"
    assert old.json("hypervisor", "stats", "show")["count"] == 3
    assert {row["Host Name"] for row in old.json("host", "list") if row["Service"] == "compute"} == set(HOSTS)


def test_what_was_done_to_a_server(stage: Stage, old: Client) -> None:
    server = stage.guest()
    old.ok(*LIVE, server)
    stage.settle(server)
    (event,) = old.json("server", "event", "list", server)
    assert event["Action"] == "live-migration"
    assert old.json("server", "event", "show", server, Named(event["Request ID"], "REQUEST"))["action"] == "live-migration"
