"""Records: one JSON file per training run or measurement, and tables made of them.

A `Run` is what determines the result of training (model, data, recipe, seed), a
`Measurement` what determines that of any other function of a chapter; their `key` names
the file. A record is one of them with its outcome and its provenance. Folders of
records from several machines merge by copying: equal tasks have equal file names.
"""

import hashlib
import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, fields
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import pandas as pd
from pydantic import JsonValue, TypeAdapter, ValidationError, field_validator
from pydantic.dataclasses import dataclass
from pydantic_core import from_json

from papernets.files import write_atomically
from papernets.recipes import STRICT, Recipe

# What `papernets.models.create` is given by the data set.
OF_DATA = {"in_channels", "num_classes", "image_size"}
Setting = bool | int | float | str | None


class RecordError(Exception):
    """A record that cannot be used; the message names the file and the field."""


def require_finite(settings: Mapping[str, Any]) -> None:
    """Refuse numbers that JSON cannot hold, before any work is done with them.

    Raises:
        ValueError: a setting is infinite or not a number; the message names it.
    """
    for name, value in settings.items():
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"{name} is {value}; it must be a finite number")


@dataclass(frozen=True, config=STRICT, kw_only=True)
class Run:
    """What determines the outcome of one training run."""

    experiment: str  # the chapter that asked for it; names the folder of the record
    model: str  # a name of `papernets.models.create`
    model_args: dict[str, Setting]  # keyword arguments beside channels and classes
    dataset: str
    recipe: Recipe
    seed: int
    test_every_epoch: bool = False  # record a test curve; no choice is made by it

    @field_validator("model_args")
    @classmethod
    def _usable_arguments(cls, values: dict[str, Setting]) -> dict[str, Setting]:
        require_finite(values)
        for name in OF_DATA & values.keys():
            raise ValueError(f"{name} cannot be set: it follows from the data set")
        return values

    @cached_property
    def key(self) -> str:
        """Twelve hexadecimal digits; labels (experiment, recipe name) do not count.

        Settings at their default do not count either, so a new field of `Recipe` leaves
        the keys of older runs as they are.
        """
        content = changed_settings(self) | {"recipe": changed_settings(self.recipe)}
        del content["experiment"], content["recipe"]["name"]
        return digest(content)

    @property
    def file_name(self) -> str:
        return f"{self.model}-{self.dataset}-seed{self.seed}-{self.key}.json"


@dataclass(frozen=True, config=STRICT, kw_only=True)
class Measurement:
    """What determines a result that is not one training run."""

    experiment: str  # the chapter, which has the function
    function: str
    settings: dict[str, Setting]  # its keyword arguments beside the seed
    dataset: str | None = None  # loaded, it is the function's first argument
    seed: int = 0

    @field_validator("settings")
    @classmethod
    def _finite_settings(cls, values: dict[str, Setting]) -> dict[str, Setting]:
        require_finite(values)
        return values

    @cached_property
    def key(self) -> str:
        """Twelve hexadecimal digits."""
        return digest(changed_settings(self))

    @property
    def file_name(self) -> str:
        parts = [self.function, self.dataset, f"seed{self.seed}", self.key]
        return f"{'-'.join(part for part in parts if part)}.json"


Task = Run | Measurement


def digest(content: dict[str, Any]) -> str:
    text = json.dumps(content, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def changed_settings(settings: Any) -> dict[str, Any]:
    """The fields of a dataclass that differ from their default."""
    values = {f.name: (getattr(settings, f.name), f.default) for f in fields(settings)}
    return {
        name: value for name, (value, default) in values.items() if value != default
    }


@dataclass(frozen=True, config=STRICT, kw_only=True)
class Curves:
    """One value per finished epoch; losses are mean cross-entropies in nats."""

    train_loss: tuple[float, ...] = ()  # running mean during the epoch
    train_accuracy: tuple[float, ...] = ()  # likewise; a fraction, as all accuracies
    validation_loss: tuple[float | None, ...] = ()  # None: it is not finite
    validation_accuracy: tuple[float, ...] = ()
    test_loss: tuple[float | None, ...] = ()  # empty unless `test_every_epoch`
    test_accuracy: tuple[float, ...] = ()
    lr: tuple[float, ...] = ()  # at the last step of the epoch
    seconds: tuple[float, ...] = ()  # training steps only, without evaluation
    images_per_second: tuple[float, ...] = ()


@dataclass(frozen=True, config=STRICT, kw_only=True)
class Provenance:
    """Where a result comes from; see `papernets.provenance`."""

    data_sha256: str | None
    source_sha256: str  # of the modules that determine the result
    git_commit: str | None  # "+changes" if those modules differed from the commit
    versions: dict[str, str]
    device: str
    threads: int
    seconds: float  # of a run: training and evaluation, over all interruptions
    peak_memory_mb: float  # resident (CPU) or allocated (CUDA), 1e6 bytes
    finished_at: str  # UTC, ISO 8601
    schema: Literal[1] = 1


@dataclass(frozen=True, config=STRICT, kw_only=True)
class RunRecord(Provenance):
    """A run, its outcome and where it comes from."""

    run: Run
    status: Literal["finished", "diverged"]
    curves: Curves
    test_loss: float | None  # at the last epoch; None if it is not finite
    test_accuracy: float | None  # None if the run diverged
    parameters: int
    macs: int | None = None  # multiply-adds of one image, forward
    weights_sha256: str  # of the final state dict
    interruptions: int
    processes: int = 1  # that trained together, see `papernets.parallel`

    @property
    def task(self) -> Run:
        return self.run

    @property
    def undisturbed_seconds(self) -> float:
        """Seconds of training if every epoch took as long as the fastest.

        Runs are timed beside other work, which slows some epochs and some runs more.
        """
        seconds = self.curves.seconds
        return min(seconds, default=0.0) * len(seconds)

    def outcome(self) -> dict[str, Any]:
        """What the same run gives again, bit for bit, on the same machine."""
        record = asdict(self)
        for name in ("seconds", "images_per_second"):
            del record["curves"][name]
        kept = "run status curves test_loss test_accuracy weights_sha256 data_sha256"
        return {name: record[name] for name in kept.split()}


@dataclass(frozen=True, config=STRICT, kw_only=True)
class MeasurementRecord(Provenance):
    """A measurement, what it gave and where it comes from."""

    measurement: Measurement
    values: dict[str, JsonValue]  # numbers, text, and lists of them

    @property
    def task(self) -> Measurement:
        return self.measurement


Record = RunRecord | MeasurementRecord
_RUNS = TypeAdapter(RunRecord)
_MEASUREMENTS = TypeAdapter(MeasurementRecord)


def write(record: Record, folder: Path) -> Path:
    """Write the record to `folder`/<experiment>/, whole or not at all.

    Raises:
        RecordError: a value is infinite or not a number, which JSON cannot hold, or
            what would be written is not the record of the same task.
        ValueError, OSError: as `files.write_atomically`.
    """
    target = folder / record.task.experiment / record.task.file_name
    if isinstance(record, MeasurementRecord):
        for name, value in record.values.items():
            if not all(map(math.isfinite, numbers_in(value))):
                raise RecordError(f"{target}: {name} is not finite; write None")
    content = encoded(record)
    try:
        same = decoded(content).task.key == record.task.key
    except ValidationError:
        same = False
    if not same:  # it would make the whole folder unreadable
        raise RecordError(f"{target}: a setting cannot be written; nothing was changed")
    write_atomically(target, content)
    return target


def encoded(record: Record) -> bytes:
    """The record as JSON, one line per list, which keeps differences readable."""
    adapter = _MEASUREMENTS if isinstance(record, MeasurementRecord) else _RUNS
    content = json.loads(adapter.dump_json(record))  # type: ignore[arg-type]
    text = json.dumps(content, indent=1)
    text = re.sub(r"\[[^\[\]{}]*\]", lambda m: " ".join(m[0].split()), text)
    return (text + "\n").encode()


def decoded(content: bytes) -> Record:
    """The record in the text of a file; raises pydantic's `ValidationError`."""
    measured = b'"measurement"' in content
    return (_MEASUREMENTS if measured else _RUNS).validate_json(content)


def numbers_in(value: Any) -> list[float]:
    """All numbers in nested lists and mappings."""
    if isinstance(value, dict | list):
        parts = value.values() if isinstance(value, dict) else value
        return [number for part in parts for number in numbers_in(part)]
    return [value] if isinstance(value, int | float) else []


def read(file: Path) -> Record:
    """Read and validate one record.

    Raises:
        RecordError: the file is not JSON, is no record or one of another version, lacks
            a field, has an unknown one or one of the wrong type, or its name is not
            that of the run it holds.
    """
    content = file.read_bytes()
    try:
        record = decoded(content)
    except ValidationError as error:
        raise RecordError(f"{file}: {unreadable(content, error)}") from error
    if record.task.key not in file.name:
        what = "run" if isinstance(record, RunRecord) else "measurement"
        raise RecordError(
            f"{file}: the {what} inside has the key {record.task.key}, the name does "
            f"not: the {what} was edited, or the file renamed from "
            f"{record.task.file_name}"
        )
    return record


def unreadable(content: bytes, error: ValidationError) -> str:
    """Why the text of a file is no record, and what to do about it."""
    first = error.errors()[0]
    field = ".".join(str(part) for part in first["loc"]) or "the file"
    again = f"{field}: {first['msg']}; delete it and give the command again"
    try:
        found = from_json(content)
    except ValueError:  # cut off, or never JSON
        return again
    if not isinstance(found, dict) or not {"run", "measurement"} & found.keys():
        return "this is no record; keep it in another folder"
    version = found.get("schema", 1)
    if version != 1:
        known = "this package reads 1; install the one that wrote it"
        return f"the record has version {version!r:.20}, {known}"
    return again


def read_all(folder: Path) -> list[Record]:
    """All records below `folder`, sorted by path; the same task counts once.

    Raises:
        RecordError: as `read`, or `folder` does not exist.
    """
    if not folder.is_dir():
        raise RecordError(f"{folder} is no folder of records")
    files = sorted(f for f in folder.rglob("*.json") if not f.name.startswith("."))
    records = [read(file) for file in files]
    return list({record.task.key: record for record in records}.values())


def load(source: Path | Iterable[Record]) -> pd.DataFrame:
    """One row per training run: settings, outcome and provenance.

    Columns `recipe.<field>` and `model.<argument>` hold the settings. Accuracies are
    fractions of the last epoch; `best_test_accuracy` is the highest of the test curve,
    where one was recorded, and shows only what choosing by the test set would flatter.
    """
    return pd.DataFrame([row(record) for record in runs_in(source)])


def load_measurements(source: Path | Iterable[Record]) -> pd.DataFrame:
    """One row per measurement: its settings, its values and their provenance."""
    found = read_all(source) if isinstance(source, Path) else source
    return pd.DataFrame(
        [
            {
                "key": record.task.key,
                "experiment": record.task.experiment,
                "function": record.task.function,
                "dataset": record.task.dataset,
                "seed": record.task.seed,
                **record.task.settings,
                **record.values,
                **origin(record),
            }
            for record in found
            if isinstance(record, MeasurementRecord)
        ]
    )


def runs_in(source: Path | Iterable[Record]) -> list[RunRecord]:
    found = read_all(source) if isinstance(source, Path) else source
    return [record for record in found if isinstance(record, RunRecord)]


def origin(record: Provenance) -> dict[str, Any]:
    """The provenance that a table shows."""
    names = (
        *("seconds", "peak_memory_mb", "device", "threads"),
        *("git_commit", "source_sha256", "data_sha256", "finished_at"),
    )
    return {name: getattr(record, name) for name in names}


def row(record: RunRecord) -> dict[str, Any]:
    run, curves = record.run, record.curves
    last = {
        name: getattr(curves, name)[-1] if getattr(curves, name) else None
        for name in (
            *("train_loss", "train_accuracy"),
            *("validation_loss", "validation_accuracy", "images_per_second"),
        )
    }
    return {
        "key": run.key,
        "experiment": run.experiment,
        "model": run.model,
        "dataset": run.dataset,
        "recipe": run.recipe.name,
        "seed": run.seed,
        "status": record.status,
        "epochs": len(curves.train_loss),
        **last,
        "test_loss": record.test_loss,
        "test_accuracy": record.test_accuracy,
        "best_test_accuracy": max(curves.test_accuracy, default=None),
        "parameters": record.parameters,
        "macs": record.macs,
        **origin(record),
        **{f"recipe.{f.name}": getattr(run.recipe, f.name) for f in fields(Recipe)},
        **{f"model.{name}": value for name, value in run.model_args.items()},
    }


def load_curves(source: Path | Iterable[Record]) -> pd.DataFrame:
    """One row per run and epoch (counted from 1); joins with `load` on `key`."""
    names = [f.name for f in fields(Curves)]
    columns: dict[str, list[Any]] = {name: [] for name in ("key", "epoch", *names)}
    for record in runs_in(source):
        epochs = len(record.curves.train_loss)
        columns["key"] += [record.run.key] * epochs
        columns["epoch"] += range(1, epochs + 1)
        for name in names:
            columns[name] += getattr(record.curves, name) or [None] * epochs
    known = {name for name in names if any(v is not None for v in columns[name])}
    kept = ("key", "epoch", *(name for name in names if name in known))
    return pd.DataFrame({name: columns[name] for name in kept} if known else {})
