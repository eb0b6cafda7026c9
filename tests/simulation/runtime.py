"""`VirtualRuntime` with greenlets in place of threads: control changes hands without the operating system, which is most of what a seed would cost.

Whatever a thread may be told apart by (`threading.local`, the owner of an RLock) is the same for all of them. That is safe under the rule of
`livemig.runtime`: control changes hands at waits only, and nobody waits with a lock in his hands.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from greenlet import getcurrent, greenlet

from livemig.testing.runtime import VirtualRuntime, VirtualTask


class GreenletRuntime(VirtualRuntime):
    """The same seed gives the same order as with threads."""

    def __init__(self, seed: int = 0, start: datetime = datetime(2026, 1, 1)) -> None:
        super().__init__(seed, start)
        self._main = getcurrent()
        self._greenlets = {self._current: self._main}

    def _launch(self, task: VirtualTask, function: Callable[..., Any], args: tuple[Any, ...]) -> None:
        def run(_ended: None = None) -> None:  # given when it is begun by the end of another one
            self._carry_out(task, function, args)
            del self._greenlets[task]
            chosen = self._current = self._choose()
            getcurrent().parent = self._greenlets[chosen]  # where control goes when this one ends

        self._greenlets[task] = greenlet(run, self._main)

    def _hand_over(self, me: VirtualTask | None) -> None:
        chosen = self._current = self._choose()
        if chosen is not me:
            self._greenlets[chosen].switch()
