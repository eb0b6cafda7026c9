"""docs/api.md: each request of it is sent, in its order, and its answer is the one that stands there. LIVEMIG_WRITE_DOCS=1 writes the answers instead.

Times, request ids and what else differs from run to run are replaced by fixed ones.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from livemig.db.hosts import host_uuid, service_uuid
from livemig.testing.fleet import guest_uuid
from tests.api.wire import Start, settle
from tests.service import Service

PAGE = Path(__file__).parents[2] / "docs" / "api.md"
BLOCK = re.compile(r"```http\n(?P<request>.*?)```\n(?:\n```json\n(?P<answer>.*?)```\n)?", re.DOTALL)

FIXED = (
    (re.compile(r"(?!2013)\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"), "2026-11-24T12:00:00Z"),
    (re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}"), "2026-11-24T12:00:00.000000"),
    (re.compile(r"req-[0-9a-f-]{36}"), "req-7c1d9d5a-0f3b-4f0e-9a53-0f5f2d6e8a10"),
    (re.compile(r'(?<="uuid": ")[0-9a-f-]{36}(?=",\n\s+"user_id")'), "0d1f4c9e-6c4b-4a7e-8d0a-2f4e9a1b7c33"),
    (re.compile(r"marker=[0-9a-f-]{36}"), "marker=0d1f4c9e-6c4b-4a7e-8d0a-2f4e9a1b7c33"),
    (re.compile(r'("memory_total_bytes": )(?:\d+|null)'), r"\g<1>4294967296"),
    (re.compile(r'("memory_processed_bytes": )(?:\d+|null)'), r"\g<1>536870912"),
    (re.compile(r'("memory_remaining_bytes": )(?:\d+|null)'), r"\g<1>3758096384"),
    (re.compile(r'"uptime": "[^"]*"'), '"uptime": " 12:00:00 up 3 days, 4:05"'),
    (re.compile(r'"status": "(?:accepted|queued|preparing|running)"'), '"status": "running"'),
    (re.compile(r'"dest_(compute|node)": (?:null|"node2")'), r'"dest_\1": "node2"'),
)
NAMES = {"WEB": guest_uuid("web"), "SERVICE": service_uuid("node2"), "HYPERVISOR": host_uuid("node2")}


def fixed(answer: Any) -> str:
    text = json.dumps(answer, indent=2) + "\n"
    for pattern, word in FIXED:
        text = pattern.sub(word, text)
    return text


def answers(service: Service, page: str) -> Iterator[tuple[re.Match[str], str | None]]:
    """Each request of the page, with the answer that it gets; None for an empty one."""
    for block in BLOCK.finditer(page):
        head, _, body = block["request"].partition("\n\n")
        line, *lines = head.strip().split("\n")
        method, path = line.split(" ")
        headers = dict(header.split(": ", 1) for header in lines)
        answer = service.request(method, path, headers=headers, body=body.strip().encode())
        yield block, fixed(answer.json) if answer.body else None


def test_the_page_says_what_is_answered(start: Start) -> None:
    service = start()
    service.fleet.add_guest("web", "node1", memory_mib=4096, dirty_mib_s=1)
    settle(service)
    service.fleet.speed = 0.5  # the migration is still under way when it is looked at
    page = PAGE.read_text()
    given = list(answers(service, page))
    service.fleet.speed = 50
    service.wait_idle(NAMES["WEB"])
    assert len(given) >= 9
    if os.environ.get("LIVEMIG_WRITE_DOCS"):
        PAGE.write_text(with_answers(page, given))
    for block, answer in given:
        assert block["answer"] == answer, block["request"]


def with_answers(page: str, given: list[tuple[re.Match[str], str | None]]) -> str:
    for block, answer in reversed(given):
        if block["answer"] is not None:
            page = page[: block.start("answer")] + (answer or "") + page[block.end("answer") :]
    return page
