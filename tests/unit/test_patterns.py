"""Regular expressions of clients: which are searched for, and that no text takes long."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from oslo_db.exception import DBError
from sqlalchemy.exc import DataError, OperationalError
from sqlalchemy.orm import Session

from livemig import exceptions
from livemig.db import patterns
from livemig.db.engine import Database
from livemig.db.selection import Selection
from livemig.db.store import Store
from livemig.facts import Presence, ServerFacts
from livemig.runtime import ThreadRuntime

RUNTIME = ThreadRuntime()


@pytest.mark.parametrize(
    "pattern", ["", "web", "^web", r"^web-\d+$", "(a|b)*c", "[[:alpha:]]+", "(?i)WEB", "a{2,5}", r"10\.0\.0\.5", "é", "🔒", "(?P<a>b)c", "a" * 255]
)
def test_what_is_searched_for(pattern: str) -> None:
    patterns.check(pattern)


REFUSED = {
    "(": "missing ): (",
    "[": "missing ]: [",
    "*": "no argument for repetition operator: *",
    "\\": "trailing \\",
    "(a)\\1": "invalid escape sequence: \\1",
    "(?=a)": "invalid perl operator: (?=",
    "(?<!a)": "invalid perl operator: (?<",
    "a{1001}": "invalid repetition size: {1001}",
    "((a{100}){100}){100}": "invalid repetition size: {100}",
    "***:a": "no argument for repetition operator: *",
    "\ud800": "surrogates not allowed",
    "a" * 256: "it is longer than 255 characters",
}


@pytest.mark.parametrize("pattern", REFUSED, ids=range(len(REFUSED)))
def test_what_is_refused(pattern: str) -> None:
    with pytest.raises(ValueError) as refused:
        patterns.check(pattern)
    assert REFUSED[pattern] in str(refused.value)


@given(st.text(max_size=300))
def test_whatever_it_is(pattern: str) -> None:
    try:
        patterns.check(pattern)
    except ValueError as error:
        assert str(error)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    database = Database(f"sqlite:///{tmp_path}/patterns.sqlite", sqlite_synchronous=False)
    database.upgrade()
    store = Store(database, RUNTIME)
    store.hosts.configure({"node1": "192.0.2.1"})
    yield store
    database.close()


def found(store: Store, pattern: str, column: str = "name") -> list[str]:
    return sorted(server.name for server in store.servers.find(Selection(patterns={column: pattern})))


def test_what_is_found(store: Store) -> None:
    store.servers.see("node1", [ServerFacts(str(number), name, Presence.RUNNING) for number, name in enumerate(["web", "web-2", "WEB", "grün"])])
    assert found(store, "web") == ["web", "web-2"]
    assert found(store, "^web$") == ["web"]
    assert found(store, "(?i)^web$") == ["WEB", "web"]
    assert found(store, "gr.n") == ["grün"]
    assert found(store, ".", "description") == []  # nobody has one


# What engines that go back and try again never finish.
SLOW = ["(a+)+$", "(a|aa)+$", "^(a|a?)+$", "(.*a){12}$", "(([a-z])+.)+[A-Z]([a-z])+$", "^(a?){50}a{50}$"]


@pytest.mark.parametrize("pattern", SLOW)
def test_nothing_takes_long(store: Store, pattern: str) -> None:
    patterns.check(pattern)
    store.servers.see("node1", [ServerFacts(str(number), "a" * 250 + "!", Presence.RUNNING) for number in range(100)])
    began = RUNTIME.monotonic()
    assert found(store, pattern) == []
    assert RUNTIME.monotonic() - began < 2


class Said(Exception):
    """What a database's driver raises."""

    def __init__(self, *arguments: Any, pgcode: str | None = None) -> None:
        super().__init__(*arguments)
        self.pgcode = pgcode


FAULTS: dict[str, tuple[Exception, str | None]] = {
    "PostgreSQL stopped it": (OperationalError("", {}, Said("canceling statement", pgcode="57014")), "the search takes longer than 5 s"),
    "MariaDB stopped it": (OperationalError("", {}, Said(1969, "Query execution was interrupted")), "the search takes longer than 5 s"),
    "PostgreSQL has another language": (DataError("", {}, Said("invalid regular expression: x\nDETAIL", pgcode="2201B")), "invalid regular expression: x"),
    "MariaDB has another language": (OperationalError("", {}, Said(1139, "Regex error 'missing )'")), "Regex error 'missing )'"),
    "the database is away": (OperationalError("", {}, Said(2006, "server has gone away")), None),
}


@pytest.mark.parametrize("case", FAULTS)
def test_what_a_database_says(store: Store, case: str) -> None:
    error, reason = FAULTS[case]
    raised = DBError(error) if isinstance(error, DataError) else error  # as oslo.db passes them on
    with (
        pytest.raises(exceptions.InvalidPattern if reason else OperationalError) as said,
        Session(store.database.engine) as session,
        patterns.searching(session),
    ):
        raise raised
    assert reason is None or str(said.value).endswith(reason)
