"""The store: everything that livemig remembers, by noun. The modules of this room hold the only SQL."""

from __future__ import annotations

from typing import Any

from livemig.db.actions import Actions
from livemig.db.clock import Clock
from livemig.db.engine import Database
from livemig.db.files import Files
from livemig.db.history import History
from livemig.db.hosts import Hosts
from livemig.db.inspection import Inspection
from livemig.db.marks import Marks
from livemig.db.migrations import Migrations
from livemig.db.queue import Queue
from livemig.db.servers import Servers
from livemig.db.watches import Watches
from livemig.runtime import Runtime


class Store:
    """`servers`, `hosts`, `watches`, `migrations`, their `queue`, `files` and `marks`, and `actions` on one database; the `inspection` and `history` of all.

    Any call may raise DatabaseUnavailable. `clock` is the database's own; without one it is as `livemig.db.clock` says.
    """

    def __init__(self, database: Database, runtime: Runtime, clock: Clock | None = None) -> None:
        clock = clock or Clock(runtime)
        self.database = database
        self.hosts = Hosts(database, runtime)
        self.watches = Watches(database, clock)
        self.servers = Servers(database, runtime)
        self.migrations = Migrations(database, runtime, clock)
        self.queue = Queue(database, runtime, self.migrations)
        self.files = Files(database, runtime, self.migrations)
        self.marks = Marks(database, runtime)
        self.actions = Actions(database, runtime)
        self.inspection = Inspection(database, runtime, clock)
        self.history = History(database, clock)


def from_conf(conf: Any, runtime: Runtime) -> Store:
    """The store of [database]."""
    group = conf.database
    options = {name: group[name] for name in ("max_pool_size", "max_overflow", "pool_timeout", "connection_recycle_time", "max_retries", "retry_interval")}
    return Store(Database(group.connection, **options), runtime)
