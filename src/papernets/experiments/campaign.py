"""Campaigns: the runs of a plan, in order of priority, within a budget of time.

A campaign is stopped and continued at will, on any machine: finished runs have records,
an unfinished one has a checkpoint, and folders of records merge by copying.
"""

import heapq
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch

from papernets import models, records, training
from papernets.complexity import profile
from papernets.data import SOURCES
from papernets.provenance import device_name
from papernets.records import Record, Run, RunRecord, Setting

# FLOP/s of training where no run of the campaign has been timed yet, by kind of device.
FIRST_GUESS = {"cpu": 2e10, "cuda": 2e13}
SLACK = 1.15  # an estimate has to fit this many times; the last epoch is not cut


@dataclass(frozen=True)
class Estimate:
    """What is left of a run, and how long that takes."""

    run: Run
    epochs: int
    epoch_seconds: float

    @property
    def seconds(self) -> float:
        return self.epochs * self.epoch_seconds


def multiply_adds(run: Run) -> int:
    """Of one forward pass of one image."""
    settings = tuple(sorted(run.model_args.items()))
    return _multiply_adds(run.model, settings, run.dataset)


@cache
def _multiply_adds(
    model: str, settings: tuple[tuple[str, Setting], ...], dataset: str
) -> int:
    source = SOURCES[dataset]
    arguments: dict[str, object] = dict(settings)
    with torch.device("meta"):
        network = models.create(
            model,
            in_channels=source.shape[0],
            image_size=source.shape[1],
            num_classes=len(source.classes),
            **arguments,  # type: ignore[arg-type]
        )
    return profile(network, source.shape).macs


def flops_per_epoch(run: Run) -> float:
    """Six times the multiply-adds for a training image, two for one that is scored."""
    source = SOURCES[run.dataset]
    scored = source.validation + source.test * run.test_every_epoch
    images = source.training - source.validation + scored / 3
    return 6 * multiply_adds(run) * images


def achieved_flops(record: RunRecord) -> float:
    """FLOP/s of training: six times the multiply-adds times images per second."""
    rate = statistics.median(record.curves.images_per_second)
    return 6 * (record.macs or multiply_adds(record.run)) * rate


def estimate(
    run: Run, done: Sequence[Record], device: str, epochs_done: int = 0
) -> Estimate:
    """What is left of a run of which some epochs are over.

    At the speed of the same network on the same kind of device if there is a record of
    it, else at the median speed of all networks there, else at a first guess.
    """
    name = device_name(device)
    timed = [
        record
        for record in done
        if isinstance(record, RunRecord)
        and record.device == name
        and record.curves.images_per_second
    ]
    same = [r for r in timed if (r.run.model, r.run.model_args) == network_of(run)]
    speeds = [achieved_flops(record) for record in same or timed]
    speed = statistics.median(speeds or [FIRST_GUESS[device.partition(":")[0]]])
    return Estimate(run, run.recipe.epochs - epochs_done, flops_per_epoch(run) / speed)


def network_of(run: Run) -> tuple[str, Mapping[str, Setting]]:
    return run.model, run.model_args


def missing(plan: Sequence[Run], out: Path) -> list[Run]:
    """Runs of the plan that have no record in the folder, in order."""
    found = records.read_all(out) if out.is_dir() else []
    finished = {record.task.key for record in found}
    return [run for run in plan if run.key not in finished]


def next_run(
    plan: Sequence[Run], done: Sequence[Record], out: Path, device: str, left: float
) -> Estimate | None:
    """The first run of the plan that fits into `left` seconds.

    If none fits, the first of which an epoch fits: its checkpoint is where the next
    campaign goes on. None if there is none, or if all runs have records.
    """
    finished = {record.task.key for record in done}
    waiting = [
        estimate(run, done, device, training.epochs_done(run, out))
        for run in plan
        if run.key not in finished
    ]
    whole = (e for e in waiting if SLACK * e.seconds <= left)
    partly = (e for e in waiting if SLACK * e.epoch_seconds <= left)
    return next(whole, None) or next(partly, None)


def carry_on(
    plan: Sequence[Run],
    out: Path,
    *,
    budget_seconds: float,
    device: str = "cpu",
    execute: Callable[..., RunRecord] = training.execute,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[RunRecord]:
    """Make the next records of a plan, until its end or that of the budget.

    Args:
        plan: runs by falling priority.
        out: folder of records and checkpoints; records found there are not made again.
        budget_seconds: training stops after the last epoch that fits.
        device: "cpu", "cuda" or "cuda:1".
        execute: trains one run; `training.execute`.
        clock: in seconds.
    """
    deadline = clock() + budget_seconds
    while (left := deadline - clock()) > 0:
        done = records.read_all(out) if out.is_dir() else []
        chosen = next_run(plan, done, out, device, left)
        if chosen is None:
            return
        try:
            yield execute(chosen.run, out, device=device, deadline=deadline)
        except training.OutOfTimeError:
            return


@dataclass(frozen=True)
class Fleet:
    """Accelerators that share the runs of a plan, one run on one of them at a time."""

    accelerators: int
    flops: float  # FLOP/s that training sustains on one
    failures_per_hour: float  # of one accelerator


@dataclass(frozen=True)
class Forecast:
    """What a plan takes on a fleet; hours by the clock unless they say otherwise."""

    runs: int
    accelerator_hours: float
    hours: float  # until the last run is done, without failures
    longest_hours: float  # of a single run: no fleet is faster
    failures: float  # expected during the whole plan
    lost_hours: float  # accelerator-hours done twice because of them


def forecast(plan: Sequence[Run], fleet: Fleet) -> Forecast:
    """Time and losses of a plan whose runs start in order of falling cost.

    Each run goes to the accelerator that is free first. A failure costs half an epoch
    on average, because a run goes on from its last finished one.
    """
    costs = [(flops_per_epoch(run) / fleet.flops / 3600, run) for run in plan]
    hours = sorted((cost * run.recipe.epochs for cost, run in costs), reverse=True)
    busy_until = [0.0] * fleet.accelerators
    for cost in hours:
        heapq.heapreplace(busy_until, busy_until[0] + cost)
    # The longer a run, the likelier the failure hits it.
    lost = sum(
        fleet.failures_per_hour * cost * run.recipe.epochs * cost / 2
        for cost, run in costs
    )
    return Forecast(
        runs=len(plan),
        accelerator_hours=sum(hours),
        hours=max(busy_until),
        longest_hours=hours[0],
        failures=sum(hours) * fleet.failures_per_hour,
        lost_hours=lost,
    )
