"""What a dataset is: views of rows by split, and, where there is one, an exact rule reward."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

Message = dict[str, str]
"""`{"role": "system" | "user" | "assistant", "content": text}`."""

Row = dict[str, Any]
"""Plain JSON values; every row has `id`, unique within its view and split."""

VIEWS = ("text", "demonstrations", "pairs", "binary", "rankings", "judgments", "prompts")
"""Forms of data. All but `text` (whole conversations, `messages`) have `prompt_id` and `prompt` (messages) and

demonstrations `response`; pairs `chosen`, `rejected`; binary `response`, `label` (bool);
rankings `responses`, best first; judgments `response`, `judgment` (words, or None where all is well).
"""

SPLITS = ("pretrain", "train", "proxy", "selection", "gold", "tune", "test", "ood", "heldout")
"""Disjoint by prompt: policies train on `train`; each reward model on the split of its role; `tune` is for
choosing knobs, `test` and `ood` for the report; `heldout` holds labelled pairs to measure accuracy on."""


class Dataset(ABC):
    """A source of rows. Subclasses are frozen dataclasses whose knobs a recipe may set."""

    version: ClassVar[int]
    """Raise it when the same knobs would give other rows."""
    views: ClassVar[frozenset[str]]
    rewards: ClassVar[tuple[str, ...]] = ()
    """Names of the dimensions that `score` gives; empty where the dataset has no rule reward."""

    @abstractmethod
    def rows(self, view: str, split: str) -> list[Row]:
        """All rows of a view in a split, in a fixed order.

        Raises:
            HarnessError: the dataset has no such view or split.
        """

    def score(self, prompt: list[Message], response: str) -> dict[str, float]:
        """The exact rule reward of any response, by dimension.

        Raises:
            LookupError: the dataset has none (`rewards` is empty).
        """
        raise LookupError(f"{type(self).__name__} has no rule reward")

    def judge(self, prompt: list[Message], response: str) -> str | None:
        """What is wrong with a response, in words; None where it is satisfactory.

        Raises:
            LookupError: the dataset has no judge.
        """
        raise LookupError(f"{type(self).__name__} has no judge")

    def vocabulary(self) -> list[str] | None:
        """Every word that the dataset's texts use, where that is a closed list."""
        return None
