"""How many migrations may run at the same time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from livemig.conf.options import LIMIT_OPTS, host_group

_OUTGOING, _INCOMING = (option.name for option in LIMIT_OPTS)


@dataclass(frozen=True, slots=True)
class Limits:
    """0 is no limit. `outgoing_of` and `incoming_of` are those of hosts that differ."""

    outgoing: int = 0
    incoming: int = 0
    total: int = 0
    outgoing_of: Mapping[str, int] = field(default_factory=dict)
    incoming_of: Mapping[str, int] = field(default_factory=dict)


def limits(conf: Any) -> Limits:
    """The limits of now."""
    own = {name: host_group(conf, name) for name in conf.enabled_hosts}
    return Limits(
        outgoing=conf[_OUTGOING],
        incoming=conf[_INCOMING],
        total=conf.max_total_live_migrations,
        outgoing_of={name: group[_OUTGOING] for name, group in own.items() if group[_OUTGOING] is not None},
        incoming_of={name: group[_INCOMING] for name, group in own.items() if group[_INCOMING] is not None},
    )
