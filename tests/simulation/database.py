"""The one database of a world, in memory."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

from sqlalchemy import event
from sqlalchemy.orm import Session

from livemig.db.engine import Database


class Memory:
    """SQLite in memory, on one connection that is never given back: one transaction follows the other, and SQLAlchemy compiles each statement once."""

    def __init__(self) -> None:
        database = Database("sqlite://", sqlite_synchronous=False)
        database.upgrade()
        self._connection = database.engine.connect()
        self._connection.rollback()
        raw = self._connection.connection.driver_connection
        assert isinstance(raw, sqlite3.Connection)
        self._raw, self._empty = raw, sqlite3.connect(":memory:")
        self._raw.backup(self._empty)
        for listener in list(database.engine.dispatch.begin):  # oslo.db's, which says BEGIN by way of all of SQLAlchemy
            event.remove(database.engine, "begin", listener)
        event.listen(database.engine, "begin", lambda _connection: self._raw.execute("BEGIN"))

    def empty(self) -> None:
        """Be without rows again."""
        self._empty.backup(self._raw)

    @contextmanager
    def write(self) -> Iterator[Session]:
        with Session(self._connection, expire_on_commit=False) as session, session.begin():
            yield session

    read = write


@cache
def memory() -> Memory:
    """That of all worlds of this (operating system's) process, one after the other."""
    return Memory()
