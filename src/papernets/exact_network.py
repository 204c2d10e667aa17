"""ReLU networks with two hidden layers in rational numbers.

Evaluation without rounding, a proof that given points are represented, files without
loss, and the nearest network in floating point. Such networks are built by
`papernets.memorization`.
"""

import hashlib
import itertools
import json
import math
import numbers
import time
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from flint import arb, fmpq, fmpz
from torch import nn

from papernets.files import write_atomically

Ratio = tuple[Any, Any]  # numerator and positive denominator (fmpz), not reduced

FORMAT, VERSION = "papernets exact network", 1  # of the files


class VerificationError(ValueError):
    """The network does not give the targets; the message names the first wrong rows."""


# --- Reading data ------------------------------------------------------------------


class ExactTable(NamedTuple):
    values: np.ndarray  # (N, columns), int64 or Python integers
    scale: list[int]  # the data are values / scale, column by column
    vector: bool  # the data had one axis


def read_exact(data: Any, name: str) -> ExactTable:
    """Exact values of a table of numbers, over one denominator per column.

    Raises:
        ValueError: there are no rows, rows of different lengths, or entries that are
            masked or not finite numbers; the message names `name` and the rows.
    """
    if masked := _masked_rows(data):
        raise ValueError(f"{name} has masked entries{in_rows(masked)}; leave them out")
    if isinstance(data, torch.Tensor):
        data = data.detach().cpu()
        data = (data.double() if data.is_floating_point() else data).numpy()
    if not hasattr(data, "__array__"):  # without dtype NumPy would round large integers
        try:
            data = np.array(data, dtype=object)
        except ValueError as error:  # NumPy's, of nested sequences of unequal shapes
            raise ValueError(f"{name} is no table: its rows differ in shape") from error
    table = np.asarray(data)
    if table.ndim == 1 and table.dtype == object:  # NumPy's way to take unequal rows
        sizes = [np.size(v) if isinstance(v, _ROWS) else -1 for v in table]
        unequal = [i for i, size in enumerate(sizes) if size != sizes[0]]
        if max(sizes, default=-1) >= 0 and unequal:
            raise ValueError(
                f"{name} has rows that differ in length from row 0{in_rows(unequal)}"
            )
    if table.ndim not in (1, 2) or table.size == 0:
        raise ValueError(f"{name} has shape {table.shape}; expected rows of numbers")
    vector = table.ndim == 1
    table = table.reshape(len(table), -1)
    if table.dtype.kind in "bi":
        return ExactTable(table.astype(np.int64), [1] * table.shape[1], vector)
    if table.dtype.kind == "f" and table.dtype.itemsize <= 8:
        for bits in range(0, 64, 4):  # large tables of simple floats stay in NumPy
            with np.errstate(over="ignore"):
                scaled = np.ldexp(table.astype(np.float64), bits)
            simple = (np.abs(scaled) < 2.0**62) & (scaled == np.rint(scaled))
            if simple.all():
                scale = [2**bits] * table.shape[1]
                return ExactTable(scaled.astype(np.int64), scale, vector)
    ratios: list[Any] = [[_ratio(value) for value in row] for row in table.tolist()]
    bad = [i for i, row in enumerate(ratios) if None in row]
    if bad:
        raise ValueError(
            f"{name} has entries that are not finite numbers{in_rows(bad)}"
        )
    scale = [math.lcm(*(q for _, q in column)) for column in zip(*ratios, strict=True)]
    values = np.empty(table.shape, object)
    for i, row in enumerate(ratios):
        values[i] = [p * (s // q) for (p, q), s in zip(row, scale, strict=True)]
    with suppress(OverflowError):
        values = values.astype(np.int64)  # much faster to compute with
    return ExactTable(values, scale, vector)


_ROWS = (list, tuple, np.ndarray)


def _masked_rows(data: Any) -> list[int]:
    """Rows with an entry that a masked array leaves out; NumPy would drop the mask."""
    nested = isinstance(data, list | tuple)
    rows = data if nested or (np.ma.is_masked(data) and np.ndim(data)) else ()
    return [i for i, row in enumerate(rows) if np.ma.is_masked(row)]


def _ratio(value: Any) -> tuple[int, int] | None:
    """Numerator and denominator of a number; None for anything else."""
    if isinstance(value, fmpq | fmpz):
        return int(fmpq(value).p), int(fmpq(value).q)
    try:
        numerator, denominator = value.as_integer_ratio()
    except (AttributeError, ValueError, OverflowError):
        return None
    return int(numerator), int(denominator)


def in_rows(rows: Sequence[int]) -> str:
    """' in row 3', ' in rows 3, 8, 9, 12, 15 and 7 more'."""
    more = f" and {len(rows) - 5} more" if len(rows) > 5 else ""
    return f" in row{'s'[: len(rows) > 1]} {', '.join(map(str, rows[:5]))}{more}"


def project(x: np.ndarray, w: Sequence[int]) -> np.ndarray:
    """t = <w, x> for integer rows, in int64 where that is safe."""
    if x.dtype != object:
        largest = max(-int(x.min()), int(x.max()))
        if largest * sum(map(abs, w)) < 2**62:
            return np.asarray(x @ np.array(w, dtype=np.int64))
    return np.asarray(x.astype(object) @ np.array(w, dtype=object))


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
        (t, scale), targets = self._line(x), read_exact(y, "y")
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
                f"{len(wrong)} of {len(t)} points are wrong:{in_rows(list(wrong))}; "
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
        """The six arrays of reduced fractions, which takes long for large networks."""
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

        Raises:
            ValueError: `path` is a folder or a device, or its folder is a file.
            OSError: the file cannot be written; the error names it.
        """
        write_atomically(Path(path), self._content())

    def _content(self) -> Iterator[bytes]:
        digest = hashlib.sha256()
        for text in map(str.encode, self._texts()):
            digest.update(text)
            yield text
        yield b'"sha256": "%s"}\n' % digest.hexdigest().encode()

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
        points = read_exact(x, "x")
        if points.values.shape[1] != len(self.projection):
            width = points.values.shape[1]
            raise ValueError(f"x has {width} columns, expected {len(self.projection)}")
        scale = math.lcm(*points.scale, *(int(b.q) for b in self.b1))
        w = [v * scale // q for v, q in zip(self.projection, points.scale, strict=True)]
        return [int(v) for v in project(points.values, w)], scale

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
