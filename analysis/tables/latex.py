r"""Tables as LaTeX that fits the width of the text at `\small`.

Every column is a paragraph of a width that is measured in Computer Modern. A table that is too wide is cut into parts,
which repeat the columns that name a row; one that is longer than a page breaks across pages. The preamble needs
`\usepackage[T1]{fontenc}` and `\usepackage{array,booktabs,longtable}`; the text may not be narrower than 345 pt, the
width of LaTeX's `article`.
"""

import re
import unicodedata
from collections.abc import Sequence
from functools import cache
from math import ceil
from pathlib import Path

from matplotlib import get_data_path
from matplotlib.ft2font import FT2Font, LoadFlags

from analysis.tables.render import Entry, Row, Table, substitute

CHARACTERS = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_\allowbreak{}",
    "/": r"/\allowbreak{}",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "†": r"\dag{}",
    "‡": r"\ddag{}",
    "°": r"$^\circ$",
    "√": r"$\surd$",
    "→": r"$\rightarrow$",
    "\N{MINUS SIGN}": "$-$",
    "\N{EN DASH}": "--",
    "—": "---",
    "\N{MULTIPLICATION SIGN}": r"$\times$",
    "±": r"$\pm$",
    "·": r"$\cdot$",
    "≤": r"$\leq$",
    "≥": r"$\geq$",
    "²": "$^2$",
    "…": r"\ldots{}",
    "“": "``",
    "”": "''",
    "\N{RIGHT SINGLE QUOTATION MARK}": "'",
    "\N{GREEK SMALL LETTER ALPHA}": r"$\alpha$",
    "β": r"$\beta$",
    "κ": r"$\kappa$",
    "\N{GREEK SMALL LETTER RHO}": r"$\rho$",
    "Δ": r"$\Delta$",
}
NOT_ASCII = re.compile(r"[^\x00-\x7f]")
WIDTH = 345.0  # pt
GAP = 8.0  # pt between columns
SLACK = 3.0  # pt that a column has more than its widest text
BOLD = 1.16  # how much wider bold type is
MOST_KEYS = 3  # columns that name a row
MOST_LINES = 44  # of a table that floats, with its notes; a longer one breaks across pages


@cache
def _font() -> FT2Font:
    """Computer Modern at 9 points, the size of `\\small` in a text of 10 points."""
    font = FT2Font(str(Path(get_data_path()) / "fonts" / "ttf" / "cmr10.ttf"))
    font.set_size(9, 72)
    return font


@cache
def text_width(text: str) -> float:
    """Width of a text at `\\small`, in pt; a sign of mathematics, or one that the font lacks, counts as an m."""
    signs = re.sub(r"(?<!\w)-(?=\d)|[<>]", "m", NOT_ASCII.sub(_known_or_code, text))
    known = "".join(c if c.isascii() and c.isprintable() else "m" for c in signs)
    _font().set_text(known, 0, flags=LoadFlags.NO_HINTING)
    return float(_font().get_width_height()[0]) / 64


def entry_width(entry: Entry) -> float:
    """Width of an entry on one line, in pt."""
    return text_width(entry.text) * (BOLD if entry.bold else 1)


def least_width(entry: Entry) -> float:
    """Width of the widest part of an entry that cannot be broken, in pt; an interval is such a part."""
    parts = re.findall(r"\[[^][ ]*, [^][ ]*\]\S*|[^ /_-]+[/_-]?|[/_-]", entry.text)
    return max((entry_width(Entry(part, entry.bold)) for part in parts), default=0.0)


def to_latex(table: Table, label: str) -> str:
    """The table as a float or, if it is longer than a page, as a table that breaks across pages; notes come below."""
    rows = [[Entry(head) for head in table.header], *(row for group in table.groups for row in group)]
    columns = list(zip(*rows, strict=True))
    least = [max(map(least_width, column)) + SLACK for column in columns]
    natural = [
        max([low, *(entry_width(entry) + SLACK for entry in column[1:])])
        for low, column in zip(least, columns, strict=True)
    ]
    split = split_columns(count_keys(columns), least, natural)
    parts = [(part, column_widths(part, least, natural)) for part in split]

    def height(row: Row, part: Sequence[int], widths: Sequence[float]) -> int:
        """About how many lines of type a row takes."""
        return max(ceil(entry_width(row[c]) / width) for c, width in zip(part, widths, strict=True)) or 1

    lines = sum(2 + sum(height(row, *part) for row in rows) for part in parts)
    lines += sum(ceil(text_width(note) / WIDTH) for note in table.notes)
    caption = rf"\caption{{{escape_latex(table.title)}}}\label{{{label}}}"
    notes = "\n".join(rf"\par {escape_latex(note)}" for note in table.notes)
    notes = rf"{{\footnotesize\raggedright {notes}\par}}" if notes else ""
    setting = r"\small\setlength{\tabcolsep}{4pt}"
    if lines <= MOST_LINES:
        body = "\n\\par\\medskip\n".join(_block(table, *part) for part in parts)
        start, end = [r"\begin{table}[t]", r"\centering"], [r"\par\smallskip", notes, r"\end{table}", ""]
        return "\n".join([*start, setting, caption, body, *end])
    captions = [caption, *[""] * (len(parts) - 1)]
    blocks = [_block(table, *part, first) for part, first in zip(parts, captions, strict=True)]
    return "\n".join([r"\begingroup", setting, *blocks, notes, r"\endgroup", ""])


def _block(table: Table, part: Sequence[int], widths: Sequence[float], caption: str | None = None) -> str:
    """One part: with a caption, which may be empty, it breaks across pages and repeats its headers.

    The columns are paragraphs, flush left. A rule separates the groups, unless every group is a single row.
    """
    shares = (rf">{{\raggedright\arraybackslash}}p{{{width / WIDTH:.4f}\linewidth}}" for width in widths)
    kind, types = "tabular" if caption is None else "longtable", f"@{{}}{''.join(shares)}@{{}}"
    head = [r"\toprule", latex_row([Entry(table.header[c]) for c in part]), r"\midrule"]
    rule = "\n\\midrule\n" if any(len(group) > 1 for group in table.groups) else "\n"
    body = rule.join("\n".join(latex_row([row[c] for c in part]) for row in group) for group in table.groups)
    if caption is None:
        lines = [*head, body, r"\bottomrule"]
    else:
        again = [*head, r"\endfirsthead", *head, r"\endhead", r"\bottomrule", r"\endfoot", body]
        lines = [rf"{caption}\\", *again] if caption else again
    return "\n".join([rf"\begin{{{kind}}}{{{types}}}", *lines, rf"\end{{{kind}}}"])


def count_keys(columns: Sequence[Sequence[Entry]]) -> int:
    """The number of leading columns that name a row: those without a number at the start of an entry."""
    most = min(MOST_KEYS, len(columns) - 1)
    for number, column in enumerate(columns[:most]):
        if any(re.match(r"[+-]?\d|\[", entry.text) for entry in column[1:]):
            return max(1, number)
    return most


def split_columns(number: int, least: Sequence[float], natural: Sequence[float]) -> list[list[int]]:
    """The columns of each part, so that each part fits; the first `number` columns, which name a row, are in each."""
    wanted = [max(low, 0.6 * wide) for low, wide in zip(least, natural, strict=True)]
    keys = list(range(number))
    while len(keys) > 1 and sum(wanted[key] + GAP for key in keys) > WIDTH / 2:
        keys.pop()
    parts = [list(keys)]
    for column in range(len(keys), len(least)):
        full = sum(wanted[c] + GAP for c in [*parts[-1], column]) - GAP > WIDTH
        if full and len(parts[-1]) > len(keys):
            parts.append(list(keys))
        parts[-1].append(column)
    return parts


def column_widths(part: Sequence[int], least: Sequence[float], natural: Sequence[float]) -> list[float]:
    """Widths of a part's columns in pt: their natural ones, shrunk alike towards the least ones until they fit."""
    room = WIDTH - GAP * (len(part) - 1)
    low, high = sum(least[c] for c in part), sum(natural[c] for c in part)
    share = 1.0 if high <= room else max(0.0, (room - low) / (high - low)) if high > low else 0.0
    widths = [least[c] + share * (natural[c] - least[c]) for c in part]
    excess = sum(widths) / room
    return [width / excess for width in widths] if excess > 1 else widths


def latex_row(row: Row) -> str:
    """A table row in LaTeX."""
    texts = (escape_latex(entry.text) for entry in row)
    cells = (rf"\textbf{{{text}}}" if entry.bold else text for entry, text in zip(row, texts, strict=True))
    return (
        "{}" + " & ".join(cells) + r" \\"
    )  # a row that begins with a bracket would be an argument of the last \\


def escape_latex(text: str) -> str:
    """Text escaped for LaTeX: minus signs in math mode, intervals on one line, unknown characters by their code."""
    text = substitute(NOT_ASCII.sub(_known_or_code, text), CHARACTERS)
    text = re.sub(r"(?<!\w)-(?=\d)", "$-$", text)
    return re.sub(r"(\[[^][ ]*), ([^][ ]*\])", r"\1,~\2", text)


def _known_or_code(match: re.Match[str]) -> str:
    """A character that is known or an accented Latin letter; another one as its code, such as U+1F600."""
    character = match[0]
    base = unicodedata.normalize("NFD", character)[0]
    if character in CHARACTERS or (base.isascii() and base.isalpha() and ord(character) < 0x180):
        return character
    return f"U+{ord(character):04X}"
