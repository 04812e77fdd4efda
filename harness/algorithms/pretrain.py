"""Pretraining of a small Llama from scratch, on the dataset's own text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from harness.algorithms import Algorithm, Needs
from harness.knobs import Between, Uniform, above, knob

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.data import Dataset
    from harness.job import Job
    from harness.metrics import Measurement


@dataclass(frozen=True)
class Pretrain(Algorithm):
    """Next-token prediction on whole conversations, with a word-level tokenizer of the dataset's closed vocabulary.

    It comes from no paper: it makes the lab's base model. The seed decides the initial weights and the order.

    Loss: −Σ log p(x_t | x_<t) over all tokens but the first, divided by their number in the optimiser step.
    """

    needs: ClassVar[Needs] = Needs(data="text", start=False)

    hidden: int = knob(128, valid=Between(low=8), doc="width of the model")
    layers: int = knob(4, valid=Between(low=1), doc="number of layers")
    heads: int = knob(4, valid=Between(low=1), doc="attention heads; must divide hidden")
    learning_rate: float = knob(3e-3, valid=above(0), search=Uniform(1e-4, 1e-2, log=True), doc="peak of the schedule")

    def configuration(self, dataset: Dataset) -> Mapping[str, Any]:
        """Known from the knobs and from the dataset's words."""
        from harness.training.scratch import configuration

        return configuration(dataset, self.hidden, self.layers, self.heads)

    def train(self, job: Job) -> list[Measurement]:
        """Make a tokenizer and a model, and train the model along the shared road.

        Raises:
            HarnessError: the dataset has no closed vocabulary.
        """
        from harness.training.scratch import new_model, new_tokenizer
        from harness.training.sequences import train_texts

        tokenizer = new_tokenizer(job.dataset)
        model = new_model(tokenizer, self.hidden, self.layers, self.heads, job.seed("init"), job.budget.precision)
        return train_texts(job, self.learning_rate, model, tokenizer)
