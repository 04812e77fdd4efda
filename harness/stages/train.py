"""Stages that train, or compute what training reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from harness.data import NoData, Row
from harness.errors import HarnessError
from harness.job import Budget, Job
from harness.metrics import Measurement
from harness.stages.base import Stage
from harness.stages.specs import open_algorithm, open_dataset, training_rows

DATA = "data"
"""Roles that begin so are Collect stages whose rows are trained on."""


@dataclass(frozen=True, eq=False)
class Train(Stage):
    """Any algorithm, a reward model and pretraining too.

    Inputs: `start` (Train), `reference` (Reference), `reward` (Train), each where the algorithm needs it; `anchor`
    (Train), the policy that KL is measured to, where that is not the start; `data`, `data-1` and so on (Collect), rows
    in place of the dataset's own, or after them where they are `joined`; `begun` (Train), the same training as far as
    its `until`, which is then gone on with.

    Attributes:
        dataset: None for weights that are only loaded.
        seed: what is replicated, for example `replicate-0` or `gold`; all seeds derive from it and a purpose.
        emit: steps after which the policy is kept as well.
        rule: a dimension of the dataset's rule reward in place of a proxy reward model.
        joined: collected rows come after the dataset's own.
        until: the step that it stops at for now; None trains to the end.
        masters: "float32" where the weights that are trained have a lower precision and the optimiser steps copies of
            them; it follows from the budget, and tells such trainings from earlier ones, which had no copies.
    """

    kind: ClassVar[str] = "train"
    version: ClassVar[int] = 1
    algorithm: dict[str, Any] = field(kw_only=True)
    dataset: dict[str, Any] | None = field(default=None, kw_only=True)
    split: str = field(kw_only=True)
    budget: dict[str, Any] = field(kw_only=True)
    seed: str = field(kw_only=True)
    emit: list[int] | None = None
    rule: str | None = None
    joined: bool | None = None
    until: int | None = None
    masters: str | None = None

    def __post_init__(self) -> None:
        """Say whether there are master weights: adapters are float32 themselves, and what is only loaded has none."""
        trained = self.dataset is not None and not self.budget.get("lora_rank")
        low = trained and self.budget.get("precision", "float32") != "float32"
        object.__setattr__(self, "masters", "float32" if low else None)

    def run(self, out: Path, inputs: dict[str, Path], checkpoint_every: int) -> list[Measurement]:
        """Train, resuming from the newest complete checkpoint in `out`."""
        algorithm = open_algorithm(self.algorithm)
        dataset = open_dataset(self.dataset) if self.dataset else NoData()
        budget = Budget(**self.budget)
        if not self.dataset:
            return algorithm.train(Job(out, [], dataset, budget, self.seed))
        rows, view, changes = _collected(inputs), algorithm.requires().data, dict[str, int]()
        if self.joined or not any(role.startswith(DATA) for role in inputs):
            rows = training_rows(dataset, view, self.split, budget.prompts) + rows
            changes = {what: n for what, n in sorted(dataset.changes(view, self.split).items()) if n}
        if changes:
            print(f"{view} of split '{self.split}':", ", ".join(f"{n} rows {what}" for what, n in changes.items()))
        if not rows:
            raise HarnessError("what was collected holds no row to train on")
        emit, until = tuple(self.emit or ()), self.until or 0
        job = Job(out, rows, dataset, budget, self.seed, inputs, emit, checkpoint_every, self.rule, until)
        told = [Measurement(f"rows_{what}", n, 1, "rows") for what, n in changes.items()]
        return algorithm.train(job) + told


def _collected(inputs: Mapping[str, Path]) -> list[Row]:
    """Rows of all Collect stages among the inputs."""
    from harness.inference.collecting import read_rows

    return [row for role, folder in sorted(inputs.items()) if role.startswith(DATA) for row in read_rows(folder)]


@dataclass(frozen=True, eq=False)
class Reference(Stage):
    """Log-probabilities of the training responses under a frozen start, shared by all that compare with it.

    It covers the pairs, the labelled responses and their mismatched partners of the budget's prompts,
    whichever algorithms a recipe has: adding one changes nothing for the others. Inputs: `start`, and `data` (Collect)
    where pairs were collected, which are then what it covers.
    """

    kind: ClassVar[str] = "reference"
    version: ClassVar[int] = 1
    dataset: dict[str, Any] = field(kw_only=True)
    split: str = field(kw_only=True)
    budget: dict[str, Any] = field(kw_only=True)

    def run(self, out: Path, inputs: dict[str, Path], checkpoint_every: int) -> list[Measurement]:
        """Write `reference.parquet`."""
        from harness.training.reference import write_reference

        dataset = open_dataset(self.dataset)
        budget = Budget(**self.budget)
        collected = [row for row in _collected(inputs) if "chosen" in row]
        if collected:
            return write_reference(out, inputs["start"], {"pairs": collected}, budget)
        views: list[str] = [view for view in ("pairs", "binary") if view in dataset.offers()]
        rows: dict[str, list[Row]] = {view: training_rows(dataset, view, self.split, budget.prompts) for view in views}
        return write_reference(out, inputs["start"], rows, budget)
