"""WSGI filter: one log line per request, as Nova writes it (nova/api/openstack/requestlog.py)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import quote

import webob
from oslo_log import log

from livemig.api.errors import Application, StartResponse
from livemig.api.loading import services
from livemig.microversions import HEADER

LOG = log.getLogger(__name__)


class AccessLog:
    """`clock` gives seconds."""

    def __init__(self, application: Application, clock: Callable[[], float]) -> None:
        self._application = application
        self._clock = clock

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        began = self._clock()
        request = webob.Request(environ)
        response = request.get_response(self._application)
        LOG.info(
            '%s "%s %s" status: %s len: %s microversion: %s time: %.6f',
            request.remote_addr,
            request.method,
            _path(environ),
            response.status_int,
            response.content_length or 0,
            response.headers.get(HEADER, "-").removeprefix("compute "),
            self._clock() - began,
        )
        return response(environ, start_response)


def _path(environ: dict[str, Any]) -> str:
    """Path and query as they were asked for, even if the path is no text."""
    path = quote(environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", ""), safe="/~:@!$&'()*+,;=", encoding="latin-1", errors="replace")
    query = environ.get("QUERY_STRING")
    return f"{path}?{query}" if query else path


def filter_factory(_global_conf: dict[str, str], **_local_conf: str) -> Callable[[Application], Application]:
    """PasteDeploy's entry."""
    clock = services().runtime.monotonic
    return lambda application: AccessLog(application, clock)
