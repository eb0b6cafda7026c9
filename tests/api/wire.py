"""RPC in memory between an API and a conductor, and what waits for the latter."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from oslo_config import cfg

from livemig import rpc
from livemig.db.selection import Selection
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


def settle(service: Service) -> None:
    """Wait until the inventory shows every guest of the fleet as it is."""
    for _ in range(500):
        there = {(uuid, host.name) for host in service.fleet.hosts.values() for uuid in host.domains if host.up}
        shown = {(server.uuid, server.host) for server in service.store.servers.find(Selection())}
        if shown >= there:
            return
        service.runtime.sleep(0.01)
    raise AssertionError(f"shown {shown}, there is {there}")
