"""One migration under way: told to libvirt by us, or found running after a restart. It ends with a verdict from both hosts."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from oslo_log import log

from livemig import exceptions
from livemig.conductor import monitor
from livemig.conductor.journal import Journal, despite_database
from livemig.conductor.knobs import Knobs
from livemig.conductor.lease import Lapsed, Lease
from livemig.conductor.recovery import Recovery, interrupted
from livemig.conductor.verdict import Verdict, judge
from livemig.db.store import Store
from livemig.facts import Disconnected, HostEvent, Iteration, Job, JobCompleted, Outcome, Plan, Presence, ServerChanged
from livemig.hypervisor.connection import Hypervisor
from livemig.records import Migration
from livemig.runtime import Mailbox, Runtime
from livemig.states import Status

LOG = log.getLogger(__name__)

INTERRUPTED = "interrupted: the guest is on the destination, and waits there for memory that is still on the source"

_IF_IT_STAYS_SO = {Verdict.ABANDONED: Verdict.LOST, Verdict.FORGOTTEN: Verdict.COMPLETED, Verdict.HALTED: Verdict.LOST}
_OPEN = (Verdict.UNDECIDED, Verdict.INTERRUPTED, *_IF_IT_STAYS_SO)
_LOST = "The guest was found on neither host, or running on both. Nothing was done to it; a person must look."
_LOST_IN_POST_COPY = "The guest ran on the destination, a part of its memory still on the source, and is not well there. A person must look."
_FORGOTTEN = "The guest runs on the destination. The source's daemon died at the switch-over and left a paused copy: never resume it; a person must destroy it."
_STAYS_S = 20.0  # so long a destination has to notice that it has all the guest's memory, and a source that the guest has gone
_ASK_AGAIN_S = (0.1, 2.0)  # first and longest pause between two questions for an undecided verdict


@dataclass(frozen=True, slots=True)
class Returned:
    """libvirt's call came back; `error` is what it raised. `resumed` says that it was one to resume post-copy."""

    error: exceptions.HypervisorError | None
    resumed: bool = False


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds between looks at the job, and between writes of its progress."""

    look_s: float
    write_s: float


@dataclass(frozen=True, slots=True)
class Woken:
    """Somebody wrote into the migration's row."""


Letter = tuple[str, HostEvent] | Returned | Woken


class Attempt:
    """Follows one migration to its outcome, which began `elapsed_s` seconds ago. `run()` blocks; everything that happens reaches it as a letter."""

    def __init__(
        self,
        store: Store,
        runtime: Runtime,
        migration: Migration,
        lease: Lease,
        source: Hypervisor,
        destination: Hypervisor,
        pace: Pace,
        memory_mib: int,
        resumption: Plan,
        tell: Callable[[str], None],
        elapsed_s: float,
    ) -> None:
        self._store = store
        self._runtime = runtime
        self._migration = migration
        self._lease = lease
        self._source = source
        self._destination = destination
        self._pace = pace
        self._memory_mib = memory_mib
        self._resumption = resumption  # the plan by which post-copy is resumed
        self._journal = Journal(store, migration, runtime.monotonic)
        self._knobs = Knobs(migration, lease, source, self._journal, tell)
        self._letters: Mailbox[Letter] = Mailbox(runtime)
        self._plan: Plan | None = None  # what libvirt is still to be told
        self._told = False  # our call to begin is under way
        self._resuming = 0  # calls to resume post-copy that are under way
        self._began = runtime.monotonic() - elapsed_s
        self._error: exceptions.HypervisorError | None = None
        self._completed_job: Job | None = None
        self._memory = monitor.recalled(migration.remembered)
        self._wishes = _wishes(migration)
        self._share_mib_s = migration.bandwidth_mib_s
        self._post_copy = migration.status is Status.POST_COPY
        self._switch_known = self._post_copy  # the database knows it
        self._recovery: Recovery | None = None  # while post-copy is interrupted
        self._written_at = float("-inf")

    @property
    def hosts(self) -> tuple[str, str]:
        """The names of source and destination."""
        return self._source.name, self._destination.name

    def start(self, plan: Plan) -> None:
        """Have `run()` tell libvirt, once it hears what both hosts say. The migration's time begins to count now."""
        self._plan = plan
        self._began = self._runtime.monotonic()
        self._memory = monitor.Memory(speed=monitor.SetSpeed(plan.bandwidth_mib_s))

    def wake(self) -> None:
        """Look at the migration's row at once for what somebody wishes, instead of when progress is written next."""
        self._letters.put(Woken())

    def run(self) -> tuple[Outcome, dict[str, Presence]]:
        """Watch until both hosts agree where the guest is; returns that, and how each host has it. It may be called again after DatabaseUnavailable.

        Raises Lapsed when another conductor has it. While the lease only cannot be renewed it is watched, and nothing is done.
        """
        stops = [self._listen("source", self._source), self._listen("destination", self._destination)]
        try:
            self._tell()
            while True:
                self._read_letters(self._pace.look_s)
                if self._is_under_way():
                    continue
                outcome = self._verdict()
                if outcome is not None:
                    self._journal.close()
                    return outcome
        finally:
            for stop in stops:
                stop()

    def _tell(self) -> None:
        """Call libvirt in a thread that does nothing else, the first time."""
        plan, self._plan = self._plan, None
        if plan is not None:
            self._told = True
            self._runtime.start(f"migrate-{self._migration.id}", self._call, self._source.migrate, plan, False)

    def _call(self, verb: Callable[[str, Plan, Callable[[], None]], None], plan: Plan, resumed: bool) -> None:
        error = None
        try:
            verb(self._migration.server_uuid, plan, self._lease.check)
        except Lapsed as lapsed:
            error = exceptions.HypervisorError(host=self._source.name, code=0, message=f"libvirt was not told: {lapsed}")
        except exceptions.HypervisorError as failure:
            error = failure
        except Exception as failure:
            LOG.exception("Migration %s: the call to libvirt failed in an unexpected way", self._migration.uuid)
            error = exceptions.HypervisorError(host=self._source.name, code=0, message=repr(failure))
        self._letters.put(Returned(error, resumed))

    def _listen(self, end: str, hypervisor: Hypervisor) -> Callable[[], None]:
        uuid = self._migration.server_uuid

        def put(event: HostEvent) -> None:
            if isinstance(event, Disconnected) or event.uuid == uuid:
                self._letters.put((end, event))

        return hypervisor.listen(put)

    def _read_letters(self, timeout: float) -> None:
        iterations: list[int] = []
        for letter in self._letters.take(timeout):
            if isinstance(letter, Returned):
                self._read_return(letter)
            elif isinstance(letter, Woken):
                self._written_at = float("-inf")
            elif isinstance(letter[1], Iteration):
                iterations.append(letter[1].number)
            else:
                self._read_event(*letter)
        if self._lease.gone:
            raise Lapsed("another conductor has it")
        if iterations:  # a guest that does not converge has dozens a second
            self._journal.iterations(iterations[0], iterations[-1])

    def _read_return(self, letter: Returned) -> None:
        if letter.resumed:
            self._resuming -= 1
        else:
            self._told, self._error = False, letter.error
        call = "migrateToURI3 to resume post-copy" if letter.resumed else "migrateToURI3"
        succeeded = letter.error is None
        self._journal.note("libvirt", f"{call} returned" if succeeded else f"{call}: {letter.error}", succeeded=succeeded, resumed=letter.resumed)

    def _read_event(self, end: str, event: HostEvent) -> None:
        name = type(event).__name__
        if isinstance(event, JobCompleted):
            self._completed_job = event.job
            self._journal.note(end, f"job completed: downtime {event.job.downtime_ms} ms", event=name)
        elif isinstance(event, ServerChanged):
            self._journal.note(end, event.text, event=name)
        elif isinstance(event, Disconnected):
            self._journal.note(end, f"connection lost: {event.reason}", event=name)

    def _is_under_way(self) -> bool:
        """Look at the job and do what is due. False when there is none any more, or its post-copy is interrupted: then QEMU may hang, and is not asked."""
        presence = self._presence_of_source()
        if presence is Presence.POST_COPY_FAILED:
            return False
        try:
            job = self._source.job(self._migration.server_uuid)
        except exceptions.HypervisorError:
            return self._told  # our own call has a connection of its own and will come back; without one, ask both ends
        if job is None or not job.outgoing:
            return self._told
        if self._recovery is not None:
            self._recovery = None
            self._journal.note("post-copy", "resumed")
        self._watch(job, presence)
        return True

    def _presence_of_source(self) -> Presence:
        """Asked for only where a switch to post-copy is permitted: it costs a call each look."""
        if not self._migration.policy.post_copy:
            return Presence.RUNNING
        presence = self._source.presence(self._migration.server_uuid)
        self._follow_switch(presence)
        return presence

    def _follow_switch(self, source: Presence) -> None:
        """The database is told once that the guest runs on the destination."""
        self._post_copy = self._post_copy or source in monitor.IN_POST_COPY
        if self._post_copy and not self._switch_known:
            self._journal.flush()  # what led to it comes first
            self._switch_known = despite_database(lambda: self._store.migrations.switched(self._migration, self._lease.owner))

    def _watch(self, job: Job, presence: Presence) -> None:
        now = self._runtime.monotonic()
        if now - self._written_at >= self._pace.write_s:
            self._written_at = now
            despite_database(lambda: self._exchange(job))
        if not self._lease.held:
            return
        if self._post_copy and self._wishes.abort:
            self._journal.note_once("abort", "the guest runs on the destination already: there is no way back")
        look = monitor.Look(job, self._runtime.monotonic() - self._began, presence, self._share_mib_s)
        self._memory, actions = monitor.decide(self._migration.policy, self._memory, look, self._memory_mib, self._wishes)
        for action in actions:
            self._memory = self._knobs.perform(action, self._memory)
            self._written_at = float("-inf")  # whoever takes it up is to know
        self._journal.flush()

    def _exchange(self, job: Job) -> None:
        """Write down how far it is, and read what somebody wishes and what its share of the link is."""
        if job.begun:
            self._store.migrations.progress(self._migration, job, self._lease.owner, monitor.remembered(self._memory))
        row = self._store.migrations.get(self._migration.id)
        self._wishes, self._share_mib_s = _wishes(row), row.bandwidth_mib_s

    def _verdict(self) -> tuple[Outcome, dict[str, Presence]] | None:
        """Ask both hosts until they agree, and resume post-copy meanwhile if it is interrupted. None when a job turns out to run after all."""
        pause, longest = _ASK_AGAIN_S
        uuid = self._migration.server_uuid
        said = ""
        before, since = Verdict.UNDECIDED, 0.0
        while True:
            source, destination = self._source.presence(uuid), self._destination.presence(uuid)
            self._follow_switch(source)
            verdict = judge(source, destination, self._post_copy)
            if verdict is not before:
                before, since = verdict, self._runtime.monotonic()
            if self._runtime.monotonic() - since >= _STAYS_S:
                verdict = _IF_IT_STAYS_SO.get(verdict, verdict)
            text = f"{verdict.value} (source: {source}, destination: {destination})"
            if verdict not in _OPEN and self._lease.held:
                self._journal.note("verdict", text, verdict=verdict.name)
                return self._outcome(verdict, source), {self._source.name: source, self._destination.name: destination}
            if text != said:
                self._journal.note("verdict", said := text, verdict=verdict.name)
            if verdict is Verdict.INTERRUPTED and self._lease.held:
                self._recover()
            self._journal.flush()
            self._read_letters(pause)
            pause = min(2 * pause, longest)
            if self._is_under_way():
                return None

    def _recover(self) -> None:
        """Resume post-copy when it is time, or at once when somebody asks. One of several calls may hang: by hand there can be another."""
        now = self._runtime.monotonic()
        if self._recovery is None:
            self._recovery = interrupted(now)
            self._asked_to_resume()  # what was wished before was the switch
            self._journal.note("post-copy", INTERRUPTED)
        elif (by_hand := self._asked_to_resume()) or (now >= self._recovery.due_at and not self._resuming):
            self._recovery = self._recovery.tried(now)
            self._journal.note("post-copy", f"libvirt is told to resume it{', as was asked for' if by_hand else ''} (try {self._recovery.tries})")
            self._resuming += 1
            self._runtime.start(f"resume-{self._migration.id}", self._call, self._source.resume_post_copy, self._resumption, True)

    def _asked_to_resume(self) -> bool:
        try:
            return self._store.migrations.get(self._migration.id).completion_forced and self._store.migrations.heed_completion(self._migration.id)
        except exceptions.DatabaseUnavailable:
            return False

    def _outcome(self, verdict: Verdict, source: Presence) -> Outcome:
        migration = self._migration
        if verdict is Verdict.COMPLETED:
            left = _FORGOTTEN if source is Presence.MIGRATING else ""
            if left:
                LOG.critical("Migration %s of server %s: %s (%s)", migration.uuid, migration.server_uuid, left, migration.source)
            return Outcome(Status.COMPLETED, self._destination.name, left, job=self._final_job())
        if verdict is Verdict.LOST:
            reason = _LOST_IN_POST_COPY if self._post_copy else _LOST
            LOG.critical("Migration %s of server %s: %s", migration.uuid, migration.server_uuid, reason)
            return Outcome(Status.ERROR, self._destination.name if self._post_copy else migration.source, reason, lost=True)
        self._knobs.leave_as_it_was(source)
        reason = str(self._error) if self._error else "The job ended on the source without completing."
        return Outcome(Status.CANCELLED if self._abort_requested() else Status.FAILED, migration.source, reason)

    def _abort_requested(self) -> bool:
        return self._store.migrations.get(self._migration.id).abort_requested

    def _final_job(self) -> Job | None:
        """The measured figures: libvirt tells them by an event on the source, and remembers them at the destination."""
        self._read_letters(0)
        if self._completed_job is None:
            with suppress(exceptions.HypervisorError):
                self._completed_job = self._destination.completed_job(self._migration.server_uuid)
        return self._completed_job


def _wishes(migration: Migration) -> monitor.Wishes:
    return monitor.Wishes(migration.abort_requested, migration.completion_forced)
