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

    def run(self, *words: str | Path) -> str:
        """What another program says that lives in the same environment."""
        return subprocess.run(words, env=self._environment, check=True, capture_output=True, text=True, timeout=START_S).stdout

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
    epmd_port = free_port()
    try:
        with _running(rabbitmq_node(directory, free_port(), epmd_port), directory) as daemon:
            yield daemon
    finally:
        stop_epmd(epmd_port)


def rabbitmq_node(directory: Path, port: int, epmd_port: int, cluster_of: int | None = None) -> Daemon:
    """A node of RabbitMQ with its files in `directory`; those of a cluster have one epmd. It joins the cluster of the node with the port `cluster_of`."""
    home = directory / str(port)
    home.mkdir()
    peers = "cluster_formation.peer_discovery_backend = classic_config\ncluster_formation.classic_config.nodes.1 = {}\n"
    joins = "" if cluster_of is None else peers.format(_node_name(cluster_of))
    (home / "rabbitmq.conf").write_text(f"listeners.tcp.1 = 127.0.0.1:{port}\n{joins}")
    (home / "plugins").write_text("[].\n")
    cookie = directory / ".erlang.cookie"  # one for all nodes
    if not cookie.exists():
        cookie.write_text("LIVEMIG")
        cookie.chmod(0o400)
    environment = os.environ | {
        "HOME": str(directory),
        "ERL_EPMD_ADDRESS": "127.0.0.1",
        "ERL_EPMD_PORT": str(epmd_port),
        "RABBITMQ_NODENAME": _node_name(port),
        "RABBITMQ_DIST_PORT": str(free_port()),
        "RABBITMQ_CONFIG_FILE": str(home / "rabbitmq.conf"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(home / "plugins"),
        "RABBITMQ_MNESIA_BASE": str(home / "data"),
        "RABBITMQ_LOG_BASE": str(home / "log"),
        "RABBITMQ_PID_FILE": str(home / "pid"),
    }
    return Daemon(f"rabbit://guest:guest@127.0.0.1:{port}/", [rabbitmq_programs() / "rabbitmq-server"], home, "completed with", environment)


def rabbitmq_programs() -> Path:
    (programs,) = Path("/usr/lib/rabbitmq/lib").glob("rabbitmq_server-*/sbin")
    return programs


def _node_name(port: int) -> str:
    return f"livemig{port}@localhost"


def stop_epmd(port: int) -> None:
    """Erlang's port mapper, which the first node starts, outlives them all."""
    subprocess.run(["epmd", "-port", str(port), "-kill"], capture_output=True, check=False)


@contextmanager
def database() -> Iterator[Daemon]:
    """PostgreSQL, as the user postgres (it refuses to run as root), to be stopped and started again; its url is a connection."""
    directory = Path(tempfile.mkdtemp(prefix="livemig-postgresql-"))
    shutil.chown(directory, "postgres")
    initialize_postgresql(directory)
    with _running(postgresql_server(directory, free_port()), directory) as daemon:
        yield daemon


AS_POSTGRES = ("setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups")


def postgresql_programs() -> Path:
    return sorted(Path("/usr/lib/postgresql").glob("*/bin"))[-1]


def as_postgres(program: str, *arguments: str | Path) -> None:
    """Run one of PostgreSQL's programs."""
    subprocess.run([*AS_POSTGRES, postgresql_programs() / program, *arguments], check=True, capture_output=True)


def initialize_postgresql(directory: Path) -> None:
    """An empty `directory`/data, whose superuser is livemig."""
    as_postgres("initdb", "-D", directory / "data", "-A", "trust", "-U", "livemig")


def postgresql_server(directory: Path, port: int) -> Daemon:
    """A server on what is in `directory`/data."""
    options: list[str | Path] = ["-D", directory / "data", "-p", str(port), "-c", "listen_addresses=127.0.0.1", "-c", f"unix_socket_directories={directory}"]
    url = f"postgresql+psycopg2://livemig@127.0.0.1:{port}/postgres"
    return Daemon(url, [*AS_POSTGRES, postgresql_programs() / "postgres", *options], directory, "ready to accept")


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
