"""API and conductor as processes of their own, with a real RabbitMQ and a real PostgreSQL."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from livemig.lab.lab import Lab
from livemig.lab.service import Service, free_port
from livemig.runtime import ThreadRuntime
from tests.lab.deployment import postgresql, rabbitmq

pytestmark = [pytest.mark.lab, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def service(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with rabbitmq() as transport_url, postgresql() as connection:
        more = f"[database]\nconnection = {connection}\n"
        hosts = lab.config().replace("[DEFAULT]\n", f"[DEFAULT]\ntransport_url = {transport_url}\n")
        service = Service(tmp_path_factory.mktemp("deployment"), hosts, ThreadRuntime(), more, ("livemig-api", "livemig-conductor"))
        manage(service, "db", "sync")
        service.start()
        yield service
        service.stop()


def manage(service: Service, *words: str) -> str:
    command = [str(Path(sys.executable).with_name("livemig-manage")), "--config-file", str(service.config), *words]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def test_moves_a_guest(lab: Lab, service: Service) -> None:
    guest = lab.add_guest("web", "node1")
    service.wait_seen(guest.uuid, ("ACTIVE", "node1"), 60)
    status, _headers, body = service.live_migrate(guest.uuid, "node2")
    assert (status, body) == (202, b"")
    service.wait_idle(guest.uuid)
    assert service.state(guest.uuid) == ("ACTIVE", "node2")
    assert guest.ticks().unbroken
    status, _headers, body = service.live_migrate(guest.uuid, "nosuch")
    assert (status, body) == (400, b'{"badRequest": {"code": 400, "message": "Compute host nosuch could not be found."}}')
    assert "every check passed" in manage(service, "migration", "events", "1")
    assert manage(service, "migration", "list") == ""
    assert "node1  up  QEMU" in manage(service, "host", "list")
    assert "newest revision" in manage(service, "db", "sync")
    guest.remove()


# WSGI servers of others: two processes with two threads each; {0} is the port.
SERVERS: dict[str, Sequence[str]] = {
    "gunicorn": ("gunicorn", "--workers", "2", "--threads", "2", "--bind", "127.0.0.1:{0}", "livemig.wsgi:application"),
    "uwsgi": ("uwsgi", "--master", "--processes", "2", "--threads", "2", "--die-on-term", "--http-socket", "127.0.0.1:{0}", "--module", "livemig.wsgi"),
}


@contextmanager
def served_by(server: str, service: Service) -> Iterator[None]:
    """The service's API is that of such a server, instead of livemig-api's."""
    port, own = free_port(), service.port
    command = [word.format(port) for word in SERVERS[server]]
    command[0] = str(Path(sys.executable).with_name(command[0]))
    with (service.directory / f"{server}.log").open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, env=os.environ | {"LIVEMIG_CONFIG_FILES": str(service.config)})
    try:
        service.url = f"http://127.0.0.1:{port}"
        service.wait(service.answers, 30, f"an answer of {server}")
        yield
    finally:
        service.url = f"http://127.0.0.1:{own}"
        process.terminate()
        assert process.wait(40) in (0, 30), (service.directory / f"{server}.log").read_text()


@pytest.mark.parametrize("server", SERVERS)
def test_other_wsgi_servers(lab: Lab, service: Service, server: str) -> None:
    guest = lab.add_guest(server, "node1")
    with served_by(server, service):
        service.wait_seen(guest.uuid, ("ACTIVE", "node1"), 60)
        assert service.live_migrate(guest.uuid, "node2")[0] == 202
        service.wait_idle(guest.uuid)
        assert service.state(guest.uuid) == ("ACTIVE", "node2")
        assert service.live_migrate(guest.uuid, "node2")[0] == 400
    guest.remove()
