"""Where the guest is, judged from what both hosts say: never from a return code. Pure."""

from __future__ import annotations

from enum import Enum

from livemig.facts import Presence


class Verdict(Enum):
    """What is to be done next."""

    COMPLETED = "the guest is on the destination"
    ON_SOURCE = "the guest is on the source"
    UNDECIDED = "a host cannot be asked, or is still at work: ask again"
    LOST = "the guest is nowhere, or on both: a person must look"


_LIVE = (Presence.RUNNING, Presence.PAUSED, Presence.SUSPENDED)
_OFF = (Presence.SHUT_OFF, Presence.SAVED, Presence.CRASHED)
_BETWEEN = (Presence.MIGRATING, Presence.POST_COPY, Presence.POST_COPY_FAILED)

# (how the source has it, how the destination has it) → verdict; the first row that fits counts.
_TABLE: tuple[tuple[tuple[Presence, ...], tuple[Presence, ...], Verdict], ...] = (
    ((Presence.UNKNOWN,), tuple(Presence), Verdict.UNDECIDED),
    (tuple(Presence), (Presence.UNKNOWN,), Verdict.UNDECIDED),
    (_LIVE, _LIVE, Verdict.LOST),  # it runs twice
    (_LIVE, _BETWEEN, Verdict.UNDECIDED),  # the destination is being cleaned up, or still receives
    (_BETWEEN, tuple(Presence), Verdict.UNDECIDED),  # switch-over: the source is about to go, or to go on
    (_LIVE, (Presence.ABSENT, *_OFF), Verdict.ON_SOURCE),
    ((Presence.ABSENT, *_OFF), _LIVE, Verdict.COMPLETED),
    ((Presence.ABSENT, *_OFF), _BETWEEN, Verdict.UNDECIDED),  # the destination is about to run it
    ((Presence.ABSENT,), _OFF, Verdict.COMPLETED),  # it moved, and shut down there
    (_OFF, (Presence.ABSENT,), Verdict.ON_SOURCE),  # it shut down before it could move
    (_OFF, _OFF, Verdict.COMPLETED),  # the destination had no definition before (a check), and gets one only at the very end
    ((Presence.ABSENT,), (Presence.ABSENT,), Verdict.LOST),
)


def judge(source: Presence, destination: Presence) -> Verdict:
    """The verdict over both ends, once no job runs any more."""
    for sources, destinations, verdict in _TABLE:
        if source in sources and destination in destinations:
            return verdict
    raise AssertionError(f"no verdict for {source} on the source, {destination} on the destination")
