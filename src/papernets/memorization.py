"""Exact memorization: ReLU networks with two hidden layers through any given points.

K. Inoue, "Expressive Numbers of Two or More Hidden Layer ReLU Neural Networks",
International Journal of Networking and Computing, 2019: hidden layers of a1 and a2
neurons represent any a1 a2 pairs (x, y) with distinct x and scalar y (Theorem 3), and
any a1 (a2 div m) + (a2 mod m) pairs with y of m numbers (Theorem 4), with error zero.

The construction. Integer weights w, the same in every row of W1, put the points on a
line: t = <w, x>, all distinct. Thresholds beta_i cut the line into chunks of
k = a2 div m points, and hidden unit i is relu(t - beta_i), so a unit of the second
layer is a continuous function g_j(t), linear on every chunk, with one slope per chunk
to choose. Chunks are read outwards (left to right) and inwards (right to left) in turn,
the serpentine; in that order g_j has its zero just before point j of every chunk and is
positive from there on. The output is C + sum_j (-1)^j relu(g_j). At point j only the
units 0..j are active, so the slope of g_j is what makes the output right there:

    s_ij = (D_ij - v_ij) / d_ij,    v_i+1,j = v_ij + s_ij L_i,    v_0j = -c_j

with d the distance of the point from beta_i, L_i the length of the chunk, v_ij =
g_j(beta_i) and D_ij = (-1)^j (y_ij - output of the units before j). The zeros stay
between their points if |v_ij| is large enough on every chunk: that bounds c_j below.

`memorize(..., method="inoue2019")` is the published program with its own choices, in
the published arithmetic. `method="compact"` is the same kind of network with

- O(1) integer operations per point: the units already placed are all active, so their
  sum is one affine function; fractions are never reduced, since the denominator of s_ij
  is known to be the product of d over the chunks up to i and the points up to j;
- numbers that floats can hold. |v| is multiplied by (L - d) / d on every chunk, a
  random walk. The thresholds are steered inside their gaps to keep it short, c_j exceeds
  its bound by one part in 2^20 only, and of several projections (`draws`) the one with
  the smallest predicted rounding error is taken;
- restarts: given fewer points than fit, spare units of the first layer set all v back
  to -c in a gap between two chunks. That ends the walk and the growth of the numbers.
"""

import hashlib
import json
import math
import os
import time
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from flint import arb, arb_mat, ctx, fmpq, fmpz
from torch import nn

Progress = Callable[[int, int], None]
Ratio = tuple[Any, Any]  # numerator and positive denominator (fmpz), not reduced

GRID = 16  # thresholds lie at sixteenths of the gap between two chunks
MARGIN = 20  # bits of c_j, which exceeds its bound by one unit in the last of them
ATTEMPTS = 24  # random projections that may fail before the one that always separates


class VerificationError(ValueError):
    """The network does not give the targets; the message names the first wrong rows."""


# --- What the user calls -----------------------------------------------------------


def capacity(a1: int, a2: int, outputs: int = 1) -> int:
    """Points that hidden layers of a1 and a2 neurons hold (Inoue 2019, Theorem 4)."""
    return a1 * (a2 // outputs) + a2 % outputs


def sizes_that_fit(
    points: int, a1: int, a2: int, outputs: int = 1
) -> list[tuple[int, int]]:
    """Sizes (a1, a2) that hold the points: the same a2, the same a1, nearly equal."""
    side = math.isqrt(points * outputs - 1) + 1
    per_output = [a2 // outputs, -(-points // a1), -(-side // outputs)]
    return [(-(-points // k), k * outputs) for k in per_output if k]


def memorize(
    x: Any,
    y: Any,
    a1: int,
    a2: int,
    method: str = "compact",
    *,
    draws: int = 1,
    seed: int = 0,
    restarts: bool = True,
    progress: Progress | None = None,
) -> "ExactNetwork":
    """Build the network with hidden layers of a1 and a2 neurons through all points.

    Args:
        x: inputs, shape (N, d), or (N,) for d = 1. Integers, Fractions or floats, as
            nested sequences, NumPy array or tensor. A float is the dyadic rational it
            stands for; nothing is rounded.
        y: targets, shape (N,) or (N, m), of the same kinds.
        a1: neurons of the first hidden layer.
        a2: neurons of the second. `capacity` must be at least the number of distinct
            inputs; neurons that are not needed get zero weights.
        method: "compact" or "inoue2019", see the text of the module. The published
            arithmetic takes O(N a2) operations on fractions of O(N) digits.
        draws: compact only. Number of projections tried, half of them independent, half
            neighbours of the best.
        seed: seed of the projections.
        restarts: compact only. Use spare neurons of the first layer for restarts.
        progress: called as progress(done, total) with growing done.

    Returns:
        A network whose output equals y exactly on every row of x.

    Raises:
        ValueError: no points; entries that are not finite numbers; equal inputs with
            different targets (equal inputs with equal targets are merged); more points
            than fit. The message names the rows, or sizes that fit.
    """
    if method not in ("compact", "inoue2019"):
        raise ValueError(f"method is {method!r}; there are 'compact' and 'inoue2019'")
    if min(a1, a2, draws) < 1:
        raise ValueError(f"a1, a2, draws are {a1}, {a2}, {draws}: not all positive")
    points, targets = _read(x, "x"), _read(y, "y")
    if len(points.numerators) != len(targets.numerators):
        counts = len(points.numerators), len(targets.numerators)
        raise ValueError("x has {} rows and y has {}".format(*counts))
    keep = _distinct_rows(points.numerators, targets.numerators)
    m = targets.numerators.shape[1]
    if len(keep) > capacity(a1, a2, m):
        fits = " or ".join(map(str, sizes_that_fit(len(keep), a1, a2, m)))
        raise ValueError(
            f"{len(keep)} points with {m} outputs do not fit into (a1, a2) = "
            f"({a1}, {a2}), which holds {capacity(a1, a2, m)}; {fits} would do"
        )
    problem = _Problem(
        points.numerators[keep],
        targets.numerators[keep].astype(object),
        a1,
        a2,
        _Layout.of(len(keep), a1, a2 // m, restarts and method == "compact"),
        progress or (lambda done, total: None),
    )
    if method == "compact":
        network = _compact(problem, draws, seed)
    else:
        network = _inoue2019(problem)
    return replace(
        network,  # in the integers of _read; back to x and y
        projection=[
            w * q for w, q in zip(network.projection, points.scale, strict=True)
        ],
        w3=[[w / q for w in r] for r, q in zip(network.w3, targets.scale, strict=True)],
        b3=[b / q for b, q in zip(network.b3, targets.scale, strict=True)],
        vector=targets.vector,
    )


# --- Reading data ------------------------------------------------------------------


class _Exact(NamedTuple):
    numerators: np.ndarray  # (N, columns), int64 or Python integers
    scale: list[int]  # the values are numerators / scale, column by column
    vector: bool  # the data had one axis


def _read(data: Any, name: str) -> _Exact:
    """Exact values of a table of numbers, over one denominator per column."""
    if isinstance(data, torch.Tensor):
        data = data.detach().cpu()
        data = (data.double() if data.is_floating_point() else data).numpy()
    if not hasattr(data, "__array__"):  # np.array alone would round large integers
        data = np.array(data, dtype=object)
    table = np.asarray(data)
    if table.ndim not in (1, 2) or table.size == 0:
        raise ValueError(f"{name} has shape {table.shape}; expected rows of numbers")
    vector = table.ndim == 1
    table = table.reshape(len(table), -1)
    if table.dtype.kind in "bi":
        return _Exact(table.astype(np.int64), [1] * table.shape[1], vector)
    if table.dtype.kind == "f" and table.dtype.itemsize <= 8:
        exact = _read_floats(table.astype(np.float64), name)
        if exact is not None:
            return _Exact(*exact, vector)
    ratios = [[_ratio(value) for value in row] for row in table.tolist()]
    bad = [i for i, row in enumerate(ratios) if None in row]
    if bad:
        raise ValueError(f"{name} has entries that are not finite numbers{_rows(bad)}")
    scale = [math.lcm(*(q for _, q in column)) for column in zip(*ratios, strict=True)]
    numerators = np.empty(table.shape, object)
    for i, row in enumerate(ratios):
        numerators[i] = [p * (s // q) for (p, q), s in zip(row, scale, strict=True)]
    return _Exact(numerators, scale, vector)


def _read_floats(table: np.ndarray, name: str) -> tuple[np.ndarray, list[int]] | None:
    """Floats as int64 numerators over powers of two, or None where 64 bits are few."""
    finite = np.isfinite(table).all(1)
    if not finite.all():
        bad = np.flatnonzero(~finite).tolist()
        raise ValueError(f"{name} has entries that are not finite numbers{_rows(bad)}")
    mantissa, exponent = np.frexp(table)
    odd = (mantissa * 2.0**53).astype(np.int64)
    trailing = np.frexp((odd & -odd).astype(np.float64))[1] - 1
    odd >>= np.maximum(trailing, 0)
    exponent = np.where(odd == 0, 0, exponent - 53 + trailing)
    lowest = np.minimum(exponent.min(0), 0)
    shift = exponent - lowest
    if (np.frexp(odd.astype(np.float64))[1] + shift > 62).any():
        return None
    return odd << shift, [2 ** int(-e) for e in lowest]


def _ratio(value: Any) -> tuple[int, int] | None:
    """Numerator and denominator of a number; None for anything else."""
    if isinstance(value, fmpq | fmpz):
        value = fmpq(value)
        return int(value.p), int(value.q)
    try:
        numerator, denominator = value.as_integer_ratio()
    except (AttributeError, ValueError, OverflowError):
        return None
    return int(numerator), int(denominator)


def _rows(rows: Sequence[int]) -> str:
    """' in row 3', ' in rows 3, 8, 9, 12, 15 and 7 more'."""
    more = f" and {len(rows) - 5} more" if len(rows) > 5 else ""
    return f" in row{'s'[: len(rows) > 1]} {', '.join(map(str, rows[:5]))}{more}"


def _distinct_rows(x: np.ndarray, y: np.ndarray) -> list[int]:
    """The first row of every distinct input; equal inputs must have equal targets."""
    first: dict[Any, int] = {}
    bad = []
    for i, row in enumerate(x):
        key = tuple(row.tolist()) if row.dtype == object else row.tobytes()
        same = first.setdefault(key, i)
        if (y[i] != y[same]).any():
            bad.append((same, i))
    if bad:
        pairs = ", ".join(f"{a} and {b}" for a, b in bad[:5])
        more = f" and {len(bad) - 5} more pairs" if len(bad) > 5 else ""
        raise ValueError(f"equal inputs with different targets: rows {pairs}{more}")
    return list(first.values())


# --- The line: projection, chunks, thresholds --------------------------------------


@dataclass(frozen=True)
class _Layout:
    """How N points are dealt to the chunks; depends on the sizes alone."""

    size: int  # k: points per chunk, and second-layer units per output
    inward: list[bool]  # per chunk: read from the far end
    fresh: list[bool]  # per chunk: v starts at -c here
    padding: int  # points invented to fill the last chunk
    extra: int  # points beyond a1 k, one unit each for all outputs (Theorem 4)

    @classmethod
    def of(cls, points: int, a1: int, k: int, restarts: bool) -> "_Layout":
        regular = min(points, a1 * k)
        if regular == 0:
            return cls(0, [], [], 0, points)
        chunks = -(-regular // k)
        if restarts:  # a free unit between any two chunks is worth shorter chunks
            chunks = max(chunks, min(regular, (a1 + 1) // 2))
        size = -(-regular // chunks)
        chunks = -(-regular // size)
        runs = 1 + (min(a1 - chunks, chunks - 1) if restarts else 0)
        run = [i * runs // chunks for i in range(chunks)]
        fresh = [i == 0 or run[i] != run[i - 1] for i in range(chunks)]
        # Units of extra points are active beyond the last chunk: it must lead outwards.
        inward: list[bool] = []
        for new in fresh:
            flip = points > regular and chunks % 2 == 0
            inward.append(not inward[-1] if inward and not new else flip)
        return cls(size, inward, fresh, chunks * size - regular, points - regular)

    @property
    def chunks(self) -> int:
        return len(self.fresh)


@dataclass(frozen=True)
class _Problem:
    """Distinct points and their targets in integers, and where they are to go."""

    x: np.ndarray  # (N, d)
    y: np.ndarray  # (N, m), Python integers
    a1: int
    a2: int
    layout: _Layout
    progress: Progress


def _project(x: np.ndarray, w: Sequence[int]) -> np.ndarray:
    """t = <w, x> for integer rows, in int64 where that is safe."""
    if x.dtype != object:
        largest = max(-int(x.min()), int(x.max()))
        if largest * sum(map(abs, w)) < 2**58:
            return np.asarray(x @ np.array(w, dtype=np.int64))
    return np.asarray(x.astype(object) @ np.array([int(v) for v in w], dtype=object))


def _radix_projection(x: np.ndarray) -> list[int]:
    """Weights that separate the rows of any table: every one outweighs all before it.

    From the smallest gap and the range of each coordinate, as in the proof; the
    published program reads them off the coordinates in the wrong order and takes the
    gap for 1.
    """
    weights: list[int] = []
    reach = 0  # largest difference of <w, x> over the coordinates so far
    for column in x.T:
        values = sorted(set(column.tolist()))
        gap = min((b - a for a, b in zip(values, values[1:], strict=False)), default=1)
        weights.append(int(reach // gap + 1))
        reach += weights[-1] * (values[-1] - values[0])
    return weights


def _separates(t: np.ndarray) -> bool:
    return len(set(t.tolist())) == len(t)


def _random_projection(x: np.ndarray, rng: np.random.Generator) -> list[int]:
    """Small random weights that separate the rows.

    N points drawn from an interval of length N^2 are probably distinct; longer ones
    only add digits. The weights grow until they are.
    """
    if x.shape[1] == 1:
        return [1]
    spans = [int(max(column) - min(column)) for column in x.T.tolist()]
    size = len(x) ** 2 * math.isqrt(x.shape[1]) // max(1, sum(spans)) + 2
    for attempt in range(ATTEMPTS):
        w = [round(size * 2 ** (attempt // 4) * g) for g in rng.normal(size=len(spans))]
        if _separates(_project(x, w)):
            return w
    return _radix_projection(x)


def _fill(t: list[int], layout: _Layout, step: int) -> list[int]:
    """The regular points on the line, with the padding behind them."""
    regular = t[: len(t) - layout.extra]
    return regular + [regular[-1] + step * (i + 1) for i in range(layout.padding)]


class _Geometry(NamedTuple):
    """A line cut into chunks, in floats relative to its length."""

    d: np.ndarray  # (chunks, k): distances from the threshold, in serpentine order
    length: np.ndarray  # (chunks,)
    rest: np.ndarray  # (chunks,): length of the restart interval after the chunk


def _steer(t: Sequence[int], step: int, layout: _Layout) -> tuple[list[int], _Geometry]:
    """Choose the thresholds between the chunks, as sixteenths of the gap they lie in.

    Over an outward and an inward chunk |v_j| changes by a product of two (L - d) / d
    that is 1 for even spacing. For random spacing its logarithm does a random walk over
    the chunks. A threshold divides its gap between the two chunks and so moves the last
    steps of all k walks at once; it is put where their sum of squares is smallest.
    """
    n, k = layout.chunks, layout.size
    line = np.array([v - t[0] for v in t], dtype=object).reshape(n, k)
    span = line[-1, -1] + 2 * step
    ahead = ((line - line[:, :1]) / span).astype(float)  # from the first point
    behind = ((line[:, -1:] - line) / span).astype(float)  # to the last point
    between = (line[1:, 0] - line[:-1, -1]) / span if n > 1 else []
    gap = np.maximum(np.array([step / span, *between, step / span], float), 1e-300)
    even = np.log((k - np.arange(k)) / (np.arange(k) + 1.0))

    def step_of_walk(i: int, left: Any, right: Any) -> np.ndarray:
        """log |(L - d) / d| less its value at even spacing, (candidates, k)."""
        inner, outer = ahead[i] + left, behind[i] + right
        if layout.inward[i]:
            return np.log(outer[:, ::-1] / inner[:, ::-1]) + even
        return np.log(outer / inner) - even

    candidates = np.arange(1, GRID)[:, None]
    quarter = GRID // 4
    chosen: list[int] = []  # sixteenths of gap i + 1 that belong to chunk i
    near = [gap[0]]
    far: list[float] = []
    walk = np.zeros(k)
    for i in range(n - 1):
        if layout.fresh[i + 1]:  # the middle half of the gap is for the restart
            chosen.append(quarter)
            walk = np.zeros(k)
        else:
            right = gap[i + 1] * candidates / GRID
            left = gap[i + 1] - right
            last = i + 2 == n or layout.fresh[i + 2]
            share = gap[i + 2] / (1 if i + 2 == n else 4 if last else 2)
            first = step_of_walk(i, near[-1], right)
            both = walk + first + step_of_walk(i + 1, left, share)
            best = int(np.square(both).sum(1).argmin())
            chosen.append(best + 1)
            walk = walk + first[best]
        far.append(gap[i + 1] * chosen[-1] / GRID)
        rest = gap[i + 1] / 2 if layout.fresh[i + 1] else 0.0
        near.append(gap[i + 1] - far[-1] - rest)
    far.append(gap[n])
    left, right = np.array(near)[:, None], np.array(far)[:, None]
    length = (ahead[:, -1:] + left + right)[:, 0]
    d = np.where(
        np.array(layout.inward)[:, None], (ahead + left)[:, ::-1], ahead + left
    )
    rests = gap[1:] / 2 * np.array([*layout.fresh[1:], False])
    return chosen, _Geometry(d, length, rests)


def _predict(line: _Geometry, y: np.ndarray, layout: _Layout) -> float:
    """log2 of the error to expect in float64, for one output: the recursion in floats.

    y (chunks, k) in serpentine order. Rounding changes every product W2_ji relu(t -
    beta_i) by one part in 2^53; their root sum of squares at the ends of some chunks.
    """
    n, k = line.d.shape
    inward, length = np.array(layout.inward), line.length
    sign = np.where(inward, 1.0, -1.0)  # of v
    low = y.min() - 1.0
    level, slope = np.zeros(n), np.zeros(n)  # sum of the units placed: level + slope d
    weights = np.zeros((2 * n, k))  # slopes of chunks and of restarts in turn
    offsets = np.zeros(k)
    for j in range(k):
        d, sigma = line.d[:, j], (-1.0) ** j
        residual = sigma * (y[:, j] - low - level - slope * d)
        previous = line.d[:, j - 1] if j else np.where(inward, length, 0.0)
        bound = np.maximum(residual, 0) * previous / np.abs(d - previous)
        if j + 1 < k:
            move = line.d[:, j + 1] - d
            rise = sigma * (y[:, j + 1] - y[:, j] - slope * move)
            bound = np.maximum(bound, rise * d / np.abs(move) + sign * residual)
        turn, gain = (length - d) / d, -sign * residual * length / d
        factors, addends = [], []  # |v| = factor c + addend
        factor, addend = 1.0, 0.0
        for i, fresh in enumerate(layout.fresh):
            if fresh:
                factor, addend = 1.0, 0.0
            factors.append(factor)
            addends.append(addend)
            factor, addend = factor * turn[i], addend * turn[i] + gain[i]
        c = max(0.0, ((bound - addends) / factors).max()) * (1 + 2.0**-MARGIN)
        v = sign * (np.array(factors) * c + addends)
        s = (residual - v) / d
        level, slope = level + sigma * v, slope + sigma * s
        back = (-c - v - s * length) / np.where(line.rest > 0, line.rest, np.inf)
        weights[::2, j], weights[1::2, j] = s, np.where(line.rest > 0, back, s)
        offsets[j] = c
    knots = np.cumsum(np.stack([length, line.rest], 1).ravel())
    starts = np.concatenate([[0.0], knots[:-1]])
    weights[1:] -= weights[:-1].copy()
    ends = knots[:: max(1, 2 * n // 64)]
    reach = np.maximum(ends[:, None] - starts, 0)
    total = (reach**2 @ weights**2).sum(1).max() + (offsets**2).sum()
    return float(np.log2(total) / 2 - 53) if np.isfinite(total) else math.inf


@dataclass(frozen=True)
class _Line:
    """Projection, order and thresholds, exact."""

    w: list[int]  # (d,)
    points: np.ndarray  # (chunks, k): row of x, in serpentine order; padding repeats
    d: list[list[Any]]  # (chunks, k): distances from the threshold of the chunk
    length: list[Any]  # (chunks,)
    rest: list[Any]  # (chunks,): length of the restart interval after it, or 0
    thresholds: list[int]  # of chunks and restarts, growing
    extra: list[tuple[int, Any]]  # row of x, distance from the last threshold


def _scaled(t: np.ndarray, layout: _Layout) -> tuple[list[int], int]:
    """Sorted points in sixteenths with the padding, and a typical gap."""
    line = [GRID * int(v) for v in t[: len(t) - layout.extra]] or [GRID * int(t[0])]
    step = max(GRID, (line[-1] - line[0]) // len(line) // GRID * GRID)
    return line + [line[-1] + step * (i + 1) for i in range(layout.padding)], step


def _serpentine(order: np.ndarray, layout: _Layout) -> np.ndarray:
    """Rows of x in chunks (chunks, k), every chunk in its reading order."""
    regular = order[: len(order) - layout.extra]
    rows = np.concatenate([regular, np.repeat(regular[-1:], layout.padding)])
    rows = rows.reshape(layout.chunks, layout.size)
    return np.where(np.array(layout.inward, bool)[:, None], rows[:, ::-1], rows)


def _cut(problem: _Problem, w: list[int]) -> _Line:
    """Order the points along w and put the thresholds between them."""
    layout = problem.layout
    t = _project(problem.x, w)
    order = np.argsort(t, kind="stable")
    t = t[order]
    line, step = _scaled(t, layout)
    k, chosen = layout.size, _steer(line, step, layout)[0] if layout.chunks else []
    near, thresholds, far, rest = [line[0] - step], [line[0] - step], [], []
    for i, part in enumerate(chosen):
        last, gap = line[(i + 1) * k - 1], line[(i + 1) * k] - line[(i + 1) * k - 1]
        far.append(last + gap // GRID * part)
        near.append(last + gap - gap // 4 if layout.fresh[i + 1] else far[-1])
        thresholds += sorted({far[-1], near[-1]})
        rest.append(near[-1] - far[-1])
    far.append(line[-1] + step)
    d = [
        [fmpz(abs(v - b)) for v in line[i * k : (i + 1) * k][:: -1 if turned else 1]]
        for i, (b, turned) in enumerate(zip(near, layout.inward, strict=False))
    ]
    beyond = range(len(t) - layout.extra, len(t))
    return _Line(
        w=[GRID * v for v in w],
        points=_serpentine(order, layout),
        d=d,
        length=[fmpz(b - a) for a, b in zip(near, far, strict=True)],
        rest=[fmpz(r) for r in [*rest, 0]],
        thresholds=thresholds,
        extra=[(int(order[p]), fmpz(GRID * int(t[p]) - near[-1])) for p in beyond],
    )


# --- The compact form --------------------------------------------------------------


def _compact(problem: _Problem, draws: int, seed: int) -> "ExactNetwork":
    """The construction in integers, O(1) operations per point and output."""
    layout, m = problem.layout, problem.y.shape[1]
    line = _draw(problem, draws, seed)
    n, k = layout.chunks, layout.size
    one, zero = fmpz(1), fmpz(0)
    unit = 2**MARGIN  # targets are counted in 2^-20, so that c_j can be an integer
    low = [unit * (int(column.min()) - 1) for column in problem.y.T]
    y = [
        [[unit * int(v) for v in problem.y[row, o]] for row in line.points]
        for o in range(m)
    ]
    # R(i, j), the product of d over the chunks up to i since the last restart and their
    # first j points, is the denominator of residual and slope; row is its last factor.
    rectangle, row = [one] * n, [one] * n
    residual = [[fmpz(y[o][i][0] - low[o]) for i in range(n)] for o in range(m)]
    slope = [[zero] * n for _ in range(m)]
    network = _Assembly(problem, line.w, line.thresholds)
    for j in range(k):
        sigma = (-1) ** j
        d = [chunk[j] for chunk in line.d]
        column = _running_products(d, layout.fresh)  # over the chunks before
        old, rectangle = (
            rectangle,
            [r * c * v for r, c, v in zip(rectangle, column, d, strict=True)],
        )
        bounds = _Bounds(line, layout, j, old)
        network.add_column(_denominators(rectangle, line, layout))
        for o in range(m):
            rises = [v[j + 1] - v[j] if j + 1 < k else 0 for v in y[o]]
            c = bounds.smallest(residual[o], slope[o], rises, sigma)
            s, v = zero, zero
            weights: list[Any] = []
            for i in range(n):
                if layout.fresh[i]:
                    back = -c * rectangle[i - 1] - v
                    ...
