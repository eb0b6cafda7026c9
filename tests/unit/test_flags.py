"""Plans as libvirt's flags and typed parameters."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from livemig import exceptions
from livemig.facts import Plan
from livemig.hypervisor import flags
from livemig.testing import constants as C

PLAN = Plan("qemu+tcp://b/system", None, persistent=False)
MOVE = C.VIR_MIGRATE_LIVE | C.VIR_MIGRATE_PEER2PEER

# what differs from the plainest plan, flags beside live and peer to peer, parameters
CASES: dict[str, tuple[dict[str, Any], int, dict[str, Any]]] = {
    "plain": ({}, 0, {}),
    "persistent": ({"persistent": True}, C.VIR_MIGRATE_PERSIST_DEST | C.VIR_MIGRATE_UNDEFINE_SOURCE, {}),
    "shared files": ({"shared_files": True}, C.VIR_MIGRATE_UNSAFE, {}),
    "disks": ({"migrate_disks": ("vda", "vdb")}, C.VIR_MIGRATE_NON_SHARED_INC, {"migrate_disks": ["vda", "vdb"]}),
    "address": ({"migrate_uri": "tcp://b"}, 0, {"migrate_uri": "tcp://b"}),
    "bandwidth": ({"bandwidth_mib_s": 10}, 0, {"bandwidth": 10}),
    "auto-converge": ({"auto_converge": True}, C.VIR_MIGRATE_AUTO_CONVERGE, {}),
    "auto-converge, tuned": (
        {"auto_converge": True, "auto_converge_initial": 30, "auto_converge_increment": 5},
        C.VIR_MIGRATE_AUTO_CONVERGE,
        {"auto_converge.initial": 30, "auto_converge.increment": 5},
    ),
    "post-copy": ({"post_copy": True}, C.VIR_MIGRATE_POSTCOPY, {}),
    "one connection": ({"parallel_connections": 1}, 0, {}),
    "connections": ({"parallel_connections": 3}, C.VIR_MIGRATE_PARALLEL, {"parallel.connections": 3}),
    "compression": ({"compression": ("mt", "xbzrle")}, C.VIR_MIGRATE_COMPRESSED, {"compression": ["mt", "xbzrle"]}),
    "zero-copy": ({"zero_copy": True}, C.VIR_MIGRATE_ZEROCOPY, {}),
    "TLS": ({"tls": True}, C.VIR_MIGRATE_TLS, {}),
    "tunnel": ({"tunnelled": True}, C.VIR_MIGRATE_TUNNELLED, {}),
}


@pytest.mark.parametrize("case", CASES)
def test_flags_and_parameters(case: str) -> None:
    changes, bits, given = CASES[case]
    plan = replace(PLAN, **changes)
    assert flags.flags(C, "a", plan) == MOVE | bits
    assert flags.parameters(C, "a", plan) == given


def test_a_libvirt_that_is_too_old_refuses_by_name() -> None:
    old = SimpleNamespace(**{name: value for name, value in vars(C).items() if name not in ("VIR_MIGRATE_ZEROCOPY", SWITCHOVER)})
    assert flags.flags(old, "a", PLAN) == MOVE
    with pytest.raises(exceptions.UnsupportedByHypervisor, match="a: this libvirt is too old for VIR_MIGRATE_ZEROCOPY"):
        flags.flags(old, "a", replace(PLAN, zero_copy=True))
    with pytest.raises(exceptions.UnsupportedByHypervisor, match=SWITCHOVER):
        flags.parameters(old, "a", replace(PLAN, switchover_bandwidth_mib_s=100))


SWITCHOVER = "VIR_MIGRATE_PARAM_BANDWIDTH_AVAIL_SWITCHOVER"


def test_a_newer_libvirt_is_told_the_switch_over_bandwidth() -> None:
    new = SimpleNamespace(**{**vars(C), SWITCHOVER: "bandwidth.avail.switchover"})
    assert flags.parameters(new, "a", replace(PLAN, switchover_bandwidth_mib_s=100)) == {"bandwidth.avail.switchover": 100}
