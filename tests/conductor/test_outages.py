"""What is away, and what goes on meanwhile: the broker, the database, a hypervisor that hangs, an API process in the middle of a request."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.orm import Session

from livemig import context, exceptions
from livemig.api.routes import ROUTES
from livemig.conductor.service import Conductor
from livemig.microversions import MAX, text
from livemig.states import Status
from livemig.testing.fleet import Disk, guest_uuid
from tests.conductor.cluster import Make
from tests.memory import MemoryDatabase
from tests.service import DirectClient, Service
from tests.simulation.runtime import GreenletRuntime

WEB, DB = guest_uuid("web"), guest_uuid("db")
ASYNCHRONOUS, LAST_TO_WAIT = "2.34", "2.33"
ADOPTED_S = 15.0  # the promise


class Dies(BaseException):
    """The API process is killed here."""


class Broker(DirectClient):
    """In place of RPC. While it is `away` nothing reaches a conductor; `kills` ends the API process as soon as it turns to it."""

    away = kills = False

    def __init__(self) -> None:
        self.service: Service

    @property
    def _service(self) -> Service:
        if self.kills:
            raise Dies
        if self.away:
            raise exceptions.ConductorUnavailable
        return self.service

    def wake(self, asked_by: context.RequestContext, migration_id: int) -> None:
        """As the real one it never says that nobody was woken."""
        if not self.away:
            super().wake(asked_by, migration_id)


class Fickle(MemoryDatabase):
    """The database, which may be away, or be so in a certain moment, and which may break off right after a commit."""

    away = False
    when: Callable[[], bool] = staticmethod(lambda: False)
    breaks_off: Callable[[], bool] = staticmethod(lambda: False)

    @contextmanager
    def write(self) -> Iterator[Session]:
        self._strike()
        with super().write() as session:
            yield session
        if self.breaks_off():
            raise exceptions.DatabaseUnavailable

    @contextmanager
    def read(self) -> Iterator[Session]:
        self._strike()
        with super().read() as session:
            yield session

    def _strike(self) -> None:
        if self.away or self.when():
            raise exceptions.DatabaseUnavailable


@pytest.fixture
def broker() -> Broker:
    return Broker()


@pytest.fixture
def service(tmp_path: Path, runtime: GreenletRuntime, broker: Broker) -> Iterator[Service]:
    """With the guest "web" on node1."""
    with Service(tmp_path, runtime, broker, Fickle, max_concurrent_live_migrations=4) as service:
        broker.service = service
        add(service, "web")
        yield service


def add(service: Service, name: str, host: str = "node1", **facts: Any) -> str:
    service.fleet.add_guest(name, host, **{"dirty_mib_s": 1, **facts})
    service.runtime.sleep(0.5)
    return guest_uuid(name)


def ask(service: Service, version: str, server: str = WEB, host: str | None = "node2") -> Any:
    wanted: dict[str, Any] = {"host": host, "block_migration": "auto"}
    headers = {"OpenStack-API-Version": f"compute {version}"}
    return service.request("POST", f"/v2.1/servers/{server}/action", json={"os-migrateLive": wanted}, headers=headers)


def as_it_was(shown: dict[str, Any]) -> dict[str, Any]:
    """A server but for `updated`: it was MIGRATING for a moment."""
    return {name: value for name, value in shown.items() if name != "updated"}


def unavailable(answer: Any) -> None:
    assert (answer.status_int, answer.headers["Retry-After"]) == (503, "10"), answer.text
    assert answer.json["serviceUnavailable"]["code"] == 503


def seconds(service: Service, deed: Callable[[], object]) -> float:
    """How long it takes."""
    began = service.runtime.monotonic()
    deed()
    return service.runtime.monotonic() - began


# The broker


def test_without_a_broker_the_row_is_the_work(service: Service, broker: Broker) -> None:
    broker.away = True
    answer = ask(service, ASYNCHRONOUS)
    assert (answer.status_int, answer.body) == (202, b"")
    assert service.wait_idle(WEB, ADOPTED_S).status is Status.COMPLETED
    assert service.state(WEB) == ("ACTIVE", "node2", None)


def test_without_a_broker_who_waits_is_told_so_and_nothing_was_changed(service: Service, broker: Broker) -> None:
    before = as_it_was(service.show(WEB))
    broker.away = True
    unavailable(ask(service, LAST_TO_WAIT))
    assert as_it_was(service.show(WEB)) == before
    assert service.store.migrations.open() == []
    service.runtime.sleep(2 * ADOPTED_S)
    assert service.fleet.running_on(WEB) == ["node1"] and not service.fleet.hosts["node1"].calls["migrateToURI3"]
    broker.away = False
    assert ask(service, LAST_TO_WAIT).status_int == 202
    assert service.wait_idle(WEB).status is Status.COMPLETED


@pytest.mark.parametrize("action", ["pause", "suspend", "os-stop", "reboot"])
def test_without_a_broker_nothing_is_done_to_a_server(service: Service, broker: Broker, action: str) -> None:
    before = as_it_was(service.show(WEB))
    broker.away = True
    unavailable(service.request("POST", f"/v2.1/servers/{WEB}/action", json={action: {"type": "SOFT"} if action == "reboot" else None}))
    unavailable(service.request("GET", f"/v2.1/servers/{WEB}/diagnostics"))
    assert as_it_was(service.show(WEB)) == before


def test_without_a_broker_wishes_are_heard(service: Service, broker: Broker) -> None:
    """A migration that runs reads them in its row."""
    service.fleet.hosts["node1"].bandwidth_mib_s = 10.0
    assert ask(service, ASYNCHRONOUS).status_int == 202
    number = service.wait_status(WEB, Status.RUNNING).id
    broker.away = True
    service.runtime.sleep(5)
    gone = service.request("DELETE", f"/v2.1/servers/{WEB}/migrations/{number}", headers={"OpenStack-API-Version": "compute 2.96"})
    assert gone.status_int == 202
    assert service.wait_idle(WEB, 10).status is Status.CANCELLED


# The API


@pytest.mark.parametrize("version", [LAST_TO_WAIT, ASYNCHRONOUS])
def test_an_api_that_is_killed_in_the_middle_leaves_nothing_stuck(service: Service, broker: Broker, version: str) -> None:
    """The row is there, and no conductor was told: it is carried out, as if it had been answered, once nobody waits for an answer any more."""
    broker.kills = True
    with pytest.raises(Dies):
        ask(service, version)
    assert [each.status for each in service.store.migrations.open()] == [Status.ACCEPTED]
    patience = service.conf.api.conductor_timeout if version == LAST_TO_WAIT else 0
    assert service.wait_idle(WEB, patience + 2 * ADOPTED_S).status is Status.COMPLETED
    assert service.state(WEB) == ("ACTIVE", "node2", None)


# The database

BODIES: dict[str, Any] = {
    "/servers/{id}/action": {"pause": None},
    "/servers/{id}/migrations/{migration}/action": {"force_complete": None},
    "/os-services/{id}": {"status": "enabled"},
    "/os-services/enable": {"host": "node1", "binary": "nova-compute"},
    "/os-services/disable": {"host": "node1", "binary": "nova-compute"},
    "/os-services/disable-log-reason": {"host": "node1", "binary": "nova-compute", "disabled_reason": "new disks"},
    "/os-services/force-down": {"host": "node1", "binary": "nova-compute", "forced_down": True},
}
VALUES = {"id": WEB, "migration": "1", "request_id": "req-1", "name": "node1", "project": "p"}
WITHOUT = {"/os-aggregates", "/os-aggregates/{id}", "/openapi.json"}  # what the configuration knows


def test_while_the_database_is_away_every_request_is_answered_so(service: Service) -> None:
    service.store.database.away = True  # type: ignore[attr-defined]
    for route in ROUTES:
        path = re.sub(r"{(\w+)}", lambda name: VALUES[name[1]], route.template)
        given = {"json": BODIES[route.template]} if route.bodies else {}
        answer = service.request(route.method, f"/v2.1{path}", headers={"OpenStack-API-Version": f"compute {text(min(route.until, MAX))}"}, **given)
        if route.success and route.template not in WITHOUT:
            unavailable(answer)
        else:
            assert answer.status_int in (200, 400, 404), route
    service.store.database.away = False  # type: ignore[attr-defined]


def test_what_runs_goes_on_without_the_database_and_its_progress_catches_up(service: Service) -> None:
    service.fleet.hosts["node1"].bandwidth_mib_s = 20.0
    assert ask(service, ASYNCHRONOUS).status_int == 202
    service.wait_status(WEB, Status.RUNNING)
    service.runtime.sleep(10)
    before = service.store.migrations.of_server(WEB)[0]
    service.store.database.away = True  # type: ignore[attr-defined]
    service.runtime.sleep(30)
    assert service.fleet.hosts["node1"].jobs, "it runs on"
    service.store.database.away = False  # type: ignore[attr-defined]
    service.runtime.sleep(3)
    after = service.store.migrations.of_server(WEB)[0]
    assert before.memory_processed_bytes is not None and after.memory_processed_bytes is not None
    assert after.memory_processed_bytes > before.memory_processed_bytes + 25 * 20 * 2**20
    assert service.wait_idle(WEB, 300).status is Status.COMPLETED


@pytest.mark.parametrize("status", [Status.QUEUED, Status.PREPARING, Status.RUNNING])
@pytest.mark.parametrize("away_s", [0, 30])
def test_a_commit_of_which_nobody_hears(service: Service, status: Status, away_s: float) -> None:
    """The database breaks off when it has taken down what the conductor is about to do: that is done all the same."""
    database, broken = service.store.database, list[Status]()
    assert isinstance(database, Fickle)

    def breaks_off() -> bool:
        if broken or service.store.migrations.of_server(WEB)[0].status is not status:
            return False
        broken.append(status)
        database.away = away_s > 0
        service.runtime.start("back", back)
        return True

    def back() -> None:
        service.runtime.sleep(away_s)
        database.away = False

    number = service.begin(WEB).id
    database.breaks_off = breaks_off
    service.store.migrations.release("api")
    service.conductor.engine.wake(number)
    service.runtime.sleep(away_s + 10)
    assert service.wait_status(WEB, Status.COMPLETED, 120) and broken == [status]
    assert service.state(WEB) == ("ACTIVE", "node2", None)


def test_what_ends_without_the_database_is_written_down_when_it_is_back(service: Service) -> None:
    service.fleet.hosts["node1"].bandwidth_mib_s = 200.0
    assert ask(service, ASYNCHRONOUS).status_int == 202
    service.wait_status(WEB, Status.RUNNING)
    service.store.database.away = True  # type: ignore[attr-defined]
    service.runtime.sleep(60)
    assert service.fleet.running_on(WEB) == ["node2"]
    service.store.database.away = False  # type: ignore[attr-defined]
    assert service.wait_idle(WEB, 10).status is Status.COMPLETED
    assert service.state(WEB) == ("ACTIVE", "node2", None)


@pytest.mark.parametrize("seconds_away", [3, 30])
def test_what_waits_or_is_prepared_is_carried_out_when_the_database_is_back(service: Service, seconds_away: int) -> None:
    service.conductor._conf.set_override("max_concurrent_live_migrations", 1)
    service.conductor.reload()
    add(service, "db")
    service.fleet.latency_s = 0.2
    for server in (WEB, DB):
        assert ask(service, ASYNCHRONOUS, server).status_int == 202
    service.wait_status(WEB, Status.PREPARING)
    service.store.database.away = True  # type: ignore[attr-defined]
    service.runtime.sleep(seconds_away)
    service.store.database.away = False  # type: ignore[attr-defined]
    assert [service.wait_idle(server, 120).status for server in (WEB, DB)] == [Status.COMPLETED] * 2


def test_a_database_that_goes_away_while_files_are_removed(service: Service) -> None:
    """By a conductor that did not make them: it goes through them again once its lease on the ended migration has expired."""
    node1, node2, _node3 = service.fleet.hosts.values()
    for host in (node1, node2):
        service.fleet.add_local_directory(host, "/images")
    add(service, "db", disks=[Disk("/images/db.qcow2", 8, format="qcow2", backing="/images/base.raw")])
    node1.stream_mib_s = 0.25
    assert ask(service, ASYNCHRONOUS, DB).status_int == 202
    while node2.file("/images/base.raw") is None:
        service.runtime.sleep(0.1)
    node2.up = False
    service.conductor.engine.stop()
    service.restart_conductor()
    migration = service.wait_idle(DB)
    assert migration.untidy
    database = service.store.database
    assert isinstance(database, Fickle)
    database.when = lambda: node2.file("/images/base.raw") is None
    node2.up = True
    while not database.when():
        service.runtime.sleep(0.1)
    service.runtime.sleep(3)
    database.when = lambda: False
    service.runtime.sleep(30)
    assert not service.store.migrations.get(migration.id).untidy


# A hypervisor that hangs


def test_a_host_that_hangs_holds_up_nobody_else(service: Service) -> None:
    """Whoever wants to go there is refused once its time is up, the next at once; elsewhere nothing is late."""
    add(service, "db")
    for name in ("g1", "g2"):
        add(service, name)
    service.fleet.hosts["node2"].hung = True
    late: list[Any] = []
    service.runtime.start("late", lambda: late.append(ask(service, LAST_TO_WAIT)))
    service.runtime.sleep(1)
    assert seconds(service, lambda: ask(service, LAST_TO_WAIT, DB, "node3")) < 1
    assert service.wait_idle(DB, 10).status is Status.COMPLETED
    service.runtime.sleep(31)
    assert late[0].json["badRequest"]["message"] == "Compute service of node2 is unavailable at this time."
    assert seconds(service, lambda: ask(service, LAST_TO_WAIT, guest_uuid("g1"))) < 5
    service.fleet.hosts["node2"].hung = False
    service.runtime.sleep(15)
    assert ask(service, LAST_TO_WAIT, guest_uuid("g2")).status_int == 202
    assert service.wait_idle(guest_uuid("g2")).status is Status.COMPLETED


def test_of_many_that_ask_a_host_that_hangs_only_the_first_wait(service: Service) -> None:
    """… for a daemon that answers keepalive and nothing else."""
    service.fleet.hosts["node2"].keepalive = (1000, 1000)
    watcher = service.conductor.inventory.get("node2")
    assert watcher is not None
    watcher.hypervisor._connection.setKeepAlive(1000, 1000)
    names = [add(service, f"g{number}") for number in range(3)]
    service.fleet.hosts["node2"].hung = True
    assert 29 < seconds(service, lambda: ask(service, LAST_TO_WAIT, WEB)) < 31
    for server in names:
        assert seconds(service, lambda server=server: ask(service, LAST_TO_WAIT, server)) < 1  # type: ignore[misc]
    assert seconds(service, lambda: ask(service, LAST_TO_WAIT, names[0], None)) < 1
    assert service.wait_idle(names[0]).destination == "node3"


def test_a_choice_goes_past_a_host_that_hangs(service: Service) -> None:
    service.fleet.hosts["node2"].memory_mib = 10 * 65536  # it is the best
    service.fleet.hosts["node2"].daemon_restart()
    service.runtime.sleep(5)
    service.fleet.hosts["node2"].hung = True
    assert seconds(service, lambda: ask(service, LAST_TO_WAIT, host=None)) < 12
    migration = service.wait_idle(WEB)
    assert (migration.status, migration.destination) == (Status.COMPLETED, "node3")
    assert "node2: destination_up: Compute service of node2 is unavailable" in service.story(WEB)


@pytest.mark.parametrize("deed", ["pause", "diagnostics"])
def test_deeds_on_a_host_that_hangs_are_answered(service: Service, deed: str) -> None:
    service.fleet.hosts["node1"].hung = True
    answers: list[Any] = []

    def do() -> None:
        action = {"pause": None}
        path = f"/v2.1/servers/{WEB}"
        answers.append(service.request("GET", f"{path}/diagnostics") if deed == "diagnostics" else service.request("POST", f"{path}/action", json=action))

    assert seconds(service, do) < 36
    assert answers[0].status_int in (409, 500, 503)
    service.fleet.hosts["node1"].hung = False


def test_leases_are_kept_while_a_host_hangs(service: Service) -> None:
    """Housekeeping never asks a hypervisor."""
    service.fleet.hosts["node1"].bandwidth_mib_s = 5.0
    assert ask(service, ASYNCHRONOUS).status_int == 202
    number = service.wait_status(WEB, Status.RUNNING).id
    for name in ("node1", "node2"):
        service.fleet.hosts[name].hung = True
    for _ in range(40):
        service.runtime.sleep(1)
        assert not service.store.migrations.claim(number, "another:1", 10)


def test_a_conductor_that_starts_waits_for_no_host_that_hangs(service: Service, broker: Broker) -> None:
    """What it takes up goes on at once where its own hosts are there."""
    add(service, "db")
    broker.away = True
    service.fleet.hosts["node2"].hung = True
    service.conductor.stop()
    assert ask(service, ASYNCHRONOUS, WEB, "node3").status_int == ask(service, ASYNCHRONOUS, DB, None).status_int == 202
    service.conductor = Conductor(service.conf, service.store, service.fleet.libvirt(), service.runtime)
    service.conductor.start()
    assert service.wait_idle(WEB, 10).status is Status.COMPLETED
    assert service.wait_idle(DB, 25).destination == "node3"


def test_a_daemon_that_just_restarts_is_waited_for(service: Service) -> None:
    """By a migration that was accepted, and waits for its place."""
    service.conductor._conf.set_override("max_concurrent_live_migrations", 1)
    service.conductor.reload()
    add(service, "db")
    service.fleet.hosts["node1"].bandwidth_mib_s = 100.0
    assert ask(service, ASYNCHRONOUS, DB, "node3").status_int == ask(service, ASYNCHRONOUS).status_int == 202
    service.wait_status(DB, Status.RUNNING)
    service.runtime.sleep(10)
    service.runtime.start("abort", lambda: service.store.migrations.ask_abort(service.store.migrations.of_server(DB)[0], context.system()))
    service.fleet.hosts["node2"].daemon_restart(6)
    assert service.wait_idle(WEB, 120).status is Status.COMPLETED


def test_those_that_may_go_anywhere_leave_the_queue_of_a_host_that_hangs(tmp_path: Path, runtime: GreenletRuntime) -> None:
    options = {"max_concurrent_live_migrations": 4, "max_concurrent_incoming_live_migrations": 1}
    with Service(tmp_path, runtime, None, Fickle, **options) as service:
        for number in range(3):
            add(service, f"g{number}")
        servers = [guest_uuid(f"g{number}") for number in range(3)]
        service.fleet.hosts["node1"].bandwidth_mib_s = 100.0
        assert [ask(service, ASYNCHRONOUS, server, None).status_int for server in servers] == [202] * 3
        service.runtime.sleep(2)
        service.fleet.hosts["node2"].hung = True
        service.runtime.sleep(120)
        assert "node3" in {service.store.migrations.of_server(server)[0].destination for server in servers}
        service.fleet.hosts["node2"].hung = False
        assert {service.wait_idle(server, 300).status for server in servers} == {Status.COMPLETED}


def test_it_stops_in_time_though_a_host_hangs(service: Service) -> None:
    service.fleet.hosts["node1"].bandwidth_mib_s = 5.0
    assert ask(service, ASYNCHRONOUS).status_int == 202
    service.wait_status(WEB, Status.RUNNING)
    for name in ("node1", "node2"):
        service.fleet.hosts[name].hung = True
    service.runtime.start("late", lambda: ask(service, LAST_TO_WAIT, add(service, "db", "node3"), "node2"))
    service.runtime.sleep(2)
    assert seconds(service, service.conductor.stop) < 8
    assert service.store.migrations.claim(service.store.migrations.of_server(WEB)[0].id, "another:1", 10), "its leases are free"
    for name in ("node1", "node2"):
        service.fleet.hosts[name].hung = False


# A conductor that was frozen


@pytest.mark.parametrize(("frozen_s", "error"), [(25, exceptions.OutcomeUnknown), (100, exceptions.HypervisorUnavailable)])
def test_a_deed_that_was_frozen_is_not_done_when_nobody_expects_it_any_more(make: Make, frozen_s: float, error: type[Exception]) -> None:
    cluster = make(1, api__conductor_timeout=20)
    web = cluster.guest()
    (life,) = cluster.lives
    cluster.fleet.latency_s = 0.2
    failures: list[BaseException] = []

    def pause() -> None:
        try:
            life.conductor.answers["perform"](WEB, "node1", "pause")
        except exceptions.LivemigError as error:
            failures.append(error)

    task = life.process.start("pause", pause)
    cluster.runtime.sleep(0.1)
    life.freeze()
    cluster.runtime.sleep(frozen_s)
    life.thaw()
    task.join(30)
    assert web.runs and [type(failure) for failure in failures] == [error]
