"""The command livemig-lab."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

from livemig.lab import preflight, roots
from livemig.lab.disks import WORDS
from livemig.lab.lab import Lab
from livemig.lab.shell import LabError
from livemig.runtime import ThreadRuntime

DIRECTORY = "/var/tmp/livemig-lab"
Arguments = argparse.Namespace


def main(argv: Sequence[str] | None = None) -> int:
    """Exit status: 0 done, 1 failed or (guest ticks) broken, 2 something is missing on this machine or the call was wrong."""
    arguments = _parser().parse_args(argv)
    try:
        lacks = arguments.missing()
        if lacks:
            print("This machine lacks:", *lacks, sep="\n  ", file=sys.stderr)
            return 2
        return arguments.verb(Lab(arguments.dir, ThreadRuntime()), arguments) or 0
    except (LabError, OSError) as error:
        print(f"livemig-lab: {error}", file=sys.stderr)
        return 1


def up(lab: Lab, arguments: Arguments) -> None:
    lab.up(arguments.hosts)
    for host in lab.hosts:
        print(host.name, host.uri, host.root.name)


def hosts(text: str) -> int | list[str]:
    """A number of hosts, or what each of them runs."""
    return int(text) if text.isdigit() else text.split(",")


def roots_list(lab: Lab, arguments: Arguments) -> None:
    print(f"{roots.OWN:10} this machine")
    for name, release in roots.RELEASES.items():
        root = roots.cached(name)
        shown = "not fetched yet"
        if root is not None:
            versions = roots.versions(root)
            shown = f"libvirt {versions['libvirt-daemon']}, QEMU {versions['qemu-system-x86']}, in {root.path}"
        print(f"{name:10} {release.suite:10} {shown}")


def roots_fetch(lab: Lab, arguments: Arguments) -> None:
    print(roots.fetch(arguments.name, arguments.mirror).path)


def roots_remove(lab: Lab, arguments: Arguments) -> None:
    roots.remove(arguments.name)


def guest_add(lab: Lab, arguments: Arguments) -> None:
    given = (arguments.disk, arguments.memory, arguments.vcpus, arguments.dirty, arguments.tpm, arguments.uefi)
    guest = lab.add_guest(arguments.name, arguments.host, *given)
    print(guest.name, guest.uuid)


def guest_remove(lab: Lab, arguments: Arguments) -> None:
    lab.guest(arguments.name).remove()


def guest_dirty(lab: Lab, arguments: Arguments) -> None:
    lab.guest(arguments.name).set_dirty(arguments.mib_s)


def guest_ticks(lab: Lab, arguments: Arguments) -> int:
    ticks = lab.guest(arguments.name).ticks()
    for key, value in asdict(ticks).items():
        print(f"{key:14} {' '.join(map(str, value)) or 'none' if isinstance(value, tuple) else value}")
    print("unbroken" if ticks.unbroken else "broken")
    return 0 if ticks.unbroken else 1


def link(lab: Lab, arguments: Arguments) -> None:
    host = lab.host(arguments.host)
    {"slow": lambda: host.slow(arguments.mbit), "cut": host.cut, "heal": host.heal}[arguments.how]()


def directory(lab: Lab, arguments: Arguments) -> None:
    host = lab.host(arguments.host)
    {"read-only": host.read_only, "writable": host.writable}[arguments.how](arguments.path or lab.shared)


def status(lab: Lab, arguments: Arguments) -> None:
    found = lab.status()
    if arguments.json:
        print(json.dumps(found, indent=2))
        return
    print(f"lab in {found['directory']}: {'down' if found['index'] is None else 'index {index}'.format(**found)}")
    for host in found["hosts"]:
        print("{name:8} {uri:32} {root:10} daemon {daemon:8} link {link}".format(**host))
    for guest in found["guests"]:
        print("{name:8} {uuid} on {host:8} {ticks} ticks".format(**guest | {"host": guest["host"] or "no host"}))


def config(lab: Lab, arguments: Arguments) -> None:
    print(lab.config(arguments.transport, arguments.network), end="")


def down(lab: Lab, arguments: Arguments) -> None:
    lab.down()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="livemig-lab", description="Real libvirt hosts with real guests on this machine.")
    parser.add_argument("--dir", default=os.environ.get("LIVEMIG_LAB_DIR", DIRECTORY), help="where the lab is (default: $LIVEMIG_LAB_DIR or %(default)s)")
    verbs = parser.add_subparsers(required=True, metavar="COMMAND")
    kinds = f"{roots.OWN}, {', '.join(roots.RELEASES)} or a directory with a root folder"
    which = {"type": hosts, "default": 2, "metavar": "N|KIND,...", "help": f"at least so many (default: 2), or what each runs: {kinds}"}
    _verb(verbs, "up", up, "make the lab, or mend it", ("--hosts", which), missing=preflight.missing)
    _roots(verbs)
    guest = verbs.add_parser("guest", help="guests: add, remove, dirty, ticks").add_subparsers(required=True, metavar="COMMAND")
    name = ("name", {"metavar": "NAME"})
    _verb(
        guest, "add", guest_add, "start a guest and wait until it ticks",
        ("name", {"metavar": "NAME", "nargs": "?", "default": "guest"}),
        ("--host", {"default": "node1", "help": "where it starts (default: node1)"}),
        ("--disk", {"action": "append", "default": [], "metavar": "WORDS", "help": WORDS}),
        ("--memory", {"type": int, "default": 256, "metavar": "MIB"}),
        ("--vcpus", {"type": int, "default": 1}),
        ("--dirty", {"type": int, "default": 0, "metavar": "MIB_PER_S", "help": "memory it changes each second (default: 0)"}),
        ("--tpm", {"action": "store_true", "help": "give it a TPM"}),
        ("--uefi", {"action": "store_true", "help": "have it booted by UEFI"}),
        missing=preflight.missing,
    )  # fmt: skip
    _verb(guest, "remove", guest_remove, "take a guest away", name)
    _verb(guest, "dirty", guest_dirty, "change the rate at which it dirties memory", name, ("mib_s", {"type": int, "metavar": "MIB_PER_S"}))
    _verb(guest, "ticks", guest_ticks, "judge whether it went on, once, all the time", name)
    _link(verbs)
    _verb(
        verbs, "directory", directory, "have a directory mounted read-only on a host, or as it was",
        ("host", {"metavar": "HOST"}), ("how", {"choices": ["read-only", "writable"]}),
        ("path", {"metavar": "PATH", "nargs": "?", "help": "default: the directory that the hosts share"}),
    )  # fmt: skip
    _verb(verbs, "status", status, "what there is", ("--json", {"action": "store_true"}))
    _verb(
        verbs, "config", config, "print the part of livemig.conf for these hosts",
        ("--transport", {"choices": ["tcp", "tls", "ssh"], "default": "tcp", "help": "how the daemons are reached (default: tcp)"}),
        ("--network", {"choices": ["main", "migration", "migration6"], "default": "main", "help": "where memory is sent (default: main)"}),
    )  # fmt: skip
    _verb(verbs, "down", down, "take everything away")
    return parser


def _roots(verbs: Any) -> None:
    """`roots` alone lists them."""
    text = "what hosts of other releases run: list what there is, fetch, remove"
    parser = verbs.add_parser("roots", help=text, description=text)
    parser.set_defaults(verb=roots_list, missing=list)
    hows = parser.add_subparsers(metavar="fetch|remove")
    name = ("name", {"metavar": "NAME", "choices": list(roots.RELEASES), "help": ", ".join(roots.RELEASES)})
    mirror = ("--mirror", {"default": "", "metavar": "URL", "help": "of Debian (default: the one in the sources of this machine's apt)"})
    _verb(hows, "fetch", roots_fetch, "fetch what the mirror has today, for hosts that are made from now on", name, mirror)
    _verb(hows, "remove", roots_remove, "remove what was fetched, if no lab uses it", name)


def _link(verbs: Any) -> None:
    parser = verbs.add_parser("link", help="slow, cut or heal the link of a host")
    parser.add_argument("host", metavar="HOST")
    hows = parser.add_subparsers(required=True, dest="how", metavar="slow|cut|heal")
    _verb(hows, "slow", link, "let through no more than that each way", ("mbit", {"type": float, "metavar": "MBIT"}))
    _verb(hows, "cut", link, "pull the cable")
    _verb(hows, "heal", link, "plug it in, at full speed")


def _verb(
    verbs: Any,
    name: str,
    function: Callable[[Lab, Arguments], int | None],
    text: str,
    *arguments: tuple[str, Any],
    missing: Callable[[], list[str]] = preflight.missing_rights,
) -> None:
    parser = verbs.add_parser(name, help=text, description=text)
    for argument, options in arguments:
        parser.add_argument(argument, **options)
    parser.set_defaults(verb=function, missing=missing)


if __name__ == "__main__":
    sys.exit(main())
