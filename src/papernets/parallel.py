"""One run on several devices: processes that train together, started by `torchrun`.

    torchrun --nproc-per-node 4 -m papernets.cli train resnet20 --data cifar10 ...

Every process takes an equal part of each batch; gradients, losses and counts are
averaged or added over all of them, so the result is that of one process with the same
batch, up to rounding. Batch normalization sees its process's part only, as it does in
one process with `Recipe.batch_parts`. The processes of a job share the output folder.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist
from torch import Tensor, nn


class LostProcessError(Exception):
    """Another process of the job is gone."""


def rank_and_size() -> tuple[int, int]:
    """Number of this process and of all that train together; (0, 1) if it is alone."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1


@contextmanager
def job(device: str) -> Iterator[str]:
    """Meet the other processes that `torchrun` started, if there are any.

    Args:
        device: "cpu", "cuda" or "cuda:1".

    Yields:
        The device of this process: of several with "cuda", each has its own.

    Raises:
        LostProcessError: a process that this one was waiting for is gone.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield device
        return
    if device == "cuda":
        device = f"cuda:{os.environ['LOCAL_RANK']}"
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.startswith("cuda") else "gloo")
    try:
        yield device
    except RuntimeError as error:
        # What gloo and NCCL raise when the other end of a connection disappears.
        if not isinstance(error, dist.DistError) and "gloo" not in str(error):
            raise
        raise LostProcessError(
            "another process of this job is gone; the same command goes on from the "
            "last finished epoch"
        ) from error
    finally:
        dist.destroy_process_group()


def summed(*values: Tensor) -> list[float]:
    """Numbers added over all processes, in float64."""
    together = torch.stack([value.double() for value in values])
    if rank_and_size()[1] > 1:
        dist.all_reduce(together)
    return together.tolist()


def average(*values: Tensor) -> None:
    """Replace tensors by their means over all processes, in place."""
    size = rank_and_size()[1]
    for value in values if size > 1 else ():
        dist.all_reduce(value)
        value /= size


def decided(by_first: bool, device: torch.device | str = "cpu") -> bool:
    """What the first process decides, in all of them."""
    if rank_and_size()[1] == 1:
        return by_first
    answer = torch.tensor(int(by_first), device=device)
    dist.broadcast(answer, 0)
    return bool(answer)


def part(batch: Tensor) -> Tensor:
    """This process's equal part of a batch."""
    rank, size = rank_and_size()
    return batch if size == 1 else batch.tensor_split(size)[rank]


def together(model: nn.Module) -> nn.Module:
    """The model with gradients averaged over all processes; itself if there is one."""
    if rank_and_size()[1] == 1:
        return model
    device = next(model.parameters()).device
    return nn.parallel.DistributedDataParallel(
        model,
        device_ids=[device] if device.type == "cuda" else None,
        # Stochastic depth and drop-path leave parameters out of a step.
        find_unused_parameters=leaves_parameters_out(model),
    )


def leaves_parameters_out(model: nn.Module) -> bool:
    """Whether a training step may not reach every parameter."""
    names = ("survival", "drop_path")
    return any(hasattr(module, name) for module in model.modules() for name in names)
