"""Several conductors on one store, each in a process that can be killed and frozen: hosts are spread, work is taken over with its policy, limits hold."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from livemig import context
from livemig.states import Status
from livemig.testing.constants import VIR_DOMAIN_PAUSED_POSTCOPY
from livemig.testing.fleet import Domain, guest_uuid
from tests.conductor.cluster import WEB, Cluster, Life, Make
from tests.service import HOSTS

DB = guest_uuid("db")
ADOPTED_S = 15.0  # the promise


# Hosts


def test_hosts_are_spread_and_each_is_up(make: Make) -> None:
    cluster = make(3)
    assert [len(hosts) for hosts in cluster.watched().values()] == [1, 1, 1]
    assert all(host.up for host in cluster.store.hosts.all())


def test_a_server_is_seen_whoever_watches_its_host(make: Make) -> None:
    cluster = make(2)
    for number, host in enumerate(HOSTS):
        cluster.guest(f"g{number}", host)
    assert [cluster.store.servers.get(guest_uuid(f"g{number}")).host for number in range(3)] == list(HOSTS)


def test_hosts_of_a_dead_conductor_are_taken_over_and_looked_at(make: Make) -> None:
    cluster = make(2)
    cluster.guest()
    web = cluster.by_hand()
    owner, other = cluster.watcher_of("node1")
    owner.kill()
    web.suspend()
    cluster.wait(lambda: cluster.store.servers.get(WEB).vm_state == "paused", ADOPTED_S)
    assert cluster.watched() == {other.owner: list(HOSTS)}


def test_hosts_of_a_conductor_that_stops_are_handed_over(make: Make) -> None:
    cluster = make(2)
    owner, other = cluster.watcher_of("node1")
    owner.process.start("stop", owner.conductor.stop)
    assert cluster.wait(lambda: cluster.watched().get(other.owner) == list(HOSTS), ADOPTED_S) < 5


def test_a_host_is_watched_by_who_reaches_it(make: Make) -> None:
    """It is up as long as one of them does, and its guests are followed."""
    cluster = make(2)
    cluster.guest()
    web = cluster.by_hand()
    owner, other = cluster.watcher_of("node1")
    cluster.fleet.cut(other.process.name, "node1")
    cluster.runtime.sleep(60)
    assert [host.up for host in cluster.store.hosts.all()] == [True] * 3
    cluster.fleet.heal(other.process.name, "node1")
    cluster.settle()
    cluster.fleet.cut("node1", owner.process.name)
    cluster.wait(lambda: cluster.store.watches.all()["node1"] == other.owner, 60)
    cluster.runtime.sleep(1)
    assert cluster.store.hosts.get("node1").up  # type: ignore[union-attr]
    web.suspend()
    cluster.wait(lambda: cluster.store.servers.get(WEB).vm_state == "paused", 1)
    cluster.fleet.cut("node1", other.process.name)
    cluster.wait(lambda: not cluster.store.hosts.get("node1").up, 60)  # type: ignore[union-attr]
    cluster.fleet.heal("node1", owner.process.name)
    cluster.wait(lambda: cluster.store.hosts.get("node1").up, 60)  # type: ignore[union-attr]
    assert cluster.watcher_of("node1")[0] is owner
    cluster.settle()
    assert sorted(host for hosts in cluster.watched().values() for host in hosts) == list(HOSTS)


def test_who_was_frozen_writes_nothing_old(make: Make) -> None:
    """It has asked the host, is frozen before it writes that down, and thaws when another watches the host and knows better."""
    cluster = make(2)
    cluster.guest()
    web = cluster.by_hand()
    owner, other = cluster.watcher_of("node1")
    owner.database.before = owner.freeze
    web.suspend()
    cluster.runtime.sleep(1)
    assert cluster.store.servers.get(WEB).vm_state == "active", "it was just to be written"
    web.resume()
    cluster.wait(lambda: cluster.watched()[other.owner] == list(HOSTS), ADOPTED_S)
    cluster.runtime.sleep(1)
    del owner.database.before
    owner.thaw()
    for _ in range(200):
        assert cluster.store.servers.get(WEB).vm_state == "active"
        cluster.runtime.sleep(0.1)
    assert sorted(map(len, cluster.watched().values())) == [1, 2], "it lives again, and has its share"
    web.suspend()
    cluster.runtime.sleep(1)
    assert cluster.store.servers.get(WEB).vm_state == "paused"


@pytest.mark.parametrize("asked", [0, 1])
def test_a_deed_is_shown_at_once_whoever_does_it(make: Make, asked: int) -> None:
    cluster = make(2)
    cluster.guest()
    life = cluster.watcher_of("node1")[asked]
    for deed, state in (("pause", "paused"), ("unpause", "active")):
        done = life.process.start("deed", life.conductor.answers["perform"], WEB, "node1", deed)
        done.join(10)
        assert cluster.store.servers.get(WEB).vm_state == state
    told: list[Any] = []
    life.process.start("diagnostics", lambda: told.append(life.conductor.answers["diagnostics"](WEB, "node1"))).join(10)
    assert told


def test_a_stop_gives_way_to_what_another_conductor_is_asked(make: Make) -> None:
    cluster = make(2, libvirt__shutdown_timeout=20)
    web = cluster.guest(ignores_acpi=True)
    one, two = cluster.lives

    def do(life: Life, name: str, deed: str) -> None:
        action = cluster.store.actions.start(cluster.store.servers.get(WEB), name, context.system())
        life.process.start(deed, life.conductor.answers["perform"], WEB, "node1", deed).join(10)
        cluster.store.actions.finish(action)

    do(one, "stop", "stop")
    cluster.runtime.sleep(5)
    do(two, "pause", "pause")
    do(two, "unpause", "unpause")
    cluster.runtime.sleep(60)
    assert web.runs
    do(two, "stop", "stop")
    cluster.runtime.sleep(30)
    assert not web.runs


# Migrations


def slow(cluster: Cluster, **facts: Any) -> Domain:
    cluster.fleet.hosts["node1"].bandwidth_mib_s = 100.0
    return cluster.guest(**{"memory_mib": 4096, "dirty_mib_s": 1, **facts})


def reach(cluster: Cluster, status: Status) -> Life:
    """A migration in that status, and the conductor that has it."""
    one = cluster.lives[0]
    if status in (Status.ACCEPTED, Status.PREPARING):
        one.database.after = lambda: one.freeze() if cluster.last().status is status else None
    if status is Status.QUEUED:
        cluster.guest("db", memory_mib=8192)
        cluster.begin(cluster.lives[1], DB, "node3")
        cluster.runtime.sleep(2)
    cluster.begin(None if status is Status.ACCEPTED else one)
    if status is Status.ACCEPTED:
        cluster.store.migrations.claim(cluster.last().id, one.owner, 10)
    cluster.wait(cluster.is_in(status))
    return one


@pytest.mark.parametrize("host", ["node1", "node2"])
def test_it_is_left_to_who_reaches_its_hosts(make: Make, host: str) -> None:
    """It runs, and its conductor is cut off from one of its hosts: another follows it, with all that was wished."""
    cluster = make(2)
    slow(cluster)
    one, two = cluster.lives
    cluster.begin(one)
    cluster.wait(cluster.is_in(Status.RUNNING))
    cluster.runtime.sleep(5)
    cluster.fleet.cut(host, one.process.name)
    cluster.wait(lambda: not one.conductor.inventory.get(host).reached.is_set())  # type: ignore[union-attr]
    cluster.wait(cluster.taken_up_by(two), ADOPTED_S)
    assert f"left by {one.owner} to another that reaches node1 and node2" in cluster.story()
    assert cluster.store.migrations.ask_abort(cluster.last(), context.system())
    cluster.wait(cluster.is_in(Status.CANCELLED), 20)
    assert cluster.fleet.running_on(WEB) == ["node1"]


def test_it_is_begun_by_who_reaches_its_hosts(make: Make) -> None:
    """Whichever conductor is told of it, and whoever finds a place for it."""
    cluster = make(2)
    slow(cluster)
    cluster.guest("db")
    one = cluster.lives[0]
    cluster.fleet.cut("node1", one.process.name)
    cluster.runtime.sleep(60)
    cluster.begin(one)
    cluster.begin(one, DB)
    cluster.wait(lambda: cluster.last().status is cluster.last(DB).status is Status.COMPLETED, 300)
    assert one.owner not in cluster.story() + cluster.story(DB)


def test_it_stays_where_it_is_when_nobody_reaches_both_hosts(make: Make) -> None:
    cluster = make(2)
    slow(cluster)
    one, two = cluster.lives
    cluster.begin(one)
    cluster.wait(cluster.is_in(Status.RUNNING))
    cluster.fleet.cut("node1", one.process.name)
    cluster.fleet.cut("node2", two.process.name)
    cluster.runtime.sleep(120)
    assert cluster.last().status is Status.RUNNING and "taken up by" not in cluster.story()
    cluster.fleet.heal("node1", one.process.name)
    cluster.wait(cluster.is_in(Status.COMPLETED), 60)
    assert "taken up by" not in cluster.story()


@pytest.mark.parametrize("status", [Status.ACCEPTED, Status.QUEUED, Status.PREPARING, Status.RUNNING])
def test_it_is_taken_up_within_fifteen_seconds_wherever_it_was(make: Make, status: Status) -> None:
    """… with the default settings, and brought to its end."""
    cluster = make(2)
    slow(cluster)
    one, two = reach(cluster, status), cluster.lives[1]
    one.kill()
    if status is not Status.QUEUED:  # such a one needs nobody: whoever admits it begins it
        cluster.wait(cluster.taken_up_by(two), ADOPTED_S)
    cluster.wait(cluster.is_in(Status.COMPLETED), 300)
    assert cluster.fleet.running_on(WEB) == ["node2"] and cluster.store.servers.get(WEB).host == "node2"


def test_one_in_post_copy_is_taken_up(make: Make) -> None:
    cluster = make(2, libvirt__live_migration_policy="post-copy")
    web = slow(cluster, dirty_mib_s=500)
    cluster.begin(cluster.lives[0])
    cluster.wait(lambda: web.reason == VIR_DOMAIN_PAUSED_POSTCOPY, 300)
    cluster.fleet.hosts["node1"].bandwidth_mib_s = 20.0
    cluster.lives[0].kill()
    cluster.wait(cluster.taken_up_by(cluster.lives[1]), ADOPTED_S)
    cluster.wait(cluster.is_in(Status.COMPLETED), 600)


def test_one_that_ends_while_nobody_has_it_gets_its_verdict(make: Make) -> None:
    cluster = make(2)
    slow(cluster, memory_mib=512)
    cluster.begin(cluster.lives[0])
    cluster.wait(cluster.is_in(Status.RUNNING), pause=0.05)
    cluster.lives[0].kill()
    cluster.wait(lambda: cluster.fleet.running_on(WEB) == ["node2"], 10)
    cluster.wait(cluster.is_in(Status.COMPLETED), ADOPTED_S)
    assert cluster.last().memory_total_bytes


def test_the_deadline_counts_from_the_real_start(make: Make) -> None:
    """Two GiB have twenty seconds each: the conductors that die take nothing off and add nothing, though no two of them have the same time."""
    cluster = make(3, libvirt__live_migration_completion_timeout=20)
    slow(cluster, dirty_mib_s=500, memory_mib=2048)
    for life, minutes in zip(cluster.lives, (3, -5, 7), strict=True):
        life.process.skew = timedelta(minutes=minutes)
    cluster.begin(cluster.lives[0])
    cluster.wait(cluster.is_in(Status.RUNNING), pause=0.05)
    began = cluster.runtime.monotonic()
    for life in cluster.lives[:2]:
        cluster.runtime.sleep(3)
        life.kill()
    cluster.wait(cluster.is_in(Status.FAILED), 100)
    assert 39 < cluster.runtime.monotonic() - began < 43
    assert "not completed after 40 s" in cluster.story()


def test_what_was_decided_is_not_forgotten(make: Make) -> None:
    """A downtime that was raised stays raised, what is next in on_stall comes next, and the iterations without progress go on being counted."""
    cluster = make(
        2,
        libvirt__live_migration_on_stall=["raise_downtime", "abort"],
        libvirt__live_migration_stall_iterations=2,
        libvirt__live_migration_downtime=100,
        conductor__progress_interval=0.5,
    )
    web = slow(cluster, dirty_mib_s=900, memory_mib=1024)
    cluster.begin(cluster.lives[0])
    cluster.wait(lambda: (cluster.last().remembered or {}).get("downtime_ms") == 400, 300, 0.1)
    cluster.runtime.sleep(1)
    remembered = cluster.last().remembered
    assert remembered is not None and remembered["downtime_ms"] == 400 and remembered["course"]["iteration"] > 0
    cluster.lives[0].kill()
    before = len(cluster.story())
    cluster.wait(cluster.is_in(Status.FAILED), 300)
    told = [line for line in cluster.story()[before:].splitlines() if "max downtime" in line or " abort: " in line]
    assert "max downtime 800 ms" in told[0] and "abort: no new minimum in" in told[-1] and len(told) == 2
    assert web.runs


def test_who_was_frozen_tells_libvirt_nothing(make: Make) -> None:
    """It is frozen after the row says that libvirt is told, and before that is done. Another has found that nothing runs, and said so."""
    cluster = make(2)
    slow(cluster)
    one, two = cluster.lives
    one.database.after = lambda: one.freeze() if cluster.last().status is Status.RUNNING else None
    cluster.begin(one)
    cluster.wait(cluster.taken_up_by(two), 30)
    cluster.wait(cluster.is_in(Status.FAILED), 10)
    del one.database.after
    one.thaw()
    for _ in range(100):
        assert not cluster.fleet.hosts["node1"].jobs
        cluster.runtime.sleep(0.1)
    assert cluster.is_in(Status.FAILED)() and one.conductor.engine._attempts == {}
    cluster.begin(one)
    cluster.wait(cluster.is_in(Status.COMPLETED), 100)


def test_who_was_frozen_leaves_a_running_job_to_the_other(make: Make) -> None:
    cluster = make(2, libvirt__live_migration_completion_timeout=0)
    slow(cluster, memory_mib=8192)
    one, two = cluster.lives
    cluster.begin(one)
    cluster.wait(cluster.is_in(Status.RUNNING))
    one.freeze()
    cluster.wait(cluster.taken_up_by(two), ADOPTED_S)
    one.thaw()
    cluster.runtime.sleep(5)
    assert one.conductor.engine._attempts == {} and list(two.conductor.engine._attempts) == [cluster.last().id]
    cluster.wait(cluster.is_in(Status.COMPLETED), 200)


def test_while_the_database_is_away_nothing_is_told_to_libvirt_that_another_might(make: Make) -> None:
    """The job is watched, and the deadline is acted on when the lease is renewed."""
    cluster = make(2, libvirt__live_migration_completion_timeout=10)
    web = slow(cluster, dirty_mib_s=500, memory_mib=1024)
    cluster.begin(cluster.lives[0])
    cluster.wait(cluster.is_in(Status.RUNNING))
    cluster.runtime.sleep(10)
    cluster.outages.database_away = True
    cluster.runtime.sleep(30)
    assert web.job is not None, "the deadline has passed"
    cluster.outages.database_away = False
    cluster.wait(cluster.is_in(Status.FAILED), 15)
    assert "not completed after 20 s" in cluster.story()


def test_a_conductor_that_stops_hands_its_migration_over(make: Make) -> None:
    cluster = make(2)
    slow(cluster)
    cluster.begin(cluster.lives[0])
    cluster.wait(cluster.is_in(Status.RUNNING))
    cluster.lives[0].process.start("stop", cluster.lives[0].conductor.stop)
    assert cluster.wait(cluster.taken_up_by(cluster.lives[1]), ADOPTED_S) < 5
    cluster.wait(cluster.is_in(Status.COMPLETED), 200)


def test_limits_hold_across_conductors(make: Make) -> None:
    cluster = make(3)
    names = [f"g{number}" for number in range(6)]
    for name in names:
        cluster.guest(name)
    for number, name in enumerate(names):
        cluster.begin(cluster.lives[number % 3], guest_uuid(name), "node2")
    most = 0

    def done() -> bool:
        nonlocal most
        most = max(most, sum(job.source.host.name == "node1" for job in cluster.fleet.hosts["node1"].jobs))
        return not cluster.store.migrations.open()

    cluster.wait(done, 300, 0.05)
    assert most == 1
    assert {cluster.last(guest_uuid(name)).status for name in names} == {Status.COMPLETED}


def test_a_link_is_shared_across_conductors(make: Make) -> None:
    cluster = make(2, libvirt__live_migration_link_bandwidth=100, max_concurrent_live_migrations=2)
    for name in ("web", "db"):
        slow(cluster, name=name, memory_mib=8192)
    cluster.begin(cluster.lives[0], WEB)
    cluster.wait(lambda: cluster.last(WEB).bandwidth_mib_s == 100)
    cluster.begin(cluster.lives[1], DB)
    cluster.wait(lambda: [cluster.last(server).bandwidth_mib_s for server in (WEB, DB)] == [50, 50])
    cluster.runtime.sleep(3)
    assert "max bandwidth 50 MiB/s" in cluster.story(WEB), "the one that has it heard of the other's"
