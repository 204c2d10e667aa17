"""One training loop on one network, timed; `papernets run performance` calls it.

    python benchmarks/loops.py ours-bf16 resnet20 --images 6400 --epochs 4

Prints JSON: seconds of every epoch's training, peak memory in MB, and with `--until`
the validation accuracy after every epoch, up to the first that reaches it. All loops
get the same network, images, batches of 128 and constant learning rate:

- plain-0, plain-2: a loop over torchvision's data set with PIL transforms and a
  DataLoader with no or two workers, as tutorials and many repositories write it;
- lightning: PyTorch Lightning's Trainer with its defaults, same data set, no workers;
- ours-fp32, ours-bf16, ours-compiled: `training.fit`, the last one with bf16 too.

Threads wait for each other as the libraries have it, spinning: on a machine that does
nothing else, or not at all.

Needs MNIST or CIFAR-10 in PAPERNETS_DATA, and "lightning" `pip install -e '.[bench]'`.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from papernets import models, training
from papernets.data import Dataset, Split, import_torchvision, load
from papernets.provenance import peak_memory
from papernets.recipes import Recipe

LOOPS = ("plain-0", "plain-2", "lightning", "ours-fp32", "ours-bf16", "ours-compiled")
BATCH = 128
SGD: dict[str, Any] = {"lr": 0.02, "momentum": 0.9, "weight_decay": 5e-4}
ADAM: dict[str, Any] = {"lr": 1e-3}  # of PolyNet, which diverges with SGD
# Data set and arguments of the networks beside its channels.
NETWORKS: dict[str, tuple[str, dict[str, Any]]] = {
    "mlp10": ("mnist", {"norm": "batch", "activation": "relu"}),
    "polynet": ("cifar10", {"init_gain": 0.786, "init_bias": 1.0}),
    "resnet20": ("cifar10", {}),
    "resnet110": ("cifar10", {}),
    "wrn16_4": ("cifar10", {}),
}


@dataclass
class Job:
    """What a loop gets, and what it fills in."""

    name: str
    model: nn.Module
    data: Dataset  # training images: those of an epoch
    epochs: int
    until: float | None  # validation accuracy at which to stop
    seconds: list[float]
    accuracies: list[float]

    def finished(self) -> bool:
        reached = self.until and self.accuracies and self.accuracies[-1] >= self.until
        return bool(reached) or len(self.seconds) >= self.epochs


def transforms(name: str, train: bool) -> Any:
    """PIL transforms: crop and flip of CIFAR-10's training images, normalisation."""
    t = import_torchvision().transforms
    source = load(name)
    steps = [t.ToTensor(), t.Normalize(source.mean, source.std)]
    if train and name == "cifar10":
        steps = [t.RandomCrop(32, padding=4), t.RandomHorizontalFlip(), *steps]
    return t.Compose(steps)


class Pictures(torch.utils.data.Dataset[tuple[Tensor, int]]):
    """A split as torchvision serves it: PIL images, transformed one by one."""

    def __init__(self, split: Split, transform: Any) -> None:
        self.images = split.images.permute(0, 2, 3, 1).squeeze(-1).numpy()
        self.labels, self.transform = split.labels.tolist(), transform

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        from PIL import Image

        return self.transform(Image.fromarray(self.images[index])), self.labels[index]


def loaders(job: Job, workers: int) -> tuple[Any, Any]:
    """DataLoaders of the training and the validation images."""
    name = job.data.name
    train = Pictures(job.data.train, transforms(name, train=True))
    validation = Pictures(job.data.validation, transforms(name, train=False))
    return (
        torch.utils.data.DataLoader(
            train, BATCH, shuffle=True, num_workers=workers, drop_last=True
        ),
        torch.utils.data.DataLoader(validation, 500, num_workers=workers),
    )


def optimizer_of(job: Job) -> torch.optim.Optimizer:
    if job.name == "polynet":
        return torch.optim.Adam(job.model.parameters(), **ADAM)
    return torch.optim.SGD(job.model.parameters(), **SGD)


def plain(job: Job, workers: int) -> None:
    """The loop of tutorials: no autocast, no layout, one image at a time."""
    train, validation = loaders(job, workers)
    model, optimizer = job.model, optimizer_of(job)
    while not job.finished():
        began = time.perf_counter()
        model.train()
        for images, labels in train:
            optimizer.zero_grad()
            loss = functional.cross_entropy(model(images), labels)
            loss.backward()
            optimizer.step()
        job.seconds.append(time.perf_counter() - began)
        if job.until:
            model.eval()
            with torch.no_grad():
                right = [(model(x).argmax(1) == y).float() for x, y in validation]
            job.accuracies.append(torch.cat(right).mean().item())


def lightning(job: Job) -> None:
    """PyTorch Lightning, its Trainer as it comes."""
    import pytorch_lightning as pl

    class Module(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.model = job.model
            self.right: list[Tensor] = []

        def training_step(self, batch: Any, index: int) -> Tensor:
            images, labels = batch
            loss = functional.cross_entropy(self.model(images), labels)
            self.log("train_loss", loss)
            return loss

        def validation_step(self, batch: Any, index: int) -> None:
            images, labels = batch
            self.right.append((self.model(images).argmax(1) == labels).float())

        def on_train_epoch_start(self) -> None:
            self.began = time.perf_counter()

        def on_validation_start(self) -> None:
            self.paused = time.perf_counter()
            self.right = []

        def on_validation_end(self) -> None:
            if self.trainer.sanity_checking:  # before the first epoch
                return
            self.began += time.perf_counter() - self.paused
            job.accuracies.append(torch.cat(self.right).mean().item())

        def on_train_epoch_end(self) -> None:
            job.seconds.append(time.perf_counter() - self.began)
            self.trainer.should_stop = job.finished()

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return optimizer_of(job)

    train, validation = loaders(job, 0)
    with tempfile.TemporaryDirectory() as folder:  # logs and checkpoints
        trainer = pl.Trainer(
            max_epochs=job.epochs, accelerator="cpu", default_root_dir=folder
        )
        trainer.fit(Module(), train, validation if job.until else None)


def ours(job: Job, **settings: Any) -> None:
    """`training.fit`, an epoch at a time as far as `until` asks for it."""
    if job.data.name == "cifar10":
        settings |= {"crop_padding": 4, "flip": True}
    if job.name == "polynet":
        settings |= {"optimizer": "adam", **ADAM}
    else:
        settings |= {"nesterov": False, **SGD}
    recipe = Recipe(
        name="benchmark",
        epochs=job.epochs,
        batch_size=BATCH,
        **settings,
    )
    few = Split(job.data.test.images[:100], job.data.test.labels[:100])
    data = replace(job.data, test=few)
    if not job.until:
        data = replace(data, validation=few)
    curves = training.fit(job.model, data, recipe, progress=False).curves
    for seconds, accuracy in zip(
        curves["seconds"], curves["validation_accuracy"], strict=True
    ):
        if job.finished():  # what comes after would not have been trained
            break
        job.seconds.append(seconds)
        if job.until:
            job.accuracies.append(accuracy)


RUN: dict[str, Callable[[Job], None]] = {
    "plain-0": lambda job: plain(job, 0),
    "plain-2": lambda job: plain(job, 2),
    "lightning": lightning,
    "ours-fp32": ours,
    "ours-bf16": lambda job: ours(job, precision="bf16"),
    "ours-compiled": lambda job: ours(job, precision="bf16", compile=True),
}

# Operators by what they do; the first word that is part of a name decides.
KINDS = {
    "convolution_backward": "convolution, backward",
    "convolution": "convolution, forward",
    "addmm": "linear",
    "aten::mm": "linear",
    "batch_norm": "batch normalization",
    "_fused_": "optimizer",
    "aten::_foreach": "optimizer",
    "aten::": "element by element, copies and the rest",
}


def shares(job: Job, loop: str) -> dict[str, float]:
    """Parts of the loop's time by kind of operator, after its first epoch.

    What no operator takes is Python, and decoding and transforming images.
    """
    from torch.profiler import ProfilerActivity, profile

    RUN[loop](replace(job, epochs=1, seconds=[], accuracies=[]))
    began = time.perf_counter()
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        RUN[loop](replace(job, epochs=1, seconds=[], accuracies=[]))
    total = time.perf_counter() - began
    found = dict.fromkeys(KINDS.values(), 0.0)
    for event in profiler.key_averages():
        kind = next((k for word, k in KINDS.items() if word in event.key), None)
        if kind:
            found[kind] += event.self_cpu_time_total / 1e6
    found["Python and images"] = max(total - sum(found.values()), 0.0)
    return {kind: seconds / sum(found.values()) for kind, seconds in found.items()}


def selected(data: Dataset, images: int | None) -> Dataset:
    """The data set with its first training images only."""
    if images is None:
        return data
    first = Split(data.train.images[:images], data.train.labels[:images])
    return replace(data, train=first)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("loop", choices=LOOPS)
    parser.add_argument("model", choices=NETWORKS)
    parser.add_argument("--images", type=int, help="of an epoch; default: all")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--until", type=float, help="validation accuracy, a fraction")
    parser.add_argument("--shares", action="store_true", help="where the time goes")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if options.loop.startswith("ours"):
        training.tune_process(options.threads)
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    name, arguments = NETWORKS[options.model]
    data = selected(load(name), options.images)
    model = models.create(
        options.model,
        in_channels=data.in_channels,
        image_size=data.image_size,
        **arguments,
    )
    job = Job(options.model, model, data, options.epochs, options.until, [], [])
    if options.shares:
        print(json.dumps({"shares": shares(job, options.loop)}))
        return
    RUN[options.loop](job)
    result = {
        "seconds": job.seconds,
        "accuracies": job.accuracies,
        "peak_memory_mb": peak_memory() / 1e6,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    sys.exit(main())
