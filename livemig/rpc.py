"""The way from the API to a conductor: oslo.messaging, and nothing else of livemig but `notifications` imports it.

RabbitMQ ([DEFAULT] transport_url) between processes, kombu's in-memory transport within one. Of migrations the message only names a row: what is to be
done stands in the database, so a message that is lost costs time and nothing else.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

with warnings.catch_warnings():  # both import their eventlet halves, which are never used here
    warnings.simplefilter("ignore")
    from oslo_service import backend

    backend.init_backend(backend.BackendType.THREADING)
    import oslo_messaging
    from kombu import exceptions as kombu_exceptions
    from oslo_messaging import exceptions as messaging_exceptions

from livemig import context, exceptions, memory_transport
from livemig.diagnostics import Diagnostics, DiskUse, NicUse, ProcessorUse
from livemig.facts import Presence
from livemig.runtime import Outbox, Runtime

LOG = logging.getLogger(__name__)

TOPIC = "livemig-conductor"
VERSION = "1.0"

_ALLOWED_REMOTE = ["livemig.exceptions"]

Answers = Mapping[str, Callable[..., Any]]  # what a conductor is asked → the function that does it, called with the message's arguments


class ContextSerializer(oslo_messaging.NoOpSerializer):  # type: ignore[misc]
    """Carries a RequestContext as its dictionary."""

    def serialize_context(self, ctxt: context.RequestContext) -> dict[str, Any]:
        carried: dict[str, Any] = ctxt.to_dict()
        return carried

    def deserialize_context(self, ctxt: dict[str, Any]) -> context.RequestContext:
        return context.from_dict(ctxt)


def transport(conf: Any) -> Any:
    """The transport of [DEFAULT] transport_url. Raises Misconfigured."""
    try:
        return oslo_messaging.get_rpc_transport(conf, allowed_remote_exmods=_ALLOWED_REMOTE)
    except oslo_messaging.DriverLoadFailure:
        reason = "oslo.messaging has no driver of that name"
    except (oslo_messaging.InvalidTransportURL, ValueError):
        reason = "it is no URL like rabbit://USER:PASSWORD@HOST:PORT/"
    raise exceptions.Misconfigured(option="[DEFAULT] transport_url", reason=reason)


def in_memory_transport(conf: Any) -> Any:
    """A transport within this process."""
    for name in ("kombu.connection", "oslo.messaging._drivers.impl_rabbit"):  # they miss a broker's host name and heartbeat
        logging.getLogger(name).setLevel(logging.ERROR)
    return oslo_messaging.get_rpc_transport(conf, url=memory_transport.register(), allowed_remote_exmods=_ALLOWED_REMOTE)


def _local(error: exceptions.LivemigError) -> exceptions.LivemigError:
    """The error as it was raised. oslo.messaging derives a class from it whose text has the conductor's traceback, which is no client's business."""
    kind = next(kind for kind in type(error).__mro__ if kind.__module__ == exceptions.__name__)
    local: exceptions.LivemigError = kind(**error.kwargs)
    return local


class ConductorClient:
    """The API's side. `timeout` is in seconds. No call tries again: the client is told, and asks again."""

    def __init__(self, transport: Any, timeout: int, runtime: Runtime) -> None:
        target = oslo_messaging.Target(topic=TOPIC, version=VERSION)
        self._client = oslo_messaging.get_rpc_client(transport, target, serializer=ContextSerializer(), timeout=timeout, retry=0)
        self._to_wake = Outbox(runtime, "wake", self._wake)
        self._reached = False

    def live_migrate(self, ctxt: context.RequestContext, migration_id: int) -> None:
        """Have a conductor check an accepted migration and queue it.

        Raises what the conductor raised, or ConductorUnavailable when none answered.
        """
        self._call(ctxt, "live_migrate", exceptions.ConductorUnavailable, migration_id=migration_id)

    def perform(self, ctxt: context.RequestContext, server_uuid: str, host: str, deed: str) -> None:
        """Have a conductor do one of `livemig.conductor.deeds`.

        Raises what the conductor raised, ConductorUnavailable when none could be told, or OutcomeUnknown when none answered.
        """
        self._call(ctxt, "perform", exceptions.OutcomeUnknown, server_uuid=server_uuid, host=host, deed=deed)

    def diagnostics(self, ctxt: context.RequestContext, server_uuid: str, host: str) -> Diagnostics:
        """What a server uses at this moment. Raises as `live_migrate`."""
        return _diagnostics(self._call(ctxt, "diagnostics", exceptions.ConductorUnavailable, server_uuid=server_uuid, host=host))

    def wake(self, ctxt: context.RequestContext, migration_id: int) -> None:
        """Have a conductor look at a migration's row now. It returns at once and never raises: unwoken, a conductor looks a little later."""
        if not self._to_wake.put((ctxt, migration_id)):
            LOG.warning("No conductor is woken for migration %s: the broker takes nothing", migration_id)

    def _wake(self, letter: tuple[context.RequestContext, int]) -> None:
        """In a thread of its own, which a broker that is frozen may hold for a minute."""
        ctxt, migration_id = letter
        try:
            self._client.cast(ctxt, "wake", migration_id=migration_id)
        except Exception as error:  # noqa: BLE001 - whatever ails the broker
            LOG.warning("No conductor was woken for migration %s; it is found in the database: %s", migration_id, error)

    def _call(self, ctxt: context.RequestContext, what: str, unanswered: type[exceptions.Unavailable], **arguments: Any) -> Any:
        self._reach()
        try:
            return self._client.call(ctxt, what, **arguments)
        except exceptions.LivemigError as error:
            raise _local(error) from None
        except kombu_exceptions.OperationalError as error:  # RabbitMQ's driver lets it through when it may not try again: there was no connection
            raise exceptions.ConductorUnavailable from error
        except (messaging_exceptions.MessagingTimeout, messaging_exceptions.MessageDeliveryFailure) as error:
            raise unanswered from error

    def _reach(self) -> None:
        """Raises ConductorUnavailable while the broker was never reached: oslo.messaging's first call waits without limit for the queue of its answers."""
        if self._reached:
            return
        try:
            self._client.cast(context.system(), "greet")
        except Exception as error:
            raise exceptions.ConductorUnavailable from error
        self._reached = True


class Endpoint:
    """What a conductor answers to: each name is a method of its own."""

    target = oslo_messaging.Target(version=VERSION)

    def __init__(self, answers: Answers) -> None:
        for name, answer in {"greet": lambda: None, **answers}.items():
            setattr(self, name, _answering(answer))


def _answering(answer: Callable[..., Any]) -> Callable[..., Any]:
    @oslo_messaging.expected_exceptions(exceptions.LivemigError)  # type: ignore[untyped-decorator]
    def method(_ctxt: context.RequestContext, **arguments: Any) -> Any:
        said = answer(**arguments)
        return asdict(said) if isinstance(said, Diagnostics) else said

    return method  # type: ignore[no-any-return]


def _diagnostics(carried: dict[str, Any]) -> Diagnostics:
    parts = {"processors": ProcessorUse, "nics": NicUse, "disks": DiskUse}
    rebuilt = {name: tuple(kind(**each) for each in carried[name]) for name, kind in parts.items()}
    return Diagnostics(**{**carried, "presence": Presence(carried["presence"]), **rebuilt})


class ConductorServer:
    """A conductor's side: does what it is asked in threads of its own."""

    def __init__(self, transport: Any, host: str, answers: Answers) -> None:
        target = oslo_messaging.Target(topic=TOPIC, server=host)
        self._server = oslo_messaging.get_rpc_server(transport, target, [Endpoint(answers)], serializer=ContextSerializer())
        self._started = False

    def start(self) -> None:
        self._server.start()
        self._started = True

    def stop(self) -> None:
        """Take no more, and wait for what is being worked on. oslo.messaging's own would wait for ever for the start of a server that never started."""
        if self._started:
            self._server.stop()
            self._server.wait()
