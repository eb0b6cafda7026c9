"""What the failures of databases mean: which of them say that it is away, by the drivers' own errors, as SQLAlchemy and oslo.db pass them on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psycopg2
import pymysql
import pytest
from oslo_db import exception as db_exception
from oslo_db.sqlalchemy import exc_filters
from sqlalchemy import exc, make_url

from livemig import exceptions
from livemig.db.engine import Database, bounded, retried


def postgresql(name: str, state: str | None, text: str = "", closed: bool = False) -> Exception:
    """An error of psycopg2's as the server's SQLSTATE makes it; `closed` says that its connection is, then."""
    kind = psycopg2.errors.lookup(state) if state else getattr(psycopg2, name)
    assert issubclass(kind, getattr(psycopg2, name))
    original = kind(text)
    original.__setstate__({"pgcode": state, "pgerror": text})
    return passed_on("postgresql+psycopg2", original, closed)


def mariadb(number: int, text: str = "", state: str = "HY000") -> Exception:
    """An error of PyMySQL's as the server's packet makes it; HY000 is the SQLSTATE of whatever has none of its own."""
    try:
        pymysql.err.raise_mysql_exception(b"\xff" + number.to_bytes(2, "little") + f"#{state}{text}".encode())
    except pymysql.err.Error as original:
        return passed_on("mysql+pymysql", original)
    raise AssertionError


def passed_on(driver: str, original: Exception, closed: bool = False) -> Exception:
    """As it leaves a statement: SQLAlchemy's error for the driver's, through oslo.db's filters."""
    dialect: Any = make_url(f"{driver}://").get_dialect()()
    dialect.dbapi = type(dialect).import_dbapi()
    lost = dialect.is_disconnect(original, SimpleNamespace(closed=closed), None)
    wrapped = exc.DBAPIError.instance("UPDATE", {}, original, dialect.dbapi.Error, connection_invalidated=lost, dialect=dialect)
    given = SimpleNamespace(sqlalchemy_exception=wrapped, original_exception=original, dialect=dialect, is_disconnect=lost, connection=None)
    try:
        passed = exc_filters.handler(given)
    except exc.SQLAlchemyError as error:
        return error
    assert isinstance(passed, Exception)
    return passed


AWAY: dict[str, Exception] = {
    "a restart by its administrator": postgresql("OperationalError", "57P01", "terminating connection due to administrator command"),
    "a crash of another backend": postgresql("OperationalError", "57P02", "terminating connection because of crash of another server process"),
    "it starts": postgresql("OperationalError", "57P03", "the database system is starting up"),
    "it shuts down": postgresql("OperationalError", None, "FATAL:  the database system is shutting down"),
    "too many connections": postgresql("OperationalError", "53300", "sorry, too many clients already"),
    "the disk is full": postgresql("OperationalError", "53100", "could not extend file"),
    "refused": postgresql("OperationalError", None, 'connection to server at "127.0.0.1", port 1 failed: Connection refused'),
    "the server closed the connection": postgresql("OperationalError", None, "server closed the connection unexpectedly", closed=True),
    "libpq has no words": postgresql("DatabaseError", None, "error with status PGRES_TUPLES_OK and no message from the libpq"),
    "the connection is closed": postgresql("InterfaceError", None, "connection already closed"),
    "the cursor is closed": postgresql("InterfaceError", None, "cursor already closed"),
    "it has become a standby": postgresql("InternalError", "25006", "cannot execute UPDATE in a read-only transaction"),
    "a lock that was not to be had": postgresql("OperationalError", "55P03", "canceling statement due to lock timeout"),
    **{
        f"MariaDB {number}": mariadb(number, text)
        for number, text in {
            1040: "Too many connections",
            1053: "Server shutdown in progress",
            1047: "WSREP has not yet prepared node for application use",
            1077: "Normal shutdown",
            1158: "Got an error reading communication packets",
            1290: "The MariaDB server is running with the --read-only option",
            1927: "Connection was killed",
            2006: "MySQL server has gone away",
            2013: "Lost connection to MySQL server during query",
            4031: "The client was disconnected by the server because of inactivity",
        }.items()
    },
    "MariaDB, closed": passed_on("mysql+pymysql", pymysql.err.InterfaceError(0, "")),
    "MariaDB, out of step": passed_on("mysql+pymysql", pymysql.err.InternalError("Packet sequence number wrong - got 1 expected 2")),
    "the pool": exc.TimeoutError("QueuePool limit of size 5 overflow 50 reached, connection timed out"),
    "a transaction that is over": exc.PendingRollbackError("Can't reconnect until invalid transaction is rolled back."),
}
OURS: dict[str, Exception] = {
    "a table is missing": postgresql("ProgrammingError", "42P01", 'relation "hosts" does not exist'),
    "a value": postgresql("DataError", "22P02", "invalid input syntax"),
    "a constraint": postgresql("IntegrityError", "23502", "null value in column"),
    "a failed transaction": postgresql("InternalError", "25P02", "current transaction is aborted"),
    "MariaDB, syntax": mariadb(1064, "You have an error in your SQL syntax"),
    "not the database's": ZeroDivisionError(),
}


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = Database(f"sqlite:///{tmp_path}/livemig.sqlite")
    yield database
    database.close()


@pytest.mark.parametrize("what", AWAY)
@pytest.mark.parametrize("kind", ["read", "write"])
def test_it_is_away(database: Database, what: str, kind: str) -> None:
    with pytest.raises(exceptions.DatabaseUnavailable) as away, getattr(database, kind)():
        raise AWAY[what]
    assert away.value.__cause__ is AWAY[what]


@pytest.mark.parametrize("what", OURS)
def test_it_is_not(database: Database, what: str) -> None:
    with pytest.raises(type(OURS[what])) as error, database.write():
        raise OURS[what]
    assert error.value is OURS[what]


@pytest.mark.parametrize(
    "error",
    [
        postgresql("OperationalError", "40P01", "deadlock detected"),
        mariadb(1213, "Deadlock found when trying to get lock", "40001"),
        mariadb(1205, "Lock wait timeout exceeded"),
        mariadb(1020, "Record has changed since last read in table 'x'"),
    ],
    ids=["PostgreSQL", "MariaDB", "MariaDB, waited", "MariaDB, changed"],
)
def test_who_loses_again_and_again_finds_it_away(database: Database, error: Exception) -> None:
    """Five more tries; it may be won meanwhile."""
    tries: list[int] = []

    @retried
    def transaction(wins_at: int) -> str:
        tries.append(len(tries))
        if len(tries) < wins_at:
            with database.write():
                raise error
        return "done"

    assert transaction(3) == "done" and len(tries) == 3
    tries.clear()
    with pytest.raises(exceptions.DatabaseUnavailable):
        transaction(99)
    assert len(tries) == 6


def test_a_row_that_two_insert_is_tried_again() -> None:
    @retried
    def transaction() -> None:
        raise db_exception.DBDuplicateEntry

    with pytest.raises(db_exception.DBDuplicateEntry):
        transaction()


@pytest.mark.parametrize(
    ("given", "added"),
    [
        ("sqlite:////var/lib/livemig/livemig.sqlite", set()),
        ("sqlite://", set()),
        (
            "postgresql+psycopg2://livemig:s%40cret@db/livemig",
            {"connect_timeout", "keepalives_idle", "keepalives_interval", "keepalives_count", "tcp_user_timeout"},
        ),
        ("postgresql+psycopg2://db/livemig?connect_timeout=1&keepalives_idle=60", {"keepalives_interval", "keepalives_count", "tcp_user_timeout"}),
        ("mysql+pymysql://livemig:secret@db/livemig?charset=utf8mb4", {"connect_timeout", "read_timeout", "write_timeout"}),
    ],
)
def test_nobody_waits_for_ever_for_a_database_that_says_nothing(given: str, added: set[str]) -> None:
    before, after = make_url(given), make_url(bounded(given))
    assert set(after.query) - set(before.query) == added
    assert after.set(query=before.query) == before and all(after.query[name] == value for name, value in before.query.items())


def test_the_drivers_know_what_they_are_told() -> None:
    for given in ("postgresql+psycopg2://127.0.0.1:1/livemig", "mysql+pymysql://127.0.0.1:1/livemig"):
        database = Database(bounded(given), max_retries=0)
        with pytest.raises(exceptions.DatabaseUnavailable) as away, database.read() as session:
            session.connection()
        assert "refused" in str(away.value.__cause__)
