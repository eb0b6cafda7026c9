"""What lies about on hosts and may be livemig's: files that migrations have left, and what looks as if livemig had made it.

It is found for people, and never removed.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from livemig import exceptions
from livemig.conductor.reconciliation import KINDS, Disagreement
from livemig.db.inspection import MigrationRow
from livemig.db.store import Store
from livemig.hypervisor import storage
from livemig.hypervisor.connection import Hypervisor
from livemig.runtime import Runtime

_MOST = 16  # hosts asked at once
_AGAIN_S = 3.0  # what another deployment makes for a moment is gone by then
_TAG = "doctor"


def find(store: Store, runtime: Runtime, hypervisors: Mapping[str, Hypervisor], answer_s: float) -> list[Disagreement]:
    """On hosts that can be asked; one that has not answered after `answer_s` is passed over. Raises DatabaseUnavailable."""
    kept: dict[str, dict[str, MigrationRow]] = {}  # by host and path: the last that has left it
    for migration in store.inspection.keeping():
        for file in migration.files:
            kept.setdefault(file.host, {})[file.path] = migration
    found = _ask(runtime, hypervisors, answer_s, lambda host: [*_unknown(host), *_files(host, kept.get(host.name, {}))])
    passing = {each.hosts[0] for each in found if each.kind.name != "kept"}
    if passing:
        runtime.sleep(_AGAIN_S)
    again = _ask(runtime, {name: hypervisors[name] for name in passing}, answer_s, _unknown)
    there = {each.key for each in again}
    return [each for each in found if each.kind.name == "kept" or each.key in there]


def _ask(
    runtime: Runtime, hypervisors: Mapping[str, Hypervisor], answer_s: float, question: Callable[[Hypervisor], Iterable[Disagreement]]
) -> list[Disagreement]:
    """Each in a thread of its own, a few at a time."""
    said: dict[str, Sequence[Disagreement]] = {}

    def ask(hypervisor: Hypervisor) -> None:
        try:
            hypervisor.connect()
            try:
                said[hypervisor.name] = list(question(hypervisor))
            finally:
                hypervisor.close()
        except exceptions.LivemigError:
            return  # a host that cannot be asked is another finding

    names = sorted(hypervisors)
    for begin in range(0, len(names), _MOST):
        tasks = [runtime.start(f"remains-{name}", ask, hypervisors[name]) for name in names[begin : begin + _MOST]]
        deadline = runtime.monotonic() + answer_s
        for task in tasks:
            task.join(max(0.0, deadline - runtime.monotonic()))
    return [each for name in names for each in dict(said).get(name, ())]


def _unknown(host: Hypervisor) -> Iterator[Disagreement]:
    virsh = f"virsh -c {shlex.quote(host.uri)}"
    pools, volumes = storage.unknown(host)
    for pool in pools:
        name = shlex.quote(pool)
        yield _says("pool", host, f"host {host.name}", pool=pool, command=f"{virsh} pool-destroy {name}; {virsh} pool-undefine {name}")
    for volume in volumes:
        yield _says("probe", host, f"host {host.name}", volume=volume, command=f"{virsh} vol-delete {shlex.quote(volume)}")


def _files(host: Hypervisor, kept: Mapping[str, MigrationRow]) -> Iterator[Disagreement]:
    """Those that are there still, and that no guest there refers to."""
    if not kept:
        return
    there, *_space = storage.look(host, kept, _TAG)
    users = storage.used(host, sorted(there), _TAG) if there else {}
    for path, migration in kept.items():
        if path in there and not (path in users and users[path].certain):
            subject = f"migration {migration.id} of server {migration.server}"
            yield _says("kept", host, subject, migration, file=path, command=f"rm {shlex.quote(path)}, on {host.name}")


def _says(kind: str, host: Hypervisor, subject: str, migration: MigrationRow | None = None, **facts: object) -> Disagreement:
    server, number = (migration.server, migration.id) if migration else (None, None)
    where = f"{facts.get('file') or facts.get('pool') or facts.get('volume')} on {host.name}"
    return Disagreement(KINDS[kind], subject, {"host": host.name, **facts}, server, number, (host.name,), where)
