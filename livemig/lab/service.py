"""livemig-all as a process of its own on this machine: for the demo, the benchmarks and the tests on real hypervisors."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from livemig.lab.shell import LabError
from livemig.runtime import Runtime

CONFIG = """[DEFAULT]
host = lab
state_path = {directory}
log_file = {directory}/livemig.log
{hosts}
[api]
listen_port = {port}

[libvirt]
{more}
"""
READY_S = 30.0
STOP_S = 15.0


class Service:
    """livemig-all (or what `commands` name) on a free port, its files in `directory`.

    `hosts` is what `Lab.config()` gives; `more` is appended to the configuration. `pid` and `rss_mib` are the first command's.
    """

    def __init__(self, directory: Path, hosts: str, runtime: Runtime, more: str = "", commands: Sequence[str] = ("livemig-all",)) -> None:
        self.directory = directory
        self._commands = commands
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._runtime = runtime
        self._processes: list[subprocess.Popen[bytes]] = []
        self.config = directory / "livemig.conf"
        self.config.write_text(CONFIG.format(directory=directory, hosts=hosts.removeprefix("[DEFAULT]\n"), port=self.port, more=more))

    @property
    def started(self) -> bool:
        """Whether it was started, and neither stopped nor killed since."""
        return bool(self._processes)

    @property
    def pid(self) -> int:
        """Of the running process."""
        if not self._processes:
            raise LabError("it does not run")
        return self._processes[0].pid

    def start(self) -> None:
        """Start it and wait until it answers. Raises LabError with its log when it does not."""
        with (self.directory / "output").open("ab") as output:
            for command in self._commands:
                words = [str(Path(sys.executable).with_name(command)), "--config-file", str(self.config)]
                self._processes.append(subprocess.Popen(words, stdout=output, stderr=subprocess.STDOUT, start_new_session=True))
        self.wait(self.answers, READY_S, f"an answer of {self._commands[0]}")

    def stop(self) -> None:
        """End it by SIGTERM."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it by SIGKILL, as a crash would."""
        self._end(signal.SIGKILL)

    def reload(self) -> None:
        """Have it read its configuration again."""
        os.kill(self.pid, signal.SIGHUP)

    def rss_mib(self) -> float:
        """Its resident memory."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0]) / 1024

    def answers(self) -> bool:
        try:
            return bool(self.get("/"))
        except OSError:
            return False

    def get(self, path: str) -> dict[str, Any]:
        """The body of an answer, at a microversion that shows all."""
        request = urllib.request.Request(self.url + path, headers={"OpenStack-API-Version": "compute 2.96"})
        with urllib.request.urlopen(request, timeout=10) as answer:
            body: dict[str, Any] = json.load(answer)
            return body

    def show(self, server: str) -> dict[str, Any]:
        """GET /servers/{id}."""
        shown: dict[str, Any] = self.get(f"/v2.1/servers/{server}")["server"]
        return shown

    def state(self, server: str) -> tuple[str, str]:
        """(status, host) of a server."""
        shown = self.show(server)
        return shown["status"], shown["OS-EXT-SRV-ATTR:host"]

    def live_migrate(self, server: str, host: str | None, block_migration: bool = False) -> tuple[int, dict[str, str], bytes]:
        """POST os-migrateLive, answered once the checks are done: (status, headers, body) of the answer, faults included."""
        asked = {"os-migrateLive": {"host": host, "block_migration": block_migration, "disk_over_commit": False}}
        request = urllib.request.Request(f"{self.url}/v2.1/servers/{server}/action", json.dumps(asked).encode(), {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=90) as answer:
                return answer.status, dict(answer.headers), answer.read()
        except urllib.error.HTTPError as fault:
            return fault.code, dict(fault.headers), fault.read()

    def wait_idle(self, server: str, seconds: float = 60.0, pause: float = 0.01) -> dict[str, Any]:
        """Wait until a server is no longer MIGRATING; what the API shows then."""
        self.wait(lambda: self.state(server)[0] != "MIGRATING", seconds, f"the end of {server}'s migration", pause)
        return self.show(server)

    def wait_seen(self, server: str, state: tuple[str, str], seconds: float = 20.0) -> None:
        """Wait until the API shows a server with that status on that host."""

        def seen() -> bool:
            try:
                return self.state(server) == state
            except urllib.error.HTTPError:
                return False

        self.wait(seen, seconds, f"{server} to be {state}")

    def wait(self, ready: Callable[[], bool], seconds: float, what: str, pause: float = 0.02) -> None:
        """Wait until `ready()`. Raises LabError, with the end of the log."""
        deadline = self._runtime.monotonic() + seconds
        while not ready():
            if self._runtime.monotonic() > deadline:
                raise LabError(f"waited {seconds} s in vain for {what}\n{self.log(-4000)}")
            self._runtime.sleep(pause)

    def log(self, begin: int = 0) -> str:
        """What it wrote; with `begin`, only from that character on, and without the requests."""
        text = "".join(path.read_text() for name in ("output", "livemig.log") if (path := self.directory / name).exists())
        return text if not begin else "\n".join(line for line in text.splitlines() if " livemig.api.access_log " not in line)[begin:]

    def _end(self, by: signal.Signals) -> None:
        processes, self._processes = self._processes, []
        for process in processes:
            process.send_signal(by)
        for process in processes:
            process.wait(STOP_S)


def free_port() -> int:
    """A TCP port of the loopback address that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
