"""Domain errors. None of them knows HTTP: `livemig.api.errors` maps classes to statuses.

    LivemigError
    ├── NotFound
    │   ├── ServerNotFound
    │   ├── MigrationNotFound
    │   ├── ActionNotFound
    │   ├── HostBinaryNotFound
    │   └── HostUnknown
    ├── Conflict
    │   ├── ServerInvalidState
    │   └── ServerLocked
    ├── Forbidden                        a policy says no
    ├── InvalidPattern                   the database does not take a regular expression
    ├── Refused                          a migration that may not start; nothing was touched
    │   ├── HostNotFound
    │   ├── ComputeServiceUnavailable
    │   ├── InvalidHypervisorType
    │   ├── UnableToMigrateToSelf
    │   ├── DestinationHypervisorTooOld
    │   ├── NoValidHost
    │   │   └── MaxRetriesExceeded
    │   ├── InvalidLocalStorage
    │   ├── InvalidSharedStorage
    │   ├── MigrationPreCheckError
    │   └── DestinationDiskExists
    ├── LiveMigrationFailed              anything unexpected; the cause is in the log
    ├── ActionFailed                     the hypervisor could not do it
    ├── Misconfigured                    what a library makes of the configuration
    ├── Unavailable                      a part of the service is away; nothing was touched
    │   ├── ConductorUnavailable
    │   ├── DatabaseUnavailable
    │   └── OutcomeUnknown               … but for this one
    └── HypervisorError                  what a libvirt daemon answered
        ├── HypervisorUnavailable
        ├── DomainNotFound
        ├── OperationAborted
        ├── NoJob
        └── UnsupportedByHypervisor

The words of most of them are Nova's (nova/exception.py), since clients show them.
"""

from __future__ import annotations

from typing import Any


class LivemigError(Exception):
    """A message template over the error's own facts, given by keyword.

    Only keywords are taken, so that oslo.messaging can build the error again on the other side from `kwargs`.
    """

    template = "livemig failed"

    def __init__(self, **facts: Any) -> None:
        super().__init__()
        self.kwargs = facts

    def __str__(self) -> str:
        return self.template.format(**self.kwargs)


class NotFound(LivemigError):
    """Something named in a request does not exist."""


class ServerNotFound(NotFound):
    template = "Instance {server} could not be found."


class MigrationNotFound(NotFound):
    template = "Migration {migration} could not be found."


class ActionNotFound(NotFound):
    template = "Action for request_id {request} could not be found."


class HostBinaryNotFound(NotFound):
    template = "Could not find binary {binary} on host {host}."


class HostUnknown(NotFound):
    """As HostNotFound, where a path names the host."""

    template = "Compute host {host} could not be found."


class Conflict(LivemigError):
    """The request is right, but not now."""


class ServerInvalidState(Conflict):
    """`attribute` is vm_state, task_state or power_state."""

    template = "Cannot '{action}' instance {server} while it is in {attribute} {state}"


class ServerLocked(Conflict):
    template = "Instance {server} is locked"


class Forbidden(LivemigError):
    """`rule` is the policy that says no."""

    template = "Policy doesn't allow {rule} to be performed."


class InvalidPattern(LivemigError):
    """A regular expression that the database does not take, or does not find in time."""

    template = "A pattern in the query is no regular expression of the database's: {reason}"


class Refused(LivemigError):
    """A migration that may not start. `check` (see `livemig.conductor.checks`) names what refused it, in the event log."""


class HostNotFound(Refused):
    template = "Compute host {host} could not be found."


class ComputeServiceUnavailable(Refused):
    template = "Compute service of {host} is unavailable at this time."


class InvalidHypervisorType(Refused):
    """Nova's text leaves the type out; ours names both."""

    template = "The supplied hypervisor type of is invalid. ({source} on the source, {destination} on the destination)"


class UnableToMigrateToSelf(Refused):
    template = "Unable to migrate instance ({server}) to current host ({host})."


class DestinationHypervisorTooOld(Refused):
    template = "The instance requires a newer hypervisor version than has been provided. ({source} on the source, {destination} on the destination)"


class NoValidHost(Refused):
    template = "No valid host was found. {reason}"


class MaxRetriesExceeded(NoValidHost):
    template = "Exceeded maximum number of retries. {reason}"


class InvalidLocalStorage(Refused):
    template = "{path} is not on local storage: {reason}"


class InvalidSharedStorage(Refused):
    template = "{path} is not on shared storage: {reason}"


class MigrationPreCheckError(Refused):
    template = "Migration pre-check error: {reason}"


class DestinationDiskExists(Refused):
    template = "The supplied disk path ({path}) already exists, it is expected not to exist."


class LiveMigrationFailed(LivemigError):
    """Anything unexpected. `where` is "host NAME", or "another host" where none was named."""

    template = "Live migration of instance {server} to {where} failed"


class ActionFailed(LivemigError):
    template = "Failed to {action} instance {server}: {reason}"


class Misconfigured(LivemigError):
    """`reason` quotes nothing of the option: a URL that is wrong may have its password anywhere."""

    template = "{option} cannot be used: {reason}"


class Unavailable(LivemigError):
    """A part of the service is away. Nothing was begun: the request may be sent again."""

    template = "The service is unavailable at this time. Nothing was changed; try again later."


class ConductorUnavailable(Unavailable):
    template = "No conductor answered. Nothing was changed; try again later."


class DatabaseUnavailable(Unavailable):
    """`why` is for logs: clients are not told."""

    template = "The database is unavailable at this time. Nothing was changed; try again later."

    @property
    def why(self) -> str:
        """The first line of what the driver said; of one that came from a conductor, that it did."""
        return str(self.__cause__).partition("\n")[0] if self.__cause__ else "a conductor says so, and why in its log"


class OutcomeUnknown(Unavailable):
    template = "A part of the service went away while the request was worked on; it may still be carried out. Look at the server before you ask again."


class HypervisorError(LivemigError):
    """An error of a libvirt daemon: `code` is its virErrorNumber, `message` its text."""

    template = "{host}: {message} (libvirt error {code})"


class HypervisorUnavailable(HypervisorError):
    """The daemon cannot be reached, or the connection broke."""


class DomainNotFound(HypervisorError):
    """VIR_ERR_NO_DOMAIN: the daemon knows no such domain."""


class OperationAborted(HypervisorError):
    """VIR_ERR_OPERATION_ABORTED: the job was aborted."""


class NoJob(HypervisorError):
    """VIR_ERR_OPERATION_INVALID: not possible in the domain's state; mostly, its job is over."""


class UnsupportedByHypervisor(HypervisorError):
    """The daemon does not know what was asked: VIR_ERR_NO_SUPPORT, VIR_ERR_CONFIG_UNSUPPORTED, VIR_ERR_OPERATION_UNSUPPORTED."""
