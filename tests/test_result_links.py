"""Every result of a chapter leads to its records; launch buttons need an address."""

import re
from pathlib import Path
from types import ModuleType

import made_records
import nbformat
import pytest
import yaml
from made_records import runs_made

import build
import result_links
from papernets import experiments
from papernets.experiments import (
    CHAPTERS,
    batch_norm,
    exact_memorization,
    model_survey,
    pi_net,
)
from papernets.experiments.survey_phenomena import STUDIES
from result_links import launch_links, studies_of_cells

URL = "https://github.com/owner/name"
IMPORTS = """\
from pathlib import Path
from papernets.experiments import Results, survey_reports, {0}
from papernets.experiments import batch_norm_reports as reports
results = Results.read(Path("nowhere"))"""
JUDGED = ["equal_compute", *(study.__name__ for study in STUDIES)]


def shown(module: ModuleType, *cells: str) -> list[list[str]]:
    """The studies of cells that follow the imports of a chapter."""
    imports = IMPORTS.format(module.__name__.rpartition(".")[2])
    first, *others = studies_of_cells([imports, *cells], module)
    assert first == []
    return others


@pytest.mark.parametrize(
    ("module", "cell", "studies"),
    [
        (pi_net, "results.summary(pi_net.cure())", ["cure"]),
        (pi_net, "print(pi_net.report_article(results))", ["article"]),
        (
            pi_net,
            "pi_net.report_answer(results)",
            ["article", "ablation", "cure", "joins"],
        ),
        (pi_net, "f'{pi_net.report_long(results)}'", ["long"]),
        (pi_net, "for i in range(3):\n    pi_net.report_cure(results)", ["cure"]),
        (pi_net, "pi_net.live()", []),
        (pi_net, "results.cost()", []),
        (pi_net, "article = 1\narticle.joins", []),  # names alone are not enough
        (batch_norm, "reports.shift_table(results)", ["covariate_shift"]),
        (batch_norm, "reports.overview(results, batch_norm.narrow())", ["narrow"]),
        (
            exact_memorization,
            "exact_memorization.bits_tables(results)",
            ["methods", "shapes", "used"],
        ),
        (model_survey, "survey_reports.remarks(results)", JUDGED),  # in a tuple
    ],
)
def test_studies_that_a_cell_shows(
    module: ModuleType, cell: str, studies: list[str]
) -> None:
    assert shown(module, cell) == [studies]


def test_variables_carry_their_studies_to_later_cells() -> None:
    cells = (
        "joins, level = results.table(pi_net.joins()), 1\nquantity = {'a': 1}",
        "joins.pivot_table('a')",
        "quantity",
        "joins = 3",
        "joins",
    )
    assert shown(pi_net, *cells) == [["joins"], ["joins"], [], [], []]


@pytest.mark.parametrize("name", CHAPTERS)
def test_results_of_the_committed_chapters_have_studies(name: str) -> None:
    """A cell that reads the results shows a study; all studies but those are shown."""
    notebook = nbformat.read(build.ROOT / f"notebooks/{name}.ipynb", as_version=4)
    cells = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    module = experiments.chapter(name)
    found = studies_of_cells(cells, module)
    for source, studies in zip(cells, found, strict=True):
        reads = re.search(r"\bresults\b(?! = )", source.replace("../results", ""))
        assert bool(studies) or not reads, source
    everything = {study for studies in found for study in studies}
    # Choosing the learning rates, which no figure shows; runs of hundreds of epochs.
    unseen = {"rates", "paper_recipes", "authors_recipes"}
    assert everything | unseen == set(module.studies()) | unseen


@pytest.mark.parametrize("url", [URL, f"{URL}/", f"{URL}.git"])
def test_launch_links(url: str) -> None:
    assert launch_links(url, "notebooks/a.ipynb", "_downloads/1/a.ipynb") == {
        "Colab": "https://colab.research.google.com/github/owner/name/blob/gh-pages/"
        "_downloads/1/a.ipynb",
        "Binder": "https://mybinder.org/v2/gh/owner/name/HEAD"
        "?urlpath=lab/tree/notebooks/a.ipynb",
    }


@pytest.mark.parametrize("url", ["", "https://example.org/owner/name"])
def test_no_launch_links_without_an_address_on_github(url: str) -> None:
    assert launch_links(url, "a.ipynb", "a.ipynb") == {}


def test_the_address_is_read_from_the_configuration(tmp_path: Path) -> None:
    made_records.write_book(tmp_path, URL)
    assert result_links.repository_url(tmp_path) == URL
    (tmp_path / "_config.yml").write_text("repository:\n  url:\n")
    assert result_links.repository_url(tmp_path) == ""
    real = yaml.safe_load((build.ROOT / "_config.yml").read_text())
    assert result_links.repository_url(build.ROOT) == real["repository"]["url"]


# --- In the built pages --------------------------------------------------------------


def built(root: Path, url: str = "") -> str:
    """The HTML of the chapter of a small book with three records."""
    made_records.write_book(root, url)
    made_records.write(runs_made(pi_net.article()["MNIST"], 0.9, 0.8, 0.7), root)
    build.build_site(root)
    return (root / "_build/html/notebooks/pi_net.html").read_text()


def links(html: str) -> list[tuple[str, str, str]]:
    """Address, title and text of the links that `result_links` adds."""
    found = []
    for paragraph in re.findall(r'<p class="records">(.*?)</p>', html, re.DOTALL):
        for attributes, text in re.findall(r"<a ([^>]*)>(.*?)</a>", paragraph):
            known = dict(re.findall(r'(\w+)="([^"]*)"', attributes))
            found.append((known["href"], known.get("title", ""), text))
    return found


def test_links_of_a_built_chapter(tmp_path: Path) -> None:
    """They lead to pages, places and files that exist, and launch nothing."""
    html = built(tmp_path)
    found = links(html)
    texts = [text for _, _, text in found]
    planned = len(experiments.tasks_of(pi_net.studies().values()))
    assert texts == [f"3 of {planned} records", "notebook", "tables", "article"]
    folder = tmp_path / "_build/html/notebooks"
    for address, _, _ in found:
        path, _, place = address.partition("#")
        target = (folder / path).resolve()
        assert target.is_file()
        assert not place or f'id="{place}"' in target.read_text()
    title = found[-1][1]
    for text in ("records: 3 of 10", "seeds: 0–2", "commit: ccccccc", "Abacus"):
        assert text in title
    assert found[-1][0].endswith("pi_net_records.html#records-pi-net-article")
    assert html.index("a result") < html.index('"records">Records: ')
    pages = (tmp_path / "_build/html").rglob("*.html")
    assert not [p.name for p in pages if re.search("colab|mybinder", p.read_text())]
    assert "80.00 ± 10.00" in (
        tmp_path / "_build/html/book/results_status/pi_net_records.html"
    ).read_text().replace("\xa0", " ")


def test_launch_buttons_of_a_built_chapter(tmp_path: Path) -> None:
    found = {text: address for address, _, text in links(built(tmp_path, URL))}
    copy = found["notebook"].removeprefix("../")
    expected = launch_links(URL, "notebooks/pi_net.ipynb", copy)
    assert found["open in Colab"] == expected["Colab"]
    assert found["open in Binder"] == expected["Binder"]
    cells = nbformat.read(tmp_path / "_build/html" / copy, as_version=4).cells
    assert f"git clone --depth 1 {URL} " in cells[1].source
