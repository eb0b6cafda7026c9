"""The policy of a migration: the built-in ones as data, and what the configuration says.

What goes first: an option of the source's [host:NAME]; the policy named there; an option that is set in [libvirt]; the policy named there; Nova's default.
"""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Mapping
from typing import Any

from oslo_config import cfg

from livemig.conf.hosts import ConfigurationError
from livemig.conf.options import POLICY_GROUP_OPTS, host_group
from livemig.facts import Policy

# Option → field of a Policy.
FIELDS = {
    "live_migration_downtime": "downtime_ms",
    "live_migration_downtime_steps": "downtime_steps",
    "live_migration_downtime_delay": "downtime_delay_s",
    "live_migration_completion_timeout": "completion_timeout_s",
    "live_migration_timeout_action": "timeout_action",
    "live_migration_bandwidth": "bandwidth_mib_s",
    "live_migration_permit_auto_converge": "auto_converge",
    "live_migration_permit_post_copy": "post_copy",
    "live_migration_parallel_connections": "parallel_connections",
    "live_migration_with_native_tls": "tls",
    "live_migration_tunnelled": "tunnelled",
    "live_migration_compression": "compression",
    "live_migration_zero_copy": "zero_copy",
    "live_migration_auto_converge_initial": "auto_converge_initial",
    "live_migration_auto_converge_increment": "auto_converge_increment",
    "live_migration_switchover_bandwidth": "switchover_bandwidth_mib_s",
    "live_migration_on_stall": "on_stall",
    "live_migration_stall_iterations": "stall_iterations",
    "live_migration_other_destinations": "other_destinations",
}

# The built-in policies, as what differs from Nova's defaults; docs/policies.md says why.
NAMED: Mapping[str, Mapping[str, Any]] = {
    "nova": {},
    "minimal-downtime": {"downtime_ms": 100, "downtime_steps": 3, "auto_converge": True, "on_stall": ("abort",), "stall_iterations": 20},
    "must-finish": {
        "downtime_delay_s": 15,
        "completion_timeout_s": 300,
        "timeout_action": "force_complete",
        "auto_converge": True,
        "post_copy": True,
        "on_stall": ("raise_downtime", "post_copy", "force_complete"),
        "other_destinations": 2,
    },
    "post-copy": {"post_copy": True, "timeout_action": "force_complete", "on_stall": ("post_copy",), "stall_iterations": 1},
}


def policy(conf: Any, source: str | None = None) -> Policy:
    """The policy of a migration that begins now and leaves `source`. Raises ConfigurationError for a policy that nobody defined."""
    layers: list[Mapping[str, Any]] = []
    name = conf.libvirt.live_migration_policy
    if source is not None:
        host = host_group(conf, source)
        layers.append(_given(host))
        own = host.live_migration_policy
        if own:
            layers.append(_named(conf, own))
            name = own
    libvirt = conf.libvirt
    layers.append(_values({option: libvirt[option] for option in FIELDS if _is_set(conf, option)}))
    layers.append(_named(conf, libvirt.live_migration_policy))
    layers.append(_values({option: libvirt[option] for option in FIELDS}))
    return Policy(**ChainMap(*map(dict, layers)), name=name)


def _named(conf: Any, name: str) -> Mapping[str, Any]:
    if name in conf.policies:
        group = f"policy:{name}"
        conf.register_opts(POLICY_GROUP_OPTS, group=group)
        return _given(conf[group])
    if name not in NAMED:
        raise ConfigurationError(f"live_migration_policy: there is no policy {name!r}; there are {', '.join([*NAMED, *conf.policies])}")
    return NAMED[name]


def _given(group: Any) -> dict[str, Any]:
    """What a group sets."""
    return _values({option: group[option] for option in FIELDS if group[option] is not None})


def _values(options: Mapping[str, Any]) -> dict[str, Any]:
    return {FIELDS[option]: tuple(value) if isinstance(value, list) else value for option, value in options.items()}


def _is_set(conf: Any, option: str) -> bool:
    location = conf.get_location(option, "libvirt").location
    return location not in (cfg.Locations.opt_default, cfg.Locations.set_default)
