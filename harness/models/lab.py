"""The lab's base model: a small Llama, pretrained from scratch on the dataset's own text."""

from __future__ import annotations

from dataclasses import dataclass

from harness.knobs import Between, above, knob
from harness.models import ModelSource, Origin


@dataclass(frozen=True)
class LabModel(ModelSource):
    """A Llama of about a million parameters, pretrained once in about two minutes on one CPU core, and kept."""

    hidden: int = knob(128, valid=Between(low=8), doc="width of the model")
    layers: int = knob(4, valid=Between(low=1), doc="number of layers")
    heads: int = knob(4, valid=Between(low=1), doc="attention heads; must divide hidden")
    learning_rate: float = knob(5e-3, valid=above(0), doc="peak learning rate of pretraining")
    texts: int = knob(19200, valid=Between(low=1), doc="conversations used")
    steps: int = knob(1200, valid=Between(low=1), doc="optimiser steps of pretraining")
    batch: int = knob(16, valid=Between(low=1), doc="conversations per step")
    threads: int = knob(1, valid=Between(low=1), doc="CPU threads")

    def origin(self) -> Origin:
        """Pretraining on the `pretrain` split."""
        shape = {"hidden": self.hidden, "layers": self.layers, "heads": self.heads, "learning_rate": self.learning_rate}
        budget = {"prompts": self.texts, "steps": self.steps, "batch": self.batch, "micro_batch": self.batch}
        return Origin("pretrain", shape, {**budget, "threads": self.threads, "schedule": "cosine"}, "pretrain")
