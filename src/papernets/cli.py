"""The `papernets` command."""

import argparse
import os
import re
import signal
import sys
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from papernets.records import Record
    from papernets.sweep import Cluster

EXAMPLES = """examples:
  papernets list                                   models, data sets, recipes, chapters
  papernets data cifar10                           download and check a data set
  papernets train polynet --data digits --recipe article --epochs 5 --set blocks=3
  torchrun --nproc-per-node 4 -m papernets.cli train resnet20 --data cifar10 \\
      --recipe common --device cuda                one run on four devices
  papernets run pi_net --preset quick              a chapter's grid, in miniature
  papernets run pi_net --preset paper --jobs 2     the chapter's records, made anew
  papernets run batch_norm --preset paper --slurm partition=cpu time=60 --group 20
                                                   as jobs of a Slurm cluster
  papernets survey --plan full --budget-minutes 50 --device cuda --out runs
                                                   the survey's next runs, in that time
  papernets results results                        a table of run records
  papernets memorize --data points.csv --a1 3 --a2 3 --out net.json
                                                   a network through every point

A run that was interrupted (Ctrl-C, a crash, a power cut) goes on from its last finished
epoch when the same command is given again. Data lie in $PAPERNETS_DATA."""

MEMORIZE = """Build the ReLU network with hidden layers of A1 and A2 neurons that gives
every target of a CSV file with error zero, prove that it does, and write its
rational weights. Numbers are taken as they are written: 0.1 is 1/10. A header line
is allowed."""
MEMORIZE_EXAMPLE = """example: points.csv holds
  x1,x2,target
  0,0,0
  0,1,1
  1,0,1
  1,1,0
and 2 x 2 neurons are enough for four points:
  papernets memorize --data points.csv --a1 2 --a2 2 --out net.json
In Python, ExactNetwork.load("net.json").evaluate([[1, 0]]) gives the exact output, and
to_torch() the nearest nn.Sequential."""


MOST_THREADS = 1024  # more than any machine has cores; each costs memory


class UsageError(Exception):
    """A bad argument; the message is all the user sees."""


class TerminatedError(KeyboardInterrupt):
    """SIGTERM came, as from `kill`, a shutdown, or Slurm."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns:
        0; 1 if runs failed on a cluster; 2 for bad input; 130 after Ctrl-C; 143 after
        SIGTERM.
    """
    # Read when PyTorch is imported, so it comes before any other import.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    options = parser().parse_args(arguments)
    try:
        with termination_raised():
            options.command(options)
    except TerminatedError:
        print(f"terminated; {options.interrupted}", file=sys.stderr)
        return 128 + signal.SIGTERM
    except KeyboardInterrupt:
        print(f"interrupted; {options.interrupted}", file=sys.stderr)
        return 128 + signal.SIGINT
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        from papernets.sweep import SweepError

        print(f"papernets: {one_line(error)}", file=sys.stderr)
        return 1 if isinstance(error, SweepError) else 2
    return 0


@contextmanager
def termination_raised() -> Iterator[None]:
    """Let SIGTERM be an exception, so that half-written files are removed.

    Where it is handled already, or this is not the main thread, it stays as it is.
    """
    if (
        threading.current_thread() is not threading.main_thread()
        or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL
    ):
        yield
        return

    def stop(*_: object) -> None:
        raise TerminatedError

    signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def one_line(error: Exception) -> str:
    """The message of an error that was written for the user; others are raised."""
    from pydantic import ValidationError

    from papernets.data import DataError
    from papernets.parallel import LostProcessError
    from papernets.records import RecordError
    from papernets.sweep import SweepError
    from papernets.training import BusyError

    if isinstance(error, ValidationError):
        first = error.errors()[0]
        if first["type"] == "value_error":  # of a validator of ours
            return str(first["ctx"]["error"])
        where = ".".join(map(str, first["loc"]))
        return f"{where} is {first['input']!r}: {first['msg']}"
    known = (
        *(UsageError, DataError, RecordError, BusyError, LostProcessError),
        *(SweepError, ValueError, OSError),
    )
    if not isinstance(error, known):
        raise error
    if isinstance(error, OSError) and error.filename:
        return f"{error.filename}: {error.strerror}"
    return str(error)


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(
        prog="papernets",
        description="Neural-network papers, rerun.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.set_defaults(interrupted="the same command continues the run")
    commands = top.add_subparsers(required=True, metavar="command")

    listing = commands.add_parser(
        "list", help="models, data sets, recipes and chapters"
    )
    listing.set_defaults(command=list_everything)

    data = commands.add_parser("data", help="download and check data sets")
    data.add_argument("names", nargs="*", metavar="name", help="default: all")
    data.set_defaults(command=prepare_data)

    train = commands.add_parser("train", help="train one model and write its record")
    train.add_argument("model")
    train.add_argument("--data", default="digits", help="default: %(default)s")
    train.add_argument("--recipe", default="article", help="default: %(default)s")
    train.add_argument("--epochs", type=int, help="shrink or stretch the recipe")
    train.add_argument("--seed", type=int, default=0)
    train.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="name=value",
        help="a field of the recipe or an argument of the model; may be repeated",
    )
    add_execution(train)
    train.set_defaults(command=train_model)

    run = commands.add_parser("run", help="make the records of a chapter")
    run.add_argument("chapter")
    run.add_argument("--preset", choices=("quick", "paper"), default="quick")
    run.add_argument("--study", action="append", help="only this one; may be repeated")
    run.add_argument(
        "--jobs",
        type=int,
        default=1,
        help="runs side by side, on all GPUs in turn with --device cuda",
    )
    add_execution(run)
    add_cluster(run)
    run.set_defaults(command=run_chapter)

    survey = commands.add_parser("survey", help="the next runs of the survey's plan")
    survey.add_argument("--plan", default="equal", help="equal or full")
    survey.add_argument("--budget-minutes", type=float, metavar="M", help="default: 60")
    add_execution(survey)
    add_cluster(survey)
    survey.set_defaults(command=carry_on_survey)

    memorize = commands.add_parser(
        "memorize",
        help="the exact network through the points of a CSV file",
        description=MEMORIZE,
        epilog=MEMORIZE_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    memorize.add_argument("--data", type=Path, required=True, metavar="points.csv")
    memorize.add_argument("--a1", type=int, required=True, help="first hidden layer")
    memorize.add_argument("--a2", type=int, required=True, help="second hidden layer")
    memorize.add_argument("--out", type=Path, required=True, metavar="net.json")
    memorize.add_argument(
        "--targets", type=int, default=1, help="last columns of the file; default: 1"
    )
    memorize.add_argument(
        "--method", choices=("compact", "inoue2019"), default="compact"
    )
    memorize.add_argument("--seed", type=int, default=0, help="of the projection")
    memorize.set_defaults(command=memorize_points, interrupted="no network was written")

    results = commands.add_parser("results", help="a table of run records")
    results.add_argument("folder", type=Path, nargs="?", default=Path("results"))
    results.add_argument("--csv", action="store_true", help="every column, as CSV")
    results.set_defaults(command=show_results)
    return top


def add_execution(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--out", type=Path, default=Path("runs"), help="default: %(default)s"
    )
    command.add_argument("--device", default="cpu", help="cpu, cuda or cuda:1")
    command.add_argument("--threads", type=int, help="CPU threads of a run")


def add_cluster(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--slurm",
        nargs="*",
        metavar="option=value",
        help="as jobs of a Slurm cluster, with options of sbatch by their long names, "
        "and time in minutes (60)",
    )
    command.add_argument(
        "--group", type=int, default=1, help="runs in one job of Slurm; default: 1"
    )
    command.add_argument(
        "--retries", type=int, default=3, help="of a failed run; default: 3"
    )


def cluster_of(options: argparse.Namespace) -> "Cluster | None":
    """The cluster that `--slurm` asks for, if it does."""
    from papernets.sweep import Cluster

    if options.slurm is None:
        return None
    for name, least in (("group", 1), ("retries", 0)):
        if getattr(options, name) < least:
            raise UsageError(
                f"--{name} is {getattr(options, name)}; it must be at least {least}"
            )
    pairs = [text.partition("=") for text in options.slurm]
    for name, separator, value in pairs:
        if not (name and separator and value):
            raise UsageError(f"--slurm {name!r} is not of the form option=value")
    job_name = f"papernets-{options.out.resolve().name}"
    settings = {"job-name": job_name} | {n.replace("_", "-"): v for n, _, v in pairs}
    options.interrupted = (
        "the jobs stay in the queue, and the same command follows them again; "
        f"`scancel --name={settings['job-name']}` ends them"
    )
    return Cluster(settings, group=options.group, retries=options.retries)


def list_everything(options: argparse.Namespace) -> None:
    from papernets import data, experiments, models, recipes

    for title, names in (
        ("models", models.list_models()),
        ("data sets", list(data.SOURCES)),
        ("recipes", list(recipes.RECIPES)),
        ("chapters", experiments.CHAPTERS),
    ):
        print(f"{title}:", *names, sep="\n  ")


def prepare_data(options: argparse.Namespace) -> None:
    from papernets import data

    for name in options.names or data.SOURCES:
        loaded = data.load(name)
        counts = (len(loaded.train), len(loaded.validation), len(loaded.test))
        print(
            f"{name}: {counts[0]:,} training, {counts[1]:,} validation, {counts[2]:,} "
            f"test images, SHA-256 {loaded.checksum[:16]}, in {data.data_folder()}"
        )


def train_model(options: argparse.Namespace) -> None:
    from papernets import parallel, training
    from papernets.recipes import RECIPES, Recipe
    from papernets.records import Run

    check_execution(options)
    check_seed(options.seed)
    check_device(options.device)
    if options.recipe not in RECIPES:
        raise UsageError(
            f"no recipe {options.recipe!r}; there are {', '.join(RECIPES)}"
        )
    recipe = RECIPES[options.recipe]
    if options.epochs is not None:
        if options.epochs < 1:
            raise UsageError(f"--epochs is {options.epochs}; it must be at least 1")
        recipe = recipe.quick(options.epochs)
    settings = dict(parse_setting(text) for text in options.set)
    of_recipe = {k: v for k, v in settings.items() if k in Recipe.__annotations__}
    run = Run(
        experiment="train",
        model=options.model,
        model_args={k: v for k, v in settings.items() if k not in of_recipe},
        dataset=options.data,
        recipe=recipe.but(**of_recipe),
        seed=options.seed,
    )
    training.tune_process(options.threads)
    with parallel.job(options.device) as device:
        record = training.execute(run, options.out, device=device)
        if parallel.rank_and_size()[0] == 0:
            print(describe(record))


def run_chapter(options: argparse.Namespace) -> None:
    from papernets import experiments

    check_execution(options)
    cluster = cluster_of(options)
    if not cluster:  # whose devices are elsewhere
        check_device(options.device)
    if options.jobs < 1:
        raise UsageError(f"--jobs is {options.jobs}; it must be at least 1")
    if cluster and options.jobs > 1:
        raise UsageError("--jobs is for one machine; with --slurm, give --group")
    studies = experiments.chapter(options.chapter).studies(options.preset)
    for name in options.study or ():
        if name not in studies:
            raise UsageError(f"no study {name!r}; there are {', '.join(studies)}")
    tasks = experiments.tasks_of(studies[name] for name in options.study or studies)
    finished = experiments.execute_all(
        tasks,
        options.out,
        device=options.device,
        jobs=options.jobs,
        threads=options.threads,
        cluster=cluster,
    )
    show_progress(finished, len(tasks))


def show_progress(finished: "Iterable[Record]", total: int) -> None:
    for number, record in enumerate(finished, 1):
        print(f"[{number}/{total}] {describe(record)}", flush=True)


def carry_on_survey(options: argparse.Namespace) -> None:
    from papernets import experiments, training
    from papernets.experiments import campaign, model_survey

    check_execution(options)
    cluster = cluster_of(options)
    plan = model_survey.plan(options.plan)
    if cluster:
        if options.budget_minutes is not None:
            raise UsageError("--budget-minutes is for one machine; give --slurm time=M")
        runs = campaign.missing(plan, options.out)
        finished = experiments.execute_all(
            *(runs, options.out),
            device=options.device,
            threads=options.threads,
            cluster=cluster,
        )
        show_progress(finished, len(runs))
    else:
        check_device(options.device)
        minutes = 60 if options.budget_minutes is None else options.budget_minutes
        if not minutes > 0:
            raise UsageError(f"--budget-minutes is {minutes:g}; it must be positive")
        training.tune_process(options.threads)
        for record in campaign.carry_on(
            *(plan, options.out), budget_seconds=60 * minutes, device=options.device
        ):
            print(describe(record), flush=True)
    left = campaign.missing(plan, options.out)
    print(f"{len(plan) - len(left)} of {len(plan)} runs of the plan have records")


def memorize_points(options: argparse.Namespace) -> None:
    from time import perf_counter

    from tqdm import tqdm

    from papernets.files import check_target, make_folder
    from papernets.memorization import ConflictError, memorize
    from papernets.points import read_points

    points, out = options.data, options.out
    check_seed(options.seed)
    check_target(out)
    if out.exists() and points.exists() and out.samefile(points):
        raise UsageError(f"--out {out} is the file of the points; give another name")
    x, y, lines = read_points(points, options.targets)
    make_folder(out.parent)
    began = perf_counter()
    with tqdm(desc="building", leave=False, disable=not sys.stderr.isatty()) as bar:

        def progress(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        try:
            network = memorize(
                *(x, y, options.a1, options.a2, options.method),
                seed=options.seed,
                progress=progress,
            )
        except ConflictError as error:
            pairs = [(lines[a], lines[b]) for a, b in error.pairs]
            message = ConflictError(pairs, "lines")
            raise UsageError(f"{options.data}: {message}") from error
    d, a1, a2, outputs = network.shape
    longest, total = network.bits
    print(
        f"built: {d} inputs, {a1} and {a2} neurons, {outputs} output(s), in "
        f"{perf_counter() - began:.1f} s; longest numerator {longest:,} bits, all "
        f"{total / 8e6:,.1f} MB"
    )
    report = network.verify(x, y)
    print(
        f"verified: all {report.points:,} points exactly, {report.matrix_form} points "
        f"in the matrix form as well, in {report.seconds:.1f} s"
    )
    network.save(options.out)
    print(f"saved: {options.out}, {options.out.stat().st_size / 1e6:,.1f} MB")


def show_results(options: argparse.Namespace) -> None:
    from papernets import records

    found = records.read_all(options.folder)
    runs, measurements = records.load(found), records.load_measurements(found)
    if not found:
        raise UsageError(f"{options.folder} holds no records")
    if options.csv:
        for table in (runs, measurements):
            print("" if table.empty else table.to_csv(index=False), end="")
        return
    columns = (
        *("experiment", "model", "dataset", "recipe", "seed", "status", "epochs"),
        *("validation_accuracy", "test_accuracy", "seconds"),
    )
    if not runs.empty:
        print(runs[list(columns)].to_string(index=False, float_format="{:.4f}".format))
    if not measurements.empty:
        names = [*("experiment", "function", "dataset", "seed", "seconds"), "key"]
        print(measurements[names].to_string(index=False))


def describe(record: "Record") -> str:
    from papernets.records import RunRecord

    if not isinstance(record, RunRecord):
        return f"{record.task.file_name}: measured in {record.seconds:.0f} s"
    run = record.run
    outcome = (
        f"diverged in epoch {len(record.curves.train_loss) + 1}"
        if record.test_accuracy is None
        else f"test accuracy {record.test_accuracy:.2%}"
    )
    return f"{run.file_name}: {outcome} in {record.seconds:.0f} s"


def check_execution(options: argparse.Namespace) -> None:
    """Refuse a device or a number of threads that PyTorch would stumble over."""
    if not re.fullmatch(r"cpu|cuda(:[0-9]{1,2})?", options.device):
        raise UsageError(
            f"--device is {options.device!r}; it must be cpu, cuda or cuda:N"
        )
    if options.threads is not None and not 1 <= options.threads <= MOST_THREADS:
        raise UsageError(
            f"--threads is {options.threads}; it must be from 1 to {MOST_THREADS}"
        )


def check_seed(seed: int) -> None:
    if not 0 <= seed < 2**64:  # what PyTorch takes
        raise UsageError(f"--seed is {seed}; it must be from 0 to 2^64 - 1")


def check_device(device: str) -> None:
    import torch

    try:
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UsageError(
            f"device {device!r} cannot be used here ({str(error).splitlines()[0]}); "
            "use --device cpu"
        ) from error


def parse_setting(text: str) -> tuple[str, bool | int | float | str | None]:
    """("blocks", 3) from "blocks=3"; numbers, true, false and none are recognised."""
    name, separator, value = text.partition("=")
    if not separator or not name:
        raise UsageError(f"--set {text!r} is not of the form name=value")
    words = {"true": True, "false": False, "none": None}
    if value.lower() in words:
        return name, words[value.lower()]
    for number in (int, float):
        try:
            return name, number(value)
        except ValueError:
            continue
    return name, value


if __name__ == "__main__":
    sys.exit(main())
