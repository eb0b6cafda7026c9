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
    project = request.context.project_id
    other = request.one("tenant_id")
    if other is not None and other != project:
        request.require("limits:other_project")
        project = other
    usage = request.services.store.servers.usage(project).get(project or "", Usage()) if project else _all(request)
    return webob.Response(json_body={"limits": {"rate": [], "absolute": _absolute(request) | _used(request, usage)}})


def _all(request: Request) -> Usage:
    each = request.services.store.servers.usage(None).values()
    return Usage(sum(one.servers for one in each), 0, sum(one.vcpus for one in each), sum(one.memory_mib for one in each))


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
