"""Tests on real data are skipped by name, or fail where data are required."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

TEST = """\
import pytest

@pytest.fixture
def broken():
    raise RuntimeError("set up without data")

@pytest.mark.real_data
def test_on_real_data(broken):
    pass
"""


@pytest.mark.parametrize(
    ("required", "closing"), [("0", "1 skipped"), ("1", "1 error")]
)
@pytest.mark.parametrize("data", [None, "empty-folder"])
def test_missing_data(
    tmp_path: Path, required: str, closing: str, data: str | None
) -> None:
    shutil.copy(Path(__file__).with_name("conftest.py"), tmp_path)
    (tmp_path / "test_real.py").write_text(TEST)
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = real_data: as here\n")
    environment = {**os.environ, "PAPERNETS_REQUIRE_DATA": required}
    environment.pop("PAPERNETS_DATA", None)
    if data:
        environment["PAPERNETS_DATA"] = str(tmp_path / data)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-ra"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    reason = "PAPERNETS_DATA has no MNIST" if data else "PAPERNETS_DATA is not set"
    assert reason in done.stdout
    assert closing in done.stdout.splitlines()[-1]
    assert done.returncode == int(required)
