"""A Sphinx extension: every result of a chapter links to the records behind it.

Below a cell's output stands a line with the studies whose records the cell shows. Each
is a link to the page with their conditions, and its title, which a pointer shows and a
screen reader reads, says where they come from. Below the heading of a chapter stand its
notebook to download, its tables and, if the repository's address is set in _config.yml,
the services that open the notebook in a browser. All are plain links.
"""

import ast
import dis
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

import nbformat
import yaml
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.osutil import relative_uri

from build import DOWNLOADS, RESULTS
from papernets import experiments
from results_pages import Chapter, anchor, study_functions

PACKAGE = "papernets.experiments"


# --- Which studies does a cell show? --------------------------------------------------


def code_objects(code: CodeType) -> Iterator[CodeType]:
    """The code of a function and of all functions inside."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from code_objects(constant)


def reached(item: Any, studies: Mapping[FunctionType, str]) -> set[str]:
    """The studies that a function of the experiments names, or others that it calls.

    A tuple of functions stands for them.
    """
    found: set[str] = set()
    pending, seen = [item], set()
    while pending:
        one = pending.pop()
        if isinstance(one, tuple):
            pending += one
        if not isinstance(one, FunctionType) or one in seen:
            continue
        seen.add(one)
        if one in studies:
            found.add(studies[one])
        elif one.__module__.startswith(PACKAGE):
            for code in code_objects(one.__code__):
                for instruction in dis.get_instructions(code):
                    if instruction.opname == "LOAD_GLOBAL":
                        pending.append(one.__globals__.get(instruction.argval))
    return found


def studies_of_cells(sources: Sequence[str], module: ModuleType) -> list[list[str]]:
    """For the code of every cell the studies whose records it shows, in their order.

    A cell shows a study if it names the study's function or a function that does, or a
    variable that was made from one.
    """
    studies = {study: name for name, study in study_functions(module).items()}
    names: dict[str, Any] = {}  # what the notebook imports
    made: dict[str, set[str]] = {}  # studies by variable
    shown = []
    for source in sources:
        cell: set[str] = set()
        for statement in ast.parse(source).body:
            if isinstance(statement, ast.Import | ast.ImportFrom):
                exec(compile(ast.Module([statement], []), "cell", "exec"), names)
                continue
            found: set[str] = set()
            stored = set()
            for node in ast.walk(statement):
                if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                    stored.add(node.id)
                elif isinstance(node, ast.Name):
                    found |= made.get(node.id, set())
                if isinstance(node, ast.Name | ast.Attribute):
                    found |= reached(resolve(node, names), studies)
            for name in stored:
                made[name] = set(found)
            cell |= found
        shown.append([name for name in studies.values() if name in cell])
    return shown


def resolve(node: ast.expr, names: Mapping[str, Any]) -> Any:
    """The object that `a` or `a.b` stands for; None for another expression."""
    if isinstance(node, ast.Name):
        return names.get(node.id)
    if isinstance(node, ast.Attribute):
        return getattr(resolve(node.value, names), node.attr, None)
    return None


# --- Launch buttons -------------------------------------------------------------------


def launch_links(url: str, notebook: str, download: str) -> dict[str, str]:
    """The services that open a chapter, by name; none without an address on GitHub.

    Binder builds the repository as `binder/` says and opens the notebook in it. Colab
    opens the copy with an installing cell, which the published site has on its branch
    `gh-pages`.

    Args:
        url: of the repository, for example https://github.com/owner/name.
        notebook: its path in the repository.
        download: the path of the copy in the built site.
    """
    name = url.removesuffix("/").removesuffix(".git").partition("github.com/")[2]
    if not name:
        return {}
    colab = f"https://colab.research.google.com/github/{name}/blob/gh-pages"
    return {
        "Colab": f"{colab}/{download}",
        "Binder": f"https://mybinder.org/v2/gh/{name}/HEAD?urlpath=lab/tree/{notebook}",
    }


def repository_url(root: Path) -> str:
    """The address in _config.yml, the only place that has it; "" if it is not set."""
    config = yaml.safe_load((root / "_config.yml").read_text(encoding="utf-8"))
    return str(config["repository"]["url"] or "")


# --- The links ------------------------------------------------------------------------


@cache
def chapter(name: str, root: Path) -> Chapter:
    return Chapter.read(name, root)


def line(start: str, links: Sequence[nodes.Node]) -> nodes.paragraph:
    paragraph = nodes.paragraph(classes=["records"])
    paragraph += nodes.Text(start)
    for i, link in enumerate(links):
        if i:
            paragraph += nodes.Text(", ")
        paragraph += link
    return paragraph


def link(text: str, address: str, title: str = "") -> nodes.reference:
    """A link to an address, relative or not."""
    inside = "://" not in address
    node = nodes.reference(text, text, refuri=address, internal=inside)
    if title:
        node["reftitle"] = title
    return node


def add_links(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    """Add both kinds of lines to a chapter; other pages stay as they are."""
    folder, _, name = docname.rpartition("/")
    if folder != "notebooks" or name not in experiments.CHAPTERS:
        return
    if app.builder.format != "html" or RESULTS not in app.env.found_docs:
        return
    root = Path(app.srcdir)
    known = chapter(name, root)
    cells = nbformat.read(root / f"{docname}.ipynb", as_version=4).cells
    code = [i for i, cell in enumerate(cells) if cell.cell_type == "code"]
    shown = studies_of_cells([cells[i].source for i in code], experiments.chapter(name))
    studies = dict(zip(code, shown, strict=True))
    page = app.builder.get_relative_uri(docname, f"book/{known.page}")
    for cell in list(doctree.findall(nodes.container)):
        if cell.get("nb_element") != "cell_code" or not studies[cell["cell_index"]]:
            continue
        links = [
            link(
                study.replace("_", " "),
                f"{page}#{anchor('records', name, study)}",
                known.groups[study].title,
            )
            for study in studies[cell["cell_index"]]
        ]
        cell.parent.insert(cell.parent.index(cell) + 1, line("Records: ", links))
    heading = next(iter(doctree.findall(nodes.title)))
    heading.parent.insert(1, line("", list(header_links(app, docname, known, page))))


def header_links(
    app: Sphinx, docname: str, known: Chapter, page: str
) -> Iterator[nodes.Node]:
    def relative(target: str) -> str:
        return relative_uri(app.builder.get_target_uri(docname), target)

    yield link(f"{known.whole.number} records", page, known.whole.title)
    files = app.env.dlfiles
    copy = f"{DOWNLOADS}/{known.name}.ipynb"
    if copy not in files:
        return
    target = f"_downloads/{files[copy][1]}"
    yield link("notebook", relative(target), "download this chapter as a notebook")
    tables = app.builder.get_relative_uri(docname, DOWNLOADS)
    yield link("tables", f"{tables}#{anchor('downloads', known.name)}")
    url = repository_url(Path(app.srcdir))
    for service, address in launch_links(url, f"{docname}.ipynb", target).items():
        yield link(f"open in {service}", address)


def setup(app: Sphinx) -> dict[str, Any]:
    """Called by Sphinx."""
    app.connect("doctree-resolved", add_links)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
