"""What disks are kept on beside files: loop devices, and images that a server of the lab has for all hosts.

Nothing is remembered: a loop device is known by its file, which is in the directory of the lab, and a server by the namespace that it runs in.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from livemig.lab import network, processes
from livemig.lab.network import Cable
from livemig.lab.processes import Process
from livemig.lab.shell import LabError, run, spawn
from livemig.runtime import Runtime

SERVER = 253  # its number among the hosts of the network, of which there are no more than network.MOST_HOSTS
FIRST_PORT = 10809
START_TIMEOUT_S = 10.0


def attach(file: Path) -> Path:
    """The loop device of a file, made now if it has none."""
    return next(iter(_devices(file)), None) or Path(run("losetup", "--find", "--show", file).strip())


def detach(below: Path, guest: str | None = None) -> None:
    """Take away the loop devices of files in a directory and below; with `guest`, only those called GUEST.DEVICE."""
    for device, file in attached(below):
        if guest in (None, file.stem):
            run("losetup", "--detach", device)


def attached(below: Path) -> list[tuple[Path, Path]]:
    """The loop devices of files in a directory and below: (device, file)."""
    return [(device, file) for device, file in _loops() if file.is_relative_to(below)]


def _devices(file: Path) -> Iterator[Path]:
    return (device for device, other in _loops() if other == file)


def _loops() -> list[tuple[Path, Path]]:
    found = json.loads(run("losetup", "--list", "--json", "--output", "NAME,BACK-FILE") or '{"loopdevices": []}')["loopdevices"]
    return [(Path(loop["name"]), Path((loop["back-file"] or "").removesuffix(" (deleted)"))) for loop in found]


class NbdServer:
    """Disks that all hosts reach by NBD: a qemu-nbd for each, in a network namespace of its own at the main network's address 253."""

    def __init__(self, index: int, runtime: Runtime) -> None:
        self._cable = Cable(index, SERVER)
        self._runtime = runtime
        self.address = self._cable.address

    def serve(self, name: str, image: Path, log: Path) -> None:
        """Serve a raw image under a name, to any number of clients. Does nothing when it is served already."""
        if self.port(name) is not None:
            return
        self._cable.up()
        port = next(port for port in range(FIRST_PORT, FIRST_PORT + 1000) if port not in self._exports().values())
        words = ["--persistent", "--shared=0", "--format=raw", f"--export-name={name}", f"--bind={self.address}", f"--port={port}", str(image)]
        spawn("ip", "netns", "exec", self._cable.namespace, "qemu-nbd", *words, log=log)
        deadline = self._runtime.monotonic() + START_TIMEOUT_S
        while not self._listens(port):
            if self._runtime.monotonic() > deadline:
                raise LabError(f"qemu-nbd does not serve {image}:\n{log.read_text()}")
            self._runtime.sleep(0.02)

    def port(self, name: str) -> int | None:
        """The port at which a disk of that name is served, if it is."""
        return self._exports().get(name)

    def withdraw(self, guest: str) -> None:
        """Serve disks no more that are called GUEST.DEVICE."""
        found = [process for process in self._servers() if Path(_option(process, "export-name")).stem == guest]
        processes.end(found, self._runtime)

    def _exports(self) -> dict[str, int]:
        return {_option(process, "export-name"): int(_option(process, "port")) for process in self._servers()}

    def _servers(self) -> list[Process]:
        return [process for process in processes.inside(network.NAMESPACES / self._cable.namespace) if process.program == "qemu-nbd"]

    def _listens(self, port: int) -> bool:
        return bool(run("ip", "netns", "exec", self._cable.namespace, "ss", "-Hltn", f"sport = :{port}"))


def _option(process: Process, name: str) -> str:
    return next(word.partition("=")[2] for word in process.argv if word.startswith(f"--{name}="))
