"""The way from the API to a conductor."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
from oslo_config import cfg
from oslo_messaging._drivers import common as wire

from livemig import context, exceptions, rpc
from livemig.diagnostics import Diagnostics, DiskUse, NicUse, ProcessorUse
from livemig.facts import Presence
from livemig.runtime import Mailbox, ThreadRuntime

RUNTIME = ThreadRuntime()


USE = Diagnostics(
    presence=Presence.RUNNING,
    domain_type="kvm",
    memory_max_mib=2048,
    memory_used_mib=1024,
    config_drive=True,
    memory_kib={"rss": 1},
    processors=(ProcessorUse(0, 5), ProcessorUse(1, 6)),
    nics=(NicUse("vnet0", "52:54:00:00:00:01", rx_bytes=7),),
    disks=(DiskUse("vda", read_requests=8),),
)
NOBODY = "rabbit://guest:guest@127.0.0.1:1/"  # a port on which nothing listens


class Conductor:
    """A conductor at the other end of oslo.messaging's own test transport; `does` is what it does when it is asked."""

    def __init__(self) -> None:
        self.asked: list[Any] = []
        self.news: Mailbox[None] = Mailbox(RUNTIME)
        self.does: Callable[[], Any] = lambda: None
        self.transport = transport("unit")

    def answers(self) -> dict[str, Callable[..., Any]]:
        return {name: partial(self.answer, name) for name in ("live_migrate", "wake", "perform", "diagnostics")}

    def answer(self, name: str, **arguments: Any) -> Any:
        self.asked.append((name, arguments))
        self.news.put(None)
        return self.does()


def transport(exchange: str, url: str = "fake:///") -> Any:
    """Whoever is on another exchange is not reached. The configuration is the global one: oslo.messaging reads some options only there."""
    conf = cfg.CONF
    conf([], project="livemig", default_config_files=[], default_config_dirs=[])
    rpc.transport(conf).cleanup()  # the default one, which registers the options
    conf.set_override("transport_url", url)
    conf.set_override("control_exchange", exchange)
    try:
        return rpc.transport(conf)
    finally:
        conf.clear_override("transport_url")
        conf.clear_override("control_exchange")


@pytest.fixture(scope="module")
def served() -> Iterator[Conductor]:
    """One for all tests: stopping an RPC server takes a moment."""
    conductor = Conductor()
    server = rpc.ConductorServer(conductor.transport, "unit", conductor.answers())
    server.start()
    yield conductor
    server.stop()
    conductor.transport.cleanup()


@pytest.fixture
def conductor(served: Conductor) -> Conductor:
    served.asked.clear()
    served.does = lambda: None
    return served


def test_a_conductor_is_asked(conductor: Conductor) -> None:
    rpc.ConductorClient(conductor.transport, 5, RUNTIME).live_migrate(context.system(), 7)
    assert conductor.asked == [("live_migrate", {"migration_id": 7})]


def test_its_error_is_raised_as_it_was(conductor: Conductor) -> None:
    def refuse() -> None:
        try:
            raise exceptions.HostNotFound(host="b")
        except exceptions.HostNotFound:
            carried = wire.serialize_remote_exception(sys.exc_info())
        raise wire.deserialize_remote_exception(carried, [exceptions.__name__])  # the class that oslo.messaging derives, as RabbitMQ's driver raises it

    conductor.does = refuse
    with pytest.raises(exceptions.HostNotFound) as refused:
        rpc.ConductorClient(conductor.transport, 5, RUNTIME).live_migrate(context.system(), 7)
    error = refused.value
    assert type(error) is exceptions.HostNotFound
    assert (str(error), error.kwargs) == ("Compute host b could not be found.", {"host": "b"})
    assert error.__cause__ is None and error.__suppress_context__


def test_what_is_no_domain_error_says_so(conductor: Conductor) -> None:
    def fail() -> None:
        raise ZeroDivisionError("inside")

    conductor.does = fail
    with pytest.raises(Exception, match="inside") as failed:
        rpc.ConductorClient(conductor.transport, 5, RUNTIME).live_migrate(context.system(), 7)
    assert not isinstance(failed.value, exceptions.LivemigError)


def test_no_answer_is_conductor_unavailable(conductor: Conductor) -> None:
    with pytest.raises(exceptions.ConductorUnavailable):
        rpc.ConductorClient(transport("nobody listens"), 1, RUNTIME).live_migrate(context.system(), 7)
    assert conductor.asked == []


def test_whether_something_was_done_is_unknown_when_no_answer_comes(conductor: Conductor) -> None:
    with pytest.raises(exceptions.OutcomeUnknown):
        rpc.ConductorClient(transport("nobody listens"), 1, RUNTIME).perform(context.system(), "web", "node1", "stop")
    assert conductor.asked == []


def test_a_deed_is_done(conductor: Conductor) -> None:
    rpc.ConductorClient(conductor.transport, 5, RUNTIME).perform(context.system(), "web", "node1", "stop")
    assert conductor.asked == [("perform", {"server_uuid": "web", "host": "node1", "deed": "stop"})]


def test_diagnostics_arrive_as_they_were(conductor: Conductor) -> None:
    conductor.does = lambda: USE
    assert rpc.ConductorClient(conductor.transport, 5, RUNTIME).diagnostics(context.system(), "web", "node1") == USE
    assert conductor.asked == [("diagnostics", {"server_uuid": "web", "host": "node1"})]


def test_a_conductor_is_woken_in_the_background(conductor: Conductor) -> None:
    client = rpc.ConductorClient(conductor.transport, 5, RUNTIME)
    for number in (7, 8, 9):
        client.wake(context.system(), number)
    while len(conductor.asked) < 3:
        assert conductor.news.take(10)
    assert conductor.asked == [("wake", {"migration_id": number}) for number in (7, 8, 9)]


def test_a_broker_that_is_away_is_told_of_at_once() -> None:
    """The queue for answers, for which oslo.messaging would wait without limit, is not asked for."""
    client = rpc.ConductorClient(transport("unit", NOBODY), 600, RUNTIME)
    began = time.monotonic()
    for ask in (client.live_migrate, client.live_migrate):
        with pytest.raises(exceptions.ConductorUnavailable):
            ask(context.system(), 7)
    assert time.monotonic() - began < 100  # it did not wait for its time-out


class Warned(logging.Handler):
    """Sees what is logged in other threads."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: Mailbox[str] = Mailbox(RUNTIME)

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.put(record.getMessage())


def test_waking_without_a_broker_is_a_warning() -> None:
    client, warned = rpc.ConductorClient(transport("unit", NOBODY), 60, RUNTIME), Warned()
    rpc.LOG.addHandler(warned)
    try:
        client.wake(context.system(), 7)
        [text] = warned.texts.take(10)
    finally:
        rpc.LOG.removeHandler(warned)
    assert text.startswith("No conductor was woken for migration 7; it is found in the database: ")


def test_the_context_is_carried() -> None:
    asked_by = context.RequestContext(user_id="u", project_id="p", request_id="req-1", is_admin=True, roles=["admin"])
    serializer = rpc.ContextSerializer()
    carried = serializer.serialize_context(asked_by)
    assert type(carried) is dict
    again = serializer.deserialize_context(carried)
    assert isinstance(again, context.RequestContext)
    assert [getattr(again, name) for name in ("user_id", "project_id", "request_id", "is_admin", "roles")] == ["u", "p", "req-1", True, ["admin"]]


def test_work_that_nobody_asked_for_has_a_context() -> None:
    system = context.system()
    assert (system.user_id, system.is_admin) == ("livemig", True)
    assert system.request_id.startswith("req-")
