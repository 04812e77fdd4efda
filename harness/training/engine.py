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
from harness.training.masters import step_in_float32

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import torch

COMPANION = "companion.pt"


class Objective(ABC):
    """What a family of algorithms adds to the road.

    Attributes:
        companion: a module that is trained beside the policy and kept in checkpoints, for example a value model.
        companion_learning_rate: peak of its schedule.
    """

    companion: Any = None
    companion_learning_rate: float = 0.0

    @abstractmethod
    def collate(self, rows: list[dict[str, Any]]) -> dict[str, Any]:
        """Rows to tensors: `input_ids`, `attention_mask`, `labels` (rows, T), and whatever `loss` reads."""

    def prepare(self, batches: list[dict[str, Any]], trainer: Any) -> list[dict[str, Any]]:
        """The micro-batches of an optimiser step as they are trained on; on-policy methods draw responses here."""
        return batches

    @abstractmethod
    def totals(self, batches: list[dict[str, Any]], trainer: Any) -> dict[str, Any]:
        """Sums over this process's rows of an optimiser step; each micro-batch is given those over all processes."""

    def forward(self, model: Any, inputs: dict[str, Any]) -> Any:
        """What `loss` reads of the model: here the scores of its tokens."""
        return token_scores(model, inputs)

    @abstractmethod
    def loss(self, outputs: Any, batch: dict[str, Any], totals: dict[str, Any]) -> tuple[torch.Tensor, dict[str, Any]]:
        """This micro-batch's part of the step's loss, and what to log (sums over rows divided by the step's rows)."""

    def summary(self, means: dict[str, float]) -> dict[str, float]:
        """What is logged, from the means over the steps since the last point; the means themselves by default."""
        return means

    def save(self, folder: Path) -> None:
        """Write into a checkpoint what a resumed run needs beside the policy."""
        import torch

        if self.companion is not None:
            torch.save(self.companion.state_dict(), folder / COMPANION)

    def load(self, folder: Path) -> None:
        """Take up what `save` has kept."""
        import torch

        if self.companion is not None:
            self.companion.load_state_dict(torch.load(folder / COMPANION, weights_only=True))


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
            if self.objective.companion is not None:
                self.objective.companion.zero_grad()
            batches = self.objective.prepare(batches, self)
            totals = self._summed(self.objective.totals(batches, self))
            return [{**batch, "totals": totals} for batch in batches], None

        def every_process(self, items: list[Any]) -> list[Any]:
            """The items of all processes, in the order of the processes."""
            from accelerate.utils import gather_object

            return items if self.accelerator.num_processes == 1 else list(gather_object(items))

        def _summed(self, totals: dict[str, Any]) -> dict[str, Any]:
            """Sums over all processes, in the order of their names."""
            import torch

            if self.accelerator.num_processes == 1:
                return totals
            values = [float(totals[name]) for name in sorted(totals)]
            own = torch.tensor(values, dtype=torch.float64, device=self.args.device)
            every = self.accelerator.reduce(own, reduction="sum").tolist()
            return dict(zip(sorted(totals), every, strict=True))

        def compute_loss(
            self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
        ) -> Any:
            """The objective's loss on one forward pass."""
            loss, logs = self.objective.loss(self.forward(model, inputs), inputs, inputs["totals"])
            self._finite("loss", loss)
            for name, value in logs.items():
                self.window[name].append(value)
            return loss * self.accelerator.num_processes  # gradients are averaged over processes; the loss is a sum

        def forward(self, model: Any, inputs: dict[str, Any]) -> Any:
            """What the objective reads of the model."""
            return self.objective.forward(model, inputs)

        def create_optimizer(self, *args: Any, **kwargs: Any) -> Any:
            """Weights are stepped in float32; the companion's are a group of their own, without weight decay."""
            if self.optimizer is not None:
                return self.optimizer
            optimizer = super().create_optimizer(*args, **kwargs)
            step_in_float32(optimizer)
            if self.objective.companion is not None:
                weights = list(self.objective.companion.parameters())
                rate = self.objective.companion_learning_rate
                optimizer.add_param_group({"params": weights, "weight_decay": 0.0, "lr": rate})
            return optimizer

        def _clip_grad_norm(self, model: Any) -> Any:
            norm = super()._clip_grad_norm(model)
            self._finite("norm of the gradient", norm)
            if self.objective.companion is not None:
                self._clip_companion()
            return norm

        def _clip_companion(self) -> None:
            import torch

            weights = [weight for weight in self.objective.companion.parameters() if weight.grad is not None]
            if self.accelerator.num_processes > 1:
                for weight in weights:
                    weight.grad = self.accelerator.reduce(weight.grad, reduction="mean")
            norm = torch.nn.utils.clip_grad_norm_(weights, self.args.max_grad_norm)
            self._finite("norm of the value model's gradient", norm)

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
                totals = self._summed({name: float(part.sum()) for name, part in sums.items()})
                logs.update(self.objective.summary({name: total / steps for name, total in totals.items()}))
            super().log(logs, start_time)

    return Road
