"""The files of the built book: valid, no link lost, every figure described.

Nothing outside the site is fetched.
"""

from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from urllib.parse import unquote, urldefrag, urlsplit
from xml.etree.ElementTree import Element

import html5lib
import pytest

import build

pytestmark = pytest.mark.browser

SITE = build.ROOT / "_build" / "html"
HTML = "{http://www.w3.org/1999/xhtml}"
SVG = "{http://www.w3.org/2000/svg}"
FILES = sorted(path for path in SITE.rglob("*.html") if "_static" not in path.parts)
# Jupyter Book writes this redirection, one tag without a document around it.
INVALID = {SITE / "index.html": "expected-doctype-but-got-start-tag"}
each = pytest.mark.parametrize(
    "path", FILES, ids=lambda path: path.relative_to(SITE).as_posix()
)


@cache
def parsed(path: Path) -> tuple[Element, list[str]]:
    """The document and its parse errors, by the algorithm that browsers follow."""
    parser = html5lib.HTMLParser()
    document = parser.parse(path.read_text(encoding="utf-8"))
    errors = [
        f"line {line}: {code} {variables}"
        for (line, _), code, variables in parser.errors
        if code != INVALID.get(path)
    ]
    return document, errors


@cache
def identifiers(path: Path) -> Counter[str]:
    document, _ = parsed(path)
    return Counter(tag.attrib["id"] for tag in document.iter() if "id" in tag.attrib)


def references(path: Path) -> Iterator[str]:
    """Every address in a page, of links, scripts, styles and pictures."""
    for tag in parsed(path)[0].iter():
        if not isinstance(tag.tag, str):  # a comment
            continue
        for name in ("href", "src", "{http://www.w3.org/1999/xlink}href"):
            if name in tag.attrib:
                yield tag.attrib[name]


def test_every_page_is_checked() -> None:
    pages = [SITE / f"{page}.html" for page in build.toc_pages(build.ROOT)]
    assert set(pages) < set(FILES)


@each
def test_page_is_valid(path: Path) -> None:
    document, errors = parsed(path)
    assert errors == []
    if path not in INVALID:
        assert document.attrib["lang"] == "en"
    assert [name for name, times in identifiers(path).items() if times > 1] == []


@each
def test_links_lead_somewhere(path: Path) -> None:
    lost = []
    for reference in references(path):
        parts = urlsplit(reference)
        if parts.scheme:
            assert parts.scheme in {"https", "http", "mailto", "data"}, reference
            continue
        address, fragment = urldefrag(reference)
        address = unquote(address.partition("?")[0])
        target = (path.parent / address).resolve() if address else path
        if target.is_dir():
            target /= "index.html"
        if not target.is_file() or SITE not in target.parents:
            lost.append(reference)
        elif fragment and target.suffix == ".html":
            known = identifiers(target)
            if unquote(fragment) not in known and fragment not in known:
                lost.append(reference)
    assert lost == []


def described(tag: Element) -> str:
    """What a screen reader says of a picture; "" if nothing."""
    if tag.tag == f"{HTML}img":
        return tag.get("alt", "")
    if "aria-label" in tag.attrib:
        return tag.attrib["aria-label"]
    parts = [tag.findtext(f"{SVG}title"), tag.findtext(f"{SVG}desc")]
    return " ".join(filter(None, parts))


@each
def test_figures_are_described(path: Path) -> None:
    document, _ = parsed(path)
    for article in document.iter(f"{HTML}article"):
        for tag in article.iter():
            if tag.tag not in (f"{HTML}img", f"{SVG}svg"):
                continue
            if tag.get("aria-hidden") == "true" or tag.get("role") == "presentation":
                continue
            text = described(tag)
            assert len(text.split()) >= 6, tag.attrib
            assert not text.startswith(("_images", "../"))


def test_there_are_figures_and_links() -> None:
    """So that the checks above cannot pass for want of them."""
    chapter = SITE / "notebooks" / "pi_net.html"
    assert sum(1 for _ in parsed(chapter)[0].iter(f"{HTML}img")) > 3
    fragments = [urldefrag(r).fragment for r in references(chapter)]
    assert len([fragment for fragment in fragments if fragment]) > 5
