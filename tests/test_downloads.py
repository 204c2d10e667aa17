"""Downloads: every record, table and notebook is there, whole, and linked."""

import json
import math
import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import made_records
import nbformat
import pandas as pd
import pytest
from made_records import made, runs_made

import build
import downloads
import results_pages
from papernets import experiments, records
from papernets.experiments import CHAPTERS, batch_norm, exact_memorization, pi_net
from papernets.records import MeasurementRecord, RunRecord

URL = "https://github.com/owner/name"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A book with runs, one of them diverged, and measurements with lists."""
    made_records.write_book(tmp_path)
    first, second = runs_made(batch_norm.grid()["tanh, with, lr 0.1"], 0.9, 0.8)
    task = exact_memorization.growing()["a1 = a2"][0]
    values = {"side": [3, 4], "method": ["compact", "inoue2019"], "none": None, "a": 1}
    found = [
        *runs_made(pi_net.article()["MNIST"], 0.99, macs=77),
        first,
        made_records.diverged(second),
        made(task, values, data_sha256=None, git_commit=None),
    ]
    made_records.write(found, tmp_path)
    return tmp_path


def restored(row: dict[str, Any]) -> dict[str, Any]:
    """The record that a row of the Parquet file was made of, as JSON has it."""
    kind = RunRecord if row["kind"] == "run" else MeasurementRecord
    content = {f.name: row[f.name] for f in fields(kind) if f.name in row}
    content["versions"] = json.loads(row["versions"])
    task = {name: row[name] for name in ("experiment", "dataset", "seed")}
    settings = json.loads(row["settings"])
    if kind is MeasurementRecord:
        content["values"] = json.loads(row["values"])
        task |= {"function": row["function"], "settings": settings}
        return plain(content | {"measurement": task})
    task |= {"model": row["model"], "test_every_epoch": bool(row["test_every_epoch"])}
    task |= {"model_args": settings, "recipe": json.loads(row["recipe"])}
    curves = {k.partition(".")[2]: v for k, v in row.items() if k.startswith("curves.")}
    return plain(content | {"run": task, "curves": curves})


def plain(value: Any) -> Any:
    """Arrays become lists, and what is missing None."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, list):
        return [plain(item) for item in value]
    missing = value is pd.NA or (isinstance(value, float) and math.isnan(value))
    return None if missing else value


def canonical(record: dict[str, Any]) -> str:
    return json.dumps(record, sort_keys=True)


def rows(path: Path) -> list[dict[str, Any]]:
    return pd.read_parquet(path).to_dict("records")


def test_parquet_file_restores_every_record(root: Path) -> None:
    downloads.write(root)
    found = rows(root / "book/downloads/records.parquet")
    assert len(found) == 4
    expected = made_records.contents(root)
    assert sorted(map(canonical, map(restored, found))) == sorted(
        map(canonical, expected)
    )


def test_committed_records_fit_one_small_file(tmp_path: Path) -> None:
    """All of them, restored from it; what is restored is a valid record."""
    found = records.read_all(build.ROOT / "results")
    path = tmp_path / "records.parquet"
    downloads.records_table(found).to_parquet(path, compression="zstd", index=False)
    assert path.stat().st_size < 1000 * len(found)
    back = {}
    for row in rows(path):
        content = restored(row)
        if row["kind"] == "run":
            record: records.Record = records._RUNS.validate_json(json.dumps(content))
        else:
            record = records._MEASUREMENTS.validate_json(json.dumps(content))
        back[row["key"]] = record
    assert back == {record.task.key: record for record in found}


def test_types_of_columns(root: Path) -> None:
    downloads.write(root)
    table = pd.read_parquet(root / "book/downloads/records.parquet")
    runs = table[table.kind == "run"]
    assert runs.parameters.tolist() == [1234] * 3
    assert str(table.parameters.dtype) == "Int64"
    assert runs.test_accuracy.dtype == float
    assert runs.test_accuracy.isna().sum() == 1
    assert list(runs["curves.train_loss"].iloc[0]) == [2.0, 1.0]
    for name in table.columns:
        root_name = name.partition(".")[0]
        assert (
            name == "key"
            or root_name in downloads.ABOUT_COLUMNS
            or name
            in {f.name for kind in (RunRecord, MeasurementRecord) for f in fields(kind)}
            | {"test_every_epoch"}
        )


def test_a_table_has_a_row_per_record(root: Path) -> None:
    downloads.write(root)
    folder = root / "book/downloads"
    assert sorted(path.stem for path in folder.glob("*.csv")) == [
        "batch_norm-grid",
        "exact_memorization-growing",
        "pi_net-article",
    ]
    grid = pd.read_csv(folder / "batch_norm-grid.csv")
    assert list(grid.columns[:1]) == ["condition"]
    assert grid.condition.tolist() == ["tanh, with, lr 0.1"] * 2
    assert grid.seed.tolist() == [0, 1]
    assert grid.test_accuracy.iloc[0] == 0.9
    assert grid.test_accuracy.isna().tolist() == [False, True]
    assert grid.status.tolist() == ["finished", "diverged"]
    growing = pd.read_csv(folder / "exact_memorization-growing.csv")
    assert json.loads(growing.side[0]) == [3, 4]
    assert json.loads(growing.method[0]) == ["compact", "inoue2019"]


def test_page_links_every_file_with_its_size(root: Path) -> None:
    downloads.write(root)
    folder = root / "book/downloads"
    page = (root / "book/downloads.md").read_text()
    linked = re.findall(r"<downloads/([^>]+)>`([^\n]*)", page)
    assert {name for name, _ in linked} == {path.name for path in folder.iterdir()}
    for name, rest in linked:
        assert downloads.size(folder / name) in rest
    assert "4 records, one a row" in page
    for chapter in CHAPTERS:
        label = results_pages.anchor("downloads", chapter)
        lines = page.partition(f"({label})=")[2].partition(")=\n")[0].splitlines()
        for study in experiments.chapter(chapter).studies():
            path = folder / f"{chapter}-{study}.csv"
            link = f"{{download}}`{study}.csv <downloads/{path.name}>`"
            cell = f"| {link if path.is_file() else f'`{study}`'} |"
            [line] = [line for line in lines if line.startswith(cell)]
            assert ("not run yet" in line) != path.is_file()


def test_files_of_an_earlier_build_go(root: Path) -> None:
    downloads.write(root)
    stale = root / "book/downloads/old.csv"
    stale.touch()
    downloads.write(root)
    assert not stale.exists()


def test_without_records_there_is_still_a_page(tmp_path: Path) -> None:
    made_records.write_book(tmp_path)
    downloads.write(tmp_path)
    page = (tmp_path / "book/downloads.md").read_text()
    assert "There are none yet." in page
    assert "parquet" not in page
    assert not list((tmp_path / "book/downloads").glob("*.csv"))


@pytest.mark.parametrize("url", ["", URL])
def test_notebooks_install_the_package_where_there_is_an_address(
    tmp_path: Path, url: str
) -> None:
    made_records.write_book(tmp_path, url)
    downloads.write(tmp_path)
    for name in CHAPTERS:
        path = tmp_path / f"book/downloads/{name}.ipynb"
        notebook = nbformat.read(path, as_version=4)
        nbformat.validate(notebook)
        original = nbformat.read(tmp_path / f"notebooks/{name}.ipynb", as_version=4)
        if url:
            cell = notebook.cells.pop(1)
            assert cell.cell_type == "code"
            assert f"git clone --depth 1 {URL} papernets\n" in cell.source
            # Records are read from ../results, and pip installs the folder above.
            assert "\n%cd papernets/notebooks\n%pip install --quiet .." in cell.source
        assert notebook == original
    page = (tmp_path / "book/downloads.md").read_text()
    assert ("Its second cell fetches the records" in page) == bool(url)
    assert ("`notebooks` of a clone of the repository" in page) != bool(url)


def test_committed_chapters_are_offered(tmp_path: Path) -> None:
    """With the real notebooks, whose paths the installing cell relies on."""
    for name in CHAPTERS:
        source = build.ROOT / "notebooks" / f"{name}.ipynb"
        cells = nbformat.read(source, as_version=4).cells
        assert f'Path("../results/{name}")' in "".join(cell.source for cell in cells)
        target = tmp_path / source.name
        downloads.write_notebook(source, target, "")
        assert json.loads(target.read_text()) == json.loads(source.read_text())


def test_headings_are_those_of_the_notebooks() -> None:
    headings = [results_pages.Chapter.read(name).heading() for name in CHAPTERS]
    assert headings[:3] == ["Π-nets", "Batch normalization", "Exact memorization"]
    assert headings[3:] == ["The survey", "Performance"]
