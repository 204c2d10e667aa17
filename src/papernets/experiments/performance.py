"""The performance chapter: the training loop beside others, and how cost grows.

The loops run in programs of their own (`benchmarks/loops.py` of a checkout), so that
each has its peak memory. First seeds of all conditions come first, so the loops take
turns and a noisy machine disturbs all alike; what counts is the ratio of two loops with
the same seed. Run it where nothing else works, and one task at a time:

    papernets run performance --preset paper
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from papernets import models, provenance, records, training
from papernets.data import Dataset, Split
from papernets.experiments import Measurements, execute_all
from papernets.recipes import PLAIN_SGD
from papernets.records import Curves, Measurement, Run, RunRecord, Setting

LOOPS_PROGRAM = "../../benchmarks/loops.py"  # relative to the package's folder
BUILD_PROGRAM = "../../book/build.py"
SOURCES = (*training.SOURCES, "experiments/performance.py", LOOPS_PROGRAM)

LOOPS = ("plain-0", "plain-2", "lightning", "ours-fp32", "ours-bf16", "ours-compiled")
# Images of a timed epoch: about 10 seconds in the slowest loop on two cores.
IMAGES = {
    "mlp10": 25_600,
    "polynet": 3_200,
    "resnet20": 2_560,
    "resnet110": 640,
    "wrn16_4": 640,
}
# Validation accuracy that a loop trains up to, and in how many epochs at most. All
# six loops would take hours.
TARGETS = {"mlp10": (0.95, 3), "polynet": (0.4, 4), "resnet20": (0.55, 3)}
TARGET_LOOPS = ("plain-0", "lightning", "ours-bf16")
REPEATS = 3
THREADS = 2
Values = dict[str, Any]


# --- What is measured ---------------------------------------------------------------


def loop(*arguments: str) -> Values:
    """What `benchmarks/loops.py` prints for these arguments.

    Raises:
        ValueError: the package is not in a checkout of the repository, or the program
            failed.
    """
    # As the libraries have it: the command line saves other processes from threads that
    # spin, which costs a process that is alone speed, and most with a small network.
    default = {"OMP_WAIT_POLICY": None}
    output = python(in_checkout(LOOPS_PROGRAM), *arguments, **default)
    result: Values = json.loads(output.splitlines()[-1])
    return result


def in_checkout(program: str) -> Path:
    """A program of the repository; raises `ValueError` if it is not there."""
    file = (provenance.PACKAGE / program).resolve()
    if not file.is_file():
        raise ValueError(f"{file} is missing; run this in a clone of the repository")
    return file


def python(program: Path, *arguments: str, **variables: str | None) -> str:
    """What a program prints; raises `ValueError` with its last message if it fails.

    `variables` of the environment are changed for it, or removed if None.
    """
    changed = {**os.environ, **variables}
    done = subprocess.run(
        [sys.executable, str(program), *arguments],
        capture_output=True,
        text=True,
        env={name: value for name, value in changed.items() if value is not None},
    )
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise ValueError(f"{program.name} {' '.join(arguments)} failed: {reason}")
    return done.stdout


def loop_speed(
    *, seed: int, model: str, loop_name: str, images: int, epochs: int, threads: int
) -> Values:
    """Images per second of every epoch but the first, and the peak memory in MB.

    The first epoch compiles, and fills caches; its seconds are in `first_seconds`.
    """
    found = loop(
        *(loop_name, model, "--images", str(images), "--epochs", str(epochs)),
        *("--threads", str(threads), "--seed", str(seed)),
    )
    first, *others = found["seconds"]
    return {
        "images_per_second": [images / seconds for seconds in others],
        "first_seconds": first,
        "memory_mb": found["peak_memory_mb"],
    }


def loop_target(
    *, seed: int, model: str, loop_name: str, target: float, epochs: int, threads: int
) -> Values:
    """Seconds of training until a validation accuracy; None if it was not reached."""
    found = loop(
        *(loop_name, model, "--until", str(target), "--epochs", str(epochs)),
        *("--threads", str(threads), "--seed", str(seed)),
    )
    reached = bool(found["accuracies"]) and found["accuracies"][-1] >= target
    return {
        "seconds_needed": sum(found["seconds"]) if reached else None,
        "epochs_needed": len(found["seconds"]),
        "accuracy": found["accuracies"][-1] if found["accuracies"] else None,
    }


def loop_shares(
    *, seed: int, model: str, loop_name: str, images: int, threads: int
) -> Values:
    """Parts of a loop's time by kind of operator."""
    return loop(
        *(loop_name, model, "--images", str(images), "--shares"),
        *("--threads", str(threads), "--seed", str(seed)),
    )


def ceiling(*, seed: int, threads: int, size: int = 2048) -> Values:
    """FLOP/s of the machine's matrix multiplication, the best of ten."""
    torch.manual_seed(seed)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    values = {}
    for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        a, b = torch.randn(2, size, size).to(dtype)
        took = []
        for _ in range(10):
            began = time.perf_counter()
            a @ b
            took.append(time.perf_counter() - began)
        values[name] = 2 * size**3 / min(took)
    torch.set_num_threads(before)
    return values


def training_time(
    data: Dataset, *, seed: int, images: int, epochs: int, width: int
) -> Values:
    """Seconds of `training.fit` for a ResNet-20 of this width, from call to return."""
    torch.manual_seed(seed)
    first = Split(data.train.images[:images], data.train.labels[:images])
    few = Split(data.test.images[:100], data.test.labels[:100])
    small = replace(data, train=first, validation=few, test=few)
    model = models.create("resnet20", width=width)
    recipe = PLAIN_SGD.but(epochs=epochs, channels_last=True, precision="bf16")
    began = time.perf_counter()
    training.fit(model, small, recipe, seed=seed, progress=False)
    return {"training_seconds": time.perf_counter() - began}


def many_runs(*, seed: int, runs: int, jobs: int) -> Values:
    """Seconds for runs of one epoch on digits with their records, `jobs` at a time."""
    recipe = PLAIN_SGD.quick(1)
    tasks = [
        Run(
            experiment="performance",
            model="mlp10",
            model_args={"width": 16},
            dataset="digits",
            recipe=recipe,
            seed=1000 * seed + number,
        )
        for number in range(runs)
    ]
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        count = len(list(execute_all(tasks, Path(folder), jobs=jobs)))
        return {"total_seconds": time.perf_counter() - began, "records": count}


def many_records(*, seed: int, records_number: int) -> Values:
    """Seconds to read that many records of ten epochs, and to tabulate them."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        write_records(out, records_number, seed)
        began = time.perf_counter()
        found = records.read_all(out)
        read = time.perf_counter() - began
        began = time.perf_counter()
        runs, curves = records.load(found), records.load_curves(found)
        tabulated = time.perf_counter() - began
    return {
        "read_seconds": read,
        "tabulate_seconds": tabulated,
        "rows": len(runs),
        "epochs": len(curves),
    }


def site_build(*, seed: int, extra_records: int) -> Values:
    """Seconds to build the book, its notebooks executed, with that many more records.

    It is built in a copy of what the checkout has under version control. The records
    are those of a chapter, which reads them all.
    """
    program = in_checkout(BUILD_PROGRAM)
    root = program.parent.parent
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=root, capture_output=True, check=True, text=True
    ).stdout
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        for name in filter(None, listed.split("\0")):
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(root / name, copy / name)
        write_records(copy / "results", extra_records, seed, experiment="pi_net")
        began = time.perf_counter()
        python(copy / program.relative_to(root), "site", PYTHONPATH=str(copy / "src"))
        return {"build_seconds": time.perf_counter() - began}


def write_records(
    folder: Path, number: int, seed: int, experiment: str = "performance"
) -> None:
    """Write records that differ in their seeds alone."""
    example = example_record(seed)
    for other in range(number):
        run = replace(example.run, seed=other, experiment=experiment)
        record = replace(example, run=run)
        target = folder / record.run.experiment / record.run.file_name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(records.encoded(record))


def example_record(seed: int) -> RunRecord:
    """A record of a real run of one epoch, its curves repeated ten times."""
    run = Run(
        experiment="performance",
        model="mlp10",
        model_args={"width": 16},
        dataset="digits",
        recipe=PLAIN_SGD.quick(1),
        seed=seed,
        test_every_epoch=True,
    )
    with tempfile.TemporaryDirectory() as folder:
        record = training.execute(run, Path(folder), progress=False)
    curves = {name: 10 * values for name, values in vars(record.curves).items()}
    return replace(record, curves=Curves(**curves))


# --- Studies ------------------------------------------------------------------------


def measurements(
    function: str,
    repeats: int = REPEATS,
    dataset: str | None = None,
    **settings: Setting,
) -> list[Measurement]:
    return [
        Measurement(
            experiment="performance",
            function=function,
            settings=settings,
            dataset=dataset,
            seed=seed,
        )
        for seed in range(repeats)
    ]


def speed() -> Measurements:
    """Images per second and peak memory of every loop on every network."""
    return {
        f"{model}, {name}": measurements(
            "loop_speed",
            model=model,
            loop_name=name,
            images=images,
            epochs=3,
            threads=THREADS,
        )
        for model, images in IMAGES.items()
        for name in LOOPS
    }


def target() -> Measurements:
    """Seconds to a validation accuracy."""
    return {
        f"{model}, {name}": measurements(
            "loop_target",
            model=model,
            loop_name=name,
            target=accuracy,
            epochs=epochs,
            threads=THREADS,
        )
        for model, (accuracy, epochs) in TARGETS.items()
        for name in TARGET_LOOPS
    }


def shares() -> Measurements:
    """Where the time goes."""
    return {
        f"{model}, {name}": measurements(
            "loop_shares",
            1,
            model=model,
            loop_name=name,
            images=images // 2,
            threads=THREADS,
        )
        for model, images in IMAGES.items()
        for name in ("plain-0", "ours-fp32", "ours-bf16")
    }


def machine() -> Measurements:
    """The ceiling of matrix multiplication."""
    return {"matrix multiplication": measurements("ceiling", threads=THREADS)}


def growth() -> Measurements:
    """Seconds of training against epochs, images and the width of the network."""
    base: dict[str, Setting] = {"images": 2_560, "epochs": 1, "width": 16}
    changes: dict[str, tuple[int, ...]] = {
        "epochs": (1, 2, 4, 8),
        "images": (2_560, 5_120, 10_240, 20_480),
        "width": (8, 16, 32, 64),
    }
    return {
        f"{name} {value:,}": measurements(
            "training_time", REPEATS, "cifar10", **base | {name: value}
        )
        for name, values in changes.items()
        for value in values
    }


def runs() -> Measurements:
    """Seconds for 1 to 64 short runs, in one process and in two."""
    return {
        f"{number} runs, {jobs} {'process' if jobs == 1 else 'processes'}": (
            measurements("many_runs", runs=number, jobs=jobs)
        )
        for jobs in (1, 2)
        for number in (1, 4, 16, 64)
    }


def tables() -> Measurements:
    """Seconds to read and tabulate up to 100,000 records."""
    return {
        f"{number:,} records": measurements("many_records", records_number=number)
        for number in (1_000, 10_000, 100_000)
    }


def builds() -> Measurements:
    """Seconds to build the book with its own records, and with 10,000 more."""
    return {
        f"{number:,} more records": measurements("site_build", extra_records=number)
        for number in (0, 10_000)
    }


STUDIES = (machine, speed, shares, growth, target, runs, tables, builds)


def studies(preset: str = "paper") -> dict[str, Measurements]:
    """The studies of the chapter; "quick" leaves out all that trains on real images."""
    chosen = STUDIES if preset == "paper" else (machine, runs, tables)
    found = {study.__name__: study() for study in chosen}
    if preset == "paper":
        return found
    return {
        name: {label: tasks[:1] for label, tasks in list(study.items())[:1]}
        for name, study in found.items()
    }
