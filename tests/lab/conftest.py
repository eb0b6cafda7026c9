"""`stage`: livemig-all on the lab, as it is at first."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from livemig.lab.lab import Lab
from tests.lab.stage import Stage


@pytest.fixture(scope="module")
def module_stage(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    stage = Stage(lab, tmp_path_factory.mktemp("stage"))
    yield stage
    stage.service.stop()


@pytest.fixture
def stage(module_stage: Stage) -> Iterator[Stage]:
    yield module_stage
    for host in module_stage.lab.hosts:
        host.start_daemon()
        host.heal()
    module_stage.configure()
    module_stage.wait_for_hosts()
