"""The chapters: which runs each one needs, and what it computes from their records.

A chapter is a module with `studies(preset)`. A study answers one question; it is a
mapping from the label of each condition to its tasks, one per seed: training runs, or
measurements, which call a function of the chapter. The same task may serve several
studies; it is executed once. The chapter's `SOURCES` names the files that determine its
measurements.
"""

import importlib
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, TypeVar

import pandas as pd

from papernets import records
from papernets.files import make_folder
from papernets.parallel import LostProcessError
from papernets.records import (
    Measurement,
    MeasurementRecord,
    Record,
    Run,
    RunRecord,
    Task,
)

if TYPE_CHECKING:
    from multiprocessing.sharedctypes import Synchronized

    from papernets.sweep import Cluster

T = TypeVar("T", Run, Measurement)
Study = dict[str, list[Run]]
Measurements = dict[str, list[Measurement]]
AnyStudy = Study | Measurements

CHAPTERS = (
    *("pi_net", "batch_norm", "exact_memorization", "model_survey"),
    "performance",
)


def chapter(name: str) -> ModuleType:
    """The module of a chapter.

    Raises:
        ValueError: there is no such chapter.
    """
    if name not in CHAPTERS:
        raise ValueError(f"no chapter {name!r}; there are {', '.join(CHAPTERS)}")
    return importlib.import_module(f"{__name__}.{name}")


def tasks_of(studies: Iterable[Mapping[str, Sequence[Task]]]) -> list[Task]:
    """The tasks of some studies, each once; the first seed of every condition first."""
    conditions = [tasks for study in studies for tasks in study.values()]
    rounds = [task for seeds in zip_longest(*conditions) for task in seeds if task]
    return list({task.key: task for task in rounds}.values())


@dataclass
class Results:
    """The records behind some studies, and tables of them."""

    records: Mapping[str, Record]

    @classmethod
    def read(cls, folder: Path) -> "Results":
        """The records below `folder`; raises `RecordError` for a bad one."""
        return cls({r.task.key: r for r in records.read_all(folder)})

    def missing(self, study: dict[str, list[T]]) -> list[T]:
        """Tasks of the study that have no record yet."""
        return [
            t for tasks in study.values() for t in tasks if t.key not in self.records
        ]

    def of(self, study: AnyStudy) -> dict[str, list[Record]]:
        """The records that exist, by condition; conditions without any are left out."""
        found = {
            label: [self.records[t.key] for t in tasks if t.key in self.records]
            for label, tasks in study.items()
        }
        return {label: existing for label, existing in found.items() if existing}

    def table(self, study: AnyStudy) -> pd.DataFrame:
        """One row per record, with its condition in the column `condition`.

        Raises:
            RecordError: the study has no records at all.
        """
        task = next(task for tasks in study.values() for task in tasks)
        load = records.load if isinstance(task, Run) else records.load_measurements
        frames = [
            load(found).assign(condition=label)
            for label, found in self.of(study).items()
        ]
        if not frames:
            raise records.RecordError(
                f"no record of any condition, for example {task.file_name}; make them "
                f"with `papernets run {task.experiment} --preset paper`"
            )
        return pd.concat(frames, ignore_index=True)

    def curves(self, study: Study) -> pd.DataFrame:
        """One row per run and epoch, with `condition` and `seed`."""
        runs = self.table(study)[["condition", "key", "seed"]]
        found = [r for group in self.of(study).values() for r in group]
        return runs.merge(records.load_curves(found), on="key")

    def cost(self) -> str:
        """What the records took, as a sentence; seconds of one run or measurement."""
        hours = sum(record.seconds for record in self.records.values()) / 3600
        threads = {record.threads for record in self.records.values()}
        alone = " on one thread each" if threads == {1} else ""
        text = (
            f"The {len(self.records)} records behind this page took {hours:.1f} hours, "
            f"added up over runs and measurements{alone}."
        )
        runs = [r for r in self.records.values() if isinstance(r, RunRecord)]
        undisturbed = sum(run.undisturbed_seconds for run in runs)
        if sum(sum(run.curves.seconds) for run in runs) > 2 * undisturbed:
            text += (
                " Runs had other work beside them: with every epoch as fast as "
                "the fastest of its run, their training takes "
                f"{undisturbed / 3600:.1f} hours."
            )
        return text

    def summary(self, study: Study) -> pd.DataFrame:
        """One row per condition: seeds, divergences, accuracies in % as mean ± std.

        The standard deviation is that of a sample (n - 1) and needs two seeds. A
        condition without records stays visible, as "not run yet".
        """
        found = self.of(study)
        rows = {}
        for label, planned in study.items():
            runs = records.load(found.get(label, []))
            rows[label] = {"seeds": f"{len(runs)} of {len(planned)}"}
            if runs.empty:
                rows[label]["test"] = "not run yet"
                continue
            rows[label] |= {
                "epochs": str(planned[0].recipe.epochs),
                "parameters": f"{runs.parameters.iloc[0]:,}",
                **{
                    name: mean_and_std(100 * runs[f"{name}_accuracy"])
                    for name in ("train", "validation", "test")
                },
                "diverged": str((runs.status == "diverged").sum()),
            }
        return pd.DataFrame.from_dict(rows, orient="index").fillna("-")


def mean_and_std(values: pd.Series, digits: int = 2) -> str:
    """ "70.13 ± 0.42", "70.13" for a single value, "-" for none."""
    known = values.dropna().astype(float)
    if known.empty:
        return "-"
    spread = f" ± {known.std():.{digits}f}" if len(known) > 1 else ""
    return f"{known.mean():.{digits}f}{spread}"


def execute(task: Task, out: Path, *, device: str = "cpu") -> Record:
    """Give the record of a task: read it, or do what it takes and write it to `out`.

    Raises:
        DataError, RecordError, ValueError: data, record or settings are bad.
    """
    from papernets import training

    if isinstance(task, Run):
        return training.execute(task, out, device=device)
    return measure(task, out, device=device)


def measure(task: Measurement, out: Path, *, device: str = "cpu") -> MeasurementRecord:
    """Give the record of a measurement: read it, or call its function and write it.

    The function gets the data set, if there is one, and the seed and settings by name;
    it returns a mapping from names to numbers, text or lists of them.

    Raises:
        DataError, RecordError, ValueError, OSError: data, record, settings or `out` are
            bad; that there can be no folder for the record is found before the work.
    """
    from papernets.data import load
    from papernets.provenance import provenance

    target = out / task.experiment / task.file_name
    if target.exists():
        found = records.read(target)
        assert isinstance(found, MeasurementRecord)
        return found
    module = chapter(task.experiment)
    make_folder(target.parent)
    data = load(task.dataset) if task.dataset else None
    began = time.perf_counter()
    values = getattr(module, task.function)(
        *([data] if data else []), seed=task.seed, **task.settings
    )
    record = MeasurementRecord(
        measurement=task,
        values=values,
        **provenance(
            module.SOURCES,
            data_sha256=data.checksum if data else None,
            device=device,
            seconds=time.perf_counter() - began,
        ),
    )
    records.write(record, out)
    return record


def execute_all(
    tasks: Sequence[Task],
    out: Path,
    *,
    device: str = "cpu",
    jobs: int = 1,
    threads: int | None = None,
    cluster: "Cluster | None" = None,
) -> Iterator[Record]:
    """Yield the record of every task as it is finished.

    With `jobs` > 1 that many processes work side by side, each on `threads` threads
    (default 1): for small networks faster than one process on all cores. With the
    device "cuda" they take all GPUs in turn. With a `cluster` the tasks are jobs there,
    see `papernets.sweep.execute_all`.

    Raises:
        LostProcessError: a process was killed; finished tasks have their records.
        DataError, RecordError, ValueError, OSError: as `execute` and `measure`.
    """
    from papernets import sweep, training

    if cluster:
        yield from sweep.execute_all(
            tasks, out, cluster, device=device, threads=threads
        )
        return
    if jobs == 1:
        training.tune_process(threads)
        for task in tasks:
            yield execute(task, out, device=device)
        return
    # Idle OpenMP threads would spin and slow the other processes down; read at import.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(
        jobs,
        mp_context=context,
        initializer=start_worker,
        initargs=(threads or 1, device, context.Value("i", 0)),
    )
    with ended(pool):
        # Ctrl-C reaches all processes of a terminal, and this one alone answers it: the
        # others have the signal blocked from their first moment on.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            submitted = [pool.submit(work, task, out, device) for task in tasks]
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        for future in as_completed(submitted):
            yield future.result()


@contextmanager
def ended(pool: ProcessPoolExecutor) -> Iterator[None]:
    """Leave no process of the pool behind, and let none begin another task.

    After an error tasks that were begun are finished; at Ctrl-C, or if nobody wants the
    results any more, they are not.

    Raises:
        LostProcessError: a process was killed.
    """
    try:
        try:
            yield
        except Exception:
            pool.shutdown(cancel_futures=True)
            raise
    except BrokenProcessPool as error:
        raise LostProcessError(
            "a process was killed, perhaps for lack of memory; the same command goes "
            "on, and needs less with fewer --jobs"
        ) from error
    except Exception:
        raise
    except BaseException:
        for process in list((pool._processes or {}).values()):
            process.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def work(task: Task, out: Path, device: str) -> Record:
    """`execute` in a process of a pool, which removes unfinished files at its end."""
    try:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit())
        try:
            return execute(task, out, device=device)
        finally:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
    except SystemExit:  # the pool would take it for a result and go on
        os._exit(128 + signal.SIGTERM)


def start_worker(threads: int, device: str, started: "Synchronized[int]") -> None:
    """Prepare a process of `execute_all`; "cuda" is the GPU of its number from here."""
    import torch
    from tqdm import tqdm

    from papernets import training

    # tqdm's own lock is a semaphore of the system, which a terminated process leaves.
    tqdm.set_lock(threading.RLock())
    with started.get_lock():
        number = started.value
        started.value += 1
    if device == "cuda":
        torch.cuda.set_device(number % torch.cuda.device_count())
    training.tune_process(threads)


TIE_OF_SINGLE_SEEDS = 0.3  # points; what one run differs from the next by chance alone


def enumerated(parts: Sequence[str]) -> str:
    """ "a", "a and b", "a, b and c"."""
    *first, last = parts
    return f"{', '.join(first)} and {last}" if first else last


def compare(values: pd.Series, reference: pd.Series) -> str:
    """How two conditions differ: "12.3 points higher", "4.5 points lower" or "a tie".

    Args:
        values: one number per seed, in percent; may hold missing ones.
        reference: likewise, of the condition compared with.

    A difference smaller than the larger of the two sample standard deviations is a tie.
    That of a single seed, which has none, is taken to be 0.3 points.
    """
    spreads = values.std(), reference.std()
    tie = max(TIE_OF_SINGLE_SEEDS if pd.isna(s) else s for s in spreads)
    difference = values.mean() - reference.mean()
    if abs(difference) < tie:
        return "a tie"
    return f"{abs(difference):.1f} points {'higher' if difference > 0 else 'lower'}"
