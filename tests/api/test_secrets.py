"""No secret is in a log or in an answer, whatever fails: everything is logged, and broker, database and Keystone are away."""

from __future__ import annotations

import base64
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import bcrypt
import pytest
from oslo_config import cfg

from livemig.cli import all as livemig_all
from livemig.cli import api, conductor, manage
from tests.here import Here, synced

BROKER, DATABASE, KEYSTONE, TOKEN, PASSWORD = SECRETS = ("brokers-secret", "databases-secret", "keystones-secret", "gAAAA-the-token", "alices-secret")
HASH = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode()
BASIC = "Basic " + base64.b64encode(f"alice:{PASSWORD}".encode()).decode()
HIDDEN = (*SECRETS, HASH, BASIC.removeprefix("Basic "))

SERVER = "/v2.1/servers/5b2d7b1e-6d8f-4b5e-9a3c-2f1f0a4c6d7e"
REQUESTS: Sequence[tuple[str, str, bytes | None]] = [
    ("GET", "/v2.1/servers/detail", None),
    ("GET", "/v2.1/servers?name=(", None),
    ("GET", f"{SERVER}/diagnostics", None),
    ("POST", f"{SERVER}/action", b'{"os-migrateLive": {"host": null, "block_migration": "auto"}}'),
    ("POST", f"{SERVER}/action", b'{"pause": null}'),
    ("POST", f"{SERVER}/action", b"{"),
]


def ask(here: Here, method: str, path: str, body: bytes | None, headers: Mapping[str, str]) -> str:
    """Everything of the answer."""
    request = urllib.request.Request(f"http://127.0.0.1:{here.port}{path}", body, {"Content-Type": "application/json", **headers}, method=method)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return f"{answer.status} {answer.headers} {answer.read().decode()}"
    except urllib.error.HTTPError as error:
        with error:
            return f"{error.status} {error.headers} {error.read().decode()}"


LEVELS = ",".join(
    f"{name}=DEBUG" for name in ("amqp", "kombu", "keystoneauth", "keystonemiddleware", "oslo_messaging", "oslo.messaging", "sqlalchemy", "urllib3")
)


def free() -> int:
    """A port where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port: int = listening.getsockname()[1]
    return port


def away(database: bool) -> str:
    text = (
        f"[DEFAULT]\ndebug = true\ndefault_log_levels = {LEVELS}\ntransport_url = rabbit://livemig:{BROKER}@127.0.0.1:{free()}/\n[api]\nconductor_timeout = 1\n"
    )
    if database:
        text += f"[database]\nmax_retries = 0\nconnection = postgresql+psycopg2://livemig:{DATABASE}@127.0.0.1:{free()}/livemig\n"
    return text


def strategies(here: Here) -> dict[str, tuple[str, Mapping[str, str]]]:
    """Configuration, and the headers of a request."""
    file = here.directory / "htpasswd"
    file.write_text(f"alice:{HASH}\n")
    file.chmod(0o600)
    keystone = f"auth_type = password\nauth_url = http://127.0.0.1:{free()}/v3\nusername = livemig\npassword = {KEYSTONE}\nhttp_request_max_retries = 0\n"
    return {
        "http_basic": (f"[api]\nauth_strategy = http_basic\n[http_basic]\nuser_file = {file}\nroles = alice:admin\n", {"Authorization": BASIC}),
        "keystone": (f"[api]\nauth_strategy = keystone\n[keystone_authtoken]\n{keystone}", {"X-Auth-Token": TOKEN}),
    }


def silent(said: str) -> None:
    assert [secret for secret in HIDDEN if secret in said] == []


def running(here: Here, command: str, deed: Callable[[], None]) -> str:
    """What the command, as a process, has said when the deed is done."""
    output = here.directory / "output"
    with output.open("wb") as written:
        started = subprocess.Popen([str(Path(sys.executable).with_name(command)), *here.arguments], stdout=written, stderr=written)
    try:
        deed()
    finally:
        started.terminate()
        started.wait(30)
    return output.read_text()


@pytest.mark.parametrize("strategy", ["http_basic", "keystone"])
@pytest.mark.parametrize("database", [True, False], ids=["no database", "no broker"])
def test_the_api(here: Here, capsys: pytest.CaptureFixture[str], strategy: str, database: bool) -> None:
    synced(here, capsys)
    configuration, headers = strategies(here)[strategy]
    here.write(["a"], more=away(database) + configuration)
    answers: list[str] = []

    def deed() -> None:
        here.wait(lambda: here.get("/")["versions"], 60)
        for version in ("2.1", "2.34"):
            answers.extend(ask(here, *request, {**headers, "X-OpenStack-Nova-API-Version": version}) for request in REQUESTS)
        answers.append(ask(here, *REQUESTS[0], {name: f"{value}x" for name, value in headers.items()}))

    said = running(here, "livemig-api", deed)
    assert "status: " in said and "DEBUG" in said
    assert any(answer.startswith("503") for answer in answers) == (strategy == "keystone" or database)
    silent(said + "".join(answers))


@pytest.mark.parametrize("database", [True, False], ids=["no database", "no broker"])
def test_a_conductor(here: Here, capsys: pytest.CaptureFixture[str], database: bool) -> None:
    synced(here, capsys)
    here.write(["a"], more=away(database))
    output = here.directory / "output"
    said = running(here, "livemig-conductor", lambda: here.wait(lambda: output.exists() and "refused" in output.read_text(), 60))
    silent(said)


def test_the_tools(here: Here, capsys: pytest.CaptureFixture[str]) -> None:
    here.write(["a"], more=away(True))
    assert manage.main([*here.arguments, "host", "list"]) != 0
    said = "".join(capsys.readouterr())
    assert "refused" in said
    silent(said)


# A URL that is wrong → what is said of it.
NO_BROKER = "it is no URL like rabbit://USER:PASSWORD@HOST:PORT/"
NO_DATABASE = "it is no URL like postgresql+psycopg2://USER:PASSWORD@HOST/DATABASE"
WRONG: dict[str, tuple[str, str, str]] = {
    "no scheme": ("transport_url", f"livemig_{BROKER}@127.0.0.1", NO_BROKER),
    "a port that is none": ("transport_url", f"rabbit://livemig:{BROKER}@127.0.0.1:{BROKER}/", NO_BROKER),
    "a slash in the password": ("transport_url", f"rabbit://livemig:{BROKER}/x@127.0.0.1:5672/", NO_BROKER),
    "a bracket in the password": ("transport_url", f"rabbit://livemig:[{BROKER}@127.0.0.1:5672/", NO_BROKER),
    "another broker": ("transport_url", f"carrier-pigeon://livemig:{BROKER}@127.0.0.1/", "oslo.messaging has no driver of that name"),
    "no database": ("connection", f"livemig:{DATABASE}@127.0.0.1", NO_DATABASE),
    "a port of a database that is none": ("connection", f"postgresql://livemig:x@127.0.0.1:{DATABASE}/livemig", NO_DATABASE),
    "another database": ("connection", f"papyrus://livemig:{DATABASE}@127.0.0.1/livemig", "SQLAlchemy has no driver of that name"),
    "a driver that is not there": ("connection", f"oracle+cx_oracle://livemig:{DATABASE}@127.0.0.1/livemig", "the driver cx_Oracle is not installed"),
}


COMMANDS = {"transport_url": [api.main, conductor.main], "connection": [api.main, conductor.main, livemig_all.main]}


@pytest.mark.parametrize("case", WRONG)
def test_a_url_that_is_wrong_is_one_line(here: Here, capsys: pytest.CaptureFixture[str], case: str) -> None:
    option, value, reason = WRONG[case]
    group = "DEFAULT" if option == "transport_url" else "database"
    synced(here, capsys)
    here.write(["a"], more=f"[{group}]\n{option} = {value}\n")
    for main in COMMANDS[option]:
        assert main(here.arguments) == 1
        said = "".join(capsys.readouterr())
        assert said.splitlines()[-1] == f"livemig: [{group}] {option} cannot be used: {reason}"
        assert "Traceback" not in said
        silent(said)
        cfg.CONF.reset()
