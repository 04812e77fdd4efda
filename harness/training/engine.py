"""The engine of the road: a trainer that takes its loss from an `Objective` and its rows in a given order.

What it overrides of transformers 5.23 and TRL 1.16 is kept short, and tests/training/test_road.py fails where the
library no longer calls one of them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import defaultdict
from typing import TYPE_CHECKING, Any

from harness.training.curves import log_every
from harness.training.forward import token_scores

if TYPE_CHECKING:
    from collections.abc import Iterator

    import torch


class Objective(ABC):
    """What a family of algorithms adds to the road."""

    @abstractmethod
    def collate(self, rows: list[dict[str, Any]]) -> dict[str, Any]:
        """Rows to tensors: `input_ids`, `attention_mask`, `labels` (rows, T), and whatever `loss` reads."""

    @abstractmethod
    def totals(self, batches: list[dict[str, Any]], trainer: Any) -> dict[str, Any]:
        """Numbers of a whole optimiser step, before its first gradient; each micro-batch is given them."""

    @abstractmethod
    def loss(self, outputs: Any, batch: dict[str, Any], totals: dict[str, Any]) -> tuple[torch.Tensor, dict[str, Any]]:
        """This micro-batch's part of the step's loss, and what to log (sums over rows divided by the step's rows)."""

    def summary(self, means: dict[str, float]) -> dict[str, float]:
        """What is logged, from the means over the steps since the last point; the means themselves by default."""
        return means


def road(base: type[Any]) -> type[Any]:
    """A trainer class on top of transformers' Trainer or one that derives from it."""

    class Road(base):  # type: ignore[misc]  # the base is chosen at run time
        loss_is_scaled_for_ga = True  # the objective divides by the whole step's total

        def __init__(self, *args: Any, objective: Objective, indices: list[int], **kwargs: Any) -> None:
            self.objective, self.indices = objective, indices
            self.window: dict[str, list[Any]] = defaultdict(list)
            super().__init__(*args, **kwargs)

        def _get_train_sampler(self, *_: Any) -> list[int]:
            return self.indices

        def create_model_card(self, *_: Any, **__: Any) -> None:
            """None is wanted: the record says what was trained."""

        def get_batch_samples(self, epoch_iterator: Iterator[Any], num_batches: int, device: Any) -> Any:
            """Give each micro-batch the totals of its optimiser step."""
            batches, _ = super().get_batch_samples(epoch_iterator, num_batches, device)
            totals = self.objective.totals(batches, self)
            return [{**batch, "totals": totals} for batch in batches], None

        def compute_loss(
            self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
        ) -> Any:
            """The objective's loss on one forward pass."""
            loss, logs = self.objective.loss(self.forward(model, inputs), inputs, inputs["totals"])
            self._finite("loss", loss)
            for name, value in logs.items():
                self.window[name].append(value)
            return loss

        def forward(self, model: Any, inputs: dict[str, Any]) -> Any:
            """What the objective reads of the model: here the scores of its tokens."""
            return token_scores(model, inputs)

        def _clip_grad_norm(self, model: Any) -> Any:
            norm = super()._clip_grad_norm(model)
            self._finite("norm of the gradient", norm)
            return norm

        def _finite(self, what: str, value: Any) -> None:
            if not bool(value.isfinite()):
                raise FloatingPointError(f"the {what} is {value.item()} at step {self.state.global_step + 1}")

        def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
            """Add the means over the steps since the last point."""
            import torch

            steps = log_every(self.args.max_steps)
            sums = {name: torch.stack([torch.as_tensor(v).float() for v in vs]) for name, vs in self.window.items()}
            self.window.clear()
            if sums:
                logs.update(self.objective.summary({name: float(part.sum()) / steps for name, part in sums.items()}))
            super().log(logs, start_time)

    return Road
