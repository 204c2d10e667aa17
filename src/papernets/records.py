"""Run records: one JSON file per training run, and tables made of them.

A `Run` is what determines a result (model, data, recipe, seed); its `key` names the
file. A `RunRecord` is a run with its outcome and its provenance. Folders of records
from several machines merge by copying: equal runs have equal file names.
"""

import hashlib
import json
import os
import re
import tempfile
from collections.abc import Iterable
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, Literal

import pandas as pd
from pydantic import TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from papernets.recipes import STRICT, Recipe

Setting = bool | int | float | str | None


class RecordError(Exception):
    """A record that cannot be used; the message names the file and the field."""


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

    @property
    def key(self) -> str:
        """Twelve hexadecimal digits; labels (experiment, recipe name) do not count.

        Settings at their default do not count either, so a new field of `Recipe` leaves
        the keys of older runs as they are.
        """
        content = changed_settings(self) | {"recipe": changed_settings(self.recipe)}
        del content["experiment"], content["recipe"]["name"]
        text = json.dumps(content, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    @property
    def file_name(self) -> str:
        return f"{self.model}-{self.dataset}-seed{self.seed}-{self.key}.json"


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
    validation_loss: tuple[float, ...] = ()
    validation_accuracy: tuple[float, ...] = ()
    test_loss: tuple[float, ...] = ()  # empty unless `test_every_epoch`
    test_accuracy: tuple[float, ...] = ()
    lr: tuple[float, ...] = ()  # at the last step of the epoch
    seconds: tuple[float, ...] = ()  # training steps only, without evaluation
    images_per_second: tuple[float, ...] = ()


@dataclass(frozen=True, config=STRICT, kw_only=True)
class RunRecord:
    """A run, its outcome and where it comes from."""

    run: Run
    status: Literal["finished", "diverged"]
    curves: Curves
    test_loss: float | None  # at the last epoch; None if the run diverged
    test_accuracy: float | None
    parameters: int
    weights_sha256: str  # of the final state dict

    data_sha256: str
    source_sha256: str  # of the modules that determine a run, see `training.SOURCES`
    git_commit: str | None  # "+changes" if those modules differed from the commit
    versions: dict[str, str]
    device: str
    threads: int
    seconds: float  # training and evaluation, over all interruptions
    peak_memory_mb: float  # resident (CPU) or allocated (CUDA), 1e6 bytes
    interruptions: int
    finished_at: str  # UTC, ISO 8601
    schema: Literal[1] = 1

    def outcome(self) -> dict[str, Any]:
        """What the same run gives again, bit for bit, on the same machine."""
        record = asdict(self)
        for name in ("seconds", "images_per_second"):
            del record["curves"][name]
        kept = "run status curves test_loss test_accuracy weights_sha256 data_sha256"
        return {name: record[name] for name in kept.split()}


_ADAPTER = TypeAdapter(RunRecord)


def write(record: RunRecord, folder: Path) -> Path:
    """Write the record to `folder`/<experiment>/, whole or not at all."""
    target = folder / record.run.experiment / record.run.file_name
    content = json.loads(_ADAPTER.dump_json(record))
    text = json.dumps(content, indent=1)
    # One line per list keeps the files short and their differences readable.
    text = re.sub(r"\[[^\[\]{}]*\]", lambda m: " ".join(m[0].split()), text)
    write_atomically(target, (text + "\n").encode())
    return target


def write_atomically(target: Path, content: bytes) -> None:
    """Replace `target`, so that a reader or a crash sees the old or the new content."""
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, part = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(part, 0o644)
        os.replace(part, target)
    except BaseException:
        os.unlink(part)
        raise


def read(file: Path) -> RunRecord:
    """Read and validate one record.

    Raises:
        RecordError: the file is not JSON, lacks a field, has an unknown one or one of
            the wrong type, or its name is not that of the run it holds.
    """
    try:
        record = _ADAPTER.validate_json(file.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or "the file"
        raise RecordError(f"{file}: {field}: {first['msg']}") from error
    if record.run.key not in file.name:
        raise RecordError(
            f"{file}: the run inside has the key {record.run.key}, the name does not: "
            f"the run was edited, or the file renamed from {record.run.file_name}"
        )
    return record


def read_all(folder: Path) -> list[RunRecord]:
    """All records below `folder`, sorted by path; the same run counts once.

    Raises:
        RecordError: as `read`, or `folder` does not exist.
    """
    if not folder.is_dir():
        raise RecordError(f"{folder} is no folder of records")
    files = sorted(f for f in folder.rglob("*.json") if not f.name.startswith("."))
    records = [read(file) for file in files]
    return list({record.run.key: record for record in records}.values())


def load(source: Path | Iterable[RunRecord]) -> pd.DataFrame:
    """One row per run: settings, outcome and provenance.

    Columns `recipe.<field>` and `model.<argument>` hold the settings. Accuracies are
    fractions of the last epoch; `best_test_accuracy` is the highest of the test curve,
    where one was recorded, and shows only what choosing by the test set would flatter.
    """
    found = read_all(source) if isinstance(source, Path) else source
    return pd.DataFrame([row(record) for record in found])


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
        "seconds": record.seconds,
        "device": record.device,
        "threads": record.threads,
        "git_commit": record.git_commit,
        "source_sha256": record.source_sha256,
        "data_sha256": record.data_sha256,
        "finished_at": record.finished_at,
        **{f"recipe.{name}": value for name, value in asdict(run.recipe).items()},
        **{f"model.{name}": value for name, value in run.model_args.items()},
    }


def load_curves(source: Path | Iterable[RunRecord]) -> pd.DataFrame:
    """One row per run and epoch (counted from 1); joins with `load` on `key`."""
    found = read_all(source) if isinstance(source, Path) else source
    rows = []
    for record in found:
        columns = {f.name: getattr(record.curves, f.name) for f in fields(Curves)}
        frame = pd.DataFrame({k: v for k, v in columns.items() if v})
        frame.insert(0, "epoch", range(1, len(frame) + 1))
        frame.insert(0, "key", record.run.key)
        rows.append(frame)
    return pd.concat(rows, ignore_index=True) if rows else pd.DataFrame()
