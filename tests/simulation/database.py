"""The one database of a world, in memory, and how a process sees it."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

from sqlalchemy import event
from sqlalchemy.orm import Session

from livemig import exceptions
from livemig.db.engine import Database
from tests.simulation.process import Process


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


class Outages:
    """What ails the database at the moment, for everybody. Once in a while a connection breaks just before or just after the commit."""

    def __init__(self, chance: random.Random) -> None:
        self.database_away = False
        self.flaky = False
        self._chance = chance

    def strike(self) -> None:
        if self.database_away or (self.flaky and self._chance.random() < 0.02):
            raise exceptions.DatabaseUnavailable


class ProcessDatabase:
    """The database, as a process sees it: others go on before each of its transactions, and it may be away."""

    def __init__(self, process: Process, outages: Outages) -> None:
        self._process = process
        self._outages = outages

    @contextmanager
    def write(self) -> Iterator[Session]:
        self._process.sleep(0)
        self._outages.strike()
        with memory().write() as session:
            yield session
        self._outages.strike()

    @contextmanager
    def read(self) -> Iterator[Session]:
        self._process.sleep(0)
        self._outages.strike()
        with memory().read() as session:
            yield session
