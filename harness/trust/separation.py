"""Prove that what judges was held out: prompts that are apart, and models that share no tensor."""

from __future__ import annotations

from contextlib import suppress
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import HarnessError
from harness.metrics import Measurement
from harness.trust.prompts import overlaps
from harness.trust.weights import fingerprints, shared

if TYPE_CHECKING:
    from harness.data import Dataset, Message
    from harness.stages import Separation

PROMPTS, WEIGHTS = "prompts.parquet", "weights.parquet"


def write_separation(out: Path, inputs: dict[str, Path], dataset: Dataset, stage: Separation) -> list[Measurement]:
    """Write `prompts.parquet` (each pair of prompt sets) and `weights.parquet` (each pair of models)."""
    import pandas as pd

    prompts = [
        {**vars(one), "apart": one.apart}
        for one in overlaps({name: _prompts(dataset, splits) for name, splits in stage.sets.items()})
    ]
    tensors = {role: fingerprints(_weights(role, folder)) for role, folder in inputs.items()}
    models = [
        {"one": one, "other": other, "shared": len(common), "of": len(tensors[one]), "example": (common or [""])[0]}
        for one, other in combinations(tensors, 2)
        for common in [shared(tensors[one], tensors[other])]
    ]
    pd.DataFrame(prompts).to_parquet(out / PROMPTS, index=False)
    columns = ["one", "other", "shared", "of", "example"]
    pd.DataFrame(models, columns=columns).to_parquet(out / WEIGHTS, index=False)
    return [
        Measurement("shared_prompts", sum(row["equal"] for row in prompts), len(prompts), "prompts", "lower"),
        Measurement("near_prompts", sum(row["near"] for row in prompts), len(prompts), "prompts", "lower"),
    ]


def _weights(role: str, folder: Path) -> Path:
    return folder / ("policy" if role.startswith("start") else "reward")


def _prompts(dataset: Dataset, splits: list[str]) -> list[list[Message]]:
    """The prompts of splits, as the first view that has them gives them; none of a split that is not there."""
    view = next(view for view in ("prompts", "pairs", "demonstrations", "binary") if view in dataset.offers())
    found = []
    for split in splits:
        with suppress(HarnessError):  # the dataset has no such split
            found += [row["prompt"] for row in dataset.rows(view, split)]
    return found
