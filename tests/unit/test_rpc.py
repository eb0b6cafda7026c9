"""The way from the API to a conductor."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from oslo_config import cfg
from oslo_messaging._drivers import common as wire

from livemig import context, exceptions, rpc


class Conductor:
    """A conductor at the other end of oslo.messaging's own test transport; `does` is what it does with a migration."""

    def __init__(self) -> None:
        self.asked: list[int] = []
        self.does: Callable[[], None] = lambda: None
        self.transport = transport("unit")

    def accept(self, migration_id: int) -> None:
        self.asked.append(migration_id)
        self.does()


def transport(exchange: str) -> Any:
    """Whoever is on another exchange is not reached. The configuration is the global one: oslo.messaging reads some options only there."""
    conf = cfg.CONF
    conf([], project="livemig", default_config_files=[], default_config_dirs=[])
    rpc.transport(conf).cleanup()  # the default one, which registers the options
    conf.set_override("transport_url", "fake:///")
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
    server = rpc.ConductorServer(conductor.transport, "unit", conductor.accept)
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
    rpc.ConductorClient(conductor.transport, 5).live_migrate(context.system(), 7)
    assert conductor.asked == [7]


def test_its_error_is_raised_as_it_was(conductor: Conductor) -> None:
    def refuse() -> None:
        try:
            raise exceptions.HostNotFound(host="b")
        except exceptions.HostNotFound:
            carried = wire.serialize_remote_exception(sys.exc_info())
        raise wire.deserialize_remote_exception(carried, [exceptions.__name__])  # the class that oslo.messaging derives, as RabbitMQ's driver raises it

    conductor.does = refuse
    with pytest.raises(exceptions.HostNotFound) as refused:
        rpc.ConductorClient(conductor.transport, 5).live_migrate(context.system(), 7)
    error = refused.value
    assert type(error) is exceptions.HostNotFound
    assert (str(error), error.kwargs) == ("Compute host b could not be found.", {"host": "b"})
    assert error.__cause__ is None and error.__suppress_context__


def test_what_is_no_domain_error_says_so(conductor: Conductor) -> None:
    def fail() -> None:
        raise ZeroDivisionError("inside")

    conductor.does = fail
    with pytest.raises(Exception, match="inside") as failed:
        rpc.ConductorClient(conductor.transport, 5).live_migrate(context.system(), 7)
    assert not isinstance(failed.value, exceptions.LivemigError)


def test_no_answer_is_conductor_unavailable(conductor: Conductor) -> None:
    with pytest.raises(exceptions.ConductorUnavailable):
        rpc.ConductorClient(transport("nobody listens"), 1).live_migrate(context.system(), 7)
    assert conductor.asked == []


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
