"""API tests run in real time, with real RPC in memory, over a fleet that is fifty times as fast."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from livemig import rpc
from livemig.runtime import ThreadRuntime
from tests.api.wire import Start, Wire, settle
from tests.service import Service


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
