"""A domain's snapshots: what it was defined as when each was made."""

from __future__ import annotations

from typing import TYPE_CHECKING

from livemig.testing.fleet import Domain
from livemig.testing.remote import remote

if TYPE_CHECKING:
    from livemig.testing.connection import virConnect

XML = "<domainsnapshot><name>{number}</name><state>running</state>{domain}</domainsnapshot>"


class virDomainSnapshot:
    """As much of libvirt.virDomainSnapshot as lets one be made, read and deleted."""

    def __init__(self, connection: virConnect, domain: Domain, xml: str) -> None:
        self._connection = connection
        self._domain = domain
        self._xml = xml

    @remote
    def getXMLDesc(self, flags: int = 0) -> str:
        return self._xml

    @remote
    def delete(self, flags: int = 0) -> int:
        self._domain.snapshots.remove(self._xml)
        return 0
