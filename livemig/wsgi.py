"""The API as a WSGI application, for servers that bring their own processes and threads: `gunicorn livemig.wsgi:application`, `uwsgi --module livemig.wsgi`.

The configuration is that of livemig-api; LIVEMIG_CONFIG_FILES names its files, separated by colons, if they are not where that one looks for them.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable
from typing import Any

from oslo_config import cfg

from livemig import conf as configuration
from livemig import rpc
from livemig.cli import wiring
from livemig.runtime import ThreadRuntime

FILES = "LIVEMIG_CONFIG_FILES"


class Application:
    """Made at the first request, and so after the server has made its processes: connections and threads do not outlive a fork."""

    def __init__(self) -> None:
        self._making = threading.Lock()
        self._made: Any = None

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Raises ConfigurationError or DatabaseUnavailable until it can be made; the server logs it and answers 500."""
        if self._made is None:
            with self._making:
                if self._made is None:
                    self._made = _make()
        answer: Iterable[bytes] = self._made(environ, start_response)
        return answer


def _make() -> Any:
    conf = cfg.CONF
    runtime = ThreadRuntime()
    files = os.environ.get(FILES)
    conf.reset()  # it may have been read before, and what it was made into may have failed
    configuration.prepare(conf, [], files.split(":") if files else None)
    return wiring.application(conf, wiring.store(conf, runtime), rpc.transport(conf), runtime)


application = Application()
