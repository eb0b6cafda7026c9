"""The report of `tools/test --all`: what tests found out beside that they passed, and a summary of the run.

Tests call `keep`; `python -m tests.report DIRECTORY` reads tests.xml (JUnit, of pytest) and what was kept there, and writes summary.md.
"""

from __future__ import annotations

import os
import platform
import sys
from collections import Counter
from pathlib import Path

from lxml import etree

from tests.drawn import commit

SUMMARY = """\
# Tests of {commit}

{platform}, {cores} cores. {counts}; {seconds:.0f} s of tests in {workers} processes side by side.

| file | tests | seconds |
|---|---|---|
{files}
{kept}"""


def keep(name: str, text: str) -> None:
    """Keep a text in the report, where there is one; it is printed in any case. Each test has a name of its own."""
    print(f"\n{text}")
    if directory := os.environ.get("LIVEMIG_REPORT"):
        Path(directory, f"{name}.txt").write_text(f"{text}\n")


def summary(directory: Path) -> str:
    """What the run came to, as Markdown."""
    cases = etree.parse(directory / "tests.xml").findall(".//testcase")
    ends = Counter(case[0].tag if len(case) and case[0].tag in ("failure", "error", "skipped") else "passed" for case in cases)
    seconds: dict[str, float] = {}
    for case in cases:
        seconds[_file(case)] = seconds.get(_file(case), 0.0) + float(case.get("time", "0"))
    tests = Counter(map(_file, cases))
    return SUMMARY.format(
        commit=commit(),
        platform=f"Python {platform.python_version()} on {platform.system()} {platform.release()}",
        cores=os.cpu_count(),
        counts=", ".join(f"{count} {end}" for end, count in sorted(ends.items())),
        seconds=sum(seconds.values()),
        workers=os.environ.get("LIVEMIG_WORKERS", "several"),
        files="\n".join(f"| {file} | {tests[file]} | {spent:.1f} |" for file, spent in sorted(seconds.items(), key=lambda item: -item[1])),
        kept="".join(f"\n## {path.stem}\n\n```\n{path.read_text()}```\n" for path in sorted(directory.glob("*.txt"))),
    )


def _file(case: etree._Element) -> str:
    """The file of a test: its class name is the module's, and a class's if it is in one."""
    words = str(case.get("classname")).split(".")
    return "/".join(word for word in words if not word[:1].isupper()) + ".py"


if __name__ == "__main__":
    (Path(sys.argv[1]) / "summary.md").write_text(summary(Path(sys.argv[1])))
