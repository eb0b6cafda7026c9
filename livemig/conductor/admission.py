"""Which queued migrations may start: the limits, as a pure function over the rows of all conductors."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from livemig.records import Migration


def choose(queued: Sequence[Migration], admitted: Sequence[Migration], outbound_limit: int) -> list[Migration]:
    """The queued ones, oldest first, that leave every source at or under `outbound_limit` (0: no limit)."""
    leaving = Counter(migration.source for migration in admitted)
    chosen = []
    for migration in queued:
        if not outbound_limit or leaving[migration.source] < outbound_limit:
            leaving[migration.source] += 1
            chosen.append(migration)
    return chosen
