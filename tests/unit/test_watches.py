"""Watches of hosts: taken, kept, spread and handed over; old facts are not written over new ones."""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import partial

import pytest

from livemig.conductor.spread import is_for_others, spread
from livemig.db.store import Store
from livemig.db.watches import Sight
from livemig.facts import HostFacts, Presence, ServerFacts
from livemig.testing.runtime import VirtualRuntime

HOSTS = ["a", "b", "c"]
SAID = HostFacts("a", "QEMU", 7_002_022, 9_000_000, 16, 65536, 60000)
WEB = ServerFacts("web", "WEB", Presence.RUNNING, 2048, 2)


def balance(store: Store, owner: str, hosts: Sequence[str] = HOSTS, seconds: float = 10, away: str = "") -> list[str]:
    return sorted(store.watches.balance(owner, seconds, hosts, partial(spread, owner), away))


# who watches each host, by its first letter (- for nobody); what each cannot reach; what one takes, and lets go
SPREAD: dict[str, tuple[str, dict[str, str], tuple[str, str]]] = {
    "alone": ("a- b- c-", {"one": ""}, ("abc", "")),
    "the first of two": ("a- b- c-", {"one": "", "two": ""}, ("ab", "")),
    "one more": ("ao b- c-", {"one": "", "two": ""}, ("b", "")),
    "enough": ("ao bo c-", {"one": "", "two": ""}, ("", "")),
    "too many": ("ao bo co", {"one": "", "two": ""}, ("", "c")),
    "far too many": ("ao bo co do", {"one": "", "two": "", "three": "", "four": ""}, ("", "bcd")),
    "no hosts": ("", {"one": "", "two": ""}, ("", "")),
    "one that another reaches is his": ("ao bo ct", {"one": "a", "two": ""}, ("", "a")),
    "… and is left to him": ("a- bo ct", {"one": "a", "two": ""}, ("", "")),
    "what another does not reach is taken beyond the share": ("a- bo ct", {"one": "", "two": "a"}, ("a", "")),
    "… and not let go for his sake": ("ao bo c- d-", {"one": "", "two": "ab"}, ("", "")),
    "what he does not reach is kept, something else is let go": ("ao bo co dt", {"one": "", "two": "bc"}, ("", "a")),
    "he wants none of it": ("ao bo co", {"one": "", "two": "abc"}, ("", "")),
    "what nobody reaches is anybody's": ("a- bo ct", {"one": "a", "two": "a"}, ("a", "")),
    "… and stays where it is": ("ao bo ct dt", {"one": "a", "two": "a"}, ("", "")),
    "nobody reaches anything": ("a- b- c-", {"one": "abc", "two": "abc"}, ("ab", "")),
}
NAMES: dict[str, str | None] = {"o": "one", "t": "two", "-": None}


@pytest.mark.parametrize("case", SPREAD)
def test_spread(case: str) -> None:
    hosts, away, expected = SPREAD[case]
    taken, let_go = spread("one", {host[0]: NAMES[host[1]] for host in hosts.split()}, {each: set(theirs) for each, theirs in away.items()})
    assert ("".join(taken), "".join(let_go)) == expected


@pytest.mark.parametrize("seed", range(200))
def test_a_spread_comes_to_rest_with_every_host_at_somebody_who_reaches_it(seed: int) -> None:
    chance = random.Random(seed)
    conductors, hosts = [f"c{number}" for number in range(chance.randint(1, 4))], [f"h{number}" for number in range(chance.randint(1, 12))]
    holders: dict[str, str | None] = {host: chance.choice([None, *conductors]) for host in hosts}
    away = {each: {host for host in hosts if chance.random() < 0.3} for each in conductors}
    for _ in range(30):
        before = dict(holders)
        for each in chance.sample(conductors, len(conductors)):
            taken, let_go = spread(each, holders, away)
            holders |= dict.fromkeys(taken, each) | dict.fromkeys(let_go, None)
        if holders == before:
            break
    assert holders == before, "it goes on for ever"
    for host, holder in holders.items():
        assert holder is not None and (host not in away[holder] or all(host in theirs for theirs in away.values()))


@pytest.mark.parametrize(
    ("hosts", "away", "expected"),
    [
        ("ab", {"one": "", "two": ""}, False),
        ("ab", {"one": "a", "two": ""}, True),
        ("ab", {"one": "c", "two": ""}, False),
        ("ab", {"one": "a", "two": "b"}, False),
        ("ab", {"one": "a", "two": "b", "three": "c"}, True),
        ("ab", {"one": "ab"}, False),
        ("ab", {"two": ""}, False),
        ("", {"one": "a", "two": ""}, False),
    ],
)
def test_what_is_for_others(hosts: str, away: dict[str, str], expected: bool) -> None:
    assert is_for_others("one", set(hosts), {each: set(theirs) for each, theirs in away.items()}) == expected


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


def test_a_host_goes_to_who_reaches_it(store: Store) -> None:
    balance(store, "one:1")
    balance(store, "two:1", away="b")
    assert balance(store, "one:1", away="a") == ["b", "c"]
    assert balance(store, "two:1", away="b") == ["a"]
    assert balance(store, "two:1", away="ab") == ["a"], "nobody reaches it"
    assert balance(store, "one:1") == ["b", "c"]
    assert balance(store, "two:1", away="ab") == []
    assert balance(store, "one:1") == HOSTS


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
