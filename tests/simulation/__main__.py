"""tools/simulate: plays many seeds, says which broke a promise, and ends with one JSON object."""

from __future__ import annotations

import argparse
import json
import logging
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from typing import Any

from tests.simulation.faults import play
from tests.simulation.variants import VARIANTS, broken
from tests.simulation.world import Violation, world

Result = dict[str, Any]

_PART = 50  # seeds in one process
_TELL = 500


def outcome(seed: int) -> tuple[str | None, dict[str, int]]:
    """(what was violated, how many migrations ended how)."""
    try:
        with world(seed) as made:
            try:
                play(made)
            except Violation as violation:
                return str(violation), made.ends()
            return None, made.ends()
    except Exception as error:  # noqa: BLE001 - one that has left a thread, or that the promises cannot be judged for
        return f"{type(error).__name__}: {error}", {}


def told(seed: int, variant: str | None) -> Iterator[str]:
    """One seed, with its event logs."""
    with broken(variant) if variant else nullcontext(), world(seed) as made:
        try:
            play(made)
            said = "no promise was broken"
        except Violation as violation:
            said = f"BROKEN: {violation}"
        yield from made.stories()
        yield f"seed {seed}: {said}"


def search(seeds: Iterable[int], variant: str | None = None) -> Result:
    """Play the seeds; a variant only until one breaks a promise."""
    began, ends, found, played = time.monotonic(), Counter[str](), list[int](), 0
    with broken(variant) if variant else nullcontext():
        for seed in seeds:
            violation, counts = outcome(seed)
            played += 1
            ends.update(counts)
            if violation:
                found.append(seed)
                print(f"seed {seed}: {violation}", flush=True)
                if variant:
                    break
    return _result(variant, played, found, ends, began)


def divided(start: int, seeds: int, jobs: int) -> Result:
    """The same in so many processes at a time, each with a part of the seeds; says on stderr how far it is."""
    began = time.monotonic()
    size = min(_PART, -(-seeds // jobs))
    parts = [(begin, min(size, start + seeds - begin)) for begin in range(start, start + seeds, size)]
    ends, found, played = Counter[str](), list[int](), 0
    with ThreadPoolExecutor(jobs) as pool:
        for said in pool.map(_play_part, parts):
            *lines, last = said.splitlines()
            print("\n".join(lines), end="\n" if lines else "", flush=True)
            part: Result = json.loads(last)
            ends.update(part["ends"])
            found += part["broken"]
            played += part["seeds"]
            if played % _TELL == 0:
                print(f"{played} of {seeds} seeds after {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    return _result(None, played, found, ends, began)


def _play_part(part: tuple[int, int]) -> str:
    return begun("--from", str(part[0]), "--seeds", str(part[1]), "--jobs", "1").communicate()[0]


def begun(*arguments: str) -> subprocess.Popen[str]:
    """This command in a process of its own."""
    return subprocess.Popen([sys.executable, "-m", "tests.simulation", *arguments], stdout=subprocess.PIPE, text=True)


def _result(variant: str | None, seeds: int, found: Sequence[int], ends: Counter[str], began: float) -> Result:
    seconds = round(time.monotonic() - began, 1)
    return {"variant": variant, "seeds": seeds, "broken": found, "migrations": ends.total(), "ends": dict(sorted(ends.items())), "seconds": seconds}


def main() -> int:
    parser = argparse.ArgumentParser(prog="tools/simulate", description=__doc__)
    parser.add_argument("--seeds", type=int, default=100, metavar="N", help="how many (100)")
    parser.add_argument("--from", type=int, default=0, dest="start", metavar="SEED", help="the first (0)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, metavar="N", help="processes (one for each core)")
    parser.add_argument("--variant", choices=VARIANTS, help="play a version with that mistake, and end with the first seed that finds it")
    parser.add_argument("--tell", action="store_true", help="play only the first seed, and print its event logs")
    asked = parser.parse_args()
    logging.disable(logging.CRITICAL)
    if asked.tell:
        print("\n".join(told(asked.start, asked.variant)))
        return 0
    whole = asked.variant or asked.jobs == 1
    result = search(range(asked.start, asked.start + asked.seeds), asked.variant) if whole else divided(asked.start, asked.seeds, asked.jobs)
    print(json.dumps(result))
    return int(bool(result["broken"]) is not bool(asked.variant))


if __name__ == "__main__":
    sys.exit(main())
