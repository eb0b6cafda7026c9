"""What all unit tests share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import livemig.rpc  # noqa: F401 - chooses oslo.service's threads before a test loads oslo.messaging
from livemig.db.store import Store
from livemig.records import Migration
from livemig.testing.runtime import VirtualRuntime
from tests.unit.gate import World
from tests.unit.rows import accepted, stored


def pytest_make_parametrize_id(val: object) -> str | None:
    """gabbi's plugin takes every test with a colon in its name for one of its own, and fails on it."""
    return val.replace(":", ";") if isinstance(val, str) and ":" in val else None


@pytest.fixture
def runtime() -> Iterator[VirtualRuntime]:
    """A virtual clock."""
    runtime = VirtualRuntime()
    yield runtime
    runtime.close()


@pytest.fixture
def store(tmp_path: Path, runtime: VirtualRuntime) -> Iterator[Store]:
    """A store on SQLite."""
    with stored(tmp_path, runtime) as store:
        yield store


@pytest.fixture
def migration(store: Store) -> Migration:
    """An accepted one."""
    return accepted(store)


@pytest.fixture
def world(runtime: VirtualRuntime) -> Iterator[World]:
    world = World(runtime)
    yield world
    world.hosts["a"].hung = world.hosts["b"].hung = False
    world.close()
