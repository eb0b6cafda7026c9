"""Lists on PostgreSQL, whose order of nulls, booleans and regular expressions are not SQLite's."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest

from livemig.api.schemas.servers import SORT_KEYS
from livemig.db.engine import Database
from tests.api.test_lists import FILTERS, NAMED, everything, ids
from tests.api.world import GUESTS, World
from tests.lab.deployment import postgresql

pytestmark = pytest.mark.lab


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with postgresql() as url:

        def database(_sqlite: str, **_options: Any) -> Database:
            made = Database(url)
            made.upgrade()
            return made

        with World(tmp_path_factory.mktemp("world"), database=database) as world:
            yield world.furnish()


def test_filters(world: World) -> None:
    for query, version, found in FILTERS:
        answer = world.ask("GET", f"/v2.1/servers?{query}", version)
        assert {NAMED[server["id"]] for server in answer.json["servers"]} == found, query


@pytest.mark.parametrize("direction", ["asc", "desc"])
def test_sorted_lists_in_pages_are_the_sorted_list(world: World, direction: str) -> None:
    for key in [*SORT_KEYS, "locked"]:
        query = f"sort_key={key}&sort_dir={direction}"
        whole = world.ask("GET", f"/v2.1/servers?{query}", "2.104").json["servers"]
        assert len(whole) == len(GUESTS)
        assert ids(everything(world, f"/v2.1/servers?{query}&limit=3", "servers", "2.104")) == ids(whole), key


@pytest.mark.parametrize("pattern", ["(?P<a>b)", "a{300}", "(a)(?(1)b|c)", "\\N{DIGIT ONE}", "(?s:a)"])
def test_what_is_a_pattern_for_others_alone(world: World, pattern: str) -> None:
    """Python, RE2 and PostgreSQL have a language each. It is refused by the schema, or by PostgreSQL."""
    answer = world.ask("GET", f"/v2.1/servers?name={quote(pattern)}")
    assert answer.status_int == 400, answer.text
    message = answer.json["badRequest"]["message"]
    assert "invalid regular expression" in message or "is not a 'regex'" in message
