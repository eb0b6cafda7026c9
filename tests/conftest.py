"""Fixtures of every kind of test."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from livemig.lab import preflight
from livemig.lab.lab import Lab
from livemig.runtime import ThreadRuntime
from tests import order
from tests.drawn import header
from tests.here import Here, at_home


def pytest_report_header() -> str:
    return header()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    order.sort(items)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> order.ByScope:
    return order.ByScope(config, log)


def pytest_make_parametrize_id(val: object) -> str | None:
    """Names of tests have no colons: gabbi's plugin takes those that do for its own."""
    return val.replace(":", "") if isinstance(val, str) and ":" in val else None


STAGE = ("debian13", "debian13")  # what the hosts of the lab run


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    """Two real hosts without guests. Tests name their guests as they like, remove them, and heal what they break. After all of them nothing may be left."""
    lacks = preflight.missing()
    if lacks:
        pytest.fail(f"no lab on this machine (tools/test --no-lab leaves these tests out): {'; '.join(lacks)}")
    lab = Lab(Path(tempfile.mkdtemp(prefix="livemig-lab-")), ThreadRuntime())
    try:
        lab.up(STAGE)
        yield lab
        if left := lab.leftovers():
            pytest.exit(f"left on the hosts: {', '.join(left)}", returncode=3)  # no test's own failure, so none that could pass alone
    finally:
        lab.down()


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Here]:
    """A configuration of two simulated hosts, for commands that run in this process."""
    with at_home(tmp_path) as here:
        yield here
