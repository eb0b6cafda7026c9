"""Shares of limited links, and the pauses between tries to resume a post-copy."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest

from livemig.conductor.recovery import interrupted
from livemig.conductor.sharing import shares
from livemig.facts import Policy
from livemig.states import Status
from tests.unit.test_choices import migration

# who runs (source, destination, policy's limit), the links, and what each gets
SHARES: dict[str, tuple[str, dict[str, int], list[int | None]]] = {
    "nothing runs": ("", {"a": 100}, []),
    "no link is limited": ("a>b a>c:50", {"a": 0}, [None, None]),
    "one alone": ("a>b", {"a": 100}, [100]),
    "the narrower end": ("a>b", {"a": 100, "b": 40}, [40]),
    "one that its policy slows": ("a>b:30", {"a": 100}, [30]),
    "equal": ("a>b a>c", {"a": 100}, [50, 50]),
    "into one host": ("a>c b>c", {"c": 100}, [50, 50]),
    "both directions do not mix": ("a>b b>a", {"a": 100, "b": 100}, [100, 100]),
    "what one leaves the others get": ("a>b:10 a>c a>d", {"a": 100}, [10, 45, 45]),
    "what one cannot use at its other end": ("a>b a>c", {"a": 100, "b": 20}, [20, 80]),
    "max-min over two links": ("a>b a>c d>c", {"a": 100, "c": 40}, [80, 20, 20]),
    "limited and unlimited": ("a>b c>d", {"a": 100}, [100, None]),
    "never nothing, which would be no limit": ("a>b a>c a>d", {"a": 2}, [1, 1, 1]),
    "whole numbers": ("a>b a>c a>d", {"a": 100}, [33, 33, 33]),
    "a host that is not known any more": ("x>y", {"a": 100}, [None]),
}


@pytest.mark.parametrize("case", SHARES)
def test_shares(case: str) -> None:
    text, limits, expected = SHARES[case]
    running = []
    for number, line in enumerate(text.split(), 1):
        way, _, limit = line.partition(":")
        source, destination = way.split(">")
        running.append(replace(migration(number, source, destination), status=Status.RUNNING, policy=Policy(bandwidth_mib_s=int(limit or 0))))
    assert list(shares(running, limits).values()) == expected


def test_in_post_copy_the_policys_limit_does_not_count() -> None:
    slow = replace(migration(1, "a", "b"), status=Status.POST_COPY, policy=Policy(bandwidth_mib_s=10))
    assert shares([slow], {"a": 100}) == {1: 100}


def test_many_are_divided_quickly() -> None:
    """Each of a hundred hosts sends ten: nobody gets more than a tenth, and nothing is left."""
    running = [replace(migration(number, f"h{number % 100}", f"h{(number * 7 + 1) % 100}"), status=Status.RUNNING) for number in range(1000)]
    assert set(shares(running, {f"h{number}": 1000 for number in range(100)}).values()) == {100}


def test_pauses_grow_to_a_minute() -> None:
    recovery, due = interrupted(100.0), []
    for _ in range(8):
        due.append(recovery.due_at)
        recovery = recovery.tried(recovery.due_at)
    assert due[0] == 102
    assert [later - earlier for earlier, later in pairwise(due)] == [4, 8, 16, 32, 60, 60, 60]
    assert recovery.tries == 8
