"""A migration from the request to the verdict, on a simulated fleet."""

from livemig.states import Status
from livemig.testing.fleet import guest_uuid
from tests.service import Service

SERVER = guest_uuid("web")


def add(service: Service, **facts: object) -> None:
    service.fleet.add_guest("web", "node1", memory_mib=2048, **facts)  # type: ignore[arg-type]
    service.runtime.sleep(1)


def test_moves_the_guest_and_says_so(service: Service) -> None:
    add(service)
    answer = service.live_migrate(SERVER, "node2")
    assert (answer.status_int, answer.body) == (202, b"")
    assert service.state(SERVER) == ("MIGRATING", "node1", "migrating")
    migration = service.wait_idle(SERVER)
    assert (migration.status, migration.destination, migration.reason) == (Status.COMPLETED, "node2", None)
    assert migration.downtime_ms is not None and migration.memory_total_bytes
    assert service.state(SERVER) == ("ACTIVE", "node2", None)
    assert service.fleet.running_on(SERVER) == ["node2"]
