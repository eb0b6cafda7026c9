"""Whatever is asked, nothing of it is our fault: no 5xx, and each answer is a fault or a valid one (tests/api/spec.py looks at them on their way)."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from livemig import microversions
from livemig.api.refusals import UNSUPPORTED_ACTIONS
from livemig.api.request import Request
from livemig.api.routes import ROUTES
from livemig.api.schemas.validation import in_force
from livemig.api.server_actions import ACTIONS
from tests.api.world import GUESTS, World


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with World(tmp_path_factory.mktemp("world")) as world:
        yield world.furnish()


# Words that mean something somewhere, and that may hurt where they mean nothing.
TIMES = ["2026-11-24T12:00:00Z", "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59", "2026-13-01T00:00:00Z", "0000-00-00T00:00:00", "yesterday"]
NUMBERS = ["0", "1", "3", "-1", "1e3", "٣", "²", "9" * 30, "0" * 5000 + "1", "9" * 5000, str(2**63), str(2**31), "0x10", "1.5"]
PATTERNS = ["(", "[", "*", "^$", "(?i)web", "a{99999999999}", "(?P<a>b)(?P<a>c)", "\\", "^10.", "10.0.0.5$", "$^", "|", "(?i", "\\Z"]
ODD = ["", " ", "\0", "\n", "%", "'", '"', ";--", "é", "🔒", "\ud800", "../..", "a" * 300, "None", "null", "true", "MAYBE", "{}"]
WORDS = ["web", "node1", "node", "nope", "ACTIVE", "DELETED", "active", "error", "running", "live-migration", "nova-compute", "created_at", "asc", "desc", "42"]
words = st.one_of(
    st.sampled_from([*TIMES, *NUMBERS, *PATTERNS, *ODD, *WORDS]),
    st.sampled_from([World.id(name) for name in GUESTS]),
    st.text(max_size=20),
    st.uuids().map(str),
)

PARAMETERS = sorted({name for route in ROUTES for _since, schema in route.query for name in schema.get("properties", {})})
TEMPLATES = sorted({route.template for route in ROUTES})
METHODS = ["GET", "GET", "GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "TRACE", "BREW"]
VERSIONS = [
    *map(microversions.text, microversions.HISTORY),
    "2.103",
    "latest",
    "2.105",
    "2.0",
    "1.1",
    "2",
    "abc",
    "2.-1",
    "2.01",
    "é",
    "9" * 4000,
    "2." + "9" * 4000,
]
ROOTS = ["/v2.1", "/v2.1", "/v2.1", "", "/v2", "/v2.1/9f2d4c0e8d5a4f6fa2f1b6a1d0c4e2bb", "/v3", "//", "/v2.1/"]
TYPES = [
    "application/json",
    "application/json",
    "application/json; charset=latin-1",
    "text/plain",
    "application/xml",
    "",
    "nonsense",
    "multipart/form-data",
    ";",
]


def quoted(text: str) -> str:
    """As a path or a query may have it: percent-encoded, with what cannot be so left out."""
    return "".join(chr(byte) if chr(byte).isalnum() and byte < 128 else f"%{byte:02X}" for byte in text.encode("utf-8", "surrogatepass"))


@st.composite
def paths(draw: st.DrawFn) -> str:
    """PATH_INFO: Latin-1 of what may be no UTF-8."""
    template = draw(st.sampled_from(TEMPLATES))
    filled = re.sub(r"{\w+}", lambda _match: draw(words), template)
    mutated = draw(st.sampled_from(["", "", "", "", "/", ".json", "/x", "\0", "%2F"]))
    path: bytes = (draw(st.sampled_from(ROOTS)) + filled + mutated).encode("utf-8", "surrogatepass")
    return path.decode("latin-1")


names = st.one_of(st.sampled_from(PARAMETERS), st.sampled_from(["foo", "", "_x", "%", "metadata"]))
queries = st.one_of(
    st.lists(st.tuples(names, words), max_size=4).map(lambda pairs: "&".join(f"{quoted(name)}={quoted(value)}" for name, value in pairs)),
    st.sampled_from(["%", "%zz", "%FF=%FF", "&&&", "=", "limit", "a=%C3", "limit=1&limit=2", "?", ";", "a" * 3000]),
)

leaves = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.sampled_from(["auto", "node2", "no", "active", "HARD"]), words)
anything = st.recursive(leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3), max_leaves=6)


@st.composite
def actions(draw: st.DrawFn) -> Any:
    """An action with arguments by the names that some version of it knows."""
    name = draw(st.sampled_from([*ACTIONS, *UNSUPPORTED_ACTIONS, "force_complete"]))
    known: list[str] = []
    if name in ACTIONS:
        for version in microversions.HISTORY:
            schema = in_force(ACTIONS[name][0], version) or {}
            known += schema["properties"][name].get("properties", {})
    if not known:
        return {name: draw(anything)}
    return {name: draw(st.dictionaries(st.sampled_from([*sorted(set(known)), "more"]), leaves, max_size=4))}


services = st.dictionaries(st.sampled_from(["host", "binary", "status", "disabled_reason", "forced_down", "more"]), leaves, max_size=4)
bodies = st.one_of(
    st.one_of(actions(), services, anything).map(lambda body: json.dumps(body).encode()),
    st.binary(max_size=40),
    st.sampled_from(
        [b"", b"{", b"[" * 100_000, b'{"pause":' * 20_000, b"NaN", b"9" * 5000, b'{"a":' + b"9" * 5000 + b"}", b"\xff\xfe", b'"\\ud800"', b"{}" * 2]
    ),
)


@st.composite
def headers(draw: st.DrawFn) -> dict[str, str]:
    asked: dict[str, str] = {}
    if draw(st.booleans()):
        asked["OpenStack-API-Version"] = draw(st.sampled_from(["compute ", "compute ", "compute ", "volume ", "", "compute  "])) + draw(
            st.sampled_from(VERSIONS)
        )
    if draw(st.booleans()):
        asked["X-OpenStack-Nova-API-Version"] = draw(st.sampled_from(VERSIONS))
    for name in draw(st.sets(st.sampled_from(["X-Roles", "X-Project-Id", "Authorization", "X-OpenStack-Request-ID", "Accept", "X-Forwarded-Proto", "Origin"]))):
        asked[name] = draw(st.sampled_from(["", "a", "é", "req-1", "Basic x", "x" * 5000, "*/*", "http://[", "text/html;q=x"]))
    return asked


def send(world: World, method: str, path: str, query: str, body: bytes, headers: dict[str, str], kind: str) -> Any:
    """As a WSGI server would hand it over."""
    environ = Request.blank("/", method=method).environ
    environ |= {"PATH_INFO": path, "QUERY_STRING": query, "CONTENT_TYPE": kind}
    environ |= {f"HTTP_{name.upper().replace('-', '_')}": value for name, value in headers.items()}
    request = Request(environ)
    request.body = body
    return request.get_response(world.application)


LONGEST_S = 2  # of processor time: what else the machine does is no part of it


@settings(max_examples=1000, derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.sampled_from(METHODS), paths(), queries, bodies, headers(), st.sampled_from(TYPES))
@example("GET", "/v2.1/servers/\xff", "", b"", {}, "")
@example("GET", "/v2.1/servers/gr\xc3\xbcn", "", b"", {}, "")
@example("GET", "/v2.1/servers", "name=%FF", b"", {}, "")
@example("GET", "/v2.1/servers", "limit=" + "9" * 5000, b"", {}, "")
@example("GET", "/v2.1/servers", "progress=" + "9" * 30, b"", {}, "")
@example("GET", "/v2.1/servers/detail", "ip=(%3Fi)10", b"", {}, "")
@example("GET", "/v2.1/servers", "changes-since=0001-01-01T00:00:00%2B23:59", b"", {}, "")
@example("GET", "/v2.1/os-simple-tenant-usage", "end=0001-01-01T00:00:00", b"", {}, "")
@example("GET", f"/v2.1/servers/{World.id('web')}/migrations/{'9' * 5000}", "", b"", {"OpenStack-API-Version": "compute 2.80"}, "")
@example("POST", f"/v2.1/servers/{World.id('off')}/action", "", b"[" * 100_000, {}, "application/json")
@example("POST", f"/v2.1/servers/{World.id('off')}/action", "", b'{"lock": {"locked_reason": "\\ud800"}}', {"OpenStack-API-Version": "compute 2.73"}, "")
@example("PUT", "/v2.1/os-services/enable", "", b"[" * 100_000, {}, "application/json")
@example("", "no-slash", "", b"", {}, "")
def test_nothing_is_our_fault(world: World, method: str, path: str, query: str, body: bytes, headers: dict[str, str], kind: str) -> None:
    began = time.thread_time()
    answer = send(world, method, path, query, body, headers, kind)
    assert answer.status_int < 500, answer.text
    assert time.thread_time() - began < LONGEST_S
    if answer.status_int >= 400 and method != "HEAD":
        ((_name, fault),) = answer.json.items()
        assert fault["code"] == answer.status_int


def test_the_world_is_still_there(world: World) -> None:
    """After all that, each server is shown and runs on one host at most."""
    assert len(world.ask("GET", "/v2.1/servers/detail").json["servers"]) == len(GUESTS)
    assert all(len(world.fleet.running_on(world.id(name))) <= 1 for name in GUESTS)
