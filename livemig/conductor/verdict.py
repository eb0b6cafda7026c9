"""Where the guest is, judged from what both hosts say: never from a return code. Pure."""

from __future__ import annotations

from enum import Enum

from livemig.facts import Presence


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


_LIVE = (Presence.RUNNING, Presence.PAUSED, Presence.SUSPENDED)
_OFF = (Presence.SHUT_OFF, Presence.SAVED, Presence.CRASHED)
_GONE = (Presence.ABSENT, *_OFF)
_BROKEN = (Presence.POST_COPY_FAILED,)
_SWITCHED = (Presence.POST_COPY, Presence.POST_COPY_FAILED)  # a source with such a guest has only a part of it
_BETWEEN = (Presence.MIGRATING, Presence.POST_COPY, Presence.POST_COPY_FAILED)

# (how the source has it, how the destination has it) → verdict; the first row that fits counts.
_TABLE: tuple[tuple[tuple[Presence, ...], tuple[Presence, ...], Verdict], ...] = (
    ((Presence.UNKNOWN,), tuple(Presence), Verdict.UNDECIDED),
    (tuple(Presence), (Presence.UNKNOWN,), Verdict.UNDECIDED),
    (_LIVE, _LIVE, Verdict.LOST),  # it runs twice
    (_LIVE, _BETWEEN, Verdict.UNDECIDED),  # the destination is being cleaned up, or still receives
    (_SWITCHED, _GONE, Verdict.LOST),  # it ran on the destination, and its memory went with it
    (_BROKEN, (*_LIVE, *_BROKEN), Verdict.INTERRUPTED),
    ((Presence.POST_COPY,), _BROKEN, Verdict.INTERRUPTED),
    ((Presence.MIGRATING,), _LIVE, Verdict.FORGOTTEN),  # its daemon died right after the switch-over; or it is about to end in good order
    ((Presence.MIGRATING,), _GONE, Verdict.HALTED),  # the same, and then the guest ended; or its source is about to let it go on
    (_BETWEEN, tuple(Presence), Verdict.UNDECIDED),  # switch-over: the source is about to go, or to go on
    (_LIVE, _GONE, Verdict.ON_SOURCE),
    (_GONE, _LIVE, Verdict.COMPLETED),
    (_GONE, _BROKEN, Verdict.ABANDONED),  # the source's QEMU has died; or it has just ended in good order, and the destination has yet to notice
    (_GONE, _BETWEEN, Verdict.UNDECIDED),  # the destination is about to run it
    ((Presence.ABSENT,), _OFF, Verdict.COMPLETED),  # it moved, and shut down there
    (_OFF, (Presence.ABSENT,), Verdict.ON_SOURCE),  # it shut down before it could move
    (_OFF, _OFF, Verdict.COMPLETED),  # the destination had no definition before (a check), and gets one only at the very end
    ((Presence.ABSENT,), (Presence.ABSENT,), Verdict.LOST),
)


def judge(source: Presence, destination: Presence, post_copy: bool = False) -> Verdict:
    """The verdict over both ends, once no job runs any more. After a switch to `post_copy` the source has nothing that could go on by itself."""
    verdict = next(verdict for sources, destinations, verdict in _TABLE if source in sources and destination in destinations)
    return Verdict.LOST if post_copy and verdict is Verdict.ON_SOURCE else verdict
