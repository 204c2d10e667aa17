"""Sweeps on a real Slurm cluster of two nodes: nodes die, jobs are preempted.

Run by `make test-slurm`; see `slurm_cluster`.
"""

import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from slurm_cluster import NODES, SlurmCluster, wait_until

from papernets import records, sweep
from papernets.experiments import execute_all
from papernets.recipes import Recipe
from papernets.records import Run
from papernets.sweep import Cluster
from papernets.training import epochs_done

pytestmark = pytest.mark.slurm

EPOCHS = 60
RUNS = [
    Run(
        experiment="train",
        model="mlp10",
        model_args={"width": 16, "norm": "batch"},
        dataset="digits",
        recipe=Recipe(name="r", epochs=EPOCHS, batch_size=64, lr=0.05),
        seed=seed,
    )
    for seed in range(4)
]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SlurmCluster]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sweep, "POLL_SECONDS", 0.2)
        cluster = SlurmCluster(tmp_path_factory.mktemp("slurm"))
        patch.setenv("SLURM_CONF", str(cluster.configuration))
        try:
            yield cluster
        finally:
            cluster.stop()
    assert cluster.processes() == []


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict]:
    """What one process makes of the runs, by key."""
    out = tmp_path_factory.mktemp("alone")
    return outcomes_of(execute_all(RUNS, out, threads=1))


def outcomes_of(found: Iterable[records.Record]) -> dict[str, dict]:
    return {r.task.key: r.outcome() for r in found if isinstance(r, records.RunRecord)}


def job_in_mid_run(cluster: SlurmCluster, out: Path) -> tuple[str, Run, str]:
    """A job of the first array, its run, and its node, well before the end."""
    found = []

    def search() -> bool:
        for node in NODES:
            job = cluster.ask("squeue", "-h", "-r", "-t", "R", "-w", node, "-o", "%i")
            run = RUNS[int(job.partition("_")[2] or 0)]
            if job and 0 < epochs_done(run, out) <= 0.75 * EPOCHS:
                found.append((job, run, node))
        return bool(found)

    wait_until(search)
    return found[0]


def test_a_lost_node_loses_no_record(
    cluster: SlurmCluster, outcomes: dict[str, dict], tmp_path: Path
) -> None:
    """Its run goes on from the checkpoint on the other node, and all ends as alone."""
    sweeping = execute_all(RUNS, tmp_path, cluster=Cluster())
    found = [next(sweeping)]
    job, lost, node = job_in_mid_run(cluster, tmp_path)
    cluster.kill_node(node)
    kept = {file: file.read_bytes() for file in (tmp_path / "train").glob("*.json")}
    assert 0 < len(kept) < len(RUNS)
    assert lost.file_name not in {file.name for file in kept}
    found += sweeping
    details = cluster.ask("scontrol", "show", "job", job)
    cluster.start_node(node)

    assert {file: file.read_bytes() for file in kept} == kept
    assert outcomes_of(found) == outcomes
    for record in found:
        assert isinstance(record, records.RunRecord)
        assert record.interruptions == (record.run == lost)
    assert "Restarts=1" in details
    (other,) = set(NODES) - {node}
    assert f" NodeList={other}" in details


def test_a_preempted_run_goes_on(
    cluster: SlurmCluster, outcomes: dict[str, dict], tmp_path: Path
) -> None:
    """The signal that announces the end of a job makes it requeue itself."""
    with ThreadPoolExecutor(1) as pool:
        sweeping = pool.submit(
            lambda: list(execute_all(RUNS[:2], tmp_path, cluster=Cluster()))
        )
        job, stopped, _ = job_in_mid_run(cluster, tmp_path)
        cluster.ask("scancel", "--signal=USR2", job)
        found = sweeping.result()
    assert outcomes_of(found) == {r.key: outcomes[r.key] for r in RUNS[:2]}
    for record in found:
        assert isinstance(record, records.RunRecord)
        assert record.interruptions == (record.run == stopped)
    assert "Restarts=1" in cluster.ask("scontrol", "show", "job", job)


def test_an_interrupted_command_follows_its_jobs_again(
    cluster: SlurmCluster, tmp_path: Path
) -> None:
    command = [
        *(sys.executable, "-m", "papernets.cli", "run", "pi_net", "--study", "joins"),
        *("--slurm", "time=5", "--group", "4", "--out", str(tmp_path)),
    ]
    logs = tmp_path / ".sweep"
    first = subprocess.Popen(
        command,
        stderr=subprocess.PIPE,
        text=True,
        # Where the tests run in the background, the shell has it ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert first.stderr
    assert first.stderr.readline().startswith("submitted: ")
    first.send_signal(signal.SIGINT)
    _, errors = first.communicate()
    assert first.returncode == 130
    assert f"`scancel --name=papernets-{tmp_path.name}` ends them" in errors
    jobs = {file.name for file in logs.glob("*_submitted.pkl")}
    assert len(jobs) > 1

    second = subprocess.run(command, capture_output=True, text=True)
    assert second.returncode == 0, second.stderr
    assert "submitted" not in second.stderr
    total = len(second.stdout.splitlines())
    assert second.stdout.splitlines()[-1].startswith(f"[{total}/{total}] ")
    assert {file.name for file in logs.glob("*_submitted.pkl")} == jobs
    made = records.read_all(tmp_path)
    assert len(made) == total
    assert {r.interruptions for r in made if isinstance(r, records.RunRecord)} == {0}


def test_what_slurm_refuses_is_said(cluster: SlurmCluster, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="invalid partition specified: none"):
        list(execute_all(RUNS, tmp_path, cluster=Cluster({"partition": "none"})))
