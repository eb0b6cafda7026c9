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
MEMORY_MIB = 192
PATTERN_PAGES = 125 * 16  # the guest has a file with what it writes, which does not change
RATE_MIB_S = 16
SECONDS = 2  # in which it does not come round: what is rewritten twice would be counted once


@pytest.fixture(scope="module")
def dirtying(lab: Lab) -> Iterator[tuple[Guest, Host]]:
    """A guest that dirties memory, and its host."""
    guest = lab.add_guest("dirtying", memory_mib=MEMORY_MIB, dirty_mib_s=RATE_MIB_S)
    host = guest.where()
    assert host is not None
    yield guest, host
    guest.remove()


def qmp(host: Host, guest: Guest, command: str, **arguments: object) -> Any:
    return json.loads(host.virsh("qemu-monitor-command", guest.name, json.dumps({"execute": command, "arguments": arguments})))["return"]


def until(ready: Callable[[], Any], seconds: float = 60) -> Any:
    deadline = RUNTIME.monotonic() + seconds
    while not (found := ready()):
        assert RUNTIME.monotonic() < deadline
        RUNTIME.sleep(0.2)
    return found


def sampled_mib_s(host: Host, guest: Guest) -> int:
    """The dirty rate by checksums of pages, of as many as QEMU takes: libvirt's own call has it take 64 of such a guest's."""
    qmp(host, guest, "calc-dirty-rate", **{"calc-time": SECONDS, "sample-pages": 16384})
    found = until(lambda: (said := qmp(host, guest, "query-dirty-rate"))["status"] == "measured" and said)
    return int(found["dirty-rate"])


def test_checksums_see_the_rate_that_was_asked_for(dirtying: tuple[Guest, Host]) -> None:
    guest, host = dirtying
    sampled_mib_s(host, guest)  # the first of them may be while the guest makes what it writes
    assert RATE_MIB_S / 2 < sampled_mib_s(host, guest) < RATE_MIB_S * 1.5


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


def test_a_rewritten_page_differs_in_some_bytes(dirtying: tuple[Guest, Host]) -> None:
    guest, host = dirtying
    before = memory(host, guest)
    wanted = guest.ticks().count + 100
    until(lambda: guest.ticks().count > wanted)  # 10 s: twice what it rewrites at least
    after = memory(host, guest)
    pages = [at for at in range(0, len(before), PAGE) if before[at : at + 6] == after[at : at + 6] == b"dirty "]
    differing = [at for at in pages if before[at : at + PAGE] != after[at : at + PAGE]]
    assert len(pages) > 3 * PATTERN_PAGES
    assert len(differing) >= len(pages) - PATTERN_PAGES - 64
    for at in islice(differing, 0, None, 50):
        count = sum(one != other for one, other in zip(before[at : at + PAGE], after[at : at + PAGE], strict=True))
        assert 100 < count < PAGE / 4, at


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
    guest, host = dirtying
    with slow_migration(lab, guest, host, "--comp-methods", "xbzrle", "--comp-xbzrle-cache", str(128 << 20), "--bandwidth", "8"):
        told = until(lambda: (said := qmp(host, guest, "query-migrate")).get("xbzrle-cache", {}).get("pages", 0) > 1000 and said["xbzrle-cache"])
    assert told["bytes"] / told["pages"] < PAGE / 4
    assert told["overflow"] < told["pages"] / 4
    assert guest.ticks().unbroken
