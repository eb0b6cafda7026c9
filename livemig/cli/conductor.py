"""livemig-conductor: a conductor alone. It is asked over [DEFAULT] transport_url."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from livemig import rpc
from livemig.cli import wiring
from livemig.conductor.service import Conductor
from livemig.runtime import Runtime, ThreadRuntime


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point."""
    return wiring.run(_run, arguments)


def _run(conf: Any) -> None:
    runtime = ThreadRuntime()
    with wiring.ending_on_signals(runtime):
        _conduct(conf, runtime)


def _conduct(conf: Any, runtime: Runtime) -> None:
    module = wiring.libvirt(conf, runtime)
    conductor = Conductor(conf, wiring.store(conf, runtime), module, runtime)
    server = rpc.ConductorServer(rpc.transport(conf), conf.host, conductor.answers)
    try:
        conductor.start()
        wiring.reload_on_hangup(conf, conductor, module, runtime)
        server.start()
        wiring.wait_for_signals(runtime)
    finally:
        wiring.wind_up(runtime, server, conductor)
