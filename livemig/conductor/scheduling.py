"""Which hosts are asked whether they can take a server, and in which order, when the request names none. Pure, over what the database knows.

Filters say why a host is not asked at all. Weights are Nova's (nova/scheduler/weights): each is spread over 0 to 1 between the hosts that are left,
multiplied by its option of [filter_scheduler], and added up.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from livemig.records import HostState, Member, Migration, MigrationEvent, Move, Usage
from livemig.states import SENDING

AFFINITY = "livemig:affinity_group"  # keys of a server's user metadata; the value is the group's name
ANTI_AFFINITY = "livemig:anti_affinity_group"


@dataclass(slots=True)  # not frozen, as `HostState`
class Candidate:
    """A host with what is on it and what is on its way to it. `friends` and `foes` are servers of the same affinity and anti-affinity group there."""

    host: HostState
    free_vcpus: int = 0
    free_memory_mib: int = 0
    servers: int = 0
    migrations: int = 0
    friends: int = 0
    foes: int = 0
    failed: bool = False


def candidates(
    hosts: Iterable[HostState], usage: Mapping[str, Usage], moves: Sequence[Move], tried: Iterable[str], friends: Iterable[Member], foes: Iterable[Member]
) -> list[Candidate]:
    """The hosts as candidates. To a transfer that failed, those `tried` will not do."""
    memory, vcpus, traffic = Counter[str](), Counter[str](), Counter[str]()
    for move in moves:
        memory[move.destination] += move.memory_mib
        vcpus[move.destination] += move.vcpus
        traffic.update((move.source, move.destination))
    near = Counter(member.destination or member.host for member in friends)
    apart = Counter(host for member in foes for host in {member.host, member.destination} - {None})
    none = Usage()
    return [
        Candidate(
            host,
            free_vcpus=host.vcpus - usage.get(host.name, none).vcpus - vcpus[host.name],
            free_memory_mib=host.memory_free_mib - memory[host.name],
            servers=usage.get(host.name, none).servers,
            migrations=traffic[host.name],
            friends=near[host.name],
            foes=apart[host.name],
            failed=host.name in tried,
        )
        for host in hosts
    ]


def up(candidate: Candidate) -> str | None:
    if candidate.host.forced_down:
        return "forced down"
    return None if candidate.host.up else "down"


def enabled(candidate: Candidate) -> str | None:
    if not candidate.host.disabled:
        return None
    return f"disabled: {candidate.host.disabled_reason}" if candidate.host.disabled_reason else "disabled"


def not_failed(candidate: Candidate) -> str | None:
    return "a transfer to it has failed" if candidate.failed else None


def apart(candidate: Candidate) -> str | None:
    return crowd(candidate.foes)


def crowd(foes: int) -> str | None:
    """What refuses a host with so many servers of the same anti-affinity group."""
    if not foes:
        return None
    return f"{foes} server{'s' * (foes > 1)} of the same anti-affinity group {'is' if foes == 1 else 'are'} there, or on the way"


FILTERS: tuple[Callable[[Candidate], str | None], ...] = (up, enabled, not_failed, apart)


def refused(candidate: Candidate) -> str | None:
    """What the first filter that refuses the host says."""
    for accepts in FILTERS:
        if reason := accepts(candidate):
            return reason
    return None


WEIGHTS: Mapping[str, Callable[[Candidate], float]] = {
    "ram_weight_multiplier": lambda candidate: candidate.free_memory_mib,
    "cpu_weight_multiplier": lambda candidate: candidate.free_vcpus,
    "disk_weight_multiplier": lambda candidate: candidate.host.disk_free_gib,
    "io_ops_weight_multiplier": lambda candidate: candidate.migrations,
    "num_instances_weight_multiplier": lambda candidate: candidate.servers,
    "hypervisor_version_weight_multiplier": lambda candidate: candidate.host.hypervisor_version,
    "soft_affinity_weight_multiplier": lambda candidate: candidate.friends,
}


def weighed(left: Sequence[Candidate], multipliers: Mapping[str, float]) -> list[tuple[float, str]]:
    """(weight, name) of these hosts, the heaviest first; those of the same weight by name."""
    totals = dict.fromkeys((candidate.host.name for candidate in left), 0.0)
    for option, weight in WEIGHTS.items():
        for name, share in zip(totals, _spread([weight(candidate) for candidate in left]), strict=False):
            totals[name] += multipliers[option] * share
    return sorted(((round(total, 6), name) for name, total in totals.items()), key=lambda pair: (-pair[0], pair[1]))


def _spread(values: Sequence[float]) -> list[float]:
    """0 for the least, 1 for the most; nothing where all are the same (nova/weights.py, normalize)."""
    least, most = min(values, default=0), max(values, default=0)
    return [(value - least) / (most - least) for value in values] if most > least else []


def foes_at(host: str, members: Iterable[Member], migration: int) -> int:
    """The servers of a group that keep a migration from its host at its start: of two that chose it at the same moment, the later one goes elsewhere."""
    return sum(member.host == host or (member.destination == host and _comes_first(member, migration)) for member in members)


def _comes_first(member: Member, migration: int) -> bool:
    return member.status in SENDING or (member.migration or 0) < migration


def may_go_elsewhere(migration: Migration, events: Iterable[MigrationEvent]) -> bool:
    """Whether another destination is tried after a transfer has failed: the request names none, its policy permits it, and nobody gave the migration up."""
    allowed = migration.requested_host is None and len(migration.tried) < migration.policy.other_destinations
    return allowed and not any(event.kind == "abort" for event in events)
