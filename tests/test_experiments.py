"""Chapters: their grids, their tables, and running a grid side by side."""

import json
import multiprocessing
import os
import signal
import statistics
import subprocess
import sys
import types
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from slurm_cluster import wait_until

from papernets import experiments, records
from papernets.data import DataError
from papernets.experiments import Results, pi_net
from papernets.parallel import LostProcessError
from papernets.provenance import source_checksum
from papernets.recipes import Recipe
from papernets.records import Measurement, RecordError


def test_grids_hold_each_run_once_and_the_first_seeds_first() -> None:
    for preset in ("quick", "paper"):
        studies = experiments.chapter("pi_net").studies(preset)
        runs = experiments.tasks_of(studies.values())
        assert len({run.key for run in runs}) == len(runs) > 20
    one = experiments.tasks_of([pi_net.cure()])
    assert [run.seed for run in one] == sorted(run.seed for run in one)


def test_every_condition_differs_only_in_its_seeds() -> None:
    for study in pi_net.studies().values():
        for label, runs in study.items():
            assert [run.seed for run in runs] == list(range(len(runs)))
            assert len({replace(run, seed=0).key for run in runs}) == 1, label
        assert len({runs[0].key for runs in study.values()}) == len(study)


def test_quick_preset_is_small() -> None:
    for study in pi_net.studies("quick").values():
        for run in experiments.tasks_of([study]):
            assert (run.dataset, run.recipe.epochs, run.seed) == ("digits", 2, 0)


def tiny_study() -> experiments.Study:
    study = pi_net.studies("quick")["joins"]
    runs = dict(list(study.items())[:3])
    return {
        label: [replace(r, seed=s) for r in seeds for s in range(2)]
        for label, seeds in runs.items()
    }


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    folder = tmp_path_factory.mktemp("records")
    runs = experiments.tasks_of([tiny_study()])
    made = list(experiments.execute_all(runs, folder, jobs=2))
    assert {r.run.key for r in made} == {run.key for run in runs}
    assert all(record.threads == 1 for record in made)
    return Results.read(folder)


def test_side_by_side_gives_the_same_records(results: Results, tmp_path: Path) -> None:
    run = experiments.tasks_of([tiny_study()])[0]
    (alone,) = experiments.execute_all([run], tmp_path, threads=1)
    assert alone.outcome() == results.records[run.key].outcome()


def test_summary_is_mean_and_sample_deviation(results: Results) -> None:
    study = tiny_study()
    summary = results.summary(study)
    assert list(summary.index) == list(study)
    label, runs = next(iter(study.items()))
    accuracies = [results.records[r.key].test_accuracy for r in runs]
    mean, half = 50 * sum(accuracies), 50 * abs(accuracies[0] - accuracies[1])
    assert summary.test[label] == f"{mean:.2f} ± {half * 2**0.5:.2f}"
    assert (summary.seeds[label], summary.diverged[label]) == ("2 of 2", "0")


def test_curves_carry_their_condition(results: Results) -> None:
    curves = results.curves(tiny_study())
    assert len(curves) == 3 * 2 * 2
    assert set(curves.groupby(["condition", "seed"]).size()) == {2}


def test_missing_records_are_named(results: Results) -> None:
    study = tiny_study()
    label, runs = next(iter(study.items()))
    some = Results({k: r for k, r in results.records.items() if k != runs[0].key})
    assert some.missing(study) == [runs[0]]
    assert some.summary(study).seeds[label] == "1 of 2"
    without = Results({r.key: results.records[r.key] for r in list(study.values())[1]})
    assert label not in without.of(study)
    row = without.summary(study).loc[label]
    assert (row.seeds, row.test, row.train) == ("0 of 2", "not run yet", "-")
    assert set(Results({}).summary(study).test) == {"not run yet"}
    with pytest.raises(RecordError, match=f"{runs[0].file_name}.*papernets run pi_net"):
        Results({}).table(study)


def test_mean_and_std_of_few_values() -> None:
    def of(*values: float | None) -> str:
        return experiments.mean_and_std(pd.Series(values, dtype=float))

    assert of(1, 2, 3) == "2.00 ± 1.00"
    assert of(70.126) == "70.13"
    assert of(None, 1, 3) == "2.00 ± 1.41"
    assert of(None) == of() == "-"


@pytest.mark.parametrize(
    ("values", "reference", "expected"),
    [
        ([70, 71], [60, 60], "10.5 points higher"),
        ([60, 60], [70, 71], "10.5 points lower"),
        ([70, 74], [71, 73], "a tie"),
        ([70, 78], [72, 70], "a tie"),
        ([70.2], [70], "a tie"),
        ([70.4], [70], "0.4 points higher"),
        ([60], [70, 71], "10.5 points lower"),
        ([70.2], [70, 70.1], "a tie"),
        ([70, 70.1], [70.2], "a tie"),
        ([70.5], [70, 70.2], "0.4 points higher"),
    ],
)
def test_smaller_differences_than_the_spread_are_ties(
    values: list[float], reference: list[float], expected: str
) -> None:
    assert experiments.compare(pd.Series(values), pd.Series(reference)) == expected


@pytest.mark.parametrize("name", experiments.CHAPTERS)
def test_every_measurement_finds_its_function_and_its_sources(name: str) -> None:
    """As `experiments.measure` looks for them, also of chapters without a page."""
    for preset in ("paper", "quick"):
        for study in experiments.chapter(name).studies(preset).values():
            for task in experiments.tasks_of([study]):
                assert task.experiment == name
                if isinstance(task, Measurement):
                    module = experiments.chapter(task.experiment)
                    assert callable(getattr(module, task.function))
                    assert source_checksum(module.SOURCES)


def test_committed_records_are_whole() -> None:
    """Every committed record is valid, at its place, and asked for by its chapter."""
    for name in experiments.CHAPTERS:
        chapter = experiments.chapter(name)
        wanted = {t.key: t for t in experiments.tasks_of(chapter.studies().values())}
        folder = Path(__file__).parents[1] / "results" / name
        for record in records.read_all(folder) if folder.exists() else ():
            task = record.task
            assert task == wanted[task.key], f"{task.file_name} is in no study"
            assert (folder / task.file_name).exists()
            assert not (record.git_commit or "").endswith("+changes")
            if isinstance(record, records.RunRecord):
                assert record.status == "diverged" or (
                    len(record.curves.train_loss) == record.run.recipe.epochs
                )
            expected = checksum(task.dataset) if task.dataset else None
            assert record.data_sha256 == expected


def test_every_chapter_with_a_notebook_has_records() -> None:
    root = Path(__file__).parents[1]
    for notebook in (root / "notebooks").glob("*.ipynb"):
        assert records.read_all(root / "results" / notebook.stem), notebook.stem


def committed(study: experiments.Study, condition: str, outcome: str) -> str:
    """Mean and deviation of a condition, from the JSON files and nothing else."""
    return in_words(values_of(study, condition, outcome))


def values_of(study: experiments.Study, condition: str, outcome: str) -> list[float]:
    folder = Path(__file__).parents[1] / "results" / "pi_net"
    files = [folder / run.file_name for run in study[condition]]
    return [100 * json.loads(f.read_text())[outcome] for f in files if f.exists()]


def in_words(values: list[float]) -> str:
    mean = f"{statistics.mean(values):.2f}"
    return mean + (f" ± {statistics.stdev(values):.2f}" if len(values) > 1 else "")


def test_products_are_judged_at_every_depth() -> None:
    study, numbers = pi_net.joins(), {}
    for other in ("one branch: linear", "one branch, ReLU"):
        for blocks in ("1 block", "2 blocks", "3 blocks", "4 blocks", "5 blocks"):
            product, reference = (
                values_of(study, f"{join}, {blocks}", "test_accuracy")
                for join in ("product", other)
            )
            difference = statistics.mean(product) - statistics.mean(reference)
            spread = max(map(statistics.stdev, (product, reference)))
            verdict = (difference > spread) - (difference < -spread)
            numbers.setdefault((other, verdict), []).append(blocks[0])
    assert numbers == {
        ("one branch: linear", 1): ["1", "2", "3", "4", "5"],
        ("one branch, ReLU", -1): ["1", "2"],
        ("one branch, ReLU", 0): ["3", "4"],
        ("one branch, ReLU", 1): ["5"],
    }
    results = Results.read(Path(__file__).parents[1] / "results" / "pi_net")
    expected = (
        "Products by the number of blocks: against the linear network higher with 1, "
        "2, 3, 4 and 5; against ReLU higher with 5, tied with 3 and 4, lower with 1 "
        "and 2."
    )
    assert pi_net.report_depths(results) == expected
    assert expected in pi_net.report_answer(results)
    few = {r.run.key: r for r in results.of(study)["product, 5 blocks"]}
    assert pi_net.report_depths(Results(few)) == (
        "Products by the number of blocks: against the linear network not run yet; "
        "against ReLU not run yet."
    )


def test_sentences_of_the_pi_net_chapter_follow_from_its_records() -> None:
    folder = Path(__file__).parents[1] / "results" / "pi_net"
    results = Results.read(folder)
    text = pi_net.report_article(results)
    for condition in ("MNIST", "CIFAR-10"):
        expected = committed(pi_net.article(), condition, "test_accuracy")
        assert f"**{expected} %**" in text
    text = pi_net.report_joins(results)
    answer = pi_net.report_answer(results)
    for blocks in range(1, 6):
        label = f"product, {blocks} block{'s' if blocks > 1 else ''}"
        expected = committed(pi_net.joins(), label, "test_accuracy")
        assert f"product {expected} %" in text
    for label in ("one branch: linear", "one branch, ReLU", "product"):
        expected = committed(pi_net.joins(), f"{label}, 5 blocks", "test_accuracy")
        assert f"{expected} %" in answer
    best = pi_net.best_condition(results.table(pi_net.cure()))
    expected = committed(pi_net.cure(), best, "test_accuracy")
    assert f"**{expected} %**" in pi_net.report_cure(results)
    assert f"reach {expected} %" in answer
    label = "article's recipe, bf16"
    assert committed(pi_net.long(), label, "test_accuracy") in pi_net.report_long(
        results
    )
    text = pi_net.report_details(results)
    assert text.startswith(f"Against *{label}*")
    for label in list(pi_net.details())[1:]:
        if label in results.of(pi_net.details()):
            assert f"- {label}: {last_validation(pi_net.details(), label)} %" in text
        else:
            assert f"- {label}: not run yet." in text


def last_validation(study: experiments.Study, condition: str) -> str:
    """Validation accuracy at the last epoch, as `committed`."""
    folder, values = Path(__file__).parents[1] / "results" / "pi_net", []
    for run in study[condition]:
        if (file := folder / run.file_name).exists():
            curves = json.loads(file.read_text())["curves"]
            values.append(100 * curves["validation_accuracy"][-1])
    return in_words(values)


def test_no_sentence_is_made_of_missing_records() -> None:
    assert pi_net.report_ablation(Results({})).endswith("was not run yet.")
    assert "not been compared yet" in pi_net.report_residual(Results({}))
    with pytest.raises(RecordError, match="papernets run pi_net"):
        pi_net.report_cure(Results({}))


def checksum(dataset: str) -> str:
    from papernets.data import SOURCES

    return SOURCES[dataset].sha256


def test_unknown_chapter() -> None:
    with pytest.raises(ValueError, match="no chapter 'x'; there are pi_net"):
        experiments.chapter("x")


def test_a_worker_that_fails_stops_the_grid(tmp_path: Path) -> None:
    bad = replace(experiments.tasks_of([tiny_study()])[0], dataset="nothing")
    with pytest.raises(DataError, match="no data set 'nothing'"):
        list(experiments.execute_all([bad] * 2, tmp_path, jobs=2))


GRID = [
    replace(
        experiments.tasks_of([tiny_study()])[0],
        model="mlp10",
        model_args={"width": 8},
        recipe=Recipe(name="r", epochs=2000, batch_size=128, lr=0.05),
        seed=seed,
    )
    for seed in range(5)
]


def test_a_killed_worker_is_one_sentence(tmp_path: Path) -> None:
    with ThreadPoolExecutor(1) as pool:
        grid = pool.submit(list, experiments.execute_all(GRID, tmp_path, jobs=2))
        wait_until(lambda: list(tmp_path.rglob("*.pt")))
        os.kill(multiprocessing.active_children()[0].pid or 0, signal.SIGKILL)
        with pytest.raises(LostProcessError, match=r"a process was killed, .* --jobs$"):
            grid.result()
    assert not multiprocessing.active_children()


def test_an_interruption_waits_for_no_run(tmp_path: Path) -> None:
    """The one that is finished has its record, the others have none."""
    short = replace(GRID[0], recipe=GRID[0].recipe.but(epochs=1))
    grid = experiments.execute_all([short, *GRID], tmp_path, jobs=2)
    assert next(iter(grid)).task == short
    with pytest.raises(KeyboardInterrupt):
        grid.throw(KeyboardInterrupt)  # type: ignore[attr-defined]
    assert not multiprocessing.active_children()
    assert [record.task for record in records.read_all(tmp_path)] == [short]


@pytest.mark.parametrize(
    ("sent", "status", "message"),
    [
        (signal.SIGINT, 130, "interrupted; the same command continues the run\n"),
        (signal.SIGTERM, 143, "terminated; the same command continues the run\n"),
    ],
)
def test_ctrl_c_ends_the_whole_grid(
    sent: signal.Signals, status: int, message: str, tmp_path: Path
) -> None:
    """As a terminal sends it: to all processes at once."""
    command = [sys.executable, "-m", "papernets.cli", "run", "batch_norm", "--jobs"]
    process = subprocess.Popen(
        [*command, "2", "--out", str(tmp_path)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # Where the tests run in the background, the shell has it ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    wait_until(lambda: list(tmp_path.rglob("*.pt")))
    os.killpg(process.pid, sent)
    _, errors = process.communicate(timeout=60)  # until the last process has ended
    assert (errors, process.returncode) == (message, status)
    assert not [file for file in tmp_path.rglob(".*") if file.is_file()]


def test_processes_take_the_gpus_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[int] = []
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.setattr("torch.cuda.set_device", taken.append)
    started = multiprocessing.get_context("spawn").Value("i", 0)
    for device in ("cuda", "cuda", "cuda:1", "cpu", "cuda"):
        experiments.start_worker(1, device, started)
    assert taken == [0, 1, 0]


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """A chapter of one measurement, which counts its calls."""
    module = types.ModuleType("papernets.experiments.toy")
    module.SOURCES = ("records.py",)  # type: ignore[attr-defined]
    module.calls = []  # type: ignore[attr-defined]

    def pixels(data, *, seed: int, channel: int) -> dict:
        module.calls.append(seed)
        return {"pixels": data.train.images[:, channel].numel(), "seed_seen": seed}

    module.pixels = pixels  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(experiments, "CHAPTERS", (*experiments.CHAPTERS, "toy"))
    return module


def test_a_measurement_is_made_once(toy: types.ModuleType, tmp_path: Path) -> None:
    study = {
        "pixels": [
            Measurement(
                experiment="toy",
                function="pixels",
                settings={"channel": 0},
                dataset="digits",
                seed=seed,
            )
            for seed in range(2)
        ]
    }
    tasks = experiments.tasks_of([study])
    first = list(experiments.execute_all(tasks, tmp_path))
    assert list(experiments.execute_all(tasks, tmp_path)) == first
    assert toy.calls == [0, 1]
    assert first[0].data_sha256 == checksum("digits")
    assert first[0].source_sha256 == source_checksum(toy.SOURCES)
    results = Results.read(tmp_path)
    assert results.missing(study) == []
    table = results.table(study)
    assert list(table.condition) == ["pixels"] * 2
    assert list(table.pixels) == [1257 * 64] * 2
    assert list(table.seed) == list(table.seed_seen) == [0, 1]


def test_a_file_in_place_of_the_folder_is_found_before_the_work(
    toy: types.ModuleType, tmp_path: Path
) -> None:
    task = Measurement(
        experiment="toy", function="pixels", settings={"channel": 0}, dataset="digits"
    )
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="file is not a folder; give another one"):
        experiments.measure(task, tmp_path / "file")
    assert toy.calls == []


def test_an_empty_study_of_measurements_names_the_command(
    toy: types.ModuleType,
) -> None:
    task = Measurement(experiment="toy", function="pixels", settings={})
    with pytest.raises(RecordError, match="papernets run toy"):
        Results({}).table({"pixels": [task]})
