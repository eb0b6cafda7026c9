"""When an interrupted post-copy is resumed. Pure."""

from __future__ import annotations

from dataclasses import dataclass

_FIRST_S, _LONGEST_S = 2.0, 60.0  # QEMU 7.2 was seen to hang when it is resumed in the very instant of the interruption


@dataclass(frozen=True, slots=True)
class Recovery:
    """`tries` were made; the next is due at `due_at` (monotonic seconds), which is `pause_s` after the last."""

    due_at: float
    pause_s: float = _FIRST_S
    tries: int = 0

    def tried(self, now: float) -> Recovery:
        """After one more try: the pauses double."""
        pause_s = min(2 * self.pause_s, _LONGEST_S)
        return Recovery(now + pause_s, pause_s, self.tries + 1)


def interrupted(now: float) -> Recovery:
    """What is to be done about one that was just found so."""
    return Recovery(now + _FIRST_S)
