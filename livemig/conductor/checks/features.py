"""Whether both hosts can do what the policy asks for, and whether it can be done together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from livemig import exceptions
from livemig.conductor.checks.hosts import dotted
from livemig.conductor.checks.situation import End, Situation
from livemig.exceptions import Refused
from livemig.facts import Presence

Asked = Callable[[Situation], bool]

_ALONE = {"xbzrle", "mt"}
_PARALLEL = {"zlib", "zstd"}


def _post_copy(now: Situation) -> bool:
    """A paused guest cannot go on at the destination: it is planned without."""
    return now.policy.post_copy and now.source.presence is not Presence.PAUSED


def _parallel(now: Situation) -> bool:
    return now.policy.parallel_connections > 1


def _methods(now: Situation, methods: set[str]) -> bool:
    return bool(methods & set(now.policy.compression))


def _copies_disks(now: Situation) -> bool:
    return not all(now.shared.values())


@dataclass(frozen=True, slots=True)
class Feature:
    """What may be asked for, and the least version of libvirt and of QEMU that have it, on both hosts. Versions are libvirt's integers; 0 is any."""

    name: str
    asked: Asked
    libvirt: int
    qemu: int = 0


@dataclass(frozen=True, slots=True)
class Flaw:
    """What a destination with libvirt `first` or later, and before `mended`, does wrong."""

    name: str
    asked: Asked
    first: int
    mended: int
    what: str


FEATURES = (
    Feature("post-copy", _post_copy, 1_003_003, 2_006_000),
    Feature("several connections", _parallel, 5_002_000, 4_000_000),
    Feature("several connections with post-copy", lambda now: _parallel(now) and _post_copy(now), 0, 10_001_000),
    Feature("TLS", lambda now: now.policy.tls, 3_002_000),
    Feature("compression by zlib or zstd", lambda now: _methods(now, _PARALLEL), 9_004_000, 5_000_000),
    Feature("zero-copy", lambda now: now.policy.zero_copy, 8_005_000, 7_001_000),
    Feature("tuning of auto-converge", lambda now: bool(now.policy.auto_converge_initial or now.policy.auto_converge_increment), 2_000_000),
    Feature("switch-over bandwidth", lambda now: bool(now.policy.switchover_bandwidth_mib_s), 11_001_000, 8_002_000),
)

FLAWS = (Flaw("post-copy", _post_copy, 11_002_000, 11_004_000, "libvirtd dies when an interrupted post-copy is resumed"),)

# What libvirt or QEMU refuse only when the migration has begun, and why it cannot be.
COMBINATIONS: tuple[tuple[Asked, str], ...] = (
    (lambda now: now.policy.zero_copy and not _parallel(now), "Zero-copy needs several connections"),
    (lambda now: now.policy.zero_copy and now.policy.tls, "Zero-copy cannot be encrypted by TLS"),
    (lambda now: now.policy.zero_copy and bool(now.policy.compression), "Zero-copy cannot be compressed"),
    (lambda now: now.policy.tunnelled and now.policy.tls, "A tunnel has the encryption of the daemons' connection, and no TLS of its own"),
    (lambda now: now.policy.tunnelled and _parallel(now), "A tunnel has but one connection"),
    (lambda now: now.policy.tunnelled and _post_copy(now), "Post-copy cannot go through a tunnel"),
    (lambda now: now.policy.tunnelled and _copies_disks(now), "Local disks cannot go through a tunnel"),
    (lambda now: _parallel(now) and _methods(now, _ALONE), "Compression by xbzrle or mt goes with one connection only"),
    (lambda now: not _parallel(now) and _methods(now, _PARALLEL), "Compression by zlib or zstd needs several connections"),
    (lambda now: len(_PARALLEL & set(now.policy.compression)) > 1, "Several connections are compressed by zlib or by zstd, not by both"),
    (lambda now: bool(set(now.policy.compression) - _ALONE - _PARALLEL), "Memory is compressed by xbzrle, mt, zlib or zstd"),
)


def combinable(now: Situation) -> Refused | None:
    """What the policy asks for can be done together. Which options exclude each other is in a table of its own. Mend: change the policy
    (live_migration_policy, or the option of the source's group)."""
    found = [sentence for asked, sentence in COMBINATIONS if asked(now)]
    if found:
        return exceptions.MigrationPreCheckError(reason=f"Policy {now.policy.name} cannot be carried out. {'. '.join(found)}.")
    return None


def features_there(now: Situation) -> Refused | None:
    """libvirt and QEMU on both hosts are new enough for what the policy asks for. Which versions that are is in a table of its own. Mend: upgrade them, or
    change the policy."""
    asked = [feature for feature in FEATURES if feature.asked(now)]
    lacks = [lack for feature in asked for end in (now.source, now.destination) for lack in _lacks(feature, end)]
    return exceptions.MigrationPreCheckError(reason="; ".join(lacks)) if lacks else None


def features_sound(now: Situation) -> Refused | None:
    """The destination's libvirt is none that is known to fail at what the policy asks for. Those that are known are in a table of their own. Mend: upgrade
    it, or change the policy."""
    host = now.destination.facts
    for flaw in FLAWS:
        if host and flaw.asked(now) and flaw.first <= host.libvirt_version < flaw.mended:
            has = f"{now.destination.name} has libvirt {dotted(host.libvirt_version)}"
            return exceptions.MigrationPreCheckError(reason=f"{flaw.name} is not safe: {has}, where {flaw.what}; {dotted(flaw.mended)} is mended")
    return None


def _lacks(feature: Feature, end: End) -> list[str]:
    """What is too old there."""
    if end.facts is None:
        return []
    versions = (("libvirt", end.facts.libvirt_version, feature.libvirt), ("QEMU", end.facts.hypervisor_version, feature.qemu))
    return [f"{feature.name} needs {what} {dotted(least)}, {end.name} has {dotted(has)}" for what, has, least in versions if has < least]
