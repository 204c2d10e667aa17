"""The files that set up the environment agree with each other and with the package."""

import os
import re
import shutil
import subprocess
import tomllib
from importlib import metadata
from itertools import chain
from pathlib import Path

import pytest
import yaml
from packaging.markers import Environment, default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import build

NAMED = {"jupyter-book", "matplotlib", "nbval", "pandas", "torch", "torchvision"}
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
PLATFORMS = (("linux", "Linux", "x86_64"), ("darwin", "Darwin", "arm64"))


def pins(lines: list[str]) -> dict[str, str]:
    """Name and version of the lines that read name==version."""
    found = (line.split("==") for line in lines if re.match(r"[\w.-]+==", line))
    return {canonicalize_name(name): version.strip() for name, version in found}


LOCK_LINES = (build.ROOT / "requirements.lock").read_text().splitlines()
LOCK = pins(LOCK_LINES)


def environments(extra: str) -> list[dict[str, str]]:
    """What requirement markers are asked about, for all that the lock file covers."""
    here: Environment = default_environment()
    return [
        {
            **{key: str(value) for key, value in here.items()},
            "extra": extra,
            "platform_machine": machine,
            "platform_system": system,
            "python_full_version": f"{python}.9",
            "python_version": python,
            "sys_platform": platform,
        }
        for platform, system, machine in PLATFORMS
        for python in PYTHONS
    ]


def test_lock_file_holds_nothing_but_pins() -> None:
    entries = [line for line in LOCK_LINES if not line.startswith("#")]
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+", line) for line in entries)
    assert len(LOCK) == len(entries)
    assert "papernets" not in LOCK


def test_lock_file_holds_all_that_is_needed_and_no_more() -> None:
    """Also for macOS and newer Pythons, whose packages may need others."""
    pending = [("papernets", extra) for extra in ("", "book", "scale", "test")]
    seen = set(pending)
    while pending:
        name, extra = pending.pop()
        for text in metadata.requires(name) or ():
            requirement = Requirement(text)
            marker = requirement.marker
            if marker and not any(map(marker.evaluate, environments(extra))):
                continue
            needed = canonicalize_name(requirement.name)
            assert needed in LOCK, f"{name} needs {requirement}"
            version = LOCK[needed]
            assert requirement.specifier.contains(version, prereleases=True), (
                f"{name} needs {requirement}, pinned is {version}"
            )
            found = {(needed, extra) for extra in ("", *requirement.extras)} - seen
            seen |= found
            if needed != "appnope":  # installed on macOS only
                pending += found
    assert {name for name, _ in seen} - {"papernets"} == set(LOCK)


def test_installed_versions_are_the_pinned_ones() -> None:
    for name in NAMED:
        assert metadata.version(name).partition("+")[0] == LOCK[name]


def test_dependencies_of_the_project_are_locked() -> None:
    """Reads pyproject.toml itself; the installed metadata could be older."""
    project = tomllib.loads((build.ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    locked = chain.from_iterable(extras[name] for name in ("book", "scale", "test"))
    for text in [*project["dependencies"], *locked]:
        requirement = Requirement(text)
        version = LOCK[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(version), text


def test_conda_environment_has_the_same_pins() -> None:
    environment = yaml.safe_load((build.ROOT / "environment.yml").read_text())
    *conda, pip = environment["dependencies"]
    assert conda == ["python=3.11", "pip"]
    named = pins(pip["pip"])
    assert named == {name: LOCK[name] for name in NAMED}
    others = [line for line in pip["pip"] if "==" not in line]
    assert others == ["-c requirements.lock", "-e .[book,scale,test]"]


def test_help_lists_every_target() -> None:
    makefile = (build.ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z][a-z-]*):", makefile, flags=re.MULTILINE))
    [checks] = re.findall(r"^CHECKS := (.*)$", makefile, flags=re.MULTILINE)
    [phony] = re.findall(r"^\.PHONY: (.*) \$\(CHECKS\)$", makefile, flags=re.MULTILINE)
    assert targets == {*phony.split(), *checks.split()}
    listed = set(re.findall(r"^  ([a-z-]+) +\S", make("help"), flags=re.MULTILINE))
    assert listed == targets


def make(*arguments: str, folder: Path = build.ROOT) -> str:
    """The output of make, run as by a person and not by the make around the tests."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MAKE")}
    command = ["make", *arguments]
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True
    )
    return done.stdout + done.stderr


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder with what the set-up reads, already set up."""
    for name in ("Makefile", "pyproject.toml", "requirements.lock"):
        shutil.copy(build.ROOT / name, tmp_path)
        os.utime(tmp_path / name, (1e9, 1e9))
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv" / ".installed").touch()
    return tmp_path


@pytest.mark.parametrize("target", ["book", "test"])
def test_second_make_does_not_install_again(checkout: Path, target: str) -> None:
    assert "pip install" not in make("-n", target, folder=checkout)


@pytest.mark.parametrize("name", ["requirements.lock", "pyproject.toml"])
def test_changed_requirements_are_installed(checkout: Path, name: str) -> None:
    os.utime(checkout / name, (4e9, 4e9))
    assert "pip install" in make("-n", "book", folder=checkout)


@pytest.mark.parametrize("python", ["no-such-python", "old-python"])
def test_python_that_is_missing_or_old(checkout: Path, python: str) -> None:
    (checkout / ".venv" / ".installed").unlink()
    old = checkout / "old-python"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    command = python if python == "no-such-python" else f"./{python}"
    printed = make(f"PYTHON={command}", "book", folder=checkout)
    sentence = f"{command} is not Python 3.11 or newer"
    assert printed.startswith(sentence)
    assert len(printed.splitlines()) == 2  # make adds that the target failed
    assert not (checkout / ".venv" / ".installed").exists()


def test_committed_files_name_no_machine() -> None:
    """No folders of the machine that made them, and no package registries."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=build.ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    hosts = ("pypi", "pythonhosted", "anaconda", "npmjs", "debian", "pytorch")
    folders = ("home", "root", "Users", "work")
    pattern = re.compile(
        rf"\b({'|'.join(hosts)})\.(org|com)\b|(?<![\w.:/])/({'|'.join(folders)})/\w"
    )
    found = []
    for name in filter(None, listed.stdout.split("\0")):
        path = build.ROOT / name
        if not path.is_file():  # deleted, but not yet for git
            continue
        text = path.read_text(encoding="utf-8", errors="ignore")
        found += [f"{name}: {match[0]}" for match in pattern.finditer(text)]
    assert found == []
