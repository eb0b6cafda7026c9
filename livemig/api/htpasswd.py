"""Users of an Apache htpasswd file with bcrypt passwords, read again when it changes, and what it costs to know them.

bcrypt is slow on purpose. So a password that was right is remembered by a keyed hash, for as long as the file stays as it is; few are checked at a time, so
that those who guess do not keep all threads busy; and who is not in the file costs as much as who is.
"""

from __future__ import annotations

import hmac
import os
import re
import secrets
import stat
import threading
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import bcrypt
from oslo_log import log

from livemig.conf import ConfigurationError

LOG = log.getLogger(__name__)

_LINE = re.compile(r"(?P<user>[^:\s][^:]{0,254}):(?P<hash>\$2[aby]\$(?P<cost>\d\d)\$[./A-Za-z0-9]{53})")
_COSTS = range(4, 17)  # each doubles the time; 16 takes seconds
_OTHERS = stat.S_IWGRP | stat.S_IRWXO
_LONGEST = 72  # bytes of a password that bcrypt looks at
_WRONG_ONES = 1000  # that are remembered
_TURNS = 64


class TooManyChecks(Exception):
    """As many passwords are checked at this moment as may be."""


@dataclass(frozen=True, slots=True)
class Read:
    """What a file says: user → hash; what is wrong with it, line by line; the highest cost in it."""

    hashes: Mapping[str, bytes] = field(default_factory=dict)
    problems: Sequence[str] = ()
    cost: int = min(_COSTS)


def read(path: str) -> Read:
    """A file that others may read or write counts as empty: they would know, or be, everybody in it."""
    try:
        mode = Path(path).stat().st_mode
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        return Read(problems=[f"it cannot be read ({error.strerror if isinstance(error, OSError) else error.reason})"])
    if mode & _OTHERS:
        return Read(problems=[f"it is open to others (mode {stat.S_IMODE(mode):04o}); chmod 640 or 600"])
    return _parsed(lines)


def _parsed(lines: Sequence[str]) -> Read:
    hashes: dict[str, bytes] = {}
    problems: list[str] = []
    cost = min(_COSTS)
    for number, line in enumerate(map(str.strip, lines), start=1):
        found = _LINE.fullmatch(line)
        if not line or line.startswith("#"):
            continue
        if found is None:
            problems.append(f"line {number} is not USER:HASH with a hash of bcrypt (htpasswd -B)")
        elif int(found["cost"]) not in _COSTS:
            problems.append(f"line {number} has a cost of {found['cost']}; {_COSTS[0]} to {_COSTS[-1]} are served")
        elif found["user"] in hashes:
            problems.append(f"line {number} names a user for the second time")
        else:
            hashes[found["user"]] = found["hash"].encode()
            cost = max(cost, int(found["cost"]))
    return Read(hashes, problems, cost)


class Users:
    """`at_a_time` passwords are checked at most at the same time. `hear` is told who is in the file, whenever it is read.

    Raises ConfigurationError for a file that cannot be used as it is.
    """

    def __init__(self, path: str, at_a_time: int, hear: Callable[[Collection[str]], None] = lambda _users: None) -> None:
        self._path = path
        self._hear = hear
        self._places = threading.Semaphore(at_a_time)
        self._lock = threading.Lock()
        self._turns = [threading.Lock() for _ in range(_TURNS)]
        self._key = secrets.token_bytes(32)
        self._stamp = _stamp(path)
        self._take(read(path))
        if self._read.problems:
            raise ConfigurationError(f"[http_basic] user_file {path}: {self._read.problems[0]}")
        hear(self._read.hashes.keys())

    def _take(self, found: Read) -> None:
        self._read = found
        self._right: dict[str, bytes] = {}
        self._wrong: OrderedDict[bytes, None] = OrderedDict()
        self._nobody = bcrypt.hashpw(secrets.token_bytes(16).hex().encode(), bcrypt.gensalt(found.cost))

    def _current(self) -> Read:
        """What the file says now. What is wrong with it is logged, and its other lines count."""
        stamp = _stamp(self._path)
        with self._lock:
            if stamp != self._stamp:
                self._stamp = stamp
                self._take(read(self._path))
                for problem in self._read.problems:
                    LOG.error("[http_basic] user_file %s: %s", self._path, problem)
                self._hear(self._read.hashes.keys())
            return self._read

    def knows(self, user: str, password: bytes) -> bool:
        """Whether the user has that password. Raises TooManyChecks."""
        current = self._current()
        mark = hmac.digest(self._key, user.encode() + b"\0" + password, "sha256")
        with self._turns[mark[0] % _TURNS]:  # the same asked at the same time is found out once
            known = self._remembered(user, mark)
            return self._check(current, user, password, mark) if known is None else known

    def _check(self, current: Read, user: str, password: bytes, mark: bytes) -> bool:
        if not self._places.acquire(blocking=False):
            raise TooManyChecks
        try:
            right = _fits(password, current.hashes.get(user, self._nobody)) and user in current.hashes
        finally:
            self._places.release()
        self._remember(current, user, mark, right)
        return right

    def _remembered(self, user: str, mark: bytes) -> bool | None:
        with self._lock:
            if hmac.compare_digest(self._right.get(user, b""), mark):
                return True
            return False if mark in self._wrong else None

    def _remember(self, current: Read, user: str, mark: bytes, right: bool) -> None:
        with self._lock:
            if current is not self._read:
                return
            if right:
                self._right[user] = mark
            else:
                self._wrong[mark] = None
                while len(self._wrong) > _WRONG_ONES:
                    self._wrong.popitem(last=False)


def _fits(password: bytes, hashed: bytes) -> bool:
    """bcrypt would look at the beginning of a long one, or raise, and so for NUL."""
    if len(password) > _LONGEST or b"\0" in password:
        return False
    return bcrypt.checkpw(password, hashed)


def _stamp(path: str) -> tuple[int, ...]:
    """What changes with a file's content or mode; () for one that is not there."""
    try:
        found = os.stat(path)
    except OSError:
        return ()
    return found.st_ino, found.st_size, found.st_mtime_ns, found.st_mode, found.st_uid, found.st_gid
