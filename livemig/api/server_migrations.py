"""Below /servers/{id}/migrations: a server's live migrations in progress, abort and force complete.

Nova leaves out accepted and running (post-copy) (nova/db/main/api.py, migration_get_in_progress_by_instance); here every status that is not final counts.
"""

from __future__ import annotations

import webob
import webob.exc

from livemig import exceptions, microversions
from livemig.api.request import Request
from livemig.api.schemas import server_migrations as schemas
from livemig.api.schemas import validation
from livemig.api.server_actions import accepted, body
from livemig.api.views import migrations as view
from livemig.db.selection import Selection
from livemig.records import Migration, Server
from livemig.states import IN_PROGRESS, Status

_OPEN = tuple(status.value for status in IN_PROGRESS)
# What may be aborted before ABORT_QUEUED: what libvirt was told of.
_RUNNING = (Status.RUNNING,)
_ABORTABLE = (Status.ACCEPTED, Status.QUEUED, Status.PREPARING, Status.RUNNING)


def list_migrations(request: Request) -> webob.Response:
    server = request.server()
    request.require("servers:migrations:index", server)
    sees_hosts = request.allows("servers:migrations:index:host", server)
    found = request.services.store.migrations.find(Selection({"server_uuid": server.uuid, "status": _OPEN}, sort=(("id", "asc"),)))
    return webob.Response(json_body={"migrations": [view.in_progress(request, migration, sees_hosts) for migration in found]})


def show_migration(request: Request) -> webob.Response:
    server = request.server()
    request.require("servers:migrations:show", server)
    number = request.parameters["migration"]
    migration = _find(request, server)
    if migration is None:
        raise webob.exc.HTTPNotFound(f"In-progress live migration {number} is not found for server {server.uuid}.")
    if migration.status not in IN_PROGRESS:
        raise webob.exc.HTTPNotFound(f"Live migration {number} for server {server.uuid} is not in progress.")
    return webob.Response(json_body={"migration": view.in_progress(request, migration, True)})


def abort(request: Request) -> webob.Response:
    """DELETE: the migration ends as cancelled, the server on its source. One in post-copy has no way back."""
    server = request.server()
    request.require("servers:migrations:delete", server)
    migration = _under_way(request, server, "abort live migration")
    states = _ABORTABLE if request.version >= microversions.ABORT_QUEUED else _RUNNING
    if migration.status not in states or not request.services.store.migrations.ask_abort(migration, request.context):
        raise webob.exc.HTTPBadRequest(_wrong_state(server, migration, "abort live migration"))
    request.services.conductor.wake(request.context, migration.id)
    return accepted()


def act(request: Request) -> webob.Response:
    """POST …/action {"force_complete": null}: the migration ends soon, whatever it costs the guest."""
    content = body(request)
    if "force_complete" not in content:
        raise webob.exc.HTTPBadRequest(f"There is no such action: {next(iter(content))}")
    validation.check(schemas.ACTION, request.version, content)
    server = request.server()
    request.require("servers:migrations:force_complete", server)
    migration = _under_way(request, server, "force_complete", webob.exc.HTTPBadRequest)
    if not request.services.store.migrations.ask_completion(migration, request.context):
        raise webob.exc.HTTPBadRequest(_wrong_state(server, migration, "force complete"))
    request.services.conductor.wake(request.context, migration.id)
    return accepted()


def _under_way(request: Request, server: Server, action: str, unknown: type[webob.exc.HTTPClientError] = webob.exc.HTTPNotFound) -> Migration:
    """The migration of the path while its server migrates. Raises ServerLocked, HTTPConflict, or `unknown`, in Nova's order."""
    if server.locked_by and not request.context.is_admin:
        raise exceptions.ServerLocked(server=server.uuid)
    if server.task_state != "migrating":
        raise webob.exc.HTTPConflict(f"Instance {server.uuid} is in an invalid state for '{action}'")
    migration = _find(request, server)
    if migration is None:
        raise unknown(f"Migration {request.parameters['migration']} not found for instance {server.uuid}")
    return migration


def _find(request: Request, server: Server) -> Migration | None:
    number = request.parameters["migration"]
    if not (number.isascii() and number.isdecimal()):
        return None  # Nova knows migrations by their number here, never by UUID
    return next(iter(request.services.store.migrations.find(Selection({"server_uuid": server.uuid, "id": validation.number(number)}))), None)


def _wrong_state(server: Server, migration: Migration, what: str) -> str:
    doing = "Cannot abort live migration" if what.startswith("abort") else "Cannot force complete live migration"
    return f"Migration {migration.id} state of instance {server.uuid} is {migration.status}. {doing} while the migration is in this state."
