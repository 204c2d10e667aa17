"""Processes that train together: the curve of one, and what happens if one dies."""

import json
import math
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from parallel_worker import trained

from papernets import records


def torchrun(*arguments: str) -> list[str]:
    """The command that starts two processes which meet at a free port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    return [
        *(sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"),
        *("--master-addr", "127.0.0.1", "--master-port", str(port), *arguments),
    ]


ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
if sys.platform == "darwin":
    ENVIRONMENT["GLOO_SOCKET_IFNAME"] = "lo0"

# Sums are taken in another order: float32 rounding, and what training makes of it.
TOLERANCE = 1e-4


@pytest.fixture(scope="module")
def together() -> dict[str, dict[str, list[float]]]:
    """The curves of two processes."""
    worker = Path(__file__).parent / "parallel_worker.py"
    result = subprocess.run(
        torchrun(str(worker)), capture_output=True, text=True, env=ENVIRONMENT
    )
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout.splitlines()[-1])


def test_two_processes_have_the_curve_of_one(together: dict) -> None:
    case = "without normalization"
    alone = trained(case)
    for name in ("train_loss", "train_accuracy", "validation_loss", "test_loss"):
        assert together[case][name] == pytest.approx(alone[name], rel=TOLERANCE), name


def test_blocks_may_be_left_out_of_a_step(together: dict) -> None:
    """Both processes leave out the same ones; the depth is drawn for the batch."""
    assert len(together["stochastic depth"]["train_loss"]) == 2
    assert all(map(math.isfinite, together["stochastic depth"]["train_loss"]))


def test_batch_normalization_sees_the_part_of_its_process(together: dict) -> None:
    case = "batch normalization"
    curves = together[case]["train_loss"]
    assert curves == pytest.approx(trained(case, 2)["train_loss"], rel=TOLERANCE)
    assert curves != pytest.approx(trained(case, 1)["train_loss"], rel=TOLERANCE)


def test_averages_of_all_processes_are_one(together: dict) -> None:
    case = "averages made anew"
    alone = trained(case, 2)
    for name in ("validation_loss", "test_loss"):
        assert together[case][name] == pytest.approx(alone[name], rel=TOLERANCE), name


def command(out: Path, *arguments: str) -> list[str]:
    return torchrun(
        *("-m", "papernets.cli", "train", "mlp10", "--recipe", "plain_sgd"),
        *("--epochs", "60", "--set", "width=16", "--out", str(out), *arguments),
    )


def test_unequal_parts_are_refused(tmp_path: Path) -> None:
    result = subprocess.run(
        command(tmp_path, "--set", "batch_size=33"),
        capture_output=True,
        text=True,
        env=ENVIRONMENT,
    )
    assert result.returncode != 0
    assert "batches of 33 cannot be shared equally by 2 processes" in result.stderr


def test_a_process_that_dies_ends_the_job_which_then_goes_on(tmp_path: Path) -> None:
    """To the record of the job in which none died, bit for bit."""
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    subprocess.run(command(whole), check=True, env=ENVIRONMENT)
    job = subprocess.Popen(
        command(broken), stderr=subprocess.PIPE, text=True, env=ENVIRONMENT
    )
    checkpoints = broken / ".checkpoints"
    while not list(checkpoints.glob("*.pt")):
        assert job.poll() is None, job.stderr and job.stderr.read()
        time.sleep(0.02)
    os.kill(process_of_rank(1, job.pid), signal.SIGKILL)
    _, errors = job.communicate(timeout=120)
    assert job.returncode != 0
    assert "another process of this job is gone" in errors or "SIGKILL" in errors
    assert list(checkpoints.glob("*.pt"))
    assert not records.read_all(broken)

    subprocess.run(command(broken), check=True, env=ENVIRONMENT)
    first, second = (records.read_all(out)[0] for out in (whole, broken))
    assert isinstance(first, records.RunRecord)
    assert isinstance(second, records.RunRecord)
    assert (first.processes, second.processes) == (2, 2)
    assert (first.interruptions, second.interruptions) == (0, 1)
    assert first.outcome() == second.outcome()


def process_of_rank(rank: int, parent: int) -> int:
    """The child of `torchrun` that has this rank."""
    for _ in range(200):
        listing = subprocess.run(
            ["ps", "-A", "-o", "pid=,ppid="], capture_output=True, text=True, check=True
        )
        pairs = [tuple(map(int, line.split())) for line in listing.stdout.splitlines()]
        children = sorted(pid for pid, ppid in pairs if ppid == parent)
        if len(children) > rank:
            return children[rank]
        time.sleep(0.05)
    raise AssertionError(f"no child of {parent} has rank {rank}")
