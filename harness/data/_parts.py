"""A part of a dataset's prompts with all their rows: what is brought together, converted and held at a time.

All that is done with rows is done prompt by prompt, so a part is as good as the whole.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

from harness.data import Part, Row
from harness.data._merge import Counts, converted, merged
from harness.data._settle import FROM
from harness.data._splits import shares_of, split_of

if TYPE_CHECKING:
    from harness.data._tables import Tables


class Tally(NamedTuple):
    """How many rows of a view there are in a split, how many were left out on the way, and why.

    Attributes:
        rows: after they were merged.
        kept: of them, those whose prompts all views have.
        counts: what was left out before.
    """

    rows: int
    kept: int
    counts: Counts


class Merged(Part):
    """Rows of the prompts of a range."""

    def __init__(self, data: Tables, name: str) -> None:
        self.data, self.name = data, name
        self._own: dict[str, dict[str, list[Row]]] = {}
        self._merged: dict[tuple[str, str], tuple[list[Row], Counts]] = {}
        self._common: dict[str, frozenset[str]] = {}

    def rows(self, view: str, split: str) -> list[Row]:
        """Rows as a stage is given them."""
        kept = self._kept(view, split)
        return [{part: value for part, value in row.items() if part != "votes"} for row in kept]

    def tally(self, view: str, split: str) -> Tally:
        """Counts of a view in a split; `bad` rows are counted by source, not here."""
        rows, counts = self.merged(view, split)
        return Tally(len(rows), len(self._kept(view, split)), counts)

    def in_no_split(self, view: str) -> int:
        """How many rows of a view's own source the shares leave over."""
        return len(self._split(view).get("", []))

    def merged(self, view: str, split: str) -> tuple[list[Row], Counts]:
        """Rows without repetitions and ties, before those of prompts that other views lack are left out."""
        if (view, split) not in self._merged:
            counts: Counts = Counter()
            source = getattr(self.data, view)
            if view == "prompts":
                rows = self._prompts(split)
            elif source.startswith(FROM):
                other = source.removeprefix(FROM)
                given, _ = self.merged(other, split)
                rows = merged(view, converted(view, other, given, counts), counts)
            else:
                rows = merged(view, self._usable(view).get(split, []), counts)
            self._merged[view, split] = rows, counts
        return self._merged[view, split]

    def _kept(self, view: str, split: str) -> list[Row]:
        rows, _ = self.merged(view, split)
        if not self.data.narrows() or (view == "prompts" and split != "train"):
            return rows
        return [row for row in rows if row["prompt_id"] in self._shared(split)]

    def _shared(self, split: str) -> frozenset[str]:
        """The prompts of a split that every view but `prompts` has."""
        if split not in self._common:
            views = [view for view in self.data.sources() if view not in ("prompts", "graded")]
            found = (frozenset(row["prompt_id"] for row in self.merged(view, split)[0]) for view in views)
            self._common[split] = frozenset.intersection(*found)
        return self._common[split]

    def _prompts(self, split: str) -> list[Row]:
        """The prompts of all views, each once."""
        found: dict[str, Row] = {}
        for view in self.data.sources():
            if view == "prompts":
                rows = merged(view, self._usable(view).get(split, []), Counter())
            else:
                rows, _ = self.merged(view, split)
            for row in rows:
                name = row["prompt_id"]
                found.setdefault(name, {"id": name, "prompt_id": name, "prompt": row["prompt"]})
        return [found[name] for name in sorted(found)]

    def _usable(self, view: str) -> Mapping[str, list[Row]]:
        self.data.check(view)
        return self._split(view)

    def _split(self, view: str) -> Mapping[str, list[Row]]:
        """Rows of a view's own source by split; those that the shares leave over under an empty name."""
        if view not in self._own:
            shares, groups = shares_of(self.data.splits), self.data.groups()
            own: dict[str, list[Row]] = {}
            for row in self.data.given(view).rows(self.name):
                own.setdefault(split_of(row["prompt"], shares, groups), []).append(row)
            self._own[view] = own
        return self._own[view]
