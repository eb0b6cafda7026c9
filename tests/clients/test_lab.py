"""The same clients on real hosts, with a real guest that must not notice."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from livemig.lab.guests import Guest
from livemig.lab.lab import Lab
from tests.clients.record import Record
from tests.clients.runner import Client, Named, Start
from tests.clients.stage import Stage, serving

pytestmark = [pytest.mark.lab, pytest.mark.timeout(300)]

LIVE = ("server", "migrate", "--live-migration")


@pytest.fixture(scope="module")
def hosts(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """livemig-all on the lab, where everybody may do everything."""
    with serving(tmp_path_factory.mktemp("lab"), lab.config(), "none", None) as running:
        yield running


@pytest.fixture
def guest(lab: Lab, hosts: Stage) -> Iterator[Guest]:
    guest = lab.add_guest("web", "node1")
    hosts.service.wait_seen(guest.uuid, ("ACTIVE", "node1"))
    yield guest
    guest.remove()


@pytest.fixture
def made(hosts: Stage, record: Record, start: Start, tmp_path: Path) -> Callable[..., Client]:
    """Makes a client: of an environment, of a program in it."""
    return lambda made, program: Client(made, program, "lab", hosts.access("admin", program), tmp_path, record, start)


def test_one_guest_is_moved_by_three_clients(hosts: Stage, guest: Guest, made: Callable[..., Client]) -> None:
    openstack, nova, old = made("osc", "openstack"), made("osc", "nova"), made("osc-old", "openstack")
    server = Named(guest.uuid, "SERVER")
    (row,) = openstack.json("server", "list", "--all-projects", "--long")
    assert (row["Name"], row["Status"], row["Host"]) == ("web", "ACTIVE", "node1")
    openstack.ok(*LIVE, "--host", "node2", "--wait", Named("web", "NAME"))
    assert hosts.state(server) == ("ACTIVE", "node2")
    old.ok(*LIVE, "--wait", server)
    assert hosts.state(server) == ("ACTIVE", "node1")
    nova.ok("live-migration", server, "node2")
    assert hosts.settle(server) == ("ACTIVE", "node2")
    migrations = openstack.json("server", "migration", "list", "--server", server)
    assert [each["Status"] for each in migrations] == ["completed"] * 3
    (hypervisor, _other) = openstack.json("hypervisor", "list")
    assert hypervisor["State"] == "up"
    where = guest.where()
    assert where and where.name == "node2"
    assert guest.ticks().unbroken


def test_a_running_migration_is_aborted(lab: Lab, hosts: Stage, guest: Guest, made: Callable[..., Client]) -> None:
    openstack, server = made("osc", "openstack"), Named(guest.uuid, "SERVER")
    for host in lab.hosts:
        host.slow(8)
    try:
        openstack.ok(*LIVE, "--host", "node2", server)
        hosts.running(server)
        (listed,) = openstack.json("server", "migration", "list", "--server", server, "--status", "running")
        openstack.ok("server", "migration", "abort", server, Named(listed["UUID"], "MIGRATION"))
        assert hosts.settle(server) == ("ACTIVE", "node1")
    finally:
        for host in lab.hosts:
            host.heal()
    last, *_former = openstack.json("server", "migration", "list", "--server", server)
    assert last["Status"] == "cancelled"
    assert guest.ticks().unbroken


def test_pause_and_resume(hosts: Stage, guest: Guest, made: Callable[..., Client]) -> None:
    openstack, server = made("osc", "openstack"), Named(guest.uuid, "SERVER")
    openstack.ok("server", "pause", server)
    hosts.wait(server, ("PAUSED", "node1"))
    openstack.ok(*LIVE, "--host", "node2", server)
    assert hosts.settle(server) == ("PAUSED", "node2")
    openstack.ok("server", "unpause", server)
    hosts.wait(server, ("ACTIVE", "node2"))
    assert guest.ticks().unbroken
