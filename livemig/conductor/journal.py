"""The event log of a migration under way, as its attempt writes it: despite a database that is away."""

from __future__ import annotations

from collections.abc import Callable

from oslo_log import log

from livemig import exceptions
from livemig.db.store import Store
from livemig.records import Migration

LOG = log.getLogger(__name__)


class Journal:
    """Lines (kind, text), kept until the database has them."""

    def __init__(self, store: Store, migration: Migration) -> None:
        self._store = store
        self._migration = migration
        self._lines: list[tuple[str, str]] = []
        self._said: set[tuple[str, str]] = set()

    def note(self, kind: str, text: str) -> None:
        LOG.info("Migration %s of server %s: %s: %s", self._migration.uuid, self._migration.server_uuid, kind, text)
        self._lines.append((kind, text))

    def note_once(self, kind: str, text: str) -> bool:
        """False when it was said already."""
        if (kind, text) in self._said:
            return False
        self._said.add((kind, text))
        self.note(kind, text)
        return True

    def kinds(self) -> set[str]:
        """Of all lines there are. Raises DatabaseUnavailable."""
        return {kind for kind, _text in self._lines} | {event.kind for event in self._store.migrations.events(self._migration.id)}

    def flush(self) -> None:
        lines, self._lines = self._lines, []
        if lines and not despite_database(lambda: self._store.migrations.record(self._migration.id, *lines)):
            self._lines = lines + self._lines


def despite_database(write: Callable[[], object]) -> bool:
    """False while the database is away: the job goes on, and the event log catches up."""
    try:
        write()
    except exceptions.DatabaseUnavailable:
        return False
    return True
