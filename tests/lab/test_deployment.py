"""API and conductor as processes of their own, with a real RabbitMQ and a real PostgreSQL."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from livemig.lab.lab import Lab
from livemig.lab.service import Service
from livemig.runtime import ThreadRuntime
from tests.lab.deployment import postgresql, rabbitmq

pytestmark = [pytest.mark.lab, pytest.mark.timeout(300)]


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
