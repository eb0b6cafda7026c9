"""How hosts are spread over the conductors that live: each watches as many as the others, give or take, and none that only another one reaches. Pure.

`away` says which hosts each living conductor cannot reach.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence, Set


def spread(me: str, holders: Mapping[str, str | None], away: Mapping[str, Set[str]]) -> tuple[Sequence[str], Sequence[str]]:
    """The hosts that conductor `me` takes, of those that nobody watches, and those that it lets go, of its own.

    `holders` says who watches each host. One that nobody reaches is anybody's.
    """
    able = {host: [each for each in away if host not in away[each]] or list(away) for host in holders}
    held = Counter(holders.values())
    share = -(-len(holders) // len(away))

    def is_wanted(host: str) -> bool:
        """By another, who has less than its share."""
        return any(each != me and held[each] < share for each in able[host])

    mine, free = ([host for host, holder in holders.items() if holder == whose] for whose in (me, None))
    watched: dict[str, None] = {}  # from now on, in this order; a dictionary, as there may be a thousand
    for host in [*sorted(mine, key=lambda host: len(able[host]) > 1), *free]:
        if me in able[host] and (len(watched) < share or not is_wanted(host)):
            watched[host] = None
    return [host for host in watched if holders[host] is None], [host for host in mine if host not in watched]


def is_for_others(me: str, hosts: Collection[str], away: Mapping[str, Set[str]]) -> bool:
    """Whether what concerns all these hosts is better done by another conductor: there is one that reaches them all, and `me` does not."""
    return not away.get(me, set()).isdisjoint(hosts) and any(theirs.isdisjoint(hosts) for theirs in away.values())
