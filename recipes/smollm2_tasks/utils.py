"""Documents of the tasks of recipes/smollm2.toml, from the files in $HARNESS_DATA that the recipe trains on too."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import datasets
import numpy as np

from harness.data._splits import shares_of, split_of

SPLITS = "train=0.45 proxy=0.15 selection=0.05 gold=0.15 heldout=0.05 test=0.15"
"""As in the recipe; what TruthfulQA's multiple choice asks has to be what nothing was trained on."""


def documents(file: str, sha256: str, unseen: bool = False, first: int = 0, **_: Any) -> dict[str, datasets.Dataset]:
    """The documents of a JSONL file.

    Args:
        file: its path below $HARNESS_DATA.
        sha256: of its content; another content is refused, for it would be another task.
        unseen: keep the questions of the recipe's test split alone.
        first: keep the first so many; 0 keeps all.
    """
    content = (Path(os.environ["HARNESS_DATA"]) / file).read_bytes()
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise ValueError(f"{file} has SHA-256 {found}; the task was made for {sha256}")
    rows = [json.loads(line) for line in content.decode().split("\n") if line]
    if unseen:
        rows = [row for row in rows if _split(row["question"]) == "test"]
    return {"test": datasets.Dataset.from_list(rows[: first or None])}


def _split(question: str) -> str:
    return split_of([{"role": "user", "content": question}], shares_of(SPLITS), {})


def mass_on_true(doc: dict[str, Any], results: list[tuple[float, bool]]) -> dict[str, float]:
    """The share of the answers' probability that lies on true ones, TruthfulQA's MC2."""
    chances = np.exp([logp for logp, _ in results])
    labels = np.array(doc["mc2_targets"]["labels"])
    return {"acc": float(chances[labels == 1].sum() / chances.sum())}
