"""The releases, and the commit of each: what an upgrade starts from. A test checks out the commit, for a tag may be moved."""

from __future__ import annotations

RELEASES = {
    "0.1.0": "b0a858f378f7d97d446cd5d38ff334328ff636b3",
}
