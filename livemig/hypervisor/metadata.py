"""What a domain's metadata says of its server: Nova's element, or livemig's own (docs/metadata.md). Our own wins, fact by fact.

Nova writes its element in nova/virt/libvirt/config.py (LibvirtConfigGuestMetaNovaInstance). What is malformed counts as not said: a host is never
away because of what somebody wrote into a guest.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from livemig.facts import Address, Flavor

OWN = "urn:livemig:server:1"
NOVA = tuple(f"http://openstack.org/xmlns/libvirt/nova/{version}" for version in ("1.1", "1.0"))
UNKNOWN_NETWORK = "default"

_LONGEST = 255  # of a name or an id, as Nova has it
_LARGEST = 2**31 - 1
_PORT_IN_DEVICE = 11  # characters of a port's id in the name of its tap device (nova/network/model.py, NIC_NAME_LEN)

Element = Any  # lxml's


@dataclass(frozen=True, slots=True)
class Interface:
    """A guest's network interface. `kind` is libvirt's type, `network` the name of its network, bridge or device, `port` its id in Open vSwitch."""

    mac: str
    kind: str
    network: str = UNKNOWN_NETWORK
    device: str = ""
    port: str = ""


def facts(domain: Element, memory_mib: int, vcpus: int, interfaces: Sequence[Interface]) -> dict[str, Any]:
    """The fields of ServerFacts that the metadata of a `<domain>` tells; the sizes fill in what its flavor leaves out."""
    found: dict[str, Any] = {}
    for path in (*(f"metadata/{{{namespace}}}instance" for namespace in reversed(NOVA)), f"metadata/{{{OWN}}}*"):
        element = domain.find(path)
        if element is not None:
            found |= {field: value for field, value in _read(element, memory_mib, vcpus, interfaces) if value}
    return found


def _read(root: Element, memory_mib: int, vcpus: int, interfaces: Sequence[Interface]) -> Iterator[tuple[str, Any]]:
    yield "name", _text(root, "name")
    yield "description", _text(root, "description")
    yield "created_at", _time(_text(root, "creationTime"))
    yield "user_id", _attribute(root.find("{*}owner/{*}user"), "uuid")
    yield "project_id", _attribute(root.find("{*}owner/{*}project"), "uuid")
    yield "flavor", _flavor(root.find("{*}flavor"), memory_mib, vcpus)
    yield "user_metadata", _items(root.iterfind("{*}metadata/{*}item"), "key")
    yield "addresses", tuple(_addresses(root.findall("{*}ports/{*}port"), interfaces))


def _flavor(element: Element, memory_mib: int, vcpus: int) -> Flavor | None:
    name = _attribute(element, "name")
    if not name:
        return None
    return Flavor(
        id=_attribute(element, "id") or name,
        name=name,
        memory_mib=_number(element, "memory", memory_mib),
        vcpus=_number(element, "vcpus", vcpus),
        disk_gib=_number(element, "disk"),
        ephemeral_gib=_number(element, "ephemeral"),
        swap_mib=_number(element, "swap"),
        extra_specs=_items(element.iterfind("{*}extraSpecs/{*}extraSpec"), "name"),
    )


def _addresses(ports: Sequence[Element], interfaces: Sequence[Interface]) -> Iterator[Address]:
    for place, port in enumerate(ports):
        interface = _interface(port, place if len(ports) == len(interfaces) else None, interfaces)
        network = _attribute(port, "network") or interface.network
        for ip in port.iterfind("{*}ip"):
            with suppress(ValueError):
                known = ipaddress.ip_address(_attribute(ip, "address"))
                yield Address(network, str(known), known.version, interface.mac)


def _interface(port: Element, place: int | None, interfaces: Sequence[Interface]) -> Interface:
    """The interface of a port: by its MAC, else by its id, else by its place where there are as many of the ones as of the others."""
    mac, uuid = _attribute(port, "mac").lower(), _attribute(port, "uuid")
    tests: tuple[Callable[[Interface], bool], ...] = (
        lambda each: bool(mac) and each.mac == mac,
        lambda each: bool(uuid) and (each.port == uuid or each.device.endswith(uuid[:_PORT_IN_DEVICE])),
    )
    for fits in tests:
        for interface in interfaces:
            if fits(interface):
                return interface
    return Interface(mac, "") if mac or place is None else interfaces[place]


def _text(root: Element, tag: str) -> str:
    element = root.find(f"{{*}}{tag}")
    return "" if element is None else (element.text or "").strip()[:_LONGEST]


def _attribute(element: Element, name: str) -> str:
    return "" if element is None else element.get(name, "").strip()[:_LONGEST]


def _number(element: Element, tag: str, default: int = 0) -> int:
    text = _text(element, tag)
    return min(int(text), _LARGEST) if text.isascii() and text.isdigit() else default


def _items(elements: Iterator[Element], key: str) -> Mapping[str, str]:
    return {name: (element.text or "").strip() for element in elements if (name := _attribute(element, key))}


def _time(text: str) -> datetime | None:
    """Naive UTC, of ISO 8601 or of Nova's "2026-11-24 10:00:00"."""
    with suppress(ValueError, OverflowError):
        at = datetime.fromisoformat(text.replace("Z", "+00:00"))
        return at if at.tzinfo is None else at.astimezone(timezone.utc).replace(tzinfo=None)
    return None
