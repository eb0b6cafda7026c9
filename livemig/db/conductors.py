"""What several conductors on one database have in common: locks that hold among all of them, and the names under which they hold things."""

from __future__ import annotations

from sqlalchemy import ColumnElement, update
from sqlalchemy.orm import InstrumentedAttribute, Session

from livemig.db import models
from livemig.db.clock import Clock


def lock(session: Session, name: str, clock: Clock) -> None:
    """Only one conductor at a time goes on from here, until the transaction ends. `name` is that of a row of `mutexes`."""
    mutexes = models.Base.metadata.tables["mutexes"]
    session.execute(update(mutexes).where(mutexes.c.name == name).values(taken_at=clock.now(session)))


def former_lives(of: str, holder: InstrumentedAttribute[str] | InstrumentedAttribute[str | None]) -> tuple[ColumnElement[bool], ...]:
    """The rows whose `holder` is a former life `of` a conductor: the same name before the colon, another life after it."""
    return holder.startswith(f"{of.partition(':')[0]}:", autoescape=True), holder != of
