"""Fixtures of every kind of test."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from livemig.lab import preflight
from livemig.lab.lab import Lab
from livemig.runtime import ThreadRuntime


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
