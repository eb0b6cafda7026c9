"""One host of the lab: a libvirtd with its QEMUs, in network, mount and UTS namespaces of its own.

The network namespace has a name. The other two are held by a process that only sleeps (the holder), so that they and the QEMUs in them outlive the
daemon. Private directories lie over the paths where libvirt keeps things: the same path is another file on every host.
"""

from __future__ import annotations

import shutil
import signal
import uuid
from collections.abc import Callable
from pathlib import Path
from string import Template

from livemig.lab import processes, roots, ssh
from livemig.lab.certificates import Authority
from livemig.lab.network import MIGRATION, Cable
from livemig.lab.processes import Process
from livemig.lab.roots import QEMU, Root
from livemig.lab.shell import LabError, run, spawn
from livemig.runtime import Runtime

PRIVATE = {"etc": "/etc/libvirt", "run": "/run", "lib": "/var/lib/libvirt", "log": "/var/log"}
CACHE = "/var/cache/libvirt"
IMAGES = "/var/lib/libvirt/images"
VOLUMES = "/var/lib/libvirt/vg0"  # as a volume group of LVM: a link to a block device by each name
AUTHORITY = "/var/lib/swtpm-localca"  # where swtpm keeps the one that signs its keys
CONSOLES = "/var/lib/libvirt/consoles"
NAMESPACE = uuid.UUID("5b1f3a39-5f0e-4dc0-9e7c-2f0a3c1f7d54")
START_TIMEOUT_S = 60.0

LIBVIRTD_CONF = Template("""\
listen_tls = 1
listen_tcp = 1
listen_addr = "$address"
auth_tcp = "none"
auth_tls = "none"
ca_file = "$certificates/authority.pem"
cert_file = "$certificates/certificate.pem"
key_file = "$certificates/key.pem"
auth_unix_rw = "none"
unix_sock_group = "root"
host_uuid = "$uuid"
keepalive_interval = 2
keepalive_count = 3
log_outputs = "3:file:$log"
""")
# No cgroups, security labels or ownership changes: nothing outside the host's directories is touched. shared_filesystems is for libvirt 10.8 and later,
# which then takes the shared directory for what it is; older ones do not know the word and ignore it.
QEMU_CONF = Template("""\
user = "root"
group = "root"
security_driver = "none"
namespaces = []
cgroup_controllers = []
dynamic_ownership = 0
remember_owner = 0
stdio_handler = "file"
migration_host = "$address"
default_tls_x509_cert_dir = "$certificates"
default_tls_x509_verify = 1
keepalive_interval = 2
keepalive_count = 3
shared_filesystems = [ "$shared" ]
swtpm_user = "root"
swtpm_group = "root"
""")
# There need be no program on a host that makes a firewall, and the lab has no networks of libvirt's.
NETWORK_CONF = 'firewall_backend = "none"\n'
# What is mounted where, in this order. The last step gives the process its name: a holder by that name has all its mounts.
HOLDER = r"""
set -e
hostname "$1"
while [ $# -gt 2 ]; do mount --bind $2 "$3" "$4"; set -- "$1" "${@:5}"; done
exec -a "$1" sleep infinity
"""
# What a host with a root folder has of the machine's /etc; its accounts come from ssh.passwd.
OF_MACHINE = ("group", "hosts", "nsswitch.conf", "resolv.conf", "shells")


class Host:
    """A libvirt host. `name` is its host name, `address` its IPv4 address, `base` the directory of its files as the machine sees them.

    `cable` ties it to the main network, `migration_cable` to the one that is for migrations alone.
    """

    def __init__(self, directory: Path, index: int, number: int, runtime: Runtime) -> None:
        self.index = index
        self.number = number
        self.name = f"node{number}"
        self.base = directory / self.name
        self.shared = directory / "shared"
        self.cable = Cable(index, number)
        self.migration_cable = Cable(index, number, MIGRATION)
        self.address = self.cable.address
        self._directory = directory
        self._keys = ssh.Keys(directory / "ssh")
        self.uuid = str(uuid.uuid5(NAMESPACE, str(self.base)))
        self._runtime = runtime

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Host) and other.base == self.base

    def __hash__(self) -> int:
        return hash(self.base)

    def __repr__(self) -> str:
        return f"<Host {self.name} {self.address}>"

    @property
    def root(self) -> Root:
        """What it runs: the machine's own programs, or those of a root folder."""
        return roots.remembered(self.base) or Root(roots.OWN)

    @property
    def uri(self) -> str:
        """Where other hosts and clients reach its libvirtd: without encryption."""
        return f"qemu+tcp://{self.address}/system"

    @property
    def uris(self) -> dict[str, str]:
        """The same for every transport: tcp, tls and ssh."""
        return {
            "tcp": self.uri,
            "tls": f"qemu+tls://{self.address}/system?pkipath={self._directory}/certificates",
            "ssh": f"qemu+ssh://root@{self.address}/system?command={self._keys.client}",
        }

    @property
    def addresses(self) -> dict[str, str]:
        """Its addresses: in the main network, in the migration network, and there by IPv6 where the machine speaks that."""
        cable = self.migration_cable
        return {"main": self.address, "migration": cable.address} | ({"migration6": cable.address6} if cable.address6 else {})

    def up(self) -> None:
        """Make the host, or what is missing of it, and start its daemon; `wait_until_ready` waits for that."""
        if self.root.path is not None and not self.root.path.is_dir():
            raise LabError(f"the root folder of {self.name} is gone: {self.root.path}; 'livemig-lab down' and 'up' make the lab anew")
        self._prepare_files()
        self.cable.up()
        self.migration_cable.up()
        if self._anchor() is None:
            self._start_holder()
        self._spawn_ssh_server()
        self._spawn_daemon()

    def wait_until_ready(self, timeout_s: float = START_TIMEOUT_S) -> None:
        """Wait until the daemon answers. Raises `LabError` with the end of its log."""
        deadline = self._runtime.monotonic() + timeout_s
        while not self._answers():
            if self._daemon() is None or self._runtime.monotonic() > deadline:
                raise LabError(f"libvirtd of {self.name} does not answer:\n{self._complaints()}")
            self._runtime.sleep(0.05)

    def virsh(self, *words: str, stdin: str | None = None, timeout: float = 60.0) -> str:
        """What `virsh` prints when called on this host, whatever the state of its link."""
        return self.run("virsh", "-q", "-c", "qemu:///system", *words, stdin=stdin, timeout=timeout)

    def run(self, *words: str, stdin: str | None = None, timeout: float = 60.0) -> str:
        """What a command prints that runs on this host."""
        return run(*self._enter(), *words, stdin=stdin, timeout=timeout)

    def certify(self, authority: str = "authority") -> None:
        """Give it a new certificate: by the authority that all hosts trust, or by the "stranger", whom then only this host trusts.

        QEMU reads it at the next migration, libvirtd when it is started again.
        """
        Authority(self._directory / authority).certify(self._certificates, self.name, tuple(self.addresses.values()))

    def start_daemon(self) -> None:
        """Start libvirtd, if it is not running, and wait until it answers."""
        self._spawn_daemon()
        self.wait_until_ready()

    def stop_daemon(self) -> None:
        """End libvirtd in an orderly way; guests run on."""
        self._end_daemon(signal.SIGTERM)

    def kill_daemon(self) -> None:
        """Kill libvirtd (SIGKILL); guests run on."""
        self._end_daemon(signal.SIGKILL)

    def kill_guest(self, name: str) -> None:
        """Kill the QEMU of a guest here (SIGKILL)."""
        found = [process for process in self.processes() if _is_qemu_of(name, process)]
        if not found:
            raise LabError(f"no QEMU of guest {name} on {self.name}")
        self._kill(found, signal.SIGKILL)

    def has_guest(self, name: str) -> bool:
        """Whether there is a QEMU of that guest here, running or not; asks no daemon."""
        return any(_is_qemu_of(name, process) for process in self.processes())

    def cut(self) -> None:
        """Pull the cable of the main network."""
        self.cable.cut()

    def heal(self) -> None:
        """Plug both network cables in again, at full speed."""
        self.cable.connect()
        self.migration_cable.connect()

    def slow(self, mbit: float) -> None:
        """Limit the main network to that many Mbit/s each way."""
        self.cable.slow(mbit)

    def read_only(self, directory: Path | str) -> None:
        """Have a directory as one that is mounted read-only on this host, and only there, until `writable`."""
        if not self._is_mounted(directory):
            self.run("mount", "--bind", str(directory), str(directory))
        self.run("mount", "-o", "remount,bind,ro", str(directory))

    def writable(self, directory: Path | str) -> None:
        """Undo `read_only`."""
        if self._is_mounted(directory):
            self.run("umount", str(directory))

    def link_device(self, name: str, device: Path) -> None:
        """Have a block device under a name in VOLUMES."""
        link = self.path(f"{VOLUMES}/{name}")
        link.unlink(missing_ok=True)
        link.symlink_to(device)

    def _is_mounted(self, directory: Path | str) -> bool:
        return any(line.split()[4] == str(directory) for line in self.run("cat", "/proc/self/mountinfo").splitlines())

    def processes(self) -> list[Process]:
        """Everything that runs on this host."""
        return processes.inside(self.cable.path)

    def daemon_pid(self) -> int | None:
        """The pid of its libvirtd, None when none is running."""
        daemon = self._daemon()
        return daemon.pid if daemon else None

    def path(self, inside: str) -> Path:
        """Where a path of this host's private directories is on the machine."""
        for private, over in PRIVATE.items():
            if inside.startswith(f"{over}/"):
                return self.base / private / inside[len(over) + 1 :]
        return Path(inside)

    def _prepare_files(self) -> None:
        for private in ("etc", "run/libvirt", "run/lock", "lib/images", "lib/consoles", "lib/vg0", "lib/swtpm-localca", "log/libvirt"):
            (self.base / private).mkdir(parents=True, exist_ok=True)
        self.root.libvirt_cache.mkdir(parents=True, exist_ok=True)
        if self.root.path is not None and not self._etc.exists():
            self._copy_etc(self.root.path)
        self._keys.admit(self.base / "root")
        if not (self.base / "passwd").exists():  # one that is there may be mounted already
            (self.base / "passwd").write_text(ssh.passwd(self.base / "root"))
        if not (self._certificates / "certificate.pem").exists():
            self.certify()
        words = {"address": self.address, "uuid": self.uuid, "log": self.base / "libvirtd.log", "shared": self.shared, "certificates": self._certificates}
        (self.base / "etc/libvirtd.conf").write_text(LIBVIRTD_CONF.substitute(words))
        (self.base / "etc/qemu.conf").write_text(QEMU_CONF.substitute(words))
        (self.base / "etc/network.conf").write_text(NETWORK_CONF)

    @property
    def _etc(self) -> Path:
        return self.base / "root-etc"

    def _copy_etc(self, root: Path) -> None:
        """The /etc of its root folder, which is shared with others: it gets a copy."""
        new = self.base / "root-etc.new"
        shutil.rmtree(new, ignore_errors=True)
        shutil.copytree(root / "etc", new, symlinks=True)
        for name in OF_MACHINE:
            if Path("/etc", name).exists():
                (new / name).unlink(missing_ok=True)
                shutil.copy(Path("/etc", name), new / name)
        (new / "libvirt").mkdir(exist_ok=True)
        for name in ("passwd", "mtab"):
            (new / name).unlink(missing_ok=True)
        (new / "passwd").touch()
        (new / "mtab").symlink_to("/proc/self/mounts")
        if (new / "swtpm-localca.conf").exists():
            text = (new / "swtpm-localca.conf").read_text()
            (new / "swtpm-localca.conf").write_text(text.replace(AUTHORITY, f"{PRIVATE['lib']}/swtpm-localca"))
        new.rename(self._etc)

    @property
    def _certificates(self) -> Path:
        return self.base / "certificates"

    def _anchor(self) -> Process | None:
        """A process that has all the mounts: the holder, or else what was started with its help."""
        return next((process for process in self.processes() if process.program in (self.name, "libvirtd", QEMU)), None)

    def _start_holder(self) -> None:
        processes.end(self.processes(), self._runtime)  # left by an `up` that was killed here
        root = self.root.path
        # A root folder's /usr is shared by all hosts that have it. /bin, /lib and the like are links into it, and all else is the machine's.
        mounts = [("", self._etc, "/etc"), ("-o ro", root / "usr", "/usr")] if root else []
        mounts += [("", self.base / private, over) for private, over in PRIVATE.items()]
        mounts += [("", self.root.libvirt_cache, CACHE), ("", self.base / "passwd", "/etc/passwd")]
        mounts += [("", self.base / "lib/swtpm-localca", AUTHORITY)] if Path(AUTHORITY).is_dir() else []
        words = [str(word) for mount in mounts for word in mount]
        own = ["ip", "netns", "exec", self.cable.namespace, "unshare", "--mount", "--uts", "--propagation", "private"]
        spawn(*own, "bash", "-c", HOLDER, "holder", self.name, *words, log=self.base / "holder.log")
        if not self._appears(self._anchor):
            raise LabError(f"the namespaces of {self.name} cannot be made, see {self.base}/holder.log")

    def _enter(self) -> list[str]:
        anchor = self._anchor()
        if anchor is None:
            raise LabError(f"{self.name} is not up; 'livemig-lab up' mends that")
        return ["nsenter", "--target", str(anchor.pid), "--mount", "--uts", "--net"]

    def _daemon(self) -> Process | None:
        # Its own children are also called so, until they run something else; only the daemon leads a session.
        return next((process for process in self.processes() if process.program == "libvirtd" and process.leads_session()), None)

    def _spawn_daemon(self) -> None:
        if self._daemon() is None:
            spawn(*self._enter(), "libvirtd", "--listen", "--pid-file", "/run/libvirtd.pid", log=self.base / "libvirtd.out")
            if not self._appears(self._daemon):
                raise LabError(f"libvirtd of {self.name} does not start:\n{self._complaints()}")

    def _spawn_ssh_server(self) -> None:
        if not any(process.program == "dropbear" for process in self.processes()):
            spawn(*self._enter(), *ssh.server(self.address, self._keys), log=self.base / "ssh.log")

    def _appears(self, process: Callable[[], Process | None]) -> bool:
        deadline = self._runtime.monotonic() + START_TIMEOUT_S
        while process() is None:
            if self._runtime.monotonic() > deadline:
                return False
            self._runtime.sleep(0.01)
        return True

    def _end_daemon(self, number: signal.Signals) -> None:
        daemon = self._daemon()
        if daemon is not None:
            self._kill([daemon], number)

    def _kill(self, victims: list[Process], number: signal.Signals) -> None:
        for process in victims:
            process.signal(number)
        if not processes.gone(victims, self._runtime, START_TIMEOUT_S):
            raise LabError(f"{victims[0].argv[0]} of {self.name} does not end after {number.name}")

    def _answers(self) -> bool:
        try:
            # Its own address can be reached from inside even while the link is cut.
            return run(*self._enter(), "virsh", "-q", "-c", self.uri, "hostname").strip() == self.name
        except LabError:
            return False

    def _complaints(self) -> str:
        logs = [self.base / "libvirtd.log", self.base / "libvirtd.out"]
        return "\n".join(line for log in logs if log.exists() for line in log.read_text(errors="replace").splitlines()[-8:])


def _is_qemu_of(name: str, process: Process) -> bool:
    return process.program == QEMU and process.argv[2].split(",")[0] == f"guest={name}"
