"""Who may do what, who sees what: users of an htpasswd file, with Nova's roles in two projects."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bcrypt
import pytest

from livemig.db.hosts import host_uuid, service_uuid
from tests.api.world import BANK, SHOP, World, novas, own

PASSWORD = "correct horse"
# User → (roles, project).
USERS: dict[str, tuple[str, str | None]] = {
    "admin": ("admin", None),
    "manager": ("manager", SHOP),
    "member": ("member", SHOP),
    "reader": ("reader", SHOP),
    "nothing": ("none", SHOP),
    "stranger": ("manager+member+reader", BANK),
}
RANKS = ("reader", "member", "manager", "admin")
MIGRATE = "os-migrateLive"


def basic(user: str, password: str = PASSWORD) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


def options(directory: Path) -> dict[str, Any]:
    users = directory / "htpasswd"
    users.write_text("".join(f"{user}:{bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode()}\n" for user in USERS))
    users.chmod(0o600)
    return {
        "api__auth_strategy": "http_basic",
        "http_basic__user_file": str(users),
        "http_basic__roles": {user: roles for user, (roles, _project) in USERS.items()},
        "http_basic__projects": {user: project for user, (_roles, project) in USERS.items() if project},
    }


def furnish(world: World) -> World:
    """shop and off are the shop's, bank is the bank's, and plain is nobody's; moving, of the shop, migrates for ever, and shop has moved once."""
    add = world.fleet.add_guest
    add("shop", "node1", metadata=novas("shop", SHOP, "member", "10.0.0.5"), dirty_mib_s=1)
    add("off", "node1", state="shutoff", metadata=novas("off", SHOP, "member"))
    add("moving", "node1", metadata=novas("moving", SHOP, "somebody"), dirty_mib_s=100_000, working_set_mib=2048)
    add("bank", "node2", metadata=own("bank", BANK, "stranger"), memory_mib=1024)
    add("plain", "node2")
    world.settle()
    world.always = basic("admin")
    world.do("shop", {MIGRATE: {"host": "node2", "block_migration": "auto"}}, "2.34")
    world.wait_idle(world.id("shop"))
    world.do("moving", {MIGRATE: {"host": "node2", "block_migration": "auto"}}, "2.34")
    world.wait_status(world.id("moving"), "running")
    world.always = {}
    return world


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    directory = tmp_path_factory.mktemp("policies")
    with World(directory, **options(directory)) as world:
        yield furnish(world)


def ask(world: World, user: str, method: str, path: str, version: str = "2.104", body: Any = None, **headers: str) -> Any:
    return world.ask(method, f"/v2.1{path}", version, body, **basic(user), **headers)


# Operation → method, path, microversion, body, the lowest rank that may, and the status then: mostly a 409, since it is asked of a server in another state.
OFF, ON, MOVING = (f"/servers/{World.id(name)}" for name in ("off", "shop", "moving"))
OPERATIONS: dict[str, tuple[str, str, str, Any, str, int]] = {
    "list servers": ("GET", "/servers", "2.104", None, "reader", 200),
    "list servers with details": ("GET", "/servers/detail", "2.104", None, "reader", 200),
    "show a server": ("GET", ON, "2.104", None, "reader", 200),
    "all projects": ("GET", "/servers?all_tenants=1", "2.104", None, "admin", 200),
    "all projects with details": ("GET", "/servers/detail?all_tenants=1", "2.104", None, "admin", 200),
    "sort by host": ("GET", "/servers?sort_key=host", "2.104", None, "admin", 200),
    "list deleted servers": ("GET", "/servers?status=deleted", "2.104", None, "admin", 200),
    "live-migrate": ("POST", f"{OFF}/action", "2.104", {MIGRATE: {"host": None, "block_migration": "auto"}}, "manager", 409),
    "live-migrate to a host": ("POST", f"{OFF}/action", "2.104", {MIGRATE: {"host": "node2", "block_migration": "auto"}}, "admin", 409),
    "live-migrate at 2.1": (
        "POST",
        f"{OFF}/action",
        "2.1",
        {MIGRATE: {"host": None, "block_migration": False, "disk_over_commit": False}},
        "manager",
        409,
    ),
    "pause": ("POST", f"{OFF}/action", "2.104", {"pause": None}, "member", 409),
    "unpause": ("POST", f"{OFF}/action", "2.104", {"unpause": None}, "member", 409),
    "suspend": ("POST", f"{OFF}/action", "2.104", {"suspend": None}, "member", 409),
    "resume": ("POST", f"{OFF}/action", "2.104", {"resume": None}, "member", 409),
    "start": ("POST", f"{ON}/action", "2.104", {"os-start": None}, "member", 409),
    "stop": ("POST", f"{OFF}/action", "2.104", {"os-stop": None}, "member", 409),
    "reboot": ("POST", f"{OFF}/action", "2.104", {"reboot": {"type": "SOFT"}}, "member", 409),
    "unlock": ("POST", f"{OFF}/action", "2.104", {"unlock": None}, "member", 202),
    "reset the state": ("POST", f"{OFF}/action", "2.104", {"os-resetState": {"state": "active"}}, "admin", 202),
    "list a server's migrations": ("GET", f"{MOVING}/migrations", "2.104", None, "manager", 200),
    "show a migration": ("GET", f"{MOVING}/migrations/2", "2.104", None, "admin", 200),
    "abort": ("DELETE", f"{ON}/migrations/1", "2.104", None, "manager", 409),
    "force completion": ("POST", f"{ON}/migrations/1/action", "2.104", {"force_complete": None}, "manager", 409),
    "list migrations": ("GET", "/os-migrations", "2.104", None, "manager", 200),
    "list a project's migrations": ("GET", f"/os-migrations?project_id={SHOP}", "2.104", None, "manager", 200),
    "list another project's migrations": ("GET", f"/os-migrations?project_id={BANK}", "2.104", None, "admin", 200),
    "list actions": ("GET", f"{ON}/os-instance-actions", "2.104", None, "reader", 200),
    "show an action": ("GET", f"{ON}/os-instance-actions/nope", "2.104", None, "reader", 404),
    "list volumes": ("GET", f"{ON}/os-volume_attachments", "2.104", None, "reader", 200),
    "show diagnostics": ("GET", f"{ON}/diagnostics", "2.104", None, "admin", 200),
    "list services": ("GET", "/os-services", "2.104", None, "admin", 200),
    "update a service": ("PUT", f"/os-services/{service_uuid('node3')}", "2.104", {"status": "enabled"}, "admin", 200),
    "enable a service": ("PUT", "/os-services/enable", "2.1", {"host": "node3", "binary": "nova-compute"}, "admin", 200),
    "force a service down": ("PUT", "/os-services/force-down", "2.11", {"host": "node3", "binary": "nova-compute", "forced_down": False}, "admin", 200),
    "list hypervisors": ("GET", "/os-hypervisors", "2.104", None, "admin", 200),
    "list hypervisors with details": ("GET", "/os-hypervisors/detail", "2.104", None, "admin", 200),
    "show a hypervisor": ("GET", f"/os-hypervisors/{host_uuid('node1')}", "2.104", None, "admin", 200),
    "hypervisors' statistics": ("GET", "/os-hypervisors/statistics", "2.1", None, "admin", 200),
    "a hypervisor's uptime": ("GET", "/os-hypervisors/1/uptime", "2.1", None, "admin", 200),
    "search hypervisors": ("GET", "/os-hypervisors/node/search", "2.1", None, "admin", 200),
    "hypervisors' servers": ("GET", "/os-hypervisors/node/servers", "2.1", None, "admin", 200),
    "list hosts": ("GET", "/os-hosts", "2.1", None, "admin", 200),
    "show a host": ("GET", "/os-hosts/node1", "2.1", None, "admin", 200),
    "list aggregates": ("GET", "/os-aggregates", "2.104", None, "admin", 200),
    "show an aggregate": ("GET", "/os-aggregates/1", "2.104", None, "admin", 200),
    "list zones": ("GET", "/os-availability-zone", "2.104", None, "nobody", 200),
    "list zones with hosts": ("GET", "/os-availability-zone/detail", "2.104", None, "admin", 200),
    "list flavors": ("GET", "/flavors", "2.104", None, "nobody", 200),
    "extra specs": ("GET", "/flavors/42/os-extra_specs", "2.104", None, "reader", 200),
    "limits": ("GET", "/limits", "2.104", None, "nobody", 200),
    "one's own limits": ("GET", f"/limits?tenant_id={SHOP}", "2.104", None, "nobody", 200),
    "another project's limits": ("GET", f"/limits?tenant_id={BANK}", "2.104", None, "admin", 200),
    "usage of all": ("GET", "/os-simple-tenant-usage", "2.104", None, "admin", 200),
    "usage of a project": ("GET", f"/os-simple-tenant-usage/{SHOP}", "2.104", None, "reader", 200),
    "usage of another project": ("GET", f"/os-simple-tenant-usage/{BANK}", "2.104", None, "admin", 200),
}


@pytest.mark.parametrize("user", ["admin", "manager", "member", "reader", "nothing"])
@pytest.mark.parametrize("operation", OPERATIONS)
def test_who_may(world: World, operation: str, user: str) -> None:
    method, path, version, body, lowest, good = OPERATIONS[operation]
    may = lowest == "nobody" or (user in RANKS and RANKS.index(user) >= RANKS.index(lowest))
    answer = ask(world, user, method, path, version, body)
    assert answer.status_int == (good if may else 403), answer.text
    if not may:
        assert answer.json["forbidden"]["code"] == 403


FOREIGN = [name for name, (_method, path, *_rest) in OPERATIONS.items() if path.startswith("/servers/") and not path.startswith("/servers/detail")]


@pytest.mark.parametrize("operation", FOREIGN)
def test_another_projects_servers_are_not_there(world: World, operation: str) -> None:
    method, path, version, body, _lowest, _good = OPERATIONS[operation]
    answer = ask(world, "stranger", method, path, version, body)
    assert answer.status_int == 404
    assert answer.json == {"itemNotFound": {"code": 404, "message": f"Instance {path.split('/')[2]} could not be found."}}


def test_the_words_of_a_refusal(world: World) -> None:
    method, path, version, body, *_rest = OPERATIONS["live-migrate to a host"]
    answer = ask(world, "manager", method, path, version, body)
    message = "Policy doesn't allow os_compute_api:os-migrate-server:migrate_live:host to be performed."
    assert answer.json == {"forbidden": {"code": 403, "message": message}}
    assert answer.headers["OpenStack-API-Version"] == "compute 2.104"


# Who sees what


def names(answer: Any) -> set[str]:
    return {server["name"] for server in answer.json["servers"]}


def test_each_sees_the_servers_of_its_project(world: World) -> None:
    assert names(ask(world, "reader", "GET", "/servers")) == {"shop", "off", "moving"}
    assert names(ask(world, "stranger", "GET", "/servers/detail")) == {"bank"}
    assert names(ask(world, "admin", "GET", "/servers")) == {"shop", "off", "moving", "bank", "plain"}
    assert names(ask(world, "admin", "GET", f"/servers?project_id={SHOP}")) == {"shop", "off", "moving"}


HOST_FIELDS = ("host", "hypervisor_hostname", "instance_name", "reservation_id", "launch_index", "root_device_name", "user_data")


@pytest.mark.parametrize("version", ["2.1", "2.3", "2.16", "2.89", "2.90", "2.104"])
@pytest.mark.parametrize("path", ["/servers/detail?name=shop", ON])
def test_where_a_server_is_only_administrators_see(world: World, path: str, version: str) -> None:
    def shown(user: str) -> dict[str, Any]:
        answer = ask(world, user, "GET", path, version).json
        found: dict[str, Any] = answer["server"] if "server" in answer else answer["servers"][0]
        return found

    fields = {f"OS-EXT-SRV-ATTR:{name}" for name in HOST_FIELDS[: None if version != "2.1" else 3]}
    assert fields <= shown("admin").keys()
    assert ("host_status" in shown("admin")) == (version not in ("2.1", "2.3"))
    for user in ("manager", "member", "reader"):
        mine = shown(user)
        assert not fields & mine.keys()
        assert "host_status" not in mine
        assert ("OS-EXT-SRV-ATTR:hostname" in mine) == (version in ("2.90", "2.104"))
        assert mine["hostId"] == shown("admin")["hostId"] != ""


@pytest.mark.parametrize("version", ["2.1", "2.23", "2.59", "2.80"])
def test_managers_see_their_migrations_without_hosts(world: World, version: str) -> None:
    mine = ask(world, "manager", "GET", "/os-migrations", version).json["migrations"]
    assert {migration["instance_uuid"] for migration in mine} == {world.id("shop"), world.id("moving")}
    for field in ("source_compute", "source_node", "dest_compute", "dest_node", "dest_host"):
        assert {migration[field] for migration in mine} == {None}
    all_of_them = ask(world, "admin", "GET", "/os-migrations", version).json["migrations"]
    assert {migration["source_compute"] for migration in all_of_them} == {"node1"}
    assert ask(world, "stranger", "GET", "/os-migrations", version).json["migrations"] == []


def test_managers_see_what_is_in_progress_without_hosts(world: World) -> None:
    (mine,) = ask(world, "manager", "GET", f"{MOVING}/migrations").json["migrations"]
    assert (mine["source_compute"], mine["dest_compute"], mine["status"]) == (None, None, "running")
    (all_of_it,) = ask(world, "admin", "GET", f"{MOVING}/migrations").json["migrations"]
    assert (all_of_it["source_compute"], all_of_it["dest_compute"]) == ("node1", "node2")


@pytest.mark.parametrize(
    ("version", "fields"),
    [
        ("2.50", None),
        ("2.51", {"event", "start_time", "finish_time", "result"}),
        ("2.62", {"event", "start_time", "finish_time", "result", "hostId"}),
        ("2.84", {"event", "start_time", "finish_time", "result", "hostId"}),
    ],
)
def test_what_readers_see_of_an_actions_events(world: World, version: str, fields: set[str] | None) -> None:
    *_later, action = ask(world, "reader", "GET", f"{ON}/os-instance-actions", version).json["instanceActions"]  # of other tests, which come first
    path = f"{ON}/os-instance-actions/{action['request_id']}"
    shown = ask(world, "reader", "GET", path, version).json["instanceAction"]
    assert ({*shown["events"][0]} if fields else shown.get("events")) == fields
    more = {"traceback"} | ({"host"} if version in ("2.62", "2.84") else set()) | ({"details"} if version == "2.84" else set())
    assert more <= ask(world, "admin", "GET", path, version).json["instanceAction"]["events"][0].keys()


def test_each_sees_the_flavors_of_its_servers(world: World) -> None:
    assert [flavor["id"] for flavor in ask(world, "reader", "GET", "/flavors").json["flavors"]] == ["42"]
    assert [flavor["id"] for flavor in ask(world, "stranger", "GET", "/flavors").json["flavors"]] == ["2-1024"]
    assert ask(world, "stranger", "GET", "/flavors/42").status_int == 404
    assert "extra_specs" in ask(world, "reader", "GET", "/flavors/42").json["flavor"]
    assert "extra_specs" not in ask(world, "nothing", "GET", "/flavors/42").json["flavor"]


# Filters

ALL = {"shop", "off", "moving"}


@pytest.mark.parametrize(
    ("query", "version", "found"),
    [
        ("host=node3", "2.104", ALL),
        ("node=node3", "2.104", ALL),
        (f"uuid={World.id('shop')}", "2.104", ALL),
        (f"project_id={BANK}", "2.104", ALL),
        (f"tenant_id={BANK}", "2.104", ALL),
        ("locked_by=admin", "2.104", ALL),
        ("vm_state=stopped", "2.82", ALL),
        ("vm_state=stopped", "2.83", {"off"}),
        ("power_state=4", "2.83", {"off"}),
        ("hostname=off", "2.89", ALL),
        ("hostname=off", "2.90", {"off"}),
        ("name=^sh", "2.1", {"shop"}),
        ("status=SHUTOFF", "2.1", {"off"}),
        ("status=migrating", "2.1", {"moving"}),
        ("flavor=42", "2.1", ALL),
        ("flavor=43", "2.1", set()),
        ("image=7d1f8a3c", "2.1", set()),
        ("ip=10.0.0.5", "2.1", {"shop"}),
        ("ip6=fd00::", "2.1", ALL),
        ("ip6=fd00::", "2.5", set()),
        ("locked=true", "2.73", set()),
        ("all_tenants=0", "2.1", ALL),
    ],
)
def test_filters_of_those_who_are_no_administrators(world: World, query: str, version: str, found: set[str]) -> None:
    answer = ask(world, "reader", "GET", f"/servers?{query}", version)
    assert answer.status_int == 200, answer.text
    assert names(answer) == found


def test_a_marker_is_ones_own(world: World) -> None:
    assert ask(world, "reader", "GET", f"/servers?marker={world.id('bank')}").json["badRequest"]["message"] == f"marker [{world.id('bank')}] not found"


# Locks


def test_locked_servers(world: World) -> None:
    locked = {"conflictingRequest": {"code": 409, "message": f"Instance {world.id('shop')} is locked"}}

    def act(user: str, action: dict[str, Any]) -> Any:
        return ask(world, user, "POST", f"{ON}/action", "2.104", action)

    move = {MIGRATE: {"host": None, "block_migration": "auto"}}
    assert act("member", {"lock": {"locked_reason": "mine"}}).status_int == 202
    assert world.store.servers.get(world.id("shop")).locked_by == "owner"
    for user, action in (("manager", move), ("member", {"os-stop": None}), ("member", {"pause": None}), ("member", {"reboot": {"type": "HARD"}})):
        assert act(user, action).json == locked
    assert ask(world, "manager", "DELETE", f"{ON}/migrations/1").json == locked
    assert act("admin", {"os-start": None}).json["conflictingRequest"]["message"].endswith("while it is in vm_state active")
    assert act("member", {"unlock": None}).status_int == 202

    assert act("admin", {"lock": None}).status_int == 202
    assert world.store.servers.get(world.id("shop")).locked_by == "admin"
    answer = act("member", {"unlock": None})
    assert answer.status_int == 403
    assert answer.json["forbidden"]["message"] == "Policy doesn't allow os_compute_api:os-lock-server:unlock:unlock_override to be performed."
    assert act("admin", {"unlock": None}).status_int == 202
    assert world.store.servers.get(world.id("shop")).locked_by is None


# Who asks


@pytest.mark.parametrize(
    "authorization",
    [
        None,
        "",
        "Basic",
        "Bearer x",
        "Basic !!!",
        "Basic " + base64.b64encode(b"no colon").decode(),
        "Basic " + base64.b64encode(b"\xff\xfe:x").decode(),
        basic("admin", "wrong")["Authorization"],
        basic("admin", "")["Authorization"],
        basic("nobody")["Authorization"],
        basic("")["Authorization"],
        basic("admin", "x" * 100)["Authorization"],
        basic("admin", "a\0b")["Authorization"],
    ],
)
def test_whoever_is_not_known_is_asked_for_a_password(world: World, authorization: str | None) -> None:
    headers = {} if authorization is None else {"Authorization": authorization}
    for path in ("/v2.1/servers", "/servers", "/v2.1/nope", "/v2.1/openapi.json"):
        answer = world.request("GET", path, headers=headers)
        assert answer.status_int == 401
        assert answer.headers["WWW-Authenticate"] == 'Basic realm="livemig"'
        assert answer.headers["x-openstack-request-id"] == answer.headers["x-compute-request-id"]
        assert answer.json == {"unauthorized": {"code": 401, "message": "Authentication required"}}


@pytest.mark.parametrize("path", ["/", "/v2.1", "/v2.1/", "/v2", f"/v2.1/{SHOP}"])
def test_versions_are_told_to_everybody(world: World, path: str) -> None:
    assert world.request("GET", path).status_int == 200


def test_headers_do_not_make_an_administrator(world: World) -> None:
    claimed = {"X-Roles": "admin", "X-Role": "admin", "X-User-Id": "admin", "X-Project-Id": BANK, "X-Tenant": BANK, "X-Is-Admin-Project": "true"}
    assert names(ask(world, "reader", "GET", "/servers", **claimed)) == ALL
    assert ask(world, "reader", "GET", "/os-services", **claimed).status_int == 403


def test_the_project_in_a_path_is_ones_own(world: World) -> None:
    assert ask(world, "reader", "GET", f"/{SHOP}/servers").status_int == 200
    answer = ask(world, "reader", "GET", f"/{BANK}/servers")
    assert answer.status_int == 400
    assert answer.json["badRequest"]["message"] == f"Malformed request URL: URL's project_id '{BANK}' doesn't match Context's project_id '{SHOP}'"
    assert ask(world, "admin", "GET", f"/{BANK}/servers").status_int == 200


def test_a_policy_file_is_taken_up(tmp_path: Path) -> None:
    policies = tmp_path / "policy.yaml"
    policies.write_text('"os_compute_api:os-migrate-server:migrate_live:host": "rule:project_manager_or_admin"\n')
    with World(tmp_path, **options(tmp_path), oslo_policy__policy_file=str(policies)) as world:
        world.fleet.add_guest("off", "node1", state="shutoff", metadata=novas("off", SHOP))
        world.settle()
        method, path, version, body, *_rest = OPERATIONS["live-migrate to a host"]
        assert ask(world, "manager", method, path, version, body).status_int == 409
        assert ask(world, "member", method, path, version, body).status_int == 403
        assert "OS-EXT-SRV-ATTR:host" not in ask(world, "reader", "GET", OFF).json["server"]

        policies.write_text('"os_compute_api:os-extended-server-attributes": "system_scope:all or role:reader"\n')
        for _ in range(300):  # it is looked at once a second
            if "OS-EXT-SRV-ATTR:host" in ask(world, "reader", "GET", OFF).json["server"]:
                break
            world.runtime.sleep(0.02)
        assert ask(world, "reader", "GET", OFF).json["server"]["OS-EXT-SRV-ATTR:host"] == "node1"
        assert ask(world, "manager", method, path, version, body).status_int == 403
        assert "OS-EXT-SRV-ATTR:host" not in ask(world, "member", "GET", OFF, **{"OpenStack-System-Scope": "all"}).json["server"]
