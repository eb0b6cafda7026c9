"""The order in which destinations are tried when the request names none. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from livemig.records import Host, Migration


def candidates(hosts: Iterable[Host], source: str, under_way: Iterable[Migration]) -> Sequence[Host]:
    """The hosts that are up and not disabled, but for the source: those with the fewest incoming migrations first, then the most free memory."""
    incoming = Counter(migration.destination for migration in under_way)
    able = [host for host in hosts if host.usable and not host.disabled and host.name != source]
    return sorted(able, key=lambda host: (incoming[host.name], -host.memory_free_mib, host.name))
