"""Requests that the OpenAPI document allows, and such as it does not: no 5xx, no status that it has not, and answers as it says.

The requests are drawn from the commit, as many in all microversions together as LIVEMIG_FUZZ says.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from schemathesis import Case, GenerationMode, checks
from schemathesis.specs.openapi import checks as openapi_checks

from livemig import microversions
from tests import report
from tests.api.documented import documented
from tests.api.world import BANK, GUESTS, SHOP, World
from tests.drawn import DRAW, amount

pytestmark = pytest.mark.timeout(7200)

REQUESTS = amount("fuzz")
# The first and the last one, and where the live migration, or much else, changes: from the one to the other side.
VERSIONS = [microversions.MIN, microversions.FORCE, microversions.PAGED_HYPERVISORS, microversions.ASYNCHRONOUS, microversions.UUIDS, microversions.MAX]
CHECKS = [
    checks.not_a_server_error,
    openapi_checks.status_code_conformance,
    openapi_checks.content_type_conformance,
    openapi_checks.response_headers_conformance,
    openapi_checks.response_schema_conformance,
]
# What violates the document is refused: of bodies. In a query null is a word like any other, and what was drawn as no pattern may happen to be one.
CHECKS_OF_BODIES = [*CHECKS, openapi_checks.negative_data_rejection]

MANY = 2000


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with World(tmp_path_factory.mktemp("world")) as world:
        yield world.furnish()


@pytest.fixture(scope="module")
def answered() -> Iterator[Counter[int]]:
    """How often there was each status."""
    answered: Counter[int] = Counter()
    yield answered
    counts = ", ".join(f"{count} of status {status}" for status, count in sorted(answered.items()))
    report.keep("fuzz", f"{answered.total()} requests: {counts}")


def things(world: World) -> dict[str, list[str]]:
    """What may stand in a path, by its noun and name: a text alone would hardly ever be anything that there is."""
    hosts = world.store.hosts.all()
    return {
        "servers id": [world.id(name) for name in GUESTS],
        "servers migration": [str(number) for number in range(1, 6)],
        "servers request_id": [world.store.migrations.of_server(world.id("web"))[0].request_id],
        "os-services id": [host.service_uuid for host in hosts],
        "os-hypervisors id": [*(host.uuid for host in hosts), *(host.name for host in hosts), "1", "2"],
        "os-hosts name": [host.name for host in hosts],
        "os-aggregates id": ["1", "2"],
        "flavors id": [flavor.id for flavor in world.store.servers.flavors(None)],
        "os-simple-tenant-usage project": [SHOP, BANK],
    }


def cases(operation: Any, mode: GenerationMode, known: dict[str, list[str]]) -> st.SearchStrategy[Case[Any]]:
    """An operation's requests, three quarters of them about what there is."""
    noun = operation.path.split("/")[1]
    there = {name: st.sampled_from(values) for key, values in known.items() for at, name in [key.split()] if at == noun and f"{{{name}}}" in operation.path}

    def placed(drawn: tuple[Case[Any], dict[str, str], int]) -> Case[Any]:
        case, values, odds = drawn
        if odds:
            case.path_parameters = {**(case.path_parameters or {}), **values}
        return case

    return st.tuples(operation.as_strategy(mode), st.fixed_dictionaries(there), st.integers(0, 3)).map(placed)


def modes(operation: Any) -> list[GenerationMode]:
    """Nothing is wrong where everything is right: a path is any text, and there is nothing else."""
    every: Any = GenerationMode  # no Enum to mypy: for Python 3.10 schemathesis takes one of which there are no types
    return list(every) if len(operation.query) or len(operation.body) else [every.POSITIVE]


@pytest.mark.parametrize("version", VERSIONS, ids=microversions.text)
def test_the_document_is_true(world: World, answered: Counter[int], version: microversions.Version) -> None:
    schema = schemathesis.openapi.from_dict(documented(version))
    schema.app = world.application
    known = things(world)
    operations: Iterator[Any] = schema.get_all_operations()
    tried = [(operation, mode) for operation in (each.ok() for each in operations) for mode in modes(operation)]
    for operation, mode in tried:

        @seed(DRAW)
        @settings(
            max_examples=max(1, round(REQUESTS / len(VERSIONS) / len(tried))),
            database=None,
            deadline=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(cases(operation, mode, known))
        def asked(case: Case[Any]) -> None:
            headers: Any = {**(case.headers or {}), microversions.HEADER: f"compute {microversions.text(version)}"}
            case.headers = headers
            response = case.call()
            answered[response.status_code] += 1
            case.validate_response(response, checks=CHECKS_OF_BODIES if len(case.operation.body) else CHECKS)

        asked()


def test_something_came_of_it(answered: Counter[int]) -> None:
    assert answered[200] > answered.total() / 10 and answered[400] and answered[404] and answered[409]
    assert answered[202] or answered.total() < MANY  # of few requests none may be one that can be carried out


def test_the_world_is_still_there(world: World) -> None:
    """After all that, each server is shown and runs on one host at most."""
    assert len(world.ask("GET", "/v2.1/servers/detail").json["servers"]) == len(GUESTS)
    assert all(len(world.fleet.running_on(world.id(name))) <= 1 for name in GUESTS)
