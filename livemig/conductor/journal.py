"""The event log of a migration under way, as its attempt writes it: despite a database that is away, and bounded, however long it takes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from oslo_log import log

from livemig import exceptions
from livemig.db.store import Store
from livemig.facts import Iteration
from livemig.records import Migration

LOG = log.getLogger(__name__)

_OFTEN = 10  # so many times the same line is written as it comes
_FIRST_S, _LONGEST_S = 1.0, 300.0  # pauses between two such lines from then on; they double


@dataclass(slots=True)
class _Pace:
    """Of lines that come again and again: when the next is due, how many were held back since the last, and the details of the latest."""

    often: int = 0
    due_at: float = float("-inf")
    pause_s: float = _FIRST_S
    held: int = 0
    details: dict[str, object] = field(default_factory=dict)

    def is_due(self, now: float) -> bool:
        if self.often > 0:
            self.often -= 1
            return True
        if now < self.due_at:
            return False
        self.due_at = now + self.pause_s
        self.pause_s = min(2 * self.pause_s, _LONGEST_S)
        return True


class Journal:
    """Lines (kind, text), kept until the database has them. `clock` gives seconds.

    A migration may run for days, with a guest that does not converge (dozens of iterations a second) or over a link that breaks every few seconds. So
    iterations, and lines that were said often, are told with growing pauses: then all iterations since in one line, and how often the same was to be said.

    Each line also goes to the log. Its record there has fields beside the text: `migration` and `server` (UUIDs), `kind`, and the details given with the line.
    """

    def __init__(self, store: Store, migration: Migration, clock: Callable[[], float]) -> None:
        self._store = store
        self._migration = migration
        self._clock = clock
        self._lines: list[tuple[str, str]] = []
        self._said: set[tuple[str, str]] = set()
        self._paces: dict[tuple[str, str], _Pace] = {}
        self._iterations: tuple[int, int] | None = None  # first and last of those that are still to be told
        self._pace_of_iterations = _Pace()

    def note(self, kind: str, text: str, **details: object) -> None:
        pace = self._paces.setdefault((kind, text), _Pace(_OFTEN))
        pace.details = details
        if not pace.is_due(self._clock()):
            pace.held += 1
            return
        self._tell_iterations()
        times, pace.held = pace.held + 1, 0
        self._write(kind, _counted(text, times), details)

    def note_once(self, kind: str, text: str, **details: object) -> bool:
        """False when it was said already."""
        if (kind, text) in self._said:
            return False
        self._said.add((kind, text))
        self.note(kind, text, **details)
        return True

    def iterations(self, first: int, last: int) -> None:
        """The source has begun these. They are told when it is time, and at the latest right before whatever is noted next."""
        self._iterations = (self._iterations[0] if self._iterations else first, last)
        if self._pace_of_iterations.is_due(self._clock()):
            self._tell_iterations()

    def kinds(self) -> set[str]:
        """Of all lines there are. Raises DatabaseUnavailable."""
        return {kind for kind, _text in self._lines} | {event.kind for event in self._store.migrations.events(self._migration.id)}

    def flush(self) -> None:
        """Have the database take what was told."""
        lines, self._lines = self._lines, []
        if lines and not despite_database(lambda: self._store.migrations.record(self._migration.id, *lines)):
            self._lines = lines + self._lines

    def close(self) -> None:
        """Tell what was held back."""
        self._tell_iterations()
        for (kind, text), pace in self._paces.items():
            if pace.held:
                times, pace.held = pace.held, 0
                self._write(kind, _counted(text, times), pace.details)
        self.flush()

    def _tell_iterations(self) -> None:
        if self._iterations is not None:
            first, last = self._iterations
            self._iterations = None
            self._write("source", f"iteration {first}" if first == last else f"iterations {first} to {last}", {"event": Iteration.__name__, "iteration": last})

    def _write(self, kind: str, text: str, details: Mapping[str, object]) -> None:
        uuid, server = self._migration.uuid, self._migration.server_uuid
        LOG.info("Migration %s of server %s: %s: %s", uuid, server, kind, text, migration=uuid, server=server, kind=kind, **details)
        self._lines.append((kind, text))


def _counted(text: str, times: int) -> str:
    return text if times == 1 else f"{text} ({times} times)"


def despite_database(write: Callable[[], object]) -> bool:
    """False while the database is away: the job goes on, and the event log catches up."""
    try:
        write()
    except exceptions.DatabaseUnavailable:
        return False
    return True
