"""What the chapter on exact memorization measures; see `exact_memorization`.

Functions with a data set take its first training images; the others take random points.
All are exact constructions except `learned`. Times are wall and processor seconds of
one thread: only the latter mean something on a machine that has other work.
"""

import math
import multiprocessing
import random
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import torch
from flint import arb, arb_mat, ctx
from torch import Tensor, nn

from papernets.data import Dataset
from papernets.exact_network import project, read_exact
from papernets.memorization import ExactNetwork, capacity, memorize
from papernets.provenance import peak_memory

Values = dict[str, Any]

# 3 x 3 is the article's example. The sizes above 32 are for the compact method alone.
SIDES = (3, 4, 6, 8, 11, 16, 20, 24, 28, 32, 45, 64, 80, 100, 125, 150)
NEAR = 0.01  # a trained output so close to its target counts as fitted
FORMATS: dict[str, Any] = {
    "float32": torch.float32,
    "float64": torch.float64,
    "longdouble": np.longdouble,  # 64 bits on x86, elsewhere 53 or 113
}


@dataclass
class Timer:
    """Seconds of a block of code."""

    wall: float = 0.0
    cpu: float = 0.0


@contextmanager
def timed() -> Iterator[Timer]:
    timer, wall, cpu = Timer(), time.perf_counter(), time.process_time()
    yield timer
    timer.wall, timer.cpu = time.perf_counter() - wall, time.process_time() - cpu


# --- Points ------------------------------------------------------------------------


def random_points(points: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Five integers below 1000 each (N, 5), and a label below 100 (N,)."""
    rng = np.random.default_rng(seed)
    return rng.integers(0, 1000, (points, 5)), rng.integers(0, 100, points)


def first_images(data: Dataset, points: int) -> tuple[np.ndarray, np.ndarray]:
    """Training images (N, pixels) in 0..255 and one-hot labels (N, classes)."""
    images = data.train.images[:points].reshape(points, -1).numpy().astype(np.int64)
    classes = np.eye(data.num_classes, dtype=np.int64)
    return images, classes[data.train.labels[:points]]


# --- Time and size -----------------------------------------------------------------


def headline(data: Dataset | None = None, *, seed: int, a1: int, a2: int) -> Values:
    """Build and verify at full capacity: random points, or images with ten outputs.

    In a process of its own, so that its peak of memory is that of the construction.
    """
    if data is None:
        x, y = random_points(capacity(a1, a2), seed)
    else:
        x, y = first_images(data, capacity(a1, a2, data.num_classes))
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawn) as pool:
        return pool.submit(_headline, x, y, a1, a2, seed).result()


def _headline(x: np.ndarray, y: np.ndarray, a1: int, a2: int, seed: int) -> Values:
    torch.set_num_threads(1)
    with timed() as building:
        network = memorize(x, y, a1, a2, seed=seed)
    with timed() as checking:
        report = network.verify(x, y, seed=seed)
    peak = peak_memory()
    outputs = rounded_outputs(network, x, torch.float64)
    return {
        "points": report.points,
        "outputs": report.outputs,
        "built_wall_seconds": building.wall,
        "built_seconds": building.cpu,
        "verified_wall_seconds": checking.wall,
        "verified_seconds": checking.cpu,
        "peak_memory_gb": peak / 1e9,
        **size(network),
        "float64_wrong": wrong_answers(outputs, y),
        "float64_error": float(np.abs(outputs - y.reshape(outputs.shape)).max()),
    }


def size(network: ExactNetwork) -> Values:
    longest, total = network.bits
    return {"longest_bits": longest, "megabytes": total / 8e6}


def growth(*, seed: int, largest: int, limit_seconds: float) -> Values:
    """Both methods on the same random points, a1 = a2 from 3 to `largest`.

    The published arithmetic is left out after the first size that takes longer than the
    limit. Returns lists, one entry per network.
    """
    rows: list[Values] = []
    published = True
    for side in (side for side in SIDES if side <= largest):
        x, y = random_points(side * side, seed)
        for method in ("compact", "inoue2019") if published else ("compact",):
            with timed() as building:
                network = memorize(x, y, side, side, method=method, seed=seed)
            with timed() as checking:
                network.verify(x, y, seed=seed)
            rows.append(
                {
                    "side": side,
                    "method": method,
                    "built_seconds": building.cpu,
                    "verified_seconds": checking.cpu,
                    **size(network),
                }
            )
            published &= method == "compact" or building.cpu < limit_seconds
    return {name: [row[name] for row in rows] for name in rows[0]}


def random_cases(*, seed: int, count: int) -> Values:
    """Random small problems of all kinds of numbers, built and compared with ==.

    Raises:
        AssertionError: an output is wrong; the message names the seed of the problem.
    """
    done = dict.fromkeys(("compact", "inoue2019"), 0)
    points = 0
    for case in range(seed * count, (seed + 1) * count):
        problem = random_problem(random.Random(case))
        targets = np.array([[Fraction(v) for v in row] for row in problem["y"]])
        method = "inoue2019" if case % 4 == 0 else "compact"
        network = memorize(**problem, method=method, seed=case)
        network.verify(problem["x"], problem["y"])
        if not (network.evaluate(problem["x"]) == targets).all():
            raise AssertionError(f"problem {case} is not represented")
        done[method] += 1
        points += len(problem["x"])
    return {**done, "points": points}


def random_problem(rng: random.Random) -> dict[str, Any]:
    """Arguments of `memorize`: integers, fractions or floats, some points repeated."""
    a1, a2, m = rng.randint(1, 9), rng.randint(1, 12), rng.choice([1, 1, 2, 3, 4])
    d, holds = rng.randint(1, 6), capacity(a1, a2, m)
    points = rng.choice([holds, holds, rng.randint(1, holds)])
    number: Callable[[], Any] = rng.choice(
        [
            lambda: rng.randint(-1000, 1000),
            lambda: Fraction(rng.randint(-99, 99), rng.randint(1, 30)),
            lambda: rng.gauss(0, 1),
            lambda: 1 + rng.randrange(1000) * 2.0**-50,
            lambda: rng.choice([-1e4, 0, 7, 1e4]) + rng.randrange(200),
            lambda: rng.randint(-(10**30), 10**30),
        ]
    )
    x = list({tuple(number() for _ in range(d)) for _ in range(points)})
    y = [[rng.randint(-9, 9) + rng.choice([0, 0.1]) for _ in range(m)] for _ in x]
    again = rng.sample(range(len(x)), min(len(x), rng.randint(0, 3)))
    x, y = x + [x[i] for i in again], y + [y[i] for i in again]
    return {"x": x, "y": y, "a1": a1, "a2": a2}


# --- Precision ---------------------------------------------------------------------


def precision(
    data: Dataset,
    *,
    seed: int,
    a1: int,
    a2: int,
    points: int,
    draws: int = 8,
    restarts: bool = True,
    steer: bool = True,
    margin: int = 20,
    bits: bool = True,
) -> Values:
    """Images in a network of given shape: which number format still knows them all?

    `test_accuracy` is that of the float64 network on the test images, `bits` (if asked
    for) the smallest precision with which all answers are right.
    """
    x, y = first_images(data, points)
    network = memorize(
        *(x, y, a1, a2),
        seed=seed,
        draws=draws,
        restarts=restarts,
        steer=steer,
        margin=margin,
    )
    values = size(network) | in_formats(network, x, y)
    values["bits_needed"] = bits_needed(network, x, y) if bits else None
    values["test_accuracy"] = None
    if values["float64_wrong"] < points:
        images = data.test.images.reshape(len(data.test), -1).double()
        answers = network.to_torch()(images).argmax(1)
        right = answers == data.test.labels
        values["test_accuracy"] = float(right.double().mean())
    return values


def precision_of_method(*, seed: int, method: str, side: int) -> Values:
    """The same of a1 = a2 neurons and random points, for either method."""
    x, y = random_points(side * side, seed)
    network = memorize(x, y, side, side, method=method, seed=seed)
    needed = bits_needed(network, x, y)
    return size(network) | in_formats(network, x, y) | {"bits_needed": needed}


def in_formats(network: ExactNetwork, x: np.ndarray, y: np.ndarray) -> Values:
    """Largest error (None: overflow) and wrong answers in every format of `FORMATS`."""
    values: Values = {"longdouble_bits": int(np.finfo(np.longdouble).nmant) + 1}
    for name, number in FORMATS.items():
        try:
            outputs = rounded_outputs(network, x, number)
            error = float(np.abs(outputs - y.reshape(outputs.shape)).max())
            wrong = wrong_answers(outputs, y)
        except OverflowError:
            error, wrong = math.inf, len(x)
        values[f"{name}_error"] = error if math.isfinite(error) else None
        values[f"{name}_wrong"] = wrong
    return values


def rounded_outputs(network: ExactNetwork, x: Any, number: Any) -> np.ndarray:
    """Outputs (N, m) when weights and arithmetic are rounded, as float64.

    Args:
        network: the exact network.
        x: inputs as in `ExactNetwork.evaluate`.
        number: a torch dtype (the network of `to_torch`), np.longdouble, or a number of
            bits p: weights and values of neurons are rounded to p bits and sums are
            accumulated by flint, with an error of about 2^-p of their largest term.
    """
    values, scale, _ = read_exact(x, "x")
    if isinstance(number, int):
        with ctx.workprec(number):
            weights = network.rounded(number, lambda m, e: arb(m) * arb(2) ** e)
            blocks = np.array_split(values, -(-len(values) // 500))
            return np.concatenate([_bit_outputs(weights, b, scale) for b in blocks])
    if isinstance(number, torch.dtype):
        table = (values / np.array(scale, dtype=object)).astype(np.float64)
        with torch.no_grad():
            outputs = network.to_torch(number)(torch.from_numpy(table).to(number))
        return np.asarray(outputs.double())
    bits = np.finfo(number).nmant + 1

    def make(m: int, e: int) -> Any:
        return np.ldexp(number(m >> 32) * 2**32 + number(m & 0xFFFFFFFF), e)

    w1, b1, w2, b2, w3, b3 = (np.array(v, number) for v in network.rounded(bits, make))
    table = values.astype(number) / np.array(scale, number)
    hidden = np.maximum(table @ w1.T + b1, 0)
    return np.asarray(np.maximum(hidden @ w2.T + b2, 0) @ w3.T + b3, np.float64)


def _bit_outputs(weights: list[Any], x: np.ndarray, scale: list[int]) -> np.ndarray:
    """For some rows, in the current precision of flint."""
    (w,), (b,) = weights[:2]  # all rows of W1 are equal, so there is one sum, t
    common = math.lcm(*scale)
    parts = [(*v.man_exp(), common // q) for v, q in zip(w, scale, strict=True)]
    least = min(int(e) for _, e, _ in parts)
    t = project(x, [int(m) * q << (int(e) - least) for m, e, q in parts])
    sums = [arb(int(v)) * arb(2) ** least / common for v in t]
    layer = [[(v + c).mid() for c in b] for v in sums]
    for w, (b,) in (weights[2:4], weights[4:6]):
        layer = [[v if v > 0 else arb(0) for v in row] for row in layer]
        rows = (arb_mat(layer) * arb_mat(w).transpose()).mid().tolist()
        layer = [[(v + c).mid() for v, c in zip(row, b, strict=True)] for row in rows]
    return np.array([[float(v) for v in row] for row in layer])


def wrong_answers(outputs: np.ndarray, y: Any) -> int:
    """Number of rows whose answer is wrong.

    The answer is the largest of several outputs (N, m), where y has its largest entry,
    or, for one output (N, 1), the nearest of the targets that occur in y.
    """
    values, scale, _ = read_exact(y, "y")
    targets = (values / np.array(scale, dtype=object)).astype(np.float64)
    if targets.shape[1] > 1:
        right = np.take_along_axis(outputs, targets.argmax(1)[:, None], 1)
        finite = np.isfinite(outputs).all(1)
        return int((~finite | ((outputs >= right).sum(1) != 1)).sum())
    levels = np.unique(targets)
    nearest = np.searchsorted((levels[1:] + levels[:-1]) / 2, outputs)
    return int((~(levels[nearest] == targets) | ~np.isfinite(outputs)).sum())


def bits_needed(network: ExactNetwork, x: Any, y: Any, sample: int = 500) -> int:
    """The smallest number of bits with which all answers are right.

    Found by bisection on the first rows, then increased until all rows are right; see
    `rounded_outputs` and `wrong_answers`.
    """

    def right(bits: int, rows: int | None = None) -> bool:
        return wrong_answers(rounded_outputs(network, x[:rows], bits), y[:rows]) == 0

    low, high = 1, 64
    while not right(high, sample):
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if right(middle, sample) else (middle, high)
    while not right(high):
        high += 1
    return high


# --- Learning ----------------------------------------------------------------------


def points_to_learn(
    data: Dataset, points: int, inputs: str, targets: str, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Inputs (N, d) and one digit each (N,).

    Args:
        data: the first training images are taken.
        points: N.
        inputs: "images", "small images" (sums over squares of 4 x 4 pixels), or "line":
            their projection by random integer weights, which is all that the
            construction uses of them.
        targets: "random" digits, or the "own" ones of the images.
        seed: of the projection and the random digits.
    """
    rng = np.random.default_rng(seed)
    x, one_hot = first_images(data, points)
    y = rng.integers(0, 10, points) if targets == "random" else one_hot.argmax(1)
    if inputs == "small images":
        cells = data.image_size // 4
        x = x.reshape(points, cells, 4, cells, 4).sum((2, 4)).reshape(points, -1)
    elif inputs == "line":
        x = x @ rng.integers(-1000, 1001, (x.shape[1], 1))
    return x, y


def constructed(
    data: Dataset, *, seed: int, a1: int, a2: int, inputs: str, targets: str
) -> Values:
    """The exact network for the points of `learned`, at full capacity."""
    x, y = points_to_learn(data, capacity(a1, a2), inputs, targets, seed)
    with timed() as building:
        network = memorize(x, y, a1, a2, seed=seed)
    outputs = rounded_outputs(network, x, torch.float64)[:, 0]
    return {
        "exact": network.verify(x, y, seed=seed).points,
        "built_seconds": building.cpu,
        **shares(torch.from_numpy(outputs), torch.from_numpy(y)),
    }


def learned(
    data: Dataset,
    *,
    seed: int,
    optimizer: str,
    lr: float,
    a1: int,
    a2: int,
    share: float,
    inputs: str,
    targets: str,
    width: int = 1,
    evaluations: int,
) -> Values:
    """Train a network of the construction's shape on some of the points that it holds.

    Full batches in float64, mean squared error, inputs and targets standardized,
    PyTorch's initial weights. Training ends early when every output is within 0.01 of
    its target, or not a number any more.

    Args:
        data: as in `points_to_learn`.
        seed: of the points and the initial weights.
        optimizer: "Adam", "SGD" (momentum 0.9) or "L-BFGS" (strong Wolfe conditions).
        lr: falls to zero along a cosine; L-BFGS begins its line searches with it.
        a1: first hidden layer; times `width`.
        a2: second hidden layer; times `width`.
        share: number of points over a1 a2, the capacity without `width`.
        inputs: as in `points_to_learn`.
        targets: likewise.
        width: multiple of the shape that the construction needs.
        evaluations: of the gradient; the same for all optimizers, up to the end of a
            line search.
    """
    values, labels = points_to_learn(
        data, round(share * capacity(a1, a2)), inputs, targets, seed
    )
    x, y = torch.from_numpy(values).double(), torch.from_numpy(labels).double()
    x = (x - x.mean()) / x.std()
    mean, std = y.mean(), y.std()
    torch.manual_seed(seed)
    model = nn.Sequential(
        nn.Linear(x.shape[1], width * a1),
        nn.ReLU(),
        nn.Linear(width * a1, width * a2),
        nn.ReLU(),
        nn.Linear(width * a2, 1),
    ).double()
    used, outputs = 0, y

    def loss() -> Tensor:
        nonlocal used, outputs
        model.zero_grad()
        result = model(x)[:, 0]
        outputs = result.detach() * std + mean
        error = nn.functional.mse_loss(result, (y - mean) / std)
        error.backward()
        used += 1
        return error.detach()

    def unfinished() -> bool:
        return used < evaluations and bool((outputs - y).abs().max() > NEAR)

    with timed() as training:
        loss()
        if optimizer == "L-BFGS":
            minimise(model, loss, lr, unfinished)
        else:
            kind = {"Adam": torch.optim.Adam, "SGD": torch.optim.SGD}[optimizer]
            momentum = {"momentum": 0.9} if optimizer == "SGD" else {}
            steps = kind(model.parameters(), lr=lr, **momentum)
            cosine = torch.optim.lr_scheduler.CosineAnnealingLR(steps, evaluations)
            while unfinished():
                steps.step()
                cosine.step()
                loss()
    with torch.no_grad():
        final = model(x)[:, 0] * std + mean
    return {
        "points": len(y),
        "parameters": sum(p.numel() for p in model.parameters()),
        "evaluations_used": used,
        "trained_seconds": training.cpu,
        **shares(final, y),
    }


def minimise(
    model: nn.Module,
    loss: Callable[[], Tensor],
    lr: float,
    unfinished: Callable[[], bool],
) -> None:
    """L-BFGS, started anew whenever its line search gives up."""
    last, steps = math.inf, None
    while unfinished():
        steps = steps or torch.optim.LBFGS(
            model.parameters(),
            lr=lr,
            max_iter=20,
            history_size=50,
            tolerance_grad=0,
            tolerance_change=0,
            line_search_fn="strong_wolfe",
        )
        value = float(steps.step(loss))  # at the beginning of these 20 steps
        steps = steps if value < last else None
        last = value


def shares(outputs: Tensor, y: Tensor) -> Values:
    """Shares of the points whose nearest digit is right, and which are fitted."""
    error = (outputs - y).abs()
    mse = float(error.square().mean())
    return {
        "right": float((error < 0.5).double().mean()),
        "near": float((error < NEAR).double().mean()),
        "mse": mse if math.isfinite(mse) else None,
    }
