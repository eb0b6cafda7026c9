"""libvirt's event loop: one per process, in a thread of its own, before any connection is opened."""

from __future__ import annotations

from typing import Any

from livemig.runtime import Runtime, Task

_WAKE_MS = 1000  # virEventRunDefaultImpl returns at least this often, so that the loop can end


class EventLoop:
    """Runs callbacks of all connections. They must not call libvirt: they only pass the news on."""

    def __init__(self, libvirt: Any, runtime: Runtime) -> None:
        self._libvirt = libvirt
        self._runtime = runtime
        self._stopping = runtime.event()
        self._task: Task | None = None
        # libvirt-python prints every error to stderr unless it is given a handler; errors reach us as exceptions anyway.
        libvirt.registerErrorHandler(lambda _context, _error: None, None)
        libvirt.virEventRegisterDefaultImpl()

    def start(self) -> None:
        self._task = self._runtime.start("libvirt-events", self._run)

    def stop(self) -> None:
        """End the loop; connections must be closed before."""
        self._stopping.set()
        if self._task is not None:
            self._task.join(2 * _WAKE_MS / 1000)

    def _run(self) -> None:
        timer = self._libvirt.virEventAddTimeout(_WAKE_MS, lambda _timer, _opaque: None, None)
        while not self._stopping.is_set():
            self._libvirt.virEventRunDefaultImpl()
        self._libvirt.virEventRemoveTimeout(timer)
