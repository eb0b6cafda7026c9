"""Where a server is, judged from how each host has it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from livemig.facts import PowerState, Presence

# What the API shows for a presence: Nova's vm_state and power_state. POST_COPY is a source's, so the guest is running (elsewhere).
SHOWN: dict[Presence, tuple[str, PowerState]] = {
    Presence.RUNNING: ("active", PowerState.RUNNING),
    Presence.PAUSED: ("paused", PowerState.PAUSED),
    Presence.SUSPENDED: ("suspended", PowerState.SUSPENDED),
    Presence.MIGRATING: ("active", PowerState.PAUSED),
    Presence.POST_COPY: ("active", PowerState.RUNNING),
    Presence.POST_COPY_FAILED: ("active", PowerState.PAUSED),
    Presence.SHUT_OFF: ("stopped", PowerState.SHUTDOWN),
    Presence.SAVED: ("suspended", PowerState.SHUTDOWN),
    Presence.CRASHED: ("error", PowerState.CRASHED),
    Presence.UNKNOWN: ("error", PowerState.NOSTATE),
    Presence.ABSENT: ("error", PowerState.NOSTATE),
}


@dataclass(frozen=True, slots=True)
class Sighting:
    """How a host has a server right now. `moving` says that libvirt moves it there, or away from it, whoever has asked for that."""

    uuid: str
    name: str
    presence: Presence
    moving: bool = False


# The best witnesses first: a host on which the guest lives, one where a migration passes through, one which merely has it defined.
LIVE = frozenset({Presence.RUNNING, Presence.PAUSED, Presence.SUSPENDED})
BETWEEN = frozenset({Presence.MIGRATING, Presence.POST_COPY, Presence.POST_COPY_FAILED})
OFF = frozenset({Presence.SHUT_OFF, Presence.SAVED, Presence.CRASHED})
RANKS = (LIVE, BETWEEN, OFF)


def where(known: str | None, sightings: Mapping[str, Presence]) -> str | None:
    """The host that a server is on, or None when no host has it.

    It stays on the `known` host for as long as no other ranks higher, so that a second copy (an incoming one, or a definition left behind) never
    moves it on the page. A guest that shut down stays where it last ran.
    """
    for rank in RANKS:
        hosts = [host for host, presence in sightings.items() if presence in rank]
        if hosts:
            return known if known in hosts else min(hosts)
    return None


def found_again(sightings: Mapping[str, Presence]) -> bool:
    """Whether a lost server is on one host again: it lives on one; or is defined somewhere, and lives nowhere, not even a half of it (post-copy)."""
    living, between, defined = ([host for host, presence in sightings.items() if presence in rank] for rank in RANKS)
    return len(living) == 1 or (not living and not between and bool(defined))
