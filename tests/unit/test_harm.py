"""docs/security.md has every call of libvirt that changes anything on a host, where it is made, what proves that it may, and a test with a look-alike."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import livemig
from livemig.testing import connection, domain, networks, pools, snapshots, streams

SOURCE = Path(livemig.__file__).parent
TESTS = Path(__file__).parents[1]
TABLE = re.compile(r"^\| call \| where .*?\n\n", re.MULTILINE | re.DOTALL)

# Calls that only ask, or that hold a connection, an event or a stream of this process.
ASK = {
    *("DHCPLeases", "ID", "UUIDString", "XMLDesc", "autostart", "compareHypervisorCPU", "domainListGetStats", "download", "getAllDomainStats", "getCPUMap"),
    *("getCPUStats", "getCapabilities", "getDomainCapabilities", "getFreePages", "getHostname", "getInfo", "getLibVersion", "getMemoryStats", "getType"),
    *("getVersion", "getXMLDesc", "hasManagedSaveImage", "info", "interfaceAddresses", "isActive", "isAlive", "isPersistent", "jobStats", "listAllDomains"),
    *("listAllInterfaces", "listAllNetworks", "listAllSnapshots", "listAllStoragePools", "listVolumes", "lookupByName", "lookupByUUIDString"),
    *("managedSaveGetXMLDesc", "name", "networkLookupByName", "path", "recvFlags", "recvHole", "refresh", "snapshotNum", "state", "storagePoolLookupByName"),
    *("storagePoolLookupByTargetPath", "storagePoolLookupByUUIDString", "storageVolLookupByName"),
    *(
        "close",
        "domainEventDeregisterAny",
        "domainEventRegisterAny",
        "newStream",
        "registerCloseCallback",
        "setKeepAlive",
        "unregisterCloseCallback",
    ),
    *("abort", "finish", "send", "sendHole"),  # of a stream; what it writes to is `upload`
}
MOCKS = {"start", "follow", "gone", "lose"}  # what the mock's objects have for themselves
GATE = {"destroy", "reboot", "resume", "shutdown"}  # functions of livemig.hypervisor.power that are called like libvirt's


def known() -> set[str]:
    """What libvirt's objects can do, by the mock's: the service can call nothing else, since its tests are played on it."""
    modules = (connection, domain, networks, pools, snapshots, streams)
    kinds = [kind for module in modules for name, kind in vars(module).items() if name.startswith("vir") and isinstance(kind, type)]
    return {name for kind in kinds for name in vars(kind) if not name.startswith("_")} - MOCKS


def calls(root: Path = SOURCE / "hypervisor") -> Iterator[tuple[str, str]]:
    """(module, name) of whatever may be a call of libvirt's, also where it is only passed on."""
    for path in sorted(root.rglob("*.py")):
        module = ".".join(path.relative_to(root).with_suffix("").parts).replace(".", "/")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and node.attr in known():
                yield module, node.attr


def rows() -> list[list[str]]:
    """The table's, without its head."""
    found = TABLE.search(Path("docs/security.md").read_text(encoding="utf-8"))
    assert found is not None
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in found[0].strip().splitlines()[2:]]


def words(cell: str) -> list[str]:
    return re.findall(r"`(\w+)`", cell)


def test_the_table_has_every_call_that_changes_something() -> None:
    told = {(where, call) for cells in rows() for where in [cells[1]] for call in words(cells[0])}
    made = {(module, name) for module, name in calls() if name not in ASK}
    assert told == made


def test_nothing_else_speaks_to_libvirt() -> None:
    """Conductors and commands go through the gate; `undefine` is what a doctor may do, which is the gate's `forget`."""
    made = {name for room in ("conductor", "cli") for _module, name in calls(SOURCE / room)}
    assert made - ASK - {"connect", "key"} == GATE | {"undefine"}


def test_what_only_asks_is_asked() -> None:
    """So that no name stands there that would hide a call one day."""
    assert {name for _module, name in calls()} >= ASK


def test_each_row_has_its_proof_and_a_look_alike() -> None:
    there = {node.name for path in TESTS.rglob("test_*.py") for node in ast.parse(path.read_text()).body if isinstance(node, ast.FunctionDef)}
    for cells in rows():
        assert len(cells) == 5 and all(cells), cells
        tests = words(cells[4])
        assert tests and set(tests) <= there, set(tests) - there


def test_a_new_call_would_be_found(tmp_path: Path) -> None:
    (tmp_path / "storage").mkdir()
    (tmp_path / "storage" / "new.py").write_text("def wipe(pool):\n    for step in (pool.undefine, pool.delete):\n        step()\n")
    assert list(calls(tmp_path)) == [("storage/new", "undefine"), ("storage/new", "delete")]
