"""Scores as arrays: one (S, P, K) array per contestant, seeds by prompts by samples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from harness.records import FINAL

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    Array = NDArray[np.float64]


@dataclass(frozen=True)
class Cube:
    """The scores of one contestant.

    Attributes:
        replicates: the seed of each row, rising.
        values: (S, P, K), every number finite.
    """

    replicates: tuple[int, ...]
    values: Array

    @property
    def prompts(self) -> Array:
        """(S, P): the mean over the K samples of each prompt."""
        return cast("Array", self.values.mean(axis=2))

    def at(self, replicates: tuple[int, ...]) -> Array:
        """(S', P, K): these replicates, in this order."""
        rows = [self.replicates.index(replicate) for replicate in replicates]
        return self.values[rows]


@dataclass(frozen=True)
class Cubes:
    """All contestants' scores by one metric; they share the prompt axis.

    Attributes:
        by_contestant: a cube for each contestant that has at least one finished run.
        prompts: the prompt of each column.
        left_out: prompts that lack a score in some run, left out for all.
    """

    by_contestant: dict[str, Cube]
    prompts: tuple[str, ...]
    left_out: int

    def of(self, name: str, replicates: tuple[int, ...], prompts: tuple[str, ...]) -> Array:
        """(S', P', K): one contestant's scores of these seeds and prompts, in this order."""
        at = {prompt: place for place, prompt in enumerate(self.prompts)}
        return self.by_contestant[name].at(replicates)[:, [at[prompt] for prompt in prompts]]


def cubes(scores: pd.DataFrame, metric: str, role: str = "", level: str = "sample", step: int = FINAL) -> Cubes:
    """Scores of one setting by one metric, of the finished policies or of those at an earlier step.

    Args:
        scores: `Tables.scores`, of one setting.
        metric: for example `reward`.
        role: for example `gold`; empty for a metric without roles.
        level: `sample`, or `prompt` for one value per prompt, and K is 1.
        step: the optimiser step of the policies.

    Returns:
        Arrays over the prompts for which every run has all K samples.
    """
    import numpy as np
    import pandas as pd

    wanted = (scores["metric"] == metric) & (scores["role"] == role)
    found = scores[wanted & (scores["level"] == level) & (scores["step"] == step)]
    if found.empty:
        return Cubes({}, (), 0)
    groups = found.groupby(["contestant", "replicate"], observed=True, sort=True)
    keys = [(str(contestant), int(replicate)) for contestant, replicate in groups.size().index]
    columns, prompt_ids = pd.factorize(found["prompt_id"], sort=True)
    samples = found["k"].to_numpy().clip(min=0)  # a value of a prompt has k = -1
    values = np.full((len(keys), len(prompt_ids), int(samples.max()) + 1), np.nan)  # nan marks what is missing, below
    values[groups.ngroup().to_numpy(), columns, samples] = found["value"].to_numpy()
    whole = np.isfinite(values).all(axis=(0, 2))
    left_out = int((~whole).sum())
    if not whole.any():
        return Cubes({}, (), left_out)
    by_contestant = {}
    for name in dict.fromkeys(contestant for contestant, _ in keys):
        own = [row for row, (contestant, _) in enumerate(keys) if contestant == name]
        by_contestant[name] = Cube(tuple(keys[row][1] for row in own), values[own][:, whole])
    return Cubes(by_contestant, tuple(str(prompt) for prompt in prompt_ids[whole]), left_out)
