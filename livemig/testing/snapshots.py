"""A domain's snapshots: they are counted, and hold nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from livemig.testing.fleet import Domain
from livemig.testing.remote import remote

if TYPE_CHECKING:
    from livemig.testing.connection import virConnect


class virDomainSnapshot:
    """As much of libvirt.virDomainSnapshot as lets one be made and deleted."""

    def __init__(self, connection: virConnect, domain: Domain) -> None:
        self._connection = connection
        self._domain = domain
        domain.snapshots += 1

    @remote
    def delete(self, flags: int = 0) -> int:
        self._domain.snapshots -= 1
        return 0
