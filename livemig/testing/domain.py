"""libvirt.virDomain over the simulated fleet. What a method does is in libvirt's documentation under the same name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from livemig.testing import blocks, documents, errors, networks, snapshots, statistics
from livemig.testing import constants as C
from livemig.testing.fleet import STATES, Domain
from livemig.testing.migration import UNLIMITED, Migration, check_migration
from livemig.testing.remote import exclusive, remote, uri_parts

if TYPE_CHECKING:
    from livemig.testing.connection import virConnect

# How long libvirtd lets a call wait for a domain that has a job.
STATE_LOCK_S = 30.0


class virDomain:
    """libvirt.virDomain: name, uuid and id as they were when it was looked up."""

    def __init__(self, connection: virConnect, domain: Domain) -> None:
        self._connection = connection
        self._name, self._uuid, self._id = domain.definition.name, domain.definition.uuid, domain.id

    def connect(self) -> virConnect:
        return self._connection

    def UUIDString(self) -> str:
        return self._uuid

    def name(self) -> str:
        return self._name

    def ID(self) -> int:
        return self._id

    def _domain(self) -> Domain:
        domain = self._connection.host.domains.get(self._uuid)
        if domain is None:
            raise errors.NO_DOMAIN(key=f"uuid '{self._uuid}' ({self._name})")
        return domain

    def _active(self) -> Domain:
        domain = self._domain()
        if not domain.active:
            raise errors.NOT_RUNNING()
        return domain

    def await_job(self) -> None:
        """Wait for the domain's job to end. Raises libvirt's time-out."""
        fleet, host = self._connection.fleet, self._connection.host

        def free() -> bool:
            domain = host.domains.get(self._uuid)
            return domain is None or domain.job is None

        if not fleet.wait(free, STATE_LOCK_S):
            raise errors.STATE_LOCK()

    def _tell(self, event: int, detail: int) -> None:
        domain = self._domain()
        domain.host.emit(C.VIR_DOMAIN_EVENT_ID_LIFECYCLE, domain, event, detail)

    # Looking

    @remote
    def isActive(self) -> int:
        return int(self._domain().active)

    @remote
    def isPersistent(self) -> int:
        return int(self._domain().persistent)

    @remote
    def state(self, flags: int = 0) -> list[int]:
        domain = self._domain()
        return [domain.state, domain.reason]

    @remote
    def info(self) -> list[int]:
        domain = self._domain()
        memory = domain.definition.memory_mib * 1024
        return [domain.state, memory, memory, domain.definition.vcpus, statistics.cpu_time_ns(domain) * domain.definition.vcpus]

    @remote
    def maxMemory(self) -> int:
        return self._domain().definition.memory_mib * 1024

    @remote
    def maxVcpus(self) -> int:
        return self._domain().definition.vcpus

    @remote
    def XMLDesc(self, flags: int = 0) -> str:
        return documents.domain(self._domain(), bool(flags & C.VIR_DOMAIN_XML_INACTIVE), bool(flags & C.VIR_DOMAIN_XML_MIGRATABLE))

    @remote
    def snapshotNum(self, flags: int = 0) -> int:
        return len(self._domain().snapshots)

    @remote
    def listAllSnapshots(self, flags: int = 0) -> list[snapshots.virDomainSnapshot]:
        return [snapshots.virDomainSnapshot(self._connection, self._domain(), xml) for xml in self._domain().snapshots]

    @exclusive
    def snapshotCreateXML(self, xmlDesc: str, flags: int = 0) -> snapshots.virDomainSnapshot:
        domain = self._domain()
        xml = snapshots.XML.format(number=len(domain.snapshots) + 1, domain=documents.domain(domain))
        domain.snapshots.append(xml)
        return snapshots.virDomainSnapshot(self._connection, domain, xml)

    @remote
    def autostart(self) -> int:
        return int(self._domain().autostart)

    @exclusive
    def setAutostart(self, autostart: int) -> int:
        domain = self._domain()
        if not domain.persistent:
            raise errors.TRANSIENT_AUTOSTART()
        domain.autostart = bool(autostart)
        return 0

    @remote
    def metadata(self, type: int, uri: str | None, flags: int = 0) -> str:
        what = self._domain().definition
        texts = {C.VIR_DOMAIN_METADATA_TITLE: what.title, C.VIR_DOMAIN_METADATA_DESCRIPTION: what.description}
        found = texts[type] if type in texts else what.metadata.get(uri or "", ("", None))[1]
        if found is None:
            raise errors.NO_METADATA()
        return found

    @exclusive
    def setMetadata(self, type: int, metadata: str | None, key: str | None, uri: str | None, flags: int = 0) -> int:
        domain = self._domain()
        if type == C.VIR_DOMAIN_METADATA_TITLE:
            domain.definition.title = metadata
        elif type == C.VIR_DOMAIN_METADATA_DESCRIPTION:
            domain.definition.description = metadata
        elif metadata is None:
            domain.definition.metadata.pop(uri or "", None)
        else:
            domain.definition.metadata[uri or ""] = (key or "", metadata)
        domain.host.emit(C.VIR_DOMAIN_EVENT_ID_METADATA_CHANGE, domain, type, uri)
        return 0

    @exclusive
    def memoryStats(self) -> dict[str, int]:
        return statistics.memory(self._active())

    def interfaceAddresses(self, source: int, flags: int = 0) -> dict[str, Any]:
        """An agent that does not answer is waited for."""
        if source == C.VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_AGENT:
            self._connection.fleet.wait(lambda: self._connection.gone or not self._agent_hangs())
        return dict(self._addresses(source))

    @remote
    def _addresses(self, source: int) -> dict[str, Any]:
        return networks.addresses(self._active(), source)

    def _agent_hangs(self) -> bool:
        domain = self._connection.host.domains.get(self._uuid)
        return domain is not None and domain.active and domain.definition.agent and domain.load.ignores_questions

    # Life

    @remote
    def suspend(self) -> int:
        domain = self._active()
        if domain.job and domain.job.target is domain:
            raise errors.STATE_LOCK()
        reason = C.VIR_DOMAIN_PAUSED_MIGRATION if domain.job else C.VIR_DOMAIN_PAUSED_USER
        if domain.runs:
            domain.become(C.VIR_DOMAIN_PAUSED, reason)
            detail = C.VIR_DOMAIN_EVENT_SUSPENDED_MIGRATED if domain.job else C.VIR_DOMAIN_EVENT_SUSPENDED_PAUSED
            self._tell(C.VIR_DOMAIN_EVENT_SUSPENDED, detail)
            self._connection.fleet.changed()
        return 0

    @exclusive
    def resume(self) -> int:
        domain = self._active()
        if domain.runs:
            raise errors.NOT_PAUSED()
        domain.become(C.VIR_DOMAIN_RUNNING, C.VIR_DOMAIN_RUNNING_UNPAUSED)
        self._tell(C.VIR_DOMAIN_EVENT_RESUMED, C.VIR_DOMAIN_EVENT_RESUMED_UNPAUSED)
        return 0

    @exclusive
    def createWithFlags(self, flags: int = 0) -> int:
        domain = self._domain()
        if domain.active:
            raise errors.ALREADY_RUNNING()
        if flags & C.VIR_DOMAIN_START_FORCE_BOOT:
            domain.saved = None
        self._connection.start(domain, "paused" if flags & C.VIR_DOMAIN_START_PAUSED else "running")
        return 0

    def create(self) -> int:
        return int(self.createWithFlags(0))

    @exclusive
    def managedSave(self, flags: int = 0) -> int:
        domain = self._active()
        if not domain.persistent:
            raise errors.TRANSIENT_SAVE()
        domain.saved, domain.saved_xml = "running" if domain.runs else "paused", documents.domain(domain)
        if domain.runs:
            domain.become(C.VIR_DOMAIN_PAUSED, C.VIR_DOMAIN_PAUSED_SAVE)
            self._tell(C.VIR_DOMAIN_EVENT_SUSPENDED, C.VIR_DOMAIN_EVENT_SUSPENDED_PAUSED)
        domain.host.emit(C.VIR_DOMAIN_EVENT_ID_MIGRATION_ITERATION, domain, 1)
        domain.host.emit(C.VIR_DOMAIN_EVENT_ID_JOB_COMPLETED, domain, {"operation": C.VIR_DOMAIN_JOB_OPERATION_SAVE})
        domain.host.end(domain, STATES["saved"], C.VIR_DOMAIN_EVENT_STOPPED_SAVED)
        self._connection.fleet.changed()
        return 0

    @remote
    def hasManagedSaveImage(self, flags: int = 0) -> int:
        return int(self._domain().saved is not None)

    @remote
    def managedSaveGetXMLDesc(self, flags: int = 0) -> str:
        domain = self._domain()
        if domain.saved is None:
            raise errors.NOTHING_SAVED()
        return domain.saved_xml or documents.domain(domain)

    @remote
    def managedSaveRemove(self, flags: int = 0) -> int:
        domain = self._domain()
        if domain.saved is None:
            raise errors.NO_IMAGE(name=self._name)
        domain.saved = None
        return 0

    @exclusive
    def pMWakeup(self, flags: int = 0) -> int:
        domain = self._active()
        if domain.state != C.VIR_DOMAIN_PMSUSPENDED:
            raise errors.NOT_ASLEEP()
        domain.become(C.VIR_DOMAIN_RUNNING, C.VIR_DOMAIN_RUNNING_WAKEUP)
        self._tell(C.VIR_DOMAIN_EVENT_STARTED, C.VIR_DOMAIN_EVENT_STARTED_WAKEUP)
        return 0

    @exclusive
    def shutdown(self) -> int:
        domain = self._active()
        if not domain.runs:
            raise errors.NOT_RUNNING()
        if domain.load.ignores_acpi:
            return 0
        return self._stop(C.VIR_DOMAIN_EVENT_SHUTDOWN_GUEST, C.VIR_DOMAIN_SHUTOFF_SHUTDOWN, C.VIR_DOMAIN_EVENT_STOPPED_SHUTDOWN)

    @remote
    def destroyFlags(self, flags: int = 0) -> int:
        return self._stop(C.VIR_DOMAIN_EVENT_SHUTDOWN_HOST, C.VIR_DOMAIN_SHUTOFF_DESTROYED, C.VIR_DOMAIN_EVENT_STOPPED_DESTROYED)

    def destroy(self) -> int:
        return int(self.destroyFlags(0))

    def _stop(self, shutdown: int, reason: int, detail: int) -> int:
        domain = self._active()
        self._tell(C.VIR_DOMAIN_EVENT_SHUTDOWN, shutdown)
        domain.host.stop(domain, (C.VIR_DOMAIN_SHUTOFF, reason), detail)
        self._connection.fleet.changed()
        return 0

    @exclusive
    def reboot(self, flags: int = 0) -> int:
        domain = self._active()
        if domain.runs and not domain.load.ignores_acpi:
            domain.host.emit(C.VIR_DOMAIN_EVENT_ID_REBOOT, domain)
        return 0

    @exclusive
    def reset(self, flags: int = 0) -> int:
        domain = self._active()
        domain.host.emit(C.VIR_DOMAIN_EVENT_ID_REBOOT, domain)
        return 0

    @remote
    def undefineFlags(self, flags: int = 0) -> int:
        domain = self._domain()
        if not domain.persistent:
            raise errors.TRANSIENT()
        if domain.saved is not None and not flags & C.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE:
            raise errors.SAVED()
        domain.persistent = domain.autostart = False
        self._tell(C.VIR_DOMAIN_EVENT_UNDEFINED, C.VIR_DOMAIN_EVENT_UNDEFINED_REMOVED)
        if not domain.active:
            domain.host.remove(domain)
        return 0

    def undefine(self) -> int:
        return int(self.undefineFlags(0))

    # Jobs

    def jobStats(self, flags: int = 0) -> dict[str, Any]:
        """Statistics of an incoming guest block until it has come (as do all that need its monitor)."""
        if self._incoming():
            self.await_job()
        return dict(self._job_stats(flags))

    @remote
    def _job_stats(self, flags: int) -> dict[str, Any]:
        domain = self._domain()
        if flags & C.VIR_DOMAIN_JOB_STATS_COMPLETED:
            found = {**domain.completed, "type": C.VIR_DOMAIN_JOB_COMPLETED} if domain.completed else {"type": C.VIR_DOMAIN_JOB_NONE}
            if not flags & C.VIR_DOMAIN_JOB_STATS_KEEP_COMPLETED:
                domain.completed = None
            return found
        return domain.job.stats() if domain.job else {"type": C.VIR_DOMAIN_JOB_NONE}

    @remote
    def _incoming(self) -> bool:
        domain = self._domain()
        return domain.job is not None and domain.job.target is domain

    def jobInfo(self) -> list[int]:
        stats = self.jobStats(0)
        sizes = [stats.get(f"{part}_{key}", 0) for part in ("data", "memory", "disk") for key in ("total", "processed", "remaining")]
        return [stats["type"], stats.get("time_elapsed", 0), 0, *sizes]

    @remote
    def abortJobFlags(self, flags: int = 0) -> int:
        job = self._domain().job
        if job is None:
            raise errors.NO_JOB()
        if flags & C.VIR_DOMAIN_ABORT_JOB_POSTCOPY:
            job.abort_post_copy()
        else:
            job.abort()
        return 0

    def abortJob(self) -> int:
        return int(self.abortJobFlags(0))

    # Migration

    def migrateToURI3(self, dconnuri: str | None, params: dict[str, Any] | None = None, flags: int = 0) -> int:
        """The job goes on in the fleet, whatever becomes of the caller and its connection."""
        fleet, connection = self._connection.fleet, self._connection
        if flags & C.VIR_MIGRATE_POSTCOPY_RESUME:
            job = self._broken_job()
            fleet.connectable(job.source.host, *job.address)
            self._resume(job)
        else:
            job = self._new_job(dconnuri, params or {}, flags)
            fleet.runtime.start(f"migration of {self._name}", job.run)
        fleet.wait(lambda: job.returned or connection.gone)
        if not job.returned:
            connection.reach("virDomainMigrateToURI3")
        if job.error is not None:
            raise job.error
        return 0

    @remote
    def _broken_job(self) -> Migration:
        job = self._domain().job
        if job is None:
            raise errors.NOT_POSTCOPY_FAILED(name=self._name)
        job.check_resumable()
        return job

    @remote
    def _resume(self, job: Migration) -> None:
        job.resume_post_copy()

    @remote
    def _new_job(self, uri: str | None, params: dict[str, Any], flags: int) -> Migration:
        check_migration(uri, params, flags)
        domain = self._active()
        if domain.job:
            raise errors.JOB_RUNNING(name=self._name)
        if domain.snapshots:
            raise errors.SNAPSHOTS(count=len(domain.snapshots))
        if not flags & C.VIR_MIGRATE_UNSAFE:
            blocks.check_disks(domain, flags, params)
        given = params.get(C.VIR_MIGRATE_PARAM_DEST_XML)
        _, address, port = uri_parts(uri or "")
        job = Migration(domain, address, port, flags, params, documents.definition(given, domain.host) if given else domain.definition)
        domain.job = job
        domain.host.jobs.add(job)
        return job

    @remote
    def migrateStartPostCopy(self, flags: int = 0) -> int:
        domain = self._active()
        if domain.job is None or domain.job.source is not domain:
            raise errors.NO_OUTGOING()
        domain.job.start_post_copy()
        return 0

    @remote
    def migrateSetMaxDowntime(self, downtime: int, flags: int = 0) -> int:
        self._active().max_downtime_ms = downtime
        self._connection.fleet.changed()
        return 0

    @remote
    def migrateGetMaxDowntime(self, flags: int = 0) -> int:
        return self._active().max_downtime_ms

    @remote
    def migrateSetMaxSpeed(self, bandwidth: int, flags: int = 0) -> int:
        domain, post_copy = self._domain(), bool(flags & C.VIR_DOMAIN_MIGRATE_MAX_SPEED_POSTCOPY)
        if not post_copy:
            domain.max_speed = bandwidth
        if domain.job:
            domain.job.set_speed(bandwidth, post_copy)
        return 0

    @remote
    def migrateGetMaxSpeed(self, flags: int = 0) -> int:
        return self._domain().max_speed or UNLIMITED
