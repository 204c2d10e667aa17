"""The certificate of degree against slow rational arithmetic that shares no code."""

import importlib.util
import itertools
import math
import random
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from flint import fmpq
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from papernets import polynomial
from papernets.models.pi_net import Join, PolyNet, PolyResidual, PolyResNet
from papernets.polynomial import (
    CCP,
    NCP,
    PRIMES,
    DegreeCertificate,
    NCPSkip,
    chebyshev_spectrum,
    evaluate_polynomial,
    exact_degree,
    explicit_tensors,
    line_polynomials,
    parameter_saving,
    structural_degree,
)

LARGE_PRIME = 67_108_859  # below 2^26: the sums of products must be cut into pairs
seeds = st.integers(0, 2**31)
quick = settings(max_examples=20, deadline=None)


# --- An oracle: every layer by its definition, one Fraction at a time --------------


def fractions(tensor):
    """A tensor as nested lists of the exact values of its elements."""
    if tensor.ndim == 0:
        return Fraction(tensor.item())
    return [fractions(part) for part in tensor]


def oracle(module, x):
    """The module's value at x: (C, H, W) as nested lists, or a list."""
    if isinstance(module, nn.Sequential):
        for layer in module:
            x = oracle(layer, x)
        return x
    if isinstance(module, PolyNet):
        return oracle(module.classifier, flat(oracle(module.blocks, x)))
    if isinstance(module, PolyResNet):
        x = oracle(module.stages, oracle(module.stem, x))
        means = [sum(flat(c)) / Fraction(len(flat(c))) for c in x]
        return oracle(module.classifier, oracle(module.norm, means))
    if isinstance(module, PolyResidual):
        a, b = oracle(module.first, x), oracle(module.second, x)
        product = combine(lambda u, v: u * v, a, b)
        return combine(lambda u, v: u + v, oracle(module.shortcut, x), product)
    if isinstance(module, Join):
        return combine(lambda u, v: u * v, *(oracle(b, x) for b in module.branches))
    if isinstance(module, nn.Linear):
        weight = fractions(module.weight)
        bias = [0] * len(weight) if module.bias is None else fractions(module.bias)
        return [dot(row, x) + b for row, b in zip(weight, bias, strict=True)]
    if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
        scale = module.weight / torch.sqrt(module.running_var + module.eps)
        shift = module.bias - module.running_mean * scale
        return [
            combine(lambda v, w=w, b=b: w * v + b, channel)
            for channel, w, b in zip(x, fractions(scale), fractions(shift), strict=True)
        ]
    if isinstance(module, nn.Identity | nn.Dropout):
        return x
    assert isinstance(module, nn.Conv2d), module
    return convolution(module, x)


def convolution(module, x):
    kernel, stride, padding = (
        v[0] for v in (module.kernel_size, module.stride, module.padding)
    )
    height, width = len(x[0]), len(x[0][0])
    rows = (height + 2 * padding - kernel) // stride + 1
    columns = (width + 2 * padding - kernel) // stride + 1
    out = []
    for weight, channel in zip(
        fractions(module.weight), range(len(module.weight)), strict=True
    ):
        bias = 0 if module.bias is None else Fraction(module.bias[channel].item())
        plane = [[bias] * columns for _ in range(rows)]
        for i, j in itertools.product(range(rows), range(columns)):
            for c, u, v in itertools.product(range(len(x)), *[range(kernel)] * 2):
                row, column = i * stride + u - padding, j * stride + v - padding
                if 0 <= row < height and 0 <= column < width:
                    plane[i][j] += weight[c][u][v] * x[c][row][column]
        out.append(plane)
    return out


def combine(function, *values):
    if not isinstance(values[0], list):
        return function(*values)
    return [combine(function, *parts) for parts in zip(*values, strict=True)]


def flat(x):
    return [v for part in x for v in flat(part)] if isinstance(x, list) else [x]


def dot(a, b):
    return sum((u * v for u, v in zip(a, b, strict=True)), Fraction(0))


def oracle_on_line(model, x0, direction, t):
    point = combine(lambda a, d: a + t * d, fractions(x0), fractions(direction))
    return oracle(model, point)


def as_fraction(value):
    value = fmpq(value)
    return Fraction(int(value.p), int(value.q))


def residue(value, prime):
    value = Fraction(value)
    return value.numerator * pow(value.denominator, -1, prime) % prime


def line(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return (
        torch.rand(shape, generator=generator),
        torch.randn(shape, generator=generator),
    )


def tiny(seed, blocks=2, norm=False):
    torch.manual_seed(seed)
    model = PolyNet(
        in_channels=2, num_classes=3, width=1, blocks=blocks, image_size=6, norm=norm
    )
    return settle(model)


def settle(model):
    """Give batch normalization statistics that are not 0 and 1."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -1, 1)
            nn.init.uniform_(module.running_var, 0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -1, 1)
    return model


class Function(nn.Module):
    """A network given by a function of its input and one linear layer."""

    def __init__(self, function, layer=None):
        super().__init__()
        self.layer = nn.Linear(2, 2) if layer is None else layer
        self.function = function

    def forward(self, x):
        return self.function(self.layer, x)


# --- Exact coefficients ------------------------------------------------------------


@quick
@given(seeds, st.integers(1, 2), st.booleans(), st.fractions(-3, 3))
def test_line_polynomials_equal_the_network_at_rational_points(seed, blocks, norm, t):
    t = t.limit_denominator(50)
    model = tiny(seed, blocks, norm)
    x0, direction = line(2, 6, 6, seed=seed)
    polynomials = line_polynomials(model, x0, direction)
    values = [as_fraction(p(fmpq(t.numerator, t.denominator))) for p in polynomials]
    assert values == oracle_on_line(model, x0, direction, t)


@pytest.mark.parametrize("size", [4, 6])  # 4: the mean is over 1, else over 2 x 2
def test_line_polynomials_of_a_residual_network(size):
    torch.manual_seed(1)
    model = settle(PolyResNet(in_channels=1, num_classes=2, blocks=1, width=1))
    x0, direction = line(1, size, size)
    polynomials = line_polynomials(model, x0, direction)
    t = Fraction(-2, 7)
    values = [as_fraction(p(fmpq(-2, 7))) for p in polynomials]
    assert values == oracle_on_line(model, x0, direction, t)
    assert structural_degree(model) == 8
    assert max(p.degree() for p in polynomials) == 8
    assert exact_degree(model, x0, direction).degree == 8


def test_a_mean_over_three_by_three_is_not_rounded():
    torch.manual_seed(2)
    model = settle(PolyResNet(in_channels=1, num_classes=2, blocks=1, width=1))
    x0, direction = line(1, 12, 12)
    exact = line_polynomials(model, x0, direction)
    assert int(exact[0].denom()) % 9 == 0
    leading = exact_degree(model, x0, direction).leading_coefficients
    for prime, row in zip(PRIMES, leading, strict=True):
        assert list(row) == [residue(as_fraction(p[8]), prime) for p in exact]


def test_denominators_that_do_not_divide_each_other():
    model = Function(lambda f, x: x.mean([2, 3]) + 2**-10)
    ones = torch.ones(1, 3, 3)
    (found,) = line_polynomials(model, 5 * ones, torch.eye(3)[None])
    assert found.coeffs() == [5 + fmpq(1, 1024), fmpq(1, 3)]
    assert exact_degree(model, ones, torch.eye(3)[None]).proved


@pytest.mark.parametrize("image_size", [28, 32])
@pytest.mark.parametrize("blocks", range(1, 6))
def test_degree_is_two_to_the_number_of_blocks(blocks, image_size):
    torch.manual_seed(blocks)
    model = PolyNet(width=1, blocks=blocks, image_size=image_size)
    x0, direction = line(1, image_size, image_size)
    degrees = [p.degree() for p in line_polynomials(model, x0, direction)]
    assert degrees == [2**blocks] * 10
    certificate = exact_degree(model, x0, direction)
    assert certificate.proved
    assert list(certificate.logit_degrees) == degrees


@pytest.mark.parametrize(
    "dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64]
)
def test_every_float_type_is_taken_exactly(dtype):
    model = tiny(3).to(dtype)
    x0, direction = (v.to(dtype) for v in line(2, 6, 6))
    polynomials = line_polynomials(model, x0, direction)
    values = [as_fraction(p(fmpq(1, 3))) for p in polynomials]
    assert values == oracle_on_line(model, x0, direction, Fraction(1, 3))


def test_integer_images_are_inputs_too():
    x0 = torch.arange(72, dtype=torch.uint8).reshape(2, 6, 6)
    exact = line_polynomials(tiny(3), x0, x0.flip(0))
    assert exact == line_polynomials(tiny(3), x0.float(), x0.flip(0).float())


@quick
@given(
    st.lists(
        st.floats(allow_nan=False, allow_infinity=False, width=64),
        min_size=1,
        max_size=5,
    )
)
def test_floats_become_the_same_rationals_and_residues(values):
    values += [0.0, -0.0, 5e-324, 1.0, -0.1]
    exact = polynomial._Evaluation(polynomial._Polynomials()).constant(values)
    for number, value in zip(exact.numbers[:, 0], values, strict=True):
        assert Fraction(int(number), exact.denominator) == Fraction(value)
    for prime in (3, *PRIMES, LARGE_PRIME):
        field = polynomial._PrimeField(prime, [0])
        found = polynomial._Evaluation(field).constant(values).numbers[:, 0]
        assert found.tolist() == [residue(value, prime) for value in values]


# --- Arithmetic modulo a prime -----------------------------------------------------


@given(st.integers(0, 2**53 - 1), st.integers(0, 2**27), st.integers(-2, 2))
def test_float64_reduction_is_exact(x, quotient, offset):
    for prime in (3, 65_537, *PRIMES, LARGE_PRIME):
        edge = min(max(quotient * prime + offset, 0), 2**53 - 1)
        last = (2**53 - 1) // prime * prime  # the largest multiple
        values = np.array([x, edge, last, last - 1, 2**53 - 1], dtype=np.float64)
        reduced = polynomial._PrimeField(prime, [0]).reduce(values)
        assert reduced.tolist() == [int(v) % prime for v in values]


@pytest.mark.parametrize("prime", [*PRIMES, LARGE_PRIME])
def test_matrix_products_are_exact_at_the_largest_residues(prime):
    field = polynomial._PrimeField(prime, [0])
    assert (
        field.terms * (prime - 1) ** 2 < 2**53 <= (field.terms + 1) * (prime - 1) ** 2
    )
    fan_in = 9001  # more than one part for every prime
    assert fan_in > field.terms
    random.seed(prime)
    a = [[random.choice([prime - 1, prime - 2]) for _ in range(fan_in)] for _ in "ab"]
    found = field.matmul(np.array(a, dtype=np.float64), np.array(a, dtype=np.float64).T)
    for i, j in itertools.product(range(2), repeat=2):
        exact = sum(u * v for u, v in zip(a[i], a[j], strict=True)) % prime
        assert found[i, j] == exact


@quick
@given(
    seeds,
    st.booleans(),
    st.sampled_from([101, 65_537, *PRIMES, LARGE_PRIME]),
    st.lists(st.integers(-200, 200), min_size=1, max_size=3),
)
def test_values_modulo_a_prime_agree_with_fractions(seed, norm, prime, points):
    model = tiny(seed, norm=norm)
    x0, direction = line(2, 6, 6, seed=seed)
    steps = polynomial._trace(model)
    found = polynomial._residues(steps, x0, direction, prime, points)
    for row, t in zip(found.tolist(), points, strict=True):
        exact = oracle_on_line(model, x0, direction, Fraction(t))
        assert row == [residue(value, prime) for value in exact]


@quick
@given(seeds, st.integers(1, 2), st.sampled_from([101, *PRIMES, LARGE_PRIME]))
def test_leading_coefficients_agree_with_the_exact_ones(seed, blocks, prime):
    model = tiny(seed, blocks)
    x0, direction = line(2, 6, 6, seed=seed)
    exact = line_polynomials(model, x0, direction)
    certificate = exact_degree(model, x0, direction, primes=[prime])
    degree = certificate.degree
    assert certificate.leading_coefficients == (
        tuple(residue(as_fraction(p[degree]), prime) for p in exact),
    )
    if prime > 10**6:
        assert list(certificate.logit_degrees) == [p.degree() for p in exact]


def test_the_network_at_full_width_has_degree_32():
    torch.manual_seed(0)
    model = PolyNet(in_channels=3)
    x0, direction = line(3, 32, 32)
    certificate = exact_degree(model, x0, direction)
    assert certificate.proved
    assert certificate.logit_degrees == (32,) * 10
    assert all(any(row) for row in certificate.leading_coefficients)
    assert certificate == exact_degree(model, x0, direction)
    assert certificate.seconds > 0
    assert str(certificate) == (
        "degree 32 (proved)\n"
        "  at least: the coefficient of t^32 is not zero in 10 of 10 logits\n"
        "  at most:  the products of the network allow no more\n"
        "  exact arithmetic modulo 1048573, 1048571, 1048559 at t = 0, ..., 36"
    )


def test_many_points_are_taken_in_pieces():
    torch.manual_seed(0)
    model = settle(PolyResNet(in_channels=1, blocks=2, width=1)).eval()
    certificate = exact_degree(model, *line(1, 8, 8), primes=PRIMES[:1])
    assert certificate.points == 69
    assert certificate.degree == structural_degree(model) == 64


def test_the_primes_are_what_their_comment_says():
    def is_prime(n):
        return all(n % k for k in range(2, math.isqrt(n) + 1))

    largest = [n for n in range(2**20 - 100, 2**20) if is_prime(n)][-3:]
    assert sorted(PRIMES) == largest


# --- Degrees below the structural one ----------------------------------------------


@pytest.mark.parametrize(("killed", "degree"), [([1], 16), ([0, 1], 0)])
def test_a_zeroed_branch_lowers_the_degree_found(killed, degree):
    torch.manual_seed(0)
    model = PolyNet(width=1)
    for branch in killed:
        nn.init.zeros_(model.blocks[4].branches[branch].weight)
    x0, direction = line(1, 32, 32)
    certificate = exact_degree(model, x0, direction)
    assert (certificate.degree, certificate.structural_degree) == (degree, 32)
    assert not certificate.proved
    assert "no proof" in str(certificate)
    exact = line_polynomials(model, x0, direction)
    assert max(p.degree() for p in exact) == degree


def test_a_zeroed_branch_in_the_first_block():
    torch.manual_seed(0)
    model = PolyNet(width=1, image_size=28)
    nn.init.zeros_(model.blocks[0].branches[0].weight)
    assert exact_degree(model, *line(1, 28, 28)).degree == 16


def test_degrees_are_found_for_every_logit():
    torch.manual_seed(0)
    model = PolyNet(width=1, blocks=2)
    nn.init.zeros_(model.classifier.weight[3:5])
    certificate = exact_degree(model, *line(1, 32, 32))
    assert certificate.logit_degrees == (4, 4, 4, 0, 0, 4, 4, 4, 4, 4)
    assert certificate.degree == 4
    assert "in 8 of 10 logits" in str(certificate)


def test_a_cancellation_is_seen():
    # (y + 1) (y - 1) - y y = -1: degree 2 by its wiring, 0 in truth.
    model = Function(lambda f, x: (f(x) + 1) * (f(x) + -1) + f(x) * f(x) * -1.0)
    certificate = exact_degree(model, *line(2))
    assert (certificate.degree, certificate.structural_degree) == (0, 2)
    assert [p.coeffs() for p in line_polynomials(model, *line(2))] == [[-1], [-1]]


def test_a_coefficient_that_one_prime_divides_is_found_with_another():
    layer = nn.Linear(1, 1, bias=False)
    nn.init.constant_(layer.weight, float(PRIMES[0]))
    certificate = exact_degree(layer, torch.zeros(1), torch.ones(1))
    assert certificate.proved
    assert certificate.leading_coefficients[0] == (0,)
    one = exact_degree(layer, torch.zeros(1), torch.ones(1), primes=PRIMES[:1])
    assert (one.degree, one.proved) == (0, False)


# --- Rounding does not matter ------------------------------------------------------


def test_a_degree_too_small_for_float64_is_still_certified():
    torch.manual_seed(0)
    model = PolyNet(width=1)  # PyTorch's initialisation: nearly constant
    x0, direction = line(1, 32, 32)
    spectrum = np.abs(chebyshev_spectrum(model, x0, 1e-3 * direction)).max(axis=1)
    assert spectrum[32] < 1e-15 * spectrum[0]  # float64 cannot see it
    assert exact_degree(model, x0, 1e-3 * direction).proved


@pytest.mark.parametrize("scale", [1e-30, 1e-6, 1e6, 1e30])
def test_degree_does_not_depend_on_the_scale_or_noise_of_the_weights(scale):
    torch.manual_seed(0)
    model = PolyNet(width=1, image_size=28)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(scale * (1 + 1e-7 * torch.randn_like(parameter)))
    assert exact_degree(model, *line(1, 28, 28)).degree == 32


def test_networks_are_read_in_evaluation_mode_and_left_alone():
    torch.manual_seed(0)
    model = settle(PolyNet(width=1, norm=True, dropout=0.5)).train()
    before = {name: v.clone() for name, v in model.state_dict().items()}
    x0, direction = line(1, 32, 32)
    trained = exact_degree(model, x0, direction)
    chebyshev_spectrum(model, x0, direction)
    assert model.training
    assert all(module.training for module in model.modules())
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])
        assert value.dtype == before[name].dtype
    assert trained.proved
    assert trained == exact_degree(model.eval(), x0, direction)


def test_code_for_training_only_is_not_read():
    model = Function(lambda f, x: f(x).relu() if f.training else f(x) * x).train()
    assert exact_degree(model, *line(2)).degree == 2


# --- What is refused ---------------------------------------------------------------


@pytest.mark.parametrize(
    "function", [structural_degree, line_polynomials, exact_degree]
)
@pytest.mark.parametrize("join", ["relu", "product_relu"])
def test_activation_functions_are_refused_by_name(function, join):
    model = PolyNet(width=1, join=join)
    arguments = () if function is structural_degree else line(1, 32, 32)
    with pytest.raises(ValueError, match=r"blocks\.0 \(Join\): relu is not polynomial"):
        function(model, *arguments)


def test_a_single_hidden_activation_is_found():
    model = PolyNet(width=1)
    model.blocks[3] = nn.Sequential(model.blocks[3], nn.ReLU())
    with pytest.raises(ValueError, match=r"blocks\.3\.1 \(ReLU\) is not polynomial"):
        exact_degree(model, *line(1, 32, 32))


class Half(nn.Linear):
    def forward(self, x):
        return super().forward(x).abs()


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (nn.Sequential(nn.MaxPool2d(2)), "MaxPool2d"),
        (nn.Sequential(nn.Conv2d(1, 1, 3, padding="same")), "Conv2d"),
        (nn.Sequential(nn.Conv2d(1, 1, 3, padding_mode="circular")), "Conv2d"),
        (nn.Sequential(nn.Conv2d(2, 2, 3, groups=2)), "Conv2d"),
        (nn.Sequential(nn.BatchNorm2d(1, track_running_stats=False)), "BatchNorm2d"),
        (nn.Sequential(nn.Flatten(0)), "Flatten"),
        (nn.Sequential(Half(2, 2)), "0 .Half.: 0.weight"),
        (Function(lambda f, x: f(x).exp()), "exp"),
        (Function(lambda f, x: f(x) / f(x)), "truediv"),
        (Function(lambda f, x: x * f.weight), "layer.weight"),
        (Function(lambda f, x: f(x).mean(0)), "mean"),
        (Function(lambda f, x: f(x).mean()), "mean"),
        (Function(lambda f, x: f(x).mean((0, 1))), "mean"),
        (Function(lambda f, x: f(x).mean((1,), keepdim=True)), "mean"),
        (Function(lambda f, x: f(x).flatten()), "flatten"),
        (Function(lambda f, x: torch.add(f(x), x, alpha=2)), "add"),
        (Function(lambda f, x: f(input=x)), "layer"),
        (Function(lambda f, x: f(input=x), nn.Conv2d(1, 1, 1)), "layer"),
        (Function(lambda f, x: (f(x), x)), "output"),
        (Function(lambda f, x: f(x) if x.sum() > 0 else x), "cannot be traced"),
    ],
)
def test_other_operations_are_refused_by_name(model, message):
    with pytest.raises(ValueError, match=message):
        structural_degree(model)


def test_two_inputs_are_refused():
    class Pair(nn.Module):
        def forward(self, x, y):
            return x * y

    with pytest.raises(ValueError, match="exactly one input"):
        structural_degree(Pair())


@pytest.mark.parametrize("name", ["", "blocks.0.branches.0"])
def test_hooks_are_refused_since_they_may_compute_anything(name):
    model = PolyNet(width=1)
    model.get_submodule(name).register_forward_hook(lambda _, __, y: y.relu())
    with pytest.raises(ValueError, match=f"{name or 'the network'} has forward hooks"):
        structural_degree(model)


@pytest.mark.parametrize("function", [line_polynomials, exact_degree])
def test_bad_lines(function):
    model = tiny(0)
    x0, direction = line(2, 6, 6)
    for bad, message in [
        ((x0, direction[:1]), "single inputs of one shape"),
        ((x0, 0 * direction), "the direction is zero"),
        ((x0 * 1j, direction), "must be real"),
        ((torch.tensor(1.0), torch.tensor(1.0)), "single inputs"),
        ((x0[None], direction[None]), "blocks.0.branches.0"),  # a batch
        ((x0[:1], direction[:1]), "blocks.0.branches.0"),  # a channel is missing
        ((x0[:, :1, :1], direction[:, :1, :1]), "blocks.1.branches.0"),  # too small
        ((x0 / 0, direction), "finite"),
    ]:
        with pytest.raises(ValueError, match=message):
            function(model, *bad)
    nn.init.constant_(model.blocks[1].branches[1].bias, float("nan"))
    with pytest.raises(ValueError, match=r"blocks\.1\.branches\.1: .* finite"):
        function(model, x0, direction)


def test_shapes_inside_the_network_are_checked():
    with pytest.raises(ValueError, match="0: 2 channels, not 1"):
        line_polynomials(nn.Sequential(nn.BatchNorm2d(1)), *line(2, 3, 3))
    with pytest.raises(ValueError, match="one vector for every input"):
        line_polynomials(nn.Sequential(nn.Conv2d(1, 1, 1)), *line(1, 3, 3))
    mixed = Function(lambda f, x: x * f(x).mean((2, 3)), nn.Conv2d(1, 1, 1))
    with pytest.raises(ValueError, match="do not fit"):
        line_polynomials(mixed, *line(1, 3, 3))


@pytest.mark.parametrize(
    "primes", [[], [2], [35], [4], [31], [67_108_879], [2**61 - 1]]
)
def test_unsuitable_primes(primes):
    torch.manual_seed(0)
    model = PolyNet(width=1)
    with pytest.raises(ValueError, match=r"primes from 37 to 2\^26 needed"):
        exact_degree(model, *line(1, 32, 32), primes=primes)


def test_a_wrong_arithmetic_would_be_noticed(monkeypatch):
    class Wrong(polynomial._PrimeField):
        def multiply(self, a, b):  # not a polynomial any more
            return self.reduce(np.floor(super().multiply(a, b) / 2))

    monkeypatch.setattr(polynomial, "_PrimeField", Wrong)
    with pytest.raises(AssertionError, match="above the structural degree"):
        exact_degree(tiny(0), *line(2, 6, 6))


# --- The numerical spectrum --------------------------------------------------------


def test_spectrum_of_a_polynomial_is_its_chebyshev_expansion():
    torch.manual_seed(0)
    model = PolyNet(width=1, blocks=3, init_gain=1.0)
    x0, direction = line(1, 32, 32)
    exact = line_polynomials(model, x0, direction)
    spectrum = chebyshev_spectrum(model, x0, direction, max_degree=20)
    assert spectrum.shape == (21, 10)
    assert spectrum.dtype == np.float64
    for column, p in zip(spectrum.T, exact, strict=True):
        power = [float(as_fraction(c)) for c in p.coeffs()]
        expected = np.zeros(21)
        expected[:9] = np.polynomial.chebyshev.poly2cheb(power)
        np.testing.assert_allclose(column, expected, atol=1e-12 * abs(column).max())


def test_spectrum_is_cut_at_the_degree_and_with_relu_it_is_not():
    x0, direction = line(1, 32, 32)

    def spectrum(join):
        torch.manual_seed(0)
        model = PolyNet(width=4, join=join, init_gain=1.0)
        size = np.abs(chebyshev_spectrum(model, x0, 4 * direction)).max(axis=1)
        return size / size.max()

    product, relu = spectrum("product"), spectrum("relu")
    assert product[:33].min() > 1e-11
    assert product[33:].max() < 1e-13
    assert relu[33:].max() > 1e-5
    linear = spectrum("linear")
    assert linear[2:].max() < 1e-13 < linear[1]


def test_spectrum_checks_its_line():
    with pytest.raises(ValueError, match="one shape"):
        chebyshev_spectrum(tiny(0), torch.ones(2, 6, 6), torch.ones(6))


# --- CCP, NCP, NCP-Skip ------------------------------------------------------------

PARAMETRISATIONS = [CCP, NCP, NCPSkip]
sizes = st.tuples(
    st.integers(1, 4), st.integers(1, 3), st.integers(1, 4), st.integers(1, 4)
)


def build(cls, size, seed=0):
    """Double precision, every parameter random."""
    torch.manual_seed(seed)
    module = cls(*size).double()
    for parameter in module.parameters():
        nn.init.normal_(parameter)
    return module


@pytest.mark.parametrize("cls", PARAMETRISATIONS)
@quick
@given(sizes, seeds)
def test_modules_equal_their_explicit_polynomial(cls, size, seed):
    d, o, _, order = size
    module = build(cls, size, seed)
    tensors = explicit_tensors(module)
    assert [t.shape for t in tensors] == [(o, *[d] * n) for n in range(order + 1)]
    z = torch.randn(5, d, dtype=torch.float64)
    torch.testing.assert_close(evaluate_polynomial(tensors, z), module(z))


@quick
@given(sizes, seeds)
def test_evaluate_polynomial_is_the_sum_over_all_indices(size, seed):
    d, o, _, order = size
    generator = torch.Generator().manual_seed(seed)
    tensors = [torch.randn(o, *[d] * n, generator=generator) for n in range(order + 1)]
    z = torch.randn(2, d, generator=generator)
    expected = torch.zeros(2, o)
    for n, tensor in enumerate(tensors):
        for index in itertools.product(range(d), repeat=n):
            monomial = math.prod((z[:, i] for i in index), start=torch.ones(2))
            expected += monomial[:, None] * tensor[(slice(None), *index)]
    torch.testing.assert_close(
        evaluate_polynomial(tensors, z), expected, atol=1e-4, rtol=1e-4
    )


@pytest.mark.parametrize("cls", PARAMETRISATIONS)
def test_each_tensor_is_the_part_of_its_degree(cls):
    module = build(cls, (3, 2, 4, 4))
    tensors = explicit_tensors(module)
    z = torch.randn(1, 3, dtype=torch.float64)
    # The module on the line s z is a polynomial in s; its coefficients are the parts.
    nodes = np.linspace(-1, 1, 5)
    values = module(torch.from_numpy(nodes)[:, None] * z).detach().numpy()
    parts = np.linalg.solve(np.vander(nodes, increasing=True), values)
    for n, part in enumerate(parts):
        alone = [t if k == n else torch.zeros_like(t) for k, t in enumerate(tensors)]
        found = evaluate_polynomial(alone, z)[0].numpy()
        np.testing.assert_allclose(found, part, rtol=1e-9, atol=1e-9)
        scaled = evaluate_polynomial(alone, 3 * z)[0].numpy()
        np.testing.assert_allclose(scaled, 3.0**n * found, rtol=1e-9)


def test_ccp_tensors_have_the_closed_form_of_the_paper():
    # W_n = sum over n - 1 of the factors 2 ... N, of C (U_1, these: Khatri-Rao)'.
    module = build(CCP, (3, 2, 4, 4))
    factors = [module.first.weight, *(f.weight for f in module.factors)]
    for n, tensor in enumerate(explicit_tensors(module)[1:], start=1):
        letters = "abcd"[:n]
        pattern = ",".join(["ok", *("k" + i for i in letters)]) + "->o" + letters
        total = 0
        for chosen in itertools.combinations(factors[1:], n - 1):
            total += torch.einsum(pattern, module.head.weight, factors[0], *chosen)
        torch.testing.assert_close(symmetric(tensor), symmetric(total))


def test_ncp_top_tensor_has_its_closed_form():
    module = build(NCP, (3, 2, 4, 3))
    a, b = (f.weight for f in module.factors)
    s, r = (f.weight for f in module.inner)
    expected = torch.einsum(
        "ok,kc,kl,lb,lm,ma,m->oabc",
        *(module.head.weight, b, r, a, s, module.first.weight, module.offset),
    )
    top = explicit_tensors(module)[-1]
    torch.testing.assert_close(symmetric(top), symmetric(expected))


def symmetric(tensor):
    orders = itertools.permutations(range(1, tensor.ndim))
    return sum(tensor.permute(0, *order) for order in orders)


@pytest.mark.parametrize("order", range(1, 6))
@pytest.mark.parametrize("cls", PARAMETRISATIONS)
def test_parametrisations_have_the_degree_of_their_order(cls, order):
    torch.manual_seed(order)
    module = cls(6, 3, 4, order)
    certificate = exact_degree(module, *line(6))
    assert certificate.proved
    assert certificate.logit_degrees == (order,) * 3


@pytest.mark.parametrize("order", [1, 2, 4, 8])
@pytest.mark.parametrize("cls", PARAMETRISATIONS)
def test_initial_scale_does_not_depend_on_the_order(cls, order):
    torch.manual_seed(0)
    squares = []
    for _ in range(20):
        module = cls(64, 1, 256, order)
        module.head = nn.Identity()
        squares.append(module(torch.randn(200, 64)).detach().pow(2).mean().item())
    expected = 1 if cls is NCP else (1 + 1 / order) ** (order - 1)
    assert np.mean(squares) == pytest.approx(expected, rel=0.1 if order < 4 else 0.5)


@pytest.mark.parametrize("cls", PARAMETRISATIONS)
def test_parametrisations_learn_a_cubic(cls):
    torch.manual_seed(0)
    module = cls(4, 1, 16, 3)
    z = torch.randn(256, 4)
    y = (z[:, 0] * z[:, 1] * z[:, 2] + z[:, 3] * z[:, 0] - z[:, 1])[:, None]
    optimizer = torch.optim.Adam(module.parameters(), lr=1e-2)
    for _ in range(300):
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(module(z), y)
        loss.backward()
        optimizer.step()
    assert all(p.grad is not None for p in module.parameters())
    assert loss.item() < 0.05 * y.var().item()


def test_parameter_saving():
    # CCP: 3 factors 10 x 5, head 5 x 2 + 2. NCP: b_1 and two S_n, b_n more; Skip: V_n.
    assert parameter_saving(CCP(10, 2, 5, 3)) == {
        "parameters": 3 * 50 + 12,
        "tensors": 2 * 1111,
        "monomials": 2 * 286,
    }
    assert parameter_saving(NCP(10, 2, 5, 3))["parameters"] == 162 + 5 + 2 * 30
    assert parameter_saving(NCPSkip(10, 2, 5, 3))["parameters"] == 227 + 2 * 25
    module = build(NCPSkip, (3, 2, 4, 4))
    count = sum(t.numel() for t in explicit_tensors(module))
    assert parameter_saving(module)["tensors"] == count


@pytest.mark.parametrize("cls", PARAMETRISATIONS)
@pytest.mark.parametrize("position", range(4))
def test_sizes_must_be_positive(cls, position):
    size = [2, 2, 2, 2]
    size[position] = 0
    with pytest.raises(ValueError, match="must be >= 1"):
        cls(*size)


def test_certificate_cannot_be_changed():
    certificate = DegreeCertificate(1, 1, (1,), (3,), ((1,),), 2, 0.1)
    with pytest.raises(AttributeError):
        certificate.degree = 2


def test_benchmark_prints_a_table(capsys):
    path = Path(__file__).parent.parent / "benchmarks" / "degree_certificate.py"
    spec = importlib.util.spec_from_file_location("degree_certificate", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.main(["--exact", "1", "--modular", "1"])
    lines = capsys.readouterr().out.splitlines()
    assert len([line for line in lines if " 32 " in line]) == 2
