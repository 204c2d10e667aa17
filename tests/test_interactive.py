"""Heat maps in HTML: what a cell says, and that the map is whole without scripts."""

import json
import re

import numpy as np
import pandas as pd
import pytest
from bs4 import BeautifulSoup

from papernets import interactive

ROWS = [
    ("a<b", 0.1, seed, epoch, accuracy)
    for seed, accuracies in enumerate(([20.0, 90.0], [30.0, 92.0]))
    for epoch, accuracy in enumerate(accuracies, start=1)
] + [("other", 1.0, 0, 1, 50.0), ("other", 1.0, 0, 2, np.nan)]


@pytest.fixture
def text() -> str:
    """Two conditions of four: one with two seeds, one with a run that diverges."""
    names = ["name", "lr", "seed", "epoch", "accuracy"]
    frame = pd.DataFrame(ROWS, columns=names)
    return interactive.heat_map(frame, "name", "lr", "rate", "map", "what & why")


def epochs(text: str) -> dict[str, list[list[str]]]:
    found = re.search(r"const epochs = (.*);", text)
    assert found
    return dict(json.loads(found[1]))


def test_heat_map_is_complete_without_scripts(text: str) -> None:
    page = BeautifulSoup(text.partition("<script>")[0], "html.parser")
    assert [th.text for th in page.select("thead th")] == ["0.1", "1"]
    assert [th.text for th in page.select("tbody th")] == ["a<b", "other"]
    shown = [td.get_text(" ", strip=True) for td in page.select("tbody td")]
    assert shown == ["91.0 ± 1.4", "–", "–", "–"]
    assert {t["aria-label"] for t in page.select("[aria-label]")} == {"what & why"}
    assert page.select("label")[0].has_attr("hidden")
    assert page.select("output")[0].text == "Epoch 2"
    assert not re.search(r"https?:|src=|url\(|import", text)


def test_cells_of_every_epoch(text: str) -> None:
    assert [c[4] for c in epochs(text)["1"]] == [
        "25.00 ± 7.07 % (2 seeds: 20.00, 30.00)",
        "not run yet",
        "not run yet",
        "50.00 % (1 seed: 50.00)",
    ]
    assert [c[0] for c in epochs(text)["1"]] == ["25.0", "–", "–", "50.0"]
    assert epochs(text)["2"][3][4] == "1 of 1 seed diverged"
    some = interactive.cell([90.0, np.nan, 80.0])
    assert some[0] == "–"
    assert some[4] == "1 of 3 seeds diverged; the others: 90.00, 80.00 %"


def luminance(colour: str) -> float:
    """Relative, by the Web Content Accessibility Guidelines."""
    named = {"black": "#000000", "white": "#ffffff"}.get(colour, colour)
    parts = np.array([int(named[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    return float(linear @ (0.2126, 0.7152, 0.0722))


def test_text_stands_out_from_every_ground() -> None:
    grounds = set()
    for percent in range(101):
        _, _, ground, ink, _ = interactive.cell([float(percent)])
        dark, light = sorted(luminance(colour) for colour in (ground, ink))
        assert (light + 0.05) / (dark + 0.05) >= 4.5
        grounds.add(ground)
    assert len(grounds) > 80  # from ten percent on
