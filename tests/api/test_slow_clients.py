"""Real sockets against a real livemig-all: clients that send or take nothing, or without end, hold up nobody else."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path

import pytest

from livemig.runtime import ThreadRuntime

RUNTIME = ThreadRuntime()
TIMEOUT_S = 3
LONG_S = 600  # no slow client is cut off while a test lasts
HANGS_S = 60  # nothing here takes so long unless it hangs
LIMIT = 60
THREADS = 2
PASTE = Path(__file__).parents[2] / "api-paste.ini"
CONFIG = """[DEFAULT]
enabled_hosts = a
state_path = {directory}
host = here
[host:a]
connection_uri = qemu+tcp://a/system
[api]
listen_port = {port}
threads = {threads}
paste_config = {directory}/api-paste.ini
[libvirt]
driver = mock
[mock]
fleet = {directory}/fleet.yaml
"""
GUESTS = 100


class Server:
    """livemig-all with as many threads and connections as one slow client could hold. It cuts off those that neither send nor take for `timeout_s`."""

    def __init__(self, directory: Path, timeout_s: int) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port: int = free.getsockname()[1]
        paste = PASTE.read_text()
        for name, value in {"channel_timeout": timeout_s, "cleanup_interval": 1, "connection_limit": LIMIT}.items():
            assert paste.count(f"\n{name} = ") == 1
            head, _line, tail = paste.partition(f"\n{name} = ")
            paste = f"{head}\n{name} = {value}\n{tail.partition(chr(10))[2]}"
        (directory / "api-paste.ini").write_text(paste)
        (directory / "fleet.yaml").write_text(json.dumps({"hosts": [{"name": "a"}], "guests": [{"name": f"g{n}", "host": "a"} for n in range(GUESTS)]}))
        (directory / "livemig.conf").write_text(CONFIG.format(directory=directory, port=self.port, threads=THREADS))
        self._output = (directory / "output").open("wb")
        command = [str(Path(sys.executable).with_name("livemig-all")), "--config-file", str(directory / "livemig.conf")]
        self._process = subprocess.Popen(command, stdout=self._output, stderr=self._output)

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=HANGS_S)

    def ask(self, path: str = "/v2.1/servers?limit=1") -> int:
        """The status of a request that is all right."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=HANGS_S) as answer:
            answer.read()
            return int(answer.status)

    def wait(self) -> None:
        for _ in range(600):
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/v2.1/servers", timeout=30) as answer:
                    if len(json.load(answer)["servers"]) == GUESTS:
                        return
            except urllib.error.URLError:
                pass
            RUNTIME.sleep(0.05)
        raise AssertionError(Path(self._output.name).read_text())

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(30)
        self._output.close()


@contextmanager
def running(directory: Path, timeout_s: int) -> Iterator[Server]:
    server = Server(directory, timeout_s)
    try:
        server.wait()
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(tmp_path_factory.mktemp("slow"), TIMEOUT_S) as server:
        yield server


@pytest.fixture(scope="module")
def patient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Whatever it answers, it answers with all slow clients still there."""
    with running(tmp_path_factory.mktemp("patient"), LONG_S) as server:
        yield server


GET = b"GET /v2.1/servers/detail HTTP/1.1\r\nHost: localhost\r\n"
POST = b"POST /v2.1/servers/x/action HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n"
CHUNKED = b"POST /v2.1/servers/x/action HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
SLOW = {
    "nothing": b"",
    "half a line": b"GET /v2.1/ser",
    "half the headers": GET,
    "half a body": POST + b'{"os-stop"',
    "a chunk of many": CHUNKED + b"5\r\n{    \r\n",
    "half a chunk": CHUNKED + b"ffff\r\n{",
}


def half_sent(server: Server, stack: ExitStack) -> dict[str, list[socket.socket]]:
    """Many more than there are threads."""
    slow = {case: [stack.enter_context(server.connect()) for _ in range((LIMIT - 10) // len(SLOW))] for case in SLOW}
    for case, connections in slow.items():
        for each in connections:
            each.sendall(SLOW[case])
    return slow


def test_half_sent_requests(server: Server, patient: Server) -> None:
    """They hold up nobody, and are cut off in the end."""
    with ExitStack() as stack:
        half_sent(patient, stack)
        assert [patient.ask() for _ in range(3)] == [200] * 3
        for case, connections in half_sent(server, stack).items():
            for each in connections:
                each.settimeout(HANGS_S)
                assert each.recv(100) == b"", case


def test_a_byte_now_and_then_is_no_sign_of_life(server: Server) -> None:
    with closing(server.connect()) as slow:
        began = RUNTIME.monotonic()
        slow.settimeout(0.25)
        slow.sendall(GET)
        while True:
            assert RUNTIME.monotonic() - began < HANGS_S
            try:
                slow.sendall(b"X-A: b\r\n")
                if slow.recv(100) == b"":
                    break
            except TimeoutError:
                continue
            except OSError:
                break
        assert RUNTIME.monotonic() - began > TIMEOUT_S / 2


def test_who_takes_no_answer(patient: Server) -> None:
    """Many requests in a row, of which nobody reads an answer: each fills the kernel's buffers and waits in ours."""
    with ExitStack() as stack:
        slow = [stack.enter_context(patient.connect()) for _ in range(THREADS * 5)]
        for each in slow:
            each.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
            each.sendall((GET + b"\r\n") * 20)
        assert patient.ask() == 200
        assert [patient.ask() for _ in range(3)] == [200] * 3


def test_more_connections_than_there_may_be(server: Server) -> None:
    """Who comes then waits for one that is cut off, and is served."""
    with ExitStack() as stack:
        for _ in range(LIMIT + 20):
            stack.enter_context(server.connect()).sendall(GET)
        assert server.ask() == 200
    assert server.ask() == 200


def said(server: Server, request: bytes) -> tuple[int, bytes]:
    """Status and body of what comes back."""
    with closing(server.connect()) as connection:
        with suppress(OSError):  # it may answer before it has read all
            connection.sendall(request)
        answer = b""
        while part := connection.recv(65536):
            answer += part
    head, _empty, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), body


LONGEST = 65536  # and no more than it reads at once, that nothing is left unread when it closes
END = b"Connection: close\r\n"
BOUNDS: dict[str, tuple[bytes, int, bytes]] = {
    "a large body": (POST.replace(b"1000\r\n", b"200000\r\n" + END) + b"x" * 200_000, 413, b'{"overLimit"'),
    "a body that is not even read": (POST.replace(b"1000", b"2000000"), 413, b"Request Entity Too Large"),
    "a chunked body without end": (CHUNKED + b"fffff\r\n" + b"x" * 0xFFFFF + b"\r\nfffff\r\n" + b"x" * 1000, 413, b"Request Entity Too Large"),
    "headers without end": ((GET + b"X-A: ").ljust(LONGEST, b"x"), 431, b"Request Header Fields Too Large"),
    "a line without end": (b"GET /".ljust(LONGEST, b"x"), 431, b"Request Header Fields Too Large"),
    "no number": (POST.replace(b"1000", b"abc"), 400, b"Bad Request"),
    "a negative number": (POST.replace(b"1000", b"-1"), 400, b"Bad Request"),
    "two lengths": (POST.replace(b"\r\n\r\n", b"\r\nContent-Length: 5\r\n\r\n"), 400, b"Bad Request"),
    "an unknown coding": (CHUNKED.replace(b"chunked", b"gzip"), 501, b"Not Implemented"),
    "no HTTP": (b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", 400, b"Bad Request"),
}


def with_header(request: bytes, *lines: bytes) -> bytes:
    return request.replace(b"Host: localhost\r\n", b"Host: localhost\r\n" + b"".join(line + b"\r\n" for line in lines))


# What a proxy may take for another request than this server does, or for one to another name.
SMUGGLED = {
    "a length and a coding": with_header(CHUNKED, b"Content-Length: 5"),
    "a coding and a length": POST.replace(b"\r\n\r\n", b"\r\nTransfer-Encoding: chunked\r\n\r\n"),
    "a length and a coding that is none": with_header(CHUNKED.replace(b"chunked", b"identity"), b"content-length: 5"),
    "a length and an empty coding": with_header(CHUNKED.replace(b"chunked", b""), b"Content-Length: 5"),
    "a length of 0 and a coding": with_header(CHUNKED, b"Content-Length: 0"),
    "two codings": with_header(CHUNKED, b"Transfer-Encoding: chunked"),
    "two in one": CHUNKED.replace(b"chunked", b"chunked, chunked"),
    "an empty coding": CHUNKED.replace(b"chunked", b""),
    "a coding of old": CHUNKED.replace(b"HTTP/1.1", b"HTTP/1.0"),
    "a coding in a GET": GET.replace(b"\r\n", b"\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n", 1) + b"\r\n",
    "a space before the colon": with_header(CHUNKED, b"Content-Length : 5"),
    "no Host": GET.replace(b"Host: localhost\r\n", b"") + b"\r\n",
    "no Host with a body": POST.replace(b"Host: localhost\r\n", b""),
    "an absolute path without Host": GET.replace(b"GET /", b"GET http://localhost/").replace(b"Host: localhost\r\n", b"") + b"\r\n",
    "two": with_header(GET, b"Host: localhost") + b"\r\n",
    "two in old": with_header(GET, b"host: other").replace(b"HTTP/1.1", b"HTTP/1.0") + b"\r\n",
    "two in one line": GET.replace(b"localhost", b"localhost, other") + b"\r\n",
    "two words": GET.replace(b"localhost", b"localhost other") + b"\r\n",
    "a path": GET.replace(b"localhost", b"localhost/x") + b"\r\n",
    "a user": GET.replace(b"localhost", b"me@localhost") + b"\r\n",
    "no version that there is": GET.replace(b"HTTP/1.1", b"HTTP/1.2").replace(b"Host: localhost\r\n", b"") + b"\r\n",
}


@pytest.mark.parametrize("case", SMUGGLED)
def test_what_may_be_read_in_two_ways(server: Server, case: str) -> None:
    """It is refused, and whatever comes behind it on that connection is no request."""
    behind = b"0\r\n\r\nGET /v2.1/servers HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with closing(server.connect()) as connection:
        with suppress(OSError):
            connection.sendall(SMUGGLED[case] + behind)
        answer = b""
        with suppress(ConnectionResetError):  # with what was not read
            while part := connection.recv(65536):
                answer += part
    assert answer.startswith((b"HTTP/1.1 400 Bad Request\r\n", b"HTTP/1.0 400 Bad Request\r\n")), answer
    assert b"\r\nConnection: close\r\n" in answer
    assert answer.count(b"HTTP/1.") == 1 and b'"servers"' not in answer


RIGHT = {
    "a length": POST.replace(b"1000", b"16") + b'{"os-stop":null}',
    "a coding": CHUNKED + b'10\r\n{"os-stop":null}\r\n0\r\n\r\n',
    "a coding in capitals": CHUNKED.replace(b"chunked", b"Chunked") + b'10\r\n{"os-stop":null}\r\n0\r\n\r\n',
    "a name and a port": GET.replace(b"localhost", b"localhost:8774") + b"\r\n",
    "an address": GET.replace(b"localhost", b"127.0.0.1:8774") + b"\r\n",
    "one of IPv6": GET.replace(b"localhost", b"[::1]:8774") + b"\r\n",
    "no name": GET.replace(b" localhost", b"") + b"\r\n",
    "of old, without Host": GET.replace(b"HTTP/1.1", b"HTTP/1.0").replace(b"Host: localhost\r\n", b"") + b"\r\n",
}


@pytest.mark.parametrize("case", RIGHT)
def test_what_is_right_goes_on(server: Server, case: str) -> None:
    request = with_header(RIGHT[case], b"Connection: close") if b"Host: localhost\r\n" in RIGHT[case] else RIGHT[case].replace(b"\r\n", b"\r\n" + END, 1)
    assert said(server, request)[0] in (200, 404)


@pytest.mark.parametrize("case", BOUNDS)
def test_what_is_too_much_or_nonsense(server: Server, case: str) -> None:
    request, status, words = BOUNDS[case]
    found, body = said(server, request)
    assert (found, body[: len(words)]) == (status, words)


def test_they_may_all_be_gone(server: Server) -> None:
    with ExitStack() as stack:
        half_sent(server, stack)
    assert server.ask() == 200
