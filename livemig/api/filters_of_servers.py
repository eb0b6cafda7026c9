"""The query of a list of servers as a selection of rows: tables of Nova's filters and sort keys (nova/compute/api.py, get_all)."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import webob.exc

from livemig import microversions
from livemig.api import pages, zones
from livemig.api.request import Request
from livemig.api.schemas import validation
from livemig.api.views.servers import MIGRATING, STATUS
from livemig.db import patterns
from livemig.db.selection import Conditions, Selection

Asked = Mapping[str, Sequence[str]]

# Filters that everybody may use; others are for those whom servers:allow_all_filters lets, and are ignored from the rest.
PAGING = {"limit", "marker", "sort_key", "sort_dir", "all_tenants", "deleted", "soft_deleted"}
TAGS = {"tags", "tags-any", "not-tags", "not-tags-any"}
FOR_ALL = {"name", "status", "image", "flavor", "ip", "changes-since", "changes-before", "locked", *PAGING, *TAGS}
FOR_ALL_LATER = {  # since USER_FILTERS
    *("availability_zone", "config_drive", "key_name", "created_at", "launched_at", "terminated_at", "power_state", "task_state", "vm_state", "progress"),
    "user_id",
}

# Filter → column: the value must be the same.
COLUMNS = {
    "project_id": "project_id",
    "tenant_id": "project_id",
    "user_id": "user_id",
    "host": "host",
    "node": "host",
    "uuid": "uuid",
    "flavor": "flavor_id",
    "instance_type_id": "flavor_id",
    "root_device_name": "root_device",
    "locked_by": "locked_by",
}
# Filter → column: the value is a regular expression that is found in it.
PATTERNS = {"name": "name", "display_name": "name", "hostname": "name", "description": "description", "display_description": "description"}
# What no server of libvirt has, so that none is found by it.
NOBODY_HAS = {
    *("image", "image_ref", "kernel_id", "ramdisk_id", "key_name", "reservation_id", "terminated_at", "access_ip_v4", "access_ip_v6", "tags", "tags-any"),
}
# Sort key → column; keys by which all servers are alike are taken and change nothing.
SORT_KEYS = {
    "created_at": "created_at",
    "launched_at": "created_at",
    "updated_at": "updated_at",
    "display_name": "name",
    "hostname": "name",
    "uuid": "uuid",
    "host": "host",
    "node": "host",
    "vm_state": "vm_state",
    "task_state": "task_state",
    "power_state": "power_state",
    "progress": "progress",
    "project_id": "project_id",
    "user_id": "user_id",
    "instance_type_id": "flavor_id",
    "root_device_name": "root_device",
    "locked": "locked_by",
    "locked_by": "locked_by",
    "config_drive": "config_drive",
    "display_description": "description",
}
SORT_KEYS_OF_ADMINISTRATORS = {"host", "node"}
_UNIQUE = "uuid"
_NEWEST_FIRST = (("created_at", "desc"), (_UNIQUE, "desc"))

# API status → what the row has.
STATUSES: Mapping[str, Conditions] = {MIGRATING: {"task_state": "migrating"}} | {
    word: {"vm_state": state, "task_state": None} for state, word in STATUS.items()
}
DELETED = "DELETED"
# Nova's other words (nova/api/openstack/common.py, _STATE_MAP): right, but no server of libvirt is in such a state.
NOBODY_IS = {
    *("BUILD", DELETED, "SOFT_DELETED", "HARD_REBOOT", "REBOOT", "PASSWORD", "REBUILD", "RESCUE", "RESIZE", "REVERT_RESIZE", "VERIFY_RESIZE"),
    *("SHELVED", "SHELVED_OFFLOADED"),
}


def asked(request: Request) -> Asked:
    """The filters of the query that this client may use."""
    if request.allows("servers:allow_all_filters"):
        return request.query
    allowed = set(FOR_ALL)
    if request.version >= (2, 5):
        allowed.add("ip6")
    if request.version >= microversions.USER_FILTERS:
        allowed |= FOR_ALL_LATER
    if request.version >= microversions.HOSTNAME:
        allowed.add("hostname")
    return {name: values for name, values in request.query.items() if name in allowed}


def everywhere(given: Asked) -> bool:
    """Whether all projects are asked for. An empty all_tenants is true: clients write just ?all_tenants. Raises HTTPBadRequest."""
    values = given.get("all_tenants")
    return values is not None and (values[-1] == "" or _flag(values))


def _flag(values: Sequence[str]) -> bool:
    try:
        return validation.flag(values[-1])
    except ValueError as error:
        raise webob.exc.HTTPBadRequest(str(error)) from None


def project(given: Asked) -> str | None:
    """The project that a query names."""
    values = given.get("project_id") or given.get("tenant_id")
    return values[-1] if values else None


def selection(request: Request, given: Asked) -> Selection:
    """Filters and order; the page is not this module's. Raises HTTPBadRequest, HTTPForbidden."""
    equal: dict[str, Any] = {column: _value(given[name][-1]) for name, column in COLUMNS.items() if given.get(name)}
    groups: list[Sequence[Conditions]] = []
    for filter_name, group in _GROUPS.items():
        if given.get(filter_name):
            groups.append(group(request, given[filter_name]))
    if any(any(given.get(name, ())) for name in NOBODY_HAS) or any(given.get(name, [""])[-1] in validation.TRUE for name in ("deleted", "soft_deleted")):
        groups.append(())
    found = {column: given[name][-1] for name, column in PATTERNS.items() if given.get(name)}
    for name in ("ip", "ip6"):
        if given.get(name):
            found["ip_addresses"] = _address_pattern(given[name][-1])
    return Selection(equal, groups, found, *pages.period(request), sort=_order(request, given))


def _value(text: str) -> str | None:
    return None if text in ("", "None", "null") else text


def _order(request: Request, given: Asked) -> Sequence[tuple[str, str]]:
    """The sort keys with their directions; a last one makes the order total."""
    keys, directions = given.get("sort_key", ()), given.get("sort_dir", ())
    if not request.context.is_admin:
        for key in SORT_KEYS_OF_ADMINISTRATORS.intersection(keys):
            raise webob.exc.HTTPForbidden(f"Only administrators can sort servers by {key}")
    order: dict[str, str] = {}
    ignored = {"locked"} if request.version < microversions.LOCKED_REASON else ()
    for number, key in enumerate(keys):
        if key in SORT_KEYS and key not in ignored:
            order.setdefault(SORT_KEYS[key], directions[min(number, len(directions) - 1)] if directions else "desc")
    for column, direction in _NEWEST_FIRST:
        order.setdefault(column, directions[0] if directions else direction)
    return tuple(order.items())


def _address_pattern(pattern: str) -> str:
    """A pattern for one address, for a text that has each address between spaces (db/rows.py)."""
    within = f" (?:{pattern.removeprefix('^').replace('$', ' ')})"
    try:
        patterns.check(within)
    except ValueError as error:
        raise webob.exc.HTTPBadRequest(f"Invalid input for query parameters ip. Value: {pattern}. {error}") from None
    return within


def _any_of(column: str, values: Sequence[Any]) -> Sequence[Conditions]:
    return [{column: value} for value in values]


_GROUPS: Mapping[str, Callable[[Request, Sequence[str]], Sequence[Conditions]]] = {
    "status": lambda request, values: _statuses(request, [value.upper() for value in values]),
    "vm_state": lambda _request, values: _any_of("vm_state", values),
    "task_state": lambda _request, values: _any_of("task_state", [_value(value) for value in values]),
    "power_state": lambda _request, values: _any_of("power_state", _numbers(values)),
    "progress": lambda _request, values: _any_of("progress", _numbers(values)),
    "created_at": lambda _request, values: _any_of("created_at", [validation.moment(value) for value in values]),
    "launched_at": lambda _request, values: _any_of("created_at", [validation.moment(value) for value in values]),
    "config_drive": lambda _request, values: _any_of("config_drive", [_flag(values)]),
    "locked": lambda _request, values: _locked(_flag(values)),
    "availability_zone": lambda request, values: [{"host": _hosts_of_zone(request, values[-1])}],
}


def _statuses(request: Request, words: Sequence[str]) -> Sequence[Conditions]:
    """Words that there are not are a 400 since STATUS_WORDS, and before found nothing."""
    if DELETED in words and not request.context.is_admin:
        raise webob.exc.HTTPForbidden("Only administrators may list deleted instances")
    if request.version >= microversions.STATUS_WORDS and not any(word in STATUSES or word in NOBODY_IS for word in words):
        raise webob.exc.HTTPBadRequest("Invalid status value")
    return [STATUSES[word] for word in words if word in STATUSES]


def _numbers(values: Sequence[str]) -> list[int]:
    return [int(value) for value in values if re.fullmatch("[0-9]{1,9}", value)]


def _locked(wanted: bool) -> Sequence[Conditions]:
    return _any_of("locked_by", ["owner", "admin"] if wanted else [None])


def _hosts_of_zone(request: Request, zone: str) -> tuple[str, ...]:
    return zones.hosts_in(request.services.aggregates, zone, request.services.store.hosts.names())
