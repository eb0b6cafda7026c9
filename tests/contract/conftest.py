"""`pair`: two hosts with a guest on one of them, in the mock and in the lab."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.contract.pair import Pair
from tests.contract.worlds import LabWorld, MockWorld, World, event_thread


@pytest.fixture(scope="session")
def mock_world() -> Iterator[World]:
    world = MockWorld()
    with event_thread(world.libvirt):
        yield world


@pytest.fixture(scope="session")
def lab_world(lab: Any) -> Iterator[World]:
    world = LabWorld(lab)
    with event_thread(world.libvirt):
        yield world
    for guest in lab.guests:
        guest.remove()


@pytest.fixture(params=["mock", pytest.param("lab", marks=pytest.mark.lab)])
def world(request: pytest.FixtureRequest) -> World:
    chosen: World = request.getfixturevalue(f"{request.param}_world")
    return chosen


@pytest.fixture
def pair(world: World) -> Iterator[Pair]:
    world.ensure_guest()
    made = Pair(world)
    yield made
    made.close()
