"""A table of the report: one frame of plain numbers, and how a person reads it; every format shows the same."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    import pandas as pd

    from harness.report.listing import Listing

Row = Mapping[str, Any]
"""One row of a frame; a number that is not there is None."""

GAP = "—"
"""Stands where there is no number; the table's own `gap` column or the section of gaps says why."""


@dataclass(frozen=True)
class Shown:
    """A column as a person reads it.

    Attributes:
        title: its heading, with the unit.
        text: what stands in a row.
        kind: `number` is right-aligned, `word` is not, `prose` may take several lines.
        shade: a strength from -1 to 1 for the cell's tint, which says again what its text says; None for no tint.
        optional: left out of a table in which no row has anything there.
    """

    title: str
    text: Callable[[Row], str]
    kind: str = "number"
    shade: Callable[[Row], float | None] | None = None
    optional: bool = False


@dataclass(frozen=True)
class Sheet:
    """A table.

    Attributes:
        name: the name of its CSV and parquet files.
        caption: what it holds, in one line.
        frame: one row per thing; absent numbers are null.
        meanings: what each column of the frame means, with its unit: the data dictionary.
        shown: what may be a column of the page; none where a table is only written to files.
        folded: closed until somebody opens it.
        view_of: the table whose CSV and parquet files hold its numbers, where it is another view of one.
        part: set where it is one setting's part of the table in the files.
        group: what rows that follow one another have in common; the page puts it above them. None for no groups.
        listing: lines that open, which the page shows in its place.
    """

    name: str
    caption: str
    frame: pd.DataFrame
    meanings: dict[str, str]
    shown: list[Shown] = field(default_factory=list)
    folded: bool = False
    view_of: str = ""
    part: str = ""
    group: Callable[[Row], str] | None = None
    listing: Listing | None = None

    @property
    def anchor(self) -> str:
        """The id of its place in the page."""
        return f"table-{self.name}{self.part}"

    @property
    def numbers(self) -> str:
        """The name of the files that hold its numbers in full."""
        return self.view_of or self.name

    @property
    def as_read(self) -> str:
        """The name of the file that holds it as it is read: a view has one for each setting."""
        return f"{self.name}{self.part}" if self.view_of else self.name

    @cached_property
    def rows(self) -> list[dict[str, Any]]:
        """Its rows, with None where there is no value."""
        return rows(self.frame)

    @cached_property
    def columns(self) -> list[Shown]:
        """The columns that the page, the Markdown and LaTeX show."""
        found = self.rows if any(column.optional for column in self.shown) else []
        return [
            column
            for column in (*self._setting(), *self.shown)
            if not (column.optional and all(column.text(row) in ("", GAP) for row in found))
        ]

    def _setting(self) -> list[Shown]:
        """A first column, where rows are of several settings and nothing that is shown says of which."""
        several = "setting" in self.frame and self.frame["setting"].nunique() > 1
        told = not self.shown or any(column.title == "setting" for column in self.shown)
        return [Shown("setting", lambda row: row["setting"] or GAP, kind="word")] if several and not told else []

    @cached_property
    def texts(self) -> list[list[str]]:
        """What the page, the Markdown and LaTeX show: one list per row."""
        return [[column.text(row) for column in self.columns] for row in self.rows]

    def groups(self) -> list[str]:
        """For each row the heading that stands above it; empty where it belongs to the group of the row before."""
        if self.group is None:
            return [""] * len(self.frame)
        found = [self.group(row) for row in self.rows]
        return [name if i == 0 or found[i - 1] != name else "" for i, name in enumerate(found)]

    @property
    def tinted(self) -> bool:
        """Whether any of its columns has a tint."""
        return any(column.shade for column in self.columns)

    def tints(self) -> list[list[str]]:
        """The tint's class for each cell: `up-1` to `up-4`, `down-1` to `down-4`, or nothing."""
        shades = [column.shade or _no_shade for column in self.columns]
        return [[_tint(shade(row)) for shade in shades] for row in self.rows]

    def latex(self) -> str:
        """The table as the page shows it, for XeLaTeX or LuaLaTeX with booktabs and longtable."""
        # not by pandas, whose writer gives a table without rows \multicolumn{0}, which LaTeX refuses
        head = " & ".join(tex(column.title) for column in self.columns)
        kinds = "".join({"number": "r", "word": "l", "prose": "p{5cm}"}[column.kind] for column in self.columns)
        caption = tex(self.caption)
        lines = [
            "% XeLaTeX or LuaLaTeX, with booktabs and longtable",
            rf"\begin{{longtable}}{{{kinds}}}",
            rf"\caption{{{caption}}} \label{{tab:{self.as_read}}} \\",
            *(r"\toprule", rf"{head} \\", r"\midrule", r"\endfirsthead"),
            rf"\caption[]{{{caption}}} \\",
            *(r"\toprule", rf"{head} \\", r"\midrule", r"\endhead"),
            *(r"\midrule", rf"\multicolumn{{{len(self.columns)}}}{{r}}{{Continued on next page}} \\"),
            *(r"\midrule", r"\endfoot", r"\bottomrule", r"\endlastfoot"),
            *(" & ".join(map(tex, row)) + r" \\" for row in self.texts),
            r"\end{longtable}",
        ]
        return "\n".join(lines) + "\n"


def _no_shade(row: Row) -> float | None:
    """No tint, whatever the row."""
    return None


def _tint(strength: float | None) -> str:
    if strength is None or abs(strength) < 0.05:
        return ""
    return f"{'up' if strength > 0 else 'down'}-{min(4, 1 + int(4 * abs(strength)))}"


_TEX = str.maketrans(
    {
        **{mark: f"\\{mark}" for mark in "&%$#_{}"},
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "\\": r"\textbackslash{}",
        "\n": " ",
    }
)


def tex(text: str) -> str:
    """Text that LaTeX prints as it stands."""
    return text.translate(_TEX)


def rows(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """A frame's rows, with None where there is no value."""
    import numpy as np

    found, names = cast("list[dict[str, Any]]", frame.to_dict("records")), list(frame.columns)
    for row, column in np.argwhere(frame.isna().to_numpy()):
        found[row][names[column]] = None
    return found


def make_frame(found: list[dict[str, Any]], columns: dict[str, str]) -> pd.DataFrame:
    """A frame with these columns, absent values null.

    Args:
        found: one dictionary per row; a missing name or None is an absent value.
        columns: pandas types by name, of those that can be null: `string`, `Float64`, `Int64`, `boolean`.
    """
    import pandas as pd

    data = {name: pd.array([row.get(name) for row in found], dtype=cast(Any, kind)) for name, kind in columns.items()}
    return pd.DataFrame(data)


def number(value: float | None, digits: int = 2, sign: bool = False) -> str:
    """`1.23`, `+1.23` with `sign`, or the gap mark; a minus is a minus sign."""
    if value is None:
        return GAP
    text = f"{value:{'+' if sign else ''},.{digits}f}"
    zero = text.strip("+-0.,") == ""
    return (text.lstrip("+-") if zero else text).replace("-", "−")


def interval(value: float | None, low: float | None, high: float | None, digits: int = 2, sign: bool = False) -> str:
    """`0.42 [0.30, 0.54]`, or the value alone where it has no interval."""
    if value is None or low is None or high is None:
        return number(value, digits, sign)
    return f"{number(value, digits, sign)} [{number(low, digits, sign)}, {number(high, digits, sign)}]"


def chance(value: float | None) -> str:
    """A p-value: three decimals, and `<0.001` below that."""
    if value is None:
        return GAP
    return "<0.001" if value < 0.001 else f"{value:.3f}"


def mebibytes(value: float | None) -> str:
    """Bytes as MiB, or GiB from 10 GiB on."""
    if value is None:
        return GAP
    return f"{value / 2**30:,.1f} GiB" if value >= 10 * 2**30 else f"{value / 2**20:,.0f} MiB"


def count(value: int | None, one: str, many: str = "") -> str:
    """`1 seed`, `3 seeds`."""
    return f"{value} {one if value == 1 else many or one + 's'}"


def listed(names: list[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return names[0] if len(names) == 1 else ", ".join(names[:-1]) + " and " + names[-1] if names else "none"


def named(names: list[str], most: int = 6) -> str:
    """`listed`, with only so many names and the number of the others."""
    return listed(names) if len(names) <= most + 1 else f"{', '.join(names[:most])} and {len(names) - most} more"
