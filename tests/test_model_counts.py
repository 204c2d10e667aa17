"""Parameter counts of every network, exactly, in both conventions; multiply-adds."""

import pytest
import torch
from model_counts import COUNTS, COUNTS_OF_LARGE_IMAGES

from papernets import models
from papernets.complexity import count, profile

CASES = [(*case[:2], 32, *case[2:]) for case in COUNTS] + COUNTS_OF_LARGE_IMAGES


def test_every_survey_row_is_counted() -> None:
    rows = {models.card(name).row for name, *_ in COUNTS if has_card(name)}
    numbers = {str(n) for n in range(2, 25)} - {"22"} | {"1a", "1b", "22b"}
    assert rows >= numbers


def has_card(name: str) -> bool:
    try:
        return bool(models.card(name).row)
    except ValueError:
        return False


@pytest.mark.parametrize(
    ("name", "arguments", "size", "parameters", "weights", "macs"),
    CASES,
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_counts(
    name: str, arguments: dict, size: int, parameters: int, weights: int, macs: int
) -> None:
    with torch.device("meta"):
        model = models.create(name, **arguments)
    assert count(model) == parameters
    assert count(model, kind="weights") == weights
    assert profile(model, (3, size, size)).macs == pytest.approx(macs, rel=1e-3)
