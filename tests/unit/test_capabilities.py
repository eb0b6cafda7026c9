"""What a host has for a guest, asked through the gate of the mock: no more than the guest needs, and nothing twice that does not change."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from livemig import exceptions
from livemig.facts import Guest, Offer, Plug
from livemig.hypervisor import capabilities
from livemig.testing import constants as C
from livemig.testing.guests import EMULATOR
from tests.unit.gate import WEB, World

PLAIN = Guest(2048, 2, name="web", machine="pc-q35-7.2", emulator=EMULATOR)
KNOWN = Offer(most_vcpus=288, tpm_backends=frozenset({"passthrough", "emulator"}))


def ask(world: World, **needs: Any) -> Offer:
    return capabilities.offer(world.b, replace(PLAIN, **needs))


def calls(world: World) -> list[str]:
    """What b was asked since it was connected to and since this was last looked at."""
    world.hosts["b"].calls.subtract(["domainEventRegisterAny"] * world.hosts["b"].calls["domainEventRegisterAny"])
    asked = sorted(world.hosts["b"].calls.elements())
    world.hosts["b"].calls.clear()
    return asked


def test_a_plain_guest_costs_little(world: World) -> None:
    calls(world)
    assert ask(world) == KNOWN
    assert calls(world) == ["getDomainCapabilities", "lookupByName"]
    assert ask(world) == KNOWN
    assert calls(world) == ["lookupByName"]
    assert ask(world, plugs=(Plug("network", "default"),)) == replace(KNOWN, networks=frozenset({"default"}))
    assert calls(world) == ["listAllNetworks", "lookupByName"]


def test_what_is_remembered_ends_with_the_connection(world: World) -> None:
    ask(world)
    world.b.close()
    world.hosts["b"].max_vcpus = 8
    world.b.connect()
    assert ask(world).most_vcpus == 8


UNKNOWN: dict[str, tuple[dict[str, Any], dict[str, Any], str, str]] = {
    "emulator": ({"emulators": ()}, {}, "emulator", "Cannot check QEMU binary"),
    "architecture": ({}, {"arch": "aarch64"}, "emulator", "unknown architecture"),
    "machine": ({"machines": ("pc-i440fx-7.2",)}, {}, "machine type", "is not supported by emulator"),
    "domain type": ({"virt_types": ("qemu",)}, {}, "domain type", "does not support virt type"),
    "domain type and machine": ({"virt_types": ("qemu",)}, {"machine": "pc-9"}, "domain type", "does not support virt type"),
}


@pytest.mark.parametrize("case", UNKNOWN)
def test_what_is_unknown_is_named_and_not_remembered(world: World, case: str) -> None:
    broken, needs, what, words = UNKNOWN[case]
    before = {name: getattr(world.hosts["b"], name) for name in broken}
    world.hosts["b"].switch(broken)
    offer = ask(world, **needs)
    assert offer.unknown == what
    assert words in offer.unknown_text
    world.hosts["b"].switch(before)
    assert ask(world) == KNOWN


def test_a_namesake(world: World) -> None:
    assert ask(world).namesake == ""
    other = world.fleet.add_guest("web", "b", uuid="00000000-0000-4000-8000-000000000001")
    assert ask(world).namesake == other.definition.uuid
    assert ask(world, name="").namesake == ""


def test_interfaces(world: World) -> None:
    host, wanted = world.hosts["b"], (Plug("bridge", "br0"), Plug("direct", "eth0"))
    host.interfaces = ("eth0", "lo", "br0", "br1")
    calls(world)
    assert ask(world, plugs=wanted).interfaces == frozenset({"eth0", "br0", "br1"})
    assert calls(world).count("listAllInterfaces") == 1
    host.idle = ("br0",)
    offer = ask(world, plugs=wanted)
    assert (offer.interfaces, offer.idle) == (frozenset({"eth0", "lo", "br0", "br1"}), frozenset({"br0"}))
    host.interfaces = ("eth0",)
    assert ask(world, plugs=wanted).interfaces == frozenset({"eth0"})


def test_pinning_and_nodes(world: World) -> None:
    world.hosts["b"].numa_nodes = 2
    offer = ask(world, cpus=frozenset({1}), numa_nodes=frozenset({1}))
    assert (offer.cpus, offer.numa_nodes) == (frozenset({0, 1, 2, 3}), frozenset({0, 1}))


def test_huge_pages(world: World) -> None:
    host = world.hosts["b"]
    host.numa_nodes, host.huge_pages = 2, {2048: 100}
    assert ask(world, huge_pages_kib={2048: 1}).free_huge_pages == {2048: 200}
    assert ask(world, huge_pages_kib={2048: 1}, numa_nodes=frozenset({1})).free_huge_pages == {2048: 100}
    assert ask(world, huge_pages_kib={0: 1}).free_huge_pages == {2048: 200, 1048576: 0}
    none = ask(world, huge_pages_kib={2048: 1}, numa_nodes=frozenset({7}))
    assert none.free_huge_pages is None
    assert "start cell 7 out of range" in none.unasked[0]


EVERYTHING = {
    "plugs": (Plug("network", "default"), Plug("bridge", "br0")),
    "cpus": frozenset({1}),
    "numa_nodes": frozenset({0}),
    "huge_pages_kib": {0: 1},
}
OLD = ("getDomainCapabilities", "listAllNetworks", "listAllInterfaces", "getCPUMap", "getCapabilities", "getFreePages")


def test_what_a_daemon_cannot_tell_stays_unknown(world: World) -> None:
    world.hosts["b"].unsupported = OLD
    offer = ask(world, **EVERYTHING)
    assert replace(offer, unasked=(), free_huge_pages=None) == Offer()
    assert [text.partition(":")[0] for text in offer.unasked] == [
        "domain capabilities",
        "processors",
        "capabilities",
        "capabilities",
        "networks",
        "interfaces",
    ]
    assert capabilities.machine(world.b, PLAIN) is None


def test_idle_interfaces_that_cannot_be_told(world: World) -> None:
    """The daemon answers once and no more."""
    host = world.hosts["b"]
    host.idle = ("eth0",)
    with world.b.use() as connection:
        ask_really = connection.listAllInterfaces

    def once(flags: int) -> Any:
        found = ask_really(flags)
        host.unsupported = ("listAllInterfaces",)
        return found

    connection.listAllInterfaces = once
    offer = ask(world, plugs=(Plug("direct", "eth0"),))
    assert (offer.interfaces, offer.idle) == (None, frozenset())


CALLS: dict[str, Callable[[World], object]] = {
    "all": lambda world: ask(world, **EVERYTHING),
    "machine": lambda world: capabilities.machine(world.b, PLAIN),
    "namesake": lambda world: capabilities._Asking(world.b, PLAIN).namesake(),
    "culprit": lambda world: capabilities._Asking(world.b, PLAIN)._culprit(),
}


@pytest.mark.parametrize("call", CALLS)
def test_a_host_that_is_away(world: World, call: str) -> None:
    world.b.close()
    with pytest.raises(exceptions.HypervisorUnavailable):
        CALLS[call](world)


def test_the_model_that_guests_can_be_given(world: World) -> None:
    found = capabilities.machine(world.b, PLAIN)
    assert found is not None
    assert (found.cpu_model, found.most_vcpus) == ("Cascadelake-Server", 288)
    guest = replace(world.a.guest(WEB), cpu_xml=found.host_model)
    assert world.b.runs_cpu(guest)
    world.hosts["b"].cpu_model = "Haswell"
    assert not world.b.runs_cpu(guest)


def test_what_other_documents_say(world: World) -> None:
    """Of an older libvirt, and of features that are switched off."""
    bare = capabilities._machine("<domainCapabilities/>")
    assert bare == capabilities.Machine(None, None, "", "")
    model = "<mode name='host-model' supported='yes'><model>X&amp;Y</model><feature policy='disable' name='pni'/><feature name='vme'/></mode>"
    found = capabilities._machine(f"<domainCapabilities><vcpu max='0'/><cpu>{model}</cpu></domainCapabilities>")
    assert found.most_vcpus is None
    assert found.host_model == (
        "<cpu mode='custom' match='exact'><model fallback='forbid'>X&amp;Y</model>"
        '<feature policy="disable" name="pni"/><feature policy="require" name="vme"/></cpu>'
    )


def test_snapshots_are_counted(world: World) -> None:
    assert world.a.guest(WEB).snapshots == 0
    world.web.snapshots = ["<domainsnapshot/>"] * 2
    assert world.a.guest(WEB).snapshots == 2
    with world.a.use() as connection, pytest.raises(world.libvirt.libvirtError, match="cannot migrate domain with 2 snapshots") as caught:
        connection.lookupByName("web").migrateToURI3("qemu+tcp://b/system", {}, C.VIR_MIGRATE_LIVE | C.VIR_MIGRATE_PEER2PEER)
    assert caught.value.get_error_code() == C.VIR_ERR_OPERATION_INVALID
