"""The untouched model as a contestant."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from harness.algorithms import Algorithm, Needs


@dataclass(frozen=True)
class Base(Algorithm):
    """The model before any tuning, asked like all the others: what everything else has to be better than.

    It comes from no paper and trains nothing.
    """

    needs: ClassVar[Needs] = Needs(data="prompts")
    trains: ClassVar[bool] = False
    start: ClassVar[str] = "base"
