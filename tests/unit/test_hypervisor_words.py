"""libvirt's codes, states, statistics and events in livemig's words: against the mock, and against libvirt-python where it is installed."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import Any

import pytest

from livemig import exceptions
from livemig.facts import Job, Presence
from livemig.hypervisor import driver
from livemig.hypervisor.errors import CODES, Translator
from livemig.hypervisor.presence import Words
from livemig.testing import constants as C
from livemig.testing import libvirt as mock
from livemig.testing.errors import Fault

needs_libvirt = pytest.mark.skipif(find_spec("libvirt") is None, reason="libvirt-python is not installed")


@pytest.fixture(params=["mock", pytest.param("libvirt", marks=needs_libvirt)])
def libvirt(request: pytest.FixtureRequest) -> Any:
    return mock if request.param == "mock" else import_module("libvirt")


@needs_libvirt
def test_the_driver_is_libvirt_python() -> None:
    assert driver.load() is import_module("libvirt")


def test_every_domain_error_of_libvirt_has_its_code() -> None:
    ours = {each for each in exceptions.HypervisorError.__subclasses__() if each.__module__ == exceptions.__name__}  # oslo.messaging makes others
    assert set(CODES.values()) == ours


@needs_libvirt
@pytest.mark.parametrize("name", CODES)
def test_codes_are_the_same_in_the_mock(name: str) -> None:
    assert getattr(import_module("libvirt"), name) == getattr(C, name)


def translated(code: int, connected: bool = True) -> exceptions.HypervisorError:
    with pytest.raises(exceptions.HypervisorError) as raised, Translator(mock)("node1", lambda: connected):
        raise Fault(code, C.VIR_FROM_QEMU, "no {what}")(what="luck")
    error = raised.value
    assert (str(error), error.kwargs["host"]) == (f"node1: no luck (libvirt error {code})", "node1")
    assert isinstance(error.__cause__, mock.libvirtError)
    return error


@pytest.mark.parametrize("name", CODES)
def test_codes_become_domain_errors(name: str) -> None:
    assert type(translated(getattr(C, name))) is CODES[name]


def test_other_codes_stay_general() -> None:
    assert type(translated(C.VIR_ERR_INTERNAL_ERROR)) is exceptions.HypervisorError


@pytest.mark.parametrize("code", [C.VIR_ERR_INTERNAL_ERROR, C.VIR_ERR_NO_DOMAIN])
def test_without_a_connection_the_code_does_not_matter(code: int) -> None:
    assert type(translated(code, connected=False)) is exceptions.HypervisorUnavailable


def test_an_error_without_a_code_is_translated_too(libvirt: Any) -> None:
    with pytest.raises(exceptions.HypervisorError) as raised, Translator(libvirt)("node1"):
        raise libvirt.libvirtError("something")
    assert str(raised.value) == "node1: something (libvirt error 0)"


def test_what_is_not_libvirts_passes() -> None:
    with pytest.raises(ZeroDivisionError), Translator(mock)("node1"):
        raise ZeroDivisionError


# Domain states, and the reasons that mean something of their own; all other reasons mean what the state means.
STATES: dict[str, Presence] = {
    "NOSTATE": Presence.RUNNING,
    "RUNNING": Presence.RUNNING,
    "BLOCKED": Presence.RUNNING,
    "PAUSED": Presence.PAUSED,
    "SHUTDOWN": Presence.RUNNING,
    "SHUTOFF": Presence.SHUT_OFF,
    "CRASHED": Presence.CRASHED,
    "PMSUSPENDED": Presence.SUSPENDED,
}
REASONS: dict[str, Presence] = {
    "RUNNING_POSTCOPY_FAILED": Presence.POST_COPY_FAILED,
    "PAUSED_MIGRATION": Presence.MIGRATING,
    "PAUSED_STARTING_UP": Presence.MIGRATING,
    "PAUSED_POSTCOPY": Presence.POST_COPY,
    "PAUSED_POSTCOPY_FAILED": Presence.POST_COPY_FAILED,
}


def reasons(libvirt: Any, state: str) -> dict[str, int]:
    prefix = f"VIR_DOMAIN_{state}_"
    return {name.removeprefix("VIR_DOMAIN_"): getattr(libvirt, name) for name in dir(libvirt) if name.startswith(prefix) and not name.endswith("_LAST")}


@pytest.mark.parametrize("state", STATES)
def test_every_state_and_reason_is_a_presence(libvirt: Any, state: str) -> None:
    words, number = Words(libvirt), getattr(libvirt, f"VIR_DOMAIN_{state}")
    said = {name: words.presence(number, reason) for name, reason in reasons(libvirt, state).items()}
    assert said == {name: REASONS.get(name, STATES[state]) for name in said}
    assert words.presence(number, 999) is STATES[state], "a reason that a newer libvirt has"


def test_no_state_is_left_out(libvirt: Any) -> None:
    assert {getattr(libvirt, f"VIR_DOMAIN_{state}") for state in STATES} == set(range(8))
    assert Words(libvirt).presence(99, 0) is Presence.UNKNOWN


def test_an_older_libvirt_has_no_post_copy() -> None:
    class Older:
        def __getattr__(self, name: str) -> Any:
            if "POSTCOPY" in name:
                raise AttributeError(name)
            return getattr(mock, name)

        def __dir__(self) -> list[str]:
            return [name for name in dir(C) if "POSTCOPY" not in name]

    assert Words(Older()).presence(C.VIR_DOMAIN_PAUSED, C.VIR_DOMAIN_PAUSED_MIGRATION) is Presence.MIGRATING


OUT, IN = C.VIR_DOMAIN_JOB_OPERATION_MIGRATION_OUT, C.VIR_DOMAIN_JOB_OPERATION_MIGRATION_IN
UNBOUNDED, COMPLETED, NONE = C.VIR_DOMAIN_JOB_UNBOUNDED, C.VIR_DOMAIN_JOB_COMPLETED, C.VIR_DOMAIN_JOB_NONE
FIGURES = {
    "time_elapsed": 1500,
    "downtime": 300,
    "memory_total": 4096,
    "memory_processed": 1024,
    "memory_remaining": 3072,
    "memory_bps": 1000,
    "memory_dirty_rate": 10,
    "memory_page_size": 65536,
    "memory_iteration": 2,
    "disk_total": 9,
    "disk_processed": 4,
    "disk_remaining": 5,
}
JOB = Job(True, False, 1500, None, 4096, 1024, 3072, 1000, 655360, 2, 9, 4, 5)
JOBS: dict[str, tuple[dict[str, Any], Job | None]] = {
    "none": ({"type": NONE}, None),
    "nothing at all": ({}, None),
    "saved to a file": ({"type": UNBOUNDED, "operation": C.VIR_DOMAIN_JOB_OPERATION_SAVE, **FIGURES}, None),
    "not begun": ({"type": UNBOUNDED, "operation": OUT}, Job(True)),
    "an old libvirt names no operation": ({"type": UNBOUNDED, **FIGURES}, JOB),
    "outgoing": ({"type": UNBOUNDED, "operation": OUT, **FIGURES}, JOB),
    "incoming": ({"type": UNBOUNDED, "operation": IN, **FIGURES}, Job(False, False, 1500, None, 4096, 1024, 3072, 1000, 655360, 2, 9, 4, 5)),
    "completed": ({"type": COMPLETED, "operation": OUT, **FIGURES}, Job(True, True, 1500, 300, 4096, 1024, 3072, 1000, 655360, 2, 9, 4, 5)),
    "pages of 4 KiB unless it says otherwise": ({"type": UNBOUNDED, "operation": OUT, "memory_dirty_rate": 2}, Job(True, memory_dirty_bps=8192)),
}


@pytest.mark.parametrize("case", JOBS)
def test_statistics(case: str) -> None:
    stats, job = JOBS[case]
    assert Words(mock).job(stats) == job


@pytest.mark.parametrize(
    ("job", "started", "progress"),
    [
        (Job(True), False, 0),
        (Job(True, memory_total_bytes=1000, memory_remaining_bytes=1000), True, 0),
        (Job(True, memory_total_bytes=1000, memory_remaining_bytes=255), True, 75),
        (Job(True, memory_total_bytes=1000, memory_remaining_bytes=0), True, 99),
        (Job(True, completed=True), False, 100),
    ],
    ids=["not begun", "begun", "under way", "all sent, still running", "completed"],
)
def test_progress(job: Job, started: bool, progress: int) -> None:
    assert (job.started, job.progress) == (started, progress)


LIFECYCLES = {
    "resumed (migrated)": ("RESUMED", "RESUMED_MIGRATED"),
    "suspended (postcopy failed)": ("SUSPENDED", "SUSPENDED_POSTCOPY_FAILED"),
    "stopped (migrated)": ("STOPPED", "STOPPED_MIGRATED"),
    "crashed (panicked)": ("CRASHED", "CRASHED_PANICKED"),
}


@pytest.mark.parametrize("text", LIFECYCLES)
def test_lifecycle_events(libvirt: Any, text: str) -> None:
    event, detail = (getattr(libvirt, f"VIR_DOMAIN_EVENT_{name}") for name in LIFECYCLES[text])
    assert Words(libvirt).lifecycle(event, detail) == text


def test_events_of_a_newer_libvirt_are_numbers(libvirt: Any) -> None:
    assert Words(libvirt).lifecycle(99, 7) == "event 99 (7)"
    assert Words(libvirt).lifecycle(libvirt.VIR_DOMAIN_EVENT_RESUMED, 77) == "resumed (77)"
