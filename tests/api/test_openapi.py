"""The OpenAPI document: well formed at every microversion, and of what is served then. That answers are as it says is seen to by `Documented`."""

from __future__ import annotations

from typing import Any

import pytest
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError
from openapi_spec_validator import OpenAPIV31SpecValidator

from livemig import microversions
from livemig.api.routes import ROUTES
from tests.api.documented import documented
from tests.service import Service

# Where routes come and go, and where bodies change most; each takes a second.
VERSIONS = [microversions.MIN, microversions.FORCE, microversions.UUIDS, microversions.LEAN_HYPERVISORS, microversions.MAX]


@pytest.mark.parametrize("version", VERSIONS, ids=microversions.text)
def test_it_is_an_openapi_document(version: microversions.Version) -> None:
    OpenAPIV31SpecValidator(documented(version)).validate()


@pytest.mark.parametrize("version", ["2.1", "2.40", "2.104"])
def test_it_is_served(service: Service, version: str) -> None:
    answer = service.request("GET", "/v2.1/openapi.json", headers={"OpenStack-API-Version": f"compute {version}"})
    assert answer.status_int == 200
    shown = answer.json
    assert shown["info"]["version"] == version
    assert shown["servers"] == [{"url": "http://localhost/v2.1"}]
    assert shown["paths"] == documented(tuple(map(int, version.split("."))))["paths"]


def test_every_route_is_in_it_while_it_exists() -> None:
    for version in microversions.HISTORY:
        shown = {(method.upper(), template) for template, methods in documented(version)["paths"].items() for method in methods}
        assert shown == {(route.method, route.template) for route in ROUTES if route.since <= version <= route.until}


def test_bodies_are_those_that_validate() -> None:
    action = documented((2, 30))["paths"]["/servers/{id}/action"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    validator = Draft202012Validator(action)
    validator.validate({"os-migrateLive": {"host": None, "block_migration": "auto", "force": False}})
    validator.validate({"reboot": {"type": "HARD"}})
    bodies: tuple[dict[str, Any], ...] = ({"os-migrateLive": {"host": "b;", "block_migration": "auto"}}, {"os-migrateLive": {"host": "b"}}, {"nosuch": {}}, {})
    for wrong in bodies:
        with pytest.raises(ValidationError):
            validator.validate(wrong)


def test_operations_have_names_of_their_own() -> None:
    names = [operation["operationId"] for methods in documented(microversions.MAX)["paths"].values() for operation in methods.values()]
    assert len(names) == len(set(names))
