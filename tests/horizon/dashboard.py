"""Horizon on a free port of the loopback address, as Django serves it, gone when its context ends."""

from __future__ import annotations

import os
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from livemig.lab.service import free_port
from livemig.runtime import ThreadRuntime
from tests.clients.environments import environment

RUNTIME = ThreadRuntime()
START_S = 90.0


@contextmanager
def horizon(directory: Path, keystone_url: str) -> Iterator[str]:
    """Its URL, once the login page can be seen: styles are compiled for it."""
    url = f"http://127.0.0.1:{(port := free_port())}"
    command: list[str | Path] = [environment("horizon") / "python", "-m", "django", "runserver", "--noreload", f"127.0.0.1:{port}"]
    variables = {
        "PATH": os.environ["PATH"],
        "HOME": str(directory),
        "LANG": "C.UTF-8",
        "PYTHONWARNINGS": "ignore",
        "PYTHONPATH": str(Path(__file__).parent),
        "DJANGO_SETTINGS_MODULE": "dashboard_settings",
        "DASHBOARD_DIRECTORY": str(directory),
        "DASHBOARD_KEYSTONE_URL": keystone_url,
    }
    with (directory / "output").open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, env=variables, cwd=directory, start_new_session=True)
    try:
        deadline = RUNTIME.monotonic() + START_S
        while not _answers(f"{url}/auth/login/"):
            if process.poll() is not None or RUNTIME.monotonic() > deadline:
                raise AssertionError(f"Horizon did not start:\n{(directory / 'output').read_text()}")
            RUNTIME.sleep(0.2)
        yield url
    finally:
        process.terminate()
        process.wait(30)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=30):
            return True
    except OSError:
        return False
