"""The survey's plans, recipes and campaign."""

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_records import make

from papernets import models, records, training
from papernets.experiments import campaign, model_survey, pi_net
from papernets.experiments.survey_recipes import COMMON, PAPERS, SURVEY_AUTHOR
from papernets.models.registry import lookup
from papernets.recipes import Recipe
from papernets.records import Curves, Run, RunRecord

# --- Recipes ------------------------------------------------------------------------


def carded() -> list[str]:
    """Networks with a row in the survey's table."""
    return [m for m in models.list_models() if (c := lookup(m).card) and c.row]


def test_every_row_has_its_papers_recipe() -> None:
    buildable = {m for m in carded() if m != "nas_32m"}
    assert buildable <= set(PAPERS)
    assert set(PAPERS) <= set(models.list_models())


def test_every_accuracy_of_the_author_has_his_recipe() -> None:
    """Row 19 and 23 print accuracies of smaller members of the family."""
    instead = {
        "densenet100_k24": "densenet40_k12",
        "resnext29_16x64d": "resnext29_2x64d",
    }
    ran = {m for m in carded() if models.card(m).survey_accuracy is not None}
    assert {instead.get(m, m) for m in ran} <= set(SURVEY_AUTHOR)


@pytest.mark.parametrize("published", [PAPERS, SURVEY_AUTHOR])
def test_uncertain_settings_exist(published: dict) -> None:
    names = {field.name for field in dataclasses.fields(Recipe)}
    for model, entry in published.items():
        assert set(entry.unconfirmed) <= names, model
        if entry.trained_on == "ImageNet":
            assert {"lr", "epochs"} <= set(entry.unconfirmed), model


def test_the_authors_habits_are_in_all_of_his_recipes() -> None:
    for model, entry in SURVEY_AUTHOR.items():
        recipe = entry.recipe
        assert not recipe.nesterov, model
        assert recipe.decay == "all"
        assert (recipe.sampling, recipe.scaling) == ("with_replacement", "per_image")
        assert (recipe.resize_to, recipe.crop_padding) == (36, 0)
        assert recipe.batch_parts == {"nin": 1, "vgg_a": 1, "squeezenet_bn": 1}.get(
            model, 8 if model == "ror3_wrn58_4" else 4
        )


CLOSED_FORMS: list[tuple[Recipe, Callable[[float], float]]] = [
    (
        PAPERS["wrn28_10"].recipe,
        lambda e: 0.1 * 0.2 ** ((e >= 60) + (e >= 120) + (e >= 160)),
    ),
    (
        PAPERS["resnet110"].recipe,
        lambda e: 0.1 * min(e, 1) * 0.1 ** ((e >= 82) + (e >= 123)),
    ),
    (PAPERS["inception_v4"].recipe, lambda e: 0.045 * 0.94 ** (e // 2)),
    (SURVEY_AUTHOR["googlenet"].recipe, lambda e: 0.0015 * 0.96 ** (e // 8)),
    (COMMON, lambda e: 0.1 * min(e / 5, (30 - e) / 25)),
    (PAPERS["squeezenet_bn"].recipe, lambda e: 0.04 * (1 - e / 68)),
]


@pytest.mark.parametrize(("recipe", "rate"), CLOSED_FORMS)
def test_schedules_are_their_closed_forms(
    recipe: Recipe, rate: Callable[[float], float]
) -> None:
    for tenth in range(1, 10 * recipe.epochs - 1):
        assert recipe.lr_at(tenth / 10) == pytest.approx(rate(tenth / 10))


# --- Plans --------------------------------------------------------------------------


@pytest.mark.parametrize("model", model_survey.SIZES)
def test_sizes_are_those_nearest_to_the_budget(model: str) -> None:
    found = models.fit_budget(model, model_survey.BUDGET_MACS)
    assert found["k"] == model_survey.SIZES[model]
    run = model_survey.of_network(model, COMMON, 1, model_survey.sized(model))[0]
    assert campaign.multiply_adds(run) == found["macs"]
    assert found["macs"] == pytest.approx(model_survey.BUDGET_MACS, rel=0.05)


def test_every_row_takes_part() -> None:
    rows = {models.card(m).row for m in carded() if m != "nas_32m"}
    files = {models.source_file(m) for m in model_survey.SIZES}
    assert {models.source_file(m) for m in carded()} == files
    assert len(rows) >= 24


def test_first_seeds_come_first() -> None:
    plan = model_survey.plan("equal")
    assert [run.seed for run in plan] == sorted(run.seed for run in plan)
    assert len({run.key for run in plan}) == len(plan) == 3 * len(model_survey.SIZES)
    full = model_survey.plan("full")
    common = [r for r in full if r.recipe.name == "common"]
    assert full[: len(common)] == common
    costs = [campaign.multiply_adds(run) for run in common[:5]]
    assert all(3e8 < cost < 3e9 for cost in costs)
    with pytest.raises(ValueError, match="no plan 'x'; there are equal, full"):
        model_survey.plan("x")


# --- Campaign -----------------------------------------------------------------------


class Simulation:
    """Trains in no time: a clock, and epochs done by run."""

    def __init__(self, factor: float = 1.0) -> None:
        self.now = 100.0
        self.factor = factor  # true duration over the estimated one
        self.epochs: dict[str, int] = {}
        self.order: list[str] = []

    def clock(self) -> float:
        return self.now

    def epoch_seconds(self, run: Run) -> float:
        speed = campaign.FIRST_GUESS["cpu"]
        return self.factor * campaign.flops_per_epoch(run) / speed

    def execute(self, run: Run, out: Path, device: str, deadline: float) -> RunRecord:
        took = self.epoch_seconds(run)
        self.order.append(run.key)
        while self.epochs.get(run.key, 0) < run.recipe.epochs:
            if self.epochs.get(run.key, 0) and self.now + took > deadline:
                raise training.OutOfTimeError("stopped")
            self.now += took
            self.epochs[run.key] = self.epochs.get(run.key, 0) + 1
        record = make(run, device="another", curves=Curves())
        records.write(record, out)
        return record

    def carry_on(self, plan: list[Run], out: Path, budget: float) -> list[str]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(
                training, "epochs_done", lambda run, _: self.epochs.get(run.key, 0)
            )
            made = campaign.carry_on(
                plan,
                out,
                budget_seconds=budget,
                execute=self.execute,
                clock=self.clock,
            )
            return [record.run.key for record in made]


PLAN = [
    pi_net.polynet(COMMON.quick(epochs), 1, {"blocks": blocks})[0]
    for blocks, epochs in ((5, 8), (1, 5), (3, 2), (2, 30), (4, 1))
]


@settings(deadline=None, max_examples=40)
@given(
    budgets=st.lists(st.floats(0.5, 400), min_size=1, max_size=12),
    factor=st.floats(0.5, campaign.SLACK),
)
def test_budgets_hold_and_the_plan_is_finished_in_the_end(
    tmp_path_factory: pytest.TempPathFactory, budgets: list[float], factor: float
) -> None:
    out, simulation = tmp_path_factory.mktemp("out"), Simulation(factor)
    made: list[str] = []
    for budget in budgets:
        began, before = simulation.now, dict(simulation.epochs)
        made += simulation.carry_on(PLAN, out, budget)
        assert simulation.now - began <= budget + 1e-6
        assert all(simulation.epochs[key] >= n for key, n in before.items())
    made += simulation.carry_on(PLAN, out, 1e9)
    assert sorted(made) == sorted(run.key for run in PLAN)  # each record made once
    assert campaign.missing(PLAN, out) == []
    # No epoch was done twice.
    total = sum(simulation.epoch_seconds(run) * run.recipe.epochs for run in PLAN)
    assert simulation.now - 100 == pytest.approx(total)


def test_priority_then_what_fits_then_a_part(tmp_path: Path) -> None:
    simulation = Simulation()
    cost = [simulation.epoch_seconds(run) * run.recipe.epochs for run in PLAN]
    # The first run does not fit, the second does, and so on down the plan.
    budget = campaign.SLACK * cost[1] + 1e-3
    assert budget < cost[0]
    made = simulation.carry_on(PLAN, tmp_path, budget)
    assert made[0] == PLAN[1].key
    enough = campaign.SLACK * sum(cost)
    assert simulation.carry_on(PLAN, tmp_path, enough)[0] == PLAN[0].key


def test_a_run_too_long_for_any_budget_is_made_in_parts(tmp_path: Path) -> None:
    simulation, run = Simulation(), PLAN[0]
    third = simulation.epoch_seconds(run) * run.recipe.epochs / 3
    made = [simulation.carry_on([run], tmp_path, third) for _ in range(5)]
    assert made[0] == []
    assert [key for keys in made for key in keys] == [run.key]


def test_campaigns_of_two_machines_merge_by_copying(tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    Simulation().carry_on(PLAN[:3], here, 1e9)
    Simulation().carry_on(PLAN[2:], there, 1e9)
    shutil.copytree(there, here, dirs_exist_ok=True)
    assert campaign.missing(PLAN, here) == []
    assert Simulation().carry_on(PLAN, here, 1e9) == []


def test_estimates_learn_from_the_same_device(tmp_path: Path) -> None:
    run, other = PLAN[0], PLAN[1]
    device = campaign.device_name("cpu")
    guess = campaign.estimate(run, [], "cpu", epochs_done=3)
    assert guess.epochs == run.recipe.epochs - 3
    assert guess.epoch_seconds == campaign.flops_per_epoch(run) / 2e10
    curves = Curves(images_per_second=(500.0, 1000.0, 1200.0))
    same = make(run, device=device, curves=curves)
    elsewhere = make(run, device="another", curves=curves)
    assert campaign.estimate(run, [elsewhere], "cpu").seconds == pytest.approx(
        guess.epoch_seconds * run.recipe.epochs
    )
    timed = campaign.estimate(run, [same], "cpu").epoch_seconds
    images = 45_000 + (5_000 + 10_000) / 3
    assert timed == pytest.approx(images / 1000)
    # Another network is taken to reach the same FLOP/s.
    ratio = campaign.multiply_adds(other) / campaign.multiply_adds(run)
    expected = images / 1000 * ratio
    assert campaign.estimate(other, [same], "cpu").epoch_seconds == pytest.approx(
        expected
    )


def test_a_real_campaign_on_digits(tmp_path: Path) -> None:
    """Two runs, the second one cut short and continued."""
    plan = [run for s in model_survey.studies("quick").values() for run in s["nin_bn"]]
    plan += [dataclasses.replace(plan[0], seed=1)]
    (record,) = campaign.carry_on(plan[:1], tmp_path, budget_seconds=600)
    assert record.macs == campaign.multiply_adds(plan[0])
    assert campaign.achieved_flops(record) > 0
    assert campaign.missing(plan, tmp_path) == plan[1:]
    assert list(campaign.carry_on(plan, tmp_path, budget_seconds=1e-9)) == []
    assert training.epochs_done(plan[1], tmp_path) == 0
    assert len(list(campaign.carry_on(plan, tmp_path, budget_seconds=600))) == 1


def test_a_damaged_checkpoint_ends_no_planning(tmp_path: Path) -> None:
    """The other runs are made; the sentence comes when the run has its turn."""
    (first,) = model_survey.studies("quick")["equal_compute"]["nin_bn"]
    plan = [first, dataclasses.replace(first, seed=1)]
    file = training.checkpoint_file(plan[1], tmp_path)
    file.parent.mkdir()
    file.write_bytes(b"damaged")
    made = campaign.carry_on(plan, tmp_path, budget_seconds=600)
    assert next(made).run == first
    with pytest.raises(records.RecordError, match="is damaged; delete it and give"):
        next(made)


# --- Forecasts ----------------------------------------------------------------------


@settings(deadline=None, max_examples=40)
@given(
    chosen=st.lists(st.sampled_from(PLAN), min_size=1, max_size=20),
    accelerators=st.integers(1, 6),
)
def test_forecasts_keep_the_bounds_of_list_scheduling(
    chosen: list[Run], accelerators: int
) -> None:
    found = campaign.forecast(chosen, campaign.Fleet(accelerators, 1e12, 1e-4))
    least = max(found.longest_hours, found.accelerator_hours / accelerators)
    assert least <= found.hours * (1 + 1e-9)
    # Graham 1969: longest first is at most 4/3 - 1/(3m) of the best.
    best_known = min(found.accelerator_hours, least * 2)
    assert found.hours <= (4 / 3 - 1 / (3 * accelerators)) * best_known + 1e-9
    assert found.lost_hours < found.failures * max(
        campaign.flops_per_epoch(run) / 1e12 / 3600 for run in chosen
    )


def test_forecast_of_one_run_is_its_arithmetic() -> None:
    run = PLAN[0]
    found = campaign.forecast([run], campaign.Fleet(3, 1e12, 0.5))
    hours = campaign.flops_per_epoch(run) * run.recipe.epochs / 1e12 / 3600
    assert found.hours == found.longest_hours == pytest.approx(hours)
    assert found.failures == pytest.approx(0.5 * hours)
    assert found.lost_hours == pytest.approx(
        found.failures * hours / run.recipe.epochs / 2
    )
