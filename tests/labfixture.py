"""The lab as a fixture: one for a whole session of tests, however many directories import it in their conftest.py."""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from livemig.lab import preflight
from livemig.lab.lab import Lab
from livemig.runtime import ThreadRuntime


@functools.cache
def _the_lab() -> Lab:
    made = Lab(Path(tempfile.mkdtemp(prefix="livemig-lab-")), ThreadRuntime())
    made.up()
    return made


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    """Two hosts without guests. Tests name their guests as they like, remove them, and heal what they break."""
    lacks = preflight.missing()
    if lacks:
        pytest.skip(f"no lab on this machine: {'; '.join(lacks)}")
    try:
        yield _the_lab()
    finally:
        _the_lab().down()
