"""Every option, grouped, with its help: pure data.

Nova's names and defaults stand where Nova has the option (nova/conf/libvirt.py, nova/conf/compute.py), so that a section of a nova.conf can be carried over.
"""

from __future__ import annotations

import copy
import socket
from collections.abc import Sequence
from typing import Any

from oslo_config import cfg, types


def _unset(option: Any) -> Any:
    copied = copy.copy(option)
    copied.default = None
    return copied


_RESERVED_MEMORY = cfg.IntOpt(
    "reserved_host_memory_mb",
    default=512,
    min=0,
    mutable=True,
    help="Memory in MiB that a host keeps for itself: it is not counted as free for guests that move there. [host:NAME] has it for a single host.",
)

_RESERVED_DISK = cfg.IntOpt(
    "reserved_host_disk_mb",
    default=0,
    min=0,
    mutable=True,
    help="Disk space in MiB that a host keeps for itself in each file system: it is not counted as free for disks that are copied there. [host:NAME] has it "
    "for a single host.",
)

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
    cfg.ListOpt("policies", default=[], help="Names of policies beside the built-in ones. Each needs a group [policy:NAME]."),
    cfg.ListOpt("aggregates", default=[], help="Names of the host aggregates that the API shows. Each needs a group [aggregate:NAME]."),
    cfg.StrOpt("state_path", default="/var/lib/livemig", help="Directory of the embedded database."),
    cfg.IntOpt(
        "max_concurrent_live_migrations",
        default=1,
        min=0,
        mutable=True,
        help="How many live migrations may leave one host at the same time; the others wait as queued. 0 sets no limit.",
    ),
    cfg.IntOpt(
        "max_concurrent_incoming_live_migrations",
        default=0,
        min=0,
        mutable=True,
        help="How many live migrations may come to one host at the same time; the others wait as queued. 0 sets no limit, as Nova has none.",
    ),
    cfg.IntOpt("max_total_live_migrations", default=0, min=0, mutable=True, help="How many live migrations may run at the same time in all. 0 sets no limit."),
    cfg.IntOpt(
        "migrate_max_retries",
        default=-1,
        min=-1,
        mutable=True,
        help="How many further hosts are tried when the checks refuse the first, where a request names no host. 0: none. -1: until there are no more.",
    ),
    _RESERVED_MEMORY,
    _RESERVED_DISK,
]

# As it stands in [host:NAME]: unset, so that what is set is known.
LIMIT_OPTS = [_unset(option) for option in DEFAULT_OPTS if option.name in ("max_concurrent_live_migrations", "max_concurrent_incoming_live_migrations")]

FILTER_SCHEDULER_OPTS = [
    cfg.FloatOpt("ram_weight_multiplier", default=1.0, mutable=True, help="Weight of free memory. Negative: full hosts first."),
    cfg.FloatOpt("cpu_weight_multiplier", default=1.0, mutable=True, help="Weight of processors that no server has. Negative: full hosts first."),
    cfg.FloatOpt("disk_weight_multiplier", default=1.0, mutable=True, help="Weight of free space in the host's largest storage pool."),
    cfg.FloatOpt("io_ops_weight_multiplier", default=-1.0, mutable=True, help="Weight of the migrations to and from a host, those that wait as well."),
    cfg.FloatOpt("num_instances_weight_multiplier", default=0.0, mutable=True, help="Weight of the number of servers on a host."),
    cfg.FloatOpt("hypervisor_version_weight_multiplier", default=1.0, mutable=True, help="Weight of a newer hypervisor."),
    cfg.FloatOpt("soft_affinity_weight_multiplier", default=1.0, mutable=True, help="Weight of the servers of the same affinity group on a host."),
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
    cfg.BoolOpt(
        "noauth_behind_proxy",
        default=False,
        help="Serve with auth_strategy noauth what a proxy on this machine passes on, under whatever host name. The proxy then decides who may ask.",
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
    cfg.StrOpt("user_file", help="Apache htpasswd file with bcrypt passwords (htpasswd -B), closed to others (chmod 640). Read again when it changes."),
    cfg.DictOpt(
        "roles",
        default={},
        help="Roles of users, joined by +: alice:admin,bob:member+reader. A user of the file who is not named is refused (403), administrators too.",
    ),
    cfg.DictOpt("projects", default={}, help="Projects of users: bob:PROJECT. A user who is not named has none: only an administrator needs none."),
]

CONDUCTOR_OPTS = [
    cfg.IntOpt(
        "lease_time",
        default=10,
        min=3,
        help="Seconds after which a silent conductor's migrations and hosts are taken over by another, which looks for such every third of that time.",
    ),
    cfg.FloatOpt("monitor_interval", default=0.5, min=0.05, help="Seconds between two looks at a running job's statistics."),
    cfg.FloatOpt("progress_interval", default=1.0, min=0.05, help="Seconds between two progress writes of a running migration."),
    cfg.IntOpt(
        "reconcile_interval",
        default=300,
        min=0,
        help="Seconds between two comparisons of the database with what the hosts say, for what no event has told. The first comes three "
        "lease_time after the start, when all is taken up that can be. 0: none.",
    ),
    cfg.IntOpt(
        "purge_older_than",
        default=0,
        min=0,
        help="Days after which ended migrations, their event logs and the actions on servers are removed, once a day, by one of the conductors. 0: never, but "
        "by livemig-manage db purge.",
    ),
    cfg.FloatOpt("reconnect_max", default=5.0, min=0.1, help="Longest pause, in seconds, between two tries to connect to a host that is away."),
]

# What makes a policy; each may also be set in [host:NAME] for the migrations that leave that host, and in [policy:NAME].
POLICY_OPTS = [
    cfg.IntOpt(
        "live_migration_bandwidth",
        default=0,
        min=0,
        mutable=True,
        help="Most bandwidth of a migration in MiB/s, until it switches to post-copy; 0 leaves it to the hypervisor.",
    ),
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
        choices=[
            ("abort", "the guest stays where it is"),
            ("force_complete", "post-copy if permitted, else the guest is paused until its memory has moved"),
        ],
        help="What is done with a migration that takes too long.",
    ),
    cfg.BoolOpt("live_migration_permit_auto_converge", default=False, mutable=True, help="Let QEMU slow down a guest whose memory changes too fast."),
    cfg.BoolOpt(
        "live_migration_permit_post_copy",
        default=False,
        mutable=True,
        help="Let a migration switch to post-copy: the guest goes on at the destination while the rest of its memory still arrives. Force complete does so "
        "at once. It takes the place of auto-converge.",
    ),
    cfg.IntOpt("live_migration_parallel_connections", default=1, min=1, mutable=True, help="Connections that carry the memory at the same time (multifd)."),
    cfg.BoolOpt("live_migration_with_native_tls", default=False, mutable=True, help="Have QEMU encrypt memory and disks with the hosts' certificates."),
    cfg.BoolOpt(
        "live_migration_tunnelled",
        default=False,
        mutable=True,
        help="Send the memory through the daemons' own connection. Slow; native TLS is better. Not with local disks, post-copy or several connections.",
    ),
    cfg.ListOpt(
        "live_migration_compression",
        default=[],
        mutable=True,
        help="Compress the memory: xbzrle or mt, or with several connections zlib or zstd (libvirt 9.4). Empty: no compression.",
    ),
    cfg.BoolOpt("live_migration_zero_copy", default=False, mutable=True, help="Send without copying (MSG_ZEROCOPY). Needs several connections, and no TLS."),
    cfg.IntOpt(
        "live_migration_auto_converge_initial",
        default=0,
        min=0,
        max=99,
        mutable=True,
        help="Percent by which auto-converge slows a guest at first. 0 leaves it to QEMU.",
    ),
    cfg.IntOpt("live_migration_auto_converge_increment", default=0, min=0, max=99, mutable=True, help="Percent by which it slows it further. 0: QEMU's."),
    cfg.IntOpt(
        "live_migration_switchover_bandwidth",
        default=0,
        min=0,
        mutable=True,
        help="Bandwidth in MiB/s that QEMU may count on for the switch-over (libvirt 11.1). 0: what it measures.",
    ),
    cfg.ListOpt(
        "live_migration_on_stall",
        default=[],
        mutable=True,
        item_type=types.String(choices=["raise_downtime", "post_copy", "force_complete", "abort"]),
        help="What is done, one after the other, with a migration that makes no progress: raise_downtime, post_copy, force_complete, abort. What is not "
        "permitted or possible is passed over. Empty: nothing, until the time-out.",
    ),
    cfg.IntOpt(
        "live_migration_stall_iterations",
        default=3,
        min=1,
        mutable=True,
        help="Iterations none of which begins with less memory than the least so far, while the guest dirties it as fast as it is sent, that make no progress.",
    ),
    cfg.IntOpt(
        "live_migration_other_destinations",
        default=0,
        min=0,
        mutable=True,
        help="How many other destinations are tried after a transfer has failed, where the request names none.",
    ),
]

# As it stands in groups of single hosts and policies: unset, so that what is set is known.
POLICY_GROUP_OPTS = [_unset(option) for option in POLICY_OPTS]

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
    cfg.StrOpt(
        "live_migration_scheme",
        help="Transport by which a source daemon reaches the destination's, such as tls, ssh or tcp: qemu+SCHEME://ADDRESS/system, with the destination's "
        "live_migration_inbound_addr or the host of its connection_uri. Counts where no live_migration_uri does. Default: the destination's connection_uri.",
    ),
    cfg.IntOpt(
        "live_migration_link_bandwidth",
        default=0,
        min=0,
        mutable=True,
        help="What a host's link carries for migrations in each direction, in MiB/s; those that run share it fairly. 0: no limit.",
    ),
    cfg.StrOpt(
        "live_migration_policy",
        default="nova",
        mutable=True,
        help="The named policy of migrations: nova, minimal-downtime, must-finish, post-copy, or one of [DEFAULT] policies. An option that is set here goes "
        "before what the policy says.",
    ),
    cfg.BoolOpt(
        "live_migration_remove_source_disks",
        default=True,
        mutable=True,
        help="Remove the disks that were moved from the source, once both hosts say that the guest runs on the destination, and it is proven that nothing else "
        "needs them. False: they stay, and stand in the way when it comes back.",
    ),
    cfg.BoolOpt(
        "live_migration_compare_backing_files",
        default=True,
        mutable=True,
        help="Compare the content of a backing file or read-only image that the destination has already with the source's, byte for byte, before it is used. "
        "False: the same path, format and sizes are enough.",
    ),
    *POLICY_OPTS,
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
    cfg.StrOpt("live_migration_scheme", help="Transport by which other hosts' daemons reach this one. Default: that of [libvirt]."),
    cfg.IntOpt("live_migration_link_bandwidth", min=0, mutable=True, help="What this host's link carries, in MiB/s. Default: that of [libvirt]."),
    cfg.StrOpt("live_migration_policy", help="The named policy of migrations that leave this host. Default: that of [libvirt]."),
    *LIMIT_OPTS,
    _unset(_RESERVED_MEMORY),
    _unset(_RESERVED_DISK),
    *POLICY_GROUP_OPTS,
]


def host_group(conf: Any, name: str) -> Any:
    """[host:NAME], whose options are not known before its name is."""
    group = f"host:{name}"
    conf.register_opts(HOST_OPTS, group=group)
    return conf[group]


GROUPS: dict[str | None, Sequence[Any]] = {
    None: DEFAULT_OPTS,
    "api": API_OPTS,
    "http_basic": HTTP_BASIC_OPTS,
    "conductor": CONDUCTOR_OPTS,
    "filter_scheduler": FILTER_SCHEDULER_OPTS,
    "libvirt": LIBVIRT_OPTS,
    "notifications": NOTIFICATIONS_OPTS,
    "mock": MOCK_OPTS,
}
