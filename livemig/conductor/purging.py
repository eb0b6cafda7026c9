"""History that shrinks by itself, by option: once a day one of the conductors removes what ended long ago."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from oslo_log import log

from livemig import exceptions
from livemig.db.store import Store
from livemig.runtime import Event, Runtime, Task

LOG = log.getLogger(__name__)

PAUSE_S = 0.1  # between two transactions
DAY_S = 86_400.0
_FIRST_S = 60.0  # after the start, when everything else has begun
_LOOK_S = 3_600.0  # another conductor may have begun, and died


class Purging:
    """Of one conductor. `stopping` ends it."""

    def __init__(self, conf: Any, store: Store, runtime: Runtime, stopping: Event) -> None:
        self._conf = conf
        self._store = store
        self._runtime = runtime
        self._stopping = stopping

    def start(self) -> list[Task]:
        """The thread that does it, if it is to be done."""
        return [self._runtime.start("purge", self._run)] if self._conf.conductor.purge_older_than else []

    def _run(self) -> None:
        pause = _FIRST_S
        while not self._stopping.wait(pause):
            self._try()
            pause = _LOOK_S

    def _try(self) -> None:
        days: int = self._conf.conductor.purge_older_than
        try:
            if days and self._store.history.may_begin(DAY_S):
                done = self._store.history.purge(self._runtime.now() - timedelta(days=days), lambda: not self._stopping.wait(PAUSE_S))
                LOG.info(
                    "%s migrations that ended more than %s days ago, %s lines of event logs and %s actions were removed",
                    done.migrations,
                    days,
                    done.events,
                    done.actions,
                )
        except exceptions.DatabaseUnavailable as error:
            LOG.warning("The database is away; history is purged another time: %s", error.why)
        except Exception:
            LOG.exception("History could not be purged; it is tried again")
