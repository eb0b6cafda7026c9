"""Who asks. One PasteDeploy pipeline per strategy; [api] auth_strategy chooses.

Each strategy ends in a `RequestContext` in the environ. What stands before it serves the version documents, which need no token.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import webob
from keystonemiddleware import auth_token
from oslo_middleware import basic_auth

from livemig import conf as configuration
from livemig import context
from livemig.api.errors import Application, StartResponse, fault
from livemig.api.loading import services
from livemig.api.request import CONTEXT

ADMIN = "admin"
REALM = 'Basic realm="livemig"'

Filter = Callable[[Application], Application]


def _own(environ: dict[str, Any]) -> dict[str, Any]:
    """What of the environ is not the client's word. With Keystone its middleware drops such headers; here nothing else would, and a policy may ask for them."""
    return {name: value for name, value in environ.items() if not name.startswith("HTTP_")}


class NoAuth:
    """WSGI filter: everybody on this machine is the administrator, of all projects. Who comes by a Unix socket has no address."""

    def __init__(self, application: Application) -> None:
        self._application = application

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        address = environ.get("REMOTE_ADDR")
        if address and not configuration.is_loopback(address):
            refusal = fault(403, f"auth_strategy noauth serves this machine only, not {address}.")
            return refusal(environ, start_response)
        environ[CONTEXT] = context.from_environ(_own(environ), user_id=ADMIN, project_id=None, roles=[ADMIN])
        return self._application(environ, start_response)


class HttpBasic:
    """WSGI filter: users of an Apache htpasswd file with bcrypt passwords, their roles and projects from [http_basic]."""

    def __init__(self, application: Application, conf: Any) -> None:
        self._application = application
        self._file: str = conf.http_basic.user_file
        self._roles: dict[str, str] = conf.http_basic.roles
        self._projects: dict[str, str] = conf.http_basic.projects
        if not self._file:
            raise configuration.ConfigurationError("[http_basic] user_file is missing: an htpasswd file with bcrypt passwords (htpasswd -B)")
        basic_auth.validate_auth_file(self._file)

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        try:
            user, password = basic_auth.parse_token(basic_auth.parse_header(environ))
            basic_auth.authenticate(self._file, user, password)
        except (webob.exc.HTTPClientError, ValueError):  # ValueError: bcrypt takes 72 bytes, and no NUL
            refusal = fault(401, "Authentication required", {"WWW-Authenticate": REALM})
            return refusal(environ, start_response)
        roles = self._roles.get(user, ADMIN).split("+")
        environ[CONTEXT] = context.from_environ(_own(environ), user_id=user, project_id=self._projects.get(user), roles=roles)
        return self._application(environ, start_response)


class KeystoneContext:
    """WSGI filter behind keystonemiddleware's: the context that its headers give (nova/api/auth.py)."""

    def __init__(self, application: Application) -> None:
        self._application = application

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        found = context.from_environ(environ)
        if not found.user_id:
            refusal = fault(401, "Authentication required", {"WWW-Authenticate": "Keystone"})
            return refusal(environ, start_response)
        environ[CONTEXT] = found
        return self._application(environ, start_response)


def noauth_factory(_global_conf: dict[str, str], **_local_conf: str) -> Filter:
    """PasteDeploy's entry for `NoAuth`."""
    return NoAuth


def http_basic_factory(_global_conf: dict[str, str], **_local_conf: str) -> Filter:
    """PasteDeploy's entry for `HttpBasic`."""
    conf = services().conf
    return lambda application: HttpBasic(application, conf)


def authtoken_factory(_global_conf: dict[str, str], **_local_conf: str) -> Filter:
    """PasteDeploy's entry for keystonemiddleware, on livemig's own configuration ([keystone_authtoken])."""
    conf = services().conf

    def made(application: Application) -> Application:
        protocol: Application = auth_token.AuthProtocol(application, {"oslo_config_config": conf})
        if not (conf.keystone_authtoken.auth_type or conf.keystone_authtoken.auth_section):  # else the first token would be the first to find out
            raise configuration.ConfigurationError("[keystone_authtoken] auth_type is missing: livemig itself logs in to Keystone, to have tokens checked")
        return protocol

    return made


def keystone_context_factory(_global_conf: dict[str, str], **_local_conf: str) -> Filter:
    """PasteDeploy's entry for `KeystoneContext`."""
    return KeystoneContext


def pipelines_factory(loader: Any, _global_conf: dict[str, str], **pipelines: str) -> Application:
    """PasteDeploy's composite: the pipeline named as the strategy, filters first, application last."""
    *filters, application_name = pipelines[services().conf.api.auth_strategy].split()
    application: Application = loader.get_app(application_name)
    for name in reversed(filters):
        application = loader.get_filter(name)(application)
    return application
