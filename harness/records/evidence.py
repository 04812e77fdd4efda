"""What the audits of the reward models have left, setting by setting."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

    from harness.plan import Plan
    from harness.records.shelf import Shelf
    from harness.stages import Stage
    from harness.store import Store


@dataclass(frozen=True)
class Evidence:
    """Of one model and dataset.

    Attributes:
        scores: each audit's table by role; see harness/trust/card.py.
        prompts: pairs of prompt sets and what they share; None until that is known.
        weights: pairs of models and what they share; None until that is known.
        missing: what has not been found out, and why.
    """

    scores: dict[str, pd.DataFrame] = field(default_factory=dict)
    prompts: pd.DataFrame | None = None
    weights: pd.DataFrame | None = None
    missing: list[str] = field(default_factory=list)


def read_evidence(plan: Plan, store: Store) -> dict[tuple[str, str], Evidence]:
    """Evidence by (model, dataset)."""
    from harness.records.shelf import Shelf

    shelf, found = Shelf(plan, store), {}
    for setting, audits in plan.audits.items():
        missing: list[str] = []
        scores = {
            role: table
            for role, stage in audits.cards.items()
            if (table := _table(shelf, stage, "scores.parquet", f"the audit of {role}", missing)) is not None
        }
        prompts = weights = None
        if audits.separation:
            what = "the proof of separation"
            prompts = _table(shelf, audits.separation, "prompts.parquet", what, missing)
            weights = _table(shelf, audits.separation, "weights.parquet", what, missing)
        found[setting] = Evidence(scores, prompts, weights, list(dict.fromkeys(missing)))
    return found


def _table(shelf: Shelf, stage: Stage, file: str, what: str, missing: list[str]) -> pd.DataFrame | None:
    import pandas as pd
    import pyarrow as pa

    if shelf.record(stage) is None:
        failure = shelf.failure(stage)
        missing.append(f"{what} failed: {failure.get('error', '')}" if failure else f"{what} has not run yet")
        return None
    try:
        return pd.read_parquet(shelf.store.folder(stage.name) / file)
    except (OSError, pa.ArrowException) as error:
        missing.append(f"{what} cannot be read: {error}".splitlines()[0])
        return None
