"""Sweeps on a Slurm cluster: the tasks of a grid as jobs, through submitit.

`execute_all` submits every task that has neither a record nor a place in the queue, and
looks again until all have records. It keeps no other state: whoever gives the same
command again, on any machine that sees the folder of the records, goes on from there.
"""

import os
import subprocess
import sys
import time
import traceback
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock

from papernets import records
from papernets.records import Record, Task

if TYPE_CHECKING:
    import submitit

RESTARTS = 20  # of one job: after preemptions, timeouts and lost nodes
DEFAULTS = {"time": 60, "array_parallelism": 256}  # minutes, jobs at once
SIGNAL_SECONDS = 90  # before the time is over
ARRAY_SIZE = 1000  # jobs of one array, Slurm's default limit
POLL_SECONDS = 5.0


class SweepError(Exception):
    """Tasks that have no record in spite of all retries."""


@dataclass(frozen=True)
class Cluster:
    """How tasks become jobs."""

    options: Mapping[str, str] = field(default_factory=dict)  # of sbatch, long names
    group: int = 1  # tasks of one job, one after the other
    retries: int = 3  # of a task that failed, beside the restarts of its job
    name: str = "slurm"  # or "local": each job a process of this machine, all at once

    def executor(self, folder: Path) -> "submitit.AutoExecutor":
        """What submits jobs, with their logs in `folder`.

        Raises:
            ValueError: an option is bad, or submitit or Slurm is missing.
        """
        try:
            import submitit
        except ImportError as error:
            raise ValueError(
                "sweeps on a cluster need submitit: pip install 'papernets[scale]'"
            ) from error
        options = {k.replace("-", "_"): v for k, v in self.options.items()}
        numbers = dict(DEFAULTS)
        for name in numbers.keys() & options.keys():
            text = options.pop(name)
            if not text.isdecimal() or int(text) == 0:
                unit = " of minutes" if name == "time" else ""
                raise ValueError(f"{name} is {text!r}, not a whole number{unit}")
            numbers[name] = int(text)
        try:
            executor = submitit.AutoExecutor(
                folder, self.name, slurm_max_num_timeout=RESTARTS
            )
        except RuntimeError as error:
            raise ValueError(
                "there is no Slurm here (srun is missing); give the command on a "
                "machine from which jobs can be submitted"
            ) from error
        executor.update_parameters(
            timeout_min=numbers["time"],
            slurm_array_parallelism=numbers["array_parallelism"],
            slurm_signal_delay_s=min(SIGNAL_SECONDS, 15 * numbers["time"]),
            slurm_additional_parameters={"requeue": True, **options},
        )
        return executor


@dataclass
class Job:
    """What runs on the cluster: some tasks, each of which writes its record."""

    tasks: Sequence[Task]
    out: Path
    device: str
    threads: int | None

    def __call__(self) -> None:
        from submitit.core.utils import UncompletedJobError

        from papernets import experiments, training

        if int(os.environ.get("SLURM_RESTART_COUNT", "0")) > RESTARTS:
            raise SweepError(f"this job was restarted {RESTARTS} times already")
        cores = int(os.environ.get("SLURM_CPUS_PER_TASK", "1"))
        training.tune_process(self.threads or cores)
        failed = []
        for task in self.tasks:
            print(task.file_name, flush=True)
            try:
                experiments.execute(task, self.out, device=self.device)
            except UncompletedJobError:  # out of time, raised by a signal
                raise
            except Exception:  # the others of the group shall have their records
                traceback.print_exc()
                failed.append(task.file_name)
        if failed:
            raise SweepError(f"no record of {', '.join(failed)}")

    def checkpoint(self) -> "submitit.helpers.DelayedSubmission":
        """The job to go on with after a timeout; a run finds its own checkpoint."""
        import submitit

        return submitit.helpers.DelayedSubmission(self)


class Queue:
    """The jobs of one folder of records, those of earlier commands included."""

    def __init__(self, cluster: Cluster, folder: Path) -> None:
        self.cluster, self.folder = cluster, folder
        self.executor = cluster.executor(folder)
        folder.mkdir(parents=True, exist_ok=True)
        self.lock = FileLock(folder / "submission.lock")
        self.jobs: dict[str, submitit.Job[None]] = {}
        self.last_job: dict[str, submitit.Job[None]] = {}  # by key of the task

    def submit(self, jobs: Sequence[Job]) -> None:
        from submitit.core.utils import FailedJobError, FailedSubmissionError

        for first in range(0, len(jobs), ARRAY_SIZE):
            part = jobs[first : first + ARRAY_SIZE]
            try:
                submitted = self.executor.submit_array(part)
            except (FailedJobError, FailedSubmissionError) as error:
                raise ValueError(str(error).strip().splitlines()[0]) from error
            for job, content in zip(submitted, part, strict=True):
                self.note(job, content)

    def note(self, job: "submitit.Job[None]", content: Job) -> None:
        self.jobs[job.job_id] = job
        self.last_job |= {task.key: job for task in content.tasks}

    def at_work(self) -> set[str]:
        """Keys of the tasks whose last job is waiting or running.

        Raises:
            CalledProcessError: Slurm does not answer.
        """
        if self.cluster.name == "local":
            queued = {name for name, job in self.jobs.items() if not job.done()}
        else:
            queued = queued_jobs()
        for name in queued - self.jobs.keys():
            from submitit import SlurmJob
            from submitit.helpers import DelayedSubmission

            job: SlurmJob[None] = SlurmJob(self.folder, name)
            with suppress(FileNotFoundError):  # not a job of this folder
                content = DelayedSubmission.load(job.paths.submitted_pickle).function
                assert isinstance(content, Job)
                self.note(job, content)
        return {key for key, job in self.last_job.items() if job.job_id in queued}


def queued_jobs() -> set[str]:
    """Jobs of this user that wait or run, "12_3" for an element of an array.

    submitit asks sacct, which needs an accounting database, and only every ten minutes.
    """
    command = ["squeue", "--user", str(os.getuid()), "--array", "--noheader"]
    done = subprocess.run(
        [*command, "--format=%i"], check=True, capture_output=True, text=True
    )
    return set(done.stdout.split())


def execute_all(
    tasks: Sequence[Task],
    out: Path,
    cluster: Cluster,
    *,
    device: str = "cpu",
    threads: int | None = None,
) -> Iterator[Record]:
    """Yield the record of every task as it appears in `out`.

    Args:
        out: folder that all machines of the cluster share.
        device: of the machines that do the work: "cpu" or "cuda".
        threads: of a task; by default the cores that Slurm gives it.

    Raises:
        SweepError: tasks failed `cluster.retries` times more; the others have records.
        ValueError: Slurm refuses the jobs, or as `Cluster.executor`.
    """
    out = out.absolute()
    queue = Queue(cluster, out / ".sweep")
    missing = {task.key: task for task in tasks}
    submissions: Counter[str] = Counter()
    failed = 0
    while missing:
        with queue.lock:  # of two commands at once, one submits
            try:
                # Asked first: a job has written its record before it leaves the queue.
                at_work = queue.at_work()
            except subprocess.CalledProcessError as error:
                report(f"Slurm does not answer: {error.stderr.strip()}")
                at_work = set(missing)
            finished = [t for t in missing.values() if record_file(t, out).exists()]
            for task in finished:
                del missing[task.key]
            absent = [t for key, t in missing.items() if key not in at_work]
            for task in absent:
                if task.key in queue.last_job:
                    log = queue.last_job[task.key].paths.stderr
                    report(f"{task.file_name} failed; its log is {log}")
                if submissions[task.key] > cluster.retries:
                    del missing[task.key]
                    failed += 1
            waiting = [t for t in absent if t.key in missing]
            new = [t for t in waiting if t.key not in submissions]
            groups = [
                *(
                    new[i : i + cluster.group]
                    for i in range(0, len(new), cluster.group)
                ),
                # Alone: one that kills its job must not take the others with it again.
                *([t] for t in waiting if t.key in submissions),
            ]
            submissions.update(t.key for t in waiting)
            queue.submit([Job(group, out, device, threads) for group in groups])
        if groups:
            report(f"submitted: {len(waiting)} tasks in {len(groups)} jobs")
        for task in finished:
            yield records.read(record_file(task, out))
        if missing:
            time.sleep(POLL_SECONDS)
    if failed:
        raise SweepError(
            f"{failed} of {len(tasks)} tasks have no record after "
            f"{1 + cluster.retries} submissions each; the logs named above say why"
        )


def record_file(task: Task, out: Path) -> Path:
    return out / task.experiment / task.file_name


def report(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
