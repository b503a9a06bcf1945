"""What the report's sections are made of: tables, and figures as it embeds them."""

from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from analysis.render import Table


@dataclass(frozen=True)
class Image:
    """A figure as the report embeds it: PNG bytes in base64."""

    data: str
    caption: str


@dataclass(frozen=True)
class Part:
    """Tables that belong together, most often of one scale, and their figures."""

    tables: Sequence[Table]
    images: Sequence[Image]


@dataclass(frozen=True)
class Section:
    """A section of the report beside those of the scales; `id` is its address in the page."""

    id: str
    title: str
    intro: str
    parts: Sequence[Part]


def image_of(png: Path, caption: str) -> Image:
    """A figure's file with its caption."""
    return Image(b64encode(png.read_bytes()).decode(), caption)
