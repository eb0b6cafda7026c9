"""Which processes are the lab's: those inside a network namespace of the lab.

No list of pids is kept, because it could be wrong after a kill -9: every process of a host, whoever started it, lives in the namespace which the lab
made for that host, and the kernel knows that at any time. A pid is signalled only after looking at the namespace again through a pidfd, so that a
reused pid is never hit.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from livemig.lab.shell import LabError
from livemig.runtime import Runtime


@dataclass(frozen=True)
class Process:
    """A process as it was when looked at."""

    pid: int
    argv: tuple[str, ...]
    namespace: tuple[int, int]

    @property
    def program(self) -> str:
        """The name it was started by, without directories; "" for what has none."""
        return self.argv[0].rpartition("/")[2] if self.argv else ""

    def signal(self, number: signal.Signals) -> None:
        """Send a signal, unless the process has gone."""
        with suppress(ProcessLookupError):
            handle = os.pidfd_open(self.pid)
            try:
                if _namespace(self.pid) == self.namespace:
                    signal.pidfd_send_signal(handle, number)
            finally:
                os.close(handle)

    def is_alive(self) -> bool:
        """Until the last of its threads has ended, for so long it may hold files and locks. The first one may end, and leave the namespace, before them."""
        tasks = Path(f"/proc/{self.pid}/task")
        with suppress(OSError):  # it ended meanwhile
            return any(_identity(tasks / thread / "ns/net") == self.namespace for thread in os.listdir(tasks))
        return False

    def leads_session(self) -> bool:
        with suppress(ProcessLookupError):
            return os.getsid(self.pid) == self.pid
        return False


def inside(namespace: Path) -> list[Process]:
    """All processes in that network namespace (zombies are in none); [] when there is no such namespace."""
    wanted = _identity(namespace)
    return [] if wanted is None else [process for process in _everything() if process.namespace == wanted]


def end(processes: list[Process], runtime: Runtime, patience_s: float = 2.0) -> None:
    """End them: asked first, and killed after `patience_s` seconds."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        for process in processes:
            process.signal(number)
        if gone(processes, runtime, patience_s):
            return
    raise LabError(f"processes that cannot be ended: {', '.join(str(process.pid) for process in processes if process.is_alive())}")


def gone(processes: list[Process], runtime: Runtime, timeout_s: float) -> bool:
    """Wait until none of them is alive; False when one still is after `timeout_s` seconds."""
    deadline = runtime.monotonic() + timeout_s
    while any(process.is_alive() for process in processes):
        if runtime.monotonic() > deadline:
            return False
        runtime.sleep(0.01)
    return True


def _everything() -> Iterator[Process]:
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        namespace = _namespace(int(entry.name))
        with suppress(OSError):
            argv = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")[:-1]
            if namespace is not None:
                yield Process(int(entry.name), tuple(argv), namespace)


def _namespace(pid: int) -> tuple[int, int] | None:
    return _identity(Path(f"/proc/{pid}/ns/net"))


def _identity(namespace: Path) -> tuple[int, int] | None:
    try:
        found = namespace.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino
