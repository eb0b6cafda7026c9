"""Server actions on the simulated fleet: what becomes of the guest, what the API shows when the call returns, and stops that are waited for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from livemig import exceptions
from livemig.conductor.deeds import DEEDS, Deeds
from livemig.testing import constants as C
from livemig.testing.fleet import Domain, guest_uuid
from livemig.testing.runtime import VirtualRuntime
from tests.service import Service

WEB = guest_uuid("web")


class Stage:
    """A service, its deeds, and a guest "web" on node1."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.runtime = service.runtime
        self.node1 = service.fleet.hosts["node1"]
        self.deeds = Deeds(service.conf, service.store, service.conductor.inventory, service.runtime)

    def have(self, state: str = "running", **facts: Any) -> Domain:
        """ "web", once the service has seen it."""
        web = self.service.fleet.add_guest("web", "node1", state=state, **facts)
        self.runtime.sleep(1)
        return web

    def shown(self, server: str = WEB) -> str:
        """Its vm_state in the database, with no time for a watcher to look."""
        return self.service.store.servers.get(server).vm_state

    def do(self, deed: str, host: str = "node1") -> None:
        self.deeds.perform(WEB, host, deed)

    def refused(self, deed: str, host: str = "node1") -> str:
        with pytest.raises(exceptions.ServerInvalidState) as raised:
            self.do(deed, host)
        return str(raised.value)


@pytest.fixture
def stage(tmp_path: Path, runtime: VirtualRuntime) -> Iterator[Stage]:
    with Service(tmp_path, runtime) as service:
        yield Stage(service)


RUNNING, PAUSED, OFF = C.VIR_DOMAIN_RUNNING, C.VIR_DOMAIN_PAUSED, C.VIR_DOMAIN_SHUTOFF

# deed: (the guest before, the guest after, what the API shows)
EFFECTS: dict[str, list[tuple[str, int, str]]] = {
    "pause": [("running", PAUSED, "paused")],
    "unpause": [("paused", RUNNING, "active")],
    "suspend": [("running", OFF, "suspended"), ("paused", OFF, "suspended")],
    "resume": [("saved", RUNNING, "active"), ("pmsuspended", RUNNING, "active")],
    "start": [("shutoff", RUNNING, "active"), ("saved", RUNNING, "active")],
    "stop": [("running", OFF, "stopped")],
    "reboot_soft": [("running", RUNNING, "active")],
    "reboot_hard": [("running", RUNNING, "active"), ("paused", RUNNING, "active"), ("shutoff", RUNNING, "active"), ("saved", RUNNING, "active")],
}


@pytest.mark.parametrize(("deed", "before", "after", "shown"), [(deed, *effect) for deed, effects in EFFECTS.items() for effect in effects])
def test_a_deed_is_done_and_shown_when_the_call_returns(stage: Stage, deed: str, before: str, after: int, shown: str) -> None:
    web = stage.have(before)
    stage.do(deed)
    assert (web.state, stage.shown()) == (after, shown)
    stage.runtime.sleep(1)
    assert stage.shown() == shown, "the watcher sees the same"


def test_every_deed_has_its_effect_in_the_table() -> None:
    assert set(EFFECTS) == set(DEEDS)


@pytest.mark.parametrize(
    ("deed", "state", "message"),
    [
        ("unpause", "running", f"Cannot 'unpause' instance {WEB} while it is in vm_state active"),
        ("pause", "shutoff", f"Cannot 'pause' instance {WEB} while it is in vm_state stopped"),
        ("suspend", "saved", f"Cannot 'suspend' instance {WEB} while it is in vm_state suspended"),
        ("resume", "running", f"Cannot 'resume' instance {WEB} while it is in vm_state active"),
        ("start", "running", f"Cannot 'start' instance {WEB} while it is in vm_state active"),
        ("stop", "shutoff", f"Cannot 'stop' instance {WEB} while it is in vm_state stopped"),
        ("stop", "paused", f"Cannot 'stop' instance {WEB} while it is in vm_state paused"),
        ("reboot_soft", "shutoff", f"Cannot 'reboot' instance {WEB} while it is in vm_state stopped"),
    ],
)
def test_libvirt_is_the_judge_of_the_state(stage: Stage, deed: str, state: str, message: str) -> None:
    web = stage.have(state)
    before = (web.state, web.reason)
    assert stage.refused(deed) == message
    assert (web.state, web.reason) == before


def test_what_was_shown_wrongly_is_shown_rightly_after_a_refusal(stage: Stage) -> None:
    web = stage.have()
    web.become(C.VIR_DOMAIN_PAUSED, C.VIR_DOMAIN_PAUSED_IOERROR)
    assert stage.shown() == "active", "no event told of it"
    assert "paused" in stage.refused("start")
    assert stage.shown() == "paused"


def test_a_guest_that_was_saved_while_it_was_paused_runs_when_it_is_resumed(stage: Stage) -> None:
    web = stage.have("paused")
    stage.do("suspend")
    assert web.saved == "paused"
    stage.do("resume")
    assert (web.state, stage.shown()) == (RUNNING, "active")


@pytest.mark.parametrize("deed", ["stop", "suspend"])
@pytest.mark.parametrize("patience", [0, 60])
def test_a_transient_guest_is_not_switched_off(stage: Stage, deed: str, patience: int) -> None:
    stage.service.conf.set_override("shutdown_timeout", patience, group="libvirt")
    web = stage.have(persistent=False)
    assert "Cannot" in stage.refused(deed)
    stage.runtime.sleep(100)
    assert web.runs


def test_a_transient_guest_is_reset_instead_of_switched_off_and_on(stage: Stage) -> None:
    web = stage.have(persistent=False)
    number = web.id
    stage.do("reboot_hard")
    assert (web.runs, web.id) == (True, number)


def test_a_hard_reboot_is_another_run_without_the_saved_memory(stage: Stage) -> None:
    web = stage.have("saved")
    stage.do("reboot_hard")
    assert (web.saved, web.reason) == (None, C.VIR_DOMAIN_RUNNING_BOOTED)
    number = web.id
    stage.do("reboot_hard")
    assert web.runs and web.id != number


# Guests that are being moved, hosts that are away


@pytest.mark.parametrize("deed", DEEDS)
def test_nobody_touches_a_guest_that_is_being_moved(stage: Stage, deed: str) -> None:
    web = stage.have(dirty_mib_s=1)
    stage.node1.bandwidth_mib_s = 20.0
    assert stage.service.live_migrate(WEB).status_int == 202
    stage.runtime.sleep(5)
    for host in ("node1", "node2"):
        assert stage.refused(deed, host).endswith("while it is in task_state migrating")
    with pytest.raises(exceptions.ServerInvalidState):
        stage.deeds.diagnostics(WEB, "node2")
    assert web.runs
    stage.node1.bandwidth_mib_s = 1000.0
    assert stage.service.wait_idle(WEB).status == "completed"


@pytest.mark.parametrize("deed", DEEDS)
def test_a_server_that_is_not_there_any_more(stage: Stage, deed: str) -> None:
    """Who asks was told of a host from which the guest has just been moved; or the guest is gone."""
    web = stage.have()
    assert stage.refused(deed, "node2").endswith("while it is in task_state migrating")
    with pytest.raises(exceptions.ServerInvalidState, match="migrating"):
        stage.deeds.diagnostics(WEB, "node2")
    del web.host.domains[WEB]
    with pytest.raises(exceptions.ServerNotFound):
        stage.do(deed)
    with pytest.raises(exceptions.ServerNotFound):
        stage.deeds.diagnostics(WEB, "node1")


@pytest.mark.parametrize("path", ["diagnostics", "pause", "reboot"])
def test_the_answer_while_it_switches_over(stage: Stage, path: str) -> None:
    """It was at the source when the API looked, and is at the destination when the conductor does."""
    stage.have(dirty_mib_s=1)
    service = stage.service
    client: Any = service.services.conductor
    answers = {name: getattr(client, name) for name in ("diagnostics", "perform")}

    def later(name: str, *arguments: Any) -> Any:
        assert service.live_migrate(WEB).status_int == 202
        service.wait_idle(WEB)
        return answers[name](*arguments)

    client.diagnostics = lambda *arguments: later("diagnostics", *arguments)
    client.perform = lambda *arguments: later("perform", *arguments)
    if path == "diagnostics":
        answer = service.request("GET", f"/v2.1/servers/{WEB}/diagnostics")
    else:
        answer = service.request("POST", f"/v2.1/servers/{WEB}/action", json={path: {"type": "HARD"} if path == "reboot" else None})
    assert answer.status_int == 409
    assert answer.json["conflictingRequest"]["message"].endswith(f"instance {WEB} while it is in task_state migrating")


def test_diagnostics_of_a_host_that_is_away(stage: Stage) -> None:
    stage.have()
    stage.node1.up = False
    stage.runtime.sleep(1)
    assert stage.service.request("GET", f"/v2.1/servers/{WEB}/diagnostics").status_int == 503


@pytest.mark.parametrize("host", ["node1", "nowhere"])
def test_a_host_that_cannot_be_asked(stage: Stage, host: str) -> None:
    web = stage.have()
    stage.node1.up = False
    stage.runtime.sleep(1)
    with pytest.raises(exceptions.HypervisorUnavailable):
        stage.do("pause", host)
    assert web.runs


def test_an_unknown_deed_is_a_fault_of_ours(stage: Stage) -> None:
    stage.have()
    with pytest.raises(KeyError):
        stage.do("explode")


# Stops


def test_a_guest_that_ignores_the_button_is_switched_off_when_time_is_up(stage: Stage) -> None:
    web = stage.have(ignores_acpi=True)
    stage.do("stop")
    assert (web.runs, stage.shown()) == (True, "active")
    stage.runtime.sleep(59)
    assert web.runs
    stage.runtime.sleep(2)
    assert (web.state, web.reason, stage.shown()) == (OFF, C.VIR_DOMAIN_SHUTOFF_DESTROYED, "stopped")


def test_without_patience_it_is_switched_off_at_once(stage: Stage) -> None:
    stage.service.conf.set_override("shutdown_timeout", 0, group="libvirt")
    web = stage.have(ignores_acpi=True)
    stage.do("stop")
    assert (web.reason, stage.shown()) == (C.VIR_DOMAIN_SHUTOFF_DESTROYED, "stopped")


def test_a_guest_that_went_by_itself_and_was_started_anew_is_left_alone(stage: Stage) -> None:
    web = stage.have(ignores_acpi=True)
    stage.do("stop")
    stage.runtime.sleep(10)
    by_hand = stage.service.fleet.libvirt("elsewhere").open("qemu+tcp://node1/system").lookupByUUIDString(WEB)
    by_hand.destroy()
    by_hand.create()
    stage.runtime.sleep(100)
    assert web.runs
    assert not stage.deeds._stops


def test_a_later_deed_takes_the_place_of_a_stop(stage: Stage) -> None:
    web = stage.have(ignores_acpi=True)
    stage.do("stop")
    stage.runtime.sleep(10)
    stage.do("reboot_soft")
    stage.runtime.sleep(100)
    assert web.runs


def test_of_two_stops_the_second_one_counts(stage: Stage) -> None:
    web = stage.have(ignores_acpi=True)
    stage.do("stop")
    stage.runtime.sleep(40)
    stage.do("stop")
    stage.runtime.sleep(40)
    assert web.runs
    stage.runtime.sleep(21)
    assert web.reason == C.VIR_DOMAIN_SHUTOFF_DESTROYED


def test_a_guest_that_leaves_meanwhile_is_left_alone(stage: Stage) -> None:
    stage.have(ignores_acpi=True, dirty_mib_s=1)
    stage.do("stop")
    assert stage.service.live_migrate(WEB).status_int == 202
    assert stage.service.wait_idle(WEB).status == "completed"
    stage.runtime.sleep(100)
    assert stage.service.fleet.running_on(WEB) == ["node2"]


def test_a_guest_that_is_just_leaving_is_left_alone(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    web = stage.have(ignores_acpi=True, dirty_mib_s=1)
    stage.node1.bandwidth_mib_s = 20.0
    stage.do("stop")
    stage.runtime.sleep(30)
    assert stage.service.live_migrate(WEB).status_int == 202
    stage.runtime.sleep(40)
    assert web.runs and web.job is not None
    assert "was not switched off" in caplog.text


def test_a_guest_that_is_to_leave_is_left_alone(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    """Its migration is accepted, and libvirt has not been told yet."""
    web = stage.have(ignores_acpi=True)
    stage.do("stop")
    stage.runtime.sleep(10)
    stage.service.conductor.engine.stop()
    stage.service.begin(WEB)
    stage.runtime.sleep(55)
    assert web.runs
    assert "was not switched off: Cannot 'stop'" in caplog.text


def test_a_host_that_dies_in_the_middle_of_a_deed_is_looked_at_later(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    stage.have()
    stage.service.fleet.latency_s = 1.0

    def die() -> None:
        stage.runtime.sleep(5.5)
        stage.node1.up = False

    stage.runtime.start("die", die)
    with pytest.raises(exceptions.HypervisorUnavailable):
        for _ in range(9):
            stage.do("pause")
            stage.do("unpause")
    assert "is shown as it was until host node1 is looked at again" in caplog.text


def test_a_host_that_goes_away_meanwhile_is_waited_for(stage: Stage) -> None:
    web = stage.have(ignores_acpi=True)
    stage.do("stop")
    stage.runtime.sleep(10)
    stage.node1.daemon_restart(20)
    assert web.runs
    stage.runtime.sleep(40)
    assert web.reason == C.VIR_DOMAIN_SHUTOFF_DESTROYED


def test_a_host_that_is_away_when_time_is_up_keeps_its_guest(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    web = stage.have(ignores_acpi=True)
    stage.do("stop")
    stage.node1.up = False
    stage.runtime.sleep(100)
    assert web.runs
    assert "was not switched off" in caplog.text


def test_a_stop_that_libvirt_refuses_leaves_nobody_listening(stage: Stage) -> None:
    stage.have("paused")
    watcher = stage.service.conductor.inventory.get("node1")
    assert watcher is not None
    before = watcher.hypervisor._listeners
    stage.refused("stop")
    assert watcher.hypervisor._listeners == before
    stage.do("unpause")
    stage.do("stop")
    stage.runtime.sleep(1)
    assert watcher.hypervisor._listeners == before


# Diagnostics


def test_diagnostics(stage: Stage) -> None:
    disks = ["/srv/root.raw", {"path": "/srv/disk.config", "device": "cdrom", "read_only": True}]
    stage.have(vcpus=2, memory_mib=1024, disks=disks, interfaces=[{"mac": "52:54:00:00:00:01"}])
    found = stage.deeds.diagnostics(WEB, "node1")
    assert (found.presence, found.domain_type, found.memory_max_mib, found.memory_used_mib, found.config_drive) == ("running", "kvm", 1024, 1024, True)
    assert [processor.number for processor in found.processors] == [0, 1] and found.processors[0].time_ns > 0
    [nic] = found.nics
    assert (nic.mac, nic.device[:4], nic.rx_bytes, nic.rx_packets, nic.tx_drops) == ("52:54:00:00:00:01", "vnet", 90, 1, 0)
    assert [disk.target for disk in found.disks] == ["vda", "vdb"] and found.disks[0].read_bytes > found.disks[0].write_bytes > 0
    assert found.memory_kib["actual"] == 1024 * 1024 and "rss" in found.memory_kib and "" not in found.memory_kib


def test_diagnostics_of_a_guest_that_is_off(stage: Stage) -> None:
    stage.have("shutoff")
    found = stage.deeds.diagnostics(WEB, "node1")
    assert (found.presence, found.processors, found.nics, found.memory_max_mib) == ("shut off", (), (), 2048)
