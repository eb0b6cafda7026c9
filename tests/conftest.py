"""Fixtures of every kind of test."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
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


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Side by side, what fails is told at once: the reasons come at the end, a quarter of an hour later."""
    if report.failed and not os.environ.get("PYTEST_XDIST_WORKER") and hasattr(report, "node"):
        print(f"\n{report.when} of {report.nodeid} failed:\n{str(report.longrepr)[-1500:]}", flush=True)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    order.sort(items)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> order.ByScope:
    return order.ByScope(config, log)


def pytest_make_parametrize_id(val: object) -> str | None:
    """Names of tests have no colons: gabbi's plugin takes those that do for its own."""
    return val.replace(":", "") if isinstance(val, str) and ":" in val else None


STAGE = ("debian13", "debian13")  # what the hosts of `lab` run


@pytest.fixture(scope="session")
def labs() -> Iterator[Callable[[tuple[str, ...]], Lab]]:
    """Real hosts that run what is asked for, without guests; the same for all who ask for the same.

    Tests name their guests as they like, remove them, and heal what they break. After all of them nothing may be left.
    """
    made: dict[tuple[str, ...], Lab] = {}

    def make(hosts: tuple[str, ...]) -> Lab:
        if hosts not in made:
            if lacks := preflight.missing():
                pytest.fail(f"no lab on this machine (tools/test --no-lab leaves these tests out): {'; '.join(lacks)}")
            made[hosts] = Lab(Path(tempfile.mkdtemp(prefix="livemig-lab-")), ThreadRuntime())
            made[hosts].up(hosts)
        return made[hosts]

    try:
        yield make
        if left := [each for lab in made.values() for each in lab.leftovers()]:
            pytest.exit(f"left on the hosts: {', '.join(left)}", returncode=3)  # no test's own failure, so none that could pass alone
    finally:
        for lab in made.values():
            lab.down()


@pytest.fixture(scope="session")
def lab(labs: Callable[[tuple[str, ...]], Lab]) -> Lab:
    """Two such hosts."""
    return labs(STAGE)


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Here]:
    """A configuration of two simulated hosts, for commands that run in this process."""
    with at_home(tmp_path) as here:
        yield here
