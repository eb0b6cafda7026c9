"""How a guest's memory travels: pure arithmetic, no clock, no libvirt.

Pre-copy goes in iterations. In each the dirty pages found at its start are sent, while the guest dirties others; once what is left could be sent
within the downtime limit, the dirty pages are counted again (the next iteration begins), and if even those fit, the guest can be switched over.
So an idle guest needs two iterations, and one that dirties faster than the link carries never ends by itself. Between two counts everything is linear, so
the copy is moved to any instant by one step per iteration. Units: MiB, MiB/s, seconds.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum

PAGE = 4096
MIB = 1024 * 1024
# Nothing nearer than this is waited for: clocks are floats.
INSTANT = 1e-9
# QEMU looks at its rate ten times a second: an iteration is never shorter.
SHORTEST_ITERATION = 0.1
# The switch itself: stopping the processors, sending the device state, starting them.
SWITCH_TIME = 0.005
# Auto-converge slows the guest at the second count in a row at which more than half of what was sent is dirty again.
TOLERATED_RATIO = 0.5
HIGHEST_THROTTLE = 99


class Stage(Enum):
    DISKS = "disks"
    PRE_COPY = "pre-copy"
    CONVERGED = "converged"
    POST_COPY = "post-copy"
    DONE = "done"


@dataclass(slots=True)
class Copy:
    """One guest on its way; every field may be changed between two calls of `advance`."""

    memory: float
    dirty_rate: float
    working_set: float
    bandwidth: float
    max_downtime: float = 0.3
    disks: float = 0.0
    running: bool = True
    auto_converge: bool = False
    throttle_initial: int = 20
    throttle_increment: int = 10

    stage: Stage = Stage.DISKS
    iteration: int = 0
    left: float = 0.0
    sent: float = 0.0
    disks_left: float = 0.0
    throttle: int = 0
    counted_rate: float = 0.0
    _cold: float = 0.0
    _dirty: float = 0.0
    _age: float = 0.0
    _sent_before: float = 0.0
    _strikes: int = 0

    def __post_init__(self) -> None:
        self.disks_left = self.disks
        self.left = self.memory
        self._cold = max(0.0, self.memory - self.working_set)
        if not self.disks:
            self._begin_memory()

    @property
    def effective_dirty_rate(self) -> float:
        """What the guest dirties as it is: nothing while paused, less while throttled."""
        return self.dirty_rate * (100 - self.throttle) / 100 if self.running else 0.0

    @property
    def downtime(self) -> float:
        """How long sending what is left keeps the guest stopped."""
        return SWITCH_TIME + self._time_for(self.left)

    @property
    def started(self) -> bool:
        """Whether QEMU is copying memory (before that, libvirt's job exists but shows no memory at all)."""
        return self.iteration > 0

    def until_turn(self) -> float:
        """Seconds until the stage or the iteration changes by itself; infinite when it never does."""
        if self.stage is Stage.PRE_COPY:
            return self._until_count()
        remaining = {Stage.DISKS: self.disks_left, Stage.POST_COPY: self.left}.get(self.stage)
        return math.inf if remaining is None else self._time_for(remaining)

    def advance(self, seconds: float) -> None:
        """Move on by that long. A copy that has converged stands still: the caller switches over."""
        while self.stage not in (Stage.CONVERGED, Stage.DONE):
            turn = self.until_turn()
            if turn > seconds + INSTANT:
                self._move(seconds)
                return
            self._move(turn)
            self._turn()
            seconds = max(0.0, seconds - turn)

    def switch_over(self) -> None:
        """Send what is left with the guest stopped: the last iteration."""
        self.iteration += 1
        self.sent += self.left
        self.left = 0.0
        self.stage = Stage.DONE

    def start_post_copy(self) -> None:
        """The guest goes on at the other end; what is left, and what it had dirtied, follows."""
        self._add_dirty()
        self.iteration += 1
        self.stage = Stage.POST_COPY

    def _time_for(self, size: float) -> float:
        if not size:
            return 0.0
        return size / self.bandwidth if self.bandwidth else math.inf

    def _until_count(self) -> float:
        return max(self._time_for(max(self.left - self.bandwidth * self.max_downtime, 0.0)), SHORTEST_ITERATION - self._age, 0.0)

    def _move(self, seconds: float) -> None:
        carried = self.bandwidth * seconds
        if self.stage is Stage.DISKS:
            self.disks_left = max(0.0, self.disks_left - carried)
            return
        carried = min(self.left, carried)
        self.left -= carried
        self._cold = max(0.0, self._cold - carried)
        self.sent += carried
        self._age += seconds
        if self.stage is Stage.PRE_COPY:
            self._dirty = max(self._dirty, min(self.working_set, self._dirty + self.effective_dirty_rate * seconds))

    def _turn(self) -> None:
        if self.stage is Stage.DISKS:
            self._begin_memory()
        elif self.stage is Stage.POST_COPY:
            self.sent += self.left
            self.left = 0.0
            self.stage = Stage.DONE
        else:
            self._count()

    def _begin_memory(self) -> None:
        self.disks_left = 0.0
        self.stage = Stage.PRE_COPY
        self.iteration = 1

    def _count(self) -> None:
        """Count the pages dirtied since the last time: what begins the next iteration."""
        self._converge_automatically()
        self.counted_rate = self._dirty / self._age
        self._add_dirty()
        self.iteration += 1
        self._dirty = self._age = 0.0
        self._sent_before = self.sent
        if self.left <= self.bandwidth * self.max_downtime:
            self.stage = Stage.CONVERGED

    def _add_dirty(self) -> None:
        """A page that was dirtied before it was sent counts once, so no more is left than the working set and what was never sent of the rest."""
        self.left = min(self.left + self._dirty, max(self.left, self._cold + self.working_set))

    def _converge_automatically(self) -> None:
        if not self.auto_converge:
            return
        too_much = self._dirty > TOLERATED_RATIO * (self.sent - self._sent_before)
        self._strikes = self._strikes + 1 if too_much else 0
        if self._strikes >= 2:
            self._strikes = 0
            self.throttle = min(HIGHEST_THROTTLE, self.throttle + self.throttle_increment if self.throttle else self.throttle_initial)
