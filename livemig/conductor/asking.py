"""Questions to hosts of which one may hang: each is asked in a thread of its own, and whoever asks waits only for so long.

keepalive ends a connection on which a daemon is silent after half a minute; one whose threads all hang answers keepalive for ever.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar

from livemig import exceptions
from livemig.runtime import Runtime

T = TypeVar("T")


class _Answer(Generic[T]):
    """What comes of one question; `found` is set once there is something."""

    def __init__(self, runtime: Runtime, question: Callable[[], T]) -> None:
        self.found = runtime.event()
        self._question = question
        self._said: T
        self._error: BaseException | None = None

    def find(self) -> None:
        try:
            self._said = self._question()
        except Exception as error:  # noqa: BLE001 - raised by whoever asks
            self._error = error
        finally:
            self.found.set()

    def read(self) -> T:
        if self._error is not None:
            raise self._error
        return self._said


class Asking:
    """While a host owes somebody an answer whose time is up, nobody else waits for it."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._owed: dict[str, _Answer[Any]] = {}

    def ask(self, host: str, question: Callable[[], T], seconds: float) -> T:
        """What `question` returns or raises. Raises HypervisorUnavailable when the host does not answer in time."""
        owed = self._owed.get(host)
        if owed is not None and not owed.found.is_set():
            raise exceptions.HypervisorUnavailable(host=host, code=0, message="it has not answered to an earlier question yet")
        answer = _Answer(self._runtime, question)
        self._runtime.start(f"ask-{host}", answer.find)
        if not answer.found.wait(seconds):
            self._owed[host] = answer
            raise exceptions.HypervisorUnavailable(host=host, code=0, message=f"it has not answered for {seconds:g} s")
        return answer.read()
