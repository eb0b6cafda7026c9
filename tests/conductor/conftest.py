"""Conductor tests run on a virtual clock: a migration of minutes takes milliseconds, and a seed repeats it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from livemig.testing.runtime import VirtualRuntime
from tests.service import Service


@pytest.fixture(params=range(3), ids=lambda seed: f"seed{seed}")
def runtime(request: pytest.FixtureRequest) -> Iterator[VirtualRuntime]:
    runtime = VirtualRuntime(seed=request.param)
    yield runtime
    runtime.close()


@pytest.fixture
def service(tmp_path: Path, runtime: VirtualRuntime) -> Iterator[Service]:
    with Service(tmp_path, runtime) as service:
        yield service
