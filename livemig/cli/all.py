"""livemig-all: API and conductor in one process, with an embedded database and no broker."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from livemig import conf as configuration
from livemig import rpc
from livemig.cli import wiring
from livemig.conductor.service import Conductor
from livemig.db.migrations import API
from livemig.runtime import Runtime, ThreadRuntime


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point."""
    return wiring.run(_run, arguments)


def _run(conf: Any) -> None:
    configuration.check_listening(conf)
    runtime = ThreadRuntime()
    with wiring.ending_on_signals(runtime):
        _serve_and_conduct(conf, runtime)


def _serve_and_conduct(conf: Any, runtime: Runtime) -> None:
    store = wiring.store(conf, runtime)
    store.database.upgrade()
    store.migrations.release(API)  # requests of a former process: nobody waits for their answers any more
    module = wiring.libvirt(conf, runtime)
    conductor = Conductor(conf, store, module, runtime)
    transport = rpc.in_memory_transport(conf)
    server = rpc.ConductorServer(transport, conf.host, conductor.answers)
    try:
        conductor.start()
        wiring.reload_on_hangup(conf, conductor, module, runtime)
        server.start()
        wiring.serve(conf, store, transport, runtime)
    finally:
        wiring.wind_up(runtime, server, conductor)
