"""Where a policy, a reward model and a tokenizer come from; templates; how responses are sampled."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from harness import registry
from harness.errors import nearest


@dataclass(frozen=True)
class Origin:
    """How a model source makes its weights: a training run like any other.

    Attributes:
        algorithm: the algorithm's name.
        knobs: its knobs, without defaults.
        budget: its budget, without defaults.
        split: the split of the dataset that it reads; empty where it reads no data and has no seed.
    """

    algorithm: str
    knobs: dict[str, Any]
    budget: dict[str, Any]
    split: str


class ModelSource(ABC):
    """Where base models come from. Subclasses are frozen dataclasses whose knobs a recipe may set."""

    version: ClassVar[int] = 1
    writes: ClassVar[bool] = True
    """Whether it writes text, as a policy has to; a reward model's base need not."""

    @classmethod
    def settle(cls, given: Mapping[str, Any], folder: Path, problem: Callable[[str, str], None]) -> dict[str, Any]:
        """What a recipe says of it as knobs, which are plain values that belong into a key.

        Args:
            given: the recipe's table.
            folder: that the recipe lies in.
            problem: notes a knob and what is wrong with it.
        """
        return dict(given)

    @abstractmethod
    def origin(self) -> Origin:
        """How the weights are made; the seed is the plan's to choose."""


OWN = {"smollm2-135m": "pretrained", "all-minilm-l6-v2": "encoder"}
"""Models that have a name of their own here, and the plug-in that loads each."""
SHORTEST = 4
"""A shorter part of such a name says nothing."""


def named(source: str, given: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """The plug-in that a recipe's `source` means, and what is set about it: a hub's id and a folder stand for it."""
    if source in OWN:
        return OWN[source], {**given, "name": source}
    if "/" in source or source.startswith((".", "~")):
        return "pretrained", {**given, "name": source}
    return source, dict(given)


def unknown(source: str) -> str:
    """What is said of a source that is none of ours: the nearest name, and all that a source may be."""
    known = [*OWN, *registry.names("models")]
    parts = [one for one in OWN if len(source) >= SHORTEST and source.lower() in one]
    hint = nearest(source.lower(), known) or (f"; did you mean '{parts[0]}'?" if parts else "")
    return f"there is no model '{source}'{hint} (known: {', '.join(known)}; a hub's id owner/name, or a folder ./name)"
