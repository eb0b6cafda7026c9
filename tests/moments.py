"""Something that happens at a certain moment: when a migration's event log gets a certain event, or between two transactions."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from sqlalchemy.orm import Session

from livemig.conductor import journal
from livemig.runtime import Runtime
from tests.memory import MemoryDatabase


class _When(logging.Handler):
    """Calls `deed` in the thread that notes the first event with all of these fields."""

    def __init__(self, fields: Mapping[str, object], deed: Callable[[], object]) -> None:
        super().__init__()
        self._fields = fields
        self._deed: Callable[[], object] | None = deed

    def createLock(self) -> None:
        """None: the deed may wait, and other threads have events to note meanwhile."""
        self.lock = None

    def emit(self, record: logging.LogRecord) -> None:
        if self._deed is not None and self._fields.items() <= vars(record).items():
            deed, self._deed = self._deed, None
            deed()

    @property
    def fired(self) -> bool:
        return self._deed is None


@contextmanager
def when(deed: Callable[[], object], **fields: object) -> Iterator[None]:
    """Call `deed` once, as soon as a migration under way notes an event with these fields: its kind, and the details of livemig.conductor.journal.

    Raises AssertionError at the end when there was no such event.
    """
    handler, logger = _When(fields, deed), logging.getLogger(journal.__name__)
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
        assert handler.fired, f"no event had {fields}"
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)


class PatientDatabase(MemoryDatabase):
    """Lets others go on before every transaction, so that a seeded scheduler mixes the transactions of several threads."""

    def __init__(self, runtime: Runtime, connection: str, **options: Any) -> None:
        super().__init__(connection, **options)
        self._runtime = runtime

    @contextmanager
    def write(self) -> Iterator[Session]:
        self._runtime.sleep(0)
        with super().write() as session:
            yield session

    @contextmanager
    def read(self) -> Iterator[Session]:
        self._runtime.sleep(0)
        with super().read() as session:
            yield session
