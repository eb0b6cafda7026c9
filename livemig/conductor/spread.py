"""How hosts are spread over the conductors that live: each watches as many as the others, give or take. Pure."""

from __future__ import annotations

from collections.abc import Sequence


def spread(mine: Sequence[str], free: Sequence[str], hosts: int, conductors: int) -> tuple[Sequence[str], Sequence[str]]:
    """Of so many hosts: those that one of so many conductors takes, of the free ones, and those that it lets go, of its own."""
    share = -(-hosts // conductors)
    return free[: max(0, share - len(mine))], mine[share:]
