"""The connection to the database, its transactions, and what its failures mean."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from threading import Lock
from typing import Any, TypeVar

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from oslo_db import api as db_api
from oslo_db import exception as db_exception
from oslo_db.sqlalchemy import enginefacade
from sqlalchemy import URL, Engine, event, make_url, text
from sqlalchemy import exc as sqlalchemy_exceptions
from sqlalchemy.orm import Session

from livemig import exceptions
from livemig.db import patterns

T = TypeVar("T")

_SQLITE_WAITS_S = 5.0  # for another process, unless the URL says otherwise (?timeout=)
_PATIENCE_S = 30.0  # longer than a writer waits for another process (SQLite's 5 s), and than it takes to write down a thousand hosts that were just found


@enginefacade.transaction_context_provider
class _Thread:
    """What oslo.db hangs a transaction on."""


# What a driver is told unless the URL says otherwise: a machine that is gone says nothing, and TCP gives up after a quarter of an hour.
_LIBPQ = {"connect_timeout": "5", "keepalives_idle": "5", "keepalives_interval": "2", "keepalives_count": "3", "tcp_user_timeout": "10000"}
_PATIENCE = {
    "postgresql+psycopg2": _LIBPQ,
    "postgresql+psycopg": _LIBPQ,
    "mysql+pymysql": {"connect_timeout": "5", "read_timeout": "30", "write_timeout": "30"},
}


def bounded(connection: str) -> str:
    """A connection URL by which nobody waits for ever for a database that has gone without a word. Raises Misconfigured."""
    url = _read(connection)
    patience = _PATIENCE.get(f"{url.get_backend_name()}+{url.get_driver_name()}", {})
    added = {name: value for name, value in patience.items() if name not in url.query}
    return url.update_query_dict(added).render_as_string(hide_password=False) if added else connection


def _read(connection: str) -> URL:
    """The URL, of a driver that is there. What is raised does not show it."""
    try:
        url = make_url(connection)
        url.get_dialect().import_dbapi()
        return url
    except ImportError as error:
        reason = f"the driver {error.name} is not installed"
    except sqlalchemy_exceptions.NoSuchModuleError:
        reason = "SQLAlchemy has no driver of that name"
    except (sqlalchemy_exceptions.ArgumentError, ValueError):
        reason = "it is no URL like postgresql+psycopg2://USER:PASSWORD@HOST/DATABASE"
    raise exceptions.Misconfigured(option="[database] connection", reason=reason)


@dataclass(slots=True)
class Patience:
    """What somebody has left of the time that he would wait for the database: `left` seconds, by a clock of his."""

    left: float
    clock: Callable[[], float]

    @contextmanager
    def spent(self) -> Iterator[None]:
        """What is done in it is waiting."""
        began = self.clock()
        try:
            yield
        finally:
            self.left = max(0.0, self.left - (self.clock() - began))


_PATIENT: ContextVar[Patience | None] = ContextVar("patient", default=None)


@contextmanager
def patient(seconds: float, clock: Callable[[], float]) -> Iterator[None]:
    """All that is done in it, by this thread, waits for the database for so many seconds in the sum. Within another one, that one counts."""
    if _PATIENT.get() is not None:
        yield
        return
    token = _PATIENT.set(Patience(seconds, clock))
    try:
        yield
    finally:
        _PATIENT.reset(token)


def hurry() -> None:
    """Whoever is `patient` has waited long enough: what is still to be done is tried once."""
    if patience := _PATIENT.get():
        patience.left = 0.0


class _File:
    """An embedded database's file. Each transaction opens it: SQLite would make a new one, without tables, in place of one that was deleted."""

    def __init__(self, path: str) -> None:
        self._path = Path(path)
        self._seen = False

    def watch(self, engine: Engine) -> None:
        """Have each connection wait as long as the thread would that asks for it, and refuse one to a file that is gone."""
        event.listen(engine, "do_connect", self._open)

    def _open(self, _dialect: Any, _record: Any, _arguments: Any, named: dict[str, Any]) -> None:
        """SQLAlchemy connects with what is left in `named`."""
        if patience := _PATIENT.get():
            named["timeout"] = min(patience.left, float(named.get("timeout", _SQLITE_WAITS_S)))
        there = self._path.exists()
        if self._seen and not there:
            raise sqlite3.OperationalError(f"unable to open database file: {self._path} is gone")
        self._seen = there


class Database:
    """Transactions on one database. `options` are oslo.db's ([database])."""

    def __init__(self, connection: str, **options: Any) -> None:
        self._facade = enginefacade.transaction_context()
        self._facade.append_on_engine_create(patterns.teach)
        embedded = connection.startswith("sqlite")
        path = make_url(connection).database if embedded else None
        if path and path != ":memory:":
            self._facade.append_on_engine_create(_File(path.removeprefix("file:")).watch)
        self._facade.configure(connection=bounded(connection), sqlite_fk=True, **options)
        self._turn = Lock() if embedded else None

    @contextmanager
    def write(self) -> Iterator[Session]:
        """A transaction that writes. Its first statement must write: on SQLite, that takes the lock while waiting is still possible."""
        with self._in_turn(), _waiting(), _translated(), self._facade.writer.using(_Thread()) as session:
            yield session

    @contextmanager
    def _in_turn(self) -> Iterator[None]:
        """SQLite has one writer at a time. Threads that wait inside it sleep, longer and longer, and one may be overtaken until it gives up: they wait here."""
        if self._turn is None:
            yield
            return
        patience = _PATIENT.get()
        with _waiting():
            mine = self._turn.acquire(timeout=patience.left if patience else _PATIENCE_S)
        if not mine:
            raise exceptions.DatabaseUnavailable from TimeoutError("other transactions of this process hold it up")
        try:
            yield
        finally:
            self._turn.release()

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A transaction that only reads."""
        with _waiting(), _translated(), self._facade.reader.using(_Thread()) as session:
            yield session

    @property
    def engine(self) -> Engine:
        engine: Engine = self._facade.writer.get_engine()
        return engine

    def upgrade(self, revision: str = "head") -> None:
        """Bring the tables to the newest revision (alembic), or to another one. Safe to repeat.

        SQLite is set to WAL, so that readers never wait for a writer.
        """
        config = _alembic()
        with _translated():
            if self.engine.dialect.name == "sqlite":
                with self.engine.connect() as connection:
                    connection.execute(text("ROLLBACK"))
                    connection.execute(text("PRAGMA journal_mode = WAL"))
                    connection.execute(text("BEGIN"))
            with self.engine.begin() as connection:
                config.attributes["connection"] = connection
                command.upgrade(config, revision)

    def close(self) -> None:
        self._facade.dispose_pool()


def newest_revision() -> str:
    """Of this version of livemig."""
    return ScriptDirectory.from_config(_alembic()).get_current_head() or ""


def _alembic() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "alembic"))
    return config


@contextmanager
def _waiting() -> Iterator[None]:
    """What this thread does in it is at the cost of its patience."""
    if patience := _PATIENT.get():
        with patience.spent():
            yield
    else:
        yield


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except _AWAY as error:
        raise exceptions.DatabaseUnavailable from error
    except db_exception.DBDeadlock:
        raise  # it is tried again (`retried`), although its state says the same as a server that shuts down
    except db_exception.DBError as error:
        if not _is_away(error.inner_exception):
            raise
        raise exceptions.DatabaseUnavailable from error
    except sqlite3.DatabaseError as error:  # of a connection that is being made
        raise exceptions.DatabaseUnavailable from error


# Beside lost connections: oslo.db passes on as they are the operational errors that it does not tell apart, such as a SQLite file that stayed locked
# or a server that shuts down; and a pool may have no connection left. A connection that broke may leave a transaction that can only be rolled back.
_AWAY = (
    db_exception.DBConnectionError,
    db_exception.DBNonExistentDatabase,
    sqlalchemy_exceptions.OperationalError,
    sqlalchemy_exceptions.TimeoutError,
    sqlalchemy_exceptions.PendingRollbackError,
)

# What oslo.db wraps as if it were an error of ours: the beginnings of SQLSTATEs (https://www.postgresql.org/docs/current/errcodes-appendix.html), and
# MariaDB's numbers (https://mariadb.com/kb/en/mariadb-error-code-reference/).
_STATES = (
    "08",  # connection exception
    "25006",  # read-only: the server has just become a standby
    "40",  # transaction rollback
    "53",  # insufficient resources: connections, memory, disk
    "55P03",  # lock not available
    "57",  # operator intervention: it shuts down, has crashed, or starts
)
_NUMBERS = frozenset(
    {
        *(1040, 1041, 1203, 1226, 2027),  # too many connections, no memory, limits; a malformed packet
        *(1053, 1077, 1078, 1079, 1080, 1927, 3169),  # it shuts down, or an operator has ended the connection
        *(1152, 1153, 1154, 1155, 1156, 1157, 1158, 1159, 1160, 1161, 1184, 4031),  # the network, and a connection that was idle for too long
        *(1290, 1792, 1836),  # read-only: the server has just become a replica
        *(1021, 1030, 1047, 1205),  # disk full, storage engine, a node that is not in the cluster, a lock
        *(2002, 2003, 2006, 2013, 2014, 2055),  # the client's: no connection, or one that was lost
    }
)


# SQLite's own, and not of what it was given: the file is no database, or damaged; its tables are gone with the file that it was.
_OF_THE_FILE = (sqlite3.DatabaseError, sqlite3.OperationalError)


def _is_away(error: BaseException | None) -> bool:
    """Whether the driver's error under SQLAlchemy's says that the database, and not the statement, is what ails."""
    if isinstance(error, sqlalchemy_exceptions.InterfaceError):
        return True  # the connection was closed under the driver's feet
    original = getattr(error, "orig", None)
    if type(original) in _OF_THE_FILE:
        return True
    if next(iter(getattr(original, "args", ())), None) in _NUMBERS:
        return True
    state = getattr(original, "pgcode", None) or getattr(original, "sqlstate", None)
    if isinstance(state, str):
        return state.startswith(_STATES)
    libpq = type(original).__module__.startswith("psycopg")
    return libpq and type(original).__name__ in ("DatabaseError", "InterfaceError")  # of its own, without a word of the server's


def retried(function: Callable[..., T]) -> Callable[..., T]:
    """Repeat a whole transaction that lost against another one: a deadlock, or both inserted the same row. One that loses again and again finds a database
    that is too busy for it: DatabaseUnavailable."""
    tried: Callable[..., T] = db_api.wrap_db_retry(
        max_retries=5,
        retry_interval=0.02,
        inc_retry_interval=True,
        max_retry_interval=0.5,
        retry_on_deadlock=True,
        exception_checker=lambda error: isinstance(error, db_exception.DBDuplicateEntry | db_exception.DBConsistencyError),
    )(function)

    @wraps(function)
    def patient(*arguments: Any, **named: Any) -> T:
        try:
            return tried(*arguments, **named)
        except (db_exception.DBDeadlock, db_exception.DBConsistencyError) as error:
            raise exceptions.DatabaseUnavailable from error

    return patient
