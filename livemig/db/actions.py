"""The rows of `actions`: what was asked of servers, and what came of it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import insert, select, update
from sqlalchemy.orm import Session

from livemig import exceptions, records
from livemig.db import models
from livemig.db.engine import Database, retried
from livemig.db.rows import to_action
from livemig.db.selection import Selection, narrowed, paged
from livemig.runtime import Runtime

SUCCESS = "Success"  # Nova's results (nova/objects/instance_action.py, event_finish_with_failure)
ERROR = "Error"


class Actions:
    """Actions on servers. They outlive the servers."""

    def __init__(self, database: Database, runtime: Runtime) -> None:
        self._database = database
        self._runtime = runtime

    @retried
    def start(self, server: records.Server, action: str, asked_by: Any) -> int:
        """Take down that somebody (a `RequestContext`) asks for something; the action's id."""
        with self._database.write() as session:
            return insert_action(session, self._runtime.now(), server, action, asked_by)

    @retried
    def finish(self, action_id: int, failure: str | None = None) -> None:
        """Take down how it ended; `failure` is for people."""
        now = self._runtime.now()
        values = {"finished_at": now, "updated_at": now, "result": SUCCESS if failure is None else ERROR, "details": failure}
        with self._database.write() as session:
            session.execute(update(models.Action).where(models.Action.id == action_id).values(**values))

    def find(self, selection: Selection) -> Sequence[records.Action]:
        """The actions of a selection, whose marker is a request's id. Raises ActionNotFound for it."""
        action = models.Action
        with self._database.read() as session:
            marker = None
            if selection.marker is not None:
                marker = session.scalars(narrowed(select(action), action, Selection(selection.equal)).where(action.request_id == selection.marker)).first()
                if marker is None:
                    raise exceptions.ActionNotFound(request=selection.marker)
            rows = session.scalars(paged(narrowed(select(action), action, selection), action, selection, marker))
            return [to_action(row) for row in rows]

    def get(self, server_uuid: str, request_id: str) -> records.Action:
        """The first action of a request on a server. Raises ActionNotFound."""
        action = models.Action
        with self._database.read() as session:
            row = session.scalars(select(action).where(action.server_uuid == server_uuid, action.request_id == request_id).order_by(action.id)).first()
            if row is None:
                raise exceptions.ActionNotFound(request=request_id)
            return to_action(row)


def insert_action(session: Session, now: datetime, server: records.Server | models.Server, action: str, asked_by: Any, **values: Any) -> int:
    """The row of an action, within another transaction; its id. Where nobody is authenticated, it is the action of the server's owner."""
    row = {
        "server_uuid": server.uuid,
        "host": server.host,
        "action": action,
        "request_id": asked_by.request_id,
        "user_id": asked_by.user_id or server.user_id,
        "project_id": asked_by.project_id or server.project_id,
        "started_at": now,
        "updated_at": now,
    }
    result = session.execute(insert(models.Base.metadata.tables["actions"]), row | values)
    return int(result.inserted_primary_key[0])  # type: ignore[attr-defined]
