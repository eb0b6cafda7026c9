"""Post-copy on real hypervisors: by what it begins, and that it is resumed by itself when it is interrupted. Its guest loses nothing."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from livemig.conductor.attempt import INTERRUPTED
from livemig.lab.guests import Guest
from livemig.lab.lab import Lab
from livemig.lab.shell import LabError
from livemig.states import Status
from tests.lab.places import host_of
from tests.lab.stage import RUNTIME, Stage, options

pytestmark = [pytest.mark.lab, pytest.mark.timeout(900)]
SETTINGS = "[libvirt]\nlive_migration_permit_post_copy = true\nlive_migration_bandwidth = 4\nlive_migration_link_bandwidth = 5\n"


@pytest.fixture(scope="session")
def lab(labs: Callable[[tuple[str, ...]], Lab]) -> Lab:
    """Two hosts of the machine's own release: with Debian 13's libvirt (11.3) post-copy is refused."""
    return labs(("own", "own"))


def test_post_copy_by_force_complete(stage: Stage, guest: Guest) -> None:
    stage.configure(options(permit_post_copy=True))
    migration = stage.under_way(guest)
    assert stage.force(migration) == 202
    stage.told(guest, "post-copy")
    stage.lab.host(migration.source).heal()
    stage.end(guest)
    assert "pause: " not in stage.story(guest)


def test_post_copy_by_policy(stage: Stage, guest: Guest) -> None:
    """A guest that dirties faster than the link: after one iteration without progress it is switched over."""
    host_of(guest).slow(60)
    stage.configure(options(policy="post-copy"))
    guest.set_dirty(20)
    stage.begin(guest)
    stage.told(guest, "post-copy")
    guest.set_dirty(0)
    stage.end(guest)


def test_interrupted_and_resumed(stage: Stage) -> None:
    """QEMU 7.2 hangs now and then when it is resumed, and libvirtd 9.0 with it (see the contract's case): then with a new guest."""
    stage.configure(SETTINGS)
    for number in range(5):
        guest = stage.lab.add_guest(f"recovery{number}", "node1", memory_mib=160)
        stage.service.wait_seen(guest.uuid, ("ACTIVE", "node1"))
        if not interrupt(stage, guest):
            stage.end(guest)
            guest.remove()
            continue
        if is_resumed(stage, guest):
            guest.remove()
            break
        assert stage.last(guest).status is Status.POST_COPY, stage.story(guest)  # whatever hangs, it is not called failed
        start_over(stage, guest)
    else:
        pytest.fail("it was never resumed")


def interrupt(stage: Stage, guest: Guest) -> bool:
    """False when it was over before. Its speed is limited by QEMU, not by a slow link: on one whose buffers are full QEMU 7.2 hung each time it was resumed."""
    source = guest.where()
    assert source is not None
    migration = stage.under_way(guest)
    assert stage.force(migration) == 202
    stage.wait(lambda: stage.last(guest).status is Status.POST_COPY, guest, "post-copy")
    assert stage.service.state(guest.uuid) == ("MIGRATING", migration.destination)
    assert stage.abort(migration) == 400
    RUNTIME.sleep(1)
    try:
        source.virsh("domjobabort", "--postcopy", guest.name)
    except LabError:
        return False
    stage.wait(lambda: INTERRUPTED in stage.story(guest), guest, "the interruption to be noticed")
    return True


def is_resumed(stage: Stage, guest: Guest) -> bool:
    try:
        stage.wait(lambda: stage.last(guest).status is Status.COMPLETED, guest, "its end", 35)
    except (AssertionError, LabError):
        return False
    stage.end(guest)
    assert "post-copy: libvirt is told to resume it (try 1)" in stage.story(guest)
    return True


def start_over(stage: Stage, guest: Guest) -> None:
    """A daemon whose job hangs lets nobody touch the domain: it is killed with the guest's QEMU."""
    for host in stage.lab.hosts:
        with stage.reconnected(host):
            if host.has_guest(guest.name):
                host.kill_guest(guest.name)
            host.kill_daemon()
            host.start_daemon()
    guest.remove()
