"""The set-up that Binder runs, as far as it goes without a network.

The script runs in an environment of its own, in which the pinned packages are found but
`papernets` is not. So pip reads the pins and the extras, finds every package there, and
installs the checkout.
"""

import os
import shutil
import site
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.specifiers import SpecifierSet

import build

BINDER = build.ROOT / "binder"


def test_python_is_one_that_the_package_takes() -> None:
    name, _, version = (BINDER / "runtime.txt").read_text().strip().partition("-")
    project = tomllib.loads((build.ROOT / "pyproject.toml").read_text())["project"]
    assert name == "python"
    assert SpecifierSet(project["requires-python"]).contains(version)


def test_nothing_else_would_be_run() -> None:
    """Binder prefers other files, such as an environment for conda, if they exist."""
    assert {path.name for path in BINDER.iterdir()} == {"postBuild", "runtime.txt"}


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """What a clone has of the files that the set-up reads."""
    folder = tmp_path / "clone"
    for name in ("binder", "src"):
        shutil.copytree(
            build.ROOT / name,
            folder / name,
            ignore=shutil.ignore_patterns("*.egg-info", "__pycache__"),
        )
    for name in ("pyproject.toml", "requirements.lock", "README.md", "LICENSE"):
        shutil.copy(build.ROOT / name, folder)
    return folder


def set_up(checkout: Path) -> subprocess.CompletedProcess[str]:
    """Run the script in `checkout` without a network, in an empty environment."""
    environment = checkout.parent / "environment"
    command = [sys.executable, "-m", "venv", "--without-pip", str(environment)]
    subprocess.run(command, check=True)
    binaries = environment / "bin"
    [packages] = environment.glob("lib/python*/site-packages")
    # A folder with links to all packages of this environment but papernets itself.
    pinned = checkout.parent / "pinned"
    pinned.mkdir()
    for folder in map(Path, site.getsitepackages()):
        for path in folder.iterdir():
            if "papernets" not in path.name:
                (pinned / path.name).symlink_to(path)
    (packages / "pinned.pth").write_text(f"{pinned}\n")
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "PIP_"))}
    return subprocess.run(
        ["binder/postBuild"],
        cwd=checkout,
        env=kept
        | {
            "PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}",
            "PIP_CONFIG_FILE": os.devnull,
            "PIP_NO_INDEX": "1",
            # Setuptools could not be fetched; pip reads 0 as: no isolation.
            "PIP_NO_BUILD_ISOLATION": "0",
        },
        capture_output=True,
        text=True,
    )


def test_set_up_installs_the_checkout(checkout: Path) -> None:
    done = set_up(checkout)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Successfully installed papernets" in done.stdout
    assert "pi_net" in done.stdout  # the last line of the script lists the chapters
    python = checkout.parent / "environment/bin/python"
    where = subprocess.run(
        [str(python), "-c", "import papernets; print(papernets.__file__)"],
        cwd=checkout.parent,
        capture_output=True,
        text=True,
        check=True,
    )
    assert Path(where.stdout.strip()).is_relative_to(checkout)


def test_a_pin_that_cannot_be_had_fails_the_set_up(checkout: Path) -> None:
    lock = checkout / "requirements.lock"
    text = lock.read_text()
    lock.write_text(text.replace("\npyarrow==", "\npyarrow==999."))
    assert lock.read_text() != text
    done = set_up(checkout)
    assert done.returncode != 0
    assert "pyarrow==999" in done.stdout + done.stderr
