"""Where addresses of guests come from when their metadata names none: leases, agents, ARP, and what was known before."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from livemig.facts import Address, Presence, ServerChanged, ServerFacts
from livemig.hypervisor import metadata
from livemig.hypervisor.addresses import Addresses, Leases
from livemig.hypervisor.domain_xml import Description
from livemig.testing import constants as C
from livemig.testing.errors import Fault
from livemig.testing.fleet import Domain, Interface, guest_uuid
from livemig.testing.runtime import VirtualRuntime
from tests.service import Service
from tests.unit.gate import World

GUEST = guest_uuid("guest")
MAC, OTHER = "52:54:00:00:00:01", "52:54:00:00:00:02"


@pytest.fixture
def world(runtime: VirtualRuntime) -> Iterator[World]:
    world = World(runtime)
    yield world
    world.hosts["a"].hung = False
    world.close()


def ips(world: World) -> list[str]:
    """As a look at all and a look at one find them."""
    [together] = [server for server in world.a.servers() if server.uuid == GUEST]
    assert world.a.server(GUEST).addresses == together.addresses
    return [address.ip for address in together.addresses]


def nic(known_by: str, *addresses: str, mac: str = MAC, kind: str = "network", network: str = "default") -> Interface:
    return Interface(mac, network, addresses, kind, known_by)


def add(world: World, *interfaces: Interface, **facts: Any) -> Domain:
    return world.fleet.add_guest("guest", "a", interfaces=interfaces, **facts)


@pytest.mark.parametrize("source", ["lease", "arp"])
def test_the_hosts_own_knowledge(world: World, source: str) -> None:
    add(world, nic(source, "10.0.0.5", "fd00::5"))
    found = world.a.server(GUEST).addresses
    assert found == (Address("default", "10.0.0.5", 4, MAC), Address("default", "fd00::5", 6, MAC))


def test_each_interface_by_the_first_source_that_knows_it(world: World) -> None:
    add(world, nic("lease", "10.0.0.5"), nic("arp", "192.0.2.7", mac=OTHER, kind="bridge", network="br0"))
    assert world.a.server(GUEST).addresses == (Address("default", "10.0.0.5", 4, MAC), Address("br0", "192.0.2.7", 4, OTHER))


METADATA = {"urn:livemig:server:1": ("livemig", "<server><ports><port><ip address='203.0.113.9'/></port></ports></server>")}


def test_metadata_comes_first(world: World) -> None:
    add(world, nic("lease", "10.0.0.5"), metadata=METADATA)
    assert world.a.server(GUEST).addresses == (Address("default", "203.0.113.9", 4, MAC),)


@pytest.mark.parametrize(
    ("had", "shown"),
    [
        (["fe80::1", "10.0.0.5"], ["10.0.0.5"]),
        (["fe80::1"], ["fe80::1"]),
        (["169.254.3.4", "fe80::1"], ["169.254.3.4", "fe80::1"]),
        (["127.0.0.1", "::1"], []),
        ([], []),
    ],
)
def test_link_local_addresses_only_where_there_are_no_others(world: World, had: Sequence[str], shown: list[str]) -> None:
    add(world, nic("arp", *had))
    assert ips(world) == shown


def test_an_agent_is_asked_apart_and_remembered(world: World) -> None:
    add(world, nic("agent", "10.0.0.6"), agent=True)
    assert ips(world) == []
    assert world.a.addresses.unasked() == {GUEST} and world.a.addresses.unasked() == set()
    assert world.a.ask_agent(GUEST) is True
    assert ips(world) == ["10.0.0.6"]
    assert world.a.ask_agent(GUEST) is False


@pytest.mark.parametrize(
    "facts",
    [{"agent": False}, {"agent": True, "metadata": METADATA}, {"agent": True, "state": "paused"}, {"agent": True, "state": "shutoff"}],
    ids=["none", "nothing to learn", "paused", "off"],
)
def test_agents_that_are_not_worth_a_question(world: World, facts: dict[str, Any]) -> None:
    add(world, nic("agent", "10.0.0.6"), **facts)
    world.a.servers()
    assert world.a.addresses.unasked() == set()


def test_what_was_found_stays_while_the_guest_lives(world: World) -> None:
    guest = add(world, nic("arp", "10.0.0.5"), nic("lease", "10.0.1.5", mac=OTHER))
    assert ips(world) == ["10.0.0.5", "10.0.1.5"]
    guest.definition.interfaces = (nic("arp"), nic("lease", "10.0.1.6", mac=OTHER))
    assert ips(world) == ["10.0.0.5", "10.0.1.6"]
    world.hosts["a"].kill_guest(GUEST)
    assert ips(world) == []
    world.runtime.sleep(1)
    guest.become(C.VIR_DOMAIN_RUNNING, C.VIR_DOMAIN_RUNNING_BOOTED)
    assert ips(world) == ["10.0.1.6"]


def test_a_guest_that_is_gone_is_forgotten(world: World) -> None:
    guest = add(world, nic("arp", "10.0.0.5"))
    assert ips(world) == ["10.0.0.5"]
    del world.hosts["a"].domains[GUEST]
    world.a.servers()
    guest.definition.interfaces = (nic("arp"),)
    world.hosts["a"].domains[GUEST] = guest
    assert ips(world) == []


def test_networks_are_asked_once_for_all(world: World) -> None:
    for number in range(5):
        world.fleet.add_guest(f"n{number}", "a", interfaces=[nic("lease", f"10.0.0.{number}", mac=f"52:54:00:00:01:0{number}")])
    [connection] = world.hosts["a"].connections
    asked: list[str] = []
    look_up = connection.networkLookupByName
    connection.networkLookupByName = lambda name: asked.append(name) or look_up(name)  # type: ignore[method-assign, func-returns-value]
    assert sum(len(server.addresses) for server in world.a.servers()) == 5
    assert asked == ["default"]


def test_a_network_that_is_gone(world: World) -> None:
    add(world, nic("lease", "10.0.0.5", network="gone"))
    assert ips(world) == []


class Mute:
    """A domain of a host whose ARP table cannot be read: libvirt 9.0 in a network namespace without neighbours."""

    def interfaceAddresses(self, _source: int, _flags: int) -> None:
        raise Fault(C.VIR_ERR_INTERNAL_ERROR, C.VIR_FROM_NONE, "internal error: wrong nlmsg len")()


def test_an_arp_table_that_cannot_be_read(world: World) -> None:
    described = Description(ServerFacts(GUEST, "guest", Presence.RUNNING), (metadata.Interface(MAC, "bridge"),))
    with world.a.use() as connection:
        assert Addresses(world.libvirt).find(described, Mute(), Leases(world.libvirt, connection)) == ()


def test_of_a_guest_that_is_just_arriving_only_its_presence_is_asked(world: World) -> None:
    world.web.definition.interfaces = (nic("arp", "10.0.0.5"),)
    world.migrate()
    arriving = world.b.server(world.web.definition.uuid)
    assert (arriving.presence, arriving.details, arriving.addresses) == (Presence.MIGRATING, False, ())
    assert world.a.server(world.web.definition.uuid).details
    world.a.abort(world.web.definition.uuid)


# The watcher


@pytest.fixture
def service(tmp_path: Path, runtime: VirtualRuntime) -> Iterator[Service]:
    with Service(tmp_path, runtime) as service:
        yield service


def shown(service: Service, name: str) -> list[str]:
    return [address.ip for address in service.store.servers.get(guest_uuid(name)).addresses]


def guest(service: Service, name: str, number: int, **facts: Any) -> Domain:
    interface = Interface(f"52:54:00:00:00:{number:02x}", addresses=(f"10.0.0.{number}",), known_by="agent")
    return service.fleet.add_guest(name, "node1", interfaces=[interface], agent=True, **facts)


def test_what_an_agent_says_is_shown(service: Service) -> None:
    guest(service, "web", 1)
    service.runtime.sleep(1)
    assert shown(service, "web") == ["10.0.0.1"]


def test_a_guest_that_is_paused_before_its_agent_is_asked(service: Service) -> None:
    """The question fails, and is put again after the next look."""
    web = guest(service, "web", 1)
    other = guest(service, "web2", 2)
    web.load.ignores_questions = True
    service.runtime.sleep(1)
    web.become(C.VIR_DOMAIN_PAUSED, C.VIR_DOMAIN_PAUSED_USER)
    web.load.ignores_questions = False
    service.fleet.changed()
    service.runtime.sleep(1)
    assert (shown(service, "web"), shown(service, "web2")) == ([], ["10.0.0.2"])
    web.become(C.VIR_DOMAIN_RUNNING, C.VIR_DOMAIN_RUNNING_UNPAUSED)
    service.runtime.sleep(130)
    assert shown(service, "web") == ["10.0.0.1"] and other.runs


def test_agents_that_never_answer_hold_up_neither_the_watcher_nor_for_long_the_others(service: Service) -> None:
    hanging = [guest(service, f"a{number}", number) for number in range(1, 3)]
    for each in hanging:
        each.load.ignores_questions = True
    guest(service, "web", 9)
    service.runtime.sleep(1)
    service.fleet.add_guest("new", "node1")
    service.runtime.sleep(1)
    assert service.store.servers.get(guest_uuid("new")).vm_state == "active", "the watcher goes on"
    assert shown(service, "web") == []
    service.runtime.sleep(200)
    assert shown(service, "web") == ["10.0.0.9"]
    for each in hanging:
        each.load.ignores_questions = False
    service.fleet.changed()
    service.runtime.sleep(1)
    assert shown(service, "a1") == ["10.0.0.1"] and shown(service, "a2") == ["10.0.0.2"]


def test_no_more_than_a_few_wait_for_agents_that_never_answer(service: Service) -> None:
    node1 = service.fleet.hosts["node1"]
    before = len(node1.connections)
    for number in range(1, 9):
        guest(service, f"a{number}", number).load.ignores_questions = True
    service.runtime.sleep(1000)
    assert len(node1.connections) == before + 3


def test_an_agent_that_comes_or_goes_is_a_reason_to_look(service: Service) -> None:
    watcher = service.conductor.inventory.get("node1")
    assert watcher is not None
    web = service.fleet.add_guest("web", "node1")
    said: list[object] = []
    watcher.hypervisor.listen(said.append)
    service.runtime.sleep(1)
    said.clear()
    web.definition.agent = True
    web.definition.interfaces = (Interface(MAC, addresses=("10.0.0.7",), known_by="agent"),)
    for state in (C.VIR_CONNECT_DOMAIN_EVENT_AGENT_LIFECYCLE_STATE_CONNECTED, C.VIR_CONNECT_DOMAIN_EVENT_AGENT_LIFECYCLE_STATE_DISCONNECTED):
        service.fleet.hosts["node1"].emit(C.VIR_DOMAIN_EVENT_ID_AGENT_LIFECYCLE, web, state, 0)
        service.runtime.sleep(1)
    uuid = guest_uuid("web")
    assert said == [ServerChanged(uuid, "guest agent connected"), ServerChanged(uuid, "guest agent disconnected")]
    assert shown(service, "web") == ["10.0.0.7"]
