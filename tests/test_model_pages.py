"""The pages of the networks: complete, legible, and every number on them computed."""

import dataclasses
import re
import shutil
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from model_counts import COUNTS
from torch import Tensor, nn

import build
import drawings
import graphs
import model_pages
from papernets.complexity import profile
from papernets.models import nas, registry
from papernets.models.registry import PaperCard

PAPERS = model_pages.papers()
CARDS = [pytest.param(p, e, c, id=c.row) for p in PAPERS for e, c in p.cards]
PHONE = 368  # pixels across the text column of a phone
SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A book whose table of contents is the real one, with all pages written."""
    root = tmp_path_factory.mktemp("root")
    shutil.copy(build.ROOT / "_toc.yml", root)
    model_pages.write(root)
    return root


def read(root: Path, paper: model_pages.Paper) -> str:
    return (root / build.MODELS / f"{paper.page}.md").read_text()


def section(page: str, heading: str) -> str:
    """What stands below a heading, up to the next one of its level."""
    return re.split(r"\n## ", page.partition(f"\n## {heading}\n")[2])[0]


def cells(text: str) -> list[list[str]]:
    """The rows of the tables in a text, without the lines below their headers."""
    rows = [line[2:-2] for line in text.splitlines() if line.startswith("| ")]
    rows = [row for row in rows if "---" not in row]
    return [re.split(r" (?<!\\)\| ", row) for row in rows]


def plain(text: str) -> str:
    """Markdown without its marks."""
    return text.replace("\\", "").replace("`", "")


@pytest.mark.parametrize(("paper", "entry", "card"), CARDS)
def test_card_is_on_its_page(
    root: Path,
    paper: model_pages.Paper,
    entry: registry.Entry | None,
    card: PaperCard,
) -> None:
    page = plain(read(root, paper))
    for text in (card.title, card.authors, card.venue, card.variant, card.idea):
        assert plain(text) in page
    assert f"{card.authors}, {card.year}." in page
    assert f"{{cite}}{model_pages.cited_as(paper)}." in page
    assert f"[arXiv:{card.arxiv}](https://arxiv.org/abs/{card.arxiv})" in page
    assert f"Row {card.row} of" in page
    for note in (*card.contradictions, *card.deviations):
        assert plain(note) in page
    table = cells(section(read(root, paper), "Figures"))
    column = table[0].index(
        f"`{entry.name}`" if entry else f"row {card.row}, not built"
    )
    shown = {row[0]: row[column] for row in table}
    for label, figure in (
        ("parameters in the survey, millions", card.survey_parameters),
        ("parameters in the paper, millions", card.paper_parameters),
        ("CIFAR-10, the paper, %", card.survey_paper_accuracy),
        ("CIFAR-10, the survey's author, %", card.survey_accuracy),
        ("the survey's verdict", card.survey_mark or None),
    ):
        assert shown[label] == ("–" if figure is None else str(figure))


@pytest.mark.parametrize(("paper", "entry", "card"), CARDS)
def test_idea_is_told_in_two_or_three_sentences(
    paper: model_pages.Paper, entry: registry.Entry | None, card: PaperCard
) -> None:
    assert 2 <= len(re.findall(r"[.:] [A-Z\d]|\.$", card.idea)) <= 4
    assert 150 < len(card.idea) < 450


@pytest.mark.parametrize("paper", PAPERS, ids=lambda paper: paper.page)
def test_no_section_is_empty(root: Path, paper: model_pages.Paper) -> None:
    lines = [line for line in read(root, paper).splitlines() if line]
    assert not [a for a, b in pairwise([*lines, "#"]) if a[0] == b[0] == "#"]
    assert len([line for line in lines if line.startswith("# ")]) == 1
    assert len(paper.title) <= 20  # fits the sidebar


def test_counts_are_those_of_an_independent_table(root: Path) -> None:
    """All of them, in the table of all as well."""
    rows = {}
    pages = [read(root, paper) for paper in PAPERS]
    for page in pages:
        for name, arguments, *numbers in cells(section(page, "Build it"))[1:]:
            rows[plain(name), 'variant="survey"' in arguments] = numbers
    index = {
        plain(row[1].split(", ")[1]): row
        for row in cells((root / f"{build.MODELS}.md").read_text())
        if ", " in row[1]
    }
    cards = {entry.name for paper in PAPERS for entry, _ in paper.cards if entry}
    assert set(index) == cards
    compared = set()
    files = {registry.source_file(name) for name in cards}
    for name, arguments, parameters, weights, macs in COUNTS:
        if arguments not in ({}, {"variant": "survey"}):
            continue
        if registry.source_file(name) not in files:  # of no paper, so without a page
            assert (name, False) not in rows
            continue
        form = bool(arguments)
        shown = rows[name, form]
        assert shown[:2] == [f"{weights:,}", f"{parameters:,}"]
        assert float(shown[2].replace(",", "")) * 1e6 == pytest.approx(macs, rel=5e-3)
        compared.add((name, form))
        if name in cards and not form:
            assert index[name][-3:-1] == [
                model_pages.millions(weights),
                model_pages.millions(parameters),
            ]
            assert any(f"| {parameters:,} |" in section(p, "Figures") for p in pages)
    assert {(name, False) for name in cards} <= compared
    for name, form in set(rows) - compared:
        variant = {"variant": "survey"} if form else {}
        with torch.device("meta"):
            whole = profile(registry.create(name, **variant))
        numbers = [f"{whole.weights:,}", f"{whole.parameters:,}"]
        assert rows[name, form] == [*numbers, model_pages.millions(whole.macs)]


@pytest.mark.parametrize("paper", PAPERS, ids=lambda paper: paper.page)
def test_stages_add_up_to_the_network(root: Path, paper: model_pages.Paper) -> None:
    table = cells(section(read(root, paper), "Stage by stage"))
    *rows, total = [[cell.replace(",", "") for cell in row] for row in table[1:]]
    with torch.device("meta"):
        whole = profile(registry.create(paper.entry.name))
    assert total[2:4] == [
        str(sum(layer.macs > 0 for layer in whole.layers)),
        str(whole.parameters),
    ]
    assert sum(int(row[2]) for row in rows if row[2] != "–") == int(total[2])
    assert sum(int(row[3]) for row in rows) == whole.parameters
    macs = sum(float(row[4]) for row in rows if row[4] != "–")
    assert macs * 1e6 == pytest.approx(whole.macs, rel=5e-3)
    fields = [row[5] for row in rows if row[5] != "–"]
    assert whole.receptive_field
    sides = dict.fromkeys(whole.receptive_field)
    assert fields[-1] == "x".join(map(str, sides))
    last = next(row for row in reversed(rows) if row[1] != "–")
    assert last[1] == "10"  # logits
    assert f"| {whole.macs:,} |" in section(read(root, paper), "Figures")


def test_stages_of_a_resnet_follow_from_its_formula(root: Path) -> None:
    paper = next(paper for paper in PAPERS if paper.entry.name == "resnet110")
    rows = cells(section(read(root, paper), "Stage by stage"))
    width, blocks = 32, 18
    convolutions = (2 * blocks - 1) * 9 * width**2 + 9 * width * width // 2
    normalisation = 2 * blocks * 2 * width
    assert rows[3][:4] == [
        "18 × BasicBlock",
        "32 × 16x16",
        str(2 * blocks),
        f"{convolutions + normalisation:,}",
    ]
    assert float(rows[3][4]) * 1e6 == pytest.approx(convolutions * 16**2, rel=5e-3)


def test_table_of_all_says_which_count_fits_the_survey(root: Path) -> None:
    index = cells((root / f"{build.MODELS}.md").read_text())[1:]
    assert [row[0] for row in index] == [param.id for param in CARDS]
    fits = {row[0]: plain(row[4]) for row in index}
    assert {row for row, fit in fits.items() if fit == "neither"} == {
        *("1a", "1b", "5", "8"),
    }
    assert {row for row, fit in fits.items() if fit == "weights*"} == {
        *("7", "11", "14", "15"),
    }
    assert fits["23"] == "all*"
    assert fits["22a"] == "not built"


def test_page_follows_its_card(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paper = next(paper for paper in PAPERS if paper.entry.name == "resnet110")
    before = read(root, paper)
    changed = dataclasses.replace(
        paper.card,
        idea="Less is more. So it seems.",
        survey_parameters=1.73,
        survey_accuracy=12.5,
        contradictions=("Left is <right> | 2 * 2 is $4.",),
        deviations=('Only with variant="survey".',),
    )
    entry = dataclasses.replace(paper.entry, card=changed)
    monkeypatch.setitem(registry.ENTRIES, "resnet110", entry)
    papers = model_pages.papers()
    page = model_pages.page(next(p for p in papers if p.entry.name == "resnet110"))
    new = set(page.splitlines()) - set(before.splitlines())
    assert new == {
        "Less is more. So it seems.",
        "| parameters in the survey, millions | 1.73 |",
        "| CIFAR-10, the survey's author, % | 12.5 |",
        r"- Left is \<right> \| 2 \* 2 is \$4.",
        '- Only with `variant="survey"`.',
    }
    row = "| 8 | [ResNet](models/08_resnet.md), `resnet110` | 2015 | 1.73 | all | "
    assert row in model_pages.index(papers)


class ToyBlock(nn.Module):
    """x + 2 conv3x3(x)."""

    def __init__(self) -> None:
        super().__init__()
        self.branch = nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + 2 * self.branch(x)


class Toy(nn.Module):
    """conv1x1; two blocks; average; linear."""

    def __init__(self, in_channels: int = 3, num_classes: int = 10) -> None:
        super().__init__()
        self.stem = nn.Conv2d(in_channels, 4, 1)
        self.blocks = nn.Sequential(ToyBlock(), ToyBlock())
        self.classifier = nn.Linear(4, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.blocks(self.stem(x)).mean((2, 3)))


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> Iterator[model_pages.Paper]:
    """A paper that is in no survey."""
    monkeypatch.setattr(registry, "ENTRIES", dict(registry.ENTRIES))
    card = PaperCard(
        title="Toys",
        authors="A. Toy",
        year=2020,
        arxiv="2001.00001",
        venue="a nursery",
        variant="the small one",
        idea="It is small. It shows that any network gets a page.",
    )
    registry.register("toy_net", Toy, card=card)
    yield next(p for p in model_pages.papers() if p.entry.name == "toy_net")
    model_pages.measure.cache_clear()


def test_every_page_of_the_table_of_contents_is_written(root: Path) -> None:
    pages = [p for p in build.toc_pages(root) if p.startswith(build.MODELS)]
    assert pages == [
        build.MODELS,
        *(f"{build.MODELS}/{paper.page}" for paper in PAPERS),
    ]
    build.assert_pages_exist(pages, root, ".md")


def test_new_network_gets_a_page(toy: model_pages.Paper, root: Path) -> None:
    old = root / build.MODELS / "25_gone.md"
    old.write_text("# Gone\n")
    kept = root / build.MODELS / f"{PAPERS[0].page}.md"
    times = kept.stat().st_mtime_ns
    *others, bibliography, table = model_pages.write(root)
    assert kept.stat().st_mtime_ns == times
    assert not old.exists()
    assert table == root / f"{build.MODELS}.md"
    assert "@misc{test_model_pages,\n  author = {A. Toy},\n" in bibliography.read_text()
    pages = build.toc_pages(root)
    place = pages.index(build.MODELS)
    names = [f"{build.MODELS}/{path.stem}" for path in others]
    assert pages[place + 1 : place + 1 + len(names)] == names
    assert [paper.page for paper in PAPERS] == [path.stem for path in others[:-1]]
    assert names[-1] == f"{build.MODELS}/test_model_pages"

    page = others[-1].read_text()
    assert page.startswith("# Toy\n")
    assert "`ToyBlock`\n: `x + 2 conv3x3(x)`\n" in page
    assert "\n**2 × ToyBlock**.\n" in page
    assert ["2 × ToyBlock", "4 × 32x32", "2", "296", "0.295", "5"] in cells(page)
    source = re.search(r"{literalinclude} (.*)", page)
    assert source
    assert (build.ROOT / build.MODELS / source[1]).resolve() == Path(__file__)
    assert "[Toy](models/test_model_pages.md), `toy_net` | 2020 | – |" in (
        table.read_text()
    )


def test_drawing_of_a_block_has_its_branches(toy: model_pages.Paper) -> None:
    trace = model_pages.measure("toy_net")
    nodes = graphs.network_view(trace)
    assert [(node.title, node.inputs, node.shape) for node in nodes] == [
        ("image 3 × 32x32", [], (3, 32, 32)),
        ("conv1x1", [0], (4, 32, 32)),
        ("2 × ToyBlock", [1], (4, 32, 32)),
        ("global average", [2], (4,)),
        ("linear", [3], (10,)),
    ]
    call = nodes[2].call
    assert call
    inside = graphs.block_view(trace, call)
    assert [(node.title, node.inputs) for node in inside] == [
        ("input 4 × 32x32", []),
        ("conv3x3, × 2 4", [0]),
        ("+", [0, 1]),
        ("output 4 × 32x32", [2]),
    ]
    assert graphs.in_words(inside) == (
        "1: input 4 × 32x32; 2: conv3x3, × 2 4, giving 4 × 32x32; 3: +, from 1 and 2; "
        "4: output 4 × 32x32."
    )


def test_what_follows_every_convolution_is_said_once(root: Path) -> None:
    paper = next(paper for paper in PAPERS if paper.entry.name == "inception_v2")
    blocks = section(read(root, paper), "Blocks")
    times = re.findall(r"\*\*(\d+) × .*followed by BN, ReLU\.", blocks)
    assert times == ["7", "2"]
    inside = blocks.partition("**7 ×")[2]
    assert "BN" not in re.sub("followed by BN, ReLU", "", inside)


def test_drawing_of_nas_has_its_skip_matrix() -> None:
    nodes = graphs.network_view(model_pages.measure("nas_appendix_a"))
    layers = nodes[1 : 1 + len(nas.LAYERS)]
    assert [node.inputs for node in layers[1:]] == [
        [1 + j for j in sources] for *_, sources in nas.LAYERS[1:]
    ]


def svgs(root: Path) -> Iterator[tuple[str, ElementTree.Element]]:
    for paper in PAPERS:
        for svg in re.findall(r"<svg.*?</svg>", read(root, paper), re.DOTALL):
            yield paper.page, ElementTree.fromstring(svg)


def test_drawings_are_described_and_refer_to_nothing_outside(root: Path) -> None:
    identifiers: dict[str, list[str]] = {}
    for page, svg in svgs(root):
        title, description = svg.findtext(f"{SVG}title"), svg.findtext(f"{SVG}desc")
        assert title
        assert description
        assert description.count("; ") >= 2
        own = [element.get("id", "") for element in svg if element.get("id")]
        assert svg.get("aria-labelledby") == " ".join(own)
        identifiers.setdefault(page, []).extend(own)
        allowed = {"g", "path", "rect", "text", "title", "desc", "svg"}
        assert {element.tag for element in svg.iter()} <= {SVG + n for n in allowed}
        for element in svg.iter():
            assert not [k for k in element.attrib if "href" in k or "style" in k]
            assert "url(" not in " ".join(element.attrib.values())
    assert len(identifiers) == len(PAPERS)
    for own in identifiers.values():
        assert len(own) == len(set(own))


def test_drawings_fit_a_phone_and_their_text_fits_its_box(root: Path) -> None:
    for page, svg in svgs(root):
        _, _, width, height = map(float, svg.get("viewBox", "").split())
        assert width <= PHONE
        boxes = []
        for group in svg.iter(f"{SVG}g"):
            rect = group.find(f"{SVG}rect")
            x, y, w, h = (0.0, 0.0, width, height)
            if rect is not None:
                x, y, w, h = (
                    float(rect.attrib[k]) for k in ("x", "y", "width", "height")
                )
                boxes.append((x, y, w, h))
            lines: dict[str, list[tuple[float, float]]] = {}
            for text in group.iter(f"{SVG}text"):
                size = drawings.text_width(text.text or "")
                anchor = {"end": 1, "middle": 0.5}.get(text.get("text-anchor", ""), 0)
                left = float(text.attrib["x"]) - anchor * size
                assert x - 0.1 <= left, (page, text.text)
                assert left + size <= x + w + 0.1, (page, text.text)
                base = float(text.attrib["y"])
                assert y + 0.7 * drawings.FONT <= base <= y + h, (page, text.text)
                lines.setdefault(text.attrib["y"], []).append((left, left + size))
            for parts in lines.values():
                assert all(a[1] < b[0] for a, b in pairwise(sorted(parts)))
        for i, (x, y, w, h) in enumerate(boxes):
            assert 0 <= x <= x + w <= width
            assert 0 <= y <= y + h <= height
            for a, b, c, d in boxes[:i]:
                assert x >= a + c or a >= x + w or y >= b + d or b >= y + h, page


@given(
    st.lists(
        st.tuples(
            st.floats(-50, 50), st.floats(0.5, 4), st.floats(1, 20), st.floats(-50, 50)
        ),
        min_size=1,
        max_size=7,
    )
)
def test_places_keep_their_gaps_and_are_nearest(
    rows: list[tuple[float, float, float, float]],
) -> None:
    desired, weights, gaps, others = map(list, zip(*rows, strict=True))
    places = drawings.apart(desired, weights, gaps[1:])
    for (a, b), gap in zip(pairwise(places), gaps[1:], strict=True):
        assert b - a >= gap - 1e-6
    feasible = [max(others[0], 0.0)]  # any other allowed places are not nearer
    for gap, other in zip(gaps[1:], others[1:], strict=True):
        feasible.append(max(other, feasible[-1] + gap))

    def cost(chosen: list[float]) -> float:
        terms = zip(weights, chosen, desired, strict=True)
        return sum(weight * (place - want) ** 2 for weight, place, want in terms)

    assert cost(places) <= cost(feasible) + 1e-6
