"""Something that happens at a certain moment: when the code under test says certain words, or between two of its transactions."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy.orm import Session

from livemig.runtime import Runtime
from tests.memory import MemoryDatabase


class When(logging.Handler):
    """Does something in the thread that says certain words, the first time it does."""

    def __init__(self, words: str, deed: Callable[[], object]) -> None:
        super().__init__()
        self._words = words
        self._deed: Callable[[], object] | None = deed

    def createLock(self) -> None:
        """None: the deed may wait, and other threads have something to say meanwhile."""
        self.lock = None

    def emit(self, record: logging.LogRecord) -> None:
        if self._deed is not None and self._words in record.getMessage():
            deed, self._deed = self._deed, None
            deed()


@contextmanager
def when(words: str, deed: Callable[[], object]) -> Iterator[None]:
    handler, logger = When(words, deed), logging.getLogger("livemig")
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
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
