"""Every request at each microversion at which it changes, and just outside: all answers fit Tempest's schemas, and each of those has been met in the end."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from livemig import microversions
from livemig.api.routes import ROUTES
from livemig.db.hosts import service_uuid
from livemig.db.selection import Selection
from livemig.microversions import Version
from tests.api.every_version import Probe, probes
from tests.api.spec import never_exercised
from tests.api.tempest_schemas import text
from tests.api.world import RESTLESS, SHOP, World

HOSTS = ("node1", "node2", "node3")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with World(tmp_path_factory.mktemp("world")) as world:
        yield world.furnish()


def _shape(template: str) -> tuple[str, ...]:
    return tuple("{}" if part.startswith("{") else part for part in template.split("/"))


SERVED = {(route.method, route.template) for route in ROUTES if route.success is not None}
_SHAPES = {(method, _shape(template)) for method, template in SERVED}
PROBES = [probe for probe in probes(microversions.MAX) if (probe.method, _shape(probe.template)) in _SHAPES]
done: set[Probe] = set()


# What stands for a parameter of a template: all of that kind, so that each of their answers is looked at.

Values = Callable[[World, Version], list[str]]


def servers(world: World, _version: Version) -> list[str]:
    return [server.uuid for server in world.store.servers.find(Selection())]


def hypervisors(world: World, version: Version) -> list[str]:
    hosts = world.store.hosts.all()
    return [host.uuid if version >= microversions.UUIDS else str(host.number) for host in hosts]


VALUES: Mapping[str, Values] = {
    "hypervisor": hypervisors,
    "pattern": lambda _world, _version: ["node", "node1"],
    "aggregate": lambda _world, _version: ["1", "2"],
    "flavor": lambda world, _version: [flavor.id for flavor in world.store.servers.flavors(None)],
    "host": lambda _world, _version: list(HOSTS),
    "project": lambda _world, _version: [SHOP, "nobody"],
    "service": lambda _world, _version: [service_uuid(name) for name in HOSTS],
}


def paths(world: World, probe: Probe) -> list[str]:
    """The paths that a probe of a GET stands for."""
    template = probe.template
    if "{server}" in template:
        return [path for uuid in servers(world, probe.version) for path in _below(world, template.replace("{server}", uuid), uuid)]
    for name, values in VALUES.items():
        if f"{{{name}}}" in template:
            return [template.replace(f"{{{name}}}", value) for value in values(world, probe.version)]
    return [template]


def _below(world: World, path: str, uuid: str) -> list[str]:
    """The same of what a server has many of."""
    if "{request}" in path:
        found = world.store.actions.find(Selection({"server_uuid": uuid}, sort=(("id", "asc"),)))
        return [path.replace("{request}", action.request_id) for action in found]
    if "{migration}" in path:
        return [path.replace("{migration}", str(migration.id)) for migration in world.store.migrations.open() if migration.server_uuid == uuid]
    return [path]


# Requests that change something: how the world is made ready for each, its path and its body.

Asked = tuple[str, Any]
REVERSE: Mapping[str, tuple[str, str | None, str | None]] = {  # action → whose, the status that it needs, and the action that brings it about
    "pause": ("pauser", "ACTIVE", "unpause"),
    "unpause": ("pauser", "PAUSED", "pause"),
    "suspend": ("sleeper", "ACTIVE", "resume"),
    "resume": ("sleeper", "SUSPENDED", "suspend"),
    "os-stop": ("switch", "ACTIVE", "os-start"),
    "os-start": ("switch", "SHUTOFF", "os-stop"),
    "reboot": ("switch", "ACTIVE", "os-start"),
    "lock": ("locked", None, None),
    "unlock": ("locked", None, None),
    "os-resetState": ("broken", None, None),
}
ARGUMENTS: Mapping[str, Any] = {"reboot": {"type": "SOFT"}, "os-resetState": {"state": "error"}}


def migrate_body(version: Version, host: str | None) -> Any:
    """os-migrateLive as a client of that microversion sends it."""
    asked: dict[str, Any] = {"host": host, "block_migration": False}
    if version < microversions.BLOCK_MIGRATION_AUTO:
        asked["disk_over_commit"] = False
    elif microversions.FORCE <= version < microversions.NO_FORCE:
        asked |= {"block_migration": "auto", "force": True}
    return {"os-migrateLive": asked}


def migrate(world: World, probe: Probe) -> Asked:
    uuid = world.id("roamer")
    world.wait_quiet(uuid)
    there = world.show(uuid)["OS-EXT-SRV-ATTR:host"]
    return f"/servers/{uuid}/action", migrate_body(probe.version, "node1" if there == "node2" else "node2")


def act(world: World, probe: Probe) -> Asked:
    name, status, bringing = REVERSE[probe.action]
    if bringing and status:
        world.bring(name, status, bringing)
    arguments = ARGUMENTS.get(probe.action)
    if probe.action == "lock" and probe.version >= microversions.LOCKED_REASON:
        arguments = {"locked_reason": "hands off"}
    return f"/servers/{world.id(name)}/action", {probe.action: arguments}


def under_way(world: World, name: str) -> str:
    """The path of a migration that runs, and would for ever."""
    uuid = world.id(name)
    world.wait_quiet(uuid)
    (host,) = world.fleet.running_on(uuid)
    world.fleet.hosts[host].domains[uuid].load.dirty_mib_s = RESTLESS
    world.do(name, migrate_body(microversions.MAX, "node1" if host == "node2" else "node2"), text(microversions.MAX))
    return f"/servers/{uuid}/migrations/{world.wait_status(uuid, 'running').id}"


def disable(_world: World, probe: Probe) -> Asked:
    body: dict[str, Any] = {"host": "node3", "binary": "nova-compute"}
    more: dict[str, dict[str, Any]] = {"disable-log-reason": {"disabled_reason": "a new disk"}, "force-down": {"forced_down": False}}
    return probe.template, body | more.get(probe.template.rpartition("/")[2], {})


MIGRATION = "/servers/{server}/migrations/{migration}"
READY: Mapping[tuple[str, str], Callable[[World, Probe], Asked]] = {
    ("POST", "/servers/{server}/action"): act,
    ("POST", f"{MIGRATION}/action"): lambda world, _probe: (f"{under_way(world, 'forced')}/action", {"force_complete": None}),
    ("DELETE", MIGRATION): lambda world, _probe: (under_way(world, "aborted"), None),
    ("PUT", "/os-services/enable"): disable,
    ("PUT", "/os-services/disable"): disable,
    ("PUT", "/os-services/disable-log-reason"): disable,
    ("PUT", "/os-services/force-down"): disable,
    ("PUT", "/os-services/{service}"): lambda _world, _probe: (
        f"/os-services/{service_uuid('node3')}",
        {"status": "disabled", "disabled_reason": "a disk"},
    ),
}


def requests(world: World, probe: Probe) -> list[Asked]:
    if probe.method == "GET":
        return [(path, None) for path in paths(world, probe)]
    ready = migrate if probe.action == "os-migrateLive" else READY[probe.method, probe.template]
    return [ready(world, probe)]


REFUSED_STATES = {"/servers/{server}/diagnostics": (200, 409), "/os-hypervisors/{hypervisor}/uptime": (200,)}


def check(world: World, probe: Probe) -> None:
    """The answers themselves are held against the schemas on their way (tests/api/spec.py)."""
    asked = requests(world, probe)
    assert asked or not probe.exists, "nothing to ask for"
    statuses = []
    for path, body in asked:
        answer = world.ask(probe.method, f"/v2.1{path}", text(probe.version), body)
        statuses.append(answer.status_int)
        if not probe.exists:
            assert answer.status_int in (400, 404), f"{path}: {answer.text}"
        elif answer.status_int >= 300:
            assert answer.status_int in REFUSED_STATES.get(probe.template, ()), f"{path}: {answer.text}"
    assert not probe.exists or min(statuses) < 300
    if probe.template.startswith(MIGRATION) and probe.method != "GET":
        world.ask("DELETE", f"/v2.1{asked[0][0].removesuffix('/action')}", "2.104")  # it would go on for ever
    done.add(probe)


@pytest.mark.parametrize("probe", PROBES, ids=str)
def test_every_version(world: World, probe: Probe) -> None:
    check(world, probe)


def test_nothing_that_is_served_was_left_out(world: World) -> None:
    for probe in PROBES:
        if probe not in done:
            check(world, probe)
    assert never_exercised(SERVED, microversions.MAX) == []
