"""What a daemon says of its host beyond versions and memory: its processors, its storage, and since when it is up."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from livemig.hypervisor.domain_xml import parse
from livemig.hypervisor.storage import PREFIX

_GIB = 2**30
_JITTER_S = 60.0
_DRIFT = 0.02  # of the time since the boot: interrupts and time stolen by another hypervisor are in no processor's times
_BOOTED = ("kernel", "user", "idle", "iowait")  # the processors' times that add up to the time since the boot, in nanoseconds
_TOPOLOGY = ("sockets", "cores", "threads")


def processors(capabilities: str) -> dict[str, Any]:
    """Nova's cpu_info of a capabilities document (nova/virt/libvirt/driver.py, _get_cpu_info)."""
    host = parse(capabilities).find("host")
    cpu = None if host is None else host.find("cpu")
    if host is None or cpu is None:
        return {}
    topology = cpu.find("topology")
    counts = {} if topology is None else {name: int(topology.get(name, "1")) for name in _TOPOLOGY}
    return {
        **{name: cpu.findtext(name, "") for name in ("arch", "model", "vendor")},
        "topology": {"cells": max(1, len(host.findall("topology/cells/cell"))), **counts},
        "features": [feature.get("name", "") for feature in cpu.iterfind("feature")],
    }


def disk(pools: Iterable[Any]) -> tuple[int, int]:
    """(size, free) in GiB of the largest of these active pools; livemig's own probes do not count."""
    sizes = [pool.info() for pool in pools if not pool.name().startswith(PREFIX)]
    _state, capacity, _allocation, available = max(sizes, key=lambda size: int(size[1]), default=(0, 0, 0, 0))
    return capacity // _GIB, available // _GIB


def booted_at(stats: Mapping[str, int], cpus: int, now: datetime, before: datetime | None) -> datetime | None:
    """When the host was booted, from its processors' times (virNodeGetCPUStats). What was said `before` stays if it may be true, so that it does not jitter."""
    up_s = sum(stats.get(name, 0) for name in _BOOTED) / 1e9 / max(cpus, 1)
    if not up_s:
        return None
    found = (now - timedelta(seconds=up_s)).replace(microsecond=0)
    same = before is not None and abs((found - before).total_seconds()) <= max(_JITTER_S, _DRIFT * up_s)
    return before if same else found
