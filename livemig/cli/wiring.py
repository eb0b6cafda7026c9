"""What the commands have in common: configuration, the parts put together, signals."""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from oslo_config import cfg
from oslo_log import log

from livemig import conf as configuration
from livemig import exceptions
from livemig.api.auth import tell_without_roles
from livemig.api.loading import load_application, load_server
from livemig.api.request import Services
from livemig.conductor.service import Conductor
from livemig.db import store as stores
from livemig.db.store import Store
from livemig.hypervisor import driver
from livemig.policies import Policies
from livemig.rpc import ConductorClient, ConductorServer
from livemig.runtime import Event, Runtime

LOG = log.getLogger(__name__)

END_S = 9.0  # after a signal to end; conductor.stop() and the requests have less
LATE = "It did not end in time"  # logged by what ends it then
READ_AGAIN = "The configuration was read again"  # logged once it is in force
_LOOK_FOR_SIGNALS_S = 1.0
_ENDING = (signal.SIGTERM, signal.SIGINT)
_FINISH_S = 2.0


def run(command: Callable[[Any], int | None], arguments: Sequence[str] | None, unable: int = 1) -> int:
    """Run a command on the configuration. Returns the exit status: `unable`, with one line on stderr, for what the operator can mend."""
    conf = cfg.CONF
    try:
        configuration.prepare(conf, arguments)
        return command(conf) or 0
    except (configuration.ConfigurationError, exceptions.Misconfigured, cfg.Error) as error:
        print(f"livemig: {error}", file=sys.stderr)
    except exceptions.DatabaseUnavailable as error:
        print(f"livemig: {error} ({error.why})", file=sys.stderr)
    return unable


def store(conf: Any, runtime: Runtime) -> Store:
    """The store; the directory of an embedded database is made."""
    connection: str = conf.database.connection
    if connection.startswith("sqlite:///"):
        Path(connection.removeprefix("sqlite:///").partition("?")[0]).absolute().parent.mkdir(parents=True, exist_ok=True)
    return stores.from_conf(conf, runtime)


def libvirt(conf: Any, runtime: Runtime) -> Any:
    """The module that [libvirt] driver names."""
    if conf.libvirt.driver == "libvirt":
        return driver.load()
    from livemig.testing import libvirt as mock

    if not conf.mock.fleet:
        raise configuration.ConfigurationError("[mock] fleet is missing: the YAML file of the simulated fleet")
    return mock.load(conf.mock.fleet, runtime)


def application(conf: Any, parts: Store, transport: Any, runtime: Runtime) -> Any:
    """The API as a WSGI application."""
    conductor = ConductorClient(transport, conf.api.conductor_timeout, runtime)
    return load_application(Services(conf, parts, conductor, runtime, Policies(conf, runtime), configuration.aggregates(conf), runtime.now()))


def serve(conf: Any, parts: Store, transport: Any, runtime: Runtime) -> None:
    """Serve the API until the process is told to stop; requests being worked on are finished."""
    made = application(conf, parts, transport, runtime)
    LOG.info("Listening on http://%s:%s", conf.api.listen_host, conf.api.listen_port)
    load_server(conf)(made)


@contextmanager
def ending_on_signals(runtime: Runtime) -> Iterator[None]:
    """SIGTERM and SIGINT leave the main thread by SystemExit; the process has ended a few seconds later, whatever hangs.

    The main thread may hang where no handler of Python's runs, so a thread of its own reads what the kernel's signal handler writes.
    """

    def stop(_signal: int, _frame: object) -> None:
        raise SystemExit(0)

    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    former = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    for each in _ENDING:
        signal.signal(each, stop)
    over = runtime.event()
    runtime.start("end", _end_in_time, reader, over)
    try:
        yield
    finally:
        over.set()
        signal.set_wakeup_fd(former)
        os.close(writer)


def _end_in_time(reader: int, over: Event) -> None:
    """Returns when the command has ended, or does not return."""
    with open(reader, "rb", buffering=0) as signals:
        while told := signals.read(64):
            if set(told) & set(_ENDING):
                if not over.wait(END_S):
                    leave(LATE)
                return


def leave(why: str) -> None:
    """End the process though some of its threads hang: Python would wait for them."""
    LOG.warning("%s; what it held is taken up by others", why)
    logging.shutdown()
    os._exit(0)


def wind_up(runtime: Runtime, server: ConductorServer, conductor: Conductor) -> None:
    """Finish the requests that are worked on, as far as they can be, and hand everything over."""
    finishing = runtime.start("finish", server.stop)
    finishing.join(_FINISH_S)
    conductor.stop()
    if finishing.is_alive():
        leave("A request could not be finished")


def wait_for_signals(runtime: Runtime) -> None:
    """Wait until a signal ends the process. The kernel may give a signal to any thread, but its handler runs in this one, which that does not wake."""
    while True:
        runtime.sleep(_LOOK_FOR_SIGNALS_S)


def reload_on_hangup(conf: Any, conductor: Conductor, module: Any, runtime: Runtime) -> None:
    """SIGHUP reads the configuration files again, outside the signal handler."""
    asked = runtime.event()
    signal.signal(signal.SIGHUP, lambda _signal, _frame: asked.set())

    def follow() -> None:
        while asked.wait():
            asked.clear()
            _reload(conf, conductor, module)

    runtime.start("reload", follow)


def _reload(conf: Any, conductor: Conductor, module: Any) -> None:
    LOG.info("Reading the configuration again")
    try:
        conf.reload_config_files()
        if conf.libvirt.driver == "mock":
            module.reload(conf.mock.fleet)
        tell_without_roles(conf)
        conductor.reload()
        LOG.info(READ_AGAIN)
    except Exception:
        LOG.exception("The configuration could not be read again; the former one stays in force")
