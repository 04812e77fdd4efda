"""Datasets made of records with named fields, whatever they are read from."""

from __future__ import annotations

import json
from abc import abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

from harness import keys, near
from harness.data import SPLITS, VIEWS, Dataset, EmptySplit, Row, _shelf
from harness.data._bad import Bad, told, unusable
from harness.data._forms import BadRow, Unclear
from harness.data._merge import CONVERSIONS, converted, merged
from harness.data._read import Record
from harness.data._splits import SHARES, opening, shares_of, split_of
from harness.data._views import FIELDS, Reader
from harness.errors import HarnessError, nearest
from harness.knobs import OneOf, knob

FROM = "from "
Settle = Callable[[str, str], None]
"""Notes a problem of a knob: its name, and what is wrong."""


@dataclass(frozen=True)
class Tables(Dataset):
    """A file, several files or a hub's table for each view, or one view made from another.

    Attributes:
        columns: JSON of columns by field, for all views or by view; a recipe writes a table.
        splits: shares by split; a recipe writes a table.
    """

    version: ClassVar[int] = 2
    views: ClassVar[frozenset[str]] = frozenset(VIEWS) - {"text"}

    prompts: str = knob("", doc="where prompts come from, beside those of all other views")
    demonstrations: str = knob("", doc="where good responses come from, or 'from pairs', 'from binary'")
    pairs: str = knob("", doc="where preferences come from, or 'from graded', 'from rankings', 'from binary'")
    binary: str = knob("", doc="where responses labelled good or bad come from, or 'from pairs'")
    rankings: str = knob("", doc="where responses in order come from, best first, or 'from graded'")
    graded: str = knob("", doc="where responses with scores come from, several in a row or one in each")
    judgments: str = knob("", doc="where judgments in words come from, or by a template 'from binary', 'from graded'")
    columns: str = knob("", doc="columns by field where they have other names: columns = {chosen = 'better'}")
    splits: str = knob(SHARES, doc="shares of the prompts: splits = {train = 0.8, test = 0.2}")
    on_bad: str = knob("refuse", valid=OneOf(("refuse", "drop")), doc="what is done with a row that cannot be used")
    same_prompts: bool = knob(True, doc="keep the prompts that every view has, so that all algorithms see the same")

    @abstractmethod
    def records(self, source: str) -> Iterator[tuple[str, Record]]:
        """Records of a view's source, each with what messages call its file."""

    @abstractmethod
    def called(self, source: str) -> str:
        """What messages call a view's source."""

    @abstractmethod
    def large(self, source: str) -> bool:
        """Whether only the rows of one split are to be held at a time."""

    def sources(self) -> dict[str, str]:
        """What the recipe gives, by view."""
        return {view: getattr(self, view) for view in FIELDS if getattr(self, view)}

    def own(self) -> dict[str, str]:
        """The sources that are read, not those that are made from others, by view."""
        return {view: source for view, source in self.sources().items() if not source.startswith(FROM)}

    def offers(self) -> frozenset[str]:
        """The views that are given, but for graded responses, which no algorithm trains on as they are; and prompts."""
        given = frozenset(self.sources()) - {"graded"}
        return given | {"prompts"} if self.sources() else given

    def rows(self, view: str, split: str) -> list[Row]:
        """All rows of a view in a split, in the order of a hash of their prompts.

        Raises:
            HarnessError: no such view or split, no row in it, or bad rows where the recipe refuses them.
        """
        if view not in self.offers() or split not in SPLITS:
            raise HarnessError(
                f"this dataset has no {view} in split '{split}' (views: {', '.join(sorted(self.offers()))})"
            )
        rows = [row for row in _rows(self, view, split)[0] if self._kept(row, view, split)]
        if not rows:
            raise EmptySplit(f"split '{split}' has no {view}: {self._why_empty(split)}")
        return rows

    def counts(self, view: str, split: str) -> Counter[str]:
        """What was left out on the way: `ties` and `repeated` rows of the split, `bad` rows of its file."""
        return Counter(_rows(self, view, split)[1])

    def changes(self, view: str, split: str) -> Mapping[str, int]:
        """What was left out, and how many rows of the split were made from another view."""
        made = getattr(self, view, "").startswith(FROM)
        return {**self.counts(view, split), "converted": len(self.rows(view, split)) if made else 0}

    def groups(self) -> Mapping[str, str]:
        """Prompts that keep together in one split, as `near.groups` gives them; none are sought in large sources."""
        return _groups(self)

    def problems(self) -> list[Bad]:
        """Every bad row of every source."""
        return [problem for view in self.own() for problem in _read(self, view, "")[1]]

    def understood(self) -> dict[str, tuple[dict[str, str], list[str]]]:
        """Columns by field, and columns that are not read, of the first record of each view that is given."""
        found = {}
        for view, source in self.own().items():
            first = next((record.values for _, record in self.records(source) if record.values is not None), {})
            names = Reader(view, _columns(self, view)).understood(first)
            found[view] = (names, [name for name in first if name not in names.values()])
        return found

    def _why_empty(self, split: str) -> str:
        if not shares_of(self.splits).get(split):
            return "its share is 0; give it one with splits = {...}"
        if self._narrowed(split) is None:
            return "there are too few rows, or its share is too small"
        return "no prompt of it is in all views; same_prompts = false lets each view have its own"

    def _kept(self, row: Row, view: str, split: str) -> bool:
        narrow = self._narrowed(split) if view != "prompts" or split == "train" else None
        return narrow is None or row["prompt_id"] in narrow

    def _narrowed(self, split: str) -> frozenset[str] | None:
        """The prompts that all views have in a split, or None where that does not matter."""
        views = len(self.offers() - {"prompts"}) + ("prompts" in self.sources())
        return _common(self, split) if self.same_prompts and views > 1 else None

    @classmethod
    def settle(cls, given: Mapping[str, Any], folder: Path, problem: Settle) -> dict[str, Any]:
        """Tables of the recipe as text, so that every knob is a plain value."""
        found = dict(given)
        if isinstance(found.get("splits"), dict):
            found["splits"] = " ".join(f"{name}={share}" for name, share in found["splits"].items())
        if isinstance(found.get("splits"), str):
            try:
                shares_of(found["splits"])
            except HarnessError as error:
                problem("splits", str(error))
        columns = found.get("columns")
        if isinstance(columns, dict):
            _check_columns(columns, problem)
            found["columns"] = keys.canonical(columns)
        for view in FIELDS:
            if str(found.get(view, "")).startswith(FROM):
                _check_conversion(view, found, problem)
        if not any(found.get(view) for view in FIELDS):
            problem("source", f"no data is given; name a file for one of {', '.join(FIELDS)}")
        return found


def _check_columns(columns: dict[str, Any], problem: Settle) -> None:
    for name, value in columns.items():
        known = FIELDS.get(name) if isinstance(value, dict) else {f for fields in FIELDS.values() for f in fields}
        own = value if isinstance(value, dict) else {name: value}
        if known is None:
            problem("columns", f"columns.{name}: there is no view '{name}'{nearest(name, FIELDS)}")
            continue
        for field, column in own.items():
            if field not in known:
                hint = nearest(field, known)
                problem("columns", f"columns has no field '{field}'{hint} (known: {', '.join(sorted(known))})")
            elif not isinstance(column, str):
                problem("columns", f"columns.{field} is {column!r}; it must be the name of a column")


def _check_conversion(view: str, found: dict[str, Any], problem: Settle) -> None:
    source = found[view].removeprefix(FROM)
    able = [other for made, other in CONVERSIONS if made == view]
    if source not in able:
        what = ", ".join(f"'{FROM}{other}'" for other in able) or "none"
        problem(view, f"{view} = '{found[view]}' is no conversion (known: {what})")
    elif not found.get(source):
        problem(view, f"{view} = '{found[view]}', but no {source} are given")
    elif found[source] == f"{FROM}{view}":
        problem(view, f"{view} and {source} are each made from the other")


def _columns(data: Tables, view: str) -> dict[str, str]:
    given = json.loads(data.columns) if data.columns else {}
    own = given.get(view, {}) if isinstance(given.get(view), dict) else {}
    return {**{f: c for f, c in given.items() if isinstance(c, str) and f in FIELDS[view]}, **own}


@lru_cache(maxsize=16)
def _groups(data: Tables) -> Mapping[str, str]:
    """Near duplicates among the prompts of all views; kept on disk, for every stage asks."""
    if any(data.large(source) for source in data.own().values()):
        return {}
    name = f"near-{keys.key([type(data).__name__, data.version, asdict(data)])}"
    return _shelf.kept(name, lambda: near.groups(set(_openings(data))))


def _openings(data: Tables) -> Iterator[str]:
    for view in data.own():
        for found in _parsed(data, view):
            if not isinstance(found, Bad):  # those are told when rows are read
                yield opening(found["prompt"])


def _parsed(data: Tables, view: str) -> Iterator[Row | Bad]:
    """Every record of a view's own source as a row, or what is wrong with it.

    Raises:
        HarnessError: a record could be read in two ways.
    """
    reader = Reader(view, _columns(data, view))
    for file, record in data.records(getattr(data, view)):
        try:
            if record.values is None:
                raise BadRow(record.problem)
            row = reader.row(record.values)
        except Unclear as error:
            raise HarnessError(f"{file}, {record.place}: {error}") from error
        except BadRow as error:
            yield Bad(file, record.place, str(error))
        else:
            yield row


@lru_cache(maxsize=16)
def _read(data: Tables, view: str, only: str) -> tuple[dict[str, list[Row]], list[Bad]]:
    """Rows of a view's own source by split, of one split where `only` says so, and every bad row.

    Raises:
        HarnessError: there is no row that can be used.
    """
    shares, groups = shares_of(data.splits), data.groups()
    rows: dict[str, list[Row]] = {}
    bad: list[Bad] = []
    usable = 0
    for found in _parsed(data, view):
        if isinstance(found, Bad):
            bad.append(found)
            continue
        usable += 1
        split = split_of(found["prompt"], shares, groups)
        if split and only in ("", split):
            rows.setdefault(split, []).append(found)
    if not usable:
        raise HarnessError(unusable(data.called(getattr(data, view)), view, bad))
    return rows, bad


@lru_cache(maxsize=64)
def _rows(data: Tables, view: str, split: str) -> tuple[tuple[Row, ...], Mapping[str, int]]:
    """Merged rows of a view in a split, before those of prompts that other views lack are left out."""
    counts: Counter[str] = Counter()
    source = getattr(data, view)
    if view == "prompts":
        return _prompts(data, split), counts
    if source.startswith(FROM):
        other = source.removeprefix(FROM)
        given, before = _rows(data, other, split)
        rows = converted(view, other, list(given), counts)
        counts["bad"] = before["bad"]
        return tuple(merged(view, rows, counts)), counts
    own, bad = _read(data, view, split if data.large(source) else "")
    _refuse(data, bad)
    counts["bad"] = len(bad)
    return tuple(merged(view, own.get(split, []), counts)), counts


def _refuse(data: Tables, bad: list[Bad]) -> None:
    if bad and data.on_bad == "refuse":
        raise HarnessError("\n".join([*told(bad), "on_bad = 'drop' leaves bad rows out and counts them"]))


def _prompts(data: Tables, split: str) -> tuple[Row, ...]:
    """The prompts of all views, each once."""
    found: dict[str, Row] = {}
    for view, source in data.sources().items():
        if view == "prompts":
            own, bad = _read(data, view, split if data.large(source) else "")
            _refuse(data, bad)
            rows = merged(view, own.get(split, []), Counter())
        else:
            rows = list(_rows(data, view, split)[0])
        for row in rows:
            name = row["prompt_id"]
            found.setdefault(name, {"id": name, "prompt_id": name, "prompt": row["prompt"]})
    return tuple(found[name] for name in sorted(found))


@lru_cache(maxsize=16)
def _common(data: Tables, split: str) -> frozenset[str]:
    """The prompts of a split that every view but `prompts` has."""
    views = [view for view in data.sources() if view not in ("prompts", "graded")]
    return frozenset.intersection(
        *(frozenset(row["prompt_id"] for row in _rows(data, view, split)[0]) for view in views)
    )
