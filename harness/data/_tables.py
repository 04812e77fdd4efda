"""Datasets made of records with named fields, whatever they are read from."""

from __future__ import annotations

import json
from abc import abstractmethod
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

from harness import keys, near
from harness.data import SPLITS, VIEWS, Dataset, EmptySplit, Row, _shelf
from harness.data._bad import Bad, told, unusable
from harness.data._forms import BadRow, Unclear
from harness.data._merge import converted, merged
from harness.data._read import Record
from harness.data._settle import FROM, Settle, check_conversion, settle_columns
from harness.data._splits import SHARES, opening, shares_of, split_of
from harness.data._views import FIELDS, Reader
from harness.errors import HarnessError, nearest
from harness.knobs import OneOf, knob

UNNAMED = "a column without a name"
READING = 2
"""In the name of what is kept on disk about prompts; raise it where more rows of the same files are read."""


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
            raise EmptySplit(f"split '{split}' has no {view}: {self._why_empty(view, split)}")
        return [{part: value for part, value in row.items() if part != "votes"} for row in rows]

    def counts(self, view: str, split: str) -> Counter[str]:
        """What was left out on the way: `ties` and `repeated` rows of the split, `bad` rows of its file.

        And `incomparable` ones, responses of a prompt without two different scores, where they were to be judged.
        """
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
            found[view] = (names, [name or UNNAMED for name in first if name not in names.values()])
        return found

    def _why_empty(self, view: str, split: str) -> str:
        if not shares_of(self.splits).get(split):
            return "its share is 0; give it one with splits = {...}"
        if left := self._all_left_out(view, split):
            return left
        if self._narrowed(split) is None:
            return "there are too few rows, or its share is too small"
        return "no prompt of it is in all views; same_prompts = false lets each view have its own"

    def _all_left_out(self, view: str, split: str) -> str:
        """Why nothing is left of a view in a split, where that is what its rows say, or those that it is made from."""
        rows, counts = _rows(self, view, split)
        source = getattr(self, view)
        if rows:
            return ""
        if counts["incomparable"]:
            return "none of its prompts has two different scores"
        if counts["ties"]:
            count = counts["ties"] + counts["repeated"]
            return f"all {count} rows of it are ties" if count > 1 else "its only row is a tie"
        return self._all_left_out(source.removeprefix(FROM), split) if source.startswith(FROM) else ""

    def unshared(self, view: str, split: str) -> int:
        """How many rows of a split are left out, since not all views have their prompts."""
        return sum(not self._kept(row, view, split) for row in _rows(self, view, split)[0])

    def in_no_split(self, view: str) -> int:
        """How many rows of a view's own source the shares leave over; bad ones are not among them."""
        shares, groups = shares_of(self.splits), self.groups()
        if sum(shares.values()) > 1 - 1e-9:
            return 0
        rows = (found for found in _parsed(self, view) if not isinstance(found, Bad))
        return sum(not split_of(row["prompt"], shares, groups) for row in rows)

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
        settle_columns(found, problem)
        for view in FIELDS:
            if str(found.get(view, "")).startswith(FROM):
                check_conversion(view, found, problem)
        if not any(found.get(view) for view in FIELDS):
            problem("source", f"no data is given; name a file for one of {', '.join(FIELDS)}")
        return found


def _columns(data: Tables, view: str) -> dict[str, str]:
    given, own = _named(data, view)
    return {**{field: column for field, column in given.items() if field in FIELDS[view]}, **own}


def _named(data: Tables, view: str) -> tuple[dict[str, str], dict[str, str]]:
    """Columns by field that the recipe names for all views, and for one."""
    given = json.loads(data.columns) if data.columns else {}
    own = given.get(view)
    return {f: c for f, c in given.items() if isinstance(c, str)}, own if isinstance(own, dict) else {}


def _check_named(data: Tables, view: str, met: set[str]) -> None:
    """Refuse a column that the recipe names and no record has; one for all views has to be in one of them.

    Args:
        data: whose recipe.
        view: whose records were read.
        met: the names that they have.

    Raises:
        HarnessError: there is none, and which is like it.
    """
    own = _named(data, view)[1]
    for field, column in _columns(data, view).items():
        if not column or column in met or (field not in own and _elsewhere(data, view, field, column)):
            continue
        file = data.called(getattr(data, view))
        had = ", ".join(sorted(name or UNNAMED for name in met))
        hint = nearest(column, met)
        raise HarnessError(f"{file}: columns says {field} = '{column}', and no row has it (columns: {had}){hint}")


def _elsewhere(data: Tables, view: str, field: str, column: str) -> bool:
    others = [other for other in data.own() if other != view and field in FIELDS[other]]
    return any(
        record.values is not None and column in Reader(other, {}).names(record.values)
        for other in others
        for _, record in data.records(getattr(data, other))
    )


@lru_cache(maxsize=16)
def _groups(data: Tables) -> Mapping[str, str]:
    """Near duplicates among the prompts of all views; kept on disk, for every stage asks."""
    if any(data.large(source) for source in data.own().values()):
        return {}
    name = f"near-{keys.key([type(data).__name__, data.version, READING, asdict(data)])}"
    return _shelf.kept(name, lambda: near.groups(set(_openings(data))))


def _openings(data: Tables) -> Iterator[str]:
    for view in data.own():
        for found in _parsed(data, view):
            if not isinstance(found, Bad):  # those are told when rows are read
                yield opening(found["prompt"])


def _parsed(data: Tables, view: str) -> Iterator[Row | Bad]:
    """Every record of a view's own source as a row, or what is wrong with it.

    Raises:
        HarnessError: a record could be read in two ways, or no record has a column that the recipe names.
    """
    columns = _columns(data, view)
    reader, named, met = Reader(view, columns), {column for column in columns.values() if column}, set[str]()
    for file, record in data.records(getattr(data, view)):
        try:
            if record.values is None:
                raise BadRow(record.problem)
            if not named <= met:
                met |= reader.names(record.values)
            row = reader.row(record.values)
        except Unclear as error:
            raise HarnessError(f"{file}, {record.place}: {error}") from error
        except BadRow as error:
            yield Bad(file, record.place, str(error))
        else:
            yield row
    if met:
        _check_named(data, view, met)


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
