"""What migrateToURI3 is told for a plan: a table from the plan to libvirt's flags, and one to its typed parameters (libvirt/libvirt-domain.h).

Constants are looked up by name, and only those that a plan needs: a libvirt that is too old for one refuses that plan and no other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from livemig import exceptions
from livemig.facts import Plan

# Flag → whether the plan has it.
_FLAGS: Mapping[str, Callable[[Plan], object]] = {
    "VIR_MIGRATE_LIVE": lambda _plan: True,
    "VIR_MIGRATE_PEER2PEER": lambda _plan: True,
    "VIR_MIGRATE_PERSIST_DEST": lambda plan: plan.persistent,
    "VIR_MIGRATE_UNDEFINE_SOURCE": lambda plan: plan.persistent,
    "VIR_MIGRATE_UNSAFE": lambda plan: plan.shared_files,
    "VIR_MIGRATE_NON_SHARED_INC": lambda plan: plan.migrate_disks,
    "VIR_MIGRATE_AUTO_CONVERGE": lambda plan: plan.auto_converge,
    "VIR_MIGRATE_POSTCOPY": lambda plan: plan.post_copy,
    "VIR_MIGRATE_PARALLEL": lambda plan: plan.parallel_connections > 1,
    "VIR_MIGRATE_COMPRESSED": lambda plan: plan.compression,
    "VIR_MIGRATE_ZEROCOPY": lambda plan: plan.zero_copy,
    "VIR_MIGRATE_TLS": lambda plan: plan.tls,
    "VIR_MIGRATE_TUNNELLED": lambda plan: plan.tunnelled,
}

# Typed parameter → its value; what is empty or 0 is left out, and libvirt's default counts.
_PARAMETERS: Mapping[str, Callable[[Plan], Any]] = {
    "VIR_MIGRATE_PARAM_URI": lambda plan: plan.migrate_uri,
    "VIR_MIGRATE_PARAM_BANDWIDTH": lambda plan: plan.bandwidth_mib_s,
    "VIR_MIGRATE_PARAM_BANDWIDTH_AVAIL_SWITCHOVER": lambda plan: plan.switchover_bandwidth_mib_s,
    "VIR_MIGRATE_PARAM_MIGRATE_DISKS": lambda plan: list(plan.migrate_disks),
    "VIR_MIGRATE_PARAM_PARALLEL_CONNECTIONS": lambda plan: plan.parallel_connections if plan.parallel_connections > 1 else 0,
    "VIR_MIGRATE_PARAM_COMPRESSION": lambda plan: list(plan.compression),
    "VIR_MIGRATE_PARAM_AUTO_CONVERGE_INITIAL": lambda plan: plan.auto_converge_initial,
    "VIR_MIGRATE_PARAM_AUTO_CONVERGE_INCREMENT": lambda plan: plan.auto_converge_increment,
}

UNLIMITED = 2**63 // 2**20 - 1  # MiB/s: the most that libvirt takes (QEMU_DOMAIN_MIG_BANDWIDTH_MAX), and its own "no limit"


def flags(libvirt: Any, host: str, plan: Plan) -> int:
    """Raises UnsupportedByHypervisor for one that this libvirt does not have."""
    bits = 0
    for name, wanted in _FLAGS.items():
        if wanted(plan):
            bits |= constant(libvirt, host, name)
    return bits


def parameters(libvirt: Any, host: str, plan: Plan) -> dict[str, Any]:
    """Raises as `flags`."""
    given = {name: value(plan) for name, value in _PARAMETERS.items()}
    return {constant(libvirt, host, name): value for name, value in given.items() if value}


def constant(libvirt: Any, host: str, name: str) -> Any:
    """Raises UnsupportedByHypervisor for a name that this libvirt does not have."""
    try:
        return getattr(libvirt, name)
    except AttributeError:
        raise exceptions.UnsupportedByHypervisor(host=host, code=libvirt.VIR_ERR_NO_SUPPORT, message=f"this libvirt is too old for {name}") from None
