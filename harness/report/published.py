"""Published numbers beside the study's own, where the algorithm is the same, with what differs between the two."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.report.page import Section
from harness.report.sheet import Row, Sheet, Shown, count, interval, listed, make_frame, number

if TYPE_CHECKING:
    from harness.plan import Plan
    from harness.report.compare import Comparison, Standing

FILE = Path(__file__).with_name("published.toml")
DIFFERENCES = ("model", "data", "judge", "seeds", "tuning")


@dataclass(frozen=True)
class Published:
    """A table of a publication.

    Attributes:
        name: of the table.
        title: what its numbers are.
        citation: where they stand.
        columns: the metric of each number; all in %, higher is better.
        start: the row that the others began from.
        setting: what they hold for: `model`, `data`, `judge`, `seeds` and `tuning`.
        notes: what is odd in it.
        rows: for each of its settings the numbers by algorithm, named as the files here are.
    """

    name: str
    title: str
    citation: str
    columns: tuple[str, ...]
    start: str
    setting: dict[str, str]
    notes: tuple[str, ...]
    rows: dict[str, dict[str, tuple[float, ...]]]


@cache
def published(path: Path = FILE) -> tuple[Published, ...]:
    """The tables of the file."""
    found = tomllib.loads(path.read_text(encoding="utf-8"))["table"]
    return tuple(
        Published(
            name=one["name"],
            title=one["title"],
            citation=one["citation"],
            columns=tuple(one["columns"]),
            start=one["start"],
            setting={name: one[name] for name in DIFFERENCES},
            notes=tuple(one["notes"]),
            rows={setting: {name: tuple(row) for name, row in own.items()} for setting, own in one["rows"].items()},
        )
        for one in found
    )


def published_section(comparisons: list[Comparison], plan: Plan) -> Section:
    """Every published table that shares two or more algorithms with the study."""
    found = [(table, _shared(table, comparisons)) for table in published()]
    found = [(table, names) for table, names in found if len(names) > 1]
    sheet = published_sheet(comparisons)
    if not found:
        sentence = "No published table that is known here has two of this study's algorithms."
        return Section("published", "Beside published numbers", sentence, sheets=[])
    names = listed([f"{table.name} ({count(len(own), 'algorithm')})" for table, own in found])
    sentence = (
        f"Published tables with algorithms of this study, in other settings: {names}. An order may be compared, "
        "numbers may not."
    )
    points = [text for table, _ in found for text in (_differences(table, plan, comparisons), *table.notes)]
    return Section("published", "Beside published numbers", sentence, points=points, sheets=[sheet])


def _shared(table: Published, comparisons: list[Comparison]) -> list[str]:
    """The study's algorithms that the table has, the start of either left out."""
    own = {row.algorithm for one in comparisons for row in one.standings if row.name != one.start}
    return sorted({name for rows in table.rows.values() for name in rows if name != table.start} & own)


def _differences(table: Published, plan: Plan, comparisons: list[Comparison]) -> str:
    """Each part of the two settings, theirs and ours."""
    asked = plan.recipe.evaluation
    seeds = max((one.planned for one in comparisons), default=0)
    ours = {
        "model": listed(list(dict.fromkeys(cell.model for cell in plan.cells))),
        "data": listed(list(dict.fromkeys(cell.dataset for cell in plan.cells))),
        "judge": f"the gold reward on {asked.prompts} prompts, {asked.samples} responses each",
        "seeds": str(seeds),
        "tuning": "the recipe's own search" if plan.recipe.tune else "none",
    }
    told = "; ".join(f"{part}: {table.setting[part]} (here {ours[part]})" for part in DIFFERENCES)
    return f"{table.title}. {table.citation}. Other there: {told}."


_COLUMNS = {
    **dict.fromkeys(("table", "their_setting", "algorithm", "metric"), "string"),
    **{"theirs": "Float64", "their_gain": "Float64", "setting": "string", "contestant": "string"},
    **dict.fromkeys(("gold", "gold_low", "gold_high"), "Float64"),
}
_MEANINGS = {
    "table": "the published table",
    "their_setting": "one of its settings",
    "algorithm": "name of the algorithm's file here",
    "metric": "what was published, in %",
    "theirs": "the published number: one run, without an interval",
    "their_gain": "the same minus the published number of their start; absent where it was not published",
    "setting": "this study's setting",
    "contestant": "this study's contestant of that algorithm",
    "gold": "its gold gain here, in sd of the start",
    "gold_low": "lower end of its 95 % interval",
    "gold_high": "upper end of it",
}


def published_sheet(comparisons: list[Comparison]) -> Sheet:
    """A row per published number whose algorithm the study has; the page shows one row per algorithm and setting."""
    found = [row for table in published() for row in _rows(table, comparisons)]
    frame = make_frame(found, _COLUMNS)
    shown = [
        Shown("published table", lambda row: row["table"], kind="word"),
        Shown("their setting", lambda row: row["their_setting"], kind="word"),
        Shown("algorithm", lambda row: row["algorithm"], kind="word"),
        Shown("metric", lambda row: row["metric"], kind="word"),
        Shown("theirs, %", lambda row: number(row["theirs"], 1)),
        Shown("over their start", lambda row: number(row["their_gain"], 1, sign=True)),
        Shown("contestant here", lambda row: row["contestant"], kind="word"),
        Shown("gold gain here, start-sd [95 %]", _own),
    ]
    caption = "Published numbers beside this study's; other models, data and judges, so only orders may be compared."
    return Sheet("published", caption, frame, _MEANINGS, shown, folded=True)


def _own(row: Row) -> str:
    return interval(row["gold"], row["gold_low"], row["gold_high"], sign=True)


def _rows(table: Published, comparisons: list[Comparison]) -> list[dict[str, Any]]:
    names = _shared(table, comparisons)
    if len(names) < 2:
        return []
    return [
        {"table": table.name, "their_setting": setting, "algorithm": name, "metric": metric, "theirs": row[place],
         "their_gain": row[place] - rows[table.start][place] if table.start in rows else None, **own}
        for setting, rows in table.rows.items()
        for place, metric in enumerate(table.columns)
        for name, row in rows.items() if name in names
        for own in _of(name, comparisons)
    ]  # fmt: skip


def _of(algorithm: str, comparisons: list[Comparison]) -> list[dict[str, Any]]:
    """The study's contestants of an algorithm, with their gains."""
    return [
        {"setting": one.name, "contestant": row.name, **_gain(row)}
        for one in comparisons
        for row in one.standings
        if row.algorithm == algorithm and row.name != one.start
    ]


def _gain(row: Standing) -> dict[str, float | None]:
    gold = row.estimates.get("gold")
    return {"gold": gold.value, "gold_low": gold.low, "gold_high": gold.high} if gold else {}
