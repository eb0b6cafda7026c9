"""The specification that the API's answers are held against: that it is Tempest's, at the right versions, and that it can fail."""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterator
from copy import deepcopy
from itertools import pairwise
from typing import Any

import pytest

from livemig.api.request import Request
from tests.api import every_version, spec
from tests.api.tempest_schemas import AMENDMENTS, FIRST, LAST, ROUTES, SCHEMAS, Version, find, published, text

CLIENTS = {
    "servers": "servers_client.ServersClient",
    "migrations": "migrations_client.MigrationsClient",
    "services": "services_client.ServicesClient",
    "hypervisors": "hypervisor_client.HypervisorClient",
    "aggregates": "aggregates_client.AggregatesClient",
    "flavors": "flavors_client.FlavorsClient",
    "limits": "limits_client.LimitsClient",
    "quotas": "quotas_client.QuotasClient",
}
UUID = "11111111-2222-3333-4444-555555555555"
HYPERVISOR = {
    "id": UUID,
    "hypervisor_hostname": "node1",
    "hypervisor_type": "QEMU",
    "hypervisor_version": 8002000,
    "host_ip": "192.0.2.1",
    "state": "up",
    "status": "enabled",
    "uptime": None,
    "service": {"id": UUID, "host": "node1", "disabled_reason": None},
}
MIGRATION = {
    "id": 1,
    "uuid": UUID,
    "status": "running",
    "server_uuid": UUID,
    "source_node": "node1",
    "source_compute": "node1",
    "dest_node": "node2",
    "dest_compute": "node2",
    "dest_host": None,
    "created_at": "2026-11-24T12:00:00.000000",
    "updated_at": "2026-11-24T12:00:00.000000",
    **{f"{kind}_{which}_bytes": None for kind in ("disk", "memory") for which in ("total", "processed", "remaining")},
}
LINK = {"rel": "self", "href": f"http://localhost/v2.1/servers/{UUID}"}


@pytest.fixture(autouse=True)
def uncounted() -> Iterator[None]:
    """What is met here shows nothing of the API."""
    before = spec.exercised.copy()
    spec.exercised.clear()
    yield
    spec.exercised.clear()
    spec.exercised.update(before)


@pytest.fixture
def enforced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spec, "ENFORCED", True)


def answer(body: Any, version: Version = FIRST, method: str = "GET", path: str = "/v2.1/servers", status: int = 200, action: str = "", **headers: str) -> None:
    """Validate an answer with this body."""
    sent = b"" if body is None else json.dumps(body).encode()
    given = {"content-type": "application/json", "openstack-api-version": f"compute {text(version)}", "x-openstack-nova-api-version": text(version)}
    spec.validate(method, path, version, status, given | {name.replace("_", "-"): value for name, value in headers.items()}, sent, action)


def test_the_versions_are_those_of_tempests_clients() -> None:
    """Tempest's clients have tables of what is in force when. Only for 2.59 to 2.61 does one of them overlook its own module."""
    compared = 0
    for route in ROUTES:
        if route.noun not in CLIENTS or (route.noun, route.name) in AMENDMENTS or route.name == "show_live_migration":
            continue
        module, client = CLIENTS[route.noun].split(".")
        table = getattr(importlib.import_module(f"tempest.lib.services.compute.{module}"), client).schema_versions_info
        for minor in range(route.since[1], route.until[1] + 1):
            if route.noun == "servers" and 59 <= minor <= 61:
                continue
            module_in_force = next(row["schema"] for row in table if _minor(row["min"], 1) <= minor <= _minor(row["max"], 999))
            expected = getattr(module_in_force, route.name, None)
            schema = next(schema for schema in SCHEMAS[route] if schema.since <= (2, minor) <= schema.until)
            if expected is not None:
                compared += 1
                assert (list(schema.status), schema.body) == (expected["status_code"], expected.get("response_body")), (str(route), minor)
    assert compared > 1500


def _minor(version: str | None, default: int) -> int:
    return default if version is None else int(version.split(".")[1])


@pytest.mark.parametrize("route", ROUTES, ids=str)
def test_every_version_of_a_route_has_one_schema(route: Any) -> None:
    schemas = SCHEMAS[route]
    assert (schemas[0].since, schemas[-1].until) == (route.since, route.until)
    for before, after in pairwise(schemas):
        assert before.until == (2, after.since[1] - 1) and before.body != after.body


@pytest.mark.parametrize(("names", "version"), [(names, version) for names, changes in AMENDMENTS.items() for version in changes])
def test_amendments_are_needed(names: tuple[str, str], version: Version) -> None:
    """An amendment that Tempest has caught up with changes nothing, and goes."""
    own = published(*names)
    before = own[max(number for number in own if number <= version)]
    after = deepcopy(before)
    AMENDMENTS[names][version](after)
    assert after != before


@pytest.mark.parametrize(
    ("method", "path", "version", "action", "expected"),
    [
        ("GET", "/v2.1/servers", (2, 1), "", "list_servers"),
        ("GET", "/servers/detail", (2, 104), "", "list_servers_detail"),
        ("GET", f"/v2.1/{UUID}/servers/{UUID}", (2, 1), "", "get_server"),
        ("GET", f"/v2/admin/servers/{UUID}", (2, 1), "", "get_server"),
        ("GET", "/v2.1/os-hypervisors/detail", (2, 1), "", "list_hypervisors_detail"),
        ("GET", "/v2.1/os-hypervisors/statistics", (2, 87), "", "get_hypervisor_statistics"),
        ("GET", "/v2.1/os-hypervisors/node/search", (2, 52), "", "list_search_hypervisors"),
        ("GET", "/v2.1/os-hypervisors/node/search", (2, 53), "", None),
        ("PUT", "/v2.1/os-services/enable", (2, 52), "", "enable_disable_service"),
        ("PUT", "/v2.1/os-services/enable", (2, 53), "", "update_service"),
        ("GET", f"/v2.1/servers/{UUID}/migrations", (2, 22), "", None),
        ("POST", f"/v2.1/servers/{UUID}/action", (2, 1), "pause", "server_actions_common_schema"),
        ("POST", f"/v2.1/servers/{UUID}/action", (2, 1), "explode", None),
        ("POST", f"/v2.1/servers/{UUID}/migrations/1/action", (2, 21), "force_complete", None),
        ("GET", "/", (2, 1), "", "list_versions"),
        ("GET", "/v2.1", (2, 1), "", "get_one_version"),
        ("GET", "/v2.1/admin/", (2, 1), "", "get_one_version"),
        ("GET", "/v2.1/nope/nope", (2, 1), "", None),
    ],
)
def test_find(method: str, path: str, version: Version, action: str, expected: str | None) -> None:
    schema = find(method, path, version, action)
    assert (schema and schema.route.name) == expected


def test_what_fits_is_counted() -> None:
    untested = "GET /servers from 2.1 (tempest v2_1 servers.list_servers)"
    assert untested in spec.never_exercised()
    answer({"servers": [{"id": UUID, "name": "web", "links": [LINK]}]}, version=(2, 40))
    assert untested not in spec.never_exercised()
    assert spec.never_exercised([("GET", "/servers")]) == []
    assert len(spec.never_exercised([("GET", "/servers/{id}")])) == len(SCHEMAS[_route("GET", "/servers/{server}")])
    assert spec.never_exercised([("GET", "/servers/{id}")], newest=FIRST) == ["GET /servers/{server} from 2.1 (tempest v2_1 servers.get_server)"]
    assert spec.never_exercised([("POST", "/servers/{id}/action", "lock")]) == [
        "POST /servers/{server}/action lock from 2.1 (tempest v2_1 servers.server_actions_common_schema)"
    ]


def _route(method: str, template: str) -> Any:
    return next(route for route in ROUTES if (route.method, route.template) == (method, template))


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "a property too many": ({"body": {"servers": [], "more": 1}}, "'more' was unexpected"),
    "one too few": ({"body": {"servers": [{"id": UUID, "name": "web"}]}}, r"\$.servers\[0\]: 'links' is a required property"),
    "a link that is a path": ({"body": {"servers": [], "servers_links": [LINK | {"href": "/servers"}]}}, "'/servers' is not a 'uri'"),
    "status": ({"body": {"servers": []}, "status": 203}, r"status 203 is not of \(200,\)"),
    "content type": ({"body": {"servers": []}, "content_type": "text/html"}, "its Content-Type is 'text/html'"),
    "another version": ({"body": {"servers": []}, "openstack_api_version": "compute 2.2"}, "its headers say the versions"),
    "no such request": ({"body": {}, "path": "/v2.1/os-cells"}, "Nova has no such request"),
    "not yet": ({"body": {"migrations": []}, "path": f"/servers/{UUID}/migrations", "version": (2, 22)}, "Nova has no such request"),
    "a body where there is none": ({"body": {}, "method": "POST", "path": "/servers/1/action", "action": "lock", "status": 202}, "there should be no body"),
    "a number as hypervisor": (
        {"body": {"hypervisors": [{"id": 1, "hypervisor_hostname": "n"}]}, "path": "/os-hypervisors", "version": (2, 53)},
        "1 is not of type",
    ),
    "a host of no resources": ({"body": {"host": [{"cpu": 1}]}, "path": "/os-hosts/node1"}, "'resource' is a required property"),
    "no uuid": (
        {"body": {"migration": MIGRATION | {"uuid": "1"}}, "path": f"/servers/{UUID}/migrations/1", "version": (2, 59)},
        r"\$.migration.uuid: '1' is not a 'uuid'",
    ),
    "no date": (
        {"body": {"migration": MIGRATION | {"created_at": "today"}}, "path": f"/servers/{UUID}/migrations/1", "version": (2, 59)},
        "'today' is not a 'iso8601-date-time'",
    ),
    "no envelope": ({"body": {"code": 404, "message": "no"}, "status": 404}, "has no proper fault"),
    "another code": ({"body": {"itemNotFound": {"code": 400, "message": "no"}}, "status": 404}, "has no proper fault"),
    "another name": ({"body": {"notFound": {"code": 404, "message": "no"}}, "status": 404}, "it is called notFound, not itemNotFound"),
    "details": ({"body": {"itemNotFound": {"code": 404, "message": "no", "details": ""}}, "status": 404}, "has no proper fault"),
    "a page": ({"body": None, "status": 404}, "it is no JSON"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_does_not_fit(case: str) -> None:
    given, reason = WRONG[case]
    with pytest.raises(AssertionError, match=reason):
        answer(**given)


def test_what_fits() -> None:
    answer({"migration": MIGRATION}, (2, 59), path=f"/v2.1/servers/{UUID}/migrations/1")
    answer({"hypervisor": HYPERVISOR}, (2, 88), path=f"/v2.1/os-hypervisors/{UUID}")
    answer({"hypervisors": [HYPERVISOR]}, LAST, path="/v2.1/admin/os-hypervisors/detail")
    answer({"migrations": [], "migrations_links": [LINK]}, (2, 59), path="/v2.1/os-migrations")
    answer(None, method="POST", path=f"/v2.1/servers/{UUID}/action", action="pause", status=202)
    answer({"computeFault": {"code": 406, "message": "Version"}}, status=406)
    answer({"overLimit": {"code": 413, "message": "Much", "retryAfter": "10"}}, status=413)
    answer({"error": {"code": 401, "message": "Who?", "title": "Unauthorized"}}, status=401)
    answer(None, status=302)
    answer(None, method="HEAD")


def application(status: str, body: Any, version: str = "2.1") -> spec.Validated:
    """An application that always answers that, and echoes the body that it could read."""

    def answering(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        heard.append(environ["wsgi.input"].read())
        environ["PATH_INFO"] = "changed"
        versions = [("OpenStack-API-Version", f"compute {version}"), ("X-OpenStack-Nova-API-Version", version)]
        start_response(status, [("Content-Type", "application/json"), *versions])
        return [json.dumps(body).encode()] if body is not None else []

    heard.clear()
    return spec.Validated(answering)


heard: list[bytes] = []


def test_the_wrapper_lets_pass_what_fits(enforced: None) -> None:
    body: dict[str, list[object]] = {"servers": [], "servers_links": []}
    answered = Request.blank("/v2.1/servers?limit=1").get_response(application("200 OK", body))
    assert (answered.status, answered.json) == ("200 OK", body)
    asked = Request.blank(f"/v2.1/servers/{UUID}/action", method="POST", json={"lock": None})
    assert asked.get_response(application("202 Accepted", None)).body == b""
    assert heard == [b'{"lock":null}']
    for headers in ({"OpenStack-API-Version": "compute 2.30"}, {"X-OpenStack-Nova-API-Version": "2.30"}, {"OpenStack-API-Version": "compute latest"}):
        Request.blank("/v2.1/servers", headers=headers).get_response(application("200 OK", body, "2.30"))


def test_the_wrapper_fails_what_does_not(enforced: None) -> None:
    with pytest.raises(AssertionError, match="'more' was unexpected"):
        Request.blank("/v2.1/servers").get_response(application("200 OK", {"servers": [], "more": 1}))
    with pytest.raises(AssertionError, match="its headers say the versions"):
        Request.blank("/v2.1/servers", headers={"OpenStack-API-Version": "compute 2.30"}).get_response(application("200 OK", {"servers": []}))
    with pytest.raises(AssertionError, match=r"unlock at 2\.1 does not fit"):
        Request.blank(f"/v2.1/servers/{UUID}/action", method="POST", json={"unlock": None}).get_response(application("200 OK", None))


def test_versions_to_try() -> None:
    assert every_version.VERSIONS["GET", "/servers/{server}/migrations/{migration}", ""] == [(2, 23), (2, 59), (2, 80), (2, 102)]
    assert every_version.VERSIONS["POST", "/servers/{server}/action", "os-migrateLive"] == [(2, 1), (2, 25), (2, 30), (2, 34), (2, 68)]
    assert every_version.BESIDES.keys() <= every_version.RESPONSES.keys()
    tried = {str(probe) for probe in every_version.probes()}
    assert {f"GET /os-hosts {version}" for version in ("2.1", "2.42", "2.43 not")} == {name for name in tried if name.startswith("GET /os-hosts 2")}
    old = every_version.probes(FIRST)
    assert {probe.version for probe in old} == {FIRST}
    assert not any(probe.exists for probe in old if probe.template.endswith("/migrations"))


def test_the_probes_reach_every_schema() -> None:
    reached = {
        schema
        for probe in every_version.probes()
        if probe.exists and (schema := find(probe.method, _filled(probe.template), probe.version, probe.action)) is not None
    }
    assert reached == {schema for route in ROUTES for schema in SCHEMAS[route]}


def _filled(template: str) -> str:
    return template.replace("{", "").replace("}", "")
