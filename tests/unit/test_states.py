"""The table of states."""

from __future__ import annotations

import pytest

from livemig.states import ADMITTED, FINAL, IN_PROGRESS, NEXT, Status, sources

ACCEPTED, QUEUED, PREPARING, RUNNING, POST_COPY = Status.ACCEPTED, Status.QUEUED, Status.PREPARING, Status.RUNNING, Status.POST_COPY
COMPLETED, CANCELLED, FAILED, ERROR = Status.COMPLETED, Status.CANCELLED, Status.FAILED, Status.ERROR


def test_every_state_has_its_line_and_leads_to_states_only() -> None:
    assert set(NEXT) == set(Status)
    assert set().union(*NEXT.values()) == set(Status) - {ACCEPTED}, "only accepted is a beginning"


def test_final_and_in_progress() -> None:
    assert {COMPLETED, CANCELLED, FAILED, ERROR} == FINAL
    assert {ACCEPTED, QUEUED, PREPARING, RUNNING, POST_COPY} == IN_PROGRESS
    assert ADMITTED < IN_PROGRESS


@pytest.mark.parametrize("status", Status)
def test_every_state_leads_to_an_end_and_only_those_that_try_again_come_back(status: Status) -> None:
    reached: set[Status] = set()
    edge = {status}
    while edge:
        edge = set().union(*(NEXT[each] for each in edge)) - reached
        reached |= edge
    assert (status in reached) == (status in (QUEUED, PREPARING, RUNNING))
    assert reached & FINAL or status in FINAL


SOURCES: dict[Status, set[Status]] = {
    ACCEPTED: set(),
    QUEUED: {ACCEPTED, PREPARING, RUNNING},  # with another destination
    PREPARING: {QUEUED},
    RUNNING: {PREPARING},
    POST_COPY: {RUNNING},
    COMPLETED: {RUNNING, POST_COPY},
    CANCELLED: {ACCEPTED, QUEUED, PREPARING, RUNNING},  # not from post-copy: there is no way back to the source
    FAILED: {PREPARING, RUNNING},  # nor does a guest in post-copy stay safe there
    ERROR: set(IN_PROGRESS),
}


@pytest.mark.parametrize("status", Status)
def test_sources(status: Status) -> None:
    assert sources(status) == SOURCES[status]


def test_strings_are_novas() -> None:
    expected = ["accepted", "queued", "preparing", "running", "running (post-copy)", "completed", "cancelled", "failed", "error"]
    assert [str(status) for status in Status] == expected
