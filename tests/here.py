"""The commands in this process or as processes of their own, over a directory with a configuration of two simulated hosts."""

from __future__ import annotations

import json
import logging
import signal
import socket
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from oslo_config import cfg

from livemig.cli import manage
from livemig.db.engine import Database
from livemig.db.store import Store
from livemig.runtime import ThreadRuntime

RUNTIME = ThreadRuntime()
HOST = "[host:{0}]\nconnection_uri = qemu+tcp://{0}/system\n"
FLEET = "hosts: [{name: a}, {name: b}]\nguests: [{name: web, host: a}]\n"


class Here:
    """A directory with a configuration of two simulated hosts."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.fleet = directory / "fleet.yaml"
        self.fleet.write_text(FLEET)
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.database = f"sqlite:///{directory}/state/livemig.sqlite"
        self.write(["a", "b"])

    def write(self, hosts: list[str], groups: str | None = None, more: str = "") -> None:
        text = f"""
        [DEFAULT]
        enabled_hosts = {",".join(hosts)}
        state_path = {self.directory}/state
        transport_url = fake:///
        host = here
        [api]
        listen_port = {self.port}
        [libvirt]
        driver = mock
        [mock]
        fleet = {self.fleet}
        """.replace("        ", "")
        (self.directory / "livemig.conf").write_text(text + ("".join(map(HOST.format, hosts)) if groups is None else groups) + more)

    @property
    def arguments(self) -> list[str]:
        return ["--config-file", str(self.directory / "livemig.conf")]

    def store(self) -> Store:
        return Store(Database(self.database), RUNTIME)

    def get(self, path: str) -> Any:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=10) as answer:
            return json.load(answer)

    def wait(self, ready: Callable[[], object], seconds: float = 30) -> None:
        deadline = RUNTIME.monotonic() + seconds
        while RUNTIME.monotonic() < deadline:
            try:
                if ready():
                    return
            except urllib.error.URLError:
                pass
            RUNTIME.sleep(0.02)
        raise AssertionError("it did not come about")


@contextmanager
def at_home(directory: Path) -> Iterator[Here]:
    """The configuration is the global one, as for a real command; signals, logging and the configuration are put back afterwards."""
    root = logging.getLogger()
    levels = {name: logger.level for name, logger in logging.root.manager.loggerDict.items() if isinstance(logger, logging.Logger)}
    before = root.level, root.handlers[:], sys.excepthook, {each: signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}
    cfg.CONF.reset()
    try:
        yield Here(directory)
    finally:
        cfg.CONF.reset()
        cfg.CONF.unregister_opt(cfg.SubCommandOpt("command"))
        cfg.CONF([], project="livemig", default_config_files=[], default_config_dirs=[])
        logging.captureWarnings(False)
        root.level, root.handlers, sys.excepthook, handlers = before
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
        for each, handler in handlers.items():
            signal.signal(each, handler)


def managed(here: Here, capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    cfg.CONF.reset()
    assert manage.main([*here.arguments, *arguments]) == 0
    return capsys.readouterr().out


def synced(here: Here, capsys: pytest.CaptureFixture[str]) -> None:
    """Make the tables, and leave no trace of livemig-manage in the configuration."""
    managed(here, capsys, "db", "sync")
    cfg.CONF.reset()
    cfg.CONF.unregister_opt(cfg.SubCommandOpt("command"))
