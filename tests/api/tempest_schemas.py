"""Which of Tempest's response schemas is in force for a request, at every microversion.

Tempest (the OpenStack project's acceptance tests) keeps a strict schema of each answer of the compute API, a module v2_N for each microversion N at which
one changes. ROUTES says which schema belongs to which request; everything about versions is read from Tempest's modules, but for AMENDMENTS: the few places
where Tempest lags behind Nova's history of the REST API (nova/api/openstack/compute/rest_api_version_history.rst), each with its reason.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from tempest.lib.api_schema.response import compute

Version = tuple[int, int]
FIRST: Version = (2, 1)
LAST: Version = (2, 104)


@dataclass(frozen=True, slots=True)
class Route:
    """A kind of request, and the schema of its answer: `noun`.`name`, an attribute of Tempest's modules v2_N/noun.py. `action` is the key of an action's body.

    It exists from microversion `since` up to and with `until`, says Nova's history.
    """

    method: str
    template: str
    noun: str
    name: str
    since: Version = FIRST
    until: Version = LAST
    action: str = ""

    def __str__(self) -> str:
        return f"{self.method} {self.template} {self.action}".rstrip()


@dataclass(frozen=True, slots=True)
class Schema:
    """What the answer to `route` must be at the microversions from `since` up to and with `until`. `body` None: there is none. `source` says whose it is."""

    route: Route
    since: Version
    until: Version
    status: tuple[int, ...]
    body: Any
    source: str

    def __str__(self) -> str:
        return f"{self.route} from {text(self.since)}"

    def __hash__(self) -> int:
        return hash((self.route, self.since))


def _gets(noun: str, *rows: Any) -> tuple[Route, ...]:
    """GET routes; a row is (template, name, since, until)."""
    return tuple(Route("GET", template, noun, *rest) for template, *rest in rows)


SERVER_ACTIONS = ("os-migrateLive", "pause", "unpause", "suspend", "resume", "os-start", "os-stop", "reboot", "lock", "unlock", "os-resetState")

ROUTES: tuple[Route, ...] = (
    *_gets(
        "servers",
        ("/servers", "list_servers"),
        ("/servers/detail", "list_servers_detail"),
        ("/servers/{server}", "get_server"),
        ("/servers/{server}/migrations", "list_live_migrations", (2, 23)),
        ("/servers/{server}/migrations/{migration}", "show_live_migration", (2, 23)),
        ("/servers/{server}/os-instance-actions", "list_instance_actions"),
        ("/servers/{server}/os-instance-actions/{request}", "show_instance_action"),
        ("/servers/{server}/os-volume_attachments", "list_volume_attachments"),
        ("/servers/{server}/os-volume_attachments/{volume}", "show_volume_attachment"),
        ("/servers/{server}/diagnostics", "show_server_diagnostics"),
        ("/servers/{server}/ips", "list_addresses"),
        ("/servers/{server}/ips/{network}", "list_addresses_by_network"),
        ("/servers/{server}/metadata", "list_server_metadata"),
        ("/servers/{server}/metadata/{item}", "set_show_server_metadata_item"),
        ("/servers/{server}/tags", "list_tags", (2, 26)),
    ),
    *(Route("POST", "/servers/{server}/action", "servers", "server_actions_common_schema", action=action) for action in SERVER_ACTIONS),
    Route("POST", "/servers/{server}/migrations/{migration}/action", "servers", "server_actions_common_schema", (2, 22), action="force_complete"),
    Route("DELETE", "/servers/{server}/migrations/{migration}", "servers", "server_actions_common_schema", (2, 24)),
    *_gets("migrations", ("/os-migrations", "list_migrations")),
    *_gets("services", ("/os-services", "list_services")),
    Route("PUT", "/os-services/{service}", "services", "update_service", (2, 53)),
    Route("PUT", "/os-services/enable", "services", "enable_disable_service", FIRST, (2, 52)),
    Route("PUT", "/os-services/disable", "services", "enable_disable_service", FIRST, (2, 52)),
    Route("PUT", "/os-services/disable-log-reason", "services", "disable_log_reason", FIRST, (2, 52)),
    Route("PUT", "/os-services/force-down", "services", "update_forced_down", (2, 11), (2, 52)),
    *_gets(
        "hypervisors",
        ("/os-hypervisors", "list_search_hypervisors"),
        ("/os-hypervisors/detail", "list_hypervisors_detail"),
        ("/os-hypervisors/statistics", "get_hypervisor_statistics", FIRST, (2, 87)),
        ("/os-hypervisors/{hypervisor}", "get_hypervisor"),
        ("/os-hypervisors/{hypervisor}/uptime", "get_hypervisor_uptime", FIRST, (2, 87)),
        ("/os-hypervisors/{pattern}/search", "list_search_hypervisors", FIRST, (2, 52)),
        ("/os-hypervisors/{pattern}/servers", "get_hypervisors_servers", FIRST, (2, 52)),
    ),
    *_gets("aggregates", ("/os-aggregates", "list_aggregates"), ("/os-aggregates/{aggregate}", "get_aggregate")),
    *_gets(
        "availability_zone",
        ("/os-availability-zone", "list_availability_zone_list"),
        ("/os-availability-zone/detail", "list_availability_zone_list_detail"),
    ),
    *_gets(
        "flavors",
        ("/flavors", "list_flavors"),
        ("/flavors/detail", "list_flavors_details"),
        ("/flavors/{flavor}", "create_update_get_flavor_details"),
    ),
    *_gets(
        "flavors_extra_specs",
        ("/flavors/{flavor}/os-extra_specs", "set_get_flavor_extra_specs"),
        ("/flavors/{flavor}/os-extra_specs/{extra_spec}", "set_get_flavor_extra_specs_key"),
    ),
    *_gets("limits", ("/limits", "get_limit")),
    *_gets("hosts", ("/os-hosts", "list_hosts", FIRST, (2, 42)), ("/os-hosts/{host}", "get_host_detail", FIRST, (2, 42))),
    *_gets("tenant_usages", ("/os-simple-tenant-usage", "list_tenant_usage"), ("/os-simple-tenant-usage/{project}", "get_tenant_usage")),
    *_gets("quotas", ("/os-quota-sets/{project}", "get_quota_set"), ("/os-quota-sets/{project}/detail", "get_quota_set_details")),
)

VERSION_DOCUMENTS: tuple[Route, ...] = _gets("versions", ("/", "list_versions"), ("/v2.1", "get_one_version"))

LINKS = {
    "type": "array",
    "items": {
        "type": "object",
        "properties": {"href": {"type": "string", "format": "uri"}, "rel": {"type": "string"}},
        "additionalProperties": False,
        "required": ["href", "rel"],
    },
}
UUID = {"type": "string", "format": "uuid"}
IN_PLACEMENT = (
    "cpu_info",
    "current_workload",
    "disk_available_least",
    "free_disk_gb",
    "free_ram_mb",
    "local_gb",
    "local_gb_used",
    "memory_mb",
    "memory_mb_used",
    "running_vms",
    "vcpus",
    "vcpus_used",
)


def _item(schema: Any) -> Any:
    """The one thing that the answer's only required property is, or is a list of."""
    body = schema["response_body"]
    (inner,) = (body["properties"][name] for name in body["required"])
    return inner.get("items", inner)


def _without(item: Any, names: tuple[str, ...]) -> None:
    for name in names:
        item["properties"].pop(name, None)
    item["required"] = [name for name in item["required"] if name not in names]


def _uuids(schema: Any) -> None:
    _item(schema)["properties"]["id"] = UUID


def _uuid_of_service(schema: Any) -> None:
    _uuids(schema)
    _item(schema)["properties"]["service"]["properties"]["id"] = UUID


def _placement(schema: Any) -> None:
    item = _item(schema)
    _without(item, IN_PLACEMENT)
    item["properties"]["uptime"] = {"type": ["string", "null"]}
    item["required"].append("uptime")


def _migrations_links(schema: Any) -> None:
    schema["response_body"]["properties"]["migrations_links"] = LINKS


def _tenant_usages_links(schema: Any) -> None:
    schema["response_body"]["properties"]["tenant_usages_links"] = LINKS


def _tenant_usage_links(schema: Any) -> None:
    schema["response_body"]["properties"]["tenant_usage_links"] = LINKS


def _resources(schema: Any) -> None:
    hosts = schema["response_body"]["properties"]["host"]
    hosts["items"] = hosts.pop("item")


def _flavor(schema: Any) -> None:
    _without(_item(schema), ("rxtx_factor", "OS-FLV-DISABLED:disabled"))


Change = Callable[[Any], None]
AMENDMENTS: dict[tuple[str, str], dict[Version, Change]] = {
    # Tempest knows these lists without a link to the next page.
    ("migrations", "list_migrations"): {(2, 59): _migrations_links},
    ("tenant_usages", "list_tenant_usage"): {(2, 40): _tenant_usages_links},
    ("tenant_usages", "get_tenant_usage"): {(2, 40): _tenant_usage_links},
    # Tempest takes a number or a string at every version; Nova's ids of hypervisors and of their services are UUIDs since 2.53. Its 2.88 is not in Tempest.
    ("hypervisors", "list_search_hypervisors"): {(2, 53): _uuids},
    ("hypervisors", "get_hypervisor_uptime"): {(2, 53): _uuids},
    ("hypervisors", "list_hypervisors_detail"): {(2, 53): _uuid_of_service, (2, 88): _placement},
    ("hypervisors", "get_hypervisor"): {(2, 53): _uuid_of_service, (2, 88): _placement},
    # A misspelled "items" lets everything pass.
    ("hosts", "get_host_detail"): {FIRST: _resources},
    # Tempest ends at 2.100.
    ("flavors", "list_flavors_details"): {(2, 102): _flavor},
    ("flavors", "create_update_get_flavor_details"): {(2, 102): _flavor},
}


def text(version: Version) -> str:
    """(2, 1) → "2.1"."""
    return f"{version[0]}.{version[1]}"


@cache
def _modules(noun: str) -> dict[Version, Any]:
    """Tempest's modules for a noun, by microversion. The directories are read, since not all of them are packages."""
    found = {}
    for path in Path(compute.__path__[0]).glob(f"v2_*/{noun}.py"):
        minor = int(path.parent.name.removeprefix("v2_"))
        found[2, minor] = importlib.import_module(f"{compute.__name__}.{path.parent.name}.{noun}")
    return dict(sorted(found.items()))


def published(noun: str, name: str) -> dict[Version, Any]:
    """Tempest's own schemas of that name, by the microversion of their module."""
    if name == "show_live_migration":  # in Tempest only the list, of the same things
        lists = published(noun, "list_live_migrations")
        return {version: {"status_code": [200], "response_body": _envelope("migration", _item(schema))} for version, schema in lists.items()}
    return {version: getattr(module, name) for version, module in _modules(noun).items() if hasattr(module, name)}


def _envelope(name: str, item: Any) -> Any:
    return {"type": "object", "properties": {name: item}, "additionalProperties": False, "required": [name]}


def _schemas(route: Route) -> Iterator[Schema]:
    """A route's schemas from version to version, those that change nothing left out."""
    own = published(route.noun, route.name)
    amendments = AMENDMENTS.get((route.noun, route.name), {})
    changes = sorted({route.since, *(version for version in {*own, *amendments} if route.since < version <= route.until)})
    distinct: list[tuple[Version, Any, str]] = []
    for version in changes:
        newest = max(number for number in own if number <= version)
        schema, source = deepcopy(own[newest]), f"tempest v2_{newest[1]} {route.noun}.{route.name}"
        for number, amend in amendments.items():
            if number <= version:
                amend(schema)
                source += f" + Nova {text(number)}"
        if not distinct or distinct[-1][1] != schema:
            distinct.append((version, schema, source))
    ends = [(version[0], version[1] - 1) for version, *_ in distinct[1:]] + [route.until]
    for (version, schema, source), until in zip(distinct, ends, strict=True):
        yield Schema(route, version, until, tuple(schema["status_code"]), schema.get("response_body"), source)


SCHEMAS: dict[Route, tuple[Schema, ...]] = {route: tuple(_schemas(route)) for route in ROUTES + VERSION_DOCUMENTS}

_COLLECTIONS = {route.template.split("/")[1] for route in ROUTES}
_PREFIX = re.compile(r"/v2(\.1)?(?=/|$)")


def _pattern(template: str) -> re.Pattern[str]:
    return re.compile(re.sub(r"{\w+}", "[^/]+", template))


# Of two templates that fit a path, the one with fewer parameters is meant.
_PATTERNS = [(_pattern(route.template), route) for route in sorted(ROUTES, key=lambda route: route.template.count("{"))]


def find(method: str, path: str, version: Version, action: str = "") -> Schema | None:
    """The schema in force for a request; `path` may have a prefix /v2.1, /v2, and the project's id behind it. None: nothing is said about such a request."""
    document = {"": 0, "/": 0, "/v2.1": 1, "/v2.1/": 1, "/v2": 1, "/v2/": 1}.get(path)
    if document is not None:
        return SCHEMAS[VERSION_DOCUMENTS[document]][0] if method == "GET" else None
    bare = _PREFIX.sub("", path, count=1)
    first, _, rest = bare.removeprefix("/").partition("/")
    if first not in _COLLECTIONS:  # the project
        if rest.partition("/")[0] not in _COLLECTIONS and (rest or first.startswith("os-")):
            return None
        return find(method, f"/v2.1/{rest}", version, action)
    for pattern, route in _PATTERNS:
        if route.method == method and route.action == action and route.since <= version <= route.until and pattern.fullmatch(bare):
            return next(schema for schema in SCHEMAS[route] if schema.since <= version <= schema.until)
    return None
