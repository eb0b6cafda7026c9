"""`stage`: livemig-all on the lab, as it is at first. `guest`: one that takes a while to leave its host."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from livemig.lab.guests import Guest
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
    if not module_stage.service.started:  # a test that failed in between leaves it so
        module_stage.service.start()
    module_stage.configure()
    module_stage.wait_for_hosts()


@pytest.fixture(scope="module")
def module_guest(module_stage: Stage) -> Iterator[Guest]:
    guest = module_stage.lab.add_guest("engine", memory_mib=160)
    yield guest
    guest.remove()


@pytest.fixture
def guest(stage: Stage, module_guest: Guest) -> Iterator[Guest]:
    """On whichever host it is, its link so slow that it takes seconds to leave."""
    here = module_guest.where()
    assert here is not None
    stage.service.wait_seen(module_guest.uuid, ("ACTIVE", here.name))
    here.slow(60)
    yield module_guest
    module_guest.set_dirty(0)
