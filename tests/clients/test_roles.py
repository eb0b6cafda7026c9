"""What somebody who is no administrator may do."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.clients.runner import Client
from tests.clients.stage import Stage

pytestmark = pytest.mark.parametrize("stage", ["http_basic", "password"], indirect=True)

LIVE = ("server", "migrate", "--live-migration")


@pytest.fixture
def member(client: Callable[..., Client]) -> Client:
    return client(user="member")


@pytest.fixture
def manager(client: Callable[..., Client]) -> Client:
    return client(user="manager")


@pytest.fixture
def reader(client: Callable[..., Client]) -> Client:
    return client(user="reader")


def test_a_reader_sees_the_project_and_not_its_hosts(stage: Stage, reader: Client) -> None:
    server, foreign = stage.guest("theirs"), stage.guest()
    rows = {row["ID"]: row for row in reader.json("server", "list", "--long")}
    assert {row["Name"].rstrip("0123456789") for row in rows.values()} == {"theirs"}
    assert (rows[server]["Status"], rows[server]["Host"]) == ("ACTIVE", None)
    assert "Host" not in reader.json("server", "show", server)
    assert "No Server found" in reader.refused("server", "show", foreign)
    assert "Policy doesn't allow" in reader.refused("server", "pause", server)
    assert "Policy doesn't allow" in reader.refused(*LIVE, server)
    assert "Policy doesn't allow" in reader.refused("hypervisor", "list")
    assert "Policy doesn't allow" in reader.refused("compute", "service", "list")
    assert "Policy doesn't allow" in reader.refused("server", "list", "--all-projects")


def test_a_member_stops_and_starts_but_does_not_migrate(stage: Stage, member: Client) -> None:
    server = stage.guest("theirs")
    member.ok("server", "stop", server)
    stage.wait(server, ("SHUTOFF", "node1"))
    member.ok("server", "start", server)
    stage.wait(server, ("ACTIVE", "node1"))
    assert "Policy doesn't allow" in member.refused(*LIVE, server)


def test_a_manager_migrates_but_not_to_a_host_of_choice(stage: Stage, manager: Client) -> None:
    server = stage.guest("theirs")
    assert "os-migrate-server:migrate_live:host" in manager.refused(*LIVE, "--host", "node2", server)
    manager.ok(*LIVE, server)
    assert stage.settle(server)[1] in ("node2", "node3")
    (row,) = manager.json("server", "migration", "list", "--server", server)
    assert (row["Status"], row["Source Compute"], row["Dest Compute"]) == ("completed", None, None)


def test_a_wrong_password_is_refused(stage: Stage, openstack: Client) -> None:
    assert "401" in openstack.refused("server", "list", OS_PASSWORD="wrong")
