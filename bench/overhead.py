"""Pairs, in turn, of a migration by POST and by virsh of the same idle guest between the same two hosts.

A POST counts until the API no longer shows MIGRATING (asked every 5 ms), virsh until the command returns. Which of the two begins changes from pair to
pair, and so does the direction. The last line is one JSON object.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from livemig.lab.guests import Guest
from livemig.lab.lab import Lab
from livemig.lab.service import Service
from livemig.runtime import ThreadRuntime

RUNTIME = ThreadRuntime()


def by_post(service: Service, guest: Guest) -> tuple[float, float]:
    """(seconds until completed, seconds until the 202)."""
    destination = other(guest)
    began = RUNTIME.monotonic()
    status, _headers, body = service.live_migrate(guest.uuid, destination)
    accepted = RUNTIME.monotonic() - began
    assert status == 202, body
    service.wait(lambda: service.state(guest.uuid)[0] != "MIGRATING", 60, "the end of the migration", 0.005)
    seconds = RUNTIME.monotonic() - began
    assert service.state(guest.uuid) == ("ACTIVE", destination)
    return seconds, accepted


def by_virsh(lab: Lab, service: Service, guest: Guest) -> float:
    """Seconds."""
    source, destination = guest.where(), lab.host(other(guest))
    assert source is not None
    began = RUNTIME.monotonic()
    source.virsh("migrate", "--live", "--p2p", "--persistent", "--undefinesource", guest.name, destination.uri)
    seconds = RUNTIME.monotonic() - began
    service.wait_seen(guest.uuid, ("ACTIVE", destination.name))
    return seconds


def other(guest: Guest) -> str:
    host = guest.where()
    assert host is not None
    return "node2" if host.name == "node1" else "node1"


def main(pairs: int) -> None:
    posts, virshs, accepts = [], [], []
    with ExitStack() as stack:
        state = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="livemig-bench-")))
        lab = Lab(Path(tempfile.mkdtemp(prefix="livemig-bench-lab-", dir="/var/tmp")), RUNTIME)
        lab.up(2)
        stack.callback(lab.down)
        guest = lab.add_guest("bench", "node1")
        service = Service(state, lab.config(), RUNTIME)
        service.start()
        stack.callback(service.stop)
        service.wait_seen(guest.uuid, ("ACTIVE", "node1"))
        by_virsh(lab, service, guest)  # once each way, uncounted: QEMU and the page cache get warm
        by_post(service, guest)
        for number in range(pairs):
            for kind in ("post", "virsh") if number % 2 else ("virsh", "post"):
                if kind == "post":
                    seconds, accepted = by_post(service, guest)
                    posts.append(seconds)
                    accepts.append(accepted)
                else:
                    virshs.append(by_virsh(lab, service, guest))
                RUNTIME.sleep(0.5)
            ratio = posts[-1] / virshs[-1]
            print(f"pair {number + 1:2}: POST {posts[-1]:.3f} s (202 after {accepts[-1] * 1000:.0f} ms), virsh {virshs[-1]:.3f} s, ratio {ratio:.3f}")
        rss = service.rss_mib()
        unbroken = guest.ticks().unbroken
    ratios = [post / virsh for post, virsh in zip(posts, virshs, strict=True)]
    figures = {
        "pairs": pairs,
        "post_median_s": round(statistics.median(posts), 3),
        "virsh_median_s": round(statistics.median(virshs), 3),
        "ratio_of_medians": round(statistics.median(posts) / statistics.median(virshs), 3),
        "ratio_median": round(statistics.median(ratios), 3),
        "ratio_quartiles": [round(value, 3) for value in statistics.quantiles(ratios, n=4)],
        "accept_median_ms": round(statistics.median(accepts) * 1000, 1),
        "livemig_all_rss_mib": round(rss, 1),
        "ticks_unbroken": unbroken,
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 15)
