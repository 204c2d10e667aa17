"""Recipes: validation, and schedules against their closed forms."""

import math

import pytest
from pydantic import ValidationError

from papernets.recipes import RECIPES, Recipe

BASE = Recipe(name="base", epochs=10, batch_size=8, lr=0.4)


@pytest.mark.parametrize(
    "change",
    [
        {"lr": "0.1"},
        {"lr": 0.0},
        {"epochs": 0},
        {"epochs": 2.5},
        {"optimizer": "adamw"},
        {"momentum": 1.0},
        {"schedule": "linear"},
        {"clip_grad_norm": 0.0},
    ],
)
def test_bad_values_are_refused(change: dict) -> None:
    with pytest.raises(ValidationError, match=next(iter(change))):
        BASE.but(**change)


def test_unknown_field_is_refused() -> None:
    with pytest.raises(ValidationError, match="learning_rate"):
        BASE.but(learning_rate=0.1)


def test_step() -> None:
    recipe = BASE.but(schedule="step", lr_milestones_epochs=(4, 8))
    assert [recipe.lr_at(e) for e in (0, 3.99, 4, 7.5, 8, 10)] == pytest.approx(
        [0.4, 0.4, 0.04, 0.04, 0.004, 0.004]
    )


def test_cosine() -> None:
    recipe = BASE.but(schedule="cosine")
    for epoch in (0, 2.5, 5, 10):
        expected = 0.2 * (1 + math.cos(math.pi * epoch / 10))
        assert recipe.lr_at(epoch) == pytest.approx(expected)


def test_one_cycle_rises_and_falls_linearly() -> None:
    recipe = BASE.but(schedule="one_cycle", warmup_epochs=2.0)
    assert [recipe.lr_at(e) for e in (0, 1, 2, 6, 10)] == pytest.approx(
        [0, 0.2, 0.4, 0.2, 0]
    )


def test_constant_after_warmup() -> None:
    recipe = BASE.but(warmup_epochs=0.5)
    assert [recipe.lr_at(e) for e in (0.25, 0.5, 9)] == pytest.approx([0.2, 0.4, 0.4])


def test_quick_shrinks_the_whole_schedule() -> None:
    recipe = BASE.but(
        schedule="step", lr_milestones_epochs=(5, 8), warmup_epochs=1.0
    ).quick(100)
    assert recipe.lr_milestones_epochs == (50, 80)
    assert (recipe.epochs, recipe.warmup_epochs) == (100, 10)


def test_registry_names() -> None:
    assert all(name == recipe.name for name, recipe in RECIPES.items())
