"""What a guest that dirties its memory does, as seen from outside."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any

import pytest

from livemig.lab.guests import Guest
from livemig.lab.host import Host
from livemig.lab.lab import Lab
from livemig.runtime import ThreadRuntime

pytestmark = pytest.mark.lab
RUNTIME = ThreadRuntime()
PAGE = 4096
MEMORY_MIB = 160
PATTERN_PAGES = 125 * 16  # the guest has a file with what it writes, which does not change
RATE_MIB_S = 16
SECONDS = 2  # in which it does not come round: what is rewritten twice would be counted once


def qmp(host: Host, guest: Guest, command: str, **arguments: object) -> Any:
    return json.loads(host.virsh("qemu-monitor-command", guest.name, json.dumps({"execute": command, "arguments": arguments})))["return"]


def until(ready: Callable[[], Any], seconds: float = 60) -> Any:
    deadline = RUNTIME.monotonic() + seconds
    while not (found := ready()):
        assert RUNTIME.monotonic() < deadline
        RUNTIME.sleep(0.2)
    return found


def memory(host: Host, guest: Guest) -> bytes:
    """All of it, at one moment."""
    path = f"/var/lib/libvirt/images/{guest.name}.memory"
    host.virsh("suspend", guest.name)
    try:
        qmp(host, guest, "pmemsave", val=0, size=MEMORY_MIB << 20, filename=path)
        return host.path(path).read_bytes()
    finally:
        host.path(path).unlink(missing_ok=True)
        host.virsh("resume", guest.name)


def stamped(memory: bytes) -> dict[int, bytes]:
    """The pages with what the guest writes, by their address."""
    return {at: memory[at : at + PAGE] for at in range(0, len(memory), PAGE) if memory[at : at + 6] == b"dirty "}


@pytest.fixture(scope="module")
def dirtying(lab: Lab) -> Iterator[tuple[Guest, Host]]:
    """A guest that dirties memory, and its host; it has come round once."""
    guest = lab.add_guest("dirtying", memory_mib=MEMORY_MIB, dirty_mib_s=RATE_MIB_S)
    host = guest.where()
    assert host is not None
    counts = [0]

    def comes_round() -> bool:
        counts.append(len(stamped(memory(host, guest))))
        return counts[-1] == counts[-2] > 3 * PATTERN_PAGES

    until(comes_round)
    yield guest, host
    guest.remove()


def sampled_mib_s(host: Host, guest: Guest) -> int:
    """The dirty rate by checksums of pages, of as many as QEMU takes: libvirt's own call has it take 64 of such a guest's."""
    qmp(host, guest, "calc-dirty-rate", **{"calc-time": SECONDS, "sample-pages": 16384})
    found = until(lambda: (said := qmp(host, guest, "query-dirty-rate"))["status"] == "measured" and said)
    return int(found["dirty-rate"])


def test_checksums_see_the_rate_that_was_asked_for(dirtying: tuple[Guest, Host]) -> None:
    """Sooner or later: on a busy machine the guest has pauses, and makes up for them."""
    guest, host = dirtying
    until(lambda: RATE_MIB_S / 2 < sampled_mib_s(host, guest) < RATE_MIB_S * 1.5)


def test_a_rewritten_page_differs_in_some_bytes(dirtying: tuple[Guest, Host]) -> None:
    """All that it rewrites is different after a while, but for the file with what it writes."""
    guest, host = dirtying
    before = stamped(memory(host, guest))

    def all_differ() -> list[tuple[bytes, bytes]]:
        after = stamped(memory(host, guest))
        differing = [(before[at], after[at]) for at in before.keys() & after.keys() if before[at] != after[at]]
        return differing if len(differing) >= len(before) - PATTERN_PAGES - 64 else []

    for old, new in islice(until(all_differ), 0, None, 50):
        assert 100 < sum(one != other for one, other in zip(old, new, strict=True)) < PAGE / 4


@contextmanager
def slow_migration(lab: Lab, guest: Guest, host: Host, *options: str) -> Iterator[None]:
    """One that cannot come to its end, and is aborted."""
    target = next(each for each in lab.hosts if each != host)
    words = ["virsh", "-q", "-c", host.uri, "migrate", "--live", "--p2p", "--persistent", "--undefinesource", *options, guest.name, target.uri]
    job = subprocess.Popen(words, stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        host.virsh("domjobabort", guest.name)
        job.wait(30)


def test_xbzrle_makes_less_of_a_rewritten_page(lab: Lab, dirtying: tuple[Guest, Host]) -> None:
    """Its cache is filled by the second pass, and used from the third on, which is slower than the guest dirties its memory."""
    guest, host = dirtying

    def cache() -> dict[str, float]:
        return dict(qmp(host, guest, "query-migrate").get("xbzrle-cache", {"cache-miss": 0, "pages": 0}))

    guest.set_dirty(2 * RATE_MIB_S)
    with slow_migration(lab, guest, host, "--comp-methods", "xbzrle", "--comp-xbzrle-cache", str(128 << 20), "--bandwidth", "16"):
        until(lambda: cache()["cache-miss"])
        host.virsh("migrate-setspeed", guest.name, "3")
        told = until(lambda: (said := cache())["pages"] > 1000 and said)
    guest.set_dirty(RATE_MIB_S)
    assert 100 < told["bytes"] / told["pages"] < PAGE / 4
    assert told["overflow"] < told["pages"] / 4
    assert guest.ticks().unbroken
