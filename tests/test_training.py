"""The training loop: it learns, repeats itself, and survives being killed."""

import dataclasses
import hashlib
import io
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from filelock import FileLock
from torch import nn

import interruption
from papernets import data, models, records, training
from papernets.complexity import profile
from papernets.feed import Feed
from papernets.provenance import source_checksum
from papernets.recipes import Recipe
from papernets.records import Run

RECIPE = Recipe(name="test", epochs=3, batch_size=64, lr=0.1, crop_padding=1, flip=True)
RUN = Run(
    experiment="tests",
    model="polynet",
    model_args={"blocks": 2, "dropout": 0.2, "norm": True, "width": 8},
    dataset="digits",
    recipe=RECIPE,
    seed=0,
    test_every_epoch=True,
)


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def digits() -> data.Dataset:
    return data.load("digits")


def linear(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))


def test_it_learns(digits: data.Dataset) -> None:
    recipe = Recipe(name="r", epochs=10, batch_size=32, lr=0.05, schedule="cosine")
    result = training.fit(linear(), digits, recipe)
    assert result.status == "finished"
    assert result.test_accuracy > 0.93  # linear models reach about 0.95 on digits
    assert result.curves["validation_accuracy"][-1] > 0.93
    assert all(len(curve) == 10 for curve in result.curves.values())
    assert "test_loss" not in result.curves


def test_sgd_step_is_the_textbook_one(digits: data.Dataset) -> None:
    """Two steps of Nesterov SGD with decay on one batch, against the formulas."""
    recipe = Recipe(
        name="r", epochs=2, batch_size=1_257, lr=0.1, momentum=0.9, weight_decay=0.01
    )
    model = linear()
    weight = model[1].weight.detach().clone().double()
    bias = model[1].bias.detach().clone().double()
    training.fit(model, digits, recipe)
    pixels = digits.train.images.double().flatten(1) / 255
    x = (pixels - digits.mean[0]) / digits.std[0]
    y = nn.functional.one_hot(digits.train.labels, 10).double()
    velocity = [torch.zeros_like(weight), torch.zeros_like(bias)]
    for _ in range(2):
        error = (torch.softmax(x @ weight.T + bias, 1) - y) / len(y)
        gradients = [error.T @ x + 0.01 * weight, error.sum(0) + 0.01 * bias]
        velocity = [0.9 * v + g for v, g in zip(velocity, gradients, strict=True)]
        weight -= 0.1 * (gradients[0] + 0.9 * velocity[0])
        bias -= 0.1 * (gradients[1] + 0.9 * velocity[1])
    torch.testing.assert_close(model[1].weight.double(), weight, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(model[1].bias.double(), bias, rtol=1e-4, atol=1e-6)


def test_decay_can_spare_biases_and_norms() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
    recipe = RECIPE.but(weight_decay=0.1, decay="weights")
    decayed, spared = training.build_optimizer(model, recipe).param_groups
    assert [p.ndim for p in decayed["params"]] == [4]
    assert [p.ndim for p in spared["params"]] == [1, 1, 1]
    assert (decayed["weight_decay"], spared["weight_decay"]) == (0.1, 0.0)


def test_clipping_bounds_the_step(digits: data.Dataset) -> None:
    recipe = Recipe(
        name="r", epochs=1, batch_size=1_257, lr=1.0, momentum=0.0, clip_grad_norm=1e-3
    )
    model = linear()
    before = torch.cat([p.detach().flatten().clone() for p in model.parameters()])
    training.fit(model, digits, recipe)
    after = torch.cat([p.detach().flatten() for p in model.parameters()])
    assert (after - before).norm().item() == pytest.approx(1e-3, rel=1e-3)


@pytest.mark.parametrize("scaling", ["standardize", "unit"])
def test_feed_serves_scaled_pixels(digits: data.Dataset, scaling: str) -> None:
    recipe = Recipe(name="r", epochs=1, batch_size=64, lr=1, scaling=scaling)
    feed = Feed(digits.train, digits, recipe, torch.device("cpu"))
    images, labels = zip(*feed.epoch(seed=1), strict=True)
    assert len(images) == feed.steps == 1257 // 64
    first = next(feed.in_order())[0]
    expected = digits.train.images[:1000].float() / 255
    if scaling == "standardize":
        expected = (expected - digits.mean[0]) / digits.std[0]
    torch.testing.assert_close(first, expected)
    # Every image at most once, with its own label.
    served = {
        i.numpy().tobytes(): int(k)
        for b, c in zip(images, labels, strict=True)
        for i, k in zip(b, c, strict=True)
    }
    own = {
        i.numpy().tobytes(): int(k)
        for i, k in zip(
            feed.scaled(digits.train.images), digits.train.labels, strict=True
        )
    }
    assert len(served) == feed.steps * 64
    assert served.items() <= own.items()


def test_a_batch_has_no_more_images_than_there_are(digits: data.Dataset) -> None:
    """The record would claim batches that were never made."""
    recipe = RECIPE.but(batch_size=1_258)
    with pytest.raises(ValueError, match="batch_size is 1258; it must be at most 1257"):
        training.fit(linear(), digits, recipe)


def test_an_image_can_be_scaled_by_itself(digits: data.Dataset) -> None:
    recipe = Recipe(name="r", epochs=1, batch_size=64, lr=1, scaling="per_image")
    feed = Feed(digits.train, digits, recipe, torch.device("cpu"))
    images = next(feed.in_order())[0]
    original = digits.train.images[:1000].double()
    for image, pixels in zip(images[:20], original, strict=False):
        centred = pixels - pixels.mean()
        expected = centred / (centred.square().mean() + 10).sqrt()
        torch.testing.assert_close(image.double(), expected, rtol=1e-5, atol=1e-5)


def test_images_can_be_drawn_with_replacement(digits: data.Dataset) -> None:
    recipe = Recipe(name="r", epochs=1, batch_size=1, lr=1, sampling="with_replacement")
    feed = Feed(digits.train, digits, recipe, torch.device("cpu"))
    draws = [feed.drawn(torch.Generator().manual_seed(seed)) for seed in range(40)]
    counts = torch.bincount(torch.cat(draws), minlength=len(digits.train)).float()
    assert len(draws[0]) == len(digits.train)
    # As often as not, an image is missing from an epoch: (1 - 1/n)^n is about 1/e.
    seen = sum(len(draw.unique()) for draw in draws) / counts.sum().item()
    assert 0.61 < seen < 0.65
    assert counts.min() > 0
    shares = torch.bincount(digits.train.labels[torch.cat(draws)]) / counts.sum()
    assert (shares - 0.1).abs().max() < 0.01
    served = torch.cat([labels for _, labels in feed.epoch(3)])
    expected = digits.train.labels[feed.drawn(torch.Generator().manual_seed(3))]
    assert torch.equal(served, expected)


def test_parts_of_a_batch_give_the_gradient_of_the_whole(digits: data.Dataset) -> None:
    """But batch normalization sees one part at a time."""
    whole = Recipe(name="r", epochs=1, batch_size=300, lr=0.1, momentum=0.0)
    models_ = [linear(), linear()]
    for model, parts in zip(models_, (1, 4), strict=True):
        torch.manual_seed(0)
        model[1].reset_parameters()
        training.fit(model, digits, whole.but(batch_parts=parts))
    torch.testing.assert_close(models_[0][1].weight, models_[1][1].weight)
    sizes: list[int] = []
    norm = nn.BatchNorm1d(64)
    norm.register_forward_pre_hook(lambda _, given: sizes.append(len(given[0])))
    model = nn.Sequential(nn.Flatten(), norm, nn.Linear(64, 10))
    training.fit(model.train(), digits, whole.but(batch_parts=4))
    assert sizes[: 4 * (1257 // 300)] == [75] * 16


def test_averages_made_anew_are_those_of_the_batches(digits: data.Dataset) -> None:
    """Means and unbiased variances over the batches; training itself is untouched."""
    torch.manual_seed(0)
    norm = nn.BatchNorm2d(1)
    model = nn.Sequential(norm, nn.Flatten(), nn.Dropout(), nn.Linear(64, 10))
    feed = Feed(digits.train, digits, RECIPE.but(norm_batches=4), torch.device("cpu"))
    norm.running_mean.fill_(7)  # type: ignore[union-attr]
    training.average_norms_anew(model, feed, epoch=2, seed=3)
    (entropy,) = np.random.SeedSequence([3, 2, 1]).generate_state(1, np.uint32)
    batches = [images for images, _ in islice(feed.epoch(int(entropy)), 4)]
    means = torch.stack([batch.mean() for batch in batches])
    variances = torch.stack([batch.var() for batch in batches])
    assert norm.running_mean.item() == pytest.approx(means.mean().item())
    assert norm.running_var.item() == pytest.approx(variances.mean().item())
    assert norm.momentum == 0.1


def test_averages_made_anew_change_scores_only(digits: data.Dataset) -> None:
    curves = []
    for number in (0, 2):
        torch.manual_seed(0)
        model = models.create("resnet20", in_channels=1, depth=8, width=4)
        recipe = RECIPE.but(norm_batches=number)
        curves.append(training.fit(model, digits, recipe).curves)
    assert curves[0]["train_loss"] == curves[1]["train_loss"]
    assert curves[0]["validation_loss"] != curves[1]["validation_loss"]


def test_paths_left_out_at_random_are_scored_with_averages_of_the_whole(
    digits: data.Dataset,
) -> None:
    """With the averages of drop-path a fractal network scores worse than it fits."""
    accuracy = {}
    for number in (0, 5):
        torch.manual_seed(0)
        model = models.create("fractalnet20", in_channels=1, width=4, columns=2)
        recipe = RECIPE.but(epochs=8, lr=0.05, norm_batches=number)
        curves = training.fit(model, digits, recipe).curves
        accuracy[number] = curves["validation_accuracy"][-1]
    assert accuracy[5] > accuracy[0] + 0.1


def test_rmsprop_is_that_of_the_inception_papers(digits: data.Dataset) -> None:
    recipe = RECIPE.but(optimizer="rmsprop", momentum=0.9)
    (group,) = training.build_optimizer(linear(), recipe).param_groups
    assert (group["alpha"], group["eps"], group["momentum"]) == (0.9, 1.0, 0.9)


def test_deadline_leaves_a_resumable_run(tmp_path: Path) -> None:
    """Stopped before any epoch or between two, it goes on to the same record."""
    whole = training.execute(RUN, tmp_path / "whole")
    with pytest.raises(training.OutOfTimeError, match=r"after 0 of \d+ epochs"):
        training.execute(RUN, tmp_path, deadline=time.monotonic())
    clock = iter([0.0, 1.0])  # the second epoch would be too late
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training.time, "monotonic", lambda: next(clock))
        with pytest.raises(training.OutOfTimeError, match=r"after 1 of \d+ epochs"):
            training.execute(RUN, tmp_path, deadline=0.5)
    record = training.execute(RUN, tmp_path)
    assert record.interruptions == 1
    assert record.outcome() == whole.outcome()


def test_test_images_never_influence_training(digits: data.Dataset) -> None:
    noise = torch.randint(0, 256, digits.test.images.shape, dtype=torch.uint8)
    other = dataclasses.replace(digits, test=data.Split(noise, digits.test.labels))
    models = [linear(), linear()]
    for model, source in zip(models, (digits, other), strict=True):
        training.fit(model, source, RECIPE, test_every_epoch=True)
    assert torch.equal(models[0][1].weight, models[1][1].weight)


def test_divergence_is_reported(tmp_path: Path) -> None:
    recipe = Recipe(name="r", epochs=4, batch_size=64, lr=1e6)
    run = dataclasses.replace(
        RUN, recipe=recipe, model_args={"blocks": 2}, test_every_epoch=False
    )
    record = training.execute(run, tmp_path)
    assert record.status == "diverged"
    assert (record.test_loss, record.test_accuracy) == (None, None)
    assert len(record.curves.train_loss) < 4
    assert records.load(tmp_path).status.tolist() == ["diverged"]


def test_a_loss_that_overflows_in_scoring_is_none(tmp_path: Path, monkeypatch) -> None:
    """Training went on, so the run did not diverge, and its record can be read."""
    evaluate = training.evaluate

    def overflowing(model, feed):
        _, accuracy = evaluate(model, feed)
        return float("inf"), accuracy

    monkeypatch.setattr(training, "evaluate", overflowing)
    made = training.execute(RUN, tmp_path)
    read = records.read(tmp_path / "tests" / RUN.file_name)
    assert read == made
    assert made.status == "finished"
    assert made.test_loss is None
    assert set(made.curves.validation_loss) == {None}
    assert records.load_curves([made]).epoch.tolist() == [1, 2, 3]
    assert records.load([made]).test_accuracy.notna().all()


def test_progress_only_where_wanted(digits, capsys) -> None:
    training.fit(linear(), digits, RECIPE)
    assert capsys.readouterr() == ("", "")
    training.fit(linear(), digits, RECIPE, progress=True)
    assert "validation=" in capsys.readouterr().err


def test_bf16_and_layouts_give_about_the_same(digits: data.Dataset) -> None:
    losses = []
    for change in ({}, {"channels_last": False}, {"precision": "bf16"}):
        torch.manual_seed(0)
        model = training.build(RUN, digits)
        result = training.fit(model, digits, RECIPE.but(epochs=1, **change))
        losses.append(result.curves["train_loss"][0])
    assert losses[1] == pytest.approx(losses[0], rel=1e-3)
    assert losses[2] == pytest.approx(losses[0], rel=5e-2)
    assert losses[2] != losses[0]


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")  # inductor's own
@pytest.mark.skipif(not shutil.which("g++"), reason="torch.compile needs g++")
def test_compiled_model_gives_about_the_same(digits: data.Dataset) -> None:
    losses = []
    for compiled in (False, True):
        model = linear()
        recipe = RECIPE.but(epochs=1, compile=compiled)
        result = training.fit(model, digits, recipe)
        losses.append(result.curves["train_loss"][0])
        assert set(model.state_dict()) == {"1.weight", "1.bias"}
    assert losses[1] == pytest.approx(losses[0], rel=1e-3)


def test_same_seed_same_record(tmp_path: Path) -> None:
    first = training.execute(RUN, tmp_path / "first")
    again = training.execute(RUN, tmp_path / "again")
    other = training.execute(dataclasses.replace(RUN, seed=1), tmp_path / "first")
    assert first.outcome() == again.outcome()
    assert first.weights_sha256 != other.weights_sha256


def test_finished_run_is_not_repeated(tmp_path: Path, monkeypatch) -> None:
    first = training.execute(RUN, tmp_path)
    monkeypatch.setattr(training, "fit", None)  # calling it would fail
    assert training.execute(RUN, tmp_path) == first
    assert not list((tmp_path / ".checkpoints").glob("*.pt"))


def test_provenance(tmp_path: Path) -> None:
    record = training.execute(RUN, tmp_path)
    model = training.build(RUN, data.load("digits"))
    assert record.parameters == sum(p.numel() for p in model.parameters())
    assert record.macs == profile(model, (1, 8, 8)).macs > 0
    assert record.source_sha256 == source_checksum(training.sources_of("polynet"))
    assert record.data_sha256 == data.load("digits").checksum
    assert record.versions["torch"] == torch.__version__
    assert record.seconds > sum(record.curves.seconds) > 0
    assert record.threads == 1
    assert 50 < record.peak_memory_mb < 10_000


def test_interruption_at_every_epoch(digits: data.Dataset, tmp_path: Path) -> None:
    """A run stopped after any epoch and resumed ends with the same bits."""

    def start(checkpoint: Path | None, epochs: int = 3) -> tuple[training.Fit, str]:
        torch.manual_seed(0)
        model = training.build(RUN, digits)
        recipe = RECIPE.but(epochs=epochs, optimizer="adam", lr=1e-3)
        result = training.fit(
            model, digits, recipe, checkpoint=checkpoint, test_every_epoch=True
        )
        return result, training.weights_checksum(model)

    whole, weights = start(None)
    for stop in (1, 2):
        checkpoint = tmp_path / f"{stop}.pt"
        start(checkpoint, epochs=stop)  # constant rate: a prefix of the whole run
        state = torch.load(checkpoint, weights_only=True)
        state["fit"]["test_accuracy"] = state["fit"]["test_loss"] = None
        torch.save(state, checkpoint)
        resumed, resumed_weights = start(checkpoint)
        assert resumed_weights == weights
        assert resumed.interruptions == 1
        for name in ("train_loss", "validation_loss", "test_accuracy"):
            assert resumed.curves[name] == whole.curves[name]


def test_torn_checkpoint_never_replaces_a_whole_one(tmp_path, monkeypatch) -> None:
    file = tmp_path / "c.pt"
    model = linear()
    optimizer = training.build_optimizer(model, RECIPE)
    training.write_checkpoint(file, model, optimizer, training.Fit())
    before = file.read_bytes()

    def fail(*args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("papernets.files.os.fsync", fail)
    with pytest.raises(KeyboardInterrupt):
        training.write_checkpoint(file, model, optimizer, training.Fit())
    assert file.read_bytes() == before
    assert list(tmp_path.iterdir()) == [file]


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The checkpoint of `RUN` after its first epoch."""
    out = tmp_path_factory.mktemp("stopped")
    clock = iter([0.0, 1.0])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training.time, "monotonic", lambda: next(clock))
        with pytest.raises(training.OutOfTimeError):
            training.execute(RUN, out, deadline=0.5)
    return training.checkpoint_file(RUN, out).read_bytes()


def edited(content: bytes, edit: Callable[[dict], object]) -> bytes:
    """The checkpoint with other content and the digest that belongs to it."""
    state = torch.load(io.BytesIO(content), weights_only=True)
    edit(state)
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.getvalue() + hashlib.sha256(buffer.getvalue()).digest()


def flipped(content: bytes, place: int = 1_000) -> bytes:
    return content[:place] + bytes([content[place] ^ 1]) + content[place:][1:]


def crop_velocity(state: dict) -> None:
    velocity = state["optimizer"]["state"][0]
    velocity["momentum_buffer"] = velocity["momentum_buffer"][:1]


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda content: b"",
    "text": lambda content: b"not a checkpoint\n",
    "random": lambda content: np.random.default_rng(0).bytes(5_000),
    "half": lambda content: content[: len(content) // 2],
    "one byte short": lambda content: content[:-1],
    "one byte longer": lambda content: content + b"x",
    "one bit": flipped,
    "one bit of an older version": lambda c: flipped(c[: -training.DIGEST_BYTES], -60),
    "no optimizer": lambda c: edited(c, lambda state: state.pop("optimizer")),
    "no curves": lambda c: edited(c, lambda state: state["fit"].pop("curves")),
    "a new field": lambda c: edited(c, lambda state: state["fit"].update(x=1)),
    "other weights": lambda c: edited(c, lambda s: s["model"].popitem()),
    "other velocities": lambda c: edited(c, crop_velocity),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_is_named(
    stopped: bytes, tmp_path: Path, damage: str
) -> None:
    file = training.checkpoint_file(RUN, tmp_path)
    file.parent.mkdir()
    file.write_bytes(DAMAGES[damage](stopped))
    # Whether tensors fit is only known beside the model.
    assert training.epochs_done(RUN, tmp_path) == damage.startswith("other")
    expected = f"{file} is damaged; delete it and give the command again"
    with pytest.raises(records.RecordError, match=f"^{re.escape(expected)}$"):
        training.execute(RUN, tmp_path)
    assert file.exists()  # whether it goes is the user's choice


def test_a_checkpoint_of_an_older_version_is_continued(
    stopped: bytes, tmp_path: Path
) -> None:
    """It has no digest."""
    file = training.checkpoint_file(RUN, tmp_path)
    file.parent.mkdir()
    file.write_bytes(stopped[: -training.DIGEST_BYTES])
    assert training.epochs_done(RUN, tmp_path) == 1
    record = training.execute(RUN, tmp_path)
    assert record.interruptions == 1
    assert record.outcome() == training.execute(RUN, tmp_path / "whole").outcome()


def test_a_failing_machine_is_not_a_damaged_checkpoint(
    stopped: bytes, tmp_path: Path, monkeypatch
) -> None:
    """Who has too little memory must not be told to delete what is whole."""
    file = training.checkpoint_file(RUN, tmp_path)
    file.parent.mkdir()
    file.write_bytes(stopped)

    def fail(*args: object, **settings: object) -> None:
        raise MemoryError

    monkeypatch.setattr(torch, "load", fail)
    with pytest.raises(MemoryError):
        training.execute(RUN, tmp_path)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict, float]:
    """The outcome of the command that is never killed, and its training seconds."""
    return interruption.left_alone(tmp_path_factory.mktemp("whole"))


@pytest.mark.parametrize("seed", range(2))
def test_killed_runs_end_with_the_same_record(
    uninterrupted: tuple[dict, float], tmp_path: Path, seed: int
) -> None:
    """SIGKILL at random moments, then the same command again, until it is done."""
    outcome, seconds = uninterrupted
    killed, resumed = interruption.kill_and_resume(
        tmp_path, 2, seconds / 4, np.random.default_rng(seed)
    )
    assert killed
    assert resumed
    assert interruption.only_record(tmp_path).outcome() == outcome
    assert not list(tmp_path.rglob("*.pt"))


def test_ctrl_c_leaves_a_resumable_run(
    uninterrupted: tuple[dict, float], tmp_path: Path
) -> None:
    command = interruption.command(tmp_path)
    child = subprocess.Popen(
        command,
        stderr=subprocess.PIPE,
        text=True,
        # Where the tests run in the background, the shell has it ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    while not list(tmp_path.rglob("*.pt")):
        time.sleep(0.02)
    child.send_signal(signal.SIGINT)
    message = child.communicate()[1]
    assert child.returncode == 130
    assert message == "interrupted; the same command continues the run\n"
    subprocess.run(command, check=True, capture_output=True)
    assert interruption.only_record(tmp_path).outcome() == uninterrupted[0]


def test_a_run_has_one_worker(tmp_path: Path) -> None:
    (tmp_path / ".checkpoints").mkdir()
    lock = FileLock(tmp_path / ".checkpoints" / f"{RUN.key}.lock")
    with lock, pytest.raises(training.BusyError, match=RUN.file_name):
        training.execute(RUN, tmp_path, wait=False)


@pytest.mark.parametrize("threads", [0, -2])
def test_a_run_has_at_least_one_thread(threads: int) -> None:
    with pytest.raises(ValueError, match=f"^threads is {threads}; it must be at least"):
        training.tune_process(threads)
    assert torch.get_num_threads() == 1


def test_parts_of_checkpoints_are_removed(tmp_path: Path) -> None:
    """Those that a killed process left of this run; others may be in the making."""
    folder = tmp_path / ".checkpoints"
    folder.mkdir()
    own, other = (folder / f".{key}.pt.x7z_" for key in (RUN.key, "0123456789ab"))
    own.touch()
    other.touch()
    lock = FileLock(folder / f"{RUN.key}.lock")
    with lock, pytest.raises(training.BusyError):
        training.execute(RUN, tmp_path, wait=False)
    assert own.exists()  # its process is at work
    training.execute(RUN, tmp_path)
    assert not own.exists()
    assert other.exists()


def test_first_losses_are_those_of_any_machine() -> None:
    """Ten steps agree across machines to 1 %; more would amplify rounding."""
    digits = data.load("digits")
    recipe = Recipe(name="r", epochs=1, batch_size=125, lr=0.1, crop_padding=1)
    torch.manual_seed(0)
    result = training.fit(linear(), digits, recipe, seed=0)
    assert result.curves["train_loss"][0] == pytest.approx(2.0600, rel=1e-2)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_agrees_with_cpu(digits: data.Dataset) -> None:
    losses = []
    for device in ("cpu", "cuda"):
        torch.manual_seed(0)
        model = training.build(RUN, digits)
        recipe = RECIPE.but(epochs=1, crop_padding=0, flip=False, batch_size=1_257)
        result = training.fit(model, digits, recipe, device=device)
        losses.append(result.curves["validation_loss"][0])
    assert losses[1] == pytest.approx(losses[0], rel=5e-2)


class LateBranch(nn.Module):
    """A linear network whose second layer takes part from the third step on."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.late, self.steps = nn.Linear(64, 10), nn.Linear(64, 10), 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.steps += self.training
        x = x.flatten(1)
        return self.first(x) + (self.late(x) if self.steps > 2 else 0)


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "rmsprop"])
def test_parameters_may_be_left_out_of_steps(
    digits: data.Dataset, optimizer: str
) -> None:
    """As random depth does; a fused optimizer must not stumble over them."""
    recipe = Recipe(name="r", epochs=1, batch_size=64, lr=0.01, optimizer=optimizer)
    model = LateBranch()
    before = model.late.weight.detach().clone()
    assert training.fit(model, digits, recipe).status == "finished"
    assert not torch.equal(model.late.weight, before)
