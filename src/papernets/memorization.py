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
  random walk. Thresholds are steered inside their gaps to keep it short, c_j exceeds
  its bound by one part in 2^20 only, and of several projections (`draws`) the one with
  the smallest predicted rounding error is taken;
- restarts: given fewer points than fit, spare units of the first layer set all v back
  to -c in a gap between two chunks. That ends the walk and the growth of the numbers.
"""

import hashlib
import itertools
import json
import math
import numbers
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

MARGIN = 20  # bits of c_j, which exceeds its bound by one unit in the last of them
GRID = 16  # thresholds lie at sixteenths of the gap between two chunks
ATTEMPTS = 24  # random projections that may fail before the one that always separates
FORMAT, VERSION = "papernets exact network", 1  # of the files


class VerificationError(ValueError):
    """The network does not give the targets; the message names the first wrong rows."""


# --- What the user calls -----------------------------------------------------------


def capacity(a1: int, a2: int, outputs: int = 1) -> int:
    """Points that hidden layers of a1 and a2 neurons hold (Inoue 2019, Theorem 4)."""
    return a1 * (a2 // outputs) + a2 % outputs


def sizes_that_fit(
    points: int, a1: int, a2: int, outputs: int
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
    draws: int = 8,
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
        draws: compact only. Number of projections tried; with more of them fewer bits
            are needed. Each costs some 20 ms for 10,000 points.
        seed: compact only. Seed of the projections.
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
    if len(points.values) != len(targets.values):
        rows = f"{len(points.values)} rows and y has {len(targets.values)}"
        raise ValueError(f"x has {rows}")
    keep = _distinct_rows(points.values, targets.values)
    m = targets.values.shape[1]
    if len(keep) > capacity(a1, a2, m):
        fits = " or ".join(map(str, sizes_that_fit(len(keep), a1, a2, m)))
        raise ValueError(
            f"{len(keep)} points with {m} outputs do not fit into (a1, a2) = "
            f"({a1}, {a2}), which holds {capacity(a1, a2, m)}; {fits} would do"
        )
    compact = method == "compact"
    unit = 2 ** (MARGIN * compact)  # "compact" counts targets in 2^-20: integer c_j
    problem = _Problem(
        points.values[keep],
        targets.values[keep].astype(object) * unit,
        a1,
        a2,
        _Layout.of(len(keep), a1, a2 // m, restarts and compact),
        progress or (lambda done, total: None),
    )
    network = _compact(problem, draws, seed) if compact else _inoue2019(problem)
    scale = [unit * q for q in targets.scale]
    return replace(
        network,
        vector=targets.vector,
        projection=[
            w * q for w, q in zip(network.projection, points.scale, strict=True)
        ],
        w3=[[w / q for w in row] for row, q in zip(network.w3, scale, strict=True)],
        b3=[b / q for b, q in zip(network.b3, scale, strict=True)],
    )


# --- Reading data ------------------------------------------------------------------


class _Exact(NamedTuple):
    values: np.ndarray  # (N, columns), int64 or Python integers
    scale: list[int]  # the data are values / scale, column by column
    vector: bool  # the data had one axis


def _read(data: Any, name: str) -> _Exact:
    """Exact values of a table of numbers, over one denominator per column."""
    if isinstance(data, torch.Tensor):
        data = data.detach().cpu()
        data = (data.double() if data.is_floating_point() else data).numpy()
    if not hasattr(data, "__array__"):  # without dtype NumPy would round large integers
        data = np.array(data, dtype=object)
    table = np.asarray(data)
    if table.ndim not in (1, 2) or table.size == 0:
        raise ValueError(f"{name} has shape {table.shape}; expected rows of numbers")
    vector = table.ndim == 1
    table = table.reshape(len(table), -1)
    if table.dtype.kind in "bi":
        return _Exact(table.astype(np.int64), [1] * table.shape[1], vector)
    if table.dtype.kind == "f" and table.dtype.itemsize <= 8:
        for bits in range(0, 64, 4):  # large tables of simple floats stay in NumPy
            with np.errstate(over="ignore"):
                scaled = np.ldexp(table.astype(np.float64), bits)
            simple = (np.abs(scaled) < 2.0**62) & (scaled == np.rint(scaled))
            if simple.all():
                scale = [2**bits] * table.shape[1]
                return _Exact(scaled.astype(np.int64), scale, vector)
    ratios: list[Any] = [[_ratio(value) for value in row] for row in table.tolist()]
    bad = [i for i, row in enumerate(ratios) if None in row]
    if bad:
        raise ValueError(f"{name} has entries that are not finite numbers{_rows(bad)}")
    scale = [math.lcm(*(q for _, q in column)) for column in zip(*ratios, strict=True)]
    values = np.empty(table.shape, object)
    for i, row in enumerate(ratios):
        values[i] = [p * (s // q) for (p, q), s in zip(row, scale, strict=True)]
    return _Exact(values, scale, vector)


def _ratio(value: Any) -> tuple[int, int] | None:
    """Numerator and denominator of a number; None for anything else."""
    if isinstance(value, fmpq | fmpz):
        return int(fmpq(value).p), int(fmpq(value).q)
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
        key = tuple(row) if row.dtype == object else row.tobytes()
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
    inward: np.ndarray  # (chunks,): read from the far end
    fresh: np.ndarray  # (chunks,): v is v_0 here, at the first and after restarts
    padding: int  # points invented to fill the last chunk
    extra: int  # points beyond a1 k, one unit each for all outputs (Theorem 4)

    @classmethod
    def of(cls, points: int, a1: int, k: int, restarts: bool) -> "_Layout":
        regular = min(points, a1 * k)
        if not regular:
            none = np.zeros(0, dtype=bool)
            return cls(0, none, none, 0, points)
        chunks = -(-regular // k)
        if restarts:  # up to one after every chunk; then shorter chunks
            chunks = max(chunks, min(regular, (a1 + 1) // 2))
        size = -(-regular // chunks)
        chunks = -(-regular // size)
        runs = 1 + (min(a1 - chunks, chunks - 1) if restarts else 0)
        run = np.arange(chunks) * runs // chunks
        fresh = np.diff(run, prepend=-1) > 0
        inward = (np.arange(chunks) - np.flatnonzero(fresh)[run]) % 2 == 1
        if points > regular and chunks % 2 == 0:
            inward = ~inward  # extra points follow the last chunk: it leads outwards
        return cls(size, inward, fresh, chunks * size - regular, points - regular)

    def serpentine(self, table: np.ndarray) -> np.ndarray:
        """A table (chunks, columns), the rows of inward chunks reversed."""
        return np.where(self.inward[:, None], table[:, ::-1], table)


@dataclass(frozen=True)
class _Problem:
    """Distinct points and their targets in integers, and where they are to go."""

    x: np.ndarray  # (N, d)
    y: np.ndarray  # (N, m), Python integers
    a1: int
    a2: int
    layout: _Layout
    progress: Progress


class _Line(NamedTuple):
    """Points in the order of t = <w, x>, from left to right."""

    w: list[int]  # (d,)
    t: np.ndarray  # (chunks, k), Python integers, distinct
    rows: np.ndarray  # (chunks, k): rows of x; the last one stands for padding
    extra: list[tuple[int, int]]  # row of x and t of the extra points
    step: int  # a typical gap


def _project(x: np.ndarray, w: Sequence[int]) -> np.ndarray:
    """t = <w, x> for integer rows, in int64 where that is safe."""
    if x.dtype != object:
        largest = max(-int(x.min()), int(x.max()))
        if largest * sum(map(abs, w)) < 2**62:
            return np.asarray(x @ np.array(w, dtype=np.int64))
    return np.asarray(x.astype(object) @ np.array(w, dtype=object))


def _order(problem: _Problem, w: list[int], grid: int) -> _Line | None:
    """The points along grid w, with padding; None if w does not separate them."""
    layout = problem.layout
    t = _project(problem.x, w)
    order = np.argsort(t, kind="stable")
    line = [grid * int(v) for v in t[order]]
    if any(a == b for a, b in itertools.pairwise(line)):
        return None
    regular = len(line) - layout.extra
    step = grid * max(1, (line[-1] - line[0]) // grid // len(line))
    pads = range(layout.padding)
    filled = line[:regular] + [line[regular - 1] + step * (i + 1) for i in pads]
    rows = [*order[:regular], *(order[regular - 1] for _ in pads)]
    shape = len(layout.fresh), layout.size
    return _Line(
        w=[grid * v for v in w],
        t=np.array(filled, dtype=object).reshape(shape),
        rows=np.array(rows, dtype=np.int64).reshape(shape),
        extra=list(zip(order[regular:].tolist(), line[regular:], strict=True)),
        step=step,
    )


def _radix_projection(x: np.ndarray) -> list[int]:
    """Weights that separate the rows of any table: every one outweighs all before it.

    From the smallest gap and the range of each coordinate, as in the proof. (The
    published program reads the ranges in the wrong order and takes all gaps for 1.)
    """
    weights: list[int] = []
    reach = 0  # largest difference of <w, x> over the coordinates so far
    for column in x.T:
        values = sorted(set(column.tolist()))
        gap = min((b - a for a, b in itertools.pairwise(values)), default=1)
        weights.append(reach // gap + 1)
        reach += weights[-1] * (values[-1] - values[0])
    return weights


def _random_lines(problem: _Problem, rng: np.random.Generator) -> Iterator[_Line]:
    """Random projections with small weights, without end.

    N points drawn from an interval of length N^2 are probably distinct; longer weights
    only add digits. They grow as long as points coincide.
    """
    count, d = problem.x.shape
    spans = sum(int(column.max()) - int(column.min()) for column in problem.x.T)
    size = max(8, count**2 * math.isqrt(d) // max(1, spans))
    while True:
        line = None
        for attempt in range(ATTEMPTS * (d > 1)):
            normal = rng.standard_normal((d,)).tolist()
            w = [round(size * 2 ** (attempt // 4) * g) for g in normal]
            if line := _order(problem, w, GRID):
                break
        line = line or _order(problem, _radix_projection(problem.x), GRID)
        assert line
        yield line


def _steer(line: _Line, layout: _Layout) -> tuple[list[int], float]:
    """Where the thresholds lie in the gaps between the chunks, in sixteenths.

    Over an outward and an inward chunk |v_j| changes by a product of two (L - d) / d
    that is 1 for even spacing. For random spacing its logarithm does a random walk over
    the chunks. A threshold divides its gap between the two chunks and so moves the last
    steps of all k walks at once; it is put where their sum of squares is smallest.

    Also returns how far apart the ends of the longest walk are, which decides how many
    digits the network needs.
    """
    n, k = line.t.shape
    low, high = line.t[0, 0] - line.step, line.t[-1, -1] + line.step
    t: Any = ((line.t - low) / (high - low)).astype(float)
    edges = [0.0, *((t[:-1, -1] + t[1:, 0]) / 2).tolist(), 1.0]
    even = np.log((k - np.arange(k)) / (np.arange(k) + 1.0))

    def steps(i: int, near: Any, far: Any) -> np.ndarray:
        """log |(L - d) / d| less its value at even spacing, (candidates, k)."""
        behind, ahead = np.maximum(t[i] - near, 1e-300), np.maximum(far - t[i], 1e-300)
        walk = np.log(ahead / behind) - even
        return walk[..., ::-1] if layout.inward[i] else walk

    parts = []
    near, walks = 0.0, [np.zeros(k)]
    for i in range(n - 1):
        gap = t[i + 1, 0] - t[i, -1]
        if layout.fresh[i + 1]:  # most of the gap is for the restart
            parts.append(GRID // 8)
            near = t[i + 1, 0] - gap / 8
            walks.append(np.zeros(k))
            continue
        far = t[i, -1] + gap * np.arange(1, GRID)[:, None] / GRID
        ahead = walks[-1] + steps(i, near, far)
        both = ahead + steps(i + 1, far, edges[i + 2])
        best = int(np.square(both).sum(1).argmin())
        parts.append(best + 1)
        near = float(far[best, 0])
        walks.append(ahead[best])
    return parts, float(np.ptp(walks, axis=0).max())


def _draw(problem: _Problem, draws: int, seed: int) -> tuple[_Line, list[int]]:
    """Of several projections the one with the shortest walks, and its thresholds.

    Half of them are independent. In the others a few weights of the best one change by
    one, which moves the points by about a gap.
    """
    rng = np.random.default_rng(seed)
    random = _random_lines(problem, rng)
    best = line = next(random)
    if not problem.layout.size:
        return best, []
    parts, shortest = _steer(line, problem.layout)
    for draw in range(1, draws * (problem.x.shape[1] > 1)):
        if draw < draws / 2:
            line = next(random)
        else:
            change = rng.integers(-1, 2, len(best.w))
            change *= rng.random(len(change)) < 2.0 ** -rng.integers(0, 8)
            w = [v // GRID + int(c) for v, c in zip(best.w, change, strict=True)]
            line = _order(problem, w, GRID) or best
        chosen, longest = _steer(line, problem.layout)
        if longest < shortest:
            best, parts, shortest = line, chosen, longest
    return best, parts


# --- The two methods ---------------------------------------------------------------


class _Unit(NamedTuple):
    """A neuron of the second hidden layer."""

    weights: list[Ratio]  # one per neuron of the first layer in use
    b2: Any  # fmpq
    w3: dict[int, Any]  # output -> fmpq


class _Chunk(NamedTuple):
    d: list[Any]  # (k,): distances from the threshold, in serpentine order
    length: Any
    inward: bool
    fresh: bool  # v starts anew
    rest: Any  # length of the restart before the chunk, or 0


def _cut(line: _Line, parts: list[int], layout: _Layout) -> tuple[list[Any], list[int]]:
    """The chunks, in flint's integers, and the thresholds."""
    t = line.t
    gap = t[1:, 0] - t[:-1, -1]
    before = gap // GRID * np.array(parts, dtype=object)
    after = np.where(layout.fresh[1:], before, gap - before)
    near = [t[0, 0] - line.step, *(t[1:, 0] - after)]
    far = [*(t[:-1, -1] + before), t[-1, -1] + line.step]
    d = layout.serpentine(t - np.array(near, dtype=object)[:, None])
    chunks = [
        _Chunk(list(map(fmpz, d[i])), fmpz(far[i] - near[i]), inward, fresh, fmpz(rest))
        for i, (inward, fresh, rest) in enumerate(
            zip(layout.inward, layout.fresh, [0, *(gap - before - after)], strict=True)
        )
    ]
    return chunks, sorted({*near, *far[:-1]})


def _compact(problem: _Problem, draws: int, seed: int) -> "ExactNetwork":
    """The construction in integers, O(1) operations per point and output."""
    layout, m = problem.layout, problem.y.shape[1]
    line, parts = _draw(problem, draws, seed)
    low = [v - 1 for v in problem.y.min(0)]
    if not layout.size:  # fewer units than outputs: extra points only
        first = line.extra[0][1] - line.step
        return _assemble(problem, line, [first], [[]] * m, low, [fmpq(0)] * m)
    chunks, thresholds = _cut(line, parts, layout)
    y = problem.y[layout.serpentine(line.rows)]  # (chunks, k, m)
    # area[i]: product of d over the first j points of the chunks up to i since the last
    # restart, the denominator of D_ij and of the slope of all units before j; row[i] is
    # the factor of chunk i alone, column[i] that of point j of the chunks before i.
    n, k, one = *line.t.shape, fmpz(1)
    area, row = [one] * n, [one] * n
    residual = [[fmpz(v - low[o]) for v in y[:, 0, o]] for o in range(m)]
    slope = [[fmpz(0)] * n for _ in range(m)]
    units: list[list[_Unit]] = [[] for _ in range(m)]
    for j in range(k):
        d, sigma = [chunk.d[j] for chunk in chunks], (-1) ** j
        column = [one] * n
        for i, chunk in enumerate(chunks):
            if not chunk.fresh:
                column[i] = column[i - 1] * d[i - 1]
        size = [arb(a) for a in area]
        area = [a * c * v for a, c, v in zip(area, column, d, strict=True)]
        denominators: list[Any] = []
        for i, chunk in enumerate(chunks):
            joint = area[i - 1] * chunk.rest  # of the slope of the restart
            denominators += [joint, joint * area[i]] if joint else [area[i]]
        for o in range(m):
            rise = y[:, min(j + 1, k - 1), o] - y[:, j, o]
            start = _smallest_start(chunks, j, rise, residual[o], slope[o], size)
            start *= 1 if layout.inward[0] else -1
            weights: list[Any] = []
            v, s = start, fmpz(0)  # value at the threshold and slope, over area[i - 1]
            for i, chunk in enumerate(chunks):
                if chunk.rest:
                    joint = area[i - 1] * chunk.rest
                    back = start * area[i - 1] - v  # slope of the restart, over joint
                    weights.append(back - s * chunk.rest)
                    v = start
                vr = v * row[i]
                new = residual[o][i] * column[i] - vr
                if chunk.rest:
                    weights.append(new * joint - back * area[i])
                else:
                    weights.append(new - s * (row[i] * d[i]))
                v, s = vr * d[i] + new * chunk.length, new
                slope[o][i] = slope[o][i] * (column[i] * d[i]) + sigma * new
                if j + 1 < k:
                    move = slope[o][i] * (chunk.d[j + 1] - d[i])
                    residual[o][i] = sigma * (move - rise[i] * area[i])
            pairs = list(zip(weights, denominators, strict=True))
            units[o].append(_Unit(pairs, fmpq(start), {o: fmpq(sigma)}))
        row = [r * v for r, v in zip(row, d, strict=True)]
        problem.progress(j + 1, k)
    slopes = [fmpq(slope[o][-1], area[-1]) for o in range(m)]
    return _assemble(problem, line, thresholds, units, low, slopes)


def _smallest_start(
    chunks: list[_Chunk],
    j: int,
    rise: Sequence[int],
    residual: list[Any],
    slope: list[Any],
    area: list[Any],
) -> Any:
    """The smallest c_j, up to its 20th bit, that keeps all zeros of g_j in their gaps.

    Between points j - 1 and j the zero lies if |v| > D previous / gap; and if at point
    j + 1 the units 0..j overshoot the target, the next residual has the right sign.
    |v| = factor c + addend on every chunk. In ball arithmetic: an upper bound.
    """
    worst = factor = addend = arb(0)
    with ctx.workprec(64 + MARGIN):
        for i, (points, length, inward, fresh, _) in enumerate(chunks):
            if fresh:
                factor, addend = arb(1), arb(0)
            d, rest = points[j], arb(residual[i]) / area[i]
            previous = points[j - 1] if j else length if inward else fmpz(0)
            bound = (rest * previous / abs(d - previous)).upper()
            if j + 1 < len(points):
                move = points[j + 1] - d
                step = (rise[i] - arb(slope[i]) / area[i] * move) * (-1) ** j
                overshoot = step * d / abs(move) + (rest if inward else -rest)
                bound = max(bound, overshoot.upper())
            worst = max(worst, ((bound - addend) / factor).upper())
            turn, gain = arb(length - d) / d, rest * length / d
            factor, addend = factor * turn, addend * turn + (-gain if inward else gain)
    mantissa, exponent = worst.man_exp()
    spare = max(mantissa.bit_length() - MARGIN, -int(exponent), 0)
    return ((mantissa >> spare) + 1) << (spare + int(exponent))


def _inoue2019(problem: _Problem) -> "ExactNetwork":
    """The published program: its choices, its rational sums, its printed numbers.

    Deviations: the published projection is used only where it separates the points,
    else `_radix_projection`; loops instead of recursion; several outputs.
    """
    layout, m = problem.layout, problem.y.shape[1]
    w: list[int] = []
    reach = 0
    for column in problem.x.T.tolist():
        w.insert(0, 1 + 2 * reach)  # in reversed order, as published
        reach = (1 + max(column) - min(column)) * w[0]
    line = _order(problem, w, 1) or _order(problem, _radix_projection(problem.x), 1)
    assert line
    if not layout.size:
        first = line.extra[0][1] - 1
        return _assemble(problem, line, [first], [[]] * m, [0] * m, [fmpq(0)] * m)
    (n, k), x = line.t.shape, line.t + Fraction(0)
    b = np.array([x[0, 0] - 1, *(x[:-1, -1] + x[1:, 0]) / 2, x[-1, -1] + 1])
    # Columns k and -1: points beyond the last and before the first one of a chunk.
    beyond = np.stack([x[:, -1] + b[1:], b[:-1] + x[:, 0]], 1) / 2
    x = np.hstack([layout.serpentine(x), layout.serpentine(beyond)])
    sign = np.where(layout.inward, -1, 1)

    def residual(at: int, j: int) -> np.ndarray:
        """Target of point `at` less the output of the units before j, (chunks,)."""
        run = (x[:, at, None] - zero[:, :j]) / (zero[:, :j] - b[:-1, None])
        return np.asarray(y[:, at] - low[-1] - (run * value[:, :j]).sum(1))

    units: list[list[_Unit]] = [[] for _ in range(m)]
    low: list[Fraction] = []
    slopes = []
    for o in range(m):
        y = problem.y[layout.serpentine(line.rows), o] + Fraction(0)
        # The published program takes a threshold for a target of the point beyond. That
        # only makes the last c_j larger, but the printed example contains it.
        last = (np.where(layout.inward, b[:-1], b[1:]) + y[:, -1]) / 2
        y = np.hstack([y, last[:, None]])
        low.append(y[:, 0].min() - 1)
        zero = np.empty((n, k), object)  # of g_j on chunk i
        value = np.empty((n, k), object)  # (-1)^(j + 1) g_j(b_i)
        for j in range(k):
            here, ahead = abs(residual(j, j)), abs(residual(j + 1, j))
            reach = np.maximum(x[:, j - 1], x[:, j]) - b[:-1]
            bound = np.maximum(here, reach / abs(x[:, j] - x[:, j - 1]) * here)
            bound = np.maximum(bound, reach / abs(x[:, j + 1] - x[:, j]) * ahead)
            shrink = np.cumprod([Fraction(1), *reach / (b[1:] - b[:-1] - reach)])[:-1]
            c = (shrink * (bound + 1)).max()
            d = residual(j, j)
            for i in range(n):
                value[i, j] = sign[0] * (-1) ** j * c
                if i:
                    turn = (zero[i - 1, j] - b[i]) / (zero[i - 1, j] - b[i - 1])
                    value[i, j] = value[i - 1, j] * turn
                zero[i, j] = x[i, j] * value[i, j] + b[i] * d[i]
                zero[i, j] /= value[i, j] + d[i]
            slope = (-1) ** j * value[:, j] / (zero[:, j] - b[:-1])
            weights = [_fmpq(v) for v in [slope[0], *(slope[1:] - slope[:-1])]]
            pairs = [(v.p, v.q) for v in weights]
            units[o].append(_Unit(pairs, _fmpq(-sign[0] * c), {o: fmpq((-1) ** j)}))
            problem.progress(o * k + j + 1, m * k)
        slopes.append(_fmpq((value[-1] / (zero[-1] - b[-2])).sum()))
    network = _assemble(problem, line, b[:-1].tolist(), units, low, slopes)
    return replace(network, method="inoue2019")


def _fmpq(value: Any) -> Any:
    return fmpq(value.numerator, value.denominator)


def _assemble(
    problem: _Problem,
    line: _Line,
    thresholds: Sequence[Any],
    regular: list[list[_Unit]],
    low: Sequence[Any],
    slopes: list[Any],
) -> "ExactNetwork":
    """Add the units of the extra points (Theorem 4) and neurons with zero weights.

    The extra points follow the last regular one, where output o goes on with slope
    slopes[o]. Extra unit e is relu(t - beta - z) with the last threshold beta and z
    halfway to extra point e; its weights W3[:, e] bring all outputs to their targets.
    """
    m, used, none = len(low), len(thresholds), (fmpz(0), fmpz(1))
    dead = _Unit([none] * used, fmpq(0), {})
    units: list[_Unit] = []
    for own in regular:
        units += own + [dead] * (problem.a2 // m - len(own))
    level, slope, previous = [_fmpq(v) for v in low], list(slopes), fmpq(0)
    if line.t.size:
        level = [fmpq(v) for v in problem.y[line.rows[-1, -1]]]
        previous = _fmpq(line.t[-1, -1] - thresholds[-1])
    for row, t in line.extra:
        distance = _fmpq(t - thresholds[-1])
        zero, w3 = (previous + distance) / 2, {}
        for o, target in enumerate(problem.y[row]):
            miss = target - level[o] - slope[o] * (distance - previous)
            w3[o] = miss / (distance - zero)
            level[o], slope[o] = fmpq(target), slope[o] + w3[o]
        weights = [none] * (used - 1) + [(fmpz(1), fmpz(1))]
        units.append(_Unit(weights, -zero, w3))
        previous = distance
    units += [dead] * (problem.a2 - len(units))
    idle = problem.a1 - used
    return ExactNetwork(
        method="compact",
        vector=False,
        projection=line.w,
        b1=[_fmpq(-b) for b in [*thresholds, *[thresholds[-1]] * idle]],
        w2=[unit.weights + [none] * idle for unit in units],
        b2=[unit.b2 for unit in units],
        w3=[[unit.w3.get(o, fmpq(0)) for unit in units] for o in range(m)],
        b3=[_fmpq(v) for v in low],
    )


# --- The network -------------------------------------------------------------------


class Weights(NamedTuple):
    """Exact weights: object arrays of Fractions."""

    W1: np.ndarray  # (a1, d)
    b1: np.ndarray  # (a1,)
    W2: np.ndarray  # (a2, a1)
    b2: np.ndarray  # (a2,)
    W3: np.ndarray  # (m, a2)
    b3: np.ndarray  # (m,)


class Verification(NamedTuple):
    """What `ExactNetwork.verify` has proved; it raises if anything is wrong."""

    points: int  # rows of x whose outputs equal y
    outputs: int
    matrix_form: int  # points at which the literal matrix form was evaluated too
    seconds: float


@dataclass(frozen=True, eq=False)
class ExactNetwork:
    """W3 relu(W2 relu(W1 x + b1) + b2) + b3 in rational numbers.

    All rows of W1 are `projection`. The ratios of W2 are not reduced: the numbers have
    up to 10^5 digits, but of two neighbours one denominator divides the other.
    """

    method: str
    vector: bool  # outputs have shape (N,), not (N, m)
    projection: list[int]  # (d,)
    b1: list[Any]  # (a1,) of fmpq
    w2: list[list[Ratio]]  # (a2, a1)
    b2: list[Any]  # (a2,) of fmpq
    w3: list[list[Any]]  # (m, a2) of fmpq
    b3: list[Any]  # (m,) of fmpq

    def __post_init__(self) -> None:
        _, a1, a2, m = self.shape
        for table, rows, columns in (self.w2, a2, a1), (self.w3, m, a2):
            if len(table) != rows or any(len(row) != columns for row in table):
                raise ValueError("the shapes of the weights do not fit together")
        if not all(q > 0 for row in self.w2 for _, q in row):
            raise ValueError("W2 has a denominator that is not positive")

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(d, a1, a2, m)."""
        return len(self.projection), len(self.b1), len(self.b2), len(self.b3)

    @property
    def bits(self) -> tuple[int, int]:
        """Bits of the longest numerator of W2, and of all of them together."""
        lengths = [int(p.bit_length()) for row in self.w2 for p, _ in row]
        return max(lengths), sum(lengths)

    def evaluate(self, x: Any) -> np.ndarray:
        """Exact outputs for rows x (N, d): Fractions, shape (N,) or (N, m) like y.

        Takes some a1 a2 operations on long integers for all rows together. Off the
        memorized points the outputs are as long as the weights.
        """
        t, scale = self._line(x)
        outputs = np.empty((len(t), len(self.b3)), object)
        for i, row in enumerate(self._pieces(t, scale)):
            for o, (value, b3) in enumerate(zip(row, self.b3, strict=True)):
                outputs[i, o] = _fraction(_plus(value, (b3.p, b3.q)))
        return outputs[:, 0] if self.vector else outputs

    def verify(self, x: Any, y: Any, sample: int = 4, seed: int = 0) -> Verification:
        """Prove that the network gives y (N,) or (N, m) on the rows of x (N, d).

        On all rows the network is evaluated exactly, piece by piece, from its own
        weights: slopes are sums of W2, values follow from b1 and b2, and all zeros are
        located anew; nothing is taken from the construction. At a random sample of the
        rows, and halfway between them, the literal matrix form must give the same.

        Raises:
            VerificationError: an output is wrong; the message names the rows.
            ValueError: x or y have the wrong shape.
        """
        began = time.perf_counter()
        (t, scale), targets = self._line(x), _read(y, "y")
        if targets.values.shape != (len(t), len(self.b3)):
            expected = len(t), len(self.b3)
            raise ValueError(f"y has shape {targets.values.shape}, expected {expected}")
        wrong: dict[int, str] = {}
        for row, outputs in enumerate(self._pieces(t, scale)):
            for o, (p, q) in enumerate(outputs):
                target = fmpq(int(targets.values[row, o]), targets.scale[o])
                rest = target - self.b3[o]
                if p * rest.q != rest.p * q:
                    value = (self.b3[o] + arb(p) / q).str(9, radius=False)
                    wrong[row] = f"output {o} is about {value}, expected {target}"
        if wrong:
            row, text = next(iter(wrong.items()))
            raise VerificationError(
                f"{len(wrong)} of {len(t)} points are wrong:{_rows(list(wrong))}; "
                f"in row {row} {text}"
            )
        rng = np.random.default_rng(seed)
        some = rng.choice(len(t), min(sample, len(t)), replace=False).tolist()
        line = [2 * t[p] for p in some]
        line += [t[p] + t[q] for p, q in itertools.pairwise(some)]
        pieces = self._pieces(line, 2 * scale)
        for a, b in zip(pieces, self._matrix_form(line, 2 * scale), strict=True):
            if any(p * s != r * q for (p, q), (r, s) in zip(a, b, strict=True)):
                raise VerificationError("matrix form and linear pieces disagree")
        seconds = time.perf_counter() - began
        return Verification(len(t), len(self.b3), len(line), seconds)

    def weights(self) -> Weights:
        """The six arrays, reduced: seconds at 100 x 100."""
        w1, b1, w2, b2, w3, b3 = (
            np.array([[_fraction(pair) for pair in row] for row in table], dtype=object)
            for table in self._ratios()
        )
        return Weights(w1.repeat(len(self.b1), 0), b1[0], w2, b2[0], w3, b3[0])

    def _ratios(self) -> list[list[list[Ratio]]]:
        """W1 (one row), b1, W2, b2, W3, b3 as tables of numerators and denominators."""
        w1, b1, b2, b3 = (
            [[(v.p, v.q) for v in map(fmpq, row)]]
            for row in (self.projection, self.b1, self.b2, self.b3)
        )
        return [w1, b1, self.w2, b2, [[(v.p, v.q) for v in row] for row in self.w3], b3]

    def rounded(
        self, bits: int, make: Callable[[int, int], Any]
    ) -> list[list[list[Any]]]:
        """W1 (one row), b1, W2, b2, W3, b3 rounded to so many bits, ties to even.

        A number m 2^e with |m| < 2^bits becomes make(m, e).
        """
        return [
            [[make(*_nearest(*pair, bits)) for pair in row] for row in table]
            for table in self._ratios()
        ]

    def to_torch(self, dtype: torch.dtype = torch.float64) -> nn.Sequential:
        """Linear, ReLU, Linear, ReLU, Linear with the weights rounded to dtype.

        Raises:
            OverflowError: a weight is too large for dtype.
        """
        d, a1, a2, m = self.shape
        bits = 1 - round(math.log2(torch.finfo(dtype).eps))
        try:
            rounded = self.rounded(bits, math.ldexp)
            tables = [torch.tensor(v, dtype=torch.float64).to(dtype) for v in rounded]
        except OverflowError:
            tables = [torch.tensor(math.inf)]
        if not all(table.isfinite().all() for table in tables):
            raise OverflowError(f"a weight is too large for {dtype}")
        tables[0] = tables[0].expand(a1, d)
        sizes = [(d, a1), (a1, a2), (a2, m)]
        first, second, third = (nn.Linear(*size, dtype=dtype) for size in sizes)
        with torch.no_grad():
            for i, layer in enumerate((first, second, third)):
                layer.weight.copy_(tables[2 * i])
                layer.bias.copy_(tables[2 * i + 1][0])
        return nn.Sequential(first, nn.ReLU(), second, nn.ReLU(), third)

    def save(self, path: Path | str) -> None:
        """Write the exact weights as JSON; numbers are strings, p or p/q, hexadecimal.

        In W2 p/*f has f times the denominator before it. The file appears complete or
        not at all, and ends with the SHA-256 of all before.
        """
        path = Path(path)
        temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        digest = hashlib.sha256()
        try:
            with temporary.open("wb") as file:
                for text in map(str.encode, self._texts()):
                    digest.update(text)
                    file.write(text)
                file.write(b'"sha256": "%s"}\n' % digest.hexdigest().encode())
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)

    def _texts(self) -> Iterator[str]:
        """The file up to its checksum, one row of W2 a line."""
        head = {
            "format": FORMAT,
            "version": VERSION,
            "method": self.method,
            "vector": self.vector,
            "projection": [_encode(fmpz(v)) for v in self.projection],
            "b1": [_encode(v.p, v.q) for v in self.b1],
            "b2": [_encode(v.p, v.q) for v in self.b2],
            "w3": [[_encode(v.p, v.q) for v in row] for row in self.w3],
            "b3": [_encode(v.p, v.q) for v in self.b3],
        }
        yield json.dumps(head)[:-1] + ',\n"w2": [\n'
        for j, row in enumerate(self.w2):
            yield ",\n" * (j > 0) + json.dumps(_encode_row(row))
        yield "],\n"

    @classmethod
    def load(cls, path: Path | str) -> "ExactNetwork":
        """Read a file written by `save`.

        Raises:
            ValueError: the file is no such file, incomplete, altered, or of another
                version; the message says which.
        """
        data = Path(path).read_bytes()
        if not data.startswith(b'{"format": "%s"' % FORMAT.encode()):
            raise ValueError(f"{path} is not a file of an exact network")
        body, _, tail = data.rpartition(b'"sha256": "')
        if tail != b'%s"}\n' % hashlib.sha256(body).hexdigest().encode():
            raise ValueError(f"{path} is incomplete or was altered: wrong checksum")
        content = json.loads(data)
        del data, body
        if content["version"] != VERSION:
            version = content["version"]
            raise ValueError(f"{path} has version {version}; {VERSION} is known here")
        known: dict[tuple[str, ...], list[Any]] = {}
        return cls(
            method=content["method"],
            vector=content["vector"],
            projection=[int(v, 16) for v in content["projection"]],
            b1=[_decode(v) for v in content["b1"]],
            w2=[_decode_row(row, known) for row in content.pop("w2")],
            b2=[_decode(v) for v in content["b2"]],
            w3=[[_decode(v) for v in row] for row in content["w3"]],
            b3=[_decode(v) for v in content["b3"]],
        )

    # Evaluation on the line. Outputs are pairs (numerator, denominator), without b3.

    def _line(self, x: Any) -> tuple[list[int], int]:
        """<w, x> for all rows, times a scale that makes all t and b1 integers."""
        points = _read(x, "x")
        if points.values.shape[1] != len(self.projection):
            width = points.values.shape[1]
            raise ValueError(f"x has {width} columns, expected {len(self.projection)}")
        scale = math.lcm(*points.scale, *(int(b.q) for b in self.b1))
        w = [v * scale // q for v, q in zip(self.projection, points.scale, strict=True)]
        return [int(v) for v in _project(points.values, w)], scale

    def _pieces(self, t: list[int], scale: int) -> list[list[Ratio]]:
        """Outputs at points of the line, going over the thresholds from left to right.

        Between two thresholds unit u is (v[u] + s[u] (t - threshold)) / den[u].
        """
        knots = sorted((int((-b * scale).p), i) for i, b in enumerate(self.b1))
        order = sorted(range(len(t)), key=t.__getitem__)
        weights = [
            [(o, row[u]) for o, row in enumerate(self.w3) if row[u]]
            for u in range(len(self.b2))
        ]
        live = [u for u, outgoing in enumerate(weights) if outgoing]
        v = [(b * scale).p for b in self.b2]
        den = [(b * scale).q for b in self.b2]
        s = [fmpz(0)] * len(v)
        outputs: list[list[Ratio]] = [[] for _ in t]
        here, done = min(t[order[0]], knots[0][0]), 0
        stops = [(here, -1), *knots, (max(t[order[-1]], knots[-1][0]) + 1, -1)]
        for (knot, i), (after, _) in itertools.pairwise(stops):
            for u in live:
                if s[u]:
                    v[u] += s[u] * (knot - here)
                weight, q = self.w2[u][i] if i >= 0 else (0, 1)
                if weight:
                    f, g, den[u] = _merge(den[u], q)
                    v[u], s[u] = v[u] * f, s[u] * f + weight * g
                    if g != 1:  # after a restart the sums have shorter denominators
                        common = den[u].gcd(v[u]).gcd(s[u])
                        v[u], s[u] = v[u] // common, s[u] // common
                        den[u] //= common
            here = knot
            end = bisect_left(order, after, done, key=t.__getitem__)
            if end > done:
                d = [t[p] - knot for p in order[done:end]]
                units = [(v[u], s[u], den[u] * scale, weights[u]) for u in live]
                sums = _sums(d, units, len(self.b3))
                for p, row in zip(order[done:end], sums, strict=True):
                    outputs[p] = row
            done = end
            if done == len(t):
                break
        return outputs

    def _matrix_form(self, t: list[int], scale: int) -> list[list[Ratio]]:
        """Outputs at the same points by the formula, neuron by neuron."""
        hidden = [[max(0, p + int((b * scale).p)) for b in self.b1] for p in t]
        outputs: list[list[Ratio]] = [[(fmpz(0), fmpz(1))] * len(self.b3) for _ in t]
        for u, row in enumerate(self.w2):
            b2 = self.b2[u] * scale
            sums, den = [b2.p] * len(t), b2.q
            for i, (p, q) in enumerate(row):
                if p:
                    f, g, den = _merge(den, q)
                    g *= p
                    sums = [a * f + g * h[i] for a, h in zip(sums, hidden, strict=True)]
            for o, w in enumerate(w3[u] for w3 in self.w3):
                for p, value in enumerate(sums):
                    if w and value > 0:
                        term = value * w.p, den * (w.q * scale)
                        outputs[p][o] = _plus(outputs[p][o], term)
        return outputs


def _sums(d: list[int], units: list[Any], m: int) -> list[list[Ratio]]:
    """Outputs at growing points d of one linear piece; units are (v, s, den, weights).

    A unit is active from some point on, or up to some point. Going along the points
    from there, every unit is added once to a running sum v + s d.
    """
    n = len(d)
    # start[o][0][p]: what joins output o at p on the way to the right; [1]: left
    start: list[Any] = [[[[] for _ in d] for _ in range(2)] for _ in range(m)]
    for v, s, den, weights in units:

        def turned(p: int, v: Any = v, s: Any = s) -> bool:
            return bool(v + s * p > 0) == bool(s >= 0)

        first = bisect_left(d, True, key=turned)
        way, first = (0, first) if s >= 0 else (1, first - 1)
        if 0 <= first < n:
            for o, w in weights:
                start[o][way][first].append((v * w.p, s * w.p, den * w.q))
    sums: list[list[Ratio]] = [[(fmpz(0), fmpz(1))] * m for _ in d]
    for o in range(m):
        for way, points in enumerate((range(n), range(n - 1, -1, -1))):
            v = s = fmpz(0)
            den = fmpz(1)
            for p in points:
                for unit_v, unit_s, unit_den in start[o][way][p]:
                    f, g, den = _merge(den, unit_den)
                    v, s = v * f + unit_v * g, s * f + unit_s * g
                if v or s:
                    sums[p][o] = _plus(sums[p][o], (v + s * d[p], den))
    return sums


# --- Fractions that are not reduced ------------------------------------------------


def _merge(a: Any, b: Any) -> tuple[Any, Any, Any]:
    """(f, g, c) with c = a f = b g, a common denominator; cheap if one divides."""
    f, rest = divmod(b, a)
    if not rest:
        return f, fmpz(1), b
    g, rest = divmod(a, b)
    if not rest:
        return fmpz(1), g, a
    common = a.gcd(b)
    return b // common, a // common, a * (b // common)


def _plus(first: Ratio, second: Ratio) -> Ratio:
    f, g, den = _merge(first[1], second[1])
    return first[0] * f + second[0] * g, den


class _Reduced(NamedTuple):
    numerator: int
    denominator: int


numbers.Rational.register(_Reduced)  # Fraction takes it as it is, without a gcd


def _fraction(pair: Ratio) -> Fraction:
    """Reduced by flint; Python's gcd takes quadratic time."""
    value = fmpq(*pair)
    reduced: Any = _Reduced(int(value.p), int(value.q))
    return Fraction(reduced)


def _nearest(numerator: Any, denominator: Any, bits: int) -> tuple[int, int]:
    """(m, e) of the nearest m 2^e with so many bits, ties to even."""
    if not numerator:
        return 0, 0
    shift = denominator.bit_length() - numerator.bit_length() + bits + 1
    size = abs(numerator) << max(shift, 0)
    quotient, rest = divmod(size, denominator << max(-shift, 0))
    spare = quotient.bit_length() - bits
    kept, half = quotient >> spare, fmpz(1) << (spare - 1)
    tail = quotient - (kept << spare)
    if tail > half or (tail == half and (rest or kept % 2)):
        kept += 1
    return int(kept) * (1 if numerator > 0 else -1), spare - shift


def _encode(p: Any, q: Any = 1) -> str:
    """'-1f' or '-1f/3', hexadecimal."""
    return str(p.str(base=16)) + (f"/{q.str(base=16)}" if q != 1 else "")


def _decode(text: str) -> Any:
    p, _, q = text.partition("/")
    return fmpq(int(p, 16), int(q or "1", 16))


def _encode_row(row: list[Ratio]) -> list[str]:
    """A row of W2; q is written as /*f if it is f times the one before."""
    texts, last = [], fmpz(1)
    for p, q in row:
        factor, rest = divmod(q, last)
        chained = last != 1 and not rest
        texts.append(f"{_encode(p)}/*{_encode(factor)}" if chained else _encode(p, q))
        last = q
    return texts


def _decode_row(
    texts: list[str], known: dict[tuple[str, ...], list[Any]]
) -> list[Ratio]:
    """The inverse; rows with the same denominators share them."""
    pairs = [text.partition("/")[::2] for text in texts]
    key = tuple(q for _, q in pairs)
    if key not in known:
        last = fmpz(1)
        known[key] = []
        for q in key:
            last = last * int(q[1:], 16) if q[:1] == "*" else fmpz(int(q or "1", 16))
            known[key].append(last)
    return list(zip((fmpz(int(p, 16)) for p, _ in pairs), known[key], strict=True))


# --- Precision ---------------------------------------------------------------------


def rounded_outputs(network: ExactNetwork, x: Any, number: Any) -> np.ndarray:
    """Outputs (N, m) when weights and arithmetic are rounded, as float64.

    Args:
        network: the exact network.
        x: inputs as in `ExactNetwork.evaluate`.
        number: a torch dtype (the network of `to_torch`), np.longdouble, or a number of
            bits p: weights and values of neurons are rounded to p bits and sums are
            accumulated by flint, with an error of about 2^-p of their largest term.
    """
    values, scale, _ = _read(x, "x")
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
    layer = [[arb(v) / q for v, q in zip(r, scale, strict=True)] for r in x.tolist()]
    for i in (0, 2, 4):
        w, (b,) = weights[i], weights[i + 1]
        sums = (arb_mat(layer).mid() * arb_mat(w).transpose()).mid().tolist()
        sums = [row * len(b) for row in sums] if i == 0 else sums  # W1 has equal rows
        layer = [[(v + c).mid() for v, c in zip(row, b, strict=True)] for row in sums]
        if i < 4:
            layer = [[v if v > 0 else arb(0) for v in row] for row in layer]
    return np.array([[float(v) for v in row] for row in layer])


def wrong_answers(outputs: np.ndarray, y: Any) -> int:
    """Number of rows whose answer is wrong.

    The answer is the largest of several outputs (N, m), where y has its largest entry,
    or, for one output (N, 1), the nearest of the targets that occur in y.
    """
    values, scale, _ = _read(y, "y")
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
