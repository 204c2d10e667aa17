"""Measurements of the batch normalization chapter, other than whole training runs.

Every function trains the ten-layer network with plain SGD and looks into it, or
evaluates it in several ways. It takes a data set, a seed and the network's settings,
and returns numbers and lists of them, rounded to four digits; values that are not
finite become None. Lists over layers begin with the layer next to the input.
"""

import copy
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from papernets import models
from papernets.data import Dataset, Split
from papernets.feed import Feed
from papernets.models.batch_norm import ACTIVATIONS, MLP
from papernets.recipes import PLAIN_SGD, Recipe
from papernets.training import build_optimizer, evaluate, fit

Values = dict[str, Any]

PROBE = 1_000  # validation images that a network is looked at with
MOMENTS = (0, 10, 100, 500, 2_000)  # steps after which signals are measured
BINS = 30
RANGES = {"sigmoid": (0.0, 1.0), "tanh": (-1.0, 1.0), "relu": (0.0, 4.0)}
STEP_LENGTHS = (0.5, 1.0, 2.0, 4.0)  # times the learning rate
LEVELS = (80, 90, 95)  # validation accuracy in percent
TEST_BATCHES = (1, 2, 5, 10, 100, 1_000, 10_000)


def network(data: Dataset, seed: int, **settings: Any) -> MLP:
    """The untrained network of a seed, as training runs have it."""
    torch.manual_seed(seed)
    model = models.create(
        "mlp10",
        in_channels=data.in_channels,
        num_classes=data.num_classes,
        image_size=data.image_size,
        **settings,
    )
    assert isinstance(model, MLP)
    return model


def batches(data: Dataset, recipe: Recipe, seed: int) -> Iterator[tuple[Tensor, ...]]:
    """Images and labels in the order in which `fit` serves them, without end."""
    feed = Feed(data.train, data, recipe, torch.device("cpu"))
    epoch = 0
    while True:
        entropy = np.random.SeedSequence([seed, epoch]).generate_state(2, np.uint32)
        yield from feed.epoch(int(entropy[1]))
        epoch += 1


def gradient_steps(
    model: MLP, data: Dataset, recipe: Recipe, seed: int, steps: int
) -> Iterator[tuple[int, Tensor, Tensor]]:
    """Train at a constant rate; yield (step, images, labels) before each step.

    Gradients of the batch's loss are there, in training mode. The iterator ends early
    if the loss is not finite any more.
    """
    optimizer = build_optimizer(model, recipe)
    served = batches(data, recipe, seed)
    for step, (images, labels) in zip(range(steps), served, strict=False):
        loss = functional.cross_entropy(model.train()(images), labels)
        if not loss.isfinite():
            return
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        yield step, images, labels
        optimizer.step()


def probe(data: Dataset, recipe: Recipe) -> tuple[Tensor, Tensor]:
    """The first validation images, scaled, and their labels."""
    some = Split(data.validation.images[:PROBE], data.validation.labels[:PROBE])
    return next(Feed(some, data, recipe, torch.device("cpu")).in_order())


def layer_signals(model: MLP, images: Tensor) -> tuple[list[Tensor], list[Tensor]]:
    """Inputs and outputs of the activation functions, each (N, units) per layer.

    The outputs are the inputs of the following layers.
    """
    before, after, x = [], [], images
    for module in model.hidden:
        if isinstance(module, tuple(ACTIVATIONS.values())):
            before.append(x)
            x = module(x)
            after.append(x)
        else:
            x = module(x)
    return before, after


def observed(model: MLP) -> MLP:
    """A copy to look at: in training mode, and computing in double precision.

    In a deep sigmoid network a unit's outputs vary over the images by less than the
    distance of two float32 numbers near 0.5; training itself stays in float32.
    """
    return copy.deepcopy(model).train().double()


def linear_layers(model: MLP) -> list[nn.Linear]:
    """The hidden ones."""
    return [module for module in model.hidden if isinstance(module, nn.Linear)]


def compact(value: Any) -> Any:
    """Four significant digits; None for what is not finite; lists of them."""
    if isinstance(value, Tensor):
        return compact(value.tolist())
    if isinstance(value, list | tuple):
        return [compact(v) for v in value]
    return float(f"{value:.4g}") if math.isfinite(value) else None


# --- Signals and gradients over depth and time --------------------------------------


def signals(
    data: Dataset, *, seed: int, lr: float, steps: int, **settings: Any
) -> Values:
    """Activations, gradients and weights of every layer after 0, 10, ... steps.

    Signals are those of training mode, for `PROBE` validation images.

    Returns:
        Lists over moments and layers: `spread`, the standard deviation of a unit's
        output over the images, averaged over units; `gradient`, norm of the loss's
        gradient with respect to the weights; `weight`, norm of the weights.
        `first_histogram`, `last_histogram`: per layer, thousandths of all outputs in
        `BINS` bins over `RANGES`. `growth`: per layer, the squared weight norm at the
        end less that at the start; `pythagoras`: the sum over steps of the squared
        length of the step, what `growth` is if every step is orthogonal to the weights.
    """
    recipe = PLAIN_SGD.but(lr=lr)
    model = network(data, seed, **settings)
    images, labels = probe(data, recipe)
    layers = linear_layers(model)
    found: dict[str, list[Any]] = {n: [] for n in ("spread", "gradient", "weight")}
    histograms, moments, done = [], [], 0
    squares = [sum_of_squares(layer.weight) for layer in layers]
    lengths = [0.0] * len(layers)

    def look() -> None:
        twin = observed(model)
        _, outputs = layer_signals(twin, images.double())
        loss = functional.cross_entropy(twin.classifier(outputs[-1]), labels)
        weights = [layer.weight for layer in linear_layers(twin)]
        gradients = torch.autograd.grad(loss, weights)
        found["spread"].append([o.std(0).mean().item() for o in outputs])
        found["gradient"].append([g.norm().item() for g in gradients])
        found["weight"].append([w.norm().item() for w in weights])
        histograms.append([histogram(o, model.activation) for o in outputs])
        moments.append(done)

    for step, _, _ in gradient_steps(model, data, recipe, seed, steps):
        if step in MOMENTS:
            look()
        for i, layer in enumerate(layers):
            assert layer.weight.grad is not None
            lengths[i] += lr**2 * sum_of_squares(layer.weight.grad)
        done = step + 1
    look()
    _, accuracy = evaluate(model, Feed(data.validation, data, recipe, images.device))
    growth = [
        sum_of_squares(layer.weight) - square
        for layer, square in zip(layers, squares, strict=True)
    ]
    return {
        "moments": moments,
        **{name: compact(values) for name, values in found.items()},
        "first_histogram": histograms[0],
        "last_histogram": histograms[-1],
        "growth": compact(growth),
        "pythagoras": compact(lengths),
        "final_accuracy": accuracy,
    }


def sum_of_squares(tensor: Tensor) -> float:
    return tensor.detach().double().square().sum().item()


def histogram(values: Tensor, activation: str) -> list[int]:
    """Thousandths of the values in each bin; those beyond the range in the last one."""
    low, high = RANGES[activation]
    counts = torch.histc(values.detach().clamp(low, high), BINS, low, high)
    return (1000 * counts / values.numel()).round().int().tolist()


# --- Internal covariate shift ------------------------------------------------------


def shift(
    data: Dataset, *, seed: int, lr: float, steps: int, every: int, **settings: Any
) -> Values:
    """How a step changes what a layer gets: its input's moments, and its gradient.

    At every `every`-th step the signals of `PROBE` validation images are taken before
    and after it, in training mode, at two places: at the input of the next layer
    ("layer"), and at that of the activation function ("activation"), which batch
    normalization controls.

    Returns:
        For both places lists over layers, averaged over those steps:
        `<place>_mean`, change of a unit's mean, over the standard deviation of the
        unit, averaged over units; `<place>_variance`, likewise the change of the
        variance over the variance; `<place>_absolute_mean`, the change of the mean
        itself. `gradient`, `cosine`: relative length of the difference, and cosine,
        between a layer's gradient before the step and after the step of the layers
        below it (Santurkar et al. 2018, definition 2.1), for the second layer and those
        above it.
    """
    recipe = PLAIN_SGD.but(lr=lr)
    model = network(data, seed, **settings)
    images, _ = probe(data, recipe)
    found: dict[str, list[Any]] = {}
    before: MLP | None = None
    for step, batch, labels in gradient_steps(model, data, recipe, seed, steps + 1):
        if before is not None:
            for name, value in moment_changes(before, model, images).items():
                found.setdefault(name, []).append(value)
            before = None
        if step % every == 0 and step < steps:
            before = copy.deepcopy(model)
            for name, value in gradient_changes(model, batch, labels, lr).items():
                found.setdefault(name, []).append(value)
    # A gradient of exactly zero has no direction; its step does not count.
    return {
        name: compact(torch.tensor(values).nanmean(0)) for name, values in found.items()
    }


@torch.no_grad()
def moment_changes(before: MLP, after: MLP, images: Tensor) -> dict[str, list[float]]:
    """Per layer, how far mean and variance of a unit moved; see `shift`."""
    signals = [layer_signals(observed(m), images.double()) for m in (before, after)]
    changes: dict[str, list[float]] = {}
    for place, old, new in zip(("activation", "layer"), *signals, strict=True):
        for x, y in zip(old, new, strict=True):
            variance, mean = torch.var_mean(x, 0)
            new_variance, new_mean = torch.var_mean(y, 0)
            alive = variance > 0  # a dead ReLU has no scale to compare with
            moved = (new_mean - mean).abs()
            spread = (new_variance - variance).abs()
            for name, value in (
                ("mean", moved[alive] / variance[alive].sqrt()),
                ("variance", spread[alive] / variance[alive]),
                ("absolute_mean", moved),
            ):
                average = value.mean().item() if len(value) else 0.0
                changes.setdefault(f"{place}_{name}", []).append(average)
    return changes


def gradient_changes(
    model: MLP, images: Tensor, labels: Tensor, lr: float
) -> dict[str, list[float]]:
    """Per layer, how the step of the layers below changes the gradient; see `shift`."""
    twin, images = observed(model), images.double()
    modules = [module for module in twin.hidden if list(module.parameters())]

    def gradients() -> list[tuple[Tensor, ...]]:
        loss = functional.cross_entropy(twin(images), labels)
        flat = iter(torch.autograd.grad(loss, list(twin.hidden.parameters())))
        return [tuple(next(flat) for _ in m.parameters()) for m in modules]

    first = gradients()
    changes: dict[str, list[float]] = {"gradient": [], "cosine": []}
    for i, module in enumerate(modules):
        if isinstance(module, nn.Linear) and i > 0:
            old, new = first[i][0], gradients()[i][0]
            changes["gradient"].append(((new - old).norm() / old.norm()).item())
            cosine = (old * new).sum() / (old.norm() * new.norm())
            changes["cosine"].append(cosine.item())
        with torch.no_grad():
            for parameter, gradient in zip(module.parameters(), first[i], strict=True):
                parameter.sub_(lr * gradient)
    return changes


# --- The loss along the gradient ----------------------------------------------------


def landscape(
    data: Dataset, *, seed: int, lr: float, steps: int, every: int, **settings: Any
) -> Values:
    """Loss and gradient along the step, at every `every`-th step of training.

    From the weights w with gradient g of the batch's loss, the same loss is evaluated
    at w - t lr g for the t of `STEP_LENGTHS` (Santurkar et al. 2018, section 3.1).

    Returns:
        Lists over these steps: `loss` at w; `lowest` and `highest` loss along the step;
        `gradient`, norm of g; `distance`, the largest distance of a gradient along the
        step from g; `relative`, the same over the norm of g; `smoothness`, the largest
        distance over the length of the step that made it; `cosine` between g and the
        gradient at t = 1.
    """
    recipe = PLAIN_SGD.but(lr=lr)
    model = network(data, seed, **settings)
    found: dict[str, list[float]] = {}
    for step, images, labels in gradient_steps(model, data, recipe, seed, steps):
        if step % every == 0:
            for name, value in along_the_step(model, images, labels, lr).items():
                found.setdefault(name, []).append(value)
    return {name: compact(values) for name, values in found.items()}


def along_the_step(
    model: MLP, images: Tensor, labels: Tensor, lr: float
) -> dict[str, float]:
    """See `landscape`."""
    twin, images = observed(model), images.double()
    parameters = list(twin.parameters())

    def look() -> tuple[Tensor, Tensor]:
        loss = functional.cross_entropy(twin(images), labels)
        gradients = torch.autograd.grad(loss, parameters)
        return loss.detach(), torch.cat([g.flatten() for g in gradients])

    start = nn.utils.parameters_to_vector(parameters).detach()
    loss, gradient = look()
    losses, distances, cosines = [], [], []
    for t in STEP_LENGTHS:
        nn.utils.vector_to_parameters(start - t * lr * gradient, parameters)
        moved_loss, moved = look()
        losses.append(moved_loss)
        distances.append((moved - gradient).norm())
        cosines.append(moved @ gradient / (moved.norm() * gradient.norm()))
    distance = torch.stack(distances)
    lengths = lr * gradient.norm() * torch.tensor(STEP_LENGTHS)
    values = {
        "loss": loss,
        "lowest": torch.stack(losses).min(),
        "highest": torch.stack(losses).max(),
        "gradient": gradient.norm(),
        "distance": distance.max(),
        "relative": distance.max() / gradient.norm(),
        "smoothness": (distance / lengths).max(),
        "cosine": cosines[STEP_LENGTHS.index(1.0)],
    }
    return {name: value.item() for name, value in values.items()}


# --- Speed -------------------------------------------------------------------------


def speed(
    data: Dataset, *, seed: int, lr: float, epochs: int, every: int, **settings: Any
) -> Values:
    """Steps until the validation accuracy first reaches each of `LEVELS`.

    Scored after every `every`-th step; training ends at the highest level, or after
    `epochs`.

    Returns:
        `steps_to_<level>`, None if it was not reached; `best_validation`: the highest
        accuracy.
    """
    recipe = PLAIN_SGD.but(lr=lr, epochs=epochs)
    model = network(data, seed, **settings)
    feed = Feed(data.validation, data, recipe, torch.device("cpu"))
    steps = epochs * (len(data.train) // recipe.batch_size)
    reached: dict[int, int] = {}
    best = 0.0
    for step, _, _ in gradient_steps(model, data, recipe, seed, steps + 1):
        if step % every:
            continue
        accuracy = evaluate(model, feed)[1]
        best = max(best, accuracy)
        for level in LEVELS:
            if 100 * accuracy >= level:
                reached.setdefault(level, step)
        if LEVELS[-1] in reached:
            break
    first = {f"steps_to_{level}": reached.get(level) for level in LEVELS}
    return {**first, "best_validation": best}


# --- What breaks it ----------------------------------------------------------------


def composition(
    data: Dataset, *, seed: int, lr: float, epochs: int, **settings: Any
) -> Values:
    """Test accuracy when the statistics come from the test batch, as in the article.

    The network is trained with batch normalization; then its weights are put into the
    article's layers.

    Returns:
        `running`: test accuracy with running averages. `sizes` of the test batches;
        `shuffled` and `sorted_by_class`: test accuracy with the batch's statistics, for
        each size.
    """
    recipe = PLAIN_SGD.but(lr=lr, epochs=epochs)
    model = network(data, seed, norm="batch", **settings)
    running = fit(model, data, recipe, seed=seed).test_accuracy
    article = network(data, seed, norm="article", **settings)
    article.load_state_dict(model.state_dict(), strict=False)
    generator = torch.Generator().manual_seed(seed)
    orders = {
        "shuffled": torch.randperm(len(data.test), generator=generator),
        "sorted_by_class": data.test.labels.argsort(stable=True),
    }
    sizes = [size for size in TEST_BATCHES if size <= len(data.test)]
    return {
        "running": running,
        "sizes": sizes,
        **{
            name: [batch_accuracy(article, data, recipe, order, size) for size in sizes]
            for name, order in orders.items()
        },
    }


@torch.no_grad()
def batch_accuracy(
    model: nn.Module, data: Dataset, recipe: Recipe, order: Tensor, size: int
) -> float:
    """Test accuracy of a model in training mode, on batches of `size` in this order."""
    twin = copy.deepcopy(model).train()
    feed = Feed(data.test, data, recipe, torch.device("cpu"))
    correct = 0
    for chosen in order.split(size):
        logits = twin(feed.scaled(data.test.images[chosen]))
        correct += int((logits.argmax(1) == data.test.labels[chosen]).sum())
    return correct / len(order)


def small_batches(
    data: Dataset,
    *,
    seed: int,
    lr: float,
    batch_size: int,
    epochs: int,
    norm: str,
    **settings: Any,
) -> Values:
    """Training with batches of `batch_size`, then three ways to evaluate.

    Returns:
        `train_loss`, `train_accuracy`: running means of the last epoch. Test
        accuracies: `running` with running averages (or none, if the layer has none);
        with batch normalization also `batch`, with the statistics of shuffled test
        batches of `batch_size`, and `population`, with the averages over all training
        images (the paper's algorithm 2). All are None after a divergence.
    """
    recipe = PLAIN_SGD.but(lr=lr, epochs=epochs, batch_size=batch_size)
    model = network(data, seed, norm=norm, **settings)
    result = fit(model, data, recipe, seed=seed)
    values: Values = dict.fromkeys(
        ("train_loss", "train_accuracy", "running", "batch", "population")
    )
    if result.status == "diverged":
        return values
    values |= {n: result.curves[n][-1] for n in ("train_loss", "train_accuracy")}
    values["running"] = result.test_accuracy
    if norm == "batch":
        generator = torch.Generator().manual_seed(seed)
        order = torch.randperm(len(data.test), generator=generator)
        # A last batch of one has no statistics.
        order = order[: len(order) // batch_size * batch_size]
        values["batch"] = batch_accuracy(model, data, recipe, order, batch_size)
        estimate_population(model, data, recipe)
        test = Feed(data.test, data, recipe, torch.device("cpu"))
        values["population"] = evaluate(model, test)[1]
    return values


@torch.no_grad()
def estimate_population(model: nn.Module, data: Dataset, recipe: Recipe) -> None:
    """Replace running averages by the averages over the training images."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d):
            module.reset_running_stats()
            module.momentum = None  # all batches count the same
    feed = Feed(data.train, data, recipe, torch.device("cpu"))
    for images, _ in feed.in_order():
        model.train()(images)
