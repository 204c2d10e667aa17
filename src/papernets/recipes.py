"""Recipes: how a network is trained, as data.

A `Recipe` holds every number that decides the outcome of a training run except the
model, the data and the seed. Preset "paper" is a recipe as written; preset "quick" is
the same recipe with fewer epochs (`Recipe.quick`).
"""

import math
from dataclasses import replace
from typing import Annotated, Literal

from pydantic import ConfigDict, Field, ValidationInfo, field_validator
from pydantic.dataclasses import dataclass
from pydantic_core import PydanticCustomError

STRICT = ConfigDict(extra="forbid", strict=True)


def contradiction(message: str) -> PydanticCustomError:
    """The error of a field that does not go with the fields before it."""
    return PydanticCustomError("contradiction", "{message}", {"message": message})


# JSON has no infinite numbers, so a record could not hold them.
@dataclass(frozen=True, config=STRICT | {"allow_inf_nan": False}, kw_only=True)
class Recipe:
    """One way to train a network; times are in epochs, learning rates per step.

    A new field has its default as a plain value, not inside `Field`: only then do runs
    that leave it at its default keep their key.
    """

    name: str  # only a label: it does not enter the identity of a run
    epochs: int = Field(ge=1)
    batch_size: int = Field(ge=1)  # images; the last, incomplete batch is dropped
    lr: float = Field(gt=0)  # the highest of the schedule

    optimizer: Literal["sgd", "adam", "rmsprop"] = "sgd"  # rmsprop as in Inception
    momentum: float = Field(default=0.9, ge=0, lt=1)  # SGD only
    nesterov: bool = True  # SGD only
    weight_decay: float = Field(default=0.0, ge=0)  # L2, added to the gradient
    decay: Literal["all", "weights"] = "all"  # "weights" spares biases and norms

    schedule: Literal["constant", "step", "cosine", "one_cycle"] = "constant"
    warmup_epochs: float = Field(default=0.0, ge=0)  # linear rise from 0 to lr
    # "step" only; the default is validated because "step" needs others.
    lr_milestones_epochs: Annotated[
        tuple[Annotated[int, Field(ge=0)], ...], Field(validate_default=True)
    ] = ()
    lr_decay: Annotated[float, Field(gt=0, le=1)] = (
        0.1  # factor at each milestone, "step" only
    )

    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    clip_grad_norm: float | None = Field(default=None, gt=0)  # L2 norm of all gradients
    batch_parts: Annotated[int, Field(ge=1)] = (
        1  # passes of a batch; BN sees one of them
    )
    # Batches from which BN's running averages are made anew before every scoring. Where
    # training leaves out layers at random, its own averages are not those of the whole.
    norm_batches: Annotated[int, Field(ge=0)] = 0

    # "with_replacement": a random class, then any of its images, as often as there are
    # images to draw in an epoch.
    sampling: Literal["shuffle", "with_replacement"] = "shuffle"
    # "unit": pixels in [0, 1]; "per_image": minus the image's mean, over the root of
    # its variance plus 10, on the scale of 0 to 255.
    scaling: Literal["standardize", "unit", "per_image"] = "standardize"
    resize_to: Annotated[int, Field(ge=0)] = (
        0  # pixels: enlarged at random up to it, crop
    )
    crop_padding: int = Field(default=0, ge=0)  # pixels on each side, then random crop
    crop_mode: Literal["constant", "reflect"] = "constant"
    flip: bool = False  # left to right, probability 1/2

    precision: Literal["fp32", "bf16"] = "fp32"  # bf16: autocast, weights stay fp32
    channels_last: bool = True
    compile: bool = False  # torch.compile

    @field_validator("warmup_epochs")
    @classmethod
    def ends_in_time(cls, warmup: float, info: ValidationInfo) -> float:
        epochs = info.data.get("epochs", math.inf)  # not there if refused itself
        if warmup >= epochs:
            raise contradiction(f"it must be less than epochs, which is {epochs}")
        return warmup

    @field_validator("lr_milestones_epochs")
    @classmethod
    def are_reached(
        cls, milestones: tuple[int, ...], info: ValidationInfo
    ) -> tuple[int, ...]:
        epochs = info.data.get("epochs", math.inf)
        if max(milestones, default=0) > epochs:
            raise contradiction(f"none may be after the last epoch, {epochs}")
        if info.data.get("schedule") == "step" and not milestones:
            raise contradiction("schedule 'step' needs at least one milestone")
        return milestones

    def but(self, **changes: object) -> "Recipe":
        """This recipe with some fields changed; the changed recipe is validated."""
        return replace(self, **changes)  # type: ignore[arg-type]

    def quick(self, epochs: int) -> "Recipe":
        """The same recipe in `epochs` epochs: milestones and warm-up shrink with it."""
        factor = epochs / self.epochs
        return self.but(
            epochs=epochs,
            warmup_epochs=self.warmup_epochs * factor,
            lr_milestones_epochs=tuple(
                round(m * factor) for m in self.lr_milestones_epochs
            ),
        )

    def lr_at(self, epoch: float) -> float:
        """Learning rate at a moment of the run, 0 <= `epoch` <= `epochs`.

        Warm-up rises linearly from 0. "cosine" and "one_cycle" then fall to 0 at the
        end, along half a cosine (Loshchilov & Hutter 2017) or a straight line (Smith
        2018, without its momentum cycle); "step" multiplies by `lr_decay` at each
        milestone.
        """
        if epoch < self.warmup_epochs:
            return self.lr * epoch / self.warmup_epochs
        done = (epoch - self.warmup_epochs) / (self.epochs - self.warmup_epochs)
        if self.schedule == "cosine":
            return self.lr * (1 + math.cos(math.pi * done)) / 2
        if self.schedule == "one_cycle":
            return self.lr * (1 - done)
        if self.schedule == "step":
            passed = sum(epoch >= m for m in self.lr_milestones_epochs)
            return self.lr * self.lr_decay**passed
        return self.lr


# The program behind the Π-Net article: Adam with PyTorch's defaults, inputs scaled to
# [0, 1], no augmentation; its default is 10 epochs, the article does not say.
POLYNET_LITERAL = Recipe(
    name="article",
    epochs=10,
    batch_size=64,
    optimizer="adam",
    lr=1e-3,
    scaling="unit",
)

# What makes the same network train on every seed, chosen on the validation part of
# CIFAR-10 (the chapter's study `details`).
POLYNET_RELIABLE = Recipe(
    name="reliable",
    epochs=10,
    batch_size=128,
    optimizer="adam",
    lr=3e-3,
    schedule="one_cycle",
    warmup_epochs=1.0,
    clip_grad_norm=1.0,
    precision="bf16",
)

# Stochastic gradient descent without momentum or decay of the weights: the highest
# learning rate is the only setting. It falls to zero along half a cosine, because at a
# constant rate the last epochs measure the noise of the steps (the batch normalization
# chapter).
PLAIN_SGD = Recipe(
    name="plain_sgd",
    epochs=10,
    batch_size=128,
    lr=0.1,
    momentum=0.0,
    nesterov=False,
    schedule="cosine",
    channels_last=False,
)

# One recipe for all networks of the survey: SGD whose rate rises for a sixth of the run
# and then falls to zero, with clipped gradients, because five of the networks have no
# normalisation, and averages made anew, because five leave out layers in training.
COMMON = Recipe(
    name="common",
    epochs=30,
    batch_size=128,
    lr=0.1,
    weight_decay=5e-4,
    decay="weights",
    schedule="one_cycle",
    warmup_epochs=5.0,
    clip_grad_norm=1.0,
    norm_batches=20,
    crop_padding=4,
    flip=True,
    precision="bf16",
)

RECIPES = {
    recipe.name: recipe
    for recipe in (POLYNET_LITERAL, POLYNET_RELIABLE, PLAIN_SGD, COMMON)
}
