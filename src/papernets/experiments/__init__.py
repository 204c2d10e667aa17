"""The chapters: which runs each one needs, and what it computes from their records.

A chapter is a module with `studies(preset)`, which maps the name of each study to its
runs. The same run may serve several studies; it is executed once.
"""

import importlib
import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from types import ModuleType

from papernets.records import Run, RunRecord

CHAPTERS = ("pi_net",)


def chapter(name: str) -> ModuleType:
    """The module of a chapter.

    Raises:
        ValueError: there is no such chapter.
    """
    if name not in CHAPTERS:
        raise ValueError(f"no chapter {name!r}; there are {', '.join(CHAPTERS)}")
    return importlib.import_module(f"{__name__}.{name}")


def unique(runs: Sequence[Run]) -> list[Run]:
    """The runs in their order, each once."""
    return list({run.key: run for run in runs}.values())


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

    runs = unique(runs)
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
