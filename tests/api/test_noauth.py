"""Without authentication: this machine alone, and no page of a browser on it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.api.world import World

PAGE = "http://localhost:3000"


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., World]:
    """A world that nobody has furnished: only who is let in is asked for here."""
    return lambda **options: World(tmp_path_factory.mktemp("noauth"), **options)


@pytest.fixture(scope="module")
def world(start: Callable[..., World]) -> Iterator[World]:
    with start() as world:
        yield world


def asked(world: World, headers: dict[str, str], address: str | None = "127.0.0.1", method: str = "GET") -> tuple[int, str]:
    """Status and message of a request with these headers. A Host of "" is one that is not there."""
    given: dict[str, Any] = {"environ": {"REMOTE_ADDR": address} if address else {}}
    answer = world.request(method, "/v2.1/servers", headers=headers, **given)
    return answer.status_int, "" if answer.status_int == 200 else next(iter(answer.json.values()))["message"]


LET_IN: dict[str, tuple[dict[str, str], str | None]] = {
    "a client": ({}, "127.0.0.1"),
    "by IPv6": ({"Host": "[::1]:8774"}, "::1"),
    "by another loopback address": ({"Host": "127.1.2.3:8774"}, "127.1.2.3"),
    "by name": ({"Host": "localhost:8774"}, "127.0.0.1"),
    "by name, without a port": ({"Host": "LOCALHOST"}, "127.0.0.1"),
    "by a Unix socket": ({"Host": "localhost"}, None),
    "somebody who typed the address": ({"Host": "localhost", "Sec-Fetch-Site": "none"}, "127.0.0.1"),
    "our own page": ({"Host": "localhost:8774", "Origin": "http://localhost:8774", "Sec-Fetch-Site": "same-origin"}, "127.0.0.1"),
}


@pytest.mark.parametrize("case", LET_IN)
def test_who_is_let_in(world: World, case: str) -> None:
    headers, address = LET_IN[case]
    assert asked(world, headers, address) == (200, "")


NOT_AS = "auth_strategy noauth is reached as localhost or by a loopback address, not as {}."
PROXY = "auth_strategy noauth does not serve what a proxy passes on ({})."
FOREIGN = "Pages of {} may not use this API; [cors] allowed_origin names those that may."

REFUSED: dict[str, tuple[dict[str, str], str, str]] = {
    "another machine": ({}, "192.0.2.7", "auth_strategy noauth serves this machine only, not 192.0.2.7."),
    "what is no address": ({}, "unknown", "auth_strategy noauth serves this machine only, not unknown."),
    "a name that was made to be ours": ({"Host": "evil.example.org:8774"}, "127.0.0.1", NOT_AS.format("evil.example.org:8774")),
    "a name that begins like ours": ({"Host": "localhost.example.org"}, "127.0.0.1", NOT_AS.format("localhost.example.org")),
    "a name that begins like our address": ({"Host": "127.0.0.1.example.org"}, "127.0.0.1", NOT_AS.format("127.0.0.1.example.org")),
    "our name as a user": ({"Host": "localhost@example.org"}, "127.0.0.1", NOT_AS.format("localhost@example.org")),
    "the address of all": ({"Host": "0.0.0.0:8774"}, "127.0.0.1", NOT_AS.format("0.0.0.0:8774")),
    "no host at all": ({"Host": "http://["}, "127.0.0.1", NOT_AS.format("http://[")),
    "a page of another site": ({"Origin": "https://evil.example.org"}, "127.0.0.1", FOREIGN.format("https://evil.example.org")),
    "a page of another port": ({"Origin": PAGE}, "127.0.0.1", FOREIGN.format(PAGE)),
    "a page from a file": ({"Origin": "null"}, "127.0.0.1", FOREIGN.format("null")),
    "a link of another site": ({"Sec-Fetch-Site": "cross-site"}, "127.0.0.1", FOREIGN.format("another site")),
    "a page of another host of ours": ({"Sec-Fetch-Site": "same-site"}, "127.0.0.1", FOREIGN.format("another site")),
    **{
        f"a proxy that says {name}": ({name: "192.0.2.7"}, "127.0.0.1", PROXY.format(name))
        for name in ("Forwarded", "Via", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Real-IP")
    },
}


@pytest.mark.parametrize("case", REFUSED)
def test_who_is_refused(world: World, case: str) -> None:
    headers, address, message = REFUSED[case]
    assert asked(world, headers, address) == (403, message)


def test_what_a_proxy_says_of_its_client_is_not_believed(start: Callable[..., World]) -> None:
    with start(oslo_middleware__enable_proxy_headers_parsing=True) as world:
        assert asked(world, {"X-Forwarded-For": "127.0.0.1", "X-Forwarded-Host": "localhost"}, "192.0.2.7")[0] == 403
        assert asked(world, {"X-Forwarded-For": "127.0.0.1", "X-Forwarded-Host": "localhost"})[0] == 403


def test_behind_a_proxy_if_it_is_configured(start: Callable[..., World]) -> None:
    with start(api__noauth_behind_proxy=True) as world:
        assert asked(world, {"X-Forwarded-For": "192.0.2.7", "Host": "livemig.example.org"}) == (200, "")
        assert asked(world, {"X-Forwarded-For": "192.0.2.7"}, "192.0.2.8")[0] == 403  # a proxy elsewhere
        assert asked(world, {"Host": "livemig.example.org", "Origin": "https://evil.example.org"})[0] == 403


def test_pages_that_are_configured(start: Callable[..., World]) -> None:
    with start(cors__allowed_origin=[PAGE]) as world:
        assert asked(world, {"Origin": PAGE, "Sec-Fetch-Site": "cross-site"}) == (200, "")
        assert asked(world, {"Origin": "http://localhost:3001"})[0] == 403
        preflight = {"Origin": PAGE, "Access-Control-Request-Method": "GET"}
        answer = world.request("OPTIONS", "/v2.1/servers", headers=preflight)
        assert (answer.status_int, answer.headers["Access-Control-Allow-Origin"]) == (200, PAGE)


def test_all_pages_are_not_configured(start: Callable[..., World]) -> None:
    with start(cors__allowed_origin=["*"]) as world:
        assert asked(world, {"Origin": PAGE})[0] == 403


def test_a_form_of_another_site_switches_nothing_off(world: World) -> None:
    """A form may send JSON as text/plain without asking first."""
    form = {"Origin": "https://evil.example.org", "Sec-Fetch-Site": "cross-site"}
    answer = world.request("POST", f"/v2.1/servers/{World.id('web')}/action", headers=form, body=b'{"os-stop": null}', content_type="text/plain")
    assert answer.status_int == 403


def test_versions_too(world: World) -> None:
    assert world.request("GET", "/", headers={"Host": "evil.example.org"}).status_int == 403
    assert world.request("GET", "/").status_int == 200
