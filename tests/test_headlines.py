"""The headline numbers of every page, derived again from the files of the records.

What the package computes is not used here: JSON and the standard library give the
numbers, and each must stand on the front page, in the outputs of the committed notebook
and on the page of the chapter's records. Records that do not exist leave no number.
"""

import json
import re
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import made_records
import nbformat
import pytest
from made_records import runs_made

import build
import results_pages
from papernets import data
from papernets.experiments import (
    CHAPTERS,
    TIE_OF_SINGLE_SEEDS,
    Results,
    batch_norm_reports,
    exact_memorization,
    performance_reports,
    pi_net,
    survey_tables,
)

Records = Sequence[dict[str, Any]]
Headlines = dict[str, str]  # the number by what it is

ANSWERS: dict[str, Callable[[Results], str]] = {
    "pi_net": pi_net.report_answer,
    "batch_norm": batch_norm_reports.report_answer,
    "exact_memorization": exact_memorization.report_answer,
    "model_survey": survey_tables.report_answer,
    "performance": performance_reports.report_answer,
}


def number(values: Sequence[float | None], digits: int = 2) -> str:
    """ "70.13 ± 0.42"; "70.13" of a single value, "" of none."""
    known = [value for value in values if value is not None]
    if not known:
        return ""
    text = f"{statistics.mean(known):.{digits}f}"
    spread = f" ± {statistics.stdev(known):.{digits}f}" if len(known) > 1 else ""
    return text + spread


def percent(accuracy: float | None) -> float | None:
    return None if accuracy is None else 100 * accuracy


def runs(records: Records, model: str, **settings: Any) -> list[dict[str, Any]]:
    """The runs of a network with these settings of recipe, model or run."""
    found = []
    for record in records:
        if (run := record.get("run")) and run["model"] == model:
            known = run["recipe"] | run["model_args"] | {"dataset": run["dataset"]}
            if all(known.get(key) == value for key, value in settings.items()):
                found.append(record)
    return found


def accuracies_of(found: Records) -> list[float | None]:
    return [percent(record["test_accuracy"]) for record in found]


def validated(record: dict[str, Any]) -> float:
    """The validation accuracy that a choice is made by; a diverged run has none."""
    finished = record["status"] == "finished"
    return record["curves"]["validation_accuracy"][-1] if finished else 0.0


# Fields that recipes have got since the first records, as those records were made.
LATER = {"batch_parts": 1, "norm_batches": 0, "resize_to": 0, "sampling": "shuffle"}


def pi_net_headlines(records: Records) -> Headlines:
    article = {"name": "article", "epochs": 10, "precision": "fp32"}
    found = {
        name: number(accuracies_of(runs(records, "polynet", dataset=name, **article)))
        for name in ("mnist", "cifar10")
    }
    for join in ("product", "linear", "relu"):
        three = runs(records, "polynet", join=join, blocks=5, epochs=3)
        found[f"five blocks, {join}"] = number(accuracies_of(three))
    longer: dict[str, list[dict[str, Any]]] = {}
    for record in runs(records, "polynet", name="reliable"):
        run = record["run"]
        if run["recipe"]["epochs"] >= 10 and "join" not in run["model_args"]:
            condition = json.dumps([LATER | run["recipe"], run["model_args"]])
            longer.setdefault(condition, []).append(record)
    if longer:
        best = max(
            longer.values(),
            key=lambda made: statistics.mean(
                record["curves"]["validation_accuracy"][-1] for record in made
            ),
        )
        found["the best of the longer ones"] = number(accuracies_of(best))
    return found


def best_rate(found: Records) -> Records:
    """The runs at the learning rate with the highest mean validation accuracy."""
    rates: dict[float, list[dict[str, Any]]] = {}
    for record in found:
        rates.setdefault(record["run"]["recipe"]["lr"], []).append(record)
    return max(
        rates.values(),
        key=lambda made: statistics.mean(map(validated, made)),
        default=[],
    )


def batch_norm_headlines(records: Records) -> Headlines:
    found = {}
    for activation in ("sigmoid", "tanh", "relu"):
        wide = runs(records, "mlp10", activation=activation, width=100)
        plain = [r for r in wide if "initialisation" not in r["run"]["model_args"]]
        for norm in ("batch", "none"):
            part = [r for r in plain if r["run"]["model_args"]["norm"] == norm]
            found[f"{activation}, {norm}"] = number(accuracies_of(best_rate(part)))
        careful = runs(wide, "mlp10", initialisation="orthogonal")
        found[f"{activation}, orthogonal"] = number(accuracies_of(best_rate(careful)))
    return found


def values(records: Records, function: str, name: str, **settings: Any) -> list[float]:
    """What the measurements of a function gave whose settings are exactly these.

    A seed of 100 served the choice of a learning rate, and is not reported.
    """
    return [
        record["values"][name]
        for record in records
        if (measured := record.get("measurement"))
        and (measured["function"], measured["settings"]) == (function, settings)
        and measured["seed"] < 100
    ]


def exact_memorization_headlines(records: Records) -> Headlines:
    shape = {"a1": 400, "a2": 250}
    built = values(records, "headline", "built_seconds", **shape)
    bits = values(records, "precision", "bits_needed", points=10_000, **shape)
    found = {"seconds": number(built, 0), "bits": number(bits, 1)}
    rates = {"images": 1e-3, "small images": 3e-3, "line": 1e-2}
    for inputs, lr in rates.items():
        settings = {"a1": 10, "a2": 100, "share": 1.0, "evaluations": 2000, "lr": lr}
        settings |= {"optimizer": "Adam", "inputs": inputs, "targets": "random"}
        right = values(records, "learned", "right", **settings)
        found[f"Adam, {inputs}"] = number([100 * share for share in right], 1)
    return found


def model_survey_headlines(records: Records) -> Headlines:
    """The first and the last network at equal compute."""
    found: dict[str, list[dict[str, Any]]] = {}
    for record in records:
        recipe = record.get("run", {}).get("recipe", {})
        if (recipe.get("name"), recipe.get("epochs")) == ("common", 10):
            found.setdefault(record["run"]["model"], []).append(record)
    guess = 10.0  # percent, of a run that diverged
    accuracies = [
        [guess if value is None else value for value in accuracies_of(made)]
        for made in found.values()
    ]
    accuracies.sort(key=statistics.mean)
    if not accuracies:
        return {"first": "", "last": ""}
    return {"first": number(accuracies[-1]), "last": number(accuracies[0])}


def rates(records: Records, loop: str) -> dict[int, float]:
    """Images per second of ResNet-20 in a loop, by seed."""
    return {
        record["measurement"]["seed"]: statistics.median(
            record["values"]["images_per_second"]
        )
        for record in records
        if (measured := record.get("measurement"))
        and measured["function"] == "loop_speed"
        and measured["settings"]["model"] == "resnet20"
        and measured["settings"]["loop_name"] == loop
    }


def performance_headlines(records: Records) -> Headlines:
    own = [rates(records, f"ours-{kind}") for kind in ("fp32", "bf16", "compiled")]

    def against(other: str, ours: dict[int, float]) -> list[float]:
        theirs = rates(records, other)
        return [ours[seed] / theirs[seed] for seed in ours if seed in theirs]

    found = {}
    if made := [ours for ours in own if against("plain-0", ours)]:
        best = max(made, key=lambda ours: statistics.mean(against("plain-0", ours)))
        for other in ("plain-0", "lightning"):
            found[f"against {other}"] = number(against(other, best))
    read = values(records, "many_records", "read_seconds", records_number=100_000)
    return found | {"100,000 records": number(read)}


HEADLINES: dict[str, Callable[[Records], Headlines]] = {
    "pi_net": pi_net_headlines,
    "batch_norm": batch_norm_headlines,
    "exact_memorization": exact_memorization_headlines,
    "model_survey": model_survey_headlines,
    "performance": performance_headlines,
}
# On the page of records these have more digits, or are no ratios.
ROUNDED = {
    *("seconds", "bits", "against plain-0", "against lightning", "100,000 records")
} | {name for name in exact_memorization_headlines([]) if name.startswith("Adam")}


def stands_in(text: str, figure: str) -> bool:
    """Whether a number is there, and not as a part of a longer one."""
    plain = text.replace("\xa0", " ")
    return bool(re.search(rf"(?<![\d.]){re.escape(figure)}(?!\d|\.\d| ±)", plain))


def missing(headlines: Headlines, text: str) -> list[str]:
    """The headline numbers that a text does not have."""
    return [
        f"{name}: {figure}"
        for name, figure in headlines.items()
        if figure and not stands_in(text, figure)
    ]


def outputs(path: Path) -> str:
    """All text that the cells of a committed notebook display."""
    parts = []
    for cell in nbformat.read(path, as_version=4).cells:
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            parts += [data.get("text/markdown", ""), data.get("text/html", "")]
            parts.append(output.get("text", ""))
    return "\n".join(parts)


def of_chapter(records: Records, chapter: str) -> Records:
    tasks = (r.get("run") or r["measurement"] for r in records)
    pairs = zip(records, tasks, strict=True)
    return [record for record, task in pairs if task["experiment"] == chapter]


COMMITTED = made_records.contents(build.ROOT)


def test_every_chapter_has_headlines() -> None:
    assert set(HEADLINES) == set(ANSWERS) == set(CHAPTERS)
    found = sum(
        bool(figure)
        for name in CHAPTERS
        for figure in HEADLINES[name](of_chapter(COMMITTED, name)).values()
    )
    assert found > 10


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pages that are written from the committed records."""
    root = tmp_path_factory.mktemp("pages")
    for name in ("_toc.yml", "results", "notebooks"):
        (root / name).symlink_to(build.ROOT / name)
    results_pages.write(root)
    return root / "book"


def line_of(text: str, chapter: str) -> str:
    """What the front page says about a chapter."""
    [line] = [x for x in text.splitlines() if f"(../notebooks/{chapter}.ipynb)" in x]
    return line


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_front_page(pages: Path, chapter: str) -> None:
    headlines = HEADLINES[chapter](of_chapter(COMMITTED, chapter))
    line = line_of((pages / "findings.md").read_text(), chapter)
    assert missing(headlines, line) == []


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_page_of_records(pages: Path, chapter: str) -> None:
    headlines = HEADLINES[chapter](of_chapter(COMMITTED, chapter))
    for name in ROUNDED.intersection(headlines):
        del headlines[name]
    page = pages / "results_status" / f"{chapter}_records.md"
    assert missing(headlines, page.read_text()) == []


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_committed_notebook(chapter: str) -> None:
    """If it fails after new records were made: `make notebooks` executes anew."""
    headlines = HEADLINES[chapter](of_chapter(COMMITTED, chapter))
    shown = outputs(build.ROOT / "notebooks" / f"{chapter}.ipynb")
    assert missing(headlines, shown) == []
    results = Results.read(build.ROOT / "results" / chapter)
    assert f"**Answer.** {ANSWERS[chapter](results)}\n\n{results.cost()}" in shown


# --- That a mismatch is found ---------------------------------------------------------


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_another_record_gives_another_number(pages: Path, chapter: str) -> None:
    """Every headline number changes with the records that it comes from."""
    records = json.loads(json.dumps(of_chapter(COMMITTED, chapter)))
    before = HEADLINES[chapter](records)
    for record in records:
        if "run" in record and record["test_accuracy"] is not None:
            record["test_accuracy"] *= 0.9
        for name in ("right", "built_seconds", "bits_needed", "read_seconds"):
            value = record.get("values", {}).get(name)
            if isinstance(value, int | float):
                record["values"][name] = 0.9 * value
        settings = record.get("measurement", {}).get("settings", {})
        speeds = record.get("values", {}).get("images_per_second", [])
        if settings.get("loop_name") in ("plain-0", "lightning"):
            record["values"]["images_per_second"] = [0.9 * speed for speed in speeds]
    after = HEADLINES[chapter](records)
    changed = {name for name, figure in before.items() if figure}
    assert {name for name in before if after[name] != before[name]} == changed
    line = line_of((pages / "findings.md").read_text(), chapter)
    assert len(missing(after, line)) == len(changed)


def test_headlines_of_made_records(tmp_path: Path) -> None:
    """The front page and the derivation agree where the chapter has few records."""
    made_records.write_book(tmp_path)
    joins = pi_net.joins()
    found = [
        *runs_made(pi_net.article()["MNIST"], 0.9871, 0.9853),
        *runs_made(joins["product, 5 blocks"], 0.7123, 0.7011, 0.7239),
        *runs_made(joins["one branch: linear, 5 blocks"], 0.4011),
        *runs_made(joins["one branch, ReLU, 5 blocks"], 0.6917),
    ]
    made_records.write(found, tmp_path)
    results_pages.write(tmp_path)
    headlines = pi_net_headlines(made_records.contents(tmp_path))
    line = line_of((tmp_path / "book/findings.md").read_text(), "pi_net")
    assert headlines["mnist"] == "98.62 ± 0.13"
    assert headlines["cifar10"] == ""
    missing_ones = missing(headlines, line)
    assert missing_ones == ["mnist: 98.62 ± 0.13"]  # its sentence waits for CIFAR-10
    assert "The article's figures: not run yet." in line


@pytest.mark.parametrize(
    ("text", "there"),
    [
        ("reaches 70.13 ± 0.42 %.", True),
        ("reaches 70.13\xa0±\xa00.42\xa0%.", True),
        ("reaches 170.13 ± 0.42 %.", False),
        ("reaches 70.13 ± 0.421 %.", False),
        ("reaches 70.13 %.", False),
        ("reaches 70.14 ± 0.42 %.", False),
    ],
)
def test_a_number_is_recognised(text: str, there: bool) -> None:
    assert stands_in(text, "70.13 ± 0.42") == there
    assert not stands_in("70.13 ± 0.42", "70.13")


# --- Numbers that are typed -----------------------------------------------------------

# A percentage with decimals or a spread is measured, and such numbers are computed.
TYPED = re.compile(r"\d+\.\d+\s*%|\d+\s*±\s*\d+")
ONES = "11.35 %"  # of MNIST's test images, which is no measurement


def typed_numbers(text: str) -> list[str]:
    return [match[0] for match in TYPED.finditer(text) if match[0] != ONES]


def prose() -> dict[str, str]:
    """What people wrote for the book's pages: Markdown files and cells."""
    names = build.toc_pages(build.ROOT)
    written = {"README": (build.ROOT / "README.md").read_text()}
    for name in names:
        path = build.ROOT / f"{name}.md"
        if path.is_file() and not name.startswith(build.GENERATED):
            written[name] = path.read_text()
    for path in (build.ROOT / "notebooks").glob("*.ipynb"):
        cells = nbformat.read(path, as_version=4).cells
        text = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
        written[path.stem] = text
    return written


def test_no_measured_number_is_typed() -> None:
    pages = prose()
    assert {"README", "book/index", "pi_net"} <= set(pages)
    found = {name: typed_numbers(text) for name, text in pages.items()}
    assert {name: numbers for name, numbers in found.items() if numbers} == {}


def test_typed_numbers_are_found() -> None:
    text = "It reaches 70.1 % or 3 ± 1, about 70 %, in 0.5 s."
    assert typed_numbers(text) == ["70.1 %", "3 ± 1"]


@pytest.mark.real_data
def test_share_of_ones() -> None:
    labels = data.load("mnist").test.labels
    assert f"{100 * (labels == 1).double().mean().item():.2f} %" == ONES


def test_protocol_states_the_data_sets_as_they_are() -> None:
    page = (build.ROOT / "book/how_we_measure.md").read_text()
    cells = [line[2:-2].split(" | ") for line in page.splitlines() if line[:2] == "| "]
    names = {"MNIST": "mnist", "CIFAR-10": "cifar10", "digits": "digits"}
    compared = 0
    for first, *numbers in cells:
        if (name := names.get(first.split(" ")[0])) is None:
            continue
        source = data.SOURCES[name]
        sizes = source.training - source.validation, source.validation, source.test
        pixels = (
            ", ".join(f"{value:.4f}" for value in values)
            for values in (source.mean, source.std)
        )
        shown = [f"{size:,}" for size in sizes] if len(numbers) == 3 else list(pixels)
        assert numbers == shown
        compared += 1
    assert compared == 5
    assert f"a spread of {TIE_OF_SINGLE_SEEDS} points" in page
