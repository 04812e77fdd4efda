"""What a metric is: a name, a unit, which way is better, and one value per sample or per pair."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from harness.metrics._bench import GradeBench


@dataclass(frozen=True)
class Measurement:
    """One number of a record. A number that is not there is an absent row, never NaN."""

    metric: str
    value: float
    n: int
    unit: str = ""
    better: str = ""
    """`higher`, `lower`, or empty where neither is better."""


@dataclass(frozen=True)
class Value:
    """One value of a metric.

    `k` names the sample of the prompt; -1 where the value is of the whole prompt or of a labelled pair, whose prompt
    `prompt_id` then is. A value of the whole run has an empty `prompt_id`.
    """

    prompt_id: str
    k: int
    value: float
    role: str = ""
    """Reward metrics: `gold`, `selection`, `proxy`, `oracle` or `oracle.<dimension>`; metrics of log-probabilities:
    `before` and `after`; empty elsewhere."""


class Metric(ABC):
    """One file each. `values` sees everything that a Grade stage has loaded once for all metrics."""

    version: ClassVar[int] = 1
    unit: ClassVar[str]
    better: ClassVar[str]
    level: ClassVar[str] = "sample"
    """What a value is of: `sample`, a sampled response; `prompt`, all responses to a prompt, or its greedy one; `pair`,
    a held-out labelled pair; `judgment`, a held-out judged response; `corpus`, the whole run, which has no prompts to
    take an interval over."""

    greedy: ClassVar[bool] = False
    """Whether it reads the greedy responses, which are sampled where some metric does."""
    usual: ClassVar[bool] = True
    """Whether a recipe that names no metrics takes it; what few datasets have is measured where it is asked for."""
    absent: ClassVar[str] = ""
    """Why it may be without values, as the report says it."""

    @abstractmethod
    def values(self, bench: GradeBench) -> list[Value]:
        """Every value of this metric."""
