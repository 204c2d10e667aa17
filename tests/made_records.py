"""Records made by code, for tests of what is computed from records."""

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import nbformat
import yaml
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

import build
from papernets import provenance, records, training
from papernets.experiments import CHAPTERS, chapter
from papernets.records import (
    Curves,
    Measurement,
    MeasurementRecord,
    Record,
    Run,
    RunRecord,
    Task,
)

ORIGIN: dict[str, Any] = {
    "data_sha256": "d" * 64,
    "git_commit": "c" * 40,
    "versions": {"python": "3.11.1", "torch": "2.9.9"},
    "device": "Abacus",
    "threads": 1,
    "seconds": 1800.0,
    "peak_memory_mb": 100.0,
    "finished_at": "2026-01-02T03:04:05+00:00",
}


def made(task: Task, values: Any, **changes: Any) -> Record:
    """A record of the source as it is now.

    Args:
        task: a run or a measurement.
        values: a test accuracy as a fraction, or what a measurement gave.
        changes: other fields.
    """
    if isinstance(task, Measurement):
        sources = chapter(task.experiment).SOURCES
        fields = {"measurement": task, "values": values}
        kind: Any = MeasurementRecord
    else:
        sources, kind = training.sources_of(task.model), RunRecord
        accuracies = (values / 2, values)
        fields = {
            "run": task,
            "status": "finished",
            "curves": Curves(
                train_loss=(2.0, 1.0),
                train_accuracy=accuracies,
                validation_loss=(2.0, 1.0),
                validation_accuracy=accuracies,
                test_loss=(2.0, 1.0),
                test_accuracy=accuracies,
                lr=(0.1, 0.01),
                seconds=(1.0, 1.0),
                images_per_second=(10.0, 20.0),
            ),
            "test_loss": 1.0,
            "test_accuracy": values,
            "parameters": 1234,
            "weights_sha256": "e" * 64,
            "interruptions": 0,
        }
    checksum = provenance.source_checksum(sources)
    return kind(**{**ORIGIN, "source_sha256": checksum, **fields, **changes})


def runs_made(tasks: list[Run], *accuracies: float, **changes: Any) -> list[Record]:
    """A record of the first runs, one for each accuracy."""
    pairs = zip(tasks, accuracies, strict=False)
    return [made(task, accuracy, **changes) for task, accuracy in pairs]


def diverged(record: Record) -> Record:
    """The same run, ended in its second epoch."""
    assert isinstance(record, RunRecord)
    return dataclasses.replace(
        record, status="diverged", test_loss=None, test_accuracy=None
    )


def write(found: list[Record], root: Path) -> None:
    for record in found:
        records.write(record, root / "results")


def write_book(root: Path, url: str = "") -> None:
    """A book of a front page, a chapter, and the pages made from records."""
    (root / "book/_static").mkdir(parents=True, exist_ok=True)
    (root / "notebooks").mkdir(exist_ok=True)
    for name in ("favicon.svg", "papernets.css"):
        shutil.copy(build.ROOT / "book/_static" / name, root / "book/_static")
    for name in ("requirements.lock", "book/references.bib"):
        shutil.copy(build.ROOT / name, root / name)
    config = yaml.safe_load((build.ROOT / "_config.yml").read_text())
    config["bibtex_bibfiles"] = ["book/references.bib"]
    config["execute"]["execute_notebooks"] = "off"
    config["repository"]["url"] = url
    (root / "_config.yml").write_text(yaml.safe_dump(config))
    (root / "_toc.yml").write_text(
        "format: jb-book\nroot: book/index\nchapters:\n- file: notebooks/pi_net\n"
        "- glob: notebooks/*\n"
        "- file: book/results_status\n  sections:\n  - glob: book/results_status/*\n"
        "- file: book/downloads\n"
    )
    (root / "book/index.md").write_text(
        "# Title\n\n{cite}`chrysos2020`\n\n```{include} findings.md\n```\n\n"
        "```{bibliography}\n```\n"
    )
    notebook = new_notebook(
        cells=[
            new_markdown_cell("# Π-nets: a question\n\nText $x^2$.", id="a"),
            new_code_cell(
                "from papernets.experiments import Results, pi_net\nresults = 1",
                id="b",
            ),
            new_code_cell(
                "pi_net.report_article(results)",
                id="c",
                outputs=[new_output("stream", name="stdout", text="a result")],
            ),
        ],
        metadata=build.NOTEBOOK_METADATA,
    )
    text = nbformat.writes(notebook)
    for name in CHAPTERS:
        (root / f"notebooks/{name}.ipynb").write_text(text)


def contents(root: Path) -> list[dict[str, Any]]:
    """The records below `root`/results as JSON holds them."""
    files = sorted((root / "results").rglob("*.json"))
    return [json.loads(file.read_text()) for file in files]
