"""Fixtures: the service in each of the three ways to log in, and the clients that do."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cache
from pathlib import Path

import pytest

from tests.clients import stage as stages
from tests.clients.identity import OLD, REGION, Keystone
from tests.clients.identity import keystone as running_keystone
from tests.clients.record import Record
from tests.clients.runner import Client, Start, Warm, cold
from tests.clients.stage import Stage

HERE = Path(__file__).parent
STYLES = ("none", "http_basic", "password")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All of it is marked `clients`."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker("clients")


@pytest.fixture
def record(request: pytest.FixtureRequest) -> Record:
    """Of this test."""
    file, line, _name = request.node.location
    return Record(Path(file).name, line or 0)


@pytest.fixture(scope="session")
def keystone() -> Iterator[Keystone]:
    with running_keystone() as running:
        yield running


@pytest.fixture(scope="session")
def running(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Stage]]:
    """livemig-all on the mock with one of the ways to log in; started when it is asked for first, and there until the end."""
    with ExitStack() as stack:

        @cache
        def started(style: str) -> Stage:
            keystone = request.getfixturevalue("keystone") if style == "password" else None
            return stack.enter_context(stages.simulated(tmp_path_factory.mktemp(style), style, keystone))

        yield started


@pytest.fixture(scope="session", params=STYLES)
def stage(request: pytest.FixtureRequest, running: Callable[[str], Stage]) -> Stage:
    """livemig-all on the mock; in each way to log in."""
    return running(request.param)


@pytest.fixture(scope="session")
def start() -> Iterator[Start]:
    """How programs are started."""
    warm = Warm()
    yield cold if os.environ.get("LIVEMIG_COLD_CLIENTS") == "1" else warm
    warm.close()


@pytest.fixture
def client(stage: Stage, record: Record, start: Start, tmp_path: Path) -> Callable[..., Client]:
    """Makes a client: of an environment, of a program in it, of a user."""

    def make(made: str = "osc", program: str = "openstack", user: str = "admin", region: str = REGION) -> Client:
        access = stage.access(user, program)
        if "OS_REGION_NAME" in access:
            access["OS_REGION_NAME"] = region
        return Client(made, program, stage.style, access, tmp_path, record, start)

    return make


@pytest.fixture
def openstack(client: Callable[..., Client]) -> Client:
    """The current release."""
    return client()


@pytest.fixture
def nova(client: Callable[..., Client]) -> Client:
    """The last nova command that there was."""
    return client(program="nova")


@pytest.fixture
def old(client: Callable[..., Client]) -> Client:
    """A release that speaks 2.1 unless told otherwise."""
    return client("osc-old", region=OLD)
