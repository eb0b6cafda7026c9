"""The seam for time and threads: real, virtual, and the mailbox on top of it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta, timezone

import pytest

from livemig.runtime import Mailbox, Runtime, ThreadRuntime
from livemig.testing.runtime import Deadlock, VirtualRuntime


@pytest.fixture(params=["real", "virtual"])
def any_runtime(request: pytest.FixtureRequest, runtime: VirtualRuntime) -> Runtime:
    return ThreadRuntime() if request.param == "real" else runtime


def test_a_mailbox_gives_all_in_order(any_runtime: Runtime) -> None:
    mailbox: Mailbox[int] = Mailbox(any_runtime)
    for letter in range(3):
        mailbox.put(letter)
    assert mailbox.take() == [0, 1, 2]
    assert mailbox.take(0) == []


def test_a_mailbox_wakes_its_reader(any_runtime: Runtime) -> None:
    mailbox: Mailbox[str] = Mailbox(any_runtime)

    def write() -> None:
        any_runtime.sleep(0.02)
        mailbox.put("late")

    task = any_runtime.start("writer", write)
    assert mailbox.take() == ["late"]
    task.join(1)
    assert (task.name, task.is_alive()) == ("writer", False)


def test_a_mailbox_gives_up_after_the_time_out(any_runtime: Runtime) -> None:
    mailbox: Mailbox[str] = Mailbox(any_runtime)
    mailbox.put("early")
    assert mailbox.take(0.02) == ["early"]
    began = any_runtime.monotonic()
    assert mailbox.take(0.02) == []
    assert any_runtime.monotonic() - began >= 0.0199


def test_no_letter_is_lost_between_many_writers_and_one_reader(any_runtime: Runtime) -> None:
    mailbox: Mailbox[int] = Mailbox(any_runtime)

    def write(first: int) -> None:
        for letter in range(first, first + 100):
            mailbox.put(letter)
            any_runtime.sleep(0)

    for first in (0, 100, 200):
        any_runtime.start(f"writer {first}", write, first)
    seen: list[int] = []
    while len(seen) < 300:
        seen += mailbox.take(5)
    assert sorted(seen) == list(range(300))


def test_events(any_runtime: Runtime) -> None:
    event = any_runtime.event()
    assert not event.is_set() and not event.wait(0.001)
    event.set()
    assert event.is_set() and event.wait() and event.wait(0)
    event.clear()
    assert not event.is_set()


def test_real_time_is_utc_without_a_zone() -> None:
    now = ThreadRuntime().now()
    assert now.tzinfo is None
    assert abs(now - datetime.now(timezone.utc).replace(tzinfo=None)) < timedelta(seconds=10)


# The virtual runtime


def test_time_jumps_to_the_nearest_deadline(runtime: VirtualRuntime) -> None:
    seen: list[tuple[str, float]] = []

    def nap(name: str, seconds: float) -> None:
        runtime.sleep(seconds)
        seen.append((name, runtime.monotonic()))

    for name, seconds in [("year", 365 * 86400.0), ("day", 86400.0), ("second", 1.0)]:
        runtime.start(name, nap, name, seconds)
    runtime.sleep(400 * 86400)
    assert seen == [("second", 1.0), ("day", 86400.0), ("year", 365 * 86400.0)]
    assert runtime.now() == datetime(2026, 1, 1) + timedelta(days=400)


def order(seed: int) -> list[int]:
    runtime = VirtualRuntime(seed)
    seen: list[int] = []

    def work(number: int) -> None:
        for _ in range(5):
            seen.append(number)
            runtime.sleep(0)

    tasks = [runtime.start(str(number), work, number) for number in range(4)]
    for task in tasks:
        task.join()
    runtime.close()
    return seen


def test_the_seed_is_the_order() -> None:
    orders = {tuple(order(seed)) for seed in range(10)}
    assert len(orders) > 5
    assert all(order(seed) == order(seed) for seed in range(3))
    assert all(sorted(each) == sorted(list(range(4)) * 5) for each in orders)


def test_one_thread_goes_on_at_a_time(runtime: VirtualRuntime) -> None:
    inside = 0

    def work() -> None:
        nonlocal inside
        for _ in range(50):
            inside += 1
            assert inside == 1
            inside -= 1
            runtime.sleep(0.001)

    for task in [runtime.start("worker", work) for _ in range(5)]:
        task.join()


def test_waiting_for_nothing_is_a_deadlock() -> None:
    runtime = VirtualRuntime()
    with pytest.raises(Deadlock, match="main"):
        runtime.event().wait()


def test_an_event_wakes_at_once_and_a_time_out_later(runtime: VirtualRuntime) -> None:
    event = runtime.event()

    def set_it() -> None:
        runtime.sleep(3)
        event.set()

    runtime.start("setter", set_it)
    assert not event.wait(2)
    assert event.wait(10)
    assert runtime.monotonic() == 3


def test_joining_gives_up_too(runtime: VirtualRuntime) -> None:
    task = runtime.start("sleeper", runtime.sleep, 10)
    task.join(1)
    assert task.is_alive() and runtime.monotonic() == 1


@pytest.mark.parametrize(
    "wait", [lambda runtime: runtime.sleep(1e9), lambda runtime: runtime.event().wait(), lambda runtime: runtime.sleep(0)], ids=["sleep", "event", "yield"]
)
def test_closing_ends_every_thread_at_its_next_wait(wait: Callable[[VirtualRuntime], object]) -> None:
    runtime = VirtualRuntime()
    begun: list[str] = []
    ended: list[str] = []

    def work() -> None:
        begun.append("begun")
        try:
            while True:
                wait(runtime)
        finally:
            ended.append("ended")

    tasks = [runtime.start("worker", work) for _ in range(3)]
    while len(begun) < 3:
        runtime.sleep(0)
    runtime.close()
    assert ended == ["ended"] * 3
    assert not any(task.is_alive() for task in tasks)


def test_a_thread_that_was_not_begun_does_not_begin() -> None:
    for seed in range(20):
        runtime = VirtualRuntime(seed)
        begun: list[str] = []

        def starter(runtime: VirtualRuntime = runtime, begun: list[str] = begun) -> None:
            runtime.sleep(1)
            runtime.start("late", begun.append, "late")

        runtime.start("starter", starter)
        runtime.close()
        assert begun == []


def test_what_left_a_thread_is_raised_by_close() -> None:
    runtime = VirtualRuntime()

    def fail() -> None:
        raise ZeroDivisionError("in a thread")

    task = runtime.start("failing", fail)
    task.join()
    with pytest.raises(ZeroDivisionError, match="in a thread"):
        runtime.close()
    assert len(runtime.failures) == 1
