"""A guest's definition on a host where it does not run. libvirt removes it at the end of a migration, unless its daemon was killed on the way."""

from __future__ import annotations

from livemig.hypervisor.connection import Hypervisor
from livemig.hypervisor.power import wrong_state

_KEPT = ("VIR_DOMAIN_UNDEFINE_KEEP_NVRAM", "VIR_DOMAIN_UNDEFINE_KEEP_TPM")  # on shared storage they are what the guest runs with elsewhere


def is_at_home(host: Hypervisor, uuid: str) -> bool:
    """Whether a guest is active here, and would still be defined if it were not."""
    with host.use() as connection:
        domain = connection.lookupByUUIDString(uuid)
        return bool(domain.isActive() and domain.isPersistent())


def forget(host: Hypervisor, uuid: str) -> None:
    """Undefine a guest that is shut off; no file of it is touched (virDomainUndefineFlags).

    Raises NoJob for one that is active: libvirt would go on without a definition for it. One with saved memory or snapshots is refused by libvirt.
    """
    flags = 0
    for name in _KEPT:
        flags |= getattr(host.libvirt, name, 0)  # a library that has no such word has no such state to keep
    with host.use() as connection:
        domain = connection.lookupByUUIDString(uuid)
        if domain.isActive():
            raise wrong_state(host, "the guest is active")
        domain.undefineFlags(flags)
