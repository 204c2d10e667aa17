"""The PDF: every page of the book, as text with links, figures and an outline."""

import re
from pathlib import Path

import pytest
from bs4 import BeautifulSoup
from filelock import FileLock
from pypdf import PageObject, PdfReader

import build
import pdf

pytestmark = pytest.mark.browser

SITE = build.ROOT / "_build" / "html"
PAGES = pdf.printed_pages()


@pytest.fixture(scope="module")
def reader() -> PdfReader:
    """The PDF; the first of several processes prints it."""
    path = build.ROOT / "_build" / "papernets.pdf"
    sources = [SITE / "index.html", Path(pdf.__file__)]
    with FileLock(path.with_suffix(".lock")):
        newest = max(source.stat().st_mtime for source in sources)
        if not path.is_file() or path.stat().st_mtime < newest:
            assert pdf.write() == path
        return PdfReader(path)


def chapters() -> list[str]:
    return [page for page in PAGES if page.startswith("notebooks/")]


def sheets(reader: PdfReader, page: str) -> list[PageObject]:
    """The sheets on which a page of the book stands."""
    starts = [
        reader.get_destination_page_number(item)
        for item in reader.outline
        if not isinstance(item, list)
    ]
    number = PAGES.index(page)
    return reader.pages[starts[number] : [*starts, len(reader.pages)][number + 1]]


def soup(page: str) -> BeautifulSoup:
    return BeautifulSoup((SITE / f"{page}.html").read_text("utf-8"), "html.parser")


def test_outline_has_every_page_in_order(reader: PdfReader) -> None:
    titles = [item.title for item in reader.outline if not isinstance(item, list)]
    expected = [pdf.title(pdf.one(soup(page), "article")) for page in PAGES]
    # Chromium drops the space at which a title is broken into lines.
    assert [re.sub(r"\s", "", title) for title in titles] == [
        re.sub(r"\s", "", title) for title in expected
    ]
    assert reader.metadata
    assert reader.metadata.title == expected[0]
    assert {"book/index", "book/glossary", build.MODELS} < set(PAGES)


def test_pages_begin_on_a_new_sheet(reader: PdfReader) -> None:
    starts = [
        reader.get_destination_page_number(item)
        for item in reader.outline
        if not isinstance(item, list)
    ]
    assert starts == sorted(set(starts))
    assert all(reader.pages[start].extract_text().strip() for start in starts)


def test_figures_are_there_and_not_small(reader: PdfReader) -> None:
    for chapter in chapters():
        figures = {str(image["src"]) for image in soup(chapter).select(".output img")}
        found = [image for sheet in sheets(reader, chapter) for image in sheet.images]
        widths = [image.image.width for image in found if image.image]
        assert len([width for width in widths if width >= 600]) >= len(figures) > 0


def test_links_stay_inside_or_lead_to_the_web(reader: PdfReader) -> None:
    inside = 0
    for page in reader.pages:
        for annotation in page.annotations or ():
            link = annotation.get_object()
            if uri := link.get("/A", {}).get("/URI"):
                assert str(uri).startswith(("https://", "http://")), uri
                assert "127.0.0.1" not in str(uri)
            else:
                inside += "/Dest" in link or "/A" in link
    assert inside > 100


def test_formulas_are_set_and_controls_left_out(reader: PdfReader) -> None:
    text = "".join(
        sheet.extract_text()
        for chapter in chapters()
        for sheet in sheets(reader, chapter)
    )
    assert "\\max" not in text
    assert "\\frac" not in text
    assert "5 of 5 units: 25 of 25 points" in text
    assert "Units of the second layer" not in text


def test_missing_site_is_named(tmp_path: Path) -> None:
    (tmp_path / "_toc.yml").write_text("format: jb-book\nroot: book/index\n")
    with pytest.raises(build.BuildError, match=r"has no book/index\.html: run `make"):
        pdf.write(tmp_path)
