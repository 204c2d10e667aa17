"""Every page of the built book, in Chromium, at the width of a desktop and of a phone.

Run by `make test-browser`, which builds the book first. Chromium is the one that is
installed, or the one that the environment variable CHROMIUM names; none is downloaded.
"""

import os
import shutil
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urldefrag

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

import build

pytestmark = pytest.mark.browser

SITE = build.ROOT / "_build" / "html"
PAGES = build.toc_pages(build.ROOT)
CHROMIUM_NAMES = (
    os.environ.get("CHROMIUM", "chromium"),
    "chromium-browser",
    "google-chrome",
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
)
CHROMIUM_OPTIONS = [
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-gpu",
    "--disable-sync",
    "--no-first-run",
    "--no-sandbox",
]
SCREENS: dict[str, dict[str, Any]] = {
    "desktop": {"viewport": {"width": 1280, "height": 800}},
    "phone": {
        "viewport": {"width": 390, "height": 844},
        "device_scale_factor": 3,
        "has_touch": True,
        "is_mobile": True,
    },
}


# Text of drawings that leaves its box, or is smaller than ten pixels.
BAD_DRAWINGS = """
[...document.querySelectorAll("svg.diagram text")].filter(text => {
  const box = (text.parentElement.querySelector("rect") ?? text.ownerSVGElement)
    .getBoundingClientRect();
  const own = text.getBoundingClientRect();
  const size = 12 * text.getScreenCTM().a;
  return size < 10 || own.left < box.left || own.right > box.right
    || own.top < box.top - 2 || own.bottom > box.bottom + 2;
}).map(text => text.textContent)
"""


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *args: Any) -> None:
        """Keep the test output free of requests."""


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """The built book, served on this machine."""
    build.assert_pages_exist(PAGES, SITE, ".html")
    handler = partial(QuietHandler, directory=str(SITE))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """The installed Chromium; a failure, not a skip, if there is none."""
    chromium = next(filter(None, map(shutil.which, CHROMIUM_NAMES)), None)
    assert chromium, (
        f"Chromium is not installed: looked for {', '.join(CHROMIUM_NAMES)}"
    )
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium, args=CHROMIUM_OPTIONS
        )
        yield browser
        browser.close()


@pytest.fixture(params=SCREENS)
def page(
    request: pytest.FixtureRequest, browser: Browser, address: str
) -> Iterator[Page]:
    """An empty page; what it complains about or loads from elsewhere fails the test."""
    context = browser.new_context(**SCREENS[request.param])
    page = context.new_page()
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(f"error: {error}"))
    page.on(
        "console",
        lambda message: (
            message.type in ("error", "warning")
            and complaints.append(f"{message.type}: {message.text}")
        ),
    )
    page.on(
        "request",
        lambda sent: (
            sent.url.startswith((address, "data:", "blob:"))
            or complaints.append(f"request elsewhere: {sent.url}")
        ),
    )
    page.on(
        "response",
        lambda got: (
            got.status >= 400 and complaints.append(f"status {got.status}: {got.url}")
        ),
    )
    yield page
    context.close()
    assert complaints == []


@pytest.mark.parametrize("name", PAGES)
def test_page(page: Page, address: str, name: str) -> None:
    response = page.goto(f"{address}{name}.html", wait_until="networkidle")
    assert response
    assert response.status == 200
    assert page.locator("article h1").count() == 1

    source = page.locator("span.math, div.math").count()
    page.wait_for_function(
        f"document.querySelectorAll('.math mjx-container').length >= {source}"
    )
    assert page.locator("mjx-merror").count() == 0

    for image in page.locator("article img").all():
        image.scroll_into_view_if_needed()
        width = image.evaluate("image => image.decode().then(() => image.naturalWidth)")
        assert width > 0, image.get_attribute("src")

    assert page.evaluate(BAD_DRAWINGS) == []

    width, visible = page.evaluate(
        "[document.documentElement.scrollWidth, document.documentElement.clientWidth]"
    )
    assert width == visible


def test_mathematics_is_somewhere(page: Page, address: str) -> None:
    """So that the check above cannot pass for want of formulas."""
    page.goto(f"{address}book/how_we_measure.html", wait_until="networkidle")
    assert page.locator("div.math mjx-container").first.is_visible()


def test_sidebar_leads_to_every_page(page: Page, address: str) -> None:
    page.goto(f"{address}{PAGES[0]}.html", wait_until="networkidle")
    for name in PAGES[1:]:
        link = page.locator(f"nav.bd-links a[href$='{name.split('/')[-1]}.html']")
        if page.viewport_size == SCREENS["phone"]["viewport"]:
            assert not link.is_visible()
            page.locator("button.primary-toggle").first.click()
        link.click()
        page.wait_for_url(f"{address}{name}.html")


def test_sidebar_can_be_closed(page: Page, address: str) -> None:
    page.goto(f"{address}{PAGES[0]}.html", wait_until="networkidle")
    sidebar = page.locator("nav.bd-links")
    if page.viewport_size == SCREENS["desktop"]["viewport"]:
        assert sidebar.is_visible()
        page.locator("button.primary-toggle").first.click()
        sidebar.wait_for(state="hidden")


def test_links_inside_the_book_lead_somewhere(page: Page, address: str) -> None:
    targets = set()
    for name in PAGES:
        page.goto(f"{address}{name}.html")
        links = page.locator("a[href]").evaluate_all("links => links.map(a => a.href)")
        targets |= {urldefrag(link).url for link in links if link.startswith(address)}
    for target in sorted(targets):
        assert page.request.get(target).status == 200, target


MEMORIZATION = "notebooks/exact_memorization.html"


def test_units_are_added_with_the_keyboard(page: Page, address: str) -> None:
    page.goto(address + MEMORIZATION, wait_until="networkidle")
    slider = page.get_by_role("slider", name="Units of the second layer")
    text = page.locator("#stepper output")
    assert text.inner_text() == "5 of 5 units: 25 of 25 points"
    slider.focus()
    page.keyboard.press("Home")
    assert text.inner_text() == "0 of 5 units: 0 of 25 points"
    for units in range(1, 6):
        page.keyboard.press("ArrowRight")
        assert text.inner_text() == f"{units} of 5 units: {5 * units} of 25 points"
        assert page.locator("#stepper polyline:visible").count() == 1
        reached = page.locator("#stepper circle[fill='#009E73']").count()
        assert reached == 5 * units


def test_a_picture_without_javascript(browser: Browser, address: str) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(address + MEMORIZATION)
    assert page.locator("#stepper polyline:visible").count() == 1
    assert page.locator("#stepper circle[fill='#009E73']").count() == 25
    assert not page.locator("#stepper input").is_visible()
    context.close()
