"""Kill training runs at random moments and compare their records, bit for bit.

    python benchmarks/interruption.py --kills 20

Runs `papernets train` in a child process, kills it with SIGKILL, and starts the same
command again, until the run is finished. Its record must equal that of a run that was
left alone. Takes about five minutes for 20 kills on one core.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from papernets import records

COMMAND = [
    *(sys.executable, "-m", "papernets.cli", "train", "polynet", "--threads", "1"),
    *("--recipe", "article", "--set", "blocks=3"),
    *("--set", "dropout=0.1", "--set", "flip=true", "--set", "crop_padding=1"),
]


EPOCHS = 25  # 2 seconds, as in the test suite


def command(folder: Path, epochs: int = EPOCHS) -> list[str]:
    return [*COMMAND, "--epochs", str(epochs), "--out", str(folder)]


def only_record(folder: Path) -> records.RunRecord:
    (file,) = (folder / "train").glob("*.json")
    return records.read(file)


def left_alone(folder: Path, epochs: int = EPOCHS) -> tuple[dict[str, Any], float]:
    """The outcome of the run that is never killed, and its seconds."""
    subprocess.run(command(folder, epochs), check=True, capture_output=True)
    record = only_record(folder)
    return record.outcome(), record.seconds


def kill_and_resume(
    folder: Path,
    kills: int,
    longest: float,
    rng: np.random.Generator,
    epochs: int = EPOCHS,
) -> tuple[int, int]:
    """Kill the run up to `kills` times, then let it finish.

    Each time it is killed up to `longest` seconds after its first checkpoint exists, or
    while it still starts up. Returns how often it was killed, and how often it had
    resumed from a checkpoint when it was finished.
    """
    killed = 0
    for _ in range(kills):
        child = subprocess.Popen(command(folder, epochs), stdout=subprocess.DEVNULL)
        while not list(folder.rglob("*.pt")) and child.poll() is None:
            time.sleep(0.02)
        time.sleep(rng.uniform(0, longest))
        child.kill()
        killed += child.wait() < 0
    subprocess.run(command(folder, epochs), check=True, capture_output=True)
    return killed, only_record(folder).interruptions


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--epochs", type=int, default=200, help="of the killed run")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rng = np.random.default_rng(options.seed)
    killed = equal = rounds = resumed = 0
    with tempfile.TemporaryDirectory() as name:
        outcome, seconds = left_alone(Path(name) / "alone", options.epochs)
        while killed < options.kills:
            folder = Path(name) / f"round{rounds}"
            # Four kills in one run: each leaves it about a quarter further.
            more, from_checkpoint = kill_and_resume(
                folder, 4, seconds / 4, rng, options.epochs
            )
            killed, rounds = killed + more, rounds + 1
            resumed += from_checkpoint
            equal += only_record(folder).outcome() == outcome
            print(f"{killed} kills, {equal} of {rounds} records equal", flush=True)
    print(
        f"{killed} SIGKILLs over {rounds} runs of {seconds:.1f} s, {resumed} "
        f"resumptions from a checkpoint: {equal} of {rounds} records equal bit for bit"
    )
    return 0 if equal == rounds else 1


if __name__ == "__main__":
    sys.exit(main())
