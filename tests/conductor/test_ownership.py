"""Look-alikes that belong to others stay as they are, whatever livemig does beside them: on the simulated fleet. docs/security.md names these tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from livemig.conductor.service import Conductor
from livemig.db.engine import Database
from livemig.hypervisor import storage
from livemig.hypervisor.connection import Hypervisor
from livemig.states import Status
from livemig.testing.fleet import Disk, Domain, Host, guest_uuid
from livemig.testing.runtime import VirtualRuntime
from livemig.testing.storage import File
from tests.service import Service

WEB = guest_uuid("web")
DATA = "/data"
POOL = "<pool type='dir'><name>{}</name><uuid>{}</uuid><target><path>{}</path></target></pool>"


@pytest.fixture
def service(tmp_path: Path, runtime: VirtualRuntime) -> Iterator[Service]:
    with Service(tmp_path, runtime) as service:
        yield service


@pytest.fixture
def others(service: Service) -> list[Domain]:
    """Guests about which livemig is not asked: one beside it, one of its name on a host to which it does not go, one that is only defined."""
    add = service.fleet.add_guest
    made = [
        add("web-2", "node1", memory_mib=512),
        add("web", "node3", uuid=guest_uuid("another"), memory_mib=512, state="saved"),
        add("web-old", "node2", memory_mib=512, state="shutoff"),
    ]
    add("web", "node1", memory_mib=512, dirty_mib_s=500)
    service.fleet.hosts["node1"].domains[WEB].autostart = True
    service.runtime.sleep(1)
    return made


def told(domains: list[Domain]) -> list[tuple[Any, ...]]:
    return [
        (each.host.name, each.state, each.persistent, each.autostart, each.saved, each.max_speed, each.max_downtime_ms, each.job, each.id) for each in domains
    ]


def test_a_migration_leaves_other_guests_as_they_are(service: Service, others: list[Domain]) -> None:
    """While it is slowed down, aborted, done again, forced to complete, and settled: with its start by itself, and a definition that is left behind."""
    before = told(others)
    service.conf.set_override("live_migration_bandwidth", 20, group="libvirt")
    service.restart_conductor()
    definition = service.fleet.hosts["node1"].domains[WEB].definition
    for end, status in (("DELETE", Status.CANCELLED), ("POST", Status.COMPLETED)):
        assert service.live_migrate(WEB, "node2").status_int == 202
        migration = service.wait_status(WEB, "running")
        service.runtime.sleep(2)
        path = f"/v2.1/servers/{WEB}/migrations/{migration.id}"
        given: dict[str, Any] = {} if end == "DELETE" else {"json": {"force_complete": None}}
        version = {"OpenStack-API-Version": "compute 2.65"}
        assert service.request(end, path if end == "DELETE" else f"{path}/action", headers=version, **given).status_int == 202
        assert service.wait_idle(WEB, 200).status is status, service.story(WEB)
    service.runtime.sleep(5)
    moved = service.fleet.hosts["node2"].domains[WEB]
    assert (moved.autostart, moved.definition.name) == (True, definition.name)
    assert told(others) == before


@pytest.mark.parametrize("action", ["pause", "unpause", "suspend", "resume", "os-stop", "os-start", "reboot"])
def test_an_action_leaves_other_guests_as_they_are(service: Service, others: list[Domain], action: str) -> None:
    state = {"unpause": "paused", "resume": "saved", "os-start": "shutoff"}.get(action, "running")
    guest = service.fleet.add_guest("db", "node1", memory_mib=512, state=state)
    service.runtime.sleep(1)
    before = told(others)
    asked = {"type": "HARD"} if action == "reboot" else None
    answer = service.request("POST", f"/v2.1/servers/{guest.definition.uuid}/action", json={action: asked})
    assert answer.status_int == 202, answer.text
    service.runtime.sleep(5)
    assert told(others) == before


@pytest.fixture
def other(service: Service, tmp_path: Path) -> Iterator[Service]:
    """Another deployment of livemig, with a database of its own, on the same hosts."""
    (tmp_path / "other").mkdir()
    other = Service(tmp_path / "other", service.runtime, database=Database, host="other")  # there is one in memory only
    other.fleet = service.fleet
    other.conductor = Conductor(other.conf, other.store, service.fleet.libvirt("other"), service.runtime)
    with other:
        yield other


def gate(service: Service, host: str = "node1") -> Hypervisor:
    watcher = service.conductor.inventory.get(host)
    assert watcher is not None
    return watcher.hypervisor


def test_two_deployments_do_not_sweep_each_others(service: Service, other: Service) -> None:
    """Each has left a pool and a probe, as conductors do that are killed. Each is started again, and probes the same directory for a migration of one UUID."""
    host: Host = service.fleet.hosts["node1"]
    names = {}
    for at, each in enumerate((service, other)):
        service.fleet.add_local_directory(host, f"/left{at}")
        hypervisor = gate(each)
        mark = hypervisor.marks.take("node1")
        names[each] = f"livemig-left-{mark}"
        with hypervisor.use() as connection:
            connection.storagePoolCreateXML(POOL.format(names[each], mark, f"/left{at}"), 0)
    service.fleet.add_local_directory(host, DATA)
    host.directories[DATA].files |= {f"livemig-tag-{names[each][-36:]}": File() for each in names}
    for each in (service, other):
        each.restart_conductor()
        service.runtime.sleep(1)
        assert not storage.same_directory(gate(each), gate(each, "node2"), DATA, "tag")
        if each is service:
            assert set(host.pools) == {names[other]}
            assert set(host.directories[DATA].files) == {f"livemig-tag-{names[other][-36:]}"}
    assert not host.pools and not host.directories[DATA].files


def test_two_deployments_migrate_side_by_side(service: Service, other: Service) -> None:
    """… guests with local disks in the same directory; nothing is left but what each guest has where it is."""
    for name in ("node1", "node2", "node3"):
        service.fleet.add_local_directory(name, DATA)
    uuids = []
    for at, name in enumerate(("one", "two", "three", "four")):
        disks = [Disk(f"{DATA}/{name}.qcow2", 8, format="qcow2", backing=f"{DATA}/{name}.base"), Disk(f"{DATA}/{name}.iso", 1, "sda", read_only=True)]
        service.fleet.add_guest(name, ("node1", "node2")[at % 2], disks=disks, memory_mib=512, dirty_mib_s=1)
        uuids.append(guest_uuid(name))
    service.runtime.sleep(1)
    for at, uuid in enumerate(uuids):
        assert (service, other)[at // 2].live_migrate(uuid, ("node2", "node1")[at % 2], block=True).status_int == 202
    for at, uuid in enumerate(uuids):
        migration = (service, other)[at // 2].wait_idle(uuid, 200)
        assert migration.status is Status.COMPLETED, (service, other)[at // 2].story(uuid)
    service.runtime.sleep(60)
    hosts = service.fleet.hosts
    assert {name: sorted(file for file in host.directories[DATA].files if file.endswith("qcow2")) for name, host in hosts.items()} == {
        "node1": ["four.qcow2", "two.qcow2"],
        "node2": ["one.qcow2", "three.qcow2"],
        "node3": [],
    }
    assert not any(host.pools for host in hosts.values())
