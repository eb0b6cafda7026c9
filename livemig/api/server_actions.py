"""POST /servers/{id}/action."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import webob
import webob.exc
from oslo_log import log

from livemig import conf, exceptions
from livemig.api.request import Request
from livemig.api.schemas import server_actions as schemas
from livemig.api.schemas import validation
from livemig.api.schemas.validation import Versioned
from livemig.facts import Migration, MigrationRequest, Outcome
from livemig.states import Status

LOG = log.getLogger(__name__)

_MEDIA_TYPES = ("application/json", "application/vnd.openstack.compute+json", "text/plain", "")
_GRACE_S = 5  # beyond the API's own waiting, before another conductor may take a migration up


def act(request: Request) -> webob.Response:
    """Find the one action in the body and do it."""
    body = _body(request)
    (name,) = body
    if name not in ACTIONS:
        raise webob.exc.HTTPBadRequest(f"There is no such action: {name}")
    schema, action = ACTIONS[name]
    validation.check(schema, request.version, body)
    return action(request, request.parameters["id"], body[name])


def migrate_live(request: Request, server: str, asked: dict[str, Any]) -> webob.Response:
    """os-migrateLive: 202 once a conductor's checks have passed; what they refuse is raised."""
    services = request.services
    wanted = MigrationRequest(asked["host"], validation.boolean(asked["block_migration"]), validation.boolean(asked["disk_over_commit"]))
    seconds = services.conf.api.conductor_timeout + _GRACE_S
    migration = services.store.migrations.begin(server, wanted, conf.policy(services.conf), request.context, seconds)
    try:
        services.conductor.live_migrate(request.context, migration.id)
    except exceptions.Unavailable as error:  # no conductor, or one that could not reach the database
        if _withdraw(request, migration, str(error)):
            raise
    except exceptions.LivemigError:
        raise  # the conductor has ended it
    except Exception as error:
        where = f"host {wanted.host}" if wanted.host else "another host"
        failure = exceptions.LiveMigrationFailed(server=server, where=where)
        LOG.exception("%s", failure)
        if _withdraw(request, migration, str(failure)):
            raise failure from error
    return webob.Response(status=202, content_type="application/json")


def _withdraw(request: Request, migration: Migration, reason: str) -> bool:
    """End a migration that no conductor answered for. False when one has queued it meanwhile: then it was accepted after all. Raises OutcomeUnknown."""
    outcome = Outcome(Status.ERROR, migration.source, reason)
    try:
        return request.services.store.migrations.finish(migration, outcome, owner=None, before=[Status.ACCEPTED])
    except exceptions.DatabaseUnavailable as error:
        raise exceptions.OutcomeUnknown from error


def _body(request: Request) -> dict[str, Any]:
    if request.content_type not in _MEDIA_TYPES:
        raise webob.exc.HTTPUnsupportedMediaType("Unsupported Content-Type")
    try:
        body = json.loads(request.body)
    except ValueError:  # not JSON, not UTF-8
        body = None
    if not isinstance(body, dict) or len(body) != 1:
        raise webob.exc.HTTPBadRequest("Malformed request body")
    return body


Action = Callable[[Request, str, Any], webob.Response]

ACTIONS: dict[str, tuple[Versioned, Action]] = {
    "os-migrateLive": (schemas.MIGRATE_LIVE, migrate_live),
}
