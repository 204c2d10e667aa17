"""Polynomial networks and the certificate of their degree.

A network whose layers are affine and whose branches are joined by products is, on a
line x(t) = x0 + t d, a polynomial in t. Two exact proofs of its degree:

- `line_polynomials`: all coefficients, as rational numbers;
- `exact_degree`: the degree alone, by arithmetic modulo primes, much sooner;

and, for any network, its Chebyshev coefficients in float64: `chebyshev_spectrum`.

The exact functions speak about the real function that the stored weights define: a
float is a dyadic rational a / 2^k and is taken as it is, nothing is rounded. Networks
are read in evaluation mode, whatever mode they are in. Batch normalization becomes the
scale weight / sqrt(var + eps) and the shift bias - mean * scale, computed in the
module's dtype as PyTorch does; the square root itself is not rational.

At the end the parametrisations CCP, NCP and NCP-Skip of G. G. Chrysos et al., "Π-nets:
Deep Polynomial Neural Networks", CVPR 2020, arXiv:2003.03828, section 3.1.
"""

import copy
import itertools
import math
import operator
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from flint import fmpq_poly, fmpz, fmpz_mat, fmpz_poly
from torch import Tensor, fx, nn

PRIMES = (1_048_573, 1_048_571, 1_048_559)  # the three largest below 2^20

# What keeps a polynomial a polynomial. Exact types: a subclass may compute anything.
OPERATIONS: dict[Any, str] = {
    nn.Conv2d: "conv",
    nn.Linear: "linear",
    nn.BatchNorm1d: "norm",
    nn.BatchNorm2d: "norm",
    nn.Identity: "identity",
    nn.Dropout: "identity",
    nn.Dropout2d: "identity",
    nn.Flatten: "flatten",
    torch.flatten: "flatten",
    "flatten": "flatten",
    torch.mean: "mean",
    "mean": "mean",
    operator.add: "sum",
    torch.add: "sum",
    operator.mul: "product",
    torch.mul: "product",
}

# --- Reading a network -------------------------------------------------------------


class _Step(NamedTuple):
    name: str
    kind: str  # "input", "constant" or a value of OPERATIONS
    node: fx.Node
    payload: Any  # the module; of a constant the tensor


def _trace(model: nn.Module) -> list[_Step]:
    """The operations of the network in order, its output last."""
    for name, module in model.named_modules():
        if module._forward_hooks or module._forward_pre_hooks:
            raise ValueError(f"{name or 'the network'} has forward hooks; remove them")
    model = copy.deepcopy(model).eval()
    if type(model) in OPERATIONS:  # the tracer looks into the outermost module
        model = nn.Sequential(model)
    try:
        nodes = fx.Tracer().trace(model).nodes
    except (fx.proxy.TraceError, TypeError) as error:
        raise ValueError(f"{type(model).__name__} cannot be traced: {error}") from error
    if sum(node.op == "placeholder" for node in nodes) != 1:
        raise ValueError(f"{type(model).__name__} does not take exactly one input")
    return [_read(model, node) for node in nodes]


def _read(model: nn.Module, node: fx.Node) -> _Step:
    """The step of a node, or ValueError naming the module it belongs to."""
    name, payload, key = str(node.target), None, node.target
    inside = node.meta.get("nn_module_stack", {}).values()
    path, owner = [("forward", type(model)), *inside][-1]
    what = f"{path} ({owner.__name__}): {getattr(key, '__name__', key)}"
    if node.op == "call_module":
        payload = model.get_submodule(name)
        key, what = type(payload), f"{name} ({type(payload).__name__})"
    elif node.op == "get_attr":
        payload = operator.attrgetter(name)(model)
    fixed = {"placeholder": "input", "get_attr": "constant", "output": "identity"}
    kind = fixed.get(node.op) or OPERATIONS.get(key)
    if kind is None or not _supported(kind, node, payload):
        raise ValueError(f"{what} is not polynomial, or not in a form known here")
    return _Step(name, kind, node, payload)


def _supported(kind: str, node: fx.Node, payload: Any) -> bool:
    arguments, keywords = node.args[1:], dict(node.kwargs)
    if any(isinstance(value, fx.Node) for value in keywords.values()):
        return False
    match kind:
        case "constant":
            return isinstance(payload, Tensor) and payload.ndim <= 1
        case "conv":
            plain = payload.padding_mode == "zeros" and payload.groups == 1
            return plain and isinstance(payload.padding, tuple)
        case "norm":  # with the statistics of the batch it is not polynomial
            return payload.running_var is not None
        case "flatten" if payload:
            return (payload.start_dim, payload.end_dim) == (1, -1)
        case "flatten":
            return (arguments, keywords) in (((1,), {}), ((), {"start_dim": 1}))
        case "mean":  # mean((2, 3)), never over the batch
            dims = arguments[0] if len(arguments) == 1 else None
            batch_kept = isinstance(dims, tuple | list) and min(dims, default=0) > 0
            return batch_kept and not keywords
        case "identity" if node.op == "output":
            return isinstance(node.args[0], fx.Node)
    return not keywords


def structural_degree(model: nn.Module) -> int:
    """Upper bound of the degree of the logits, from the wiring of the network alone.

    Affine layers keep the degree, a sum takes the larger one, a product adds the two:
    a proof of degree <= bound, whatever the weights.

    Raises:
        ValueError: an operation is not polynomial; the message names its module.
    """
    return _structural_degree(_trace(model))


def _structural_degree(steps: list[_Step]) -> int:
    degrees: dict[fx.Node, int] = {}
    for step in steps:
        operands = [degrees[a] for a in step.node.args if isinstance(a, fx.Node)]
        if step.kind == "product":
            degrees[step.node] = sum(operands)
        else:
            degrees[step.node] = max(operands, default=int(step.kind == "input"))
    return degrees[steps[-1].node]


# --- Exact arithmetic --------------------------------------------------------------


class _Value(NamedTuple):
    """numbers / denominator, for one input: no batch, but one more axis at the end.

    (channels, height, width, T) or (features, T). The last axis belongs to the
    arithmetic: coefficients of 1, t, t^2, ... or values at T points t. Affine layers do
    not look at it. A constant has T = 1.
    """

    numbers: np.ndarray
    denominator: int = 1


class _Polynomials:
    """Q[t]: arrays of integer coefficients (fmpz) over a common denominator."""

    t = np.array([fmpz(0), fmpz(1)], dtype=object)

    def lift(self, odd: np.ndarray, power: np.ndarray) -> _Value:
        """odd * 2^power."""
        shift = max(0, -int(power.min(initial=0)))
        integers = odd.astype(object) << (power + shift).astype(object)
        return _Value(np.frompyfunc(fmpz, 1, 1)(integers), 1 << shift)

    def scale(self, numbers: np.ndarray, factor: int) -> np.ndarray:
        return numbers if factor == 1 else numbers * fmpz(factor)

    def add(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        short, long = sorted((a, b), key=lambda numbers: numbers.shape[-1])
        missing = long.shape[-1] - short.shape[-1]
        widths = [(0, 0)] * (short.ndim - 1) + [(0, missing)]
        return np.pad(short, widths) + long

    def multiply(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        shape = np.broadcast_shapes(a.shape[:-1], b.shape[:-1])
        length = b.shape[-1]
        out = np.zeros((*shape, a.shape[-1] + length - 1), dtype=object)
        for i in range(a.shape[-1]):
            out[..., i : i + length] += a[..., i : i + 1] * b
        return out

    def matmul(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        (rows, inner), columns = a.shape, b.shape[1]
        left = fmpz_mat(rows, inner, a.ravel().tolist())
        right = fmpz_mat(len(b), columns, b.ravel().tolist())
        out = np.empty(rows * columns, dtype=object)
        out[:] = (left * right).entries()
        return out.reshape(rows, columns)


class _PrimeField:
    """F_p, p < 2^26, at given points t: float64 arrays of the integers 0 ... p - 1.

    Every float64 operation here is exact, because every number in it, partial sums in
    any order included, is an integer from 0 to 2^53 - 1: a product is at most
    (p - 1)^2, and sums of products are cut to `terms`, the largest n with
    n (p - 1)^2 < 2^53. All terms are >= 0, so no partial sum exceeds the total.
    """

    def __init__(self, prime: int, points: Sequence[int]) -> None:
        self.prime = prime
        self.terms = (2**53 - 1) // (prime - 1) ** 2
        self.t = np.array([point % prime for point in points], dtype=np.float64)

    def reduce(self, x: np.ndarray) -> np.ndarray:
        # x / p is at least 1 / p below the integer above it and x / p < 2^53 / p, so
        # rounding it (relative error 2^-53) does not reach that integer: the floor is
        # the true quotient, and both operations after it are exact.
        return x - np.floor(x / self.prime) * self.prime

    def lift(self, odd: np.ndarray, power: np.ndarray) -> _Value:
        lowest = int(power.min(initial=0))
        exponents = range(lowest, int(power.max(initial=0)) + 1)
        table = np.array([pow(2, e, self.prime) for e in exponents])  # 2 is invertible
        return _Value(self.reduce(1.0 * (odd % self.prime) * table[power - lowest]))

    def scale(self, numbers: np.ndarray, factor: int) -> np.ndarray:
        return self.reduce(numbers * (factor % self.prime))

    def add(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return self.reduce(a + b)

    def multiply(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return self.reduce(a * b)

    def matmul(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        total = np.zeros((a.shape[0], b.shape[1]))
        for i in range(0, a.shape[1], self.terms):
            part = a[:, i : i + self.terms] @ b[i : i + self.terms]
            total = self.add(total, self.reduce(part))
        return total


class _Evaluation:
    """The steps of a network, carried out on a line; one method for each kind."""

    def __init__(self, arithmetic: _Polynomials | _PrimeField) -> None:
        self.arithmetic = arithmetic

    def run(self, steps: list[_Step], x0: Tensor, direction: Tensor) -> _Value:
        t = _Value(self.arithmetic.t)
        line = self.sum(None, x0, self.product(None, direction, t))
        values: dict[fx.Node, _Value] = {}
        for name, kind, node, payload in steps:
            operands = [values[a] if isinstance(a, fx.Node) else a for a in node.args]
            try:
                if kind == "input":
                    values[node] = line
                elif kind == "constant":
                    values[node] = self.constant(payload)
                else:
                    values[node] = getattr(self, kind)(payload, *operands)
            except (RuntimeError, ValueError) as error:
                raise ValueError(f"{name}: {error}") from error
        logits = values[steps[-1].node]
        if logits.numbers.ndim != 2:
            raise ValueError("the network does not return one vector for every input")
        return logits

    def constant(self, values: Any) -> _Value:
        exact = torch.as_tensor(values, dtype=torch.float64).detach().cpu()[..., None]
        if not exact.isfinite().all():
            raise ValueError("weights and inputs must be finite")
        mantissa, exponent = np.frexp(exact.numpy())
        integers = np.ldexp(mantissa, 53).astype(np.int64)
        lowest_bit = np.where(integers == 0, 1, integers & -integers)
        zeros = np.frexp(lowest_bit)[1] - 1
        power = np.where(integers == 0, 0, exponent - 53 + zeros).astype(np.int64)
        return self.arithmetic.lift(integers >> zeros, power)

    def operands(self, *operands: Any) -> list[_Value]:
        a, b = (v if isinstance(v, _Value) else self.constant(v) for v in operands)
        (*left, m), (*right, n) = a.numbers.shape, b.numbers.shape
        if len(left) != len(right) and 1 not in (m, n):  # would misplace the batch
            raise ValueError(f"shapes {tuple(left)} and {tuple(right)} do not fit")
        return [a, b]

    def sum(self, _: Any, *operands: Any) -> _Value:
        a, b = self.operands(*operands)
        common = math.lcm(a.denominator, b.denominator)
        left = self.arithmetic.scale(a.numbers, common // a.denominator)
        right = self.arithmetic.scale(b.numbers, common // b.denominator)
        return _Value(self.arithmetic.add(left, right), common)

    def product(self, _: Any, *operands: Any) -> _Value:
        a, b = self.operands(*operands)
        numbers = self.arithmetic.multiply(a.numbers, b.numbers)
        return _Value(numbers, a.denominator * b.denominator)

    def identity(self, _: Any, x: _Value) -> _Value:
        return x

    def flatten(self, _: Any, x: _Value, start_dim: int = 1) -> _Value:
        return x._replace(numbers=x.numbers.reshape(-1, x.numbers.shape[-1]))

    def mean(self, _: Any, x: _Value, dims: Sequence[int]) -> _Value:
        axes = tuple(dim - 1 for dim in dims)
        count = math.prod(x.numbers.shape[axis] for axis in axes)
        total = self.arithmetic.scale(x.numbers.sum(axis=axes), 1)
        return _Value(total, x.denominator * count)

    def norm(self, module: Any, x: _Value) -> _Value:
        if len(x.numbers) != module.num_features:
            raise ValueError(f"{len(x.numbers)} channels, not {module.num_features}")
        weight = 1 if module.weight is None else module.weight
        bias = 0 if module.bias is None else module.bias
        scale = weight / torch.sqrt(module.running_var + module.eps)
        shift = bias - module.running_mean * scale
        shape = (-1,) + (1,) * (x.numbers.ndim - 2)
        return self.sum(
            None, self.product(None, x, scale.reshape(shape)), shift.reshape(shape)
        )

    def linear(self, module: nn.Linear, x: _Value) -> _Value:
        features, depth = x.numbers.shape
        y = self.affine(module, x.numbers.reshape(features, 1, depth), x.denominator)
        return y._replace(numbers=y.numbers[:, 0])

    def conv(self, module: Any, x: _Value) -> _Value:
        channels, height, width, depth = x.numbers.shape
        # Numbered pixels, unfolded: which of them every output reads; 0 is the padding.
        pixels = torch.arange(1.0, channels * height * width + 1, dtype=torch.float64)
        reads = nn.functional.unfold(
            pixels.reshape(1, channels, height, width),
            module.kernel_size,
            module.dilation,
            module.padding,
            module.stride,
        )[0].long()
        zero = np.zeros((1, depth), dtype=x.numbers.dtype)
        columns = np.concatenate([zero, x.numbers.reshape(-1, depth)])[reads.numpy()]
        y = self.affine(module, columns, x.denominator)
        span = module.dilation[0] * (module.kernel_size[0] - 1) + 1
        rows = (height + 2 * module.padding[0] - span) // module.stride[0] + 1
        return y._replace(numbers=y.numbers.reshape(len(y.numbers), rows, -1, depth))

    def affine(self, module: Any, columns: np.ndarray, denominator: int) -> _Value:
        """weight @ x + bias: (fan_in, positions, T) -> (fan_out, positions, T)."""
        weight = self.constant(module.weight.flatten(1))
        numbers = self.arithmetic.matmul(
            weight.numbers[..., 0], columns.reshape(len(columns), -1)
        ).reshape(-1, *columns.shape[1:])
        y = _Value(numbers, weight.denominator * denominator)
        return y if module.bias is None else self.sum(None, y, module.bias[:, None])


# --- The certificates --------------------------------------------------------------


def _check(x0: Tensor, direction: Tensor) -> None:
    if x0.shape != direction.shape or x0.ndim == 0:
        raise ValueError(
            "x0 and direction must be single inputs of one shape, without a batch; "
            f"they are {tuple(x0.shape)} and {tuple(direction.shape)}"
        )
    if x0.is_complex() or direction.is_complex():
        raise ValueError("x0 and direction must be real")
    if not direction.any():
        raise ValueError("the direction is zero: a point, not a line")


def line_polynomials(
    model: nn.Module, x0: Tensor, direction: Tensor
) -> list[fmpq_poly]:
    """The logits on the line x0 + t direction, as polynomials in t: exact, no rounding.

    Coefficients pass through the layers as integers over a common denominator. Every
    product doubles their length, to thousands of bits for degree 32.

    Args:
        model: a network without activation functions.
        x0: one input without a batch, e.g. (C, H, W) or (d,), of any real dtype.
        direction: the same shape; not zero.

    Returns:
        One `flint.fmpq_poly` for every logit: `.degree()`, `.coeffs()`, `p(t)`.

    Raises:
        ValueError: an operation is not polynomial (the message names its module), the
            shapes do not fit, or a number is not finite.
    """
    _check(x0, direction)
    logits = _Evaluation(_Polynomials()).run(_trace(model), x0, direction)
    denominator = fmpz(logits.denominator)
    return [fmpq_poly(fmpz_poly(c.tolist()), denominator) for c in logits.numbers]


@dataclass(frozen=True)
class DegreeCertificate:
    """What `exact_degree` found.

    `degree` is proved from below: the coefficient of t^degree is not zero modulo a
    prime, so it is not zero. `structural_degree` is proved from above. Where the two
    agree (`proved`) the degree is exact; otherwise the coefficients between them are
    zero modulo every prime, which is evidence and no proof.
    """

    degree: int
    structural_degree: int
    logit_degrees: tuple[int, ...]
    primes: tuple[int, ...]
    leading_coefficients: tuple[tuple[int, ...], ...]  # of t^degree [prime][logit]
    points: int  # t = 0, 1, ..., points - 1
    seconds: float = field(compare=False)

    @property
    def proved(self) -> bool:
        return self.degree == self.structural_degree

    def __str__(self) -> str:  # nothing that differs between machines
        logits = f"{self.logit_degrees.count(self.degree)} of {len(self.logit_degrees)}"
        above = "the products of the network allow no more"
        if not self.proved:
            above = (
                f"higher coefficients, possible up to t^{self.structural_degree}, are "
                "zero modulo every prime: strong evidence, no proof"
            )
        return (
            f"degree {self.degree}{' (proved)' if self.proved else ''}\n"
            f"  at least: the coefficient of t^{self.degree} is not zero in {logits} "
            f"logits\n  at most:  {above}\n  exact arithmetic modulo "
            f"{', '.join(map(str, self.primes))} at t = 0, ..., {self.points - 1}"
        )


def _residues(
    steps: list[_Step], x0: Tensor, direction: Tensor, prime: int, points: Sequence[int]
) -> np.ndarray:
    """The logits modulo a prime at integer points t: int64 (points, num_classes)."""
    arithmetic = _PrimeField(prime, points)
    logits = _Evaluation(arithmetic).run(steps, x0, direction)
    numbers = arithmetic.scale(logits.numbers, pow(logits.denominator, -1, prime))
    return np.broadcast_to(numbers, (len(numbers), len(points))).T.astype(np.int64)


def _differences(
    steps: list[_Step], x0: Tensor, direction: Tensor, prime: int, points: range
) -> np.ndarray:
    """Forward differences at t = 0 of every order, modulo the prime; as `_residues`."""
    chunks = [points[i : i + 64] for i in range(0, len(points), 64)]  # bounds memory
    values = np.concatenate([_residues(steps, x0, direction, prime, c) for c in chunks])
    rows = []
    while len(values):
        rows.append(values[0])
        values = np.diff(values, axis=0) % prime
    return np.array(rows)


def exact_degree(
    model: nn.Module,
    x0: Tensor,
    direction: Tensor,
    *,
    primes: Sequence[int] = PRIMES,
    extra_points: int = 4,
) -> DegreeCertificate:
    """Degree of the logits on the line x0 + t direction, certified modulo primes.

    Weights and inputs are dyadic rationals, so they have residues modulo an odd prime
    p, and so has the network's value at every integer t. Its values at t = 0, ..., D +
    extra_points (D: `structural_degree`) give the forward differences at 0. As p > D,
    the highest one that is not zero modulo p is the degree modulo p, and the true
    degree is at least that. Those above D must be zero: a check of the arithmetic.

    The degree on one line is a lower bound of the total degree of the network.

    Args:
        model: a network without activation functions, of any size.
        x0: one input without a batch, e.g. (C, H, W) or (d,), of any real dtype.
        direction: the same shape; not zero.
        primes: odd primes below 2^26, larger than D + extra_points.
        extra_points: differences above D to check.

    Raises:
        ValueError: as for `line_polynomials`, or unsuitable primes.
    """
    start = time.perf_counter()
    _check(x0, direction)
    steps = _trace(model)
    bound = _structural_degree(steps)
    points = range(bound + max(extra_points, 0) + 1)
    low = max(3, len(points))
    if not primes or not all(low <= p < 2**26 and fmpz(p).is_prime() for p in primes):
        raise ValueError(f"primes from {low} to 2^26 needed, not {list(primes)}")
    # (primes, points, num_classes)
    differences = np.stack(
        [_differences(steps, x0, direction, p, points) for p in primes]
    )
    nonzero = np.logical_or.reduce(differences, axis=0)
    if nonzero[bound + 1 :].any():
        raise AssertionError("a difference above the structural degree is not zero")
    degrees = [int(max(np.flatnonzero(column), default=0)) for column in nonzero.T]
    degree = max(degrees)
    # All higher differences being zero, the coefficient of t^k is difference k / k!.
    leading = [
        tuple(int(c) * pow(math.factorial(degree), -1, p) % p for c in row)
        for row, p in zip(differences[:, degree], primes, strict=True)
    ]
    seconds = time.perf_counter() - start
    return DegreeCertificate(
        degree,
        bound,
        tuple(degrees),
        tuple(primes),
        tuple(leading),
        len(points),
        seconds,
    )


@torch.no_grad()
def chebyshev_spectrum(
    model: nn.Module, x0: Tensor, direction: Tensor, max_degree: int = 48
) -> np.ndarray:
    """Chebyshev coefficients of the logits on the line x0 + t direction, -1 <= t <= 1.

    A polynomial of degree D has only rounding errors above D; with ReLU the
    coefficients decay slowly and end nowhere. Computed in float64 on the CPU, with a
    copy of the network in evaluation mode, from 4 (max_degree + 1) Chebyshev nodes.

    Args:
        model: any network.
        x0: one input without a batch.
        direction: the same shape. Its length is the scale of the line: on a short line
            the high degrees drown in rounding.
        max_degree: last degree.

    Returns:
        float64 (max_degree + 1, num_classes): row k has the coefficients of T_k(t).

    Raises:
        ValueError: x0 and direction differ in shape, or the direction is zero.
    """
    _check(x0, direction)
    double = copy.deepcopy(model).cpu().double().eval()
    nodes = 4 * (max_degree + 1)
    angles = math.pi * (torch.arange(nodes, dtype=torch.float64) + 0.5) / nodes
    t = angles.cos().reshape(-1, *[1] * x0.ndim)
    logits = double(x0.detach().cpu().double() + t * direction.detach().cpu().double())
    orders = torch.arange(max_degree + 1, dtype=torch.float64)
    coefficients = 2 / nodes * torch.cos(orders[:, None] * angles) @ logits
    coefficients[0] /= 2
    return coefficients.numpy()


# --- The parametrisations of the paper ---------------------------------------------
# Their recursions agree with those that an independent implementation quotes from the
# journal version (IEEE TPAMI 44(8), 2022), equation 6 for CCP and 10 for NCP-Skip.


class _Recursion(nn.Module):
    """The layers of the three recursions. For inputs of variance 1, x_n starts with the
    same second moment; with a skip every step adds 1 / N of it, a factor e at most.
    """

    nested = False
    skip = True

    def __init__(
        self, in_features: int, out_features: int, rank: int, order: int
    ) -> None:
        super().__init__()
        if min(in_features, out_features, rank, order) < 1:
            raise ValueError("in_features, out_features, rank and order must be >= 1")
        self.in_features, self.out_features = in_features, out_features
        later = range(order - 1)
        share = 1 / order if self.skip else 1.0
        self.first = _normal(in_features, rank, 1.0)
        self.factors = nn.ModuleList(_normal(in_features, rank, share) for _ in later)
        if self.nested:
            self.offset = nn.Parameter(torch.ones(rank))
            self.inner = nn.ModuleList(
                _normal(rank, rank, 0.5, 0.5**0.5) for _ in later
            )
        if self.nested and self.skip:
            linear = nn.Linear(rank, rank, bias=False)
            nn.init.eye_(linear.weight)
            self.skips = nn.ModuleList(copy.deepcopy(linear) for _ in later)
        self.head = nn.Linear(rank, out_features)


def _normal(
    fan_in: int, fan_out: int, variance: float, bias: float | None = None
) -> nn.Linear:
    """A layer whose outputs get this variance from inputs of variance 1."""
    layer = nn.Linear(fan_in, fan_out, bias=bias is not None)
    nn.init.normal_(layer.weight, std=(variance / fan_in) ** 0.5)
    if bias is not None:
        nn.init.constant_(layer.bias, bias)
    return layer


class CCP(_Recursion):
    """x_1 = U_1' z,  x_n = (U_n' z) * x_{n-1} + x_{n-1},  C x_N + beta.

    Coupled CP decomposition: the coefficient tensors of all degrees share the factors
    U_n (d, k) and C (o, k).

    Args:
        in_features: d, the length of z.
        out_features: o.
        rank: k, the length of x_n.
        order: N, the degree.

    Shape: float (batch, in_features) -> (batch, out_features).

    Raises:
        ValueError: a size is not positive.
    """

    def forward(self, z: Tensor) -> Tensor:
        x = self.first(z)
        for factor in self.factors:
            x = factor(z) * x + x
        return self.head(x)


class NCP(_Recursion):
    """x_1 = (A_1' z) * b_1,  x_n = (A_n' z) * (S_n' x_{n-1} + b_n),  C x_N + beta.

    Nested coupled CP decomposition. For b_n the paper writes B_n' b_n; a learned matrix
    times a learned vector is any vector of length k, so it is stored as one.

    Arguments, shape and errors as for `CCP`.
    """

    nested = True
    skip = False

    def forward(self, z: Tensor) -> Tensor:
        x = self.first(z) * self.offset
        for factor, inner in zip(self.factors, self.inner, strict=True):
            x = factor(z) * inner(x)
        return self.head(x)


class NCPSkip(_Recursion):
    """NCP with x_n = (A_n' z) * (S_n' x_{n-1} + b_n) + V_n x_{n-1}.

    Nested coupled CP decomposition with skip; V_n (k, k) starts as the identity.

    Arguments, shape and errors as for `CCP`.
    """

    nested = True

    def forward(self, z: Tensor) -> Tensor:
        x = self.first(z) * self.offset
        for factor, inner, skip in zip(
            self.factors, self.inner, self.skips, strict=True
        ):
            x = factor(z) * inner(x) + skip(x)
        return self.head(x)


Parametrisation = CCP | NCP | NCPSkip


@torch.no_grad()
def explicit_tensors(module: Parametrisation) -> list[Tensor]:
    """The coefficients [beta, W_1, ..., W_N] of the polynomial (paper, equation 1).

    W_n has shape (o, d, ..., d) with n d's and is contracted from the factors: o d^n
    numbers, so for small sizes only. It is not symmetrised.
    """
    ones = module.head.weight.new_ones(module.in_features)
    values: dict[fx.Node, list[Tensor]] = {}  # polynomials in z, like the result
    for _, kind, node, payload in _trace(module):
        operands = [values[a] for a in node.args if isinstance(a, fx.Node)]
        match kind:
            case "input":
                value = [0 * ones, ones.diag()]
            case "constant":
                value = [payload]
            case "linear":
                value = [torch.tensordot(payload.weight, x, 1) for x in operands[0]]
                value[0] = value[0] + (0 if payload.bias is None else payload.bias)
            case "sum":
                pairs = itertools.zip_longest(*operands, fillvalue=0 * ones.sum())
                value = [x + y for x, y in pairs]
            case "product":
                value = _product(*operands)
            case _:
                (value,) = operands
        values[node] = value
    return value


def _product(x: list[Tensor], y: list[Tensor]) -> list[Tensor]:
    """Degrees add; for every component the outer product of the coefficients."""
    out: list[Any] = [0] * (len(x) + len(y) - 1)
    for (m, a), (n, b) in itertools.product(enumerate(x), enumerate(y)):
        outer = a.reshape(len(a), -1, 1) * b.reshape(len(b), 1, -1)
        out[m + n] = out[m + n] + outer.reshape(*a.shape, *b.shape[1:])
    return out


def evaluate_polynomial(tensors: Sequence[Tensor], z: Tensor) -> Tensor:
    """beta + W_1 z + W_2 z z + ... (paper, equation 1): (batch, d) -> (batch, o)."""
    total = tensors[0].expand(len(z), -1)
    for tensor in tensors[1:]:
        term = torch.einsum("...d,nd->n...", tensor, z)
        while term.ndim > 2:
            term = torch.einsum("n...d,nd->n...", term, z)
        total = total + term
    return total


def parameter_saving(module: Parametrisation) -> dict[str, int]:
    """Parameters of the module against coefficients of the polynomial it stands for.

    Returns:
        "parameters" of the module; "tensors": o (1 + d + ... + d^N), the numbers in
        `explicit_tensors`; "monomials": o C(d + N, N), what is left of them when equal
        monomials are merged.
    """
    d, o, order = module.in_features, module.out_features, 1 + len(module.factors)
    return {
        "parameters": sum(p.numel() for p in module.parameters()),
        "tensors": o * sum(d**n for n in range(order + 1)),
        "monomials": o * math.comb(d + order, order),
    }
