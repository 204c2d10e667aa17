"""The book as one PDF, printed by Chromium from the built site.

    python book/pdf.py    # what `make pdf` does after `make book`

The pages are joined into one document, so that links between them stay links. Scripts
are left out: what stands on paper is what a reader without JavaScript sees. So is the
reference, which has as many pages as the rest and is looked up where one can search.
"""

import os
import shutil
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from posixpath import normpath
from urllib.parse import urldefrag, urlsplit

from bs4 import BeautifulSoup, Tag
from playwright.sync_api import Browser, sync_playwright

from build import REFERENCE, ROOT, BuildError, toc_pages

CHROMIUM_NAMES = (
    os.environ.get("CHROMIUM", "chromium"),
    "chromium-browser",
    "google-chrome",
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
)
CHROMIUM_OPTIONS = (
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-gpu",
    "--disable-sync",
    "--no-first-run",
    "--no-sandbox",
)
LEFT_OUT = "script, button, a.headerlink, .toggle-details, .sd-summary-state-marker"
REFERRING = ("aria-labelledby", "aria-describedby", "for")  # to other elements' ids
STYLE = """
html { font-size: 11pt; }
body { background: white; min-height: 0; }
nav.book-contents ul { columns: 2; list-style: none; padding-left: 1.5em; }
article.bd-article { padding: 0; }
/* Before the heading itself, a break would double it in the outline. */
article.bd-article::before { break-before: page; content: ""; display: block; }
article.bd-article::before { height: 1px; }
h1, h2, h3, dt { break-after: avoid; }
h1 { font-size: 2em; }
h2 { font-size: 1.5em; }
figure, img, svg, tr, div.cell_input { break-inside: avoid; }
img { max-width: 100%; }
pre { white-space: pre-wrap; }
.output, .pst-scrollable-table-container { overflow: visible; }
svg.diagram { max-height: 24cm; }
"""
# A table that is wider than the paper is made smaller.
FIT = """
for (const table of document.querySelectorAll("article table")) {
  const width = document.querySelector("article").clientWidth;
  if (table.scrollWidth > width) table.style.zoom = width / table.scrollWidth;
}
"""
FOOTER = (
    '<div style="font: 8px sans-serif; text-align: center; width: 100%">'
    '<span class="pageNumber"></span></div>'
)


@contextmanager
def chromium() -> Iterator[Browser]:
    """The installed Chromium, or the one that the environment variable CHROMIUM names.

    Raises:
        BuildError: there is none.
    """
    found = next(filter(None, map(shutil.which, CHROMIUM_NAMES)), None)
    if not found:
        names = ", ".join(CHROMIUM_NAMES)
        raise BuildError(
            f"Chromium is not installed (looked for {names}): install it, or name it "
            "in the environment variable CHROMIUM."
        )
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=found, args=[*CHROMIUM_OPTIONS]
        )
        yield browser
        browser.close()


def name_of(page: str) -> str:
    """The id of a page in the joined document."""
    return page.replace("/", "-")


def joined(site: Path, pages: Sequence[str]) -> str:
    """All pages as one HTML document, whose addresses are relative to `site`."""
    soups = {
        page: BeautifulSoup((site / f"{page}.html").read_text("utf-8"), "html.parser")
        for page in pages
    }
    articles = {page: one(soup, "article.bd-article") for page, soup in soups.items()}
    ids = Counter(
        tag["id"] for article in articles.values() for tag in article.select("[id]")
    )

    def renamed(page: str, name: str) -> str:
        """An id that several pages have is preceded by its page."""
        return name if ids[name] == 1 else f"{name_of(page)}-{name}"

    for page, article in articles.items():
        for tag in article.select(LEFT_OUT):
            tag.decompose()
        for tag in article.select("noscript"):
            tag.unwrap()
        for tag in article.select("[id]"):
            tag["id"] = renamed(page, str(tag["id"]))
        for attribute in REFERRING:
            for tag in article.select(f"[{attribute}]"):
                names = str(tag[attribute]).split()
                tag[attribute] = " ".join(renamed(page, name) for name in names)
        for tag in article.select("img[src]"):
            if not urlsplit(str(tag["src"])).scheme:
                tag["src"] = inside(page, str(tag["src"]))
        for tag in article.select("a[href]"):
            address, fragment = urldefrag(str(tag["href"]))
            if urlsplit(address).scheme:
                continue
            target = inside(page, address).removesuffix(".html") if address else page
            if target not in articles:
                tag.unwrap()  # a file beside the pages
            else:
                of = renamed(target, fragment) if fragment else name_of(target)
                tag["href"] = f"#{of}"
        article["id"] = name_of(page)
    head = one(soups[pages[0]], "head")
    styles = head.select("link[rel=stylesheet]")
    for tag in styles:
        tag["href"] = inside(pages[0], str(tag["href"]))
    contents = "".join(
        f'<li><a href="#{name_of(page)}">{title(article)}</a></li>'
        for page, article in articles.items()
    )
    return "\n".join(
        [
            '<!DOCTYPE html><html lang="en" data-theme="light"><head>',
            f'<meta charset="utf-8"/><title>{title(articles[pages[0]])}</title>',
            *map(str, styles),
            f"<style>{STYLE}</style>",
            *mathjax(soups),
            "</head><body><main class='bd-content'>",
            *map(str, [*articles.values()][:1]),
            f"<nav class='book-contents'><ul>{contents}</ul></nav>",
            *map(str, [*articles.values()][1:]),
            "</main></body></html>",
        ]
    )


def one(soup: Tag, selector: str) -> Tag:
    found = soup.select_one(selector)
    assert found, selector
    return found


def title(article: Tag) -> str:
    return one(article, "h1").get_text().removesuffix("#").strip()


def inside(page: str, address: str) -> str:
    """An address that is relative to a page, relative to the site."""
    return normpath(PurePosixPath(page).parent / address)


def mathjax(soups: dict[str, BeautifulSoup]) -> Iterator[str]:
    """Its scripts, from the first page that has formulas."""
    for page, soup in soups.items():
        if scripts := soup.select("head script[src*='mathjax/']"):
            yield from map(
                str, soup.find_all("script", string=lambda s: "MathJax" in (s or ""))
            )
            for script in scripts:
                script["src"] = inside(page, str(script["src"]))
                yield str(script)
            return


def printed_pages(root: Path = ROOT) -> list[str]:
    """The pages of the book that are on paper, in their order."""
    return [page for page in toc_pages(root) if not page.startswith(REFERENCE)]


def write(root: Path = ROOT) -> Path:
    """Print the built site below `root`; return the PDF.

    Raises:
        BuildError: the site is not built, or there is no Chromium.
    """
    site, pages = root / "_build" / "html", printed_pages(root)
    missing = [page for page in pages if not (site / f"{page}.html").is_file()]
    if missing:
        raise BuildError(f"{site} has no {missing[0]}.html: run `make book` first.")
    document = site / ".print.html"  # beside what it refers to
    pdf, m = root / "_build" / "papernets.pdf", "15mm"
    document.write_text(joined(site, pages), encoding="utf-8")
    try:
        with chromium() as browser:
            page = browser.new_page()
            page.goto(document.as_uri(), wait_until="load")
            page.evaluate("window.MathJax?.startup.promise.then(() => null)")
            page.emulate_media(media="print")
            page.set_viewport_size({"width": 680, "height": 960})  # A4 less its margins
            page.evaluate(FIT)
            page.pdf(
                path=pdf,
                format="A4",
                margin={"top": m, "right": m, "bottom": m, "left": m},
                display_header_footer=True,
                header_template="<span></span>",
                footer_template=FOOTER,
                print_background=True,
                outline=True,
                tagged=True,
            )
    finally:
        document.unlink()
    return pdf


if __name__ == "__main__":
    try:
        print(f"The book is printed. Open {write().as_uri()}")
    except BuildError as error:
        sys.exit(f"\n{error}")
