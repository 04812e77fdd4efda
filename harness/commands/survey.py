"""What `harness data` finds in rows, some prompts at a time: of what was seen no text is held but a few examples."""

from __future__ import annotations

import hashlib
from array import array
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import accumulate, combinations
from typing import TYPE_CHECKING, Any

from harness.data import SPLITS, Dataset, Row
from harness.data._parts import Merged
from harness.data._splits import opening
from harness.data._tables import Tables
from harness.errors import HarnessError
from harness.job import Budget
from harness.stages.specs import check_enough

if TYPE_CHECKING:
    from harness.training.rows import Encoder

EXAMPLES = 3
NOT_SHARED, IN_NO_SPLIT = "on prompts that not all views have", "in no split"
READ = tuple(split for split in SPLITS if split != "pretrain")
Rows = Mapping[tuple[str, str], list[Row]]
"""Rows of some prompts by view and split, views by alphabet, where there are any."""


class Survey:
    """Counts of a dataset, filled part by part; no prompt is in two parts.

    Args:
        evaluated: the split whose prompts are answered.
        trained: views that contestants train on.
        budget: of the contestants.
        rewards: what reward models train on, by role.
    """

    def __init__(
        self, evaluated: str, trained: Iterable[str], budget: Budget, rewards: Mapping[str, Trained] | None = None
    ) -> None:
        self._evaluated = evaluated
        self.trained = {view: Trained(view, budget) for view in trained}
        self.rewards = rewards or {}
        self._examples: dict[str, dict[str, Row]] = {}
        self._left: dict[tuple[str, str], Counter[str]] = {}
        self._unshared: Counter[tuple[str, str]] = Counter()
        self._in_no_split: Counter[str] = Counter()
        self._rows: Counter[tuple[str, str]] = Counter()
        self._distinct: Counter[tuple[str, str]] = Counter()
        self._prompts: Counter[str] = Counter()
        self._openings = {split: array("Q") for split in READ}
        self._lengths: dict[str, Counter[int]] = {}
        self._control: dict[str, Counter[str]] = {}

    def add(self, rows: Rows, encoders: Mapping[str, Encoder | None]) -> None:
        """Look at rows; what is counted in tokens needs an encoder.

        Args:
            rows: of some prompts.
            encoders: by the role of the reward model that reads with one of its own; "" has that of all others.
        """
        encoder = encoders[""]
        self._rows.update({name: len(found) for name, found in rows.items()})
        self._distinct.update({name: len({row["prompt_id"] for row in found}) for name, found in rows.items()})
        for split in READ:
            own = [row for (_, other), found in rows.items() if other == split for row in found]
            self._prompts[split] += len({row["prompt_id"] for row in own})
            self._openings[split].extend({_mark(opening(row["prompt"])) for row in own})
        for one in self.trained.values():
            one.add(rows.get((one.view, one.split), []), encoder)
        for role, one in self.rewards.items():
            one.add(rows.get((one.view, one.split), []), encoders.get(role, encoder))
        for (view, split), found in rows.items():
            if split == "train":
                first = {row["prompt_id"]: row for row in reversed(found)} | self._examples.get(view, {})
                self._examples[view] = {name: first[name] for name in sorted(first)[:EXAMPLES]}
            if encoder:
                self._measure(encoder, view, split, found)

    def _measure(self, encoder: Encoder, view: str, split: str, rows: list[Row]) -> None:
        if view != "prompts" and split == "train":
            said = (text for row in rows for _, text in texts(view, row))
            self._length(f"train {view}: prompt", (len(encoder.prompt(row)) for row in rows))
            self._length(f"train {view}: response", (len(encoder.response(text)) for text in said))
        if view == "prompts" and split == self._evaluated:
            self._length(f"{split} prompts", (len(encoder.prompt(row)) for row in rows))
        tokens = [token for token in encoder.tokenizer.all_special_tokens if token]
        for row in rows:
            whole = _whole(view, row)
            self._control.setdefault(view, Counter()).update(token for token in tokens if token in whole)

    def _length(self, what: str, lengths: Iterable[int]) -> None:
        self._lengths.setdefault(what, Counter()).update(lengths)

    def leave(self, data: Tables, part: Merged) -> None:
        """Count the rows of a part that are in no split's rows."""
        for view in data.offers():
            for split in READ:
                tally = part.tally(view, split)
                self._left.setdefault((view, split), Counter()).update(tally.counts)
                if view in data.sources():
                    self._unshared[view, split] += tally.rows - tally.kept
        for view in data.own() if data.leaves_over() else ():
            self._in_no_split[view] += part.in_no_split(view)

    def rows(self) -> dict[tuple[str, str], int]:
        """Their numbers by view and split."""
        return {name: self._rows[name] for name in sorted(self._rows, key=lambda one: (one[0], SPLITS.index(one[1])))}

    def views(self) -> list[str]:
        """Views that have a row in any split, but prompts."""
        return list(dict.fromkeys(view for view, _ in self.rows() if view != "prompts"))

    def examples(self, view: str) -> list[Row]:
        """Rows of the first prompts of the training split."""
        return list(self._examples.get(view, {}).values())

    def prompts(self) -> dict[str, int]:
        """Numbers of prompts by split."""
        return {split: count for split, count in self._prompts.items() if count}

    def distinct(self, view: str, split: str) -> int:
        """Prompts of a view in a split."""
        return self._distinct[view, split]

    def overlap(self) -> dict[str, int]:
        """Prompts whose first turn, without case and spacing, is in two splits."""
        import numpy as np

        splits = dict.fromkeys(split for _, split in self.rows())
        marks = {split: np.unique(np.frombuffer(self._openings[split], "Q")) for split in splits}
        shared = {f"{a} and {b}": len(np.intersect1d(marks[a], marks[b], True)) for a, b in combinations(splits, 2)}
        return {pair: count for pair, count in shared.items() if count}

    def tokens(self) -> dict[str, dict[str, float]]:
        """Tokens of prompts and responses of the training split, and of prompts to answer: median, 90 %, longest."""
        names = [f"train {view}: {what}" for view in self.views() for what in ("prompt", "response")]
        found = {what: self._lengths.get(what) for what in (*names, f"{self._evaluated} prompts")}
        return {what: _spread(lengths) for what, lengths in found.items() if lengths}

    def control_tokens(self) -> dict[str, dict[str, int]]:
        """Rows of each view by a special token that is written in them: the model reads it as the token itself."""
        return {view: dict(self._control[view]) for view in sorted(self._control) if self._control[view]}

    def left_out(self) -> dict[str, int]:
        """Rows that are in no split's rows, by view and reason: of all splits, also those of which nothing is left."""
        found: Counter[str] = Counter()
        for view in sorted({view for view, _ in self._left}):
            for split in READ:
                found.update({f"{view}: {what}": n for what, n in self._left[view, split].items() if n})
                found[f"{view}: {NOT_SHARED}"] += self._unshared[view, split]
        found.update({f"{view}: {IN_NO_SPLIT}": n for view, n in self._in_no_split.items()})
        return {what: n for what, n in found.items() if n}


class Trained:
    """What a training would have, of the budget's prompts, after those that are too long are left out.

    Args:
        view: of the rows.
        budget: how many prompts, and how long they may be.
        split: of the rows.
        knob: the recipe's that says how many prompts.
    """

    def __init__(self, view: str, budget: Budget, split: str = "train", knob: str = "budget.prompts") -> None:
        self.view, self.budget, self.split, self.knob = view, budget, split, knob
        self.rows = self.kept = self.prompts = self.kept_prompts = 0
        self.problem = self.too_long = ""

    def add(self, rows: list[Row], encoder: Encoder | None) -> None:
        """Go on with rows of the split, as long as the budget has prompts left."""
        names = list(dict.fromkeys(row["prompt_id"] for row in rows))
        wanted = set(names[: self.budget.prompts - self.prompts] if self.budget.prompts else names)
        own = [row for row in rows if row["prompt_id"] in wanted]
        if own:
            kept = self._fitting(encoder, own) if encoder and not self.problem else own
            self.rows, self.prompts = self.rows + len(own), self.prompts + len(wanted)
            self.kept += len(kept)
            self.kept_prompts += len({row["prompt_id"] for row in kept})

    def _fitting(self, encoder: Encoder, rows: list[Row]) -> list[Row]:
        from harness.training.rows import NoneFits, fitting, fitting_prompts

        try:
            if self.view == "prompts":
                return fitting_prompts(encoder, rows, self.budget)[0]
            return fitting(encoder, rows, self.view, self.budget)[0]
        except NoneFits as error:
            self.too_long = str(error).replace(f"none of {len(rows)} ", "none of {} ", 1)  # the others are yet to come
        except HarnessError as error:
            self.problem = str(error)
        return []

    def told(self, data: Dataset, measured: bool) -> dict[str, Any]:
        """As JSON; how many are too long where that was measured."""
        if lacks := too_few(data, self.prompts, self.view, self.split, self.budget.prompts, self.knob):
            return {"reason": lacks}
        if self.problem or not self.kept:
            return {"reason": self.problem or self.too_long.format(self.rows)}
        long = {"too_long": self.rows - self.kept} if measured else {}
        return {"view": self.view, "rows": self.kept, "prompts": self.kept_prompts, **long}


def too_few(data: Dataset, found: int, view: str, split: str, prompts: int, knob: str) -> str:
    """Why a split has no prompts of a view, or fewer than a knob of the recipe asks for; else nothing."""
    try:
        if not found:
            data.first(view, split, 1)  # says why there are none
        check_enough(found, view, split, prompts, knob)
    except HarnessError as error:
        return str(error)
    return ""


def texts(view: str, row: Row) -> list[tuple[str, str]]:
    """The responses of a row that are trained on, each with what it is."""
    from harness.training.rows import TEXTS

    found = []
    for name in (name for name in TEXTS.get(view, ()) if name != "partner"):
        several = row[name] if isinstance(row[name], list) else [row[name]]
        found += [(name if len(several) == 1 else f"rank {place}", text) for place, text in enumerate(several, 1)]
    return found


def _whole(view: str, row: Row) -> str:
    said = [message["content"] for message in row["prompt"]] + [text for _, text in texts(view, row)]
    return "\n".join([*said, row.get("judgment") or ""])


def _mark(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest())


def _spread(lengths: Counter[int]) -> dict[str, float]:
    """Quantiles as of a list of them, of which `statistics.quantiles` takes the inclusive ones."""
    values = sorted(lengths)
    ends = list(accumulate(lengths[value] for value in values))

    def cut(tenths: int) -> float:
        place, part = divmod(tenths * (ends[-1] - 1), 10)
        low, high = (values[bisect_right(ends, min(one, ends[-1] - 1))] for one in (place, place + 1))
        return (low * (10 - part) + high * part) / 10

    return {"median": cut(5), "90 %": cut(9), "longest": values[-1]}
