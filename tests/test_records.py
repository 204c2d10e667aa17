"""Run records: identity, validation, atomic writing, merging."""

import dataclasses
import errno
import json
import math
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from papernets import records
from papernets.recipes import Recipe
from papernets.records import (
    Curves,
    Measurement,
    MeasurementRecord,
    Provenance,
    RecordError,
    Run,
    RunRecord,
)

RECIPE = Recipe(name="r", epochs=2, batch_size=8, lr=0.1)
RUN = Run(
    experiment="e",
    model="polynet",
    model_args={"blocks": 2},
    dataset="digits",
    recipe=RECIPE,
    seed=0,
)


def make(run: Run = RUN, **changes) -> RunRecord:
    values = {
        "run": run,
        "status": "finished",
        "curves": Curves(
            train_loss=(2.0, 1.0), validation_accuracy=(0.1, 0.2), test_accuracy=(0.5,)
        ),
        "test_loss": 1.5,
        "test_accuracy": 0.25,
        "parameters": 10,
        "weights_sha256": "a",
        "data_sha256": "b",
        "source_sha256": "c",
        "git_commit": None,
        "versions": {"python": "3"},
        "device": "chip",
        "threads": 1,
        "seconds": 0.5,
        "peak_memory_mb": 1.0,
        "interruptions": 0,
        "finished_at": "2026-01-01T00:00:00+00:00",
    }
    return RunRecord(**values | changes)


def test_round_trip(tmp_path: Path) -> None:
    record = make()
    file = records.write(record, tmp_path)
    assert file.parent.name == "e"
    assert records.read(file) == record
    assert [f.name for f in file.parent.iterdir()] == [RUN.file_name]


@given(
    loss=st.floats(allow_nan=False, allow_infinity=False),
    accuracies=st.lists(st.floats(0, 1), max_size=4),
)
def test_floats_survive_bit_for_bit(
    tmp_path_factory: pytest.TempPathFactory, loss: float, accuracies: list[float]
) -> None:
    record = make(test_loss=loss, curves=Curves(train_accuracy=tuple(accuracies)))
    folder = tmp_path_factory.mktemp("records")
    assert records.read(records.write(record, folder)) == record


def test_key_depends_on_everything_but_labels() -> None:
    def key(run: dict | None = None, recipe: dict | None = None) -> str:
        changed = dataclasses.replace(RUN, recipe=RECIPE.but(**recipe or {}))
        return dataclasses.replace(changed, **run or {}).key

    assert key({"experiment": "other"}) == key(recipe={"name": "other"}) == RUN.key
    different = [
        key({"seed": 1}),
        key({"model": "poly_resnet20"}),
        key({"model_args": {"blocks": 3}}),
        key({"model_args": {}}),
        key({"dataset": "mnist"}),
        key({"test_every_epoch": True}),
        *(
            key(recipe=change)
            for change in (
                *({"epochs": 3}, {"lr": 0.2}, {"batch_size": 9}, {"flip": True}),
                *({"optimizer": "adam"}, {"precision": "bf16"}, {"compile": True}),
                *({"clip_grad_norm": 1.0}, {"scaling": "unit"}, {"nesterov": False}),
            )
        ),
    ]
    assert len({RUN.key, *different}) == len(different) + 1


def test_key_is_stable() -> None:
    """Committed records are named by it; a change of the rule would orphan them."""
    assert RUN.key == "4d08194ad85c"


def edit(file: Path, change) -> None:
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.pop("seconds"), "seconds: Field required"),
        (lambda c: c.update(extra=1), "extra: Unexpected"),
        (lambda c: c.update(threads="1"), "threads: Input should be a valid integer"),
        (lambda c: c["run"].update(seed=0.5), "run.seed: Input should be a valid int"),
        (lambda c: c["run"]["recipe"].update(lr=None), "run.recipe.lr: Input should"),
        (lambda c: c.update(schema=2), "has version 2, this package reads 1; inst"),
        (lambda c: c.pop("run"), "this is no record; keep it in another folder"),
        (lambda c: c.pop("device"), "required; delete it and give the command again"),
        (lambda c: c["run"].update(seed=7), "the run was edited, or the file renamed"),
    ],
)
def test_bad_record_is_named(tmp_path: Path, change, message: str) -> None:
    file = records.write(make(), tmp_path)
    edit(file, change)
    with pytest.raises(RecordError, match=rf"{file.name}: .*") as caught:
        records.load(tmp_path)
    assert message in str(caught.value)


@pytest.mark.parametrize("length", [0, 1, 200])
def test_half_written_file_is_named(tmp_path: Path, length: int) -> None:
    file = records.write(make(), tmp_path)
    file.write_bytes(file.read_bytes()[:length])
    with pytest.raises(
        RecordError, match=f"{file.name}: the file: Invalid JSON"
    ) as bad:
        records.read(file)
    assert str(bad.value).endswith("; delete it and give the command again")


@pytest.mark.parametrize("text", ["{}", "[1, 2]", "3", '{"cells": [], "metadata": {}}'])
def test_json_of_others_is_named(tmp_path: Path, text: str) -> None:
    file = tmp_path / "other.json"
    file.write_text(text)
    with pytest.raises(RecordError, match=r"other\.json: this is no record; "):
        records.load(tmp_path)


def test_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch) -> None:
    file = records.write(make(), tmp_path)
    before = file.read_bytes()

    def fail(*args: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("papernets.files.os.replace", fail)
    with pytest.raises(OSError, match="no space left; free some") as caught:
        records.write(make(test_accuracy=0.9), tmp_path)
    assert caught.value.filename == str(file)
    assert file.read_bytes() == before
    assert len(list(file.parent.iterdir())) == 1


def test_merging_is_copying(tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    runs = [dataclasses.replace(RUN, seed=s) for s in range(3)]
    for run in runs[:2]:
        records.write(make(run), here)
    for run in runs[1:]:
        records.write(make(run), there)
    both = records.load(tmp_path)
    assert sorted(both.seed) == [0, 1, 2]
    shutil.copytree(there, here, dirs_exist_ok=True)
    assert len(list(here.rglob("*.json"))) == 3
    assert len(records.load(here)) == 3


def test_tables(tmp_path: Path) -> None:
    records.write(make(), tmp_path)
    table = records.load(tmp_path)
    row = table.iloc[0]
    assert (row["model.blocks"], row["recipe.lr"]) == (2, 0.1)
    assert (row.validation_accuracy, row.best_test_accuracy) == (0.2, 0.5)
    diverged = make(status="diverged", test_loss=None, test_accuracy=None)
    assert records.load([diverged]).test_accuracy.isna().all()
    curves = records.load_curves([make(curves=Curves(train_loss=(2.0, 1.0)))])
    assert curves.to_dict("list") == {
        "key": [RUN.key] * 2,
        "epoch": [1, 2],
        "train_loss": [2.0, 1.0],
    }


def test_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match=r"nothing is no folder of records"):
        records.load(tmp_path / "nothing")


MEASUREMENT = Measurement(experiment="e", function="f", settings={"bits": 53}, seed=1)


def measured(**values) -> MeasurementRecord:
    origin = {f.name: getattr(make(), f.name) for f in dataclasses.fields(Provenance)}
    return MeasurementRecord(measurement=MEASUREMENT, values=values, **origin)


def test_measurements_are_kept_beside_runs(tmp_path: Path) -> None:
    record = measured(error=0.5, wrong=[1, 2], name="x", nothing=None)
    file = records.write(record, tmp_path)
    records.write(make(), tmp_path)
    assert file.name == MEASUREMENT.file_name
    assert records.read(file) == record
    assert len(records.read_all(tmp_path)) == 2
    (row,) = records.load_measurements(tmp_path).to_dict("records")
    assert (row["bits"], row["error"], row["wrong"]) == (53, 0.5, [1, 2])
    assert list(records.load(tmp_path).key) == [RUN.key]
    edit(file, lambda c: c["measurement"].update(seed=2))
    with pytest.raises(RecordError, match="the measurement was edited"):
        records.read(file)


def test_key_of_a_measurement() -> None:
    changes = [
        {"function": "g"},
        {"settings": {"bits": 54}},
        {"dataset": "digits"},
        {"seed": 2},
    ]
    keys = {dataclasses.replace(MEASUREMENT, **change).key for change in changes}
    assert len({MEASUREMENT.key, *keys}) == 5
    assert MEASUREMENT.key == "54b422949664"


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
def test_infinite_settings_are_refused_before_any_work(value: float) -> None:
    message = f"is {value}; it must be a finite number"
    for name in ("lr", "lr_decay", "clip_grad_norm", "weight_decay", "warmup_epochs"):
        with pytest.raises(ValueError, match=f"{name}\n.*finite number"):
            RECIPE.but(**{name: value})
    with pytest.raises(ValueError, match=f"init_bias {message}"):
        dataclasses.replace(RUN, model_args={"blocks": 2, "init_bias": value})
    with pytest.raises(ValueError, match=f"bits {message}"):
        dataclasses.replace(MEASUREMENT, settings={"bits": value})


def test_a_record_that_could_not_be_read_is_not_written(tmp_path: Path) -> None:
    file = records.write(make(), tmp_path)
    before = file.read_bytes()
    record = make(dataclasses.replace(RUN, model_args={"blocks": 2}))
    assert record.run.key == RUN.key  # the old record is at its place
    record.run.model_args["blocks"] = math.inf
    with pytest.raises(RecordError, match=f"{file.name}: a setting cannot be written"):
        records.write(record, tmp_path)
    assert file.read_bytes() == before


@pytest.mark.parametrize("value", [float("inf"), [1.0, float("nan")], {"a": [-1e999]}])
def test_infinite_values_are_refused(tmp_path: Path, value: object) -> None:
    with pytest.raises(RecordError, match="bad is not finite"):
        records.write(measured(good=1, bad=value), tmp_path)
    assert not list(tmp_path.rglob("*.json"))
