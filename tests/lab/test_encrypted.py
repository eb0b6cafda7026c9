"""RabbitMQ and PostgreSQL by TLS alone, as docs/security.md has it; API and conductor are processes, the hosts simulated, and certificates verified."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from livemig.lab.certificates import Authority
from livemig.lab.service import Service, free_port
from livemig.runtime import ThreadRuntime
from livemig.testing.fleet import guest_uuid
from tests.lab.deployment import Daemon, initialize_postgresql, postgresql_server, rabbitmq_node, stop_epmd

pytestmark = [pytest.mark.lab, pytest.mark.timeout(900)]
RUNTIME = ThreadRuntime()
HOSTS = "[DEFAULT]\nenabled_hosts = a,b\n[host:a]\nconnection_uri = qemu+tls://a/system\n[host:b]\nconnection_uri = qemu+tls://b/system\n"
FLEET = "hosts: [{name: a}, {name: b}]\nguests: [{name: web, host: a}]\n"


@contextmanager
def started(daemon: Daemon) -> Iterator[Daemon]:
    try:
        daemon.start()
        yield daemon
    finally:
        daemon.stop()


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """ours/ has those of localhost, authority.pem among them; strangers/ is by an authority that signed nothing of it."""
    directory = tmp_path_factory.mktemp("certificates")
    for name in ("ours", "strangers"):
        Authority(directory / f"authority-of-{name}").certify(directory / name, "localhost", ("127.0.0.1",))
    return directory


@pytest.fixture(scope="module")
def transport_url(certificates: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    directory, port, epmd_port = tmp_path_factory.mktemp("rabbitmq"), free_port(), free_port()
    node = rabbitmq_node(directory, port, epmd_port)
    ours = certificates / "ours"
    options = {"cacertfile": "authority.pem", "certfile": "certificate.pem", "keyfile": "key.pem"}
    lines = [f"ssl_options.{name} = {ours / file}" for name, file in options.items()]
    (directory / str(port) / "rabbitmq.conf").write_text("\n".join(["listeners.tcp = none", f"listeners.ssl.1 = 127.0.0.1:{port}", *lines, ""]))
    try:
        with started(node):
            yield f"rabbit://guest:guest@localhost:{port}/"
    finally:
        stop_epmd(epmd_port)


@pytest.fixture(scope="module")
def connection(certificates: Path) -> Iterator[str]:
    """Who comes without TLS is not let in."""
    directory = Path("/tmp", f"livemig-postgresql-{free_port()}")
    directory.mkdir(mode=0o700)
    try:
        shutil.copytree(certificates / "ours", directory / "tls", symlinks=True)
        for path in (directory, *directory.rglob("*")):
            shutil.chown(path, "postgres")
        initialize_postgresql(directory)
        with (directory / "data" / "postgresql.conf").open("a") as settings:
            settings.write(f"ssl = on\nssl_cert_file = '{directory}/tls/certificate.pem'\nssl_key_file = '{directory}/tls/key.pem'\n")
        (directory / "data" / "pg_hba.conf").write_text("hostssl all all 127.0.0.1/32 trust\n")
        port = free_port()
        with started(postgresql_server(directory, port)):
            yield f"postgresql+psycopg2://livemig@localhost:{port}/postgres"
    finally:
        shutil.rmtree(directory)


def service(directory: Path, transport_url: str, connection: str, authority: Path) -> Service:
    (directory / "fleet.yaml").write_text(FLEET)
    more = (
        f"driver = mock\n[mock]\nfleet = {directory}/fleet.yaml\n[oslo_messaging_rabbit]\nssl = true\nssl_ca_file = {authority}\nrabbit_quorum_queue = true\n"
    )
    more += f"[database]\nmax_retries = 0\nconnection = {connection}?sslmode=verify-full&sslrootcert={authority}\n"
    hosts = HOSTS.replace("[DEFAULT]\n", f"[DEFAULT]\ntransport_url = {transport_url}\n")
    return Service(directory, hosts, RUNTIME, more, ("livemig-api", "livemig-conductor"))


def manage(service: Service, *words: str) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).with_name("livemig-manage")), "--config-file", str(service.config), *words]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_a_server_moves(tmp_path: Path, transport_url: str, connection: str, certificates: Path) -> None:
    """Up to 2.33 the answer is the conductor's, so that it has come by the broker and back."""
    running = service(tmp_path, transport_url, connection, certificates / "ours" / "authority.pem")
    made = manage(running, "db", "sync")
    assert made.returncode == 0, made.stderr
    running.start()
    try:
        running.wait_seen(guest_uuid("web"), ("ACTIVE", "a"), 60)
        status, _headers, body = running.live_migrate(guest_uuid("web"), "b")
        assert (status, body) == (202, b"")
    finally:
        running.stop()


def test_a_database_by_another_authority(tmp_path: Path, transport_url: str, connection: str, certificates: Path) -> None:
    said = manage(service(tmp_path, transport_url, connection, certificates / "strangers" / "authority.pem"), "host", "list")
    assert said.returncode != 0 and "certificate verify failed" in said.stderr


def test_a_database_by_another_name(tmp_path: Path, transport_url: str, connection: str, certificates: Path) -> None:
    elsewhere = service(tmp_path, transport_url, connection.replace("@localhost:", "@db.example.org:"), certificates / "ours" / "authority.pem")
    elsewhere.config.write_text(elsewhere.config.read_text().replace("?sslmode=", "?hostaddr=127.0.0.1&sslmode="))
    said = manage(elsewhere, "host", "list")
    assert said.returncode != 0 and 'does not match host name "db.example.org"' in said.stderr


def test_a_broker_by_another_authority(tmp_path: Path, transport_url: str, connection: str, certificates: Path) -> None:
    """It is none: the API says that there is no conductor."""
    ours = certificates / "ours" / "authority.pem"
    wrong = service(tmp_path, transport_url, connection, certificates / "strangers" / "authority.pem")
    wrong.config.write_text(wrong.config.read_text().replace(f"sslrootcert={certificates}/strangers/authority.pem", f"sslrootcert={ours}"))
    assert manage(wrong, "db", "sync").returncode == 0
    wrong.start()
    try:
        wrong.wait_seen(guest_uuid("web"), ("ACTIVE", "a"), 60)
        assert wrong.live_migrate(guest_uuid("web"), "b")[0] == 503
        assert "certificate verify failed" in "".join(path.read_text() for path in tmp_path.glob("*.log"))
    finally:
        wrong.stop()
