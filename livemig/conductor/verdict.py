"""Where the guest is, judged from what both hosts say: never from a return code. Pure."""

from __future__ import annotations

from collections.abc import Collection
from enum import Enum

from livemig.facts import Presence
from livemig.whereabouts import BETWEEN, LIVE, OFF


class Verdict(Enum):
    """What is to be done next."""

    COMPLETED = "the guest is on the destination"
    ON_SOURCE = "the guest is on the source"
    UNDECIDED = "a host cannot be asked, or is still at work: ask again"
    INTERRUPTED = "post-copy is interrupted: it is resumed"
    ABANDONED = "the destination waits for memory, and the source has gone: lost, if it stays so"
    FORGOTTEN = "the destination has the guest, and the source a paused copy without a job: completed, if it stays so"
    HALTED = "the source has a paused copy without a job, and the destination nothing: lost, if it stays so"
    LOST = "the guest is nowhere, or on both: a person must look"


_GONE = (Presence.ABSENT, *OFF)
_BROKEN = (Presence.POST_COPY_FAILED,)
_SWITCHED = (Presence.POST_COPY, Presence.POST_COPY_FAILED)  # a source with such a guest has only a part of it

# (how the source has it, how the destination has it) → verdict; the first row that fits counts.
_TABLE: tuple[tuple[Collection[Presence], Collection[Presence], Verdict], ...] = (
    ((Presence.UNKNOWN,), tuple(Presence), Verdict.UNDECIDED),
    (tuple(Presence), (Presence.UNKNOWN,), Verdict.UNDECIDED),
    (LIVE, LIVE, Verdict.LOST),  # it runs twice
    (LIVE, BETWEEN, Verdict.UNDECIDED),  # the destination is being cleaned up, or still receives
    (_SWITCHED, _GONE, Verdict.LOST),  # it ran on the destination, and its memory went with it
    (_BROKEN, (*LIVE, *_BROKEN), Verdict.INTERRUPTED),
    ((Presence.POST_COPY,), _BROKEN, Verdict.INTERRUPTED),
    ((Presence.MIGRATING,), LIVE, Verdict.FORGOTTEN),  # its daemon died right after the switch-over; or it is about to end in good order
    ((Presence.MIGRATING,), _GONE, Verdict.HALTED),  # the same, and then the guest ended; or its source is about to let it go on
    (BETWEEN, tuple(Presence), Verdict.UNDECIDED),  # switch-over: the source is about to go, or to go on
    (LIVE, _GONE, Verdict.ON_SOURCE),
    (_GONE, LIVE, Verdict.COMPLETED),
    (_GONE, _BROKEN, Verdict.ABANDONED),  # the source's QEMU has died; or it has just ended in good order, and the destination has yet to notice
    (_GONE, BETWEEN, Verdict.UNDECIDED),  # the destination is about to run it
    ((Presence.ABSENT,), OFF, Verdict.COMPLETED),  # it moved, and shut down there
    (OFF, (Presence.ABSENT,), Verdict.ON_SOURCE),  # it shut down before it could move
    (OFF, OFF, Verdict.COMPLETED),  # the destination had no definition before (a check), and gets one only at the very end
    ((Presence.ABSENT,), (Presence.ABSENT,), Verdict.LOST),
)


def judge(source: Presence, destination: Presence, post_copy: bool = False) -> Verdict:
    """The verdict over both ends, once no job runs any more. After a switch to `post_copy` the source has nothing that could go on by itself."""
    verdict = next(verdict for sources, destinations, verdict in _TABLE if source in sources and destination in destinations)
    return Verdict.LOST if post_copy and verdict is Verdict.ON_SOURCE else verdict
