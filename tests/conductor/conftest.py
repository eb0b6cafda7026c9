"""Conductor tests run on a virtual clock and a database in memory: a migration of minutes takes milliseconds, and a seed repeats it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conductor.cluster import Cluster, Make
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


@pytest.fixture
def make(tmp_path: Path, runtime: GreenletRuntime) -> Iterator[Make]:
    """Makes a cluster of so many conductors, with these options."""
    made: list[Cluster] = []

    def build(conductors: int = 2, **options: Any) -> Cluster:
        made.append(Cluster(tmp_path, runtime, conductors, **options))
        return made[-1]

    yield build
    for cluster in made:
        cluster.close()
