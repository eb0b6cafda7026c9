"""Every option, grouped, with its help. The only module that imports oslo.config's types.

Entry points pass `cfg.CONF` down as *the* instance: oslo.messaging reads some options of its own from it alone. Nova's names and defaults stand where Nova
has the option (nova/conf/libvirt.py, nova/conf/compute.py), so that a section of a nova.conf can be carried over.
"""

from __future__ import annotations

import ipaddress
import re
import socket
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from oslo_config import cfg
from oslo_db import options as db_options
from oslo_log import log

from livemig.facts import Policy
from livemig.records import Aggregate

DEFAULT_OPTS = [
    cfg.ListOpt(
        "enabled_hosts",
        default=[],
        help="Names of the hypervisors that livemig looks after. Each needs a group [host:NAME]. Read again on SIGHUP.",
    ),
    cfg.StrOpt(
        "host",
        default=socket.gethostname(),
        sample_default="<the machine's host name>",
        help="Name of this conductor. It must differ between conductors and stay the same over restarts: a conductor that comes back takes up "
        "at once the migrations which it held under its name.",
    ),
    cfg.ListOpt("aggregates", default=[], help="Names of the host aggregates that the API shows. Each needs a group [aggregate:NAME]."),
    cfg.StrOpt("state_path", default="/var/lib/livemig", help="Directory of the embedded database."),
    cfg.IntOpt(
        "max_concurrent_live_migrations",
        default=1,
        min=0,
        mutable=True,
        help="How many live migrations may leave one host at the same time; the others wait as queued. 0 sets no limit.",
    ),
]

API_OPTS = [
    cfg.HostAddressOpt("listen_host", default="127.0.0.1", help="Address to listen on. auth_strategy noauth listens on loopback addresses only."),
    cfg.PortOpt("listen_port", default=8774, help="Port to listen on. 8774 is Nova's."),
    cfg.IntOpt("threads", default=8, min=1, help="Requests worked on at the same time by one API process."),
    cfg.StrOpt("paste_config", default="api-paste.ini", help="PasteDeploy file: a path, or a name in the configuration directories."),
    cfg.StrOpt(
        "auth_strategy",
        default="noauth",
        choices=[
            ("noauth", "everybody who can connect is the administrator; loopback addresses only"),
            ("http_basic", "users of the htpasswd file of [http_basic]"),
            ("keystone", "tokens of the Keystone of [keystone_authtoken]"),
        ],
        help="Which pipeline of the PasteDeploy file serves.",
    ),
    cfg.IntOpt("max_limit", default=1000, min=1, help="Most items that one answer lists."),
    cfg.IntOpt(
        "conductor_timeout",
        default=60,
        min=1,
        help="Seconds to wait for a conductor's checks. After that the migration is withdrawn, unless it has begun meanwhile.",
    ),
]

HTTP_BASIC_OPTS = [
    cfg.StrOpt("user_file", help="Apache htpasswd file with bcrypt passwords (htpasswd -B). Read at each request."),
    cfg.DictOpt("roles", default={}, help="Roles of users, joined by +: alice:admin,bob:member+reader. A user who is not named is admin."),
    cfg.DictOpt("projects", default={}, help="Projects of users: bob:PROJECT. A user who is not named has none, and needs none as admin."),
]

CONDUCTOR_OPTS = [
    cfg.IntOpt("lease_time", default=12, min=3, help="Seconds after which a silent conductor's migrations are taken over by another."),
    cfg.FloatOpt("monitor_interval", default=0.5, min=0.05, help="Seconds between two looks at a running job's statistics."),
    cfg.FloatOpt("progress_interval", default=1.0, min=0.05, help="Seconds between two progress writes of a running migration."),
    cfg.FloatOpt("reconnect_max", default=5.0, min=0.1, help="Longest pause, in seconds, between two tries to connect to a host that is away."),
]

LIBVIRT_OPTS = [
    cfg.StrOpt(
        "driver",
        default="libvirt",
        choices=[("libvirt", "libvirt-python: real hypervisors"), ("mock", "the simulated fleet of [mock] fleet")],
        help="What drives the hypervisors.",
    ),
    cfg.IntOpt("keepalive_interval", default=5, min=1, help="Seconds between keepalive probes on a connection to a host."),
    cfg.IntOpt("keepalive_count", default=5, min=1, help="Unanswered probes after which a connection counts as broken."),
    cfg.IntOpt(
        "shutdown_timeout",
        default=60,
        min=0,
        mutable=True,
        help="Seconds that a server which is stopped has to shut down by itself; then it is switched off. 0: at once.",
    ),
    cfg.StrOpt(
        "live_migration_uri",
        help="URI by which a source daemon reaches the destination's, %s standing for its address. Default: the destination's connection_uri.",
    ),
    cfg.IntOpt("live_migration_bandwidth", default=0, min=0, mutable=True, help="Most bandwidth of a migration in MiB/s; 0 leaves it to the hypervisor."),
    cfg.IntOpt("live_migration_downtime", default=500, min=100, mutable=True, help="Longest permitted pause at switch-over, in milliseconds."),
    cfg.IntOpt("live_migration_downtime_steps", default=10, min=3, mutable=True, help="Steps in which the permitted pause rises to its full length."),
    cfg.IntOpt("live_migration_downtime_delay", default=75, min=3, mutable=True, help="Seconds between two such steps, for each GiB of memory (at least 2)."),
    cfg.IntOpt(
        "live_migration_completion_timeout",
        default=800,
        min=0,
        mutable=True,
        help="Seconds, for each GiB of memory (at least 2), after which live_migration_timeout_action is taken. 0: never.",
    ),
    cfg.StrOpt(
        "live_migration_timeout_action",
        default="abort",
        mutable=True,
        choices=[("abort", "the guest stays where it is"), ("force_complete", "the guest is paused until its memory has moved")],
        help="What is done with a migration that takes too long.",
    ),
    cfg.BoolOpt("live_migration_permit_auto_converge", default=False, mutable=True, help="Let QEMU slow down a guest whose memory changes too fast."),
]

NOTIFICATIONS_OPTS = [
    cfg.StrOpt(
        "notification_format",
        default="none",
        choices=[("none", "nobody is told"), ("versioned", "Nova's versioned notifications of live migrations (instance.live_migration_*)")],
        help="What is told over oslo.messaging while servers are moved. [oslo_messaging_notifications] says how and where to; its driver is messagingv2 "
        "if it names none. Nova's unversioned format is not offered.",
    ),
    cfg.ListOpt("versioned_notifications_topics", default=["versioned_notifications"], help="Topics of the versioned notifications."),
]

MOCK_OPTS = [
    cfg.StrOpt("fleet", help="YAML file of the simulated fleet (docs/mock.md). Its switches are read again on SIGHUP."),
]

AGGREGATE_OPTS = [
    cfg.ListOpt("hosts", default=[], help="The hosts in it."),
    cfg.StrOpt("availability_zone", help="The availability zone of its hosts. A host is in the zone of the first aggregate that has it and names one."),
    cfg.DictOpt("metadata", default={}, help="What the API shows as its metadata: ssd:true,rack:7."),
]

HOST_OPTS = [
    # Not `required`: oslo.config would refuse to read the files again once a host and its group are taken out of them. `hosts()` looks itself.
    cfg.StrOpt("connection_uri", help="libvirt URI by which the conductor reaches the host: qemu+tls://…, qemu+ssh://…, qemu+tcp://…"),
    cfg.HostAddressOpt(
        "live_migration_inbound_addr",
        help="Address on which this host receives the memory of incoming guests. Default: libvirt asks the host for its name.",
    ),
    cfg.StrOpt("live_migration_uri", help="URI by which other hosts' daemons reach this one. Default: [libvirt] live_migration_uri, then connection_uri."),
]

GROUPS: dict[str | None, Sequence[Any]] = {
    None: DEFAULT_OPTS,
    "api": API_OPTS,
    "http_basic": HTTP_BASIC_OPTS,
    "conductor": CONDUCTOR_OPTS,
    "libvirt": LIBVIRT_OPTS,
    "notifications": NOTIFICATIONS_OPTS,
    "mock": MOCK_OPTS,
}

HOST_NAME = re.compile(r"[a-zA-Z0-9._-]{1,255}")


class ConfigurationError(Exception):
    """The configuration cannot be used; the message says where and why."""


@dataclass(frozen=True, slots=True)
class HostSettings:
    """One [host:NAME] group, its defaults filled in."""

    name: str
    connection_uri: str
    migration_uri: str
    inbound_address: str | None

    @property
    def address(self) -> str:
        """What the API shows as the host's address: where it receives migrations, else where its daemon is reached."""
        return self.inbound_address or urlsplit(self.connection_uri).hostname or self.name


def list_opts() -> list[tuple[str | None, Sequence[Any]]]:
    """For oslo-config-generator (namespace livemig)."""
    return [*GROUPS.items(), ("host:NAME", HOST_OPTS), ("aggregate:NAME", AGGREGATE_OPTS)]


def set_defaults() -> None:
    """The defaults of libraries' options that are livemig's own; oslo-config-generator calls it too."""
    cfg.set_defaults(db_options.database_opts, connection="sqlite:///$state_path/livemig.sqlite")


def register(conf: Any) -> None:
    """Register livemig's own options, and those of the database."""
    for group, opts in GROUPS.items():
        conf.register_opts(opts, group=group)
    set_defaults()
    conf.register_opts(db_options.database_opts, group="database")


def prepare(conf: Any, arguments: Sequence[str] | None, files: Sequence[str] | None = None) -> None:
    """Register everything, read the command line and the files, set up logging."""
    register(conf)
    log.register_options(conf)
    log.set_defaults(default_log_levels=[*log.get_default_log_levels(), "oslo.messaging=WARNING", "alembic=WARNING", "waitress=WARNING", "kombu=WARNING"])
    conf(arguments, project="livemig", default_config_files=files)
    log.setup(conf, "livemig")


def check_listening(conf: Any) -> None:
    """Whoever is not asked who he is may only come from this machine. Raises ConfigurationError."""
    address = str(conf.api.listen_host)
    if conf.api.auth_strategy == "noauth" and not _is_loopback(address):
        raise ConfigurationError(f"[api] auth_strategy noauth serves loopback addresses only, not {address}")


def hosts(conf: Any) -> dict[str, HostSettings]:
    """The enabled hosts by name. Raises ConfigurationError."""
    return {name: _host(conf, name) for name in conf.enabled_hosts}


def aggregates(conf: Any) -> tuple[Aggregate, ...]:
    """The configured host aggregates, in their order."""
    return tuple(_aggregate(conf, number, name) for number, name in enumerate(conf.aggregates, start=1))


def _aggregate(conf: Any, number: int, name: str) -> Aggregate:
    group = f"aggregate:{name}"
    conf.register_opts(AGGREGATE_OPTS, group=group)
    settings = conf[group]
    identity = str(uuid.uuid5(uuid.NAMESPACE_DNS, f"{name}.aggregates.livemig"))
    return Aggregate(number, identity, name, settings.availability_zone, tuple(settings.hosts), dict(settings.metadata))


def policy(conf: Any) -> Policy:
    """The policy of a migration that begins now."""
    libvirt = conf.libvirt
    return Policy(
        downtime_ms=libvirt.live_migration_downtime,
        downtime_steps=libvirt.live_migration_downtime_steps,
        downtime_delay_s=libvirt.live_migration_downtime_delay,
        completion_timeout_s=libvirt.live_migration_completion_timeout,
        timeout_action=libvirt.live_migration_timeout_action,
        bandwidth_mib_s=libvirt.live_migration_bandwidth,
        auto_converge=libvirt.live_migration_permit_auto_converge,
    )


def _host(conf: Any, name: str) -> HostSettings:
    if not HOST_NAME.fullmatch(name):
        raise ConfigurationError(f"enabled_hosts: {name!r} is no host name (letters, digits, '.', '_' and '-')")
    group = f"host:{name}"
    conf.register_opts(HOST_OPTS, group=group)
    settings = conf[group]
    if not settings.connection_uri:
        raise ConfigurationError(f"[{group}] connection_uri is missing")
    address = settings.live_migration_inbound_addr
    return HostSettings(
        name=name,
        connection_uri=settings.connection_uri,
        migration_uri=settings.live_migration_uri or _from_template(conf, address or name) or settings.connection_uri,
        inbound_address=str(address) if address else None,
    )


def _from_template(conf: Any, address: str) -> str | None:
    template = conf.libvirt.live_migration_uri
    return template.replace("%s", bracketed(str(address))) if template else None


def _is_loopback(address: str) -> bool:
    if address == "localhost":
        return True
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


def bracketed(address: str) -> str:
    """An address as it stands in a URI: IPv6 in brackets (RFC 3986, section 3.2.2)."""
    return f"[{address}]" if ":" in address else address
