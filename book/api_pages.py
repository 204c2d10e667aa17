"""The pages of the reference, one for every public module of the package.

    python book/api_pages.py    # what `make book` does first

Sphinx's autodoc fills them from the docstrings when the book is built; here stand only
their names. A package shows its modules one after the other on one page.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from build import REFERENCE, ROOT


def modules(folder: Path) -> list[Path]:
    """The public modules and packages in a package's folder, by name."""
    found = [
        *folder.glob("*.py"),
        *(init.parent for init in folder.glob("*/*init__.py")),
    ]
    return sorted(path for path in found if not path.name.startswith("_"))


def summary(module: Path) -> str:
    """First sentence of its docstring, as Markdown."""
    file = module / "__init__.py" if module.is_dir() else module
    text = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
    sentence = re.split(r"(?<=\.)\s", " ".join(text.split("\n\n")[0].split()))[0]
    return re.sub(r"([\\*_$<|])", r"\\\1", sentence)


def section(heading: str, module: str) -> Iterator[str]:
    yield f"{heading} {module}"
    yield ""
    yield from ("```{eval-rst}", f".. automodule:: {module}", "```", "")


def page(module: Path) -> str:
    """The page of a module, as Markdown."""
    name = f"{module.parent.name}.{module.stem}"
    lines = [*section("#", name)]
    for own in modules(module) if module.is_dir() else ():
        lines += section("##", f"{name}.{own.stem}")
    return "\n".join(lines)


def index(found: list[Path]) -> str:
    """The table of all modules, as Markdown."""
    lines = [
        "# Reference",
        "",
        "Every public name of the package `papernets`, from the docstrings in its "
        "source. The {ref}`index <genindex>` lists all names.",
        "",
        "| module | content |",
        "|---|---|",
    ]
    for module in found:
        link = f"[{module.stem}](reference/{module.stem}.md)"
        lines.append(f"| {link} | {summary(module)} |")
    return "\n".join(lines) + "\n"


def write(root: Path = ROOT) -> list[Path]:
    """Write all pages below `root`; return the files, first the table of all.

    Pages of modules that are gone are deleted.
    """
    found, folder = modules(root / "src" / "papernets"), root / REFERENCE
    texts = {folder.with_suffix(".md"): index(found)}
    texts |= {folder / f"{module.stem}.md": page(module) for module in found}
    folder.mkdir(parents=True, exist_ok=True)
    for path in set(folder.glob("*.md")) - set(texts):
        path.unlink()
    for path, text in texts.items():
        path.write_text(text, encoding="utf-8")
    return list(texts)


if __name__ == "__main__":
    print(f"{len(write())} pages are written.")
