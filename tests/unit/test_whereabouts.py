"""Where a server is, from how each host has it."""

from __future__ import annotations

import pytest

from livemig.facts import Presence
from livemig.whereabouts import RANKS, SHOWN, found_again, where

RUNNING, PAUSED, OFF, INCOMING = Presence.RUNNING, Presence.PAUSED, Presence.SHUT_OFF, Presence.MIGRATING


def test_every_presence_can_be_shown_and_has_one_rank_at_most() -> None:
    assert set(SHOWN) == set(Presence)
    ranked = [presence for rank in RANKS for presence in rank]
    assert len(ranked) == len(set(ranked))
    assert set(Presence) - set(ranked) == {Presence.UNKNOWN, Presence.ABSENT}


# the host known before, how the hosts have it now, the host it is on
WHERE: dict[str, tuple[str | None, dict[str, Presence], str | None]] = {
    "nobody has it": ("a", {}, None),
    "nobody can say": ("a", {"a": Presence.UNKNOWN, "b": Presence.ABSENT}, None),
    "found": (None, {"b": RUNNING}, "b"),
    "found twice": (None, {"c": RUNNING, "b": RUNNING}, "b"),
    "stays": ("a", {"a": RUNNING}, "a"),
    "moved": ("a", {"b": RUNNING}, "b"),
    "incoming copy": ("a", {"a": RUNNING, "b": INCOMING}, "a"),
    "incoming copy of one being switched over": ("a", {"a": INCOMING, "b": INCOMING}, "a"),
    "switched over": ("a", {"a": INCOMING, "b": RUNNING}, "b"),
    "post-copy": ("a", {"a": Presence.POST_COPY, "b": RUNNING}, "b"),
    "post-copy broken": ("b", {"a": Presence.POST_COPY_FAILED, "b": Presence.POST_COPY_FAILED}, "b"),
    "definition left behind": ("a", {"a": OFF, "b": RUNNING}, "b"),
    "a second definition": ("b", {"a": OFF, "b": OFF}, "b"),
    "second copy started by hand": ("b", {"a": RUNNING, "b": RUNNING}, "b"),
    "shut down there": ("b", {"a": RUNNING, "b": OFF}, "a"),
    "crashed": ("a", {"a": Presence.CRASHED}, "a"),
    "suspended counts as living": ("a", {"a": OFF, "b": Presence.SUSPENDED}, "b"),
}


@pytest.mark.parametrize("case", WHERE)
def test_where(case: str) -> None:
    known, sightings, expected = WHERE[case]
    assert where(known, sightings) == expected


FOUND_AGAIN: dict[str, tuple[dict[str, Presence], bool]] = {
    "a half of it is left of a post-copy": ({"a": Presence.POST_COPY_FAILED, "b": OFF}, False),
    "nowhere": ({}, False),
    "still passing through": ({"a": INCOMING}, False),
    "lives on one": ({"a": RUNNING, "b": OFF}, True),
    "lives on two": ({"a": RUNNING, "b": PAUSED}, False),
    "lives on one, passes through another": ({"a": RUNNING, "b": INCOMING}, True),
    "defined": ({"a": OFF, "b": OFF}, True),
    "post-copy broken": ({"a": Presence.POST_COPY_FAILED, "b": Presence.POST_COPY_FAILED}, False),
}


@pytest.mark.parametrize("case", FOUND_AGAIN)
def test_found_again(case: str) -> None:
    sightings, expected = FOUND_AGAIN[case]
    assert found_again(sightings) is expected
