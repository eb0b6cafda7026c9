"""Whatever stands in headers, under each way to log in: a fault and no 5xx, in time, and nobody is let in by them."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Iterator
from typing import Any

import bcrypt
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from livemig.api.loading import load_application
from livemig.api.request import Request
from tests.api.test_fuzz import VERSIONS
from tests.api.world import World

NAMES = [
    *("X-OpenStack-Nova-API-Version", "OpenStack-API-Version", "X-Auth-Token", "X-Service-Token", "X-Subject-Token", "Authorization", "Accept", "Cookie"),
    *("X-OpenStack-Request-ID", "X-Roles", "X-User-Id", "X-Project-Id", "X-Identity-Status", "X-Is-Admin-Project", "OpenStack-System-Scope"),
    *("Host", "Origin", "Sec-Fetch-Site", "Access-Control-Request-Method", "Access-Control-Request-Headers", "Referer", "User-Agent", "Expect", "Range"),
    *("Forwarded", "Via", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Forwarded-Prefix", "X-Real-IP", "X-HTTP-Method-Override"),
    *("If-Match", "If-Modified-Since", "If-Range", "Content-Encoding", "Transfer-Encoding", "Accept-Encoding", "Accept-Language", "Date"),
]
BASIC = ["Basic " + base64.b64encode(token).decode() for token in (b"", b":", b"alice", b"alice:no", b"\xff:\xff", b"a" * 300 + b":" + b"b" * 300, b"alice:\0")]
VALUES = [
    *("", " ", ",", ";", "=", "a=b;c=d", '"', "é", "\xff\xfe", "*/*", "text/html;q=x", "0", "-1", "9" * 400, "x" * 5000, "None", "null", "admin", "Confirmed"),
    *("localhost", "localhost:99999999", "[::1]:8774", "[::1", "http://[", "//", "a b", "%00", "evil.example.org", "../..", "req-" + "f" * 300, "\t"),
    *("for=127.0.0.1;proto=https;host=x", "for=[::1", "proto=javascript", "for=;;;,,,", "https", "gopher", "bytes=0-", "100-continue", "gzip", "chunked"),
    *BASIC,
]
values = st.one_of(
    st.sampled_from([*VALUES, *VERSIONS, *(f"compute {version}" for version in VERSIONS)]), st.text(st.characters(max_codepoint=255), max_size=30)
)
headers = st.dictionaries(st.sampled_from(NAMES), values, max_size=6)
LENGTHS = [None, None, "", "0", "-1", "abc", "1", "5", "99999999999999999999", "1e3", "٣", " 5 ", "+5", "0x5", "5, 5"]
TYPES = [
    "application/json",
    "",
    "text/plain",
    "application/json; charset=nonsense",
    "application/json; charset=utf-16",
    "a/b; boundary=",
    ";",
    "/",
    "é",
    "x" * 3000,
]
REQUESTS = [
    ("GET", "/v2.1/servers/detail", b""),
    ("GET", "/", b""),
    ("GET", "/v2.1/openapi.json", b""),
    ("POST", f"/v2.1/servers/{World.id('off')}/action", b'{"lock": null}'),
    ("PUT", "/v2.1/os-services/enable", b'{"host": "node1", "binary": "nova-compute"}'),
    ("OPTIONS", "/v2.1/servers", b""),
]

STRATEGIES: dict[str, dict[str, Any]] = {
    "noauth": {},
    "a proxy": {"api__noauth_behind_proxy": True, "oslo_middleware__enable_proxy_headers_parsing": True, "cors__allowed_origin": ["http://localhost"]},
    "http_basic": {"api__auth_strategy": "http_basic"},
    "keystone": {
        "api__auth_strategy": "keystone",
        "keystone_authtoken__auth_type": "none",
        "keystone_authtoken__www_authenticate_uri": "http://127.0.0.1:9/v3",
        "keystone_authtoken__http_request_max_retries": 0,
    },
}


@pytest.fixture(scope="module", params=STRATEGIES)
def asked(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Callable[..., Any]]]:
    """The strategy, and what asks a service that has it: the answer, and the seconds of processor time that it took."""
    directory = tmp_path_factory.mktemp("headers")
    options = dict(STRATEGIES[request.param])
    if request.param == "http_basic":
        users = directory / "htpasswd"
        users.write_text(f"alice:{bcrypt.hashpw(b'secret', bcrypt.gensalt(4)).decode()}\n")
        users.chmod(0o600)
        options["http_basic__user_file"] = str(users)
    with World(directory, **options) as world:
        application = load_application(world.services)  # and nothing of the tests before it that reads the body

        def ask(wanted: tuple[str, str, bytes], given: dict[str, str], length: str | None, kind: str) -> tuple[Any, float]:
            method, path, body = wanted
            made = Request.blank(path, method=method)
            made.body = body
            environ = made.environ | {"CONTENT_TYPE": kind, "REMOTE_ADDR": "127.0.0.1"}
            environ |= {f"HTTP_{name.upper().replace('-', '_')}": value for name, value in given.items()}
            if length is not None:
                environ["CONTENT_LENGTH"] = length
            began = time.thread_time()
            answer = Request(environ).get_response(application)
            return answer, time.thread_time() - began

        yield request.param, ask


@settings(max_examples=150, derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.sampled_from(REQUESTS), headers, st.sampled_from(LENGTHS), st.sampled_from(TYPES))
@example(REQUESTS[3], {}, "abc", "application/json")
@example(REQUESTS[3], {}, "99999999999999999999", "application/json")
@example(REQUESTS[3], {}, "-1", "application/json")
@example(REQUESTS[0], {"Host": "http://["}, None, "")
@example(REQUESTS[1], {"X-Forwarded-Prefix": "\x80"}, None, "")
@example(REQUESTS[0], {"Authorization": "Basic é"}, None, "")
@example(REQUESTS[5], {"Origin": "http://localhost", "Access-Control-Request-Method": "PUT"}, None, "")
def test_whatever_stands_in_them(
    asked: tuple[str, Callable[..., Any]], wanted: tuple[str, str, bytes], given: dict[str, str], length: str | None, kind: str
) -> None:
    strategy, ask = asked
    answer, seconds = ask(wanted, given, length, kind)
    away = strategy == "keystone" and bool({"X-Auth-Token", "X-Service-Token"} & set(given))  # it cannot be asked
    assert answer.status_int < 500 or (away and answer.status_int == 503), answer.text
    assert seconds < 5
    if strategy in ("http_basic", "keystone") and wanted[1] != "/" and wanted[0] != "OPTIONS":
        assert answer.status_int >= 400, "let in without a password"
    if answer.status_int >= 400:
        ((_name, fault),) = answer.json.items()
        assert fault["code"] == answer.status_int
