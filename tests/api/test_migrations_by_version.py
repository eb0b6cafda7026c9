"""os-migrateLive, abort and force_complete at each microversion: what is understood, what is answered when, and what is told of it afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from livemig.db.hosts import service_uuid
from livemig.facts import Outcome
from livemig.states import Status
from tests.api.world import RESTLESS, World

WEB = World.id("web")
MIGRATE = "os-migrateLive"
BEFORE_ASYNC = ("2.1", "2.24", "2.25", "2.29", "2.30", "2.33")
EVERY = (*BEFORE_ASYNC, "2.34", "2.67", "2.68", "2.104")


def asked(version: str, host: str | None, **more: Any) -> dict[str, Any]:
    """The body of a client of that microversion."""
    over = {"disk_over_commit": False} if version in ("2.1", "2.24") else {}
    return {MIGRATE: {"host": host, "block_migration": False, **over, **more}}


def number(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))


# Without a conductor: what the API alone makes of a request


class Alone(World):
    """The conductor is told nothing, and takes nothing up."""

    def begin_in(self, status: Status) -> int:
        """A migration of web that has come that far."""
        migration = self.begin(WEB)
        for each in (Status.QUEUED, Status.PREPARING, Status.RUNNING, Status.POST_COPY):
            if migration.status is status:
                break
            assert self.store.migrations.advance(migration.id, each, None, destination="node2")
            migration = self.store.migrations.get(migration.id)
        assert migration.status is status
        return migration.id

    def end(self) -> None:
        """End what is open."""
        for migration in self.store.migrations.open():
            self.store.migrations.finish(migration, Outcome(Status.ERROR, migration.source, "the test is over"), owner=None)


@pytest.fixture(scope="module")
def without_conductor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Alone]:
    world = Alone(tmp_path_factory.mktemp("alone"))
    with world:
        world.fleet.add_guest("web", "node1")
        world.settle()
        world.conductor.engine.stop()
        yield world


@pytest.fixture
def alone(without_conductor: Alone) -> Iterator[Alone]:
    yield without_conductor
    without_conductor.end()


@pytest.mark.parametrize("version", ["2.34", "2.67", "2.68", "2.104"])
def test_since_2_34_the_server_migrates_before_the_answer_leaves(alone: Alone, version: str) -> None:
    answer = alone.ask("POST", f"/v2.1/servers/{WEB}/action", version, asked(version, "node2"))
    assert (answer.status_int, answer.body) == (202, b"")
    shown = alone.show(WEB)
    assert (shown["status"], shown["OS-EXT-STS:task_state"], shown["OS-EXT-STS:vm_state"]) == ("MIGRATING", "migrating", "active")
    (migration,) = alone.store.migrations.open()
    assert (migration.status, migration.request_id) == (Status.ACCEPTED, answer.headers["x-compute-request-id"])
    (item,) = alone.ask("GET", f"/v2.1/servers/{WEB}/migrations", version).json["migrations"]
    assert (item["status"], item["source_compute"], item["dest_compute"]) == ("accepted", "node1", None)
    answer = alone.ask("POST", f"/v2.1/servers/{WEB}/action", version, asked(version, "node3"))
    assert answer.json["conflictingRequest"]["message"] == f"Cannot '{MIGRATE}' instance {WEB} while it is in task_state migrating"


UNDERSTOOD: list[tuple[str, dict[str, Any], tuple[Any, ...]]] = [  # version, arguments → host, block_migration, disk_over_commit, force
    ("2.34", {"host": "node2", "block_migration": "auto"}, ("node2", None, None, False)),
    ("2.34", {"host": None, "block_migration": "yes"}, (None, True, None, False)),
    ("2.34", {"host": "node2", "block_migration": "0", "force": True}, ("node2", False, None, True)),
    ("2.67", {"host": "node2", "block_migration": False, "force": "on"}, ("node2", False, None, True)),
    ("2.67", {"host": None, "block_migration": False, "force": "off"}, (None, False, None, False)),
    ("2.68", {"host": "node2", "block_migration": "auto"}, ("node2", None, None, False)),
    ("2.104", {"host": None, "block_migration": True}, (None, True, None, False)),
]


@pytest.mark.parametrize(("version", "arguments", "meant"), UNDERSTOOD)
def test_what_is_understood(alone: Alone, version: str, arguments: dict[str, Any], meant: tuple[Any, ...]) -> None:
    assert alone.ask("POST", f"/v2.1/servers/{WEB}/action", version, {MIGRATE: arguments}).status_int == 202
    (row,) = alone.store.migrations.open()
    assert (row.requested_host, row.block_migration, row.disk_over_commit, row.force) == meant


REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("2.24", {"host": None, "block_migration": "auto", "disk_over_commit": False}, "Invalid input for field/attribute block_migration. Value: auto. "),
    ("2.24", {"host": None, "block_migration": False}, f"Invalid input for field/attribute {MIGRATE}. "),
    ("2.25", {"host": None, "block_migration": "auto", "disk_over_commit": False}, f"Invalid input for field/attribute {MIGRATE}. "),
    ("2.29", {"host": "node2", "block_migration": "auto", "force": True}, f"Invalid input for field/attribute {MIGRATE}. "),
    ("2.30", {"host": "node2", "block_migration": "auto", "force": None}, "Invalid input for field/attribute force. Value: None. "),
    ("2.30", {"host": "node2", "block_migration": "auto", "force": 1}, "Invalid input for field/attribute force. Value: 1. "),
    ("2.30", {"host": None, "block_migration": "auto", "force": True}, "Can't force to a non-provided destination"),
    ("2.67", {"host": None, "block_migration": "auto", "force": True}, "Can't force to a non-provided destination"),
    ("2.68", {"host": "node2", "block_migration": "auto", "force": False}, f"Invalid input for field/attribute {MIGRATE}. "),
    ("2.104", {"block_migration": "auto"}, f"Invalid input for field/attribute {MIGRATE}. "),
    ("2.104", {"host": "node2"}, f"Invalid input for field/attribute {MIGRATE}. "),
    ("2.104", {"host": "node2", "block_migration": "Auto"}, "Invalid input for field/attribute block_migration. Value: Auto. "),
    ("2.34", {"host": "nosuch", "block_migration": "auto"}, "Compute host nosuch could not be found."),
    ("2.104", {"host": "nosuch", "block_migration": "auto"}, "Compute host nosuch could not be found."),
]


@pytest.mark.parametrize(("version", "arguments", "message"), REFUSED)
def test_what_is_refused_leaves_nothing(alone: Alone, version: str, arguments: dict[str, Any], message: str) -> None:
    rows = len(alone.store.migrations.of_server(WEB))
    answer = alone.ask("POST", f"/v2.1/servers/{WEB}/action", version, {MIGRATE: arguments})
    assert answer.status_int == 400
    assert answer.json["badRequest"]["message"].startswith(message)
    assert alone.show(WEB)["status"] == "ACTIVE"
    assert len(alone.store.migrations.of_server(WEB)) == rows


OPEN = (Status.ACCEPTED, Status.QUEUED, Status.PREPARING, Status.RUNNING, Status.POST_COPY)


@pytest.mark.parametrize("status", OPEN)
def test_every_state_in_progress_is_listed(alone: Alone, status: Status) -> None:
    mine = alone.begin_in(status)
    (item,) = alone.ask("GET", f"/v2.1/servers/{WEB}/migrations", "2.80").json["migrations"]
    assert (item["id"], item["status"]) == (mine, status.value)
    assert alone.ask("GET", f"/v2.1/servers/{WEB}/migrations/{mine}", "2.80").json["migration"] == item
    (item,) = alone.ask("GET", f"/v2.1/os-migrations?status={status.value}", "2.80").json["migrations"]
    assert [link["rel"] for link in item["links"]] == ["self", "bookmark"]


@pytest.mark.parametrize("status", OPEN)
@pytest.mark.parametrize("version", ["2.24", "2.64", "2.65", "2.104"])
def test_abort_from_every_state(alone: Alone, version: str, status: Status) -> None:
    mine = alone.begin_in(status)
    may = status is Status.RUNNING or (number(version) >= (2, 65) and status is not Status.POST_COPY)
    answer = alone.ask("DELETE", f"/v2.1/servers/{WEB}/migrations/{mine}", version)
    row = alone.store.migrations.get(mine)
    if not may:
        reason = "Cannot abort live migration while the migration is in this state."
        assert answer.status_int == 400
        assert answer.json["badRequest"]["message"] == f"Migration {mine} state of instance {WEB} is {status}. {reason}"
        assert (row.status, row.abort_requested) == (status, False)
        return
    assert (answer.status_int, answer.body) == (202, b"")
    assert row.abort_requested
    assert row.status is (Status.RUNNING if status is Status.RUNNING else Status.CANCELLED), "before libvirt is told it ends at once"
    assert alone.show(WEB)["status"] == ("MIGRATING" if status is Status.RUNNING else "ACTIVE")
    newest = alone.ask("GET", f"/v2.1/servers/{WEB}/os-instance-actions", version).json["instanceActions"][0]
    assert (newest["action"], newest["request_id"]) == ("live_migration_cancel", answer.headers["x-openstack-request-id"])


@pytest.mark.parametrize("status", OPEN)
def test_force_complete_from_every_state(alone: Alone, status: Status) -> None:
    mine = alone.begin_in(status)
    answer = alone.ask("POST", f"/v2.1/servers/{WEB}/migrations/{mine}/action", "2.22", {"force_complete": None})
    if status not in (Status.RUNNING, Status.POST_COPY):  # an interrupted post-copy is resumed
        reason = "Cannot force complete live migration while the migration is in this state."
        assert answer.status_int == 400
        assert answer.json["badRequest"]["message"] == f"Migration {mine} state of instance {WEB} is {status}. {reason}"
        return
    assert (answer.status_int, answer.body) == (202, b"")
    assert alone.store.migrations.get(mine).completion_forced
    newest = alone.ask("GET", f"/v2.1/servers/{WEB}/os-instance-actions").json["instanceActions"][0]
    assert newest["action"] == "live_migration_force_complete"


def test_a_former_migration_cannot_be_aborted_while_another_runs(alone: Alone) -> None:
    former = alone.begin_in(Status.ACCEPTED)
    alone.end()
    alone.begin_in(Status.RUNNING)
    answer = alone.ask("DELETE", f"/v2.1/servers/{WEB}/migrations/{former}", "2.65")
    assert answer.json["badRequest"]["message"].startswith(f"Migration {former} state of instance {WEB} is error. ")


# With one


@pytest.fixture
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with World(tmp_path_factory.mktemp("world"), max_concurrent_live_migrations=1) as world:
        world.fleet.add_guest("web", "node1", dirty_mib_s=1)
        world.settle()
        yield world


def move(world: World, version: str, host: str | None, **more: Any) -> Any:
    return world.ask("POST", f"/v2.1/servers/{WEB}/action", version, asked(version, host, **more))


SELF = f"Unable to migrate instance ({WEB}) to current host (node1)."
NOWHERE = "No valid host was found. There are not enough hosts available."


@pytest.mark.parametrize(
    ("version", "more", "message"),
    [
        ("2.1", {}, SELF),
        ("2.25", {}, SELF),
        ("2.29", {}, SELF),
        ("2.30", {"force": True}, SELF),
        ("2.30", {"force": False}, NOWHERE),
        ("2.33", {}, NOWHERE),
    ],
)
def test_to_where_it_is(world: World, version: str, more: dict[str, Any], message: str) -> None:
    answer = move(world, version, "node1", **more)
    assert (answer.status_int, answer.json["badRequest"]["message"]) == (400, message)


def wait_action(world: World) -> dict[str, Any]:
    """What became of the newest action, once it is over."""
    world.wait_idle(WEB)
    newest: dict[str, Any] = world.ask("GET", f"/v2.1/servers/{WEB}/os-instance-actions", "2.84").json["instanceActions"][0]
    path = f"/v2.1/servers/{WEB}/os-instance-actions/{newest['request_id']}"
    shown: dict[str, Any] = world.ask("GET", path, "2.84").json["instanceAction"]
    return shown


@pytest.mark.parametrize("version", ["2.34", "2.67", "2.68", "2.104"])
def test_what_is_refused_later_is_told_by_the_action_and_the_migration(world: World, version: str) -> None:
    answer = move(world, version, "node1")
    assert answer.status_int == 202
    action = wait_action(world)
    assert (action["action"], action["message"], action["request_id"]) == ("live-migration", "Error", answer.headers["x-openstack-request-id"])
    assert action["events"][0]["result"] == "Error"
    assert action["events"][0]["details"] == NOWHERE
    (migration,) = world.ask("GET", "/v2.1/os-migrations", version).json["migrations"]
    assert (migration["status"], migration["source_compute"]) == ("error", "node1")
    assert world.state(WEB) == ("ACTIVE", "node1", None)


@pytest.mark.parametrize("version", EVERY)
@pytest.mark.parametrize("host", ["node2", None])
def test_moves(world: World, version: str, host: str | None) -> None:
    assert move(world, version, host).status_int == 202
    action = wait_action(world)
    assert action["message"] is None
    assert [event["event"] for event in reversed(action["events"])] == [
        "conductor_live_migrate_instance",
        "compute_check_can_live_migrate_destination",
        "compute_live_migration",
        "compute_post_live_migration_at_destination",
    ]
    assert {event["result"] for event in action["events"]} == {"Success"}
    status, there, task = world.state(WEB)
    assert (status, task) == ("ACTIVE", None)
    assert world.fleet.running_on(WEB) == [there] != ["node1"]


def test_a_transfer_that_fails_reads_so(world: World) -> None:
    world.fleet.hosts["node2"].migration_error = "the cable is cut"
    assert move(world, "2.104", "node2").status_int == 202
    action = wait_action(world)
    assert action["message"] == "Error"
    (transfer,) = [event for event in action["events"] if event["event"] == "compute_live_migration"]
    assert (transfer["result"], transfer["host"]) == ("Error", "node1")
    assert "the cable is cut" in transfer["details"]
    assert world.ask("GET", "/v2.1/os-migrations", "2.80").json["migrations"][0]["status"] == "failed"
    assert world.state(WEB) == ("ACTIVE", "node1", None)
    assert "fault" not in world.show(WEB)


def test_what_was_accepted_without_a_conductor_is_done_by_the_next(world: World) -> None:
    world.conductor.engine.stop()
    assert move(world, "2.104", "node2").status_int == 202
    assert world.show(WEB)["status"] == "MIGRATING"
    world.restart_conductor()
    assert world.wait_idle(WEB).status is Status.COMPLETED


def test_a_running_migration_is_aborted(world: World) -> None:
    world.fleet.hosts["node1"].domains[WEB].load.dirty_mib_s = RESTLESS
    assert move(world, "2.34", "node2").status_int == 202
    mine = world.wait_status(WEB, "running").id
    assert world.ask("DELETE", f"/v2.1/servers/{WEB}/migrations/{mine}", "2.24").status_int == 202
    assert world.wait_idle(WEB).status is Status.CANCELLED
    assert world.state(WEB) == ("ACTIVE", "node1", None)
    actions = world.ask("GET", f"/v2.1/servers/{WEB}/os-instance-actions").json["instanceActions"]
    assert [(action["action"], action["message"]) for action in actions] == [("live_migration_cancel", None), ("live-migration", "Error")]


def test_a_running_migration_is_forced_to_complete(world: World) -> None:
    world.fleet.hosts["node1"].domains[WEB].load.dirty_mib_s = RESTLESS
    assert move(world, "2.34", "node2").status_int == 202
    mine = world.wait_status(WEB, "running").id
    assert world.ask("POST", f"/v2.1/servers/{WEB}/migrations/{mine}/action", "2.22", {"force_complete": None}).status_int == 202
    assert world.wait_idle(WEB).status is Status.COMPLETED
    assert world.state(WEB) == ("ACTIVE", "node2", None)


def test_a_migration_in_the_queue_is_aborted(world: World) -> None:
    world.fleet.add_guest("first", "node1", dirty_mib_s=RESTLESS, working_set_mib=2048)
    world.settle()
    world.do("first", asked("2.34", "node2"), "2.34")
    world.wait_status(world.id("first"), "running")
    assert move(world, "2.34", "node3").status_int == 202
    mine = world.wait_status(WEB, "queued").id
    path = f"/v2.1/servers/{WEB}/migrations/{mine}"
    assert world.ask("DELETE", path, "2.64").status_int == 400
    assert world.ask("DELETE", path, "2.65").status_int == 202
    assert world.store.migrations.get(mine).status is Status.CANCELLED
    assert world.state(WEB) == ("ACTIVE", "node1", None)


# Disabled hosts


@pytest.mark.parametrize(("version", "more"), [("2.1", {}), ("2.29", {}), ("2.30", {}), ("2.33", {"force": False})])
def test_disabled_hosts_get_no_migrations(world: World, version: str, more: dict[str, Any]) -> None:
    world.store.hosts.decide("node2", disabled=True, disabled_reason="a new disk")
    answer = move(world, version, "node2", **more)
    assert (answer.status_int, answer.json["badRequest"]["message"]) == (400, "No valid host was found. Host node2 is disabled: a new disk")
    assert move(world, version, None).status_int == 202
    world.wait_idle(WEB)
    assert world.fleet.running_on(WEB) == ["node3"]


def test_with_all_others_disabled_there_is_no_host(world: World) -> None:
    for name in ("node2", "node3"):
        world.ask("PUT", f"/v2.1/os-services/{service_uuid(name)}", "2.53", {"status": "disabled"})
    answer = move(world, "2.1", None)
    assert (answer.status_int, answer.json["badRequest"]["message"]) == (400, f"{NOWHERE} node2: disabled; node3: disabled")


def test_a_forced_migration_goes_to_a_disabled_host(world: World) -> None:
    world.store.hosts.decide("node2", disabled=True)
    assert move(world, "2.30", "node2", force=True).status_int == 202
    assert world.wait_idle(WEB).status is Status.COMPLETED


def test_a_host_that_is_forced_down_gets_none(world: World) -> None:
    world.ask("PUT", f"/v2.1/os-services/{service_uuid('node2')}", "2.53", {"forced_down": True})
    answer = move(world, "2.30", "node2", force=True)
    assert answer.json["badRequest"]["message"] == "Compute service of node2 is unavailable at this time."


def test_an_operators_word_outlives_the_conductor(world: World) -> None:
    world.ask("PUT", f"/v2.1/os-services/{service_uuid('node2')}", "2.53", {"status": "disabled", "disabled_reason": "a new disk"})
    world.ask("PUT", f"/v2.1/os-services/{service_uuid('node3')}", "2.53", {"forced_down": True})
    world.restart_conductor()
    by_host = {service["host"]: service for service in world.ask("GET", "/v2.1/os-services", "2.53").json["services"]}
    assert (by_host["node2"]["status"], by_host["node2"]["disabled_reason"], by_host["node2"]["state"]) == ("disabled", "a new disk", "up")
    assert (by_host["node3"]["forced_down"], by_host["node3"]["state"]) == (True, "down")
    shown = world.ask("GET", f"/v2.1/servers/{WEB}", "2.16").json["server"]
    assert shown["host_status"] == "UP"


def test_what_was_asked_of_a_server_outlives_it(world: World) -> None:
    assert move(world, "2.1", "node2").status_int == 202
    world.wait_idle(WEB)
    host = world.fleet.hosts["node2"]
    with world.fleet.lock:
        domain = host.domains[WEB]
        domain.persistent = False
    host.kill_guest(WEB)
    for _ in range(500):
        if world.ask("GET", f"/v2.1/servers/{WEB}").status_int == 404:
            break
        world.runtime.sleep(0.01)
    assert world.ask("GET", f"/v2.1/servers/{WEB}/os-instance-actions", "2.20").status_int == 404
    (action,) = world.ask("GET", f"/v2.1/servers/{WEB}/os-instance-actions", "2.21").json["instanceActions"]
    shown = world.ask("GET", f"/v2.1/servers/{WEB}/os-instance-actions/{action['request_id']}", "2.21").json["instanceAction"]
    assert shown["action"] == "live-migration"
