"""Admission, scheduling and planning: the conductor's pure choices."""

from __future__ import annotations

from dataclasses import fields, replace
from datetime import datetime
from typing import Any

import pytest

from livemig.conductor.admission import choose
from livemig.conductor.checks.situation import End, Situation
from livemig.conductor.planning import plan, resumption
from livemig.conductor.scheduling import candidates
from livemig.conf import HostSettings
from livemig.facts import Disk, Guest, HostFacts, Plan, Policy, Presence
from livemig.records import Host, Migration
from livemig.states import Status

LONG_AGO = datetime(2026, 1, 1)


def migration(number: int, source: str, destination: str | None = None) -> Migration:
    return Migration(
        id=number,
        uuid=f"migration-{number}",
        server_uuid=f"server-{number}",
        status=Status.QUEUED,
        source=source,
        destination=destination,
        requested_host=None,
        block_migration=False,
        disk_over_commit=None,
        force=None,
        abort_requested=False,
        completion_forced=False,
        policy=Policy(),
        request_id="req",
        user_id="",
        project_id="",
        created_at=LONG_AGO,
        updated_at=None,
    )


def migrations(sources: str) -> list[Migration]:
    """One migration per letter, the letter being its source."""
    return [migration(number, source) for number, source in enumerate(sources, 1)]


# sources of the queued, sources of the admitted, the limit, ids of the chosen
ADMISSIONS: dict[str, tuple[str, str, int, list[int]]] = {
    "nothing waits": ("", "aaa", 1, []),
    "free": ("a", "", 1, [1]),
    "taken": ("a", "a", 1, []),
    "another source": ("a", "b", 1, [1]),
    "oldest first": ("aab", "", 1, [1, 3]),
    "two places, one taken": ("aaa", "a", 2, [1]),
    "limit lowered below what runs": ("ab", "aaa", 1, [2]),
    "no limit": ("aaaa", "aaaa", 0, [1, 2, 3, 4]),
}


@pytest.mark.parametrize("case", ADMISSIONS)
def test_admission(case: str) -> None:
    queued, admitted, limit, expected = ADMISSIONS[case]
    assert [each.id for each in choose(migrations(queued), migrations(admitted), limit)] == expected


def host(name: str, free: int, up: bool = True, **word: Any) -> Host:
    said: dict[str, Any] = {"up": up, "forced_down": False, "disabled": False, "disabled_reason": None, "memory_free_mib": free, **word}
    rest = {field.name: None for field in fields(Host) if field.name not in said}
    return Host(**{**rest, "name": name}, **said)


# hosts, destinations of what is under way (the source is "a"), names in order
CANDIDATES: dict[str, tuple[list[Host], list[str | None], list[str]]] = {
    "none": ([host("a", 10)], [], []),
    "not the source, not one that is away": ([host("a", 10), host("b", 10, up=False), host("c", 1)], [], ["c"]),
    "not one that is disabled": ([host("b", 30, disabled=True), host("c", 1)], [], ["c"]),
    "not one that was forced down": ([host("b", 30, forced_down=True), host("c", 1)], [], ["c"]),
    "most free memory": ([host("b", 10), host("c", 30), host("d", 20)], [], ["c", "d", "b"]),
    "by name": ([host("c", 10), host("b", 10)], [], ["b", "c"]),
    "fewest incoming": ([host("b", 30), host("c", 20), host("d", 10)], ["b", "b", "c"], ["d", "c", "b"]),
    "one without a destination yet": ([host("b", 10)], [None], ["b"]),
}


@pytest.mark.parametrize("case", CANDIDATES)
def test_candidates(case: str) -> None:
    hosts, destinations, expected = CANDIDATES[case]
    under_way = [migration(number, "x", destination) for number, destination in enumerate(destinations)]
    assert [each.name for each in candidates(hosts, "a", under_way)] == expected


DISK = Disk("vda", "file", "/srv/web")
GUEST = Guest(memory_mib=2048, vcpus=2, disks=(DISK,))
FACTS = HostFacts("node", "QEMU", 4_000_000, 9_000_000, 8, 8192, 4096)
SETTINGS = HostSettings("b", "qemu+tcp://b/system", "qemu+tls://b/system", None)
SITUATION = Situation("web", End("a", facts=FACTS), End("b", facts=FACTS), False, guest=GUEST, shared={"/srv/web": True})
PLAN = Plan("qemu+tls://b/system", None, persistent=True, shared_files=True, bandwidth_mib_s=0, auto_converge=False)


def with_guest(**changes: Any) -> Situation:
    return replace(SITUATION, guest=replace(GUEST, **changes))


def older(end: str) -> Situation:
    old = End(end, facts=replace(FACTS, hypervisor_version=3_999_999))
    return replace(SITUATION, source=old) if end == "source" else replace(SITUATION, destination=old)


PAUSED = replace(SITUATION, source=replace(SITUATION.source, presence=Presence.PAUSED))
TUNE = {"auto_converge_initial": 40, "auto_converge_increment": 5}
SEVERAL = {"parallel_connections": 4, "compression": ("zstd",), "zero_copy": True, "tls": True, "switchover_bandwidth_mib_s": 900}

PLANS: dict[str, tuple[Situation, HostSettings, Policy, Plan]] = {
    "all shared": (SITUATION, SETTINGS, Policy(), PLAN),
    "transient": (with_guest(persistent=False), SETTINGS, Policy(), replace(PLAN, persistent=False)),
    "policy": (SITUATION, SETTINGS, Policy(bandwidth_mib_s=50, auto_converge=True), replace(PLAN, bandwidth_mib_s=50, auto_converge=True)),
    "what is passed on": (SITUATION, SETTINGS, Policy(**SEVERAL), replace(PLAN, **SEVERAL)),  # type: ignore[arg-type]
    "post-copy": (SITUATION, SETTINGS, Policy(post_copy=True), replace(PLAN, post_copy=True)),
    "post-copy of a paused guest": (PAUSED, SETTINGS, Policy(post_copy=True), PLAN),
    "auto-converge, tuned": (SITUATION, SETTINGS, Policy(auto_converge=True, **TUNE), replace(PLAN, auto_converge=True, **TUNE)),
    "tuned, but not permitted": (SITUATION, SETTINGS, Policy(**TUNE), PLAN),
    "post-copy takes the place of auto-converge": (SITUATION, SETTINGS, Policy(post_copy=True, auto_converge=True, **TUNE), replace(PLAN, post_copy=True)),
    "a tunnel": (SITUATION, replace(SETTINGS, inbound_address="10.0.0.2"), Policy(tunnelled=True), replace(PLAN, tunnelled=True)),
    "IPv4": (SITUATION, replace(SETTINGS, inbound_address="10.0.0.2"), Policy(), replace(PLAN, migrate_uri="tcp://10.0.0.2")),
    "IPv6": (SITUATION, replace(SETTINGS, inbound_address="fd00::2"), Policy(), replace(PLAN, migrate_uri="tcp://[fd00::2]")),
    "name": (SITUATION, replace(SETTINGS, inbound_address="b.fast"), Policy(), replace(PLAN, migrate_uri="tcp://b.fast")),
    "a local disk": (replace(SITUATION, shared={"/srv/web": True, "/x": False}), SETTINGS, Policy(), replace(PLAN, shared_files=False)),
    "no file at all": (with_guest(disks=()), SETTINGS, Policy(), replace(PLAN, shared_files=False)),
    "network disks only": (with_guest(disks=(Disk("vda", "network", "pool/web"),)), SETTINGS, Policy(), replace(PLAN, shared_files=False)),
    "a volume beside a shared file": (with_guest(disks=(DISK, Disk("vdb", "volume", "web"))), SETTINGS, Policy(), replace(PLAN, shared_files=False)),
    "a block device beside it": (with_guest(disks=(DISK, Disk("vdb", "block", "/dev/sdb"))), SETTINGS, Policy(), PLAN),
    "old QEMU on the source": (older("source"), SETTINGS, Policy(), replace(PLAN, shared_files=False)),
    "old QEMU at the destination": (older("destination"), SETTINGS, Policy(), replace(PLAN, shared_files=False)),
    "nothing known of a host": (replace(SITUATION, destination=End("b")), SETTINGS, Policy(), replace(PLAN, shared_files=False)),
}


@pytest.mark.parametrize("case", PLANS)
def test_plans(case: str) -> None:
    situation, settings, policy, expected = PLANS[case]
    assert plan(situation, settings, policy) == expected


def test_disks_to_copy_are_passed_on() -> None:
    assert plan(SITUATION, SETTINGS, Policy(), ["vda", "vdc"]) == replace(PLAN, migrate_disks=("vda", "vdc"))


def test_a_resumption_is_what_destination_and_policy_say() -> None:
    """It is planned by whoever resumes, maybe another conductor: but for the guest's own facts it is the first plan."""
    policy = Policy(post_copy=True, auto_converge=True, **SEVERAL)  # type: ignore[arg-type]
    there = replace(SETTINGS, inbound_address="10.0.0.2")
    first = plan(SITUATION, there, policy, ["vda"])
    assert resumption(there, policy) == replace(first, shared_files=False, migrate_disks=(), switchover_bandwidth_mib_s=0)
