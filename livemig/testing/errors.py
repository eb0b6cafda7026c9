"""libvirt's error class, and every error that the mock raises: code, domain and text as libvirtd 9.0 was seen to give them."""

from __future__ import annotations

from dataclasses import dataclass

from livemig.testing import constants as C

RawError = tuple[int, int, str, int, str, str | None, str | None, int, int]


class libvirtError(Exception):
    """`libvirt.libvirtError`: `err` is libvirt's tuple (code, domain, message, level, str1, str2, str3, int1, int2)."""

    def __init__(self, defmsg: str, err: RawError | None = None) -> None:
        super().__init__(err[2] if err else defmsg)
        self.err = err

    def get_error_code(self) -> int | None:
        return self.err[0] if self.err else None

    def get_error_domain(self) -> int | None:
        return self.err[1] if self.err else None

    def get_error_message(self) -> str | None:
        return self.err[2] if self.err else None

    def get_error_level(self) -> int | None:
        return self.err[3] if self.err else None

    def get_str1(self) -> str | None:
        return self.err[4] if self.err else None

    def get_str2(self) -> str | None:
        return self.err[5] if self.err else None

    def get_str3(self) -> str | None:
        return self.err[6] if self.err else None

    def get_int1(self) -> int | None:
        return self.err[7] if self.err else None

    def get_int2(self) -> int | None:
        return self.err[8] if self.err else None


@dataclass(frozen=True, slots=True)
class Fault:
    """One kind of libvirt error; calling it with the facts that its text names makes the exception."""

    code: int
    domain: int
    text: str
    errno: int = -1

    def __call__(self, **facts: object) -> libvirtError:
        message = self.text.format(**facts)
        return libvirtError(message, (self.code, self.domain, message, 2, self.text, None, None, self.errno, -1))


def _invalid(text: str, domain: int = C.VIR_FROM_QEMU) -> Fault:
    return Fault(C.VIR_ERR_OPERATION_INVALID, domain, "Requested operation is not valid: " + text)


def _failed(text: str, domain: int) -> Fault:
    return Fault(C.VIR_ERR_OPERATION_FAILED, domain, "operation failed: " + text)


# Connections
CANNOT_RESOLVE = Fault(C.VIR_ERR_SYSTEM_ERROR, C.VIR_FROM_RPC, "Unable to resolve address '{host}' service '{port}': Name or service not known")
REFUSED = Fault(C.VIR_ERR_SYSTEM_ERROR, C.VIR_FROM_RPC, "unable to connect to server at '{host}:{port}': Connection refused")
NO_ROUTE = Fault(C.VIR_ERR_SYSTEM_ERROR, C.VIR_FROM_RPC, "unable to connect to server at '{host}:{port}': No route to host")
SOCKET_CLOSED = Fault(C.VIR_ERR_INTERNAL_ERROR, C.VIR_FROM_RPC, "internal error: client socket is closed")
KEEPALIVE_LOST = Fault(C.VIR_ERR_INTERNAL_ERROR, C.VIR_FROM_RPC, "internal error: connection closed due to keepalive timeout")
END_OF_FILE = Fault(C.VIR_ERR_SYSTEM_ERROR, C.VIR_FROM_RPC, "End of file while reading data: Input/output error")
BAD_CONNECTION = Fault(C.VIR_ERR_INVALID_CONN, C.VIR_FROM_DOMAIN, "invalid connection pointer in {function}")
BAD_URI = Fault(C.VIR_ERR_NO_CONNECT, C.VIR_FROM_NONE, "no connection driver available for {uri}")
NO_EVENT_LOOP = Fault(
    C.VIR_ERR_INTERNAL_ERROR,
    C.VIR_FROM_REMOTE,
    "internal error: the caller doesn't support keepalive protocol; perhaps it's missing event loop implementation",
)
NO_SUPPORT = Fault(C.VIR_ERR_NO_SUPPORT, C.VIR_FROM_NONE, "this function is not supported by the connection driver: {function}")
READ_ONLY = Fault(C.VIR_ERR_OPERATION_DENIED, C.VIR_FROM_DOMAIN, "operation {function} forbidden for read only access")

# Domains
BAD_UUID = Fault(C.VIR_ERR_INVALID_ARG, C.VIR_FROM_DOMAIN, "Invalid UUID")
NO_DOMAIN = Fault(C.VIR_ERR_NO_DOMAIN, C.VIR_FROM_QEMU, "Domain not found: no domain with matching {key}")
NO_METADATA = Fault(C.VIR_ERR_NO_DOMAIN_METADATA, C.VIR_FROM_DOMAIN, "metadata not found: Requested metadata element is not present")
NO_NAME = Fault(C.VIR_ERR_NO_NAME, C.VIR_FROM_DOMAIN, "missing name information")
XML_DETAIL = Fault(C.VIR_ERR_XML_DETAIL, C.VIR_FROM_DOMAIN, "({what}):1: {reason}")
NAME_TAKEN = _failed("domain '{name}' already exists with uuid {uuid}", C.VIR_FROM_DOMAIN)
UUID_TAKEN = _failed("domain '{name}' is already defined with uuid {uuid}", C.VIR_FROM_DOMAIN)
ALREADY_ACTIVE = _invalid("domain '{name}' is already active", C.VIR_FROM_DOMAIN)
ALREADY_RUNNING = _invalid("domain is already running")
NOT_RUNNING = _invalid("domain is not running", C.VIR_FROM_DOMAIN)
NOT_PAUSED = _invalid("domain is already running")
TRANSIENT = _invalid("cannot undefine transient domain")
TRANSIENT_SAVE = _invalid("cannot do managed save for transient domain", C.VIR_FROM_QEMU)
SAVED = _invalid("Refusing to undefine while domain managed save image exists")
NO_IMAGE = Fault(
    C.VIR_ERR_SYSTEM_ERROR, C.VIR_FROM_QEMU, "Failed to remove managed save file '/var/lib/libvirt/qemu/save/{name}.save': No such file or directory"
)
NOTHING_SAVED = _invalid("domain does not have managed save image")
NO_AGENT = Fault(C.VIR_ERR_ARGUMENT_UNSUPPORTED, C.VIR_FROM_QEMU, "argument unsupported: QEMU guest agent is not configured")
NOT_ASLEEP = Fault(
    C.VIR_ERR_INTERNAL_ERROR,
    C.VIR_FROM_QEMU,
    "internal error: unable to execute QEMU command 'system_wakeup': Unable to wake up: guest is not in suspended state",
)
TRANSIENT_AUTOSTART = _invalid("cannot set autostart for transient domain")

# Jobs
NO_JOB = _invalid("no job is active on the domain")
JOB_RUNNING = _invalid("another migration job is already running for domain '{name}'")
NO_OUTGOING = _invalid("post-copy can only be started while outgoing migration is in progress")
NOT_POSTCOPY = _invalid("switching to post-copy requires migration to be started with VIR_MIGRATE_POSTCOPY flag")
POSTCOPY_TOO_EARLY = Fault(
    C.VIR_ERR_INTERNAL_ERROR,
    C.VIR_FROM_QEMU,
    "internal error: unable to execute QEMU command 'migrate-start-postcopy': Enable postcopy with migrate_set_capability before the start of migration",
)
ABORT_POSTCOPY = _invalid("cannot abort migration in post-copy mode")
ABORT_NOT_POSTCOPY = _invalid("current job is not outgoing migration in post-copy mode")
NOT_POSTCOPY_FAILED = _invalid("domain '{name}' is not in post-copy phase or migration job has not failed")
STATE_LOCK = Fault(
    C.VIR_ERR_OPERATION_TIMEOUT,
    C.VIR_FROM_NONE,
    "Timed out during operation: cannot acquire state change lock (held by monitor=remoteDispatchDomainMigratePerform3Params)",
)

# Migration
SNAPSHOTS = _invalid("cannot migrate domain with {count} snapshots")
ABORTED = Fault(C.VIR_ERR_OPERATION_ABORTED, C.VIR_FROM_QEMU, "operation aborted: job 'migration out' canceled by client")
JOB_FAILED = _failed("job 'migration out' failed: {reason}", C.VIR_FROM_QEMU)
POSTCOPY_FAILED = _failed("job 'migration in' failed in post-copy phase", C.VIR_FROM_QEMU)
SOURCE_DIED = _failed("domain is not running", C.VIR_FROM_DOMAIN)
INTERNAL = Fault(C.VIR_ERR_INTERNAL_ERROR, C.VIR_FROM_QEMU, "internal error: {reason}")
SAME_HOST = Fault(C.VIR_ERR_INTERNAL_ERROR, C.VIR_FROM_QEMU, "internal error: Attempt to migrate guest to the same host {uuid}")
NO_DESTINATION = Fault(C.VIR_ERR_INVALID_ARG, C.VIR_FROM_DOMAIN, "Attempt to migrate guest to the same host")
DIRECT = Fault(C.VIR_ERR_ARGUMENT_UNSUPPORTED, C.VIR_FROM_DOMAIN, "argument unsupported: direct migration is not supported by the source host")
EXCLUSIVE = Fault(C.VIR_ERR_INVALID_ARG, C.VIR_FROM_DOMAIN, "Flags '{one}' and '{other}' are mutually exclusive")
UNKNOWN_FLAGS = Fault(C.VIR_ERR_INVALID_ARG, C.VIR_FROM_QEMU, "unsupported flags (0x{flags:x}) in function qemuDomainMigratePerform3Params")
UNKNOWN_PARAMETER = Fault(C.VIR_ERR_ARGUMENT_UNSUPPORTED, C.VIR_FROM_NONE, "argument unsupported: parameter '{name}' not supported")
TUNNELLED_POSTCOPY = Fault(C.VIR_ERR_ARGUMENT_UNSUPPORTED, C.VIR_FROM_QEMU, "argument unsupported: post-copy is not supported with tunnelled migration")
ZEROCOPY_ALONE = Fault(C.VIR_ERR_INVALID_ARG, C.VIR_FROM_DOMAIN, "Use of flag 'VIR_MIGRATE_ZEROCOPY' requires flag 'VIR_MIGRATE_PARALLEL'")
UNSAFE = Fault(C.VIR_ERR_MIGRATE_UNSAFE, C.VIR_FROM_QEMU, "Unsafe migration: Migration without shared storage is unsafe")
CPU_INCOMPATIBLE = Fault(
    C.VIR_ERR_CPU_INCOMPATIBLE,
    C.VIR_FROM_CPU,
    "the CPU is incompatible with host CPU: Host CPU does not provide required features: {features}",
)
NO_MACHINE = Fault(
    C.VIR_ERR_CONFIG_UNSUPPORTED,
    C.VIR_FROM_QEMU,
    "unsupported configuration: Emulator '/usr/bin/qemu-system-x86_64' does not support machine type '{machine}'",
)
NO_DISK = Fault(C.VIR_ERR_SYSTEM_ERROR, C.VIR_FROM_STORAGE, "Cannot access storage file '{path}': No such file or directory")
NO_MEMORY = Fault(
    C.VIR_ERR_INTERNAL_ERROR,
    C.VIR_FROM_QEMU,
    "internal error: process exited while connecting to monitor: cannot set up guest memory 'pc.ram': Cannot allocate memory",
)

# Hosts
BAD_MACHINE = Fault(
    C.VIR_ERR_INVALID_ARG,
    C.VIR_FROM_QEMU,
    "invalid argument: the machine '{machine}' is not supported by emulator '/usr/bin/qemu-system-x86_64'",
)
BAD_ARCH = Fault(C.VIR_ERR_INVALID_ARG, C.VIR_FROM_QEMU, "invalid argument: unknown architecture: {arch}")
BAD_VIRTTYPE = Fault(C.VIR_ERR_INVALID_ARG, C.VIR_FROM_QEMU, "invalid argument: unknown virttype: {virttype}")
NO_VIRTTYPE = Fault(C.VIR_ERR_INVALID_ARG, C.VIR_FROM_QEMU, "invalid argument: Emulator '/usr/bin/qemu-system-x86_64' does not support virt type '{virttype}'")
NO_EMULATOR = Fault(C.VIR_ERR_SYSTEM_ERROR, C.VIR_FROM_QEMU, "Cannot check QEMU binary {path}: No such file or directory")
NO_PAGES = _failed("page size {size} is not available on node {cell}", C.VIR_FROM_NONE)
NO_CELL = Fault(C.VIR_ERR_INTERNAL_ERROR, C.VIR_FROM_NONE, "internal error: start cell {cell} out of range (0-{last})")
BAD_CPU_MODEL = Fault(C.VIR_ERR_INTERNAL_ERROR, C.VIR_FROM_CPU, "internal error: Unknown CPU model {model}")
BAD_CPU_XML = Fault(C.VIR_ERR_XML_DETAIL, C.VIR_FROM_CPU, "(CPU_definition):1: {reason}")

# Networks
NO_DEVICE = Fault(C.VIR_ERR_SYSTEM_ERROR, C.VIR_FROM_NONE, "Cannot get interface MTU on '{name}': No such device")
NETWORK_INACTIVE = _invalid("network '{name}' is not active", C.VIR_FROM_NETWORK)
NO_NETWORK = Fault(C.VIR_ERR_NO_NETWORK, C.VIR_FROM_NETWORK, "Network not found: no network with matching name '{name}'")

# Storage
NO_POOL = Fault(C.VIR_ERR_NO_STORAGE_POOL, C.VIR_FROM_STORAGE, "Storage pool not found: no storage pool with matching {key}")
POOL_TAKEN = _failed("pool '{name}' already exists with uuid {uuid}", C.VIR_FROM_STORAGE)
POOL_UUID_TAKEN = _failed("pool '{name}' is already defined with uuid {uuid}", C.VIR_FROM_STORAGE)
POOL_CONFLICT = _failed("Storage source conflict with pool: '{name}'", C.VIR_FROM_STORAGE)
POOL_ACTIVE = _invalid("storage pool '{name}' is already active", C.VIR_FROM_STORAGE)
POOL_STILL_ACTIVE = _invalid("storage pool '{name}' is still active", C.VIR_FROM_STORAGE)
POOL_INACTIVE = _invalid("storage pool '{name}' is not active", C.VIR_FROM_STORAGE)
NO_DIRECTORY = Fault(C.VIR_ERR_SYSTEM_ERROR, C.VIR_FROM_NONE, "cannot open directory '{path}': No such file or directory", 2)
NOT_EMPTY = Fault(C.VIR_ERR_SYSTEM_ERROR, C.VIR_FROM_STORAGE, "cannot remove directory '{path}': Directory not empty", 39)
NOT_A_DIRECTORY = Fault(C.VIR_ERR_SYSTEM_ERROR, C.VIR_FROM_STORAGE, "cannot remove directory '{path}': Not a directory", 20)
NO_VOLUME = Fault(C.VIR_ERR_NO_STORAGE_VOL, C.VIR_FROM_STORAGE, "Storage volume not found: no storage vol with matching {key}")
VOLUME_TAKEN = Fault(C.VIR_ERR_STORAGE_VOL_EXIST, C.VIR_FROM_STORAGE, "storage volume '{name}' exists already")
VOLUME_PATH_TAKEN = _invalid("volume target path '{path}' already exists", C.VIR_FROM_STORAGE)
NO_BACKING = Fault(C.VIR_ERR_SYSTEM_ERROR, C.VIR_FROM_STORAGE, "inaccessible backing store volume {path}: No such file or directory")
STREAM_CLOSED = Fault(C.VIR_ERR_INTERNAL_ERROR, C.VIR_FROM_STREAMS, "internal error: stream is not open")
STREAM_FULL = Fault(C.VIR_ERR_SYSTEM_ERROR, C.VIR_FROM_STREAMS, "cannot write to stream: No space left on device")
NO_SPACE = Fault(C.VIR_ERR_SYSTEM_ERROR, C.VIR_FROM_STORAGE, "cannot allocate {size} bytes in file '{path}': No space left on device")
