"""uv, with the package index and the certificates that pip has been set up with: uv does not read pip's configuration.

    .venv/bin/python tools/uv.py WORDS…

is `uv WORDS…`. A variable of uv's that is set already is left as it is.
"""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

# What pip calls it, and uv's variable. Not pip's extra indexes: of one version uv takes the files of one index alone, which may lack those for another Python.
NAMES = {"index-url": "UV_DEFAULT_INDEX", "trusted-host": "UV_INSECURE_HOST", "cert": "SSL_CERT_FILE"}
SECTIONS = ("global", "install", ":env:")  # each overrules those before it


def settings(listed: str) -> dict[str, str]:
    """The variables for uv, from the output of `pip config list`."""
    given: dict[tuple[str, str], str] = {}
    for line in listed.splitlines():
        key, _, value = line.partition("=")
        section, _, name = key.rpartition(".")
        given[section, name] = value
    found = {name: given[section, name] for section in SECTIONS for name in NAMES if (section, name) in given}
    return {NAMES[name]: " ".join(str(ast.literal_eval(value)).split()) for name, value in found.items()}


def variables(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The environment that uv is run in. Without a pip beside this interpreter it is that of this process."""
    listed = subprocess.run([sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=False)
    return settings(listed.stdout) | dict(environ) if listed.returncode == 0 else dict(environ)


def program() -> str:
    """uv's path: beside this interpreter."""
    return str(Path(sys.executable).with_name("uv"))


def main(words: Sequence[str]) -> None:
    os.execve(program(), ["uv", *words], variables())


if __name__ == "__main__":
    main(sys.argv[1:])
