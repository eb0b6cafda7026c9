"""A mock of libvirt-python over a simulated fleet (`livemig.testing.fleet`): the same names, the same behaviour, no hypervisor.

`Fleet.libvirt()` gives an object to use as the `libvirt` module of one process. This module itself can stand for it too:
its module-level names work on the fleet that `load()` made last, or on an empty one in real time. What a name does is in libvirt's own documentation
under the same name; `docs/mock.md` says what is left out.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from livemig.runtime import Runtime, ThreadRuntime
from livemig.testing import connection, domain, errors, fleetfile, networks, pools, snapshots, streams
from livemig.testing import constants as C
from livemig.testing.constants import *  # noqa: F403 - the module has libvirt's names
from livemig.testing.events import Loop
from livemig.testing.fleet import Fleet
from livemig.testing.physics import INSTANT
from livemig.testing.remote import PORTS, uri_parts

CONSTANTS = {name: value for name, value in vars(C).items() if name.startswith("VIR_")}


class Libvirt:
    """The `libvirt` module of one process at `origin`: functions, classes and constants, over a fleet."""

    libvirtError = errors.libvirtError
    virConnect = connection.virConnect
    virDomain = domain.virDomain
    virDomainSnapshot = snapshots.virDomainSnapshot
    virNetwork = networks.virNetwork
    virStoragePool = pools.virStoragePool
    virStorageVol = pools.virStorageVol
    virStream = streams.virStream

    def __init__(self, fleet: Fleet, origin: str = "client") -> None:
        self.fleet = fleet
        self.origin = origin
        self.loop = Loop(fleet, self._keepalive)
        self.silent: set[connection.virConnect] = set()
        """Connections whose daemon cannot be heard."""
        vars(self).update(CONSTANTS)

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"module 'libvirt' has no attribute {name!r}")

    def reload(self, fleet: str | dict[str, Any]) -> None:
        """Set the fleet's switches as its file has them now (`fleetfile.reload`)."""
        fleetfile.reload(self.fleet, fleet)

    def open(self, name: str | None = None) -> connection.virConnect:
        """The host is found by the URI's host part: its name or its address."""
        scheme, address, port = uri_parts(name or "")
        if scheme not in PORTS or not address:
            raise errors.BAD_URI(uri=name)
        host = self.fleet.connectable(self.origin, address, port)
        self.fleet.wait(lambda: not host.hung)
        with self.fleet.lock:
            return connection.virConnect(self, host, name or "")

    def openReadOnly(self, name: str | None = None) -> connection.virConnect:
        return self.open(name)

    def openAuth(self, uri: str, auth: list[Any], flags: int = 0) -> connection.virConnect:
        return self.open(uri)

    def getVersion(self, name: str | None = None) -> int:
        return 9000000

    def registerErrorHandler(self, f: Callable[..., Any] | None, ctx: Any) -> int:
        return 1

    def virEventRegisterDefaultImpl(self) -> int:
        self.loop.registered = True
        return 0

    def virEventRunDefaultImpl(self) -> int:
        self.loop.run_once()
        return 0

    def virEventAddTimeout(self, timeout: int, cb: Callable[..., Any], opaque: Any) -> int:
        return self.loop.add_timer(timeout, cb, opaque)

    def virEventUpdateTimeout(self, timer: int, timeout: int) -> None:
        self.loop.update_timer(timer, timeout)

    def virEventRemoveTimeout(self, timer: int) -> int:
        self.loop.remove_timer(timer)
        return 0

    def _keepalive(self) -> float | None:
        """Give up the connections that have been silent for too long; the simulated seconds until the next one is."""
        with self.fleet.lock:
            deadlines = {each: each.keepalive_deadline() for each in self.silent}
            for each, deadline in deadlines.items():
                if deadline is not None and deadline <= self.fleet.time() + INSTANT:
                    each.lose(errors.KEEPALIVE_LOST(), C.VIR_CONNECT_CLOSE_REASON_KEEPALIVE)
            return min((deadline - self.fleet.time() for each, deadline in deadlines.items() if deadline and each in self.silent), default=None)


# The module itself, in place of libvirt-python

_default: Libvirt | None = None


def default() -> Libvirt:
    """What the module-level names work on."""
    global _default
    if _default is None:
        _default = Libvirt(Fleet(ThreadRuntime()))
    return _default


def load(fleet: str | dict[str, Any], runtime: Runtime | None = None) -> Libvirt:
    """A libvirt over the fleet that a YAML file (or the same as a dict) describes; from now on the module-level names work on it as well."""
    global _default
    _default = Libvirt(fleetfile.load(fleet, runtime or ThreadRuntime()))
    return _default


def __getattr__(name: str) -> Any:
    if name in FUNCTIONS:
        return getattr(default(), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


FUNCTIONS = frozenset(name for name in vars(Libvirt) if name[0] != "_" and name[:3] != "VIR")
