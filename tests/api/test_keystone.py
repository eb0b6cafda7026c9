"""The keystone pipeline without a Keystone: what its middleware's headers make of a request, and what is said to those who have no token."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import webob

from livemig.api.app import Api
from livemig.api.auth import KeystoneContext
from livemig.api.request import CONTEXT
from livemig.conf import ConfigurationError
from livemig.context import RequestContext
from tests.api.world import SHOP, World

URI = "http://127.0.0.1:9/v3"  # nobody listens there


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    options: dict[str, Any] = {"www_authenticate_uri": URI, "http_request_max_retries": 0, "http_connect_timeout": 1, "auth_type": "none"}
    with World(
        tmp_path_factory.mktemp("keystone"), api__auth_strategy="keystone", **{f"keystone_authtoken__{name}": value for name, value in options.items()}
    ) as world:
        yield world


def test_who_cannot_log_in_to_keystone_does_not_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="auth_type is missing"), World(tmp_path, api__auth_strategy="keystone"):
        pass


@pytest.mark.parametrize("path", ["/v2.1/servers", "/v2.1/servers/detail", "/servers", "/v2.1/nope"])
def test_without_a_token(world: World, path: str) -> None:
    answer = world.request("GET", path)
    assert answer.status_int == 401
    assert answer.headers["WWW-Authenticate"] == f'Keystone uri="{URI}"'
    assert answer.headers["x-openstack-request-id"] == answer.headers["x-compute-request-id"]
    assert answer.json == {"unauthorized": {"code": 401, "message": "Unauthorized"}}


@pytest.mark.parametrize("path", ["/", "/v2.1", "/v2.1/", f"/v2.1/{SHOP}", "/v2/"])
def test_versions_need_no_token(world: World, path: str) -> None:
    assert world.request("GET", path).status_int == 200


def test_headers_alone_are_no_token(world: World) -> None:
    claimed = {"X-Identity-Status": "Confirmed", "X-User-Id": "alice", "X-Project-Id": SHOP, "X-Roles": "admin"}
    assert world.request("GET", "/v2.1/servers", headers=claimed).status_int == 401


HEADERS = {"X-User-Id": "alice", "X-Project-Id": SHOP, "X-Roles": "member, reader", "OpenStack-System-Scope": "all"}


def behind(headers: dict[str, str]) -> tuple[webob.Response, RequestContext | None]:
    """The answer to a request with the headers that keystonemiddleware sets, and the context that the application saw."""
    seen: list[RequestContext] = []

    def application(environ: dict[str, Any], start_response: Any) -> Any:
        seen.append(environ[CONTEXT])
        return webob.Response()(environ, start_response)

    environ: Any = {"openstack.request_id": "req-1"}
    request = webob.Request.blank("/v2.1/servers", headers=headers, environ=environ)
    return request.get_response(KeystoneContext(application)), seen[0] if seen else None


def test_the_context_is_what_the_middleware_found() -> None:
    answer, context = behind(HEADERS)
    assert answer.status_int == 200
    assert context is not None
    assert (context.user_id, context.project_id, context.roles, context.system_scope) == ("alice", SHOP, ["member", "reader"], "all")
    assert context.request_id == "req-1"
    assert not context.is_admin  # the policy says who is


@pytest.mark.parametrize("headers", [{}, {"X-Project-Id": SHOP, "X-Roles": "admin"}, {**HEADERS, "X-User-Id": ""}])
def test_nobody_is_refused(headers: dict[str, str]) -> None:
    answer, context = behind(headers)
    assert (answer.status_int, context) == (401, None)
    assert answer.headers["WWW-Authenticate"] == "Keystone"
    assert answer.json == {"unauthorized": {"code": 401, "message": "Authentication required"}}


@pytest.mark.parametrize(("roles", "status"), [("admin", 200), ("reader", 403), ("", 403)])
def test_roles_reach_the_policies(world: World, roles: str, status: int) -> None:
    application = KeystoneContext(Api(world.services))
    headers = {"X-User-Id": "alice", "X-Project-Id": SHOP, "X-Roles": roles}
    assert webob.Request.blank("/v2.1/os-services", headers=headers).get_response(application).status_int == status
    assert webob.Request.blank("/v2.1/limits", headers=headers).get_response(application).status_int == 200
