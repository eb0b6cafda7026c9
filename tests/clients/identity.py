"""A private Keystone on a free port of the loopback address, on SQLite, gone when its context ends.

Its people: `admin`, in the project admin; `member`, `manager` and `reader`, each with the role of that name in the project demo; `livemig`, in the
project service, who may validate tokens. Everybody's password is PASSWORD.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from livemig.lab.service import free_port
from livemig.runtime import ThreadRuntime
from tests.clients.environments import environment

PASSWORD = "secret"
REGION = "RegionOne"
OLD = "RegionOld"  # for clients of old, which ask for an image service and are content with the compute service's 404
DEMO = ("member", "manager", "reader")
PROJECTS = {"admin": "admin", "livemig": "service", **dict.fromkeys(DEMO, "demo")}
RUNTIME = ThreadRuntime()
START_S = 60.0
CONFIG = """[DEFAULT]
log_file = {directory}/keystone.log
[database]
connection = sqlite:///{directory}/keystone.sqlite
[fernet_tokens]
key_repository = {directory}/fernet
[credential]
key_repository = {directory}/credential
[identity]
# The least that bcrypt has: the passwords are no secret.
password_hash_rounds = 4
"""


class Keystone:
    """A running Keystone."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._token = ""

    def access(self, user: str, region: str = REGION) -> dict[str, str]:
        """The environment variables by which a client is that user."""
        return {
            "OS_AUTH_TYPE": "password",
            "OS_AUTH_URL": self.url,
            "OS_IDENTITY_API_VERSION": "3",
            "OS_USERNAME": user,
            "OS_PASSWORD": PASSWORD,
            "OS_PROJECT_NAME": PROJECTS[user],
            "OS_USER_DOMAIN_ID": "default",
            "OS_PROJECT_DOMAIN_ID": "default",
            "OS_REGION_NAME": region,
        }

    def token(self, user: str = "admin") -> str:
        """A new token for that user's project."""
        domain = {"id": "default"}
        identity = {"methods": ["password"], "password": {"user": {"name": user, "domain": domain, "password": PASSWORD}}}
        asked = {"auth": {"identity": identity, "scope": {"project": {"name": PROJECTS[user], "domain": domain}}}}
        headers, _body = self._request("POST", "/auth/tokens", asked)
        return headers["X-Subject-Token"]

    def project_id(self, name: str) -> str:
        """The id of a project."""
        return self._id("projects", name)

    def user_id(self, name: str) -> str:
        """The id of a user."""
        return self._id("users", name)

    def offer(self, service_type: str, name: str, url: str, region: str = REGION) -> None:
        """Put a service and its public endpoint into the catalogue; one that the region has already gets the new URL."""
        services = self._get(f"/services?type={service_type}")["services"]
        service = services[0] if services else self._post("/services", "service", type=service_type, name=name)
        known = self._get(f"/endpoints?service_id={service['id']}&region_id={region}&interface=public")["endpoints"]
        if known:
            self._request("PATCH", f"/endpoints/{known[0]['id']}", {"endpoint": {"url": url}})
        else:
            self._post("/endpoints", "endpoint", service_id=service["id"], interface="public", region_id=region, url=url)

    def populate(self) -> None:
        """Make the projects and users, and the second region."""
        self._post("/regions", "region", id=OLD)
        roles = {role["name"]: role["id"] for role in self._get("/roles")["roles"]}
        projects = {name: self._post("/projects", "project", name=name, domain_id="default")["id"] for name in ("demo", "service")}
        for user, role in {**{name: name for name in DEMO}, "livemig": "service"}.items():
            made = self._post("/users", "user", name=user, password=PASSWORD, domain_id="default")
            self._request("PUT", f"/projects/{projects[PROJECTS[user]]}/users/{made['id']}/roles/{roles[role]}")

    def _id(self, kind: str, name: str) -> str:
        (found,) = self._get(f"/{kind}?name={name}")[kind]
        identity: str = found["id"]
        return identity

    def _get(self, path: str) -> Any:
        return self._request("GET", path)[1]

    def _post(self, path: str, noun: str, **facts: Any) -> Any:
        return self._request("POST", path, {noun: facts})[1][noun]

    def _request(self, method: str, path: str, body: Any = None) -> tuple[Mapping[str, str], Any]:
        if path != "/auth/tokens" and not self._token:
            self._token = self.token()
        request = urllib.request.Request(self.url + path, method=method, headers={"Content-Type": "application/json", "X-Auth-Token": self._token})
        try:
            with urllib.request.urlopen(request, json.dumps(body).encode() if body is not None else None, timeout=30) as answer:
                return answer.headers, json.loads(answer.read() or b"null")
        except urllib.error.HTTPError as fault:
            raise AssertionError(f"{method} {path}: {fault.code} {fault.read().decode()}") from None


@contextmanager
def keystone() -> Iterator[Keystone]:
    """A Keystone with its people and without any service but identity in its catalogue."""
    programs = environment("keystone")
    directory = Path(tempfile.mkdtemp(prefix="livemig-keystone-"))
    url = f"http://127.0.0.1:{(port := free_port())}/v3"
    try:
        _prepare(programs, directory, url)
        with _serving(programs, directory, port):
            served = Keystone(url)
            served.populate()
            yield served
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _prepare(programs: Path, directory: Path, url: str) -> None:
    """Database, keys, and the admin."""
    (directory / "keystone.conf").write_text(CONFIG.format(directory=directory))

    def manage(*words: str) -> None:
        command: list[str | Path] = [programs / "keystone-manage", "--config-file", directory / "keystone.conf", *words]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=_environment(directory), check=False)
        if done.returncode:
            raise AssertionError(f"keystone-manage {' '.join(words)}:\n{done.stdout}")

    me = ("--keystone-user", str(os.getuid()), "--keystone-group", str(os.getgid()))
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda words: manage(*words), [("db_sync",), ("fernet_setup", *me), ("credential_setup", *me)]))
    urls = [word for interface in ("admin", "internal", "public") for word in (f"--bootstrap-{interface}-url", url)]
    manage("bootstrap", "--bootstrap-password", PASSWORD, "--bootstrap-region-id", REGION, *urls)


@contextmanager
def _serving(programs: Path, directory: Path, port: int) -> Iterator[None]:
    command: list[str | Path] = [programs / "python", Path(__file__).with_name("identity_process.py"), str(port)]
    with (directory / "output").open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, env=_environment(directory), start_new_session=True)
    try:
        deadline = RUNTIME.monotonic() + START_S
        while "serving" not in (said := (directory / "output").read_text()):
            if process.poll() is not None or RUNTIME.monotonic() > deadline:
                raise AssertionError(f"Keystone did not start:\n{said}{(directory / 'keystone.log').read_text()[-4000:]}")
            RUNTIME.sleep(0.05)
        yield
    finally:
        process.terminate()
        process.wait(30)


def _environment(directory: Path) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "OS_KEYSTONE_CONFIG_DIR": str(directory), "PYTHONWARNINGS": "ignore"}
