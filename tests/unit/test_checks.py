"""The checks before a migration: each alone, and all reasons kept in order."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from livemig import exceptions
from livemig.conductor.checks import CHECKS, refusals
from livemig.conductor.checks.hosts import dotted
from livemig.conductor.checks.situation import End, Situation, file_paths
from livemig.facts import Disk, Guest, HostFacts, Presence

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
    "block, and local": ({"block_migration": True, "shared": {"/x": False}}, "storage", PRECHECK, "Local disks cannot be moved by this version of livemig: /x"),
    "auto, and local": (
        {"block_migration": None, "shared": {"/x": False, "/y": True}},
        "storage",
        PRECHECK,
        "Local disks cannot be moved by this version of livemig: /x",
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
    assert {name for _changes, name, _kind, _words in REFUSED.values()} == {check.__name__ for check in CHECKS}


def test_every_reason_is_kept_in_order() -> None:
    bad = host(hypervisor_type="Xen", hypervisor_version=1, memory_free_mib=0)
    now = replace(FINE, **source(presence=Presence.SHUT_OFF), **destination(facts=bad, presence=Presence.PAUSED), cpu_fits=False, shared={"/x": False})
    names = [name for name, _error in refusals(now)]
    assert names == ["same_hypervisor_type", "destination_not_older", "runs_on_source", "not_at_destination", "memory_free", "cpu_compatible", "storage"]


def test_a_host_that_is_away_is_the_only_reason() -> None:
    """What could not be asked is not held against anybody."""
    now = replace(FINE, **source(facts=None, presence=Presence.UNKNOWN), guest=None, cpu_fits=None, shared={})
    assert [name for name, _error in refusals(now)] == ["source_up"]


def test_only_files_are_looked_for() -> None:
    disks = [Disk("vda", "file", "/srv/web"), Disk("vdb", "block", "/dev/sdb"), Disk("vdc", "network", "pool/web"), Disk("sda", "file", None, "cdrom")]
    assert file_paths(disks) == ["/srv/web"]


@pytest.mark.parametrize(("version", "text"), [(7_002_022, "7.2.22"), (0, "0.0.0"), (10_000_000, "10.0.0"), (999, "0.0.999")])
def test_versions_as_people_write_them(version: int, text: str) -> None:
    assert dotted(version) == text
