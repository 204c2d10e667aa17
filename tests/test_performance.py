"""The performance chapter: its programs, and what is computed from their records."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch
from test_records import make

import build
from papernets import plots, provenance
from papernets.data import load
from papernets.experiments import Results, performance, tasks_of
from papernets.experiments import performance_reports as reports
from papernets.records import Measurement, MeasurementRecord

LOOPS = build.ROOT / "benchmarks" / "loops.py"


def measured(task: Measurement, **values: object) -> MeasurementRecord:
    origin = {
        name: getattr(make(), name) for name in MeasurementRecord.__dataclass_fields__
        if name not in ("measurement", "values")
    }  # fmt: skip
    return MeasurementRecord(measurement=task, values=values, **origin)


def test_the_program_of_the_loops_is_where_the_chapter_looks_for_it() -> None:
    assert (provenance.PACKAGE / performance.LOOPS_PROGRAM).resolve() == LOOPS
    loops = subprocess.run(
        [sys.executable, str(LOOPS), "no-loop", "mlp10"], capture_output=True, text=True
    ).stderr
    for name in (*performance.LOOPS, "no-loop"):
        assert name in loops


@pytest.mark.real_data
@pytest.mark.parametrize("loop", ["plain-0", "plain-2", "ours-fp32", "ours-bf16"])
def test_loops_train_as_many_images_as_they_are_told(loop: str) -> None:
    found = performance.loop_speed(
        seed=0, model="mlp10", loop_name=loop, images=512, epochs=2, threads=1
    )
    assert len(found["images_per_second"]) == 1
    assert found["images_per_second"][0] > 0
    assert found["memory_mb"] > 100


@pytest.mark.real_data
@pytest.mark.parametrize("loop", ["plain-0", "ours-fp32"])
def test_loops_learn_the_same(loop: str) -> None:
    """The time to an accuracy compares loops only if they get there."""
    command = [sys.executable, str(LOOPS), loop, "mlp10", "--threads", "1"]
    done = subprocess.run(
        [*command, "--images", "5120", "--until", "0.7", "--epochs", "5"],
        capture_output=True,
        check=True,
        text=True,
    )
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["accuracies"][-1] >= 0.7
    assert all(accuracy < 0.7 for accuracy in found["accuracies"][:-1])
    assert len(found["seconds"]) == len(found["accuracies"])


def test_a_failed_loop_says_why() -> None:
    with pytest.raises(ValueError, match=r"failed: .*no-model"):
        performance.loop_speed(
            seed=0,
            model="no-model",
            loop_name="ours-fp32",
            images=1,
            epochs=1,
            threads=1,
        )


def test_growth_is_measured_with_real_runs() -> None:
    assert performance.many_runs(seed=0, runs=2, jobs=1)["records"] == 2
    found = performance.many_records(seed=0, records_number=7)
    assert (found["rows"], found["epochs"]) == (7, 70)
    assert found["read_seconds"] > 0
    values = performance.ceiling(seed=0, threads=1, size=64)
    assert values["fp32"] > 1e6
    threads = torch.get_num_threads()
    performance.ceiling(seed=0, threads=threads + 1, size=8)
    assert torch.get_num_threads() == threads


def test_training_time_trains_what_it_is_told(monkeypatch) -> None:
    seen = []
    monkeypatch.setattr(
        performance.training,
        "fit",
        lambda model, data, recipe, **_: seen.append((len(data.train), recipe.epochs)),
    )
    digits = load("digits")
    performance.training_time(digits, seed=0, images=50, epochs=3, width=4)
    assert seen == [(50, 3)]


@pytest.fixture(scope="module")
def results() -> Results:
    """Loop number i is i + 1 times as fast as the plain one, on every network."""
    made = []
    for label, tasks in performance.speed().items():
        factor = 1 + performance.LOOPS.index(label.split(", ")[1])
        for task in tasks:
            rate = 100.0 * factor * (1 + task.seed)
            made.append(
                measured(
                    task,
                    images_per_second=[rate, rate],
                    first_seconds=1.0,
                    memory_mb=10.0,
                )
            )
    for tasks in performance.target().values():
        made += [
            measured(t, seconds_needed=5.0 if t.seed else None, epochs_needed=1)
            for t in tasks
        ]
    for task in tasks_of([performance.machine()]):
        made.append(measured(task, fp32=1e11, bf16=1e12))
    return Results({record.task.key: record for record in made})


def test_ratios_are_those_of_the_same_seed(results: Results) -> None:
    table = reports.speed_table(results, "resnet20")
    assert list(table.ratio) == [f"{factor}.00 ± 0.00" for factor in range(1, 7)]
    # 41 M multiply-adds, six operations each in training, 200 images a second.
    part = 100 * 6 * reports.multiply_adds("resnet20") * 200 / 1e11
    assert table["of the ceiling (%)"].iloc[0].startswith(f"{part:.1f} ±")
    text = reports.report_speed(results)
    assert "compiled is **6.00 ± 0.00 times** as fast as the plain loop" in text
    assert "2.00 ± 0.00 times as fast as PyTorch Lightning" in text
    assert "times was the goal: reached" in text
    assert reports.reached(pd.Series([2.8, 2.9]), 3.0) == "missed"
    assert reports.reached(pd.Series([2.8, 3.1]), 3.0) == "within the spread"
    assert reports.reached(pd.Series([2.8]), 3.0) == "missed"


def test_targets_that_were_missed_are_counted(results: Results) -> None:
    cell = reports.target_table(results).iloc[0, 0]
    assert cell == "5.0 ± 0.0 (2 of 3 reached it)"


def test_nothing_run_is_said_so() -> None:
    nothing = Results({})
    assert "not run yet" in reports.report_speed(nothing)
    assert (reports.speed_table(nothing, "mlp10")["images/s"] == "not run yet").all()
    assert (reports.target_table(nothing) == "not run yet").all(axis=None)
    assert reports.scaling_frame(nothing).empty
    for report in (
        reports.report_answer,
        reports.report_scaling,
        reports.report_builds,
        reports.report_machine,
        reports.report_target,
    ):
        assert "not run yet" in report(nothing)


def test_a_fleet_is_no_faster_than_its_longest_run() -> None:
    table = reports.fleet_table()
    most = table[table.accelerators == 64]
    assert (most.hours == most["longest run (hours)"]).all()
    assert table["accelerator-hours"].nunique() == len(reports.SUSTAINED)


def test_the_engine_takes_the_steps_of_a_plain_loop() -> None:
    assert reports.live(steps=2) < 1e-3


def test_storage_is_that_of_weights_moments_and_epochs(tmp_path: Path) -> None:
    run = next(run for run in reports.full_survey() if run.model == "resnet110")
    assert reports.checkpoint_bytes(run) == 8 * 1_727_962
    example = make()
    short, long = (reports.record_bytes(example, n) for n in (10, 110))
    assert long > short > len(example.curves.train_loss)
    assert reports.record_bytes(example, 210) - long == pytest.approx(long - short)
    assert "The checkpoints of 64 runs at once are at most" in reports.report_fleet(
        example
    )


def test_scaling_has_a_line_for_every_quantity() -> None:
    made = [
        measured(
            task,  # of the first seed with a cold start
            training_seconds=2.0 * float(task.settings["epochs"])
            + 100 * (task.seed == 0),
        )
        for task in tasks_of([performance.growth()])
    ]
    made += [
        measured(task, total_seconds=float(task.settings["runs"]))
        for task in tasks_of([performance.runs()])
    ]
    made += [
        measured(task, read_seconds=1.0, tabulate_seconds=0.5)
        for task in tasks_of([performance.tables()])
    ]
    results = Results({record.task.key: record for record in made})
    frame = reports.scaling_frame(results)
    quantities = ["epochs", "images", "multiply-adds", "runs", "records"]
    assert list(dict.fromkeys(frame.quantity)) == quantities
    text = reports.report_scaling(results)
    assert "- 8 times the epochs: 8.0 times the seconds, up to 16.0 s." in text
    assert "- 100 times the records (read): 1.0 times the seconds" in text
    assert len(plots.scaling(frame).axes) == 6


def test_figures_of_loops(results: Results) -> None:
    figure = plots.speed_ratios(
        reports.ratios(results).replace({"loop": reports.LABELS}),
        "plain loop, no workers",
    )
    names = [text.get_text() for text in figure.axes[0].get_yticklabels()]
    assert names == list(performance.IMAGES)
    shares = pd.DataFrame({"label": ["a", "b"], "linear": [40, 100], "rest": [60, 0]})
    bars = plots.time_shares(shares).axes[0].patches
    assert sorted(bar.get_width() for bar in bars) == [0, 40, 60, 100]


def test_every_study_can_be_made(tmp_path: Path) -> None:
    for tasks in performance.studies().values():
        for task in tasks_of([tasks]):
            assert isinstance(task, Measurement)
            assert callable(getattr(performance, task.function))


def test_threads_of_a_timed_program_wait_as_the_libraries_have_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "shown.py"
    program.write_text(
        "import json, os\nprint(json.dumps({'set': os.environ.get('OMP_WAIT_POLICY')}))"
    )
    monkeypatch.setenv("OMP_WAIT_POLICY", "PASSIVE")
    monkeypatch.setattr(performance, "in_checkout", lambda _: program)
    assert performance.loop() == {"set": None}


def test_an_accuracy_that_no_pair_reaches_is_said_so(results: Results) -> None:
    made = {
        key: replace(record, values=record.values | {"seconds_needed": None})
        if getattr(record.task, "function", "") == "loop_target"
        else record
        for key, record in results.records.items()
    }
    text = reports.report_target(Results(made))
    assert "with no seed do both" in text
