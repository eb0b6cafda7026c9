"""Admission, scheduling and planning: the conductor's pure choices."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest

from livemig.conductor.admission import choose, stranded
from livemig.conductor.checks.situation import End, Situation
from livemig.conductor.planning import plan, resumption
from livemig.conductor.scheduling import WEIGHTS, Candidate, candidates, foes_at, may_go_elsewhere, refused, weighed
from livemig.conf import HostSettings, Limits
from livemig.conf.options import GROUPS
from livemig.facts import Disk, Guest, HostFacts, Plan, Policy, Presence
from livemig.records import HostState, Member, Migration, MigrationEvent, Move, Place, Usage
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


def places(pairs: str, first: int = 1) -> list[Place]:
    """One for each word: its source and its destination, a letter each; a number before them is its own."""
    made = []
    for number, word in enumerate(pairs.split(), first):
        made.append(Place(int(word[:-2] or number), word[-2], word[-1]))
    return made


OUT_1, IN_1, BOTH_1 = Limits(outgoing=1), Limits(incoming=1), Limits(outgoing=1, incoming=1)

# queued, admitted (numbered as if older), limits; numbers of those that start, and what the others wait for
ADMISSIONS: dict[str, tuple[str, str, Limits, list[int], dict[int, str]]] = {
    "nothing waits": ("", "ax ax", OUT_1, [], {}),
    "free": ("ax", "", OUT_1, [1], {}),
    "taken": ("ax", "ay", OUT_1, [], {1: "a sends 1 of 1"}),
    "another source": ("ax", "bx", OUT_1, [1], {}),
    "oldest first": ("ax ay bx", "", OUT_1, [1, 3], {2: "a sends 1 of 1"}),
    "two places, one taken": ("ax ax ax", "ax", Limits(outgoing=2), [1], {2: "a sends 2 of 2", 3: "a sends 2 of 2"}),
    "limit lowered below what runs": ("ax bx", "ax ax ax", OUT_1, [2], {1: "a sends 3 of 1"}),
    "no limit": ("ax ax ax", "ax ax", Limits(), [1, 2, 3], {}),
    "a destination": ("ax bx cy", "", IN_1, [1, 3], {2: "x receives 1 of 1"}),
    "in all": ("ax by cz", "dw", Limits(total=2), [1], {2: "2 of 2 migrations in all", 3: "2 of 2 migrations in all"}),
    "in all goes before a host's": ("ax", "ax by", Limits(outgoing=1, total=2), [], {1: "2 of 2 migrations in all"}),
    "a host with a limit of its own": ("ax ax bx bx", "", Limits(outgoing=1, outgoing_of={"a": 2}), [1, 2, 3], {4: "b sends 1 of 1"}),
    "a host without any": ("ax bx", "", Limits(incoming=1, incoming_of={"x": 0}), [1, 2], {}),
    "who is held up holds up nobody": ("ax bx", "ay", BOTH_1, [2], {1: "a sends 1 of 1"}),
    "a place is kept for who was overtaken": ("1ax 3ay", "2bx", BOTH_1, [], {1: "x receives 1 of 1", 3: "a sends 0 of 1, the next is migration 1"}),
    "but not for one that older ones hold up": ("2ax 3ay", "1bx", BOTH_1, [3], {2: "x receives 1 of 1"}),
    "kept at the destination": ("1ax 3cx", "2ay", BOTH_1, [], {1: "a sends 1 of 1", 3: "x receives 0 of 1, the next is migration 1"}),
    "kept for the first of them only": ("1ax 3cx 4cy", "2bx", BOTH_1, [4], {1: "x receives 1 of 1", 3: "x receives 1 of 1"}),
    "kept for the oldest alone": (
        "1ax 2cx 5ay 6cy",
        "3bx 4dx",
        Limits(outgoing=1, incoming=2),
        [6],
        {1: "x receives 2 of 2", 2: "x receives 2 of 2", 5: "a sends 0 of 1, the next is migration 1"},
    ),
    "the oldest, then the busiest host": ("1ax 2by 3dy 4dz 5dw", "", BOTH_1, [1, 3], {2: "y receives 1 of 1", 4: "d sends 1 of 1", 5: "d sends 1 of 1"}),
    "what a host does already counts": ("1ax 2by 3cy", "cw", Limits(outgoing=2, incoming=1, outgoing_of={"c": 3}), [1, 2], {3: "y receives 1 of 1"}),
    "a source in its order": ("1ax 2ay 3ay", "", OUT_1, [1], {2: "a sends 1 of 1", 3: "a sends 1 of 1"}),
    "more places are done sooner": ("1dw 2ax 3bx 4by 5by", "", Limits(1, 1, 0, {"b": 4}), [1, 2, 4], {3: "x receives 1 of 1", 5: "y receives 1 of 1"}),
    "nothing in all is kept": ("1ax 3dy", "2bx", Limits(1, 1, 2), [3], {1: "x receives 1 of 1"}),
}


@pytest.mark.parametrize("case", ADMISSIONS)
def test_admission(case: str) -> None:
    queued, admitted, limits, starting, waiting = ADMISSIONS[case]
    assert choose(places(queued), places(admitted, -9), limits) == (starting, waiting)


# queued (those that may go anywhere), admitted, limits; numbers of those that are sought another destination, and the destinations that are full
STRANDED: dict[str, tuple[str, str, Limits, list[int], dict[str, str]]] = {
    "its destination is full": ("1ax", "bx", BOTH_1, [1], {"x": "x receives 1 of 1"}),
    "so is its source": ("1ax", "bx ay", BOTH_1, [], {"x": "x receives 1 of 1", "y": "y receives 1 of 1"}),
    "as many as the source may send": ("1ax 2ax 3ax", "bx", Limits(outgoing=2, incoming=1), [1, 2], {"x": "x receives 1 of 1"}),
    "as many as may run in all": ("1ax 2cx", "bx", Limits(outgoing=1, incoming=1, total=2), [1], {"x": "x receives 1 of 1"}),
    "a destination with room": ("1ax", "bx", Limits(outgoing=1, incoming=2), [], {}),
}


@pytest.mark.parametrize("case", STRANDED)
def test_stranded(case: str) -> None:
    queued, admitted, limits, numbers, full = STRANDED[case]
    free = [replace(place, anywhere=True) for place in places(queued)]
    assert stranded(free, places(admitted, -9), limits) == (numbers, full)
    assert stranded(places(queued), places(admitted, -9), limits) == ([], full), "a host that was asked for is waited for"


@pytest.mark.parametrize("seed", range(20))
def test_nobody_starves_and_no_limit_is_passed(seed: int) -> None:
    """More and more is asked of the same hosts, for 1 to 5 ticks each: the oldest of all waits for those that run when it becomes the oldest, and no longer
    than one more takes that has overtaken it."""
    chance = random.Random(seed)
    limits = Limits(outgoing=chance.choice([1, 2]), incoming=chance.choice([1, 2]), total=chance.choice([0, 4]))
    queued, running, oldest, since = list[Place](), dict[int, tuple[Place, int]](), 0, 0
    for tick in range(400):
        queued += [Place(2 * tick + each, *chance.choice([("a", "y"), ("b", "x"), ("a", "x"), ("c", "z")])) for each in range(2)]
        running = {number: (place, left - 1) for number, (place, left) in running.items() if left > 1}
        starting, waiting = choose(queued, [place for place, _left in running.values()], limits)
        assert starting == sorted(starting) and sorted([*starting, *waiting]) == [place.id for place in queued]
        running |= {place.id: (place, chance.randint(1, 5)) for place in queued if place.id in starting}
        queued = [place for place in queued if place.id in waiting]
        for end, limit in (("source", limits.outgoing), ("destination", limits.incoming)):
            assert max(Counter(getattr(place, end) for place, _left in running.values()).values()) <= limit
        assert not limits.total or len(running) <= limits.total
        if queued and queued[0].id != oldest:
            oldest, since = queued[0].id, tick
        assert tick - since <= 10


def host(name: str, free: int = 10, up: bool = True, **word: Any) -> HostState:
    sizes = {"vcpus": 8, "disk_free_gib": 0, "hypervisor_version": 7_000_000}
    said: dict[str, Any] = {"forced_down": False, "disabled": False, "disabled_reason": None, **sizes, **word}
    return HostState(name=name, up=up, memory_free_mib=free, **said)


def test_candidates() -> None:
    """What is on a host, and what is on its way to it, or from it."""
    hosts = [host("b", 4096), host("c", 4096), host("d", 4096)]
    usage = {"b": Usage(servers=3, active=2, vcpus=5, memory_mib=1)}
    moves = [Move("a", "b", 1024, 2), Move("b", "c", 512, 1)]
    friends = [Member("b"), Member("b", "c", 4, Status.QUEUED)]
    foes = [Member("d"), Member("d", "c", 5, Status.RUNNING), Member("a")]
    b, c, d = candidates(hosts, usage, moves, ["d"], friends, foes)
    assert (b.free_memory_mib, b.free_vcpus, b.servers, b.migrations, b.friends, b.foes, b.failed) == (3072, 1, 3, 2, 1, 0, False)
    assert (c.free_memory_mib, c.free_vcpus, c.servers, c.migrations, c.friends, c.foes, c.failed) == (3584, 7, 0, 1, 1, 1, False)
    assert (d.free_memory_mib, d.free_vcpus, d.servers, d.migrations, d.friends, d.foes, d.failed) == (4096, 8, 0, 0, 0, 2, True)


FILTERED: dict[str, tuple[Candidate, str | None]] = {
    "free": (Candidate(host("b")), None),
    "down": (Candidate(host("b", up=False)), "down"),
    "forced down": (Candidate(host("b", forced_down=True)), "forced down"),
    "disabled": (Candidate(host("b", disabled=True)), "disabled"),
    "disabled, with a reason": (Candidate(host("b", disabled=True, disabled_reason="new disks")), "disabled: new disks"),
    "tried": (Candidate(host("b"), failed=True), "a transfer to it has failed"),
    "one of the group": (Candidate(host("b"), foes=1), "1 server of the same anti-affinity group is there, or on the way"),
    "two of the group": (Candidate(host("b"), foes=2), "2 servers of the same anti-affinity group are there, or on the way"),
}


@pytest.mark.parametrize("case", FILTERED)
def test_filters(case: str) -> None:
    candidate, reason = FILTERED[case]
    assert refused(candidate) == reason


NONE = dict.fromkeys(WEIGHTS, 0.0)
NOVA = {option.name: option.default for option in GROUPS["filter_scheduler"]}
B, C, D = (Candidate(host(name)) for name in "bcd")

# candidates, multipliers, (weight, name) in order
WEIGHED: dict[str, tuple[list[Candidate], dict[str, float], list[tuple[float, str]]]] = {
    "nobody": ([], NOVA, []),
    "by name": ([D, C, B], NOVA, [(0, "b"), (0, "c"), (0, "d")]),
    "memory": ([B, replace(C, free_memory_mib=100), replace(D, free_memory_mib=25)], NOVA, [(1, "c"), (0.25, "d"), (0, "b")]),
    "full hosts first": ([B, replace(C, free_memory_mib=100)], {**NONE, "ram_weight_multiplier": -2}, [(0, "b"), (-2, "c")]),
    "processors": ([B, replace(C, free_vcpus=1)], NOVA, [(1, "c"), (0, "b")]),
    "disks": ([B, Candidate(host("c", disk_free_gib=9))], NOVA, [(1, "c"), (0, "b")]),
    "migrations": ([replace(B, migrations=4), replace(C, migrations=1), D], NOVA, [(0, "d"), (-0.25, "c"), (-1, "b")]),
    "servers count for nothing in Nova": ([replace(B, servers=9), C], NOVA, [(0, "b"), (0, "c")]),
    "servers": ([replace(B, servers=9), C], {**NONE, "num_instances_weight_multiplier": -1.0}, [(0, "c"), (-1, "b")]),
    "a newer hypervisor": ([B, Candidate(host("c", hypervisor_version=8_000_000))], NOVA, [(1, "c"), (0, "b")]),
    "friends": ([B, replace(C, friends=1), replace(D, friends=2)], NOVA, [(1, "d"), (0.5, "c"), (0, "b")]),
    "a sum": ([replace(B, free_memory_mib=7, migrations=1), replace(C, free_vcpus=2)], NOVA, [(1, "c"), (0, "b")]),
}


@pytest.mark.parametrize("case", WEIGHED)
def test_weights(case: str) -> None:
    left, multipliers, expected = WEIGHED[case]
    assert weighed(left, multipliers) == expected


def test_of_two_that_chose_a_host_at_once_the_later_goes_elsewhere() -> None:
    before, after, there = Member("a", "x", 6, Status.QUEUED), Member("a", "x", 8, Status.PREPARING), Member("x")
    assert foes_at("x", [before, after, there, Member("a")], 7) == 2
    assert foes_at("x", [after], 7) == 0
    assert foes_at("x", [replace(after, status=Status.RUNNING)], 7) == 1, "it was first all the same"


PERMITTED = replace(migration(1, "a", "x"), policy=Policy(other_destinations=2))
LINES = [MigrationEvent(LONG_AGO, "check", "x: every check passed")]
ELSEWHERE: dict[str, tuple[Migration, list[MigrationEvent], bool]] = {
    "permitted": (PERMITTED, LINES, True),
    "Nova does not": (migration(1, "a", "x"), LINES, False),
    "a host was named": (replace(PERMITTED, requested_host="x"), LINES, False),
    "once more": (replace(PERMITTED, tried=("y",)), LINES, True),
    "enough": (replace(PERMITTED, tried=("y", "z")), LINES, False),
    "given up": (PERMITTED, [*LINES, MigrationEvent(LONG_AGO, "abort", "not completed after 800 s")], False),
}


@pytest.mark.parametrize("case", ELSEWHERE)
def test_other_destinations(case: str) -> None:
    failed, events, expected = ELSEWHERE[case]
    assert may_go_elsewhere(failed, events) is expected


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


LOCAL = replace(SITUATION, shared={"/srv/web": False})
BOTH = replace(SITUATION, guest=replace(GUEST, disks=(DISK, Disk("vdb", "file", "/x"))), shared={"/srv/web": True, "/x": False})
PAUSED = replace(SITUATION, source=replace(SITUATION.source, presence=Presence.PAUSED))
TUNE: dict[str, Any] = {"auto_converge_initial": 40, "auto_converge_increment": 5}
SEVERAL: dict[str, Any] = {"parallel_connections": 4, "compression": ("zstd",), "zero_copy": True, "tls": True, "switchover_bandwidth_mib_s": 900}

PLANS: dict[str, tuple[Situation, HostSettings, Policy, Plan]] = {
    "all shared": (SITUATION, SETTINGS, Policy(), PLAN),
    "transient": (with_guest(persistent=False), SETTINGS, Policy(), replace(PLAN, persistent=False)),
    "policy": (SITUATION, SETTINGS, Policy(bandwidth_mib_s=50, auto_converge=True), replace(PLAN, bandwidth_mib_s=50, auto_converge=True)),
    "what is passed on": (SITUATION, SETTINGS, Policy(**SEVERAL), replace(PLAN, **SEVERAL)),
    "post-copy": (SITUATION, SETTINGS, Policy(post_copy=True), replace(PLAN, post_copy=True)),
    "post-copy of a paused guest": (PAUSED, SETTINGS, Policy(post_copy=True), PLAN),
    "auto-converge, tuned": (SITUATION, SETTINGS, Policy(auto_converge=True, **TUNE), replace(PLAN, auto_converge=True, **TUNE)),
    "tuned, but not permitted": (SITUATION, SETTINGS, Policy(**TUNE), PLAN),
    "post-copy takes the place of auto-converge": (SITUATION, SETTINGS, Policy(post_copy=True, auto_converge=True, **TUNE), replace(PLAN, post_copy=True)),
    "a tunnel": (SITUATION, replace(SETTINGS, inbound_address="10.0.0.2"), Policy(tunnelled=True), replace(PLAN, tunnelled=True)),
    "IPv4": (SITUATION, replace(SETTINGS, inbound_address="10.0.0.2"), Policy(), replace(PLAN, migrate_uri="tcp://10.0.0.2")),
    "IPv6": (SITUATION, replace(SETTINGS, inbound_address="fd00::2"), Policy(), replace(PLAN, migrate_uri="tcp://[fd00::2]")),
    "name": (SITUATION, replace(SETTINGS, inbound_address="b.fast"), Policy(), replace(PLAN, migrate_uri="tcp://b.fast")),
    "a local disk": (LOCAL, SETTINGS, Policy(), replace(PLAN, shared_files=False, migrate_disks=("vda",))),
    "a local disk beside a shared one": (BOTH, SETTINGS, Policy(), replace(PLAN, migrate_disks=("vdb",))),
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


def test_a_resumption_is_what_destination_and_policy_say() -> None:
    """It is planned by whoever resumes, maybe another conductor: but for the guest's own facts it is the first plan."""
    policy = Policy(post_copy=True, auto_converge=True, **SEVERAL)
    there = replace(SETTINGS, inbound_address="10.0.0.2")
    first = plan(LOCAL, there, policy)
    assert resumption(there, policy) == replace(first, shared_files=False, migrate_disks=(), switchover_bandwidth_mib_s=0)
