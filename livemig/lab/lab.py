"""The lab: N real libvirt hosts with real guests on one Linux machine.

Nothing about it is remembered but the index (see `registry`): what there is, is asked of the kernel and of libvirt, so a lab that was killed at any
point is mended by `up` or taken away by `down`.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

from livemig.lab import kernel, network, processes, registry, roots, ssh, storage
from livemig.lab.certificates import Authority
from livemig.lab.disks import BASE, DEVICES, SERVED, Disk
from livemig.lab.guests import Guest, loses_writes
from livemig.lab.host import IMAGES, PRIVATE, Host
from livemig.lab.shell import LabError
from livemig.runtime import Runtime

PARTS = ("authority", "stranger", "certificates", "ssh", DEVICES, SERVED)
FILE = re.compile("<source (?:file|dev)='([^']*)'")
NAME = re.compile(r"\w[\w.-]*", re.ASCII)
HIDDEN = (*PRIVATE.values(), "/etc", "/usr")
# Libvirt's own default from the start: a shorter pause means more rounds, in which an emulator that loses writes has more occasions for it (docs/lab.md).
GUARDED_CONFIG = """
[libvirt]
live_migration_downtime = 900
live_migration_downtime_steps = 3
"""
HOST_CONFIG = """
[host:{name}]
connection_uri = {uri}
live_migration_inbound_addr = {address}
"""


class Lab:
    """The lab in a directory. Labs in different directories do not know of each other."""

    def __init__(self, directory: Path | str, runtime: Runtime) -> None:
        self.directory = Path(directory).resolve()
        self.shared = self.directory / "shared"
        self._runtime = runtime

    @property
    def index(self) -> int | None:
        """The number that its links and its subnet are named after; None while it is down."""
        return registry.find(self.directory)

    @property
    def hosts(self) -> list[Host]:
        """Its hosts, `node1` first."""
        if self.index is None:
            return []
        numbers = sorted(int(path.name[4:]) for path in self.directory.glob("node*"))
        return [Host(self.directory, self.index, number, self._runtime) for number in numbers]

    def host(self, name: str) -> Host:
        """The host of that name."""
        return next((host for host in self.hosts if host.name == name), None) or _no("host", name, [host.name for host in self.hosts])

    @property
    def guests(self) -> list[Guest]:
        """Its guests: each has a log from its start on."""
        return [self._guest(path.stem) for path in sorted(self.shared.glob("*.log"))]

    def guest(self, name: str) -> Guest:
        """The guest of that name."""
        return next((guest for guest in self.guests if guest.name == name), None) or _no("guest", name, [guest.name for guest in self.guests])

    def up(self, hosts: int | Sequence[str] = 2) -> None:
        """Make the lab, with at least that many hosts; what is there already stays, what is half made is mended, links are healed.

        In place of a number, what each host runs may be said: `own` for the machine's own programs, a name of `roots.RELEASES`, or a directory with the root
        folder of another distribution. Hosts that are there already must be so.
        """
        self._check_directory()
        wanted = [roots.OWN] * hosts if isinstance(hosts, int) else [roots.check_name(name) for name in hosts]
        if not 1 <= len(wanted) <= network.MOST_HOSTS:
            raise LabError(f"a lab has 1 to {network.MOST_HOSTS} hosts")
        with registry.locked(self.directory):
            index = registry.claim(self.directory, network.free_indexes())
            numbers = range(1, max(len(wanted), len(self.hosts)) + 1)
            made = [Host(self.directory, index, number, self._runtime) for number in numbers]
            for host, name in zip(made, wanted, strict=False):
                self._decide(host, name, strict=not isinstance(hosts, int))
            self.shared.mkdir(exist_ok=True)
            ssh.Keys(self.directory / "ssh").ensure()
            if not (self.directory / "certificates").exists():
                Authority(self.directory / "authority").certify(self.directory / "certificates", "client", ())
            network.bridges_up(index)
            for host in made:
                host.up()
            for host in made:
                host.wait_until_ready()

    def add_guest(
        self,
        name: str = "guest",
        host: str = "node1",
        disks: Sequence[str] = (),
        memory_mib: int = 256,
        vcpus: int = 1,
        dirty_mib_s: int = 0,
        tpm: bool = False,
        uefi: bool = False,
    ) -> Guest:
        """Start a guest and wait until it ticks; a guest of that name that runs already is returned as it is. For `disks` see `Disk.parse`.

        Raises LabError; for `tpm` and `uefi` when the host lacks what they need, by name.
        """
        parsed = [Disk.parse(words, at) for at, words in enumerate(disks)]
        if not NAME.fullmatch(name):
            raise LabError(f"{name!r} is no name for a guest: letters, digits, '_', '-' and '.'")
        guest = self._guest(name)
        guest.start(self.host(host), kernel.prepare(), parsed, memory_mib, vcpus, dirty_mib_s, tpm, uefi)
        return guest

    def status(self) -> dict[str, Any]:
        """All there is, as JSON can hold it."""
        hosts = [
            {
                "name": host.name,
                "root": host.root.name,
                "address": host.address,
                "uri": host.uri,
                "daemon": host.daemon_pid() or "down",
                "link": host.cable.state(),
            }
            for host in self.hosts
        ]
        guests = [
            {"name": guest.name, "uuid": guest.uuid, "host": host.name if (host := guest.where()) else None, "ticks": guest.ticks().count}
            for guest in self.guests
        ]
        return {"directory": str(self.directory), "index": self.index, "hosts": hosts, "guests": guests}

    def config(self, transport: str = "tcp", network: str = "main") -> str:
        """The part of livemig.conf that makes these hosts known: reached by tcp, tls or ssh, memory sent over a network of `Host.addresses`.

        With it comes what guests of this lab need: see docs/lab.md on QEMU 7.2.
        """
        hosts = self.hosts
        enabled = ",".join(host.name for host in hosts)
        groups = [HOST_CONFIG.format(name=host.name, uri=host.uris[transport], address=host.addresses[network]) for host in hosts]
        return "".join([f"[DEFAULT]\nenabled_hosts = {enabled}\n", *groups, *([GUARDED_CONFIG] if loses_writes(hosts) else [])])

    def leftovers(self) -> list[str]:
        """What nobody should have left: pools, domains of no guest, and files and directories where images are that no domain on that host uses.

        A backing file is nobody's: it may stay where a guest was.
        """
        found, used = [], set[Path]()
        for host in self.hosts:
            found += [f"pool {name} on {host.name}" for name in host.virsh("pool-list", "--all", "--name").split()]
            names = host.virsh("list", "--all", "--name").split()
            found += [f"domain {name} on {host.name}" for name in names if name not in {guest.name for guest in self.guests}]
            files = [host.path(path) for name in names for path in FILE.findall(host.virsh("dumpxml", name))]
            used |= {*files, *(path.parent for path in files)}
        places = [self.shared, *(host.path(f"{IMAGES}/") for host in self.hosts)]
        files = [path for place in places for path in place.iterdir() if path not in used and path.suffix not in (".log", BASE)]
        ours = {guest.name for guest in self.guests}
        found += [f"device {device} of {file}" for device, file in storage.attached(self.directory) if file.stem not in ours]
        return found + [f"file {path}" for path in sorted(files)]

    def down(self) -> None:
        """Take everything away, guests and all. Does nothing when there is no lab."""
        if not registry.is_lab(self.directory):
            raise LabError(f"{self.directory} is not the directory of a lab")
        with registry.locked(self.directory):
            index = self.index
            if index is not None:
                self._end_processes(index)
                network.down(index)
            storage.detach(self.directory)
            for path in [*self.directory.glob("node*"), self.shared, *(self.directory / part for part in PARTS)]:
                shutil.rmtree(path, ignore_errors=True)
            registry.release(self.directory)
            (self.directory / registry.MARKER).unlink(missing_ok=True)
            with suppress(OSError):
                self.directory.rmdir()
        network.tidy()

    def _decide(self, host: Host, name: str, strict: bool) -> None:
        """What a host runs is decided when it is made, and stays so. With `strict`, it must be that."""
        decided = roots.remembered(host.base)
        if decided is None:
            roots.remember(host.base, roots.find(name))
        elif strict and decided.name not in (name, str(Path(name).resolve())):
            raise LabError(f"{host.name} is {decided.name} and stays so while the lab is there, not {name}: 'livemig-lab down' comes first")

    def _end_processes(self, index: int) -> None:
        for name in network.namespaces(index):
            while found := processes.inside(network.NAMESPACES / name):
                processes.end(found, self._runtime)

    def _guest(self, name: str) -> Guest:
        return Guest(name, self.shared, self.hosts, self._runtime)

    def _check_directory(self) -> None:
        if not registry.is_lab(self.directory):
            raise LabError(f"{self.directory} has other things in it; give the lab a directory of its own")
        hidden = next((over for over in HIDDEN if self.directory.is_relative_to(over)), None)
        if hidden:
            raise LabError(f"{self.directory} is below {hidden}, which the hosts cannot see; choose another directory")


def _no(what: str, name: str, there_are: list[str]) -> NoReturn:
    raise LabError(f"no {what} {name}; there are: {', '.join(there_are) or 'none'}")
