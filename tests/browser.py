"""The distribution's own Chromium, and pages opened in it."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests import PATIENCE

expect.set_options(timeout=PATIENCE * 1000)
NAMES = ("chromium", "chromium-browser", "google-chrome")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium; `make test` installs it where there is apt."""
    path = next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        # Elsewhere the other tests still say something.
        pytest.skip("no Chromium here: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def opened(browser) -> Iterator[Callable[..., Page]]:
    """Opens a file; its `troubles` are console errors, exceptions and requests beyond the file."""
    contexts = []

    def open_(path: Path, **options: object) -> Page:
        context = browser.new_context(accept_downloads=True, **options)
        context.set_default_timeout(PATIENCE * 1000)
        contexts.append(context)
        page = context.new_page()
        page.troubles = []
        page.on("console", lambda m: m.type == "error" and page.troubles.append(m.text))
        page.on("pageerror", lambda error: page.troubles.append(str(error)))
        page.on("request", lambda r: r.url == path.as_uri() or page.troubles.append(r.url))
        page.goto(path.as_uri())
        page.wait_for_selector("html[data-ready]")
        return page

    yield open_
    for context in contexts:
        context.close()


def through(page: Page) -> None:
    """Scrolls through the page, so that every picture is drawn."""
    for i in range(page.evaluate("document.querySelectorAll('.plot').length")):
        page.locator(".plot").nth(i).scroll_into_view_if_needed()
    expect(page.locator(".plot:not(:has(svg.main-svg))")).to_have_count(0)
