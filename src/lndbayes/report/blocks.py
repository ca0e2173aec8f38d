"""What a page is made of: sections of paragraphs, lists, tables and pictures, all plain data.

The tables are laid out by this project's own template and not by a table library: Great Tables 1.1
puts the title into a cell and not into a caption, leaves the corner header empty, and gives every
table of a page the same element ids, to which its ``headers`` attributes then point.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

__all__ = [
    "Block",
    "Group",
    "Heading",
    "Items",
    "Page",
    "Paragraph",
    "Picture",
    "Section",
    "Table",
    "Terms",
    "not_available",
]


@dataclass(frozen=True, slots=True)
class Paragraph:
    """One paragraph; `style` is ``plain``, ``lead`` (the answer) or ``warning``."""

    kind: ClassVar[str] = "paragraph"
    text: str
    style: Literal["plain", "lead", "warning"] = "plain"
    label: str = ""


@dataclass(frozen=True, slots=True)
class Heading:
    """A heading below the section's own."""

    kind: ClassVar[str] = "heading"
    text: str


@dataclass(frozen=True, slots=True)
class Items:
    """A bulleted list."""

    kind: ClassVar[str] = "items"
    texts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Terms:
    """A list of terms, each with its explanation."""

    kind: ClassVar[str] = "terms"
    pairs: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Group:
    """Rows of a table under one heading; an empty title prints no heading."""

    title: str
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Table:
    """A table whose first column heads its rows.

    Attributes
    ----------
    caption : str
        Says what the numbers are, with unit and interval.
    columns : tuple of str
        Column heads, one for each value of a row.
    groups : tuple of Group
        Bodies.
    numeric : frozenset of int
        Columns aligned to the right.
    note : str
        Text below the table.
    breakable : bool
        Whether a line may end inside a word: for tables of hashes and paths.
    """

    kind: ClassVar[str] = "table"
    caption: str
    columns: tuple[str, ...]
    groups: tuple[Group, ...]
    numeric: frozenset[int] = frozenset()
    note: str = ""
    breakable: bool = False


@dataclass(frozen=True, slots=True)
class Picture:
    """A figure.

    Attributes
    ----------
    src : str
        A ``data:`` address of an SVG.
    png : bytes
        The same as pixels, for a word processor.
    alt : str
        What the figure shows, for someone who cannot see it.
    caption : str
        What it is and how to read it.
    """

    kind: ClassVar[str] = "picture"
    src: str
    png: bytes
    alt: str
    caption: str


Block = Paragraph | Heading | Items | Terms | Table | Picture


@dataclass(frozen=True, slots=True)
class Section:
    """A numbered part of the page.

    Attributes
    ----------
    id, title : str
        Anchor and heading.
    blocks : tuple of Block
        What it shows first.
    parts : tuple of Section
        Sections below it, one level down; the page folds them away and opens them by a click and
        in print.
    """

    id: str
    title: str
    blocks: tuple[Block, ...]
    parts: tuple[Section, ...] = ()


def not_available(id_: str, title: str, why: str) -> Section:
    """Section in whose place stands why the run has nothing for it."""
    return Section(id_, title, (Paragraph(f"Not available: {why}."),))


@dataclass(frozen=True, slots=True)
class Page:
    """Everything a report says, whatever it is written as.

    Attributes
    ----------
    name : str
        Of the evaluation.
    outcomes : tuple of str
        In words.
    synthetic : str
        What to say of simulated data; empty for real ones.
    verdict : {"FAIL", "REVIEW", "PASS"}
        Of all checks.
    counts : str
        Checks by status, in words.
    failures : tuple of str
        Checks that fail.
    sections : tuple of Section
        In order.
    disclosure : str
        What to say of data under a disclosure preset; empty where there is none.
    """

    name: str
    outcomes: tuple[str, ...]
    synthetic: str
    verdict: Literal["FAIL", "REVIEW", "PASS"]
    counts: str
    failures: tuple[str, ...]
    sections: tuple[Section, ...]
    disclosure: str = ""

    @property
    def banner(self) -> str:
        """What must be read before any number; empty if every check passes."""
        if self.verdict == "FAIL":
            why = f"Failed: {'; '.join(self.failures)}." if self.failures else ""
            return f"NOT FOR USE. {why or 'Nothing has been checked.'} No number may be quoted."
        if self.verdict == "REVIEW":
            return (
                "FOR REVIEW. At least one check asks for judgement or was not run; see Checks "
                "before quoting a number."
            )
        return ""
