"""Run by the interpreter of the environment `browser`: an operator at Horizon, in headless Chromium. Prints what was seen, as JSON.

Argument: a JSON object with url, user, password, server, name, source, destination, pictures (a directory).
"""

from __future__ import annotations

import json
import sys
from typing import Any

from playwright.sync_api import expect, sync_playwright

PATIENCE_MS = 60_000


class Operator:
    """Somebody who has logged in."""

    def __init__(self, page: Any, asked: dict[str, Any]) -> None:
        self._page = page
        self._asked = asked
        self._url = asked["url"]
        self._row = page.locator(f"tr#instances__row__{asked['server']}")
        page.goto(self._url)
        page.get_by_label("User Name").fill(asked["user"])
        page.locator("#id_password").fill(asked["password"])
        page.get_by_role("button", name="Sign In").click()
        page.wait_for_url("**/admin/instances/")

    def row(self) -> dict[str, str]:
        """What the table of instances says about the server, by its headings."""
        return self._cells("table#instances", self._row)

    def open_form(self) -> list[str]:
        """Open the form of Live Migrate; the hosts that it offers."""
        self._row.locator(".dropdown-toggle").click()
        self._row.get_by_text("Live Migrate Instance").click()
        self._hosts.wait_for(state="attached")
        offered: list[str] = self._hosts.locator("option").all_inner_texts()
        return offered

    @property
    def _hosts(self) -> Any:
        return self._page.locator(".modal select[name=host]")

    def submit_form(self, host: str, *boxes: str) -> str:
        """Choose a host and tick boxes, and submit; what was said."""
        self._page.locator(".modal .themable-select button").click()
        self._page.locator(f".modal .themable-select a[data-select-value={host}]").click()
        for box in boxes:
            self._page.locator(f".modal label[for=id_{box}]").first.click()
        self.picture("-".join(["form", *boxes]))
        return self._submit()

    def wait_for(self, host: str) -> dict[str, str]:
        """Wait until the row, which refreshes itself, has the server on a host; what the page says when it is loaded again."""
        expect(self._row).to_contain_text(host, timeout=PATIENCE_MS)
        expect(self._row).to_contain_text("Active", timeout=PATIENCE_MS)
        self._go("/admin/instances/", "table#instances")
        return self.row()

    def actions(self) -> list[str]:
        """The server's page and its log of actions."""
        self._go(f"/admin/instances/{self._asked['server']}/detail?tab=instance_details__audit", "table")
        cells: list[str] = self._page.locator("table#audit td").all_inner_texts()
        return cells

    def hypervisors(self) -> list[str]:
        """The names on the page of hypervisors."""
        self._go("/admin/hypervisors/", "table#hypervisors")
        names: list[str] = self._page.locator("table#hypervisors tbody tr td:first-child").all_inner_texts()
        return names

    def empty(self, host: str) -> list[str]:
        """Disable a host, and move what it has through Migrate Host; then enable it. What was said each time."""
        hosts = "/admin/hypervisors/?tab=hypervisor_info__compute_host"
        said = []
        for link in ("Disable Service", "Migrate Host"):
            self._go(hosts, "table#compute_host")
            row = self._page.locator(f"tr#compute_host__row__{host}")
            if not row.get_by_text(link).first.is_visible():
                row.locator(".dropdown-toggle").click()
            row.get_by_text(link).first.click()
            said.append(self._submit())
        return said

    def picture(self, name: str) -> None:
        self._page.screenshot(path=f"{self._asked['pictures']}/{name}.png")

    def banners(self) -> list[str]:
        """What the page complains about."""
        return [" ".join(text.split()) for text in self._page.locator(".messages .alert-danger").all_inner_texts()]

    def _go(self, path: str, mark: str) -> None:
        self._page.goto(self._url + path)
        self._page.locator(mark).first.wait_for()

    def _submit(self) -> str:
        self._page.locator(".modal [type=submit]").click()
        message = self._page.locator(".messages .alert").first
        message.wait_for()
        return " ".join(message.inner_text().split())

    def _cells(self, table: str, row: Any) -> dict[str, str]:
        headings = [text.strip() for text in self._page.locator(f"{table} thead th").all_inner_texts()]
        cells = [text.strip() for text in row.locator("td").all_inner_texts()]
        return dict(zip(headings[-len(cells) :], cells, strict=False))


def play(page: Any, asked: dict[str, Any]) -> dict[str, Any]:
    source, destination = asked["source"], asked["destination"]
    operator = Operator(page, asked)
    seen: dict[str, Any] = {"before": operator.row(), "offered": operator.open_form(), "said": operator.submit_form(destination)}
    seen["after"] = operator.wait_for(destination)
    operator.picture("after")
    seen["complaints"] = operator.banners()
    operator.open_form()
    seen["said to a box"] = operator.submit_form(source, "disk_over_commit")
    seen["back"] = operator.wait_for(source)
    seen["actions"] = operator.actions()
    seen["complaints"] += operator.banners()
    seen["hypervisors"] = operator.hypervisors()
    seen["complaints"] += operator.banners()
    seen["said to a host"] = operator.empty(source)
    page.goto(asked["url"] + "/admin/instances/")
    seen["emptied"] = operator.wait_for(destination)
    return seen


if __name__ == "__main__":
    asked = json.loads(sys.argv[1])
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 480}, locale="en-GB")
        page.set_default_timeout(PATIENCE_MS)
        try:
            print(json.dumps(play(page, asked)))
        except BaseException:
            page.screenshot(path=f"{asked['pictures']}/failed.png", full_page=True)
            raise
        finally:
            browser.close()
