"""Two hosts of the mock, each with its Hypervisor."""

from __future__ import annotations

from typing import Any

from livemig import exceptions
from livemig.facts import HostEvent, Plan, ServerChanged
from livemig.hypervisor.connection import Hypervisor
from livemig.hypervisor.events import EventLoop
from livemig.testing.fleet import Fleet, guest_uuid
from livemig.testing.runtime import VirtualRuntime

WEB = guest_uuid("web")
PLAN = Plan("qemu+tcp://b/system", None, persistent=True)


class World:
    """Two hosts, "web" on the first; both are connected to."""

    def __init__(self, runtime: VirtualRuntime) -> None:
        self.runtime = runtime
        self.fleet = Fleet(runtime)
        self.hosts = {name: self.fleet.add_host(name, memory_mib=8192, vcpus=4) for name in "ab"}
        self.web = self.fleet.add_guest("web", "a", dirty_mib_s=1)
        self.libvirt = self.fleet.libvirt()
        self.loop = EventLoop(self.libvirt, runtime)
        self.loop.start()
        self.a, self.b = (Hypervisor(self.libvirt, name, f"qemu+tcp://{name}/system", (5, 5)) for name in "ab")
        self.said: list[HostEvent] = []
        for hypervisor in (self.a, self.b):
            hypervisor.connect()
            hypervisor.listen(self.said.append)

    def migrate(self, plan: Plan = PLAN) -> Any:
        """Start a migration at 20 MiB/s, and let it get under way."""
        self.hosts["a"].bandwidth_mib_s = 20.0
        task = self.runtime.start("migrate", self._migrate, plan)
        self.runtime.sleep(2)
        return task

    def _migrate(self, plan: Plan) -> None:
        try:
            self.a.migrate(WEB, plan)
        except exceptions.HypervisorError as error:
            self.error = error

    def close(self) -> None:
        for hypervisor in (self.a, self.b):
            hypervisor.close()
        self.loop.stop()

    def texts(self) -> list[str]:
        """What was said, once all has been heard."""
        self.runtime.sleep(0.01)
        return [event.text for event in self.said if isinstance(event, ServerChanged)]
