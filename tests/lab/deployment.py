"""Private instances of RabbitMQ and PostgreSQL on free ports of the loopback address, gone when their context ends."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from livemig.lab.service import free_port
from livemig.runtime import ThreadRuntime

RUNTIME = ThreadRuntime()
START_S = 60.0


@contextmanager
def rabbitmq() -> Iterator[str]:
    """RabbitMQ; its transport_url."""
    directory = Path(tempfile.mkdtemp(prefix="livemig-rabbitmq-"))
    port = free_port()
    (directory / "rabbitmq.conf").write_text(f"listeners.tcp.1 = 127.0.0.1:{port}\n")
    (directory / "plugins").write_text("[].\n")
    environment = os.environ | {
        "HOME": str(directory),
        "ERL_EPMD_ADDRESS": "127.0.0.1",
        "ERL_EPMD_PORT": str(free_port()),
        "RABBITMQ_NODENAME": f"livemig{port}@localhost",
        "RABBITMQ_DIST_PORT": str(free_port()),
        "RABBITMQ_CONFIG_FILE": str(directory / "rabbitmq.conf"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(directory / "plugins"),
        "RABBITMQ_MNESIA_BASE": str(directory / "data"),
        "RABBITMQ_LOG_BASE": str(directory / "log"),
        "RABBITMQ_PID_FILE": str(directory / "pid"),
    }
    (home,) = Path("/usr/lib/rabbitmq/lib").glob("rabbitmq_server-*/sbin")
    try:
        with _running([home / "rabbitmq-server"], directory, "completed with", environment):
            yield f"rabbit://guest:guest@127.0.0.1:{port}/"
    finally:
        subprocess.run(["epmd", "-kill"], env=environment, capture_output=True, check=False)


@contextmanager
def postgresql() -> Iterator[str]:
    """PostgreSQL, as the user postgres (it refuses to run as root); its connection URL."""
    directory = Path(tempfile.mkdtemp(prefix="livemig-postgresql-"))
    shutil.chown(directory, "postgres")
    port = free_port()
    home = sorted(Path("/usr/lib/postgresql").glob("*/bin"))[-1]
    as_postgres = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
    subprocess.run([*as_postgres, home / "initdb", "-D", directory / "data", "-A", "trust", "-U", "livemig"], check=True, capture_output=True)
    options = ["-D", directory / "data", "-p", str(port), "-c", "listen_addresses=127.0.0.1", "-c", f"unix_socket_directories={directory}"]
    with _running([*as_postgres, home / "postgres", *options], directory, "ready to accept connections", None):
        yield f"postgresql+psycopg2://livemig@127.0.0.1:{port}/postgres"


@contextmanager
def _running(command: Sequence[str | Path], directory: Path, ready: str, environment: Mapping[str, str] | None) -> Iterator[None]:
    """A server that has said `ready`; it is ended, and its directory removed, with the context."""
    with (directory / "output").open("wb") as output:
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=output, start_new_session=True)
    try:
        _wait_for(directory / "output", ready, process)
        yield
    finally:
        process.terminate()
        process.wait(30)
        shutil.rmtree(directory, ignore_errors=True)


def _wait_for(output: Path, text: str, process: subprocess.Popen[bytes]) -> None:
    deadline = RUNTIME.monotonic() + START_S
    while text not in (said := output.read_text()):
        if process.poll() is not None or RUNTIME.monotonic() > deadline:
            raise AssertionError(f"it did not start:\n{said}")
        RUNTIME.sleep(0.1)
