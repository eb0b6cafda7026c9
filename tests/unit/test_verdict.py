"""The verdict over all pairs of presences."""

from __future__ import annotations

import pytest

from livemig.conductor.verdict import Verdict, judge
from livemig.facts import Presence

# One letter for each verdict: Completed, on the Source, Lost, Abandoned, Forgotten, Halted, Interrupted, "." undecided.
# Rows: the source; columns: the destination, in the same order.
PRESENCES = (
    Presence.UNKNOWN,
    Presence.ABSENT,
    Presence.SHUT_OFF,
    Presence.SAVED,
    Presence.CRASHED,
    Presence.RUNNING,
    Presence.PAUSED,
    Presence.SUSPENDED,
    Presence.MIGRATING,
    Presence.POST_COPY,
    Presence.POST_COPY_FAILED,
)
MATRIX = """
                  unknown  absent     off     saved   crashed  running  paused  suspended migrating post-copy post-copy-failed
unknown              .        .        .        .        .        .        .        .        .        .        .
absent               .        L        C        C        C        C        C        C        .        .        A
off                  .        S        C        C        C        C        C        C        .        .        A
saved                .        S        C        C        C        C        C        C        .        .        A
crashed              .        S        C        C        C        C        C        C        .        .        A
running              .        S        S        S        S        L        L        L        .        .        .
paused               .        S        S        S        S        L        L        L        .        .        .
suspended            .        S        S        S        S        L        L        L        .        .        .
migrating            .        H        H        H        H        F        F        F        .        .        .
post-copy            .        L        L        L        L        .        .        .        .        .        I
post-copy-failed     .        L        L        L        L        I        I        I        .        .        I
"""
LETTERS = {
    "C": Verdict.COMPLETED,
    "S": Verdict.ON_SOURCE,
    "L": Verdict.LOST,
    "A": Verdict.ABANDONED,
    "F": Verdict.FORGOTTEN,
    "H": Verdict.HALTED,
    "I": Verdict.INTERRUPTED,
    ".": Verdict.UNDECIDED,
}
EXPECTED = {
    (source, destination): LETTERS[letter]
    for source, line in zip(PRESENCES, MATRIX.strip().splitlines()[1:], strict=True)
    for destination, letter in zip(PRESENCES, line.split()[1:], strict=True)
}


def test_the_matrix_has_every_pair() -> None:
    assert EXPECTED.keys() == {(source, destination) for source in Presence for destination in Presence}


@pytest.mark.parametrize(("source", "destination"), EXPECTED, ids=str)
def test_verdict(source: Presence, destination: Presence) -> None:
    assert judge(source, destination) is EXPECTED[source, destination]


@pytest.mark.parametrize("other", Presence, ids=str)
def test_nothing_is_concluded_while_a_host_cannot_be_asked(other: Presence) -> None:
    assert judge(Presence.UNKNOWN, other) is judge(other, Presence.UNKNOWN) is Verdict.UNDECIDED


@pytest.mark.parametrize(("source", "destination"), EXPECTED, ids=str)
def test_in_post_copy_the_guest_is_never_on_the_source(source: Presence, destination: Presence) -> None:
    expected = EXPECTED[source, destination]
    assert judge(source, destination, post_copy=True) is (Verdict.LOST if expected is Verdict.ON_SOURCE else expected)
