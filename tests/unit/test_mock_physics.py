"""The arithmetic of a migration."""

from __future__ import annotations

import math

import pytest

from livemig.testing.physics import HIGHEST_THROTTLE, SHORTEST_ITERATION, Copy, Stage


def copy(dirty_rate: float = 0.0, **changes: float) -> Copy:
    """2 GiB at 1000 MiB/s, with 300 ms of downtime permitted."""
    return Copy(memory=2048, dirty_rate=dirty_rate, working_set=1024, bandwidth=1000, **changes)  # type: ignore[arg-type]


def run(what: Copy, limit: int = 1000) -> float:
    """Seconds until it has converged or is done."""
    elapsed = 0.0
    for _ in range(limit):
        if what.stage in (Stage.CONVERGED, Stage.DONE):
            return elapsed
        turn = what.until_turn()
        what.advance(turn)
        elapsed += turn
    return math.inf


def test_an_idle_guest_needs_two_iterations() -> None:
    what = copy()
    assert run(what) == pytest.approx(2.048 - 0.3)
    assert [what.iteration, what.left] == [2, pytest.approx(300)]
    assert what.downtime == pytest.approx(0.305)
    what.switch_over()
    assert [what.iteration, what.left, what.sent, what.stage] == [3, 0, pytest.approx(2048), Stage.DONE]


def test_more_dirt_than_bandwidth_never_ends_by_itself() -> None:
    what = copy(dirty_rate=2000)
    what.advance(3600)
    assert what.stage is Stage.PRE_COPY
    assert 1000 < what.counted_rate <= 2000


def test_a_working_set_that_fits_the_downtime_ends_it() -> None:
    what = copy(dirty_rate=2000)
    what.working_set = 200
    assert run(what) < 4


@pytest.mark.parametrize(
    ("field", "value"),
    [("max_downtime", 1.5), ("running", False), ("bandwidth", 20_000.0), ("dirty_rate", 10.0)],
    ids=["more downtime", "paused", "more bandwidth", "less dirt"],
)
def test_what_ends_it(field: str, value: float) -> None:
    what = copy(dirty_rate=2000)
    what.advance(60)
    setattr(what, field, value)
    assert run(what) < 3


def test_auto_converge_slows_the_guest_step_by_step() -> None:
    what = copy(dirty_rate=2000, auto_converge=True)
    throttles = set()
    for _ in range(100):
        what.advance(min(what.until_turn(), 1000))
        throttles.add(what.throttle)
    assert what.stage is Stage.CONVERGED
    assert {0, 20, 30, 40} <= throttles and max(throttles) <= HIGHEST_THROTTLE


def test_nothing_goes_through_a_cut_link() -> None:
    what = copy(dirty_rate=10)
    what.bandwidth = 0.0
    assert what.until_turn() == math.inf
    what.advance(100)
    assert (what.sent, what.left) == (0, 2048)


def test_post_copy_sends_the_rest_once() -> None:
    what = copy(dirty_rate=2000)
    what.advance(10)
    what.start_post_copy()
    left = what.left
    assert run(what) == pytest.approx(left / 1000)
    assert (what.stage, what.left) == (Stage.DONE, 0)


def test_disks_go_first_and_show_no_memory() -> None:
    what = copy(disks=500)
    assert (what.stage, what.started) == (Stage.DISKS, False)
    what.advance(0.25)
    assert (what.disks_left, what.sent) == (250, 0)
    what.advance(0.25)
    assert (what.stage, what.started) == (Stage.PRE_COPY, True)


def test_any_instant_is_the_same_by_one_step_or_many() -> None:
    one, many = copy(dirty_rate=700), copy(dirty_rate=700)
    one.advance(5)
    for _ in range(500):
        many.advance(0.01)
    assert many.left == pytest.approx(one.left, abs=1e-3)
    assert many.iteration == one.iteration


def test_an_iteration_is_never_shorter_than_qemus() -> None:
    what = copy()
    what.memory = what.left = 10
    assert what.until_turn() == SHORTEST_ITERATION
