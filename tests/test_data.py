"""Data sets: shapes, splits, checksums, and every way in which files can be bad."""

import gzip
import hashlib
import http.server
import multiprocessing
import os
import shutil
import struct
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from papernets import data


def test_digits_needs_no_folder() -> None:
    digits = data.load("digits", folder="nowhere")
    assert digits.train.images.shape == (1257, 1, 8, 8)
    assert digits.train.images.dtype == torch.uint8
    assert (len(digits.validation), len(digits.test)) == (180, 360)
    assert digits.train.images.max() == 255
    pixels = digits.train.images.double() / 255
    assert pixels.mean().item() == pytest.approx(digits.mean[0], abs=2e-3)
    assert pixels.std().item() == pytest.approx(digits.std[0], abs=2e-3)


def test_split_is_seeded_and_disjoint() -> None:
    first, again = data.load("digits"), data.load("digits")
    other = data.load("digits", split_seed=1)
    assert torch.equal(first.validation.images, again.validation.images)
    assert not torch.equal(first.validation.images, other.validation.images)
    assert first.checksum == other.checksum

    def rows(*splits: data.Split) -> list[bytes]:
        return sorted(i.numpy().tobytes() for s in splits for i in s.images)

    assert rows(first.train, first.validation) == rows(other.train, other.validation)


@given(
    sizes=st.lists(st.integers(1, 60), min_size=1, max_size=6),
    fraction=st.floats(0, 1),
    seed=st.integers(0, 5),
)
def test_stratified_keeps_every_share(
    sizes: list[int], fraction: float, seed: int
) -> None:
    labels = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
    count = int(fraction * len(labels))
    chosen = data.stratified(labels, count, seed)
    assert len(chosen) == len(chosen.unique()) == count
    for label, size in enumerate(sizes):
        taken = (labels[chosen] == label).sum().item()
        assert abs(taken - count * size / len(labels)) < 1


def test_unknown_name_lists_the_known() -> None:
    with pytest.raises(data.DataError, match=r"'cifar'; there are digits, mnist, cif"):
        data.load("cifar")


def test_altered_content_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    train, test = data.read_digits(Path())
    train.images[3, 0, 4, 4] ^= 1

    def read(folder: Path) -> tuple[data.Split, data.Split]:
        return train, test

    source = data.SOURCES["digits"]
    altered = data.Source(**{**vars(source), "read": read})
    monkeypatch.setitem(data.SOURCES, "digits", altered)
    with pytest.raises(data.DataError, match=r"digits: the content has SHA-256"):
        data.load("digits")


# A tiny MNIST in the published format, served by a real HTTP server on this machine.


def idx(array: np.ndarray) -> bytes:
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    return header + array.tobytes()


@pytest.fixture
def tiny_mnist(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[Path, list[str]]:
    """A folder served as MNIST's mirror, and the list of paths requested from it."""
    site, requests = tmp_path / "site", []
    site.mkdir()
    rng = np.random.default_rng(0)
    mnist = data.import_torchvision().datasets.MNIST
    resources, hashes, parts = [], {}, []
    for part, count in (("train", 60), ("t10k", 20)):
        images = rng.integers(0, 256, (count, 28, 28)).astype(np.uint8)
        labels = np.arange(count, dtype=np.uint8) % 10
        parts.append(
            data.Split(torch.from_numpy(images)[:, None], torch.from_numpy(labels))
        )
        for kind, array in (("images-idx3", images), ("labels-idx1", labels)):
            name, content = f"{part}-{kind}-ubyte", idx(array)
            archive = gzip.compress(content)
            (site / f"{name}.gz").write_bytes(archive)
            resources.append((f"{name}.gz", hashlib.md5(archive).hexdigest()))
            hashes[name] = hashlib.sha256(content).hexdigest()[:32]

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args, **kwargs) -> None:
            super().__init__(*args, directory=str(site), **kwargs)

        def log_message(self, *args: object) -> None:
            requests.append(self.path)

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    monkeypatch.setattr(mnist, "mirrors", [f"http://127.0.0.1:{server.server_port}/"])
    monkeypatch.setattr(mnist, "resources", resources)
    monkeypatch.setattr(data, "MNIST_SHA256", hashes)
    source = vars(data.SOURCES["mnist"]) | {
        "sha256": data.content_checksum(*parts),
        "validation": 10,
    }
    monkeypatch.setitem(data.SOURCES, "mnist", data.Source(**source))
    yield site, requests
    server.shutdown()
    server.server_close()
    thread.join()


def leftovers(folder: Path) -> list[str]:
    return [p.name for p in folder.iterdir() if p.name not in ("MNIST", ".mnist.lock")]


def test_download_then_no_network(
    tiny_mnist: tuple[Path, list[str]], tmp_path: Path
) -> None:
    folder = tmp_path / "cache"
    loaded = data.load("mnist", folder)
    assert loaded.train.images.shape == (50, 1, 28, 28)
    assert leftovers(folder) == []
    asked = len(tiny_mnist[1])
    assert len(set(tiny_mnist[1])) == 4
    data.load("mnist", folder)
    assert len(tiny_mnist[1]) == asked


def test_truncated_download_leaves_nothing(
    tiny_mnist: tuple[Path, list[str]], tmp_path: Path
) -> None:
    archive = tiny_mnist[0] / "t10k-images-idx3-ubyte.gz"
    archive.write_bytes(archive.read_bytes()[:-9])
    with pytest.raises(data.DataError, match="could not be downloaded"):
        data.load("mnist", tmp_path / "cache")
    assert not (tmp_path / "cache" / "MNIST").exists()
    assert leftovers(tmp_path / "cache") == []


@pytest.mark.parametrize("change", ["truncate", "alter", "delete"])
def test_bad_file_is_named(
    tiny_mnist: tuple[Path, list[str]], tmp_path: Path, change: str
) -> None:
    data.load("mnist", tmp_path)
    file = tmp_path / "MNIST" / "raw" / "train-labels-idx1-ubyte"
    content = file.read_bytes()
    if change == "truncate":
        file.write_bytes(content[:-1])
    elif change == "alter":
        file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    else:
        file.unlink()
    with pytest.raises(data.DataError, match=rf"{file.name} is .*`papernets data mn"):
        data.load("mnist", tmp_path)


def test_no_network(tiny_mnist, tmp_path: Path, monkeypatch) -> None:
    mnist = data.import_torchvision().datasets.MNIST
    monkeypatch.setattr(mnist, "mirrors", ["http://127.0.0.1:9/"])
    with pytest.raises(data.DataError, match="connect to the network and run `paper"):
        data.load("mnist", tmp_path / "cache")
    assert leftovers(tmp_path / "cache") == []


def test_unwritable_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(data.DataError, match=r"cannot write to .*file.*PAPERNETS_DATA"):
        data.load("cifar10", tmp_path / "file" / "below")


def load_in_child(folder: Path, results: "multiprocessing.Queue") -> None:
    results.put(data.load("mnist", folder).checksum)


def test_two_processes_prepare_one_folder(
    tiny_mnist: tuple[Path, list[str]], tmp_path: Path
) -> None:
    data.load("mnist", tmp_path / "alone")
    requests_of_one = len(tiny_mnist[1])
    fork = multiprocessing.get_context("fork")  # keeps the patched mirror
    results = fork.Queue()
    children = [
        fork.Process(target=load_in_child, args=(tmp_path / "cache", results))
        for _ in range(2)
    ]
    for child in children:
        child.start()
    assert len({results.get(timeout=60) for _ in children}) == 1
    for child in children:
        child.join()
    assert leftovers(tmp_path / "cache") == []
    assert len(tiny_mnist[1]) == 2 * requests_of_one  # the two downloaded once


def test_default_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("PAPERNETS_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert data.data_folder() == tmp_path / "papernets"
    monkeypatch.setenv("PAPERNETS_DATA", "~/there")
    assert data.data_folder() == Path(os.path.expanduser("~/there"))


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("name", "train", "validation", "test"),
    [("mnist", 55_000, 5_000, 10_000), ("cifar10", 45_000, 5_000, 10_000)],
)
def test_real_data(name: str, train: int, validation: int, test: int) -> None:
    loaded = data.load(name)
    sizes = (len(loaded.train), len(loaded.validation), len(loaded.test))
    assert sizes == (train, validation, test)
    pixels = torch.cat([loaded.train.images, loaded.validation.images]).double() / 255
    per_channel = pixels.transpose(0, 1).flatten(1)
    assert per_channel.mean(1).tolist() == pytest.approx(loaded.mean, abs=5e-5)
    assert per_channel.std(1).tolist() == pytest.approx(loaded.std, abs=5e-5)
    if name == "cifar10":
        assert loaded.validation.labels.bincount().tolist() == [500] * 10


@pytest.mark.real_data
def test_real_cifar10_altered_batch_is_named(tmp_path: Path) -> None:
    source = data.data_folder() / "cifar-10-batches-py"
    copy = tmp_path / source.name
    shutil.copytree(source, copy)
    batch = copy / "data_batch_4"
    content = bytearray(batch.read_bytes())
    content[1_000_000] ^= 1
    batch.write_bytes(content)
    with pytest.raises(data.DataError, match="data_batch_4 is truncated or altered"):
        data.load("cifar10", tmp_path)
