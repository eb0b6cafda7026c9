"""Who may ask. One PasteDeploy pipeline per strategy; [api] auth_strategy chooses."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from livemig import context
from livemig.api.errors import Application, StartResponse
from livemig.api.loading import services
from livemig.api.request import CONTEXT


class NoAuth:
    """WSGI filter: everybody is the administrator. For loopback only."""

    def __init__(self, application: Application) -> None:
        self._application = application

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        environ[CONTEXT] = context.from_environ(environ, user_id="admin", project_id="admin", is_admin=True, roles=["admin"])
        return self._application(environ, start_response)


def noauth_factory(_global_conf: dict[str, str], **_local_conf: str) -> Callable[[Application], Application]:
    """PasteDeploy's entry for `NoAuth`."""
    return NoAuth


def pipelines_factory(loader: Any, _global_conf: dict[str, str], **pipelines: str) -> Application:
    """PasteDeploy's composite: the pipeline named as the strategy, filters first, application last."""
    *filters, application_name = pipelines[services().conf.api.auth_strategy].split()
    application: Application = loader.get_app(application_name)
    for name in reversed(filters):
        application = loader.get_filter(name)(application)
    return application
