"""What every call of the mock's libvirt to a daemon has in common."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar
from urllib.parse import urlsplit

from livemig.testing import errors

PORTS = {"qemu+tcp": "16509", "qemu+tls": "16514", "qemu+ssh": "22", "qemu": "16514"}

F = TypeVar("F", bound=Callable[..., Any])


def remote(method: F) -> F:
    """A call to the daemon: it waits while there is no answer, fails if the connection is lost or there is no such call, and goes on under the fleet's lock."""

    @functools.wraps(method)
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        connection = self._connection
        connection.reach(method.__name__)
        if method.__name__ in connection.host.unsupported:
            raise errors.NO_SUPPORT(function=method.__name__)
        with connection.fleet.lock:
            return method(self, *args, **kwargs)

    return call  # type: ignore[return-value]


def exclusive(method: F) -> F:
    """A remote call which a domain with a job makes wait, for so long as libvirtd does."""
    under_lock = remote(method)

    @functools.wraps(method)
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        self.await_job()
        return under_lock(self, *args, **kwargs)

    return call  # type: ignore[return-value]


def uri_parts(uri: str) -> tuple[str, str, str]:
    """(driver and transport, host, port) of a connection URI."""
    parts = urlsplit(uri)
    return parts.scheme, parts.hostname or "", str(parts.port or PORTS.get(parts.scheme, ""))
