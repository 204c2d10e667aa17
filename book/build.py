"""Build the book, or execute or check its notebooks.

    python book/build.py site                  # what `make book` runs
    python book/build.py execute [NAME ...]    # what `make notebooks` runs
    python book/build.py check --workers 2     # what `make notebooks-check` runs

This is the only program that executes notebooks, so that every one of them runs in the
same way: in the kernel of the Python that runs this file, on one thread (the results
depend on the number of threads), without a trace of the time or the machine in it.
"""

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MODELS = "book/models"  # page and folder that book/model_pages.py writes
RESULTS = "book/results_status"  # the same for book/results_pages.py
DOWNLOADS = "book/downloads"  # the same for book/downloads.py
REFERENCE = "book/reference"  # the same for book/api_pages.py
GENERATED = (MODELS, RESULTS, DOWNLOADS, REFERENCE)
CELL_TIMEOUT_SECONDS = 600
# The argument after the code is the folder of this file, which has Sphinx extensions.
JUPYTER_BOOK = (
    "import sys; sys.path.insert(0, sys.argv.pop(1)); "
    "from jupyter_book.cli.main import main; main(prog_name='jupyter-book')"
)
MATHJAX_FILES = ("mathjax/tex-mml-chtml.js", "mathjax/output/chtml/fonts/woff-v2/")
NOTEBOOK_METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python", "pygments_lexer": "ipython3"},
}


class BuildError(Exception):
    """What went wrong, as a sentence for the person who started the build."""


def kernel_environment() -> dict[str, str]:
    """The environment variables with which every notebook runs.

    The user's own Jupyter kernels, IPython profile and matplotlib backend take no part.
    """
    profile = ROOT / "_build" / "ipython" / "profile_default"
    profile.mkdir(parents=True, exist_ok=True)
    # Else every kernel warns that it talks to this program without encryption.
    (profile / "ipython_kernel_config.py").write_text("c.IPKernelApp.log_level = 40\n")
    return {
        **os.environ,
        "IPYTHONDIR": str(profile.parent),
        "JUPYTER_PREFER_ENV_PATH": "1",
        "MPLBACKEND": "module://matplotlib_inline.backend_inline",
        "OMP_NUM_THREADS": "1",
        "OMP_WAIT_POLICY": "PASSIVE",
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",  # the debugger's warning about itself
    }


def inputs_digest(root: Path) -> str:
    """SHA-256 over what the pages depend on beside their own text and code.

    These are the package's source, the run records, the lock file, the programs beside
    this one and the version of Python. Jupyter's execution cache looks at the code in
    the cells only.
    """
    files = [root / "requirements.lock", *(root / "book").glob("*.py")]
    for folder in ("src", "results"):
        files += [
            file
            for file in (root / folder).rglob("*")
            if file.is_file()
            and "__pycache__" not in file.parts
            and not file.parent.name.endswith(".egg-info")
            and not file.name.startswith(".")
            and file.suffix != ".part"
        ]
    digest = hashlib.sha256(sys.version.encode())
    for file in sorted(files):
        content = file.read_bytes()
        name = file.relative_to(root).as_posix()
        digest.update(f"\0{name}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()


def drop_stale_cache(root: Path) -> bool:
    """Empty the execution cache if it belongs to other inputs; return whether it did.

    The table of models, which `model_pages.write` writes last, goes too: where it is
    missing the pages are written anew. The digest is stored only after both are gone,
    so an interruption cannot pass the old ones off as new.
    """
    build = root / "_build"
    stored = build / "inputs.sha256"
    digest = inputs_digest(root)
    if stored.is_file() and stored.read_text() == digest:
        return False
    stored.unlink(missing_ok=True)
    shutil.rmtree(build / ".jupyter_cache", ignore_errors=True)
    (root / f"{MODELS}.md").unlink(missing_ok=True)
    build.mkdir(exist_ok=True)
    stored.write_text(digest)
    return True


def copy_mathjax(static: Path) -> None:
    """Copy MathJax and its fonts out of the installed package into `static`/mathjax.

    The pages then render mathematics without a network; the rest of the package, 24 MB
    of it, is not needed.
    """
    shutil.rmtree(static / "mathjax", ignore_errors=True)
    for file in metadata.files("sphinx-mathjax-offline") or ():
        inside = file.as_posix().partition("/static/")[2]
        if inside.startswith(MATHJAX_FILES):
            (static / inside).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file.locate(), static / inside)
    if not (static / MATHJAX_FILES[0]).is_file():
        raise BuildError("The package sphinx-mathjax-offline holds no MathJax.")


def toc_pages(root: Path) -> list[str]:
    """The pages that _toc.yml names, in its order, without suffix.

    Patterns stand for the files that match them now.
    """
    from sphinx_external_toc.api import GlobItem
    from sphinx_external_toc.parsing import parse_toc_yaml

    toc = parse_toc_yaml(root / "_toc.yml")

    def pages(name: str) -> Iterator[Path]:
        yield Path(name)
        for item in (item for tree in toc[name].subtrees for item in tree.items):
            if isinstance(item, GlobItem):
                yield from sorted(p.relative_to(root) for p in root.glob(item))
            else:
                yield from pages(str(item))

    return [page.with_suffix("").as_posix() for page in pages(toc.root.docname)]


def assert_pages_exist(pages: Sequence[str], folder: Path, *suffixes: str) -> None:
    """Raise BuildError naming the pages that have no file in `folder`."""
    missing = [
        page
        for page in pages
        if not any((folder / (page + suffix)).is_file() for suffix in suffixes)
    ]
    if missing:
        kinds = " or ".join(suffixes)
        raise BuildError(
            f"{folder} has no {kinds} file for these pages of _toc.yml: "
            f"{', '.join(missing)}."
        )


def write_pages(root: Path) -> None:
    """Write the pages of _toc.yml that are computed.

    Those on models depend on the package alone and are kept until its source changes.
    """
    wanted = set(toc_pages(root)).intersection(GENERATED)
    if MODELS in wanted and not (root / f"{MODELS}.md").is_file():
        import model_pages

        model_pages.write(root)
    if RESULTS in wanted:
        import results_pages

        results_pages.write(root)
    if DOWNLOADS in wanted:
        import downloads

        downloads.write(root)
    if REFERENCE in wanted:
        import api_pages

        api_pages.write(root)


def build_site(root: Path = ROOT) -> Path:
    """Build the book below `root`; return its first page.

    All pages are rendered anew, which takes seconds, so that neither a page nor a
    warning of an earlier build can survive. Only the outputs of notebooks are reused,
    and only if nothing that they depend on has changed.

    Raises:
        BuildError: a warning, a failed notebook, or a page that is missing.
    """
    build = root / "_build"
    for folder in ("html", "jupyter_execute", ".doctrees"):
        shutil.rmtree(build / folder, ignore_errors=True)
    which = "All notebooks" if drop_stale_cache(root) else "Notebooks with changed code"
    write_pages(root)
    pages = toc_pages(root)
    assert_pages_exist(pages, root, ".md", ".ipynb")
    print(
        f"Building the book. {which} are executed; a chapter takes up to two minutes."
    )
    sys.stdout.flush()
    copy_mathjax(root / "book" / "_static")

    command = [sys.executable, "-c", JUPYTER_BOOK, str(Path(__file__).resolve().parent)]
    command += ["build", "-W", "--keep-going", "."]
    if subprocess.run(
        command, cwd=root, env=kernel_environment(), stdout=subprocess.DEVNULL
    ).returncode:
        raise BuildError("The book was not built: its warnings, above, are errors.")
    assert_pages_exist(pages, build / "html", ".html")
    if drop_stale_cache(root):
        raise BuildError("Source or records changed during the build: build again.")
    return build / "html" / f"{pages[0]}.html"


def execute_notebook(path: Path) -> bool:
    """Execute a notebook in place; return whether its file changed.

    Executing it twice on one machine gives the same bytes. The file is replaced as a
    whole at the end; a notebook that fails is left as it was.

    Raises:
        BuildError: a cell raised an error, ran too long, or wrote to stderr.
    """
    import nbformat
    from nbclient import NotebookClient
    from nbclient.exceptions import CellControlSignal, DeadKernelError

    before = path.read_text(encoding="utf-8")
    notebook = nbformat.reads(before, as_version=4)
    notebook.metadata = nbformat.from_dict(NOTEBOOK_METADATA)
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
    # SVG and PDF figures would carry the time of their making.
    environment = kernel_environment() | {"SOURCE_DATE_EPOCH": "0"}
    try:
        NotebookClient(
            notebook,
            timeout=CELL_TIMEOUT_SECONDS,
            kernel_name="python3",
            record_timing=False,
            coalesce_streams=True,
            resources={"metadata": {"path": str(path.parent)}},
        ).execute(env=environment)
    except (CellControlSignal, DeadKernelError) as error:
        raise BuildError(
            f"{path.name} failed and is left as it was.\n{error}"
        ) from error
    for number, cell in enumerate(notebook.cells, start=1):
        for output in cell.get("outputs", []):
            if output.get("name") == "stderr":
                raise BuildError(
                    f"{path.name}, cell {number}, writes to stderr; the file is left "
                    f"as it was.\n{output.text}"
                )
    notebook.metadata = nbformat.from_dict(NOTEBOOK_METADATA)
    nbformat.validate(notebook)
    after = nbformat.writes(notebook) + "\n"
    if after == before:
        return False
    part = path.with_name(f".{path.name}.part")
    part.write_text(after, encoding="utf-8")
    part.replace(path)
    return True


def named_notebooks(names: Sequence[str], root: Path = ROOT) -> list[Path]:
    """The notebooks with these names below `root`/notebooks; all if none is named."""
    folder = root / "notebooks"
    known = {path.stem: path for path in sorted(folder.glob("*.ipynb"))}
    if not known:
        raise BuildError(f"{folder} has no notebooks.")
    if unknown := ", ".join(name for name in names if name not in known):
        raise BuildError(f"{folder} has no {unknown}; it has: {', '.join(known)}.")
    return [known[name] for name in names or known]


def check_notebooks(paths: Sequence[Path], workers: int) -> int:
    """Rerun notebooks, compare their outputs with the files; pytest's exit status."""
    command = [sys.executable, "-m", "pytest", "-n", str(workers), "--dist", "loadfile"]
    command += ["--nbval", "--nbval-cell-timeout", str(CELL_TIMEOUT_SECONDS)]
    # Warnings inside nbval are its own; those of a cell are part of its output.
    command += ["-W", "default", "-p", "no:cacheprovider", *map(str, paths)]
    return subprocess.run(command, cwd=ROOT, env=kernel_environment()).returncode


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("site", help="build the book into _build/html")
    execute = commands.add_parser("execute", help="execute notebooks in place")
    check = commands.add_parser("check", help="rerun notebooks and compare the outputs")
    check.add_argument("--workers", type=int, default=0, help="processes beside this")
    for command in (execute, check):
        command.add_argument("names", nargs="*", metavar="NAME", help="default: all")
    arguments = parser.parse_args(argv)
    try:
        if arguments.command == "site":
            print(f"\nThe book is built. Open {build_site().as_uri()}")
        elif arguments.command == "check":
            return check_notebooks(named_notebooks(arguments.names), arguments.workers)
        else:
            for path in named_notebooks(arguments.names):
                state = "changed" if execute_notebook(path) else "unchanged"
                print(f"{path.name}: {state}", flush=True)
    except BuildError as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
