"""The database of tests on a virtual clock: SQLite in memory, one for all tests of a process, without rows at the start of each."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from sqlalchemy import Engine, event
from sqlalchemy.orm import Session

from livemig.db.engine import Database


class _Tables:
    """SQLite on one connection that is never given back: one transaction follows the other, and SQLAlchemy compiles each statement once."""

    def __init__(self) -> None:
        database = Database("sqlite://", sqlite_synchronous=False)
        database.upgrade()
        self.engine = database.engine
        self.connection = self.engine.connect()
        self.connection.rollback()
        raw = self.connection.connection.driver_connection
        assert isinstance(raw, sqlite3.Connection)
        self._raw, self._empty = raw, sqlite3.connect(":memory:")
        self._raw.backup(self._empty)
        for listener in list(self.engine.dispatch.begin):  # oslo.db's, which says BEGIN by way of all of SQLAlchemy
            event.remove(self.engine, "begin", listener)
        event.listen(self.engine, "begin", lambda _connection: self._raw.execute("BEGIN"))

    def empty(self) -> None:
        """Be without rows again."""
        self._empty.backup(self._raw)


class MemoryDatabase(Database):
    """The database of one test: the tables of this process, emptied. One at a time, and of one thread of the operating system."""

    def __init__(self, _connection: str = "", **_options: Any) -> None:  # the engine is made once for all of them
        self._tables = _tables()
        self._tables.empty()

    @contextmanager
    def write(self) -> Iterator[Session]:
        with Session(self._tables.connection, expire_on_commit=False) as session, session.begin():
            yield session

    @contextmanager
    def read(self) -> Iterator[Session]:
        with Session(self._tables.connection, expire_on_commit=False) as session, session.begin():
            yield session

    @property
    def engine(self) -> Engine:
        return self._tables.engine

    def close(self) -> None:
        """Nothing: the next test has the same tables."""


_tables = cache(_Tables)
