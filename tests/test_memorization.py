"""Exact memorization against the printed example, and against plain Fractions."""

import errno
import itertools
import json
import math
import os
import random
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from flint import fmpq, fmpz
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from papernets.data import load
from papernets.exact_network import _decode_row, _encode_row, _nearest
from papernets.experiments.memorization_measures import (
    bits_needed,
    rounded_outputs,
    wrong_answers,
)
from papernets.memorization import (
    ExactNetwork,
    VerificationError,
    capacity,
    memorize,
    sizes_that_fit,
)

METHODS = ("compact", "inoue2019")
quiet = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

# The example printed in the article: 5 inputs, 3 x 3 neurons, nine points.
X = [
    [93, 4, 14, 4, 27],
    [59, 91, 60, 14, 12],
    [58, 47, 31, 52, 6],
    [20, 69, 86, 98, 32],
    [80, 98, 37, 72, 76],
    [57, 85, 12, 60, 63],
    [35, 68, 23, 67, 49],
    [21, 2, 69, 51, 41],
    [38, 15, 42, 90, 28],
]
Y = [1, 81, 17, 65, 25, 33, 45, 77, 10]
W1 = [823849691, 4336051, 28907, 149, 1]
B1 = ["-16778681974", "-60502822101/2", "-48495714637"]
W2 = [
    [
        "148",
        "-9237952317912/35473138591",
        "4049615396998340012232/18010928872046123981",
    ],
    [
        "15800556778618364518367199397870934943209115691793/10771112709725084320643143"
        "72084032376028236629",
        "-11216317162890245084133171070123933902029519034081603343913003835232890/4349"
        "89745706342223538442515057047029191074444247675999926788518821",
        "2686834406446276617746833568279126654074919365089537293846487174104542/224870"
        "468718735937295513181927691380500164378143178284849730556247",
    ],
    [
        "84361007777666541276152736741321199010491279914627013927011371267530580852596"
        "9059554219936165800/154068217051841137536218687813904006692418581384372306328"
        "955832146429671252437697",
        "-5762511998539650797539298611800596065781830469455484495115004219468479563374"
        "3261029837087833785575305876950/526202787723316854106433441774718969203084999"
        "8640803800770876843784630220816492104662661549",
        "10031915965764324831254907378616121385360363408899073121792068949534341729517"
        "7190966187025547162361565044553868359914/113902892256514382511690092168344468"
        "35092039706616191741035899343815780751119047453235035761689895223",
    ],
]
B2 = [
    "-99",
    "-31282288621675736677206673372946695670689268182842/40429383522706976958856210473"
    "46217759",
    "-91272322677352995640340322863995905746080317824312478447578176218047787076775451"
    "8136094/13495462068042154164632946308945540668991317744154109409049607",
]


def fractions(table: Any) -> np.ndarray:
    return np.vectorize(Fraction, otypes=[object])(np.array(table, dtype=object))


def by_definition(network: ExactNetwork, x: Any) -> np.ndarray:
    """The three layers in Fractions, from the six arrays."""
    w = network.weights()
    hidden = np.maximum(fractions(x) @ w.W1.T + w.b1, 0)
    hidden = np.maximum(hidden @ w.W2.T + w.b2, 0)
    return np.asarray(hidden @ w.W3.T + w.b3)


def check(x: Any, y: Any, a1: int, a2: int, **choices: Any) -> ExactNetwork:
    """Build, and compare with == in three ways."""
    network = memorize(x, y, a1, a2, **choices)
    targets = fractions(y)
    assert network.shape[1:3] == (a1, a2)
    assert network.verify(x, y).points == len(x)
    found = network.evaluate(x)
    assert found.shape == targets.shape
    assert (found == targets).all()
    if a1 * a2 <= 40:
        inputs = np.array(x, dtype=object).reshape(len(x), -1)
        literal = by_definition(network, inputs).reshape(targets.shape)
        assert (literal == targets).all()
    return network


# --- The printed example -----------------------------------------------------------


def test_the_printed_example_to_the_last_fraction() -> None:
    network = check(X, Y, 3, 3, method="inoue2019")
    weights = network.weights()
    assert (fractions([W1] * 3) == weights.W1).all()
    assert (weights.b1 == fractions(B1)).all()
    assert (fractions(W2) == weights.W2).all()
    assert (weights.b2 == fractions(B2)).all()
    assert (fractions([[1, -1, 1]]) == weights.W3).all()
    assert (weights.b3 == fractions([16])).all()


def test_the_compact_form_has_the_same_outputs_with_smaller_numbers() -> None:
    published, compact = (check(X, Y, 3, 3, method=method) for method in METHODS[::-1])
    assert compact.bits[0] < published.bits[0] / 2
    assert compact.bits[1] < published.bits[1] / 3


# --- The three defects of the published program ------------------------------------


def test_the_true_smallest_gap_is_used() -> None:
    """With a gap of 1 these two inputs get the same t: 3.2 * 0.1 = 0.32."""
    tenth = Fraction(1, 10)
    x: list[list[Any]] = [[tenth, 0], [0, Fraction(8, 25)], [0, 0], [tenth, 1]]
    assert Fraction(16, 5) * x[0][0] == x[1][1]
    check(x, [1, -1, 2, 5], 2, 2, method="inoue2019")


def test_reversed_projection_weights_do_not_merge_points() -> None:
    """The published weights are (5, 1) here: both inputs would get t = 5."""
    check([[1, 0], [0, 5], [1, 9], [0, 3]], [1, -1, 2, 5], 2, 2, method="inoue2019")


@pytest.mark.parametrize("method", METHODS)
def test_no_recursion(method: str) -> None:
    rng = random.Random(0)
    x = rng.sample(range(1000), 144)
    y = [rng.randrange(10) for _ in x]
    frame, depth = sys._getframe(), 0
    while frame := frame.f_back:  # type: ignore[assignment]
        depth += 1
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(depth + 100)  # the published program needs a1 a2 frames
    try:
        network = memorize(x, y, 12, 12, method=method)
    finally:
        sys.setrecursionlimit(limit)
    assert network.verify(x, y)


# --- Properties --------------------------------------------------------------------

integers = st.integers(-1000, 1000)
rationals = st.fractions(-50, 50, max_denominator=30)
floats = st.floats(-1e6, 1e6, allow_subnormal=False, width=32)
nearly_equal = st.integers(0, 300).map(lambda n: 1 + n * 2.0**-50)
clustered = st.tuples(st.sampled_from([-1e4, 0, 7, 1e4]), st.integers(0, 9)).map(sum)
huge = st.integers(-(10**30), 10**30)
numbers_of_any_kind = st.one_of(integers, rationals, floats)


@st.composite
def problems(draw: Any) -> dict[str, Any]:
    """Sizes, distinct inputs of one kind, targets, some repeated points."""
    a1, a2 = draw(st.integers(1, 6)), draw(st.integers(1, 7))
    m, d = draw(st.sampled_from([1, 1, 2, 3])), draw(st.integers(1, 4))
    holds = capacity(a1, a2, m)
    points = draw(st.one_of(st.just(holds), st.integers(1, holds)))
    kinds = [integers, rationals, floats, nearly_equal, clustered, huge]
    row = st.tuples(*[draw(st.sampled_from(kinds))] * d)
    x = draw(st.lists(row, min_size=points, max_size=points, unique=True))
    target = st.tuples(*[draw(st.sampled_from([integers, numbers_of_any_kind]))] * m)
    y = draw(st.lists(target, min_size=points, max_size=points))
    again = draw(st.lists(st.integers(0, points - 1), max_size=2))
    return {
        "x": [list(v) for v in x] + [list(x[i]) for i in again],
        "y": [list(v) for v in y] + [list(y[i]) for i in again],
        "a1": a1,
        "a2": a2,
    }


@given(
    problems(),
    st.fixed_dictionaries(
        {
            "seed": st.integers(0, 9),
            "restarts": st.booleans(),
            "draws": st.integers(1, 4),
            "steer": st.booleans(),
            "margin": st.sampled_from([1, 2, 20, 60]),
        }
    ),
)
@settings(quiet, max_examples=300)
def test_any_problem_compact(problem: dict[str, Any], choices: dict[str, Any]) -> None:
    check(**problem, **choices)


@given(problems())
@settings(quiet, max_examples=100)
def test_any_problem_inoue2019(problem: dict[str, Any]) -> None:
    check(**problem, method="inoue2019")


@given(problems(), st.integers(0, 2**32))
@settings(quiet, max_examples=50)
def test_evaluate_is_the_definition_everywhere(
    problem: dict[str, Any], seed: int
) -> None:
    rng = random.Random(seed)
    network = memorize(**problem)
    d = network.shape[0]
    x = [[Fraction(rng.randint(-3000, 3000), 3) for _ in range(d)] for _ in range(8)]
    assert (network.evaluate(x) == by_definition(network, x)).all()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("outputs", [1, 2, 3, 4])
def test_every_small_size_at_capacity(method: str, outputs: int) -> None:
    """Among them all cases with a2 mod m extra points, and with a2 < m."""
    rng = random.Random(outputs)
    for a1, a2 in itertools.product(range(1, 5), range(1, 8)):
        points = capacity(a1, a2, outputs)
        x = [[rng.random(), rng.random()] for _ in range(points)]
        y = [[rng.randint(-9, 9) for _ in range(outputs)] for _ in range(points)]
        check(x, y, a1, a2, method=method)


@pytest.mark.parametrize("restarts", [True, False])
def test_every_number_of_points(restarts: bool) -> None:
    rng = random.Random(1)
    for points in range(1, 49):
        x, y = rng.sample(range(10**6), points), rng.choices(range(10), k=points)
        check(x, y, 8, 6, restarts=restarts)


def test_constant_targets() -> None:
    check([[i, -i] for i in range(12)], [Fraction(1, 3)] * 12, 3, 4)


def test_the_seed_decides() -> None:
    first, again, other = (memorize(X, Y, 3, 3, seed=seed) for seed in (1, 1, 2))
    assert first.projection == again.projection != other.projection
    assert first.w2 == again.w2


# --- Kinds of numbers --------------------------------------------------------------


@pytest.mark.parametrize(
    "convert",
    [
        lambda v: np.array(v, dtype=np.uint8),
        lambda v: np.array(v, dtype=np.uint64) + np.uint64(2**63),
        lambda v: np.array(v, dtype=np.int64) - 2**62,
        lambda v: np.array(v, dtype=np.float32) / 255,
        lambda v: np.array(v, dtype=np.float64) / 3,
        lambda v: np.array(v, dtype=np.longdouble) / 3,
        lambda v: np.array(v, dtype=np.float64) * 1e300,
        lambda v: np.array(v, dtype=np.float64) * 1e-300,
        lambda v: torch.tensor(v, dtype=torch.uint8),
        lambda v: torch.tensor(v, dtype=torch.bfloat16, requires_grad=True),
        lambda v: torch.tensor(v, dtype=torch.float32) / 7,
        lambda v: [[fmpq(p, 7) for p in row] for row in v],
        lambda v: [[Fraction(p, 7) if p % 2 else p / 4 for p in row] for row in v],
        lambda v: [[p + 2**70 for p in row] for row in v],
    ],
)
def test_exact_whatever_the_type(convert: Any) -> None:
    x = convert(X)
    network = memorize(x, Y, 3, 3)
    assert network.verify(x, Y)
    values = x.detach().double().numpy() if isinstance(x, torch.Tensor) else x
    ratios = [
        [Fraction(int(v.p), int(v.q)) if isinstance(v, fmpq) else ratio(v) for v in row]
        for row in values
    ]
    assert (by_definition(network, ratios)[:, 0] == fractions(Y)).all()


def ratio(value: Any) -> Fraction:
    integer = isinstance(value, int | np.integer)
    return Fraction(int(value)) if integer else Fraction(*value.as_integer_ratio())


def test_targets_keep_their_shape() -> None:
    column = [[v] for v in Y]
    assert memorize(X, Y, 3, 3).evaluate(X).shape == (9,)
    assert memorize(X, torch.tensor(Y), 3, 3).evaluate(X).shape == (9,)
    assert memorize(X, column, 3, 3).evaluate(X).shape == (9, 1)


def test_floats_are_taken_exactly() -> None:
    network = memorize([0.1, 0.2, 0.3], [0.1, -0.7, 1e-9], 1, 3)
    assert network.evaluate([0.1, 0.2, 0.3]).tolist() == [
        Fraction(0.1),
        Fraction(-0.7),
        Fraction(1e-9),
    ]


# --- Bad input ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        ([1, 2, 1, 2], [1, 2, 3, 2], "different targets: rows 0 and 2$"),
        ([[0, 1]] * 8, list(range(8)), "0 and 1, 0 and 2, .* and 2 more pairs"),
        ([1.0, math.nan, 3.0, math.inf], [1] * 4, "x has .* not finite .* rows 1, 3$"),
        ([1, 2], [1, -math.inf], "y has .* not finite numbers in row 1$"),
        (np.array([[1.0], [np.nan]]), [1, 2], "x has .* in row 1$"),
        ([[1, 2], [3, "4"]], [1, 2], "x has .* not finite numbers in row 1$"),
        ([[1, 2], [None, 4]], [1, 2], "x has .* in row 1$"),
        ([1 + 2j, 4], [1, 2], "x has .* in row 0$"),
        ([math.nan] * 9, [1] * 9, "in rows 0, 1, 2, 3, 4 and 4 more$"),
        (np.ma.array([1, 2, 3], mask=[0, 1, 0]), [1] * 3, "x has masked .* in row 1;"),
        ([1, 2], np.ma.array([[1], [2]], mask=[[0], [1]]), "y has masked .* in row 1;"),
        ([np.ma.array([1, 2], mask=[0, 1]), [3, 4]], [1, 2], "x has masked .* row 0;"),
        ([[1, 2], [3], [4, 5]], [1] * 3, "x has rows that differ .* row 0 in row 1$"),
        ([[1, 2], 3], [1, 2], "x has rows that differ in length from row 0 in row 1$"),
        ([np.eye(2), np.ones((2, 3))], [1, 2], "x is no table: its rows differ in sha"),
        ([], [], "x has shape"),
        (np.zeros((0, 3)), [], "x has shape"),
        (np.zeros((3, 0)), [1, 2, 3], "x has shape"),
        (np.zeros((3, 2, 2)), [1, 2, 3], "x has shape"),
        ([1, 2, 3], [1, 2], "x has 3 rows and y has 2"),
        (list(range(13)), [0] * 13, "13 points with 1 outputs do not fit .* 12; "),
    ],
)
def test_bad_data(x: Any, y: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        memorize(x, y, 3, 4)


def test_bad_choices() -> None:
    with pytest.raises(ValueError, match="method is 'fast'"):
        memorize(X, Y, 3, 3, method="fast")
    with pytest.raises(ValueError, match="a1 is 0; it must be at least 1"):
        memorize(X, Y, 0, 3)
    with pytest.raises(ValueError, match=r"a1 is 2\.0; it must be a whole number"):
        memorize(X, Y, 2.0, 3)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="a2 is True; it must be a whole number"):
        memorize(X, Y, 3, True)
    with pytest.raises(ValueError, match="seed is -1; it must be at least 0"):
        memorize(X, Y, 3, 3, seed=-1)
    network = memorize(np.ma.array(X), Y, np.int64(3), 3)  # type: ignore[arg-type]
    assert network.verify(X, Y).points == len(X)  # nothing is masked


@given(st.integers(1, 500), st.integers(1, 30), st.integers(1, 30), st.integers(1, 12))
def test_suggested_sizes_fit(points: int, a1: int, a2: int, outputs: int) -> None:
    sizes = sizes_that_fit(points, a1, a2, outputs)
    assert len(set(sizes)) == len(sizes)
    for size in sizes:
        assert capacity(*size, outputs) >= points


def test_every_choice_is_made() -> None:
    """None of the settings is ignored, and tight c_j are smaller ones."""
    rng = random.Random(2)
    x, y = rng.sample(range(10**6), 100), rng.choices(range(10), k=100)
    default = memorize(x, y, 10, 10)
    for choice in ({"steer": False}, {"margin": 1}):
        tried = memorize(x, y, 10, 10, **choice)  # type: ignore[arg-type]
        assert tried.w2 != default.w2
    starts = [
        max(abs(b * w) for b, w in zip(network.b2, network.w3[0], strict=True))
        for network in (default, tried)
    ]
    assert starts[0] < starts[1]


def test_a_bad_question() -> None:
    network = memorize(X, Y, 3, 3)
    with pytest.raises(ValueError, match="x has 2 columns, expected 5"):
        network.evaluate([[1, 2]])
    with pytest.raises(ValueError, match=r"y has shape \(9, 2\), expected \(9, 1\)"):
        network.verify(X, [[v, v] for v in Y])


# --- Verification ------------------------------------------------------------------


def mutations(network: ExactNetwork) -> Any:
    """Every single weight changed by very little."""
    tiny = fmpq(1, 2**200)
    fields = vars(network)
    for name in ("projection", "b1", "b2", "b3"):
        for i, value in enumerate(fields[name]):
            row = list(fields[name])
            row[i] = value + (1 if name == "projection" else tiny)
            yield f"{name}[{i}]", ExactNetwork(**{**fields, name: row})
    for name in ("w2", "w3"):
        for j, i in itertools.product(*map(range, np.shape(fields[name])[:2])):
            table = [list(row) for row in fields[name]]
            value = table[j][i]
            if name == "w2":  # one unit in the last place of the numerator
                table[j][i] = (value[0] + 1, value[1])
            elif value:
                table[j][i] = value + tiny
            else:
                continue
            yield f"{name}[{j}][{i}]", ExactNetwork(**{**fields, name: table})


@pytest.mark.parametrize("method", METHODS)
def test_any_altered_weight_is_noticed(method: str) -> None:
    rng = random.Random(5)
    x = [[rng.randint(-99, 99) for _ in range(3)] for _ in range(13)]
    y = [[rng.randint(-9, 9) for _ in range(2)] for _ in range(13)]
    network = memorize(x, y, 4, 7, method=method)  # 12 points and an extra one
    live = 0
    for place, altered in mutations(network):
        if method == "compact" and "w2[6]" in place and not place.endswith("[3]"):
            continue  # not active before the extra point: it may have any value
        with pytest.raises(VerificationError):
            altered.verify(x, y)
        live += 1
    assert live >= 3 + 4 + 4 * 7 - 3 + 7 + 2


def test_the_message_names_the_rows() -> None:
    network = memorize(X, Y, 3, 3)
    wrong = [*Y[:4], 26, *Y[5:]]
    message = "1 of 9 points are wrong: in row 4; .* 0 is about 25.0*, expected 26"
    with pytest.raises(VerificationError, match=message):
        network.verify(X, wrong)


def test_verification_reports_what_it_did() -> None:
    report = memorize(X, Y, 3, 3).verify(X, Y, sample=3)
    assert (report.points, report.outputs, report.matrix_form) == (9, 1, 5)


# --- Files -------------------------------------------------------------------------


@given(problems(), st.sampled_from(METHODS))
@settings(quiet, max_examples=40)
def test_files_keep_everything(
    tmp_path_factory: pytest.TempPathFactory, problem: dict[str, Any], method: str
) -> None:
    path = tmp_path_factory.mktemp("files") / "net.json"
    network = memorize(**problem, method=method)
    network.save(path)
    assert vars(ExactNetwork.load(path)) == vars(network)
    assert os.listdir(path.parent) == ["net.json"]


def test_all_chains_of_denominators_are_kept() -> None:
    for denominators in itertools.product([1, 2, 4, 6], repeat=4):
        row = [(fmpz(-i), fmpz(q)) for i, q in enumerate(denominators)]
        assert _decode_row(_encode_row(row), {}) == row


def test_the_file_is_json_that_others_can_read(tmp_path: Path) -> None:
    network = memorize(X, Y, 3, 3, method="inoue2019")
    network.save(tmp_path / "net.json")
    content = json.loads((tmp_path / "net.json").read_text())
    assert content["version"] == 1
    assert [int(v, 16) for v in content["projection"]] == W1
    assert [Fraction(*(int(v, 16) for v in p.split("/"))) for p in content["b2"]] == [
        Fraction(v) for v in B2
    ]


def test_an_altered_or_truncated_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "net.json"
    memorize(X, Y, 3, 3).save(path)
    data = path.read_bytes()
    rng = random.Random(0)
    digits = [i for i, byte in enumerate(data) if chr(byte) in "0123456789abcdef"]
    for place in rng.sample(digits, 60):
        new = b"7" if data[place : place + 1] != b"7" else b"3"
        path.write_bytes(data[:place] + new + data[place + 1 :])
        with pytest.raises(ValueError, match=r"net.json (is incomplete|is not a file)"):
            ExactNetwork.load(path)
    for length in [0, 1, 40, *rng.sample(range(len(data)), 20), len(data) - 1]:
        path.write_bytes(data[:length])
        with pytest.raises(ValueError, match=r"net.json (is incomplete|is not a file)"):
            ExactNetwork.load(path)


def test_a_file_of_another_version_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("papernets.exact_network.VERSION", 2)
    memorize(X, Y, 3, 3).save(tmp_path / "net.json")
    monkeypatch.undo()
    with pytest.raises(ValueError, match="has version 2; 1 is known here"):
        ExactNetwork.load(tmp_path / "net.json")


def test_an_interrupted_save_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "net.json"
    memorize(X, Y, 3, 3).save(path)
    before = path.read_bytes()

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="no space left; free some") as caught:
        memorize(X, Y, 4, 4).save(path)
    assert caught.value.filename == str(path)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["net.json"]


def test_a_network_is_not_saved_over_a_folder_or_a_device(tmp_path: Path) -> None:
    network = memorize(X, Y, 3, 3)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ValueError, match="pipe is no regular file"):
        network.save(tmp_path / "pipe")
    with pytest.raises(ValueError, match=f"^{tmp_path} is a folder"):
        network.save(tmp_path)
    assert os.listdir(tmp_path) == ["pipe"]
    assert (tmp_path / "pipe").is_fifo()


def test_weights_of_the_wrong_shape_are_refused() -> None:
    fields = vars(memorize(X, Y, 3, 3))
    with pytest.raises(ValueError, match="do not fit together"):
        ExactNetwork(**{**fields, "b2": fields["b2"][:2]})
    table = [[(p, -q) for p, q in row] for row in fields["w2"]]
    with pytest.raises(ValueError, match="not positive"):
        ExactNetwork(**{**fields, "w2": table})


# --- Floats ------------------------------------------------------------------------


@given(st.integers(-(10**40), 10**40), st.integers(1, 10**40))
def test_rounding_is_pythons(numerator: int, denominator: int) -> None:
    mantissa, exponent = _nearest(fmpz(numerator), fmpz(denominator), 53)
    assert math.ldexp(mantissa, exponent) == numerator / denominator


def test_ties_go_to_even() -> None:
    for numerator, expected in (9, 8), (10, 10), (11, 12), (13, 12), (15, 16), (-9, -8):
        mantissa, exponent = _nearest(fmpz(numerator), fmpz(1), 3)
        assert mantissa * 2**exponent == expected


def test_the_torch_network() -> None:
    network = memorize(X, Y, 3, 3)
    model = network.to_torch()
    kinds = ["Linear", "ReLU", "Linear", "ReLU", "Linear"]
    assert [type(layer).__name__ for layer in model] == kinds
    outputs = model(torch.tensor(X, dtype=torch.float64))
    assert outputs.shape == (9, 1)
    assert (outputs[:, 0] - torch.tensor(Y)).abs().max() < 1e-9
    assert network.to_torch(torch.float32)[2].weight.dtype == torch.float32


def test_a_weight_too_large_for_the_dtype() -> None:
    network = memorize(X, [v * 10**60 for v in Y], 3, 3)
    with pytest.raises(OverflowError, match=r"too large for torch.float32"):
        network.to_torch(torch.float32)
    assert network.to_torch(torch.float64)
    network = memorize(X, [v * 10**400 for v in Y], 3, 3)
    with pytest.raises(OverflowError, match=r"too large for torch.float64"):
        network.to_torch(torch.float64)


def test_number_formats_agree() -> None:
    rng = np.random.default_rng(0)
    x, y = (
        rng.integers(0, 256, (144, 20)),
        np.eye(3, dtype=int)[rng.integers(0, 3, 144)],
    )
    network = memorize(x, y, 12, 36)
    errors = {
        number: np.abs(rounded_outputs(network, x, number) - y).max()
        for number in (torch.float64, np.longdouble, 53, 64, 200)
    }
    assert errors[200] == 0 or errors[200] < 1e-40
    assert errors[torch.float64] / 64 < errors[53] < errors[torch.float64] * 64
    assert errors[np.longdouble] / 64 < errors[64] < errors[np.longdouble] * 64
    bits = bits_needed(network, x, y, sample=50)
    assert wrong_answers(rounded_outputs(network, x, bits), y) == 0
    assert wrong_answers(rounded_outputs(network, x, bits - 1), y) > 0


def test_wrong_answers() -> None:
    y = np.eye(3)[[0, 1, 2]]
    assert wrong_answers(y * 0.1, y) == 0
    assert wrong_answers(np.array([[1.0, 1, 0], [0, 1, 0], [np.nan, 0, 0.5]]), y) == 2
    assert wrong_answers(np.array([[0.4], [4.9], [6.0], [np.nan]]), [0, 5, 8, 8]) == 2


# --- Real sizes --------------------------------------------------------------------


def test_ten_thousand_points_and_restarts() -> None:
    """(100, 100) full, and half full, where the numbers stay small."""
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 1000, (10_000, 5)), rng.integers(0, 100, 10_000)
    done: list[tuple[int, int]] = []
    full = memorize(x, y, 100, 100, progress=lambda *state: done.append(state))
    assert done == [(i + 1, 100) for i in range(100)]
    assert full.verify(x, y, sample=1).points == 10_000
    half = memorize(x[:5000], y[:5000], 100, 100)
    assert half.verify(x[:5000], y[:5000], sample=1).points == 5000
    assert half.bits[0] < full.bits[0] / 30


@pytest.mark.real_data
def test_float64_network_that_knows_its_training_images() -> None:
    train = load("mnist").train
    x, labels = train.images[:1000].reshape(1000, -1), train.labels[:1000]
    y = torch.nn.functional.one_hot(labels)
    network = memorize(x, y, 100, 100)
    assert network.verify(x, y, sample=2).outputs == 10
    logits = network.to_torch()(x.double())
    assert (logits.argmax(1) == labels).all()


def test_float64_is_enough_for_four_hundred_chunks() -> None:
    """Without steered thresholds and tight c_j the error is about 10^5 here."""
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 256, (10_000, 30)), rng.integers(0, 10, 10_000)
    network = memorize(x, y, 400, 25)
    assert wrong_answers(rounded_outputs(network, x, torch.float64), y) == 0
