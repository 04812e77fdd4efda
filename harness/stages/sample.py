"""Stages in which a policy answers: to be judged, or to make data."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from harness.data import Row
from harness.metrics import Measurement
from harness.stages.base import Stage, walk
from harness.stages.specs import asked_by, open_algorithm, open_dataset, training_rows
from harness.stages.train import Train


@dataclass(frozen=True, eq=False)
class Sample(Stage):
    """Responses of a system (a policy and a way of using it) to evaluation prompts.

    Inputs: `policy` (Train), and `reward` (Train) where the procedure chooses by the proxy.

    Attributes:
        procedure: how the policy is used: `{"name": "plain"}`, and its options.
        prompts: the first so many prompts of the split.
        samples: K, responses per prompt.
        seed: what is replicated; with prompt, k and position it fixes the sampling noise.
        step: the policy after this step; the final one where None.
        weights: `{"batch", "threads", "precision"}`, which decide float sums.
    """

    kind: ClassVar[str] = "sample"
    version: ClassVar[int] = 1
    reads_policies: ClassVar[bool] = True
    dataset: dict[str, Any] = field(kw_only=True)
    split: str = field(kw_only=True)
    prompts: int = field(kw_only=True)
    samples: int = field(kw_only=True)
    temperature: float = field(kw_only=True)
    max_response_tokens: int = field(kw_only=True)
    procedure: dict[str, Any] = field(kw_only=True)
    seed: str = field(kw_only=True)
    batch: int = field(kw_only=True)
    threads: int = field(kw_only=True)
    step: int | None = None
    rule: str | None = None
    """A dimension of the dataset's rule reward in place of a proxy reward model, where the procedure needs one."""

    def run(self, out: Path, inputs: dict[str, Path], checkpoint_every: int) -> list[Measurement]:
        """Write `samples.parquet`."""
        from harness.inference.systems import write_samples
        from harness.trust.prompts import refuse_overlap

        dataset = open_dataset(self.dataset)
        rows = training_rows(dataset, "prompts", self.split, self.prompts, asked_by(self.split))
        refuse_overlap(rows, self.split, trained_on(self, self.dataset))
        return write_samples(out, inputs, rows, dataset, self)


def trained_on(stage: Stage, only: dict[str, Any] | None = None) -> dict[str, list[Row]]:
    """Rows that the policy of a stage, and the proxy that it may have learned from, were trained on.

    Text to pretrain on is left out: it is no example of a response to a prompt.

    Args:
        stage: what reads the policy.
        only: a dataset's spec, whose rows alone are wanted; None for those of all.
    """
    found = {}
    for needed in walk(list(stage.inputs.values())):
        if isinstance(needed, Train) and needed.dataset is not None and only in (None, needed.dataset):
            view = open_algorithm(needed.algorithm).requires().data
            if view != "text":
                who = f"split '{needed.split}', which {needed.algorithm['name']} trains on"
                dataset = open_dataset(needed.dataset)
                found[who] = training_rows(dataset, view, needed.split, needed.budget.get("prompts", 0))
    return found


@dataclass(frozen=True, eq=False)
class Collect(Stage):
    """K responses of a policy to training prompts, labelled into new data: a round of an iterated method.

    Inputs: `policy` (Train), and `reward` (Train) where that labels.

    Attributes:
        prompts: how many prompts of the split; 0 means all.
        skip: prompts that come first and are left out, for a round of its own prompts; it goes round at the end.
        labeller: `oracle` (the dataset's rule), `reward` (a reward model), `annotators` or `judge`.
        view: what is made: `pairs`, `rankings`, `judgments`, or `refinements`: second tries at the dataset's own judged
            responses, with the judgment in the prompt.
        samples: K, from 4 to 9 as in InstructGPT, or 2 for plain pairs.
        seed: what is replicated, and the round.
        rule: the dimension that the oracle labels by, or that stands in place of a reward model; None is `total`.
    """

    kind: ClassVar[str] = "collect"
    version: ClassVar[int] = 2
    reads_policies: ClassVar[bool] = True
    dataset: dict[str, Any] = field(kw_only=True)
    split: str = field(kw_only=True)
    prompts: int = field(kw_only=True)
    samples: int = field(kw_only=True)
    temperature: float = field(kw_only=True)
    max_prompt_tokens: int = field(kw_only=True)
    max_response_tokens: int = field(kw_only=True)
    labeller: str = field(kw_only=True)
    view: str = field(kw_only=True)
    seed: str = field(kw_only=True)
    batch: int = field(kw_only=True)
    threads: int = field(kw_only=True)
    skip: int | None = None
    rule: str | None = None

    def run(self, out: Path, inputs: dict[str, Path], checkpoint_every: int) -> list[Measurement]:
        """Write `rows.jsonl`."""
        from harness.inference.collecting import write_rows

        dataset = open_dataset(self.dataset)
        view = "judgments" if self.view == "refinements" else "prompts"
        rows: dict[str, list[Row]] = {}  # of a prompt there may be several judged responses
        for row in training_rows(dataset, view, self.split, 0):
            rows.setdefault(row["prompt_id"], []).append(row)
        names = list(rows)
        first = (self.skip or 0) % len(names)
        wanted = (names[first:] + names[:first])[: self.prompts or None]
        return write_rows(out, inputs, [row for name in wanted for row in rows[name]], dataset, self)
