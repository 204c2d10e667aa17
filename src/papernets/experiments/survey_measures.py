"""Measurements of the survey's networks, other than whole training runs.

Every function but `training_rate` trains a small network by the common recipe in a few
epochs and looks into it. It takes a data set, a seed, the network's name and arguments,
and returns plain numbers and lists of them, four digits long; accuracies are fractions
of the validation images. `status` is "diverged" if the loss stopped being finite; then
the other values are missing. Lists over layers begin next to the image.
"""

import copy
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import combinations
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from papernets import models
from papernets.data import Dataset, Split
from papernets.feed import Feed
from papernets.models.controls import OrderedBlock, padded
from papernets.models.densenet import DenseLayer, DenseNet
from papernets.models.fractalnet import FractalNet
from papernets.models.highway import HighwayLayer
from papernets.models.pyramidnet import PyramidBlock
from papernets.models.resnet import BasicBlock
from papernets.models.weighted_residual import WeightedBlock, WResNet
from papernets.recipes import COMMON, Recipe
from papernets.training import average_norms_anew, evaluate, fit

Values = dict[str, Any]

PROBE = 1_000  # validation images that a network is looked at with
CPU = torch.device("cpu")


def recipe_for(data: Dataset, epochs: int) -> Recipe:
    """The common recipe in `epochs` epochs, shifts in proportion to the image."""
    return COMMON.quick(epochs).but(crop_padding=data.image_size // 8)


def build(data: Dataset, seed: int, model: str, **settings: Any) -> nn.Module:
    """The untrained network of a seed, as training runs have it."""
    torch.manual_seed(seed)
    return models.create(
        model,
        in_channels=data.in_channels,
        num_classes=data.num_classes,
        image_size=data.image_size,
        **settings,
    )


def validation(data: Dataset, recipe: Recipe) -> Feed:
    return Feed(data.validation, data, recipe, CPU)


def probe(data: Dataset, recipe: Recipe) -> Tensor:
    """The first validation images, scaled."""
    some = Split(data.validation.images[:PROBE], data.validation.labels[:PROBE])
    return next(Feed(some, data, recipe, CPU).in_order())[0]


def compact(value: Any) -> Any:
    """Four significant digits, in nested lists too; None for what is not finite."""
    if isinstance(value, list):
        return [compact(v) for v in value]
    if value is None or not math.isfinite(value):
        return None
    return float(f"{value:.4g}")


@contextmanager
def seen(modules: Mapping[Any, nn.Module]) -> Iterator[dict[Any, tuple[Any, Any]]]:
    """Collect (input, output) of the last call of each module, by its key."""
    found: dict[Any, tuple[Any, Any]] = {}

    def hook(key: Any) -> Callable[..., None]:
        def keep(_: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
            found[key] = (inputs[0], output)

        return keep

    handles = [m.register_forward_hook(hook(key)) for key, m in modules.items()]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def after_every_epoch(model: nn.Module, look: Callable[[], None]) -> Iterator[None]:
    """Call `look` before a pass in evaluation mode that follows one in training mode.

    While `fit` trains the model, that is once after every epoch.
    """
    trained = False

    def hook(module: nn.Module, _: Any) -> None:
        nonlocal trained
        if trained and not module.training:
            look()
        trained = module.training

    handle = model.register_forward_pre_hook(hook)
    try:
        yield
    finally:
        handle.remove()


# --- Speed --------------------------------------------------------------------------


def training_rate(
    data: Dataset, *, seed: int, model: str, batches: int, epochs: int, **settings: Any
) -> Values:
    """How fast a network trains by the common recipe, in short epochs.

    Returns:
        `images_per_second` of the fastest epoch but the first, which fills caches.
    """
    recipe = recipe_for(data, epochs).but(norm_batches=0)
    number = batches * recipe.batch_size
    some = Split(data.train.images[:number], data.train.labels[:number])
    few = Split(data.validation.images[:1], data.validation.labels[:1])
    network = build(data, seed, model, **settings)
    small = replace(data, train=some, validation=few, test=few)
    result = fit(network, small, recipe, seed=seed, progress=False)
    if result.status == "diverged":
        return {"status": result.status}
    rates = result.curves["images_per_second"][1:]
    return {"status": result.status, "images_per_second": max(rates)}


# --- Slopes of PReLU ----------------------------------------------------------------


def prelu_slopes(
    data: Dataset, *, seed: int, model: str, epochs: int, **settings: Any
) -> Values:
    """The slopes that every PReLU has learned.

    Returns:
        `accuracy`; lists over the PReLUs: `mean` and `spread` (standard deviation) of
        the slopes over channels, `before_pooling`: whether a max-pooling follows,
        `convolutional`: whether it follows a convolution.
    """
    network = build(data, seed, model, **settings)
    result = fit(network, data, recipe_for(data, epochs), seed=seed)
    if result.status == "diverged":
        return {"status": result.status}
    modules = [m for m in network.modules() if not list(m.children())]
    places = [i for i, m in enumerate(modules) if isinstance(m, nn.PReLU)]
    slopes = [m.weight.detach() for m in modules if isinstance(m, nn.PReLU)]
    return {
        "status": result.status,
        "accuracy": compact(result.curves["validation_accuracy"][-1]),
        "mean": compact([s.mean().item() for s in slopes]),
        "spread": compact([s.std(correction=0).item() for s in slopes]),
        "before_pooling": [isinstance(modules[i + 1], nn.MaxPool2d) for i in places],
        "convolutional": [isinstance(modules[i - 1], nn.Conv2d) for i in places],
    }


# --- Lesions ------------------------------------------------------------------------

BLOCKS = (BasicBlock, PyramidBlock, OrderedBlock, HighwayLayer)
NUMBERS = (2, 4, 8)  # of blocks that are removed together, and of exchanges
DRAWS = 3  # choices of blocks, of which the mean is taken


def bypass(block: nn.Module) -> nn.Module:
    """What is left of a block without its layers: the way around them."""
    if isinstance(block, OrderedBlock) and block.join is None:
        return padded(*block.shape)  # the shortcut that its residual twin has
    way = block.carry if isinstance(block, HighwayLayer) else block.shortcut
    assert isinstance(way, nn.Module)
    return way


def chain_of_blocks(network: nn.Module) -> nn.Sequential:
    """The sequence of layers that holds the blocks; raises ValueError without one."""
    for module in network.modules():
        if isinstance(module, nn.Sequential) and any(
            isinstance(child, BLOCKS) for child in module
        ):
            return module
    raise ValueError(f"{type(network).__name__} has no blocks that can be removed")


@contextmanager
def replaced(chain: nn.Sequential, places: Mapping[int, nn.Module]) -> Iterator[None]:
    """Put other modules into some places of a sequence, for a while."""
    originals = {place: chain[place] for place in places}
    for place, module in places.items():
        chain[place] = module
    try:
        yield
    finally:
        for place, module in originals.items():
            chain[place] = module


def lesions(
    data: Dataset, *, seed: int, model: str, epochs: int, **settings: Any
) -> Values:
    """Accuracy after the removal of blocks, and after exchanges of blocks.

    A removed block is replaced by its shortcut, a highway layer by its input; a block
    of the plain network, by the shortcut that its residual twin has. Two blocks are
    exchanged if both keep the same shape (A. Veit, M. Wilber, S. Belongie, "Residual
    Networks Behave Like Ensembles of Relatively Shallow Networks", 2016).

    Returns:
        `accuracy` of the whole network. Lists over its blocks: `removed`, accuracy
        without the block; `side`, height of its output in pixels; `keeps_shape`;
        `swapped`, accuracy with the block and the next one exchanged, None where they
        cannot be; of highway layers also `gate`, the mean of the transform gate over
        channels, positions and `PROBE` images. `numbers`, and a list over them each:
        accuracy without the `last` so many blocks; without so many of `any` place, and
        with so many pairs `exchanged` one after the other, means over `DRAWS` draws.
        Blocks that halve the image are not removed together with others. `exchanged`
        is missing if no two blocks have the same shape.
    """
    recipe = recipe_for(data, epochs)
    network = build(data, seed, model, **settings)
    result = fit(network, data, recipe, seed=seed)
    if result.status == "diverged":
        return {"status": result.status}
    feed, chain = validation(data, recipe), chain_of_blocks(network)
    places = [i for i, child in enumerate(chain) if isinstance(child, BLOCKS)]
    with torch.no_grad(), seen({i: chain[i] for i in places}) as passed:
        network.eval()(probe(data, recipe))
    keeps = {i: x.shape == y.shape for i, (x, y) in passed.items()}

    def accuracy(changes: Mapping[int, nn.Module]) -> float:
        with replaced(chain, changes):
            return evaluate(network, feed)[1]

    removed: list[float] = []
    swapped: list[float | None] = []
    for place in places:
        removed.append(accuracy({place: bypass(chain[place])}))
        other = place + 1
        if not (keeps[place] and keeps.get(other, False)):
            swapped.append(None)
            continue
        swapped.append(accuracy({place: chain[other], other: chain[place]}))

    free = [i for i, (x, y) in passed.items() if x.shape[-1] == y.shape[-1]]
    alike = [
        (a, b)
        for a, b in combinations([i for i in free if keeps[i]], 2)
        if passed[a][1].shape == passed[b][1].shape
    ]
    random = np.random.default_rng([seed, len(places)])

    def without(chosen: Sequence[int]) -> float:
        return accuracy({i: bypass(chain[i]) for i in chosen})

    def exchanged(pairs: Sequence[tuple[int, int]]) -> float:
        order = {i: chain[i] for i in places}
        for a, b in pairs:
            order[a], order[b] = order[b], order[a]
        return accuracy(order)

    def drawn(score: Callable[[Any], float], choices: Sequence[Any], n: int) -> float:
        draws = (random.permutation(len(choices))[:n] for _ in range(DRAWS))
        return float(np.mean([score([choices[i] for i in draw]) for draw in draws]))

    values = {
        "status": result.status,
        "accuracy": compact(evaluate(network, feed)[1]),
        "removed": compact(removed),
        "swapped": compact(swapped),
        "keeps_shape": [keeps[i] for i in places],
        "side": [passed[i][1].shape[-1] for i in places],
        "numbers": list(NUMBERS),
        "last": compact([without(free[-n:]) for n in NUMBERS]),
        "any": compact([drawn(without, free, n) for n in NUMBERS]),
    }
    if alike:
        values["exchanged"] = compact([drawn(exchanged, alike, n) for n in NUMBERS])
    if any(isinstance(chain[i], HighwayLayer) for i in places):
        values["gate"] = compact(gates(network, probe(data, recipe)))
    return values


@torch.no_grad()
def gates(network: nn.Module, images: Tensor) -> list[float]:
    """The mean transform gate of every highway layer."""
    layers = [m for m in network.modules() if isinstance(m, HighwayLayer)]
    with seen(dict(enumerate(layer.gate for layer in layers))) as passed:
        network.eval()(images)
    return [torch.sigmoid(passed[i][1]).mean().item() for i in range(len(layers))]


# --- Weights of residuals -----------------------------------------------------------


def residual_weights(
    data: Dataset, *, seed: int, model: str, epochs: int, **settings: Any
) -> Values:
    """The weight alpha of every block over the epochs, and what it weighs.

    Returns:
        `accuracy`; `alpha`, a list over epochs of lists over blocks; at the end, lists
        over blocks: `branch`, mean size of alpha F(x) over channels, positions and
        `PROBE` images, in evaluation mode; `share`, the same over the mean size of what
        the shortcut passes; `unweighted`, mean size of F(x) over that of the shortcut.
    """
    recipe = recipe_for(data, epochs)
    network = build(data, seed, model, **settings)
    assert isinstance(network, WResNet)
    alphas: list[list[float]] = []

    def look() -> None:
        alphas.append(network.alpha.detach().clamp(-1, 1).tolist())

    with after_every_epoch(network, look):
        result = fit(network, data, recipe, seed=seed)
    if result.status == "diverged":
        return {"status": result.status}
    return {
        "status": result.status,
        "accuracy": compact(result.curves["validation_accuracy"][-1]),
        "alpha": compact(alphas),
        **branch_sizes(network, probe(data, recipe)),
    }


@torch.no_grad()
def branch_sizes(network: WResNet, images: Tensor) -> dict[str, list[float]]:
    """See `residual_weights`."""
    blocks: dict[int, WeightedBlock] = {}
    for i, block in enumerate(network.blocks):
        assert isinstance(block, WeightedBlock)
        blocks[i] = block
    parts = {(i, "branch"): block.branch for i, block in blocks.items()}
    ways = {(i, "shortcut"): block.shortcut for i, block in blocks.items()}
    with seen({**parts, **ways}) as passed:
        network.eval()(images)

    def size(block: int, part: str) -> float:
        return passed[block, part][1].abs().mean().item()

    weights = network.alpha.clamp(-1, 1).abs().tolist()
    branch = [a * size(i, "branch") for i, a in enumerate(weights)]
    return {
        "branch": compact(branch),
        "share": compact([b / size(i, "shortcut") for i, b in enumerate(branch)]),
        "unweighted": compact(
            [size(i, "branch") / size(i, "shortcut") for i in blocks]
        ),
    }


# --- Columns of a fractal network ---------------------------------------------------


def fractal_columns(
    data: Dataset,
    *,
    seed: int,
    model: str,
    epochs: int,
    alone: bool = False,
    **settings: Any,
) -> Values:
    """Accuracy of every column alone, and of all joined.

    Batch normalization keeps the averages of training, in which drop-path mixes passes
    of several forms of the network; they are made anew for each form (see
    `training.average_norms_anew`), and both are measured.

    Args:
        alone: train the deepest column as a plain network, and nothing else.

    Returns:
        `forms`: "column 1" (the shallowest), ..., "joined", or the only column; for
        each form `running`, accuracy with the averages of training, and `renewed`, with
        its own.
    """
    recipe = recipe_for(data, epochs)
    network = build(data, seed, model, **settings)
    assert isinstance(network, FractalNet)
    columns = [network.column(i) for i in range(network.columns)]
    names = [f"column {i + 1}" for i in range(network.columns)]
    forms: dict[str, nn.Module] = dict(zip(names, columns, strict=True))
    forms["joined"] = network
    if alone:
        forms = {names[-1]: columns[-1]}
    trained = list(forms.values())[-1]
    result = fit(trained, data, recipe.but(norm_batches=0), seed=seed)
    if result.status == "diverged":
        return {"status": result.status}
    scored, train = validation(data, recipe), Feed(data.train, data, recipe, CPU)
    running, renewed = [], []
    for form in forms.values():
        running.append(evaluate(form, scored)[1])
        twin = copy.deepcopy(form)
        average_norms_anew(twin, train, epochs, seed)
        renewed.append(evaluate(twin, scored)[1])
    return {
        "status": result.status,
        "forms": list(forms),
        "running": compact(running),
        "renewed": compact(renewed),
    }


# --- Weights of a dense network -----------------------------------------------------


def dense_weights(
    data: Dataset, *, seed: int, model: str, epochs: int, **settings: Any
) -> Values:
    """Mean size of the weights by which a layer reads the layers before it.

    Returns:
        `accuracy`; three lists over the dense blocks of matrices, lists over sources of
        lists over targets: `blocks`, the mean size of the weights (figure 5 of the
        paper); `initial`, the same before training; `needed`, by how many nats the
        cross-entropy of `PROBE` validation images rises if these weights are zero.
        Source 0 is the block's input, source i its i-th layer. Target j is its j-th
        layer, counted from 1, and the last target what follows the block, the
        transition or the classifier. None where the source does not come before the
        target.
    """
    recipe = recipe_for(data, epochs)
    network = build(data, seed, model, **settings)
    assert isinstance(network, DenseNet)
    initial = matrices(network, mean_size)
    result = fit(network, data, recipe, seed=seed)
    if result.status == "diverged":
        return {"status": result.status}
    some = Split(data.validation.images[:PROBE], data.validation.labels[:PROBE])
    feed = Feed(some, data, recipe, CPU)
    whole = evaluate(network, feed)[0]

    def need(weights: Tensor) -> float:
        kept = weights.clone()
        weights.zero_()
        loss = evaluate(network, feed)[0]
        weights.copy_(kept)
        return loss - whole

    return {
        "status": result.status,
        "accuracy": compact(result.curves["validation_accuracy"][-1]),
        "blocks": compact(matrices(network, mean_size)),
        "initial": compact(initial),
        "needed": compact(matrices(network, need)),
    }


def mean_size(weights: Tensor) -> float:
    return weights.abs().mean().item()


def matrices(
    network: DenseNet, value: Callable[[Tensor], float]
) -> list[list[list[float | None]]]:
    """A number of the weights by which a target reads a source; see `dense_weights`.

    Args:
        network: its dense blocks are looked at in turn.
        value: of a view of these weights, (channels of the target, of the source, ...).
    """
    blocks: list[list[nn.Module]] = [[]]  # layers, then what follows
    for module in [*network.features, network.classifier]:
        if isinstance(module, DenseLayer):
            blocks[-1].append(module.branch)
        elif isinstance(module, nn.Conv2d | nn.Linear):
            blocks[-1].append(module)
            blocks.append([])
    return [matrix(block, value) for block in blocks if block]


def matrix(
    readers: list[nn.Module], value: Callable[[Tensor], float]
) -> list[list[float | None]]:
    """[source][target]; each reader has read one source more."""
    weights = []
    for reader in readers:
        layers = [m for m in reader.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
        weights.append(layers[0].weight.detach())  # the first one reads all sources
    ends = [w.shape[1] for w in weights]  # of the channels of source i, all before it
    widths = [b - a for a, b in zip([0, *ends], ends, strict=False)]
    found: list[list[float | None]] = [[None] * len(weights) for _ in weights]
    for target, weight in enumerate(weights):
        for source, part in enumerate(weight.split(widths[: target + 1], dim=1)):
            found[source][target] = value(part)
    return found
