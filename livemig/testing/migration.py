"""One live migration as the two daemons and the two QEMUs carry it out, in a task of the fleet: the client who asked for it only waits.

The order of events and the states with their reasons are those seen on two real libvirtd 9.0, and on two of 11.3 where the host's version says so; the contract
suite compares them.
"""

from __future__ import annotations

import functools
import math
from typing import Any

from livemig.testing import blocks, errors, networks, processors
from livemig.testing import constants as C
from livemig.testing.fleet import TELLS_SHUTDOWN, Domain, Fleet, Host
from livemig.testing.guests import Definition
from livemig.testing.physics import INSTANT, MIB, PAGE, SWITCH_TIME, Copy, Stage

MIGRATING = (C.VIR_DOMAIN_PAUSED, C.VIR_DOMAIN_PAUSED_MIGRATION)
STARTING = (C.VIR_DOMAIN_PAUSED, C.VIR_DOMAIN_PAUSED_STARTING_UP)
PAUSED = (C.VIR_DOMAIN_PAUSED, C.VIR_DOMAIN_PAUSED_USER)
RUNNING = (C.VIR_DOMAIN_RUNNING, C.VIR_DOMAIN_RUNNING_MIGRATED)
CANCELLED = (C.VIR_DOMAIN_RUNNING, C.VIR_DOMAIN_RUNNING_MIGRATION_CANCELED)
SHUT_OFF = (C.VIR_DOMAIN_SHUTOFF, C.VIR_DOMAIN_SHUTOFF_MIGRATED)
POST_COPY = (
    (C.VIR_DOMAIN_PAUSED, C.VIR_DOMAIN_PAUSED_POSTCOPY),
    (C.VIR_DOMAIN_RUNNING, C.VIR_DOMAIN_RUNNING_POSTCOPY),
)
POST_COPY_FAILED = (
    (C.VIR_DOMAIN_PAUSED, C.VIR_DOMAIN_PAUSED_POSTCOPY_FAILED),
    (C.VIR_DOMAIN_RUNNING, C.VIR_DOMAIN_RUNNING_POSTCOPY_FAILED),
)
# Versions of libvirt. The first was seen with 11.3 and not with 9.0, so it began somewhere between.
TELLS_ITERATION_FIRST = 11_000_000
DIES_OF_RESUMPTION = range(11_002_000, 11_004_000)
# No limit, MiB/s: libvirt's own "unlimited".
UNLIMITED = 2**63 // MIB - 1

MIGRATE_FLAGS = functools.reduce(int.__or__, (value for name, value in vars(C).items() if name.startswith("VIR_MIGRATE_") and isinstance(value, int)))
MIGRATE_PARAMETERS = {value for name, value in vars(C).items() if name.startswith("VIR_MIGRATE_PARAM_")}
MUTUALLY_EXCLUSIVE = (
    ("VIR_MIGRATE_NON_SHARED_DISK", "VIR_MIGRATE_NON_SHARED_INC"),
    ("VIR_MIGRATE_TUNNELLED", "VIR_MIGRATE_PARALLEL"),
)


class Migration:
    """A job: `source` on its way to the daemon at `address`. `error` is what the caller gets once it has `returned`."""

    def __init__(self, source: Domain, address: str, port: str, flags: int, parameters: dict[str, Any], definition: Definition) -> None:
        self.source = source
        self.fleet: Fleet = source.host.fleet
        self.destination: Host = source.host
        self.target: Domain | None = None
        self.flags = flags
        self.definition = definition
        self._copied = blocks.copied(source, flags, parameters)
        self.copy = self._new_copy(source, flags, parameters)
        self.phase = "prepare"
        self.error: errors.libvirtError | None = None
        self.returned = False
        self.address = (address, port)
        self._bandwidth: int = parameters.get(C.VIR_MIGRATE_PARAM_BANDWIDTH, 0) or source.max_speed
        self._post_copy_bandwidth: int = parameters.get(C.VIR_MIGRATE_PARAM_BANDWIDTH_POSTCOPY, 0)
        self._was_running = source.runs
        self._began = self.fleet.time()
        self._moved = self._began
        self._copying = False
        self._announced = 0
        self._aborting = False
        self._broken = False
        self._paused = False
        self._apart_since: float | None = None
        self._deaths = (source.host.deaths, 0)
        self._doom: errors.libvirtError | None = None
        self._downtime = SWITCH_TIME
        self._replaced: Domain | None = None

    @staticmethod
    def _new_copy(source: Domain, flags: int, parameters: dict[str, Any]) -> Copy:
        return Copy(
            memory=source.definition.memory_mib,
            dirty_rate=source.load.dirty_mib_s,
            working_set=source.load.working_set_mib,
            bandwidth=0.0,
            disks=sum(disk.size_mib for disk in blocks.copied(source, flags, parameters)),
            auto_converge=bool(flags & C.VIR_MIGRATE_AUTO_CONVERGE),
            throttle_initial=parameters.get(C.VIR_MIGRATE_PARAM_AUTO_CONVERGE_INITIAL, 20),
            throttle_increment=parameters.get(C.VIR_MIGRATE_PARAM_AUTO_CONVERGE_INCREMENT, 10),
        )

    # What the job's owner and others may do meanwhile; all under the fleet's lock

    @property
    def limit(self) -> float:
        """MiB/s that the client permits; 0 is no limit."""
        return self._post_copy_bandwidth if self.copy.stage is Stage.POST_COPY else self._bandwidth

    def set_speed(self, mib_s: int, post_copy: bool) -> None:
        if post_copy:
            self._post_copy_bandwidth = mib_s
        else:
            self._bandwidth = mib_s
        self.fleet.changed()

    def abort(self) -> None:
        """Ask for the end of a job in pre-copy. Raises libvirt's error in post-copy."""
        if self.copy.stage is Stage.POST_COPY:
            raise errors.ABORT_POSTCOPY()
        self._aborting = True
        self.fleet.changed()

    def abort_post_copy(self) -> None:
        """Interrupt a post-copy, until it is resumed (VIR_DOMAIN_ABORT_JOB_POSTCOPY)."""
        if self.copy.stage is not Stage.POST_COPY:
            raise errors.ABORT_NOT_POSTCOPY()
        if self._broken:
            raise errors.INTERNAL(
                reason="unable to execute QEMU command 'migrate-pause': migrate-pause is currently only supported during postcopy-active state"
            )
        self._paused = True
        self._break()

    def check_resumable(self) -> None:
        """Raise what the source's daemon refuses a resumption with."""
        if not self._broken:
            raise errors.NOT_POSTCOPY_FAILED(name=self.source.definition.name)

    def resume_post_copy(self) -> None:
        """Go on with a broken post-copy (VIR_MIGRATE_POSTCOPY_RESUME)."""
        self.check_resumable()
        if self.destination.libvirt_version in DIES_OF_RESUMPTION:
            self.destination.up = False
            raise errors.SOCKET_CLOSED()
        self._paused = False
        self.returned, self.error = False, None
        self._mend()

    def start_post_copy(self) -> None:
        """Let the guest go on at the destination at once. A second time changes nothing."""
        if not self.flags & C.VIR_MIGRATE_POSTCOPY:
            raise errors.NOT_POSTCOPY()
        self._move()
        if self.copy.stage is Stage.POST_COPY:
            return
        if not self.copy.started or self.target is None or self.phase != "copy" or self._doom:
            raise errors.POSTCOPY_TOO_EARLY()
        self.copy.start_post_copy()
        self.source.become(*POST_COPY[0])
        self._tell(self.source, C.VIR_DOMAIN_EVENT_SUSPENDED, C.VIR_DOMAIN_EVENT_SUSPENDED_MIGRATED)
        telling = [lambda: self._tell(self.source, C.VIR_DOMAIN_EVENT_SUSPENDED, C.VIR_DOMAIN_EVENT_SUSPENDED_POSTCOPY), self._announce]
        for tell in telling if self.source.host.libvirt_version < TELLS_ITERATION_FIRST else reversed(telling):
            tell()
        self._persist()
        self.target.become(*POST_COPY[1])
        self._tell(self.target, C.VIR_DOMAIN_EVENT_RESUMED, C.VIR_DOMAIN_EVENT_RESUMED_POSTCOPY)
        self.fleet.changed()

    def stats(self, completed: bool = False) -> dict[str, Any]:
        """libvirt's typed parameters. Before QEMU has begun there is no memory to be seen, and while it copies `downtime` is the limit."""
        self._move()
        elapsed = round((self.fleet.time() - self._began) * 1000)
        shown: dict[str, Any] = {"operation": C.VIR_DOMAIN_JOB_OPERATION_MIGRATION_OUT, "time_elapsed": elapsed}
        if completed:
            shown |= {"time_elapsed_net": elapsed, "downtime": round(self._downtime * 1000), "downtime_net": round(self._downtime * 1000)}
        elif self._copying and self.copy.started:
            shown["downtime"] = self.source.max_downtime_ms
        shown |= self._amounts()
        return shown if completed else {**shown, "type": C.VIR_DOMAIN_JOB_UNBOUNDED}

    def _amounts(self) -> dict[str, Any]:
        copy = self.copy
        disks = {"total": copy.disks, "processed": copy.disks - copy.disks_left, "remaining": copy.disks_left}
        if not self._copying:
            disks = dict.fromkeys(disks, 0.0)
        going = self._copying and copy.started
        memory = {"total": copy.memory, "processed": copy.sent, "remaining": copy.left} if going else dict.fromkeys(disks, 0.0)
        parts = {"data": {key: memory[key] + disks[key] for key in memory}, "memory": memory, "disk": disks}
        shown = {f"{part}_{key}": int(size * MIB) for part, sizes in parts.items() for key, size in sizes.items()}
        shown |= {"memory_dirty_rate": int(copy.counted_rate * MIB / PAGE), "memory_iteration": copy.iteration if going else 0}
        shown |= {"memory_postcopy_requests": 0}
        return {**shown, **self._details()} if going else shown

    def _details(self) -> dict[str, Any]:
        sent = int(self.copy.sent * MIB)
        shown = {
            "setup_time": 1,
            "memory_bps": int(self.copy.bandwidth * MIB),
            "memory_constant": 0,
            "memory_normal": sent // PAGE,
            "memory_normal_bytes": sent,
            "memory_page_size": PAGE,
        }
        return {**shown, "auto_converge_throttle": self.copy.throttle} if self.copy.throttle else shown

    # The job's own task

    def run(self) -> None:
        """The whole migration."""
        try:
            self._prepare()
            self._transfer()
            self._finish()
        except errors.libvirtError as failure:
            self._fail(failure)

    def _prepare(self) -> None:
        """The destination's daemon is reached and starts a QEMU that waits."""
        destination = self.fleet.connectable(self.source.host, *self.address)
        with self.fleet.lock:
            if destination is self.source.host:
                raise errors.SAME_HOST(uuid=destination.uuid)
            self.destination = destination
            destination.jobs.add(self)
            self._deaths = (self._deaths[0], destination.deaths)
            self.target = self._admitted()
        self._pass(self.fleet.setup_s)
        with self.fleet.lock:
            self.target.become(*MIGRATING)
            self._tell(self.target, C.VIR_DOMAIN_EVENT_STARTED, C.VIR_DOMAIN_EVENT_STARTED_MIGRATED)
            self.phase, self._copying, self._moved = "copy", True, self.fleet.time()
            self._take_inputs()
            self._announce()

    def _admitted(self) -> Domain:
        """The domain which the destination makes for the guest. Raises what its daemon would refuse it with."""
        host, what = self.destination, self.definition
        old = host.domains.get(what.uuid)
        if old and old.definition.name != what.name:
            raise errors.UUID_TAKEN(name=old.definition.name, uuid=what.uuid)
        if old and old.active:
            raise errors.ALREADY_ACTIVE(name=what.name)
        for other in host.domains.values():
            if other.definition.name == what.name and other is not old:
                raise errors.NAME_TAKEN(name=what.name, uuid=other.definition.uuid)
        if host.refuses_cpu or not processors.runs(host.cpu_model, what.cpu_model):
            raise errors.CPU_INCOMPATIBLE(features=what.cpu_model)
        if what.machine not in host.machines:
            raise errors.NO_MACHINE(machine=what.machine)
        networks.plug_in(host, what.interfaces)
        for disk in what.disks:
            blocks.place(host, disk, disk in self._copied)
        self._replaced = old
        target = Domain(host, what, self.source.load, *STARTING, persistent=bool(old and old.persistent), id=host.next_id(), job=self)
        host.domains[what.uuid] = target
        return target

    def _transfer(self) -> None:
        """Iterations, until what is left fits the permitted downtime or a post-copy has sent it all."""
        while self.copy.stage not in (Stage.CONVERGED, Stage.DONE):
            with self.fleet.lock:
                inputs, seconds = self._inputs(), self.copy.until_turn()
            self._wait(lambda inputs=inputs: self._inputs() != inputs, seconds)
            with self.fleet.lock:
                self._move()

    def _finish(self) -> None:
        """Switch-over, and the last words of both daemons."""
        if self.copy.stage is Stage.CONVERGED:
            self._stop_source()
            self._pass(self._downtime)
        with self.fleet.lock:
            self._start_target()
        post_copy = self.source.reason == C.VIR_DOMAIN_PAUSED_POSTCOPY
        if post_copy:
            self.fleet.wait(lambda: self.source.host.up and self.destination.up)
        self.fleet.sleep(self.fleet.finish_s)
        with self.fleet.lock:
            self._end_source(post_copy)
            self._return(None)

    def _stop_source(self) -> None:
        with self.fleet.lock:
            self.phase = "finish"
            self._downtime = self.copy.downtime
            if self.source.runs:
                self.source.become(*MIGRATING)
                self._tell(self.source, C.VIR_DOMAIN_EVENT_SUSPENDED, C.VIR_DOMAIN_EVENT_SUSPENDED_MIGRATED)
            self.copy.switch_over()
            self._announce()

    def _start_target(self) -> None:
        target = self._target()
        for disk in self._copied:
            blocks.arrive(self.source.host, self.destination, disk)
        if self.source.reason != C.VIR_DOMAIN_PAUSED_POSTCOPY:
            self._persist()
        if self._was_running:
            target.become(*RUNNING)
            self._tell(target, C.VIR_DOMAIN_EVENT_RESUMED, C.VIR_DOMAIN_EVENT_RESUMED_MIGRATED)
        else:
            target.become(*PAUSED)
            self._tell(target, C.VIR_DOMAIN_EVENT_SUSPENDED, C.VIR_DOMAIN_EVENT_SUSPENDED_PAUSED)
        target.job = None
        self.phase = "end"

    def _persist(self) -> None:
        if self.flags & C.VIR_MIGRATE_PERSIST_DEST:
            target = self._target()
            target.persistent = True
            detail = C.VIR_DOMAIN_EVENT_DEFINED_UPDATED if self._replaced else C.VIR_DOMAIN_EVENT_DEFINED_ADDED
            self._tell(target, C.VIR_DOMAIN_EVENT_DEFINED, detail)

    def _end_source(self, post_copy: bool) -> None:
        """A source daemon that died after the switch-over does not know how it ended: it leaves its copy paused, with no record.

        After a post-copy it ends its copy, but does not know that it was to be undefined.
        """
        source, attended = self.source, self._deaths == self._counted_deaths()
        if not attended and not post_copy:
            return
        if source.active:
            source.persistent = source.persistent and not (attended and self.flags & C.VIR_MIGRATE_UNDEFINE_SOURCE)
            source.host.end(source, SHUT_OFF, C.VIR_DOMAIN_EVENT_STOPPED_MIGRATED)
        if not attended:
            return
        stats = self.stats(completed=True)
        source.host.emit(C.VIR_DOMAIN_EVENT_ID_JOB_COMPLETED, source, stats)
        source.completed = stats
        if not post_copy:
            self._target().completed = {**stats, "operation": C.VIR_DOMAIN_JOB_OPERATION_MIGRATION_IN}

    def _fail(self, failure: errors.libvirtError) -> None:
        """Back to the source. In post-copy there is no way back: both copies are left as they are."""
        self.fleet.sleep(self.fleet.finish_s)
        with self.fleet.lock:
            if self.copy.stage is not Stage.POST_COPY:
                self._remove_target()
                self._resume_source()
            elif not self._broken:
                self._abandon_survivor()
            self._return(failure)

    def _abandon_survivor(self) -> None:
        """One QEMU died in post-copy: the other waits for it, for ever."""
        target = self._target()
        if target.active:
            target.become(*POST_COPY_FAILED[1])
            self._tell(target, C.VIR_DOMAIN_EVENT_RESUMED, C.VIR_DOMAIN_EVENT_RESUMED_POSTCOPY_FAILED)
        elif self.source.active:
            self.source.become(*POST_COPY_FAILED[0])
            self._tell(self.source, C.VIR_DOMAIN_EVENT_SUSPENDED, C.VIR_DOMAIN_EVENT_SUSPENDED_POSTCOPY_FAILED)

    def _remove_target(self) -> None:
        """The source's daemon has it ended; a destination that no longer hears of the source destroys it by itself."""
        if self.target and self.destination.domains.get(self.definition.uuid) is self.target:
            deserted = self.source.host.deaths != self._deaths[0] or self._link_lost()
            detail = C.VIR_DOMAIN_EVENT_STOPPED_DESTROYED if deserted else C.VIR_DOMAIN_EVENT_STOPPED_FAILED
            if deserted and self.destination.libvirt_version < TELLS_SHUTDOWN:
                self._tell(self.target, C.VIR_DOMAIN_EVENT_SHUTDOWN, C.VIR_DOMAIN_EVENT_SHUTDOWN_HOST)
            self.target.persistent = False
            self.destination.end(self.target, (C.VIR_DOMAIN_SHUTOFF, C.VIR_DOMAIN_SHUTOFF_FAILED), detail)
        if self._replaced:
            self.destination.domains.setdefault(self.definition.uuid, self._replaced)

    def _resume_source(self) -> None:
        if (self.source.state, self.source.reason) == MIGRATING and self._was_running:
            self.source.become(*CANCELLED)
            self._tell(self.source, C.VIR_DOMAIN_EVENT_RESUMED, C.VIR_DOMAIN_EVENT_RESUMED_MIGRATED)

    def _return(self, failure: errors.libvirtError | None) -> None:
        self.error, self.returned, self.source.job = failure, True, None
        if self.target:
            self.target.job = None
        for host in (self.source.host, self.destination):
            host.jobs.discard(self)
        self.fleet.changed()

    # Waiting

    def _pass(self, seconds: float) -> None:
        until = self.fleet.time() + seconds
        while (left := until - self.fleet.time()) > INSTANT:
            self._wait(lambda: False, left)

    def _wait(self, ready: Any, seconds: float) -> None:
        """Wait for `ready`, for so long, or for what ends the job, which is raised."""
        limit = min(seconds, self._patience())
        self.fleet.wait(lambda: ready() or self._trouble() is not None, None if limit == math.inf else limit)
        with self.fleet.lock:
            if self.copy.stage is Stage.POST_COPY:
                self._follow_link()
            trouble = self._trouble()
            if trouble is not None:
                raise trouble

    def _silence(self) -> float:
        """Seconds since the link fell silent; 0 while it speaks."""
        if self.fleet.linked(self.source.host, self.destination):
            self._apart_since = None
            return 0.0
        if self._apart_since is None:
            self._apart_since = self.fleet.time()
        return self.fleet.time() - self._apart_since

    def _patience(self) -> float:
        """Seconds after which the daemons take the link for lost, as it is now; infinite when nothing is wrong, or known already."""
        silence, interval, count = self._silence(), *self.source.host.keepalive
        left = interval * (count + 1) - silence
        return left if left > INSTANT and not self.fleet.linked(self.source.host, self.destination) else math.inf

    def _link_lost(self) -> bool:
        interval, count = self.source.host.keepalive
        return self._silence() >= interval * (count + 1) - INSTANT

    def _trouble(self) -> errors.libvirtError | None:
        """What ends the job, if anything does; the first trouble stays."""
        self._doom = self._doom or self._new_trouble()
        return self._doom

    def _new_trouble(self) -> errors.libvirtError | None:
        if not self.source.active:
            return errors.SOURCE_DIED()
        if self.target and not self.target.active:
            return errors.JOB_FAILED(reason="Unable to write to socket: Bad file descriptor")
        if self.copy.stage is Stage.POST_COPY:
            return None
        if self._aborting:
            return errors.ABORTED()
        if self._deaths != self._counted_deaths() or self._link_lost():
            return errors.SOCKET_CLOSED()
        return self._arranged()

    def _counted_deaths(self) -> tuple[int, int]:
        """How often both daemons have died (the destination's does not matter before it is known)."""
        return self.source.host.deaths, self.destination.deaths if self.target else 0

    def _arranged(self) -> errors.libvirtError | None:
        """The failure that was asked for by a switch; it happens once."""
        host = self.destination
        if self.target is None or not host.migration_error or host.migration_error_phase != self.phase:
            return None
        reason = host.switches.pop("migration_error")
        return errors.INTERNAL(reason=reason)

    # The copy

    def _inputs(self) -> tuple[float, ...]:
        """All that the copy depends on."""
        speed = self.fleet.bandwidth(self)
        load = self.source.load
        return speed, self.source.max_downtime_ms / 1000, load.dirty_mib_s, load.working_set_mib, float(self.source.runs), float(self._broken)

    def _take_inputs(self) -> None:
        copy = self.copy
        speed, copy.max_downtime, copy.dirty_rate, copy.working_set, running, broken = self._inputs()
        copy.bandwidth = 0.0 if broken else speed
        copy.running = bool(running)

    def _move(self) -> None:
        """Bring the copy to this instant, and tell of iterations that began meanwhile."""
        now = self.fleet.time()
        if self._copying and self.phase == "copy":
            self.copy.advance(now - self._moved)
            self._take_inputs()
            if self.copy.stage is not Stage.DONE:
                self._announce()
        self._moved = now

    def _announce(self) -> None:
        for iteration in range(self._announced + 1, self.copy.iteration + 1):
            self.source.host.emit(C.VIR_DOMAIN_EVENT_ID_MIGRATION_ITERATION, self.source, iteration)
        self._announced = self.copy.iteration

    # Post-copy on a bad link

    def _follow_link(self) -> None:
        if not self._broken and self._link_lost():
            self._break()
        elif self._broken and not self._paused and not self._silence():
            self._mend()

    def _break(self) -> None:
        self._move()
        self._broken = True
        self._both(POST_COPY_FAILED, C.VIR_DOMAIN_EVENT_RESUMED_POSTCOPY_FAILED, C.VIR_DOMAIN_EVENT_SUSPENDED_POSTCOPY_FAILED)
        self.error, self.returned = errors.POSTCOPY_FAILED(), True
        self.fleet.changed()

    def _mend(self) -> None:
        self._move()
        self._broken = False
        self._both(POST_COPY, C.VIR_DOMAIN_EVENT_RESUMED_POSTCOPY, C.VIR_DOMAIN_EVENT_SUSPENDED_POSTCOPY)
        self.fleet.changed()

    def _both(self, states: tuple[tuple[int, int], tuple[int, int]], resumed: int, suspended: int) -> None:
        target = self._target()
        self.source.become(*states[0])
        target.become(*states[1])
        self._tell(target, C.VIR_DOMAIN_EVENT_RESUMED, resumed)
        self._tell(self.source, C.VIR_DOMAIN_EVENT_SUSPENDED, suspended)

    def _target(self) -> Domain:
        assert self.target is not None
        return self.target

    def _tell(self, domain: Domain, event: int, detail: int) -> None:
        domain.host.emit(C.VIR_DOMAIN_EVENT_ID_LIFECYCLE, domain, event, detail)


def check_migration(uri: str | None, params: dict[str, Any], flags: int) -> None:
    """Raise what libvirt refuses at once, whatever the domain."""
    if not uri:
        raise errors.NO_DESTINATION()
    for one, other in MUTUALLY_EXCLUSIVE:
        if flags & getattr(C, one) and flags & getattr(C, other):
            raise errors.EXCLUSIVE(one=one, other=other)
    refusals = (
        (flags & C.VIR_MIGRATE_ZEROCOPY and not flags & C.VIR_MIGRATE_PARALLEL, errors.ZEROCOPY_ALONE()),
        (not flags & C.VIR_MIGRATE_PEER2PEER, errors.DIRECT()),
        (flags & ~MIGRATE_FLAGS, errors.UNKNOWN_FLAGS(flags=flags & ~MIGRATE_FLAGS)),
        (flags & C.VIR_MIGRATE_TUNNELLED and flags & C.VIR_MIGRATE_POSTCOPY, errors.TUNNELLED_POSTCOPY()),
        *((True, errors.UNKNOWN_PARAMETER(name=name)) for name in sorted(params.keys() - MIGRATE_PARAMETERS)),
    )
    for refused, error in refusals:
        if refused:
            raise error
