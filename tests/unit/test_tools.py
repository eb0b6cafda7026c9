"""tools/demo and tools/prepare as scripts, in a checkout of their own whose programs write down what they are asked; and what tools/*.py decide."""

from __future__ import annotations

import os
import pty
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from tools import demo, uv

ROOT = Path(__file__).parents[2]
SHIM = '#!/bin/bash\nprintf "%s\\n" "${{0##*/}} $*" >> "{root}/asked"\n{body}\n'


@dataclass
class Checkout:
    """Of these scripts. `programs` are found before those of the machine."""

    root: Path

    @property
    def programs(self) -> Path:
        return self.root / "programs"

    def program(self, path: Path, body: str = "") -> None:
        """One that writes down its words, and then does what `body` says."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(SHIM.format(root=self.root, body=body))
        path.chmod(0o755)

    def script(self, name: str, **changes: str) -> None:
        """A copy of tools/`name`; `changes` are other values of its variables."""
        text = (ROOT / "tools" / name).read_text()
        for variable, value in changes.items():
            before = next(line for line in text.splitlines() if line.startswith(f"{variable}="))
            text = text.replace(before, f"{variable}={value}")
        self.program(self.root / "tools" / name)
        (self.root / "tools" / name).write_text(text)

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([f"tools/{words[0]}", *words[1:]], cwd=self.root, env=self.environ, capture_output=True, text=True, check=False, timeout=60)

    def run_on_terminal(self, *words: str) -> str:
        """What is seen on a terminal of 80 columns."""
        ours, theirs = pty.openpty()
        process = subprocess.Popen([f"tools/{words[0]}", *words[1:]], cwd=self.root, env=self.environ, stdout=theirs, stderr=theirs)
        os.close(theirs)
        seen = b""
        try:
            while piece := os.read(ours, 4096):
                seen += piece
        except OSError:  # so Linux tells the end of a terminal
            pass
        os.close(ours)
        assert process.wait(60) == 0, seen
        return seen.decode()

    @property
    def environ(self) -> dict[str, str]:
        return {"PATH": f"{self.programs}:{os.environ['PATH']}", "PYTHON": "python", "TERM": "dumb"}

    def asked(self) -> list[str]:
        asked = self.root / "asked"
        return asked.read_text().splitlines() if asked.exists() else []


# tools/demo


@pytest.fixture
def staged(tmp_path: Path) -> Checkout:
    """A checkout with tools/demo; it is root's."""
    checkout = Checkout(tmp_path)
    checkout.script("demo")
    checkout.program(tmp_path / "tools" / "prepare")
    checkout.program(tmp_path / ".venv" / "bin" / "python")
    checkout.program(checkout.programs / "id", "echo 0")
    return checkout


@pytest.mark.parametrize("words", [(), ("--keep",), ("--mock",), ("--keep", "--mock"), ("--mock", "--keep")], ids=" ".join)
def test_a_demo_is_prepared_for_and_played(staged: Checkout, words: tuple[str, ...]) -> None:
    done = staged.run("demo", *words)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    asked = [line for line in staged.asked() if not line.startswith("id ")]
    assert asked == ["prepare mock" if "--mock" in words else "prepare demo", " ".join(["python tools/demo.py", *words])]


@pytest.mark.parametrize("words", [("--help",), ("-h",), ("--keep", "--help"), ("--mock", "--help")], ids=" ".join)
def test_the_demo_says_what_it_takes(staged: Checkout, words: tuple[str, ...]) -> None:
    done = staged.run("demo", *words)
    assert (done.returncode, done.stderr, staged.asked()) == (0, "", [])
    assert all(word in done.stdout for word in ("tools/demo --keep", "tools/demo --mock"))


@pytest.mark.parametrize("words", [("keep",), ("--kepe",), ("--mock", "now"), ("",)], ids=" ".join)
def test_the_demo_refuses_what_it_does_not_know(staged: Checkout, words: tuple[str, ...]) -> None:
    done = staged.run("demo", *words)
    assert (done.returncode, done.stdout, staged.asked()) == (2, "", [])
    assert f"what is {words[-1]}?" in done.stderr and "tools/demo --mock" in done.stderr


def test_only_root_has_real_hosts(staged: Checkout) -> None:
    staged.program(staged.programs / "id", "echo 1000")
    assert staged.run("demo", "--keep").returncode == 2
    assert staged.run("demo", "--keep", "--mock").returncode == 0


@pytest.mark.parametrize("phase", ["", "completed", "resumed (migrated)", "x" * 200])
@pytest.mark.parametrize(("mib", "rate"), [(0, 0.0), (256, 11.2), (2048, 400.0), (2_000_000, 12_500.0)])
@pytest.mark.parametrize("percent", [0, 7, 99, 100])
def test_the_bar_fits_a_terminal(percent: int, mib: int, rate: float, phase: str) -> None:
    total = mib << 20
    line = demo.bar(percent, total * percent // 100, total, rate * 2**20, phase)
    assert len(line) < 80 and line == line.rstrip()
    assert f"{percent} %" in line and f" of {mib:4} MiB" in line and f"{rate:.0f} MiB/s" in line
    if mib < 10_000 and len(phase) < 20:
        assert line.endswith(phase or "MiB/s")


# tools/prepare

APT_GET = """
case " $* " in
    *' update '*) [ -e "{root}/free" ] || { touch "{root}/free"; echo "E: Could not get lock /lists/lock. It is held by process 7 (apt-get)"; exit 100; } ;;
    *' install '*) echo "Unpacking probe ... $(printf '%0200d')"; touch "{root}/installed"; /bin/sleep 1 ;;
esac
"""
DPKG_QUERY = 'test -e "{root}/installed" && echo "installed probe" || echo "not-installed probe"\necho "installed there"'
PYTHON = """
[ "$1" != --version ] || echo Python 3.99
[ "$1" != -m ] || { mkdir -p .venv/bin; cp "$0" .venv/bin/python; cp "$0" .venv/bin/pip; }
[ "$1" != tools/uv.py ] || { echo "Building it"; /bin/sleep 1; }
"""


@pytest.fixture
def bare(tmp_path: Path) -> Checkout:
    """A checkout with tools/prepare, on a machine where one of two packages is missing and another apt works."""
    checkout = Checkout(tmp_path)
    checkout.script("prepare", every_s="0.2")
    (tmp_path / "bindep.txt").write_text("# packages\nthere [platform:dpkg]\nprobe [platform:dpkg lab]\nother [platform:dpkg test]\n")
    for name in ("setup.cfg", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path / name)
    for name, body in {"apt-get": APT_GET, "dpkg-query": DPKG_QUERY, "python": PYTHON, "id": "echo 0", "sleep": ""}.items():
        checkout.program(checkout.programs / name, body.replace("{root}", str(tmp_path)))
    return checkout


def installed(checkout: Checkout) -> list[str]:
    """What apt-get and uv were asked to install."""
    return [line.split()[-1] for line in checkout.asked() if " install " in line]


def test_what_is_missing_is_installed_once_the_other_apt_is_done(bare: Checkout) -> None:
    done = bare.run("prepare", "demo")
    assert done.returncode == 0, done
    apts = [line for line in bare.asked() if line.startswith("apt-get ")]
    assert [line.split()[4] for line in apts] == ["update", "update", "-y"] and all("DPkg::Lock::Timeout=" in line for line in apts)
    assert installed(bare) == ["probe", "uv", "."]
    assert "\r" not in done.stdout and max(map(len, done.stdout.splitlines())) < 160
    assert "s: Unpacking probe ..." in done.stdout and "s: Building it" in done.stdout


def test_that_another_apt_works_is_told(bare: Checkout) -> None:
    bare.program(bare.programs / "sleep", "exec /bin/sleep 1")
    assert "s: waiting for another apt: Could not get lock /lists/lock. It is held by process 7 (apt-get)" in bare.run("prepare", "demo").stdout


def test_another_failure_of_apt_is_one(bare: Checkout) -> None:
    bare.program(bare.programs / "apt-get", "echo 'E: Unable to fetch some archives'; exit 100")
    done = bare.run("prepare", "demo")
    assert done.returncode == 1 and "E: Unable to fetch some archives\nprepare: failed: reading the lists" in done.stderr
    assert len([line for line in bare.asked() if line.startswith("apt-get ")]) == 1


def test_it_does_not_wait_for_ever(bare: Checkout) -> None:
    bare.script("prepare", patience_s="-1")
    assert bare.run("prepare", "demo").returncode == 1
    assert len([line for line in bare.asked() if line.startswith("apt-get ")]) == 1


def test_what_is_there_is_left_alone(bare: Checkout) -> None:
    """A kind of environment has all that the ones before it have, and one is added to what is there."""
    for kind, more in {"mock": 3, "demo": 2, "lab": 1}.items():
        assert bare.run("prepare", kind).returncode == 0
        assert len(installed(bare)) == more, kind
        (bare.root / "asked").unlink()
    for kind in ("mock", "demo", "lab", ""):
        done = bare.run("prepare", *kind.split())
        assert (done.returncode, done.stdout, installed(bare)) == (0, "", []), kind


def test_other_versions_make_another_environment(bare: Checkout) -> None:
    assert bare.run("prepare", "mock").returncode == 0
    with (bare.root / "constraints.txt").open("a") as constraints:
        constraints.write("more==1\n")
    assert "prepare: making .venv with Python 3.99" in bare.run("prepare", "mock").stdout


def test_the_simulated_fleet_needs_no_libvirt(bare: Checkout) -> None:
    assert bare.run("prepare", "mock").returncode == 0
    assert not any(line.startswith(("apt-get", "dpkg-query")) for line in bare.asked())


def test_on_a_terminal_it_shows_it_in_place(bare: Checkout) -> None:
    seen = bare.run_on_terminal("prepare", "demo")
    assert "\r\x1b[Kprepare: installing livemig, " in seen
    assert "s: Unpacking probe ... 000" in seen
    assert max(map(len, seen.replace("\r\x1b[K", "\n").splitlines())) < 80


# tools/uv.py

LISTED = """:env:.cert='/of/the/environment'
:env:.timeout='10'
global.cert='/of/a/file'
global.index-url='https://index.test/simple'
global.extra-index-url='https://more.test/simple'
install.index-url='https://mirror.test/simple'
install.trusted-host='one.test\\ntwo.test'
download.index-url='https://nosuch.test/simple'
"""


def test_uv_has_the_index_of_pip() -> None:
    assert uv.settings(LISTED) == {
        "UV_DEFAULT_INDEX": "https://mirror.test/simple",
        "UV_INSECURE_HOST": "one.test two.test",
        "SSL_CERT_FILE": "/of/the/environment",
    }
    assert uv.settings("") == {}


def test_a_variable_that_is_set_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "https://pip.test/simple")
    assert uv.variables({})["UV_DEFAULT_INDEX"] == "https://pip.test/simple"
    assert uv.variables({"UV_DEFAULT_INDEX": "https://uv.test/simple"})["UV_DEFAULT_INDEX"] == "https://uv.test/simple"
