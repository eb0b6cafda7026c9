"""/flavors: the shapes in use. There is no catalogue of them; they follow from the servers that a client may see."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import webob
import webob.exc

from livemig import microversions
from livemig.api import pages
from livemig.api.request import Request
from livemig.api.schemas import validation
from livemig.api.views import links
from livemig.facts import Flavor

_KEYS: dict[str, Callable[[Flavor], Any]] = {
    "flavorid": lambda flavor: flavor.id,
    "name": lambda flavor: flavor.name,
    "memory_mb": lambda flavor: flavor.memory_mib,
    "vcpus": lambda flavor: flavor.vcpus,
    "root_gb": lambda flavor: flavor.disk_gib,
    "ephemeral_gb": lambda flavor: flavor.ephemeral_gib,
    "swap": lambda flavor: flavor.swap_mib,
}


def list_flavors(request: Request) -> webob.Response:
    return _list(request, "flavors", _summary)


def list_flavors_detail(request: Request) -> webob.Response:
    return _list(request, "flavors/detail", _detail)


def show_flavor(request: Request) -> webob.Response:
    return webob.Response(json_body={"flavor": _detail(request, _find(request))})


def list_extra_specs(request: Request) -> webob.Response:
    request.require("os-flavor-extra-specs:index")
    return webob.Response(json_body={"extra_specs": dict(_find(request).extra_specs)})


def _list(request: Request, path: str, show: Callable[[Request, Flavor], dict[str, Any]]) -> webob.Response:
    flavors = _selected(request)
    limit, marker = pages.limit(request), request.one("marker")
    if marker is not None:
        places = [place for place, flavor in enumerate(flavors, start=1) if flavor.id == marker]
        if not places:
            raise webob.exc.HTTPBadRequest(f"marker [{marker}] not found")
        flavors = flavors[places[0] :]
    body: dict[str, Any] = {"flavors": [show(request, flavor) for flavor in flavors[:limit]]}
    if limit and len(flavors[:limit]) == limit:
        body["flavors_links"] = links.next_page(request, path, flavors[limit - 1].id, limit=limit)
    return webob.Response(json_body=body)


def _selected(request: Request) -> list[Flavor]:
    least_memory, least_disk = (_least(request, name) for name in ("minRam", "minDisk"))
    key = _KEYS.get(request.one("sort_key") or "", _KEYS["flavorid"])
    found = [flavor for flavor in _visible(request) if flavor.memory_mib >= least_memory and flavor.disk_gib >= least_disk]
    if request.one("is_public") in validation.FALSE:
        return []
    return sorted(found, key=lambda flavor: (key(flavor), flavor.id), reverse=request.one("sort_dir") == "desc")


def _least(request: Request, name: str) -> int:
    asked = request.one(name) or "0"
    try:
        return int(asked)
    except ValueError:
        raise webob.exc.HTTPBadRequest(f"Invalid {name} filter [{asked}]") from None


def _visible(request: Request) -> Sequence[Flavor]:
    return request.services.store.servers.flavors(request.projects())


def _find(request: Request) -> Flavor:
    asked = request.parameters["id"]
    for flavor in _visible(request):
        if flavor.id == asked:
            return flavor
    raise webob.exc.HTTPNotFound(f"Flavor {asked} could not be found.")


def _summary(request: Request, flavor: Flavor) -> dict[str, Any]:
    shown: dict[str, Any] = {"id": flavor.id, "name": flavor.name, "links": links.of(request, f"flavors/{flavor.id}")}
    if request.version >= microversions.FLAVOR_DESCRIPTION:
        shown["description"] = None
    return shown


def _detail(request: Request, flavor: Flavor) -> dict[str, Any]:
    shown = _summary(request, flavor) | {
        "ram": flavor.memory_mib,
        "vcpus": flavor.vcpus,
        "disk": flavor.disk_gib,
        "swap": flavor.swap_mib or ("" if request.version < microversions.STRICT_QUERIES else 0),
        "OS-FLV-EXT-DATA:ephemeral": flavor.ephemeral_gib,
        "os-flavor-access:is_public": True,
    }
    if request.version < microversions.STRICT_EVERYWHERE:
        shown |= {"rxtx_factor": 1.0, "OS-FLV-DISABLED:disabled": False}
    if request.version >= microversions.FLAVOR_EXTRA_SPECS and request.allows("os-flavor-extra-specs:index"):
        shown["extra_specs"] = dict(flavor.extra_specs)
    return shown
