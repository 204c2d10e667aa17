"""The chapters: which runs each one needs, and what it computes from their records.

A chapter is a module with `studies(preset)`. A study answers one question; it is a
mapping from the label of each condition to its runs, one run per seed. The same run may
serve several studies; it is executed once.
"""

import importlib
import multiprocessing
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from types import ModuleType

import pandas as pd

from papernets import records
from papernets.records import Run, RunRecord

Study = dict[str, list[Run]]

CHAPTERS = ("pi_net",)


def chapter(name: str) -> ModuleType:
    """The module of a chapter.

    Raises:
        ValueError: there is no such chapter.
    """
    if name not in CHAPTERS:
        raise ValueError(f"no chapter {name!r}; there are {', '.join(CHAPTERS)}")
    return importlib.import_module(f"{__name__}.{name}")


def runs_of(studies: Iterable[Study]) -> list[Run]:
    """The runs of some studies, each once; the first seed of every condition first."""
    conditions = [runs for study in studies for runs in study.values()]
    rounds = [run for seeds in zip_longest(*conditions) for run in seeds if run]
    return list({run.key: run for run in rounds}.values())


@dataclass
class Results:
    """The records behind some studies, and tables of them."""

    records: dict[str, RunRecord]

    @classmethod
    def read(cls, folder: Path) -> "Results":
        """The records below `folder`; raises `RecordError` for a bad one."""
        return cls({r.run.key: r for r in records.read_all(folder)})

    def missing(self, study: Study) -> list[Run]:
        """Runs of the study that have no record yet."""
        return [r for runs in study.values() for r in runs if r.key not in self.records]

    def of(self, study: Study) -> dict[str, list[RunRecord]]:
        """The records that exist, by condition; conditions without any are left out."""
        found = {
            label: [self.records[r.key] for r in runs if r.key in self.records]
            for label, runs in study.items()
        }
        return {label: existing for label, existing in found.items() if existing}

    def table(self, study: Study) -> pd.DataFrame:
        """One row per run, with its condition in the column `condition`.

        Raises:
            RecordError: the study has no records at all.
        """
        frames = [
            records.load(found).assign(condition=label)
            for label, found in self.of(study).items()
        ]
        if not frames:
            run = next(iter(study.values()))[0]
            raise records.RecordError(
                f"no record of any condition, for example {run.file_name}; make them "
                f"with `papernets run {run.experiment} --preset paper`"
            )
        return pd.concat(frames, ignore_index=True)

    def curves(self, study: Study) -> pd.DataFrame:
        """One row per run and epoch, with `condition` and `seed`."""
        runs = self.table(study)[["condition", "key", "seed"]]
        found = [r for group in self.of(study).values() for r in group]
        return runs.merge(records.load_curves(found), on="key")

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


def execute_all(
    runs: Sequence[Run],
    out: Path,
    *,
    device: str = "cpu",
    jobs: int = 1,
    threads: int | None = None,
) -> Iterator[RunRecord]:
    """Yield the record of every run as it is finished.

    With `jobs` > 1 that many processes work side by side, each on `threads` threads
    (default 1): for small networks faster than one process on all cores.
    """
    from papernets import training

    if jobs == 1:
        training.tune_process(threads)
        for run in runs:
            yield training.execute(run, out, device=device)
        return
    # Idle OpenMP threads would spin and slow the other processes down; read at import.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    with ProcessPoolExecutor(
        jobs,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=training.tune_process,
        initargs=(threads or 1,),
    ) as pool:
        execute: Callable[..., RunRecord] = training.execute
        tasks = [pool.submit(execute, run, out, device=device) for run in runs]
        try:
            for task in as_completed(tasks):
                yield task.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


TIE_OF_SINGLE_SEEDS = 0.3  # points; what one run differs from the next by chance alone


def compare(values: pd.Series, reference: pd.Series) -> str:
    """How two conditions differ: "12.3 points higher", "4.5 points lower" or "a tie".

    Args:
        values: one number per seed, in percent; may hold missing ones.
        reference: likewise, of the condition compared with.

    A difference smaller than the larger of the two sample standard deviations is a tie;
    with single seeds, one under 0.3 points.
    """
    spread = max(values.std(), reference.std(), key=lambda s: -1 if pd.isna(s) else s)
    tie = TIE_OF_SINGLE_SEEDS if pd.isna(spread) else spread
    difference = values.mean() - reference.mean()
    if abs(difference) < tie:
        return "a tie"
    return f"{abs(difference):.1f} points {'higher' if difference > 0 else 'lower'}"
