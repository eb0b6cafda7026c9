"""/servers/{id}/os-instance-actions: what was asked of a server, and the events of it."""

from __future__ import annotations

from typing import Any

import webob
import webob.exc

from livemig import exceptions, microversions
from livemig.api import pages
from livemig.api.request import Request
from livemig.api.views import instance_actions as view
from livemig.api.views import links
from livemig.db.selection import Selection
from livemig.records import Action


def list_actions(request: Request) -> webob.Response:
    server, target = _server(request)
    request.services.policies.require(request.context, "os-instance-actions:list", target)
    paged = request.version >= microversions.PAGED_ACTIONS
    limit = pages.limit(request) if paged else None
    selection = Selection({"server_uuid": server}, (), {}, *pages.period(request), sort=(("id", "desc"),), limit=limit, marker=request.one("marker"))
    try:
        actions = request.services.store.actions.find(selection)
    except exceptions.ActionNotFound:
        raise webob.exc.HTTPBadRequest(f"Marker {selection.marker} could not be found.") from None
    body: dict[str, Any] = {"instanceActions": [view.action(request.version, action) for action in actions]}
    if limit and len(actions) == limit:
        body["links"] = links.next_page(request, f"servers/{server}/os-instance-actions", actions[-1].request_id, limit=limit)
    return webob.Response(json_body=body)


def show_action(request: Request) -> webob.Response:
    server, target = _server(request)
    policies = request.services.policies
    policies.require(request.context, "os-instance-actions:show", target)
    try:
        found = request.services.store.actions.get(server, request.parameters["request_id"])
    except exceptions.ActionNotFound:
        raise webob.exc.HTTPNotFound(f"Action {request.parameters['request_id']} not found") from None
    sees_all = policies.allows(request.context, "os-instance-actions:events", target)
    sees_details = policies.allows(request.context, "os-instance-actions:events:details", target)
    shown = view.action(request.version, found)
    if sees_all or request.version >= microversions.ACTION_EVENTS:
        shown["events"] = [view.event(request.version, found, event, sees_all, sees_details) for event in _events(request, found)]
    return webob.Response(json_body={"instanceAction": shown})


def _events(request: Request, action: Action) -> list[view.Event]:
    """Newest first, as Nova lists them."""
    if action.migration_id is None or action.action != view.LIVE_MIGRATION:
        return [view.own_event(action)]
    migrations = request.services.store.migrations
    found = migrations.find(Selection({"id": action.migration_id}))
    return view.events_of_migration(found[0], migrations.events(found[0].id)) if found else []  # else it has just been purged


def _server(request: Request) -> tuple[str, dict[str, Any] | None]:
    """The server's uuid and whose it is. One that is gone is found too since ACTIONS_OF_DELETED, by what was asked of it, by administrators: it is nobody's.

    Raises ServerNotFound.
    """
    try:
        server = request.server()
    except exceptions.ServerNotFound:
        uuid = request.parameters["id"]
        gone = request.version >= microversions.ACTIONS_OF_DELETED and request.context.is_admin
        if gone and request.services.store.actions.find(Selection({"server_uuid": uuid}, sort=(("id", "desc"),), limit=1)):
            return uuid, None
        raise
    return server.uuid, {"project_id": server.project_id, "user_id": server.user_id}
