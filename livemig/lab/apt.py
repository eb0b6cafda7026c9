"""Debian packages of any suite by the machine's own apt, with a state apart: the machine's lists, packages and caches stay as they are.

What apt is told by the machine's /etc/apt/apt.conf.d (proxies above all) holds here, too; only its hooks are left out, because they are about the machine.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from string import Template

from livemig.lab.shell import LabError, run

COMMANDS = {"apt-get": "apt", "dpkg-deb": "dpkg", "tar": "tar"}
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
# A source of the machine that has one of these is a mirror of Debian. Those for security updates and backports are called otherwise, and may be elsewhere.
MIRRORED = {"bullseye", "bookworm", "trixie", "forky", "sid", "oldoldstable", "oldstable", "stable", "testing", "unstable"}
INDEX = re.compile(r"'(?P<mirror>\S+?)/*/dists/(?P<suite>[^/']+)/InRelease'")
TIMEOUT_S = 900.0

SOURCE = """\
Types: deb
URIs: {mirror}
Suites: {suite}
Components: main
Targets: Packages
"""
# Read after the machine's configuration. A list has to be cleared before it can be set.
CONFIG = Template("""\
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear APT::Architectures;
APT::Architectures { "amd64"; };
APT::Architecture "amd64";
APT::Default-Release "";
APT::Get::Assume-Yes "true";
APT::Install-Recommends "false";
APT::Install-Suggests "false";
APT::Sandbox::User "root";
APT::Update::Error-Mode "any";
Acquire::Languages "none";
Acquire::Retries "3";
Dir::Cache "$work/cache";
Dir::Cache::archives "$work/cache/archives";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
Dir::Etc::sourcelist "$work/mirror.sources";
Dir::Etc::sourceparts "/dev/null";
Dir::Log "$work";
Dir::State "$work/state";
Dir::State::lists "$work/state/lists";
Dir::State::status "$work/state/status";
""")
UNPACK = """\
set -eo pipefail
for package in "$1"/*.deb; do
    dpkg-deb --fsys-tarfile "$package" | tar -x -C "$2" --keep-directory-symlink --no-same-owner --exclude=./usr/share/{doc,locale,man}
done
"""
# What apt complains about, and what is missing then. The first that fits is said.
COMPLAINTS = (
    (r"does not have a Release file|404 +Not Found", "the mirror {mirror} has no suite {suite}"),
    (r"Failed to fetch \S+ +[45]\d\d ", "the mirror {mirror} refuses suite {suite}"),
    (
        r"NO_PUBKEY|is not signed|could ?n[o']t be verified",
        "the signature of suite {suite} cannot be checked: the package debian-archive-keyring is missing or too old",
    ),
    (r"Unable to locate package (?P<package>\S+)", "suite {suite} of {mirror} has no package {package}"),
    (r"Package '?(?P<package>[^\s']+)'? has no installation candidate", "suite {suite} of {mirror} has no package {package}"),
    (r"No space left|enough free space", "there is no room for the packages of suite {suite}"),
    (r"resolv|connect|unreachable|timed out|handshake", "the mirror {mirror} cannot be reached"),
)


def machine_mirror() -> str:
    """The address of the mirror of Debian that the machine's own sources name. Raises LabError when there is none."""
    check_commands()
    indexes = INDEX.finditer(run("apt-get", "update", "--print-uris"))  # what it would fetch: apt itself reads its sources, in whichever format they are
    found = next((index["mirror"] for index in indexes if index["suite"] in MIRRORED), None)
    if found is None:
        raise LabError("the sources of this machine's apt name no mirror of Debian: give the address of one with --mirror")
    return found


def check_commands() -> None:
    """Raises LabError where there is no apt, dpkg or tar."""
    for command, package in COMMANDS.items():
        if shutil.which(command) is None:
            raise LabError(f"command {command} is missing: apt-get install {package}")


class Archive:
    """One suite of a mirror. `work` is an empty directory for apt's state and the packages. Everything raises LabError, which names what is missing."""

    def __init__(self, work: Path, mirror: str, suite: str) -> None:
        check_commands()
        self._mirror, self._suite = mirror, suite
        self._config = work / "apt.conf"
        self._archives = work / "cache/archives"
        for directory in ("state/lists/partial", "cache/archives/partial"):
            (work / directory).mkdir(parents=True)
        (work / "state/status").touch()
        signed_by = f"Signed-By: {KEYRING}\n" if KEYRING.exists() else ""
        (work / "mirror.sources").write_text(SOURCE.format(mirror=mirror, suite=suite) + signed_by)
        self._config.write_text(CONFIG.substitute(work=work))

    def look(self, packages: Sequence[str]) -> list[str]:
        """Ask the mirror: the files of these packages and of all that they depend on, as `libvirt0_11.3.0-3_amd64.deb`."""
        self._apt("update")
        told = self._apt("--print-uris", "--download-only", "install", *packages)
        return sorted(line.split()[1] for line in told.splitlines() if line.startswith("'"))

    def unpack(self, packages: Sequence[str], target: Path) -> None:
        """Fetch these packages, and all that they depend on, and unpack them. None of their scripts is run."""
        self._apt("--download-only", "install", *packages)
        run("bash", "-c", UNPACK, "bash", self._archives, target, timeout=TIMEOUT_S)

    def _apt(self, *words: str) -> str:
        try:
            return run("env", "LC_ALL=C", "apt-get", "-q", "-c", self._config, *words, timeout=TIMEOUT_S)
        except LabError as error:
            raise LabError(complaint(str(error), self._mirror, self._suite)) from error


def complaint(text: str, mirror: str, suite: str) -> str:
    """What is missing, by what apt said; with its own words."""
    lines = [line.strip() for line in text.splitlines() if re.search(r"\b[EW]: |^ +\S+ : Depends", line)] or [text]
    for pattern, means in COMPLAINTS:
        for line in lines:
            if found := re.search(pattern, line):
                return f"{means.format(mirror=mirror, suite=suite, **found.groupdict())} (apt-get: {line[max(line.find('E: '), line.find('W: '), 0) :]})"
    return f"apt-get on suite {suite} of {mirror}: {' '.join(lines)}"
