"""The database's own time, by which leases expire: the clocks of conductors may differ.

SQLite has none that is exact enough. It lives on one machine, so the runtime's clock is everybody's there.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from sqlalchemy import ColumnElement, DateTime, Float, bindparam, literal
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import Session
from sqlalchemy.sql.functions import FunctionElement

from livemig.runtime import Runtime


class Later(FunctionElement[Any]):
    """UTC, so many seconds from now, with microseconds: not of the transaction's beginning, which may have waited for a lock since."""

    type = DateTime()
    inherit_cache = True


@compiles(Later, "postgresql")
def _postgresql(element: Later, compiler: Any, **words: Any) -> str:
    return f"timezone('utc', clock_timestamp()) + make_interval(secs => {compiler.process(element.clauses, **words)})"


@compiles(Later, "mysql", "mariadb")
def _mysql(element: Later, compiler: Any, **words: Any) -> str:
    return f"TIMESTAMPADD(MICROSECOND, 1000000 * {compiler.process(element.clauses, **words)}, UTC_TIMESTAMP(6))"


class Clock:
    """`now` and `later` are expressions for statements of a session."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    def now(self, session: Session) -> ColumnElement[Any]:
        return self.later(session, 0)

    def later(self, session: Session, seconds: float) -> ColumnElement[Any]:
        """So many seconds from now."""
        if session.get_bind().dialect.name == "sqlite":
            return literal(self._runtime.now() + timedelta(seconds=seconds))
        return Later(bindparam(None, seconds, Float))
