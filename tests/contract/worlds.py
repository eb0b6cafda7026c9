"""The worlds in which the same cases are run: the mock's fleet and the lab's real daemons, each with hosts of two releases."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Protocol

from livemig.runtime import Runtime, ThreadRuntime
from livemig.testing.fleet import Fleet

RUNTIME: Runtime = ThreadRuntime()
GUEST = "contract"
CLIENT = "import libvirt, sys; libvirt.open({0!r}).lookupByName({1!r}).migrateToURI3({2!r}, {{}}, {3})"


@dataclass(frozen=True)
class Release:
    """The versions of a release as libvirt tells them, and what of the contract is otherwise from one to the other."""

    libvirt: int
    qemu: int
    says_shutdown: bool = False
    """A QEMU that is ended without the guest's doing is "shutdown" (host) before it is "stopped"."""
    machines: tuple[str, ...] = ("pc-i440fx-7.2", "pc-q35-7.2")
    """Some that its QEMU has; the last is what "q35" stands for."""
    post_copy: tuple[tuple[object, ...], ...] = (("iteration",), ("suspended", 1), ("suspended", 7), ("iteration",))
    """What the source says of the switch to post-copy."""
    resumes_post_copy: bool = True
    """False: the destination's libvirtd dies of it."""

    @property
    def shutdown(self) -> list[tuple[object, ...]]:
        """What is said before "stopped"."""
        return [("shutdown", 2)] if self.says_shutdown else []


# The one that a host is judged by is the newest of them that it is not older than.
RELEASES = {
    "own": Release(9_000_000, 7_002_022),
    "debian13": Release(
        11_003_000,
        10_000_013,
        says_shutdown=True,
        machines=("pc-i440fx-7.2", "pc-q35-7.2", "pc-i440fx-10.0", "pc-q35-10.0"),
        post_copy=(("iteration",), ("suspended", 1), ("iteration",), ("suspended", 7)),
        resumes_post_copy=False,
    ),
}


class World(Protocol):
    libvirt: Any
    release: Release
    uris: tuple[str, str]
    shared: str
    """A directory that both hosts have in common."""
    local: str
    """A directory that each host has for itself."""
    bad_cpu: str
    """A CPU model which the hosts cannot run."""

    def end(self) -> None:
        """Take the guest away."""

    def ensure_guest(self) -> None:
        """Have the guest run on some host, defined there, and leave nothing of it on the other."""

    def start_over(self) -> None:
        """Have a new guest in place of one with which something hangs."""

    def link(self, uri: str, path: str, target: str | None) -> None:
        """Have a symbolic link among the files that only this host has; None: have it no more."""

    def kill_daemon(self, uri: str) -> None: ...
    def start_daemon(self, uri: str) -> None: ...
    def kill_guest(self, uri: str) -> None: ...
    def doomed_client(self, source: str, destination: str, flags: int) -> Callable[[], object]:
        """Let a process of its own migrate the guest; the function returned kills that process."""


class MockWorld:
    shared = "/srv/shared"
    local = "/var/lib/libvirt/images"
    bad_cpu = "EPYC-Milan"

    def __init__(self, release: Release) -> None:
        self.release = release
        self.fleet = Fleet(RUNTIME, speed=2)
        versions: dict[str, Any] = {"libvirt_version": release.libvirt, "hypervisor_version": release.qemu, "machines": release.machines}
        self.hosts = [self.fleet.add_host(f"node{number}", f"10.0.0.{number}", keepalive=(2, 3), **versions) for number in (1, 2)]
        self.uris = ("qemu+tcp://10.0.0.1/system", "qemu+tcp://10.0.0.2/system")
        self.libvirt = self.fleet.libvirt()
        self.fleet.add_directory(self.shared)
        for host in self.hosts:
            self.fleet.add_local_directory(host, self.local)

    def end(self) -> None:
        for host in self.hosts:
            host.domains.clear()

    def ensure_guest(self) -> None:
        if not any(domain.runs and domain.persistent for host in self.hosts for domain in host.domains.values()):
            self.start_over()

    def start_over(self) -> None:
        for host in self.hosts:
            host.up = True
            host.domains.clear()
        self.fleet.add_guest(GUEST, "node1", memory_mib=256, vcpus=1, dirty_mib_s=1, ignores_acpi=True)

    def link(self, uri: str, path: str, target: str | None) -> None:
        self._host(uri).links.pop(path, None)
        if target is not None:
            self._host(uri).links[path] = target

    def kill_daemon(self, uri: str) -> None:
        self._host(uri).up = False

    def start_daemon(self, uri: str) -> None:
        self._host(uri).up = True

    def kill_guest(self, uri: str) -> None:
        host = self._host(uri)
        host.kill_guest(next(iter(host.domains)))

    def doomed_client(self, source: str, destination: str, flags: int) -> Callable[[], object]:
        other = self.fleet.libvirt("other")
        connection = other.open(source)

        def migrate() -> None:
            with suppress(other.libvirtError):
                connection.lookupByName(GUEST).migrateToURI3(destination, {}, flags)

        RUNTIME.start("doomed", migrate)
        return connection.close

    def _host(self, uri: str) -> Any:
        return self.hosts[self.uris.index(uri)]


class LabWorld:
    local = "/var/lib/libvirt/images"
    bad_cpu = "EPYC-Milan"

    def __init__(self, lab: Any) -> None:
        import libvirt

        self.libvirt = libvirt
        self.lab = lab
        self.hosts = lab.hosts[:2]
        self.uris = tuple(host.uri for host in self.hosts)
        self.shared = str(lab.shared)
        told = self.hosts[0].virsh("version", "--daemon").partition("Running against daemon: ")[2].split(".")
        version = int(told[0]) * 1_000_000 + int(told[1]) * 1000
        self.release = max((release for release in RELEASES.values() if release.libvirt <= version), key=lambda release: release.libvirt)

    def end(self) -> None:
        for guest in self.lab.guests:
            guest.remove()

    def ensure_guest(self) -> None:
        for host in self.hosts:
            host.start_daemon()
        states = [host.virsh("list", "--all", "--persistent", "--state-running", "--name").split() for host in self.hosts]
        there = [host.virsh("list", "--all", "--name").split() for host in self.hosts]
        if sum(GUEST in names for names in states) != 1 or sum(GUEST in names for names in there) != 1:
            self.start_over()

    def start_over(self) -> None:
        """A daemon whose job hangs lets nobody touch the domain: it is killed with the guest's QEMU."""
        for host in self.hosts:
            if host.has_guest(GUEST):
                host.kill_guest(GUEST)
            host.kill_daemon()
        for host in self.hosts:
            host.start_daemon()
        for guest in self.lab.guests:
            if guest.name == GUEST:
                guest.remove()
        self.lab.add_guest(GUEST)

    def link(self, uri: str, path: str, target: str | None) -> None:
        place = self._host(uri).path(path)
        place.unlink(missing_ok=True)
        if target is not None:
            place.symlink_to(target)

    def kill_daemon(self, uri: str) -> None:
        self._host(uri).kill_daemon()

    def start_daemon(self, uri: str) -> None:
        self._host(uri).start_daemon()

    def kill_guest(self, uri: str) -> None:
        self._host(uri).kill_guest(GUEST)

    def doomed_client(self, source: str, destination: str, flags: int) -> Callable[[], None]:
        process = subprocess.Popen([sys.executable, "-c", CLIENT.format(source, GUEST, destination, flags)])

        def kill() -> None:
            process.kill()
            process.wait()

        return kill

    def _host(self, uri: str) -> Any:
        return self.hosts[self.uris.index(uri)]


class EventThread:
    """libvirt's event loop, which is one for a process and registered before any connection."""

    def __init__(self, libvirt: Any) -> None:
        self.libvirt = libvirt
        self.going = True
        libvirt.registerErrorHandler(lambda _context, _error: None, None)
        libvirt.virEventRegisterDefaultImpl()
        libvirt.virEventAddTimeout(100, lambda _timer, _opaque: None, None)
        self.task = RUNTIME.start("events", self.run)

    def run(self) -> None:
        while self.going:
            self.libvirt.virEventRunDefaultImpl()

    def end(self) -> None:
        self.going = False
        self.task.join(5)


@contextmanager
def event_thread(libvirt: Any) -> Iterator[None]:
    thread = EventThread(libvirt)
    try:
        yield
    finally:
        thread.end()
