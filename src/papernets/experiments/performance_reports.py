"""What the performance chapter's records say: ratios, shares, growth, a forecast."""

import copy
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from itertools import cycle, islice
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import nn
from torch.nn import functional

from papernets import complexity, models, records, training
from papernets.data import load
from papernets.experiments import Results, mean_and_std
from papernets.experiments.campaign import Fleet, flops_per_epoch, forecast
from papernets.experiments.model_survey import full, paper_recipes
from papernets.experiments.performance import (
    LOOPS,
    TARGET_LOOPS,
    TARGETS,
    THREADS,
    builds,
    growth,
    machine,
    runs,
    shares,
    speed,
    tables,
    target,
)
from papernets.recipes import Recipe
from papernets.records import Curves, Run, RunRecord, Setting

LABELS = {
    "plain-0": "plain loop, no workers",
    "plain-2": "plain loop, 2 workers",
    "lightning": "PyTorch Lightning",
    "ours-fp32": "this book, fp32",
    "ours-bf16": "this book, bf16",
    "ours-compiled": "this book, bf16, compiled",
}
BASE = "plain-0"
GOAL, GOALS = 2.0, {"resnet20": 3.0}  # multiples of the plain loop's speed
NOT_RUN = "not run yet"

# Unexpected interruptions of one accelerator: 419 of 16,384 in 54 days (Llama team,
# arXiv:2407.21783, section 3.3.4).
FAILURES_PER_HOUR = 419 / (16_384 * 54 * 24)
SEEDS = 5
SUSTAINED = (3e13, 1e14)  # FLOP/s: assumed, since no accelerator was measured
PRICES = (2, 4)  # dollars an hour of an accelerator: assumed
FLEETS = (1, 8, 64)


def speeds(results: Results) -> pd.DataFrame:
    """One row per timed run: `model`, `loop`, `seed`, `rate`, `memory`, `first`.

    `rate` is the median of the run's epochs, in images per second.
    """
    if not results.of(speed()):
        return pd.DataFrame(columns=["model", "loop", "seed", "rate"])
    table = results.table(speed())
    return pd.DataFrame(
        {
            "model": table.model,
            "loop": table.loop_name,
            "seed": table.seed,
            "rate": table.images_per_second.map(np.median),
            "memory": table.memory_mb,
            "first": table.first_seconds,
        }
    )


def ratios(results: Results) -> pd.DataFrame:
    """Rates over that of the plain loop with the same network and seed."""
    found = speeds(results)
    base = found[found.loop == BASE].set_index(["model", "seed"]).rate
    keys = pd.MultiIndex.from_frame(found[["model", "seed"]])
    return found.assign(ratio=found.rate.to_numpy() / base.reindex(keys).to_numpy())


def multiply_adds(model: str) -> int:
    """Of one forward pass of one image, as `benchmarks/loops.py` builds the network."""
    shape = (1, 28, 28) if model == "mlp10" else (3, 32, 32)
    with torch.device("meta"):
        network = models.create(model, in_channels=shape[0], image_size=shape[1])
    return complexity.profile(network, shape).macs


def ceilings(results: Results) -> Mapping[str, float]:
    """FLOP/s of matrix multiplication by precision; empty without a record."""
    if not results.of(machine()):
        return {}
    table = results.table(machine())
    return {name: float(table[name].max()) for name in ("fp32", "bf16")}


def speed_table(results: Results, model: str) -> pd.DataFrame:
    """A row per loop: rate, ratio to the plain loop, memory, part of the ceiling."""
    found, limits = ratios(results), ceilings(results)
    rows = {}
    for loop in LOOPS:
        part = found[(found.model == model) & (found.loop == loop)]
        if part.empty:
            rows[LABELS[loop]] = {"images/s": NOT_RUN}
            continue
        flops = 6 * multiply_adds(model) * part.rate
        limit = limits.get("fp32" if "bf16" not in LABELS[loop] else "bf16")
        rows[LABELS[loop]] = {
            "images/s": mean_and_std(part.rate, 0),
            "ratio": mean_and_std(part.ratio),
            "memory (MB)": mean_and_std(part.memory, 0),
            "first epoch (s)": mean_and_std(part["first"], 1),
            "of the ceiling (%)": mean_and_std(100 * flops / limit, 1)
            if limit
            else "-",
        }
    return pd.DataFrame.from_dict(rows, orient="index").fillna("-")


def fastest(found: pd.DataFrame, model: str) -> tuple[str, pd.Series, pd.Series]:
    """This book's fastest loop: its name, its ratios to the plain loop and Lightning's.

    Args:
        found: as `ratios` gives it.
    """
    of_model = found[found.model == model].set_index(["loop", "seed"])
    names = [loop for loop in LOOPS if loop.startswith("ours")]
    means = of_model.ratio.groupby("loop").mean()
    loop = str(means.reindex(names).idxmax())
    against = pd.Series(dtype=float)
    if "lightning" in means:
        against = (of_model.rate[loop] / of_model.rate["lightning"]).dropna()
    return loop, of_model.ratio[loop], against


def report_speed(results: Results) -> str:
    """The ratios to the plain loop, against the goals, and to Lightning."""
    found = ratios(results)
    lines = []
    for model in dict.fromkeys(found.model[found.loop.str.startswith("ours")]):
        loop, ratio, against = fastest(found, model)
        text = f"- *{model}*: {LABELS[loop]} is **{mean_and_std(ratio)} times** "
        text += "as fast as the plain loop"
        if len(against):
            text += f" and {mean_and_std(against)} times as fast as PyTorch Lightning"
        goal = GOALS.get(model, GOAL)
        lines.append(f"{text}; {goal:g} times was the goal: {reached(ratio, goal)}.")
    return "\n".join(lines) or f"The loops: {NOT_RUN}."


def reached(ratio: pd.Series, goal: float) -> str:
    """ "reached", "missed", or neither within one standard deviation."""
    spread = ratio.std() if len(ratio) > 1 else 0.0
    if abs(ratio.mean() - goal) <= spread:
        return "within the spread"
    return "reached" if ratio.mean() > goal else "missed"


def target_table(results: Results) -> pd.DataFrame:
    """Seconds of training until a validation accuracy, a row per loop."""
    rows: dict[str, dict[str, str]] = {LABELS[loop]: {} for loop in TARGET_LOOPS}
    found = results.of(target())
    for model, (accuracy, _) in TARGETS.items():
        column = f"{model}, {accuracy:.0%}"
        for loop in TARGET_LOOPS:
            group = found.get(f"{model}, {loop}")
            text = NOT_RUN
            if group:
                values = [r.values["seconds_needed"] for r in group]  # type: ignore[union-attr]
                known = pd.Series([v for v in values if v is not None], dtype=float)
                text = mean_and_std(known, 1)
                if len(known) < len(values):
                    text += f" ({len(known)} of {len(values)} reached it)"
            rows[LABELS[loop]][column] = text
    return pd.DataFrame.from_dict(rows, orient="index")


def share_frame(results: Results) -> pd.DataFrame:
    """Parts of a loop's time in percent: a row per network and loop."""
    rows = []
    for label, group in results.of(shares()).items():
        model, loop = label.split(", ")
        (record,) = group
        parts = record.values["shares"]  # type: ignore[union-attr]
        assert isinstance(parts, dict)
        rows.append(
            {"label": f"{model}, {LABELS[loop]}"}
            | {kind: 100 * float(part) for kind, part in parts.items()}  # type: ignore[arg-type]
        )
    return pd.DataFrame(rows)


def scaling_frame(results: Results) -> pd.DataFrame:
    """Seconds against one quantity at a time, as `plots.scaling` draws them.

    The widths of ResNet-20 stand as multiply-adds, to which time should be in
    proportion.
    """
    columns = ["quantity", "value", "seconds", "line"]
    frames = [pd.DataFrame(columns=columns)]
    if results.of(growth()):
        table = results.table(growth())
        macs = {width: resnet20_multiply_adds(width) for width in table.width.unique()}
        table["multiply-adds"] = table.width.map(macs)
        names = {"epochs": "epochs", "images": "images", "width": "multiply-adds"}
        changed = table.condition.str.split(" ").str[0].map(names)
        for name, part in table.groupby(changed, sort=False):
            seconds = part.training_seconds
            line = "training"
            frames.append(
                pd.DataFrame({"value": part[name], "seconds": seconds})
                .assign(quantity=name, line=line)
            )  # fmt: skip
    if results.of(runs()):
        table = results.table(runs())
        words = {1: "1 process", 2: "2 processes"}
        frames.append(
            pd.DataFrame({"value": table.runs, "seconds": table.total_seconds})
            .assign(quantity="runs", line=table.jobs.map(words))
        )  # fmt: skip
    if results.of(tables()):
        table = results.table(tables())
        for line in ("read", "tabulate"):
            seconds = table[f"{line}_seconds"]
            frames.append(
                pd.DataFrame({"value": table.records_number, "seconds": seconds})
                .assign(quantity="records", line=line)
            )  # fmt: skip
    return pd.concat(frames, ignore_index=True)[columns]


def resnet20_multiply_adds(width: int) -> int:
    with torch.device("meta"):
        network = models.create("resnet20", width=width)
    return complexity.profile(network, (3, 32, 32)).macs


def report_scaling(results: Results) -> str:
    """What the time grows by, from the smallest to the largest value of each panel.

    Of medians: the first call of a process may take many times as long as the next.
    """
    frame, lines = scaling_frame(results), []
    for (quantity, line), part in frame.groupby(["quantity", "line"], sort=False):
        times = part.astype({"value": float}).groupby("value").seconds.median()
        if len(times) < 2:
            continue
        more = times.index[-1] / times.index[0]
        longer = times.iloc[-1] / times.iloc[0]
        subject = quantity if line == "training" else f"{quantity} ({line})"
        lines.append(
            f"- {more:,.0f} times the {subject}: {longer:,.1f} times the seconds, "
            f"up to {times.iloc[-1]:.1f} s."
        )
    return "\n".join(lines) or f"Growth: {NOT_RUN}."


def report_builds(results: Results) -> str:
    """Seconds to build the book, with and without many more records."""
    if not results.of(builds()):
        return f"Builds of the book: {NOT_RUN}."
    table = results.table(builds())
    texts = [
        f"{mean_and_std(part.build_seconds, 0)} s with {label}"
        for label, part in table.groupby("condition", sort=False)
    ]
    return f"The whole book, its notebooks executed, is built in {' and '.join(texts)}."


def report_machine(results: Results) -> str:
    """The machine of the records, and what its matrix multiplication reaches."""
    devices = dict.fromkeys(record.device for record in results.records.values())
    limits = ceilings(results)
    speeds_text = " and ".join(
        f"{limits[name] / 1e9:,.0f} GFLOP/s in {name}" for name in limits
    )
    return (
        f"Measured on: {', '.join(devices) or NOT_RUN}; {THREADS} threads. Square "
        f"matrices of 2,048 rows are multiplied at {speeds_text or NOT_RUN}."
    )


def report_target(results: Results) -> str:
    """How much longer the plain loop takes to the accuracy than this book's."""
    lines = []
    found = results.of(target())
    for model, (accuracy, epochs) in TARGETS.items():
        times = {}
        for loop in (BASE, "ours-bf16"):
            made = found.get(f"{model}, {loop}", [])
            values = {r.task.seed: r.values["seconds_needed"] for r in made}  # type: ignore[union-attr]
            times[loop] = pd.Series(values, dtype=float)
        longer = (times[BASE] / times["ours-bf16"]).dropna()
        if len(longer):
            tie = len(longer) > 1 and abs(longer.mean() - 1) < longer.std()
            lines.append(
                f"- *{model}* to {accuracy:.0%}: the plain loop takes "
                f"{mean_and_std(longer, 1)} times as long as this book's in bf16 "
                f"(measured {len(longer)} times){', a tie' if tie else ''}."
            )
        elif any(len(values) for values in times.values()):
            lines.append(
                f"- *{model}* to {accuracy:.0%}: with no seed do both the plain loop "
                f"and this book's reach it in {epochs} epochs."
            )
    return "\n".join(lines) or f"Time to an accuracy: {NOT_RUN}."


def report_answer(results: Results) -> str:
    """The chapter's answer in a paragraph."""
    found = ratios(results)
    if found.empty:
        return f"The loops: {NOT_RUN}."
    means = found.groupby(["loop", "model"]).ratio.mean()
    texts = []
    for loop in ("ours-fp32", "ours-bf16"):
        if loop in means.index.get_level_values(0):
            low, high = means[loop].min(), means[loop].max()
            texts.append(
                f"{low:.1f} to {high:.1f} times ({LABELS[loop].partition(', ')[2]})"
            )
    text = (
        "Depending on the network, the book's loop trains "
        f"{' and '.join(texts)} as many images a second as a plain loop over "
        "torchvision's data set with PIL transforms"
    )
    if "lightning" in means.index.get_level_values(0):
        low, high = means["lightning"].min(), means["lightning"].max()
        text += f"; PyTorch Lightning, {low:.1f} to {high:.1f} times"
    return f"{text}. {report_records(results)}".strip()


def report_records(results: Results) -> str:
    """Seconds for the largest number of records; empty if it was not measured."""
    label = list(tables())[-1]
    if label not in results.of(tables()):
        return ""
    table = results.table(tables())
    part = table[table.condition == label]
    return (
        f"{label} are read in {mean_and_std(part.read_seconds)} s and tabulated in "
        f"{mean_and_std(part.tabulate_seconds)} s."
    )


def live(steps: int = 5) -> float:
    """How far the weights of `training.fit` are from those of steps taken by hand.

    The largest difference over the largest change of a weight. Gradient descent with
    momentum in float32, on a small residual network and all training images of digits
    at once: written out with PyTorch alone, and by the engine.
    """
    digits = load("digits")
    images, labels = digits.train.images.float() / 255, digits.train.labels
    mean, std = (torch.tensor(v).view(1, -1, 1, 1) for v in (digits.mean, digits.std))
    settings = {"in_channels": 1, "image_size": digits.image_size, "width": 4}
    torch.manual_seed(0)
    by_hand = models.create("resnet20", **settings)
    before, by_fit = copy.deepcopy(by_hand), copy.deepcopy(by_hand)
    optimizer = torch.optim.SGD(by_hand.parameters(), lr=0.01, momentum=0.9)
    for _ in range(steps):
        optimizer.zero_grad()
        logits = by_hand((images - mean) / std)
        functional.cross_entropy(logits, labels).backward()
        optimizer.step()
    recipe = Recipe(
        name="by hand",
        epochs=steps,
        batch_size=len(images),
        lr=0.01,
        nesterov=False,
        channels_last=False,  # another order of sums, which ReLUs magnify
    )
    training.fit(by_fit, digits, recipe, progress=False)
    old, hand, fit = (
        nn.utils.parameters_to_vector(network.parameters())
        for network in (before, by_hand, by_fit)
    )
    return ((hand - fit).abs().max() / (hand - old).abs().max()).item()


def example(folder: Path) -> RunRecord:
    """The first finished run in a folder of records; raises `RecordError` for none."""
    for record in records.read_all(folder):
        if isinstance(record, RunRecord) and record.status == "finished":
            return record
    raise records.RecordError(f"{folder} has no record of a finished run")


# --- The full survey on many accelerators -------------------------------------------


def full_survey(seeds: int = SEEDS) -> list[Run]:
    """Every network at full size, by the common and by its paper's recipe."""
    firsts = [
        tasks[0] for study in (full(), paper_recipes()) for tasks in study.values()
    ]
    return [replace(run, seed=seed) for run in firsts for seed in range(seeds)]


def fleet_table() -> pd.DataFrame:
    """Hours of the full survey for numbers of accelerators and sustained speeds."""
    plan = full_survey()
    rows = []
    for flops in SUSTAINED:
        for number in FLEETS:
            found = forecast(plan, Fleet(number, flops, FAILURES_PER_HOUR))
            rows.append(
                {
                    "accelerators": number,
                    "sustained (TFLOP/s)": f"{flops / 1e12:.0f}",
                    "runs": found.runs,
                    "accelerator-hours": f"{found.accelerator_hours:.0f}",
                    "hours": f"{found.hours:.1f}",
                    "longest run (hours)": f"{found.longest_hours:.1f}",
                    "failures expected": f"{found.failures:.3f}",
                    f"cost at {PRICES[0]} to {PRICES[1]} $ an hour": "–".join(
                        f"{price * found.accelerator_hours:,.0f}" for price in PRICES
                    ),
                }
            )
    return pd.DataFrame(rows)


def checkpoint_bytes(run: Run) -> int:
    """Weights and the optimizer's one or two moments, four bytes each."""
    moments = 2 if run.recipe.optimizer == "adam" else 1
    settings = tuple(sorted(run.model_args.items()))
    return 4 * (1 + moments) * _parameters(run.model, settings)


@cache  # every network has ten runs in the full survey
def _parameters(model: str, settings: tuple[tuple[str, Setting], ...]) -> int:
    with torch.device("meta"):
        return complexity.count(models.create(model, **dict(settings)))  # type: ignore[arg-type]


def record_bytes(example: RunRecord, epochs: int) -> int:
    """Size of a record with that many epochs, from one with some."""
    curves = {
        name: tuple(islice(cycle(values), epochs))
        for name, values in vars(example.curves).items()
    }
    return len(records.encoded(replace(example, curves=Curves(**curves))))


def report_fleet(example: RunRecord) -> str:
    """What the full survey needs beside time, and what ends the gain of more devices.

    Args:
        example: any finished run; the sizes of the planned records come from it.
    """
    plan, flops, number = full_survey(), SUSTAINED[0], FLEETS[-1]
    found = forecast(plan, Fleet(number, flops, FAILURES_PER_HOUR))
    hours = {r.key: r.recipe.epochs * flops_per_epoch(r) / flops / 3600 for r in plan}
    longest = max(plan, key=lambda run: hours[run.key])
    sizes = {run.key: checkpoint_bytes(run) for run in plan}
    at_once = sum(sorted(sizes.values())[-number:])
    written = sum(sizes[run.key] * run.recipe.epochs for run in plan)
    kept = sum(record_bytes(example, run.recipe.epochs) for run in plan)
    return "\n".join(
        [
            f"- **Time.** {found.runs} runs, {found.accelerator_hours:,.0f} "
            f"accelerator-hours at {flops / 1e12:.0f} TFLOP/s. The longest run, "
            f"*{longest.model}* with its paper's {longest.recipe.epochs} epochs, takes "
            f"{found.longest_hours:.0f} hours: beyond "
            f"{found.accelerator_hours / found.longest_hours:.0f} accelerators the "
            "rest waits for it.",
            f"- **Storage.** The records are {kept / 1e6:.1f} MB. The checkpoints of "
            f"{number} runs at once are at most {at_once / 1e9:.1f} GB, since a "
            "finished run has none; "
            f"written every epoch they are {written / 1e12:.1f} TB in all, "
            f"{written / 1e6 / found.hours / 3600:.1f} MB a second on average on "
            f"{number} accelerators at {flops / 1e12:.0f} TFLOP/s.",
            f"- **Failures.** {found.failures:.3f} are expected. One costs half an "
            "epoch, since a run goes on from its last checkpoint: "
            f"{3600 * found.lost_hours:.1f} accelerator-seconds in all, on average.",
            "- **What breaks first.** The gain of more devices, at the longest run: "
            "it stays on one device, unless `torchrun` shares it between several. "
            "Next is the shared folder: checkpoints that take longer to write than an "
            "epoch to train make the devices wait.",
        ]
    )
