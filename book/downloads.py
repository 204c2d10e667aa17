"""The page of downloads and its files: records, tables and notebooks.

    python book/downloads.py    # what `make book` does first

All records are one Parquet file, which holds all that they hold; every study is one CSV
file, and every chapter a notebook. If the repository's address is set in _config.yml
the notebooks have a cell that fetches the records and installs the package, for
machines that have neither.
"""

import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import nbformat
import pandas as pd
from nbformat.v4 import new_code_cell

from build import DOWNLOADS, ROOT
from model_pages import prose, table
from papernets.records import Record, RunRecord
from result_links import repository_url
from results_pages import Chapter, anchor, read_chapters

ABOUT_COLUMNS = """\
`kind` is `run` or `measurement`. What determined the result: `experiment` (the
chapter), `key`, `model` or `function`, `dataset`, `seed`, and as JSON `settings`
(arguments of the model or the function) and `recipe`. What came out: `status`,
`test_loss`, `test_accuracy` (a fraction, of the last epoch), `parameters`, `macs`,
`curves.*` (a value per epoch), `values` (of a measurement, as JSON). Where it comes
from: the columns of `papernets.records.Provenance`, `versions` as JSON, and what else
the record holds.
"""

# Columns of integers, which an empty cell would turn into floats.
WHOLE = ("parameters", "macs", "interruptions", "processes")


def row(record: Record) -> dict[str, Any]:
    """A record in one row of the Parquet file.

    What has the same form in every record is a column of its own; the rest is JSON.
    """
    content = json.loads(json.dumps(asdict(record)))
    task = content.pop("run" if isinstance(record, RunRecord) else "measurement")
    out: dict[str, Any] = {"key": record.task.key}
    if isinstance(record, RunRecord):
        out["kind"] = "run"
        out["settings"] = json.dumps(task.pop("model_args"))
        out["recipe"] = json.dumps(task.pop("recipe"))
        curves = content.pop("curves")
        out |= {f"curves.{name}": values for name, values in curves.items()}
    else:
        out["kind"] = "measurement"
        out["settings"] = json.dumps(task.pop("settings"))
        out["values"] = json.dumps(content.pop("values"))
    out["versions"] = json.dumps(content.pop("versions"))
    return out | task | content


def records_table(found: Sequence[Record]) -> pd.DataFrame:
    """One row per record, of runs and measurements alike."""
    first = ["kind", "experiment", "key", "model", "function", "dataset", "seed"]
    frame = pd.DataFrame([row(record) for record in found])
    for name in set(WHOLE).intersection(frame):
        frame[name] = frame[name].astype("Int64")
    return frame[
        [c for c in first if c in frame] + [c for c in frame if c not in first]
    ]


def study_table(chapter: Chapter, study: str) -> pd.DataFrame:
    """One row per record of a study; lists are written as JSON."""
    frame = chapter.results.table(chapter.studies[study])
    frame.insert(0, "condition", frame.pop("condition"))
    return frame.map(
        lambda value: json.dumps(value) if isinstance(value, list | tuple) else value
    )


def size(path: Path) -> str:
    """ "1.2 MB", "34 kB"; of 1000."""
    number = path.stat().st_size
    return f"{number / 1e6:.1f} MB" if number >= 1e6 else f"{number / 1e3:.0f} kB"


def installing_cell(url: str, chapter: str) -> nbformat.NotebookNode:
    """The cell that makes a notebook work on a machine without the repository."""
    return new_code_cell(
        "# Fetches the records and installs the package: for Colab and other machines\n"
        "# that have neither. Leave it out in a clone of the repository.\n"
        f"!git clone --depth 1 {url} papernets\n"
        "%cd papernets/notebooks\n"
        "%pip install --quiet ..",
        id=f"install-{chapter.replace('_', '-')}",
    )


def write_notebook(source: Path, target: Path, url: str) -> None:
    """Copy a notebook, with an installing cell if there is a repository to install."""
    notebook = nbformat.read(source, as_version=4)
    if url:
        notebook.cells.insert(1, installing_cell(url, source.stem))
    nbformat.write(notebook, target)


def link(path: Path, book: Path, text: str = "") -> str:
    """A link to a file of the page, in Markdown."""
    return f"{{download}}`{text or path.name} <{path.relative_to(book)}>`"


def write(root: Path = ROOT) -> None:
    """Write the page and its files anew below `root`.

    Raises:
        RecordError: a record is bad.
    """
    folder, url = root / DOWNLOADS, repository_url(root)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    chapters = read_chapters(root)
    found = [r for chapter in chapters for r in chapter.results.records.values()]
    parquet = folder / "records.parquet"
    if found:
        records_table(found).to_parquet(parquet, compression="zstd", index=False)
    for chapter in chapters:
        source = root / "notebooks" / f"{chapter.name}.ipynb"
        if source.is_file():
            write_notebook(source, folder / source.name, url)
        for study, group in chapter.groups.items():
            if group.records:
                path = folder / f"{chapter.name}-{study}.csv"
                study_table(chapter, study).to_csv(path, index=False)
    lines = page(chapters, root, parquet, url)
    (root / f"{DOWNLOADS}.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


def page(
    chapters: Sequence[Chapter], root: Path, parquet: Path, url: str
) -> Iterator[str]:
    """The page that links the files in `parquet`'s folder, as lines of Markdown."""
    book, folder = root / "book", parquet.parent
    yield "# Downloads"
    yield ""
    yield (
        "Everything here is made from the [records](results_status.md) when the book "
        "is built. In a clone of the repository `papernets results` prints a table of "
        "them, and the records themselves are files below `results/`."
    )
    yield ""
    yield "## All records"
    yield ""
    if parquet.is_file():
        number = sum(len(chapter.results.records) for chapter in chapters)
        yield f"{link(parquet, book)} ({size(parquet)}): {number:,} records, one a row."
        yield ""
        yield ABOUT_COLUMNS
        yield "```python"
        yield "import pandas as pd"
        yield ""
        yield 'records = pd.read_parquet("records.parquet")'
        yield 'runs = records[records.kind == "run"]'
        yield 'runs.groupby(["experiment", "model"]).test_accuracy.describe()'
        yield "```"
    else:
        yield "There are none yet."
    yield ""
    yield (
        "Below, a table is one study with a row per record. Accuracies are fractions, "
        "lists are JSON. A notebook is the page with its code and outputs. "
        + (
            "Its second cell fetches the records and installs the package; leave it "
            "out in a clone of the repository."
            if url
            else "It reads its records from `../results`, so it runs in the folder "
            "`notebooks` of a clone of the repository, where it lies already."
        )
    )
    yield ""
    for chapter in chapters:
        yield f"({anchor('downloads', chapter.name)})="
        yield f"## {chapter.heading(root)}"
        yield ""
        notebook = folder / f"{chapter.name}.ipynb"
        if notebook.is_file():
            yield f"Notebook: {link(notebook, book)} ({size(notebook)})."
            yield ""
        rows = []
        for study, group in chapter.groups.items():
            path = folder / f"{chapter.name}-{study}.csv"
            there = path.is_file()
            rows.append(
                [
                    link(path, book, f"{study}.csv") if there else f"`{study}`",
                    prose(chapter.questions[study]),
                    group.number if there else "not run yet",
                    size(path) if there else "",
                ]
            )
        yield from table(["table", "about", "records", "size"], rows, "lllr")


if __name__ == "__main__":
    write()
