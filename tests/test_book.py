"""The build behind `make book`: nothing stale, nothing missing, no silent failure."""

import shutil
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

import build
import model_pages

INDEX = "# Title\n\n$x^2$ {cite}`chrysos2020`\n\n```{bibliography}\n```\n"
TOC = "format: jb-book\nroot: book/index\nchapters:\n- file: notebooks/live\n"
# Prints a record, and notes in a file which is no input that it was executed.
CELL = """\
from pathlib import Path
with open("../executions.log", "a") as log:
    log.write("x")
print(Path("../results/run.json").read_text())"""


@pytest.fixture
def book(tmp_path: Path) -> Path:
    """A book of two pages, with the configuration of the real one."""
    for folder in ("book/_static", "notebooks", "results", "src/papernets"):
        (tmp_path / folder).mkdir(parents=True)
    for name in ("_config.yml", "requirements.lock", "book/references.bib"):
        shutil.copy(build.ROOT / name, tmp_path / name)
    for name in ("favicon.svg", "papernets.css"):
        shutil.copy(build.ROOT / "book/_static" / name, tmp_path / "book/_static")
    (tmp_path / "_toc.yml").write_text(TOC)
    (tmp_path / "book/index.md").write_text(INDEX)
    (tmp_path / "book/models.bib").touch()
    (tmp_path / "results/run.json").write_text("first record")
    (tmp_path / "src/papernets/__init__.py").write_text("")
    write_notebook(tmp_path, CELL)
    return tmp_path


def write_notebook(book: Path, source: str) -> None:
    cells = [new_markdown_cell("# Live", id="a"), new_code_cell(source, id="b")]
    nbformat.write(new_notebook(cells=cells), book / "notebooks/live.ipynb")


def live_page(book: Path) -> str:
    return (book / "_build/html/notebooks/live.html").read_text()


def executions(book: Path) -> int:
    return len((book / "executions.log").read_text())


def test_pages_of_the_table_of_contents_have_sources() -> None:
    """Beside those that are computed, which are written at each build."""
    pages = build.toc_pages(build.ROOT)
    assert pages[0] == "book/index"
    assert set(build.GENERATED) <= set(pages)
    sources = [page for page in pages if not page.startswith(build.GENERATED)]
    build.assert_pages_exist(sources, build.ROOT, ".md", ".ipynb")


def test_pages_on_models_are_written_when_the_source_changes(
    book: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = []

    def write(root: Path) -> None:
        written.append(root)
        (root / "book/models").mkdir(exist_ok=True)
        (root / "book/models/01_first.md").write_text(f"# First {len(written)}\n")
        (root / "book/models.md").write_text("# Models\n")

    monkeypatch.setattr(model_pages, "write", write)
    (book / "_toc.yml").write_text(
        f"{TOC}- file: book/models\n  sections:\n  - glob: book/models/*\n"
    )
    page = book / "_build/html/book/models/01_first.html"
    for _ in range(2):
        build.build_site(book)
        assert "First 1" in page.read_text()
    assert written == [book]

    (book / "src/papernets/__init__.py").write_text("changed = True")
    build.build_site(book)
    assert "First 2" in page.read_text()


def test_build_reuses_outputs_until_a_record_changes(book: Path) -> None:
    assert build.build_site(book) == book / "_build/html/book/index.html"
    assert "first record" in live_page(book)
    static = book / "_build/html/_static/mathjax"
    assert (static / "tex-mml-chtml.js").is_file()
    assert len(list((static / "output/chtml/fonts/woff-v2").glob("*.woff"))) > 10

    build.build_site(book)
    assert executions(book) == 1

    (book / "results/run.json").write_text("second record")
    build.build_site(book)
    assert executions(book) == 2
    assert "second record" in live_page(book)
    assert "first record" not in live_page(book)


@pytest.mark.parametrize(
    ("source", "warning"),
    [
        ("1 / 0", "ZeroDivisionError"),
        ("import sys; print('oops', file=sys.stderr)", "stderr was found"),
    ],
    ids=["error", "stderr"],
)
def test_failing_notebook_fails_the_build(
    book: Path, source: str, warning: str, capfd: pytest.CaptureFixture[str]
) -> None:
    write_notebook(book, source)
    with pytest.raises(build.BuildError, match="not built"):
        build.build_site(book)
    assert warning in capfd.readouterr().err


def test_warning_fails_the_build_every_time(
    book: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Sphinx alone repeats a warning only if it reads the page again."""
    (book / "book/index.md").write_text(INDEX + "\n[lost](nowhere.md)\n")
    for _ in range(2):
        with pytest.raises(build.BuildError, match="not built"):
            build.build_site(book)
        assert "nowhere.md" in capfd.readouterr().err


def test_missing_source_is_named(book: Path) -> None:
    (book / "_toc.yml").write_text(TOC + "- file: book/lost\n")
    with pytest.raises(build.BuildError, match=r"of _toc.yml: book/lost\.$"):
        build.build_site(book)


def test_missing_page_is_named(tmp_path: Path) -> None:
    pages = build.toc_pages(build.ROOT)
    for page in pages:
        (tmp_path / page).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / f"{page}.html").touch()
    build.assert_pages_exist(pages, tmp_path, ".html")
    (tmp_path / f"{pages[-1]}.html").unlink()
    with pytest.raises(build.BuildError, match=rf"no \.html file.* {pages[-1]}\.$"):
        build.assert_pages_exist(pages, tmp_path, ".html")


@pytest.mark.parametrize(
    "name",
    [
        "requirements.lock",
        "results/run.json",
        "results/new.json",
        "src/papernets/a.py",
        "book/build.py",
    ],
)
def test_changed_input_empties_the_cache(book: Path, name: str) -> None:
    assert build.drop_stale_cache(book)
    cached = book / "_build/.jupyter_cache/outputs"
    cached.mkdir(parents=True)
    assert not build.drop_stale_cache(book)
    assert cached.exists()
    (book / name).write_text("changed")
    assert build.drop_stale_cache(book)
    assert not cached.exists()


def test_traces_of_running_programs_are_no_inputs(book: Path) -> None:
    digest = build.inputs_digest(book)
    for name in (
        "src/papernets/__pycache__/a.pyc",
        "results/.run.json.a1",
        "src/a.part",
    ):
        (book / name).parent.mkdir(exist_ok=True)
        (book / name).touch()
    assert build.inputs_digest(book) == digest
