"""kombu's in-memory transport, waiting where the original polls.

oslo.messaging has kombu's `memory://` look for messages without a pause ("Kludge to speed up tests", _drivers/impl_rabbit.py): each consumer of an idle
livemig-all would keep a processor busy. This one sleeps until a message is put, so that an idle process is idle and a call takes no longer.
"""

from __future__ import annotations

import threading
import time
from queue import Empty
from typing import Any

from kombu import transport
from kombu.transport import memory

NAME = "livemig"

_arrival = threading.Condition()
_arrivals = 0


def register() -> str:
    """Make the transport known to kombu; the URL by which oslo.messaging takes it."""
    transport.TRANSPORT_ALIASES[NAME] = f"{__name__}:Transport"
    return f"kombu+{NAME}:////"


class Channel(memory.Channel):  # type: ignore[misc]
    """Says so when a message is put."""

    def _put(self, *arguments: Any, **named: Any) -> None:
        super()._put(*arguments, **named)
        _tell()

    def _put_fanout(self, *arguments: Any, **named: Any) -> None:
        super()._put_fanout(*arguments, **named)
        _tell()


class Transport(memory.Transport):  # type: ignore[misc]
    """Delivers what was put on the queues of its connections."""

    Channel = Channel

    def drain_events(self, _connection: Any, timeout: float | None = None) -> None:
        """Deliver one message. Raises TimeoutError when none came for `timeout` seconds (kombu.transport.virtual.base, Transport.drain_events)."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            before = _arrivals
            try:
                self.cycle.get(self._deliver, timeout=timeout)
                return
            except Empty:
                _wait_for_another_than(before, deadline)


def _tell() -> None:
    global _arrivals
    with _arrival:
        _arrivals += 1
        _arrival.notify_all()


def _wait_for_another_than(before: int, deadline: float | None) -> None:
    with _arrival:
        left = None if deadline is None else deadline - time.monotonic()
        if not _arrival.wait_for(lambda: _arrivals != before, left):
            raise TimeoutError
