"""When a person's word on a migration is taken, and when it is not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from livemig.conductor.ruling import Refusal, rule
from livemig.db.store import Store
from livemig.facts import Outcome, Presence
from livemig.records import Migration
from livemig.states import Status

UNKNOWN, RUNNING, ABSENT, MIGRATING = Presence.UNKNOWN, Presence.RUNNING, Presence.ABSENT, Presence.MIGRATING
ON_SOURCE = Outcome(Status.FAILED, "a", "Ended by hand: b is gone for good.")
GIVEN_UP = Outcome(Status.ERROR, "a", "Given up by hand: a host is gone for good.", lost=True)

# status, what is said, how a and b have it, whether it moves; what comes of it: an outcome, or words of the refusal
CASES: dict[str, tuple[Status, str | None, Presence, Presence, bool, Outcome | str]] = {
    "destination gone": (Status.RUNNING, "a", RUNNING, UNKNOWN, False, ON_SOURCE),
    "destination gone, paused": (Status.RUNNING, "a", Presence.PAUSED, UNKNOWN, False, ON_SOURCE),
    "source gone": (Status.RUNNING, "b", UNKNOWN, RUNNING, False, Outcome(Status.COMPLETED, "b")),
    "source gone in post-copy": (Status.POST_COPY, "b", UNKNOWN, RUNNING, False, Outcome(Status.COMPLETED, "b")),
    "source gone with its guest": (Status.RUNNING, None, UNKNOWN, ABSENT, False, GIVEN_UP),
    "both gone": (Status.RUNNING, None, UNKNOWN, UNKNOWN, False, GIVEN_UP),
    "not lost": (Status.RUNNING, None, RUNNING, UNKNOWN, False, "It lives on a."),
    "not there": (Status.RUNNING, "b", UNKNOWN, MIGRATING, False, "It does not live on b (paused (migrating))."),
    "not known to be there": (Status.RUNNING, "b", RUNNING, UNKNOWN, False, "It does not live on b (unknown)."),
    "elsewhere": (Status.RUNNING, "c", RUNNING, UNKNOWN, False, "It does not live on c (which is none of its hosts)."),
    "both can be asked": (Status.RUNNING, "a", RUNNING, ABSENT, False, "Both hosts can be asked"),
    "it still moves": (Status.RUNNING, "a", RUNNING, UNKNOWN, True, "libvirt still moves it."),
    "no way back": (Status.POST_COPY, "a", RUNNING, UNKNOWN, False, "It was in post-copy, which has no way back to a."),
    "queued": (Status.QUEUED, "a", RUNNING, UNKNOWN, False, "libvirt was not told of it yet: it can be aborted."),
    "ended": (Status.FAILED, "a", RUNNING, UNKNOWN, False, "It has ended: failed."),
}


@pytest.mark.parametrize("case", CASES)
def test_rule(store: Store, migration: Migration, case: str) -> None:
    status, on, source, destination, moving, expected = CASES[case]
    found = rule(replace(migration, status=status, destination="b"), on, {"a": source, "b": destination}, moving)
    if isinstance(expected, Outcome):
        assert found == expected
    else:
        assert isinstance(found, Refusal) and found.reason.startswith(expected)
