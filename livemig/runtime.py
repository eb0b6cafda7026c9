"""The one seam for time, waiting and threads.

Everything that reads a clock, waits, or starts a thread takes a `Runtime`, so that the whole service can run in real time (`ThreadRuntime`) or on a
virtual clock with one thread going on at a time (`livemig.testing.runtime.VirtualRuntime`).

A lock from `threading` may be used beside it under one rule: it is never held across a wait, an SQL transaction or a call to a hypervisor.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any, Generic, Protocol, TypeVar

T = TypeVar("T")


class Event(Protocol):
    """A flag that can be awaited, as `threading.Event`."""

    def set(self) -> None: ...
    def clear(self) -> None: ...
    def is_set(self) -> bool: ...
    def wait(self, timeout: float | None = None) -> bool: ...


class Task(Protocol):
    """A started thread."""

    @property
    def name(self) -> str: ...
    def is_alive(self) -> bool: ...
    def join(self, timeout: float | None = None) -> None: ...


class Runtime(Protocol):
    """Clock, waiting and threads."""

    def now(self) -> datetime:
        """Wall clock: UTC, naive, as Nova's records hold it."""

    def monotonic(self) -> float:
        """Seconds from an arbitrary start, never going back."""

    def sleep(self, seconds: float) -> None:
        """Let others go on for that long; 0 is allowed and only yields."""

    def event(self) -> Event:
        """A new flag, not set."""

    def start(self, name: str, function: Callable[..., Any], *args: Any) -> Task:
        """Run `function(*args)` in a daemon thread of that name."""


class ThreadRuntime:
    """Real time and real threads."""

    def now(self) -> datetime:
        return datetime.now(timezone.utc).replace(tzinfo=None)

    def monotonic(self) -> float:
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)

    def event(self) -> Event:
        return threading.Event()

    def start(self, name: str, function: Callable[..., Any], *args: Any) -> Task:
        thread = threading.Thread(target=function, args=args, name=name, daemon=True)
        thread.start()
        return thread


class Mailbox(Generic[T]):
    """A queue with one reader: any thread puts, one thread takes everything there is."""

    def __init__(self, runtime: Runtime) -> None:
        self._letters: deque[T] = deque()
        self._arrived = runtime.event()

    def put(self, letter: T) -> None:
        self._letters.append(letter)
        self._arrived.set()

    def take(self, timeout: float | None = None) -> list[T]:
        """Everything that has arrived, waiting up to `timeout` seconds (None: for ever) for the first; [] when nothing came."""
        self._arrived.wait(timeout)
        self._arrived.clear()
        letters = []
        while self._letters:
            letters.append(self._letters.popleft())
        return letters


class Outbox(Generic[T]):
    """Sends letters in the background, in order: `send` is called in a thread that lives for as long as there are any.

    What `send` raises ends the thread and not the letters: they go with the next one. Whoever puts a letter never waits.
    """

    def __init__(self, runtime: Runtime, name: str, send: Callable[[T], None], limit: int = 1000) -> None:
        self._runtime = runtime
        self._name = name
        self._send = send
        self._limit = limit
        self._letters: deque[T] = deque()
        self._sending = False
        self._lock = threading.Lock()

    def put(self, letter: T) -> bool:
        """False when `limit` letters wait already: this one is dropped."""
        with self._lock:
            if len(self._letters) >= self._limit:
                return False
            self._letters.append(letter)
            if self._sending:
                return True
            self._sending = True
        self._runtime.start(self._name, self._empty)
        return True

    def _empty(self) -> None:
        while True:
            with self._lock:
                if not self._letters:
                    self._sending = False
                    return
                letter = self._letters.popleft()
            try:
                self._send(letter)
            except BaseException:
                with self._lock:
                    self._sending = False
                raise
