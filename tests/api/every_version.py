"""At which microversions each request is worth making: where its answer changes, by Tempest's schemas, and where it is otherwise understood, by Nova's history.

    @pytest.mark.parametrize("probe", probes(microversions.MAX), ids=str)
    def test_every_version(service, probe): ...

`never_exercised()` of tests/api/spec.py says afterwards what a test of this kind has missed.
"""

from __future__ import annotations

from dataclasses import dataclass

from tests.api.tempest_schemas import FIRST, LAST, ROUTES, SCHEMAS, VERSION_DOCUMENTS, Route, Version, text

Key = tuple[str, str, str]

# Changes that no schema of an answer shows: what may be asked, and what then happens (rest_api_version_history.rst and the schemas of queries and bodies).
_SERVERS = [(2, 5), (2, 26), (2, 38), (2, 66), (2, 73), (2, 75), (2, 83)]
_HYPERVISORS = [(2, 33), (2, 53), (2, 75)]
_STRICT_QUERY = [(2, 102)]
BESIDES: dict[Key, list[Version]] = {
    ("GET", "/servers", ""): _SERVERS,
    ("GET", "/servers/detail", ""): [*_SERVERS, (2, 90)],  # the server's own host name, for everybody
    ("GET", "/servers/{server}", ""): [(2, 90), *_STRICT_QUERY],
    ("POST", "/servers/{server}/action", "os-migrateLive"): [(2, 25), (2, 30), (2, 34), (2, 68)],
    ("POST", "/servers/{server}/action", "lock"): [(2, 73)],  # with a reason
    ("GET", "/servers/{server}/migrations", ""): _STRICT_QUERY,
    ("GET", "/servers/{server}/migrations/{migration}", ""): _STRICT_QUERY,
    ("DELETE", "/servers/{server}/migrations/{migration}", ""): [(2, 65)],  # while queued or preparing, too
    ("GET", "/servers/{server}/os-instance-actions", ""): [(2, 58), (2, 66)],
    ("GET", "/servers/{server}/os-instance-actions/{request}", ""): _STRICT_QUERY,
    ("GET", "/servers/{server}/os-volume_attachments", ""): [(2, 75)],
    ("GET", "/servers/{server}/diagnostics", ""): _STRICT_QUERY,
    ("GET", "/servers/{server}/ips", ""): _STRICT_QUERY,
    ("GET", "/servers/{server}/ips/{network}", ""): _STRICT_QUERY,
    ("GET", "/servers/{server}/metadata", ""): _STRICT_QUERY,
    ("GET", "/servers/{server}/metadata/{item}", ""): _STRICT_QUERY,
    ("GET", "/os-migrations", ""): [(2, 59), (2, 66), (2, 80)],
    ("GET", "/os-services", ""): [(2, 75)],
    ("GET", "/os-hypervisors", ""): _HYPERVISORS,
    ("GET", "/os-hypervisors/detail", ""): _HYPERVISORS,
    ("GET", "/os-hypervisors/{hypervisor}", ""): [(2, 53), (2, 75)],
    ("GET", "/os-aggregates", ""): _STRICT_QUERY,
    ("GET", "/os-aggregates/{aggregate}", ""): _STRICT_QUERY,
    ("GET", "/os-availability-zone", ""): _STRICT_QUERY,
    ("GET", "/os-availability-zone/detail", ""): _STRICT_QUERY,
    ("GET", "/flavors", ""): [(2, 75), *_STRICT_QUERY],
    ("GET", "/flavors/detail", ""): [(2, 75), *_STRICT_QUERY],
    ("GET", "/flavors/{flavor}", ""): [(2, 75), *_STRICT_QUERY],
    ("GET", "/flavors/{flavor}/os-extra_specs", ""): _STRICT_QUERY,
    ("GET", "/flavors/{flavor}/os-extra_specs/{extra_spec}", ""): _STRICT_QUERY,
    ("GET", "/limits", ""): [(2, 75)],
    ("GET", "/os-quota-sets/{project}", ""): [(2, 75)],
    ("GET", "/os-quota-sets/{project}/detail", ""): [(2, 75)],
    ("GET", "/os-simple-tenant-usage", ""): [(2, 40), (2, 75)],
    ("GET", "/os-simple-tenant-usage/{project}", ""): [(2, 40), (2, 75)],
}


def key(route: Route) -> Key:
    """(method, template, action): how a route is named here. The action is "" where there is none."""
    return route.method, route.template, route.action


RESPONSES: dict[Key, list[Version]] = {key(route): [schema.since for schema in SCHEMAS[route]] for route in ROUTES + VERSION_DOCUMENTS}
"""The microversions at which the answer to a request has another schema; the first is the one that brought the request."""

VERSIONS: dict[Key, list[Version]] = {name: sorted({*versions, *BESIDES.get(name, [])}) for name, versions in RESPONSES.items()}
"""The microversions at which a request or its answer changes."""


@dataclass(frozen=True, slots=True)
class Probe:
    """A request to make at a microversion. `exists`: Nova has it there; if not, it must not succeed."""

    method: str
    template: str
    action: str
    version: Version
    exists: bool

    def __str__(self) -> str:
        return f"{self.method} {self.template} {self.action}".rstrip() + f" {text(self.version)}" + ("" if self.exists else " not")


def probes(newest: Version = LAST) -> list[Probe]:
    """Each request at each microversion at which it changes, at the one before, and at its last one; and just outside of those that have it."""
    found = []
    for route in ROUTES:
        last = min(route.until, newest)
        changes = [version for version in VERSIONS[key(route)] if version <= last]
        inside = {*changes, *(_before(version) for version in changes if version > route.since), *([last] if route.since <= last else [])}
        outside = {_before(route.since), (route.until[0], route.until[1] + 1)}
        found += [Probe(*key(route), version, True) for version in sorted(inside)]
        found += [Probe(*key(route), version, False) for version in sorted(outside) if FIRST <= version <= newest]
    return found


def _before(version: Version) -> Version:
    return version[0], version[1] - 1
