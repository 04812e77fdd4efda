"""Datasets made of records with named fields, whatever they are read from."""

from __future__ import annotations

import json
from abc import abstractmethod
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from itertools import takewhile
from pathlib import Path
from typing import Any, ClassVar

from harness import keys, near
from harness.data import SPLITS, VIEWS, Dataset, EmptySplit, Row, _shelf
from harness.data._bad import Bad, told, unusable
from harness.data._forms import BadRow, Unclear
from harness.data._parts import Merged, Tally
from harness.data._prepared import RANGES, Given, held, prepared
from harness.data._record import Record
from harness.data._settle import FROM, Settle, check_conversion, settle_columns
from harness.data._splits import SHARES, opening, shares_of, split_named
from harness.data._views import FIELDS, Reader
from harness.errors import HarnessError, nearest
from harness.knobs import OneOf, knob

UNNAMED = "a column without a name"
READING = 3
"""In the names of what is kept on disk; raise it where other rows of the same files are read."""
LATER = ("splits", "on_bad", "same_prompts")
"""Knobs that say what is done with rows that were read."""


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
        """Whether a source has too many prompts to seek near duplicates among them."""

    def heavy(self) -> bool:
        """Whether rows are to lie on disk and to be walked through, for all sources together are much to hold."""
        return False

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
        return self._some(view, split, self._each(view, split))

    def first(self, view: str, split: str, prompts: int) -> list[Row]:
        """Rows of the first prompts; those behind them are not held."""
        names = set[str]()

        def within(row: Row) -> bool:
            names.add(row["prompt_id"])
            return len(names) <= prompts

        return self._some(view, split, takewhile(within, self._each(view, split)))

    def _each(self, view: str, split: str) -> Iterator[Row]:
        if view not in self.offers() or split not in SPLITS:
            raise HarnessError(
                f"this dataset has no {view} in split '{split}' (views: {', '.join(sorted(self.offers()))})"
            )
        for part in self.parts():
            yield from part.rows(view, split)

    def _some(self, view: str, split: str, rows: Iterable[Row]) -> list[Row]:
        nothing = view in self.offers() and split in SPLITS and not shares_of(self.splits).get(split)
        if not nothing and (found := list(rows)):  # for a share of 0 no file has to be read
            return found
        raise EmptySplit(f"split '{split}' has no {view}: {self._why_empty(view, split)}")

    def parts(self) -> Iterator[Merged]:
        """All prompts at once, or those of one range after the other where they are much to hold."""
        return (Merged(self, name) for name in self.ranges()) if self.heavy() else iter([_whole(self)])

    def ranges(self) -> Sequence[str]:
        """The ranges of prompts that rows are held of at a time."""
        return RANGES if self.heavy() else ("",)

    def given(self, view: str) -> Given:
        """What a view's own source holds.

        Raises:
            HarnessError: it cannot be read on, or rows could be read in two ways.
        """
        return _on_disk(self, view, _shelf.folder()) if self.heavy() else _held(self, view)

    def check(self, view: str) -> None:
        """Refuse a view's own source where its rows cannot be used.

        Raises:
            HarnessError: none can be, or some cannot and the recipe refuses them.
        """
        given = self.given(view)
        if not given.usable:
            raise HarnessError(unusable(self.called(getattr(self, view)), view, given.bad))
        if given.bad and self.on_bad == "refuse":
            raise HarnessError("\n".join([*told(given.bad), "on_bad = 'drop' leaves bad rows out and counts them"]))

    def counts(self, view: str, split: str) -> Counter[str]:
        """What was left out on the way: `ties` and `repeated` rows of the split, `bad` rows of its file.

        And `incomparable` ones, responses of a prompt without two different scores, where they were to be judged.
        """
        return Counter({**self._bad(view), **_tally(self, view, split).counts})

    def _bad(self, view: str) -> dict[str, int]:
        """How many rows are bad in the file that a view's rows come from."""
        source = getattr(self, view)
        if source.startswith(FROM):
            return self._bad(source.removeprefix(FROM))
        return {} if view == "prompts" else {"bad": len(self.given(view).bad)}

    def changes(self, view: str, split: str) -> Mapping[str, int]:
        """What was left out, and how many rows of the split were made from another view."""
        made = getattr(self, view, "").startswith(FROM)
        return {**self.counts(view, split), "converted": _tally(self, view, split).kept if made else 0}

    def groups(self) -> Mapping[str, str]:
        """Prompts that keep together in one split, as `near.groups` gives them; none are sought in large sources."""
        return _groups(self)

    def alike(self) -> str:
        """That a group of near duplicates holds half of the prompts or more, and what helps; else nothing."""
        leader, many = max(Counter(self.groups().values()).items(), key=lambda one: one[1], default=("", 0))
        count = len({hash(text) for text in _openings(self)}) if many else 0
        if not many or 2 * many < count:
            return ""
        own = split_named(leader, shares_of(self.splits))
        where = f"in split '{own}' as a whole" if own else "in no split"
        return (
            f"{many} of {count} prompts are near duplicates of one another, in one group, which is {where}; where they "
            "share a preamble, put it into a system turn, since only the user's first turn is compared"
        )

    def problems(self) -> list[Bad]:
        """Every bad row of every source."""
        return [problem for view in self.own() for problem in self.given(view).bad]

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
        if not _tally(self, view, split).rows and (alike := self.alike()):
            return alike
        if not self.narrows():
            return "there are too few rows, or its share is too small"
        return "no prompt of it is in all views; same_prompts = false lets each view have its own"

    def _all_left_out(self, view: str, split: str) -> str:
        """Why nothing is left of a view in a split, where that is what its rows say, or those that it is made from."""
        tally, source = _tally(self, view, split), getattr(self, view)
        counts = tally.counts
        if tally.rows:
            return ""
        if counts["incomparable"]:
            return "none of its prompts has two different scores"
        if counts["ties"]:
            count = counts["ties"] + counts["repeated"]
            return f"all {count} rows of it are ties" if count > 1 else "its only row is a tie"
        return self._all_left_out(source.removeprefix(FROM), split) if source.startswith(FROM) else ""

    def leaves_over(self) -> bool:
        """Whether some prompts are in no split."""
        return sum(shares_of(self.splits).values()) <= 1 - 1e-9

    def narrows(self) -> bool:
        """Whether prompts that not all views have are left out."""
        views = len(self.offers() - {"prompts"}) + ("prompts" in self.sources())
        return self.same_prompts and views > 1

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
    name = f"near-{keys.key([type(data).__name__, data.version, READING, near.VERSION, asdict(data)])}"
    return _shelf.kept(name, lambda: near.groups(lambda: _openings(data)))


def _openings(data: Tables) -> Iterator[str]:
    for view in data.own():
        for name in data.ranges():
            for row in data.given(view).rows(name):
                yield opening(row["prompt"])


@lru_cache(maxsize=16)
def _held(data: Tables, view: str) -> Given:
    return held(_parsed(data, view))


@lru_cache(maxsize=16)
def _on_disk(data: Tables, view: str, _folder: Path) -> Given:
    """Rows in a cache's folder; their name leaves out what is done with them later."""
    knobs = {knob: value for knob, value in asdict(data).items() if knob == view or knob not in (*FIELDS, *LATER)}
    called = data.called(getattr(data, view))
    name = keys.key([type(data).__name__, data.version, READING, view, called, knobs])
    return prepared(name, _parsed(data, view))


@lru_cache(maxsize=16)
def _whole(data: Tables) -> Merged:
    return Merged(data, "")


@lru_cache(maxsize=64)
def _tally(data: Tables, view: str, split: str) -> Tally:
    """The counts of all parts."""
    tallies = [part.tally(view, split) for part in data.parts()]
    counts: Counter[str] = Counter()
    for one in tallies:
        counts.update(one.counts)
    return Tally(sum(one.rows for one in tallies), sum(one.kept for one in tallies), counts)


def _parsed(data: Tables, view: str) -> Iterator[Row | Bad]:
    """Every record of a view's own source as a row, or what is wrong with it.

    Raises:
        HarnessError: a record could be read in two ways, or no record has a column that the recipe names.
    """
    columns = _columns(data, view)
    reader, named, met = Reader(view, columns), {column for column in columns.values() if column}, set[str]()
    said = dict[str, str]()  # what is wrong with a million rows is one text
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
            yield Bad(file, record.place, said.setdefault(str(error), str(error)))
        else:
            yield row
    if met:
        _check_named(data, view, met)
