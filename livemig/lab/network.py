"""The network of one lab: a bridge, and for every host a network namespace tied to it by a veth pair.

Everything is named after the lab's index: bridge `lm3br` with 10.98.3.254, host 2 in namespace `lm3n2`, its cable `lm3v2` on the machine's side
and `eth0` with 10.98.3.2 inside. Every step may be repeated: what is there already stays.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from livemig.lab import registry
from livemig.lab.shell import LabError, run, succeeds

NAMESPACES = Path("/run/netns")
SUBNET = "10.98.{index}"
MOST_HOSTS = 200
# Marks that /run/netns was made a mount point by the first lab, so that the last one takes it away; `ip netns add` does that by itself.
OURS = registry.ROOT.with_name("livemig-lab-netns")


class Cable:
    """The link between one host and the bridge."""

    def __init__(self, index: int, number: int) -> None:
        self.bridge = bridge_name(index)
        self.outside = f"lm{index}v{number}"
        self.namespace = f"lm{index}n{number}"
        self.address = f"{SUBNET.format(index=index)}.{number}"

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
            run("ip", "link", "add", self.outside, "type", "veth", "peer", "name", "eth0", "netns", self.namespace)
        run("ip", "link", "set", self.outside, "master", self.bridge)
        self._inside("addr", "replace", f"{self.address}/24", "dev", "eth0")
        self._inside("link", "set", "lo", "up")
        self._inside("link", "set", "eth0", "up")
        self.connect()

    def connect(self) -> None:
        """Plug the cable in, at full speed."""
        for where in ([], ["-n", self.namespace]):
            # "Cannot delete qdisc with handle of zero" is how tc says that there was no limit.
            with suppress(LabError):
                run("tc", *where, "qdisc", "del", "dev", "eth0" if where else self.outside, "root")
        run("ip", "link", "set", self.outside, "up")

    def cut(self) -> None:
        """Pull the cable: the host sees its carrier go, and keeps its address and routes."""
        run("ip", "link", "set", self.outside, "down")

    def slow(self, mbit: float) -> None:
        """Let through no more than that many Mbit/s each way."""
        limit = ["root", "tbf", "rate", f"{round(mbit * 1000)}kbit", "burst", "64kb", "latency", "200ms"]
        run("tc", "qdisc", "replace", "dev", self.outside, *limit)
        run("tc", "-n", self.namespace, "qdisc", "replace", "dev", "eth0", *limit)

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


def bridge_name(index: int) -> str:
    return f"lm{index}br"


def bridge_up(index: int) -> None:
    """Make the bridge, or what is missing of it."""
    bridge = bridge_name(index)
    if not _is_mounted(NAMESPACES):
        OURS.touch()
    if not succeeds("ip", "link", "show", bridge):
        run("ip", "link", "add", bridge, "type", "bridge")
    run("ip", "addr", "replace", f"{SUBNET.format(index=index)}.254/24", "dev", bridge)
    run("ip", "link", "set", bridge, "up")


def namespaces(index: int) -> list[str]:
    """The namespaces that the lab of this index has made so far."""
    return sorted(path.name for path in NAMESPACES.glob(f"lm{index}n*"))


def down(index: int) -> None:
    """Take namespaces, cables and bridge away; nothing may live in the namespaces any more."""
    for name in namespaces(index):
        remove_namespace(name)
    ours = [link["ifname"] for link in _links() if link["ifname"] == bridge_name(index) or link["ifname"].startswith(f"lm{index}v")]
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
    """Indexes whose names and subnet nothing on the machine uses."""
    names = {link["ifname"] for link in _links()}
    routes = {route["dst"] for route in json.loads(run("ip", "-j", "route", "show", "table", "all") or "[]")}
    for index in range(registry.MOST):
        if bridge_name(index) not in names and not any(target.startswith(SUBNET.format(index=index) + ".") for target in routes):
            yield index


def _is_mounted(path: Path) -> bool:
    return any(line.split()[4] == str(path) for line in Path("/proc/self/mountinfo").read_text().splitlines())


def _links(*which: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(run("ip", "-j", "link", "show", *which))
    return found
