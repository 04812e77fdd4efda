"""A world of forty words with every view that trains, and jobs in it that take a moment."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from harness import keys, registry
from harness.data import Dataset, Message, Row
from harness.job import Budget, Job
from harness.metrics import Measurement
from harness.training.reference import write_reference

WORDS = [a + b for a in ("ba", "do", "fi", "gu", "le") for b in ("k", "l", "m", "n", "p", "r", "s", "t")]
BUDGET: dict[str, Any] = {"prompts": 24, "steps": 4, "batch": 8, "micro_batch": 8}
START = "train-start"
REFERENCE = "reference-start"


@dataclass(frozen=True)
class Tiny(Dataset):
    """Prompts of three to six words; a good response begins with the prompt's first word."""

    prompts: int = 24
    version: ClassVar[int] = 1
    views: ClassVar[frozenset[str]] = frozenset(("text", "demonstrations", "pairs", "binary", "prompts"))

    def vocabulary(self) -> list[str]:
        return WORDS

    def rows(self, view: str, split: str) -> list[Row]:
        return [row for i in range(self.prompts) for row in _rows(view, f"{split}-{i}", i)]


def _rows(view: str, name: str, i: int) -> list[Row]:
    draw = random.Random(name)
    asked = [*draw.choices(WORDS, k=draw.randint(2, 5)), WORDS[i % 40]]
    good = " ".join([asked[0], *draw.choices(WORDS, k=draw.randint(1, 6))])
    bad = " ".join(draw.choices(WORDS, k=draw.randint(1, 7)))
    prompt: list[Message] = [{"role": "user", "content": " ".join(asked)}]
    row: Row = {"id": name, "prompt_id": keys.key(prompt), "prompt": prompt}
    if view == "text":
        return [{"id": name, "messages": [*prompt, {"role": "assistant", "content": good}]}]
    if view == "demonstrations":
        return [{**row, "response": good}]
    if view == "pairs":
        return [{**row, "chosen": good, "rejected": bad}]
    if view == "binary":
        labelled = (("good", good, True), ("bad", bad, False))
        return [{**row, "id": f"{name}-{kind}", "response": text, "label": label} for kind, text, label in labelled]
    return [row]


def job(out: Path, view: str, shelf: Path, *, seed: str = "replicate-0", prompts: int = 24, **given: Any) -> Job:
    """A job on the tiny world; `given` may hold `emit`, `checkpoint_every`, `rows`, and knobs of the budget."""
    own = {name: given.pop(name) for name in ("emit", "checkpoint_every", "rows") if name in given}
    data = Tiny(prompts)
    out.mkdir(parents=True, exist_ok=True)
    inputs = {"start": shelf / START, "reference": shelf / REFERENCE}
    rows = own.pop("rows", data.rows(view, "train"))
    return Job(out, rows, data, Budget(**(BUDGET | given)), seed, inputs, **own)


def train(name: str, out: Path, shelf: Path, knobs: Mapping[str, Any] | None = None, **given: Any) -> list[Measurement]:
    """Train an algorithm by its name."""
    algorithm = registry.load("algorithms", name)(**(knobs or {}))
    return algorithm.train(job(out, algorithm.needs.data, shelf, **given))


def fill(shelf: Path) -> None:
    """A pretrained start and its reference, in a results folder."""
    train("pretrain", shelf / START, shelf, {"hidden": 16, "layers": 2, "heads": 2}, steps=20)
    rows = {view: Tiny().rows(view, "train") for view in ("pairs", "binary")}
    (shelf / REFERENCE).mkdir()
    write_reference(shelf / REFERENCE, shelf / START, rows, Budget(**BUDGET))


def weights(folder: Path) -> dict[str, Any]:
    """Tensors of a saved product."""
    from safetensors.torch import load_file

    return {name: value for file in sorted(folder.glob("*.safetensors")) for name, value in load_file(file).items()}


def same(first: Path, second: Path) -> bool:
    """Whether two products are equal to the bit."""
    one, other = weights(first), weights(second)
    return one.keys() == other.keys() and len(one) > 0 and all(bool((one[name] == other[name]).all()) for name in one)


def measured(found: list[Measurement]) -> dict[str, float]:
    """Values by metric."""
    return {item.metric: item.value for item in found}
