"""livemig-api: the API alone. Conductors are reached by [DEFAULT] transport_url."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from livemig import conf as configuration
from livemig import rpc
from livemig.cli import wiring
from livemig.runtime import ThreadRuntime


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point."""
    return wiring.run(_run, arguments)


def _run(conf: Any) -> None:
    configuration.check_listening(conf)
    runtime = ThreadRuntime()
    with wiring.ending_on_signals(runtime):
        wiring.serve(conf, wiring.store(conf, runtime), rpc.transport(conf), runtime)
