"""Docstrings as Sphinx reads them: plain prose, in which only backticks are markup.

An extension of Sphinx, named in _config.yml. It runs before napoleon, which makes lists
of the sections Args, Returns and Raises.
"""

import re
from typing import Any

from sphinx.application import Sphinx

CODE = re.compile(r"((?::\w+:)?`[^`]+`)")
MARKS = re.compile(r"[\\*|`]|(?<=\w)_(?!\w)|(?<!\w)[A-Za-z](?=\.(?:\s|$))")
ITEM = re.compile(r" *- ")


def restructured(lines: list[str]) -> list[str]:
    """The lines of a docstring as reStructuredText.

    Marks outside backticks stand for themselves, and so does a letter with a full stop,
    which would number a list. A list may follow a line of text at once, and an indented
    block after a colon is shown as it is.
    """
    text: list[str] = []
    for block in "\n".join(lines).split("\n\n"):
        if text and text[-1].endswith(":") and indent(block) > indent(text[-1]):
            text[-1] += ":"
            text += ["", *block.split("\n"), ""]
            continue
        text.append("")
        parts = CODE.split(block)
        for i in range(0, len(parts), 2):
            parts[i] = MARKS.sub(r"\\\g<0>", parts[i])
            if i and re.match(r"\w", parts[i]):  # the plural of a name
                parts[i] = f"\\ {parts[i]}"
        in_list = False
        for line in "".join(parts).split("\n"):
            if ITEM.match(line):
                if text[-1] and not in_list:
                    text.append("")
                in_list = True
            text.append(line)
    return text[1:]


def indent(text: str) -> int:
    return len(text) - len(text.lstrip(" "))


def prepare(
    app: Sphinx, what: str, name: str, item: Any, options: Any, lines: list[str]
) -> None:
    lines[:] = restructured(lines)


def is_named_field(
    app: Sphinx, what: str, name: str, item: Any, skip: bool, options: Any
) -> bool | None:
    """Leave out the fields of named tuples, which Python documents by their number."""
    numbered = (getattr(item, "__doc__", "") or "").startswith("Alias for field number")
    return True if numbered else None


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.connect("autodoc-process-docstring", prepare, priority=400)
    app.connect("autodoc-skip-member", is_named_field)
    return {"parallel_read_safe": True}
