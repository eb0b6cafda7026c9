"""livemig.wsgi:application, as a WSGI server calls it, but in this process."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
import webob

from livemig import wsgi
from livemig.conf import ConfigurationError
from livemig.exceptions import Misconfigured
from tests.here import RUNTIME, Here, synced


@pytest.fixture
def configured(here: Here, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Here:
    synced(here, capsys)
    monkeypatch.setenv(wsgi.FILES, str(here.directory / "livemig.conf"))
    return here


def asked(application: wsgi.Application, path: str = "/v2.1/servers", address: str = "127.0.0.1") -> webob.Response:
    environ: Any = {"REMOTE_ADDR": address}
    return webob.Request.blank(path, environ=environ).get_response(application)


def test_it_answers(configured: Here) -> None:
    application = wsgi.Application()
    assert asked(application).json == {"servers": []}
    assert asked(application, "/").json["versions"][1]["id"] == "v2.1"
    assert asked(application, "/v2.1/nope").status_int == 404
    assert asked(application, address="192.0.2.7").status_int == 403


def test_it_is_made_once_whoever_comes_first(configured: Here) -> None:
    application = wsgi.Application()
    made: list[int] = []
    ready = threading.Barrier(4)

    def ask() -> None:
        ready.wait(10)
        asked(application)
        made.append(id(application._made))

    for task in [RUNTIME.start("ask", ask) for _ in range(4)]:
        task.join(30)
    assert len(made) == 4 and len(set(made)) == 1


def test_several_files(configured: Here, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    more = tmp_path / "more.conf"
    more.write_text("[api]\nauth_strategy = keystone\n[keystone_authtoken]\nauth_type = none\n")
    monkeypatch.setenv(wsgi.FILES, f"{configured.directory / 'livemig.conf'}:{more}")
    assert asked(wsgi.Application()).status_int == 401


def test_it_says_what_is_wrong_and_tries_again(configured: Here) -> None:
    """The server logs it, and answers 500."""
    application = wsgi.Application()
    for more, error in (
        ("[api]\nauth_strategy = http_basic\n", ConfigurationError),
        ("[database]\nconnection = livemig:secret@db\n", Misconfigured),
        ("[DEFAULT]\ntransport_url = rabbit://livemig:secret@mq:no/\n", Misconfigured),
    ):
        configured.write(["a", "b"], more=more)
        with pytest.raises(error) as said:
            asked(application)
        assert "secret" not in str(said.value) and application._made is None
    configured.write(["a", "b"])
    assert asked(application).status_int == 200
