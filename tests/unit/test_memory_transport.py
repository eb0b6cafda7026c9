"""The transport within one process: messages wake who waits for them, and nobody polls."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from kombu import Connection, Exchange, Queue

from livemig import memory_transport

QUEUE = Queue("letters", Exchange("letters"), routing_key="letters")


@pytest.fixture
def connection() -> Iterator[Connection]:
    memory_transport.register()
    with Connection(f"{memory_transport.NAME}://") as connection:
        yield connection
        QUEUE(connection.default_channel).delete()


def consume(connection: Connection, heard: list[str]) -> None:
    def hear(body: str, message: Any) -> None:
        heard.append(body)
        message.ack()

    connection.Consumer(QUEUE, callbacks=[hear]).consume()


def test_what_was_put_before_is_delivered(connection: Connection) -> None:
    heard: list[str] = []
    consume(connection, heard)
    connection.Producer().publish("one", exchange="letters", routing_key="letters", declare=[QUEUE])
    connection.drain_events(timeout=1)
    assert heard == ["one"]


def test_a_message_wakes_a_consumer_that_waits(connection: Connection) -> None:
    heard: list[str] = []
    consume(connection, heard)
    waiter = threading.Thread(target=lambda: connection.drain_events(timeout=30))
    waiter.start()
    with Connection(f"{memory_transport.NAME}://") as other:
        other.Producer().publish("one", exchange="letters", routing_key="letters", declare=[QUEUE])
        waiter.join(10)
    assert not waiter.is_alive()
    assert heard == ["one"]


def test_nothing_for_a_while_is_a_timeout(connection: Connection) -> None:
    consume(connection, [])
    with pytest.raises(TimeoutError):
        connection.drain_events(timeout=0.01)


def test_waiting_costs_no_processor_time(connection: Connection) -> None:
    """kombu's own, without its pause, takes all of one."""
    consume(connection, [])
    used = time.thread_time()
    with pytest.raises(TimeoutError):
        connection.drain_events(timeout=0.5)
    assert time.thread_time() - used < 0.1
