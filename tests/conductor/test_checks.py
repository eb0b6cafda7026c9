"""Each check through the whole service: one thing is broken, the 400 says so and nothing has changed on either host; mended, the migration succeeds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from livemig.conductor.checks import CHECKS, disks
from livemig.states import Status
from livemig.testing.fleet import Host, guest_uuid
from tests.broken import BRIDGE, CPU, GUEST, ON_DAEMONS, ON_MOCK, PASSTHROUGH, Broken, Undo
from tests.service import Service
from tests.simulation.runtime import GreenletRuntime

WEB = guest_uuid("web")
# What both hosts have, and one of them loses.
PLENTY = {"interfaces": ("eth0", "lo", "br0"), "huge_pages": {2048: 1024}, "numa_nodes": 2}
EVERY = {**ON_DAEMONS, **ON_MOCK}


class MockStage:
    """`tests.broken.Stage` over the mock's fleet."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.server = WEB
        self.libvirt = service.fleet.libvirt("somebody")
        self.source, self.destination = (self.libvirt.open(f"qemu+tcp://{name}/system") for name in ("node1", "node2"))

    def start(self, xml: str = "", devices: str = "") -> None:
        self.parts = (xml, devices)
        self.source.createXML(self._xml(), 0)
        self.source.defineXML(self._xml())
        self.service.runtime.sleep(0.5)

    def _xml(self, xml: str = "", devices: str = "") -> str:
        return GUEST.format(type="kvm", name="web", uuid=WEB, xml=self.parts[0] + xml, devices=self.parts[1] + devices)

    def has(self, xml: str = "", devices: str = "") -> Undo:
        definition = self.service.fleet.hosts["node1"].domains[WEB].definition
        return _set(definition, xml=self._xml(xml, devices))

    def switch(self, host: str, **values: Any) -> Undo:
        return _set(self.service.fleet.hosts[host], **values)

    def option(self, **values: Any) -> Undo:
        options = [(*reversed(name.rpartition("__")[::2]), value) for name, value in values.items()]
        for option, group, value in options:
            self.service.conf.set_override(option, value, group=group or None)
        self.service.restart_conductor()

        def mend() -> None:
            for option, group, _value in options:
                self.service.conf.clear_override(option, group=group or None)
            self.service.restart_conductor()

        return mend

    def word(self, host: str, **values: Any) -> Undo:
        self.service.store.hosts.decide(host, **values)
        return lambda: self.service.store.hosts.decide(host, disabled=False, disabled_reason=None, forced_down=False)

    def fleet(self) -> dict[str, Any]:
        """All that there is on the hosts."""
        return {name: _told(host) for name, host in self.service.fleet.hosts.items()}

    def settle(self) -> None:
        """Until every host is connected to."""
        runtime = self.service.runtime
        assert isinstance(runtime, GreenletRuntime)
        runtime.wait_until(self._connected, 60)

    def _connected(self) -> bool:
        watchers = filter(None, map(self.service.conductor.inventory.get, self.service.fleet.hosts))
        return all(watcher.hypervisor.connected and watcher.settled.is_set() for watcher in watchers)


def _set(thing: Any, **values: Any) -> Undo:
    before = {name: getattr(thing, name) for name in values}
    for name, value in values.items():
        setattr(thing, name, value)
    return lambda: _set(thing, **before)


def _told(host: Host) -> Any:
    domains = sorted((domain.definition.uuid, domain.state, domain.persistent, domain.definition.xml) for domain in host.domains.values())
    return domains, sorted(host.pools), {path: sorted(directory.files) for path, directory in host.directories.items()}


@pytest.fixture
def stage(tmp_path: Path, runtime: GreenletRuntime) -> Iterator[MockStage]:
    with Service(tmp_path, runtime) as service:
        for host in service.fleet.hosts.values():
            host.switch(PLENTY)
        yield MockStage(service)


def asked(stage: MockStage, **request: Any) -> Any:
    return stage.service.live_migrate(WEB, **request)


@pytest.mark.parametrize("case", EVERY)
def test_broken_and_mended(stage: MockStage, case: str) -> None:
    broken: Broken = EVERY[case]
    service = stage.service
    stage.start(broken.xml, broken.devices)
    mend = broken.break_it(stage)
    service.runtime.sleep(1)
    before = stage.fleet()
    answer = asked(stage, **broken.asked)
    assert answer.status_int == 400, service.story(WEB)
    assert broken.words in answer.json["badRequest"]["message"]
    assert f": {broken.check}: " in service.story(WEB)
    assert stage.fleet() == before
    assert service.state(WEB) == ("ACTIVE", "node1", None)
    mend()
    stage.settle()
    assert asked(stage).status_int == 202, service.story(WEB)
    assert service.wait_idle(WEB).status is Status.COMPLETED, service.story(WEB)
    assert service.state(WEB) == ("ACTIVE", "node2", None)


def test_every_check_is_broken_once() -> None:
    """But for those of disks, which have scenarios of their own; an unknown destination, which the API refuses itself; and a guest that does not run."""
    others = {check.__name__ for check in CHECKS if check.__module__ != disks.__name__} - {"destination_known", "runs_on_source"}
    assert {broken.check for broken in EVERY.values()} - {"storage"} == others


def test_what_a_host_cannot_tell_stops_nothing(stage: MockStage) -> None:
    """An old libvirt at the destination, without a driver for interfaces."""
    stage.start(PASSTHROUGH, BRIDGE + "<interface type='network'><source network='default'/></interface>")
    stage.switch("node2", unsupported=("getDomainCapabilities", "listAllInterfaces", "listAllNetworks", "compareHypervisorCPU"))
    assert asked(stage).status_int == 202, stage.service.story(WEB)
    assert stage.service.wait_idle(WEB).status is Status.COMPLETED


def test_what_could_not_be_judged_fails_at_the_start_and_leaves_the_guest(stage: MockStage) -> None:
    stage.start("", BRIDGE)
    mend = stage.switch("node2", unsupported=("listAllInterfaces",), interfaces=("eth0",))
    assert asked(stage).status_int == 202
    migration = stage.service.wait_idle(WEB)
    assert (migration.status, stage.service.state(WEB)) == (Status.FAILED, ("ACTIVE", "node1", None))
    assert "br0" in (migration.reason or "")
    assert stage.service.fleet.running_on(WEB) == ["node1"]
    mend()
    assert asked(stage).status_int == 202
    assert stage.service.wait_idle(WEB).status is Status.COMPLETED


def falls_away(host: Host, call: str) -> None:
    host.calls.clear()
    host.fleet.runtime.wait_until(lambda: host.calls[call] > 0, 60)  # type: ignore[attr-defined]
    host.up = False


FALLS = [
    *(("node1", call) for call in ("snapshotNum", "storagePoolLookupByTargetPath")),
    *(("node2", call) for call in ("getDomainCapabilities", "lookupByName", "listAllNetworks", "compareHypervisorCPU", "storagePoolLookupByTargetPath")),
]


@pytest.mark.parametrize(("name", "call"), FALLS)
def test_a_host_that_falls_away_while_it_is_asked(stage: MockStage, name: str, call: str) -> None:
    disk = "<disk type='file' device='disk'><source file='/srv/web.img'/><target dev='vda'/></disk>"
    stage.service.fleet.add_directory("/srv")
    stage.start(CPU, f"<interface type='network'><source network='default'/></interface>{disk}")
    stage.service.fleet.latency_s = 0.1
    stage.service.runtime.start("fate", falls_away, stage.service.fleet.hosts[name], call)
    answer = asked(stage)
    assert (answer.status_int, answer.json["badRequest"]["message"]) == (400, f"Compute service of {name} is unavailable at this time.")
    assert not stage.service.fleet.hosts[{"node1": "node2", "node2": "node1"}[name]].pools
    assert stage.service.fleet.running_on(WEB) == ["node1"]


def test_what_is_risky_is_in_the_event_log(stage: MockStage) -> None:
    bridge = "<interface type='bridge'><source bridge='br0'/></interface>"
    stage.start("<cpu mode='host-passthrough'/>", bridge + "<serial type='file'><source path='/var/log/web'/></serial>")
    stage.switch("node2", idle=("lo", "br0"), cpu_model="Icelake-Server")
    assert asked(stage).status_int == 202, stage.service.story(WEB)
    assert stage.service.wait_idle(WEB).status is Status.COMPLETED
    notes = [line for line in stage.service.story(WEB).splitlines() if line.startswith("note: node2: ")]
    assert len(notes) == 3
    for words in ("(/var/log/web)", "br0 is not up on node2", "Cascadelake-Server; the destination's is Icelake-Server"):
        assert any(words in note for note in notes)


def test_a_host_is_asked_little(stage: MockStage) -> None:
    """Of each destination: what it is, whether it has the guest, whether it would take it. What QEMU can do is asked but once."""
    stage.start(CPU, "<interface type='network'><source network='default'/></interface>")
    host = stage.service.fleet.hosts["node2"]
    host.refuses_cpu = True
    questions = [_asked(stage, host) for _turn in range(2)]
    facts = ["getHostname", "getInfo", "getLibVersion", "getMemoryStats", "getType", "getVersion"]
    assert questions[1] == sorted([*facts, "compareHypervisorCPU", "lookupByName", "listAllNetworks"])
    assert questions[0] == sorted([*questions[1], "getDomainCapabilities"])


def _asked(stage: MockStage, host: Host) -> list[str]:
    """But for the guest by its UUID, which the watcher looks for as well."""
    host.calls.clear()
    assert asked(stage).status_int == 400
    return sorted(call for call in host.calls.elements() if call != "lookupByUUIDString")
