"""POST /servers/{id}/action."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import webob
import webob.exc
from oslo_log import log

from livemig import conf, exceptions, microversions
from livemig.api import bodies
from livemig.api.refusals import UNSUPPORTED_ACTIONS
from livemig.api.request import Request
from livemig.api.schemas import server_actions as schemas
from livemig.api.schemas import validation
from livemig.api.schemas.validation import Versioned
from livemig.db.engine import hurry
from livemig.db.rows import OWNER as NOBODYS
from livemig.facts import MigrationRequest, Outcome
from livemig.policies import PREFIX
from livemig.records import Migration, Server
from livemig.states import Status

LOG = log.getLogger(__name__)

_GRACE_S = 5  # beyond the API's own waiting, before another conductor may take a migration up


def act(request: Request) -> webob.Response:
    """Find the one action in the body and do it."""
    content = body(request)
    (name,) = content
    if name in UNSUPPORTED_ACTIONS:
        raise webob.exc.HTTPBadRequest(UNSUPPORTED_ACTIONS[name])
    if name not in ACTIONS:
        raise webob.exc.HTTPBadRequest(f"There is no such action: {name}")
    schema, action = ACTIONS[name]
    if request.legacy:
        content = validation.pruned(schema, request.version, content)
    validation.check(schema, request.version, content)
    action(request, content[name])
    return accepted()


def body(request: Request) -> dict[str, Any]:
    """The JSON body of an action: an object with one property. Raises HTTPBadRequest, HTTPUnsupportedMediaType."""
    content = bodies.read(request)
    if not isinstance(content, dict) or len(content) != 1:
        raise bodies.malformed()
    return content


def accepted() -> webob.Response:
    """202 with an empty body."""
    return webob.Response(status=202, content_type="application/json")


# os-migrateLive


def migrate_live(request: Request, asked: dict[str, Any]) -> None:
    """202 once a conductor's checks have passed, and what they refuse is raised; since ASYNCHRONOUS at once.

    The order of the checks is Nova's: server, policy, lock, state, host (nova/api/openstack/compute/migrate_server.py, _migrate_live).
    """
    server = request.server()
    request.require("os-migrate-server:migrate_live", server)
    if asked["host"] is not None:
        request.require("os-migrate-server:migrate_live:host", server)
    wanted = _wanted(request, asked)
    _unlocked(request, server)
    _in_state(server, "os-migrateLive", ("active", "paused"))
    if wanted.host is not None and request.services.store.hosts.get(wanted.host) is None:
        raise exceptions.HostNotFound(host=wanted.host)
    if request.version >= microversions.ASYNCHRONOUS:
        _begin_and_wake(request, server, wanted)
    else:
        _begin_and_wait(request, server, wanted)


def _wanted(request: Request, asked: dict[str, Any]) -> MigrationRequest:
    block, over_commit = asked["block_migration"], asked.get("disk_over_commit")
    force = validation.boolean(asked.get("force", False)) if microversions.FORCE <= request.version < microversions.NO_FORCE else None
    if force and asked["host"] is None:
        raise webob.exc.HTTPBadRequest("Can't force to a non-provided destination")
    if request.version >= microversions.NO_FORCE:
        force = False
    return MigrationRequest(
        asked["host"],
        None if block == schemas.AUTO else validation.boolean(block),
        None if over_commit is None else validation.boolean(over_commit),
        force,
    )


def _begin_and_wake(request: Request, server: Server, wanted: MigrationRequest) -> None:
    """The row is the work: without a broker, or without a conductor, it is taken up as soon as there is one."""
    services = request.services
    migration = services.store.migrations.begin(server.uuid, wanted, conf.policy(services.conf, server.host), request.context, 0)
    services.conductor.wake(request.context, migration.id)


def _begin_and_wait(request: Request, server: Server, wanted: MigrationRequest) -> None:
    services = request.services
    seconds = services.conf.api.conductor_timeout + _GRACE_S
    migration = services.store.migrations.begin(server.uuid, wanted, conf.policy(services.conf, server.host), request.context, seconds)
    try:
        services.conductor.live_migrate(request.context, migration.id)
    except exceptions.Unavailable as error:  # no conductor, or one that could not reach the database
        if isinstance(error, exceptions.DatabaseUnavailable):
            hurry()  # it has been waited for
        if _withdraw(request, migration, str(error)):
            raise
    except exceptions.LivemigError:
        raise  # the conductor has ended it
    except Exception as error:
        where = f"host {wanted.host}" if wanted.host else "another host"
        failure = exceptions.LiveMigrationFailed(server=server.uuid, where=where)
        LOG.exception("%s", failure)
        if _withdraw(request, migration, str(failure)):
            raise failure from error


def _withdraw(request: Request, migration: Migration, reason: str) -> bool:
    """End a migration that no conductor answered for. False when one has queued it meanwhile: then it was accepted after all. Raises OutcomeUnknown."""
    outcome = Outcome(Status.ERROR, migration.source, reason)
    try:
        return request.services.store.migrations.finish(migration, outcome, owner=None, before=[Status.ACCEPTED])
    except exceptions.DatabaseUnavailable as error:
        raise exceptions.OutcomeUnknown from error


# What libvirt does at once


@dataclass(frozen=True, slots=True)
class Deed:
    """An action that a conductor does on the server's host. `name` is Nova's in faults and in the server's actions."""

    name: str
    rule: str
    states: tuple[str, ...]
    deed: str


PAUSE = Deed("pause", "os-pause-server:pause", ("active",), "pause")
UNPAUSE = Deed("unpause", "os-pause-server:unpause", ("paused",), "unpause")
SUSPEND = Deed("suspend", "os-suspend-server:suspend", ("active",), "suspend")
RESUME = Deed("resume", "os-suspend-server:resume", ("suspended",), "resume")
START = Deed("start", "servers:start", ("stopped",), "start")
STOP = Deed("stop", "servers:stop", ("active", "error"), "stop")
REBOOTS = {
    "SOFT": Deed("reboot", "servers:reboot", ("active",), "reboot_soft"),
    "HARD": Deed("reboot", "servers:reboot", ("active", "stopped", "paused", "suspended", "error"), "reboot_hard"),
}


def _do(deed: Deed) -> Callable[[Request, Any], None]:
    return lambda request, _asked: perform(request, deed)


def perform(request: Request, deed: Deed) -> None:
    """Have a conductor do it; the answer comes when it is done, and the server shows it."""
    server = request.server()
    request.require(deed.rule, server)
    _unlocked(request, server)
    _in_state(server, deed.name, deed.states)
    action = request.services.store.actions.start(server, deed.name, request.context)
    try:
        request.services.conductor.perform(request.context, server.uuid, server.host, deed.deed)
    except exceptions.HypervisorError as error:
        _take_down(request, action, str(error))
        raise failed(request, deed.name, server, error) from error
    except exceptions.LivemigError as error:
        if isinstance(error, exceptions.DatabaseUnavailable):
            hurry()  # it has been waited for
        _take_down(request, action, str(error))
        raise
    _take_down(request, action)


def failed(request: Request, action: str, server: Server, error: exceptions.HypervisorError) -> exceptions.ActionFailed:
    """What is said when the hypervisor could not do it: its words are the log's and administrators'."""
    LOG.error("Failed to %s server %s: %s", action, server.uuid, error)
    reason = str(error) if request.context.is_admin else "the hypervisor could not do it"
    return exceptions.ActionFailed(action=action, server=server.uuid, reason=reason)


def _take_down(request: Request, action: int, failure: str | None = None) -> None:
    """How an action ended. Without a database it is not known later; the answer is what came of it all the same."""
    try:
        request.services.store.actions.finish(action, failure)
    except exceptions.DatabaseUnavailable as error:
        LOG.warning("It was not taken down how action %s of request %s ended: %s", action, request.context.request_id, error.why)


def reboot(request: Request, asked: dict[str, str]) -> None:
    perform(request, REBOOTS[asked["type"].upper()])


# What only livemig knows


def lock(request: Request, asked: Any) -> None:
    """With a reason since LOCKED_REASON; before, whatever stands there says nothing."""
    reason = asked.get("locked_reason") if asked and request.version >= microversions.LOCKED_REASON else None
    server = request.server()
    request.require("os-lock-server:lock", server)
    by = _holder(request, server)
    over = (None,) if by == OWNER and request.context.project_id else _ANY_LOCK  # a member's lock of a locked server is a 202, and changes nothing
    _record(request, server, "lock", lambda: request.services.store.servers.lock(server.uuid, by, over, **({"locked_reason": reason} if reason else {})))


def unlock(request: Request, _asked: Any) -> None:
    """Of a lock that the other one holds only by another rule (nova/compute/api.py, is_expected_locked_by)."""
    server = request.server()
    request.require("os-lock-server:unlock", server)
    by = _holder(request, server)
    others = request.allows("os-lock-server:unlock:unlock_override", server)

    def free() -> bool:
        if request.services.store.servers.lock(server.uuid, None, _ANY_LOCK if others else (None, by), locked_reason=None):
            return True
        raise exceptions.Forbidden(rule=f"{PREFIX}os-lock-server:unlock:unlock_override")

    _record(request, server, "unlock", free)


OWNER, ADMIN = "owner", "admin"
_ANY_LOCK = (None, OWNER, ADMIN)


def _holder(request: Request, server: Server) -> str:
    """As whom the client locks: the owner is of the server's project, with whatever role; anybody else is there as an administrator.

    What nobody owns is that of administrators who have no project.
    """
    own = request.context.project_id or (NOBODYS if request.context.is_admin else None)
    return OWNER if own == server.project_id else ADMIN


def reset_state(request: Request, asked: dict[str, str]) -> None:
    """Show a server as in error, or again as its host has it. A migration under way is not forgotten by it, as Nova's would be: it is to be aborted."""
    server = request.server()
    request.require("os-admin-actions:reset_state", server)
    servers = request.services.store.servers
    fault = {"code": 500, "message": "An administrator reset the state of this server.", "created": request.services.runtime.now().isoformat()}
    resets: dict[str, Callable[[], bool]] = {"error": lambda: servers.condemn(server.uuid, fault), "active": lambda: servers.reprieve(server.uuid)}
    _record(request, server, "resetState", resets[asked["state"]])


def _record(request: Request, server: Server, name: str, do: Callable[[], bool]) -> None:
    """Do it, and take down that it was asked for if it changed something."""
    if do():
        actions = request.services.store.actions
        actions.finish(actions.start(server, name, request.context))


def _unlocked(request: Request, server: Server) -> None:
    if server.locked_by and not request.context.is_admin:
        raise exceptions.ServerLocked(server=server.uuid)


def _in_state(server: Server, action: str, states: tuple[str, ...]) -> None:
    """Nova's check_instance_state: the vm_state is one of these, and no task is under way."""
    for attribute, state, fine in (("vm_state", server.vm_state, states), ("task_state", server.task_state, (None,))):
        if state not in fine:
            raise exceptions.ServerInvalidState(server=server.uuid, action=action, attribute=attribute, state=state)


Action = Callable[[Request, Any], None]

ACTIONS: dict[str, tuple[Versioned, Action]] = {
    "os-migrateLive": (schemas.MIGRATE_LIVE, migrate_live),
    "pause": (schemas.PAUSE, _do(PAUSE)),
    "unpause": (schemas.UNPAUSE, _do(UNPAUSE)),
    "suspend": (schemas.SUSPEND, _do(SUSPEND)),
    "resume": (schemas.RESUME, _do(RESUME)),
    "os-start": (schemas.START, _do(START)),
    "os-stop": (schemas.STOP, _do(STOP)),
    "reboot": (schemas.REBOOT, reboot),
    "lock": (schemas.LOCK, lock),
    "unlock": (schemas.UNLOCK, unlock),
    "os-resetState": (schemas.RESET_STATE, reset_state),
}

BODIES = [schema for schema, _action in ACTIONS.values()]
