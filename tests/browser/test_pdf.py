"""The PDF: every page of the book, as text with links, figures and an outline."""

from pathlib import Path

import pytest
from bs4 import BeautifulSoup
from pypdf import PdfReader

import build
import pdf

pytestmark = pytest.mark.browser

SITE = build.ROOT / "_build" / "html"
PAGES = build.toc_pages(build.ROOT)


@pytest.fixture(scope="module")
def reader() -> PdfReader:
    return PdfReader(pdf.write())


def soup(page: str) -> BeautifulSoup:
    return BeautifulSoup((SITE / f"{page}.html").read_text("utf-8"), "html.parser")


def test_outline_has_every_page_in_order(reader: PdfReader) -> None:
    titles = [item.title for item in reader.outline if not isinstance(item, list)]
    expected = [pdf.title(pdf.one(soup(page), "article")) for page in PAGES]
    assert [title for title in titles if title in expected] == expected
    assert reader.metadata
    assert reader.metadata.title == expected[0]


def test_pages_begin_on_a_new_sheet(reader: PdfReader) -> None:
    starts = [
        reader.get_destination_page_number(item)
        for item in reader.outline
        if not isinstance(item, list)
    ]
    assert starts == sorted(set(starts))
    assert all(reader.pages[start].extract_text().strip() for start in starts)


def test_figures_are_there_and_not_small(reader: PdfReader) -> None:
    chapters = [page for page in PAGES if page.startswith("notebooks/")]
    figures = {
        str(image["src"]).split("/")[-1]
        for page in chapters
        for image in soup(page).select(".cell_output img")
    }
    widths = [image.image.width for page in reader.pages for image in page.images]
    assert len([width for width in widths if width >= 600]) >= len(figures) > 10


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
    text = "\n".join(page.extract_text() for page in reader.pages)
    assert "\\frac" not in text
    assert "5 of 5 units: 25 of 25 points" in text
    assert "Units of the second layer" not in text


def test_missing_site_is_named(tmp_path: Path) -> None:
    (tmp_path / "_toc.yml").write_text("format: jb-book\nroot: book/index\n")
    with pytest.raises(build.BuildError, match=r"has no book/index\.html: run `make"):
        pdf.write(tmp_path)
