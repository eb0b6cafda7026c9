"""What libvirt is told of a running job: does what the monitor has decided, and says so in the event log."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

from livemig import exceptions
from livemig.conductor import monitor
from livemig.conductor.journal import Journal
from livemig.conductor.lease import Lease
from livemig.facts import Presence
from livemig.hypervisor.connection import Hypervisor
from livemig.records import Migration

NEED_NOT_BE_PAUSED = "need not be paused"


class Knobs:
    """Those of one migration, on its source. `announce` tells of phases (see `announcer`)."""

    def __init__(self, migration: Migration, lease: Lease, source: Hypervisor, journal: Journal, announce: Callable[[str], None]) -> None:
        self._server = migration.server_uuid
        self._lease = lease
        self._source = source
        self._journal = journal
        self._announce = announce
        self._slowed = migration.bandwidth_mib_s is not None  # libvirt was told a limit that it remembers for the domain
        self._deeds: dict[type, Callable[[Any], None]] = {
            monitor.SetDowntime: self._set_downtime,
            monitor.SetSpeed: self._set_speed,
            monitor.Abort: self._abort,
            monitor.Pause: self._pause,
            monitor.PostCopy: self._start_post_copy,
        }

    def perform(self, action: monitor.Action, memory: monitor.Memory) -> monitor.Memory:
        """Do it, if the migration is this conductor's; what to remember then."""
        if not self._lease.held:
            return monitor.failed(memory, action, for_good=False)
        try:
            self._deeds[type(action)](action)
        except exceptions.HypervisorError as error:
            self._journal.note_once("libvirt", f"{type(action).__name__}: {error}")  # mostly the job that ended meanwhile; the verdict tells
            return monitor.failed(memory, action, for_good=isinstance(error, exceptions.NoJob | exceptions.UnsupportedByHypervisor))
        return memory

    def leave_as_it_was(self, presence: Presence) -> None:
        """The guest stays on the source: a limit that libvirt remembers is taken back, and what we paused to force completion goes on."""
        if self._slowed:
            with suppress(exceptions.HypervisorError):
                self._source.set_max_speed(self._server, 0, post_copy=False)
        if presence is Presence.PAUSED and "pause" in self._journal.kinds():
            with suppress(exceptions.HypervisorError):
                self._source.resume(self._server)
                self._journal.note("knob", "resumed on the source")

    def _set_downtime(self, action: monitor.SetDowntime) -> None:
        self._source.set_max_downtime(self._server, action.milliseconds)
        self._journal.note("knob", f"max downtime {action.milliseconds} ms" + (f": {action.reason}" if action.reason else ""))

    def _set_speed(self, action: monitor.SetSpeed) -> None:
        self._slowed = True
        self._source.set_max_speed(self._server, action.mib_s, action.post_copy)
        limit = f"{action.mib_s} MiB/s" if action.mib_s else "without a limit"
        self._journal.note("knob", f"max bandwidth {limit}{' in post-copy' if action.post_copy else ''}")

    def _start_post_copy(self, action: monitor.PostCopy) -> None:
        """It may be asked of libvirt several times; that it has begun, the guest's presence tells."""
        self._tell_once("post-copy", action.reason, "force_complete", self._source.start_post_copy)

    def _abort(self, action: monitor.Abort) -> None:
        """It may be asked of libvirt several times: one that comes before the job is known to QEMU may not be heard."""
        self._tell_once("abort", action.reason, "abort", self._source.abort)

    def _tell_once(self, kind: str, reason: str, phase: str, verb: Callable[[str], None]) -> None:
        """Ask it of libvirt, but say it the first time only."""
        first = self._journal.note_once(kind, reason)
        if first:
            self._announce(f"{phase}.start")
        verb(self._server)
        if first:
            self._announce(f"{phase}.end")

    def _pause(self, action: monitor.Pause) -> None:
        """A guest that does not run is left as it is: its user paused it, or we did, or QEMU is just switching over."""
        presence = self._source.presence(self._server)
        if presence is not Presence.RUNNING:
            self._journal.note_once("knob", f"the guest is {presence} and {NEED_NOT_BE_PAUSED}")
            return
        self._announce("force_complete.start")
        self._journal.note("pause", action.reason)
        self._journal.flush()  # first: whoever goes on from here must know who paused it
        self._source.pause(self._server)
        self._announce("force_complete.end")
