"""Tables that are too long for the page: only in the files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.report.ledger import RUN_IDS, RUN_MEANINGS, STEP
from harness.report.sheet import Sheet, make_frame

if TYPE_CHECKING:
    import pandas as pd

    from harness.records import Tables
    from harness.report.compare import Comparison
    from harness.report.cubes import Array

_PROMPT = {**RUN_IDS, "prompt_id": "string", **dict.fromkeys(("gold", "oracle", "soft_win", "hard_win"), "Float64")}
_PROMPT_MEANINGS = {
    **RUN_MEANINGS,
    **{"prompt_id": "a test prompt", "gold": "gold reward on the start's scale, mean over the samples of the prompt"},
    **{"oracle": "oracle reward on the start's scale", "soft_win": "soft win rate against the start's same seed"},
    "hard_win": "hard win rate against the start's same seed",
}


def prompts_sheet(comparisons: list[Comparison]) -> Sheet:
    """Per-prompt scores of every finished run: what the intervals and verdicts are computed from."""
    import pandas as pd

    frames = [frame for comparison in comparisons if (frame := _by_prompt(comparison)) is not None]
    whole = pd.concat(frames, ignore_index=True) if frames else make_frame([], _PROMPT)
    return Sheet("prompts", "Scores by prompt.", whole.reindex(columns=list(_PROMPT)).astype(_PROMPT), _PROMPT_MEANINGS)


def _by_prompt(comparison: Comparison) -> pd.DataFrame | None:
    import pandas as pd

    columns = []
    for role in ("gold", "oracle"):
        if role in comparison.scales:
            found, scale = comparison.cubes[role], comparison.scales[role]
            arrays = {
                name: ((cube.prompts - scale.mean) / scale.sd, cube.replicates)
                for name, cube in found.by_contestant.items()
            }
            columns.append(_column(role, arrays, found.prompts))
    for kind, wins in comparison.wins.items():
        arrays = {name: (runs.scores, runs.replicates) for name, runs in wins.items()}
        columns.append(_column(f"{kind}_win", arrays, comparison.cubes["gold"].prompts))
    if not columns:
        return None
    return pd.concat(columns, axis=1).reset_index().assign(setting=comparison.name)


def _column(label: str, arrays: dict[str, tuple[Array, tuple[int, ...]]], prompts: tuple[str, ...]) -> pd.Series[float]:
    """(S, P) arrays of all contestants as one column, indexed by contestant, replicate and prompt."""
    import numpy as np
    import pandas as pd

    keys = [(name, seed, prompt) for name, (_, seeds) in arrays.items() for seed in seeds for prompt in prompts]
    index = pd.MultiIndex.from_tuples(keys, names=["contestant", "replicate", "prompt_id"])
    values = np.concatenate([scores.ravel() for scores, _ in arrays.values()]) if arrays else np.zeros(0)
    return pd.Series(values, index=index, name=label, dtype="Float64")


_CURVE = {**RUN_IDS, "step": "Int64", "metric": "string", "value": "Float64"}


def curves_sheet(tables: Tables) -> Sheet:
    """What training logged."""
    meanings = {**RUN_MEANINGS, "step": "optimiser step", "metric": "as logged", "value": "its value at that step"}
    return Sheet("curves", "Training curves.", tables.curves.astype(_CURVE)[list(_CURVE)], meanings)


_MEASUREMENT = {
    **RUN_IDS,
    **{"step": "Int64", "kind": "string", "stage": "string", "metric": "string", "value": "Float64", "n": "Int64"},
    **{"unit": "string", "better": "string"},
}
_MEASUREMENT_MEANINGS = {
    **RUN_MEANINGS,
    **{"step": STEP, "kind": "kind of the stage that measured", "stage": "its folder", "metric": "what was measured"},
    **{
        "value": "the number",
        "n": "how many values it summarises",
        "unit": "its unit",
        "better": "higher, lower or empty",
    },
}


def measurements_sheet(tables: Tables) -> Sheet:
    """The numbers of the records, ledgers of labels and tokens among them."""
    frame = tables.measurements.astype(_MEASUREMENT)[list(_MEASUREMENT)]
    return Sheet("measurements", "Numbers of the records.", frame, _MEASUREMENT_MEANINGS)
