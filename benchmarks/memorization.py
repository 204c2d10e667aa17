"""Exact memorization: time, memory, digits and precision.

    python benchmarks/memorization.py headline     (100, 100) and (400, 250), 1 minute
    python benchmarks/memorization.py growth       3 x 3 to 150 x 150, both methods
    python benchmarks/memorization.py cases        thousands of random problems
    python benchmarks/memorization.py shapes       precision against the shape
    python benchmarks/memorization.py capacity     precision against the capacity used
    python benchmarks/memorization.py choices      what each free choice is worth
    python benchmarks/memorization.py files        saving and loading

MNIST is read from PAPERNETS_DATA. Times are wall and processor seconds of one thread;
nothing is asserted about them, everything is verified exactly.
"""

import argparse
import random
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch

from papernets import memorization
from papernets.data import load
from papernets.memorization import (
    ExactNetwork,
    bits_needed,
    capacity,
    memorize,
    rounded_outputs,
    wrong_answers,
)

POINTS = 10_000


class Timer:
    wall = cpu = 0.0

    def __str__(self) -> str:
        return f"{self.wall:8.2f} s wall {self.cpu:8.2f} s cpu"


@contextmanager
def timed() -> Iterator[Timer]:
    timer, wall, cpu = Timer(), time.perf_counter(), time.process_time()
    yield timer
    timer.wall, timer.cpu = time.perf_counter() - wall, time.process_time() - cpu


def random_points(points: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Five integers below 1000 and a label below 100."""
    rng = np.random.default_rng(seed)
    return rng.integers(0, 1000, (points, 5)), rng.integers(0, 100, points)


def mnist(points: int = POINTS) -> tuple[np.ndarray, np.ndarray]:
    """Training images (points, 784) in 0..255 and one-hot labels (points, 10)."""
    train = load("mnist").train
    images = train.images[:points].reshape(points, -1).numpy().astype(np.int64)
    return images, np.eye(10, dtype=np.int64)[train.labels[:points]]


def peak_memory() -> str:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return f"peak memory {peak / 2**20:.2f} GiB"


def size(network: ExactNetwork) -> str:
    longest, total = network.bits
    return f"numerators of W2: longest {longest:,} bits, all {total / 8e6:,.1f} MB"


def headline(_: argparse.Namespace) -> None:
    problems = [
        ("random points", *random_points(POINTS), 100, 100),
        ("MNIST, one-hot", *mnist(), 400, 250),
    ]
    for name, x, y, a1, a2 in problems:
        with timed() as building:
            network = memorize(x, y, a1, a2)
        with timed() as checking:
            report = network.verify(x, y)
        print(f"({a1}, {a2}), {report.points:,} {name}, {report.outputs} outputs")
        print(f"  built     {building}\n  verified  {checking}")
        print(f"  {size(network)}; {peak_memory()}")
        outputs = rounded_outputs(network, x, torch.float64)
        error = np.abs(outputs - y.reshape(outputs.shape)).max()
        print(
            f"  float64 nn.Sequential: {wrong_answers(outputs, y)} wrong answers, "
            f"largest error {error:.1e}"
        )


def growth(options: argparse.Namespace) -> None:
    """The published arithmetic stops after the first size that takes too long."""
    print(f"{'a1 = a2':>8} {'method':>10} {'built':>33} {'verified, wall':>15}  bits")
    published = True
    for side in options.sizes:
        x, y = random_points(side * side)
        for method in ("compact", "inoue2019"):
            if method == "inoue2019" and not published:
                continue
            with timed() as building:
                network = memorize(x, y, side, side, method=method)
            with timed() as checking:
                network.verify(x, y)
            longest = network.bits[0]
            print(
                f"{side:8} {method:>10} {building!s:>33} {checking.wall:13.2f} s"
                f"  {longest:,}",
                flush=True,
            )
            if method == "inoue2019":
                published = building.wall < options.limit


def random_problem(rng: random.Random) -> dict[str, Any]:
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


def cases(options: argparse.Namespace) -> None:
    done = dict.fromkeys(("compact", "inoue2019"), 0)
    points = 0
    with timed() as timer:
        for seed in range(options.count):
            rng = random.Random(seed)
            problem = random_problem(rng)
            targets = np.array([[Fraction(v) for v in row] for row in problem["y"]])
            method = "inoue2019" if seed % 4 == 0 else "compact"
            network = memorize(**problem, method=method, seed=seed)
            network.verify(problem["x"], problem["y"])
            if not (network.evaluate(problem["x"]) == targets).all():
                raise AssertionError(f"seed {seed}")
            done[method] += 1
            points += len(problem["x"])
    print(f"{done} problems, {points:,} points, all exact, {timer}")


def row(network: ExactNetwork, x: np.ndarray, y: np.ndarray, bits: bool) -> str:
    """Errors and wrong answers in the native formats, and the bits needed."""
    cells = []
    for number in (torch.float32, torch.float64, np.longdouble):
        try:
            outputs = rounded_outputs(network, x, number)
            error = np.abs(outputs - y).max()
            cells.append(f"{error:9.1e} {wrong_answers(outputs, y):6}")
        except OverflowError:
            cells.append(f"{'overflow':>9} {len(x):6}")
    needed = bits_needed(network, x, y) if bits else ""
    return f"{' '.join(cells)} {needed!s:>6} {network.bits[1] / 8e6:8.1f} MB"


HEADER = (
    f"{'float32: error, wrong':>16} {'float64':>11} {'longdouble':>17} "
    f"{'bits':>9} {'W2':>9}"
)


def shapes(options: argparse.Namespace) -> None:
    """At full capacity, N = a1 a2 / 10."""
    x, y = mnist(options.points)
    print(f"{options.points} images\n{'a1':>6} {'a2':>6} {'draws':>6} {HEADER}")
    for a1 in options.a1:
        a2 = options.points // a1 * 10
        for draws in options.draws:
            network = memorize(x, y, a1, a2, draws=draws)
            print(
                f"{a1:6} {a2:6} {draws:6} {row(network, x, y, options.bits)}",
                flush=True,
            )


def used_capacity(options: argparse.Namespace) -> None:
    """(400, 250) holds 10,000 images; fewer are given, with and without restarts."""
    x, y = mnist()
    print(f"{'images':>6} {'restarts':>8} {HEADER}")
    for points in options.count:
        for restarts in (True, False):
            part = x[:points], y[:points]
            network = memorize(*part, 400, 250, restarts=restarts)
            print(
                f"{points:6} {restarts!s:>8} {row(network, *part, options.bits)}",
                flush=True,
            )


def choices(options: argparse.Namespace) -> None:
    """log10 of the largest error of float64, median and range over projections."""
    x, y = mnist(options.points)
    steer = memorization._steer

    def midpoints(line: Any, layout: Any) -> tuple[list[int], float]:
        parts, longest = steer(line, layout)
        return [memorization.GRID // 2 for _ in parts], longest

    settings = [
        ("steered, c_j within 2^-20, 8 draws", steer, 20, 8),
        ("steered, c_j within 2^-20", steer, 20, 1),
        ("midpoints, c_j within 2^-20", midpoints, 20, 1),
        ("steered, c_j to a power of 2", steer, 1, 1),
        ("midpoints, c_j to a power of 2", midpoints, 1, 1),
    ]
    for name, thresholds, margin, draws in settings:
        memorization._steer, memorization.MARGIN = thresholds, margin
        errors = []
        for seed in range(options.seeds):
            network = memorize(x, y, options.a1, options.a2, draws=draws, seed=seed)
            try:
                outputs = rounded_outputs(network, x, torch.float64)
                errors.append(np.log10(np.abs(outputs - y).max()))
            except OverflowError:
                errors.append(np.inf)
        low, middle, high = min(errors), float(np.median(errors)), max(errors)
        print(f"{name:36} {middle:6.1f}  ({low:.1f} to {high:.1f})", flush=True)


def files(_: argparse.Namespace) -> None:
    network = memorize(*random_points(POINTS), 100, 100)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "net.json"
        with timed() as saving:
            network.save(path)
        with timed() as loading:
            again = ExactNetwork.load(path)
        print(f"(100, 100): {size(network)}; file {path.stat().st_size / 1e6:.0f} MB")
        print(f"  saved   {saving}\n  loaded  {loading}")
        print(f"  the same weights: {vars(again) == vars(network)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    commands = parser.add_subparsers(required=True)

    def command(run: Callable[[argparse.Namespace], None]) -> argparse.ArgumentParser:
        name = "capacity" if run is used_capacity else run.__name__
        sub = commands.add_parser(name, help=run.__doc__)
        sub.set_defaults(run=run)
        return sub

    command(headline)
    command(files)
    sub = command(growth)
    sizes = [3, 5, 8, 12, 16, 24, 32, 50, 75, 100, 125, 150]
    sub.add_argument("--sizes", type=int, nargs="+", default=sizes)
    sub.add_argument("--limit", type=float, default=60, help="seconds, published")
    command(cases).add_argument("--count", type=int, default=4000)
    sub = command(shapes)
    shape_a1 = [25, 50, 100, 200, 400, 1000, 2000, 5000]
    sub.add_argument("--a1", type=int, nargs="+", default=shape_a1)
    sub.add_argument("--points", type=int, default=POINTS)
    sub.add_argument("--draws", type=int, nargs="+", default=[1, 8, 64])
    sub.add_argument("--bits", action="store_true", help="also the bits needed; slow")
    sub = command(used_capacity)
    counts = [2500, 5000, 6667, 7500, 9000, 9900, 10_000]
    sub.add_argument("--count", type=int, nargs="+", default=counts)
    sub.add_argument("--bits", action="store_true", help="also the bits needed; slow")
    sub = command(choices)
    sub.add_argument("--a1", type=int, default=100)
    sub.add_argument("--a2", type=int, default=100)
    sub.add_argument("--points", type=int, default=1000)
    sub.add_argument("--seeds", type=int, default=9)
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.run(options)


if __name__ == "__main__":
    main()
