"""Which files the domains of a host refer to: nobody removes those."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from livemig.hypervisor.domain_xml import parse

if TYPE_CHECKING:
    from livemig.hypervisor.connection import Hypervisor


def used(host: Hypervisor, paths: Collection[str]) -> dict[str, str]:
    """Those of the files that a domain of the host refers to, running or only defined, and the domain's name. Backing files count where it runs.

    A volume of a pool is known by its name alone, so one of the same name counts too.
    """
    found: dict[str, str] = {}
    with host.apart() as connection:
        for domain in connection.listAllDomains(0):
            words = set(_words(host.libvirt, domain))
            found |= {path: domain.name() for path in paths if path in words or ("volume", PurePosixPath(path).name) in words}
    return found


def _words(libvirt: Any, domain: Any) -> Iterator[str | tuple[str, str]]:
    """Everything that its definition says, and that of its next start."""
    for flags in (0, libvirt.VIR_DOMAIN_XML_INACTIVE):
        for element in parse(_xml(libvirt, domain, flags)).iter():
            yield element.text or ""
            yield from map(str, element.attrib.values())
            if "volume" in element.attrib:
                yield "volume", str(element.attrib["volume"])


def _xml(libvirt: Any, domain: Any, flags: int) -> str:
    try:
        return str(domain.XMLDesc(flags))
    except libvirt.libvirtError as error:
        if error.get_error_code() != libvirt.VIR_ERR_NO_DOMAIN:
            raise
        return "<gone/>"
