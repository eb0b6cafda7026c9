"""ssh between the machine and the hosts of a lab, and from host to host, with keys of the lab's own.

The client is OpenSSH behind a script that gives it the lab's configuration, for the users' own is none of the lab's business; the server is dropbear, whose
Debian package starts nothing by itself. On a host, the account root has a home of the host's own.
"""

from __future__ import annotations

from pathlib import Path

from livemig.lab.shell import run

CONFIG = """\
Host *
    User root
    BatchMode yes
    IdentitiesOnly yes
    IdentityFile {directory}/key
    StrictHostKeyChecking yes
    UserKnownHostsFile {directory}/known_hosts
    GlobalKnownHostsFile none
"""


class Keys:
    """The keys in `directory`, which everybody in the lab sees."""

    def __init__(self, directory: Path) -> None:
        self.client = directory / "ssh"
        self.host_key = directory / "host_key"
        self._directory = directory

    def ensure(self) -> None:
        """Make them, or what is missing."""
        self._directory.mkdir(exist_ok=True)
        if not self.client.exists():
            for name in ("key", "key.pub", "host_key"):
                (self._directory / name).unlink(missing_ok=True)
            run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "lab", "-f", self._directory / "key")
            told = run("dropbearkey", "-t", "ed25519", "-f", self.host_key)
            public = next(line for line in told.splitlines() if line.startswith("ssh-"))
            (self._directory / "known_hosts").write_text(f"* {public}\n")
            (self._directory / "config").write_text(CONFIG.format(directory=self._directory))
            script = self._directory / "ssh.new"
            script.write_text(f'#!/bin/sh\nexec ssh -F "{self._directory}/config" "$@"\n')
            script.chmod(0o755)
            script.rename(self.client)

    def admit(self, home: Path) -> None:
        """Let the lab's key into the account with that home."""
        place = home / ".ssh"
        place.mkdir(parents=True, exist_ok=True)
        home.chmod(0o700)
        (place / "authorized_keys").write_text((self._directory / "key.pub").read_text())


def passwd(home: Path) -> str:
    """The machine's accounts, root at home in that directory."""
    accounts = [line.split(":") for line in Path("/etc/passwd").read_text().splitlines()]
    return "".join(":".join([*line[:5], str(home), *line[6:]] if line[0] == "root" else line) + "\n" for line in accounts)


def server(address: str, keys: Keys) -> list[str]:
    """The command of the server of a host: in the foreground, by keys alone."""
    return ["dropbear", "-F", "-E", "-s", "-m", "-r", str(keys.host_key), "-p", f"{address}:22", "-P", "/run/dropbear.pid"]
