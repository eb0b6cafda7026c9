"""/os-aggregates: those of the configuration."""

from __future__ import annotations

from typing import Any

import webob
import webob.exc

from livemig import microversions
from livemig.api.request import Request
from livemig.api.views import links
from livemig.records import Aggregate


def list_aggregates(request: Request) -> webob.Response:
    request.require("os-aggregates:index")
    return webob.Response(json_body={"aggregates": [_shown(request, aggregate) for aggregate in request.services.aggregates]})


def show_aggregate(request: Request) -> webob.Response:
    request.require("os-aggregates:show")
    asked = request.parameters["id"]
    for aggregate in request.services.aggregates:
        if str(aggregate.number) == asked:
            return webob.Response(json_body={"aggregate": _shown(request, aggregate)})
    raise webob.exc.HTTPNotFound(f"Aggregate {asked} could not be found.")


def _shown(request: Request, aggregate: Aggregate) -> dict[str, Any]:
    zone = {"availability_zone": aggregate.zone} if aggregate.zone else {}
    shown = {
        "id": aggregate.number,
        "name": aggregate.name,
        "availability_zone": aggregate.zone,
        "hosts": list(aggregate.hosts),
        "metadata": {**zone, **aggregate.metadata},
        "created_at": links.micro(request.services.started_at),
        "updated_at": None,
        "deleted_at": None,
        "deleted": False,
    }
    if request.version >= microversions.AGGREGATE_UUIDS:
        shown["uuid"] = aggregate.uuid
    return shown
