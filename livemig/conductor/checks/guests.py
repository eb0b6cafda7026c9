"""Whether the guest is one that can move, and would be alone at the destination."""

from __future__ import annotations

from livemig import exceptions
from livemig.conductor.checks.situation import Situation
from livemig.exceptions import Refused
from livemig.facts import Presence


def runs_on_source(now: Situation) -> Refused | None:
    """The guest is on its source, running or paused. The database may lag behind by a moment; libvirt does not. Mend: start the guest, or ask for it again
    a little later: what libvirt says is shown by then."""
    presence = now.source.presence
    if now.source.facts and (presence not in (Presence.RUNNING, Presence.PAUSED) or now.guest is None):
        return exceptions.MigrationPreCheckError(reason=f"Instance {now.server} is {presence} on {now.source.name}")
    return None


def not_at_destination(now: Situation) -> Refused | None:
    """The destination has no guest with that UUID: one that runs might be a second copy, one that is only defined would blur the verdict. Mend: see which
    of the two is the right one; a definition that was left behind is removed by `virsh undefine`."""
    if now.destination.presence not in (Presence.ABSENT, Presence.UNKNOWN) and now.source.name != now.destination.name:
        return exceptions.MigrationPreCheckError(reason=f"Instance {now.server} is {now.destination.presence} on {now.destination.name} too")
    return None


def name_free(now: Situation) -> Refused | None:
    """The destination has no other guest of the same name: libvirt takes each name but once. Mend: rename one of the two (`virsh domrename`), or undefine
    the other if it was left behind."""
    if now.guest and now.offer.namesake not in ("", now.server):
        reason = f"{now.destination.name} has another guest that is called {now.guest.name}: {now.offer.namesake}"
        return exceptions.MigrationPreCheckError(reason=reason)
    return None


def no_snapshots(now: Situation) -> Refused | None:
    """The guest has no snapshots that libvirt knows of: it does not migrate one that has. Mend: delete them; `virsh snapshot-delete --metadata` has libvirt
    forget them and keeps what they hold."""
    if now.guest and now.guest.snapshots:
        reason = f"Instance {now.server} has {now.guest.snapshots} snapshots, and libvirt migrates no guest with snapshots"
        return exceptions.MigrationPreCheckError(reason=reason)
    return None
