"""Who asks. One PasteDeploy pipeline per strategy; [api] auth_strategy chooses.

Each strategy ends in a `RequestContext` in the environ. What stands before it serves the version documents, which need no token.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any

from keystonemiddleware import auth_token
from oslo_log import log
from oslo_middleware import cors

from livemig import conf as configuration
from livemig import context
from livemig.api import browsers, htpasswd
from livemig.api.errors import Application, StartResponse, fault
from livemig.api.loading import services
from livemig.api.request import CONTEXT

LOG = log.getLogger(__name__)

ADMIN = "admin"
REALM = 'Basic realm="livemig"'

Filter = Callable[[Application], Application]


def _own(environ: dict[str, Any]) -> dict[str, Any]:
    """What of the environ is not the client's word. With Keystone its middleware drops such headers; here nothing else would, and a policy may ask for them."""
    return {name: value for name, value in environ.items() if not name.startswith("HTTP_")}


class NoAuth:
    """WSGI filter: everybody on this machine is the administrator, of all projects; but no page in a browser, and nobody behind a proxy."""

    def __init__(self, application: Application, conf: Any) -> None:
        self._application = application
        self._conf = conf

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        refused = self._refused(environ) or _foreign_page(self._conf, environ)
        if refused:
            return fault(403, refused)(environ, start_response)
        environ[CONTEXT] = context.from_environ(_own(environ), user_id=ADMIN, project_id=None, roles=[ADMIN])
        return self._application(environ, start_response)

    def _refused(self, environ: dict[str, Any]) -> str | None:
        """Who comes by a Unix socket has no address, and a client of old names no host."""
        address, host = environ.get("REMOTE_ADDR"), environ.get("HTTP_HOST")
        if address and not configuration.is_loopback(address):
            return f"auth_strategy noauth serves this machine only, not {address}."
        if self._conf.api.noauth_behind_proxy:
            return None
        if header := browsers.proxied(environ):
            return f"auth_strategy noauth does not serve what a proxy passes on ({header})."
        if host and not browsers.is_local_name(host):
            return f"auth_strategy noauth is reached as localhost or by a loopback address, not as {host}."
        return None


def _foreign_page(conf: Any, environ: dict[str, Any]) -> str | None:
    """Why a page may not ask. Pages of [cors] allowed_origin may, by name; all pages (*) would be those of anybody."""
    site = browsers.foreign_page(environ, conf.cors.allowed_origin or ())
    return site and f"Pages of {site} may not use this API; [cors] allowed_origin names those that may."


class HttpBasic:
    """WSGI filter: users of an Apache htpasswd file with bcrypt passwords, their roles and projects from [http_basic]."""

    def __init__(self, application: Application, conf: Any) -> None:
        self._application = application
        self._conf = conf
        if not conf.http_basic.user_file:
            raise configuration.ConfigurationError("[http_basic] user_file is missing: an htpasswd file with bcrypt passwords (htpasswd -B)")
        self._given: tuple[Mapping[str, str], Mapping[str, str]] = conf.http_basic.roles, conf.http_basic.projects
        self._users = htpasswd.Users(conf.http_basic.user_file, max(1, conf.api.threads // 2), self._name_those_without_roles)

    def _name_those_without_roles(self, users: Iterable[str]) -> None:
        with suppress(ValueError):  # as below
            tell_without_roles(self._conf, users)

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        """A browser that has logged in once sends the password with everything, whosever page asks."""
        refused = _foreign_page(self._conf, environ)
        if refused:
            return fault(403, refused)(environ, start_response)
        try:
            user = self._user(environ)
        except htpasswd.TooManyChecks:
            return fault(503, "Too many passwords are being checked.", {"Retry-After": "1"})(environ, start_response)
        if user is None:
            return fault(401, "Authentication required", {"WWW-Authenticate": REALM})(environ, start_response)
        given, projects = self._rights()
        roles, project = _roles(given, user), projects.get(user)
        if not roles:
            return fault(403, _ROLELESS.format(user=user))(environ, start_response)
        environ[CONTEXT] = context.from_environ(_own(environ), user_id=user, project_id=project, roles=roles)
        return self._application(environ, start_response)

    def _rights(self) -> tuple[Mapping[str, str], Mapping[str, str]]:
        """Roles and projects as the configuration has them now: it may have been read again."""
        with suppress(ValueError):  # what cannot be read has been said when it was; the former ones stay in force
            self._given = self._conf.http_basic.roles, self._conf.http_basic.projects
        return self._given

    def _user(self, environ: dict[str, Any]) -> str | None:
        """Who has shown that he is it. What the header says is not logged, and goes no further."""
        kind, _space, token = environ.pop("HTTP_AUTHORIZATION", "").strip().partition(" ")
        if kind.lower() != "basic":
            return None
        try:
            user, _colon, password = base64.b64decode(token.strip(), validate=True).partition(b":")
            name = user.decode()
        except ValueError:  # no base64, or no UTF-8
            return None
        return name if self._users.knows(name, password) else None


_ROLELESS = "[http_basic] roles gives user {user} no role; an administrator stands there as {user}:admin."


def _roles(given: Mapping[str, str], user: str) -> list[str]:
    return [role for role in map(str.strip, given.get(user, "").split("+")) if role]


def tell_without_roles(conf: Any, users: Iterable[str] | None = None) -> None:
    """Warn of the users who are refused though they have a password, since [http_basic] roles does not name them: `users`, or those of the file."""
    if users is None and (conf.api.auth_strategy != "http_basic" or not conf.http_basic.user_file):
        return
    found = htpasswd.read(conf.http_basic.user_file).hashes if users is None else users
    given = conf.http_basic.roles
    if refused := sorted(user for user in found if not _roles(given, user)):
        LOG.warning("[http_basic] roles gives no role to %s of user_file: whatever they ask is a 403", ", ".join(refused))


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


def _with_cors(conf: Any) -> Any:
    """The configuration with [cors], which the filter of that name may not have registered yet."""
    conf.register_opts(cors.OPTS, group="cors")
    return conf


def noauth_factory(_global_conf: dict[str, str], **_local_conf: str) -> Filter:
    """PasteDeploy's entry for `NoAuth`."""
    conf = _with_cors(services().conf)
    return lambda application: NoAuth(application, conf)


def http_basic_factory(_global_conf: dict[str, str], **_local_conf: str) -> Filter:
    """PasteDeploy's entry for `HttpBasic`."""
    conf = _with_cors(services().conf)
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
