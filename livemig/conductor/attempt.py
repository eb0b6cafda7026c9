"""One migration under way: told to libvirt by us, or found running after a restart. It ends with a verdict from both hosts."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

from oslo_log import log

from livemig import exceptions
from livemig.conductor import monitor
from livemig.conductor.verdict import Verdict, judge
from livemig.db.store import Store
from livemig.facts import Disconnected, HostEvent, Iteration, Job, JobCompleted, Outcome, Plan, Presence, ServerChanged
from livemig.hypervisor.connection import Hypervisor
from livemig.records import Migration
from livemig.runtime import Mailbox, Runtime
from livemig.states import Status

LOG = log.getLogger(__name__)

_ASK_AGAIN_S = (0.1, 2.0)  # first and longest pause between two questions for an undecided verdict


@dataclass(frozen=True, slots=True)
class Returned:
    """libvirt's call came back; `error` is what it raised."""

    error: exceptions.HypervisorError | None


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
    """Follows one migration to its outcome. `run()` blocks; everything that happens reaches it as a letter."""

    def __init__(
        self,
        store: Store,
        runtime: Runtime,
        migration: Migration,
        source: Hypervisor,
        destination: Hypervisor,
        pace: Pace,
        memory_mib: int,
        tell: Callable[[str], None],
    ) -> None:
        self._store = store
        self._runtime = runtime
        self._migration = migration
        self._source = source
        self._destination = destination
        self._pace = pace
        self._memory_mib = memory_mib
        self._announce = tell
        self._letters: Mailbox[Letter] = Mailbox(runtime)
        self._lines: list[tuple[str, str]] = []  # for the event log, until the database has them
        self._plan: Plan | None = None  # what libvirt is still to be told
        self._told = False  # a call of ours is under way
        self._started_at = migration.started_at or migration.created_at
        self._error: exceptions.HypervisorError | None = None
        self._completed_job: Job | None = None
        self._memory = monitor.Memory()
        self._wishes = _wishes(migration)
        self._said: set[tuple[str, str]] = set()
        self._written_at = float("-inf")

    def start(self, plan: Plan, at: datetime) -> None:
        """Have `run()` tell libvirt, once it hears what both hosts say. `at` is when the migration's time begins to count."""
        self._plan = plan
        self._started_at = at

    def wake(self) -> None:
        """Look at the migration's row at once for what somebody wishes, instead of when progress is written next."""
        self._letters.put(Woken())

    def run(self) -> tuple[Outcome, dict[str, Presence]]:
        """Watch until both hosts agree where the guest is; returns that, and how each host has it. It may be called again after DatabaseUnavailable."""
        stops = [self._listen("source", self._source), self._listen("destination", self._destination)]
        try:
            self._tell()
            while True:
                self._read_letters(self._pace.look_s)
                if self._is_under_way():
                    continue
                outcome = self._verdict()
                if outcome is not None:
                    self._flush()
                    return outcome
        finally:
            for stop in stops:
                stop()

    def _tell(self) -> None:
        """Call libvirt in a thread that does nothing else, the first time."""
        plan, self._plan = self._plan, None
        if plan is not None:
            self._told = True
            self._runtime.start(f"migrate-{self._migration.id}", self._call, plan)

    def _call(self, plan: Plan) -> None:
        error = None
        try:
            self._source.migrate(self._migration.server_uuid, plan)
        except exceptions.HypervisorError as failure:
            error = failure
        except Exception as failure:
            LOG.exception("Migration %s: the call to libvirt failed in an unexpected way", self._migration.uuid)
            error = exceptions.HypervisorError(host=self._source.name, code=0, message=repr(failure))
        self._letters.put(Returned(error))

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
                self._told = False
                self._error = letter.error
                self._note("libvirt", "migrateToURI3 returned" if letter.error is None else f"migrateToURI3: {letter.error}")
            elif isinstance(letter, Woken):
                self._written_at = float("-inf")
            elif isinstance(letter[1], Iteration):
                iterations.append(letter[1].number)
            else:
                self._read_event(*letter)
        if iterations:  # a guest that does not converge has dozens a second
            first, last = iterations[0], iterations[-1]
            self._note("source", f"iteration {first}" if first == last else f"iterations {first} to {last}")

    def _read_event(self, end: str, event: HostEvent) -> None:
        if isinstance(event, JobCompleted):
            self._completed_job = event.job
            self._note(end, f"job completed: downtime {event.job.downtime_ms} ms")
        elif isinstance(event, ServerChanged):
            self._note(end, event.text)
        elif isinstance(event, Disconnected):
            self._note(end, f"connection lost: {event.reason}")

    def _is_under_way(self) -> bool:
        """Look at the job and do what is due. False when there is none any more."""
        try:
            job = self._source.job(self._migration.server_uuid)
        except exceptions.HypervisorError:
            return self._told  # our own call has a connection of its own and will come back; without one, ask both ends
        if job is None or not job.outgoing:
            return self._told
        self._watch(job)
        return True

    def _watch(self, job: Job) -> None:
        now = self._runtime.monotonic()
        if now - self._written_at >= self._pace.write_s:
            self._written_at = now
            self._to_database(lambda: self._exchange(job))
        elapsed_s = (self._runtime.now() - self._started_at).total_seconds()
        self._memory, actions = monitor.decide(self._migration.policy, self._memory, job, self._memory_mib, elapsed_s, self._wishes)
        for action in actions:
            self._perform(action)
        self._flush()

    def _exchange(self, job: Job) -> None:
        """Write down how far it is, and read what somebody wishes."""
        if job.started:
            self._store.migrations.progress(self._migration, job)
        self._wishes = _wishes(self._store.migrations.get(self._migration.id))

    def _perform(self, action: monitor.Action) -> None:
        try:
            if isinstance(action, monitor.SetDowntime):
                self._source.set_max_downtime(self._migration.server_uuid, action.milliseconds)
                self._note("knob", f"max downtime {action.milliseconds} ms")
            elif isinstance(action, monitor.Abort):
                self._abort(action.reason)
            else:
                self._pause(action.reason)
        except exceptions.HypervisorError as error:
            self._note_once("libvirt", f"{type(action).__name__}: {error}")  # mostly the job that ended meanwhile; the verdict tells

    def _abort(self, reason: str) -> None:
        """It may be asked of libvirt several times: one that comes before the job is known to QEMU may not be heard."""
        first = self._note_once("abort", reason)
        if first:
            self._announce("abort.start")
        self._source.abort(self._migration.server_uuid)
        if first:
            self._announce("abort.end")

    def _pause(self, reason: str) -> None:
        """A guest that does not run is left as it is: its user paused it, or we did, or QEMU is just switching over."""
        presence = self._source.presence(self._migration.server_uuid)
        if presence is not Presence.RUNNING:
            self._note_once("knob", f"the guest is {presence} and need not be paused")
            return
        self._announce("force_complete.start")
        self._note("pause", reason)
        self._flush()  # first: whoever goes on from here must know who paused it
        self._source.pause(self._migration.server_uuid)
        self._announce("force_complete.end")

    def _verdict(self) -> tuple[Outcome, dict[str, Presence]] | None:
        """Ask both hosts until they agree. None when a job turns out to run after all."""
        pause, longest = _ASK_AGAIN_S
        uuid = self._migration.server_uuid
        said = ""
        while True:
            source, destination = self._source.presence(uuid), self._destination.presence(uuid)
            verdict = judge(source, destination)
            text = f"{verdict.value} (source: {source}, destination: {destination})"
            if verdict is not Verdict.UNDECIDED:
                self._note("verdict", text)
                return self._outcome(verdict, source), {self._source.name: source, self._destination.name: destination}
            if text != said:
                self._note("verdict", said := text)
                self._flush()
            self._read_letters(pause)
            pause = min(2 * pause, longest)
            if self._is_under_way():
                return None

    def _outcome(self, verdict: Verdict, source: Presence) -> Outcome:
        migration = self._migration
        if verdict is Verdict.COMPLETED:
            return Outcome(Status.COMPLETED, self._destination.name, job=self._final_job())
        if verdict is Verdict.LOST:
            reason = "The guest was found on neither host, or running on both. Nothing was done to it; a person must look."
            LOG.critical("Migration %s of server %s: %s", migration.uuid, migration.server_uuid, reason)
            return Outcome(Status.ERROR, migration.source, reason, lost=True)
        self._wake_up(source)
        reason = str(self._error) if self._error else "The job ended on the source without completing."
        return Outcome(Status.CANCELLED if self._abort_requested() else Status.FAILED, migration.source, reason)

    def _wake_up(self, source: Presence) -> None:
        """A guest that we paused to force completion goes on when it stayed after all."""
        kinds = {kind for kind, _text in self._lines} | {event.kind for event in self._store.migrations.events(self._migration.id)}
        if "pause" in kinds and source is Presence.PAUSED:
            with suppress(exceptions.HypervisorError):
                self._source.resume(self._migration.server_uuid)
                self._note("knob", "resumed on the source")

    def _abort_requested(self) -> bool:
        return self._store.migrations.get(self._migration.id).abort_requested

    def _final_job(self) -> Job | None:
        """The measured figures: libvirt tells them by an event on the source, and remembers them at the destination."""
        self._read_letters(0)
        if self._completed_job is None:
            with suppress(exceptions.HypervisorError):
                self._completed_job = self._destination.completed_job(self._migration.server_uuid)
        return self._completed_job

    def _note(self, kind: str, text: str) -> None:
        LOG.info("Migration %s of server %s: %s: %s", self._migration.uuid, self._migration.server_uuid, kind, text)
        self._lines.append((kind, text))

    def _note_once(self, kind: str, text: str) -> bool:
        """False when it was said already."""
        if (kind, text) in self._said:
            return False
        self._said.add((kind, text))
        self._note(kind, text)
        return True

    def _flush(self) -> None:
        lines, self._lines = self._lines, []
        if lines and not self._to_database(lambda: self._store.migrations.record(self._migration.id, *lines)):
            self._lines = lines + self._lines

    def _to_database(self, write: Callable[[], None]) -> bool:
        """False while the database is away: the job goes on, and the event log catches up."""
        try:
            write()
        except exceptions.DatabaseUnavailable:
            return False
        return True


def _wishes(migration: Migration) -> monitor.Wishes:
    return monitor.Wishes(migration.abort_requested, migration.completion_forced)
