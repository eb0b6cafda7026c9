"""The event loop of one process that uses the mock: callbacks run in the thread which runs the loop, as libvirt's default implementation does it."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from livemig.testing.physics import INSTANT

if TYPE_CHECKING:
    from livemig.testing.fleet import Fleet


class Timer:
    """One `virEventAddTimeout`: fires every `milliseconds` of real time; -1 is off."""

    def __init__(self, milliseconds: int, callback: Callable[..., Any], opaque: Any, now: float) -> None:
        self.callback = callback
        self.opaque = opaque
        self.set(milliseconds, now)

    def set(self, milliseconds: int, now: float) -> None:
        self.milliseconds = milliseconds
        self.due = now + milliseconds / 1000 if milliseconds >= 0 else None


class Loop:
    """A queue of calls to make, and timers."""

    def __init__(self, fleet: Fleet, keepalive: Callable[[], float | None]) -> None:
        """`keepalive()` drops the connections that have been silent too long, and says in how many simulated seconds it has to be called again."""
        self.registered = False
        self._keepalive = keepalive
        self._fleet = fleet
        self._calls: deque[tuple[Callable[..., Any], tuple[Any, ...]]] = deque()
        self._timers: dict[int, Timer] = {}
        self._numbers = itertools.count(1)

    def post(self, callback: Callable[..., Any], *args: Any) -> None:
        """Have the loop's thread call back; in the order of posting."""
        self._calls.append((callback, args))
        self._fleet.changed()

    def run_once(self) -> None:
        """Wait for something to do, and do it (virEventRunDefaultImpl)."""
        self._fleet.wait_real(lambda: bool(self._calls), self._patience)
        for number, timer in list(self._timers.items()):
            if timer.due is not None and timer.due <= self._now() + INSTANT:
                timer.set(timer.milliseconds, self._now())
                timer.callback(number, timer.opaque)
        for _ in range(len(self._calls)):
            callback, args = self._calls.popleft()
            callback(*args)

    def add_timer(self, milliseconds: int, callback: Callable[..., Any], opaque: Any) -> int:
        number = next(self._numbers)
        self._timers[number] = Timer(milliseconds, callback, opaque, self._now())
        self._fleet.changed()
        return number

    def update_timer(self, number: int, milliseconds: int) -> None:
        """libvirt only warns of a timer that is gone."""
        if number in self._timers:
            self._timers[number].set(milliseconds, self._now())
            self._fleet.changed()

    def remove_timer(self, number: int) -> None:
        self._timers.pop(number, None)

    def _patience(self) -> float | None:
        keepalive = self._keepalive()
        waits = [timer.due - self._now() for timer in list(self._timers.values()) if timer.due is not None]
        waits += [] if keepalive is None else [keepalive / self._fleet.speed]
        return max(0.0, min(waits)) if waits else None

    def _now(self) -> float:
        return self._fleet.runtime.monotonic()
