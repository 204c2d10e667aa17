"""The committed notebooks: their form, and that a changed output is caught."""

import re
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

import build

NOTEBOOKS = sorted((build.ROOT / "notebooks").glob("*.ipynb"))
MAX_CELLS = 30
MAX_CODE_LINES = 10
MAX_LINE_LENGTH = 88
MAX_BYTES = 2_000_000
BYPASS = re.compile(r"NBVAL_|PYTEST_VALIDATE_IGNORE_OUTPUT")


def faults(path: Path) -> list[str]:
    """What keeps a notebook from being committed; empty if nothing does."""
    notebook = nbformat.read(path, as_version=4)
    found = []
    if path.stat().st_size >= MAX_BYTES:
        found.append("the file is too large")
    if len(notebook.cells) > MAX_CELLS:
        found.append(f"{len(notebook.cells)} cells")
    code_cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    if not code_cells:
        found.append("no code")
    for count, cell in enumerate(code_cells, start=1):
        lines = [line.strip() for line in cell.source.splitlines()]
        code = [line for line in lines if line and not line.startswith("#")]
        tags = [tag.upper() for tag in cell.metadata.get("tags", [])]
        problems = {
            "is empty": not code,
            "was not executed in order": cell.execution_count != count,
            f"has {len(code)} lines of code": len(code) > MAX_CODE_LINES,
            "has a long line": any(
                len(line) > MAX_LINE_LENGTH for line in cell.source.splitlines()
            ),
            "defines a class": any(line.startswith("class ") for line in code),
            "is not compared": BYPASS.search(cell.source)
            or any(tag.startswith(("NBVAL", "RAISES", "SKIP")) for tag in tags),
            "has an error": any(out.output_type == "error" for out in cell.outputs),
            "writes to stderr": any(
                out.get("name") == "stderr" for out in cell.outputs
            ),
            # Pages render mathematics in text cells, not in what a cell displays.
            "displays mathematics": any(
                "$" in out.get("data", {}).get("text/markdown", "")
                for out in cell.outputs
            ),
        }
        found += [f"code cell {count} {text}" for text, bad in problems.items() if bad]
    return found


def write_notebook(path: Path, *sources: str) -> Path:
    """A small notebook with these code cells, not executed."""
    cells = [new_markdown_cell("# Title", id="title")]
    cells += [new_code_cell(text, id=f"code{i}") for i, text in enumerate(sources)]
    nbformat.write(new_notebook(cells=cells), path)
    return path


def test_there_are_notebooks() -> None:
    assert NOTEBOOKS


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_committed_notebook(path: Path) -> None:
    assert faults(path) == []


@pytest.fixture(scope="module")
def executed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An executed notebook with text, a table as HTML and a figure."""
    path = write_notebook(
        tmp_path_factory.mktemp("notebooks") / "tiny.ipynb",
        "import pandas as pd\nfor i in range(3):\n    print(i, flush=True)",
        "pd.DataFrame({'paper': ['Pi-nets'], 'year': [2020]})",
        "import matplotlib.pyplot as plt\nlines = plt.plot([1, 2])",
    )
    assert build.execute_notebook(path)
    return path


def test_executed_notebook_has_no_faults_and_passes(
    executed: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert faults(executed) == []
    status = build.check_notebooks([executed], workers=0)
    printed = capfd.readouterr().out
    assert status == 0, printed
    assert "3 passed" in printed


def test_second_execution_gives_the_same_bytes(executed: Path) -> None:
    before = executed.read_bytes()
    assert not build.execute_notebook(executed)
    assert executed.read_bytes() == before
    assert list(executed.parent.iterdir()) == [executed]


@pytest.mark.parametrize("kind", ["stdout", "html"])
def test_nbval_catches_a_changed_output(
    executed: Path, tmp_path: Path, kind: str, capfd: pytest.CaptureFixture[str]
) -> None:
    notebook = nbformat.read(executed, as_version=4)
    [printed], [table] = (cell.outputs for cell in notebook.cells[1:3])
    if kind == "stdout":
        printed.text = printed.text.replace("2", "7")
    else:
        table.data["text/html"] = table.data["text/html"].replace("2020", "2021")
    path = tmp_path / "changed.ipynb"
    nbformat.write(notebook, path)
    status = build.check_notebooks([path], workers=0)
    printed = capfd.readouterr().out
    assert status == 1, printed
    assert "Cell outputs differ" in printed
    assert "1 failed, 2 passed" in printed


def test_faults_are_found(executed: Path, tmp_path: Path) -> None:
    notebook = nbformat.read(executed, as_version=4)
    first, second, third = notebook.cells[1:]
    first.execution_count = None
    first.source = "\n".join(f"print({i})" for i in range(11))
    second.source = "class Net:\n    x = " + "1" * 88
    second.outputs = [new_output("stream", name="stderr", text="a warning")]
    third.source = "# NBVAL_IGNORE_OUTPUT\n1 / 0"
    third.outputs = [new_output("error", ename="E", evalue="", traceback=[])]
    notebook.cells += [new_markdown_cell("text") for _ in range(30)]
    path = tmp_path / "faulty.ipynb"
    nbformat.write(notebook, path)
    assert faults(path) == [
        "34 cells",
        "code cell 1 was not executed in order",
        "code cell 1 has 11 lines of code",
        "code cell 2 has a long line",
        "code cell 2 defines a class",
        "code cell 2 writes to stderr",
        "code cell 3 is not compared",
        "code cell 3 has an error",
    ]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("1 / 0", "ZeroDivisionError"),
        ("import sys; print('oops', file=sys.stderr)", "cell 2, writes to stderr"),
    ],
    ids=["error", "stderr"],
)
def test_a_failing_notebook_is_left_as_it_was(
    tmp_path: Path, source: str, message: str
) -> None:
    path = write_notebook(tmp_path / "failing.ipynb", source)
    before = path.read_bytes()
    with pytest.raises(build.BuildError, match=message):
        build.execute_notebook(path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_unknown_notebook_is_named(tmp_path: Path) -> None:
    (tmp_path / "notebooks").mkdir()
    write_notebook(tmp_path / "notebooks" / "known.ipynb", "1")
    with pytest.raises(build.BuildError, match=r"has no typo; it has: known\.$"):
        build.named_notebooks(["typo"], tmp_path)
