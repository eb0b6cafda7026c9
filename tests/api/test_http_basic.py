"""Users of an htpasswd file: what is taken for one, what is refused at the start and later, and what a check costs."""

from __future__ import annotations

import base64
import logging
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import bcrypt
import pytest

from livemig.api import htpasswd
from livemig.conf import ConfigurationError
from livemig.runtime import ThreadRuntime
from tests.api.test_policies import basic
from tests.api.world import World

RUNTIME = ThreadRuntime()


def hashed(password: str, cost: int = 4) -> str:
    return bcrypt.hashpw(password.encode(), bcrypt.gensalt(cost)).decode()


ALICES = hashed("secret of alice")
BOBS = hashed("secret of bob")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return written(tmp_path / "htpasswd", f"# our users\n\nalice:{ALICES}\n  bob:{BOBS}  \n")


def written(file: Path, text: str | bytes, mode: int = 0o640) -> Path:
    """In place of what is there, as editors do it."""
    new = file.with_suffix(".new")
    new.write_bytes(text if isinstance(text, bytes) else text.encode())
    new.chmod(mode)
    return new.replace(file)


def test_who_is_known(file: Path) -> None:
    users = htpasswd.Users(str(file), 2)
    for _ in range(2):  # found out, and remembered
        assert users.knows("alice", b"secret of alice") and users.knows("bob", b"secret of bob")
        assert not users.knows("alice", b"secret of bob") and not users.knows("carol", b"secret of alice") and not users.knows("", b"")


@pytest.mark.parametrize("prefix", ["$2a$", "$2b$", "$2y$"])
def test_every_kind_of_bcrypt(file: Path, prefix: str) -> None:
    written(file, f"alice:{ALICES.replace('$2b$', prefix)}")
    assert htpasswd.Users(str(file), 2).knows("alice", b"secret of alice")


def test_passwords_that_bcrypt_does_not_take(file: Path) -> None:
    long = "x" * 72
    written(file, f"alice:{hashed(long)}\n")
    users = htpasswd.Users(str(file), 2)
    assert users.knows("alice", long.encode())
    assert not users.knows("alice", f"{long}y".encode()) and not users.knows("alice", b"\0" + long.encode()) and not users.knows("alice", b"x" * 100_000)


BAD: dict[str, tuple[str | bytes, int, str]] = {
    "no colon": ("alice\n", 0o600, "line 1 is not USER:HASH with a hash of bcrypt (htpasswd -B)"),
    "no user": (f":{ALICES}\n", 0o600, "line 1 is not USER:HASH"),
    "an empty hash": (f"bob:{BOBS}\nalice:\n", 0o600, "line 2 is not USER:HASH"),
    "MD5": ("alice:$apr1$abcdefgh$0123456789012345678901\n", 0o600, "line 1 is not USER:HASH"),
    "SHA": ("alice:{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=\n", 0o600, "line 1 is not USER:HASH"),
    "plain": ("alice:secret of alice\n", 0o600, "line 1 is not USER:HASH"),
    "half of it": (f"alice:{ALICES[:40]}\n", 0o600, "line 1 is not USER:HASH"),
    "a cost of days": (f"alice:{ALICES.replace('$04$', '$31$')}\n", 0o600, "line 1 has a cost of 31; 4 to 16 are served"),
    "a cost of nothing": (f"alice:{ALICES.replace('$04$', '$00$')}\n", 0o600, "line 1 has a cost of 00"),
    "twice": (f"alice:{ALICES}\nalice:{BOBS}\n", 0o600, "line 2 names a user for the second time"),
    "no text": (b"\xff\xfe", 0o600, "it cannot be read (invalid start byte)"),
    "for all to read": (f"alice:{ALICES}\n", 0o644, "it is open to others (mode 0644); chmod 640 or 600"),
    "for a group to write": (f"alice:{ALICES}\n", 0o660, "it is open to others (mode 0660)"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_file_that_is_refused_at_the_start(file: Path, case: str) -> None:
    text, mode, words = BAD[case]
    written(file, text, mode)
    with pytest.raises(ConfigurationError) as refused:
        htpasswd.Users(str(file), 2)
    assert str(refused.value).startswith(f"[http_basic] user_file {file}: {words}")
    assert "$" not in str(refused.value) and "secret" not in str(refused.value)


@pytest.mark.parametrize(("name", "words"), [("nosuch", "No such file or directory"), ("", "Is a directory")])
def test_a_file_that_cannot_be_read(tmp_path: Path, name: str, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        htpasswd.Users(str(tmp_path / name), 2)


@pytest.mark.parametrize("case", BAD)
def test_a_file_that_became_so(file: Path, caplog: pytest.LogCaptureFixture, case: str) -> None:
    """The lines that are right count, and nobody else is let in. It is said once."""
    users = htpasswd.Users(str(file), 2)
    assert users.knows("alice", b"secret of alice")
    text, mode, words = BAD[case]
    written(file, text, mode)
    for _ in range(3):
        assert users.knows("alice", b"secret of alice") == (case == "twice")
        assert users.knows("bob", b"secret of bob") == (case == "an empty hash")
    [said] = caplog.messages
    assert said.startswith(f"[http_basic] user_file {file}: {words}")
    written(file, f"alice:{ALICES}\n")
    assert users.knows("alice", b"secret of alice")


def test_a_file_that_is_gone(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    users = htpasswd.Users(str(file), 2)
    file.unlink()
    assert not users.knows("alice", b"secret of alice")
    assert caplog.messages == [f"[http_basic] user_file {file}: it cannot be read (No such file or directory)"]


def test_a_user_who_was_removed_and_one_with_a_new_password(file: Path) -> None:
    users = htpasswd.Users(str(file), 2)
    assert users.knows("alice", b"secret of alice") and users.knows("bob", b"secret of bob") and not users.knows("bob", b"new")
    written(file, f"bob:{hashed('new')}\n")
    assert not users.knows("alice", b"secret of alice") and not users.knows("bob", b"secret of bob") and users.knows("bob", b"new")


def seconds(call: Callable[[], object]) -> float:
    """Of the processor, by this thread: whatever else it has to do."""
    began = time.thread_time()
    call()
    return time.thread_time() - began


def test_what_it_costs(file: Path) -> None:
    """Who is right pays once; who is not known pays as who is."""
    written(file, f"alice:{hashed('secret of alice', 10)}\n")
    users = htpasswd.Users(str(file), 2)
    known = min(seconds(partial(users.knows, "alice", b"wrong %d" % n)) for n in range(3))
    unknown = min(seconds(partial(users.knows, "carol", b"wrong %d" % n)) for n in range(3))
    assert known / 2 < unknown < known * 2
    right = seconds(lambda: users.knows("alice", b"secret of alice"))
    again = min(seconds(lambda: users.knows("alice", b"secret of alice")) for _ in range(3))
    wrong_again = min(seconds(lambda: users.knows("carol", b"wrong 1")) for _ in range(3))
    assert again < right / 5 and wrong_again < right / 5


def test_wrong_ones_are_forgotten(file: Path) -> None:
    users = htpasswd.Users(str(file), 2)
    assert users.knows("alice", b"secret of alice")
    for number in range(htpasswd._WRONG_ONES + 5):
        assert not users.knows("alice", b"%d" % number)
    assert len(users._wrong) == htpasswd._WRONG_ONES
    assert list(users._right) == ["alice"]


def together(count: int, call: Callable[[int], None]) -> None:
    """In that many threads at once."""
    ready = threading.Barrier(count)

    def run(number: int) -> None:
        ready.wait(10)
        call(number)

    tasks = [RUNTIME.start("guess", run, number) for number in range(count)]
    for task in tasks:
        task.join(20)


def test_few_are_checked_at_a_time(file: Path) -> None:
    written(file, f"alice:{hashed('secret of alice', 11)}\nbob:{BOBS}\n")
    users = htpasswd.Users(str(file), 2)
    assert users.knows("bob", b"secret of bob")
    said: list[object] = []

    def guess(number: int) -> None:
        try:
            said.append(users.knows("alice", b"guess %d" % number))
        except htpasswd.TooManyChecks as error:
            assert users.knows("bob", b"secret of bob")  # who is known already is let in meanwhile
            said.append(error)

    together(12, guess)
    assert len(said) == 12 and not any(each is True for each in said)
    assert said.count(False) >= 2 and any(isinstance(each, htpasswd.TooManyChecks) for each in said)


def test_the_same_is_found_out_once(file: Path) -> None:
    written(file, f"alice:{hashed('secret of alice', 10)}\n")
    users = htpasswd.Users(str(file), 1)
    said: list[bool] = []
    together(6, lambda _number: said.append(users.knows("alice", b"secret of alice")))
    assert said == [True] * 6


# The filter


@pytest.fixture
def world(tmp_path: Path, file: Path) -> Iterator[World]:
    roles = {"alice": "admin", "bob": "admin"}
    with World(tmp_path, api__auth_strategy="http_basic", http_basic__user_file=str(file), http_basic__roles=roles, api__threads=2) as world:
        yield world


def encoded(token: bytes) -> str:
    return "Basic " + base64.b64encode(token).decode()


@pytest.mark.parametrize(
    "header",
    [
        *("", "Basic", "Basic ", "Basic !!!", "Basic \xe9", "basic:", "Bearer abc", "Digest username=alice", "x" * 5000, "Basic " + "A" * 5001),
        *map(encoded, [b"", b":", b"alice", b"alice:", b"alice:wrong", b"\xff:x", b"carol:secret of alice", b"alice:\0", b"alice:" + b"x" * 5000]),
    ],
)
def test_who_is_not_let_in(world: World, header: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    answer = world.request("GET", "/v2.1/servers", headers={"Authorization": header} if header else {})
    assert answer.status_int == 401
    assert answer.headers["WWW-Authenticate"] == 'Basic realm="livemig"'
    assert answer.json == {"unauthorized": {"code": 401, "message": "Authentication required"}}
    assert "wrong" not in caplog.text and "secret" not in caplog.text


@pytest.mark.parametrize("scheme", ["Basic", "basic", "BASIC  "])
def test_who_is_let_in(world: World, scheme: str) -> None:
    header = basic("alice", "secret of alice")["Authorization"].replace("Basic", scheme)
    assert world.request("GET", "/v2.1/servers", headers={"Authorization": header}).status_int == 200


@pytest.mark.parametrize("header", [{"Origin": "https://evil.example.org"}, {"Sec-Fetch-Site": "cross-site"}, {"Origin": "null"}])
def test_no_page_uses_the_password_that_the_browser_knows(world: World, header: dict[str, str]) -> None:
    answer = world.request("GET", "/v2.1/servers", headers=basic("alice", "secret of alice") | header)
    assert answer.status_int == 403


def test_too_many_at_once_is_a_503(world: World, file: Path) -> None:
    written(file, f"alice:{hashed('secret of alice', 11)}\nbob:{BOBS}\n")
    assert world.request("GET", "/v2.1/servers", headers=basic("bob", "secret of bob")).status_int == 200
    answers: list[tuple[int, str | None]] = []

    def guess(number: int) -> None:
        answer = world.request("GET", "/v2.1/servers", headers=basic("alice", f"guess {number}"))
        answers.append((answer.status_int, answer.headers.get("Retry-After")))

    together(6, guess)
    assert set(answers) == {(401, None), (503, "1")}


def test_a_file_that_is_missing_ends_the_command(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="user_file is missing"), World(tmp_path, api__auth_strategy="http_basic"):
        pass
    with pytest.raises(ConfigurationError, match="No such file"), World(tmp_path, api__auth_strategy="http_basic", http_basic__user_file="/nonexistent"):
        pass
