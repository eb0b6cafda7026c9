"""Who waits for whom, where a server goes that may go anywhere, and what becomes of it when its destination will not do any more."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from livemig import conf as configuration
from livemig import context, exceptions
from livemig.conductor.verdict import Verdict
from livemig.facts import MigrationRequest
from livemig.hypervisor.metadata import OWN
from livemig.records import Migration, Usage
from livemig.states import ADMITTED, Status
from livemig.testing.fleet import guest_uuid
from tests.moments import when
from tests.service import Service
from tests.simulation.runtime import GreenletRuntime

WEB = guest_uuid("web")
FORBEARING = {"libvirt__live_migration_other_destinations": 2}


@contextmanager
def serving(tmp_path: Path, runtime: GreenletRuntime, **options: Any) -> Iterator[Service]:
    with Service(tmp_path, runtime, **options) as service:
        yield service


def add(service: Service, name: str = "web", host: str = "node1", **facts: Any) -> str:
    service.fleet.add_guest(name, host, **{"dirty_mib_s": 1, **facts})
    service.runtime.sleep(0.5)
    return guest_uuid(name)


def member(key: str, group: str) -> dict[str, tuple[str, str]]:
    """Metadata of a guest that is in a group."""
    return {OWN: ("livemig", f'<server><metadata><item key="{key}">{group}</item></metadata></server>')}


def ask(service: Service, server: str, host: str | None = None, force: bool | None = False) -> Migration:
    """As the API does since microversion 2.34, but that refusals are raised."""
    asked = MigrationRequest(host, None, None, force)
    migration = service.store.migrations.begin(server, asked, configuration.policy(service.conf, "node1"), context.system(), 60)
    service.conductor.engine.accept(migration.id)
    return migration


def slow(service: Service) -> None:
    """A transfer takes half a minute."""
    for host in service.fleet.hosts.values():
        host.bandwidth_mib_s = 70.0


def lines(service: Service, migration: Migration, kind: str) -> list[str]:
    return [event.text for event in service.store.migrations.events(migration.id) if event.kind == kind]


def watch(service: Service, migrations: list[Migration]) -> list[list[Migration]]:
    """Each moment's admitted ones, until all have ended well."""
    moments = []
    deadline = service.runtime.monotonic() + 1000
    while service.store.migrations.open():
        assert service.runtime.monotonic() < deadline, [service.story(each.server_uuid) for each in migrations]
        moments.append([each for each in service.store.migrations.open() if each.status in ADMITTED])
        service.runtime.sleep(1)
    assert {service.store.migrations.get(each.id).status for each in migrations} == {Status.COMPLETED}
    return moments


def order(service: Service, migrations: list[Migration]) -> list[int]:
    """Their numbers, by when they began."""
    began: dict[int, Any] = {each.id: service.store.migrations.get(each.id).started_at for each in migrations}
    return sorted(began, key=lambda number: (began[number], number))


# The limits


def test_one_at_a_time_leaves_a_host_in_the_order_of_requests(service: Service) -> None:
    slow(service)
    guests = [add(service, name) for name in ("one", "two", "three")]
    asked = [ask(service, guest, host) for guest, host in zip(guests, ("node2", "node3", "node2"), strict=True)]
    assert [(each.id, each.waits_for) for each in service.store.queue.waiting()] == [(each.id, "node1 sends 1 of 1") for each in asked[1:]]
    assert max(len(each) for each in watch(service, asked)) == 1
    assert order(service, asked) == [each.id for each in asked]
    assert [lines(service, each, "queue") for each in asked] == [[], ["waits: node1 sends 1 of 1"], ["waits: node1 sends 1 of 1"]]


def test_limits_of_destinations_of_single_hosts_and_in_all(tmp_path: Path, runtime: GreenletRuntime) -> None:
    limits = {"max_concurrent_live_migrations": 2, "max_concurrent_incoming_live_migrations": 1, "max_total_live_migrations": 3}
    with serving(tmp_path, runtime, **limits) as service:
        service.conf.set_override("max_concurrent_incoming_live_migrations", 2, group="host:node3")
        service.conductor.reload()
        slow(service)
        asked: list[Migration] = []
        for source, destination in (("node1", "node2"), ("node3", "node2"), ("node1", "node3"), ("node2", "node3"), ("node2", "node1"), ("node1", "node3")):
            asked.append(ask(service, add(service, f"guest{len(asked)}", source), destination))
        waiting = {each.id: each.waits_for for each in service.store.queue.waiting()}
        assert waiting == {each.id: "3 of 3 migrations in all" for each in (asked[1], *asked[4:])}
        assert lines(service, asked[1], "queue") == ["waits: node2 receives 1 of 1", "waits: 3 of 3 migrations in all"]
        for now in watch(service, asked):
            assert len(now) <= 3
            assert max(Counter(each.source for each in now).values(), default=0) <= 2
            arriving = Counter(each.destination for each in now)
            assert arriving["node1"] <= 1 and arriving["node2"] <= 1 and arriving["node3"] <= 2


def test_who_may_go_anywhere_does_not_wait_for_a_full_destination(tmp_path: Path, runtime: GreenletRuntime) -> None:
    """Two guests were to go to node3, the largest; when node1 can send the second one node3 is still busy, and node2 is not."""
    limits = {"max_concurrent_live_migrations": 1, "max_concurrent_incoming_live_migrations": 1, "libvirt__live_migration_completion_timeout": 0}
    with serving(tmp_path, runtime, **limits) as service:
        service.fleet.hosts["node3"].memory_mib = 4 * service.fleet.hosts["node2"].memory_mib
        slow(service)
        endless = ask(service, add(service, "endless", "node2", dirty_mib_s=100_000), "node3")
        first = ask(service, add(service, "first"), "node2")
        second = ask(service, add(service, "second"))
        assert service.store.migrations.get(second.id).destination == "node3"
        service.runtime.sleep(200)
        moved = service.store.migrations.get(second.id)
        assert (moved.destination, moved.status) == ("node2", Status.COMPLETED), service.story(second.server_uuid)
        assert lines(service, second, "queue")[-1] == "to node2: node3 receives 1 of 1"
        assert service.store.migrations.get(first.id).status is Status.COMPLETED
        assert service.store.migrations.get(endless.id).status is Status.RUNNING


def test_no_other_destination_is_sought_twice_where_none_will_do(tmp_path: Path, runtime: GreenletRuntime) -> None:
    limits = {"max_concurrent_live_migrations": 1, "max_concurrent_incoming_live_migrations": 1, "libvirt__live_migration_completion_timeout": 0}
    with serving(tmp_path, runtime, **limits) as service:
        service.fleet.hosts["node2"].memory_mib = 100
        slow(service)
        ask(service, add(service, "endless", "node2", dirty_mib_s=100_000), "node3")
        waits = ask(service, add(service))
        for name in ("one", "two"):
            ask(service, add(service, name, "node3"), "node1")
        service.runtime.sleep(120)
        waiting = service.store.migrations.get(waits.id)
        assert (waiting.destination, waiting.status, waiting.waits_for) == ("node3", Status.QUEUED, "node3 receives 1 of 1")
        sought = [line for line in lines(service, waits, "choice") if line == "hosts by weight: node2 (0.00)"]
        assert len(sought) == 1, service.story(waits.server_uuid)


def test_a_limit_that_is_raised_lets_more_in_at_once(service: Service) -> None:
    slow(service)
    one, two = (ask(service, add(service, name), "node2") for name in ("one", "two"))
    service.conf.set_override("max_concurrent_live_migrations", 0)
    service.conductor.reload()
    service.runtime.sleep(1)
    assert {service.store.migrations.get(each.id).status for each in (one, two)} == {Status.RUNNING}


def test_the_queue_outlives_its_conductor(service: Service) -> None:
    slow(service)
    asked = [ask(service, add(service, name), "node2") for name in ("one", "two", "three")]
    service.runtime.sleep(5)
    service.restart_conductor()
    watch(service, asked)
    assert order(service, asked) == [each.id for each in asked]
    assert lines(service, asked[2], "queue") == ["waits: node1 sends 1 of 1"]


def test_who_waits_can_be_aborted_and_is_overtaken(service: Service) -> None:
    slow(service)
    one, two, three = (ask(service, add(service, name), "node2") for name in ("one", "two", "three"))
    assert service.store.migrations.ask_abort(two, context.system())
    watch(service, [one, three])
    assert service.store.migrations.get(two.id).status is Status.CANCELLED
    assert service.state(guest_uuid("two")) == ("ACTIVE", "node1", None)


# The choice


def test_weights_decide_and_the_log_says_so(service: Service) -> None:
    service.fleet.hosts["node2"].memory_mib = 32768
    service.runtime.sleep(60)  # hosts are looked at again
    migration = ask(service, add(service))
    assert lines(service, migration, "choice") == ["hosts by weight: node3 (1.00), node2 (0.00)"]
    assert service.wait_idle(WEB).destination == "node3"


def test_all_servers_are_summed_up_every_five_seconds_at_most(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """They only weigh. Whether a host may be asked is read for each choice."""
    usage, sums = service.store.hosts.usage, list[float]()

    def counted() -> dict[str, Usage]:
        sums.append(service.runtime.monotonic())
        return usage()

    monkeypatch.setattr(service.store.hosts, "usage", counted)
    for number in range(12):
        migration = ask(service, add(service, f"guest{number}"))
        service.store.hosts.decide("node2", disabled=not number % 2)
        excluded = any(line.startswith("not asked, disabled: node2") for line in lines(service, migration, "choice"))
        assert excluded == bool(number % 2)
    assert len(sums) == 2 and 5 <= sums[1] - sums[0] <= 6


def test_hosts_that_many_go_to_come_later(service: Service) -> None:
    slow(service)
    asked = [ask(service, add(service, name)) for name in ("one", "two", "three", "four")]
    assert Counter(service.store.migrations.get(each.id).destination for each in asked) == {"node2": 2, "node3": 2}


def test_the_checks_decide_in_the_order_of_weights(service: Service) -> None:
    service.fleet.hosts["node2"].refuses_cpu = True
    migration = ask(service, add(service))
    assert service.wait_idle(WEB).destination == "node3"
    assert any(line.startswith("node2: cpu_compatible: ") for line in lines(service, migration, "check"))


def test_what_is_about_the_guest_is_asked_once(service: Service) -> None:
    """No other destination would help."""
    add(service)
    del service.fleet.hosts["node1"].domains[WEB]  # no event tells
    with pytest.raises(exceptions.MigrationPreCheckError, match="absent on node1"):
        ask(service, WEB)
    assert "node3: " not in service.story(WEB)


@pytest.mark.parametrize("retries", [-1, 0, 1])
def test_retries_are_limited(tmp_path: Path, runtime: GreenletRuntime, retries: int) -> None:
    with serving(tmp_path, runtime, migrate_max_retries=retries) as service:
        service.fleet.hosts["node2"].refuses_cpu = True
        add(service)
        if retries:
            ask(service, WEB)
            assert service.wait_idle(WEB).destination == "node3"
            return
        with pytest.raises(exceptions.MaxRetriesExceeded) as refused:
            ask(service, WEB)
        words = f"Exceeded maximum number of retries. Exceeded max scheduling retries 0 for instance {WEB} during live migration. node2: "
        assert str(refused.value).startswith(words)


def test_nobody_can_take_it_on_a_large_fleet(service: Service) -> None:
    """The reasons can still be read."""
    others = [f"old{number:03}" for number in range(300)]
    service.store.hosts.configure(dict.fromkeys(["node1", *others], "192.0.2.1"))
    add(service)
    with pytest.raises(exceptions.NoValidHost) as refused:
        ask(service, WEB)
    said = str(refused.value)
    assert said.startswith("No valid host was found. There are not enough hosts available. old000: down; old001: down; ")
    assert said.endswith("; old019: down; and 280 more")
    migration = service.store.migrations.of_server(WEB)[0]
    named = ", ".join(others[:20])
    assert lines(service, migration, "choice") == [f"not asked, down: {named}, and 280 more", "no host is left to be asked"]


# Groups


def test_servers_of_a_group_are_kept_apart(service: Service) -> None:
    """Those that are there count, and those that are on the way."""
    slow(service)
    group = member("livemig:anti_affinity_group", "database")
    one, two, three = (add(service, name, metadata=group) for name in ("one", "two", "three"))
    assert [service.store.migrations.get(ask(service, each).id).destination for each in (one, two)] == ["node2", "node3"]
    with pytest.raises(exceptions.NoValidHost, match="node2: 1 server of the same anti-affinity group is there, or on the way; node3: 1 server"):
        ask(service, three)


@pytest.mark.parametrize("force", [None, False, True])
def test_a_named_host_is_taken_as_it_is_only_if_it_is_forced(service: Service, force: bool | None) -> None:
    group = member("livemig:anti_affinity_group", "database")
    add(service, "other", "node2", metadata=group)
    add(service, metadata=group)
    if force is False:
        with pytest.raises(exceptions.NoValidHost, match="node2: 1 server of the same anti-affinity group"):
            ask(service, WEB, "node2", force)
    else:
        ask(service, WEB, "node2", force)
        assert service.wait_idle(WEB).status is Status.COMPLETED


def test_two_of_a_group_that_chose_at_once_do_not_meet(service: Service) -> None:
    """The later one goes elsewhere when its turn comes."""
    slow(service)
    group = member("livemig:anti_affinity_group", "database")
    one, two = (add(service, name, metadata=group) for name in ("one", "two"))
    first, second = ask(service, one), ask(service, two)
    with service.store.database.engine.begin() as connection:  # as if it had not seen the first
        connection.execute(text("UPDATE migrations SET destination = 'node2' WHERE id = :number"), {"number": second.id})
    watch(service, [first, second])
    assert service.fleet.running_on(one) != service.fleet.running_on(two)


def test_servers_of_a_group_go_together_if_they_can(service: Service) -> None:
    group = member("livemig:affinity_group", "shop")
    service.fleet.hosts["node2"].memory_mib = 60000
    add(service, "other", "node2", metadata=group)
    service.conf.set_override("soft_affinity_weight_multiplier", 10.0, group="filter_scheduler")
    ask(service, add(service, metadata=group))
    assert service.wait_idle(WEB).destination == "node2"


# Another destination


@pytest.mark.parametrize("change", ["cpu", "disabled", "gone"])
def test_a_destination_that_will_not_do_any_more(service: Service, change: str) -> None:
    """Another one is chosen when the turn of the migration comes, for the request named none."""
    slow(service)
    service.fleet.hosts["node3"].memory_mib = 32768
    service.runtime.sleep(60)  # hosts are looked at again
    ask(service, add(service, "other"), "node3")
    migration = ask(service, add(service))
    assert service.store.migrations.get(migration.id).destination == "node2"
    if change == "cpu":
        service.fleet.hosts["node2"].refuses_cpu = True
    elif change == "disabled":
        service.store.hosts.decide("node2", disabled=True)
    else:
        service.conf.set_override("enabled_hosts", ["node1", "node3"])
        service.conductor.reload()
    ended = service.wait_idle(WEB, 300)
    assert (ended.status, ended.destination, ended.tried) == (Status.COMPLETED, "node3", ())
    assert "queued: to node3, since node2 will not do any more" in service.story(WEB)


def test_no_other_destination_will_do(service: Service) -> None:
    slow(service)
    ask(service, add(service, "other"), "node2")
    ask(service, add(service))
    for name in ("node2", "node3"):
        service.fleet.hosts[name].refuses_cpu = True
    ended = service.wait_idle(WEB, 300)
    assert ended.status is Status.ERROR and service.state(WEB) == ("ACTIVE", "node1", None)
    assert ended.reason is not None and "node2: Migration pre-check error: Unacceptable CPU" in ended.reason and "; node3: Migration pre-check" in ended.reason


def fail_transfer(service: Service, destination: str) -> None:
    service.runtime.sleep(5)
    service.fleet.hosts[destination].daemon_restart()


def test_a_failed_transfer_goes_on_to_another_destination(tmp_path: Path, runtime: GreenletRuntime) -> None:
    with serving(tmp_path, runtime, **FORBEARING) as service:
        slow(service)
        migration = ask(service, add(service))
        fail_transfer(service, "node2")
        service.runtime.sleep(10)
        again = service.store.migrations.get(migration.id)
        assert (again.status, again.destination, again.tried) == (Status.RUNNING, "node3", ("node2",)), service.story(WEB)
        assert service.state(WEB) == ("MIGRATING", "node1", "migrating")
        assert service.wait_idle(WEB, 300).status is Status.COMPLETED
        assert service.fleet.running_on(WEB) == ["node3"]
        assert "queued: to node3, since the transfer to node2 failed: " in service.story(WEB)


def test_no_destination_is_left_after_a_failed_transfer(tmp_path: Path, runtime: GreenletRuntime) -> None:
    with serving(tmp_path, runtime, **FORBEARING) as service:
        slow(service)
        service.store.hosts.decide("node3", disabled=True)
        ask(service, add(service))
        fail_transfer(service, "node2")
        ended = service.wait_idle(WEB, 100)
        assert (ended.status, ended.tried) == (Status.FAILED, ()) and "libvirt error" in (ended.reason or "")
        assert "no other destination: No valid host was found." in service.story(WEB)
        assert "node2: a transfer to it has failed; node3: disabled" in service.story(WEB)
        assert service.state(WEB) == ("ACTIVE", "node1", None)


@pytest.mark.parametrize("case", ["named", "not permitted", "aborted", "timed out"])
def test_a_failed_transfer_ends_it(tmp_path: Path, runtime: GreenletRuntime, case: str) -> None:
    options = {} if case == "not permitted" else dict(FORBEARING)
    if case == "timed out":
        options["libvirt__live_migration_completion_timeout"] = 2
    with serving(tmp_path, runtime, **options) as service:
        slow(service)
        migration = ask(service, add(service), "node2" if case == "named" else None)
        if case == "aborted":
            service.runtime.sleep(5)
            service.store.migrations.ask_abort(migration, context.system())
        elif case != "timed out":
            fail_transfer(service, "node2")
        ended = service.wait_idle(WEB, 100)
        assert ended.status is (Status.CANCELLED if case == "aborted" else Status.FAILED)
        assert (ended.destination, ended.tried) == ("node2", ())
        assert service.state(WEB) == ("ACTIVE", "node1", None)


def test_an_abort_while_another_destination_is_chosen(tmp_path: Path, runtime: GreenletRuntime) -> None:
    with serving(tmp_path, runtime, **FORBEARING) as service:
        slow(service)
        migration = ask(service, add(service))
        with when(lambda: service.runtime.start("abort", abort, service, migration), kind="verdict", verdict=Verdict.ON_SOURCE.name):
            service.fleet.latency_s = 0.2
            fail_transfer(service, "node2")
            service.runtime.sleep(0.5)
            ended = service.wait_idle(WEB, 100)
        assert ended.status is Status.CANCELLED, service.story(WEB)
        assert service.state(WEB) == ("ACTIVE", "node1", None) and service.fleet.running_on(WEB) == ["node1"]


def abort(service: Service, migration: Migration) -> None:
    service.runtime.sleep(0.3)
    assert service.store.migrations.ask_abort(migration, context.system())


def test_an_error_of_ours_while_another_destination_is_chosen(tmp_path: Path, runtime: GreenletRuntime, caplog: pytest.LogCaptureFixture) -> None:
    with serving(tmp_path, runtime, **FORBEARING) as service:
        slow(service)
        ask(service, add(service))
        host: Any = service.fleet.hosts["node3"]
        host.hypervisor_version = "new"
        fail_transfer(service, "node2")
        assert service.wait_idle(WEB, 100).status is Status.FAILED
        assert any("no other destination could be chosen" in record.getMessage() for record in caplog.records)


# What a guest keeps


@pytest.mark.parametrize("starts", [False, True])
def test_a_guest_starts_with_its_host_as_before(service: Service, starts: bool) -> None:
    key = "livemig:affinity_group"
    add(service, metadata=member(key, "shop"))
    service.fleet.hosts["node1"].domains[WEB].autostart = starts
    service.store.servers.lock(WEB, "admin", (None,), locked_reason="audit")
    ask(service, WEB, "node2")
    assert service.wait_idle(WEB).status is Status.COMPLETED
    service.runtime.sleep(2)
    moved = service.fleet.hosts["node2"].domains[WEB]
    assert (moved.persistent, moved.autostart) == (True, starts)
    assert WEB not in service.fleet.hosts["node1"].domains, "the source keeps no definition"
    server = service.store.servers.get(WEB)
    assert (server.locked_by, server.locked_reason, server.user_metadata) == ("admin", "audit", {key: "shop"})
    assert ("autostart: set at the destination" in service.story(WEB)) is starts


def test_autostart_that_cannot_be_set_is_only_told(service: Service) -> None:
    add(service, persistent=False)
    service.fleet.hosts["node1"].domains[WEB].autostart = True
    ask(service, WEB, "node2")
    assert service.wait_idle(WEB).status is Status.COMPLETED
    assert "autostart: could not be set at the destination: node2: " in service.story(WEB)
