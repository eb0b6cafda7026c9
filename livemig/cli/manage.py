"""livemig-manage: what an operator does beside the API.

livemig-manage db sync                bring the tables to the newest revision
livemig-manage db purge --older-than DAYS [--dry-run]
                                      remove migrations that ended longer ago, their event logs, and old actions on servers
livemig-manage host list              the hosts as their watchers found them
livemig-manage migration list         the migrations in progress
livemig-manage migration events ID    a migration's event log
livemig-manage migration end ID --on HOST | --lost
                                      end one by a person's word, after a host is gone for good
livemig-manage queue [--json]         the migrations that wait, in their order, and what for
livemig-manage doctor [--fix] [--json]
                                      where the database and the hosts disagree, and what mends it

The exit status is 2 for what cannot be done, such as reading the database.
"""

from __future__ import annotations

import json
from argparse import ArgumentTypeError
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

from oslo_config import cfg

from livemig.cli import doctor, wiring
from livemig.conductor.checks.hosts import dotted
from livemig.conductor.purging import PAUSE_S
from livemig.db.store import Store
from livemig.runtime import ThreadRuntime


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point."""
    cfg.CONF.register_cli_opt(cfg.SubCommandOpt("command", title="commands", handler=_commands))
    return wiring.run(_run, arguments, unable=2)


def _run(conf: Any) -> int | None:
    status: int | None = conf.command.action(wiring.store(conf, ThreadRuntime()), conf)
    return status


def _commands(parsers: Any) -> None:
    queue = parsers.add_parser("queue")
    queue.add_argument("--json", action="store_true", help="one JSON list")
    queue.set_defaults(action=_show_queue)
    doctor.add_to(parsers)
    nouns: dict[str, dict[str, tuple[Callable[[Store, Any], int | None], tuple[str, ...]]]] = {
        "db": {"sync": (_sync, ()), "purge": (_purge, ())},
        "host": {"list": (_list_hosts, ())},
        "migration": {"list": (_list_migrations, ()), "events": (_list_events, ("id",)), "end": (doctor.end_migration, ("id",))},
    }
    for noun, verbs in nouns.items():
        parser = parsers.add_parser(noun).add_subparsers(dest="verb", required=True)
        for verb, (action, arguments) in verbs.items():
            command = parser.add_parser(verb)
            command.set_defaults(action=action)
            for argument in arguments:
                command.add_argument(argument, type=int)
            if verb == "purge":
                command.add_argument("--older-than", metavar="DAYS", type=_days, required=True, help="what ended so many days ago, or before: at least 1")
                command.add_argument("--dry-run", action="store_true", help="say what would be removed, and remove nothing")
            if verb == "end":
                word = command.add_mutually_exclusive_group(required=True)
                word.add_argument("--on", metavar="HOST", help="the guest is there")
                word.add_argument("--lost", action="store_true", help="the guest is gone")


def _sync(store: Store, _conf: Any) -> None:
    store.database.upgrade()
    print("The tables are at the newest revision.")


def _days(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and 1 <= int(text) <= _MOST_DAYS):
        raise ArgumentTypeError(f"{text} is no number of days from 1 to {_MOST_DAYS}")
    return int(text)


_MOST_DAYS = 36_500


def _purge(store: Store, conf: Any) -> None:
    """Beside whatever runs: a few rows at a time."""
    runtime = ThreadRuntime()
    before = runtime.now() - timedelta(days=conf.command.older_than)

    def pause() -> bool:
        runtime.sleep(PAUSE_S)
        return True

    found = store.history.count(before) if conf.command.dry_run else store.history.purge(before, pause)
    what = f"{found.migrations} migrations, {found.events} lines of their event logs and {found.actions} actions on servers"
    print(f"{what} {'would be' if conf.command.dry_run else 'were'} removed.")


def _list_hosts(store: Store, _conf: Any) -> None:
    for host in store.hosts.all():
        state = "up" if host.up else "down"
        versions = f"{host.hypervisor_type} {dotted(host.hypervisor_version)}, libvirt {dotted(host.libvirt_version)}"
        print(f"{host.name}  {state}  {versions}  {host.vcpus} CPUs  {host.memory_free_mib} of {host.memory_mib} MiB free")


def _list_migrations(store: Store, _conf: Any) -> None:
    for migration in store.migrations.open():
        ends = f"{migration.source} -> {migration.destination or migration.requested_host or '?'}"
        print(f"{migration.id}  {migration.status}  {migration.server_uuid}  {ends}  since {migration.created_at:%Y-%m-%d %H:%M:%S}")


def _list_events(store: Store, conf: Any) -> None:
    for event in store.migrations.events(conf.command.id):
        print(f"{event.at:%Y-%m-%d %H:%M:%S.%f}  {event.kind:12}  {event.text}")


_QUEUE = ("position", "id", "server", "source", "destination", "since", "waits_for")


def _show_queue(store: Store, conf: Any) -> None:
    rows = [
        (place, each.id, each.server_uuid, each.source, each.destination, f"{each.updated_at:%Y-%m-%dT%H:%M:%SZ}", each.waits_for)
        for place, each in enumerate(store.queue.waiting(), start=1)
    ]
    if conf.command.json:
        print(json.dumps([dict(zip(_QUEUE, row, strict=True)) for row in rows], indent=2))
        return
    for place, number, server, source, destination, since, waits_for in rows:
        print(f"{place}  {number}  {server}  {source} -> {destination}  since {since}  {waits_for or 'to be looked at'}")
