"""The checks before a migration: each alone, and all reasons kept in order; and docs/checks.md, which has the same tables."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from livemig import exceptions
from livemig.conductor.checks import CHECKS, disks, notes, refusals
from livemig.conductor.checks.devices import CANNOT_MOVE, RISKY
from livemig.conductor.checks.features import COMBINATIONS, FEATURES, FLAWS
from livemig.conductor.checks.hosts import dotted
from livemig.conductor.checks.situation import End, Situation
from livemig.facts import Device, Guest, HostFacts, Offer, Plug, Policy, Presence
from livemig.hypervisor import bound

DOCS = Path(__file__).parents[2] / "docs" / "checks.md"

QEMU_7 = HostFacts("node", "QEMU", 7_002_022, 9_000_000, 8, 8192, 4096)
SOURCE = End("a", facts=QEMU_7, presence=Presence.RUNNING)
DESTINATION = End("b", facts=QEMU_7, presence=Presence.ABSENT)
GUEST = Guest(memory_mib=2048, vcpus=2)
FINE = Situation("web", SOURCE, DESTINATION, block_migration=False, guest=GUEST, cpu_fits=True, shared={"/srv/web": True})


def source(**changes: Any) -> dict[str, Any]:
    return {"source": replace(SOURCE, **changes)}


def destination(**changes: Any) -> dict[str, Any]:
    return {"destination": replace(DESTINATION, **changes)}


def host(**changes: Any) -> HostFacts:
    return replace(QEMU_7, **changes)


def guest(**changes: Any) -> dict[str, Any]:
    return {"guest": replace(GUEST, **changes)}


def policy(**changes: Any) -> dict[str, Any]:
    """Both hosts being as new as can be, so that only what is asked for can be at fault."""
    return {"policy": Policy(**changes)} | source(facts=NEWEST) | destination(facts=NEWEST)


def device(kind: str, what: str = "") -> dict[str, Any]:
    return guest(devices=(Device(kind, what),))


NEWEST = host(hypervisor_version=99_000_000, libvirt_version=99_000_000)
PRECHECK = exceptions.MigrationPreCheckError

# What differs from a migration that may start; the check that refuses it, its error, and words of its text.
REFUSED: dict[str, tuple[dict[str, Any], str, type[exceptions.Refused], str]] = {
    "source forced down": (source(forced_down=True), "source_up", exceptions.ComputeServiceUnavailable, "Compute service of a is unavailable"),
    "source away": (source(facts=None), "source_up", exceptions.ComputeServiceUnavailable, "Compute service of a is unavailable"),
    "unknown destination": (destination(known=False, facts=None), "destination_known", exceptions.HostNotFound, "Compute host b could not be found"),
    "to itself": ({"destination": SOURCE}, "not_to_self", exceptions.UnableToMigrateToSelf, "Unable to migrate instance (web) to current host (a)"),
    "to itself, forced": ({"destination": SOURCE, "force": True}, "not_to_self", exceptions.UnableToMigrateToSelf, "to current host (a)"),
    "to itself, as the scheduler says it": (
        {"destination": replace(SOURCE, disabled=True), "force": False},
        "not_to_self",
        exceptions.NoValidHost,
        "No valid host was found. There are not enough hosts available.",
    ),
    "disabled": (
        destination(disabled=True, disabled_reason="new disks"),
        "destination_enabled",
        exceptions.NoValidHost,
        "No valid host was found. Host b is disabled: new disks",
    ),
    "disabled, nobody knows why": (destination(disabled=True) | {"force": False}, "destination_enabled", exceptions.NoValidHost, "Host b is disabled."),
    "destination forced down": (destination(forced_down=True) | {"force": True}, "destination_up", exceptions.ComputeServiceUnavailable, "service of b is"),
    "destination away": (destination(facts=None), "destination_up", exceptions.ComputeServiceUnavailable, "Compute service of b is unavailable"),
    "other hypervisor": (destination(facts=host(hypervisor_type="Xen")), "same_hypervisor_type", exceptions.InvalidHypervisorType, "(QEMU on the source, Xen"),
    "older": (
        destination(facts=host(hypervisor_version=7_002_021)),
        "destination_not_older",
        exceptions.DestinationHypervisorTooOld,
        "7.2.22 on the source, 7.2.21",
    ),
    "shut off": (source(presence=Presence.SHUT_OFF), "runs_on_source", PRECHECK, "Instance web is shut off on a"),
    "gone": (source(presence=Presence.ABSENT), "runs_on_source", PRECHECK, "Instance web is absent on a"),
    "already migrating": (source(presence=Presence.MIGRATING), "runs_on_source", PRECHECK, "is paused (migrating) on a"),
    "no XML": ({"guest": None}, "runs_on_source", PRECHECK, "on a"),
    "definition left behind": (destination(presence=Presence.SHUT_OFF), "not_at_destination", exceptions.MigrationPreCheckError, "is shut off on b too"),
    "second copy": (destination(presence=Presence.RUNNING), "not_at_destination", PRECHECK, "Instance web is running on b too"),
    "second, incoming copy": (destination(presence=Presence.MIGRATING), "not_at_destination", PRECHECK, "on b too"),
    "no memory": (destination(facts=host(memory_free_mib=2048)), "memory_free", PRECHECK, "Lack of memory(host:2048 <= instance:2048)"),
    "CPU": ({"cpu_fits": False}, "cpu_compatible", PRECHECK, "Unacceptable CPU info"),
    "probe failed": ({"probe_error": "no pool"}, "storage", PRECHECK, "Whether the disks are shared could not be found out: no pool"),
    "block, but shared": ({"block_migration": True}, "storage", exceptions.InvalidLocalStorage, "a is not on local storage"),
    "block, no disk": ({"block_migration": True, "shared": {}}, "storage", exceptions.InvalidLocalStorage, "a is not on local storage"),
    "CPU, and why": (
        {"cpu_fits": False, "cpu_error": "b: Unknown CPU model X (libvirt error 1)"},
        "cpu_compatible",
        PRECHECK,
        "Unacceptable CPU info: CPU doesn't have compatibility on b. b: Unknown CPU model X",
    ),
    "no memory beside the reserved": (
        destination(facts=host(memory_free_mib=2560), reserved_memory_mib=512),
        "memory_free",
        PRECHECK,
        "Lack of memory(host:2048 <= instance:2048)",
    ),
    "another guest's name": (
        guest(name="web") | {"offer": Offer(namesake="0-1-2")},
        "name_free",
        PRECHECK,
        "b has another guest that is called web: 0-1-2",
    ),
    "snapshots": (guest(snapshots=2), "no_snapshots", PRECHECK, "has 2 snapshots"),
    "a host's device": (device("hostdev", "pci"), "devices_movable", PRECHECK, "what cannot be migrated: a device of the host (PCI, mdev, SCSI) (pci)"),
    "unknown emulator": (
        guest(emulator="/opt/qemu") | {"offer": Offer(unknown="emulator", unknown_text="no such file")},
        "emulator_known",
        PRECHECK,
        "b does not know the guest's emulator /opt/qemu: no such file",
    ),
    "no KVM": ({"offer": Offer(unknown="domain type", unknown_text="no")}, "domain_type_known", PRECHECK, "b does not know the guest's domain type kvm: no"),
    "unknown machine": (
        guest(machine="pc-9") | {"offer": Offer(unknown="machine type", unknown_text="no")},
        "machine_known",
        PRECHECK,
        "b does not know the guest's machine type pc-9: no",
    ),
    "too many vCPUs": ({"offer": Offer(most_vcpus=1)}, "vcpus_possible", PRECHECK, "at most 1 vCPUs; instance web may have 2"),
    "no swtpm": (
        device("tpm emulator", "tpm-crb") | {"offer": Offer(tpm_backends=frozenset({"passthrough"}))},
        "tpm_possible",
        PRECHECK,
        "b cannot emulate the TPM of instance web",
    ),
    "no huge pages": (
        guest(huge_pages_kib={2048: 2**21}) | {"offer": Offer(free_huge_pages={2048: 1023})},
        "huge_pages_free",
        PRECHECK,
        "needs huge pages: 1024 of 2048 KiB; free on b: 1023 of 2048 KiB",
    ),
    "no huge pages of any size": (
        guest(huge_pages_kib={0: 2**21}) | {"offer": Offer(free_huge_pages={2048: 0, 2**20: 1})},
        "huge_pages_free",
        PRECHECK,
        "2097152 KiB in pages of the default size; free on b: 0 of 2048 KiB, 1 of 1048576 KiB",
    ),
    "no such size of huge pages": (
        guest(huge_pages_kib={2048: 2**21}) | {"offer": Offer(free_huge_pages={})},
        "huge_pages_free",
        PRECHECK,
        "free on b: none",
    ),
    "pinned": (
        guest(cpus=frozenset({1, 8, 9})) | {"offer": Offer(cpus=frozenset(range(8)))},
        "processors_there",
        PRECHECK,
        "Instance web is pinned to processors that b does not have: 8, 9",
    ),
    "NUMA": (
        guest(numa_nodes=frozenset({0, 1})) | {"offer": Offer(numa_nodes=frozenset({0}))},
        "numa_nodes_there",
        PRECHECK,
        "is bound to NUMA nodes that b does not have: 1",
    ),
    "no network": (
        guest(plugs=(Plug("network", "blue"), Plug("bridge", "br0"))) | {"offer": Offer(networks=frozenset({"default"}))},
        "networks_active",
        PRECHECK,
        "b has no active network blue, which instance web uses",
    ),
    "no bridge": (
        guest(plugs=(Plug("bridge", "br0"), Plug("direct", "eth7"))) | {"offer": Offer(interfaces=frozenset({"eth0"}))},
        "interfaces_there",
        PRECHECK,
        "b has no network interface or bridge br0, eth7, which",
    ),
    "the source's address": (
        device("address", "10.0.0.1") | source(address="10.0.0.1") | destination(address="10.0.0.2"),
        "addresses_there",
        PRECHECK,
        "listens on 10.0.0.1, which is an address of a alone",
    ),
    "zero-copy alone": (
        policy(zero_copy=True, name="fast"),
        "combinable",
        PRECHECK,
        "Migration pre-check error: Policy fast cannot be carried out. Zero-copy needs several connections.",
    ),
    "zero-copy with TLS": (policy(zero_copy=True, tls=True, parallel_connections=2), "combinable", PRECHECK, "Zero-copy cannot be encrypted"),
    "zero-copy with compression": (policy(zero_copy=True, compression=("zstd",), parallel_connections=2), "combinable", PRECHECK, "Zero-copy cannot be comp"),
    "tunnelled TLS": (policy(tunnelled=True, tls=True), "combinable", PRECHECK, "A tunnel has the encryption of the daemons' connection"),
    "two tunnels": (policy(tunnelled=True, parallel_connections=2), "combinable", PRECHECK, "A tunnel has but one connection."),
    "tunnelled post-copy": (policy(tunnelled=True, post_copy=True), "combinable", PRECHECK, "Post-copy cannot go through a tunnel."),
    "xbzrle in parallel": (policy(compression=("xbzrle",), parallel_connections=2), "combinable", PRECHECK, "goes with one connection only"),
    "zstd alone": (policy(compression=("zstd",)), "combinable", PRECHECK, "Compression by zlib or zstd needs several connections"),
    "two compressions": (policy(compression=("zstd", "zlib"), parallel_connections=2), "combinable", PRECHECK, "by zlib or by zstd, not by both"),
    "no compression": (policy(compression=("zip",)), "combinable", PRECHECK, "Memory is compressed by xbzrle, mt, zlib or zstd"),
    "zero-copy, old libvirt": (
        policy(zero_copy=True, parallel_connections=2) | source(facts=host(libvirt_version=8_004_000)) | destination(facts=NEWEST),
        "features_there",
        PRECHECK,
        "Migration pre-check error: zero-copy needs libvirt 8.5.0, a has 8.4.0",
    ),
    "switch-over bandwidth, old destination": (
        policy(switchover_bandwidth_mib_s=1) | source(facts=QEMU_7) | destination(facts=host(libvirt_version=11_001_000)),
        "features_there",
        PRECHECK,
        "needs libvirt 11.1.0, a has 9.0.0; switch-over bandwidth needs QEMU 8.2.0, a has 7.2.22; switch-over bandwidth needs QEMU 8.2.0, b has 7.2.22",
    ),
    "parallel post-copy": (
        policy(post_copy=True, parallel_connections=2) | source(facts=host(hypervisor_version=10_000_000)) | destination(facts=NEWEST),
        "features_there",
        PRECHECK,
        "several connections with post-copy needs QEMU 10.1.0, a has 10.0.0",
    ),
    "post-copy that kills": (
        policy(post_copy=True) | destination(facts=host(libvirt_version=11_003_000, hypervisor_version=99_000_000)),
        "features_sound",
        PRECHECK,
        "post-copy is not safe: b has libvirt 11.3.0, where libvirtd dies when an interrupted post-copy is resumed; 11.4.0 is mended",
    ),
    "one disk is local": ({"shared": {"/x": True, "/y": False}}, "storage", exceptions.InvalidSharedStorage, "b is not on shared storage"),
}

PASSED: dict[str, dict[str, Any]] = {
    "fine": {},
    "paused": source(presence=Presence.PAUSED),
    "newer": destination(facts=host(hypervisor_version=8_000_000)),
    "just enough memory": destination(facts=host(memory_free_mib=2049)),
    "nothing known of the CPU": {"cpu_fits": None},
    "no disk": {"shared": {}},
    "auto, all shared": {"block_migration": None},
    "auto, no disk": {"block_migration": None, "shared": {}},
    "disabled, but forced": destination(disabled=True) | {"force": True},
    "memory in huge pages": guest(huge_pages_kib={2048: 2**21}) | {"offer": Offer(free_huge_pages={2048: 1024})} | destination(facts=host(memory_free_mib=1)),
    "huge pages of any size": guest(huge_pages_kib={0: 2**21}) | {"offer": Offer(free_huge_pages={2048: 0, 2**20: 2})},
    "nothing known of huge pages": guest(huge_pages_kib={2048: 2**21}),
    "its own name": guest(name="web") | {"offer": Offer(namesake="web")},
    "all that it needs": guest(
        cpus=frozenset({1}), numa_nodes=frozenset({0}), plugs=(Plug("network", "blue"), Plug("bridge", "br0")), devices=(Device("tpm emulator"),)
    )
    | {"offer": Offer("", "", 2, frozenset({"emulator"}), frozenset({1}), frozenset({0}), None, frozenset({"blue"}), frozenset({"br0"}))},
    "nothing known of what it needs": guest(
        cpus=frozenset({1}), numa_nodes=frozenset({0}), plugs=(Plug("network", "blue"), Plug("bridge", "br0")), devices=(Device("tpm emulator"),)
    ),
    "an address of both": device("address", "10.0.0.9") | source(address="10.0.0.9") | destination(address="10.0.0.9"),
    "an address that nobody knows": device("address", "10.0.0.3"),
    "everything": policy(post_copy=True, parallel_connections=4, tls=True, compression=("zstd",), auto_converge_initial=20, switchover_bandwidth_mib_s=1),
    "post-copy of a paused guest": policy(post_copy=True, tunnelled=True) | source(facts=NEWEST, presence=Presence.PAUSED),
    "post-copy as it was": policy(post_copy=True) | destination(facts=host(libvirt_version=11_001_999, hypervisor_version=99_000_000)),
    "post-copy as it is": policy(post_copy=True) | destination(facts=host(libvirt_version=11_004_000, hypervisor_version=99_000_000)),
    "away from a disabled host": source(disabled=True) | {"force": False},
}


@pytest.mark.parametrize("case", REFUSED)
def test_each_check_alone(case: str) -> None:
    changes, name, kind, words = REFUSED[case]
    [(check, error)] = refusals(replace(FINE, **changes))
    assert (check, type(error)) == (name, kind)
    assert words in str(error)


@pytest.mark.parametrize("case", PASSED)
def test_what_may_start(case: str) -> None:
    assert list(refusals(replace(FINE, **PASSED[case]))) == []


def test_every_check_has_a_case() -> None:
    """Those of disks are tested with what decides about disks."""
    others = {check.__name__ for check in CHECKS if check.__module__ != disks.__name__}
    assert {name for _changes, name, _kind, _words in REFUSED.values()} == {*others, "storage"}


def test_every_reason_is_kept_in_order() -> None:
    bad = host(hypervisor_type="Xen", hypervisor_version=1, memory_free_mib=0)
    now = replace(FINE, **source(presence=Presence.SHUT_OFF), **destination(facts=bad, presence=Presence.PAUSED), cpu_fits=False, shared={"/x": False})
    names = [name for name, _error in refusals(now)]
    assert names == ["same_hypervisor_type", "destination_not_older", "runs_on_source", "not_at_destination", "memory_free", "cpu_compatible", "storage"]


def test_a_host_that_is_away_is_the_only_reason() -> None:
    """What could not be asked is not held against anybody."""
    now = replace(FINE, **source(facts=None, presence=Presence.UNKNOWN), guest=None, cpu_fits=None, shared={})
    assert [name for name, _error in refusals(now)] == ["source_up"]


@pytest.mark.parametrize(("version", "text"), [(7_002_022, "7.2.22"), (0, "0.0.0"), (10_000_000, "10.0.0"), (999, "0.0.999")])
def test_versions_as_people_write_them(version: int, text: str) -> None:
    assert dotted(version) == text


def test_local_disks_go_through_no_tunnel() -> None:
    now = replace(FINE, policy=Policy(tunnelled=True), block_migration=True, shared={"/x": False})
    assert "Local disks cannot go through a tunnel." in str(dict(refusals(now))["combinable"])


@pytest.mark.parametrize("kind", CANNOT_MOVE)
def test_what_cannot_move(kind: str) -> None:
    [(check, error)] = refusals(replace(FINE, **device(kind)))
    assert check == "devices_movable"
    assert str(error).endswith(CANNOT_MOVE[kind][0])
    assert list(notes(replace(FINE, **device(kind)))) == []


@pytest.mark.parametrize("kind", RISKY)
def test_what_is_risky_is_noted(kind: str) -> None:
    now = replace(FINE, **device(kind, "this"))
    assert list(refusals(now)) == []
    [note] = notes(now)
    assert RISKY[kind][0] in note and "(this)" in note


def test_every_kind_of_device_is_judged() -> None:
    kinds = {kind for kind, _where, _what in bound.DEVICES} | {"address"}
    assert kinds == {*CANNOT_MOVE, *RISKY, "tpm emulator"}


NOTED: dict[str, tuple[dict[str, Any], list[str]]] = {
    "nothing": ({}, []),
    "no guest": ({"guest": None}, []),
    "an idle bridge": (
        guest(plugs=(Plug("bridge", "br0"), Plug("bridge", "br1"), Plug("network", "br0"))) | {"offer": Offer(idle=frozenset({"br0"}))},
        ["br0 is not up on b: the guest may have no network there"],
    ),
    "the same CPU": ({"cpu_models": ("Haswell", "Haswell")}, []),
    "another CPU": (
        {"cpu_models": ("Haswell", "Broadwell")},
        ["The guest has the CPU of its host, Haswell; the destination's is Broadwell, which has as much and may not be the same"],
    ),
}


@pytest.mark.parametrize("case", NOTED)
def test_notes(case: str) -> None:
    changes, sentences = NOTED[case]
    assert list(notes(replace(FINE, **changes))) == sentences


# docs/checks.md


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |\n" for line in lines)


def checks() -> Iterator[tuple[str, str, str]]:
    for check in CHECKS:
        means, mend = " ".join(inspect.getdoc(check).split()).split(" Mend: ")  # type: ignore[union-attr]
        yield f"`{check.__name__}`", means, mend[0].upper() + mend[1:]


def version(number: int) -> str:
    return dotted(number) if number else "any"


TABLES = {
    "checks": table(("check", "what it means", "how to mend it"), checks()),
    "cannot move": table(("device", "what it is", "how to mend it"), ((kind, *words) for kind, words in CANNOT_MOVE.items())),
    "risky": table(("device", "what it is", "what may happen"), ((kind, *words) for kind, words in RISKY.items())),
    "features": table(("asked for", "libvirt", "QEMU"), ((each.name, version(each.libvirt), version(each.qemu)) for each in FEATURES)),
    "flaws": table(
        ("asked for", "libvirt", "what it does"), ((each.name, f"{dotted(each.first)} to before {dotted(each.mended)}", each.what) for each in FLAWS)
    ),
    "combinations": "".join(f"- {sentence}.\n" for _asked, sentence in COMBINATIONS),
}


@pytest.mark.parametrize("name", TABLES)
def test_the_documentation_says_the_same(name: str) -> None:
    assert TABLES[name] in DOCS.read_text(encoding="utf-8")
