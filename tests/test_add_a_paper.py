"""The template of book/add_a_paper.md, copied as the page says: everything appears."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import build

PAGE = """
import model_pages
paper = next(p for p in model_pages.papers() if p.entry.name == "template_net")
parts = model_pages.page(paper), model_pages.index([paper])
print(*parts, model_pages.bibliography([paper]), sep="\\n=====\\n")
"""


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the repository with the template added to the networks."""
    root = tmp_path_factory.mktemp("checkout")
    ignored = shutil.ignore_patterns("__pycache__", "*.egg-info", "_static", "models*")
    shutil.copytree(build.ROOT / "book", root / "book", ignore=ignored)
    for name in ("src", "tests"):
        ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
        shutil.copytree(build.ROOT / name, root / name, ignore=ignored)
    shutil.copy(build.ROOT / "pyproject.toml", root)
    shutil.copy(build.ROOT / "book/model_pages.py", root / "book")
    models = root / "src/papernets/models"
    shutil.copy(build.ROOT / "book/paper_template.py", models / "template.py")
    package = (models / "__init__.py").read_text()
    package, imports = re.subn(r"\n    vgg,", "\n    template,\\g<0>", package)
    package, names = re.subn(r'\n    "vgg",', '\n    "template",\\g<0>', package)
    assert imports == names == 1
    (models / "__init__.py").write_text(package)
    run(root, "tests/model_numerics.py")
    return root


def run(root: Path, *arguments: str) -> str:
    """What Python prints with the copied package; the two must not be mixed up."""
    path = os.pathsep.join([str(root / "src"), str(root / "book")])
    command = [sys.executable, *arguments]
    environment = {**os.environ, "PYTHONPATH": path}
    done = subprocess.run(
        command, cwd=root, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_tests_of_all_networks_run_for_it(checkout: Path) -> None:
    files = ["tests/test_registry.py", "tests/test_model_numerics.py"]
    options = ["-p", "no:cacheprovider", "-k", "template_net", "-v"]
    printed = run(checkout, "-m", "pytest", *files, *options)
    assert "test_the_network_computes_what_it_did[template_net] PASSED" in printed
    assert "test_every_parameter_learns[template_net] PASSED" in printed
    passed = re.search(r"(\d+) passed", printed)
    assert passed
    assert int(passed[1]) >= 10
    assert not re.search(r"failed|skipped|error", printed)


def test_page_row_and_bibliography_appear(checkout: Path) -> None:
    page, table, bibliography = run(checkout, "-c", PAGE).split("\n=====\n")
    assert page.startswith("# TemplateNet\n\n*Title of the Paper*\n")
    assert "A. Author, B. Author, 2020." in page
    assert "\n`TemplateBlock`\n: `x + BN conv3x3(relu(BN conv3x3(x)))`\n" in page
    assert "\n**3 × TemplateBlock**." in page
    assert page.count("<svg") == 2
    assert "- He initialisation, as in all networks of this book." in page
    assert "| – | [TemplateNet](models/template.md), `template_net` | 2020 |" in table
    assert bibliography.startswith("@misc{template,\n  author = {A. Author and B. Au")
    assert "{cite}`template`" in page
