"""Run by the interpreter of the environment `browser`: an operator at Horizon, in headless Chromium. Prints what was seen, as JSON.

Arguments: a JSON object with url, user, password, server, host, screenshot.
"""

import json
import sys

from playwright.sync_api import expect, sync_playwright

PATIENCE_MS = 60_000


def login(page, url, user, password):
    page.goto(url)
    page.get_by_label("User Name").fill(user)
    page.locator("#id_password").fill(password)
    page.get_by_role("button", name="Sign In").click()
    page.wait_for_url("**/admin/instances/")


def row(page, server):
    """What the table of instances says about a server, by its headings."""
    headings = [text.strip() for text in page.locator("table#instances thead tr.table_column_header th, table#instances thead th").all_inner_texts()]
    cells = [text.strip() for text in page.locator(f"tr#instances__row__{server} td").all_inner_texts()]
    return dict(zip(headings[-len(cells) :], cells, strict=False))


def live_migrate(page, server, host):
    """Through the form; what it offered, and what was said when it was submitted."""
    line = page.locator(f"tr#instances__row__{server}")
    line.locator(".dropdown-toggle").click()
    line.get_by_text("Live Migrate Instance").click()
    form = page.locator("form#live_migrate_form, .modal form").first
    form.wait_for()
    offered = [text.strip() for text in form.locator("select[name=host] option").all_inner_texts()]
    form.locator("select[name=host]").select_option(host, force=True)
    page.locator(".modal [type=submit]").click()
    message = page.locator(".messages .alert, .alert").first
    message.wait_for()
    return offered, " ".join(message.inner_text().split())


def play(page, url, user, password, server, host, screenshot):
    login(page, url, user, password)
    seen = {"before": row(page, server)}
    seen["offered"], seen["said"] = live_migrate(page, server, host)
    seen["during"] = row(page, server)
    line = page.locator(f"tr#instances__row__{server}")
    expect(line).to_contain_text(host, timeout=PATIENCE_MS)
    expect(line).to_contain_text("Active", timeout=PATIENCE_MS)
    page.goto(f"{url}/admin/instances/")
    seen["after"] = row(page, server)
    page.screenshot(path=screenshot)
    for name, path, mark in (
        ("detail", f"/admin/instances/{server}/detail", "dl"),
        ("hypervisors", "/admin/hypervisors/", "table"),
    ):
        page.goto(url + path)
        page.locator(mark).first.wait_for()
        seen[name] = [" ".join(text.split()) for text in page.locator(".messages .alert").all_inner_texts()]
    return seen


if __name__ == "__main__":
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 620}, locale="en-GB")
        page.set_default_timeout(PATIENCE_MS)
        asked = json.loads(sys.argv[1])
        try:
            print(json.dumps(play(page, **asked)))
        except BaseException:
            page.screenshot(path=asked["screenshot"] + ".failed.png", full_page=True)
            raise
        finally:
            browser.close()
