"""Stages that judge answers: metrics, judges, lm-eval tasks."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, cast

from harness.metrics import Measurement
from harness.stages.base import Stage
from harness.stages.sample import Sample, trained_on
from harness.stages.specs import open_dataset, training_rows

ASIDE = "aside.json"
"""Where what `Stage.aside` gives lies, beside the spec."""


@dataclass(frozen=True, eq=False)
class Grade(Stage):
    """Metrics of samples and of the policy that gave them. The only stage by which the gold reward model judges.

    Inputs: `sample` (Sample), `policy` and `start` (Train), `greedy` (Sample at temperature 0) where there is one, and
    `gold`, `selection`, `proxy` (Train of a reward).
    """

    kind: ClassVar[str] = "grade"
    version: ClassVar[int] = 1
    reads_policies: ClassVar[bool] = True
    dataset: dict[str, Any] = field(kw_only=True)
    metrics: dict[str, int] = field(kw_only=True)
    """Metric names and their versions."""
    pairs: int = field(kw_only=True)
    """Held-out labelled pairs on which the policy itself is measured."""
    batch: int = field(kw_only=True)
    threads: int = field(kw_only=True)
    step: int | None = None
    rules: dict[str, str] | None = None
    """Roles that the dataset's rule reward fills in place of a model, and its dimension: `{"proxy": "total"}`."""

    def run(self, out: Path, inputs: dict[str, Path], checkpoint_every: int) -> list[Measurement]:
        """Write `scores.parquet`; its summaries are the measurements."""
        from harness.metrics._grade import grade

        return grade(out, inputs, open_dataset(self.dataset), self)


@dataclass(frozen=True, eq=False)
class Judge(Stage):
    """A judge's choice between the responses of a system and of the start to the same prompts, in both orders.

    Inputs: `sample` and `start_sample` (Sample), whose first samples (k = 0) are compared.

    Attributes:
        judge: who judges: `{"source", "version", "knobs"}`.
        template: the words in which it is asked; None for a judge that reads none.
        prompts: the first so many prompts; all that were sampled where None.
        asking: parallel requests, retries and the like, see `judges.Asking`; they change no answer and no key.
    """

    kind: ClassVar[str] = "judge"
    version: ClassVar[int] = 1
    dataset: dict[str, Any] = field(kw_only=True)
    judge: dict[str, Any] = field(kw_only=True)
    threads: int = field(kw_only=True)
    template: str | None = None
    prompts: int | None = None
    asking: Mapping[str, Any] | None = None

    def settings(self) -> dict[str, Any]:
        """All but `asking`."""
        return {name: value for name, value in super().settings().items() if name != "asking"}

    def aside(self) -> dict[str, Any]:
        """How the judge is asked."""
        return dict(self.asking or {})

    def run(self, out: Path, inputs: dict[str, Path], checkpoint_every: int) -> list[Measurement]:
        """Write `answers.parquet` and `scores.parquet`, resuming from the journal in `out`."""
        from harness.judges import Asking
        from harness.judges._work import judge

        told = out / ASIDE
        asking = Asking(**(json.loads(told.read_text()) if told.exists() else {}))
        sample, dataset = cast(Sample, self.inputs["sample"]), open_dataset(self.dataset)
        rows = training_rows(dataset, "prompts", sample.split, min(self.prompts or sample.prompts, sample.prompts))
        return judge(out, inputs, rows, dataset, self, asking)


@dataclass(frozen=True, eq=False)
class Bench(Stage):
    """lm-eval tasks asked of a policy, one value kept for each document.

    Inputs: `policy` (Train).

    Attributes:
        lm_eval: the version of lm-eval, which fixes the tasks that come with it.
        tasks: names of tasks, groups or tags.
        chat: prompts are put through the chat template, as in training.
        shots: examples before each document; the task's own number where None.
        limit: the first so many documents of each task; all where None.
        source: the dataset whose own tasks they are.
        sha256: of names and contents of the folder whose tasks they are.
        path: where that folder lay when the recipe was read. Not part of the key.
    """

    kind: ClassVar[str] = "bench"
    version: ClassVar[int] = 1
    reads_policies: ClassVar[bool] = True
    lm_eval: str = field(kw_only=True)
    tasks: list[str] = field(kw_only=True)
    chat: bool = field(kw_only=True)
    batch: int = field(kw_only=True)
    threads: int = field(kw_only=True)
    shots: int | None = None
    limit: int | None = None
    source: dict[str, Any] | None = None
    sha256: str | None = None
    path: str | None = None

    def run(self, out: Path, inputs: dict[str, Path], checkpoint_every: int) -> list[Measurement]:
        """Write `scores.parquet`."""
        from harness.inference.benchmarks import write_scores

        source = open_dataset(self.source) if self.source else None
        return write_scores(out, inputs["policy"], source, trained_on(self), self)
