"""The pages on records: complete, computed, and the same every day."""

import dataclasses
import re
import statistics
import subprocess
from pathlib import Path

import made_records
import pandas as pd
import pytest
from made_records import made, runs_made

import build
import results_pages
from papernets.experiments import (
    CHAPTERS,
    Results,
    batch_norm,
    exact_memorization,
    model_survey,
    pi_net,
    tasks_of,
)
from papernets.experiments.findings import FINDINGS, finding
from results_pages import Chapter, Group


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A book with some records of two chapters and none of the third."""
    made_records.write_book(tmp_path)
    article = pi_net.article()
    exact = exact_memorization.exact()["line"]
    values = {"exact": 1000, "mse": 0.25, "sides": [1, 2]}
    found = [
        *runs_made(article["MNIST"], 0.99, 0.97),
        *runs_made(article["CIFAR-10"], 0.5, source_sha256="0" * 64),
        *(made(task, values | {"mse": 0.25 + task.seed}) for task in exact),
    ]
    made_records.write(found, tmp_path)
    return tmp_path


def rows(page: str) -> list[list[str]]:
    """The cells of all tables of a page."""
    lines = [line for line in page.splitlines() if line.startswith("| ")]
    return [line[2:-2].split(" | ") for line in lines if "---" not in line]


def read(root: Path, name: str) -> str:
    return (root / "book" / f"{name}.md").read_text()


def test_a_condition_has_its_seeds_and_what_they_gave(root: Path) -> None:
    results_pages.write(root)
    page = read(root, "results_status/pi_net_records")
    head = next(row for row in rows(page) if row[0] == "condition")
    found = {row[0]: dict(zip(head, row, strict=True)) for row in rows(page)[1:3]}
    mean, std = statistics.mean([99, 97]), statistics.stdev([99, 97])
    assert found["MNIST"]["seeds"] == "2 of 5"
    assert found["MNIST"]["test, %"] == f"{mean:.2f} ± {std:.2f}"
    assert found["MNIST"]["took"] == "1.0 h"
    assert found["MNIST"]["commit"] == "ccccccc"
    assert found["MNIST"]["made"] == "2026-01-02"
    assert found["MNIST"]["source"] == "the same"
    assert found["CIFAR-10"]["test, %"] == "50.00"
    assert found["CIFAR-10"]["source"] == "changed"
    measured = read(root, "results_status/exact_memorization_records")
    line = next(row for row in rows(measured) if row[0] == "line")
    assert line[1:4] == ["3 of 3", "1,000", "1.25 ± 1"]
    assert "Lists of numbers, not shown here: sides." in measured


def test_every_condition_has_a_row_and_no_record_has_one(root: Path) -> None:
    results_pages.write(root)
    for name in CHAPTERS:
        studies = Chapter.read(name, root).studies
        page = read(root, f"results_status/{name}_records")
        body = [row for row in rows(page) if row[0] != "condition"]
        assert len(body) == sum(map(len, studies.values()))
        for study in studies:
            assert f"\n## {study}\n" in page
        assert name != "batch_norm" or all("not yet" in row for row in body)


def test_overview_accounts_for_all_records(root: Path) -> None:
    results_pages.write(root)
    page = read(root, "results_status")
    planned = sum(len(Chapter.read(name, root).whole.tasks) for name in CHAPTERS)
    assert f"asks for {planned:,} training runs" in page
    assert "6 of them have a record, made from 2026-01-02 to 2026-01-02." in page
    for text in (
        "- took: 1.5 h",
        "- device: Abacus, 1 thread",
        "- versions: python 3.11.1, torch 2.9.9",
        "- data: mnist dddddddddddd, cifar10 dddddddddddd",
        "- source since: changed for 1",
        "- commit: ccccccc",
        "- seeds: 0–1",
        "- made by: recipe article, recipe reliable",
    ):
        assert f"\n{text}\n" in page
    assert "belong to no study" not in page
    label = "](#records-pi-net-article)"
    [row] = [row for row in rows(page) if label in row[0]]
    assert row[1:5] == ["3 of 10", "2026-01-02", "1.5 h", "changed for 1"]


def test_a_record_of_no_study_is_counted(root: Path) -> None:
    run = dataclasses.replace(pi_net.article()["MNIST"][0], seed=77)
    made_records.write(runs_made([run], 0.9), root)
    results_pages.write(root)
    assert "Another 1 records belong to no study." in read(root, "results_status")


def test_pages_are_rewritten_when_a_record_changes_and_only_then(root: Path) -> None:
    results_pages.write(root)
    page = root / "book/results_status/pi_net_records.md"
    stale = page.with_name("gone_records.md")
    stale.touch()
    before = page.read_text(), page.stat().st_mtime_ns
    results_pages.write(root)
    assert (page.read_text(), page.stat().st_mtime_ns) == before
    assert not stale.exists()
    made_records.write(runs_made(pi_net.article()["MNIST"], 0.5), root)
    results_pages.write(root)
    assert page.read_text() != before[0]


def test_source_state_follows_the_files(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    group = Chapter.read("exact_memorization", root).groups["exact"]
    assert group.source == "the same"
    monkeypatch.setattr(results_pages, "checksum", lambda sources: "other")
    group = Chapter.read("exact_memorization", root).groups["exact"]
    assert group.source == "changed"


def test_files_that_differ_are_those_of_git() -> None:
    names = ("records.py", "cli.py")
    [commit] = re.findall(
        "^[0-9a-f]{40}$", build_git("rev-list", "--max-parents=0", "HEAD"), re.MULTILINE
    )[:1] or [""]
    listed = build_git("diff", "--name-only", commit, "--", "src/papernets/records.py")
    differing = results_pages.differing(commit, names)
    assert ("records.py" in differing) == bool(listed)
    assert results_pages.differing("0" * 40, names) == ()  # a shallow clone


def build_git(*arguments: str) -> str:
    command = ["git", *arguments]
    return subprocess.run(
        command, cwd=build.ROOT, capture_output=True, text=True, check=True
    ).stdout


def test_study_functions_of_other_modules() -> None:
    """The survey's studies lie in two modules; every name has one of them."""
    for module in (pi_net, batch_norm, exact_memorization, model_survey):
        functions = results_pages.study_functions(module)
        assert list(functions) == list(module.studies())
        assert all(function.__doc__ for function in functions.values())


def test_a_study_without_a_function_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pi_net, "studies", lambda: {"lost": {}})
    with pytest.raises(ValueError, match="no function 'lost' in papernets"):
        results_pages.study_functions(pi_net)


def test_provenance_in_one_line(root: Path) -> None:
    title = Chapter.read("pi_net", root).groups["article"].title
    for text in (
        *("records: 3 of 10", "recipe article", "seeds: 0–1", "commit: ccccccc"),
        *("Abacus, 1 thread", "torch 2.9.9", "took: 1.5 h", "mnist dddddddddddd"),
        "source since: changed for 1",
    ):
        assert text in title
    missing = Chapter.read("pi_net", root).groups["long"].title
    assert missing == "records: 0 of 3; made by: recipe article"


def test_edits_that_were_not_committed_show(root: Path) -> None:
    run = pi_net.article()["MNIST"][0]
    commit = "a" * 40 + "+changes"
    group = Group((run,), tuple(runs_made([run], 0.5, git_commit=commit)))
    assert group.commits == "aaaaaaa+changes"


@pytest.mark.parametrize(
    ("numbers", "text"),
    [([], ""), ([3], "3"), ([1, 0, 2, 0], "0–2"), ([100, 0, 1, 5], "0–1, 5, 100")],
)
def test_number_ranges(numbers: list[int], text: str) -> None:
    assert results_pages.number_ranges(numbers) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "0.0 s"), (9.96, "10.0 s"), (59, "59 s"), (60, "1 min"), (5400, "1.5 h")],
)
def test_durations(seconds: float, text: str) -> None:
    assert results_pages.duration(seconds) == text


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ([None, None], "–"),
        ([10000], "10,000"),
        ([0.000218463], "0.0002185"),
        ([1, 2], "1.5 ± 0.71"),
        ([5.0, 5.0, None], "5"),
        ([5426315264.0], "5.426e+09"),
    ],
)
def test_significant_digits(values: list[float | None], text: str) -> None:
    assert results_pages.significant(pd.Series(values, dtype=float)) == text


def test_diverged_runs_are_counted(root: Path) -> None:
    grid = batch_norm.grid()
    label, tasks = next(iter(grid.items()))
    first, second = runs_made(tasks, 0.9, 0.8)
    made_records.write([first, made_records.diverged(second)], root)
    frame = results_pages.conditions(Chapter.read("batch_norm", root), "grid")
    assert frame.loc[label, "diverged"] == "1"
    assert frame.loc[label, "seeds"] == "2 of 5"
    assert frame.loc[label, "test, %"] == "90.00"


# --- What was found ------------------------------------------------------------------


def test_every_chapter_has_a_finding_that_never_invents() -> None:
    assert set(FINDINGS) == set(CHAPTERS)
    for name in CHAPTERS:
        text = finding(name, Results({}))
        sentences = text.split(". ")
        assert len(sentences) >= 2
        assert all(s.rstrip(".").endswith("not run yet") for s in sentences)
        assert not re.search(r"\d", text)


def test_a_chapter_without_a_finding_is_named() -> None:
    with pytest.raises(ValueError, match=r"'survey'.* FINDINGS"):
        finding("survey", Results({}))


def test_finding_with_some_records(root: Path) -> None:
    results_pages.write(root)
    text = read(root, "findings").replace("\xa0", " ")
    assert "98.00 ± 1.41 % on MNIST" in text
    assert "50.00 % on CIFAR-10 (about 70 %; 1 to 2 of 5 seeds each)" in text
    assert "Products against other joins: not run yet." in text
    assert "[Π-nets](../notebooks/pi_net.ipynb)" in text
    planned = len(tasks_of(pi_net.studies().values()))
    assert f"[3 of {planned} records](results_status/pi_net_records.md)" in text
    order = [text.index(f"notebooks/{name}.") for name in ("pi_net", "batch_norm")]
    assert order == sorted(order)


def test_finding_compares_joins(root: Path) -> None:
    joins, found = pi_net.joins(), []
    for join, accuracy in (("product", 0.7), ("linear", 0.4), ("relu", 0.7005)):
        runs = joins[f"{pi_net.JOINS[join]}, 5 blocks"]
        found += runs_made(runs, accuracy, accuracy + 0.01, accuracy - 0.01)
    text = finding("pi_net", Results({r.task.key: r for r in found}))
    assert (
        "five products reach 70.00 ± 1.00 %: 30.0 points higher than the linear "
        "network (40.00 ± 1.00 %) and a tie with ReLU (70.05 ± 1.00 %; 3 seeds each)."
    ) in text
