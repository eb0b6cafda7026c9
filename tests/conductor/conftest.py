"""Conductor tests run on a virtual clock and a database in memory: a migration of minutes takes milliseconds, and a seed repeats it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.drawn import numbers
from tests.service import Service
from tests.simulation.runtime import GreenletRuntime


@pytest.fixture(params=numbers("seeds"), ids=lambda seed: f"seed{seed}")
def runtime(request: pytest.FixtureRequest) -> Iterator[GreenletRuntime]:
    runtime = GreenletRuntime(seed=request.param)
    yield runtime
    runtime.close()


@pytest.fixture
def service(tmp_path: Path, runtime: GreenletRuntime) -> Iterator[Service]:
    with Service(tmp_path, runtime) as service:
        yield service
