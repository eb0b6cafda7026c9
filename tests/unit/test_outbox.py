"""Letters that are sent in the background."""

from __future__ import annotations

import pytest

from livemig.runtime import Outbox
from livemig.testing.runtime import VirtualRuntime


def test_letters_are_sent_in_order_by_a_thread_that_ends(runtime: VirtualRuntime) -> None:
    sent: list[int] = []

    def send(letter: int) -> None:
        runtime.sleep(1)
        sent.append(letter)

    outbox = Outbox(runtime, "letters", send)
    assert all(outbox.put(letter) for letter in range(5))
    assert sent == []
    runtime.sleep(10)
    assert sent == [0, 1, 2, 3, 4]
    began = runtime.monotonic()
    assert outbox.put(5)
    assert runtime.monotonic() == began
    runtime.sleep(2)
    assert sent[-1] == 5


@pytest.mark.parametrize("seed", range(10))
def test_nothing_is_lost_between_many_senders(seed: int) -> None:
    runtime, sent = VirtualRuntime(seed), list[tuple[str, int]]()
    try:
        outbox = Outbox(runtime, "letters", sent.append)

        def write(name: str) -> None:
            for number in range(5):
                outbox.put((name, number))
                runtime.sleep(0)

        tasks = [runtime.start(name, write, name) for name in "abc"]
        for task in tasks:
            task.join()
        runtime.sleep(1)
    finally:
        runtime.close()
    assert len(sent) == 15
    assert all([number for name, number in sent if name == each] == list(range(5)) for each in "abc")


def test_what_is_too_much_is_not_taken(runtime: VirtualRuntime) -> None:
    outbox: Outbox[int] = Outbox(runtime, "letters", lambda _letter: runtime.sleep(100), limit=3)
    outbox.put(0)
    runtime.sleep(1)  # it is being sent, and waits no more
    assert [outbox.put(letter) for letter in range(1, 6)] == [True, True, True, False, False]


def test_a_letter_that_cannot_be_sent_does_not_hold_the_others() -> None:
    runtime, sent = VirtualRuntime(), []

    def send(letter: int) -> None:
        if letter == 0:
            raise ZeroDivisionError
        sent.append(letter)

    outbox = Outbox(runtime, "letters", send)
    for letter in (0, 1, 2):
        outbox.put(letter)
        runtime.sleep(1)
    assert sent == [1, 2]
    with pytest.raises(ZeroDivisionError):
        runtime.close()
