"""What a figure is: the question that it answers, and how it is drawn. One file each, in this folder."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from harness.report.compare import Comparison

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7F5F00", "#332288")
"""Okabe and Ito's palette without its yellow and black, and two more: told apart by colour-blind readers."""
START_COLOUR = "#555555"
SHAPES = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down", "triangle-right", "triangle-left")
DASHES = ([1, 0], [6, 3], [2, 2], [9, 3, 2, 3])
REWARD_COLOURS = {"gold": "#0072B2", "oracle": "#009E73", "selection": "#CC79A7", "proxy": "#D55E00"}
REWARD_DASHES = {"gold": [1, 0], "oracle": [1, 3], "selection": [8, 2, 2, 2], "proxy": [6, 3]}
REWARD_SHAPES = {"gold": "circle", "oracle": "triangle-up", "selection": "diamond", "proxy": "square"}
WIDTH = 620
"""Pixels of a figure in one panel."""


class Figure(ABC):
    """A figure of one comparison. The file's name is its name; it appears in the report under its question."""

    question: ClassVar[str]
    section: ClassVar[str]
    """The id of the section in which it stands."""
    how_to_read: ClassVar[str]

    @abstractmethod
    def draw(self, comparison: Comparison) -> Any:
        """An Altair chart, or a text that says why there is none."""


class Rows:
    """Rows that Altair takes as they are: lists it copies at each step of a chart, and walks row by row at the end."""

    _schema: ClassVar[dict[str, str]] = {"type": "array"}

    def __init__(self, rows: Sequence[Mapping[Any, Any]]) -> None:
        self._rows = list(rows)

    def __repr__(self) -> str:
        """The rows: Altair names a view by what it shows."""
        return repr(self._rows)

    def to_dict(self, *_: Any, **__: Any) -> list[Mapping[Any, Any]]:
        """The rows, in Altair's protocol."""
        return self._rows


def inline(rows: Sequence[Mapping[Any, Any]]) -> Any:
    """A figure's data."""
    import altair as alt

    return alt.Data(values=Rows(rows))


def tips(*fields: Any) -> list[Any]:
    """What a figure says under the pointer: fields as `name:type`, or channels. Altair takes 10 ms for each string."""
    import altair as alt

    return [alt.Tooltip(field) if isinstance(field, str) else field for field in fields]


def colour_scale(comparison: Comparison) -> Any:
    """One colour per contestant, the same in all figures of a report; the start is grey."""
    import altair as alt

    others = [name for name in comparison.contestants if name != comparison.start]
    paint = {name: COLOURS[i % len(COLOURS)] for i, name in enumerate(others)} | {comparison.start: START_COLOUR}
    return alt.Scale(domain=comparison.contestants, range=[paint[name] for name in comparison.contestants])


def shape_scale(names: Sequence[str]) -> Any:
    """One shape per contestant: what colour says, shape says too."""
    import altair as alt

    # where colours repeat, shapes have moved on: 64 contestants each have a mark of their own
    shapes = [SHAPES[(i + i // len(SHAPES)) % len(SHAPES)] for i in range(len(names))]
    return alt.Scale(domain=list(names), range=shapes)


def legend(names: Sequence[str], known: Sequence[Mapping[str, Any]]) -> Any:
    """A legend of those contestants that have a mark in the figure."""
    import altair as alt

    drawn = {row["contestant"] for row in known}
    return alt.Legend(values=[name for name in names if name in drawn], symbolOpacity=1)


def column(base: Any, y: Any, field: str, heading: str) -> list[Any]:
    """A column of texts to the right of the rows, under its heading."""
    import altair as alt

    right, text = alt.value("width"), {"align": "left", "dx": 8, "fontSize": 12}
    told = base.mark_text(**text).encode(y, alt.Text(f"{field}:N"), x=right)
    above = alt.Chart(inline([{"heading": heading}])).mark_text(**text, color=START_COLOUR)
    return [told, above.encode(alt.Text("heading:N"), x=right, y=alt.value(-8))]


def dash_scale(names: Sequence[str], start: str = "") -> Any:
    """Another dash where colours repeat, the start's solid: lines of 32 contestants are told apart."""
    import altair as alt

    others = [name for name in names if name != start]
    dashes = {name: DASHES[i // len(COLOURS) % len(DASHES)] for i, name in enumerate(others)} | {start: DASHES[0]}
    return alt.Scale(domain=list(names), range=[dashes[name] for name in names])
