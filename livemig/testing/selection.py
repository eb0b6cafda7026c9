"""What the flags of virConnectListAllDomains and virConnectListAllStoragePools choose."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from livemig.testing import constants as C
from livemig.testing.fleet import Domain
from livemig.testing.storage import Pool

T = TypeVar("T")
Table = tuple[tuple[tuple[int, Callable[[T], bool]], ...], ...]  # groups of properties, each with its flag

DOMAINS: Table[Domain] = (
    (
        (C.VIR_CONNECT_LIST_DOMAINS_ACTIVE, lambda domain: domain.active),
        (C.VIR_CONNECT_LIST_DOMAINS_INACTIVE, lambda domain: not domain.active),
    ),
    (
        (C.VIR_CONNECT_LIST_DOMAINS_PERSISTENT, lambda domain: domain.persistent),
        (C.VIR_CONNECT_LIST_DOMAINS_TRANSIENT, lambda domain: not domain.persistent),
    ),
    (
        (C.VIR_CONNECT_LIST_DOMAINS_RUNNING, lambda domain: domain.state == C.VIR_DOMAIN_RUNNING),
        (C.VIR_CONNECT_LIST_DOMAINS_PAUSED, lambda domain: domain.state == C.VIR_DOMAIN_PAUSED),
        (C.VIR_CONNECT_LIST_DOMAINS_SHUTOFF, lambda domain: domain.state == C.VIR_DOMAIN_SHUTOFF),
        (C.VIR_CONNECT_LIST_DOMAINS_OTHER, lambda domain: False),
    ),
    (
        (C.VIR_CONNECT_LIST_DOMAINS_MANAGEDSAVE, lambda domain: domain.saved is not None),
        (C.VIR_CONNECT_LIST_DOMAINS_NO_MANAGEDSAVE, lambda domain: domain.saved is None),
    ),
    (
        (C.VIR_CONNECT_LIST_DOMAINS_AUTOSTART, lambda domain: domain.autostart),
        (C.VIR_CONNECT_LIST_DOMAINS_NO_AUTOSTART, lambda domain: not domain.autostart),
    ),
    (
        (C.VIR_CONNECT_LIST_DOMAINS_HAS_SNAPSHOT, lambda domain: bool(domain.snapshots)),
        (C.VIR_CONNECT_LIST_DOMAINS_NO_SNAPSHOT, lambda domain: not domain.snapshots),
    ),
)
POOLS: Table[Pool] = (
    ((C.VIR_CONNECT_LIST_STORAGE_POOLS_ACTIVE, lambda pool: pool.active), (C.VIR_CONNECT_LIST_STORAGE_POOLS_INACTIVE, lambda pool: not pool.active)),
    (
        (C.VIR_CONNECT_LIST_STORAGE_POOLS_PERSISTENT, lambda pool: pool.persistent),
        (C.VIR_CONNECT_LIST_STORAGE_POOLS_TRANSIENT, lambda pool: not pool.persistent),
    ),
)


def selected(things: Iterable[T], table: Table[T], flags: int) -> Iterator[T]:
    """Those that have one of the wanted properties in each group in which any is wanted."""
    groups = [[has for flag, has in group if flags & flag] for group in table]
    wanted = [group for group in groups if group]
    return (thing for thing in things if all(any(has(thing) for has in group) for group in wanted))
