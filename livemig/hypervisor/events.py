"""libvirt's event loop: one per process, in a thread of its own, before any connection is opened."""

from __future__ import annotations

from typing import Any

from livemig.runtime import Runtime, Task

_NEVER = -1
_NOW = 0
_STOP_S = 1.5


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
        self._waker = libvirt.virEventAddTimeout(_NEVER, lambda _timer, _opaque: None, None)

    def start(self) -> None:
        self._task = self._runtime.start("libvirt-events", self._run)

    def stop(self) -> None:
        """End the loop; connections must be closed before."""
        self._stopping.set()
        self._libvirt.virEventUpdateTimeout(self._waker, _NOW)
        if self._task is not None:
            self._task.join(_STOP_S)

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._libvirt.virEventRunDefaultImpl()
        self._libvirt.virEventRemoveTimeout(self._waker)
