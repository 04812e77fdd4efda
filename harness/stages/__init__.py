"""Stages: values that hold their inputs. Together they are the whole graph of a comparison.

A stage's name is its kind and the hash of its spec, and its spec holds the names of its inputs: equal
work has an equal name, whoever asks for it. Nothing here imports torch until a stage runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from harness.errors import HarnessError
from harness.stages.base import Stage, walk
from harness.stages.grade import ASIDE, Bench, Grade, Judge
from harness.stages.sample import Collect, Sample, trained_on
from harness.stages.specs import algorithm_spec, dataset_spec, open_algorithm, open_dataset, same_version, training_rows
from harness.stages.train import Reference, Train
from harness.stages.trust import Audit, Ready, Separation

__all__ = [
    "ASIDE",
    "KINDS",
    "Audit",
    "Bench",
    "Collect",
    "Grade",
    "Judge",
    "Ready",
    "Reference",
    "Sample",
    "Separation",
    "Stage",
    "Train",
    "algorithm_spec",
    "dataset_spec",
    "from_spec",
    "open_algorithm",
    "open_dataset",
    "trained_on",
    "training_rows",
    "walk",
]

KINDS: dict[str, type[Stage]] = {
    stage.kind: stage for stage in (Train, Reference, Collect, Sample, Grade, Ready, Audit, Separation, Judge, Bench)
}


def from_spec(spec: dict[str, Any], inputs: Mapping[str, Stage]) -> Stage:
    """The stage of a spec, whose inputs are given as stages.

    Raises:
        HarnessError: this code knows no such kind, or another version of it.
    """
    kind = KINDS.get(spec.get("kind", ""))
    if kind is None:
        raise HarnessError(f"there is no stage kind '{spec.get('kind')}' (known: {', '.join(KINDS)})")
    same_version("stage", spec["kind"], spec["version"], kind)
    settings = {name: value for name, value in spec.items() if name not in ("kind", "version", "inputs")}
    return kind(inputs, **settings)
