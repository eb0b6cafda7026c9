"""Whether a guest starts with its host. libvirt keeps that beside the definition, and does not carry it to another host."""

from __future__ import annotations

from livemig.hypervisor.connection import Hypervisor


def starts_with_host(host: Hypervisor, uuid: str) -> bool:
    """virDomainGetAutostart; never for a transient guest."""
    with host.use() as connection:
        return bool(connection.lookupByUUIDString(uuid).autostart())


def start_with_host(host: Hypervisor, uuid: str) -> None:
    """Have a persistent guest start with its host from now on (virDomainSetAutostart)."""
    with host.use() as connection:
        connection.lookupByUUIDString(uuid).setAutostart(1)
