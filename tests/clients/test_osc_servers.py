"""openstack server list, show, event; and what else an operator reads."""

from __future__ import annotations

from tests.clients.runner import Client, Named
from tests.clients.stage import GUESTS, HOSTS, Stage


def test_every_server_is_listed_with_where_it_is(stage: Stage, openstack: Client) -> None:
    server, paused, off = stage.guest(), stage.guest("paused"), stage.guest("off")
    rows = {row["ID"]: row for row in openstack.json("server", "list", "--all-projects", "--long")}
    assert rows[server] | EXPECTED == rows[server]
    assert rows[server]["Name"] == stage.show(server)["name"]
    assert [rows[each]["Status"] for each in (server, paused, off)] == ["ACTIVE", "PAUSED", "SHUTOFF"]
    assert [rows[each]["Power State"] for each in (server, paused, off)] == [1, 3, 4]


EXPECTED: dict[str, object] = {"Host": "node1", "Task State": None, "Availability Zone": "nova", "Networks": {}, "Image Name": "N/A (booted from volume)"}


def test_the_list_can_be_narrowed(stage: Stage, openstack: Client) -> None:
    on_three = openstack.json("server", "list", "--all-projects", "--long", "--host", "node3")
    assert {row["Host"] for row in on_three} == {"node3"}
    assert {"moved1", "moved2"} <= {row["Name"] for row in on_three}
    (named,) = openstack.json("server", "list", "--all-projects", "--name", "^web1$")
    assert named["Name"] == "web1"
    paused = openstack.json("server", "list", "--all-projects", "--status", "PAUSED")
    assert {row["Status"] for row in paused} == {"PAUSED"}
    assert openstack.json("server", "list", "--all-projects", "--name", "nosuch") == []
    assert openstack.json("server", "list", "--all-projects", "--changes-since", "2099-01-01T00:00:00Z") == []


def test_the_list_comes_in_pages(stage: Stage, openstack: Client) -> None:
    first = openstack.json("server", "list", "--all-projects", "--limit", "2")
    then = openstack.json("server", "list", "--all-projects", "--limit", "1", "--marker", Named(first[0]["ID"], "SERVER"))
    assert then == first[1:]
    everything = openstack.json("server", "list", "--all-projects", "--sort-column", "Name")
    assert [row["Name"] for row in everything] == sorted(row["Name"] for row in everything)
    assert len(everything) == GUESTS


def test_a_server_is_shown_by_its_id_and_by_its_name(stage: Stage, openstack: Client) -> None:
    server = stage.guest()
    name = Named(stage.show(server)["name"], "NAME")
    shown = openstack.json("server", "show", server)
    assert shown | {"server_groups": None} == openstack.json("server", "show", name)  # found by its name, it is taken from a list, which has less
    expected: dict[str, object] = {
        "id": server,
        "name": name,
        "status": "ACTIVE",
        "OS-EXT-SRV-ATTR:host": "node1",
        "OS-EXT-SRV-ATTR:hypervisor_hostname": "node1",
        "OS-EXT-STS:vm_state": "active",
        "OS-EXT-STS:task_state": None,
        "OS-EXT-STS:power_state": 1,
        "addresses": {},
        "image": "N/A (booted from volume)",
        "volumes_attached": [],
        "host_status": "UP",
        "locked": False,
    }
    assert {key: shown[key] for key in expected} == expected
    assert shown["flavor"]["ram"] == 256


def test_an_unknown_server_is_not_found(openstack: Client) -> None:
    assert "No Server found for nosuch" in openstack.refused("server", "show", "nosuch")


def test_the_cloud_around_the_servers_can_be_read(stage: Stage, openstack: Client) -> None:
    zones = openstack.json("availability", "zone", "list", "--compute", "--long")
    assert {row["Host Name"] for row in zones if row["Zone Name"] == "nova"} == set(HOSTS)
    assert openstack.json("aggregate", "list") == []
    flavors = openstack.json("flavor", "list", "--all")
    assert {256, 1024} <= {row["RAM"] for row in flavors}
    (flavor,) = [row for row in flavors if row["RAM"] == 1024]
    assert openstack.json("flavor", "show", Named(flavor["ID"], "FLAVOR"))["ram"] == 1024
    limits = {row["Name"]: row["Value"] for row in openstack.json("limits", "show", "--absolute")}
    assert limits["instances_used"] == (0 if stage.style == "password" else GUESTS)  # the project's own


def test_what_was_done_to_a_server_can_be_read(stage: Stage, openstack: Client) -> None:
    server = stage.guest()
    openstack.ok("server", "migrate", "--live-migration", "--host", "node2", server)
    assert stage.settle(server) == ("ACTIVE", "node2")
    (event,) = openstack.json("server", "event", "list", "--long", server)
    assert (event["Action"], event["Message"], event["Server ID"]) == ("live-migration", None, server)
    shown = openstack.json("server", "event", "show", server, Named(event["Request ID"], "REQUEST"))
    assert shown["action"] == "live-migration"
    events = {each["event"]: each["result"] for each in shown["events"]}
    assert events["compute_live_migration"] == "Success"
    assert set(events.values()) == {"Success"}
