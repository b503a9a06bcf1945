"""One table, written as markdown or as LaTeX (booktabs); the HTML form is in the report's template."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "†": r"\textdagger{}",
    "→": r"$\rightarrow$",
}
MARKDOWN = {"|": r"\|", "<": "&lt;", ">": "&gt;", "*": r"\*", "`": r"\`"}


@dataclass(frozen=True)
class Entry:
    """The text of one table cell."""

    text: str
    bold: bool = False


@dataclass(frozen=True)
class Table:
    """A table in words: `groups` are blocks of rows set apart by a rule, `notes` stand below it."""

    name: str
    title: str
    header: Sequence[str]
    groups: Sequence[Sequence[Sequence[Entry]]]
    notes: Sequence[str]


def slug(text: str) -> str:
    """Text as part of a file name or label."""
    return re.sub(r"[^A-Za-z0-9]+", "-", text).strip("-").lower() or "unnamed"


def one_line(text: str) -> str:
    """Text with each run of white space as one blank."""
    return " ".join(text.split())


def substitute(text: str, characters: dict[str, str]) -> str:
    """Text on one line, with the characters that a format gives a meaning replaced."""
    return "".join(characters.get(character, character) for character in one_line(text))


def to_markdown(table: Table) -> str:
    """The table as aligned markdown, legible in a terminal too."""
    rows = [[markdown_entry(entry) for entry in row] for group in table.groups for row in group]
    header = [substitute(name, MARKDOWN) for name in table.header]
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    lines = [f"### {substitute(table.title, MARKDOWN)}", ""]
    for row in [header, ["-" * width for width in widths], *rows]:
        lines.append(
            "| " + " | ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)) + " |"
        )
    lines += ["", *(f"- {substitute(note, MARKDOWN)}" for note in table.notes)]
    return "\n".join(lines) + "\n"


def markdown_entry(entry: Entry) -> str:
    """A table cell in markdown."""
    text = substitute(entry.text, MARKDOWN)
    return f"**{text}**" if entry.bold else text


def to_latex(table: Table) -> str:
    r"""The table as a LaTeX float; needs `\usepackage{booktabs}` and UTF-8 input."""
    lines = [
        r"\begin{table}[t]",
        r"\centering\footnotesize",
        rf"\caption{{{escape_latex(table.title)}}}",
        rf"\label{{tab:{table.name}}}",
        rf"\begin{{tabular}}{{{'l' * len(table.header)}}}",
        r"\toprule",
        latex_row([Entry(name) for name in table.header]),
    ]
    for group in table.groups:
        lines += [r"\midrule", *(latex_row(row) for row in group)]
    lines += [r"\bottomrule", r"\end{tabular}"]
    if table.notes:
        notes = r" \\ ".join(escape_latex(note) for note in table.notes)
        lines.append(rf"\par\smallskip\parbox{{\linewidth}}{{\scriptsize {notes}}}")
    return "\n".join([*lines, r"\end{table}"]) + "\n"


def latex_row(row: Sequence[Entry]) -> str:
    """A table row in LaTeX."""
    cells = (
        rf"\textbf{{{escape_latex(entry.text)}}}" if entry.bold else escape_latex(entry.text) for entry in row
    )
    return " & ".join(cells) + r" \\"


def escape_latex(text: str) -> str:
    """Text escaped for LaTeX, with the minus sign of a number set as one."""
    return re.sub(r"(?<!\w)-(?=\d)", "$-$", substitute(text, LATEX))
