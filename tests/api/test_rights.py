"""Who may: every route, action, filter and marker, for each role in the project that owns a thing, in another, and in none.

What is expected follows from the rules of `livemig.policies` as they are written, by an evaluation of its own. Routes, actions and filters are taken from the
tables, so that a new one is asked too; one that the tables of this file do not know fails.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bcrypt
import pytest

from livemig import microversions, policies
from livemig.api.app import Api
from livemig.api.auth import HttpBasic, KeystoneContext, tell_without_roles
from livemig.api.refusals import refuse
from livemig.api.request import Request
from livemig.api.routes import ROUTES, Route
from livemig.api.schemas.validation import in_force
from livemig.api.server_actions import ACTIONS
from livemig.db.hosts import host_uuid, service_uuid
from livemig.db.rows import OWNER
from livemig.db.selection import Selection
from livemig.microversions import Version
from tests.api.test_policies import PASSWORD, basic
from tests.api.world import BANK, RESTLESS, SHOP, World, novas, own
from tests.service import configured

# Who asks

ROLES = ("admin", "manager", "member", "reader", "auditor")  # the last one is in no rule
# Where the role was given → headers as keystonemiddleware sets them.
SCOPES: Mapping[str, Mapping[str, str]] = {
    "shop": {"X-Project-Id": SHOP},
    "bank": {"X-Project-Id": BANK},
    "none": {},
    "empty": {"X-Project-Id": ""},
    "domain": {"X-Domain-Id": "default"},
    "system": {"OpenStack-System-Scope": "all"},
}


@dataclass(frozen=True)
class Asker:
    """`project` is the one of the token, if it has one."""

    role: str
    scope: str

    @property
    def project(self) -> str | None:
        return SCOPES[self.scope].get("X-Project-Id") or None

    @property
    def admin(self) -> bool:
        """Of everything: a domain's administrator is not."""
        return self.role == "admin" and self.scope != "domain"

    @property
    def headers(self) -> dict[str, str]:
        return {"X-User-Id": f"{self.role}-of-{self.scope}", "X-Roles": self.role, **SCOPES[self.scope]}

    def sees(self, project: str) -> bool:
        return self.admin or self.project == project


ASKERS = [Asker(role, scope) for role in ROLES for scope in SCOPES]


# What the rules say


def _in(roles: Collection[str]) -> Callable[[Asker, str | None], bool]:
    """Who has one of the roles in the project that it is about; and administrators."""
    return lambda asker, project: asker.admin or (asker.role in roles and project is not None and asker.project == project)


WORDS: Mapping[str, Callable[[Asker, str | None], bool]] = {
    policies.ADMIN: lambda asker, _project: asker.admin,
    policies.MANAGER: _in(["manager"]),
    policies.MEMBER: _in(["member", "manager"]),
    policies.READER: _in(["reader", "member", "manager"]),
    policies.ANYBODY: lambda asker, _project: asker.scope != "domain",
}
RULES = {rule.name.removeprefix(policies.PREFIX): rule for rule in policies.rules() if rule.name.startswith(policies.PREFIX)}


def may(asker: Asker, rule: str, project: str | None) -> bool:
    return WORDS[str(RULES[rule].check_str)](asker, project)


# Rules that refuse nothing: they add to an answer, or let filters count.
ADDING = {
    *("servers:show:host_status", "servers:show:flavor-extra-specs", "os-extended-server-attributes", "servers:allow_all_filters"),
    *("servers:migrations:index:host", "os-migrations:index:host", "os-instance-actions:events", "os-instance-actions:events:details"),
}
# Rules that refuse what only some requests ask for; these are asked apart.
SOMETIMES = {
    *("servers:index:get_all_tenants", "servers:detail:get_all_tenants", "os-migrate-server:migrate_live:host", "os-migrations:index:all_projects"),
    *("os-lock-server:unlock:unlock_override", "limits:other_project"),
}
# Rules that say who sees what is of other projects.
OF_ALL = SOMETIMES | {"os-simple-tenant-usage:list", "os-simple-tenant-usage:show"} | {name for name in RULES if name.startswith("os-hypervisors:")}
UNGUARDED = {"/flavors", "/flavors/detail", "/flavors/{id}", "/openapi.json"}


def _bare(path: str) -> str:
    return re.sub(r"{\w+}", "{}", path.partition("?")[0])


def guards(method: str, template: str, action: str | None = None) -> list[str]:
    """The rules that refuse an operation, by the operations that they document."""
    wanted = template + (f" ({action})" if action else "")
    documented = [(name, _bare(operation["path"])) for name, rule in RULES.items() for operation in rule.operations if operation["method"] == method]
    exact = [name for name, path in documented if path == _bare(wanted)]
    found = exact or [name for name, path in documented if re.fullmatch(re.sub(r"{}", "[^/{}]+", path), wanted)]
    if template == "/flavors/detail":
        found.remove("os-flavor-extra-specs:index")  # there it only adds
    return [name for name in found if name not in ADDING | SOMETIMES]


# The world: servers by project, and what must not be seen of them

SERVERS = {
    "till": SHOP,
    "shelf": SHOP,
    "lorry": SHOP,  # migrates for ever
    "vault": BANK,
    "courier": BANK,  # so does this one
    "ownerless": OWNER,
}


@dataclass(frozen=True)
class Scene:
    world: World
    application: Any

    def ask(self, asker: Asker, method: str, path: str, version: Version = microversions.MAX, body: Any = None) -> Any:
        headers = {**asker.headers, "X-OpenStack-Nova-API-Version": microversions.text(version)}
        given: dict[str, Any] = {} if body is None else {"body": json.dumps(body).encode(), "content_type": "application/json"}
        return Request.blank(f"/v2.1{path}", method=method, headers=headers, **given).get_response(self.application)

    def secrets(self, asker: Asker) -> set[str]:
        """Words of things that are not there for who asks. (The project of who asked for an action is told to whom the action is shown, as in Nova.)"""
        hidden = {name: project for name, project in SERVERS.items() if not asker.sees(project)}
        migrations = [each.uuid for name in ("lorry", "courier") if name in hidden for each in self.world.store.migrations.of_server(World.id(name))]
        return {*map(World.id, hidden), *hidden, *migrations}

    def request_id(self, name: str) -> str:
        return self.world.store.actions.find(Selection({"server_uuid": World.id(name)}, sort=(("id", "asc"),)))[0].request_id

    def migration(self, name: str) -> str:
        return str(self.world.store.migrations.of_server(World.id(name))[0].id)


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with World(tmp_path_factory.mktemp("rights")) as world:
        yield furnished(world)


def furnished(world: World) -> Scene:
    for number, (name, project) in enumerate(SERVERS.items()):
        pace = RESTLESS if name in ("lorry", "courier") else 0.0
        metadata = {OWNER: {}, SHOP: novas(name, SHOP, "somebody", f"10.0.0.{number}"), BANK: own(name, BANK, "stranger")}[project]
        state = "shutoff" if name == "shelf" else "running"
        world.fleet.add_guest(name, "node1", metadata=metadata, memory_mib=1024, vcpus=1 + number, state=state, dirty_mib_s=pace, working_set_mib=2048)
    world.settle()
    scene = Scene(world, KeystoneContext(Api(world.services)))
    for name in ("lorry", "courier"):
        manager = Asker("manager", {SHOP: "shop", BANK: "bank"}[SERVERS[name]])
        asked = {"os-migrateLive": {"host": None, "block_migration": "auto"}}
        assert scene.ask(manager, "POST", f"/servers/{World.id(name)}/action", body=asked).status_int == 202
        world.wait_status(World.id(name), "running")
    return scene


# The matrix


@dataclass(frozen=True)
class Case:
    """One request. `about` is the project of what it is about: None for what is nobody's or the asker's own; `guards` are the rules that may refuse it."""

    name: str
    method: str
    path: str
    version: Version
    guards: tuple[str, ...]
    body: Any = None
    server: str | None = None
    about: str | None = None
    good: tuple[int, ...] = (200,)

    def expected(self, asker: Asker) -> tuple[int, ...]:
        if self.server and not asker.sees(SERVERS[self.server]):
            return (404,)
        about = SERVERS[self.server] if self.server else self.about or asker.project
        return self.good if all(may(asker, rule, about) for rule in self.guards) else (403,)


# What each action is given. All of them are done to a server that migrates, so that hardly any does something.
BODIES: Mapping[str, Any] = {
    "os-migrateLive": {"host": None, "block_migration": "auto"},
    "reboot": {"type": "SOFT"},
    "os-resetState": {"state": "active"},
    **dict.fromkeys(["pause", "unpause", "suspend", "resume", "os-start", "os-stop", "lock", "unlock"]),
}
# Bodies of what is no action of a server.
OTHER_BODIES: Mapping[tuple[str, str], Any] = {
    ("POST", "/servers/{id}/migrations/{migration}/action"): {"force_complete": None},
    ("PUT", "/os-services/{id}"): {"status": "enabled"},
    ("PUT", "/os-services/enable"): {"host": "node3", "binary": "nova-compute"},
    ("PUT", "/os-services/disable"): {"host": "node3", "binary": "nova-compute"},
    ("PUT", "/os-services/disable-log-reason"): {"host": "node3", "binary": "nova-compute", "disabled_reason": "why"},
    ("PUT", "/os-services/force-down"): {"host": "node3", "binary": "nova-compute", "forced_down": False},
}


def values(scene: Scene, route: Route, version: Version, server: str) -> dict[str, str]:
    """What stands for each part of a path in braces."""
    noun, last = route.template.split("/")[1], route.template.rsplit("/", 1)[1]
    hypervisor = "node1" if last in ("search", "servers") else host_uuid("node1") if version >= microversions.UUIDS else "1"
    ids = {"servers": World.id(server), "os-hypervisors": hypervisor, "os-services": service_uuid("node3"), "os-aggregates": "1"}
    ids["flavors"] = scene.world.store.servers.flavors([SHOP])[0].id
    return {
        "id": ids.get(noun, ""),
        "request_id": scene.request_id("lorry"),
        "migration": scene.migration("lorry"),
        "project": SHOP,
        "name": "node1",
    }


def cases(scene: Scene) -> Iterator[Case]:
    """Every route at its last microversion, every action."""
    for route in ROUTES:
        yield from _of_route(scene, route, route.until)


def _of_route(scene: Scene, route: Route, version: Version) -> Iterator[Case]:
    name = f"{route.method} {route.template} {microversions.text(version)}"
    if route.handler is refuse:
        yield Case(name, route.method, route.template.format(**values(scene, route, version, "lorry")), version, (), {}, good=(400,))
        return
    bound = route.template.startswith("/servers/{id}")
    for server in ("lorry", "ownerless") if bound and "{migration}" not in route.template and "{request_id}" not in route.template else ("lorry",):
        path = route.template.format(**values(scene, route, version, server))
        of: dict[str, Any] = {"server": server if bound else None, "about": SHOP if "{project}" in route.template else None}
        if route.template == "/servers/{id}/action":
            for action, body in BODIES.items():
                rules = tuple(guards(route.method, route.template, action))
                if server == "lorry" or action == "lock":  # only what migrates is safe from all of them
                    yield Case(f"{name} {action}", route.method, path, version, rules, {action: body}, good=(202, 409), **of)
            continue
        if (route.method, route.template) == ("DELETE", "/servers/{id}/migrations/{migration}") or "migrations/{migration}/action" in route.template:
            # Of a server that does not migrate, so that the migration of the others goes on.
            path, of = path.replace(World.id("lorry"), World.id("till")), {"server": "till", "about": None}
        rules = tuple(guards(route.method, route.template, "force_complete" if route.template.endswith("/{migration}/action") else None))
        known = (
            (409,) if of["server"] == "till" else (200, 409) if "diagnostics" in path else (200, 404) if "flavors/" in path or "aggregates/" in path else (200,)
        )
        yield Case(name, route.method, path, version, rules, OTHER_BODIES.get((route.method, route.template)), good=known, **of)


def test_every_operation_is_known(scene: Scene) -> None:
    assert set(BODIES) == set(ACTIONS), "an action that the matrix does not know, or one that is gone"
    without = {route.template for route in ROUTES if route.handler is not refuse and not route.template.endswith("/action")}
    assert {template for template in without if not any(guards(route.method, template) for route in ROUTES if route.template == template)} == UNGUARDED
    for action in ACTIONS:
        assert guards("POST", "/servers/{id}/action", action), f"no rule is documented for {action}"
    used = {rule for case in cases(scene) for rule in case.guards}
    assert used | ADDING | SOMETIMES == set(RULES), "a rule that guards no route"


def test_the_matrix(scene: Scene) -> None:
    """Each operation, asked by each role in each scope."""
    wrong, asked, secrets = [], 0, {asker: scene.secrets(asker) for asker in ASKERS}
    for case in cases(scene):
        for asker in (each for each in ASKERS if each.scope != "empty"):
            answer = scene.ask(asker, case.method, case.path, case.version, case.body)
            asked += 1
            if answer.status_int not in case.expected(asker):
                wrong.append(f"{asker}: {case.name}: {answer.status_int}, not {case.expected(asker)}")
            sent = f"{case.path} {case.body}"
            wrong += [f"{asker}: {case.name} tells of {word}" for word in secrets[asker] if word in answer.text and word not in sent]
            if case.body == {"lock": None}:
                scene.world.store.servers.lock(World.id(case.server or "lorry"), None, (None, "owner", "admin"), locked_reason=None)
    assert wrong == []
    assert asked > 1500


# Path → the servers in an answer, each by its id; and whose they are to be.
SHOWN: Mapping[str, Callable[[Any], set[str]]] = {
    "/servers": lambda body: {each["id"] for each in body["servers"]},
    "/servers/detail": lambda body: {each["id"] for each in body["servers"]},
    "/os-migrations": lambda body: {each["instance_uuid"] for each in body["migrations"]},
    "/flavors": lambda body: {each["id"] for each in body["flavors"]},
    "/flavors/detail": lambda body: {each["id"] for each in body["flavors"]},
    "/limits": lambda body: {str(body["limits"]["absolute"][f"total{what}Used"]) for what in ("Instances", "Cores", "RAM")},
}


def listed(scene: Scene, asker: Asker, path: str) -> set[str]:
    """What a list is to have: an administrator with a project counts and lists servers of his own, and of nobody's."""
    everything = asker.admin and (asker.project is None or path not in ("/servers", "/servers/detail", "/limits"))
    mine = {asker.project} | ({OWNER} if asker.admin and path != "/limits" else set())
    servers = [scene.world.store.servers.get(World.id(name)) for name, project in SERVERS.items() if everything or project in mine]
    if path == "/limits":
        sums = len(servers), sum(each.vcpus for each in servers), sum(each.memory_mib for each in servers)
        return set(map(str, sums))
    if path.startswith("/flavors"):
        return {each.flavor.id for each in servers}
    return {each.uuid for each in servers if path != "/os-migrations" or each.task_state}


@pytest.mark.parametrize("path", SHOWN)
def test_what_is_listed(scene: Scene, path: str) -> None:
    for asker in ASKERS:
        answer = scene.ask(asker, "GET", path)
        refused = not all(may(asker, rule, asker.project) for rule in guards("GET", path))
        assert (answer.status_int == 403) == refused, asker
        if not refused:
            assert SHOWN[path](answer.json) == listed(scene, asker, path), asker


# Filters and markers


def parameters() -> Iterator[tuple[Route, Version, str]]:
    for route in ROUTES:
        version = min(route.until, microversions.MAX)
        schema = in_force(route.query, version) or {}
        yield from ((route, version, name) for name in schema.get("properties", {}))


def test_no_filter_shows_more(opened: Scene) -> None:
    """With whatever value a filter has, and rules that refuse nothing, nothing is told of other projects' things."""
    told, asked = [], 0
    for scope, words in {"bank": [SHOP, World.id("till"), "1"], "none": ["None", ""]}.items():
        asker = Asker("auditor", scope)
        hidden = opened.secrets(asker)
        for route, version, name in parameters():
            path = route.template.format(**values(opened, route, version, "vault"))
            for word in words:
                answer = opened.ask(asker, "GET", f"{path}?{name}={word}", version)
                asked += 1
                assert answer.status_int in (200, 400, 403, 404), (asker, path, name, word, answer.text)
                told += [(asker, path, name, word) for each in hidden if answer.status_int == 200 and each in answer.text and each != word]
    assert told == []
    assert asked > 600


def test_a_foreign_marker_is_as_one_that_is_not_there(scene: Scene) -> None:
    migration = scene.world.store.migrations.of_server(World.id("lorry"))[0]
    foreign = {"/servers": World.id("till"), "/servers/detail": World.id("till"), "/os-migrations": migration.uuid}
    foreign |= {f"/os-simple-tenant-usage/{BANK}": World.id("till"), "/flavors": scene.world.store.servers.get(World.id("till")).flavor.id}
    foreign |= {"/flavors/detail": foreign["/flavors"], f"/servers/{World.id('vault')}/os-instance-actions": scene.request_id("lorry")}
    marked = {route.template for route, _version, name in parameters() if name == "marker"}
    known = {"/os-hypervisors", "/os-hypervisors/detail", "/os-simple-tenant-usage"}  # administrators' lists
    assert {path.replace(BANK, "{project}").replace(World.id("vault"), "{id}") for path in foreign} == marked - known
    for path, marker in foreign.items():
        for role in ("reader", "member", "manager"):
            asker = Asker(role, "bank")
            nowhere = "9" * len(marker)
            theirs, nobodys = (scene.ask(asker, "GET", f"{path}?marker={each}") for each in (marker, nowhere))
            assert theirs.status_int == nobodys.status_int, (asker, path)
            assert theirs.text.replace(marker, "…") == nobodys.text.replace(nowhere, "…"), (asker, path)
            if all(may(asker, rule, BANK) for rule in guards("GET", path.replace(BANK, "{project}").replace(World.id("vault"), "{id}"))):
                assert theirs.status_int == 400, (asker, path)


# What only some requests ask for: path, the rule, and who may.
MORE: Mapping[str, tuple[str, str]] = {
    "/servers?all_tenants=1": ("servers:index:get_all_tenants", "GET"),
    "/servers/detail?all_tenants=True": ("servers:detail:get_all_tenants", "GET"),
    "/servers?all_tenants": ("servers:index:get_all_tenants", "GET"),
    f"/os-migrations?project_id={SHOP}": ("os-migrations:index:all_projects", "GET"),
    "/os-migrations?project_id=": ("os-migrations:index:all_projects", "GET"),
    "/os-migrations?project_id=None": ("os-migrations:index:all_projects", "GET"),
    f"/limits?tenant_id={SHOP}": ("limits:other_project", "GET"),
    "/limits?tenant_id=": ("limits:other_project", "GET"),
    "/limits?tenant_id=None": ("limits:other_project", "GET"),
}


@pytest.mark.parametrize("path", MORE)
def test_what_only_some_requests_ask_for(scene: Scene, path: str) -> None:
    rule, method = MORE[path]
    bare, _, query = path.partition("?")
    for asker in ASKERS:
        ones_own = asker.project is not None and query.endswith(f"={asker.project}")
        fine = all(may(asker, each, asker.project) for each in guards(method, bare)) and (ones_own or may(asker, rule, asker.project))
        assert scene.ask(asker, method, path).status_int == (200 if fine else 403), asker


def test_the_project_none_is_nobodys_own(scene: Scene) -> None:
    """A rule compares texts: who has no project is not in that of the name."""
    for asker in ASKERS:
        answer = scene.ask(asker, "GET", "/os-simple-tenant-usage/None")
        assert answer.status_int == (200 if asker.admin else 403), asker


@pytest.mark.parametrize("project", ["None", "", SHOP.upper(), f"{SHOP} "])
def test_a_project_of_nearly_that_name(scene: Scene, project: str) -> None:
    for role in ("reader", "member", "manager"):
        headers = {"X-User-Id": "mallory", "X-Roles": role, "X-Project-Id": project}
        for path in ("/servers", "/servers/detail", "/flavors", "/os-migrations", f"/servers/{World.id('till')}"):
            answer = Request.blank(f"/v2.1{path}", headers=headers).get_response(scene.application)
            assert not [word for word in ("till", "lorry", "vault", "ownerless", SHOP) if word in answer.text.replace(World.id("till"), "")], (role, path)


def test_a_path_names_ones_own_project(scene: Scene) -> None:
    for asker in ASKERS:
        for project in (SHOP, BANK):
            status = scene.ask(asker, "GET", f"/{project}/limits").status_int
            if asker.project == project or (asker.admin and asker.project is None):
                assert status == 200, asker
            else:
                assert status == 400, asker


# Where rules were opened


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """With every rule for everybody, but for those that are about all projects."""
    directory = tmp_path_factory.mktemp("opened")
    policy = directory / "policy.yaml"
    policy.write_text("".join(f'"{policies.PREFIX}{name}": "@"\n' for name in RULES if name not in OF_ALL))
    with World(directory, oslo_policy__policy_file=str(policy)) as world:
        yield furnished(world)


@pytest.mark.parametrize("scope", ["none", "empty", "system", "shop", "bank"])
def test_open_rules_give_no_projects_things_to_who_has_none(opened: Scene, scope: str) -> None:
    """Lists are still one's own; who has no project finds them empty."""
    asker = Asker("auditor", scope)
    for path in SHOWN:
        answer = opened.ask(asker, "GET", path)
        assert answer.status_int == 200, (asker, path, answer.text)
        assert SHOWN[path](answer.json) == listed(opened, asker, path), path
    for name, project in SERVERS.items():
        for path in ("", "/os-instance-actions", "/migrations", "/diagnostics", "/os-volume_attachments"):
            answer = opened.ask(asker, "GET", f"/servers/{World.id(name)}{path}")
            assert (answer.status_int == 404) == (project != asker.project), (name, path)
    assert opened.ask(asker, "GET", f"/servers?project_id={SHOP}").json["servers"] == (
        [] if scope != "shop" else opened.ask(asker, "GET", "/servers").json["servers"]
    )


# Users of an htpasswd file

USERS = {"anna": "reader", "bert": "member", "cleo": "manager", "dora": "admin"}


def users(directory: Path, names: Collection[str], **options: Any) -> dict[str, Any]:
    file = directory / "htpasswd"
    hashed = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode()
    file.write_text("".join(f"{name}:{hashed}\n" for name in names))
    file.chmod(0o600)
    return {"api__auth_strategy": "http_basic", "http_basic__user_file": str(file), **{f"http_basic__{name}": value for name, value in options.items()}}


@pytest.mark.parametrize("project", [None, "", SHOP, BANK])
def test_users_with_and_without_a_project(scene: Scene, tmp_path: Path, project: str | None) -> None:
    projects = {} if project is None else dict.fromkeys(USERS, project)
    with World(tmp_path, **users(tmp_path, USERS, roles=USERS, projects=projects)) as world:
        for name, owner in SERVERS.items():
            world.fleet.add_guest(name, "node1", metadata={} if owner == OWNER else novas(name, owner))
        world.settle()
        for user, role in USERS.items():
            asker = Asker(role, {SHOP: "shop", BANK: "bank"}.get(project or "", "none"))
            for path in ("/servers", "/servers/detail", "/flavors", "/limits"):
                answer = world.ask("GET", f"/v2.1{path}", "2.104", **basic(user))
                refused = not all(may(asker, rule, asker.project) for rule in guards("GET", path))
                assert answer.status_int == (403 if refused else 200), (user, path)
                hidden = [name for name, owner in SERVERS.items() if not asker.sees(owner)]
                assert not [name for name in hidden if World.id(name) in answer.text or f'"{name}"' in answer.text], (user, path)


NOT_NAMED = {
    "none is": {},
    "another is": {"anan": "admin"},
    "no role": {"anna": ""},
    "no roles": {"anna": "+"},
    "in capitals": {"Anna": "admin"},
    "with a blank": {"anna ": "admin"},
}


@pytest.mark.parametrize("roles", NOT_NAMED.values(), ids=NOT_NAMED.keys())
def test_who_is_not_named_is_refused(tmp_path: Path, caplog: pytest.LogCaptureFixture, roles: dict[str, str]) -> None:
    with World(tmp_path, **users(tmp_path, ["anna", "dora"], roles={**roles, "dora": "admin"} if roles else {})) as world:
        assert [line for line in caplog.messages if line.startswith("[http_basic] roles")] == [
            f"[http_basic] roles gives no role to {'anna' if roles else 'anna, dora'} of user_file: whatever they ask is a 403"
        ]
        for path in ("/v2.1/servers", "/v2.1/limits", "/v2.1/os-services", "/v2.1/nope"):
            answer = world.request("GET", path, headers=basic("anna"))
            assert answer.status_int == 403
            message = "[http_basic] roles gives user anna no role; an administrator stands there as anna:admin."
            assert answer.json == {"forbidden": {"code": 403, "message": message}}
        assert world.request("GET", "/v2.1/servers", headers=basic("dora")).status_int == (200 if roles else 403)
        assert world.request("GET", "/v2.1/servers", headers=basic("nobody")).status_int == 401
        assert world.request("GET", "/", headers=basic("anna")).status_int == 200  # versions are for all


def test_a_file_that_changed_is_looked_through_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with World(tmp_path, **users(tmp_path, ["dora"], roles={"dora": "admin"})) as world:
        assert not [line for line in caplog.messages if line.startswith("[http_basic] roles")]
        users(tmp_path, ["dora", "anna"])
        assert world.request("GET", "/v2.1/servers", headers=basic("anna")).status_int == 403
        assert [line for line in caplog.messages if line.startswith("[http_basic] roles")] == [
            "[http_basic] roles gives no role to anna of user_file: whatever they ask is a 403"
        ]
        world.conf.set_override("roles", {"dora": "admin", "anna": "admin"}, group="http_basic")  # as a reload would have it
        assert world.request("GET", "/v2.1/servers", headers=basic("anna")).status_int == 200


def test_a_reload_looks_through_it_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    conf = configured(tmp_path, users(tmp_path, ["dora", "anna"], roles={"dora": "admin", "anna": "reader"}), None)
    tell_without_roles(conf)
    assert caplog.messages == []
    conf.set_override("roles", {"dora": "admin", "ana": "reader"}, group="http_basic")
    tell_without_roles(conf)
    assert caplog.messages == ["[http_basic] roles gives no role to anna of user_file: whatever they ask is a 403"]
    caplog.clear()
    conf.set_override("auth_strategy", "noauth", group="api")
    tell_without_roles(conf)
    assert caplog.messages == []


def test_roles_that_cannot_be_read_again_leave_the_former_in_force(tmp_path: Path) -> None:
    with World(tmp_path, **users(tmp_path, ["dora"])) as world:
        file = tmp_path / "livemig.conf"
        for option in ("roles", "user_file"):
            world.conf.clear_override(option, group="http_basic")

        def reload(roles: str) -> None:
            file.write_text(f"[http_basic]\nuser_file = {tmp_path}/htpasswd\nroles = {roles}\n")
            world.conf.reload_config_files()

        file.write_text("")
        world.conf([], project="livemig", default_config_files=[str(file)], default_config_dirs=[])
        reload("dora:admin")
        application = HttpBasic(Api(world.services), world.conf)
        assert Request.blank("/v2.1/servers", headers=basic("dora")).get_response(application).status_int == 200
        reload("dora")  # no colon
        with pytest.raises(ValueError):
            tell_without_roles(world.conf)
        assert Request.blank("/v2.1/servers", headers=basic("dora")).get_response(application).status_int == 200
        reload("other:admin")
        assert Request.blank("/v2.1/servers", headers=basic("dora")).get_response(application).status_int == 403


# Locks


def locks(scene: Scene, asker: Asker, action: str, reason: str | None = None, version: Version = microversions.MAX) -> int:
    asked = {action: {"locked_reason": reason} if reason else None}
    return int(scene.ask(asker, "POST", f"/servers/{World.id('till')}/action", version, asked).status_int)


MEMBER, ADMIN_OF_SHOP, ADMIN, BANKER = Asker("member", "shop"), Asker("admin", "shop"), Asker("admin", "none"), Asker("manager", "bank")


@pytest.fixture
def till(scene: Scene) -> Iterator[Callable[[], tuple[str | None, str | None, int]]]:
    """Whose lock the server has, its reason, and how many actions were taken down."""

    def state() -> tuple[str | None, str | None, int]:
        server = scene.world.store.servers.get(World.id("till"))
        return server.locked_by, server.locked_reason, len(scene.world.store.actions.find(Selection({"server_uuid": server.uuid}, sort=(("id", "asc"),))))

    def free() -> None:
        scene.world.store.servers.lock(World.id("till"), None, (None, "owner", "admin"), locked_reason=None)

    free()
    yield state
    free()


@pytest.mark.parametrize("version", [microversions.MIN, (2, 72), microversions.LOCKED_REASON, microversions.MAX], ids=microversions.text)
def test_a_members_lock_does_not_take_an_administrators(scene: Scene, till: Callable[[], tuple[str | None, str | None, int]], version: Version) -> None:
    worded = version >= microversions.LOCKED_REASON
    assert locks(scene, ADMIN, "lock", "audit" if worded else None, version) == 202
    before = till()
    assert before[:2] == ("admin", "audit" if worded else None)
    assert locks(scene, MEMBER, "lock", "mine" if worded else None, version) == 202
    assert till() == before, "it changes nothing"
    assert locks(scene, MEMBER, "unlock", version=version) == 403
    assert till() == before
    assert locks(scene, ADMIN, "unlock", version=version) == 202
    assert till()[:2] == (None, None)


def test_the_owner_is_of_the_servers_project(scene: Scene, till: Callable[[], tuple[str | None, str | None, int]]) -> None:
    assert locks(scene, Asker("manager", "shop"), "lock", "ours") == 202
    before = till()
    assert before[:2] == ("owner", "ours")
    assert locks(scene, MEMBER, "lock", "again") == 202 and till() == before
    assert locks(scene, BANKER, "unlock") == 404 and till() == before
    assert locks(scene, MEMBER, "unlock") == 202 and till()[:2] == (None, None)


def test_an_administrator_of_the_project_is_its_owner(scene: Scene, till: Callable[[], tuple[str | None, str | None, int]]) -> None:
    """As in Nova: what counts is the project, and the members may take such a lock off."""
    assert locks(scene, ADMIN_OF_SHOP, "lock") == 202 and till()[0] == "owner"
    assert locks(scene, MEMBER, "unlock") == 202 and till()[0] is None
    assert locks(scene, ADMIN, "lock") == 202
    before = till()
    assert locks(scene, ADMIN_OF_SHOP, "lock") == 202 and till() == before
    assert locks(scene, ADMIN_OF_SHOP, "unlock") == 202 and till()[0] is None


def test_an_administrator_locks_over_an_owner(scene: Scene, till: Callable[[], tuple[str | None, str | None, int]]) -> None:
    assert locks(scene, MEMBER, "lock", "mine") == 202
    assert locks(scene, ADMIN, "lock") == 202
    assert till()[:2] == ("admin", "mine"), "a reason stays until another is given"
    assert locks(scene, ADMIN, "lock", "audit") == 202 and till()[:2] == ("admin", "audit")
    assert locks(scene, MEMBER, "unlock") == 403
    assert locks(scene, ADMIN, "unlock") == 202 and till()[:2] == (None, None)
    assert locks(scene, MEMBER, "unlock") == 202, "of what is not locked"
