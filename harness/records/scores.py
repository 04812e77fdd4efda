"""Millions of scores in little memory: a block for each run and metric; which prompts they are of is kept once."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from harness.records.shelf import FINAL

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import pyarrow as pa
    from numpy.typing import NDArray

    Codes = NDArray[np.int32]


@dataclass(frozen=True)
class Layout:
    """Which prompt and which sample each value of a block is of; equal ones are one object.

    Attributes:
        prompts: (N,) places in the list of all prompts.
        k: (N,) number of the sample; -1 for a value of a prompt, a pair or a whole run.
        order: (N,) the rows by prompt and k, so that blocks can be compared whatever order they were written in.
    """

    prompts: Codes
    k: Codes
    order: Codes


@dataclass(frozen=True)
class Block:
    """The values of one run by one metric.

    Attributes:
        setting: what contestants must share to be compared.
        contestant: whose run it is.
        replicate: its seed.
        step: of the graded policy; `FINAL` for the finished one.
        metric: its name.
        role: which reward or judge, or empty.
        level: what a value is of: sample, prompt, pair, corpus.
        layout: which prompt and sample each is of.
        values: (N,).
    """

    setting: str
    contestant: str
    replicate: int
    step: int
    metric: str
    role: str
    level: str
    layout: Layout
    values: NDArray[np.float64]

    @property
    def mean(self) -> float:
        """Over all values."""
        return float(self.values.mean())

    def fingerprint(self) -> bytes:
        """Equal only for blocks of one list with the same values of the same prompts and samples, in whatever order."""
        order = self.layout.order
        found = hashlib.blake2b(self.values[order].tobytes(), digest_size=16)
        found.update(self.layout.k[order].tobytes() + self.layout.prompts[order].tobytes())
        return found.digest()


@dataclass
class Scores:
    """All blocks, in the order in which they were read, and the names of their prompts."""

    blocks: list[Block] = field(default_factory=list)
    prompts: list[str] = field(default_factory=list)
    _codes: dict[str, int] = field(default_factory=dict)
    _layouts: dict[bytes, Layout] = field(default_factory=dict)

    def add(self, table: pa.Table, run: dict[str, Any], step: int, role: str | None = None) -> None:
        """Take in a score table.

        Args:
            table: `metric, role, level, prompt_id, k, value`, the first four as dictionaries.
            run: `setting, contestant, replicate`.
            step: of the graded policy.
            role: instead of the table's own.
        """
        import numpy as np

        texts = {name: _decoded(table[name]) for name in ("metric", "role", "level", "prompt_id")}
        wide = [len(texts[name][1]) + 1 for name in ("role", "level")]
        kinds = (texts["metric"][0] * wide[0] + texts["role"][0]) * wide[1] + texts["level"][0]
        order = np.argsort(kinds, kind="stable")
        ends = np.flatnonzero(np.diff(kinds[order], append=-1)) + 1
        prompts = self.places(texts["prompt_id"][1])[texts["prompt_id"][0]]
        k, values = (table[name].combine_chunks().to_numpy(zero_copy_only=False) for name in ("k", "value"))
        for rows in np.split(order, ends[:-1]) if len(order) else ():
            metric, own, level = (texts[name][1][texts[name][0][rows[0]]] for name in ("metric", "role", "level"))
            layout = self.layout(prompts[rows], k[rows].astype(np.int32))
            names = (run["setting"], run["contestant"], run["replicate"], step, metric, own if role is None else role)
            self.blocks.append(Block(*names, level, layout, values[rows]))

    def take(self, block: Block, prompts: list[str]) -> None:
        """Take in a block whose prompts are numbered by another list."""
        places = self.places(prompts)[block.layout.prompts]
        self.blocks.append(replace(block, layout=self.layout(places, block.layout.k)))

    def places(self, names: list[str]) -> Codes:
        """Places of these prompts, new ones at the end."""
        import numpy as np

        for name in names:
            if name not in self._codes:
                self._codes[name] = len(self.prompts)
                self.prompts.append(name)
        return np.array([self._codes[name] for name in names], dtype=np.int32)

    def layout(self, prompts: Codes, k: Codes) -> Layout:
        """The one object for these prompts and samples."""
        import numpy as np

        key = hashlib.blake2b(prompts.tobytes() + b"/" + k.tobytes(), digest_size=16).digest()
        if key not in self._layouts:
            self._layouts[key] = Layout(prompts, k, np.lexsort((k, prompts)).astype(np.int32))
        return self._layouts[key]

    def of(
        self,
        setting: str | None = None,
        metric: str | None = None,
        role: str | None = None,
        level: str | None = None,
        step: int | None = FINAL,
    ) -> list[Block]:
        """Blocks of these; None stands for any."""
        asked = {"setting": setting, "metric": metric, "role": role, "level": level, "step": step}
        wanted = [(name, value) for name, value in asked.items() if value is not None]
        found: Iterable[Block] = self.blocks if metric is None else self._by_metric.get(metric, ())
        return [block for block in found if all(getattr(block, name) == value for name, value in wanted)]

    @cached_property
    def _by_metric(self) -> dict[str, list[Block]]:
        found: dict[str, list[Block]] = {}
        for block in self.blocks:
            found.setdefault(block.metric, []).append(block)
        return found

    def frame(self) -> pd.DataFrame:
        """One row per value, text as categories: for a look at them, and large."""
        import numpy as np
        import pandas as pd

        texts = ("setting", "contestant", "metric", "role", "level")
        columns: dict[str, Any] = {}
        sizes = [len(block.values) for block in self.blocks]
        for name in ("setting", "contestant", "replicate", "step", *texts[2:]):
            codes, names = pd.factorize(np.array([getattr(block, name) for block in self.blocks], dtype=object))
            whole = np.repeat(codes, sizes)
            columns[name] = (
                pd.Categorical.from_codes(whole, pd.Index(names)) if name in texts else names[whole].astype(np.int64)
            )
        prompts, k, values = (
            np.concatenate([np.zeros(0, kind), *parts])
            for kind, parts in (
                (np.int32, [block.layout.prompts for block in self.blocks]),
                (np.int64, [block.layout.k for block in self.blocks]),
                (np.float64, [block.values for block in self.blocks]),
            )
        )
        columns["prompt_id"] = pd.Categorical.from_codes(prompts, pd.Index(self.prompts))
        return pd.DataFrame({**columns, "k": k, "value": values})


def blocks_of(frame: pd.DataFrame) -> Scores:
    """The same from a frame with the columns of `Scores.frame`: for tables that are small."""
    import numpy as np

    found = Scores()
    names = frame["prompt_id"].astype("category").cat
    prompts = found.places([str(name) for name in names.categories])[names.codes]
    k, values = frame["k"].to_numpy(np.int32), frame["value"].to_numpy(np.float64)
    by = [frame[name].reset_index(drop=True) for name in _KEYS]
    for key, own in by[0].groupby(by, observed=True, sort=False, dropna=False):
        rows = own.index.to_numpy()
        setting, contestant, replicate, step, metric, role, level = map(str, key)
        run, layout = (setting, contestant, int(replicate), int(step)), found.layout(prompts[rows], k[rows])
        found.blocks.append(Block(*run, metric, role, level, layout, values[rows]))
    return found


_KEYS = ("setting", "contestant", "replicate", "step", "metric", "role", "level")


def _decoded(column: pa.ChunkedArray) -> tuple[NDArray[np.int64], list[str]]:
    """A dictionary column's codes and its texts."""
    import numpy as np

    whole = column.combine_chunks()
    return whole.indices.to_numpy(zero_copy_only=False).astype(np.int64), whole.dictionary.to_pylist()


def runs(blocks: Iterable[Block]) -> Iterator[dict[str, Any]]:
    """One row per block with its mean: `contestant, replicate, step, metric, role, level, value`."""
    for block in blocks:
        names = ("contestant", "replicate", "step", "metric", "role", "level")
        yield {**{name: getattr(block, name) for name in names}, "value": block.mean}
