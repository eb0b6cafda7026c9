"""A host's networks and network devices, and what libvirt knows of the addresses on them."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from livemig.testing import constants as C
from livemig.testing import errors
from livemig.testing.fleet import Domain, Host
from livemig.testing.guests import Interface
from livemig.testing.remote import remote

if TYPE_CHECKING:
    from livemig.testing.connection import virConnect

LEASE_S = 3600
PREFIXES = {4: 24, 6: 64}
TYPES = {4: C.VIR_IP_ADDR_TYPE_IPV4, 6: C.VIR_IP_ADDR_TYPE_IPV6}
SOURCES = {
    C.VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_LEASE: "lease",
    C.VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_AGENT: "agent",
    C.VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_ARP: "arp",
}
LOOPBACK = {"lo": {"addrs": [{"addr": "127.0.0.1", "prefix": 8, "type": C.VIR_IP_ADDR_TYPE_IPV4}], "hwaddr": "00:00:00:00:00:00"}}


class virInterface:
    """As much of libvirt.virInterface as says that it is there."""

    def __init__(self, connection: virConnect, name: str) -> None:
        self._connection = connection
        self._name = name

    def name(self) -> str:
        return self._name

    @remote
    def isActive(self) -> int:
        return is_active(self._connection.host, self._name)


class virNetwork:
    """As much of libvirt.virNetwork as is asked here."""

    def __init__(self, connection: virConnect, name: str) -> None:
        self._connection = connection
        self._name = name

    def connect(self) -> virConnect:
        return self._connection

    def name(self) -> str:
        return self._name

    @remote
    def isActive(self) -> int:
        return is_active(self._connection.host, self._name)

    @remote
    def DHCPLeases(self, mac: str | None = None, flags: int = 0) -> list[dict[str, Any]]:
        return [lease for lease in self._leases() if mac in (None, lease["mac"])]

    def _leases(self) -> list[dict[str, Any]]:
        host = self._connection.host
        return [
            {
                "iface": "virbr0",
                "expirytime": int(host.fleet.time()) + LEASE_S,
                "type": TYPES[ipaddress.ip_address(address).version],
                "mac": interface.mac,
                "ipaddr": address,
                "prefix": PREFIXES[ipaddress.ip_address(address).version],
                "hostname": domain.definition.name,
                "clientid": None,
                "iaid": None,
            }
            for domain in host.domains.values()
            for interface in domain.definition.interfaces
            for address in interface.addresses
            if domain.active and interface.known_by == "lease" and (interface.kind, interface.network) == ("network", self._name)
        ]


def plug_in(host: Host, interfaces: Iterable[Interface]) -> None:
    """Raises what a start or an incoming migration fails with where a guest's interface has nothing to be plugged in to."""
    for interface in interfaces:
        if interface.kind != "network" and interface.network not in host.interfaces:
            raise errors.NO_DEVICE(name=interface.network)
        if interface.kind == "network" and interface.network not in host.networks:
            raise errors.NO_NETWORK(name=interface.network)
        if interface.kind == "network" and not is_active(host, interface.network):
            raise errors.NETWORK_INACTIVE(name=interface.network)


def is_active(host: Host, name: str) -> int:
    """Of a network or an interface."""
    return int(name not in host.idle)


def chosen(host: Host, names: tuple[str, ...], flags: int) -> list[str]:
    """Those that are active or not, as the flags want it; for networks and interfaces these are the same bits."""
    wanted = {C.VIR_CONNECT_LIST_NETWORKS_ACTIVE: {1}, C.VIR_CONNECT_LIST_NETWORKS_INACTIVE: {0}}.get(flags & 3, {0, 1})
    return [name for name in names if is_active(host, name) in wanted]


def devices(domain: Domain) -> list[tuple[str, Interface]]:
    """A running guest's interfaces, under the names of their tap devices."""
    return [(f"vnet{10 * domain.id + number}", interface) for number, interface in enumerate(domain.definition.interfaces)]


def addresses(domain: Domain, source: int) -> dict[str, Any]:
    """virDomainInterfaceAddresses of a running guest. An agent tells all that the guest has, under the guest's own names."""
    kind = SOURCES[source]
    if kind == "agent":
        if not domain.runs:
            raise errors.NOT_RUNNING()
        if not domain.definition.agent:
            raise errors.NO_AGENT()
        inside = {f"eth{number}": _told(interface) for number, interface in enumerate(domain.definition.interfaces)}
        return {**LOOPBACK, **inside}
    return {name: _told(interface) for name, interface in devices(domain) if interface.known_by == kind and interface.addresses}


def _told(interface: Interface) -> dict[str, Any]:
    versions = [(address, ipaddress.ip_address(address).version) for address in interface.addresses]
    addrs = [{"addr": address, "prefix": PREFIXES[version], "type": TYPES[version]} for address, version in versions]
    return {"addrs": addrs or None, "hwaddr": interface.mac}
