"""A trial in two parts: as far as the step at which it is looked at, and the rest. Together they are one training."""

from __future__ import annotations

from dataclasses import dataclass, replace
from statistics import median

from harness import registry
from harness.plan import Cell
from harness.stages import Grade, Sample, Train


@dataclass(frozen=True)
class Halves:
    """The grade of a trial's first part, and the trial as it goes on from there."""

    look: Grade
    rest: Cell


def halves(cell: Cell, step: int) -> Halves | None:
    """A trial that stops at a step; None where it is not a single training that can stop, as rounds of several are."""
    trained = cell.trained
    if trained is None or cell.own != (trained,) or not registry.load("algorithms", cell.algorithm).trains:
        return None
    first = replace(trained, until=step)
    second = replace(trained, inputs={**trained.inputs, "begun": first})
    look = _graded(cell, first)
    grade = _graded(cell, second)
    sample: dict[int | None, Sample] = {None: _sampled(cell, second)}
    own = (first, look.inputs["sample"], look, second)
    return Halves(look, replace(cell, trained=second, own=own, samples=sample, grades={None: grade}))


def _graded(cell: Cell, policy: Train) -> Grade:
    """The cell's final grade, of another policy."""
    grade = cell.grades[None]
    return replace(grade, inputs={**grade.inputs, "sample": _sampled(cell, policy), "policy": policy})


def _sampled(cell: Cell, policy: Train) -> Sample:
    sample = cell.samples[None]
    return replace(sample, inputs={**sample.inputs, "policy": policy})


def below_median(score: float, seen: list[float]) -> bool:
    """Whether a trial is worse at the look than half of its study's trials were there."""
    return bool(seen) and score < median(seen)
