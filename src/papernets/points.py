"""Points and targets from a CSV file, read without rounding."""

import csv
import re
import sys
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

# Decimal text or p/q. Exponents have three digits at most: 1e999999999 would be exact,
# too, and would fill the memory.
NUMBER = re.compile(
    r"[+-]?([0-9]+/0*[1-9][0-9]*|([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,3})?)"
)
NOT_A_NAME = re.compile(rf"{NUMBER.pattern}|[+-]?(nan|inf|infinity)", re.IGNORECASE)


class Points(NamedTuple):
    """Rows of a file."""

    x: list[list[Fraction | int]]
    y: list[list[Fraction | int]]  # one column or more
    lines: list[int]  # where each row ends in the file, counted from 1


def read_points(path: Path, targets: int = 1) -> Points:
    """Read a table of comma-separated numbers whose last columns are the targets.

    Numbers are taken as they are written: 0.1 is 1/10, and 1/3 is allowed. A first line
    without any number is a header. Empty lines are skipped.

    Args:
        path: the file, in UTF-8.
        targets: how many of the last columns are targets.

    Raises:
        ValueError: a cell that is empty, not a finite number or too long, a row with
            more or fewer cells than the first, no rows, or no column left for the
            inputs. The message names the file, the line and the column.
        OSError: the file cannot be read.
    """
    if targets < 1:
        raise ValueError(f"targets is {targets}; it must be at least 1")
    rows: list[list[Fraction | int]] = []
    lines: list[int] = []
    names: list[str] = []
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            for row in reader:
                cells = [cell.strip() for cell in row]
                if not any(cells):
                    continue
                where = f"{path}, line {reader.line_num}"
                if len(cells) <= targets:
                    raise ValueError(
                        f"{where}: {len(cells)} columns, of them {targets} targets; "
                        "expected comma-separated inputs, then targets"
                    )
                above = names or (rows[0] if rows else cells)
                if len(cells) != len(above):
                    raise ValueError(
                        f"{where}: {len(cells)} cells, expected {len(above)} as above"
                    )
                if not rows and not names and not any(map(NOT_A_NAME.fullmatch, cells)):
                    names = cells
                    continue
                rows.append(
                    [number(cell, where, i, names) for i, cell in enumerate(cells)]
                )
                lines.append(reader.line_num)
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path} is not a CSV file in UTF-8: {error}") from error
    if not rows:
        raise ValueError(f"{path} has no rows of numbers")
    return Points(
        [row[:-targets] for row in rows], [row[-targets:] for row in rows], lines
    )


def number(text: str, where: str, column: int, names: list[str]) -> Fraction | int:
    """The number that a cell holds; where it is, for the message, if there is none."""
    found = f"{text!r:.60} is not a finite number" if text else "the cell is empty"
    if NUMBER.fullmatch(text):
        try:
            return int(text) if text.lstrip("+-").isdecimal() else Fraction(text)
        except ValueError:  # Python reads so many digits, in quadratic time
            found = f"the number has more than {sys.get_int_max_str_digits():,} digits"
    name = f" ({names[column]})" if column < len(names) else ""
    raise ValueError(f"{where}, column {column + 1}{name}: {found}")
