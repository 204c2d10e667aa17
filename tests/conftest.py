"""What all tests share: quiet threads, real data where there are any, and no silence.

A test marked `real_data` finds MNIST and CIFAR-10 in PAPERNETS_DATA. Without them it is
skipped by name; with PAPERNETS_REQUIRE_DATA=1 it fails instead.
"""

import os
from collections.abc import Generator
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before the first import of torch
os.environ.setdefault("MPLBACKEND", "agg")

import pytest

DATA_SETS = ("MNIST/raw", "cifar-10-batches-py")


def missing_data() -> str:
    """Why tests on real data cannot run; empty if they can."""
    if "PAPERNETS_DATA" not in os.environ:
        return "PAPERNETS_DATA is not set"
    folder = Path(os.environ["PAPERNETS_DATA"])
    missing = [name for name in DATA_SETS if not (folder / name).is_dir()]
    return f"PAPERNETS_DATA has no {' and no '.join(missing)}" if missing else ""


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip tests on real data where there are none."""
    if item.get_closest_marker("real_data") and (reason := missing_data()):
        pytest.skip(reason)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn a skip for want of data into a failure where data are required."""
    report = yield
    required = os.environ.get("PAPERNETS_REQUIRE_DATA") == "1"
    if required and report.skipped and item.get_closest_marker("real_data"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else ""
        report.outcome = "failed"
        report.longrepr = f"PAPERNETS_REQUIRE_DATA=1, but {reason}"
    return report
