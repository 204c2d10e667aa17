"""Every page of the built book, in Chromium, at the width of a desktop and of a phone.

Run by `make test-browser`, which builds the book first. Chromium is the one that is
installed, or the one that the environment variable CHROMIUM names; none is downloaded.
"""

import gzip
import math
from collections.abc import Callable, Iterator
from importlib.resources import files
from itertools import combinations
from statistics import mean
from typing import Any
from urllib.parse import urldefrag

import pandas as pd
import pytest
from playwright.sync_api import Browser, Page, Response

import build
from papernets import interactive
from papernets.experiments import Results, batch_norm
from papernets.records import RunRecord

pytestmark = pytest.mark.browser

PAGES = build.toc_pages(build.ROOT)
CHAPTERS = [name for name in PAGES if name.startswith("notebooks/")]
# Of text as web servers send it, compressed.
MAX_BYTES = 1_500_000
NARROW = 360  # pixels: the narrowest phones
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


AXE = (files("axe_playwright_python") / "axe.min.js").read_text(encoding="utf-8")
VIOLATIONS = """
options => axe.run(
  document, {preload: false, resultTypes: ["violations"], ...options}
).then(found =>
  found.violations
    .filter(rule => ["serious", "critical"].includes(rule.impact))
    .flatMap(rule => rule.nodes.map(node =>
      `${rule.id}: ${node.target.join(" ")}: ${node.failureSummary}`)))
"""
# Where colours change slowly, they would be read half way.
STILL = "*, *::before, *::after { transition: none !important; }"
# A figure 707 pixels wide has text of nine points: at 480 pixels, ten pixels high.
SMALL_FIGURES = """
[...document.querySelectorAll(".cell_output img")].filter(image =>
  image.getBoundingClientRect().width < Math.min(480, image.naturalWidth)
).map(image => image.alt)
"""


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
    phone = page.viewport_size == SCREENS["phone"]["viewport"]
    if phone:
        page.emulate_media(color_scheme="dark")
    response = page.goto(f"{address}{name}.html", wait_until="load")
    assert response
    assert response.status == 200
    assert page.locator("article h1").count() == 1
    assert page.locator("html").get_attribute("data-theme") == (
        "dark" if phone else "light"
    )

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
    assert page.evaluate(SMALL_FIGURES) == []

    page.add_style_tag(content=STILL)
    page.evaluate(AXE)
    assert page.evaluate(VIOLATIONS, {}) == []
    if not phone:
        page.emulate_media(color_scheme="dark")
        page.wait_for_function("document.documentElement.dataset.theme == 'dark'")
        assert page.evaluate(VIOLATIONS, {"runOnly": ["color-contrast"]}) == []

    for wide in (page.viewport_size, {"width": NARROW, "height": 640})[: 1 + phone]:
        assert wide
        page.set_viewport_size(wide)  # type: ignore[arg-type]
        width, visible = page.evaluate(
            "[document.documentElement.scrollWidth, "
            "document.documentElement.clientWidth]"
        )
        assert width == visible, f"at {wide['width']} pixels"


@pytest.mark.parametrize("name", [PAGES[0], *CHAPTERS])
def test_weight_and_first_paint(
    browser: Browser,
    address: str,
    name: str,
    record_property: Callable[[str, object], None],
) -> None:
    context = browser.new_context(**SCREENS["desktop"])  # with an empty cache
    page = context.new_page()
    responses: list[Response] = []
    page.on("response", lambda got: responses.append(got))
    page.goto(f"{address}{name}.html", wait_until="networkidle")
    bodies = [response.body() for response in responses]
    weight = sum(min(len(body), len(gzip.compress(body))) for body in bodies)
    [paint] = page.evaluate(
        "performance.getEntriesByName('first-contentful-paint').map(e => e.startTime)"
    )
    context.close()
    record_property(name, f"{weight / 1e6:.2f} MB, first paint after {paint:.0f} ms")
    assert weight < MAX_BYTES


def test_keyboard_reaches_the_content_first(page: Page, address: str) -> None:
    page.goto(f"{address}{PAGES[0]}.html", wait_until="load")
    page.keyboard.press("Tab")
    skip = page.locator(":focus")
    assert skip.inner_text() == "Skip to main content"
    assert skip.is_visible()
    page.keyboard.press("Enter")
    page.wait_for_url("**#main-content")
    page.keyboard.press("Tab")
    assert page.evaluate(
        "document.querySelector('#main-content').contains(document.activeElement)"
    )


def test_what_has_the_focus_is_marked(page: Page, address: str) -> None:
    """Every stop of the tabulator, on the front page, can be seen and is outlined."""
    page.goto(f"{address}{PAGES[0]}.html", wait_until="load")
    page.add_style_tag(content=STILL)
    stops = []
    for _ in range(40):
        page.keyboard.press("Tab")
        stops.append(
            page.evaluate(
                """() => {
                  const own = document.activeElement;
                  const marked = [own, ...own.children].some(part => {
                    const style = getComputedStyle(part);
                    return style.outlineStyle != "none" || style.boxShadow != "none";
                  });
                  const {left, right} = own.getBoundingClientRect();
                  const seen = left < innerWidth && right > 0;
                  return [own.tagName, own.textContent.trim().slice(0, 30),
                    marked && seen];
                }"""
            )
        )
    assert len({(tag, text) for tag, text, _ in stops}) > 10
    assert [stop for stop in stops if not stop[2] and stop[0] != "BODY"] == []


def test_mathematics_is_somewhere(page: Page, address: str) -> None:
    """So that the check above cannot pass for want of formulas."""
    page.goto(f"{address}book/how_we_measure.html", wait_until="networkidle")
    assert page.locator("div.math mjx-container").first.is_visible()


LINKS = "[...document.querySelectorAll('nav.bd-links a')]"


def test_sidebar_has_every_page(page: Page, address: str) -> None:
    page.goto(f"{address}{PAGES[0]}.html", wait_until="load")
    links = page.evaluate(f"{LINKS}.map(link => link.href)")
    assert {urldefrag(link).url for link in links} == {
        f"{address}{name}.html" for name in PAGES
    }


def test_sidebar_leads_from_page_to_page(page: Page, address: str) -> None:
    """Over all pages that are not below another one, and one that is."""
    page.goto(f"{address}{PAGES[0]}.html", wait_until="load")
    parts = tuple(f"{page}/" for page in build.GENERATED)
    below = [name for name in PAGES if name.startswith(parts)]
    for name in PAGES[1:]:
        if name in below[1:]:
            continue
        url = f"{address}{name}.html"
        link = page.evaluate_handle(
            f"url => {LINKS}.find(link => link.href == url)", url
        ).as_element()
        assert link
        if page.viewport_size == SCREENS["phone"]["viewport"]:
            assert not link.is_visible()
            page.locator("button.primary-toggle").first.click()
        link.click()
        page.wait_for_url(url)


def test_sidebar_can_be_closed(page: Page, address: str) -> None:
    page.goto(f"{address}{PAGES[0]}.html", wait_until="networkidle")
    sidebar = page.locator("nav.bd-links")
    if page.viewport_size == SCREENS["desktop"]["viewport"]:
        assert sidebar.is_visible()
        page.locator("button.primary-toggle").first.click()
        sidebar.wait_for(state="hidden")


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


BATCH_NORM = "notebooks/batch_norm.html"
RATES = "#learning-rates"


def every_seed(epoch: int, condition: str) -> list[float]:
    """Validation accuracies in percent, from the records."""
    runs = batch_norm.grid()[condition]
    results = Results.read(build.ROOT / "results" / "batch_norm")
    found = [results.records[run.key] for run in runs]
    assert all(isinstance(record, RunRecord) for record in found)
    curves = [record.curves.validation_accuracy for record in found]  # type: ignore[union-attr]
    return [round(100 * accuracies[epoch - 1], 2) for accuracies in curves]


def said_seeds(text: str) -> list[float]:
    return [float(n) for n in text.partition("seeds: ")[2].rstrip(")").split(", ")]


def test_cells_of_the_heat_map_tell_their_seeds(page: Page, address: str) -> None:
    """To a pointer or a finger, at any epoch, and to those who come with the keys."""
    page.goto(address + BATCH_NORM, wait_until="networkidle")
    text = page.locator(f"{RATES} output")
    assert text.inner_text().startswith("Epoch 10: choose a cell")
    cell = page.locator(f"{RATES} tbody tr").nth(3).locator("td").nth(3)
    if page.viewport_size == SCREENS["phone"]["viewport"]:
        cell.tap()
    else:
        cell.hover()
    begin = "Epoch 10, tanh, without, learning rate 0.3: "
    assert text.inner_text().startswith(begin)
    condition = "tanh, without, lr 0.3"
    assert said_seeds(text.inner_text()) == every_seed(10, condition)
    last = cell.evaluate("cell => [cell.textContent, cell.style.backgroundColor]")

    page.get_by_role("slider", name="Epoch").focus()
    page.keyboard.press("Home")
    assert text.inner_text().startswith("Epoch 1, tanh, without, learning rate 0.3: ")
    assert said_seeds(text.inner_text()) == every_seed(1, condition)
    first = cell.evaluate("cell => [cell.textContent, cell.style.backgroundColor]")
    assert first[0] != last[0]
    assert first[1] != last[1]

    page.keyboard.press("Shift+Tab")  # from the slider to the cell that was chosen
    assert cell.evaluate("cell => cell === document.activeElement")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("End")
    page.keyboard.press("ArrowRight")  # there is no column after the last one
    assert text.inner_text().startswith("Epoch 1, tanh, with, learning rate 10: ")
    assert said_seeds(text.inner_text()) == every_seed(1, "tanh, with, lr 10")
    assert page.locator(f"{RATES} td[tabindex='0']").count() == 1
    focused = page.locator(":focus")
    assert focused.evaluate("cell => getComputedStyle(cell).outlineStyle") == "solid"
    box = focused.bounding_box()
    assert box
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= page.evaluate("document.body.clientWidth")


def test_heat_map_is_legible_at_every_epoch(page: Page, address: str) -> None:
    page.goto(address + BATCH_NORM, wait_until="networkidle")
    page.evaluate(AXE)
    slider = page.get_by_role("slider", name="Epoch")
    options = {"runOnly": ["color-contrast"]}
    for epoch in range(10, 0, -1):
        slider.fill(str(epoch))
        found = page.evaluate(VIOLATIONS.replace("document,", f"'{RATES}',"), options)
        assert found == []


def test_a_heat_map_without_javascript(browser: Browser, address: str) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(address + BATCH_NORM)
    cells = page.locator(f"{RATES} tbody td:visible")
    accuracies = every_seed(10, "sigmoid, with, lr 0.01")
    assert cells.count() == 6 * 7
    assert cells.first.inner_text().startswith(f"{mean(accuracies):.1f}\n±")
    assert page.locator(f"{RATES} output").inner_text() == "Epoch 10"
    assert not page.locator(f"{RATES} input").is_visible()
    context.close()


SURVEY = "notebooks/model_survey.html"
SCATTER = "#survey-scatter"
TEXTS = """texts => texts.map((text) => {
  const box = text.getBoundingClientRect();
  return [text.textContent, box.left, box.right, box.top, box.bottom];
})"""


def names_shown(page: Page) -> list[tuple[str, float, float, float, float]]:
    """Names at points of the scatter that are visible, and their edges in pixels."""
    shown = page.locator(f"{SCATTER} g.point text:visible")
    return [tuple(name) for name in shown.evaluate_all(TEXTS)]


def test_names_in_the_scatter_do_not_overlap(page: Page, address: str) -> None:
    """On every axis."""
    page.goto(address + SURVEY, wait_until="networkidle")
    select = page.locator(f"{SCATTER} select")
    options = select.locator("option").all_inner_texts()
    assert "parameters" in options
    fronts = set()
    for option in options:
        select.select_option(option)
        names = names_shown(page)
        fronts.add(tuple(name for name, *_ in names))
        for a, b in combinations(names, 2):
            apart = a[2] <= b[1] or b[2] <= a[1] or a[4] <= b[3] or b[4] <= a[3]
            assert apart, (option, a[0], b[0])
        assert min(bottom - top for *_, top, bottom in names) > 9  # pixels
    assert len(fronts) > 1
    assert page.evaluate(
        "document.documentElement.scrollWidth <= document.documentElement.clientWidth"
    )


def test_a_name_without_a_place_is_seen_on_demand(page: Page) -> None:
    networks = pd.DataFrame(
        {
            "model": [f"network_{i}" for i in range(20)],
            "accuracy": "80",
            "mean": [80 + 0.01 * i for i in range(19)] + [10.0],
            "std": math.nan,
            "cost": [100.0 + i for i in range(19)] + [9000.0],
        }
    )
    fields = ({"cost": "cost"}, SCATTER[1:], "networks")
    page.set_content(interactive.scatter(networks, "accuracy", *fields))
    shown = [name for name, *_ in names_shown(page)]
    assert "network_18" in shown  # the most accurate one
    hidden = [i for i in range(19) if f"network_{i}" not in shown]
    assert hidden
    page.locator(f"{SCATTER} g.point").nth(hidden[0]).focus()
    assert f"network_{hidden[0]}" in [name for name, *_ in names_shown(page)]


def test_every_point_of_the_scatter_is_reached(page: Page, address: str) -> None:
    page.goto(address + SURVEY, wait_until="networkidle")
    points = page.locator(f"{SCATTER} g.point")
    page.locator(f"{SCATTER} [role=region]").focus()
    width = page.evaluate("document.documentElement.clientWidth")
    for i in range(points.count()):
        page.keyboard.press("Tab")
        assert points.nth(i).evaluate("point => point === document.activeElement")
        said = page.locator(f"{SCATTER} output").inner_text()
        assert said == points.nth(i).get_attribute("aria-label")
        circle = points.nth(i).locator("circle").bounding_box()
        assert circle
        assert 0 <= circle["x"] <= width - circle["width"]


def test_a_picture_without_javascript(browser: Browser, address: str) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(address + MEMORIZATION)
    assert page.locator("#stepper polyline:visible").count() == 1
    assert page.locator("#stepper circle[fill='#009E73']").count() == 25
    assert not page.locator("#stepper input").is_visible()
    context.close()
