"""The proxy reward: what on-policy methods train on and best-of-n chooses by, a model or a dataset's rule."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import HarnessError
from harness.inference.scoring import RewardModel

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.data import Dataset, Message


class Proxy:
    """Scores of responses by a reward model, or by a dimension of the dataset's rule reward.

    Args:
        dataset: has the rule.
        rule: a dimension of it; None for a reward model.
        folder: the stage of the reward model, where there is no rule.
        device: where the model computes; the GPU where there is one, if it is not given.

    Raises:
        HarnessError: there is neither.
    """

    def __init__(self, dataset: Dataset, rule: str | None, folder: Path | None, device: Any = None) -> None:
        if rule is None and folder is None:
            raise HarnessError("there is no proxy reward: neither a reward model nor a rule of the dataset")
        self.dataset, self.rule, self.folder, self.device = dataset, rule, folder, device

    @cached_property
    def _model(self) -> RewardModel:
        return RewardModel(Path(str(self.folder)) / "reward", self.device)

    def score(self, texts: Sequence[tuple[list[Message], str]], batch: int) -> list[float]:
        """Scores of (prompt, response), in the order given."""
        if self.rule is not None:
            return self._ruled(texts, self.rule)
        return self._model.score(texts, batch)

    def score_readable(self, texts: Sequence[tuple[list[Message], str]], batch: int) -> Sequence[float | None]:
        """The same; None for a text that is longer than the model can read. A rule reads any."""
        return self._ruled(texts, self.rule) if self.rule is not None else self._model.score_readable(texts, batch)

    def lengths(self, texts: Sequence[tuple[list[Message], str]]) -> list[int]:
        """Tokens of each response, as the model reads it; words for a rule."""
        return [len(text.split()) for _, text in texts] if self.rule is not None else self._model.lengths(texts)

    def _ruled(self, texts: Sequence[tuple[list[Message], str]], rule: str) -> list[float]:
        return [self.dataset.score(prompt, response)[rule] for prompt, response in texts]
