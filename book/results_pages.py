"""The pages on results, written from the records.

    python book/results_pages.py    # what `make book` does first

"Results status" accounts for every record behind the book: how many exist of those that
are planned, when and with what they were made, and whether the source that determines
them is still the same. The text of the front page on what was found is written here,
too. Nothing on these pages depends on the day of the build.
"""

import inspect
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

import nbformat
import pandas as pd
from docutils.nodes import make_id

from build import RESULTS, ROOT, toc_pages
from model_pages import prose, table
from papernets import experiments, records, training
from papernets.experiments import CHAPTERS, AnyStudy, Results, findings, mean_and_std
from papernets.provenance import PACKAGE, source_checksum
from papernets.records import MeasurementRecord, Record, Run, Task

FINDINGS = "book/findings.md"  # which the front page includes
NONE = "–"


def study_functions(module: ModuleType) -> dict[str, FunctionType]:
    """The functions of a chapter's studies, by name.

    They stand in the chapter's module or in one of the experiments that it imports.

    Raises:
        ValueError: one of them does not.
    """
    imported = [m for m in vars(module).values() if isinstance(m, ModuleType)]
    near = [m for m in imported if m.__name__.startswith(experiments.__name__)]
    found = {}
    for name in module.studies():
        places = [vars(m) for m in (module, *near) if name in vars(m)]
        if not places:
            raise ValueError(f"no function {name!r} in {module.__name__}")
        found[name] = places[0][name]
    return found


@cache
def checksum(sources: tuple[str, ...]) -> str:
    return source_checksum(sources)


def sources_of(task: Task) -> tuple[str, ...]:
    """The files that determine a result, relative to the package."""
    if isinstance(task, Run):
        return training.sources_of(task.model)
    return tuple(experiments.chapter(task.experiment).SOURCES)


def source_changed(record: Record) -> bool:
    """Whether a file that determines the record differs from what it was then."""
    return checksum(sources_of(record.task)) != record.source_sha256


@cache
def differing(commit: str, sources: tuple[str, ...]) -> tuple[str, ...]:
    """The files that differ from a commit; none if git does not know it."""
    command = ["git", "diff", "--name-only", "--relative", commit, "--", *sources]
    try:
        done = subprocess.run(command, cwd=PACKAGE, capture_output=True, text=True)
    except OSError:
        return ()
    return tuple(done.stdout.split()) if done.returncode == 0 else ()


def duration(seconds: float) -> str:
    """ "12 s", "3 min", "1.5 h"; "0.4 s" below ten seconds."""
    if seconds < 60:
        return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 3600 else f"{seconds / 3600:.1f} h"


def number_ranges(numbers: Iterable[int]) -> str:
    """ "0–4, 100" of 0, 1, 2, 3, 4 and 100."""
    spans: list[list[int]] = []
    for number in sorted(set(numbers)):
        if spans and number == spans[-1][-1] + 1:
            spans[-1][1:] = [number]
        else:
            spans.append([number])
    return ", ".join("–".join(map(str, span)) for span in spans)


def each(values: Iterable[str]) -> str:
    """Every value once, in the order of their first appearance."""
    return ", ".join(dict.fromkeys(values)) or NONE


def short(commit: str | None) -> str:
    """Seven digits of a commit, "+changes" if the source differed from it."""
    return commit[:7] + commit[40:] if commit else "unknown"


@dataclass(frozen=True)
class Group:
    """Some tasks of the book, and their records as far as they exist."""

    tasks: tuple[Task, ...]
    records: tuple[Record, ...]

    @classmethod
    def of(cls, results: Results, study: Mapping[str, Sequence[Task]]) -> "Group":
        tasks = {task.key: task for tasks in study.values() for task in tasks}
        found = (results.records[key] for key in tasks if key in results.records)
        return cls(tuple(tasks.values()), tuple(found))

    @property
    def number(self) -> str:
        return f"{len(self.records):,} of {len(self.tasks):,}"

    @property
    def made(self) -> str:
        """The day, or the first and the last one, in UTC."""
        days = sorted({record.finished_at[:10] for record in self.records})
        return " to ".join(dict.fromkeys([days[0], days[-1]])) if days else "not yet"

    @property
    def seeds(self) -> str:
        return number_ranges(record.task.seed for record in self.records) or NONE

    @property
    def seconds(self) -> float:
        return sum(record.seconds for record in self.records)

    @property
    def took(self) -> str:
        return duration(self.seconds) if self.records else NONE

    @property
    def commits(self) -> str:
        return each(short(record.git_commit) for record in self.records)

    @property
    def versions(self) -> str:
        return "; ".join(
            dict.fromkeys(
                ", ".join(f"{name} {version}" for name, version in r.versions.items())
                for r in self.records
            )
        )

    @property
    def devices(self) -> str:
        return each(
            f"{r.device}, {r.threads} thread{'s' if r.threads > 1 else ''}"
            for r in self.records
        )

    @property
    def data(self) -> str:
        """Every data set with the start of its checksum."""
        return each(
            f"{r.task.dataset} {r.data_sha256[:12]}"
            for r in self.records
            if r.data_sha256
        )

    @property
    def recipes(self) -> str:
        """Recipes of runs, functions of measurements."""
        return each(
            f"recipe {task.recipe.name}" if isinstance(task, Run) else task.function
            for task in self.tasks
        )

    @cached_property
    def source(self) -> str:
        changed = sum(map(source_changed, self.records))
        if not self.records:
            return NONE
        if changed in (0, len(self.records)):
            return "changed" if changed else "the same"
        return f"changed for {changed:,}"

    @property
    def changed_files(self) -> str:
        """The files that have changed, as far as git can tell."""
        return ", ".join(
            sorted(
                {
                    file
                    for r in self.records
                    if source_changed(r) and r.git_commit
                    for file in differing(r.git_commit[:40], sources_of(r.task))
                }
            )
        )

    @property
    def provenance(self) -> dict[str, str]:
        """What determines the records and where they come from, as texts by name."""
        if not self.records:
            return {"records": self.number, "made by": self.recipes}
        return {
            "records": self.number,
            "made by": self.recipes,
            "seeds": self.seeds,
            "made": self.made,
            "took": self.took,
            "commit": self.commits,
            "source since": self.source,
            "device": self.devices,
            "versions": self.versions,
            "data": self.data,
        }

    @property
    def title(self) -> str:
        """The provenance in one line, for the title of a link."""
        return "; ".join(f"{name}: {text}" for name, text in self.provenance.items())


@dataclass(frozen=True)
class Chapter:
    """A chapter with its studies and its records."""

    name: str
    studies: Mapping[str, AnyStudy]
    questions: Mapping[str, str]  # first sentence of a study's docstring
    results: Results

    @classmethod
    def read(cls, name: str, root: Path = ROOT) -> "Chapter":
        """The records of a chapter below `root`; none if there is no folder.

        Raises:
            RecordError: a record is bad.
        """
        module = experiments.chapter(name)
        studies = module.studies()
        folder = root / "results" / name
        results = Results.read(folder) if folder.is_dir() else Results({})
        questions = {
            study: (inspect.getdoc(function) or "").partition("\n")[0]
            for study, function in study_functions(module).items()
        }
        return cls(name, studies, questions, results)

    @cached_property
    def groups(self) -> dict[str, Group]:
        return {n: Group.of(self.results, s) for n, s in self.studies.items()}

    @cached_property
    def whole(self) -> Group:
        tasks = experiments.tasks_of(self.studies.values())
        return Group.of(self.results, {"": tasks})

    @property
    def unused(self) -> int:
        """Records that no study of the chapter asks for."""
        return len(self.results.records) - len(self.whole.records)

    @property
    def page(self) -> str:
        """The page with its conditions, without suffix, relative to `book`."""
        return f"{Path(RESULTS).name}/{self.name}_records"

    def heading(self, root: Path = ROOT) -> str:
        """What its notebook calls the chapter, without the question after the colon."""
        path = root / "notebooks" / f"{self.name}.ipynb"
        if not path.is_file():
            return self.name.replace("_", " ").capitalize()
        first = nbformat.read(path, as_version=4).cells[0].source.partition("\n")[0]
        return first.lstrip("# ").partition(":")[0]


def anchor(page: str, chapter: str, study: str = "") -> str:
    """The label and the id of a chapter's or a study's heading on a page."""
    return make_id(f"{page} {chapter} {study}")


# --- What was measured ---------------------------------------------------------------


def significant(values: pd.Series) -> str:
    """ "0.01342 ± 0.0021": mean with four digits and sample standard deviation."""
    known = values.dropna().astype(float)
    if known.empty:
        return NONE
    mean, whole = known.mean(), (known % 1 == 0).all()
    text = f"{mean:,.0f}" if whole and mean % 1 == 0 and mean < 1e9 else f"{mean:.4g}"
    return f"{text} ± {known.std():.2g}" if len(known) > 1 and known.std() else text


def scalars(found: Sequence[Record]) -> dict[str, pd.Series]:
    """Every number that the records have one of, in the order of the records."""
    if isinstance(found[0], MeasurementRecord):
        rows = [record.values for record in found if hasattr(record, "values")]
        names = dict.fromkeys(name for row in rows for name in row)
        columns = {name: [row.get(name) for row in rows] for name in names}
        return {
            name: pd.Series(values, dtype=float)
            for name, values in columns.items()
            if all(isinstance(v, int | float | None) for v in values)
        }
    runs = records.load(found)
    return {
        f"{name}, %": 100 * runs[f"{name}_accuracy"].astype(float)
        for name in ("train", "validation", "test")
    } | {"diverged": (runs.status == "diverged").astype(float)}


def conditions(chapter: Chapter, study: str) -> pd.DataFrame:
    """One row of texts per condition: seeds, what was measured, where it comes from."""
    rows = {}
    for label, tasks in chapter.studies[study].items():
        group = Group.of(chapter.results, {label: tasks})
        row = {"seeds": group.number}
        if not group.records:
            rows[label] = row | {"made": "not yet"}
            continue
        for name, values in scalars(group.records).items():
            if name == "diverged":
                row[name] = f"{values.sum():.0f}"
            elif name.endswith("%"):
                row[name] = mean_and_std(values)
            else:
                row[name] = significant(values)
        rows[label] = row | {
            "took": group.took,
            "made": group.made,
            "commit": group.commits,
            "source": group.source,
        }
    last = ["took", "made", "commit", "source"]
    frame = pd.DataFrame.from_dict(rows, orient="index")
    order = [c for c in frame if c not in last] + [c for c in last if c in frame]
    return frame[order].fillna(NONE)


# --- Pages ---------------------------------------------------------------------------

EXPLANATION = """\
A record holds the checksum of those source files of the package that determine it: for
a training run the loop, the data, the recipe and the network, for a measurement the
files that its chapter names. *Source since* compares it with the files that this book
was built from. **The same** says that they are equal byte for byte. **Changed** says
that at least one of the files differs, be it in a comment, and not that the number
does: only running it again can tell. `git diff COMMIT -- src/papernets` shows what has
changed since. A commit with *+changes* had edits that were not committed when the
record was made.

Days are those on which the records were finished, in UTC. Times are those of single
runs and measurements, added up. A record may serve several studies and is then counted
in each of them.
"""


def overview(chapters: Sequence[Chapter], root: Path) -> Iterator[str]:
    """The page on all chapters, as lines of Markdown."""
    planned = sum(len(chapter.whole.tasks) for chapter in chapters)
    existing = [r for chapter in chapters for r in chapter.whole.records]
    days = [record.finished_at[:10] for record in existing]
    yield "# Results status"
    yield ""
    yield (
        f"The book asks for {planned:,} training runs and measurements. "
        f"{len(existing):,} of them have a record"
        + (f", made from {min(days)} to {max(days)}." if days else ".")
        + " Every number and figure of a chapter is computed from these records, or by "
        "what runs while the page is built. The records are files of the repository, "
        "and [one table to download](downloads.md)."
    )
    yield ""
    yield EXPLANATION
    for chapter in chapters:
        yield f"## {chapter.heading(root)}"
        yield ""
        yield f"[Every condition]({chapter.page}.md) with its seeds and what it gave."
        yield ""
        yield from account(chapter.whole)
        if chapter.unused:
            yield f"Another {chapter.unused:,} records belong to no study."
            yield ""
        rows = [
            [
                f"[{prose(study)}](#{anchor('records', chapter.name, study)})",
                group.number,
                group.made,
                group.took,
                group.source,
                group.commits,
            ]
            for study, group in chapter.groups.items()
        ]
        head = ["study", "records", "made", "took", "source since", "commits"]
        yield from table(head, rows, "llllll")


def account(group: Group) -> Iterator[str]:
    """The provenance of some records, as a list."""
    for name, text in group.provenance.items():
        if name == "source since" and (files := group.changed_files):
            text += f" ({files})"
        yield f"- {name}: {prose(text)}"
    yield ""


def remainder(group: Group, whole: Group) -> str:
    """What the provenance of a study says beyond that of its chapter, in one line."""
    known = whole.provenance
    parts = [
        f"{name}: {prose(text)}"
        for name, text in group.provenance.items()
        if name == "records" or text != known.get(name)
    ]
    return f"{'; '.join(parts)}."


def detail(chapter: Chapter, root: Path) -> Iterator[str]:
    """The page on the conditions of a chapter, as lines of Markdown."""
    yield f"# Records: {chapter.heading(root)}"
    yield ""
    yield (
        f"All studies of [the chapter](../../notebooks/{chapter.name}.ipynb), one row "
        "per condition: mean ± standard deviation over its seeds, and where the "
        "records come from. What the words mean is said on "
        "[the page on all results](../results_status.md). All records of the chapter:"
    )
    yield ""
    yield from account(chapter.whole)
    yield "A study names what differs from this list."
    yield ""
    for study, group in chapter.groups.items():
        yield f"({anchor('records', chapter.name, study)})="
        yield f"## {study}"
        yield ""
        yield prose(chapter.questions[study])
        yield ""
        yield remainder(group, chapter.whole)
        yield ""
        frame = conditions(chapter, study)
        rows = [[prose(str(label)), *row] for label, *row in frame.itertuples()]
        head = [name.replace("_", " ") for name in ("condition", *frame.columns)]
        first, *lines = table(head, rows)
        yield from (f"{first} conditions", *lines)
        lists = lists_of(group.records)
        if lists:
            yield f"Lists of numbers, not shown here: {prose(', '.join(lists))}."
            yield ""


def lists_of(found: Sequence[Record]) -> list[str]:
    """The values of measurements that are more than one number."""
    names: dict[str, Any] = {}
    for record in found:
        if isinstance(record, MeasurementRecord):
            names |= {n: v for n, v in record.values.items() if isinstance(v, list)}
    return list(names)


def found_text(chapters: Sequence[Chapter], root: Path) -> Iterator[str]:
    """The part of the front page on what was found, as lines of Markdown."""
    for chapter in chapters:
        link = f"[{chapter.heading(root)}](../notebooks/{chapter.name}.ipynb)"
        text = findings.finding(chapter.name, chapter.results)
        for breakable, kept in ((" %", "\xa0%"), (" ± ", "\xa0±\xa0")):
            text = text.replace(breakable, kept)
        yield (
            f"- **{link}.** {text} [{chapter.whole.number} records]({chapter.page}.md)."
        )


def read_chapters(root: Path) -> list[Chapter]:
    """All chapters of the package, in the order of the table of contents.

    Raises:
        RecordError: a record is bad.
    """
    pages = toc_pages(root)

    def place(name: str) -> int:
        page = f"notebooks/{name}"
        return pages.index(page) if page in pages else len(pages)

    return [Chapter.read(name, root) for name in sorted(CHAPTERS, key=place)]


def write(root: Path = ROOT) -> None:
    """Write all pages below `root`, those alone whose text has changed.

    Raises:
        RecordError: a record is bad.
    """
    chapters = read_chapters(root)
    book = root / "book"
    texts = {book / f"{c.page}.md": detail(c, root) for c in chapters}
    texts[root / f"{RESULTS}.md"] = overview(chapters, root)
    texts[root / FINDINGS] = found_text(chapters, root)
    write_changed(texts, root / RESULTS)


def write_changed(texts: Mapping[Path, Iterable[str]], folder: Path) -> None:
    """Write the texts that differ from their file; delete other pages of `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in set(folder.glob("*.md")) - set(texts):
        path.unlink()
    for path, lines in texts.items():
        text = "\n".join(lines).rstrip() + "\n"
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write()
