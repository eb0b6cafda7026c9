"""What is done with a migration while it runs: post-copy and its interruptions, stalls, time-outs, shares of a link."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest

from livemig import conf as configuration
from livemig.conf.policy import NAMED
from livemig.db.engine import Database
from livemig.records import Migration
from livemig.states import Status
from livemig.testing import constants as C
from livemig.testing.fleet import Domain, guest_uuid
from tests.service import Service
from tests.simulation.runtime import GreenletRuntime

WEB = guest_uuid("web")
Make = Callable[..., Service]
# Several at once, and looks that are rarer than they are: minutes go by here.
CALMLY: dict[str, Any] = {"max_concurrent_live_migrations": 0, "conductor__monitor_interval": 1.0, "conductor__progress_interval": 2.0}


@pytest.fixture
def make(tmp_path: Path, runtime: GreenletRuntime) -> Iterator[Make]:
    """A service whose options of [libvirt] are given without their prefix; node1 sends 100 MiB/s, and its guest web dirties more."""
    with ExitStack() as stack:

        def made(dirty_mib_s: float = 500, state: str = "running", lease_time: int = 10, database: Any = None, **options: Any) -> Service:
            given = {f"libvirt__live_migration_{name}": value for name, value in options.items()} | {"conductor__lease_time": lease_time}
            service = stack.enter_context(Service(tmp_path, runtime, database=database, **{**CALMLY, **given}))
            service.fleet.hosts["node1"].bandwidth_mib_s = 100.0
            add(service, "web", dirty_mib_s=dirty_mib_s, state=state)
            return service

        yield made


def add(service: Service, name: str, host: str = "node1", **facts: object) -> Domain:
    domain = service.fleet.add_guest(name, host, **facts)  # type: ignore[arg-type]
    service.runtime.sleep(0.5)
    return domain


def last(service: Service, server: str = WEB) -> Migration:
    return service.store.migrations.of_server(server)[0]


def force(service: Service) -> int:
    path = f"/v2.1/servers/{WEB}/migrations/{last(service).id}/action"
    answer: int = service.request("POST", path, json={"force_complete": None}, headers={"X-OpenStack-Nova-API-Version": "2.22"}).status_int
    return answer


def abort(service: Service) -> int:
    path = f"/v2.1/servers/{WEB}/migrations/{last(service).id}"
    answer: int = service.request("DELETE", path, headers={"X-OpenStack-Nova-API-Version": "2.24"}).status_int
    return answer


def interrupt(service: Service) -> None:
    """As an operator could, by virsh domjobabort --postcopy."""
    job = service.fleet.hosts["node1"].domains[WEB].job
    assert job is not None
    with service.fleet.lock:
        job.abort_post_copy()


def arrived(service: Service, seconds: float = 300) -> Migration:
    """It completes on node2, and the guest runs there alone."""
    migration = service.wait_idle(WEB, seconds)
    service.runtime.sleep(3)
    assert migration.status is Status.COMPLETED, service.story(WEB)
    assert service.state(WEB) == ("ACTIVE", "node2", None)
    assert service.fleet.running_on(WEB) == ["node2"]
    return migration


def in_post_copy(make: Make, **options: object) -> Service:
    """It has 20 MiB/s for more than a GiB: over a minute."""
    service = make(permit_post_copy=True, **options)
    assert service.live_migrate(WEB).status_int == 202
    service.runtime.sleep(5)
    service.fleet.hosts["node1"].bandwidth_mib_s = 20.0
    assert force(service) == 202
    service.wait_status(WEB, Status.POST_COPY, 5)
    return service


def test_force_complete_switches_to_post_copy(make: Make) -> None:
    service = in_post_copy(make)
    assert service.fleet.running_on(WEB) == ["node2"]
    assert service.state(WEB) == ("MIGRATING", "node2", "migrating")
    assert abort(service) == 400
    arrived(service)
    story = service.story(WEB)
    order = ["force complete: asked for", "post-copy: for the migration to complete", "running (post-copy): the guest runs on the destination", "completed"]
    assert sorted(order, key=story.index) == order
    assert "pause: " not in story


def test_a_paused_guest_is_not_switched(make: Make) -> None:
    service = make(permit_post_copy=True, state="paused")
    service.fleet.hosts["node1"].bandwidth_mib_s = 50.0
    assert service.live_migrate(WEB).status_int == 202
    service.runtime.sleep(5)
    assert force(service) == 202
    assert service.wait_idle(WEB, 100).status is Status.COMPLETED
    assert service.state(WEB) == ("PAUSED", "node2", None)
    assert "post-copy" not in service.story(WEB)


def test_a_job_that_may_not_switch_is_paused(make: Make) -> None:
    """It was begun without the flag, by a conductor of another policy."""
    service = make(permit_post_copy=True)
    assert service.live_migrate(WEB).status_int == 202
    service.runtime.sleep(3)
    job = service.fleet.hosts["node1"].domains[WEB].job
    assert job is not None
    job.flags &= ~C.VIR_MIGRATE_POSTCOPY
    assert force(service) == 202
    arrived(service)
    assert "libvirt: PostCopy: node1: " in service.story(WEB)
    assert "pause: the guest is paused, for the migration to complete" in service.story(WEB)


def test_interrupted_it_is_resumed_with_growing_pauses(make: Make) -> None:
    service = in_post_copy(make)
    interrupt(service)
    service.runtime.sleep(1)
    assert service.state(WEB) == ("MIGRATING", "node2", "migrating")
    assert "post-copy: interrupted" in service.story(WEB)
    arrived(service)
    story = service.story(WEB)
    assert "post-copy: libvirt is told to resume it (try 1)" in story and "try 2" not in story
    assert "post-copy: resumed" in story
    assert "the guest is on the source" not in story


def test_interrupted_by_a_link_that_is_cut_it_waits_for_it(make: Make) -> None:
    service = in_post_copy(make)
    service.fleet.cut("node1", "node2")
    service.runtime.sleep(300)
    assert last(service).status is Status.POST_COPY
    assert service.state(WEB) == ("MIGRATING", "node2", "migrating")
    story = service.story(WEB)
    assert "(try 4)" in story and "(try 9)" not in story
    service.fleet.heal("node1", "node2")
    arrived(service, 400)


def test_interrupted_it_is_resumed_at_once_when_somebody_asks(make: Make) -> None:
    service = in_post_copy(make)
    service.fleet.cut("node1", "node2")
    service.runtime.sleep(200)
    tries = service.story(WEB).count("libvirt is told to resume")
    job = service.fleet.hosts["node1"].domains[WEB].job
    assert job is not None
    job._paused = True  # the link heals, QEMU does not go on by itself
    service.fleet.heal("node1", "node2")
    assert force(service) == 202
    service.runtime.sleep(3)
    assert service.story(WEB).count("libvirt is told to resume") == tries + 1
    assert "libvirt is told to resume it, as was asked for" in service.story(WEB)
    arrived(service, 400)


@pytest.mark.parametrize("broken", [False, True])
def test_a_conductor_dies_during_post_copy(make: Make, broken: bool) -> None:
    service = in_post_copy(make)
    if broken:
        interrupt(service)
    service.restart_conductor()
    service.runtime.sleep(1)
    assert service.state(WEB) == ("MIGRATING", "node2", "migrating")
    arrived(service, 400)
    assert ("libvirt is told to resume it" in service.story(WEB)) == broken


def test_a_switch_that_no_conductor_saw(make: Make) -> None:
    service = make(permit_post_copy=True)
    assert service.live_migrate(WEB).status_int == 202
    service.runtime.sleep(5)
    service.fleet.hosts["node1"].bandwidth_mib_s = 20.0
    service.conductor.stop()
    job = service.fleet.hosts["node1"].domains[WEB].job
    assert job is not None
    with service.fleet.lock:
        job.start_post_copy()
    service.restart_conductor()
    service.wait_status(WEB, Status.POST_COPY, 15)
    arrived(service, 400)


def test_the_database_is_away_when_it_is_switched_and_interrupted(make: Make) -> None:
    """It is resumed all the same, as long as the lease lasts, and all is written down when the database is back."""
    service = make(policy="post-copy", lease_time=60, database=Database)
    assert service.live_migrate(WEB).status_int == 202
    service.runtime.sleep(5)
    source = service.fleet.hosts["node1"].domains[WEB]
    with closing(service.other_process()) as other:
        other.execute("BEGIN EXCLUSIVE")
        service.fleet.wait(lambda: source.reason == C.VIR_DOMAIN_PAUSED_POSTCOPY, 100)
        service.fleet.hosts["node1"].bandwidth_mib_s = 20.0
        interrupt(service)
        service.runtime.sleep(5)
        assert source.reason == C.VIR_DOMAIN_PAUSED_POSTCOPY
        other.execute("ROLLBACK")
    service.wait_status(WEB, Status.POST_COPY, 10)
    arrived(service)
    story = service.story(WEB)
    order = ["post-copy: no new minimum in 1 iteration:", "post-copy: interrupted", "post-copy: resumed", "running (post-copy)", "completed"]
    assert sorted(order, key=story.index) == order


def test_an_abort_that_comes_as_it_switches_is_too_late(make: Make) -> None:
    service = make(permit_post_copy=True)
    assert service.live_migrate(WEB).status_int == 202
    service.runtime.sleep(5)
    job = service.fleet.hosts["node1"].domains[WEB].job
    assert job is not None
    with service.fleet.lock:
        job.start_post_copy()
    assert abort(service) == 202
    arrived(service)
    assert "abort: the guest runs on the destination already: there is no way back" in service.story(WEB)


@pytest.mark.parametrize("dead", ["node1", "node2"])
def test_a_guest_of_which_one_half_is_killed(make: Make, dead: str) -> None:
    """It is lost, and a person must look. Without its source it may just be finished, so the destination is given time to say so."""
    service = in_post_copy(make)
    service.fleet.hosts[dead].kill_guest(WEB)
    service.runtime.sleep(15)
    if dead == "node1":
        assert last(service).status is Status.POST_COPY
        assert "lost, if it stays so (source: shut off, destination: post-copy failed)" in service.story(WEB)
    service.runtime.sleep(15)
    migration = last(service)
    assert migration.status is Status.ERROR and "A person must look" in (migration.reason or "")
    assert service.show(WEB)["status"] == "ERROR"
    assert service.fleet.hosts["node1"].domains[WEB].active == (dead == "node2")  # nothing was destroyed


def test_a_destination_that_is_late_to_notice_that_it_has_all(make: Make) -> None:
    service = in_post_copy(make)
    service.fleet.hosts["node1"].kill_guest(WEB)
    service.runtime.sleep(15)
    destination = service.fleet.hosts["node2"].domains[WEB]
    with service.fleet.lock:
        destination.become(C.VIR_DOMAIN_RUNNING, C.VIR_DOMAIN_RUNNING_MIGRATED)
    arrived(service)


def test_a_source_daemon_that_dies_in_post_copy(make: Make) -> None:
    """It forgets that it was to undefine the guest: livemig does, and the guest may come back."""
    service = in_post_copy(make)
    service.fleet.hosts["node1"].daemon_restart(20)
    arrived(service, 400)
    assert WEB not in service.fleet.hosts["node1"].domains
    assert "source: the definition left behind is removed" in service.story(WEB)
    assert service.fleet.hosts["node2"].domains[WEB].persistent
    assert service.live_migrate(WEB, "node1").status_int == 202
    service.runtime.sleep(5)
    assert last(service).status is Status.RUNNING, service.story(WEB)


# What becomes of the two definitions before libvirt could undefine the one at the source: whether the other is kept, and what the event log says.
LEFT_BEHIND: dict[str, tuple[Callable[[Service], None], str]] = {
    "the destination has none": (lambda service: _transient(service, "node2"), "source: a definition is left behind: node2: the guest has no definition here"),
    "it has saved memory": (lambda service: _saved(service, "node1"), "source: a definition is left behind: node1: "),
}


@pytest.mark.parametrize("case", LEFT_BEHIND)
def test_a_definition_that_may_be_needed_is_kept(make: Make, case: str) -> None:
    meddle, words = LEFT_BEHIND[case]
    service = in_post_copy(make)
    meddle(service)
    service.fleet.hosts["node1"].daemon_restart(20)
    arrived(service, 400)
    assert service.fleet.hosts["node1"].domains[WEB].persistent
    assert words in service.story(WEB)


def _transient(service: Service, host: str) -> None:
    service.fleet.hosts[host].domains[WEB].persistent = False


def _saved(service: Service, host: str) -> None:
    service.fleet.hosts[host].domains[WEB].saved = "running"


# options, what the event log says in that order, and how it ends
STALLS: dict[str, tuple[dict[str, object], list[str], Status]] = {
    "abort": ({"on_stall": ["abort"]}, ["abort: no new minimum in 3 iterations"], Status.FAILED),
    "post-copy": ({"on_stall": ["post_copy"], "permit_post_copy": True}, ["post-copy: no new minimum", "running (post-copy)"], Status.COMPLETED),
    "pause": ({"on_stall": ["force_complete"]}, ["pause: no new minimum"], Status.COMPLETED),
    "downtime, then abort": (
        {"on_stall": ["raise_downtime", "abort"], "downtime": 100},
        ["max downtime 10 ms", *(f"max downtime {ms} ms: no new minimum" for ms in (100, 200, 400, 800)), "abort: "],
        Status.FAILED,
    ),
    "long downtime": ({"on_stall": ["raise_downtime"], "downtime": 2000}, ["max downtime 2000 ms: ", "max downtime 16000 ms: "], Status.COMPLETED),
}


@pytest.mark.parametrize("case", STALLS)
def test_stalls(make: Make, case: str) -> None:
    options, words, status = STALLS[case]
    service = make(completion_timeout=0, **options)
    assert service.live_migrate(WEB).status_int == 202
    assert service.wait_idle(WEB, 1500).status is status, service.story(WEB)
    story = service.story(WEB)
    assert sorted(words, key=story.index) == words
    assert service.fleet.running_on(WEB) == ["node2" if status is Status.COMPLETED else "node1"]


TIME_OUTS: dict[str, tuple[dict[str, object], str, Status]] = {
    "abort": ({}, "abort: not completed after 60 s", Status.FAILED),
    "pause": ({"timeout_action": "force_complete"}, "pause: not completed after 60 s", Status.COMPLETED),
    "post-copy": ({"timeout_action": "force_complete", "permit_post_copy": True}, "post-copy: not completed after 60 s", Status.COMPLETED),
}


@pytest.mark.parametrize("case", TIME_OUTS)
def test_time_outs(make: Make, case: str) -> None:
    options, words, status = TIME_OUTS[case]
    service = make(completion_timeout=30, **options)
    assert service.live_migrate(WEB).status_int == 202
    assert service.wait_idle(WEB, 200).status is status
    assert words in service.story(WEB)


def test_auto_converge_slows_the_guest_until_it_fits(make: Make) -> None:
    service = make(permit_auto_converge=True, auto_converge_initial=40, auto_converge_increment=20)
    assert service.live_migrate(WEB).status_int == 202
    service.runtime.sleep(60)
    job = service.fleet.hosts["node1"].domains[WEB].job
    assert job is not None and job.copy.throttle in (40, 60, 80, 99)
    arrived(service, 1500)


@pytest.mark.parametrize("policy", NAMED)
def test_the_named_policies_move_a_quiet_guest(make: Make, policy: str) -> None:
    service = make(dirty_mib_s=1, policy=policy)
    assert service.live_migrate(WEB).status_int == 202
    assert arrived(service, 100).policy.name == policy


def test_must_finish_does(make: Make) -> None:
    service = make(policy="must-finish")
    assert service.live_migrate(WEB).status_int == 202
    arrived(service, 600)
    assert "running (post-copy)" in service.story(WEB)


def speeds(service: Service, server: str) -> list[str]:
    return [event.text for event in service.store.migrations.events(last(service, server).id) if "bandwidth" in event.text]


def limit(service: Service, server: str) -> float:
    job = service.fleet.hosts["node1"].domains[server].job
    assert job is not None
    return job.limit


def test_two_share_a_link_and_the_last_has_it_alone(make: Make) -> None:
    service = make(dirty_mib_s=1, link_bandwidth=60)
    other = add(service, "other", dirty_mib_s=1).definition.uuid
    assert service.live_migrate(WEB).status_int == 202
    service.runtime.sleep(10)
    assert (last(service).bandwidth_mib_s, limit(service, WEB)) == (60, 60)
    assert service.live_migrate(other, "node3").status_int == 202
    service.runtime.sleep(3)
    assert (limit(service, WEB), limit(service, other)) == (30, 30)
    arrived(service)
    service.runtime.sleep(2)
    assert limit(service, other) == 60
    assert service.wait_idle(other, 100).status is Status.COMPLETED
    assert speeds(service, WEB) == ["max bandwidth 30 MiB/s"]
    assert speeds(service, other) == ["max bandwidth 60 MiB/s"]


def test_a_changed_link_is_followed_and_no_limit_is_one_too(make: Make) -> None:
    service = make(dirty_mib_s=1, link_bandwidth=20)
    assert service.live_migrate(WEB).status_int == 202
    service.runtime.sleep(5)
    for megabytes, told in ((10, "max bandwidth 10 MiB/s"), (0, "max bandwidth without a limit")):
        service.conf.set_override("live_migration_link_bandwidth", megabytes, group="libvirt")
        service.conductor.reload()
        service.runtime.sleep(3)
        assert speeds(service, WEB)[-1] == told
    arrived(service)


def test_a_share_holds_in_post_copy(make: Make) -> None:
    service = make(permit_post_copy=True, link_bandwidth=40)
    assert service.live_migrate(WEB).status_int == 202
    service.runtime.sleep(5)
    assert force(service) == 202
    arrived(service)
    assert speeds(service, WEB) == ["max bandwidth 40 MiB/s in post-copy"]


def test_what_libvirt_remembers_of_a_speed_is_taken_back(make: Make) -> None:
    service = make(link_bandwidth=60)
    assert service.live_migrate(WEB).status_int == 202
    service.runtime.sleep(5)
    service.conf.set_override("live_migration_link_bandwidth", 30, group="libvirt")
    service.conductor.reload()
    service.runtime.sleep(3)
    domain = service.fleet.hosts["node1"].domains[WEB]
    assert domain.max_speed == 30
    assert abort(service) == 202
    assert service.wait_idle(WEB, 60).status is Status.CANCELLED
    assert domain.max_speed > 10**9


def test_links_are_not_divided_while_the_database_is_away(make: Make) -> None:
    service = make(database=Database)
    service.conf.set_override("live_migration_link_bandwidth", 60, group="libvirt")
    assert configuration.links(service.conf) == {"node1": 60, "node2": 60, "node3": 60}
    engine = service.store.database.engine
    with engine.connect() as other:
        other.exec_driver_sql("ROLLBACK")
        other.exec_driver_sql("BEGIN EXCLUSIVE")
        assert service.conductor.engine.share_links() == {}
        other.exec_driver_sql("ROLLBACK")
