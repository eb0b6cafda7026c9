"""The connection to the database, its transactions, and what its failures mean."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Any, TypeVar

from alembic import command
from alembic.config import Config
from oslo_db import api as db_api
from oslo_db import exception as db_exception
from oslo_db.sqlalchemy import enginefacade
from sqlalchemy import Engine, text
from sqlalchemy import exc as sqlalchemy_exceptions
from sqlalchemy.orm import Session

from livemig import exceptions

T = TypeVar("T")

_PATIENCE_S = 10.0  # longer than a writer waits for another process (SQLite's 5 s)


@enginefacade.transaction_context_provider
class _Thread:
    """What oslo.db hangs a transaction on."""


class Database:
    """Transactions on one database. `options` are oslo.db's ([database])."""

    def __init__(self, connection: str, **options: Any) -> None:
        self._facade = enginefacade.transaction_context()
        self._facade.configure(connection=connection, sqlite_fk=True, **options)
        self._turn = Lock() if connection.startswith("sqlite") else None

    @contextmanager
    def write(self) -> Iterator[Session]:
        """A transaction that writes. Its first statement must write: on SQLite, that takes the lock while waiting is still possible."""
        with self._in_turn(), _translated(), self._facade.writer.using(_Thread()) as session:
            yield session

    @contextmanager
    def _in_turn(self) -> Iterator[None]:
        """SQLite has one writer at a time. Threads that wait inside it sleep, longer and longer, and one may be overtaken until it gives up: they wait here."""
        if self._turn is None:
            yield
            return
        if not self._turn.acquire(timeout=_PATIENCE_S):
            raise exceptions.DatabaseUnavailable
        try:
            yield
        finally:
            self._turn.release()

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A transaction that only reads."""
        with _translated(), self._facade.reader.using(_Thread()) as session:
            yield session

    @property
    def engine(self) -> Engine:
        engine: Engine = self._facade.writer.get_engine()
        return engine

    def upgrade(self, revision: str = "head") -> None:
        """Bring the tables to the newest revision (alembic), or to another one. Safe to repeat.

        SQLite is set to WAL, so that readers never wait for a writer.
        """
        config = Config()
        config.set_main_option("script_location", str(Path(__file__).parent / "alembic"))
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


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except _AWAY as error:
        raise exceptions.DatabaseUnavailable from error


# Beside lost connections: oslo.db passes on as they are the operational errors that it does not tell apart, such as a SQLite file that stayed locked
# or a server that shuts down; and a pool may have no connection left.
_AWAY = (db_exception.DBConnectionError, db_exception.DBNonExistentDatabase, sqlalchemy_exceptions.OperationalError, sqlalchemy_exceptions.TimeoutError)


def retried(function: Callable[..., T]) -> Callable[..., T]:
    """Repeat a whole transaction that lost against another one: a deadlock, or both inserted the same row."""
    wrapped: Callable[..., T] = db_api.wrap_db_retry(
        max_retries=5,
        retry_interval=0.02,
        inc_retry_interval=True,
        max_retry_interval=0.5,
        retry_on_deadlock=True,
        exception_checker=lambda error: isinstance(error, db_exception.DBDuplicateEntry),
    )(function)
    return wrapped
