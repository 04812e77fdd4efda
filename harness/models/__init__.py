"""Where a policy, a reward model and a tokenizer come from; templates; how responses are sampled."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar


@dataclass(frozen=True)
class Origin:
    """How a model source makes its weights: a training run like any other.

    Attributes:
        algorithm: the algorithm's name.
        knobs: its knobs, without defaults.
        budget: its budget, without defaults.
        split: the split of the dataset that it reads.
    """

    algorithm: str
    knobs: dict[str, Any]
    budget: dict[str, Any]
    split: str


class ModelSource(ABC):
    """Where base models come from. Subclasses are frozen dataclasses whose knobs a recipe may set."""

    version: ClassVar[int] = 1

    @abstractmethod
    def origin(self) -> Origin:
        """How the weights are made; the seed is the plan's to choose."""
