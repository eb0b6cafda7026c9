"""The two networks of one lab: a bridge each, and for every host a network namespace tied to both by veth pairs.

Everything is named after the lab's index: bridge `lm3br` with 10.98.3.254, host 2 in namespace `lm3n2`, its cable `lm3v2` on the machine's side
and `eth0` with 10.98.3.2 inside. The migration network is `lm3bm`, `lm3m2` and `eth1` with 10.99.3.2 and, where the machine speaks IPv6, fd99:3::2.
Every step may be repeated: what is there already stays.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from livemig.lab import registry
from livemig.lab.shell import LabError, run, succeeds

NAMESPACES = Path("/run/netns")
MOST_HOSTS = 200
# Marks that /run/netns was made a mount point by the first lab, so that the last one takes it away; `ip netns add` does that by itself.
OURS = registry.ROOT.with_name("livemig-lab-netns")


@dataclass(frozen=True)
class Network:
    """How the parts of a network are called. `ipv6` is "" where it has no such addresses."""

    bridge: str
    cable: str
    device: str
    ipv4: str
    ipv6: str = ""


MAIN = Network("br", "v", "eth0", "10.98.{index}")
MIGRATION = Network("bm", "m", "eth1", "10.99.{index}", "fd99:{index:x}:" if Path("/proc/net/if_inet6").exists() else "")
NETWORKS = (MAIN, MIGRATION)


class Cable:
    """The link between one host and the bridge of a network. `address6` is None where the network has no IPv6."""

    def __init__(self, index: int, number: int, network: Network = MAIN) -> None:
        self.device = network.device
        self.bridge = f"lm{index}{network.bridge}"
        self.outside = f"lm{index}{network.cable}{number}"
        self.namespace = f"lm{index}n{number}"
        self.address = f"{network.ipv4.format(index=index)}.{number}"
        self.address6 = f"{network.ipv6.format(index=index)}:{number:x}" if network.ipv6 else None

    @property
    def path(self) -> Path:
        """The file that names the network namespace."""
        return NAMESPACES / self.namespace

    def up(self) -> None:
        """Make the namespace and the link, or what is missing of them, and plug it in."""
        if not succeeds("ip", "netns", "exec", self.namespace, "true"):
            remove_namespace(self.namespace)
            run("ip", "netns", "add", self.namespace)
        if not succeeds("ip", "link", "show", self.outside):
            run("ip", "link", "add", self.outside, "type", "veth", "peer", "name", self.device, "netns", self.namespace)
        run("ip", "link", "set", self.outside, "master", self.bridge)
        self._inside("addr", "replace", f"{self.address}/24", "dev", self.device)
        if self.address6:
            self._inside("addr", "replace", f"{self.address6}/64", "dev", self.device, "nodad")
        self._inside("link", "set", "lo", "up")
        self._inside("link", "set", self.device, "up")
        self.connect()

    def received_bytes(self) -> int:
        """What the host has received over it so far."""
        found: list[dict[str, Any]] = json.loads(run("ip", "-j", "-s", "-n", self.namespace, "link", "show", self.device))
        received: int = found[0]["stats64"]["rx"]["bytes"]
        return received

    def connect(self) -> None:
        """Plug the cable in, at full speed."""
        for where in ([], ["-n", self.namespace]):
            # "Cannot delete qdisc with handle of zero" is how tc says that there was no limit.
            with suppress(LabError):
                run("tc", *where, "qdisc", "del", "dev", self.device if where else self.outside, "root")
        run("ip", "link", "set", self.outside, "up")

    def cut(self) -> None:
        """Pull the cable: the host sees its carrier go, and keeps its address and routes."""
        run("ip", "link", "set", self.outside, "down")

    def slow(self, mbit: float) -> None:
        """Let through no more than that many Mbit/s each way."""
        limit = ["root", "tbf", "rate", f"{round(mbit * 1000)}kbit", "burst", "64kb", "latency", "200ms"]
        run("tc", "qdisc", "replace", "dev", self.outside, *limit)
        run("tc", "-n", self.namespace, "qdisc", "replace", "dev", self.device, *limit)

    def state(self) -> str:
        """`up`, `slow` (with the limit), `cut` or `missing`."""
        if not succeeds("ip", "link", "show", self.outside):
            return "missing"
        if "UP" not in _links(self.outside)[0]["flags"]:
            return "cut"
        limits: list[dict[str, Any]] = json.loads(run("tc", "-j", "qdisc", "show", "dev", self.outside))
        return next((f"slow ({entry['options']['rate'] * 8 / 1e6:g} Mbit/s)" for entry in limits if entry["kind"] == "tbf"), "up")

    def _inside(self, *words: str) -> None:
        run("ip", "-n", self.namespace, *words)


def bridges_up(index: int) -> None:
    """Make the bridges, or what is missing of them."""
    if not _is_mounted(NAMESPACES):
        OURS.touch()
    for network in NETWORKS:
        bridge = f"lm{index}{network.bridge}"
        if not succeeds("ip", "link", "show", bridge):
            run("ip", "link", "add", bridge, "type", "bridge")
        run("ip", "addr", "replace", f"{network.ipv4.format(index=index)}.254/24", "dev", bridge)
        run("ip", "link", "set", bridge, "up")


def namespaces(index: int) -> list[str]:
    """The namespaces that the lab of this index has made so far."""
    return sorted(path.name for path in NAMESPACES.glob(f"lm{index}n*"))


def down(index: int) -> None:
    """Take namespaces, cables and bridges away; nothing may live in the namespaces any more."""
    for name in namespaces(index):
        remove_namespace(name)
    ours = [link["ifname"] for link in _links() if link["ifname"].startswith(tuple(f"lm{index}{letter}" for letter in ("br", "bm", "v", "m")))]
    for name in ours:
        with suppress(LabError):  # a cable goes with its namespace, a moment later
            run("ip", "link", "del", name)


def tidy() -> None:
    """Undo that /run/netns is a mount point, when a lab made it one and nobody uses it."""
    if OURS.exists() and not registry.ROOT.exists() and not any(NAMESPACES.glob("*")):
        succeeds("umount", NAMESPACES)
        with suppress(OSError):
            NAMESPACES.rmdir()
        OURS.unlink(missing_ok=True)


def remove_namespace(name: str) -> None:
    """Remove it whole or half made (a file on which nothing is mounted)."""
    succeeds("ip", "netns", "del", name)
    with suppress(OSError):
        (NAMESPACES / name).unlink(missing_ok=True)


def free_indexes() -> Iterator[int]:
    """Indexes whose names and subnets nothing on the machine uses."""
    names = {link["ifname"] for link in _links()}
    routes = {route["dst"] for route in json.loads(run("ip", "-j", "route", "show", "table", "all") or "[]")}
    for index in range(registry.MOST):
        subnets = tuple(network.ipv4.format(index=index) + "." for network in NETWORKS)
        if not {f"lm{index}{network.bridge}" for network in NETWORKS} & names and not any(target.startswith(subnets) for target in routes):
            yield index


def _is_mounted(path: Path) -> bool:
    return any(line.split()[4] == str(path) for line in Path("/proc/self/mountinfo").read_text().splitlines())


def _links(*which: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(run("ip", "-j", "link", "show", *which))
    return found
