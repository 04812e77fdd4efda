"""Where things of a setting stand on the page: what its sentences link to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from harness.report.page import Linked

if TYPE_CHECKING:
    from harness.report.compare import Comparison

    Link = tuple[str, str]


@dataclass(frozen=True)
class Places:
    """The places of one setting.

    Attributes:
        suffix: what the ids of its sections end with; empty where it is the only setting.
        rows: ids of the contestants' rows in the main table.
        trust: id of the section on its reward models; empty where there is none.
        tuned: whether it has a section on its searches.
    """

    suffix: str = ""
    rows: Mapping[str, str] = field(default_factory=dict)
    trust: str = ""
    tuned: bool = False

    @property
    def part(self) -> str:
        """What the ids of its tables end with."""
        return self.suffix or "-0"

    def to(self, *kinds: str, row: str = "") -> tuple[Link, ...]:
        """Links to places: a name and an id each.

        Args:
            kinds: of `main`, `pairs`, `grade`, `guide`, `candidates`, `stability`, `tuning`, `trust`, `alarms`, `gaps`
                and `method`.
            row: a contestant, for its row in the main table, which comes first where there is one.
        """
        own = ((row, self.rows[row]),) if row in self.rows else ()
        return (*own, *map(self._section, kinds))

    def linked(self, texts: Iterable[str], *kinds: str, row: str = "") -> list[Linked]:
        """Sentences that rest on the same places."""
        return [Linked(text, self.to(*kinds, row=row)) for text in texts]

    def _section(self, kind: str) -> Link:
        found = {
            "main": ("Contestants", f"table-main{self.part}"),
            "pairs": ("All pairs", f"pairs{self.suffix}"),
            "grade": ("What the grade rests on", f"table-grade{self.part}"),
            "guide": ("Which one for you?", f"guide{self.suffix}"),
            "candidates": ("What each contestant needs and costs", f"table-candidates{self.part}"),
            "stability": ("Stability of the order", f"stability{self.suffix}"),
            "alarms": ("Alarms", "alarms"),
            "gaps": ("Gaps", "gaps"),
            "method": ("Method", "method"),
        }
        found["tuning"] = ("Tuning", f"tuning{self.suffix}") if self.tuned else found["method"]
        found["trust"] = ("Reward-model trust", self.trust) if self.trust else found["grade"]
        return found[kind]


def places(comparison: Comparison, suffix: str = "", trust: str = "", *, tuned: bool = False) -> Places:
    """Those of a comparison.

    Args:
        comparison: for the order of its rows.
        suffix: what the ids of its sections end with.
        trust: id of the section on its reward models, where there is one.
        tuned: whether it has a section on its searches.
    """
    rows = {row.name: f"table-main{suffix or '-0'}-{place}" for place, row in enumerate(comparison.standings)}
    return Places(suffix, rows, trust, tuned)
