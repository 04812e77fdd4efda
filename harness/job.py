"""What a training run is given: a budget alike for all contestants, and a job."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from harness import keys
from harness.data import Dataset, Row
from harness.knobs import Between, OneOf, above, knob


@dataclass(frozen=True)
class Budget:
    """What every contestant may spend, and how it is spent. All of it is part of a stage's key."""

    prompts: int = knob(0, valid=Between(low=0), doc="training prompts used, the first of the split; 0 means all")
    steps: int = knob(60, valid=Between(low=1), doc="optimiser steps")
    batch: int = knob(32, valid=Between(low=1), doc="prompts per optimiser step; a pair counts once")
    micro_batch: int = knob(32, valid=Between(low=1), doc="prompts per forward pass; must divide batch")
    max_prompt_tokens: int = knob(64, valid=Between(low=1), doc="longer prompts are left out for all, and counted")
    max_response_tokens: int = knob(64, valid=Between(low=1), doc="longer responses are left out for all, and counted")
    schedule: str = knob("linear", valid=OneOf(("linear", "cosine", "constant")), doc="learning rate after warm-up")
    warmup: float = knob(0.1, valid=Between(0, 1), doc="share of the steps in which the learning rate rises")
    weight_decay: float = knob(0.0, valid=Between(low=0), doc="AdamW's weight decay")
    max_grad_norm: float = knob(1.0, valid=above(0), doc="gradients are clipped to this norm")
    precision: str = knob(
        "float32", valid=OneOf(("float32", "bfloat16")), doc="precision of weights and activations; updates are float32"
    )
    lora_rank: int = knob(0, valid=Between(low=0), doc="rank of a LoRA adapter; 0 trains all weights")
    lora_alpha: float = knob(16.0, valid=above(0), doc="LoRA's scale, divided by the rank")
    threads: int = knob(1, valid=Between(low=1), doc="CPU threads of a stage; float sums depend on it")


@dataclass(frozen=True)
class Job:
    """All that an algorithm may read, and `out`, the only place it may write.

    Attributes:
        out: an existing folder; `policy/` (or `reward/`) goes into it, `policy-step-<n>/` for `emit`,
            `curves.parquet`, and `checkpoints/` while it runs.
        rows: training rows in the algorithm's view, of the budget's prompts, in the dataset's order.
        dataset: for its `score`, `judge` and `vocabulary`.
        inputs: folders of finished stages by role: `start`, `reference`, `reward`, `anchor`, `begun`.
        seed_root: what is replicated; see `seed`.
        emit: optimiser steps after which the policy is kept as well.
        checkpoint_every: steps between checkpoints; changes no result.
        rule: a dimension of the dataset's rule reward in place of a reward model.
        until: the step to stop at for now, at the last place up to it where a checkpoint can fall; 0 trains to the end.
            A job with the folder of such a run as its input `begun` goes on from there.
    """

    out: Path
    rows: list[Row]
    dataset: Dataset
    budget: Budget
    seed_root: str
    inputs: dict[str, Path] = field(default_factory=dict)
    emit: tuple[int, ...] = ()
    checkpoint_every: int = 50
    rule: str | None = None
    until: int = 0

    def seed(self, purpose: str) -> int:
        """The seed for one purpose in this replicate: `init` or `order`."""
        return keys.seed(self.seed_root, purpose)
