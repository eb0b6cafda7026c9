"""livemig-all on simulated hosts, serving in one of the three ways to log in; and how a client gets in there."""

from __future__ import annotations

import base64
import json
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from livemig.lab.service import Service
from livemig.runtime import ThreadRuntime
from livemig.testing.fleet import guest_uuid
from livemig.testing.fleetfile import each
from tests.clients.identity import DEMO, OLD, PASSWORD, REGION, Keystone
from tests.clients.runner import Named

RUNTIME = ThreadRuntime()
HOSTS = ("node1", "node2", "node3")
# Kinds of guests, each as many times as the tests take one. A test takes its own, so none meets what another left.
FLEET = """
speed: 4
hosts:
  - {name: "node{n}", count: 3, memory_mib: 262144, vcpus: 64}
directories:
  - {path: /srv/shared}
  - {path: /var/lib/images, host: node1}
guests:
  - {name: "web{n}", count: 60, host: node1, memory_mib: 256, dirty_mib_s: 1}
  - {name: "busy{n}", count: 20, host: node1, memory_mib: 1024, dirty_mib_s: 8000, working_set_mib: 1000}
  - {name: "paused{n}", count: 9, host: node1, memory_mib: 256, state: paused}
  - {name: "off{n}", count: 9, host: node1, memory_mib: 256, state: shutoff}
  - {name: "local{n}", count: 9, host: node1, memory_mib: 256, disks: [{path: /var/lib/images/local.qcow2, size_mib: 64}]}
  - {name: "moved{n}", count: 3, host: node3, memory_mib: 256}
  - name: "theirs{n}"
    count: 9
    host: node1
    memory_mib: 256
    metadata: {"urn:livemig:server:1": [livemig, "<server><owner><project uuid='PROJECT'/></owner></server>"]}
"""
GUESTS = len(list(each(yaml.safe_load(FLEET)["guests"])))
BCRYPT = "$2b$04$GTJ/4gSlSo2WyGYqzhY4D.vzBhE4peCqvBGoSEG8shfVkYRaspwSq"  # of PASSWORD
SETTINGS = """
[conductor]
monitor_interval = 0.1
progress_interval = 0.1
"""


class Stage:
    """The running service. `style` is how its clients log in."""

    def __init__(self, service: Service, style: str, keystone: Keystone | None) -> None:
        self.service = service
        self.style = style
        self.url = f"{service.url}/v2.1"
        self._keystone = keystone
        self._taken: Counter[str] = Counter()

    def guest(self, kind: str = "web") -> Named:
        """The id of a guest that no test has had yet."""
        self._taken[kind] += 1
        return Named(guest_uuid(f"{kind}{self._taken[kind]}"), "SERVER" if kind == "web" else kind.upper())

    def access(self, user: str = "admin", program: str = "openstack") -> dict[str, str]:
        """The environment variables by which a client logs in. The nova command asks for more than it needs."""
        if self._keystone:
            return self._keystone.access(user)
        fixed = {"OS_AUTH_TYPE": self.style, "OS_ENDPOINT": self.url, "OS_IDENTITY_API_VERSION": "3"}
        basic = {"OS_USERNAME": user, "OS_PASSWORD": PASSWORD, "OS_IDENTITY_ENDPOINT_OVERRIDE": self.url}
        asked = {"OS_USERNAME": user, "OS_PROJECT_ID": "any", "OS_AUTH_URL": "any"} if program == "nova" else {}
        return fixed | asked | (basic if self.style == "http_basic" else {})

    def headers(self, user: str = "admin") -> dict[str, str]:
        """The headers by which a request of our own logs in."""
        if self._keystone:
            return {"X-Auth-Token": self._keystone.token(user)}
        basic = base64.b64encode(f"{user}:{PASSWORD}".encode()).decode()
        return {"Authorization": f"Basic {basic}"} if self.style == "http_basic" else {}

    def request(self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None) -> tuple[int, Mapping[str, str], Any]:
        """(status, headers, body) of an answer, faults included."""
        given = {"Content-Type": "application/json", **self._admin, **(headers or {})}
        request = urllib.request.Request(self.url + path, json.dumps(body).encode() if body is not None else None, given, method=method)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, answer.headers, json.loads(answer.read() or b"null")
        except urllib.error.HTTPError as fault:
            return fault.code, dict(fault.headers), json.loads(fault.read() or b"null")

    def listed(self) -> list[dict[str, Any]]:
        """All servers, as a list has them."""
        status, _headers, body = self.request("GET", "/servers?all_tenants=1")
        assert status == 200, body
        found: list[dict[str, Any]] = body["servers"]
        return found

    def show(self, server: str) -> dict[str, Any]:
        """A server, as the API has it."""
        status, _headers, body = self.request("GET", f"/servers/{server}")
        assert status == 200, body
        shown: dict[str, Any] = body["server"]
        return shown

    def state(self, server: str) -> tuple[str, str]:
        """(status, host) of a server."""
        shown = self.show(server)
        return shown["status"], shown["OS-EXT-SRV-ATTR:host"]

    def wait(self, server: str, *states: tuple[str, str]) -> None:
        """Wait until a server is in one of these states."""
        self.service.wait(lambda: self.state(server) in states, 60, f"{server} to be {states}; it is {self.state(server)}", 0.05)

    def settle(self, server: str) -> tuple[str, str]:
        """Wait until a server is not being migrated; its state."""
        self.service.wait(lambda: self.state(server)[0] != "MIGRATING", 60, f"the end of {server}'s migration", 0.05)
        return self.state(server)

    def migrate(self, server: str, host: str | None) -> None:
        """Have a server migrated."""
        asked = {"os-migrateLive": {"host": host, "block_migration": False, "disk_over_commit": False}}
        status, _headers, body = self.request("POST", f"/servers/{server}/action", asked)
        assert status == 202, body

    def in_progress(self, server: str) -> list[dict[str, Any]]:
        """A server's migrations in progress."""
        _status, _headers, body = self.request("GET", f"/servers/{server}/migrations", headers={"OpenStack-API-Version": "compute 2.80"})
        found: list[dict[str, Any]] = body["migrations"]
        return found

    def number(self, server: str) -> Named:
        """The number of a server's migration in progress."""
        (migration,) = self.in_progress(server)
        return Named(migration["id"], "NUMBER")

    def running(self, server: str) -> None:
        """Wait until a server's migration runs, so that it can be forced."""
        self.service.wait(lambda: [each["status"] for each in self.in_progress(server)] == ["running"], 30, f"{server}'s migration to run", 0.05)

    @cached_property
    def _admin(self) -> dict[str, str]:
        return self.headers()


@contextmanager
def simulated(directory: Path, style: str, keystone: Keystone | None) -> Iterator[Stage]:
    """livemig-all on simulated hosts, with its guests in sight."""
    (directory / "fleet.yaml").write_text(FLEET.replace("PROJECT", keystone.project_id("demo") if keystone else "demo"))
    groups = "".join(f"\n[host:{name}]\nconnection_uri = qemu+tcp://{name}/system\n" for name in HOSTS)
    mock = f"\n[libvirt]\ndriver = mock\n[mock]\nfleet = {directory}/fleet.yaml\n"
    hosts = f"enabled_hosts = {','.join(HOSTS)}\nmax_concurrent_live_migrations = 0\n{groups}{mock}"
    with serving(directory, hosts, style, keystone) as made:
        made.service.wait(lambda: len(made.listed()) == GUESTS, 30, "all guests to be seen")
        yield made


@contextmanager
def serving(directory: Path, hosts: str, style: str, keystone: Keystone | None) -> Iterator[Stage]:
    """livemig-all on these hosts, which are a part of its configuration."""
    service = Service(directory, hosts, RUNTIME, SETTINGS + AUTHENTICATION[style](directory, keystone))
    if keystone:
        url = f"{service.url}/v2.1"
        for service_type, region in (("compute", REGION), ("compute", OLD), ("image", OLD)):
            keystone.offer(service_type, f"livemig-{service_type}", url, region)
    try:
        service.start()
        yield Stage(service, style, keystone)
    finally:
        service.stop()


def _none(_directory: Path, _keystone: Keystone | None) -> str:
    return ""


def _http_basic(directory: Path, _keystone: Keystone | None) -> str:
    (directory / "htpasswd").write_text("".join(f"{user}:{BCRYPT}\n" for user in ("admin", *DEMO)))
    (directory / "htpasswd").chmod(0o600)
    roles, projects = (",".join(pairs) for pairs in ([f"{user}:{user}" for user in ("admin", *DEMO)], [f"{user}:demo" for user in DEMO]))
    return f"\n[api]\nauth_strategy = http_basic\n[http_basic]\nuser_file = {directory}/htpasswd\nroles = {roles}\nprojects = {projects}\n"


def _password(_directory: Path, keystone: Keystone | None) -> str:
    assert keystone
    options = {
        "www_authenticate_uri": keystone.url,
        "auth_url": keystone.url,
        "auth_type": "password",
        "username": "livemig",
        "password": PASSWORD,
        "project_name": "service",
        "user_domain_id": "default",
        "project_domain_id": "default",
        "service_token_roles_required": "true",
    }
    return "\n[api]\nauth_strategy = keystone\n[keystone_authtoken]\n" + "".join(f"{name} = {value}\n" for name, value in options.items())


AUTHENTICATION: dict[str, Callable[[Path, Keystone | None], str]] = {"none": _none, "http_basic": _http_basic, "password": _password}
