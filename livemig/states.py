"""The states of a migration, as data.

The strings are Nova's (nova/objects/migration.py leaves them free; these are the ones live migration uses). What ends how:

- completed: the guest runs on the destination;
- cancelled: somebody wished it, the guest is on the source;
- failed: it was tried, and the guest is safe on the source;
- error: it was refused before it began, or it needs a person.
"""

from __future__ import annotations

from enum import Enum


class Status(str, Enum):
    """A migration's status. Each line says what is true in it."""

    ACCEPTED = "accepted"  # a row exists; nothing has been looked at
    QUEUED = "queued"  # the checks passed, the destination is chosen; waits for a free place
    PREPARING = "preparing"  # has its place; the checks are repeated and the plan is made
    RUNNING = "running"  # libvirt was told to migrate; until a verdict says more, the guest is on the source
    POST_COPY = "running (post-copy)"  # the guest runs on the destination with part of its memory on the source: no way back
    COMPLETED = "completed"
    CANCELLED = "cancelled"
    FAILED = "failed"
    ERROR = "error"

    def __str__(self) -> str:
        return self.value


NEXT: dict[Status, frozenset[Status]] = {
    Status.ACCEPTED: frozenset({Status.QUEUED, Status.CANCELLED, Status.ERROR}),
    Status.QUEUED: frozenset({Status.PREPARING, Status.CANCELLED, Status.ERROR}),
    Status.PREPARING: frozenset({Status.RUNNING, Status.QUEUED, Status.CANCELLED, Status.FAILED, Status.ERROR}),
    Status.RUNNING: frozenset({Status.POST_COPY, Status.QUEUED, Status.COMPLETED, Status.CANCELLED, Status.FAILED, Status.ERROR}),
    Status.POST_COPY: frozenset({Status.COMPLETED, Status.ERROR}),
    Status.COMPLETED: frozenset(),
    Status.CANCELLED: frozenset(),
    Status.FAILED: frozenset(),
    Status.ERROR: frozenset(),
}

FINAL = frozenset(status for status, following in NEXT.items() if not following)
IN_PROGRESS = frozenset(Status) - FINAL
SENDING = frozenset({Status.RUNNING, Status.POST_COPY})  # libvirt was told
ADMITTED = SENDING | {Status.PREPARING}  # those that take a place under the limits


def sources(status: Status) -> frozenset[Status]:
    """The states from which `status` may be entered."""
    return frozenset(before for before, following in NEXT.items() if status in following)
