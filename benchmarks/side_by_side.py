"""What running small networks side by side gains over one after another.

    python benchmarks/side_by_side.py --jobs 2 --runs 4

Trains the ten-layer network of the batch normalization chapter for two epochs on real
MNIST (in `PAPERNETS_DATA`), `runs` times: one after another, each on `jobs` threads,
then in `jobs` processes of one thread. Both ways include starting, reading the data and
writing the records. The machine should have nothing else to do.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

RUN = """
import sys
from pathlib import Path
from papernets import experiments
from papernets.experiments import batch_norm
from papernets.recipes import PLAIN_SGD
from dataclasses import replace

if __name__ == "__main__":
    out, count, jobs, threads = sys.argv[1], *map(int, sys.argv[2:])
    runs = batch_norm.runs(0.1, count, activation="sigmoid", norm="batch")
    runs = [replace(run, recipe=PLAIN_SGD.quick(2)) for run in runs]
    list(experiments.execute_all(runs, Path(out), jobs=jobs, threads=threads))
"""


def seconds(runs: int, jobs: int, threads: int) -> float:
    """What all runs take in a new Python with these numbers."""
    environment = os.environ | {"OMP_WAIT_POLICY": "PASSIVE"}
    environment.pop("OMP_NUM_THREADS", None)
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder) / "run.py"
        program.write_text(RUN)
        command = [sys.executable, program, folder, runs, jobs, threads]
        began = time.perf_counter()
        subprocess.run([str(part) for part in command], check=True, env=environment)
        return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--runs", type=int, default=4)
    options = parser.parse_args()
    one = seconds(options.runs, 1, options.jobs)
    print(f"one after another, {options.jobs} threads each: {one:.1f} s")
    side = seconds(options.runs, options.jobs, 1)
    print(f"{options.jobs} side by side, one thread each: {side:.1f} s")
    print(f"side by side is {one / side:.2f} times as fast")


if __name__ == "__main__":
    main()
