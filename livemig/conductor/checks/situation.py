"""What the checks look at: the facts of a migration, gathered by the survey before it begins."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from livemig.facts import Guest, HostFacts, Offer, Policy, Presence, Storage


@dataclass(frozen=True, slots=True)
class End:
    """One end of a migration. `facts` is None when the host cannot be asked, `presence` is how it has the server.

    `forced_down` and `disabled` are an operator's word on it. `reserved_memory_mib` is the host's own, `address` where it receives migrations.
    """

    name: str
    known: bool = True
    forced_down: bool = False
    disabled: bool = False
    disabled_reason: str | None = None
    facts: HostFacts | None = None
    presence: Presence = Presence.UNKNOWN
    reserved_memory_mib: int = 0
    address: str = ""
    reserved_disk_mib: int = 0


@dataclass(frozen=True, slots=True)
class Situation:
    """All that the checks look at. What could not be found out is None, and then something else already refuses, or nobody is to blame.

    `shared` says of each disk path whether it is the same file on both hosts; `probe_error` why that could not be found out. `block_migration` None leaves
    it to the disks; `force` is the request's: None where the microversion has none. `offer` is what the destination has for the guest. `cpu_error` says why it
    cannot even compare the guest's CPU, `cpu_models` what guests with the CPU of their host get, at the source and at the destination. `storage` has the files
    that are not shared, None if there are none.
    """

    server: str
    source: End
    destination: End
    block_migration: bool | None
    force: bool | None = None
    guest: Guest | None = None
    cpu_fits: bool | None = None
    shared: Mapping[str, bool] = field(default_factory=dict)
    probe_error: str | None = None
    policy: Policy = field(default_factory=Policy)
    offer: Offer = field(default_factory=Offer)
    cpu_error: str = ""
    cpu_models: tuple[str, str] | None = None
    storage: Storage | None = None
    disk_over_commit: bool | None = None
