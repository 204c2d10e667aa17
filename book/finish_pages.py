"""A Sphinx extension: repairs of what Sphinx and its theme leave in the pages.

`tests/browser` fails without them: on the weight of pages, on what a screen reader is
told, and on figures that are too small on a phone.
"""

import re
from pathlib import Path

from sphinx.application import Sphinx

REPAIRS = (
    # The theme's icons are a font; this script of 1.5 MB draws them a second time.
    (r'\s*<script src="[^"]*/fontawesome\.js[^"]*"></script>', ""),
    # The buttons that unfold the table of contents have a picture and no name.
    (r"<summary>(?=<span class=\"toctree-toggle)", '<summary aria-label="Its pages">'),
    # A list has items; the role doc-biblioentry is not in use any more.
    (
        r'(<div class="citation" id="[^"]*") role="doc-biblioentry"',
        r'\1 role="listitem"',
    ),
    # In a box of its own, as other outputs are, a figure can scroll on a phone.
    (
        r'(<img alt="[^"]*" src="[./]*_images/[^"]*" />)',
        r'<div class="output">\1</div>',
    ),
)
# Parameters on lines of their own are the definitions of no term.
PARAMETERS = re.compile(r"<dl>\s*((?:<dd>.*?</dd>\s*)+)</dl>", re.DOTALL)
MATHJAX = re.compile(
    r"<script[^>]*>window\.MathJax.*?</script>|<script[^>]*mathjax/.*?</script>"
)


def repaired(page: str) -> str:
    """The page with all repairs, and without MathJax if it has no formula."""
    for pattern, replacement in REPAIRS:
        page = re.sub(pattern, replacement, page)
    page = PARAMETERS.sub(in_lines, page)
    return page if 'class="math' in page else MATHJAX.sub("", page)


def in_lines(parameters: re.Match[str]) -> str:
    lines = parameters[1].replace("<dd>", '<span class="sig-line">')
    return lines.replace("</dd>", "</span>")


def finish(app: Sphinx, exception: Exception | None) -> None:
    if exception is None and app.builder.format == "html":
        for file in Path(app.outdir).rglob("*.html"):
            page = file.read_text(encoding="utf-8")
            file.write_text(repaired(page), encoding="utf-8")


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.connect("build-finished", finish)
    return {"parallel_read_safe": True}
