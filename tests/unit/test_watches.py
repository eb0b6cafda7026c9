"""Watches of hosts: taken, kept, spread and handed over; old facts are not written over new ones."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from livemig.conductor.spread import spread
from livemig.db.store import Store
from livemig.db.watches import Sight
from livemig.facts import HostFacts, Presence, ServerFacts
from livemig.testing.runtime import VirtualRuntime
from tests.unit.test_db import store as store
from tests.unit.test_db import tables as tables

HOSTS = ["a", "b", "c"]
SAID = HostFacts("a", "QEMU", 7_002_022, 9_000_000, 16, 65536, 60000)
WEB = ServerFacts("web", "WEB", Presence.RUNNING, 2048, 2)


def balance(store: Store, owner: str, hosts: Sequence[str] = HOSTS, seconds: float = 10) -> list[str]:
    share = lambda mine, free, conductors: spread(mine, free, len(hosts), conductors)  # noqa: E731
    return sorted(store.watches.balance(owner, seconds, hosts, share))


@pytest.mark.parametrize(
    ("mine", "free", "hosts", "conductors", "expected"),
    [
        ("", "abc", 3, 1, ("abc", "")),
        ("", "abc", 3, 2, ("ab", "")),
        ("a", "bc", 3, 2, ("b", "")),
        ("ab", "c", 3, 2, ("", "")),
        ("abc", "", 3, 2, ("", "c")),
        ("abcd", "", 4, 4, ("", "bcd")),
        ("", "", 4, 3, ("", "")),
        ("", "", 0, 1, ("", "")),
    ],
)
def test_spread(mine: str, free: str, hosts: int, conductors: int, expected: tuple[str, str]) -> None:
    taken, let_go = spread(list(mine), list(free), hosts, conductors)
    assert ("".join(taken), "".join(let_go)) == expected


def test_whoever_lives_alone_watches_all(store: Store) -> None:
    assert balance(store, "one:1") == HOSTS == balance(store, "one:1")
    assert store.watches.all() == dict.fromkeys(HOSTS, "one:1")


def test_a_second_conductor_gets_its_share(store: Store) -> None:
    assert balance(store, "one:1") == HOSTS
    assert balance(store, "two:1") == []
    assert balance(store, "one:1") == ["a", "b"]
    assert balance(store, "two:1") == ["c"]
    assert balance(store, "one:1") == ["a", "b"]


def test_a_conductor_that_stops_hands_over(store: Store) -> None:
    balance(store, "one:1")
    store.watches.release("one:1")
    assert balance(store, "two:1") == HOSTS


def test_a_new_life_has_what_the_former_had(store: Store) -> None:
    balance(store, "one:1")
    store.watches.release_former("o%:2")
    assert balance(store, "two:1") == []
    store.watches.release_former("one:2")
    assert balance(store, "one:2") == ["a", "b"]


def test_a_silent_conductor_loses_its_hosts(store: Store, runtime: VirtualRuntime) -> None:
    balance(store, "one:1")
    balance(store, "two:1")
    for _ in range(3):
        runtime.sleep(4)
        found = balance(store, "two:1")
    assert found == HOSTS
    assert balance(store, "one:1") == [], "it lives again, and gets its share when the other lets go"
    assert (balance(store, "two:1"), balance(store, "one:1")) == (["a", "b"], ["c"])


def test_only_one_s_own_hosts_are_taken(store: Store) -> None:
    """Conductors whose configurations differ for a while."""
    assert balance(store, "one:1", ["a", "b"]) == ["a", "b"]
    assert balance(store, "two:1", ["b", "c"]) == ["c"]
    assert store.watches.all() == {"a": "one:1", "b": "one:1", "c": "two:1"}


def test_what_was_seen_before_somebody_else_wrote_is_not_written(store: Store) -> None:
    sight = at(store, "one:1")
    assert store.servers.see("a", [WEB], sight=Sight("a", sight.version, None)), "anybody may, for one server that he has looked at"
    assert not store.servers.see("a", [], complete=True, sight=sight)
    assert not store.hosts.came_up("a", SAID, sight) and not store.hosts.went_down("a", sight)
    assert store.servers.get("web").vm_state == "active" and not store.hosts.all()[0].up
    sight = at(store, "one:1")
    assert store.hosts.came_up("a", SAID, sight)
    assert store.servers.see("a", [], complete=True, sight=Sight("a", sight.version + 1, "one:1"))
    assert store.servers.count() == 0


def test_what_was_seen_before_the_host_was_lost_is_not_written(store: Store) -> None:
    """… even if it came back meanwhile."""
    before = at(store, "one:1")
    store.watches.release("one:1")
    balance(store, "two:1")
    now = store.watches.find("a")
    assert now is not None and now.owner == "two:1"
    assert not store.servers.see("a", [WEB], sight=before)
    assert not store.servers.see("a", [WEB], sight=Sight("a", now.version, "one:1")), "it is the other's"
    store.watches.release("two:1")
    assert at(store, "one:1").version > now.version
    assert not store.servers.see("a", [WEB], sight=before)


def test_a_forgotten_host_has_no_watch(store: Store) -> None:
    balance(store, "one:1")
    store.hosts.forget("a")
    assert store.watches.find("a") is None and list(store.watches.all()) == ["b", "c"]


def at(store: Store, owner: str) -> Sight:
    balance(store, owner)
    sight = store.watches.find("a")
    assert sight is not None and sight.owner == owner
    return sight
