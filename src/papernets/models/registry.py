"""Names, cards and sizes of the networks.

Every paper's file calls `register` at its end, once per named network. A network that
stands in the survey's table, or in a chapter, carries a `PaperCard`.
"""

import difflib
import inspect
import math
import numbers
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import NoneType
from typing import Any, get_args

import torch
from torch import nn


@dataclass(frozen=True, kw_only=True)
class PaperCard:
    """What is known about a paper's network, beside what its code says.

    Figures are copied from their sources: parameters in millions, accuracies of single
    models on CIFAR-10 in percent. What the code determines (parameter counts,
    multiply-adds) is computed where it is shown and does not stand here.
    """

    title: str
    authors: str
    year: int
    arxiv: str  # identifier, e.g. "1512.03385"
    venue: str
    variant: str  # the network built here, in the paper's words
    idea: str  # what the paper brought, in two or three sentences
    row: str | None = None  # of the survey's table: "1a" ... "24"; None: not in it
    survey_parameters: float | None = None  # as the survey's table prints it
    paper_parameters: float | None = None  # as the paper states it
    survey_paper_accuracy: float | None = None  # of the paper, as the survey quotes it
    survey_accuracy: float | None = None  # of the survey author's own run
    survey_mark: str = ""  # "reproduced", "partly", "none", "not run"
    deviations: tuple[str, ...] = ()  # from the paper, each with its reason
    contradictions: tuple[str, ...] = ()  # between the sources, explained


@dataclass(frozen=True)
class Entry:
    """One named network: how it is built, and where it comes from."""

    name: str
    build: Callable[..., nn.Module]
    arguments: dict[str, Any]
    card: PaperCard | None
    scale: Callable[[int], dict[str, Any]] | None
    module: str


ENTRIES: dict[str, Entry] = {}
PROBABILITIES = {"dropout", "drop", "drop_path", "global_share", "survival"}
MOST = 1_000_000  # layers or channels; with more, building would seem to hang
FIRST, LARGEST = 16, 10_000  # sizes k that the search for a budget begins and ends with


def register(
    name: str,
    build: Callable[..., nn.Module],
    *,
    card: PaperCard | None = None,
    scale: Callable[[int], dict[str, Any]] | None = None,
    **arguments: Any,
) -> None:
    """Give a network a name.

    Args:
        name: unique, in lower case.
        build: its class or a function; takes `in_channels` and `num_classes`, and
            whatever else may be chosen.
        card: of the paper; family members outside the survey's table have none.
        scale: arguments of the k-th size of the family, k = 1, 2, ...; multiply-adds
            grow with k, and what defines the paper stays.
        arguments: passed to `build`.
    """
    if name in ENTRIES:
        raise ValueError(f"two models are named {name!r}")
    ENTRIES[name] = Entry(name, build, arguments, card, scale, build.__module__)


def lookup(name: str) -> Entry:
    if name not in ENTRIES:
        near = difflib.get_close_matches(name, ENTRIES, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"there are {list_models()}"
        raise ValueError(f"no model {name!r}; {hint}")
    return ENTRIES[name]


def list_models() -> list[str]:
    return sorted(ENTRIES)


def create(
    name: str,
    *,
    num_classes: int = 10,
    in_channels: int = 3,
    image_size: int | None = None,
    budget_macs: float | None = None,
    **arguments: Any,
) -> nn.Module:
    """Build a network with freshly initialised weights.

    Args:
        name: one of `list_models()`.
        num_classes: number of logits.
        in_channels: channels of the images.
        image_size: height and width in pixels; matters only to networks whose layers
            depend on it, the others ignore it.
        budget_macs: multiply-adds for one image; builds the size of the network's
            family that is nearest to them, as `fit_budget` finds it.
        arguments: passed to the network's constructor.

    Raises:
        ValueError: unknown name, an argument the network does not take or whose value
            it cannot have, images that are too small, or a budget that no size meets.
    """
    entry = lookup(name)
    require_counts(
        num_classes=num_classes, in_channels=in_channels, image_size=image_size
    )
    if budget_macs is not None:
        arguments = fit_budget(
            name,
            budget_macs,
            num_classes=num_classes,
            in_channels=in_channels,
            image_size=image_size,
            **arguments,
        )["arguments"]
    parameters = inspect.signature(entry.build).parameters
    known = set(parameters)
    if unknown := sorted(set(arguments) - known):
        own = sorted(known - {"in_channels", "num_classes", "image_size"})
        raise ValueError(
            f"{name} has no argument {unknown[0]!r}; it takes {', '.join(own)}"
        )
    for argument, value in arguments.items():
        if needed := missed(value, parameters[argument]):
            raise ValueError(
                f"{argument} of {name} is {value!r:.60}; it must be {needed}"
            )
    if image_size is not None and "image_size" in known:
        arguments["image_size"] = image_size
    try:
        return entry.build(
            in_channels=in_channels,
            num_classes=num_classes,
            **{**entry.arguments, **arguments},
        )
    except UNBUILDABLE as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise ValueError(
            f"{name} cannot be built with {in_words(arguments)}: {reason:.200}"
        ) from error


# What constructors raise for numbers that make no network, such as one too large.
UNBUILDABLE = (
    *(RuntimeError, TypeError, IndexError),
    *(ArithmeticError, MemoryError),  # of a number too large, or a division by zero
)


def require_counts(**values: int | None) -> None:
    """Refuse what is no positive whole number; raises ValueError. None is none given.

    PyTorch builds layers of no channels, and Python takes 0 for nothing.
    """
    for name, value in values.items():
        if value is not None and not (is_whole(value) and value > 0):
            raise ValueError(
                f"{name} is {value!r}; it must be a whole number, at least 1"
            )


def is_whole(value: object) -> bool:
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def is_number(value: object) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def missed(value: Any, parameter: inspect.Parameter) -> str:
    """What the annotation of a constructor's argument asks for, if this is not it."""
    kinds = get_args(parameter.annotation) or (parameter.annotation,)
    default = parameter.default
    if not {bool, int, float, str, NoneType}.issuperset(kinds):
        return ""  # no annotation, or one that cannot be looked into
    if value is None and NoneType in kinds:
        return ""
    if float in kinds:
        if not is_number(value):
            return "a number"
        if parameter.name in PROBABILITIES:
            return "" if 0 <= value <= 1 else "a probability, from 0 to 1"
        if is_number(default) and default >= 1:  # a size
            return "" if 0 < value <= MOST else f"positive, and at most {MOST:,}"
        return "" if -math.inf < value < math.inf else "finite"
    if int in kinds:
        least = 1 if is_whole(default) and default > 0 else -MOST
        fits = is_whole(value) and least <= value <= MOST
        return "" if fits else f"a whole number from {least:,} to {MOST:,}"
    if bool in kinds:
        return "" if isinstance(value, bool) else "true or false"
    return "" if isinstance(value, str) else "a word"


def in_words(arguments: Mapping[str, object]) -> str:
    """ "depth=8, width=4"; "its own arguments" if there are none."""
    pairs = (f"{name}={value!r}" for name, value in arguments.items())
    return ", ".join(pairs) or "its own arguments"


def fit_budget(
    name: str,
    budget_macs: float,
    *,
    num_classes: int = 10,
    in_channels: int = 3,
    image_size: int | None = None,
    tolerance: float = 0.05,
    **arguments: Any,
) -> dict[str, Any]:
    """Find the size of a network's family whose cost is nearest to a budget.

    Shapes are computed and nothing else, for about five sizes; a network of a thousand
    layers takes seconds for each.

    Args:
        name: one of `list_models()`.
        budget_macs: multiply-adds of convolutions and linear layers for one image.
        num_classes: number of logits.
        in_channels: channels of the images.
        image_size: height and width in pixels; None: 32.
        tolerance: the largest relative distance from the budget.
        arguments: of the network's constructor, other than those that set its size.

    Returns:
        `k`, the size's number in the family; `macs`, its cost; and `arguments`, which
        with the others given here make `create` build it.

    Raises:
        ValueError: the family is not scaled, a given argument is set by the budget, the
            images are too small, a number makes no sense, or no size is near enough.
    """
    require_counts(
        num_classes=num_classes, in_channels=in_channels, image_size=image_size
    )
    scale = lookup(name).scale
    if scale is None:
        raise ValueError(f"{name} comes in one size; it cannot meet a budget")
    if isinstance(budget_macs, str | bool) or not 0 < budget_macs < math.inf:
        raise ValueError(f"budget_macs is {budget_macs!r}; it must be positive")
    if not tolerance >= 0:
        raise ValueError(f"tolerance is {tolerance}; it must be zero or more")
    if taken := sorted(set(arguments) & set(scale(1))):
        raise ValueError(f"{taken[0]} follows from budget_macs; give only one of them")
    side = 32 if image_size is None else image_size

    def macs(k: int) -> int:
        from papernets.complexity import profile

        with torch.device("meta"):
            model = create(
                name,
                num_classes=num_classes,
                in_channels=in_channels,
                image_size=image_size,
                **{**arguments, **scale(k)},
            )
        try:
            return profile(model, (in_channels, side, side)).macs
        except RuntimeError as error:
            raise ValueError(
                f"{name} fails on {side}x{side} images: {error}"
            ) from error

    def distance(k: int) -> float:
        return abs(sizes[k] - budget_macs)

    sizes, low, high, k = {0: 0}, 0, LARGEST + 1, FIRST
    while high - low > 1:  # the budget lies between them
        sizes[k] = macs(k)
        low, high = (k, high) if sizes[k] <= budget_macs else (low, k)
        # The root of the cost is about linear in k, so the line through the two nearest
        # sizes leads there in a few steps; if it does not, bisection does.
        (a, root_a), (b, root_b) = (
            (k, sizes[k] ** 0.5) for k in sorted(sizes, key=distance)[:2]
        )
        guess = (low + high) / 2
        if len(sizes) < 9 and root_a != root_b:
            guess = a + (budget_macs**0.5 - root_a) * (b - a) / (root_b - root_a)
        k = round(max(low + 1, min(guess, high - 1, 4 * low + FIRST)))
    del sizes[0]
    k = min(sizes, key=distance)
    if distance(k) > tolerance * budget_macs:
        raise ValueError(
            f"no size of {name} has {budget_macs:,.0f} multiply-adds on {side}x{side} "
            f"images within {tolerance:.0%}; the nearest has {sizes[k]:,}: {scale(k)}"
        )
    return {"k": k, "macs": sizes[k], "arguments": {**arguments, **scale(k)}}


def card(name: str) -> PaperCard:
    """The card of a network; raises ValueError if it has none."""
    found = lookup(name).card
    if found is None:
        raise ValueError(f"{name} is in no table and has no card")
    return found


def source_file(name: str) -> str:
    """Name of the file in `papernets/models` that defines the network."""
    return f"{lookup(name).module.rpartition('.')[2]}.py"


def source_files(name: str) -> tuple[str, ...]:
    """That file, then those of `papernets/models` that it imports from, sorted."""
    own = source_file(name)
    others: set[str] = set()
    waiting = [lookup(name).module]
    while waiting:
        for value in vars(sys.modules[waiting.pop()]).values():
            module = getattr(value, "__module__", None) or ""
            file = f"{module.rpartition('.')[2]}.py"
            if (
                module.startswith(f"{__package__}.")
                and module != __name__
                and file not in {own, *others}
            ):
                others.add(file)
                waiting.append(module)
    return (own, *sorted(others))
