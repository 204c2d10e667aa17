"""Every figure of every notebook: described in words, a colour for every method."""

from collections import defaultdict
from collections.abc import Callable, Iterator
from functools import wraps
from inspect import getmembers, isfunction
from pathlib import Path
from typing import Any

import nbformat
import pytest
from bs4 import BeautifulSoup
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.container import Container
from matplotlib.figure import Figure
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_output

import build
from papernets import plots, training

NOTEBOOKS = sorted((build.ROOT / "notebooks").glob("*.ipynb"))
each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
MIN_WORDS = 6


def code_cells(path: Path) -> list[NotebookNode]:
    cells = nbformat.read(path, as_version=4).cells
    return [cell for cell in cells if cell.cell_type == "code"]


# --- Alternative text ----------------------------------------------------------------


def alternative_text(cell: NotebookNode) -> str:
    """What the book says of the picture that a cell shows."""
    return str(cell.metadata.get("mystnb", {}).get("image", {}).get("alt", ""))


def picture_texts(cell: NotebookNode) -> Iterator[str]:
    """The descriptions of the pictures among a cell's outputs; "" for none.

    The metadata has one text for all pictures of a cell.
    """
    for output in cell.outputs:
        if any(kind.startswith("image/") for kind in output.get("data", {})):
            yield alternative_text(cell)


def html_texts(cell: NotebookNode) -> Iterator[str]:
    """The descriptions of what a cell draws in HTML; "" for none.

    A figure is described by the drawings or by the table in it.
    """
    for output in cell.outputs:
        page = BeautifulSoup(output.get("data", {}).get("text/html", ""), "html.parser")
        for tag in page.select("img, svg, canvas, figure table"):
            yield str(tag.get("alt" if tag.name == "img" else "aria-label", ""))
            if tag.name == "svg" and tag.get("role") != "img":
                yield ""  # without a role its texts are read one by one
        for figure in page.select("figure"):
            if not figure.select("img, svg, canvas, table"):
                yield ""


def faults(cells: list[NotebookNode]) -> list[str]:
    """What is wrong with the descriptions of a notebook's figures."""
    found, known = [], set()
    for number, cell in enumerate(cells, start=1):
        pictures = list(picture_texts(cell))
        texts = [*pictures, *html_texts(cell)]
        if len(pictures) > 1:
            found.append(f"code cell {number} has {len(pictures)} pictures")
        if alternative_text(cell) and not pictures:
            found.append(f"code cell {number} describes no picture")
        for text in texts:
            if len(text.split()) < MIN_WORDS:
                found.append(f"code cell {number} says {text!r} of a figure")
            elif text in known:
                found.append(f"code cell {number} repeats {text!r}")
            known.add(text)
    return found


@each_notebook
def test_every_figure_is_described(path: Path) -> None:
    assert faults(code_cells(path)) == []


def test_figures_of_both_kinds_are_found() -> None:
    """So that the check above cannot pass for want of figures."""
    texts = {
        kind: [text for path in NOTEBOOKS for c in code_cells(path) for text in kind(c)]
        for kind in (picture_texts, html_texts)
    }
    assert len(texts[picture_texts]) >= 15
    assert len(texts[html_texts]) >= 2


WELL = "Six words that describe a figure"


@pytest.mark.parametrize(
    ("markup", "wrong"),
    [
        (f'<svg role="img" aria-label="{WELL}"></svg>', 0),
        (f'<svg aria-label="{WELL}"></svg>', 1),
        ('<svg role="img"></svg>', 1),
        ('<img src="data:,">', 1),
        (f'<img alt="{WELL}" src="data:,">', 0),
        (f'<figure><table aria-label="{WELL}"></table></figure>', 0),
        ("<figure><table></table></figure>", 1),
        ("<figure></figure>", 1),
        ("<table></table>", 0),
    ],
)
def test_drawings_without_words_are_found(markup: str, wrong: int) -> None:
    cell = new_code_cell(outputs=[new_output("display_data", {"text/html": markup})])
    assert len(faults([cell])) == wrong


def test_pictures_without_words_are_found() -> None:
    picture = new_output("display_data", {"image/png": ""})
    described = {"mystnb": {"image": {"alt": WELL}}}
    good = new_code_cell(outputs=[picture], metadata=described)
    assert faults([good]) == []
    assert faults([good, good]) == [f"code cell 2 repeats {WELL!r}"]
    assert faults([new_code_cell(outputs=[picture])]) == [
        "code cell 1 says '' of a figure"
    ]
    assert faults([new_code_cell(outputs=[picture, picture], metadata=described)]) == [
        "code cell 1 has 2 pictures",
        f"code cell 1 repeats {WELL!r}",
    ]
    assert faults([new_code_cell(metadata=described)]) == [
        "code cell 1 describes no picture"
    ]


# --- Colours -------------------------------------------------------------------------


def colour_of(artist: Any) -> str:
    """The colour of a line, of bars or of a line with error bars."""
    if isinstance(artist, Container):
        artist = artist[0]
    own = artist.get_color() if hasattr(artist, "get_color") else artist.get_facecolor()
    return str(to_hex(own))


def named_colours(axes: Axes) -> Iterator[tuple[str, str]]:
    """The names in an axes with their colours: of its legend, and of rows of dots."""
    for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
        yield label, colour_of(handle)
    rows = [text.get_text() for text in axes.get_yticklabels()]
    for line in axes.lines:
        heights = set(line.get_ydata())
        if line.get_marker() == "o" and len(heights) == 1:
            height = heights.pop()
            name = rows[int(height)] if height in range(len(rows)) else ""
            if name in plots.METHODS:
                yield name, colour_of(line)


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures that functions of `plots` return from now on."""
    found: list[Figure] = []

    def kept(draw: Callable[..., Figure]) -> Callable[..., Figure]:
        @wraps(draw)
        def drawing(*arguments: Any, **keywords: Any) -> Figure:
            found.append(draw(*arguments, **keywords))
            return found[-1]

        return drawing

    for name, function in getmembers(plots, isfunction):
        if hasattr(function, "__wrapped__"):  # by `plots.styled`
            monkeypatch.setattr(plots, name, kept(function))
    return found


def run_cells(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run a notebook's code here, with one epoch wherever it trains."""
    fit = training.fit

    def shortly(model: Any, data: Any, recipe: Any, **keywords: Any) -> Any:
        return fit(model, data, recipe.quick(1), **keywords)

    monkeypatch.setattr(training, "fit", shortly)
    monkeypatch.chdir(path.parent)
    names: dict[str, Any] = {"display": lambda *_: None}
    for number, cell in enumerate(code_cells(path), start=1):
        exec(compile(cell.source, f"{path.stem}, code cell {number}", "exec"), names)


def test_a_method_has_one_colour_in_the_whole_book(
    drawn: list[Figure], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, set[str]] = defaultdict(set)
    for path in NOTEBOOKS:
        before = len(drawn)
        run_cells(path, monkeypatch)
        pictures = sum(len(list(picture_texts(cell))) for cell in code_cells(path))
        assert len(drawn) - before == pictures
    for figure in drawn:
        for axes in figure.axes:
            names = dict(named_colours(axes))
            methods = {n: c for n, c in names.items() if n in plots.METHODS}
            assert len(set(methods.values())) == len(methods), methods
            for name, colour in names.items():
                seen[name].add(colour)
    for name, found in seen.items():
        assert len(found) == 1, f"{name} is drawn in {found}"
        if name in plots.METHODS:
            assert found == {to_hex(plots.METHODS[name])}
    assert len(seen.keys() & plots.METHODS.keys()) >= 20
