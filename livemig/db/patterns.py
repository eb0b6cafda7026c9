"""Regular expressions that clients send: of a language in which no text takes long to search, whatever the database.

It is RE2's: no references back, no looking around, no repetition without measure. SQLite has it searched by RE2 itself, in linear time. PostgreSQL and MariaDB
have engines of their own, which are stopped after a while.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import re2
from oslo_db import exception as db_exception
from sqlalchemy import Engine, event, text
from sqlalchemy.exc import DataError, OperationalError
from sqlalchemy.orm import Session

from livemig import exceptions

LONGEST = 255  # characters
LONGEST_SEARCH_MS = 5000

_OPTIONS = re2.Options()
_OPTIONS.log_errors = False
_OPTIONS.max_mem = 1 << 20  # bytes, of what a pattern becomes

# Database → what bounds the search of one transaction, and what ends that bound where the transaction's end does not. MySQL has its own (regexp_time_limit).
_BOUNDS = {
    "postgresql": (f"SET LOCAL statement_timeout = {LONGEST_SEARCH_MS}", None),
    "mariadb": (f"SET max_statement_time = {LONGEST_SEARCH_MS / 1000}", "SET max_statement_time = DEFAULT"),
}
# What the databases say when they stopped one: PostgreSQL's SQLSTATE, MariaDB's error.
_STOPPED = {"57014", 1969}
_NO_PATTERN = 1139  # MariaDB's; PostgreSQL's is a DataError


def check(pattern: str) -> None:
    """Raises ValueError, with the reason, for a pattern that is not searched for."""
    if len(pattern) > LONGEST:
        raise ValueError(f"it is longer than {LONGEST} characters")
    try:
        re2.compile(pattern, _OPTIONS)
    except (re2.error, UnicodeError) as error:
        reason = error.args[0]
        raise ValueError(reason.decode(errors="replace") if isinstance(reason, bytes) else str(error)) from None


def teach(engine: Engine) -> None:
    """Have SQLite's REGEXP search as RE2 does. Connections of before are closed."""
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", lambda connection, _record: connection.create_function("regexp", 2, _found, deterministic=True))
        engine.dispose()


def _found(pattern: str, value: str | None) -> bool | None:
    return None if value is None else re2.compile(pattern, _OPTIONS).search(value) is not None


@contextmanager
def searching(session: Session) -> Iterator[None]:
    """In it patterns are searched for. Raises InvalidPattern for what the database does not take, or not in time."""
    dialect: Any = session.get_bind().dialect
    bound, unbound = _BOUNDS.get("mariadb" if getattr(dialect, "is_mariadb", False) else dialect.name, (None, None))
    try:
        with _bounded(session, bound, unbound):
            yield
    except (db_exception.DBError, OperationalError) as error:
        reason = _reason(error)
        if reason is None:
            raise
        raise exceptions.InvalidPattern(reason=reason) from error


@contextmanager
def _bounded(session: Session, bound: str | None, unbound: str | None) -> Iterator[None]:
    if bound:
        session.execute(text(bound))
    try:
        yield
    finally:
        if unbound:
            session.execute(text(unbound))


def _reason(error: Any) -> str | None:
    """Why the pattern is at fault; None if it is not."""
    inner = getattr(error, "inner_exception", error)
    original = getattr(inner, "orig", None)
    words: Sequence[Any] = getattr(original, "args", ())
    if not {getattr(original, "pgcode", None), *words[:1]}.isdisjoint(_STOPPED):
        return f"the search takes longer than {LONGEST_SEARCH_MS / 1000:g} s"
    if isinstance(inner, DataError) or words[:1] == (_NO_PATTERN,):
        return str(words[-1]).partition("\n")[0]
    return None
