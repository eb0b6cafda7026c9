"""The judge of every migration: did the guest go on, once, all the time?

A guest prints `tick <n> <uptime>` ten times a second to a file that all hosts see. `judge` looks at the text. `TickWatch` follows the file and says
how long it stood still by the clock of the machine.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from livemig.runtime import Runtime

TICK = re.compile(r"tick (\d+) (\d+\.\d\d)")


@dataclass(frozen=True)
class Ticks:
    """What the ticks of one guest say.

    `longest_gap_s` is by the guest's own uptime. `missing`, `doubled` and `regressions` (numbers that came after a higher one) are tick numbers; `strange` are
    lines after the first tick that are none. The last line is left out while it has no end.
    """

    count: int
    first: int | None
    last: int | None
    longest_gap_s: float
    missing: tuple[int, ...]
    doubled: tuple[int, ...]
    regressions: tuple[int, ...]
    strange: tuple[str, ...]

    @property
    def unbroken(self) -> bool:
        """Every number once, in order, and nothing else."""
        return self.count > 0 and not (self.missing or self.doubled or self.regressions or self.strange)


def judge(text: str) -> Ticks:
    """Read a guest's log; what stands before its first tick is the kernel's."""
    lines = [line.rstrip("\r") for line in text.split("\n")[:-1]]
    matches = [TICK.fullmatch(line) for line in lines]
    begin = next((at for at, match in enumerate(matches) if match), len(lines))
    numbers = [int(match[1]) for match in matches if match]
    uptimes = [float(match[2]) for match in matches if match]
    return Ticks(
        count=len(numbers),
        first=numbers[0] if numbers else None,
        last=numbers[-1] if numbers else None,
        longest_gap_s=_longest_gap(uptimes),
        missing=tuple(sorted(set(range(min(numbers), max(numbers))) - set(numbers))) if numbers else (),
        doubled=tuple(number for number, times in Counter(numbers).items() if times > 1),
        regressions=tuple(later for earlier, later in pairwise(numbers) if later < earlier),
        strange=tuple(line for line, match in zip(lines[begin:], matches[begin:], strict=True) if not match),
    )


def _longest_gap(times: Sequence[float]) -> float:
    return max((later - earlier for earlier, later in pairwise(times)), default=0.0)


class TickWatch:
    """Follows a guest's log from now until `stop`; `longest_gap_s` is the longest time without a new whole line, by the machine's clock."""

    def __init__(self, log: Path, runtime: Runtime, interval_s: float = 0.01) -> None:
        self._log = log
        self._runtime = runtime
        self._interval_s = interval_s
        self._stopped = runtime.event()
        self._seen = [runtime.monotonic()]
        self._task = runtime.start(f"ticks of {log.stem}", self._follow)

    @property
    def longest_gap_s(self) -> float:
        """Up to now: a guest that stands still makes it grow."""
        return _longest_gap([*self._seen, self._seen[-1] if self._stopped.is_set() else self._runtime.monotonic()])

    def stop(self) -> float:
        """Stop following; the longest gap in seconds."""
        self._stopped.set()
        self._task.join()
        return self.longest_gap_s

    def __enter__(self) -> TickWatch:
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    def _follow(self) -> None:
        with self._log.open("rb") as log:
            log.seek(0, 2)
            while not self._stopped.wait(self._interval_s):
                if b"\n" in log.read():
                    self._seen.append(self._runtime.monotonic())
        self._seen.append(self._runtime.monotonic())
