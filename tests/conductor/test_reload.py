"""The configuration is read again in the middle of a migration: whatever changes, the migration is followed to its end, and the API is right."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from livemig.conf.options import HOST_OPTS
from livemig.states import FINAL, Status
from livemig.testing.fleet import Disk, guest_uuid
from tests.moments import when
from tests.service import Service
from tests.simulation.runtime import GreenletRuntime

WEB, OTHER = guest_uuid("web"), guest_uuid("other")
ISO = Disk("/images/web.iso", 64, "sda", read_only=True, device="cdrom")
TRUTH_S = 30.0
OPTIONS: dict[str, Any] = {
    "max_concurrent_live_migrations": 1,
    "libvirt__live_migration_permit_post_copy": True,
    "libvirt__live_migration_downtime_delay": 3,
    "conductor__reconcile_interval": 10,
}


@pytest.fixture
def service(tmp_path: Path, runtime: GreenletRuntime) -> Iterator[Service]:
    """The guest "web" is on node1, with a CD-ROM that must be copied; "other" too."""
    with Service(tmp_path, runtime, **OPTIONS) as service:
        for host in service.fleet.hosts.values():
            service.fleet.add_local_directory(host, "/images")
        service.fleet.hosts["node1"].bandwidth_mib_s = 100.0
        service.fleet.add_guest("web", "node1", dirty_mib_s=1, memory_mib=1024, disks=[ISO])
        service.fleet.add_guest("other", "node1", dirty_mib_s=1, memory_mib=4096)
        runtime.sleep(1)
        yield service


def begin(service: Service, server: str = WEB) -> None:
    asked = {"host": "node2", "block_migration": "auto"}
    headers = {"X-OpenStack-Nova-API-Version": "2.34"}
    answer = service.request("POST", f"/v2.1/servers/{server}/action", json={"os-migrateLive": asked}, headers=headers)
    assert answer.status_int == 202, answer.text


def status(service: Service) -> Status:
    return service.store.migrations.of_server(WEB)[0].status


# The phases: each brings the migration of "web" there, and then has the configuration changed.


def queued(service: Service, change: Callable[[], None]) -> None:
    begin(service, OTHER)
    service.wait_status(OTHER, Status.RUNNING)
    begin(service)
    service.wait_status(WEB, Status.QUEUED)
    change()


def preparing(service: Service, change: Callable[[], None]) -> None:
    service.fleet.latency_s = 0.5
    begin(service)
    service.wait_status(WEB, Status.PREPARING)
    change()
    service.fleet.latency_s = 0.0


def running(service: Service, change: Callable[[], None]) -> None:
    begin(service)
    service.wait_status(WEB, Status.RUNNING)
    service.runtime.sleep(3)
    change()


def post_copy(service: Service, change: Callable[[], None]) -> None:
    begin(service)
    service.wait_status(WEB, Status.RUNNING)
    service.runtime.sleep(3)
    service.fleet.hosts["node1"].bandwidth_mib_s = 20.0
    number = service.store.migrations.of_server(WEB)[0].id
    path, headers = f"/v2.1/servers/{WEB}/migrations/{number}/action", {"X-OpenStack-Nova-API-Version": "2.22"}
    assert service.request("POST", path, json={"force_complete": None}, headers=headers).status_int == 202
    service.wait_status(WEB, Status.POST_COPY)
    change()


def ending(service: Service, change: Callable[[], None]) -> None:
    with when(lambda: service.runtime.start("reload", change), kind="verdict"):
        begin(service)
        service.wait_idle(WEB, 300)


PHASES = {phase.__name__: phase for phase in (queued, preparing, running, post_copy, ending)}


# The changes


def option(host: str, name: str, value: Any) -> Callable[[Service], None]:
    return lambda service: service.conf.set_override(name, value, group=f"host:{host}")


def uri(host: str) -> Callable[[Service], None]:
    return option(host, "connection_uri", f"qemu+tls://{host}/system")


def without(host: str) -> Callable[[Service], None]:
    return lambda service: service.conf.set_override("enabled_hosts", [name for name in service.conf.enabled_hosts if name != host])


def renamed(host: str) -> Callable[[Service], None]:
    def change(service: Service) -> None:
        service.conf.register_opts(HOST_OPTS, group="host:renamed")
        service.conf.set_override("connection_uri", f"qemu+tcp://{host}/system", group="host:renamed")
        service.conf.set_override("enabled_hosts", ["renamed" if name == host else name for name in service.conf.enabled_hosts])

    return change


def limits(service: Service) -> None:
    service.conf.set_override("max_concurrent_live_migrations", 2)


CHANGES: dict[str, Callable[[Service], None]] = {
    "memory reserved at the source": option("node1", "reserved_host_memory_mb", 1024),
    "memory reserved at the destination": option("node2", "reserved_host_memory_mb", 1024),
    "address of the destination": option("node2", "live_migration_inbound_addr", "10.0.0.77"),
    "URI of the source": uri("node1"),
    "URI of the destination": uri("node2"),
    "source removed": without("node1"),
    "destination removed": without("node2"),
    "another host removed": without("node3"),
    "source renamed": renamed("node1"),
    "destination renamed": renamed("node2"),
    "limits": limits,
}
NAMES = {"renamed": ("node1", "node2")}


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("change", CHANGES)
def test_no_migration_is_lost(service: Service, phase: str, change: str) -> None:
    def read_again() -> None:
        CHANGES[change](service)
        service.conductor.reload()

    PHASES[phase](service, read_again)
    service.fleet.hosts["node1"].bandwidth_mib_s = 1000.0
    service.wait_idle(WEB, 300)
    service.runtime.sleep(TRUTH_S)
    assert status(service) in FINAL, service.story(WEB)
    [runs_on] = service.fleet.running_on(WEB)
    shown, host, task = service.state(WEB)
    assert (shown, task) == ("ACTIVE", None), service.story(WEB)
    assert host in (runs_on, "renamed"), service.story(WEB)
    assert change.endswith("renamed") or host == runs_on
    if phase in ("running", "post_copy", "ending"):
        assert status(service) is Status.COMPLETED, service.story(WEB)


@pytest.mark.parametrize("change", ["memory reserved at the source", "URI of the source", "source removed", "destination removed"])
def test_an_abort_has_its_effect(service: Service, change: str) -> None:
    begin(service)
    service.wait_status(WEB, Status.RUNNING)
    service.runtime.sleep(3)
    CHANGES[change](service)
    service.conductor.reload()
    service.runtime.sleep(3)
    number = service.store.migrations.of_server(WEB)[0].id
    answer = service.request("DELETE", f"/v2.1/servers/{WEB}/migrations/{number}", headers={"X-OpenStack-Nova-API-Version": "2.24"})
    assert answer.status_int == 202
    assert service.wait_idle(WEB, TRUTH_S).status is Status.CANCELLED, service.story(WEB)
    assert service.fleet.running_on(WEB) == ["node1"]


def test_a_removed_host_is_let_go_of_when_nothing_goes_on_there(service: Service, caplog: pytest.LogCaptureFixture) -> None:
    begin(service)
    service.wait_status(WEB, Status.RUNNING)
    watcher = service.conductor.inventory.get("node2")
    assert watcher is not None
    without("node2")(service)
    service.conductor.reload()
    assert service.conductor.inventory.get("node2") is None and watcher.hypervisor.connected
    assert "Host node2 is not in enabled_hosts any more; it is followed until" in caplog.text
    assert service.wait_idle(WEB, 300).status is Status.COMPLETED
    service.runtime.sleep(5)
    assert not watcher.hypervisor.connected and service.conductor.inventory.held("node2") is None


def test_one_that_comes_back_meanwhile_is_the_same(service: Service) -> None:
    begin(service)
    service.wait_status(WEB, Status.RUNNING)
    watcher = service.conductor.inventory.get("node2")
    for hosts in (["node1", "node3"], ["node1", "node2", "node3"]):
        service.conf.set_override("enabled_hosts", hosts)
        service.conductor.reload()
        service.runtime.sleep(1)
    assert service.conductor.inventory.get("node2") is watcher
    assert service.wait_idle(WEB, 300).status is Status.COMPLETED
    service.runtime.sleep(5)
    assert service.state(WEB) == ("ACTIVE", "node2", None)
    assert watcher is not None and watcher.hypervisor.connected


def test_a_stop_of_a_guest_holds_its_host(service: Service) -> None:
    """Its guest does not heed the power button, and is switched off in the end, though its host is not in the configuration any more."""
    service.conf.set_override("shutdown_timeout", 20, group="libvirt")
    service.fleet.add_guest("deaf", "node1", ignores_acpi=True)
    deaf = guest_uuid("deaf")
    service.runtime.sleep(1)
    assert service.request("POST", f"/v2.1/servers/{deaf}/action", json={"os-stop": None}).status_int == 202
    without("node1")(service)
    service.conductor.reload()
    service.runtime.sleep(40)
    assert service.fleet.running_on(deaf) == []
    assert service.conductor.inventory.held("node1") is None
