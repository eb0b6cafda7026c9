"""The watched hosts: guests that come, go and move behind livemig's back; hosts that go away and come back; a configuration that changes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from livemig import exceptions
from livemig.db.engine import Database
from livemig.testing.domain import virDomain
from livemig.testing.fleet import guest_uuid
from livemig.testing.runtime import VirtualRuntime
from tests.service import Service

WEB = guest_uuid("web")


@contextmanager
def started(directory: Path, runtime: VirtualRuntime, **given: Any) -> Iterator[Service]:
    """Three hosts, "web" on node1, all of it seen."""
    with Service(directory, runtime, **given) as service:
        service.fleet.add_guest("web", "node1")
        runtime.sleep(1)
        yield service


@pytest.fixture
def service(tmp_path: Path, runtime: VirtualRuntime) -> Iterator[Service]:
    with started(tmp_path, runtime) as service:
        yield service


def shown(service: Service, server: str = WEB) -> tuple[str, str]:
    """(vm_state, host), once all events have been taken down."""
    service.runtime.sleep(1)
    server_ = service.store.servers.get(server)
    return server_.vm_state, server_.host


def up(service: Service) -> list[str]:
    return [host.name for host in service.store.hosts.all() if host.up]


def by_hand(service: Service, host: str = "node1") -> virDomain:
    """ "web" as somebody with virsh has it."""
    libvirt = service.fleet.libvirt("elsewhere")
    return libvirt.open(f"qemu+tcp://{host}/system").lookupByUUIDString(WEB)


def test_guests_started_and_stopped_by_hand_are_followed(service: Service) -> None:
    guest = by_hand(service)
    for deed, state in [(guest.suspend, "paused"), (guest.resume, "active"), (guest.destroy, "stopped"), (guest.create, "active"), (guest.shutdown, "stopped")]:
        deed()
        assert shown(service) == (state, "node1")
    guest.undefine()
    service.runtime.sleep(1)
    with pytest.raises(exceptions.ServerNotFound):
        service.store.servers.get(WEB)


def test_a_guest_moved_by_hand_is_shown_and_not_touched(service: Service) -> None:
    libvirt = service.fleet.libvirt()
    flags = libvirt.VIR_MIGRATE_LIVE | libvirt.VIR_MIGRATE_PEER2PEER | libvirt.VIR_MIGRATE_PERSIST_DEST | libvirt.VIR_MIGRATE_UNDEFINE_SOURCE
    by_hand(service).migrateToURI3("qemu+tcp://node3/system", {}, flags)
    assert shown(service) == ("active", "node3")
    assert service.store.migrations.of_server(WEB) == []


def test_a_server_is_looked_at_for_who_asks_and_is_shown_so_at_once(service: Service) -> None:
    """Without an event: the fleet's own word is changed behind libvirt's back."""
    watcher = service.conductor.inventory.get("node1")
    assert watcher is not None
    service.fleet.hosts["node1"].domains[WEB].become(3, 1)  # VIR_DOMAIN_PAUSED
    assert watcher.look(WEB)
    assert service.store.servers.get(WEB).vm_state == "paused"


def test_nobody_waits_for_long_for_a_look_at_a_host_that_is_away(service: Service) -> None:
    service.fleet.hosts["node1"].up = False
    service.runtime.sleep(1)
    watcher = service.conductor.inventory.get("node1")
    assert watcher is not None
    began = service.runtime.monotonic()
    assert not watcher.look(WEB, seconds=2)
    assert service.runtime.monotonic() - began < 3
    assert shown(service) == ("active", "node1")


def test_a_killed_guest_is_shown_off(service: Service) -> None:
    service.fleet.hosts["node1"].kill_guest(WEB)
    assert shown(service) == ("stopped", "node1")


def test_a_host_that_goes_away_keeps_its_servers_and_is_looked_at_when_it_is_back(service: Service) -> None:
    node1 = service.fleet.hosts["node1"]
    node1.up = False
    assert shown(service) == ("active", "node1")
    assert up(service) == ["node2", "node3"]
    node1.kill_guest(WEB)
    service.fleet.add_guest("new", "node1")
    assert shown(service) == ("active", "node1"), "nobody can know"
    node1.up = True
    service.runtime.sleep(6)
    assert up(service) == ["node1", "node2", "node3"]
    assert shown(service) == ("stopped", "node1")
    assert shown(service, guest_uuid("new")) == ("active", "node1")


def test_a_silent_host_is_away_after_keepalive(service: Service) -> None:
    service.fleet.hosts["node2"].hung = True
    service.runtime.sleep(20)
    assert up(service) == ["node1", "node2", "node3"]
    service.runtime.sleep(20)
    assert up(service) == ["node1", "node3"]
    service.fleet.hosts["node2"].hung = False
    service.runtime.sleep(10)
    assert up(service) == ["node1", "node2", "node3"]


def test_reconnecting_waits_longer_and_longer(service: Service, caplog: pytest.LogCaptureFixture) -> None:
    service.fleet.hosts["node2"].up = False
    with caplog.at_level("DEBUG", "livemig.conductor.inventory"):
        service.runtime.sleep(600)
    said = [record for record in caplog.records if "Host node2 is away" in record.getMessage()]
    assert 100 < len(said) < 140, "every 5 s in the long run"
    assert sum(record.levelname == "WARNING" for record in said) <= 2, "it is said once"


def test_free_memory_is_looked_at_now_and_then(service: Service) -> None:
    service.fleet.hosts["node2"].memory_mib = 1024
    service.runtime.sleep(61)
    host = service.store.hosts.get("node2")
    assert host is not None and host.memory_mib == 1024


def test_a_changed_configuration_is_followed(service: Service) -> None:
    before = {name: service.conductor.inventory.get(name) for name in ("node1", "node2", "node3")}
    service.conf.set_override("connection_uri", "qemu+tls://node2/system", group="host:node2")
    service.conf.set_override("enabled_hosts", ["node1", "node2"])
    service.conductor.reload()
    service.runtime.sleep(3)
    after = {name: service.conductor.inventory.get(name) for name in before}
    assert after["node1"] is before["node1"]
    assert after["node2"] is not None and after["node2"].hypervisor.connected
    assert after["node2"].hypervisor.uri == "qemu+tls://node2/system"
    assert after["node3"] is None
    assert [host.name for host in service.store.hosts.all()] == ["node1", "node2"]
    former = before["node3"]
    assert former is not None and not former.hypervisor.connected
    assert shown(service) == ("active", "node1")


def test_the_database_may_be_away_for_a_while(tmp_path: Path, runtime: VirtualRuntime) -> None:
    with started(tmp_path, runtime, database=Database) as service:
        with closing(service.other_process()) as other:
            other.execute("BEGIN EXCLUSIVE")
            by_hand(service).suspend()
            service.runtime.sleep(10)
            other.execute("ROLLBACK")
        service.runtime.sleep(10)
        assert shown(service) == ("paused", "node1")


def test_an_unexpected_error_costs_a_connection_and_no_more(service: Service, caplog: pytest.LogCaptureFixture) -> None:
    service.fleet.hosts["node1"].memory_mib = None  # type: ignore[assignment]
    service.fleet.hosts["node1"].daemon_restart()
    service.runtime.sleep(10)
    assert any("Following host node1 failed" in record.getMessage() for record in caplog.records)
    service.fleet.hosts["node1"].memory_mib = 8192
    service.runtime.sleep(10)
    assert up(service) == ["node1", "node2", "node3"]


def test_stopping_closes_every_connection(service: Service) -> None:
    service.conductor.inventory.stop()
    service.runtime.sleep(1)
    assert not any(host.connections for host in service.fleet.hosts.values())


def test_a_host_that_can_be_reached_and_tells_nothing_is_away_and_says_why(service: Service, caplog: pytest.LogCaptureFixture) -> None:
    """As one without QEMU: it is asked again with longer and longer pauses, as if it could not be reached."""
    service.fleet.hosts["node2"].unsupported = ("getVersion",)
    service.fleet.hosts["node2"].daemon_restart()
    with caplog.at_level("DEBUG", "livemig.conductor.inventory"):
        service.runtime.sleep(600)
    assert up(service) == ["node1", "node3"]
    said = [record for record in caplog.records if "Host node2 is away" in record.getMessage()]
    assert 100 < len(said) < 140
    assert [record.levelname for record in said].count("WARNING") <= 3, "each reason once"
    service.fleet.hosts["node2"].unsupported = ()
    service.runtime.sleep(10)
    assert up(service) == ["node1", "node2", "node3"]


def test_a_host_without_news_is_looked_at_whole_only_now_and_then(service: Service) -> None:
    """Its free memory is asked for each minute all the same."""
    service.runtime.sleep(700)
    calls = service.fleet.hosts["node1"].calls
    before, asked = calls["XMLDesc"], calls["getMemoryStats"]
    service.runtime.sleep(1800)
    assert calls["XMLDesc"] - before <= 3 and calls["getMemoryStats"] - asked >= 29
    by_hand(service).suspend()
    before = calls["XMLDesc"]
    service.runtime.sleep(240)
    assert calls["XMLDesc"] - before >= 3, "there are news"
