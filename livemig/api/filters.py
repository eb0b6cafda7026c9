"""oslo.middleware's filters on livemig's own configuration.

Their own PasteDeploy factories would read the default configuration files, and not those named on the command line.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from oslo_middleware import HTTPProxyToWSGI, RequestBodySizeLimiter, cors

from livemig.api.errors import Application
from livemig.api.loading import services

FilterFactory = Callable[..., Callable[[Application], Application]]


def _factory(kind: Any) -> FilterFactory:
    def factory(_global_conf: dict[str, str], **_local_conf: str) -> Callable[[Application], Application]:
        conf = services().conf
        return lambda application: kind(application, conf)

    return factory


cors_factory = _factory(cors.CORS)
proxy_factory = _factory(HTTPProxyToWSGI)
size_limit_factory = _factory(RequestBodySizeLimiter)
