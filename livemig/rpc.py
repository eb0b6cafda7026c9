"""The way from the API to a conductor: oslo.messaging, and nothing else of livemig imports it.

RabbitMQ ([DEFAULT] transport_url) between processes, kombu's in-memory transport within one. The message only names a row: what is to be done stands in
the database, so a message that is lost costs time and nothing else.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from typing import Any

with warnings.catch_warnings():  # both import their eventlet halves, which are never used here
    warnings.simplefilter("ignore")
    from oslo_service import backend

    backend.init_backend(backend.BackendType.THREADING)
    import oslo_messaging
    from oslo_messaging import exceptions as messaging_exceptions

from livemig import context, exceptions

TOPIC = "livemig-conductor"
VERSION = "1.0"

_ALLOWED_REMOTE = ["livemig.exceptions"]


class ContextSerializer(oslo_messaging.NoOpSerializer):  # type: ignore[misc]
    """Carries a RequestContext as its dictionary."""

    def serialize_context(self, ctxt: context.RequestContext) -> dict[str, Any]:
        carried: dict[str, Any] = ctxt.to_dict()
        return carried

    def deserialize_context(self, ctxt: dict[str, Any]) -> context.RequestContext:
        return context.from_dict(ctxt)


def transport(conf: Any) -> Any:
    """The transport of [DEFAULT] transport_url."""
    return oslo_messaging.get_rpc_transport(conf, allowed_remote_exmods=_ALLOWED_REMOTE)


def in_memory_transport(conf: Any) -> Any:
    """A transport within this process."""
    for name in ("kombu.connection", "oslo.messaging._drivers.impl_rabbit"):  # they miss a broker's host name and heartbeat
        logging.getLogger(name).setLevel(logging.ERROR)
    return oslo_messaging.get_rpc_transport(conf, url="kombu+memory:////", allowed_remote_exmods=_ALLOWED_REMOTE)


def _local(error: exceptions.LivemigError) -> exceptions.LivemigError:
    """The error as it was raised. oslo.messaging derives a class from it whose text has the conductor's traceback, which is no client's business."""
    kind = next(kind for kind in type(error).__mro__ if kind.__module__ == exceptions.__name__)
    local: exceptions.LivemigError = kind(**error.kwargs)
    return local


class ConductorClient:
    """The API's side. `timeout` is in seconds."""

    def __init__(self, transport: Any, timeout: int) -> None:
        target = oslo_messaging.Target(topic=TOPIC, version=VERSION)
        self._client = oslo_messaging.get_rpc_client(transport, target, serializer=ContextSerializer(), timeout=timeout)

    def live_migrate(self, ctxt: context.RequestContext, migration_id: int) -> None:
        """Have a conductor check an accepted migration and queue it.

        Raises what the conductor raised, or ConductorUnavailable when none answered.
        """
        try:
            self._client.call(ctxt, "live_migrate", migration_id=migration_id)
        except exceptions.LivemigError as error:
            raise _local(error) from None
        except (messaging_exceptions.MessagingTimeout, messaging_exceptions.MessageDeliveryFailure) as error:
            raise exceptions.ConductorUnavailable from error


class Endpoint:
    """What a conductor answers to."""

    target = oslo_messaging.Target(version=VERSION)

    def __init__(self, accept: Callable[[int], None]) -> None:
        self._accept = accept

    @oslo_messaging.expected_exceptions(exceptions.LivemigError)  # type: ignore[untyped-decorator]
    def live_migrate(self, _ctxt: context.RequestContext, migration_id: int) -> None:
        self._accept(migration_id)


class ConductorServer:
    """A conductor's side: calls `accept(migration id)` in threads of its own."""

    def __init__(self, transport: Any, host: str, accept: Callable[[int], None]) -> None:
        target = oslo_messaging.Target(topic=TOPIC, server=host)
        self._server = oslo_messaging.get_rpc_server(transport, target, [Endpoint(accept)], serializer=ContextSerializer())
        self._started = False

    def start(self) -> None:
        self._server.start()
        self._started = True

    def stop(self) -> None:
        """Take no more, and wait for what is being worked on. oslo.messaging's own would wait for ever for the start of a server that never started."""
        if self._started:
            self._server.stop()
            self._server.wait()
