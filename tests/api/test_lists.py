"""Lists: each of Nova's filters of servers, each sort key, and pages followed to their end."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from sqlalchemy import event

from livemig.api.schemas.servers import IGNORED_SORT_KEYS, SORT_KEYS
from tests.api.world import BANK, GUESTS, SHOP, World


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with World(tmp_path_factory.mktemp("world")) as world:
        yield world.furnish()


ALL = frozenset(GUESTS)
NAMED = {World.id(name): name for name in GUESTS}
RUNNING = ALL - {"paused", "off", "saved", "broken"}
ON_NODE2 = {"web", "owned", "paused", "off", "saved"}
NONE: frozenset[str] = frozenset()

FILTERS: list[tuple[str, str, set[str] | frozenset[str]]] = [  # query, microversion, whom it finds
    ("", "2.1", ALL),
    ("name=^s", "2.1", {"sleeper", "switch", "saved"}),
    ("name=er$", "2.1", {"roamer", "pauser", "sleeper", "novas"}),
    ("name=db server", "2.1", {"novas"}),
    ("name=nobody", "2.1", NONE),
    ("display_name=^front$", "2.1", {"owned"}),
    ("hostname=^front$", "2.1", {"owned"}),
    ("description=our", "2.1", {"owned"}),
    ("display_description=our", "2.1", {"owned"}),
    ("status=ACTIVE", "2.1", RUNNING - {"busy"}),
    ("status=active", "2.1", RUNNING - {"busy"}),
    ("status=PAUSED", "2.1", {"paused"}),
    ("status=SUSPENDED", "2.1", {"saved"}),
    ("status=SHUTOFF", "2.1", {"off"}),
    ("status=ERROR", "2.1", {"broken"}),
    ("status=MIGRATING", "2.1", {"busy"}),
    ("status=SHUTOFF&status=PAUSED", "2.1", {"off", "paused"}),
    ("status=BUILD", "2.38", NONE),
    ("status=BUILD&status=PAUSED", "2.38", {"paused"}),
    ("status=NONSENSE&status=PAUSED", "2.38", {"paused"}),
    ("status=DELETED", "2.1", NONE),
    ("vm_state=stopped", "2.1", {"off"}),
    ("vm_state=active", "2.1", RUNNING),
    ("task_state=migrating", "2.1", {"busy"}),
    ("power_state=3", "2.1", {"paused"}),
    ("power_state=1", "2.1", RUNNING | {"broken"}),
    ("power_state=x", "2.1", NONE),
    ("host=node2", "2.1", ON_NODE2),
    ("node=node2", "2.1", ON_NODE2),
    ("host=node", "2.1", NONE),
    ("host=node2&status=SHUTOFF", "2.1", {"off"}),
    (f"uuid={World.id('web')}", "2.1", {"web"}),
    ("uuid=web", "2.1", NONE),
    (f"project_id={SHOP}", "2.1", {"novas"}),
    (f"all_tenants=1&project_id={BANK}", "2.1", {"owned"}),
    (f"all_tenants=True&tenant_id={BANK}", "2.1", {"owned"}),
    ("all_tenants", "2.1", ALL),
    ("user_id=bob", "2.1", {"owned"}),
    ("flavor=42", "2.1", {"novas"}),
    ("instance_type_id=42", "2.1", {"novas"}),
    ("flavor=1", "2.1", NONE),
    ("image=", "2.1", ALL),
    ("image=7d1f8a3c", "2.1", NONE),
    ("key_name=mine", "2.1", NONE),
    ("reservation_id=r-1", "2.1", NONE),
    ("ip=10.0.0.5", "2.1", {"novas"}),
    ("ip=^10.0.0.", "2.1", {"novas", "owned"}),
    ("ip=0.0.77", "2.1", NONE),
    ("ip=10.0.0.7$", "2.1", NONE),
    ("ip=10.0.0.(5|77)$", "2.1", {"novas", "owned"}),
    ("ip=10.0.0.5|10.0.0.77", "2.1", {"novas", "owned"}),
    ("ip6=fd00::77", "2.5", {"owned"}),
    ("root_device_name=/dev/vda", "2.1", {"novas"}),
    ("config_drive=true", "2.1", NONE),
    ("config_drive=false", "2.1", ALL),
    ("availability_zone=east", "2.1", ALL),
    ("availability_zone=nova", "2.1", NONE),
    ("locked=true", "2.73", {"locked"}),
    ("locked=f", "2.73", ALL - {"locked"}),
    ("locked=true", "2.72", ALL),
    ("locked_by=admin", "2.1", NONE),
    ("locked_by=owner", "2.1", {"locked"}),
    ("tags=a", "2.25", ALL),
    ("tags=a", "2.26", NONE),
    ("tags-any=a,b", "2.26", NONE),
    ("not-tags=a", "2.26", ALL),
    ("not-tags-any=a", "2.26", ALL),
    ("deleted=true", "2.1", NONE),
    ("deleted=False", "2.1", ALL),
    ("soft_deleted=true", "2.1", NONE),
    ("created_at=2026-11-24T10:00:00Z", "2.1", {"novas"}),
    ("launched_at=2026-11-24T10:00:00Z", "2.1", {"novas"}),
    ("launched_at=2026-11-24T11:00:00%2B01:00", "2.1", {"novas"}),
    ("terminated_at=2026-11-24T10:00:00Z", "2.1", NONE),
    ("changes-since=2000-01-01T00:00:00Z", "2.1", ALL),
    ("changes-since=2999-01-01T00:00:00Z", "2.1", NONE),
    ("changes-before=2999-01-01T00:00:00Z", "2.66", ALL),
    ("changes-before=2000-01-01T00:00:00Z", "2.66", NONE),
    ("changes-before=2000-01-01T00:00:00Z", "2.65", ALL),
    ("foo=bar", "2.74", ALL),
]


@pytest.mark.parametrize("path", ["/servers", "/servers/detail"])
@pytest.mark.parametrize(("query", "version", "found"), FILTERS)
def test_filters(world: World, path: str, query: str, version: str, found: set[str] | frozenset[str]) -> None:
    answer = world.ask("GET", f"/v2.1{path}?{query}", version)
    assert answer.status_int == 200, answer.text
    assert {NAMED[server["id"]] for server in answer.json["servers"]} == found


def everything(world: World, path: str, noun: str, version: str) -> list[Any]:
    """The items of all pages, by the links."""
    items: list[Any] = []
    pages = 0
    while path:
        answer = world.ask("GET", path, version)
        assert answer.status_int == 200, answer.text
        items += answer.json[noun]
        following = answer.json.get("links" if noun == "instanceActions" else f"{noun}_links")
        path = following[0]["href"].removeprefix("http://localhost") if following else ""
        assert not path or urlsplit(path).path.startswith("/v2.1/")
        pages += 1
        assert pages <= 100
    return items


def ids(items: list[Any]) -> list[str]:
    return [item["id"] for item in items]


FIELDS = {  # sort key → what of a server it goes by
    "display_name": "name",
    "uuid": "id",
    "host": "OS-EXT-SRV-ATTR:host",
    "vm_state": "OS-EXT-STS:vm_state",
    "power_state": "OS-EXT-STS:power_state",
    "created_at": "OS-SRV-USG:launched_at",
    "project_id": "tenant_id",
    "user_id": "user_id",
}


@pytest.mark.parametrize("direction", ["asc", "desc"])
@pytest.mark.parametrize("key", [*SORT_KEYS, "locked"])
def test_sorted_lists_in_pages_are_the_sorted_list(world: World, key: str, direction: str) -> None:
    """Of a column with nulls too, and of keys by which all are alike."""
    query = f"sort_key={key}&sort_dir={direction}"
    whole = world.ask("GET", f"/v2.1/servers/detail?{query}", "2.104").json["servers"]
    assert len(whole) == len(GUESTS)
    paged = everything(world, f"/v2.1/servers/detail?{query}&limit=3", "servers", "2.104")
    assert ids(paged) == ids(whole)
    if key in FIELDS:
        values = [server[FIELDS[key]] for server in whole]
        assert values == sorted(values, reverse=direction == "desc")


def test_several_sort_keys(world: World) -> None:
    """What Horizon asks for."""
    query = "limit=4&sort_key=vm_state&sort_key=display_name&sort_key=uuid&sort_dir=desc&sort_dir=asc&sort_dir=desc"
    shown = [(server["OS-EXT-STS:vm_state"], server["name"]) for server in everything(world, f"/v2.1/servers/detail?{query}", "servers", "2.42")]
    by_name = sorted(shown, key=lambda pair: pair[1])
    assert shown == sorted(by_name, key=lambda pair: pair[0], reverse=True)


@pytest.mark.parametrize("key", IGNORED_SORT_KEYS)
def test_sort_keys_of_old_change_nothing(world: World, key: str) -> None:
    plain = world.ask("GET", "/v2.1/servers", "2.72").json["servers"]
    assert ids(world.ask("GET", f"/v2.1/servers?sort_key={key}", "2.72").json["servers"]) == ids(plain)


def test_without_a_sort_key_the_newest_come_first(world: World) -> None:
    created = [server["OS-SRV-USG:launched_at"] for server in world.ask("GET", "/v2.1/servers/detail").json["servers"]]
    assert created == sorted(created, reverse=True)


@pytest.mark.parametrize("limit", [1, 2, 5, 15, 16, 17])
def test_pages_of_servers(world: World, limit: int) -> None:
    whole = world.ask("GET", "/v2.1/servers").json["servers"]
    assert everything(world, f"/v2.1/servers?limit={limit}", "servers", "2.1") == whole


def test_pages_keep_their_filters(world: World) -> None:
    found = everything(world, "/v2.1/servers/detail?limit=2&host=node2&name=a", "servers", "2.1")
    assert {server["name"] for server in found} == {"paused", "saved"}
    answer = world.ask("GET", "/v2.1/servers/detail?limit=1&host=node2&status=SHUTOFF&status=PAUSED").json
    assert re.search(r"host=node2&status=SHUTOFF&status=PAUSED&limit=1&marker=", answer["servers_links"][0]["href"])


@pytest.mark.parametrize(
    ("path", "noun", "version"),
    [
        ("/os-migrations", "migrations", "2.59"),
        ("/os-migrations?source_compute=node1", "migrations", "2.104"),
        ("/os-hypervisors", "hypervisors", "2.33"),
        ("/os-hypervisors/detail?with_servers=true", "hypervisors", "2.104"),
        ("/flavors", "flavors", "2.1"),
        ("/flavors/detail?sort_key=name&sort_dir=desc", "flavors", "2.104"),
        (f"/servers/{World.id('web')}/os-instance-actions", "instanceActions", "2.58"),
    ],
)
def test_pages_of_everything_else(world: World, path: str, noun: str, version: str) -> None:
    whole = world.ask("GET", f"/v2.1{path}", version).json[noun]
    assert whole
    separator = "&" if "?" in path else "?"
    for limit in (1, 2):
        assert [changeless(item) for item in everything(world, f"/v2.1{path}{separator}limit={limit}", noun, version)] == list(map(changeless, whole))


def changeless(item: dict[str, Any]) -> dict[str, Any]:
    """What stays as it is while a migration goes on."""
    return {name: value for name, value in item.items() if name not in ("updated_at", "uptime", "memory_mb_used", "free_ram_mb")}


def test_no_page_is_longer_than_max_limit(tmp_path_factory: pytest.TempPathFactory) -> None:
    with World(tmp_path_factory.mktemp("short"), api__max_limit=2) as world:
        for name in ("a", "b", "c"):
            world.fleet.add_guest(name, "node1")
        world.settle()
        answer = world.ask("GET", "/v2.1/servers?limit=1000").json
        assert len(answer["servers"]) == 2
        assert len(everything(world, "/v2.1/servers", "servers", "2.1")) == 3


def test_lists_ask_the_database_as_often_for_many_as_for_one(world: World) -> None:
    """No query for each server: 16 servers cost what one costs."""
    asked: list[str] = []
    asker = threading.get_ident()  # a conductor has queries of its own

    def count(_connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        if threading.get_ident() == asker:
            asked.append(statement)

    def queries(path: str) -> int:
        asked.clear()
        assert world.ask("GET", f"/v2.1{path}", "2.104").status_int == 200
        return sum(statement.startswith("SELECT") for statement in asked)

    event.listen(world.store.database.engine, "before_cursor_execute", count)
    try:
        for path in ("/servers/detail", "/servers", "/os-hypervisors/detail?with_servers=1", "/os-migrations", "/flavors/detail"):
            separator = "&" if "?" in path else "?"
            assert queries(path) == queries(f"{path}{separator}limit=1") <= 3, path
    finally:
        event.remove(world.store.database.engine, "before_cursor_execute", count)


def test_a_query_repeats_nothing_without_end(world: World) -> None:
    """A thousand conditions would be more than SQLite takes."""
    assert world.ask("GET", "/v2.1/servers?" + "&".join(["status=ACTIVE"] * 100)).status_int == 200
    for name, value in (("status", "ACTIVE"), ("vm_state", "active"), ("sort_key", "uuid"), ("created_at", "2026-11-24T12:00:00Z")):
        answer = world.ask("GET", "/v2.1/servers?" + "&".join([f"{name}={value}"] * 1200))
        assert answer.status_int == 400, answer.text


@pytest.mark.parametrize("name", ["name", "ip", "description"])
def test_a_pattern_that_is_refused(world: World, name: str) -> None:
    for pattern in ("(?=a)", "a" * 256, "("):
        answer = world.ask("GET", f"/v2.1/servers?{name}={pattern}")
        assert answer.status_int == 400
        assert f"Invalid input for query parameters {name}. Value: {pattern}." in answer.json["badRequest"]["message"]
