"""Many migrations of a guest that dirties its memory, at a short downtime: its memory is right after each of them.

QEMU 7.2's emulator broke 4 of 57 such guests, so its hosts cannot be the stage of this (docs/lab.md). LIVEMIG_MOVES says how many there are.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from livemig.lab.lab import Lab
from livemig.runtime import ThreadRuntime
from tests.drawn import amount
from tests.lab.places import host_of

MOVES = amount("moves")
DIRTY_MIB_S = 8
DOWNTIME_MS = 50
RUNTIME = ThreadRuntime()
MOVE = ("migrate", "--live", "--p2p", "--persistent", "--undefinesource")
pytestmark = [pytest.mark.lab, pytest.mark.timeout(120 + 30 * MOVES)]


def test_a_guest_that_dirties_its_memory_moves_again_and_again(labs: Callable[[tuple[str, ...]], Lab]) -> None:
    lab = labs(("debian13", "debian13"))
    guest = lab.add_guest("mover", dirty_mib_s=DIRTY_MIB_S)
    try:
        for number in range(MOVES):
            source = host_of(guest)
            target = next(host for host in lab.hosts if host != source)
            source.virsh("migrate-setmaxdowntime", guest.name, str(DOWNTIME_MS))
            source.virsh(*MOVE, guest.name, target.uri)
            wanted, deadline = guest.ticks().count + 5, RUNTIME.monotonic() + 60
            while guest.ticks().count < wanted:
                assert RUNTIME.monotonic() < deadline, f"it stands still after move {number + 1}"
                RUNTIME.sleep(0.05)
            assert guest.holders() == [target] and guest.ticks().unbroken, f"move {number + 1} of {MOVES}: {guest.ticks()}"
    finally:
        guest.remove()
