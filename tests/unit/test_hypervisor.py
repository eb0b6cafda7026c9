"""One daemon, through the gate, over the mock: its verbs, its events, and a connection that breaks."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from livemig import exceptions
from livemig.facts import Disconnected, Guest, HostEvent, HostFacts, Iteration, JobCompleted, Plan, Presence, ServerChanged, ServerFacts
from livemig.hypervisor.connection import Hypervisor
from livemig.hypervisor.events import EventLoop
from livemig.hypervisor.storage import PREFIX, same_directory
from livemig.testing import constants as C
from livemig.testing.errors import Fault
from livemig.testing.fleet import Disk, Fleet, guest_uuid
from livemig.testing.runtime import VirtualRuntime
from tests.unit.gate import WEB, World


def test_facts_of_a_host(world: World) -> None:
    assert world.a.facts() == HostFacts("a", "QEMU", 7_002_022, 9_000_000, 4, 8192, 8192 - 2048)


def test_servers(world: World) -> None:
    world.fleet.add_guest("off", "a", state="shutoff", memory_mib=512, vcpus=1)
    said = {server.name: server for server in world.a.servers()}
    assert said == {
        "web": ServerFacts(WEB, "web", Presence.RUNNING, 2048, 2, "web"),
        "off": ServerFacts(guest_uuid("off"), "off", Presence.SHUT_OFF, 512, 1, "off"),
    }
    assert world.a.server(WEB) == said["web"]
    assert world.b.servers() == []
    assert world.b.server(WEB) == ServerFacts(WEB, "", Presence.ABSENT)


def test_a_guest(world: World) -> None:
    world.fleet.add_guest("disk", "a", persistent=False, disks=[Disk("/srv/disk.raw")])
    read = world.a.guest(guest_uuid("disk"))
    assert (read.memory_mib, read.persistent, [disk.path for disk in read.disks]) == (2048, False, ["/srv/disk.raw"])
    assert "qemu64" in read.cpu_xml
    with pytest.raises(exceptions.DomainNotFound):
        world.b.guest(WEB)


def test_cpus_are_compared(world: World) -> None:
    guest = world.a.guest(WEB)
    assert world.b.runs_cpu(guest)
    assert world.b.runs_cpu(Guest(2048, 2))
    world.hosts["b"].refuses_cpu = True
    assert not world.b.runs_cpu(guest)
    assert world.b.runs_cpu(Guest(2048, 2)), "a guest without a CPU element asks for nothing"


def test_a_host_that_cannot_compare_cpus_leaves_it_to_libvirt(world: World) -> None:
    def refuse(*_given: object) -> None:
        raise Fault(C.VIR_ERR_NO_SUPPORT, C.VIR_FROM_NONE, "this function is not supported")()

    with world.b.use() as connection:
        connection.compareHypervisorCPU = refuse
    assert world.b.runs_cpu(world.a.guest(WEB))


def test_pause_and_resume(world: World) -> None:
    world.a.pause(WEB)
    assert world.a.presence(WEB) is Presence.PAUSED
    world.a.resume(WEB)
    assert world.a.presence(WEB) is Presence.RUNNING
    assert world.texts() == ["suspended (paused)", "resumed (unpaused)"]


VERBS: dict[str, Callable[[Hypervisor], object]] = {
    "facts": lambda host: host.facts(),
    "servers": lambda host: host.servers(),
    "server": lambda host: host.server(WEB),
    "guest": lambda host: host.guest(WEB),
    "runs_cpu": lambda host: host.runs_cpu(Guest(1, 1, cpu_xml="<cpu/>")),
    "job": lambda host: host.job(WEB),
    "completed_job": lambda host: host.completed_job(WEB),
    "abort": lambda host: host.abort(WEB),
    "set_max_downtime": lambda host: host.set_max_downtime(WEB, 100),
    "pause": lambda host: host.pause(WEB),
    "resume": lambda host: host.resume(WEB),
    "same_directory": lambda host: same_directory(host, host, "/srv"),
}


@pytest.mark.parametrize("verb", VERBS)
def test_without_a_connection_every_verb_says_so(world: World, verb: str) -> None:
    world.a.close()
    assert not world.a.connected
    with pytest.raises(exceptions.HypervisorUnavailable):
        VERBS[verb](world.a)
    assert world.a.presence(WEB) is Presence.UNKNOWN


@pytest.mark.parametrize("verb", VERBS)
def test_a_dead_daemon_is_unavailable_whatever_its_error_says(world: World, verb: str) -> None:
    world.hosts["a"].up = False
    for _ in range(2):
        with pytest.raises(exceptions.HypervisorUnavailable):
            VERBS[verb](world.a)
    assert world.a.presence(WEB) is Presence.UNKNOWN


@pytest.mark.parametrize("verb", sorted(VERBS.keys() - {"facts", "servers", "server", "runs_cpu", "job", "completed_job", "same_directory"}))
def test_verbs_on_a_server_that_is_not_there(world: World, verb: str) -> None:
    with pytest.raises(exceptions.DomainNotFound):
        VERBS[verb](world.b)
    assert world.b.job(WEB) is None and world.b.completed_job(WEB) is None


def test_a_migration_is_told_what_was_planned(world: World) -> None:
    world.migrate(Plan("qemu+tcp://b/system", "tcp://b", persistent=True, shared_files=True, bandwidth_mib_s=10, auto_converge=True))
    assert world.web.job is not None
    wanted = ("LIVE", "PEER2PEER", "PERSIST_DEST", "UNDEFINE_SOURCE", "UNSAFE", "AUTO_CONVERGE")
    assert world.web.job.flags == sum(getattr(C, f"VIR_MIGRATE_{name}") for name in wanted)
    assert world.web.job.limit == 10
    world.a.abort(WEB)


def test_a_transient_guest_is_told_to_stay_one(world: World) -> None:
    world.migrate(Plan("qemu+tcp://b/system", None, persistent=False))
    assert world.web.job is not None
    assert world.web.job.flags == C.VIR_MIGRATE_LIVE | C.VIR_MIGRATE_PEER2PEER
    world.a.abort(WEB)


def test_a_migration_from_begin_to_end(world: World) -> None:
    task = world.migrate()
    job = world.a.job(WEB)
    assert job is not None and job.outgoing and job.started and not job.completed and job.downtime_ms is None
    assert (world.a.presence(WEB), world.b.presence(WEB)) == (Presence.RUNNING, Presence.MIGRATING)
    world.a.set_max_downtime(WEB, 5000)
    assert world.web.max_downtime_ms == 5000
    world.hosts["a"].bandwidth_mib_s = 1000.0
    task.join()
    assert (world.a.presence(WEB), world.b.presence(WEB)) == (Presence.ABSENT, Presence.RUNNING)
    assert world.a.job(WEB) is None and world.b.job(WEB) is None
    remembered = world.b.completed_job(WEB)
    assert remembered is not None and remembered.completed and not remembered.outgoing and remembered.downtime_ms is not None
    assert world.b.completed_job(WEB) == remembered, "it is kept for the next who asks"
    assert {"started (migrated)", "resumed (migrated)", "stopped (migrated)"} <= set(world.texts())
    assert [event.number for event in world.said if isinstance(event, Iteration)][:1] == [1]
    [told] = [event for event in world.said if isinstance(event, JobCompleted)]
    assert (told.uuid, told.job.downtime_ms, told.job.outgoing) == (WEB, remembered.downtime_ms, True)


def test_an_aborted_migration(world: World) -> None:
    task = world.migrate()
    world.a.abort(WEB)
    task.join()
    assert isinstance(world.error, exceptions.OperationAborted)
    with pytest.raises(exceptions.NoJob):
        world.a.abort(WEB)


def test_a_migration_whose_source_dies_is_unavailable_whatever_the_error_says(world: World) -> None:
    task = world.migrate()
    world.hosts["a"].daemon_restart()
    task.join()
    assert isinstance(world.error, exceptions.HypervisorUnavailable)


def test_a_migration_holds_a_connection_of_its_own(world: World) -> None:
    before = set(world.hosts["a"].connections)
    task = world.migrate()
    assert len(world.hosts["a"].connections) == len(before) + 1
    world.a.abort(WEB)
    task.join()
    assert set(world.hosts["a"].connections) == before


def test_a_job_of_another_kind_is_no_migration(world: World) -> None:
    world.hosts["a"].emit(C.VIR_DOMAIN_EVENT_ID_JOB_COMPLETED, world.web, {"operation": C.VIR_DOMAIN_JOB_OPERATION_SAVE, "memory_total": 1})
    world.runtime.sleep(1)
    assert world.said == []


def test_a_listener_that_stopped_hears_nothing(world: World) -> None:
    heard: list[HostEvent] = []
    stop = world.a.listen(heard.append)
    world.hosts["a"].kill_guest(WEB)
    world.runtime.sleep(0.01)
    assert heard == [ServerChanged(WEB, "stopped (failed)")]
    stop()
    stop()
    world.fleet.add_guest("new", "a")
    assert "started (booted)" in world.texts()
    assert len(heard) == 1


def test_a_server_that_vanishes_meanwhile_is_left_out(world: World) -> None:
    world.fleet.add_guest("other", "a")
    world.fleet.latency_s = 1.0

    def vanish() -> None:
        world.runtime.sleep(1.5)
        del world.hosts["a"].domains[WEB]

    world.runtime.start("vanish", vanish)
    assert [server.name for server in world.a.servers()] == ["other"]


@pytest.mark.parametrize("verb", ["presence", "server"])
def test_a_server_that_vanishes_after_it_was_found_is_absent(world: World, verb: str) -> None:
    world.fleet.latency_s = 1.0

    def vanish() -> None:
        world.runtime.sleep(1.5)
        del world.hosts["a"].domains[WEB]

    world.runtime.start("vanish", vanish)
    found = getattr(world.a, verb)(WEB)
    assert found in (Presence.ABSENT, ServerFacts(WEB, "", Presence.ABSENT))


def test_keepalive_ends_a_connection_to_a_silent_host(world: World) -> None:
    world.hosts["a"].hung = True
    began = world.runtime.monotonic()
    with pytest.raises(exceptions.HypervisorUnavailable, match="keepalive"):
        world.a.facts()
    assert world.runtime.monotonic() - began == pytest.approx(30)
    world.runtime.sleep(0.01)
    assert world.said == [Disconnected("keepalive time-out")]


def test_a_daemon_that_ends_is_told_of_and_can_be_connected_to_again(world: World) -> None:
    world.hosts["a"].daemon_restart()
    world.runtime.sleep(0.01)
    assert world.said == [Disconnected("input/output error")]
    world.a.close()
    world.a.connect()
    assert world.a.presence(WEB) is Presence.RUNNING


def test_closing_twice_is_closing(world: World) -> None:
    world.a.close()
    world.a.close()
    assert not world.a.connected
    assert not world.hosts["a"].connections


def test_a_reason_that_a_newer_libvirt_has(world: World) -> None:
    [connection] = world.hosts["a"].connections
    connection.lose(Fault(C.VIR_ERR_RPC, C.VIR_FROM_RPC, "gone")(), 99)
    world.runtime.sleep(0.01)
    assert world.said == [Disconnected("reason 99")]


def test_a_host_that_is_away_cannot_be_connected_to(world: World) -> None:
    world.hosts["b"].up = False
    hypervisor = Hypervisor(world.libvirt, "b", "qemu+tcp://b/system", (5, 5))
    with pytest.raises(exceptions.HypervisorUnavailable):
        hypervisor.connect()
    assert not hypervisor.connected


def test_the_event_loop_stops_even_if_it_never_ran(runtime: VirtualRuntime) -> None:
    libvirt = Fleet(runtime).libvirt()
    assert libvirt.loop.registered is False
    EventLoop(libvirt, runtime).stop()
    assert libvirt.loop.registered is True


# Storage

POOL = "<pool type='dir'><name>{}</name><target><path>/srv</path></target></pool>"


def pools(world: World) -> list[str]:
    return [name for host in world.hosts.values() for name in host.pools]


def files(world: World) -> list[str]:
    return [name for host in world.hosts.values() for directory in host.directories.values() for name in directory.files]


@pytest.fixture(params=["shared", "local", "only on the source"])
def directories(request: pytest.FixtureRequest, world: World) -> str:
    if request.param == "shared":
        world.fleet.add_directory("/srv")
    else:
        for host in "ab" if request.param == "local" else "a":
            world.fleet.add_local_directory(host, "/srv")
    return str(request.param)


def test_directories_are_told_apart(world: World, directories: str) -> None:
    assert same_directory(world.a, world.b, "/srv") is (directories == "shared")
    assert (pools(world), files(world)) == ([], [])


def test_a_pool_that_exists_is_used_and_stays(world: World, directories: str) -> None:
    for host in (world.a, world.b):
        if directories != "only on the source" or host is world.a:
            with host.use() as connection:
                connection.storagePoolCreateXML(POOL.format(f"of-{host.name}"), 0)
    before = pools(world)
    assert before
    assert same_directory(world.a, world.b, "/srv") is (directories == "shared")
    assert (pools(world), files(world)) == (before, [])


def test_a_source_without_the_directory_cannot_tell(world: World) -> None:
    world.fleet.add_local_directory("b", "/srv")
    with pytest.raises(exceptions.HypervisorError, match="cannot open directory"):
        same_directory(world.a, world.b, "/srv")


def test_a_full_source_cannot_tell(world: World) -> None:
    world.fleet.add_local_directory("a", "/srv")
    world.hosts["a"].disk_full = True
    with pytest.raises(exceptions.HypervisorError, match="No space left"):
        same_directory(world.a, world.b, "/srv")
    assert pools(world) == []


def test_a_destination_that_is_away_cannot_tell_and_nothing_stays_behind(world: World) -> None:
    world.fleet.add_directory("/srv")
    world.hosts["b"].up = False
    with pytest.raises(exceptions.HypervisorUnavailable):
        same_directory(world.a, world.b, "/srv")
    assert (pools(world), files(world)) == ([], [])


def test_a_source_that_dies_during_the_probe_loses_a_probe_file_at_most(world: World) -> None:
    world.fleet.add_directory("/srv")
    world.fleet.latency_s = 1.0

    def die() -> None:
        world.runtime.sleep(4.5)
        world.hosts["a"].daemon_restart()

    world.runtime.start("die", die)
    assert same_directory(world.a, world.b, "/srv")
    assert all(name.startswith(PREFIX) for name in files(world) + pools(world))


def test_paths_are_escaped(world: World) -> None:
    world.fleet.add_directory("/srv/<a> & 'b'")
    assert same_directory(world.a, world.b, "/srv/<a> & 'b'")
