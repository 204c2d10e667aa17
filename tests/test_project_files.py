"""Workflows and citation: valid by their schemas, and in step with the project."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

import build

WORKFLOWS = sorted((build.ROOT / ".github" / "workflows").glob("*.yml"))
PROJECT = tomllib.loads((build.ROOT / "pyproject.toml").read_text())["project"]
each = pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)


def assert_valid(schema: str, path: Path) -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema"]
    done = subprocess.run(
        [*command, f"vendor.{schema}", str(path)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


def steps(path: Path) -> list[dict[str, Any]]:
    jobs = yaml.safe_load(path.read_text())["jobs"]
    return [step for job in jobs.values() for step in job["steps"]]


def commands(path: Path) -> str:
    return "\n".join(step["run"] for step in steps(path) if "run" in step)


@each
def test_workflow_is_valid(path: Path) -> None:
    assert_valid("github-workflows", path)


@each
def test_targets_of_make_exist(path: Path) -> None:
    makefile = (build.ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z][a-z-]*):", makefile, flags=re.MULTILINE))
    called = re.findall(r"^make(?: [A-Z]+=\S+)* (\S+)$", commands(path), re.MULTILINE)
    assert called
    assert len(called) == commands(path).count("make ")
    assert set(called) <= targets


@each
def test_actions_are_pinned_to_major_versions(path: Path) -> None:
    used = [step["uses"] for step in steps(path) if "uses" in step]
    assert "actions/checkout" in {action.partition("@")[0] for action in used}
    assert all(re.fullmatch(r"actions/[a-z-]+@v\d+", action) for action in used)


@each
def test_scripts_are_shell(path: Path) -> None:
    done = subprocess.run(
        ["bash", "-n"], input=commands(path), capture_output=True, text=True
    )
    assert done.stderr == ""


@each
def test_no_repository_is_named(path: Path) -> None:
    assert not re.search(r"github\.(com|io)/|\w\.github\.io", path.read_text())


def test_checks_run_on_both_systems_and_all_versions() -> None:
    text = (build.ROOT / ".github/workflows/checks.yml").read_text()
    matrix = yaml.safe_load(text)["jobs"]["test"]["strategy"]["matrix"]
    assert {name.partition("-")[0] for name in matrix["os"]} == {"ubuntu", "macos"}
    assert matrix["python"][0] == PROJECT["requires-python"].removeprefix(">=")
    assert matrix["python"] == ["3.11", "3.12", "3.13"]


def test_newest_versions_are_not_pinned(tmp_path: Path) -> None:
    path = build.ROOT / ".github/workflows/newest-versions.yml"
    [command] = [c for c in commands(path).splitlines() if c.startswith("grep")]
    lock = tmp_path / "requirements.lock"
    lock.write_text((build.ROOT / lock.name).read_text())
    subprocess.run(["bash", "-c", command], cwd=tmp_path, check=True)
    assert "==" not in lock.read_text()
    assert yaml.safe_load(path.read_text())[True]["schedule"]  # YAML reads "on" so


def test_citation_is_valid() -> None:
    path = build.ROOT / "CITATION.cff"
    assert_valid("citation-file-format", path)
    citation = yaml.safe_load(path.read_text())
    assert citation["version"] == PROJECT["version"]
    assert citation["license"] == PROJECT["license"]


def test_an_invalid_file_is_found(tmp_path: Path) -> None:
    path = tmp_path / "CITATION.cff"
    path.write_text("cff-version: 1.2.0\ntitle: no authors\n")
    with pytest.raises(AssertionError, match="authors"):
        assert_valid("citation-file-format", path)
