"""What Nova's API has and livemig has not: known by name, and refused with a sentence that says so (Nova refuses what a driver cannot do with a 400)."""

from __future__ import annotations

import webob
import webob.exc

from livemig.api.request import Request

_WHY = "livemig moves running servers of libvirt hosts and does not {what}."

UNSUPPORTED_ACTIONS: dict[str, str] = {
    name: _WHY.format(what=what)
    for name, what in {
        "migrate": "migrate servers that are shut off (cold migration); start the server and use os-migrateLive",
        "resize": "resize servers",
        "confirmResize": "resize servers",
        "revertResize": "resize servers",
        "evacuate": "rebuild servers of a dead host (evacuate)",
        "rebuild": "rebuild servers",
        "rescue": "rescue servers",
        "unrescue": "rescue servers",
        "shelve": "shelve servers",
        "shelveOffload": "shelve servers",
        "unshelve": "shelve servers",
        "createImage": "make images of servers",
        "createBackup": "make backups of servers",
        "changePassword": "change passwords",
        "addFloatingIp": "manage addresses",
        "removeFloatingIp": "manage addresses",
        "addFixedIp": "manage addresses",
        "removeFixedIp": "manage addresses",
        "addSecurityGroup": "manage security groups",
        "removeSecurityGroup": "manage security groups",
        "resetNetwork": "manage networks",
        "injectNetworkInfo": "manage networks",
        "forceDelete": "delete servers",
        "restore": "delete or restore servers",
        "trigger_crash_dump": "make crash dumps",
        "os-getConsoleOutput": "serve consoles",
        "os-getVNCConsole": "serve consoles",
        "os-getSPICEConsole": "serve consoles",
        "os-getRDPConsole": "serve consoles",
        "os-getSerialConsole": "serve consoles",
    }.items()
}

_REFUSALS = {
    ("POST", "/servers"): "create servers; define them with libvirt",
    ("PUT", "/servers/{id}"): "change servers; their names and descriptions are in the metadata of their domains",
    ("DELETE", "/servers/{id}"): "delete servers; undefine them with libvirt",
    ("POST", "/servers/{id}/os-volume_attachments"): "attach volumes",
    ("POST", "/servers/{id}/os-interface"): "attach interfaces",
    ("POST", "/servers/{id}/remote-consoles"): "serve consoles",
    ("POST", "/flavors"): "create flavors; they follow from the servers",
    ("DELETE", "/flavors/{id}"): "delete flavors; they follow from the servers",
    ("POST", "/os-aggregates"): "change aggregates; they stand in its configuration",
    ("PUT", "/os-aggregates/{id}"): "change aggregates; they stand in its configuration",
    ("DELETE", "/os-aggregates/{id}"): "change aggregates; they stand in its configuration",
    ("POST", "/os-aggregates/{id}/action"): "change aggregates; they stand in its configuration",
    ("DELETE", "/os-services/{id}"): "forget hosts by its API; take them out of enabled_hosts",
}

# Method, path and summary, for the table of routes.
REFUSED = tuple((method, template, f"Refused: livemig does not {what}") for (method, template), what in _REFUSALS.items())


def refuse(request: Request) -> webob.Response:
    """400, with the sentence of the route."""
    raise webob.exc.HTTPBadRequest(_WHY.format(what=_REFUSALS[request.method, request.template]))
