"""Every operation of the API: method, path, handler, since and until which microversion, and the schemas of its query and body."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache

import webob

from livemig import microversions as since
from livemig.api import (
    aggregates,
    availability_zones,
    flavors,
    hosts,
    hypervisors,
    instance_actions,
    limits,
    migrations,
    openapi,
    refusals,
    server_actions,
    server_migrations,
    servers,
    services,
    usage,
)
from livemig.api.request import Request
from livemig.api.schemas import hypervisors as hypervisor_schemas
from livemig.api.schemas import instance_actions as instance_action_schemas
from livemig.api.schemas import lists
from livemig.api.schemas import migrations as migration_schemas
from livemig.api.schemas import server_migrations as server_migration_schemas
from livemig.api.schemas import servers as server_schemas
from livemig.api.schemas import services as service_schemas
from livemig.api.schemas.validation import ANY_QUERY, Schema, Versioned, record
from livemig.microversions import MAX, MIN, Version

Handler = Callable[[Request], webob.Response]


@dataclass(frozen=True, slots=True)
class Route:
    """`template` has {name} for one path segment; the route exists from microversion `since` to `until`.

    `query` is validated by the router, a body, which fits one of `bodies`, by the handler, which knows the order of its errors. `success` is the status of
    a good answer, None where there is none; `answer` is what its body is like, as far as all microversions have it; `faults` are statuses of refusals beside
    those that all such routes have.
    """

    method: str
    template: str
    handler: Handler
    summary: str
    since: Version = MIN
    until: Version = MAX
    query: Versioned = ANY_QUERY
    bodies: Sequence[Versioned] = ()
    success: int | None = 200
    answer: Schema = field(default_factory=lambda: {"type": "object"})
    faults: Sequence[int] = ()

    def match(self, method: str, path: str, version: Version) -> dict[str, str] | None:
        """The path's parameters, when the route serves the request."""
        if method != self.method or not self.since <= version <= self.until:
            return None
        found = _pattern(self.template).fullmatch(path)
        return found.groupdict() if found else None


@cache
def _pattern(template: str) -> re.Pattern[str]:
    """A template's pattern, made once and not for every request."""
    return re.compile(re.sub(r"{(\w+)}", r"(?P<\1>[^/]+)", template))


def before(version: Version) -> Version:
    """The last microversion before one."""
    return (version[0], version[1] - 1)


def one(name: str) -> Schema:
    """An answer that is one thing, under its name."""
    return record({name: {"type": "object"}})


def many(name: str, next_page: str | None = None) -> Schema:
    """An answer that is a list, under its name, and maybe a link to the next page."""
    links: Schema = {"type": "array", "items": {"type": "object"}, "minItems": 1, "maxItems": 1}
    return record({name: {"type": "array", "items": {"type": "object"}}, next_page or f"{name}_links": links}, [name])


SERVER = "/servers/{id}"
MIGRATION = "/servers/{id}/migrations/{migration}"
HYPERVISOR = "/os-hypervisors/{id}"

ROUTES: tuple[Route, ...] = (
    Route("GET", "/servers", servers.list_servers, "List servers", query=server_schemas.LIST, answer=many("servers")),
    Route("GET", "/servers/detail", servers.list_servers_detail, "List servers with details", query=server_schemas.LIST, answer=many("servers")),
    Route("GET", SERVER, servers.show_server, "Show a server", answer=one("server")),
    Route(
        "POST",
        f"{SERVER}/action",
        server_actions.act,
        "Do something with a server",
        bodies=server_actions.BODIES,
        success=202,
    ),
    Route("GET", f"{SERVER}/diagnostics", servers.show_diagnostics, "Show a server's diagnostics", faults=(409,)),
    Route(
        "GET",
        f"{SERVER}/os-volume_attachments",
        servers.list_volume_attachments,
        "List a server's volumes: none",
        query=lists.PAGE,
        answer=many("volumeAttachments"),
    ),
    Route(
        "GET",
        f"{SERVER}/os-instance-actions",
        instance_actions.list_actions,
        "List what was asked of a server",
        query=instance_action_schemas.LIST,
        answer=many("instanceActions", "links"),
    ),
    Route(
        "GET",
        f"{SERVER}/os-instance-actions/{{request_id}}",
        instance_actions.show_action,
        "Show something that was asked of a server",
        answer=one("instanceAction"),
    ),
    Route(
        "GET",
        f"{SERVER}/migrations",
        server_migrations.list_migrations,
        "List a server's migrations in progress",
        since.SERVER_MIGRATIONS,
        query=server_migration_schemas.LIST,
        answer=many("migrations"),
    ),
    Route(
        "GET",
        MIGRATION,
        server_migrations.show_migration,
        "Show a server's migration in progress",
        since.SERVER_MIGRATIONS,
        query=server_migration_schemas.LIST,
        answer=one("migration"),
    ),
    Route("DELETE", MIGRATION, server_migrations.abort, "Abort a server's migration", since.ABORT, success=202),
    Route(
        "POST",
        f"{MIGRATION}/action",
        server_migrations.act,
        "Force a server's migration to complete",
        since.FORCE_COMPLETE,
        bodies=[server_migration_schemas.ACTION],
        success=202,
    ),
    Route("GET", "/os-migrations", migrations.list_migrations, "List migrations", query=migration_schemas.LIST, answer=many("migrations")),
    Route("GET", "/os-services", services.list_services, "List compute services", query=service_schemas.LIST, answer=many("services")),
    Route(
        "PUT", "/os-services/enable", services.enable, "Enable a host", until=before(since.UUIDS), bodies=[service_schemas.HOST_BINARY], answer=one("service")
    ),
    Route(
        "PUT",
        "/os-services/disable",
        services.disable,
        "Disable a host",
        until=before(since.UUIDS),
        bodies=[service_schemas.HOST_BINARY],
        answer=one("service"),
    ),
    Route(
        "PUT",
        "/os-services/disable-log-reason",
        services.disable_with_reason,
        "Disable a host and say why",
        until=before(since.UUIDS),
        bodies=[service_schemas.DISABLE_REASON],
        answer=one("service"),
    ),
    Route(
        "PUT",
        "/os-services/force-down",
        services.force_down,
        "Say that a host is down",
        since.FORCED_DOWN,
        before(since.UUIDS),
        bodies=[service_schemas.FORCE_DOWN],
        answer=one("service"),
    ),
    Route(
        "PUT",
        "/os-services/{id}",
        services.update_service,
        "Enable, disable or force down a host",
        since.UUIDS,
        bodies=[service_schemas.UPDATE],
        answer=one("service"),
    ),
    Route("GET", "/os-hypervisors", hypervisors.list_hypervisors, "List hypervisors", query=hypervisor_schemas.LIST, answer=many("hypervisors")),
    Route(
        "GET",
        "/os-hypervisors/detail",
        hypervisors.list_hypervisors_detail,
        "List hypervisors with details",
        query=hypervisor_schemas.LIST,
        answer=many("hypervisors"),
    ),
    Route(
        "GET",
        "/os-hypervisors/statistics",
        hypervisors.show_statistics,
        "Show sums over all hypervisors",
        until=before(since.LEAN_HYPERVISORS),
        answer=one("hypervisor_statistics"),
    ),
    Route("GET", HYPERVISOR, hypervisors.show_hypervisor, "Show a hypervisor", query=hypervisor_schemas.SHOW, answer=one("hypervisor")),
    Route(
        "GET",
        f"{HYPERVISOR}/uptime",
        hypervisors.show_uptime,
        "Show how long a hypervisor is up",
        until=before(since.LEAN_HYPERVISORS),
        answer=one("hypervisor"),
    ),
    Route("GET", f"{HYPERVISOR}/search", hypervisors.search, "Find hypervisors by a part of their name", until=before(since.UUIDS), answer=many("hypervisors")),
    Route("GET", f"{HYPERVISOR}/servers", hypervisors.list_servers, "List the servers of hypervisors", until=before(since.UUIDS), answer=many("hypervisors")),
    Route("GET", "/os-aggregates", aggregates.list_aggregates, "List the configured aggregates", answer=many("aggregates")),
    Route("GET", "/os-aggregates/{id}", aggregates.show_aggregate, "Show a configured aggregate", answer=one("aggregate")),
    Route("GET", "/os-availability-zone", availability_zones.list_zones, "List availability zones", answer=many("availabilityZoneInfo")),
    Route(
        "GET",
        "/os-availability-zone/detail",
        availability_zones.list_zones_detail,
        "List availability zones with their hosts",
        answer=many("availabilityZoneInfo"),
    ),
    Route("GET", "/os-hosts", hosts.list_hosts, "List hosts", until=before(since.NO_HOSTS_API), query=lists.ZONE, answer=many("hosts")),
    Route("GET", "/os-hosts/{name}", hosts.show_host, "Show what a host has and uses", until=before(since.NO_HOSTS_API), answer=many("host")),
    Route("GET", "/flavors", flavors.list_flavors, "List the shapes in use", query=lists.FLAVORS, answer=many("flavors")),
    Route("GET", "/flavors/detail", flavors.list_flavors_detail, "List the shapes in use with details", query=lists.FLAVORS, answer=many("flavors")),
    Route("GET", "/flavors/{id}", flavors.show_flavor, "Show a shape", answer=one("flavor")),
    Route("GET", "/flavors/{id}/os-extra_specs", flavors.list_extra_specs, "Show a shape's extra specs", answer=one("extra_specs")),
    Route("GET", "/limits", limits.show_limits, "Show limits", query=lists.LIMITS, answer=one("limits")),
    Route("GET", "/os-simple-tenant-usage", usage.list_usage, "Show what projects use", query=lists.USAGE, answer=many("tenant_usages")),
    Route("GET", "/os-simple-tenant-usage/{project}", usage.show_usage, "Show what a project uses", query=lists.USAGE, answer=one("tenant_usage")),
    Route("GET", "/openapi.json", openapi.handler(lambda: ROUTES), "This document"),
    *(Route(method, template, refusals.refuse, text, success=None) for method, template, text in refusals.REFUSED),
)
