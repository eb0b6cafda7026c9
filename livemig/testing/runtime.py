"""A virtual clock and a seeded scheduler: the whole service in one process, reproducibly.

One thread goes on at a time. Control changes hands only inside the seam (`livemig.runtime.Runtime`): at a wait, a sleep or a thread's start or end. Time
stands still while any thread can go on, and jumps to the nearest deadline when all of them wait. The order is drawn from the seed, so a failing
run is repeated by its seed.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any


class Stopped(BaseException):
    """Raised inside a thread's wait once the runtime is closed."""


class Deadlock(RuntimeError):
    """Every thread waits, and none of them with a time-out."""


class VirtualEvent:
    """`livemig.runtime.Event` under the virtual scheduler."""

    def __init__(self, runtime: VirtualRuntime) -> None:
        self._runtime = runtime
        self._flag = False

    def set(self) -> None:
        self._flag = True

    def clear(self) -> None:
        self._flag = False

    def is_set(self) -> bool:
        return self._flag

    def wait(self, timeout: float | None = None) -> bool:
        self._runtime.wait_until(self.is_set, timeout)
        return self._flag


class VirtualTask:
    """`livemig.runtime.Task` under the virtual scheduler."""

    def __init__(self, runtime: VirtualRuntime, name: str) -> None:
        self.name = name
        self.baton = threading.Semaphore(0)
        self.ready: Callable[[], bool] = lambda: True
        self.deadline: float | None = None
        self.failure: BaseException | None = None
        self._runtime = runtime
        self._over = False

    def is_alive(self) -> bool:
        return not self._over

    def finish(self) -> None:
        self._over = True

    def join(self, timeout: float | None = None) -> None:
        self._runtime.wait_until(lambda: self._over, timeout)


class VirtualRuntime:
    """`livemig.runtime.Runtime` on a virtual clock.

    The thread that makes it is its first thread. `close()` ends all the others at their next wait; an exception that left a thread is raised by it.
    """

    def __init__(self, seed: int = 0, start: datetime = datetime(2026, 1, 1)) -> None:
        self.random = random.Random(seed)
        self._start = start
        self._elapsed = 0.0
        self._closed = False
        self._current = VirtualTask(self, "main")
        self._tasks = [self._current]
        self.failures: list[BaseException] = []

    def now(self) -> datetime:
        return self._start + timedelta(seconds=self._elapsed)

    def monotonic(self) -> float:
        return self._elapsed

    def event(self) -> VirtualEvent:
        return VirtualEvent(self)

    def sleep(self, seconds: float) -> None:
        until = self._elapsed + seconds
        self.wait_until(lambda: self._elapsed >= until, seconds)

    def start(self, name: str, function: Callable[..., Any], *args: Any) -> VirtualTask:
        task = VirtualTask(self, name)
        self._tasks.append(task)
        self._launch(task, function, args)
        self.sleep(0)
        return task

    def wait_until(self, ready: Callable[[], bool], timeout: float | None) -> None:
        """Let others go on until `ready()` or for `timeout` seconds (None: no limit)."""
        me = self._current
        me.ready = ready
        me.deadline = None if timeout is None else self._elapsed + max(timeout, 0.0)
        self._hand_over(me)
        if self._closed and me is not self._tasks[0]:
            raise Stopped

    def close(self) -> None:
        """End every other thread; raise the first exception that left one."""
        self._closed = True
        for task in self._tasks[1:]:
            task.join()
        if self.failures:
            raise self.failures[0]

    def _launch(self, task: VirtualTask, function: Callable[..., Any], args: tuple[Any, ...]) -> None:
        """Give it a thread, which waits for its turn."""
        threading.Thread(target=self._run, args=(task, function, args), name=task.name, daemon=True).start()

    def _run(self, task: VirtualTask, function: Callable[..., Any], args: tuple[Any, ...]) -> None:
        task.baton.acquire()
        self._carry_out(task, function, args)
        self._hand_over(None)

    def _carry_out(self, task: VirtualTask, function: Callable[..., Any], args: tuple[Any, ...]) -> None:
        try:
            if not self._closed:
                function(*args)
        except Stopped:
            pass
        except BaseException as failure:  # noqa: BLE001 - kept for the driving thread, which raises it in close()
            self.failures.append(failure)
        task.finish()
        self._tasks.remove(task)

    def _hand_over(self, me: VirtualTask | None) -> None:
        chosen = self._choose()
        self._current = chosen
        if chosen is not me:
            chosen.baton.release()
            if me is not None:
                me.baton.acquire()

    def _choose(self) -> VirtualTask:
        while True:
            able = self._able()
            if able:
                return self.random.choice(able)
            deadlines = [task.deadline for task in self._tasks if task.deadline is not None]
            if not deadlines:
                raise Deadlock(", ".join(task.name for task in self._tasks))
            self._elapsed = min(deadlines)

    def _able(self) -> list[VirtualTask]:
        """Asked at every step: once the runtime is closed everybody but the first, who waits for the others, may go on to his end."""
        first, now = self._tasks[0], self._elapsed
        if self._closed:
            return [task for task in self._tasks if task is not first or task.ready()]
        return [task for task in self._tasks if (task.deadline is not None and task.deadline <= now) or task.ready()]
