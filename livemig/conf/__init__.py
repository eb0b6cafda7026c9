"""The configuration. The only package that imports oslo.config's types.

Entry points pass `cfg.CONF` down as *the* instance: oslo.messaging reads some options of its own from it alone.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from typing import Any

from oslo_config import cfg
from oslo_db import options as db_options
from oslo_log import log

from livemig.conf.hosts import ConfigurationError as ConfigurationError
from livemig.conf.hosts import HostSettings as HostSettings
from livemig.conf.hosts import aggregates as aggregates
from livemig.conf.hosts import bracketed as bracketed
from livemig.conf.hosts import hosts as hosts
from livemig.conf.hosts import links as links
from livemig.conf.limits import Limits as Limits
from livemig.conf.limits import limits as limits
from livemig.conf.options import AGGREGATE_OPTS, GROUPS, HOST_OPTS, POLICY_GROUP_OPTS
from livemig.conf.policy import policy as policy


def list_opts() -> list[tuple[str | None, Sequence[Any]]]:
    """For oslo-config-generator (namespace livemig)."""
    return [*GROUPS.items(), ("host:NAME", HOST_OPTS), ("policy:NAME", POLICY_GROUP_OPTS), ("aggregate:NAME", AGGREGATE_OPTS)]


def set_defaults() -> None:
    """The defaults of libraries' options that are livemig's own; oslo-config-generator calls it too."""
    own = {"connection": "sqlite:///$state_path/livemig.sqlite", "max_retries": 0}  # while the database is away a request is answered so, and not kept waiting
    cfg.set_defaults(db_options.database_opts, **own)


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
    if conf.api.auth_strategy == "noauth" and not is_loopback(address):
        raise ConfigurationError(f"[api] auth_strategy noauth serves loopback addresses only, not {address}")


def is_loopback(address: str) -> bool:
    """Whether only this machine has it."""
    if address == "localhost":
        return True
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False
