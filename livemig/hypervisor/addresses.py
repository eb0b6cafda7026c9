"""What a host knows of its guests' addresses where their metadata does not say: DHCP leases of its networks, guest agents, its ARP table.

Leases and ARP are the host's own knowledge and cost a call. An agent is a program in the guest, which may answer late or never, so it is never asked in a
look: what it said is remembered, and `unasked()` names those that are worth a question (`Hypervisor.ask_agent`). What was found once is kept while the
guest lives, since leases end and ARP entries fade although the guest still has the address.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any

from livemig.facts import Address, Presence
from livemig.hypervisor.domain_xml import Description
from livemig.hypervisor.metadata import Interface
from livemig.whereabouts import LIVE

Known = Mapping[str, list[str]]
"""Addresses by MAC."""


class Leases:
    """The DHCP leases of a host's networks in one look: each network is asked once, when a guest on it is looked at."""

    def __init__(self, libvirt: Any, connection: Any) -> None:
        self._libvirt = libvirt
        self._connection = connection
        self._networks: dict[str, Known] = {}

    def of(self, interface: Interface) -> list[str]:
        if interface.kind != "network":
            return []
        if interface.network not in self._networks:
            self._networks[interface.network] = self._ask(interface.network)
        return self._networks[interface.network].get(interface.mac, [])

    def _ask(self, network: str) -> Known:
        found: dict[str, list[str]] = {}
        with suppress(self._libvirt.libvirtError):
            for lease in self._connection.networkLookupByName(network).DHCPLeases():
                found.setdefault((lease["mac"] or "").lower(), []).append(lease["ipaddr"])
        return found


class Addresses:
    """Remembers for one host, by server."""

    def __init__(self, libvirt: Any) -> None:
        self._libvirt = libvirt
        self._agents: dict[str, Known] = {}
        self._last: dict[str, Known] = {}
        self._unasked: set[str] = set()

    def find(self, described: Description, domain: Any, leases: Leases) -> tuple[Address, ...]:
        """A server's addresses: those of its metadata, else for each interface what the first source knows. None of a guest that is off."""
        facts = described.facts
        if facts.presence not in LIVE:
            self.forget(facts.uuid)
        if facts.addresses or facts.presence not in LIVE or not described.interfaces:
            return facts.addresses
        found = {interface.mac: leases.of(interface) for interface in described.interfaces}
        if described.agent and facts.presence is Presence.RUNNING and not all(found.values()):
            self._unasked.add(facts.uuid)
        _fill(found, self._agents.get(facts.uuid, {}))
        if not all(found.values()):
            _fill(found, self._arp(domain))
        _fill(found, self._last.get(facts.uuid, {}))
        self._last[facts.uuid] = found
        return tuple(_addresses(described.interfaces, found))

    def learn(self, uuid: str, told: Mapping[str, Any]) -> bool:
        """Take down an agent's answer (virDomainInterfaceAddresses); whether it is another than before."""
        known = _by_mac(told)
        news = known != self._agents.get(uuid)
        self._agents[uuid] = known
        return news

    def unasked(self) -> set[str]:
        """The servers whose agents may know more, looked at since this was last called."""
        wanted, self._unasked = self._unasked, set()
        return wanted

    def forget(self, uuid: str) -> None:
        """The guest is gone, or off."""
        self._agents.pop(uuid, None)
        self._last.pop(uuid, None)

    def keep(self, uuids: Iterable[str]) -> None:
        """Forget all others."""
        for gone in (self._agents.keys() | self._last.keys()) - set(uuids):
            self.forget(gone)

    def _arp(self, domain: Any) -> Known:
        with suppress(self._libvirt.libvirtError):
            return _by_mac(domain.interfaceAddresses(self._libvirt.VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_ARP, 0))
        return {}


def _fill(found: dict[str, list[str]], known: Known) -> None:
    for mac, ips in found.items():
        found[mac] = ips or known.get(mac, [])


def _by_mac(told: Mapping[str, Any]) -> Known:
    found: dict[str, list[str]] = {}
    for device in told.values():
        found.setdefault((device["hwaddr"] or "").lower(), []).extend(each["addr"] for each in device["addrs"] or ())
    return found


def _addresses(interfaces: Iterable[Interface], found: Known) -> Iterator[Address]:
    """In the interfaces' order. Link-local ones only of a guest that has no others; no loopback."""
    every = [(interface, ip) for interface in interfaces for ip in _read(found[interface.mac])]
    for interface, ip in [each for each in every if not each[1].is_link_local] or every:
        yield Address(interface.network, str(ip), ip.version, interface.mac)


def _read(texts: Iterable[str]) -> Iterator[ipaddress.IPv4Address | ipaddress.IPv6Address]:
    for text in dict.fromkeys(texts):
        with suppress(ValueError):
            ip = ipaddress.ip_address(text)
            if not ip.is_loopback:
                yield ip
