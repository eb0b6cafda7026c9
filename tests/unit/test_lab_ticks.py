from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from livemig.lab.ticks import TickWatch, judge
from livemig.testing.runtime import VirtualRuntime


def log(*lines: str) -> str:
    return "".join(f"{line}\r\n" for line in lines)


def test_unbroken() -> None:
    ticks = judge(log("[    0.1] a word of the kernel", "tick 0 1.50", "tick 1 1.60", "tick 2 1.75"))
    assert ticks.unbroken
    assert (ticks.count, ticks.first, ticks.last) == (3, 0, 2)
    assert round(ticks.longest_gap_s, 2) == 0.15


def test_nothing_yet() -> None:
    for text in ("", "tick 0 1.5", log("booting")):
        ticks = judge(text)
        assert not ticks.unbroken
        assert (ticks.count, ticks.first, ticks.last, ticks.longest_gap_s) == (0, None, None, 0.0)
        assert ticks.strange == ()


def test_a_line_without_end_is_left_out() -> None:
    assert judge(log("tick 0 1.50", "tick 1 1.60") + "tick 2 1.7").last == 1


def test_lost() -> None:
    assert judge(log("tick 4 1.50", "tick 7 1.80")).missing == (5, 6)


def test_repeated() -> None:
    ticks = judge(log("tick 4 1.50", "tick 5 1.60", "tick 4 1.50", "tick 5 1.60"))
    assert (ticks.doubled, ticks.regressions) == ((4, 5), (4,))
    assert not ticks.unbroken


def test_two_copies_at_once() -> None:
    ticks = judge(log("tick 4 1.50", "tick 5 1.60", "tick 5 1.60", "tick 6 1.70", "tick 6 1.71"))
    assert ticks.doubled == (5, 6)
    assert ticks.regressions == ()
    assert not ticks.unbroken


def test_cut_line() -> None:
    ticks = judge(log("tick 4 1.50", "tititick 5 1.60", "disk holds 3 instead of 4", "tick 6 1.70"))
    assert ticks.strange == ("tititick 5 1.60", "disk holds 3 instead of 4")
    assert ticks.missing == (5,)


@pytest.fixture
def runtime() -> Iterator[VirtualRuntime]:
    made = VirtualRuntime()
    yield made
    made.close()


def test_watch(tmp_path: Path, runtime: VirtualRuntime) -> None:
    path = tmp_path / "guest.log"
    path.write_text(log("tick 0 1.50"))
    with TickWatch(path, runtime) as watch:
        for number in range(1, 6):
            runtime.sleep(0.3 if number == 3 else 0.1)
            with path.open("a") as file:
                file.write(log(f"tick {number} 1.60"))
        assert watch.stop() == pytest.approx(0.3, abs=0.011)
    runtime.sleep(10)
    assert watch.longest_gap_s == pytest.approx(0.3, abs=0.011), "it does not grow once stopped"


def test_watch_counts_the_time_since_the_last_tick(tmp_path: Path, runtime: VirtualRuntime) -> None:
    path = tmp_path / "guest.log"
    path.touch()
    with TickWatch(path, runtime) as watch:
        runtime.sleep(7)
        assert watch.longest_gap_s == pytest.approx(7)
