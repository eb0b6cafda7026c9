"""GET /limits: livemig limits nothing but lists, so that every limit is -1 and only what is in use is counted (nova/api/openstack/compute/limits.py)."""

from __future__ import annotations

from typing import Any

import webob

from livemig import microversions
from livemig.api.request import Request
from livemig.records import Usage

UNLIMITED = -1

_ALWAYS = ("maxTotalInstances", "maxTotalCores", "maxTotalRAMSize", "maxTotalKeypairs", "maxServerMeta", "maxServerGroups", "maxServerGroupMembers")
_FILES = ("maxPersonality", "maxPersonalitySize")
_IMAGES = ("maxImageMeta",)
_NETWORKS = ("maxTotalFloatingIps", "maxSecurityGroups", "maxSecurityGroupRules")

_UNTIL = ((_NETWORKS, microversions.NO_NETWORK_LIMITS), (_IMAGES, microversions.NO_IMAGE_LIMITS), (_FILES, microversions.NO_FILE_LIMITS))


def show_limits(request: Request) -> webob.Response:
    request.require("limits")
    usage = request.services.store.servers.usage(_projects(request))
    return webob.Response(json_body={"limits": {"rate": [], "absolute": _absolute(request) | _used(request, usage)}})


def _projects(request: Request) -> tuple[str, ...] | None:
    """Whose servers are counted: those of the project that is named, or of one's own; None: all, for an administrator who has no project."""
    own, other = request.context.project_id, request.one("tenant_id")
    if other is not None and other != own:
        request.require("limits:other_project")
        return (other,)
    return (own,) if own else request.projects()


def _absolute(request: Request) -> dict[str, Any]:
    names = list(_ALWAYS)
    for names_before, version in _UNTIL:
        if request.version < version:
            names += names_before
    return dict.fromkeys(names, UNLIMITED)


def _used(request: Request, usage: Usage) -> dict[str, Any]:
    used = {
        "totalInstancesUsed": usage.servers,
        "totalCoresUsed": usage.vcpus,
        "totalRAMUsed": usage.memory_mib,
        "totalServerGroupsUsed": 0,
    }
    if request.version < microversions.NO_NETWORK_LIMITS:
        used |= {"totalFloatingIpsUsed": 0, "totalSecurityGroupsUsed": 0}
    return used
