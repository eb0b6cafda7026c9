"""What a policy does with a running migration, on real hypervisors: each alone, the guest's ticks unbroken."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from livemig.lab import processes
from livemig.lab.guests import Guest
from livemig.lab.host import Host
from livemig.states import Status
from tests.lab.places import host_of
from tests.lab.stage import RUNTIME, Stage, options

pytestmark = [pytest.mark.lab]


def test_auto_converge(stage: Stage, guest: Guest) -> None:
    """The same guest, slowed down until it can follow."""
    host_of(guest).slow(200)
    stage.configure(options(permit_auto_converge=True, auto_converge_initial=90, auto_converge_increment=9))
    guest.set_dirty(40)
    stage.begin(guest)
    stage.service.wait_idle(guest.uuid, 60)
    assert stage.last(guest).status is Status.COMPLETED, stage.story(guest)
    guest.set_dirty(0)
    stage.end(guest)


def test_several_connections(stage: Stage, guest: Guest) -> None:
    stage.configure(options(parallel_connections=2))
    source, destination = host_of(guest), stage.other(guest)
    stage.under_way(guest)
    assert connections(source, destination) >= 3
    source.heal()
    stage.end(guest)


def connections(source: Host, destination: Host) -> int:
    """To QEMU's ports of another host."""
    lines = source.run("cat", "/proc/net/tcp").splitlines()[1:]
    remote = bytes(reversed([int(part) for part in destination.address.split(".")])).hex().upper()
    return sum(re.search(rf" {remote}:(C\w\w\w) 01 ", line) is not None for line in lines)


def test_bandwidth_is_changed_while_it_runs(stage: Stage, guest: Guest) -> None:
    source = host_of(guest)
    source.heal()
    stage.configure(options(link_bandwidth=4))
    stage.under_way(guest)
    RUNTIME.sleep(3)
    assert stage.service.state(guest.uuid)[0] == "MIGRATING"
    stage.configure(options(link_bandwidth=200))
    stage.wait(lambda: source.virsh("migrate-getspeed", guest.name).strip() == "200", guest, "libvirt to be told")
    stage.end(guest)
    assert "200 MiB/s" in stage.story(guest), stage.story(guest)


@pytest.mark.parametrize(("action", "status"), [("abort", Status.FAILED), ("force_complete", Status.COMPLETED)])
def test_a_migration_that_takes_too_long(stage: Stage, guest: Guest, action: str, status: Status) -> None:
    stage.configure(options(completion_timeout=1, timeout_action=action))
    guest.set_dirty(20)
    source = host_of(guest)
    stage.begin(guest)
    stage.told(guest, "pause" if action == "force_complete" else "abort")
    source.heal()
    stage.end(guest, status)


def test_two_at_once_over_a_limit_of_one(stage: Stage, guest: Guest) -> None:
    """The second waits; it may be aborted there; asked for again, it is moved after the first."""
    source, destination = host_of(guest), stage.other(guest)
    second = stage.lab.add_guest("second", source.name, memory_mib=128)
    try:
        stage.service.wait_seen(second.uuid, ("ACTIVE", source.name))
        stage.under_way(guest)
        queued = stage.begin(second, destination)
        stage.wait(lambda: stage.last(second).status is Status.QUEUED, second, "it to be queued")
        assert stage.abort(queued) == 202
        stage.end(second, Status.CANCELLED)
        stage.begin(second, destination)
        RUNTIME.sleep(1)
        assert (stage.last(guest).status, stage.last(second).status, len(second.holders())) == (Status.RUNNING, Status.QUEUED, 1)
        source.heal()
        first, later = stage.end(guest), stage.end(second)
        assert first.updated_at is not None and later.started_at is not None
        assert first.updated_at <= later.started_at, (stage.story(guest), stage.story(second))
    finally:
        second.remove()


def test_abort_of_an_accepted_one_whose_destination_does_not_answer(stage: Stage, guest: Guest) -> None:
    with frozen(stage.other(guest)):
        migration = stage.begin(guest)
        RUNTIME.sleep(0.5)
        assert stage.last(guest).status in (Status.ACCEPTED, Status.PREPARING), stage.story(guest)
        assert stage.abort(migration) == 202
    stage.end(guest, Status.CANCELLED)


@contextmanager
def frozen(host: Host) -> Iterator[None]:
    """Its daemon stands still."""
    daemon = [process for process in host.processes() if process.pid == host.daemon_pid()]
    for process in daemon:
        process.signal(signal.SIGSTOP)
    try:
        yield
    finally:
        for process in daemon:
            process.signal(signal.SIGCONT)
        assert processes.gone(daemon, RUNTIME, 0) is False
