"""The one training loop of all chapters, and what makes its runs survive.

`fit` trains a model on data in memory and returns the curves; `execute` does so for a
`Run`, resumes it where it stopped, and writes its record. Every random number of an
epoch derives from the seed and the number of the epoch, so a checkpoint needs no
generator states, and a resumed run repeats the uninterrupted one bit for bit.
"""

import hashlib
import io
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock, Timeout
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

from papernets import complexity, models, parallel, records
from papernets.data import Dataset, load
from papernets.feed import Feed
from papernets.files import write_atomically
from papernets.provenance import provenance
from papernets.recipes import Recipe
from papernets.records import Curves, RecordError, Run, RunRecord

# The modules that determine the outcome of a run, beside the file of its model.
SOURCES = (
    *("augment.py", "blocks.py", "data.py", "feed.py", "parallel.py", "recipes.py"),
    "training.py",
)

CHECK_EVERY_STEPS = 50  # looking at a loss on CUDA waits for the device
DIGEST_BYTES = 32  # of SHA-256
ARCHIVE_END_BYTES = 22  # the last record of a zip file without a comment


@dataclass
class Fit:
    """What `fit` returns, and a checkpoint holds beside weights and optimizer."""

    status: str = "finished"
    curves: dict[str, list[float]] = field(default_factory=dict)
    test_loss: float | None = None
    test_accuracy: float | None = None
    seconds: float = 0.0
    interruptions: int = 0

    @property
    def epochs(self) -> int:
        return len(self.curves.get("train_loss", ()))

    def add(self, **values: float) -> None:
        for name, value in values.items():
            self.curves.setdefault(name, []).append(value)


class DivergedError(Exception):
    """The loss is not finite any more."""


class OutOfTimeError(Exception):
    """The next epoch would end after the deadline; the checkpoint holds the others."""


def fit(
    model: nn.Module,
    data: Dataset,
    recipe: Recipe,
    *,
    seed: int = 0,
    device: str | torch.device = "cpu",
    test_every_epoch: bool = False,
    checkpoint: Path | None = None,
    deadline: float | None = None,
    progress: bool | None = None,
) -> Fit:
    """Train `model` in place and return its curves.

    Args:
        model: maps float (N, C, H, W) to logits (N, classes). Its initialisation is the
            caller's.
        data: the validation part is scored after every epoch, the test part after the
            last one.
        recipe: everything else that decides the outcome.
        seed: of shuffling, augmentation and the random layers of the model.
        device: "cpu", "cuda" or "cuda:1".
        test_every_epoch: record the test curve as well; nothing is chosen by it.
        checkpoint: file written atomically after every epoch; if it exists, training
            goes on from it and gives the result of an uninterrupted run, bit for bit.
        deadline: moment of `time.monotonic` at which training has to be over.
        progress: draw a progress bar; by default only in a terminal.

    Returns:
        The curves, with `status` "diverged" if a loss stopped being finite.

    Raises:
        OutOfTimeError: the next epoch, taken to last as long as the earlier ones, would
            end after the deadline.
        RecordError: the checkpoint is damaged.
        ValueError: processes cannot share a batch.
    """
    device = torch.device(device)
    processes = parallel.rank_and_size()[1]
    if recipe.batch_size % processes:
        raise ValueError(
            f"batches of {recipe.batch_size} cannot be shared equally by {processes} "
            "processes"
        )
    model.to(device)
    if recipe.channels_last:
        model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    feeds = {
        name: Feed(getattr(data, name), data, recipe, device)
        for name in ("train", "validation", "test")
    }
    optimizer = build_optimizer(model, recipe)
    state = Fit()
    if checkpoint and checkpoint.exists():
        state = read_checkpoint(checkpoint, model, optimizer, device)
    forward: Callable[[Tensor], Tensor] = parallel.together(model)
    scored_model: Callable[[Tensor], Tensor] = model
    if recipe.compile:
        forward, scored_model = torch.compile(forward), torch.compile(model)
    with Progress(recipe, feeds["train"].steps, state.epochs, progress) as bar:
        longest = state.seconds / max(state.epochs, 1)
        while state.epochs < recipe.epochs and state.status == "finished":
            late = deadline is not None and time.monotonic() + longest > deadline
            if parallel.decided(late, device):
                raise OutOfTimeError(
                    f"stopped after {state.epochs} of {recipe.epochs} epochs"
                )
            began = time.perf_counter()
            try:
                values = train_epoch(
                    forward, feeds["train"], recipe, optimizer, state.epochs, seed, bar
                )
            except DivergedError:
                state.status = "diverged"
            else:
                if recipe.norm_batches:
                    average_norms_anew(model, feeds["train"], state.epochs, seed)
                scored = ["validation", "test"] if test_every_epoch else ["validation"]
                for name in scored:
                    loss, accuracy = evaluate(scored_model, feeds[name])
                    values |= {f"{name}_loss": loss, f"{name}_accuracy": accuracy}
                state.add(**values)
                bar.finish_epoch(values)
            took = time.perf_counter() - began
            state.seconds += took
            longest = max(longest, took)
            if checkpoint and parallel.rank_and_size()[0] == 0:
                write_checkpoint(checkpoint, model, optimizer, state)
    if state.status == "finished" and state.test_accuracy is None:
        state.test_loss, state.test_accuracy = evaluate(scored_model, feeds["test"])
    return state


def train_epoch(
    model: Callable[[Tensor], Tensor],
    feed: Feed,
    recipe: Recipe,
    optimizer: torch.optim.Optimizer,
    epoch: int,
    seed: int,
    bar: "Progress",
) -> dict[str, float]:
    """One pass over the training images; raises `DivergedError`."""
    device = feed.padded.device
    entropy = np.random.SeedSequence([seed, epoch]).generate_state(2, np.uint32)
    torch.manual_seed(int(entropy[0]))  # dropout and the like
    model.train()  # type: ignore[attr-defined]
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    loss_sum = torch.zeros((), dtype=torch.float64, device=device)
    correct = torch.zeros((), dtype=torch.int64, device=device)
    images_seen, lr = 0, 0.0  # by this process
    processes = parallel.rank_and_size()[1]
    began = time.perf_counter()
    for step, (images, labels) in enumerate(feed.epoch(int(entropy[1]))):
        # The rate of a step is that of its middle: never zero, first or last.
        lr = recipe.lr_at(epoch + (step + 0.5) / feed.steps)
        for group in optimizer.param_groups:
            group["lr"] = lr
        optimizer.zero_grad(set_to_none=True)
        for part, part_labels in zip(
            images.chunk(recipe.batch_parts),
            labels.chunk(recipe.batch_parts),
            strict=True,
        ):
            with precision(recipe, device):
                logits = model(part)
                loss = functional.cross_entropy(
                    logits.float(), part_labels, label_smoothing=recipe.label_smoothing
                )
            (loss * (len(part) / len(images))).backward()
            loss_sum += loss.detach() * len(part)
            correct += (logits.detach().argmax(1) == part_labels).sum()
        if recipe.clip_grad_norm is not None:
            nn.utils.clip_grad_norm_(parameters, recipe.clip_grad_norm)
        optimizer.step()
        images_seen += len(labels)
        if (step + 1) % CHECK_EVERY_STEPS == 0 or step + 1 == feed.steps:
            (total,) = parallel.summed(loss_sum)
            mean = total / (images_seen * processes)
            if not np.isfinite(mean):
                raise DivergedError(
                    f"loss {mean} in epoch {epoch + 1}, step {step + 1}"
                )
            bar.update(step + 1, mean)
    (right,) = parallel.summed(correct)
    images_seen *= processes
    seconds = time.perf_counter() - began
    return {
        "train_loss": mean,
        "train_accuracy": right / images_seen,
        "lr": lr,
        "seconds": seconds,
        "images_per_second": images_seen / seconds,
    }


@torch.no_grad()
def average_norms_anew(model: nn.Module, feed: Feed, epoch: int, seed: int) -> None:
    """Replace the running averages of batch normalization by those of some batches.

    The means over `Recipe.norm_batches` training batches, with everything else as in
    evaluation (Wu & Johnson, arXiv:2105.07576, section 3). The averages of training are
    wrong where it leaves out paths, blocks or units at random.
    """
    norms = [m for m in model.modules() if isinstance(m, _BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    model.eval()
    for norm in norms:
        norm.train()
        norm.reset_running_stats()
        norm.momentum = None  # the plain mean of all batches
    (entropy,) = np.random.SeedSequence([seed, epoch, 1]).generate_state(1, np.uint32)
    for images, _ in islice(feed.epoch(int(entropy)), feed.recipe.norm_batches):
        for part in images.chunk(feed.recipe.batch_parts):
            with precision(feed.recipe, images.device):
                model(part)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
        assert norm.running_mean is not None
        assert norm.running_var is not None
        parallel.average(norm.running_mean, norm.running_var)


@torch.inference_mode()
def evaluate(model: Callable[[Tensor], Tensor], feed: Feed) -> tuple[float, float]:
    """Mean cross-entropy in nats and accuracy as a fraction, in evaluation mode."""
    model.eval()  # type: ignore[attr-defined]
    device = feed.padded.device
    loss_sum = torch.zeros((), dtype=torch.float64, device=device)
    correct = torch.zeros((), dtype=torch.int64, device=device)
    rank, processes = parallel.rank_and_size()
    for index, (images, labels) in enumerate(feed.in_order()):
        if index % processes != rank:
            continue
        with precision(feed.recipe, device):
            logits = model(images).float()
        loss_sum += functional.cross_entropy(logits, labels, reduction="sum")
        correct += (logits.argmax(1) == labels).sum()
    total, right = parallel.summed(loss_sum, correct)
    return total / len(feed.split), right / len(feed.split)


def precision(recipe: Recipe, device: torch.device) -> torch.autocast:
    return torch.autocast(
        device.type, torch.bfloat16, enabled=recipe.precision == "bf16"
    )


def build_optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """The recipe's optimizer; with decay="weights" vectors and scalars are spared."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    spared = [p for p in parameters if recipe.decay == "weights" and p.ndim < 2]
    rest = [p for p in parameters if recipe.decay == "all" or p.ndim >= 2]
    groups: list[dict[str, Any]] = [
        {"params": rest, "weight_decay": recipe.weight_decay},
        {"params": spared, "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    if recipe.optimizer == "adam":
        return torch.optim.Adam(groups, lr=recipe.lr, fused=True)
    if recipe.optimizer == "rmsprop":  # decay and epsilon of the Inception papers
        return torch.optim.RMSprop(
            groups, lr=recipe.lr, alpha=0.9, eps=1.0, momentum=recipe.momentum
        )
    sgd = torch.optim.SGD(
        groups,
        lr=recipe.lr,
        momentum=recipe.momentum,
        nesterov=recipe.nesterov and recipe.momentum > 0,
        fused=True,
    )
    # The fused step fails where some velocities exist and others do not yet, as when a
    # random depth leaves out a block of the first step. A velocity starts at zero.
    for parameter in parameters if recipe.momentum > 0 else ():
        sgd.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
    return sgd


def write_checkpoint(
    file: Path, model: nn.Module, optimizer: torch.optim.Optimizer, state: Fit
) -> None:
    buffer = io.BytesIO()
    content = {
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "fit": asdict(state),
    }
    torch.save(content, buffer)
    # Behind the archive, where its readers look past it.
    digest = hashlib.sha256(buffer.getbuffer()).digest()
    buffer.write(digest)
    write_atomically(file, buffer.getvalue())


def read_checkpoint(
    file: Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    device: torch.device,
) -> Fit:
    """Continue from a checkpoint; raises `RecordError` if it is damaged."""
    content = load_checkpoint(file, device)
    with damage_named(file):
        model.load_state_dict(content["model"])
        optimizer.load_state_dict(content["optimizer"])
        if any(  # PyTorch would stumble over them in the first step
            torch.is_tensor(value) and value.ndim and value.shape != parameter.shape
            for parameter, values in optimizer.state.items()
            for value in values.values()
        ):
            raise ValueError("the optimizer's state is of another model")
    state = Fit(**content["fit"])
    state.interruptions += 1
    return state


def load_checkpoint(file: Path, device: str | torch.device = "cpu") -> dict[str, Any]:
    """What `write_checkpoint` wrote; raises `RecordError` if it is damaged."""
    written = file.read_bytes()
    body, digest = memoryview(written)[:-DIGEST_BYTES], written[-DIGEST_BYTES:]
    # Checkpoints of older versions have no digest and end as every archive does.
    older = written[-ARCHIVE_END_BYTES:].startswith(b"PK\5\6")
    with damage_named(file):
        if hashlib.sha256(body).digest() != digest and not older:
            raise ValueError("not the bytes that were written")
        content: dict[str, Any] = torch.load(
            io.BytesIO(written), map_location=device, weights_only=True
        )
        names = content.keys(), content["fit"].keys()
        if names != ({"model", "optimizer", "fit"}, asdict(Fit()).keys()):
            raise ValueError("not the fields that were written")
    return content


@contextmanager
def damage_named(file: Path) -> Iterator[None]:
    """Whatever goes wrong in taking up the file's content means that it is damaged.

    Raises:
        RecordError: it is.
        MemoryError, torch.OutOfMemoryError: the machine is too small for it.
    """
    try:
        yield
    except (MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # PyTorch raises a dozen kinds
        raise RecordError(
            f"{file} is damaged; delete it and give the command again"
        ) from error


class Progress:
    """A bar over the epochs in a terminal, nothing elsewhere."""

    def __init__(
        self, recipe: Recipe, steps: int, done: int, wanted: bool | None
    ) -> None:
        from tqdm import tqdm

        shown = sys.stderr.isatty() if wanted is None else wanted
        shown = shown and parallel.rank_and_size()[0] == 0
        self.steps, self.epoch = steps, done
        self.bar = tqdm(
            total=recipe.epochs * steps,
            initial=done * steps,
            disable=not shown,
            desc=recipe.name,
            unit="step",
        )

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *exception: object) -> None:
        self.bar.close()

    def update(self, step: int, loss: float) -> None:
        self.bar.update(self.epoch * self.steps + step - self.bar.n)
        self.bar.set_postfix(loss=f"{loss:.3f}")

    def finish_epoch(self, values: dict[str, float]) -> None:
        self.epoch += 1
        self.bar.set_postfix(validation=f"{values['validation_accuracy']:.2%}")


def checkpoint_file(run: Run, out: Path) -> Path:
    return out / ".checkpoints" / f"{run.key}.pt"


def epochs_done(run: Run, out: Path) -> int:
    """Epochs in the checkpoint of a run that was interrupted.

    0 without one, and if it is damaged: `execute` says so when the run has its turn.
    """
    file = checkpoint_file(run, out)
    try:
        return Fit(**load_checkpoint(file)["fit"]).epochs
    except (RecordError, FileNotFoundError):
        return 0


class BusyError(Exception):
    """Another process is working on this run."""


def execute(
    run: Run,
    out: Path,
    *,
    device: str = "cpu",
    deadline: float | None = None,
    progress: bool | None = None,
    wait: bool = True,
) -> RunRecord:
    """Give the record of a run: read it, finish it, or make it.

    A record that exists is returned; a run that was interrupted goes on from its last
    checkpoint (`out`/.checkpoints); otherwise the model is created and trained, and its
    record is written to `out`.

    Raises:
        DataError, RecordError, ValueError: data, record or checkpoint, or settings are
            bad.
        BusyError: another process works on this run and `wait` is False.
        OutOfTimeError: as `fit`; the same call with a later deadline goes on.
    """
    target = out / run.experiment / run.file_name
    checkpoint = checkpoint_file(run, out)
    checkpoint.parent.mkdir(parents=True, exist_ok=True)
    first = parallel.rank_and_size()[0] == 0  # of several processes, it writes
    lock = FileLock(checkpoint.with_suffix(".lock"), timeout=-1 if wait else 0)
    try:
        with lock if first else nullcontext():
            if first:  # what a killed process had not finished writing
                for part in checkpoint.parent.glob(f".{checkpoint.name}.*"):
                    part.unlink(missing_ok=True)
            if parallel.decided(target.exists(), device):
                found = records.read(target)
                assert isinstance(found, RunRecord)
                record = found
            else:
                data = load(run.dataset)
                torch.manual_seed(run.seed)
                model = build(run, data)
                macs = complexity.profile(model, data.train.images.shape[1:]).macs
                state = fit(
                    model,
                    data,
                    run.recipe,
                    seed=run.seed,
                    device=device,
                    test_every_epoch=run.test_every_epoch,
                    checkpoint=checkpoint,
                    deadline=deadline,
                    progress=progress,
                )
                record = make_record(run, model, data, state, macs, device)
                if first:
                    records.write(record, out)
            checkpoint.unlink(missing_ok=True)
    except Timeout as error:
        raise BusyError(f"another process is working on {run.file_name}") from error
    return record


def build(run: Run, data: Dataset) -> nn.Module:
    """The untrained model of a run, on the CPU."""
    arguments: dict[str, Any] = dict(run.model_args)
    return models.create(
        run.model,
        in_channels=data.in_channels,
        num_classes=data.num_classes,
        image_size=data.image_size,
        **arguments,
    )


def make_record(
    run: Run, model: nn.Module, data: Dataset, state: Fit, macs: int, device: str
) -> RunRecord:
    curves = {name: tuple(map(finite, values)) for name, values in state.curves.items()}
    return RunRecord(
        run=run,
        status="finished" if state.status == "finished" else "diverged",
        curves=Curves(**curves),  # type: ignore[arg-type]
        test_loss=finite(state.test_loss),
        test_accuracy=state.test_accuracy,
        parameters=complexity.count(model),
        macs=macs,
        weights_sha256=weights_checksum(model),
        interruptions=state.interruptions,
        processes=parallel.rank_and_size()[1],
        **provenance(
            sources_of(run.model),
            data_sha256=data.checksum,
            device=device,
            seconds=state.seconds,
        ),
    )


def finite(value: float | None) -> float | None:
    """The value, or None for what JSON cannot hold: logits may overflow in scoring."""
    return value if value is not None and np.isfinite(value) else None


def weights_checksum(model: nn.Module) -> str:
    """SHA-256 of the state dict: names and bytes of every tensor."""
    digest = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def sources_of(model: str) -> tuple[str, ...]:
    """The files that determine a run of `model`, relative to the package's folder."""
    return (*SOURCES, *(f"models/{file}" for file in models.source_files(model)))


def tune_process(threads: int | None = None) -> None:
    """Set thread count and allocator for training on a CPU.

    glibc returns and faults in large buffers at every step unless told to keep them;
    keeping them brings 5 to 60 %, more with large batches. Call it before training.

    Raises:
        ValueError: fewer than one thread; None leaves their number as it is.
    """
    if threads is not None:
        if threads < 1:
            raise ValueError(f"threads is {threads}; it must be at least 1")
        torch.set_num_threads(threads)
    if sys.platform == "linux":
        import ctypes

        with suppress(OSError, AttributeError):
            mallopt = ctypes.CDLL(None).mallopt
            mallopt(-4, 0)  # M_MMAP_MAX: no mmap for large blocks
            mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD: give nothing back
            mallopt(-2, 64 * 2**20)  # M_TOP_PAD: grow in steps of 64 MiB
