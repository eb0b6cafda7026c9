"""livemig-manage doctor: asks all hosts, compares them with the database, and mends what needs no person; and a person's own word on a migration.

The exit status is 0 when nothing is left, 1 when something is, 2 when it could not look.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from livemig import conf as configuration
from livemig import exceptions
from livemig.cli import wiring
from livemig.conductor import remains, ruling
from livemig.conductor.doctor import PATIENCE_LEASES, Doctor, of_database, own_hands
from livemig.conductor.marks import WrittenMarks
from livemig.conductor.reconciliation import Disagreement, Remedy
from livemig.db.selection import Selection
from livemig.db.store import Store
from livemig.hypervisor.connection import Hypervisor
from livemig.hypervisor.events import EventLoop
from livemig.runtime import Runtime, ThreadRuntime

_ANSWER_S = 15.0


def add_to(parsers: Any) -> None:
    """The command's arguments."""
    parser = parsers.add_parser("doctor")
    parser.add_argument("--fix", action="store_true", help="do what needs no person: read hosts again, let servers go, undefine what livemig has left")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    parser.set_defaults(action=run)


def end_migration(store: Store, conf: Any) -> int:
    """livemig-manage migration end ID: by a person's word. The exit status is 1 when it is not taken."""
    runtime, asked = ThreadRuntime(), conf.command
    found = store.migrations.find(Selection({"id": asked.id}))
    if not found:
        return _refused(f"There is no migration {asked.id}.")
    with _hypervisors(store, conf, runtime) as hypervisors:
        doctor = _doctor(store, conf, runtime, hypervisors)
        came = ruling.end(store, doctor.ask({found[0].source, found[0].destination or ""} & set(hypervisors)), found[0], asked.on)
    if isinstance(came, ruling.Refusal):
        return _refused(f"Migration {asked.id} was not ended. {came.reason}")
    print(f"Migration {asked.id} ended: {came.status}. {came.reason}".strip())
    return 0


def _refused(why: str) -> int:
    print(why, file=sys.stderr)
    return 1


def _doctor(store: Store, conf: Any, runtime: Runtime, hypervisors: Mapping[str, Hypervisor]) -> Doctor:
    hands = own_hands(store, hypervisors)
    return Doctor(store, runtime, lambda: hypervisors, hands, PATIENCE_LEASES * conf.conductor.lease_time, _ANSWER_S, runtime.sleep)


def run(store: Store, conf: Any) -> int:
    """Returns the exit status. Raises DatabaseUnavailable, ConfigurationError."""
    found = of_database(store)
    if any(each.kind.name == "revision" for each in found):
        return _tell(conf, found, found, {})
    runtime = ThreadRuntime()
    with _hypervisors(store, conf, runtime) as hypervisors:
        doctor = _doctor(store, conf, runtime, hypervisors)
        found += doctor.examine()
        away = {host for each in found if each.kind.name == "unreachable" for host in each.hosts}
        notes = remains.find(store, runtime, {name: each for name, each in hypervisors.items() if name not in away}, _ANSWER_S)
        if not conf.command.fix:
            return _tell(conf, found + notes, found + notes, {})
        errors = _mend(doctor, found)
        return _tell(conf, found + notes, of_database(store) + doctor.examine() + notes, errors)


@contextmanager
def _hypervisors(store: Store, conf: Any, runtime: Runtime) -> Iterator[Mapping[str, Hypervisor]]:
    module = wiring.libvirt(conf, runtime)
    keepalive = (conf.libvirt.keepalive_interval, conf.libvirt.keepalive_count)
    marks = WrittenMarks(store, f"livemig-manage on {conf.host}")  # not a conductor's, which is at work at the same time
    hypervisors = {name: Hypervisor(module, name, each.connection_uri, keepalive, marks) for name, each in configuration.hosts(conf).items()}
    loop = EventLoop(module, runtime)
    loop.start()
    try:
        yield hypervisors
    finally:
        loop.stop()


def _mend(doctor: Doctor, found: Sequence[Disagreement]) -> Mapping[Any, str]:
    """What stood in the way, by the disagreement's key."""
    errors = {}
    for each in found:
        try:
            doctor.mend(each)
        except exceptions.HypervisorError as error:
            errors[each.key] = str(error)
    return errors


def _tell(conf: Any, found: Sequence[Disagreement], left: Sequence[Disagreement], errors: Mapping[Any, str]) -> int:
    remaining = {each.key for each in left}
    every = {each.key: each for each in (*found, *left)}.values()
    count = len({each.key for each in left if not each.kind.note})
    if conf.command.json:
        print(json.dumps({"disagreements": [_as_json(each, each.key in remaining, errors.get(each.key)) for each in every], "left": count}, indent=2))
    else:
        for each in every:
            print(_line(each, each.key in remaining, errors.get(each.key)))
        print(_sum(sum(not each.kind.note for each in every), count, sum(each.kind.note for each in every)))
    return 1 if count else 0


def _line(each: Disagreement, left: bool, error: str | None) -> str:
    if not left:
        return f"{each.text} => mended"
    by = "--fix" if each.kind.remedy is not Remedy.NONE else "you"
    return f"{each.text} => {each.mend} [{by}]" + (f" ({error})" if error else "")


def _as_json(each: Disagreement, left: bool, error: str | None) -> dict[str, Any]:
    return {
        "kind": each.kind.name,
        "text": each.text,
        "remedy": each.mend,
        "note": each.kind.note,
        "safe": each.kind.remedy is not Remedy.NONE,
        "mended": not left,
        "error": error,
        "server": each.server,
        "migration": each.migration,
        "hosts": list(each.hosts),
    }


def _sum(found: int, left: int, notes: int) -> str:
    more = f" {notes} thing{'s' if notes != 1 else ''} to look at." if notes else ""
    if not found:
        return f"The database and the hosts agree.{more}"
    return f"{found} disagreement{'s' if found != 1 else ''}, {left} left.{more}"
