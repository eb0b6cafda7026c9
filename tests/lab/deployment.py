"""Private instances of RabbitMQ, PostgreSQL and MariaDB on free ports of the loopback address, gone when their context ends."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from livemig.lab.service import free_port
from livemig.runtime import ThreadRuntime

RUNTIME = ThreadRuntime()
START_S = 60.0


class Daemon:
    """A server reached at `url`. It has started once it has written `ready` to its output."""

    def __init__(self, url: str, command: Sequence[str | Path], directory: Path, ready: str, environment: Mapping[str, str] | None = None) -> None:
        self.url = url
        self._command = command
        self._output = directory / "output"
        self._ready = ready
        self._environment = environment
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it is ready."""
        with self._output.open("wb") as output:
            self._process = subprocess.Popen(self._command, env=self._environment, stdout=output, stderr=output, start_new_session=True)
        deadline = RUNTIME.monotonic() + START_S
        while self._ready not in (said := self._output.read_text()):
            if self._process.poll() is not None or RUNTIME.monotonic() > deadline:
                raise AssertionError(f"it did not start:\n{said}")
            RUNTIME.sleep(0.1)

    def stop(self, by: signal.Signals = signal.SIGTERM) -> None:
        """End it and wait until it has gone; what it knows stays. PostgreSQL does not wait for its clients after SIGINT; SIGKILL is for all its processes."""
        process, self._process = self._process, None
        if process is not None:
            os.killpg(process.pid, by) if by is signal.SIGKILL else process.send_signal(by)
            process.wait(30)


@contextmanager
def rabbitmq() -> Iterator[str]:
    """RabbitMQ; its transport_url."""
    with broker() as daemon:
        yield daemon.url


@contextmanager
def postgresql() -> Iterator[str]:
    """PostgreSQL; its connection URL."""
    with database() as daemon:
        yield daemon.url


@contextmanager
def broker() -> Iterator[Daemon]:
    """RabbitMQ, to be stopped and started again; its url is a transport_url."""
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
    url = f"rabbit://guest:guest@127.0.0.1:{port}/"
    try:
        with _running(Daemon(url, [home / "rabbitmq-server"], directory, "completed with", environment), directory) as daemon:
            yield daemon
    finally:
        subprocess.run(["epmd", "-kill"], env=environment, capture_output=True, check=False)


@contextmanager
def database() -> Iterator[Daemon]:
    """PostgreSQL, as the user postgres (it refuses to run as root), to be stopped and started again; its url is a connection."""
    directory = Path(tempfile.mkdtemp(prefix="livemig-postgresql-"))
    shutil.chown(directory, "postgres")
    port = free_port()
    home = sorted(Path("/usr/lib/postgresql").glob("*/bin"))[-1]
    as_postgres = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
    subprocess.run([*as_postgres, home / "initdb", "-D", directory / "data", "-A", "trust", "-U", "livemig"], check=True, capture_output=True)
    options = ["-D", directory / "data", "-p", str(port), "-c", "listen_addresses=127.0.0.1", "-c", f"unix_socket_directories={directory}"]
    url = f"postgresql+psycopg2://livemig@127.0.0.1:{port}/postgres"
    with _running(Daemon(url, [*as_postgres, home / "postgres", *options], directory, "ready to accept connections"), directory) as daemon:
        yield daemon


@contextmanager
def mariadb() -> Iterator[str]:
    """MariaDB, as the user mysql; its connection URL."""
    directory = Path(tempfile.mkdtemp(prefix="livemig-mariadb-"))
    shutil.chown(directory, "mysql")
    port = free_port()
    data = ["--no-defaults", "--user=mysql", f"--datadir={directory}/data"]
    subprocess.run(["mariadb-install-db", *data, "--auth-root-authentication-method=normal", "--skip-test-db"], check=True, capture_output=True)
    (directory / "init").write_text("CREATE DATABASE livemig;\n")
    options = [f"--port={port}", "--bind-address=127.0.0.1", f"--socket={directory}/socket", f"--pid-file={directory}/pid", f"--init-file={directory}/init"]
    url = f"mysql+pymysql://root@127.0.0.1:{port}/livemig?charset=utf8mb4"
    with _running(Daemon(url, [shutil.which("mariadbd") or "mariadbd", *data, *options], directory, "ready for connections"), directory) as daemon:
        yield daemon.url


@contextmanager
def _running(daemon: Daemon, directory: Path) -> Iterator[Daemon]:
    """It is ended, and its directory removed, with the context."""
    try:
        daemon.start()
        yield daemon
    finally:
        daemon.stop()
        shutil.rmtree(directory, ignore_errors=True)
