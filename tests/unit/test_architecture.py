"""Who may import whom, who owns which foreign library, and who reads a clock: as data, checked on the source."""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

import livemig

# Rooms and the rooms that each may import, beside itself. A room is a module or a package right under livemig.
WORDS = {"exceptions", "states", "facts", "diagnostics", "records", "microversions", "runtime", "whereabouts", "paths"}
FLOORS: dict[str, set[str]] = {
    **dict.fromkeys(WORDS, WORDS),
    "conf": WORDS,
    "context": WORDS,
    "db": WORDS,
    "hypervisor": WORDS,
    "notifications": WORDS,
    "rpc": WORDS | {"context", "memory_transport"},
    "memory_transport": set(),
    "policies": WORDS,
    "api": WORDS | {"conf", "context", "db", "policies", "rpc"},
    "conductor": WORDS | {"conf", "db", "hypervisor", "notifications"},
    "testing": {"runtime"},
    "lab": {"runtime"},
    "wsgi": {"cli", "conf", "rpc", "runtime"},
    "cli": WORDS | {"api", "conductor", "conf", "db", "hypervisor", "policies", "rpc", "testing"},
}

# Foreign libraries and the modules or packages that may import them. One that is not named here may not be imported at all.
OWNERS: dict[str, tuple[str, ...]] = {
    "alembic": ("livemig.db",),
    "bcrypt": ("livemig.api.htpasswd",),
    "jsonschema": ("livemig.api.schemas.validation",),
    "kombu": ("livemig.memory_transport", "livemig.rpc"),
    "libvirt": ("livemig.hypervisor.driver",),
    "lxml": ("livemig.hypervisor.domain_xml",),
    "microversion_parse": ("livemig.api.versions",),
    "oslo_config": ("livemig.conf", "livemig.cli", "livemig.wsgi"),
    "oslo_context": ("livemig.context",),
    "oslo_db": ("livemig.db", "livemig.conf"),
    "oslo_utils": ("livemig.api.schemas.validation",),
    "oslo_log": ("livemig.api", "livemig.cli", "livemig.conductor", "livemig.conf"),
    "oslo_messaging": ("livemig.notifications", "livemig.rpc"),
    "oslo_middleware": ("livemig.api.auth", "livemig.api.filters"),
    "keystonemiddleware": ("livemig.api.auth",),
    "oslo_policy": ("livemig.policies",),
    "oslo_service": ("livemig.notifications", "livemig.rpc"),
    "paste": ("livemig.api.loading",),
    "re2": ("livemig.db.patterns",),
    "sqlalchemy": ("livemig.db",),
    "waitress": ("livemig.api.server",),
    "webob": ("livemig.api",),
    "yaml": ("livemig.testing.fleetfile",),
}

CLOCKS = {
    *(f"time.{name}" for name in ("sleep", "time", "time_ns", "monotonic", "monotonic_ns", "perf_counter")),
    *(f"threading.{name}" for name in ("Thread", "Timer", "Event", "Condition", "Barrier")),
    *(f"datetime.{name}" for name in ("datetime.now", "datetime.utcnow", "datetime.today", "date.today")),
}
SEAM = ("livemig.memory_transport", "livemig.runtime", "livemig.testing.runtime")  # the first waits inside kombu, where no runtime reaches

LONGEST = 400
LONGER = {  # the mock's table of constants, and the four parts of it that have as many names as libvirt
    "livemig.testing.constants": 700,
    "livemig.testing.connection": 450,
    "livemig.testing.domain": 450,
    "livemig.testing.fleet": 500,
    "livemig.testing.migration": 550,
}


@dataclass(frozen=True)
class Import:
    """`target` is dotted, down to the imported name. `when` is "load", or "later" inside a function or for type checkers only."""

    target: str
    when: str


@dataclass(frozen=True)
class Module:
    name: str
    tree: ast.Module
    length: int
    imports: tuple[Import, ...]

    @property
    def room(self) -> str:
        return self.name.split(".")[1] if "." in self.name else ""


def parse(name: str, source: str) -> Module:
    tree = ast.parse(source)
    return Module(name, tree, len(source.splitlines()), tuple(_imports(tree, "load")))


def _imports(node: ast.AST, when: str) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from (Import(alias.name, when) for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            assert child.level == 0, "relative imports would escape this test"
            yield from (Import(f"{child.module}.{alias.name}", when) for alias in child.names)
        elif isinstance(child, ast.Call) and _name(child.func).endswith(("import_module", "__import__")):
            yield from (Import(str(argument.value), "later") for argument in child.args[:1] if isinstance(argument, ast.Constant))
        later = isinstance(child, ast.FunctionDef | ast.Lambda) or (isinstance(child, ast.If) and _name(child.test).endswith("TYPE_CHECKING"))
        yield from _imports(child, "later" if later else when)


def _name(node: ast.AST) -> str:
    """`a.b.c` as text; "" for anything else."""
    if isinstance(node, ast.Attribute):
        return f"{_name(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def _within(name: str, places: Iterable[str]) -> bool:
    return any(name == place or name.startswith(f"{place}.") for place in places)


Modules = Mapping[str, Module]


def floors(modules: Modules) -> Iterator[str]:
    """A room imports only the rooms of its table."""
    for module in modules.values():
        allowed = FLOORS.get(module.room, set()) | {module.room}
        for target in (each.target.split(".") for each in module.imports):
            if target[0] == "livemig" and "".join(target[1:2]) not in allowed:
                yield f"{module.name} imports {'.'.join(target)}"


def rooms_are_named(modules: Modules) -> Iterator[str]:
    """Every room has its line in the table."""
    yield from (module.name for module in modules.values() if module.room and module.room not in FLOORS)


def owners(modules: Modules) -> Iterator[str]:
    """A foreign library is imported by its owners only."""
    for module in modules.values():
        for library in {each.target.partition(".")[0] for each in module.imports} - {"livemig"} - sys.stdlib_module_names:
            if not _within(module.name, OWNERS.get(library, ())):
                yield f"{module.name} imports {library}"


def mock_on_demand(modules: Modules) -> Iterator[str]:
    """The commands import the mock only when the configuration asks for it."""
    for module in modules.values():
        if module.room != "testing":
            yield from (f"{module.name} imports {each.target}" for each in module.imports if _within(each.target, ["livemig.testing"]) and each.when == "load")


def clocks(modules: Modules) -> Iterator[str]:
    """Time, waiting and threads come from the runtime that is passed in."""
    for module in modules.values():
        if not _within(module.name, SEAM):
            local = _local_names(module.tree)
            for node in ast.walk(module.tree):
                head, dot, rest = _name(node).partition(".")
                if head and local.get(head, head) + dot + rest in CLOCKS:
                    yield f"{module.name}:{node.lineno}: {_name(node)}"  # type: ignore[attr-defined]


def _local_names(tree: ast.AST) -> dict[str, str]:
    """What each imported name stands for."""
    names: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names.update({alias.asname: alias.name for alias in node.names if alias.asname})
        elif isinstance(node, ast.ImportFrom):
            names.update({alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names})
    return names


def lengths(modules: Modules) -> Iterator[str]:
    """Files are short, but for those named."""
    yield from (f"{module.name}: {module.length} lines" for module in modules.values() if module.length > LONGER.get(module.name, LONGEST))


def cycles(modules: Modules) -> Iterator[str]:
    """No module needs itself to be loaded."""
    needs = {name: {_owner(each.target, modules) for each in module.imports if each.when == "load"} - {name, ""} for name, module in modules.items()}
    while leaves := [name for name, needed in needs.items() if not needed]:
        for leaf in leaves:
            del needs[leaf]
        for needed in needs.values():
            needed.difference_update(leaves)
    yield from (f"{name} is in, or needs, a cycle with {sorted(needed)}" for name, needed in needs.items())


def _owner(target: str, modules: Modules) -> str:
    """The module in which an imported name is: itself, or what it stands in."""
    while target and target not in modules:
        target = target.rpartition(".")[0]
    return target if target in modules and modules[target].imports else ""


def source() -> dict[str, Module]:
    root = Path(livemig.__file__).parent
    names = {path: ".".join(path.relative_to(root.parent).with_suffix("").parts).removesuffix(".__init__") for path in sorted(root.rglob("*.py"))}
    return {name: parse(name, path.read_text(encoding="utf-8")) for path, name in names.items()}


LIVEMIG = source()
RULES: tuple[Callable[[Modules], Iterator[str]], ...] = (floors, rooms_are_named, owners, mock_on_demand, clocks, lengths, cycles)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_rules(rule: Callable[[Modules], Iterator[str]]) -> None:
    assert list(rule(LIVEMIG)) == []


def test_everything_is_looked_at() -> None:
    assert len(LIVEMIG) > 60
    assert {module.room for module in LIVEMIG.values()} == {"", *FLOORS}
    imported = {each.target.partition(".")[0] for module in LIVEMIG.values() for each in module.imports}
    assert imported >= set(OWNERS), "a library has an owner, but is not used"
    assert {name for name, module in LIVEMIG.items() if module.length > LONGEST} == set(LONGER), "a file was shortened: take it off the list"


PLANTED: dict[str, tuple[Callable[[Modules], Iterator[str]], dict[str, str]]] = {
    "a word needs a gate": (floors, {"livemig.states": "from livemig import conf"}),
    "a gate needs another": (floors, {"livemig.db.hosts": "from livemig.hypervisor.connection import Hypervisor"}),
    "api needs conductor": (floors, {"livemig.api.servers": "import livemig.conductor.engine"}),
    "api needs hypervisor, lazily": (floors, {"livemig.api.servers": "def f():\n    from livemig.hypervisor import errors"}),
    "conductor needs api": (floors, {"livemig.conductor.engine": "from livemig.api import errors"}),
    "cli is needed": (floors, {"livemig.conductor.engine": "from livemig.cli import wiring"}),
    "the lab is needed": (floors, {"livemig.cli.all": "from livemig.lab.lab import Lab"}),
    "the mock is needed": (floors, {"livemig.hypervisor.driver": "from importlib import import_module\nimport_module('livemig.testing.libvirt')"}),
    "the lab needs more": (floors, {"livemig.lab.host": "from livemig import facts"}),
    "a room without a line": (rooms_are_named, {"livemig.utils": ""}),
    "SQL outside": (owners, {"livemig.api.servers": "from sqlalchemy import select"}),
    "libvirt outside": (owners, {"livemig.hypervisor.connection": "import libvirt"}),
    "libvirt outside, by name": (owners, {"livemig.conductor.engine": "import importlib\nimportlib.import_module('libvirt')"}),
    "options outside": (owners, {"livemig.api.app": "from oslo_config import cfg"}),
    "an unknown library": (owners, {"livemig.api.loading": "import requests"}),
    "the mock at load": (mock_on_demand, {"livemig.cli.wiring": "from livemig.testing import libvirt"}),
    "sleep": (clocks, {"livemig.rpc": "import time\ntime.sleep(1)"}),
    "sleep by another name": (clocks, {"livemig.rpc": "from time import sleep as nap\nnap(1)"}),
    "now": (clocks, {"livemig.db.hosts": "from datetime import datetime\ndatetime.now()"}),
    "now of the module": (clocks, {"livemig.db.hosts": "import datetime\ndatetime.datetime.utcnow()"}),
    "a thread": (clocks, {"livemig.rpc": "import threading\nthreading.Thread(target=print).start()"}),
    "a clock passed on": (clocks, {"livemig.rpc": "import time as t\nclock = t.monotonic"}),
    "a long file": (lengths, {"livemig.rpc": "\n" * 401}),
    "a file longer than listed": (lengths, {"livemig.testing.fleet": "\n" * 501}),
    "a cycle": (cycles, {"livemig.a": "from livemig.b import f", "livemig.b": "from livemig import c", "livemig.c": "import livemig.a"}),
}


@pytest.mark.parametrize("case", PLANTED)
def test_planted_violations_are_found(case: str) -> None:
    rule, sources = PLANTED[case]
    assert list(rule({name: parse(name, text) for name, text in sources.items()}))


INNOCENT: dict[str, tuple[Callable[[Modules], Iterator[str]], dict[str, str]]] = {
    "the mock on demand": (mock_on_demand, {"livemig.cli.wiring": "def f():\n    from livemig.testing import libvirt"}),
    "a runtime's clock": (clocks, {"livemig.rpc": "def f(runtime):\n    runtime.sleep(1)\n    return runtime.monotonic()"}),
    "a lock": (clocks, {"livemig.rpc": "import threading\nthreading.RLock()"}),
    "the seam": (clocks, {"livemig.runtime": "import time\ntime.sleep(1)"}),
    "for type checkers": (cycles, {"livemig.a": "from livemig.b import f", "livemig.b": "if TYPE_CHECKING:\n    from livemig.a import g"}),
    "later": (cycles, {"livemig.a": "from livemig.b import f", "livemig.b": "def f():\n    from livemig.a import g"}),
}


@pytest.mark.parametrize("case", INNOCENT)
def test_what_is_allowed(case: str) -> None:
    rule, sources = INNOCENT[case]
    assert list(rule({name: parse(name, text) for name, text in sources.items()})) == []
