"""Points from a CSV file, and `papernets memorize`: what is read, built and refused."""

import os
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from papernets.cli import MEMORIZE_EXAMPLE, main, parser
from papernets.memorization import ExactNetwork
from papernets.points import read_points

XOR = "x1,x2,target\n0,0,0\n0,1,1\n1,0,1\n1,1,0\n"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "points.csv"
    path.write_text(XOR)
    return path


def memorize(path: Path, *options: str, a1: int = 2, a2: int = 2) -> int:
    out = str(path.with_name("net.json"))
    size = ["--a1", str(a1), "--a2", str(a2)]
    return main(["memorize", "--data", str(path), *size, "--out", out, *options])


def test_numbers_are_taken_as_they_are_written(file: Path) -> None:
    file.write_text("0.1, 1/3,-2e-3\n\n+7,.5,1.\n")
    points = read_points(file)
    tenth, third = Fraction(1, 10), Fraction(1, 3)
    assert points.x == [[tenth, third], [7, Fraction(1, 2)]]
    assert points.y == [[Fraction(-1, 500)], [1]]
    assert points.lines == [1, 3]


def test_a_header_and_several_targets(file: Path) -> None:
    file.write_text("\ufeffa,b,c\n1,2,3\n", encoding="utf-8")
    assert read_points(file, targets=2) == ([[1]], [[2, 3]], [2])


def test_the_network_in_the_file_gives_the_decimal_targets(file: Path) -> None:
    rng = np.random.default_rng(0)
    rows = rng.integers(-999, 999, (12, 4)).astype(object)
    text = [",".join(f"{v / 100:.2f}" for v in row) for row in rows]
    file.write_text("\n".join(text))
    assert memorize(file, "--targets", "2", a1=6, a2=4) == 0
    network = ExactNetwork.load(file.with_name("net.json"))
    exact = np.vectorize(lambda v: Fraction(v, 100), otypes=[object])(rows)
    assert (network.evaluate(exact[:, :2].tolist()) == exact[:, 2:]).all()
    assert network.verify(exact[:, :2], exact[:, 2:]).points == 12


@pytest.mark.parametrize("method", ["compact", "inoue2019"])
def test_what_is_printed(file: Path, method: str, capsys) -> None:
    out = file.parent / "new" / "net.json"
    assert memorize(file, "--method", method, "--out", str(out)) == 0
    printed = capsys.readouterr()
    assert "built: 2 inputs, 2 and 2 neurons, 1 output(s)" in printed.out
    assert "verified: all 4 points exactly" in printed.out
    assert f"saved: {out}" in printed.out
    assert printed.err == ""  # no progress bar where there is no terminal
    assert ExactNetwork.load(out).method == method


def test_a_terminal_shows_the_progress(file: Path, capsys, monkeypatch) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert memorize(file) == 0
    assert "building" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1,2\n1,3\n4,4\n\n4,5\n", "points.csv: equal inputs with different targets: "
         "lines 1 and 2, 3 and 5"),
        ("x,y\n1,2\n1,3\n", "lines 2 and 3"),
        ("\n".join(f"{i},{i}" for i in range(5)), "5 points with 1 outputs do not fit "
         "into (a1, a2) = (2, 2), which holds 4; (3, 2) or (2, 3) would do"),
        ("x,y\n1,two\n", "points.csv, line 2, column 2 (y): 'two' is not a finite num"),
        ("1,2\n1,two\n", "points.csv, line 2, column 2: 'two' is not a finite number"),
        ("nan,1\n2,3\n", "line 1, column 1: 'nan' is not a finite number"),
        ("x,NaN\n2,3\n", "line 1, column 1: 'x' is not a finite number"),
        ("1,2\n3,-inf\n", "line 2, column 2: '-inf' is not a finite number"),
        ("1,2\n3,\n", "line 2, column 2: the cell is empty"),
        ("1,2\n1/0,3\n", "line 2, column 1: '1/0' is not a finite number"),
        ("1,2\n1e999999999,3\n", "line 2, column 1: '1e999999999' is not a finite"),
        (f"x,y\n1,{'7' * 5000}\n", "points.csv, line 2, column 2 (y): the number has "
         "more than 4,300 digits"),
        (f"1,0.{'7' * 5000}\n", "line 1, column 2: the number has more than 4,300 dig"),
        (f"1,{'x' * 5000}\n", "line 1, column 2: 'xxx"),
        ("1,2\n3,4,5\n", "line 2: 3 cells, expected 2 as above"),
        ("a,b,c\n3,4\n", "line 2: 2 cells, expected 3 as above"),
        ("1;2\n3;4\n", "line 1: 1 columns, of them 1 targets; expected "),
        ("1\n2\n", "1 columns, of them 1 targets; expected comma-separated"),
        ("", "points.csv has no rows of numbers"),
        ("x,y\n", "points.csv has no rows of numbers"),
        ('1,"2\n', "points.csv is not a CSV file in UTF-8"),
    ],
)  # fmt: skip
def test_a_bad_file_is_one_line(file: Path, text: str, message: str, capsys) -> None:
    file.write_text(text)
    assert memorize(file) == 2
    err = capsys.readouterr().err
    assert err.startswith("papernets: ")
    assert message in err
    assert err.count("\n") == 1
    assert len(err) < 300
    assert not file.with_name("net.json").exists()


def test_other_encodings_and_missing_files(file: Path, capsys) -> None:
    file.write_bytes(b"\xff\xfe1\x00")
    assert memorize(file) == 2
    assert "points.csv is not a CSV file in UTF-8" in capsys.readouterr().err
    assert memorize(file.with_name("none.csv")) == 2
    assert "none.csv: No such file or directory" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--targets", "0"], "targets is 0; it must be at least 1"),
        (["--targets", "3"], "3 columns, of them 3 targets"),
        (["--a1", "0"], "a1 is 0; it must be at least 1"),
        (["--seed", "-1"], "--seed is -1; it must be from 0 to 2^64 - 1"),
        (["--a2", "-1"], "a2 is -1; it must be at least 1"),
    ],
)
def test_bad_numbers(file: Path, options: list[str], message: str, capsys) -> None:
    assert memorize(file, *options) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("out", "message"),
    [
        ("points.csv", "points.csv is the file of the points; give another name"),
        ("link", "link is the file of the points; give another name"),
        ("folder", "folder is a folder; give the name of a file"),
        ("pipe", "pipe is no regular file; give another name"),
        ("points.csv/net.json", "points.csv is not a folder; give another one"),
    ],
)
def test_no_other_file_is_replaced(
    file: Path, out: str, message: str, capsys, monkeypatch
) -> None:
    """And no work is done before that is known."""
    folder = file.parent
    (folder / "link").symlink_to(file)
    (folder / "folder").mkdir()
    os.mkfifo(folder / "pipe")
    names = set(os.listdir(folder))
    monkeypatch.setattr("papernets.memorization.memorize", None)
    assert memorize(file, "--out", str(folder / out)) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith(message)
    assert file.read_text() == XOR
    assert (folder / "pipe").is_fifo()
    assert set(os.listdir(folder)) == names


def test_an_interruption_is_one_line(file: Path, capsys, monkeypatch) -> None:
    def interrupted(*arguments, **keywords):
        raise KeyboardInterrupt

    monkeypatch.setattr("papernets.memorization.memorize", interrupted)
    assert memorize(file) == 130
    assert capsys.readouterr().err == "interrupted; no network was written\n"
    assert not file.with_name("net.json").exists()


def test_the_example_in_the_help(file: Path, monkeypatch, capsys) -> None:
    with pytest.raises(SystemExit):
        parser().parse_args(["memorize", "--help"])
    shown = capsys.readouterr().out
    assert MEMORIZE_EXAMPLE in shown
    lines = [line.strip() for line in MEMORIZE_EXAMPLE.splitlines()]
    data = [line for line in lines if "," in line and " " not in line]
    command = next(line for line in lines if line.startswith("papernets "))
    monkeypatch.chdir(file.parent)
    file.write_text("\n".join(data))
    assert file.read_text().strip() == XOR.strip()
    assert main(command.split()[1:]) == 0
    network = ExactNetwork.load("net.json")
    assert network.evaluate([[1, 0]]).tolist() == [[1]]
