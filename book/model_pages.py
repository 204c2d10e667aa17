"""The pages on the networks, written from their cards and their code.

    python book/model_pages.py    # what `make book` does first

A page for every file in `papernets/models` that has a card, one table of all, and the
entries of the bibliography that belong to them. No number stands here: figures of a
paper or of the survey are the card's, counts are computed, formulas are the docstrings
of the blocks, and drawings are traced.
"""

import inspect
import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from os.path import relpath
from pathlib import Path
from types import ModuleType
from typing import Any, get_args, get_type_hints

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

import drawings
import graphs
from build import MODELS, ROOT
from graphs import Call, Trace
from papernets.models import registry
from papernets.models.registry import Entry, PaperCard

IMAGE = (3, 32, 32)
NONE = "–"  # in a cell without a figure


@dataclass(frozen=True)
class Paper:
    """A file in `papernets/models`: its networks and its cards."""

    module: ModuleType
    entries: tuple[Entry, ...]
    cards: tuple[tuple[Entry | None, PaperCard], ...]  # no entry: it cannot be built

    @property
    def entry(self) -> Entry:
        """The network that the page shows: the first one with a card."""
        return next(entry for entry, _ in self.cards if entry)

    @property
    def card(self) -> PaperCard:
        assert self.entry.card
        return self.entry.card

    @property
    def row(self) -> str:
        """The survey's row, without the letter of a variant; "" if it is in none."""
        return re.sub(r"\D", "", self.card.row or "")

    @property
    def title(self) -> str:
        name = self.entry.build.__name__
        return f"{self.row}. {name}" if self.row else name

    @property
    def page(self) -> str:
        """File name without suffix, such that names sort as the survey's rows do."""
        stem = self.module.__name__.rpartition(".")[2]
        return f"{self.row.zfill(2)}_{stem}" if self.row else stem


def papers() -> list[Paper]:
    """All files with a card, in the order of the survey's rows, then by name."""
    files: dict[str, list[Entry]] = {}
    for entry in registry.ENTRIES.values():
        files.setdefault(entry.module, []).append(entry)
    found = []
    for name, entries in files.items():
        module = sys.modules[name]
        cards: list[tuple[Entry | None, PaperCard]]
        cards = [(entry, entry.card) for entry in entries if entry.card]
        built = [card for _, card in cards]
        for value in vars(module).values():
            if isinstance(value, PaperCard) and value not in built:
                cards.append((None, value))
        cards.sort(key=lambda pair: pair[1].row or "")
        if built:
            found.append(Paper(module, tuple(entries), tuple(cards)))
    return sorted(found, key=lambda paper: paper.page)


class Unfilled(TorchFunctionMode):
    """Leaves new tensors as they are: on the meta device there is nothing to draw."""

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if func.__name__ in ("normal_", "uniform_", "kaiming_uniform_"):
            return args[0] if args else kwargs["tensor"]
        return func(*args, **kwargs)


@cache
def measure(name: str, **arguments: Any) -> Trace:
    """The layers and counts of a network, for one CIFAR image."""
    with torch.device("meta"), Unfilled():
        model = registry.create(name, **arguments)
    return Trace(model, IMAGE)


def has_survey_form(entry: Entry) -> bool:
    """Whether `variant="survey"` builds the form of the survey's author."""
    return "variant" in inspect.signature(entry.build).parameters


# Text.


def prose(text: str) -> str:
    """Plain text as Markdown; arguments such as variant="survey" become code."""
    parts = re.split(r"(\w+=\"\w+\"|`[^`]*`)", text)
    for i, part in enumerate(parts):
        if i % 2 == 0:
            parts[i] = re.sub(r"([\\*_$<\[\]|{}])", r"\\\1", part)
        elif not part.startswith("`"):
            parts[i] = f"`{part}`"
    return "".join(parts)


def table(
    header: Sequence[str], rows: Iterable[Sequence[str]], align: str = ""
) -> list[str]:
    """A Markdown table; `align` has a letter, l or r, for every column."""
    marks = {"l": "---", "r": "---:"}
    align = align or "l" + "r" * (len(header) - 1)
    lines = [header, [marks[letter] for letter in align], *rows]
    return [
        ":::{container} figures",
        "",
        *("| " + " | ".join(cells) + " |" for cells in lines),
        ":::",
        "",
    ]


def code(arguments: Mapping[str, Any]) -> str:
    """Arguments as they are written in a call."""
    written = (f"{k}={v!r}".replace("'", '"') for k, v in arguments.items())
    return ", ".join(f"`{argument}`" for argument in written)


def millions(number: int) -> str:
    """With three digits or one decimal, whichever is more."""
    value = number / 1e6
    return f"{value:,.1f}" if value >= 10 else f"{value:.3g}"


def printed(figure: float | None) -> str:
    """As its source prints it."""
    return NONE if figure is None else str(figure)


def documentation(item: Any) -> tuple[str, list[str]]:
    """First paragraph of a docstring, and the others before its lists."""
    paragraphs = (inspect.getdoc(item) or "").split("\n\n")
    text = []
    for paragraph in paragraphs:
        if re.match(r"(Args|Shape|Returns|Raises):", paragraph):
            break
        text.append(" ".join(paragraph.split()))
    return text[0].rstrip("."), text[1:]


# The parts of a page.


def header(paper: Paper) -> Iterator[str]:
    card = paper.card
    yield f"# {paper.title}"
    yield ""
    yield f"*{prose(card.title)}*"
    yield ""
    link = f"[arXiv:{card.arxiv}](https://arxiv.org/abs/{card.arxiv})"
    cited = f"{{cite}}`{cited_as(paper)}`"
    yield f"{prose(card.authors)}, {card.year}. {prose(card.venue)}, {link} {cited}."
    yield ""
    for entry, known in paper.cards:
        row = f"Row {known.row} of [the survey](../models.md): " if known.row else ""
        name = f" (`{entry.name}`)" if entry else ""
        yield f"{row}{prose(known.variant)}{name}."
        yield ""
    yield "## The paper's idea and claims"
    yield ""
    yield prose(card.idea)
    yield ""


def network(paper: Paper) -> Iterator[str]:
    trace, name = measure(paper.entry.name), paper.entry.name
    yield "## The network"
    yield ""
    formula, more = documentation(paper.entry.build)
    for paragraph in (f"{formula}.", *more):
        yield prose(paragraph)
        yield ""
    yield from raw(drawings.draw_network(trace, name, f"The network {name}"))
    yield (
        f"`{name}` in evaluation mode, traced from its modules: what a box does, and "
        "the channels and the size of the image that it gives. A stride of 2 is "
        "written /2."
    )
    yield ""
    blocks = [*formulas(paper), *block_drawings(trace, name)]
    if blocks:
        yield from ("## Blocks", "", *blocks)


def block_drawings(trace: Trace, name: str) -> Iterator[str]:
    """The repeated kinds of blocks; those that occur once if none is repeated."""
    calls: dict[str, dict[Call, list[str]]] = {}
    for op in trace.ops:
        for call in op.calls:
            module = graphs.module_of(trace, call)
            if call.module and graphs.is_own(module):
                same = calls.setdefault(graphs.kind(module), {})
                # Blocks whose factors alone differ have the same form.
                same.setdefault(call, []).append(op.label.partition(" ")[0])
                break
    repeated = {k: found for k, found in calls.items() if len(found) > 1} or calls
    for number, (kind, found) in enumerate(repeated.items(), start=1):
        forms = Counter(tuple(labels) for labels in found.values())
        best = max(forms, key=lambda form: (forms[form], len(form)))
        call = next(call for call, labels in found.items() if tuple(labels) == best)
        svg, steps = drawings.draw_block(
            trace, call, f"{name}-{number}", f"Inside {kind}"
        )
        form = ", here in its most frequent form" if len(forms) > 1 else ""
        also = f" Every convolution is followed by {steps}." if steps else ""
        yield f"**{len(found)} × {prose(kind)}**{form}.{also}"
        yield ""
        yield from raw(svg)


def raw(html: str) -> Iterator[str]:
    yield from ("```{raw} html", html.rstrip(), "```", "")


def formulas(paper: Paper) -> Iterator[str]:
    """What the blocks compute, from their docstrings."""
    own: list[Any] = [
        item
        for item in vars(paper.module).values()
        if getattr(item, "__module__", "") == paper.module.__name__
        and inspect.isfunction(item)
        and "conv" in (item.__doc__ or "")
        and builds_layers(item)
    ]
    used = {type(module) for module in measure(paper.entry.name).model.modules()}
    own += [
        kind
        for kind in used
        if kind.__module__.partition(".")[0] != "torch" and kind != paper.entry.build
    ]

    def place(item: Any) -> tuple[bool, str, int]:
        elsewhere = item.__module__ != paper.module.__name__
        return elsewhere, item.__module__, inspect.getsourcelines(item)[1]

    for item in sorted(own, key=place):
        formula, more = documentation(item)
        yield f"`{item.__name__}`"
        yield f": `{formula.replace('`', '')}`"
        yield ""
        for paragraph in more:
            yield f"  {prose(paragraph)}"
            yield ""


def builds_layers(function: Any) -> bool:
    """Whether a function returns a module, or a list of layers."""
    result = get_type_hints(function).get("return")
    if get_args(result):
        return get_args(result)[0] in (nn.Module, Any)
    return isinstance(result, type) and issubclass(result, nn.Module)


def stages(paper: Paper) -> Iterator[str]:
    """A row for every box of the drawing."""
    trace = measure(paper.entry.name)
    nodes = [n for n in graphs.network_view(trace) if n.role not in ("end", "join")]
    owners = {
        trace.ops[i].calls[-1].module: number
        for number, node in reversed([*enumerate(nodes)])
        for i in node.ops
        if trace.ops[i].calls
    }
    parameters = [0] * len(nodes)
    others: dict[str, int] = {}
    for name, parameter in trace.model.named_parameters():
        owner = name.rpartition(".")[0]
        if owner and owner in owners:
            parameters[owners[owner]] += parameter.numel()
        else:
            others[name] = parameter.numel()
    rows = []
    for node, own in zip(nodes, parameters, strict=True):
        ops = [trace.ops[i] for i in node.ops]
        layers = [op.layer for op in ops if op.layer and op.layer.macs]
        fields = [op.receptive_field for op in ops if op.receptive_field]
        sees = [max(sides) for sides in zip(*fields, strict=True)]
        rows.append(
            [
                prose(node.title),
                graphs.shape_text(node.shape),
                str(len(layers)),
                f"{own:,}",
                millions(sum(layer.macs for layer in layers)),
                "x".join(map(str, dict.fromkeys(sees))),
            ]
        )
    rows += [[f"`{k}`", NONE, NONE, f"{n:,}", NONE, NONE] for k, n in others.items()]
    depth = sum(layer.macs > 0 for layer in trace.layers)
    macs = millions(trace.macs)
    rows.append(["all", NONE, str(depth), f"{trace.parameters:,}", macs, NONE])
    yield "## Stage by stage"
    yield ""
    yield (
        "Layers are convolutions and linear layers. Multiply-adds are theirs, in "
        "millions, for one image. The receptive field is the side, in pixels, of what "
        "a position can depend on in an unbounded image."
    )
    yield ""
    head = ["stage", "output", "layers", "parameters", "multiply-adds"]
    head += ["receptive field"]
    yield from table(head, rows)


def figures(paper: Paper) -> Iterator[str]:
    head, columns = [""], []
    for entry, card in paper.cards:
        head.append(f"`{entry.name}`" if entry else f"row {card.row}, not built")
        found = measure(entry.name) if entry else None
        columns.append(
            {
                "parameters in the survey, millions": printed(card.survey_parameters),
                "parameters in the paper, millions": printed(card.paper_parameters),
                "weights alone, computed": f"{found.weights:,}" if found else NONE,
                "all parameters, computed": f"{found.parameters:,}" if found else NONE,
                "multiply-adds, computed": f"{found.macs:,}" if found else NONE,
                "CIFAR-10, the paper, %": printed(card.survey_paper_accuracy),
                "CIFAR-10, the survey's author, %": printed(card.survey_accuracy),
                "the survey's verdict": card.survey_mark or NONE,
            }
        )
    yield "## Figures"
    yield ""
    rows = [[key, *(column[key] for column in columns)] for key in columns[0]]
    yield from table(head, rows)
    yield (
        "Weights alone are those of convolutions and linear layers; all parameters "
        "include biases, normalisation and slopes. Multiply-adds are those of one "
        f"{'x'.join(map(str, IMAGE[1:]))} image. The paper's accuracy is quoted from "
        "the survey."
    )
    yield ""
    for title, kind in (
        ("Contradictions between the sources", "contradictions"),
        ("Deviations from the paper", "deviations"),
    ):
        yield f"### {title}"
        yield ""
        notes: dict[str, list[str]] = {}
        for entry, card in paper.cards:
            for note in getattr(card, kind):
                name = f"`{entry.name}`" if entry else f"row {card.row}"
                notes.setdefault(note, []).append(name)
        for note, names in notes.items():
            of = f"{', '.join(names)}: " if len(names) < len(paper.cards) else ""
            yield f"- {of}{prose(note)}"
        if not notes:
            yield "None are known."
        yield ""


def building(paper: Paper) -> Iterator[str]:
    name = paper.entry.name
    yield "## Build it"
    yield ""
    yield "```python"
    yield "from papernets.models import create"
    yield ""
    yield f'model = create("{name}")'
    yield "```"
    yield ""
    defaults = {
        key: paper.entry.arguments.get(key, parameter.default)
        for key, parameter in inspect.signature(paper.entry.build).parameters.items()
    }
    yield f"Its arguments and their defaults: {code(defaults)}."
    yield ""
    rows = []
    for entry in paper.entries:
        forms: list[dict[str, Any]] = [{}]
        if entry.card and has_survey_form(entry):
            forms.append({"variant": "survey"})
        for form in forms:
            found = measure(entry.name, **form)
            rows.append(
                [
                    f"`{entry.name}`",
                    code(entry.arguments | form) or NONE,
                    f"{found.weights:,}",
                    f"{found.parameters:,}",
                    millions(found.macs),
                ]
            )
    head = ["name", "arguments", "weights", "all parameters", "multiply-adds (M)"]
    yield from table(head, rows, "llrrr")
    if scale := paper.entry.scale:
        scale = scale.func if isinstance(scale, partial) else scale
        formula, _ = documentation(scale)
        yield (
            f'`create("{name}", budget_macs=...)` builds the size k = 1, 2, ... of the '
            f"family that is nearest to a number of multiply-adds. {prose(formula)}."
        )
        yield ""


def source(paper: Paper) -> Iterator[str]:
    path = Path(inspect.getfile(paper.module))
    yield "## Source"
    yield ""
    yield f"````{{dropdown}} {path.name}"
    yield f"```{{literalinclude}} {relpath(path, ROOT / MODELS)}"
    yield ":language: python"
    yield "```"
    yield "````"


def page(paper: Paper) -> str:
    """The page of a paper, as Markdown."""
    parts = (header, network, stages, figures, building, source)
    return "\n".join(line for part in parts for line in part(paper)) + "\n"


# The bibliography.


@cache
def written_entries(file: Path = ROOT / "book" / "references.bib") -> dict[str, str]:
    """The key of every hand-written entry with an arXiv number, by this number."""
    from pybtex.database import parse_file

    found = {}
    for key, entry in parse_file(str(file)).entries.items():
        text = f"{entry.fields.get('note', '')} {entry.fields.get('eprint', '')}"
        if number := re.search(r"\d{4}\.\d{4,5}", text):
            found[number[0]] = key
    return found


def cited_as(paper: Paper) -> str:
    """The key of the paper in the bibliography."""
    own = paper.module.__name__.rpartition(".")[2]
    return written_entries().get(paper.card.arxiv, own)


def bibliography(found: Sequence[Paper]) -> str:
    """BibTeX entries of the papers that book/references.bib does not have."""
    entries = []
    for paper in found:
        card, key = paper.card, cited_as(paper)
        if key in written_entries().values():
            continue
        title = re.sub(r"[%&#_$]", r"\\\g<0>", card.title)
        venue = "" if card.venue.startswith("arXiv") else f"{card.venue}, "
        entries.append(
            f"@misc{{{key},\n"
            f"  author = {{{card.authors.replace(', ', ' and ')}}},\n"
            f"  title  = {{{{{title}}}}},\n"
            f"  year   = {{{card.year}}},\n"
            f"  note   = {{{venue}arXiv:{card.arxiv}}}\n"
            "}\n"
        )
    return "\n".join(entries)


# The table of all.


def agreement(entry: Entry, card: PaperCard) -> str:
    """Which computed count rounds to the survey's figure."""
    if card.survey_parameters is None:
        return NONE
    digits = len(str(card.survey_parameters).partition(".")[2])
    forms: list[dict[str, Any]] = [{}]
    if has_survey_form(entry):
        forms.append({"variant": "survey"})
    for form in forms:
        found = measure(entry.name, **form)
        for what, number in (("weights", found.weights), ("all", found.parameters)):
            if round(number / 1e6, digits) == card.survey_parameters:
                return f"{what}*" if form else what
    return "neither"


def index(found: Sequence[Paper]) -> str:
    """The table of all networks, as Markdown."""
    rows = []
    for paper in found:
        for entry, card in paper.cards:
            link = f"[{paper.entry.build.__name__}](models/{paper.page}.md)"
            cells = [card.row or NONE, f"{link}, `{entry.name}`" if entry else link]
            cells += [str(card.year), printed(card.survey_parameters)]
            if entry:
                counts = measure(entry.name)
                numbers = counts.weights, counts.parameters, counts.macs
                cells += [prose(agreement(entry, card)), *map(millions, numbers)]
            else:
                cells += ["not built", NONE, NONE, NONE]
            rows.append(cells)
    number = len({paper.row for paper in found} - {""})
    head = ["row", "network", "year", "survey", "fits", "weights", "all"]
    head += ["multiply-adds"]
    lines = [
        f"# The {number} models",
        "",
        "A survey of image classifiers {cite}`aiskoaskosd2016`, written in December "
        f"2016, compares {number} networks on CIFAR-10, most of them reimplemented by "
        "its author. Each of them whose layers were published is built here as its "
        "paper describes it, counted, and set beside the figures of the survey and of "
        "the paper, in the order of the survey's table.",
        "",
        "Parameters and multiply-adds are in millions. The survey's are those that it "
        "prints; weights are those of convolutions and linear layers alone, and all "
        "includes biases, normalisation and slopes. *Fits* says which of the two "
        "rounds to the survey's figure, with a star if only in the form that the "
        'survey\'s author built (`variant="survey"`). Multiply-adds are those of one '
        f"{'x'.join(map(str, IMAGE[1:]))} image.",
        "",
        *table(head, rows, "llrrlrrr"),
        "Why a figure fits neither is explained on the network's page.",
    ]
    return "\n".join(lines) + "\n"


def write(root: Path = ROOT) -> list[Path]:
    """Write all pages and the bibliography below `root`, where the text has changed.

    Pages of papers that are no longer registered are deleted.

    Returns:
        The files in the order of the survey's rows, the bibliography, and last the
        table of all, so that where it is, the others are.
    """
    found, folder = papers(), root / MODELS
    texts = {folder / f"{paper.page}.md": page(paper) for paper in found}
    texts[folder.with_suffix(".bib")] = bibliography(found)
    texts[folder.with_suffix(".md")] = index(found)
    folder.mkdir(parents=True, exist_ok=True)
    for path in set(folder.glob("*.md")) - set(texts):
        path.unlink()
    for path, text in texts.items():
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
    return list(texts)


if __name__ == "__main__":
    print(f"{len(write())} files are up to date.")
