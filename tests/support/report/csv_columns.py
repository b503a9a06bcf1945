"""The page that documents the columns of the CSV files, against the columns that the files have."""

import csv
import re
from collections.abc import Iterable
from fnmatch import fnmatch
from pathlib import Path

PAGE = Path(__file__).parents[3] / "docs" / "csv-columns.md"
Section = tuple[list[str], set[str]]


def documented_sections() -> list[Section]:
    """For each section of the page, the patterns of its files and the columns that it documents."""
    sections = []
    for text in PAGE.read_text(encoding="utf-8").split("\n## ")[1:]:
        [listed] = re.findall(r"^Files: (.*?)\n\n", text, re.MULTILINE | re.DOTALL)
        rows = re.findall(r"^\| ([\w, ]+) \|", text, re.MULTILINE)
        inline = re.findall(r"`(\w+)`", "\n".join(line for line in text.splitlines() if line.startswith("|")))
        names = {name.strip() for row in rows for name in row.split(",")} - {"column"}
        sections.append((re.findall(r"`(.*?)`", listed), names | set(inline)))
    return sections


def columns_of(path: Path) -> list[str]:
    """The columns of a CSV file."""
    with path.open(encoding="utf-8", newline="") as file:
        return next(csv.reader(file))


def base_names(column: str) -> list[str]:
    """A column and the names under which the page may document it."""
    return [column, re.sub(r"_(lo|hi)$", "", column)]


def undocumented(paths: Iterable[Path]) -> list[str]:
    """The columns of the files that no section on them documents, each with its file."""
    sections, missing = documented_sections(), []
    for path in paths:
        known = {
            name
            for patterns, names in sections
            if any(fnmatch(path.name, p) for p in patterns)
            for name in names
        }
        missing += [
            f"{path.name}: {column}" for column in columns_of(path) if not known & set(base_names(column))
        ]
    return missing
