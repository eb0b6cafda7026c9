"""What each running migration may send where hosts' links are limited: max-min fair, as a pure function over the rows of all conductors."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from livemig.records import Migration
from livemig.states import Status

_Link = tuple[str, str]  # direction and host: a link carries as much in each direction


def shares(running: Sequence[Migration], limits: Mapping[str, int]) -> dict[int, int | None]:
    """MiB/s for each migration by its number; None for one that no link limits.

    `limits` are those of the hosts' links, 0 for none. What a migration cannot use, for its policy's limit or for its other end, the others of its link get:
    again and again the scarcest link is divided among those of its migrations that have nothing yet.
    """
    ways = {migration.id: [link for link in _links(migration) if limits.get(link[1])] for migration in running}
    own = {migration.id: _own_limit(migration) for migration in running}
    left: dict[_Link, float] = {link: limits[link[1]] for way in ways.values() for link in way}
    unserved = {number for number, way in ways.items() if way}
    given: dict[int, int | None] = dict.fromkeys(ways)
    while unserved:
        number, share = _scarcest(unserved, ways, own, left)
        unserved.discard(number)
        for link in ways[number]:
            left[link] -= share
        given[number] = max(1, int(share))  # 0 would be no limit
    return given


def _links(migration: Migration) -> tuple[_Link, _Link]:
    return ("out", migration.source), ("in", migration.destination or "")


def _own_limit(migration: Migration) -> float:
    """The policy's limit is one of pre-copy: in post-copy the guest waits for its memory."""
    limit = 0 if migration.status is Status.POST_COPY else migration.policy.bandwidth_mib_s
    return limit or float("inf")


def _scarcest(unserved: set[int], ways: Mapping[int, Sequence[_Link]], own: Mapping[int, float], left: Mapping[_Link, float]) -> tuple[int, float]:
    """The migration that can have least, and what that is: served one by one, those of one link all get the same."""
    crowd = Counter(link for number in unserved for link in ways[number])
    fair = {number: min([own[number], *(left[link] / crowd[link] for link in ways[number])]) for number in sorted(unserved)}
    number = min(fair, key=fair.__getitem__)
    return number, fair[number]
