"""Scores as arrays: one (S, P, K) array per contestant, seeds by prompts by samples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy as np
    from numpy.typing import NDArray

    from harness.records.scores import Block

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


def cubes(blocks: Iterable[Block], names: list[str]) -> Cubes:
    """Scores as arrays over the prompts for which every run has all K samples.

    Args:
        blocks: of one setting, metric, role, level and step, one for each run; K is 1 where a value is of a prompt.
        names: the prompts by their number in the blocks.
    """
    import numpy as np

    found = sorted(blocks, key=lambda block: (block.contestant, block.replicate))
    if not found:
        return Cubes({}, (), 0)
    layouts = {id(block.layout): block.layout for block in found}
    seen = sorted(set().union(*(np.unique(one.prompts).tolist() for one in layouts.values())), key=names.__getitem__)
    column = np.zeros(len(names), dtype=np.int64)
    column[seen] = np.arange(len(seen))
    at = {key: (column[one.prompts], one.k.clip(min=0)) for key, one in layouts.items()}  # a value of a prompt: k = -1
    samples = max(int(k.max()) for _, k in at.values()) + 1
    values = np.full((len(found), len(seen), samples), np.nan)  # nan marks what is missing, below
    for row, block in enumerate(found):
        values[row][at[id(block.layout)]] = block.values
    whole = np.isfinite(values).all(axis=(0, 2))
    left_out = int((~whole).sum())
    if not whole.any():
        return Cubes({}, (), left_out)
    by_contestant = {}
    for name in dict.fromkeys(block.contestant for block in found):
        own = [row for row, block in enumerate(found) if block.contestant == name]
        by_contestant[name] = Cube(tuple(found[row].replicate for row in own), values[own][:, whole])
    return Cubes(by_contestant, tuple(names[place] for place, kept in zip(seen, whole, strict=True) if kept), left_out)
