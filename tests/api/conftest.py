"""API tests run in real time, with real RPC in memory, over a fleet that is fifty times as fast."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from oslo_config import cfg

from livemig import rpc
from livemig.db.selection import Selection
from livemig.runtime import ThreadRuntime
from tests.service import Service

Start = Callable[..., Service]
ANSWERS = ("live_migrate", "wake", "perform", "diagnostics")


class Wire:
    """RPC in memory. `answers` are those of the conductor at its other end."""

    def __init__(self) -> None:
        cfg.CONF([], project="livemig", default_config_files=[], default_config_dirs=[])  # oslo.messaging reads some options only there
        self.answers: dict[str, Callable[..., Any]] = {}
        self.transport = rpc.in_memory_transport(cfg.CONF)
        self._server = rpc.ConductorServer(self.transport, "conductor", {name: self._answer(name) for name in ANSWERS})
        self._server.start()

    def _answer(self, name: str) -> Callable[..., Any]:
        return lambda **arguments: self.answers[name](**arguments)

    def close(self) -> None:
        self._server.stop()
        self.transport.cleanup()


@pytest.fixture(scope="session")
def wire() -> Iterator[Wire]:
    """One for all tests: stopping an RPC server takes a second."""
    wire = Wire()
    yield wire
    wire.close()


@pytest.fixture
def start(tmp_path: Path, wire: Wire) -> Iterator[Start]:
    """Starts a service: `start(rpc_timeout=seconds, **options)`."""
    with ExitStack() as stack:

        def start(rpc_timeout: int = 10, **options: Any) -> Service:
            service = Service(tmp_path, ThreadRuntime(), rpc.ConductorClient(wire.transport, rpc_timeout, ThreadRuntime()), **options)
            service.fleet.speed = 50
            wire.answers = service.conductor.answers
            return stack.enter_context(service)

        yield start


@pytest.fixture
def service(start: Start) -> Service:
    """A service with the guest "web" on node1."""
    service = start()
    service.fleet.add_guest("web", "node1", dirty_mib_s=1)
    settle(service)
    return service


def settle(service: Service) -> None:
    """Wait until the inventory shows every guest of the fleet as it is."""
    for _ in range(500):
        there = {(uuid, host.name) for host in service.fleet.hosts.values() for uuid in host.domains if host.up}
        shown = {(server.uuid, server.host) for server in service.store.servers.find(Selection())}
        if shown >= there:
            return
        service.runtime.sleep(0.01)
    raise AssertionError(f"shown {shown}, there is {there}")
