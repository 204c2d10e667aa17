"""Data sets as in-memory uint8 tensors, with splits, constants and checksums.

`digits` ships inside scikit-learn and needs no network. `mnist` and `cifar10` come
through torchvision into the folder named by the environment variable `PAPERNETS_DATA`
(default: a per-user cache folder); what is there already is used without the network.
"""

import gzip
import hashlib
import importlib
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from filelock import FileLock
from torch import Tensor


class DataError(Exception):
    """Data that cannot be used; the message names the file and the way out."""


@dataclass(frozen=True)
class Split:
    """Images uint8 (N, C, H, W) in 0..255 and their labels int64 (N,)."""

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def to(self, device: str | torch.device) -> "Split":
        return Split(self.images.to(device), self.labels.to(device))


@dataclass(frozen=True)
class Dataset:
    """One data set, split into training, validation and test images.

    `mean` and `std` are per channel, of pixels scaled to [0, 1]. `checksum` is the
    SHA-256 of all images and labels, in their published order and before the split.
    """

    name: str
    train: Split
    validation: Split
    test: Split
    mean: tuple[float, ...]
    std: tuple[float, ...]
    classes: tuple[str, ...]
    checksum: str

    @property
    def in_channels(self) -> int:
        return self.train.images.shape[1]

    @property
    def image_size(self) -> int:
        """Height and width in pixels."""
        return self.train.images.shape[-1]

    @property
    def num_classes(self) -> int:
        return len(self.classes)


@dataclass(frozen=True)
class Source:
    """How a data set is read, and what its content must be."""

    read: Callable[[Path], tuple[Split, Split]]
    sha256: str
    shape: tuple[int, int, int]  # channels, height, width
    training: int  # images, of which `validation` are set apart
    validation: int
    test: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    classes: tuple[str, ...]


def data_folder() -> Path:
    """`PAPERNETS_DATA`, or the per-user cache folder."""
    if folder := os.environ.get("PAPERNETS_DATA"):
        return Path(folder).expanduser()
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(cache).expanduser() / "papernets"


def load(name: str, folder: Path | str | None = None, split_seed: int = 0) -> Dataset:
    """Load a data set and split its training images into training and validation.

    Args:
        name: "digits" (1,797 images of 1x8x8), "mnist" (70,000 of 1x28x28) or
            "cifar10" (60,000 of 3x32x32).
        folder: where the files lie or are downloaded to; `data_folder()` by default.
        split_seed: seed of the stratified split. Every class keeps its share: the
            validation part has 5,000 images (digits: 180).

    Raises:
        DataError: unknown name, no network, truncated or altered file, or a folder that
            cannot be written.
    """
    if name not in SOURCES:
        raise DataError(f"no data set {name!r}; there are {', '.join(SOURCES)}")
    source = SOURCES[name]
    train, test = source.read(Path(folder) if folder else data_folder())
    checksum = content_checksum(train, test)
    if checksum != source.sha256:
        raise DataError(
            f"{name}: the content has SHA-256 {checksum[:16]}..., expected "
            f"{source.sha256[:16]}...; delete its files and run `papernets data {name}`"
        )
    chosen = stratified(train.labels, source.validation, split_seed)
    rest = torch.ones(len(train), dtype=torch.bool)
    rest[chosen] = False
    return Dataset(
        name=name,
        train=Split(train.images[rest], train.labels[rest]),
        validation=Split(train.images[chosen], train.labels[chosen]),
        test=test,
        mean=source.mean,
        std=source.std,
        classes=source.classes,
        checksum=checksum,
    )


def content_checksum(*splits: Split) -> str:
    digest = hashlib.sha256()
    for split in splits:
        digest.update(split.images.contiguous().numpy().tobytes())
        digest.update(split.labels.to(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def stratified(labels: Tensor, count: int, seed: int) -> Tensor:
    """Sorted indices of `count` examples, every class in its share of `labels`.

    Shares that are not whole are rounded by largest remainder.
    """
    rng = np.random.default_rng(seed)
    classes, sizes = np.unique(labels.numpy(), return_counts=True)
    quota = count * sizes / len(labels)
    take = np.floor(quota).astype(int)
    largest = np.argsort(-(quota - take), kind="stable")[: count - take.sum()]
    take[largest] += 1
    parts = [
        rng.permutation(np.flatnonzero(labels.numpy() == c))[:n]
        for c, n in zip(classes, take, strict=True)
    ]
    return torch.from_numpy(np.sort(np.concatenate(parts)))


def read_digits(folder: Path) -> tuple[Split, Split]:
    """scikit-learn's digits, 0..16 scaled to 0..255; 360 of them are test images."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images = torch.from_numpy(np.rint(bunch.images * (255 / 16)).astype(np.uint8))
    labels = torch.from_numpy(bunch.target.astype(np.int64))
    test = torch.zeros(len(labels), dtype=torch.bool)
    test[stratified(labels, 360, seed=0)] = True
    images = images[:, None]
    return Split(images[~test], labels[~test]), Split(images[test], labels[test])


def read_mnist(folder: Path) -> tuple[Split, Split]:
    """The four idx files, through torchvision, each checked before it is used."""
    mnist = import_torchvision().datasets.MNIST
    prepare("mnist", "MNIST", mnist, folder, mnist_problem)
    return read_both(mnist, folder)


def read_cifar10(folder: Path) -> tuple[Split, Split]:
    """The six pickled batches, through torchvision, which checks their MD5s."""
    cifar10 = import_torchvision().datasets.CIFAR10
    prepare("cifar10", cifar10.base_folder, cifar10, folder, cifar10_problem)
    return read_both(cifar10, folder)


def read_both(dataset: Any, folder: Path) -> tuple[Split, Split]:
    parts = []
    for train in (True, False):
        part = dataset(folder, train=train)
        images = torch.as_tensor(part.data)
        # MNIST is (N, H, W); CIFAR-10 is (N, H, W, C).
        images = images[:, None] if images.ndim == 3 else images.permute(0, 3, 1, 2)
        parts.append(Split(images.contiguous(), torch.as_tensor(part.targets)))
    return parts[0], parts[1]


# First half of the SHA-256 of the uncompressed idx files, which torchvision does not
# check: it looks at the archives only.
MNIST_SHA256 = {
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351",
}


def mnist_problem(folder: Path) -> str | None:
    """What is wrong with the idx files in `folder`/MNIST/raw, or None."""
    for name, expected in MNIST_SHA256.items():
        file = folder / "MNIST" / "raw" / name
        if not file.exists():
            return f"{file} is missing"
        if not hashlib.sha256(file.read_bytes()).hexdigest().startswith(expected):
            return f"{file} is truncated or altered"
    return None


def cifar10_problem(folder: Path) -> str | None:
    """What is wrong with the batches in `folder`/cifar-10-batches-py, or None."""
    cifar10 = import_torchvision().datasets.CIFAR10
    meta = [cifar10.meta["filename"], cifar10.meta["md5"]]
    for name, expected in [*cifar10.train_list, *cifar10.test_list, meta]:
        file = folder / cifar10.base_folder / name
        if not file.exists():
            return f"{file} is missing"
        if hashlib.md5(file.read_bytes()).hexdigest() != expected:
            return f"{file} is truncated or altered"
    return None


def prepare(
    name: str,
    subfolder: str,
    dataset: Any,
    folder: Path,
    problem: Callable[[Path], str | None],
) -> None:
    """Make `folder`/`subfolder` whole: use what is there, or download all of it.

    A download goes to a temporary folder beside it and is moved into place when it has
    been checked, under a lock, so that two processes may call this at once and nothing
    half-written stays.
    """
    target = folder / subfolder
    if target.exists():
        if found := problem(folder):
            raise DataError(
                f"{name}: {found}; delete {target} and run `papernets data {name}`"
            )
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / f".{name}.lock")
        with lock:
            if not target.exists():
                download(name, subfolder, dataset, folder, problem)
    except OSError as error:
        raise DataError(
            f"{name}: cannot write to {folder} ({error.strerror or error}); "
            "set PAPERNETS_DATA to a folder that can be written"
        ) from error


def download(
    name: str,
    subfolder: str,
    dataset: Any,
    folder: Path,
    problem: Callable[[Path], str | None],
) -> None:
    partial = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=folder))
    try:
        try:
            dataset(partial, download=True)
        except (OSError, RuntimeError, EOFError, gzip.BadGzipFile) as error:
            reason = str(error).splitlines()[0] if str(error) else repr(error)
            raise DataError(
                f"{name} is not in {folder} and could not be downloaded ({reason}); "
                f"connect to the network and run `papernets data {name}`, or copy the "
                f"files to {folder / subfolder}"
            ) from error
        if found := problem(partial):
            raise DataError(f"{name}: the download is not whole: {found}; try again")
        (partial / subfolder).rename(folder / subfolder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


_libraries: list[torch.library.Library] = []  # a collected library drops its schemas


def import_torchvision() -> ModuleType:
    """Import torchvision, also beside a PyTorch build that lacks its operators.

    torchvision's published wheel is built for CUDA; beside a CPU build of PyTorch its
    import fails because the schema of `nms` is not registered. Declaring the schema is
    enough for data sets, transforms and models (`ops.nms` itself stays unavailable).
    """
    try:
        return importlib.import_module("torchvision")
    except RuntimeError as error:
        if "torchvision::nms" not in str(error):
            raise
    for module in [m for m in sys.modules if m.split(".")[0] == "torchvision"]:
        del sys.modules[module]
    library = torch.library.Library("torchvision", "FRAGMENT")
    for operator in ("nms", "qnms"):
        library.define(
            f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
        )
    _libraries.append(library)
    return importlib.import_module("torchvision")


SOURCES = {
    "digits": Source(
        read=read_digits,
        sha256="7e26237e0a5e1c6097cdf9c12dfc590437a34ea52253928a4e793eb4a2753507",
        shape=(1, 8, 8),
        training=1_437,
        validation=180,
        test=360,
        mean=(0.3056,),
        std=(0.3760,),
        classes=tuple("0123456789"),
    ),
    "mnist": Source(
        read=read_mnist,
        sha256="06b0d1f124c4e5fa796686ade41a9b778edacc8622f2195a352ef479ad44fc16",
        shape=(1, 28, 28),
        training=60_000,
        validation=5_000,
        test=10_000,
        mean=(0.1307,),
        std=(0.3081,),
        classes=tuple("0123456789"),
    ),
    "cifar10": Source(
        read=read_cifar10,
        sha256="32e5966899bde482c0ef7d076bf69809b4b1488c806f657a814cfca4646ec493",
        shape=(3, 32, 32),
        training=50_000,
        validation=5_000,
        test=10_000,
        mean=(0.4914, 0.4822, 0.4465),
        std=(0.2470, 0.2435, 0.2616),
        classes=(
            *("airplane", "automobile", "bird", "cat", "deer"),
            *("dog", "frog", "horse", "ship", "truck"),
        ),
    ),
}
