"""os-migrateLive through the whole stack: what succeeds, and every refusal, provoked by breaking the fleet."""

from collections.abc import Callable
from typing import Any

import pytest

from livemig.states import Status
from livemig.testing.fleet import Fleet, guest_uuid
from tests.api.wire import Start, Wire, settle
from tests.service import Service

WEB = guest_uuid("web")
Break = Callable[[Fleet], None]


def comparable(shown: dict[str, Any]) -> dict[str, Any]:
    """A server but for `updated`: it was MIGRATING for a moment, which a poller with changes-since may learn."""
    return {name: value for name, value in shown.items() if name != "updated"}


@pytest.mark.parametrize("host", ["node2", None])
@pytest.mark.parametrize("prefix", ["", "/v2.1"])
def test_moves_a_server(service: Service, prefix: str, host: str | None) -> None:
    body = {"os-migrateLive": {"host": host, "block_migration": "no", "disk_over_commit": "0"}}
    service.fleet.speed = 5  # slow enough to be seen under way
    answer = service.request("POST", f"{prefix}/servers/{WEB}/action", json=body)
    assert (answer.status_int, answer.body) == (202, b"")
    assert answer.headers["OpenStack-API-Version"] == "compute 2.1"
    assert answer.headers["X-OpenStack-Nova-API-Version"] == "2.1"
    assert answer.headers["x-openstack-request-id"] == answer.headers["x-compute-request-id"]
    assert service.state(WEB)[0] == "MIGRATING"
    migration = service.wait_idle(WEB)
    assert migration.status is Status.COMPLETED
    assert migration.request_id == answer.headers["x-openstack-request-id"]
    assert service.fleet.running_on(WEB) == [service.show(WEB)["OS-EXT-SRV-ATTR:host"]] != ["node1"]


def test_a_paused_server_stays_paused(start: Start) -> None:
    service = start()
    service.fleet.add_guest("web", "node1", state="paused")
    settle(service)
    assert service.show(WEB)["status"] == "PAUSED"
    assert service.live_migrate(WEB).status_int == 202
    assert service.wait_idle(WEB).status is Status.COMPLETED
    shown = service.show(WEB)
    assert (shown["status"], shown["OS-EXT-SRV-ATTR:host"], shown["OS-EXT-STS:power_state"]) == ("PAUSED", "node2", 3)


def down(name: str) -> Break:
    def break_it(fleet: Fleet) -> None:
        fleet.hosts[name].up = False

    return break_it


def attribute(name: str, **values: Any) -> Break:
    def break_it(fleet: Fleet) -> None:
        for attribute, value in values.items():
            setattr(fleet.hosts[name], attribute, value)

    return break_it


def everything_else_down(fleet: Fleet) -> None:
    fleet.hosts["node2"].up = False
    fleet.hosts["node3"].up = False


def nowhere_fits(fleet: Fleet) -> None:
    fleet.hosts["node2"].refuses_cpu = True
    fleet.hosts["node3"].memory_mib = 1


def nothing(fleet: Fleet) -> None:
    """The request alone is at fault."""


REFUSALS: dict[str, tuple[Break, dict[str, Any], str]] = {
    "source down": (down("node1"), {}, "Compute service of node1 is unavailable at this time."),
    "destination down": (down("node2"), {}, "Compute service of node2 is unavailable at this time."),
    "hypervisor type": (attribute("node2", hypervisor_type="Xen"), {}, "The supplied hypervisor type of is invalid."),
    "to itself": (nothing, {"host": "node1"}, f"Unable to migrate instance ({WEB}) to current host (node1)."),
    "older": (attribute("node2", hypervisor_version=6002000), {}, "The instance requires a newer hypervisor version than has been provided."),
    "no host is up": (everything_else_down, {"host": None}, "No valid host was found. There are not enough hosts available."),
    "no host fits": (nowhere_fits, {"host": None}, "No valid host was found. There are not enough hosts available. node2: Migration pre-check error"),
    "shared, but block": (nothing, {"block": True}, "node1 is not on local storage: Block migration can not be used with shared storage."),
    "cpu": (attribute("node2", refuses_cpu=True), {}, "Migration pre-check error: Unacceptable CPU info"),
    "memory": (attribute("node2", memory_mib=1024), {}, f"Migration pre-check error: Unable to migrate {WEB} to node2: Lack of memory(host:"),
    "unexpected, one host": (attribute("node2", hypervisor_version="new"), {}, f"Live migration of instance {WEB} to host node2 failed"),
    "unexpected, any host": (attribute("node1", hypervisor_version="new"), {"host": None}, f"Live migration of instance {WEB} to another host failed"),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_refusals_are_400_and_leave_the_server_as_it_was(service: Service, case: str, caplog: pytest.LogCaptureFixture) -> None:
    break_it, request, message = REFUSALS[case]
    before = comparable(service.show(WEB))
    break_it(service.fleet)
    answer = service.live_migrate(WEB, **request)
    assert answer.status_int == 400
    assert answer.json["badRequest"]["code"] == 400
    assert answer.json["badRequest"]["message"].startswith(message)
    assert "Traceback" not in answer.text
    assert comparable(service.show(WEB)) == before
    assert service.fleet.running_on(WEB) == ["node1"]
    (migration,) = service.store.migrations.of_server(WEB)
    assert (migration.status, migration.reason) == (Status.ERROR, answer.json["badRequest"]["message"])
    if "unexpected" in case:
        logged = next(record for record in caplog.records if record.exc_info and record.getMessage() == message)
        assert logged.exc_info is not None and logged.exc_info[0] is TypeError


def test_an_unknown_host_is_refused_before_anything_is_written(service: Service) -> None:
    before = service.show(WEB)
    answer = service.live_migrate(WEB, "nosuch")
    assert answer.status_int == 400
    assert answer.json == {"badRequest": {"code": 400, "message": "Compute host nosuch could not be found."}}
    assert service.show(WEB) == before
    assert service.store.migrations.of_server(WEB) == []


def test_every_reason_is_in_the_event_log(service: Service) -> None:
    service.fleet.hosts["node2"].refuses_cpu = True
    service.fleet.hosts["node2"].hypervisor_version = 6000000
    assert "newer hypervisor" in service.live_migrate(WEB).json["badRequest"]["message"]
    story = service.story(WEB)
    assert "destination_not_older" in story and "cpu_compatible" in story


DISK = "/var/lib/libvirt/images/web.img"


def with_disk(service: Service, shared: bool, kind: str = "file") -> str:
    for name in ("node1", "node2"):
        if not shared:
            service.fleet.add_local_directory(name, "/var/lib/libvirt/images")
    if shared:
        service.fleet.add_directory("/var/lib/libvirt/images")
    service.fleet.add_guest("disk", "node1", disks=[DISK])
    settle(service)
    return guest_uuid("disk")


def test_a_shared_disk_may_not_be_block_migrated(service: Service) -> None:
    server = with_disk(service, shared=True)
    answer = service.live_migrate(server, block=True)
    assert answer.status_int == 400
    assert answer.json["badRequest"]["message"] == "node1 is not on local storage: Block migration can not be used with shared storage."
    assert service.live_migrate(server).status_int == 202
    assert service.wait_idle(server).status is Status.COMPLETED


def test_a_local_disk_needs_block_migration(service: Service) -> None:
    server = with_disk(service, shared=False)
    answer = service.live_migrate(server)
    assert answer.status_int == 400
    assert answer.json["badRequest"]["message"].startswith("node2 is not on shared storage: ")
    assert DISK in answer.json["badRequest"]["message"]
    assert service.live_migrate(server, block=True).status_int == 202
    assert service.wait_idle(server).status is Status.COMPLETED


def test_storage_probes_leave_nothing_behind(service: Service) -> None:
    server = with_disk(service, shared=True)
    service.live_migrate(server)
    service.wait_idle(server)
    for host in service.fleet.hosts.values():
        assert not host.pools
        assert [name for directory in host.directories.values() for name in directory.files] == ["web.img"]


def test_a_full_disk_is_a_failed_check(service: Service) -> None:
    server = with_disk(service, shared=False)
    service.fleet.hosts["node1"].disk_full = True
    answer = service.live_migrate(server)
    assert answer.status_int == 400
    assert answer.json["badRequest"]["message"].startswith("Migration pre-check error: Whether the disks are shared could not be found out")


def test_unknown_server_is_404(service: Service) -> None:
    for server in ("11111111-2222-3333-4444-555555555555", "no-uuid", "web"):
        answer = service.live_migrate(server)
        assert answer.status_int == 404
        assert answer.json == {"itemNotFound": {"code": 404, "message": f"Instance {server} could not be found."}}


def test_a_server_that_is_off_is_409(start: Start) -> None:
    service = start()
    service.fleet.add_guest("web", "node1", state="shutoff")
    settle(service)
    before = service.show(WEB)
    answer = service.live_migrate(WEB)
    assert answer.status_int == 409
    expected = f"Cannot 'os-migrateLive' instance {WEB} while it is in vm_state stopped"
    assert answer.json == {"conflictingRequest": {"code": 409, "message": expected}}
    assert service.show(WEB) == before
    assert service.store.migrations.of_server(WEB) == []


def test_a_server_that_migrates_is_409(service: Service) -> None:
    service.fleet.speed = 1
    assert service.live_migrate(WEB).status_int == 202
    answer = service.live_migrate(WEB, "node3")
    assert answer.status_int == 409
    expected = f"Cannot 'os-migrateLive' instance {WEB} while it is in task_state migrating"
    assert answer.json["conflictingRequest"]["message"] == expected
    assert len(service.store.migrations.of_server(WEB)) == 1
    service.fleet.speed = 50
    assert service.wait_idle(WEB).status is Status.COMPLETED


def test_a_guest_stopped_behind_the_databases_back_is_refused(service: Service) -> None:
    """Events may be late; the check asks libvirt itself."""
    domain = service.fleet.hosts["node1"].domains[WEB]
    domain.become(5, 1)  # VIR_DOMAIN_SHUTOFF without an event
    answer = service.live_migrate(WEB)
    assert answer.status_int == 400
    assert answer.json["badRequest"]["message"] == f"Migration pre-check error: Instance {WEB} is shut off on node1"


def test_a_second_copy_at_the_destination_is_refused(service: Service) -> None:
    service.fleet.add_guest("web", "node2")
    answer = service.live_migrate(WEB)
    assert answer.status_int == 400
    assert answer.json["badRequest"]["message"] == f"Migration pre-check error: Instance {WEB} is running on node2 too"
    assert service.show(WEB)["OS-EXT-SRV-ATTR:host"] == "node1"


def test_no_conductor_is_503_and_nothing_stays_behind(start: Start, wire: Wire) -> None:
    service = start(rpc_timeout=1)
    wire.answers = {**service.conductor.answers, "live_migrate": lambda migration_id: service.runtime.sleep(1.2)}
    service.fleet.add_guest("web", "node1")
    settle(service)
    before = comparable(service.show(WEB))
    answer = service.live_migrate(WEB)
    assert answer.status_int == 503
    assert answer.headers["Retry-After"] == "10"
    assert answer.json["serviceUnavailable"]["message"] == "No conductor answered. Nothing was changed; try again later."
    assert comparable(service.show(WEB)) == before
    assert service.store.migrations.of_server(WEB)[0].status is Status.ERROR
    assert service.store.migrations.open() == []


def test_a_conductor_that_answers_late_has_not_lost_it(start: Start, wire: Wire) -> None:
    """The API gave up waiting, but the checks had passed: the migration was accepted after all."""
    service = start(rpc_timeout=1)
    service.fleet.add_guest("web", "node1")
    settle(service)

    def slow(migration_id: int) -> None:
        service.conductor.engine.accept(migration_id)
        service.runtime.sleep(1.2)

    wire.answers = {**service.conductor.answers, "live_migrate": slow}
    assert service.live_migrate(WEB).status_int == 202
    assert service.wait_idle(WEB).status is Status.COMPLETED
