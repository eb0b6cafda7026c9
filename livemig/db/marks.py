"""Marks that livemig has written down, by host: the UUIDs of what it makes there for a moment. They are the proof that a pool or a probe is its own."""

from __future__ import annotations

import uuid
from collections.abc import Collection

from sqlalchemy import insert, select

from livemig.db import models
from livemig.db.engine import Database, retried
from livemig.runtime import Runtime


class Marks:
    """A row each. They are never removed: who makes things on a host takes up those that it has written down before (`keeper`)."""

    def __init__(self, database: Database, runtime: Runtime) -> None:
        self._database = database
        self._runtime = runtime

    @retried
    def write_down(self, host: str, keeper: str) -> str:
        """A new one."""
        mark = str(uuid.uuid4())
        with self._database.write() as session:
            session.execute(insert(models.Mark).values(uuid=mark, host=host, keeper=keeper, created_at=self._runtime.now()))
        return mark

    def of(self, host: str, keeper: str | None = None) -> Collection[str]:
        """Those for a host, of everybody or of one keeper."""
        mark = models.Mark
        rule = (mark.host == host,) if keeper is None else (mark.host == host, mark.keeper == keeper)
        with self._database.read() as session:
            return session.scalars(select(mark.uuid).where(*rule).order_by(mark.created_at, mark.uuid)).all()
