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

import itertools
import math
import numbers
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np
from flint import arb, ctx, fmpq, fmpz

from papernets.exact_network import (
    ExactNetwork,
    Ratio,
    Verification,
    VerificationError,
    project,
    read_exact,
)

__all__ = [
    "ConflictError",
    "ExactNetwork",
    "Verification",
    "VerificationError",
    "capacity",
    "memorize",
    "sizes_that_fit",
]

Progress = Callable[[int, int], None]

MARGIN = 20  # bits of c_j, which exceeds its bound by one unit in the last of them
GRID = 16  # thresholds lie at sixteenths of the gap between two chunks
ATTEMPTS = 24  # random projections that may fail before the one that always separates


class ConflictError(ValueError):
    """Equal inputs with different targets; `pairs` holds their rows, counted from 0."""

    def __init__(self, pairs: list[tuple[int, int]], name: str = "rows") -> None:
        shown = ", ".join(f"{a} and {b}" for a, b in pairs[:5])
        more = f" and {len(pairs) - 5} more pairs" if len(pairs) > 5 else ""
        super().__init__(f"equal inputs with different targets: {name} {shown}{more}")
        self.pairs = pairs


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
    sizes = [(-(-points // k), k * outputs) for k in per_output if k]
    return list(dict.fromkeys(sizes))


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
    steer: bool = True,
    margin: int = MARGIN,
    progress: Progress | None = None,
) -> ExactNetwork:
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
            are needed, and building takes longer.
        seed: compact only. Seed of the projections.
        restarts: compact only. Use spare neurons of the first layer for restarts.
        steer: compact only. Choose where the thresholds lie in their gaps; else they
            lie in the middle.
        margin: compact only. Bits of c_j; with 1 it is a power of two.
        progress: called as progress(done, total) with growing done.

    Returns:
        A network whose output equals y exactly on every row of x.

    Raises:
        ValueError: no points; rows of different lengths; entries that are masked or
            not finite numbers; equal inputs with different targets (equal inputs with
            equal targets are merged); more points than fit; a number that is not whole
            or too small. The message names the rows, or sizes that fit.
    """
    if method not in ("compact", "inoue2019"):
        raise ValueError(f"method is {method!r}; there are 'compact' and 'inoue2019'")
    counts = {"a1": a1, "a2": a2, "draws": draws, "margin": margin, "seed": seed}
    for name, count in counts.items():
        least = 0 if name == "seed" else 1
        if not isinstance(count, numbers.Integral) or isinstance(count, bool):
            raise ValueError(f"{name} is {count!r}; it must be a whole number")
        if count < least:
            raise ValueError(f"{name} is {count}; it must be at least {least}")
    points, targets = read_exact(x, "x"), read_exact(y, "y")
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
    unit = 2 ** (margin * compact)  # "compact": c_j are integers times 2^-margin
    problem = _Problem(
        points.values[keep],
        targets.values[keep].astype(object) * unit,
        a1,
        a2,
        _Layout.of(len(keep), a1, a2 // m, restarts and compact),
        steer,
        margin,
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
        raise ConflictError(bad)
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
    steer: bool
    margin: int
    progress: Progress


class _Line(NamedTuple):
    """Points in the order of t = <w, x>, from left to right."""

    w: list[int]  # (d,)
    t: np.ndarray  # (chunks, k), Python integers, distinct
    rows: np.ndarray  # (chunks, k): rows of x; the last one stands for padding
    extra: list[tuple[int, int]]  # row of x and t of the extra points
    step: int  # a typical gap


def _order(problem: _Problem, w: list[int], grid: int) -> _Line | None:
    """The points along grid w, with padding; None if w does not separate them."""
    layout = problem.layout
    t = project(problem.x, w)
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


def _steer(line: _Line, layout: _Layout, choose: bool) -> tuple[list[int], float]:
    """Where the thresholds lie in the gaps between the chunks, in sixteenths.

    Over an outward and an inward chunk |v_j| changes by a product of two (L - d) / d
    that is 1 for even spacing. For random spacing its logarithm does a random walk over
    the chunks. A threshold divides its gap between the two chunks and so moves the last
    steps of all k walks at once; it is put where their sum of squares is smallest,
    unless `choose` is false and all lie in the middle.

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
        places = np.arange(1, GRID) if choose else np.array([GRID // 2])
        far = t[i, -1] + gap * places[:, None] / GRID
        ahead = walks[-1] + steps(i, near, far)
        both = ahead + steps(i + 1, far, edges[i + 2])
        best = int(np.square(both).sum(1).argmin())
        parts.append(int(places[best]))
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
    parts, shortest = _steer(line, problem.layout, problem.steer)
    for draw in range(1, draws * (problem.x.shape[1] > 1)):
        if draw < draws / 2:
            line = next(random)
        else:
            change = rng.integers(-1, 2, len(best.w))
            change *= rng.random(len(change)) < 2.0 ** -rng.integers(0, 8)
            w = [v // GRID + int(c) for v, c in zip(best.w, change, strict=True)]
            line = _order(problem, w, GRID) or best
        chosen, longest = _steer(line, problem.layout, problem.steer)
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


def _compact(problem: _Problem, draws: int, seed: int) -> ExactNetwork:
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
            start = _smallest_start(
                chunks, j, rise, residual[o], slope[o], size, problem.margin
            )
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
    margin: int,
) -> Any:
    """The smallest c_j, up to its last bit, that keeps all zeros of g_j in their gaps.

    Between points j - 1 and j the zero lies if |v| > D previous / gap; and if at point
    j + 1 the units 0..j overshoot the target, the next residual has the right sign.
    |v| = factor c + addend on every chunk. In ball arithmetic: an upper bound.
    """
    worst = factor = addend = arb(0)
    with ctx.workprec(64 + margin):
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
    spare = max(mantissa.bit_length() - margin, -int(exponent), 0)
    return ((mantissa >> spare) + 1) << (spare + int(exponent))


def _inoue2019(problem: _Problem) -> ExactNetwork:
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
) -> ExactNetwork:
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
