"""What all unit tests share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import livemig.rpc  # noqa: F401 - chooses oslo.service's threads before a test loads oslo.messaging
from livemig.testing.runtime import VirtualRuntime


def pytest_make_parametrize_id(val: object) -> str | None:
    """gabbi's plugin takes every test with a colon in its name for one of its own, and fails on it."""
    return val.replace(":", ";") if isinstance(val, str) and ":" in val else None


@pytest.fixture
def runtime() -> Iterator[VirtualRuntime]:
    """A virtual clock."""
    runtime = VirtualRuntime()
    yield runtime
    runtime.close()
