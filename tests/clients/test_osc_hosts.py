"""openstack compute service, hypervisor and host."""

from __future__ import annotations

from tests.clients.runner import Client, Named
from tests.clients.stage import HOSTS, Stage

LIVE = ("server", "migrate", "--live-migration")
SERVICE = ("compute", "service", "set")


def test_services_are_listed(openstack: Client) -> None:
    rows = {row["Host"]: row for row in openstack.json("compute", "service", "list", "--service", "nova-compute")}
    assert set(rows) == set(HOSTS)
    expected = {"Binary": "nova-compute", "Zone": "nova", "Status": "enabled", "State": "up"}
    assert {key: rows["node2"][key] for key in expected} == expected
    assert {row["Binary"] for row in openstack.json("compute", "service", "list")} >= {"nova-compute"}


def test_a_disabled_host_gets_no_servers(stage: Stage, openstack: Client) -> None:
    openstack.ok(*SERVICE, "--disable", "--disable-reason", "a new disk", "node3", "nova-compute")
    (row,) = openstack.json("compute", "service", "list", "--long", "--host", "node3")
    assert (row["Status"], row["Disabled Reason"], row["State"]) == ("disabled", "a new disk", "up")
    server = stage.guest()
    assert "No valid host was found." in openstack.refused(*LIVE, "--host", "node3", server)
    openstack.ok(*LIVE, server)
    assert stage.settle(server) == ("ACTIVE", "node2")
    openstack.ok(*SERVICE, "--enable", "node3", "nova-compute")
    (row,) = openstack.json("compute", "service", "list", "--long", "--host", "node3")
    assert (row["Status"], row["Disabled Reason"]) == ("enabled", None)
    openstack.ok(*LIVE, "--host", "node3", server)
    assert stage.settle(server) == ("ACTIVE", "node3")


def test_a_host_is_called_down_and_up(stage: Stage, openstack: Client) -> None:
    openstack.ok(*SERVICE, "--down", "node3", "nova-compute")
    (row,) = openstack.json("compute", "service", "list", "--long", "--host", "node3")
    assert (row["State"], row["Forced Down"]) == ("down", True)
    assert {row["Hypervisor Hostname"]: row["State"] for row in openstack.json("hypervisor", "list")}["node3"] == "down"
    server = stage.guest()
    openstack.refused(*LIVE, "--host", "node3", server)
    openstack.ok(*SERVICE, "--up", "node3", "nova-compute")
    (row,) = openstack.json("compute", "service", "list", "--long", "--host", "node3")
    assert (row["State"], row["Forced Down"]) == ("up", False)


def test_services_before_they_had_uuids(openstack: Client) -> None:
    old = ("--os-compute-api-version", "2.52")
    openstack.ok(*old, *SERVICE, "--disable", "--disable-reason", "repair", "node3", "nova-compute")
    (row,) = openstack.json(*old, "compute", "service", "list", "--long", "--host", "node3")
    assert (row["Status"], row["Disabled Reason"]) == ("disabled", "repair")
    openstack.ok(*old, *SERVICE, "--enable", "node3", "nova-compute")
    openstack.ok(*old, *SERVICE, "--down", "node3", "nova-compute")
    openstack.ok(*old, *SERVICE, "--up", "node3", "nova-compute")


def test_an_unknown_service_is_not_found(openstack: Client) -> None:
    assert "not found" in openstack.refused(*SERVICE, "--disable", "nosuch", "nova-compute")


def test_hypervisors_are_listed_and_shown(openstack: Client) -> None:
    rows = {row["Hypervisor Hostname"]: row for row in openstack.json("hypervisor", "list", "--long")}
    assert set(rows) == set(HOSTS)
    assert (rows["node1"]["State"], rows["node1"]["Hypervisor Type"]) == ("up", "QEMU")
    (matching,) = openstack.json("hypervisor", "list", "--matching", "node2")
    assert matching["ID"] == rows["node2"]["ID"]
    by_name = openstack.json("hypervisor", "show", "node1")
    by_id = openstack.json("hypervisor", "show", Named(rows["node1"]["ID"], "HYPERVISOR"))
    assert by_name["hypervisor_hostname"] == by_id["hypervisor_hostname"] == "node1"
    assert (by_name["state"], by_name["status"], by_name["service_host"], by_name["aggregates"]) == ("up", "enabled", "node1", [])
    assert openstack.refused("hypervisor", "show", "nosuch")


def test_hypervisors_with_what_they_have(openstack: Client) -> None:
    old = ("--os-compute-api-version", "2.87")
    rows = {row["Hypervisor Hostname"]: row for row in openstack.json(*old, "hypervisor", "list", "--long")}
    assert (rows["node1"]["vCPUs"], rows["node1"]["Memory MB"]) == (64, 262144)
    assert rows["node1"]["vCPUs Used"] > 0
    shown = openstack.json(*old, "hypervisor", "show", "node1")
    assert (shown["vcpus"], shown["memory_mb"]) == (64, 262144)
    statistics = openstack.json("hypervisor", "stats", "show")
    assert (statistics["count"], statistics["vcpus"], statistics["memory_mb"]) == (3, 3 * 64, 3 * 262144)
    assert openstack.json("--os-compute-api-version", "2.1", "hypervisor", "list")


def test_hosts_are_listed_and_shown(openstack: Client) -> None:
    listed = openstack.json("host", "list")
    assert {row["Host Name"] for row in listed if row["Service"] == "compute"} == set(HOSTS)
    total = openstack.json("host", "show", "node1")[0]
    assert (total["Host"], total["Project"], total["CPU"], total["Memory MB"]) == ("node1", "(total)", 64, 262144)
    assert openstack.refused("host", "show", "nosuch")
