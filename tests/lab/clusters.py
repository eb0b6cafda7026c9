"""Clusters of RabbitMQ and PostgreSQL whose nodes can be killed one by one, on free ports of the loopback address; gone when their context ends."""

from __future__ import annotations

import json
import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from sqlalchemy import create_engine, text

from livemig.lab.service import free_port
from tests.lab.deployment import Daemon, as_postgres, initialize_postgresql, postgresql_server, rabbitmq_node, rabbitmq_programs, stop_epmd


class Brokers:
    """Three nodes of RabbitMQ; `url` names all of them."""

    def __init__(self, nodes: list[Daemon]) -> None:
        self.nodes = nodes
        addresses = ",".join(node.url.removeprefix("rabbit://").removesuffix("/") for node in nodes)
        self.url = f"rabbit://{addresses}/"

    def queues(self) -> dict[str, str]:
        """Their types, by their names."""
        listed = self.nodes[0].run(rabbitmq_programs() / "rabbitmqctl", "-q", "list_queues", "name", "type", "--formatter", "json")
        return {queue["name"]: queue["type"] for queue in json.loads(listed)}


class Databases:
    """A primary of PostgreSQL and its synchronous standby; `url` leads to whichever of them may be written to."""

    def __init__(self, primary: Daemon, standby: Daemon, ports: tuple[int, int]) -> None:
        self.primary = primary
        self.standby = standby
        hosts = "&".join(f"host=127.0.0.1:{port}" for port in ports)
        self.url = f"postgresql+psycopg2://livemig@/postgres?{hosts}&target_session_attrs=read-write&connect_timeout=2"

    def fail_over(self) -> None:
        """The primary dies, and the standby becomes one."""
        self.primary.stop(signal.SIGKILL)
        said(self.standby, "ALTER SYSTEM RESET synchronous_standby_names", "SELECT pg_promote()")


def said(server: Daemon, *statements: str) -> str:
    """What a server answers to the last of these statements."""
    engine = create_engine(server.url, isolation_level="AUTOCOMMIT")
    try:
        with engine.connect() as connection:
            *first, last = statements
            for each in first:
                connection.execute(text(each))
            return str(connection.execute(text(last)).scalar())
    finally:
        engine.dispose()


@contextmanager
def brokers() -> Iterator[Brokers]:
    """Nodes that join the first."""
    with ExitStack() as stack:
        directory = _directory(stack, "rabbitmq")
        epmd_port = free_port()
        stack.callback(stop_epmd, epmd_port)
        ports = [free_port() for _ in range(3)]
        nodes = [rabbitmq_node(directory, port, epmd_port, None if port == ports[0] else ports[0]) for port in ports]
        for node in nodes:
            node.start()
            stack.callback(node.stop)
        yield Brokers(nodes)


@contextmanager
def databases() -> Iterator[Databases]:
    """Nothing is committed that the standby has not."""
    with ExitStack() as stack:
        homes = [_directory(stack, f"postgresql-{name}") for name in ("primary", "standby")]
        for home in homes:
            shutil.chown(home, "postgres")
        ports = free_port(), free_port()
        primary, standby = (postgresql_server(home, port) for home, port in zip(homes, ports, strict=True))
        initialize_postgresql(homes[0])
        primary.start()
        stack.callback(primary.stop, signal.SIGINT)
        as_postgres("pg_basebackup", "-R", "-X", "stream", "-c", "fast", "-D", homes[1] / "data", "-h", "127.0.0.1", "-p", str(ports[0]), "-U", "livemig")
        standby.start()
        stack.callback(standby.stop, signal.SIGINT)
        said(primary, "ALTER SYSTEM SET synchronous_standby_names = '*'", "SELECT pg_reload_conf()")
        yield Databases(primary, standby, ports)


def _directory(stack: ExitStack, name: str) -> Path:
    directory = Path(tempfile.mkdtemp(prefix=f"livemig-{name}-"))
    stack.callback(shutil.rmtree, directory, ignore_errors=True)
    return directory
