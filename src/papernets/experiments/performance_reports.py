"""What the performance chapter's records say: ratios, shares, growth, a forecast."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pandas as pd
import torch

from papernets import complexity, models
from papernets.experiments import Results, mean_and_std
from papernets.experiments.campaign import Fleet, forecast
from papernets.experiments.model_survey import full, paper_recipes
from papernets.experiments.performance import (
    IMAGES,
    LOOPS,
    TARGET_LOOPS,
    TARGETS,
    growth,
    machine,
    runs,
    shares,
    speed,
    tables,
    target,
)
from papernets.records import Run

LABELS = {
    "plain-0": "plain loop, no workers",
    "plain-2": "plain loop, 2 workers",
    "lightning": "PyTorch Lightning",
    "ours-fp32": "this book, fp32",
    "ours-bf16": "this book, bf16",
    "ours-compiled": "this book, bf16, compiled",
}
BASE = "plain-0"
NOT_RUN = "not run yet"

# Unexpected interruptions of one accelerator: 419 of 16,384 in 54 days (Llama team,
# arXiv:2407.21783, section 3.3.4).
FAILURES_PER_HOUR = 419 / (16_384 * 54 * 24)
SEEDS = 5
SUSTAINED = (3e13, 1e14)  # FLOP/s: assumed, since no accelerator was measured
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


def report_speed(results: Results) -> str:
    """The ratios against the goals: three times the plain loop on ResNet-20, twice it
    everywhere, never slower than Lightning."""
    found = ratios(results)
    if found.empty:
        return f"The loops: {NOT_RUN}."
    best = found[found.loop.str.startswith("ours")]
    means = best.groupby(["model", "loop"]).ratio.mean()
    lines = []
    for model in IMAGES:
        if model not in means.index.get_level_values(0):
            continue
        loop = str(means[model].idxmax())
        own = best[(best.model == model) & (best.loop == loop)]
        text = f"- *{model}*: {LABELS[loop]} is **{mean_and_std(own.ratio)} times** "
        text += "as fast as the plain loop"
        other = found[(found.model == model) & (found.loop == "lightning")]
        if len(other):
            against = own.set_index("seed").rate / other.set_index("seed").rate
            text += f" and {mean_and_std(against)} times as fast as PyTorch Lightning"
        lines.append(text + ".")
    return "\n".join(lines)


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


def growth_frame(results: Results) -> pd.DataFrame:
    """Seconds of training against one quantity at a time.

    Columns: `quantity` ("epochs", "images", "width"), `value`, `seconds`, `cost`: what
    the time should be proportional to, epochs x images x multiply-adds.
    """
    if not results.of(growth()):
        return pd.DataFrame(columns=["quantity", "value", "seconds"])
    table = results.table(growth())
    quantity = table.condition.str.split(" ").str[0]
    macs = {
        width: complexity.profile(
            models.create("resnet20", width=width), (3, 32, 32)
        ).macs
        for width in table.width.unique()
    }
    return pd.DataFrame(
        {
            "quantity": quantity,
            "value": [
                row[q] for q, (_, row) in zip(quantity, table.iterrows(), strict=True)
            ],
            "seconds": table.training_seconds,
            "cost": table.epochs * table.images * table.width.map(macs),
        }
    )


def count_frame(results: Results) -> pd.DataFrame:
    """Seconds for numbers of short runs; `number`, `jobs`, `seconds`."""
    if not results.of(runs()):
        return pd.DataFrame(columns=["number", "jobs", "seconds"])
    table = results.table(runs())
    return pd.DataFrame(
        {"number": table.runs, "jobs": table.jobs, "seconds": table.total_seconds}
    )


def record_table(results: Results) -> pd.DataFrame:
    """Seconds to read and to tabulate records, a row per number of them."""
    rows = {label: {"read (s)": NOT_RUN} for label in tables()}
    if results.of(tables()):
        table = results.table(tables())
        for label, part in table.groupby("condition", sort=False):
            rows[str(label)] = {
                "read (s)": mean_and_std(part.read_seconds),
                "tabulate (s)": mean_and_std(part.tabulate_seconds),
            }
    return pd.DataFrame.from_dict(rows, orient="index").fillna("-")


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
                }
            )
    return pd.DataFrame(rows)
