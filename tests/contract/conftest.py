"""`pair`: two hosts with a guest on one of them, in the mock and in the lab."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from livemig.lab.lab import Lab
from tests.contract.pair import Pair
from tests.contract.worlds import RELEASES, LabWorld, MockWorld, World, event_thread

Labs = Callable[[tuple[str, ...]], Lab]
STAGES: dict[str, Callable[[Labs], World]] = {
    "mock": lambda _labs: MockWorld(RELEASES["own"]),
    "mock-debian13": lambda _labs: MockWorld(RELEASES["debian13"]),
    "lab": lambda labs: LabWorld(labs(("own", "own"))),
    "debian13": lambda labs: LabWorld(labs(("debian13", "debian13"))),
}


@pytest.fixture(scope="session", params=[pytest.param(stage, marks=[] if stage.startswith("mock") else [pytest.mark.lab]) for stage in STAGES])
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    """One after the other, as pytest sorts tests by the parameters of their session: the guest of one is gone before the next one's comes."""
    labs: Any = request.getfixturevalue("labs") if request.param in ("lab", "debian13") else None
    world = STAGES[request.param](labs)
    with event_thread(world.libvirt):
        yield world
    world.end()


@pytest.fixture
def pair(world: World) -> Iterator[Pair]:
    world.ensure_guest()
    made = Pair(world)
    yield made
    made.close()
