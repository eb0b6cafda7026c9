"""An operator at Horizon: logs in, sees the servers, and moves one through the form, on real hosts with a real guest."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from livemig.lab.guests import Guest
from livemig.lab.lab import Lab
from tests.clients import record as records
from tests.clients.environments import ROOT, environment
from tests.clients.identity import PASSWORD, Keystone, keystone
from tests.clients.stage import Stage, serving
from tests.horizon.dashboard import horizon

pytestmark = [pytest.mark.lab, pytest.mark.clients, pytest.mark.timeout(600)]

# What docs/dashboards.md shows.
PICTURES = {"form.png": ROOT / "docs" / "horizon-form.png", "after.png": ROOT / "docs" / "horizon.png"}


@pytest.fixture(scope="module")
def identity() -> Iterator[Keystone]:
    with keystone() as running:
        yield running


@pytest.fixture(scope="module")
def service(lab: Lab, identity: Keystone, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with serving(tmp_path_factory.mktemp("service"), lab.config(), "password", identity) as running:
        yield running


@pytest.fixture
def guest(lab: Lab, service: Stage) -> Iterator[Guest]:
    guest = lab.add_guest("web", "node1")
    service.service.wait(lambda: [each["id"] for each in service.listed()] == [guest.uuid], 30, "the guest to be seen")
    yield guest
    guest.remove()


@pytest.fixture
def browser(identity: Keystone, tmp_path: Path) -> Iterator[Any]:
    """Plays the operator with a server; what was seen."""
    with horizon(tmp_path, identity.url) as url:

        def play(server: str, source: str, destination: str) -> dict[str, Any]:
            asked = {
                "url": url,
                "user": "admin",
                "password": PASSWORD,
                "server": server,
                "source": source,
                "destination": destination,
                "pictures": str(tmp_path),
            }
            command: list[str | Path] = [environment("browser") / "python", Path(__file__).with_name("browser_process.py"), json.dumps(asked)]
            variables = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "LANG": "C.UTF-8"}
            done = subprocess.run(command, capture_output=True, text=True, env=variables, timeout=400, check=False)
            assert done.returncode == 0, f"{done.stdout}{done.stderr}{(tmp_path / 'output').read_text()[-3000:]}"
            if records.wanted():
                for picture, kept in PICTURES.items():
                    kept.write_bytes((tmp_path / picture).read_bytes())
            seen: dict[str, Any] = json.loads(done.stdout)
            return seen

        yield play


def test_a_server_is_moved_through_the_form(service: Stage, guest: Guest, browser: Any) -> None:
    seen = browser(guest.uuid, "node1", "node2")
    assert seen["before"] | {"Name": "web", "Host": "node1", "Status": "Active", "Power State": "Running"} == seen["before"]
    assert [each.strip() for each in seen["offered"]] == ["Automatically schedule new host.", "node2"]
    assert "The instance is preparing the live migration to a new host." in seen["said"]
    assert seen["after"] | {"Name": "web", "Host": "node2", "Status": "Active"} == seen["after"]
    assert seen["back"]["Host"] == "node1"  # with Disk Over Commit, which Horizon sends as force
    assert "live-migration" in " ".join(seen["actions"]).lower().replace(" ", "-")
    assert set(seen["hypervisors"]) == {"node1", "node2"}
    assert ["Disabled compute service for host: node1." in seen["said to a host"][0], "Starting to migrate host: node1" in seen["said to a host"][1]] == [
        True,
        True,
    ]
    assert seen["emptied"]["Host"] == "node2"
    assert seen["complaints"] == []
    assert service.state(guest.uuid) == ("ACTIVE", "node2")
    where = guest.where()
    assert where and where.name == "node2"
    assert guest.ticks().unbroken
