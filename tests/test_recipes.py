"""Recipes: validation, and schedules against their closed forms."""

import math

import pytest
from pydantic import ValidationError

from papernets.experiments.survey_recipes import PAPERS, SURVEY_AUTHOR
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
        {"clip_grad_norm": math.inf},
        {"lr": math.inf},
        {"lr_decay": -1.0},
        {"lr_decay": 1.5},
        {"lr_milestones_epochs": (-5, 5)},
    ],
)
def test_bad_values_are_refused(change: dict) -> None:
    with pytest.raises(ValidationError, match=next(iter(change))):
        BASE.but(**change)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"warmup_epochs": 10.0}, "it must be less than epochs, which is 10"),
        (
            {"schedule": "step", "lr_milestones_epochs": (5, 500)},
            "none may be after the last epoch, 10",
        ),
        ({"schedule": "step"}, "schedule 'step' needs at least one milestone"),
    ],
)
def test_contradictions_are_refused(change: dict, message: str) -> None:
    with pytest.raises(ValidationError) as caught:
        BASE.but(**change)
    (error,) = caught.value.errors()
    assert error["loc"][0] in ("warmup_epochs", "lr_milestones_epochs")
    assert error["msg"] == message


def test_every_recipe_can_be_shortened() -> None:
    published = [*PAPERS.values(), *SURVEY_AUTHOR.values()]
    for recipe in (*RECIPES.values(), *(p.recipe for p in published)):
        for epochs in (1, 2, 30, 1_000):
            assert recipe.quick(epochs).epochs == epochs


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
