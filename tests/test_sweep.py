"""Sweeps through submitit: on processes of this machine, and what is decided where.

`test_slurm` has those on a real cluster.
"""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
import submitit
from slurm_cluster import wait_until
from test_parallel import process_of_rank

from papernets import experiments, records, sweep
from papernets.cli import main, parser
from papernets.experiments import campaign, model_survey
from papernets.recipes import Recipe
from papernets.records import Record, Run, RunRecord
from papernets.sweep import Cluster, Job, Queue, SweepError
from papernets.training import epochs_done

RUNS = [
    Run(
        experiment="train",
        model="mlp10",
        model_args={"width": 8},
        dataset="digits",
        recipe=Recipe(name="r", epochs=2, batch_size=128, lr=0.05),
        seed=seed,
    )
    for seed in range(3)
]
LONG = replace(RUNS[0], recipe=RUNS[0].recipe.but(epochs=80))
BAD = replace(RUNS[0], dataset="nothing")


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A sweep ends with its last record; a test, when the processes have ended too."""
    started = []
    note = Queue.note

    def remember(queue: Queue, job: submitit.Job[None], content: Job) -> None:
        started.append(job)
        note(queue, job, content)

    monkeypatch.setattr(Queue, "note", remember)
    monkeypatch.setattr(sweep, "POLL_SECONDS", 0.1)
    yield
    for job in started:
        wait_until(job.done)


def run_locally(runs: Sequence[Run], out: Path, **settings: int) -> list[Record]:
    cluster = Cluster(name="local", **settings)
    return list(experiments.execute_all(runs, out, threads=1, cluster=cluster))


def jobs(out: Path) -> list[str]:
    return sorted(file.name for file in (out / ".sweep").glob("*_submitted.pkl"))


def outcomes(found: Sequence[Record]) -> dict[str, dict]:
    return {r.task.key: r.outcome() for r in found if isinstance(r, RunRecord)}


def alone(runs: Sequence[Run], out: Path) -> dict[str, dict]:
    return outcomes(list(experiments.execute_all(runs, out, threads=1)))


def test_a_sweep_is_as_one_process_and_repeats_nothing(tmp_path: Path) -> None:
    """A record that exists is not submitted, and the others share a job."""
    whole, out = tmp_path / "whole", tmp_path / "out"
    expected = alone(RUNS, whole)
    experiments.execute(RUNS[0], out)
    found = run_locally(RUNS, out, group=2)
    assert outcomes(found) == expected
    assert outcomes(records.read_all(out)) == expected  # and .sweep holds no record
    assert len(jobs(out)) == 1
    (log,) = (out / ".sweep").glob("*_log.out")
    assert RUNS[0].file_name not in log.read_text()
    assert all(run.file_name in log.read_text() for run in RUNS[1:])

    assert outcomes(run_locally(RUNS, out)) == expected
    assert len(jobs(out)) == 1


def test_a_run_that_fails_is_retried_and_named(tmp_path: Path, capsys) -> None:
    """Those of the same job have their records all the same."""
    cluster = Cluster(name="local", group=2, retries=1)
    sweeping = experiments.execute_all([BAD, RUNS[1]], tmp_path, cluster=cluster)
    assert next(sweeping).task == RUNS[1]
    with pytest.raises(SweepError, match="1 of 2 tasks have no record after 2 submi"):
        next(sweeping)
    assert len(jobs(tmp_path)) == 2
    errors = capsys.readouterr().err
    assert errors.count(f"{BAD.file_name} failed; its log is ") == 2
    log = Path(errors.splitlines()[-1].rpartition(" ")[2])
    assert "no data set 'nothing'" in log.read_text()


def test_a_killed_run_goes_on_in_another_job(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with ThreadPoolExecutor(1) as pool:
        sweeping = pool.submit(run_locally, [LONG], out)
        wait_until(lambda: 0 < epochs_done(LONG, out) < LONG.recipe.epochs)
        (job,) = jobs(out)
        os.kill(process_of_rank(0, int(job.partition("_")[0])), signal.SIGKILL)
        (record,) = sweeping.result()
    assert isinstance(record, RunRecord)
    assert record.interruptions == 1
    assert outcomes([record]) == alone([LONG], tmp_path / "whole")
    assert len(jobs(out)) == 2


def test_a_job_that_is_only_thought_dead_does_the_work_once(tmp_path: Path) -> None:
    """As on a node that the cluster has lost sight of: the new job waits for the old.

    What submitit watches is killed, and not the process that trains.
    """
    with ThreadPoolExecutor(1) as pool:
        sweeping = pool.submit(run_locally, [LONG], tmp_path)
        wait_until(lambda: 0 < epochs_done(LONG, tmp_path) < LONG.recipe.epochs)
        (job,) = jobs(tmp_path)
        os.kill(int(job.partition("_")[0]), signal.SIGKILL)
        (record,) = sweeping.result()
    assert isinstance(record, RunRecord)
    assert record.interruptions == 0
    assert len(jobs(tmp_path)) == 2


def test_a_run_out_of_time_requeues_itself(tmp_path: Path) -> None:
    """On the signal that submitit lets the cluster send before the time is over."""
    with ThreadPoolExecutor(1) as pool:
        sweeping = pool.submit(run_locally, [LONG], tmp_path)
        wait_until(lambda: 0 < epochs_done(LONG, tmp_path) < LONG.recipe.epochs)
        (job,) = jobs(tmp_path)
        os.kill(process_of_rank(0, int(job.partition("_")[0])), signal.SIGUSR2)
        (record,) = sweeping.result()
    assert isinstance(record, RunRecord)
    assert record.interruptions == 1
    assert jobs(tmp_path) == [job]


def test_a_job_is_not_restarted_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_RESTART_COUNT", str(sweep.RESTARTS + 1))
    with pytest.raises(SweepError, match="restarted 20 times already"):
        Job([RUNS[0]], tmp_path, "cpu", 1)()
    assert list(tmp_path.iterdir()) == []


def test_after_a_failure_each_run_has_its_own_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that kills its job takes the others with it once, not again."""
    submitted = []
    monkeypatch.setattr(
        Queue, "submit", lambda queue, jobs: submitted.append([j.tasks for j in jobs])
    )
    with pytest.raises(SweepError, match="3 of 3 tasks have no record after 2 submi"):
        run_locally(RUNS, tmp_path, group=2, retries=1)
    assert submitted == [[RUNS[:2], RUNS[2:]], [[run] for run in RUNS], []]


def test_nothing_is_submitted_while_slurm_does_not_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    """Its jobs may well be at work."""

    def no_answer() -> set[str]:
        experiments.execute(RUNS[0], tmp_path)
        raise subprocess.CalledProcessError(1, "squeue", stderr="Connection refused\n")

    submitted: list[Job] = []
    monkeypatch.setattr(Cluster, "executor", lambda cluster, folder: None)
    monkeypatch.setattr(sweep, "queued_jobs", no_answer)
    monkeypatch.setattr(Queue, "submit", lambda queue, jobs: submitted.extend(jobs))
    (record,) = sweep.execute_all(RUNS[:1], tmp_path, Cluster())
    assert record.task == RUNS[0]
    assert submitted == []
    assert capsys.readouterr().err == "Slurm does not answer: Connection refused\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--slurm", "time"], "--slurm 'time' is not of the form option=value"),
        (["--slurm", "time=1-0"], "time is '1-0', not a whole number of minutes"),
        (["--slurm", "--group", "0"], "--group is 0; it must be at least 1"),
        (["--slurm", "--retries", "-1"], "--retries is -1; it must be at least 0"),
        (["--slurm", "--jobs", "2"], "--jobs is for one machine; with --slurm, give"),
    ],
)
def test_a_bad_option_is_one_line(
    arguments: list[str], message: str, tmp_path: Path, capsys
) -> None:
    assert main(["run", "pi_net", *arguments, "--out", str(tmp_path)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"papernets: {message}")


def test_without_the_extra_one_line_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    monkeypatch.setitem(sys.modules, "submitit", None)
    assert main(["run", "pi_net", "--slurm", "--out", str(tmp_path)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith("need submitit: pip install 'papernets[scale]'")


def test_without_slurm_one_line_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(["run", "pi_net", "--slurm", "--out", str(tmp_path)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "there is no Slurm here" in line


def test_the_command_line_hands_on_what_it_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The device is not looked for here, and of the survey's plan all runs are left."""
    calls = []

    def execute_all(tasks: list, out: Path, cluster: Cluster, **rest: object) -> list:
        calls.append((tasks, cluster, rest))
        if len(calls) == 2:
            raise SweepError("no luck")
        return []

    monkeypatch.setattr(sweep, "execute_all", execute_all)
    place = ["--device", "cuda", "--out", str(tmp_path / "out")]
    options = ["--slurm", "gres=gpu:1", "time=30", "--group", "5", "--retries", "0"]
    assert main(["run", "pi_net", *place, *options]) == 0
    assert main(["survey", *place, "--slurm"]) == 1
    first, second = calls
    expected = {"job-name": "papernets-out", "gres": "gpu:1", "time": "30"}
    assert first[1] == Cluster(expected, group=5, retries=0)
    assert first[2] == {"device": "cuda", "threads": None}
    plan = campaign.missing(model_survey.plan("equal"), tmp_path / "out")
    assert second[0] == plan
    assert second[1] == Cluster({"job-name": "papernets-out"})


def test_the_page_on_clusters_is_right() -> None:
    """Its commands parse, and the numbers in it are those of the code."""
    page = (Path(__file__).parents[1] / "book" / "scale.md").read_text()
    lines = page.replace("\\\n", " ").splitlines()
    commands = [line for line in lines if line.startswith("papernets ")]
    assert sum("--slurm" in line for line in commands) == 2
    for line in commands:
        options = parser().parse_args(line.partition("  #")[0].split()[1:])
    assert f"`--retries {options.retries}`" in page
    sentences = " ".join(page.split())
    for name, value in sweep.DEFAULTS.items():
        assert re.search(rf"`{name}\b.*by default {value}\b", page)
    assert f"restarted {sweep.RESTARTS} times" in sentences
    assert f"{sweep.SIGNAL_SECONDS} seconds before" in sentences


def test_a_budget_of_time_is_for_one_machine(capsys) -> None:
    assert main(["survey", "--slurm", "--budget-minutes", "5"]) == 2
    assert "--budget-minutes is for one machine" in capsys.readouterr().err
