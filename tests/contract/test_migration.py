"""Live migration: states, reasons, events, statistics and codes, the same in the mock and from libvirtd."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from livemig import exceptions
from livemig.hypervisor import definitions
from livemig.hypervisor.connection import Hypervisor
from livemig.hypervisor.flags import UNLIMITED
from tests.contract.pair import DESTINATION, SOURCE, Pair
from tests.contract.worlds import GUEST, RUNTIME, World

RUNNING, PAUSED, SHUT_OFF = 1, 3, 5
MIGRATED, MIGRATION, USER = (RUNNING, 2), (PAUSED, 2), (PAUSED, 1)
WHILE_COPYING = {
    "type", "operation", "time_elapsed", "downtime", "setup_time",
    "data_total", "data_processed", "data_remaining", "memory_total", "memory_processed", "memory_remaining",
    "memory_constant", "memory_normal", "memory_normal_bytes", "memory_dirty_rate", "memory_iteration", "memory_postcopy_requests", "memory_page_size",
    "disk_total", "disk_processed", "disk_remaining",
}  # fmt: skip
COMPLETED = (WHILE_COPYING | {"time_elapsed_net", "downtime_net", "memory_bps"}) - {"type"}


def test_success(pair: Pair) -> None:
    """States, statistics and knobs while it goes on, then the order of events to its end."""
    before = pair.state(SOURCE)
    assert before is not None and before[0] == RUNNING
    call = pair.slow()
    assert pair.state(SOURCE) == before
    pair.until(lambda: pair.state(DESTINATION) == MIGRATION)
    stats = pair.guest.jobStats()
    assert WHILE_COPYING <= set(stats) <= WHILE_COPYING | {"memory_bps"}
    assert (stats["type"], stats["operation"]) == (pair.libvirt.VIR_DOMAIN_JOB_UNBOUNDED, pair.libvirt.VIR_DOMAIN_JOB_OPERATION_MIGRATION_OUT)
    assert stats["downtime"] == pair.guest.migrateGetMaxDowntime() == 300
    assert stats["memory_total"] >= 256 * 1024**2 and stats["memory_page_size"] == 4096
    assert stats["memory_remaining"] < stats["memory_total"]
    assert pair.guest.jobInfo()[0] == pair.libvirt.VIR_DOMAIN_JOB_UNBOUNDED
    assert pair.code(pair.guest.migrateToURI3, pair.destination_uri, {}, pair.MOVE) == pair.libvirt.VIR_ERR_OPERATION_INVALID
    assert pair.code(pair.guest.migrateStartPostCopy) == pair.libvirt.VIR_ERR_OPERATION_INVALID
    pair.guest.migrateSetMaxDowntime(400)
    pair.guest.migrateSetMaxSpeed(500)
    assert call.result() is None
    pair.until(lambda: pair.names(SOURCE)[-1] == ("completed",))
    assert pair.names(SOURCE) == [("iteration",), ("suspended", 1), ("iteration",), *pair.world.release.shutdown, ("stopped", 3), ("completed",)]
    assert pair.names(DESTINATION) == [("started", 1), ("defined", 0), ("resumed", 1)]
    assert pair.events.index((DESTINATION, "started", 1)) < pair.events.index((SOURCE, "iteration"))
    assert pair.events.index((DESTINATION, "resumed", 1)) < pair.events.index((SOURCE, "stopped", 3))
    assert pair.of(SOURCE)[-1][1] == COMPLETED
    pair.until(lambda: pair.state(SOURCE) is None)
    assert pair.state(DESTINATION) == MIGRATED
    arrived = pair.destination.lookupByName(GUEST)
    assert arrived.isPersistent() == 1 and arrived.ID() > 0
    done = arrived.jobStats(pair.libvirt.VIR_DOMAIN_JOB_STATS_COMPLETED | pair.libvirt.VIR_DOMAIN_JOB_STATS_KEEP_COMPLETED)
    assert set(done) == COMPLETED | {"type"}
    assert (done["type"], done["operation"]) == (pair.libvirt.VIR_DOMAIN_JOB_COMPLETED, pair.libvirt.VIR_DOMAIN_JOB_OPERATION_MIGRATION_IN)
    assert 0 < done["downtime"] < 2000
    assert arrived.jobStats()["type"] == pair.libvirt.VIR_DOMAIN_JOB_NONE


def test_before_qemu_begins(pair: Pair) -> None:
    """libvirt's job is there first: no memory is shown, and post-copy cannot begin."""
    call = pair.migrate(pair.MOVE | pair.libvirt.VIR_MIGRATE_POSTCOPY, bandwidth=2)
    stats = pair.until(lambda: (found := pair.guest.jobStats())["type"] and found)
    assert stats["memory_total"] == stats["memory_remaining"] == 0 and "downtime" not in stats and "memory_page_size" not in stats
    assert pair.code(pair.guest.migrateStartPostCopy) == pair.libvirt.VIR_ERR_INTERNAL_ERROR
    pair.heard(SOURCE, "iteration")
    pair.until(lambda: pair.guest.jobStats().get("memory_total", 0))  # libvirt 9.0 stumbles over an abort before QEMU has told of its memory
    pair.guest.abortJob()
    assert call.result() == pair.libvirt.VIR_ERR_OPERATION_ABORTED


def test_abort(pair: Pair) -> None:
    before = pair.state(SOURCE)
    call = pair.slow()
    pair.guest.abortJob()
    assert call.result() == pair.libvirt.VIR_ERR_OPERATION_ABORTED
    pair.heard(DESTINATION, "stopped", 5)
    assert pair.names(SOURCE) == [("iteration",)]
    assert pair.names(DESTINATION) == [("started", 1), *pair.world.release.shutdown, ("stopped", 5)]
    assert (pair.state(SOURCE), pair.state(DESTINATION)) == (before, None)
    assert pair.guest.jobStats() == {"type": pair.libvirt.VIR_DOMAIN_JOB_NONE}
    assert pair.code(pair.guest.abortJob) == pair.libvirt.VIR_ERR_OPERATION_INVALID


def test_suspended_meanwhile_and_aborted(pair: Pair) -> None:
    """The guest goes on where it was."""
    call = pair.slow()
    pair.guest.suspend()
    assert pair.state(SOURCE) == MIGRATION
    pair.guest.abortJob()
    assert call.result() == pair.libvirt.VIR_ERR_OPERATION_ABORTED
    pair.heard(SOURCE, "resumed", 1)
    assert pair.names(SOURCE) == [("iteration",), ("suspended", 1), ("resumed", 1)]
    assert pair.state(SOURCE) == (RUNNING, pair.libvirt.VIR_DOMAIN_RUNNING_MIGRATION_CANCELED)


def test_suspended_meanwhile_and_let_go(pair: Pair) -> None:
    """How a migration is forced to its end: the guest runs again on the destination."""
    call = pair.slow()
    pair.guest.suspend()
    pair.guest.migrateSetMaxSpeed(500)
    assert call.result() is None
    assert pair.state(DESTINATION) == MIGRATED
    assert pair.names(SOURCE)[:3] == [("iteration",), ("suspended", 1), ("iteration",)]


def test_paused_guest_stays_paused(pair: Pair) -> None:
    pair.guest.suspend()
    assert pair.state(SOURCE) == USER
    assert pair.migrate().result() is None
    pair.heard(SOURCE, "stopped", 3)
    assert pair.names(DESTINATION) == [("started", 1), ("defined", 0), ("suspended", 0)]
    assert ("suspended", 1) not in pair.names(SOURCE)
    assert pair.state(DESTINATION) == USER
    arrived = pair.destination.lookupByName(GUEST)
    arrived.resume()
    assert arrived.state() == [RUNNING, pair.libvirt.VIR_DOMAIN_RUNNING_UNPAUSED]


def test_transient_and_back(pair: Pair) -> None:
    """Without the two flags the definition stays behind, shut off, and is updated by the way back."""
    assert pair.migrate(pair.PLAIN).result() is None
    pair.until(lambda: pair.state(SOURCE) == (SHUT_OFF, pair.libvirt.VIR_DOMAIN_SHUTOFF_MIGRATED))
    assert pair.names(DESTINATION) == [("started", 1), ("resumed", 1)]
    assert pair.state(DESTINATION) == MIGRATED
    arrived = pair.destination.lookupByName(GUEST)
    assert (arrived.isPersistent(), pair.guest.isPersistent()) == (0, 1)
    back = pair.destination.lookupByName(GUEST)
    assert pair.code(back.migrateToURI3, pair.source_uri, {}, pair.MOVE) is None
    pair.heard(SOURCE, "defined", 1)
    assert (pair.state(SOURCE), pair.state(DESTINATION)) == (MIGRATED, None)


def test_post_copy(pair: Pair) -> None:
    libvirt = pair.libvirt
    call = pair.slow(libvirt.VIR_MIGRATE_POSTCOPY)
    pair.guest.migrateSetMaxSpeed(20, libvirt.VIR_DOMAIN_MIGRATE_MAX_SPEED_POSTCOPY)
    pair.guest.migrateStartPostCopy()
    pair.heard(DESTINATION, "resumed", 3)
    pair.heard(SOURCE, "suspended", 7)
    assert pair.code(pair.guest.migrateStartPostCopy) is None  # a second time changes nothing
    pair.until(lambda: pair.state(SOURCE) == (PAUSED, libvirt.VIR_DOMAIN_PAUSED_POSTCOPY))
    assert pair.state(DESTINATION) == (RUNNING, libvirt.VIR_DOMAIN_RUNNING_POSTCOPY)
    assert pair.code(pair.guest.abortJob) == libvirt.VIR_ERR_OPERATION_INVALID
    assert call.result() is None
    pair.until(lambda: pair.names(SOURCE)[-1] == ("completed",))
    assert pair.names(SOURCE) == [*pair.world.release.post_copy, *pair.world.release.shutdown, ("stopped", 3), ("completed",)]
    assert pair.names(DESTINATION) == [("started", 1), ("defined", 0), ("resumed", 3), ("resumed", 1)]
    assert (pair.state(SOURCE), pair.state(DESTINATION)) == (None, MIGRATED)
    completed = libvirt.VIR_DOMAIN_JOB_STATS_COMPLETED
    assert pair.destination.lookupByName(GUEST).jobStats(completed) == {"type": libvirt.VIR_DOMAIN_JOB_NONE}


@pytest.mark.timeout(900)
def test_what_is_refused_around_post_copy(pair: Pair) -> None:
    """Before it, and to a job that may not switch: nothing changes."""
    libvirt = pair.libvirt
    resume = pair.MOVE | libvirt.VIR_MIGRATE_POSTCOPY | libvirt.VIR_MIGRATE_POSTCOPY_RESUME
    assert pair.code(pair.guest.migrateStartPostCopy) == libvirt.VIR_ERR_OPERATION_INVALID
    assert pair.migrate(resume).result() == libvirt.VIR_ERR_OPERATION_INVALID
    call = pair.slow()
    assert pair.code(pair.guest.migrateStartPostCopy) == libvirt.VIR_ERR_OPERATION_INVALID
    assert pair.code(pair.guest.abortJobFlags, libvirt.VIR_DOMAIN_ABORT_JOB_POSTCOPY) == libvirt.VIR_ERR_OPERATION_INVALID
    assert pair.migrate(resume).result() == libvirt.VIR_ERR_OPERATION_INVALID
    pair.guest.abortJob()
    assert call.result() == libvirt.VIR_ERR_OPERATION_ABORTED


def test_speeds_of_a_running_one(pair: Pair) -> None:
    """A limit that is set while it runs holds at once, and the highest is none."""
    call = pair.slow()
    for speed in (3, 4):
        pair.guest.migrateSetMaxSpeed(speed)
        assert pair.guest.migrateGetMaxSpeed() == speed
    pair.guest.migrateSetMaxSpeed(UNLIMITED)
    assert call.result() is None


def test_post_copy_interrupted_and_resumed(world: World) -> None:
    """QEMU 7.2 hangs now and then when it is resumed, and libvirtd 9.0 with it: then there is a new guest, and another try.

    Of libvirt 11.2 and 11.3 the destination's daemon dies, and the guest is lost for it.
    """
    for _ in range(3):
        world.ensure_guest()
        pair = Pair(world)
        try:
            interrupt(pair)
            if not world.release.resumes_post_copy:
                dies_of_resumption(pair)
                break
            if resume(pair):
                break
        finally:
            pair.close()
        world.start_over()
    else:
        pytest.fail("it was never resumed")


def interrupt(pair: Pair) -> None:
    libvirt = pair.libvirt
    call = pair.slow(libvirt.VIR_MIGRATE_POSTCOPY)
    pair.guest.migrateSetMaxSpeed(5, libvirt.VIR_DOMAIN_MIGRATE_MAX_SPEED_POSTCOPY)
    pair.guest.migrateStartPostCopy()
    pair.heard(DESTINATION, "resumed", 3)
    RUNTIME.sleep(1)  # one that is interrupted in its first instant hangs more often
    pair.guest.abortJobFlags(libvirt.VIR_DOMAIN_ABORT_JOB_POSTCOPY)
    assert call.result() == libvirt.VIR_ERR_OPERATION_FAILED
    pair.until(lambda: pair.state(SOURCE) == (PAUSED, libvirt.VIR_DOMAIN_PAUSED_POSTCOPY_FAILED))
    assert pair.state(DESTINATION) == (RUNNING, libvirt.VIR_DOMAIN_RUNNING_POSTCOPY_FAILED)
    pair.heard(SOURCE, "suspended", 8)
    pair.heard(DESTINATION, "resumed", 4)
    assert pair.guest.jobStats()["type"] == libvirt.VIR_DOMAIN_JOB_UNBOUNDED
    assert pair.code(pair.guest.abortJobFlags, libvirt.VIR_DOMAIN_ABORT_JOB_POSTCOPY) == libvirt.VIR_ERR_INTERNAL_ERROR
    assert pair.guest.isPersistent() == 1


def resume(pair: Pair) -> bool:
    """A resume may return an error although it resumes, or come too early for QEMU: only the states tell. False when it hangs."""
    libvirt = pair.libvirt
    flags = pair.MOVE | libvirt.VIR_MIGRATE_POSTCOPY | libvirt.VIR_MIGRATE_POSTCOPY_RESUME
    for _ in range(5):
        RUNTIME.sleep(0.5)
        if not pair.migrate(flags, bandwidth__postcopy=50).has_returned():
            return False
        if pair.state(SOURCE) != (PAUSED, libvirt.VIR_DOMAIN_PAUSED_POSTCOPY_FAILED):
            break
    pair.until(lambda: pair.state(DESTINATION) == MIGRATED)
    pair.until(lambda: pair.state(SOURCE) is None)
    return True


def dies_of_resumption(pair: Pair) -> None:
    """One that comes too early for QEMU does no harm."""
    libvirt, closed = pair.libvirt, (DESTINATION, "closed", pair.libvirt.VIR_CONNECT_CLOSE_REASON_ERROR)
    flags = pair.MOVE | libvirt.VIR_MIGRATE_POSTCOPY | libvirt.VIR_MIGRATE_POSTCOPY_RESUME
    for _ in range(5):
        RUNTIME.sleep(0.5)
        assert pair.migrate(flags, bandwidth__postcopy=50).result() is not None
        if closed in pair.events:
            break
    pair.heard(*closed)
    assert pair.code(libvirt.open, pair.destination_uri) == libvirt.VIR_ERR_SYSTEM_ERROR
    pair.world.start_over()


def test_client_killed(pair: Pair) -> None:
    """The source's daemon goes on by itself."""
    kill = pair.world.doomed_client(pair.source_uri, pair.destination_uri, pair.MOVE)
    pair.heard(SOURCE, "iteration")
    kill()
    pair.until(lambda: pair.state(SOURCE) is None)
    assert pair.state(DESTINATION) == MIGRATED


@pytest.mark.parametrize("side", [SOURCE, DESTINATION])
def test_daemon_killed(pair: Pair, side: str) -> None:
    """The job is cancelled, with no trace but the caller's error."""
    before = pair.state(SOURCE)
    call = pair.slow()
    uri = pair.source_uri if side == SOURCE else pair.destination_uri
    pair.world.kill_daemon(uri)
    assert call.result() in (pair.libvirt.VIR_ERR_INTERNAL_ERROR, pair.libvirt.VIR_ERR_SYSTEM_ERROR)
    pair.heard(side, "closed", pair.libvirt.VIR_CONNECT_CLOSE_REASON_ERROR)
    assert pair.code(pair.libvirt.open, uri) == pair.libvirt.VIR_ERR_SYSTEM_ERROR
    if side == SOURCE:
        pair.heard(DESTINATION, "stopped", 1)
    pair.world.start_daemon(uri)
    pair.reconnect()
    pair.until(lambda: pair.state(DESTINATION) is None)
    pair.until(lambda: pair.state(SOURCE) == before)
    assert pair.guest.jobStats() == {"type": pair.libvirt.VIR_DOMAIN_JOB_NONE}


@pytest.mark.timeout(900)
def test_daemon_of_the_source_killed_in_post_copy(pair: Pair) -> None:
    """It ends the migration when it is back, but leaves the definition, which can be removed."""
    call = pair.slow(pair.libvirt.VIR_MIGRATE_POSTCOPY)
    pair.guest.migrateSetMaxSpeed(5, pair.libvirt.VIR_DOMAIN_MIGRATE_MAX_SPEED_POSTCOPY)
    pair.guest.migrateStartPostCopy()
    pair.heard(DESTINATION, "resumed", 3)
    pair.world.kill_daemon(pair.source_uri)
    assert call.result() is not None
    pair.world.start_daemon(pair.source_uri)
    pair.reconnect()
    pair.until(lambda: pair.state(SOURCE) == (SHUT_OFF, pair.libvirt.VIR_DOMAIN_SHUTOFF_MIGRATED))
    pair.until(lambda: (pair.state(DESTINATION) or (0,))[0] == RUNNING)
    source, destination = (Hypervisor(pair.libvirt, uri, uri, (2, 3)) for uri in (pair.source_uri, pair.destination_uri))
    for gate in (source, destination):
        gate.connect()
    uuid = pair.guest.UUIDString()
    assert definitions.is_at_home(destination, uuid) and not definitions.is_at_home(source, uuid)
    with pytest.raises(exceptions.NoJob):
        definitions.forget(destination, uuid)
    definitions.forget(source, uuid)
    assert pair.state(SOURCE) is None
    assert definitions.is_at_home(destination, uuid)
    for gate in (source, destination):
        gate.close()


def test_qemu_of_the_destination_killed(pair: Pair) -> None:
    before = pair.state(SOURCE)
    call = pair.slow()
    pair.world.kill_guest(pair.destination_uri)
    assert call.result() == pair.libvirt.VIR_ERR_OPERATION_FAILED
    assert (pair.state(SOURCE), pair.state(DESTINATION)) == (before, None)


def test_qemu_of_the_source_killed(pair: Pair) -> None:
    call = pair.slow()
    pair.world.kill_guest(pair.source_uri)
    assert call.result() == pair.libvirt.VIR_ERR_OPERATION_FAILED
    pair.heard(SOURCE, "stopped", 5)
    pair.until(lambda: pair.state(SOURCE) == (SHUT_OFF, pair.libvirt.VIR_DOMAIN_SHUTOFF_CRASHED))
    pair.until(lambda: pair.state(DESTINATION) is None)


REFUSED_FLAGS: tuple[tuple[str, Callable[[Pair], int], str], ...] = (
    ("not peer to peer", lambda pair: int(pair.libvirt.VIR_MIGRATE_LIVE), "VIR_ERR_ARGUMENT_UNSUPPORTED"),
    ("tunnelled post-copy", lambda pair: pair.PLAIN | pair.libvirt.VIR_MIGRATE_TUNNELLED | pair.libvirt.VIR_MIGRATE_POSTCOPY, "VIR_ERR_ARGUMENT_UNSUPPORTED"),
    ("unknown", lambda pair: pair.PLAIN | 1 << 30, "VIR_ERR_INVALID_ARG"),
    ("both ways of disks", lambda pair: pair.PLAIN | pair.libvirt.VIR_MIGRATE_NON_SHARED_DISK | pair.libvirt.VIR_MIGRATE_NON_SHARED_INC, "VIR_ERR_INVALID_ARG"),
    ("parallel in a tunnel", lambda pair: pair.PLAIN | pair.libvirt.VIR_MIGRATE_TUNNELLED | pair.libvirt.VIR_MIGRATE_PARALLEL, "VIR_ERR_INVALID_ARG"),
)


def test_refused_calls(pair: Pair) -> None:
    for name, flags, code in REFUSED_FLAGS:
        assert pair.code(pair.guest.migrateToURI3, pair.destination_uri, {}, flags(pair)) == getattr(pair.libvirt, code), name
    cases: tuple[tuple[str, dict[str, object], str], ...] = (
        (pair.destination_uri, {"foo": 1}, "VIR_ERR_ARGUMENT_UNSUPPORTED"),
        (pair.source_uri, {}, "VIR_ERR_INTERNAL_ERROR"),
        ("", {}, "VIR_ERR_INVALID_ARG"),
        (pair.destination_uri.replace("/system", ":1/system"), {}, "VIR_ERR_SYSTEM_ERROR"),
        ("qemu+tcp://no-such-host.invalid/system", {}, "VIR_ERR_SYSTEM_ERROR"),
    )
    for uri, parameters, code in cases:
        assert pair.code(pair.guest.migrateToURI3, uri, parameters, pair.MOVE) == getattr(pair.libvirt, code), uri


def test_destination_has_it_already(pair: Pair) -> None:
    libvirt, xml = pair.libvirt, pair.guest.XMLDesc(0)
    copy = pair.destination.createXML(xml, libvirt.VIR_DOMAIN_START_PAUSED)
    try:
        assert pair.migrate().result() == libvirt.VIR_ERR_OPERATION_INVALID
    finally:
        copy.destroy()
    renamed = pair.destination.defineXML(xml.replace(f"<name>{GUEST}<", "<name>other<"))
    assert pair.migrate().result() == libvirt.VIR_ERR_OPERATION_FAILED
    renamed.undefine()
    uuid = pair.guest.UUIDString()
    namesake = pair.destination.defineXML(xml.replace(uuid, uuid[:-1] + ("0" if uuid[-1] != "0" else "1")))
    assert pair.migrate().result() == libvirt.VIR_ERR_OPERATION_FAILED
    namesake.undefine()
    assert pair.state(DESTINATION) is None


def test_knobs_stay_set(pair: Pair) -> None:
    pair.guest.migrateSetMaxDowntime(450)
    pair.guest.migrateSetMaxSpeed(77)
    assert (pair.guest.migrateGetMaxDowntime(), pair.guest.migrateGetMaxSpeed()) == (450, 77)
