"""Reference, glossary, bibliography: complete, nothing private, nothing left over."""

import importlib
import re
from pathlib import Path

import nbformat
import pytest
from pybtex.database import parse_file, parse_string

import api_pages
import build
import docstrings
import finish_pages
import model_pages

BOOK = build.ROOT / "book"
PACKAGE = build.ROOT / "src" / "papernets"


# The reference


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A book with the pages of the reference, and one of a module that is gone."""
    root = tmp_path_factory.mktemp("root")
    (root / "src").mkdir()
    (root / "src" / "papernets").symlink_to(PACKAGE)
    (root / build.REFERENCE).mkdir(parents=True)
    (root / build.REFERENCE / "gone.md").write_text("# gone\n")
    api_pages.write(root)
    return root


def test_every_public_module_is_in_the_reference(root: Path) -> None:
    pages = sorted((root / build.REFERENCE).glob("*.md"))
    text = "".join(page.read_text() for page in pages)
    documented = re.findall(r"^\.\. automodule:: (.*)$", text, re.MULTILINE)
    paths = [path.relative_to(PACKAGE.parent) for path in PACKAGE.rglob("*.py")]
    names = {path.with_suffix("") for path in paths if path.stem != "__init__"}
    names |= {path.parent for path in paths} - {Path("papernets")}
    public = [name for name in names if not name.name.startswith("_")]
    assert sorted(documented) == sorted(".".join(name.parts) for name in public)
    for name in documented:
        assert importlib.import_module(name).__doc__, name
    index = (root / f"{build.REFERENCE}.md").read_text()
    rows = re.findall(r"^\| \[(\w+)\]\(reference/(\w+)\.md\) \| .+\. \|$", index, re.M)
    assert [stem for stem, _ in rows] == [page.stem for page in pages]
    assert all(stem == link for stem, link in rows)


def test_summary_is_the_first_sentence(tmp_path: Path) -> None:
    module = tmp_path / "module.py"
    module.write_text('"""Sides a * b, of\nan image. More.\n\nAnd more.\n"""\n')
    assert api_pages.summary(module) == r"Sides a \* b, of an image."


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a * b_ and |v_ij|", r"a \* b\_ and \|v_ij\|"),
        ("the `a * b` of `Net`s", r"the `a * b` of `Net`\ s"),
        ("see :mod:`papernets`", "see :mod:`papernets`"),
        ("These:\n- one,\n  still;\n- two", "These:\n\n- one,\n  still;\n- two"),
        ("right there:\n\n    a * b\n\nand", "right there::\n\n    a * b\n\nand"),
        ("Args:\n    x: a * b.", "Args:\n    x: a \\* \\b."),
        ("o. By K. Inoue.", r"\o. By \K. Inoue."),
    ],
)
def test_docstrings_are_prose(text: str, expected: str) -> None:
    found = "\n".join(docstrings.restructured(text.split("\n")))
    assert re.sub("\n\n+", "\n\n", found) == expected


def test_pages_are_repaired() -> None:
    page = (
        '<script src="../_static/scripts/fontawesome.js?digest=8"></script>\n'
        '<summary><span class="toctree-toggle"></summary>\n'
        '<img alt="A curve that rises." src="../_images/a.png" />\n'
        "<dl>\n<dd><em>a</em>,</dd>\n<dd><em>b</em>,</dd>\n</dl>\n"
        "<script>window.MathJax = {}</script>"
        '<script defer="defer" src="../_static/mathjax/a.js"></script>\n'
    )
    without = finish_pages.repaired(page)
    assert "<script" not in without
    assert '<summary aria-label="' in without
    assert '<div class="output"><img alt="A curve' in without
    assert without.count('<span class="sig-line">') == 2
    assert "<d" not in without.replace("<div", "")
    assert "MathJax" in finish_pages.repaired(page + '<span class="math">x</span>')


# The glossary


def glossary() -> list[str]:
    text = (BOOK / "glossary.md").read_text()
    lines = text.partition("```{glossary}\n")[2].partition("```")[0].splitlines()
    return [line for line in lines if line and not line.startswith(" ")]


def test_glossary_is_sorted_and_its_terms_exist() -> None:
    terms = glossary()
    assert len(terms) == len(set(terms)) > 30
    assert terms == sorted(terms, key=str.lower)
    for path in (*BOOK.glob("*.md"), *BOOK.glob("model_pages.py")):
        for term in re.findall(r"\{term\}`([^`<]*)`", path.read_text()):
            assert term in terms, f"{path.name}: {term}"


def test_definitions_are_short() -> None:
    text = (BOOK / "glossary.md").read_text().partition("```{glossary}\n")[2]
    for entry in text.partition("```")[0].strip().split("\n\n"):
        definition = " ".join(entry.splitlines()[1:])
        assert 1 <= len(re.findall(r"\.(?= |$)", definition)) <= 3, entry
        assert len(definition.split()) < 60, entry


# The bibliography


def citations() -> dict[str, set[str]]:
    """The keys that are cited, and by which files."""
    papers = model_pages.papers()
    texts = {path.name: path.read_text() for path in BOOK.glob("[!m]*.md")}
    texts |= {paper.page: "\n".join(model_pages.header(paper)) for paper in papers}
    for path in (build.ROOT / "notebooks").glob("*.ipynb"):
        cells = nbformat.read(path, as_version=4).cells
        texts[path.name] = "\n".join(
            cell.source for cell in cells if cell.cell_type == "markdown"
        )
    found: dict[str, set[str]] = {}
    for name, text in texts.items():
        for keys in re.findall(r"\{cite(?::\w+)?\}`([^`]*)`", text):
            for key in keys.split(","):
                found.setdefault(key.strip(), set()).add(name)
    return found


def test_citations_and_entries_belong_together() -> None:
    written = set(parse_file(str(BOOK / "references.bib")).entries)
    cards = set(
        parse_string(model_pages.bibliography(model_pages.papers()), "bibtex").entries
    )
    assert not written & cards
    assert set(citations()) == written | cards


def test_every_paper_is_cited_on_its_page_under_its_number() -> None:
    papers = model_pages.papers()
    made = parse_string(model_pages.bibliography(papers), "bibtex").entries
    written = parse_file(str(BOOK / "references.bib")).entries
    cited = citations()
    for paper in papers:
        key = model_pages.cited_as(paper)
        entry = made.get(key) or written[key]
        fields = " ".join(entry.fields.values())
        assert paper.page in cited[key]
        assert paper.card.arxiv in fields
        first = paper.card.authors.split(",")[0].split(" ")[-1]
        assert first in str(entry.persons["author"][0])
        plain = re.sub(r"[{}\\\s]+", "", entry.fields["title"]).lower()
        assert re.sub(r"\s", "", paper.card.title).lower() in plain
