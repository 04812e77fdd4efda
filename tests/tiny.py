"""A world of forty words with every view that trains, and jobs in it that take a moment."""

from __future__ import annotations

import contextlib
import gc
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pandas as pd

from harness import keys, registry
from harness.data import VIEWS, Dataset, Message, Row
from harness.job import Budget, Job
from harness.metrics import Measurement
from harness.training.reference import write_reference

WORDS = [a + b for a in ("ba", "do", "fi", "gu", "le") for b in ("k", "l", "m", "n", "p", "r", "s", "t")]
BUDGET: dict[str, Any] = {"prompts": 24, "steps": 4, "batch": 8, "micro_batch": 8}
START = "train-start"
REFERENCE = "reference-start"
REWARD = "train-reward"


@dataclass(frozen=True)
class Tiny(Dataset):
    """Prompts of three to six words; a good response begins with the prompt's first word."""

    prompts: int = 24
    version: ClassVar[int] = 1
    views: ClassVar[frozenset[str]] = frozenset(VIEWS)
    rewards: ClassVar[tuple[str, ...]] = ("total",)
    judges: ClassVar[bool] = True
    annotates: ClassVar[bool] = True
    praise: ClassVar[str] = WORDS[0]

    def vocabulary(self) -> list[str]:
        return WORDS

    def rows(self, view: str, split: str) -> list[Row]:
        return [row for i in range(self.prompts) for row in _rows(view, f"{split}-{i}", i)]

    def score(self, prompt: list[Message], response: str) -> dict[str, float]:
        """1 for the right first word, and the share of words that begin with its letter."""
        first, words = prompt[-1]["content"].split()[0], response.split() or [" "]
        return {"total": (words[0] == first) + sum(word[0] == first[0] for word in words) / len(words)}

    def judge(self, prompt: list[Message], response: str) -> str | None:
        """None for the right first word; else a word of blame, and the one that is missed."""
        first = prompt[-1]["content"].split()[0]
        return None if response.split()[:1] == [first] else f"{WORDS[1]} {first}"

    def prefers(self, prompt: list[Message], first: str, second: str, seed: int) -> bool:
        return self.score(prompt, first)["total"] > self.score(prompt, second)["total"]

    def judged(self, prompt: list[Message], judgment: str | None) -> list[Message]:
        return [*prompt[:-1], {**prompt[-1], "content": f"{prompt[-1]['content']} {judgment or self.praise}"}]

    def again(self, prompt: list[Message], response: str, judgment: str) -> list[Message]:
        return [*prompt, {"role": "assistant", "content": response}, {"role": "user", "content": judgment}]

    def verdict(self, prompt: list[Message], response: str) -> list[Message]:
        return [*prompt, {"role": "assistant", "content": response}, {"role": "user", "content": WORDS[2]}]


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
    if view == "rankings":
        near = " ".join([next(word for word in WORDS if word[0] == asked[0][0] != word), *draw.choices(WORDS, k=3)])
        every = {good, near, bad, WORDS[(i + 7) % 40]}  # of equals by the text: the order of a set is the process's own
        texts = sorted(every, key=lambda text: (-Tiny().score(prompt, text)["total"], text))
        return [{**row, "responses": texts}]
    if view == "judgments":
        text = good if i % 3 == 0 else bad
        return [{**row, "response": text, "judgment": Tiny().judge(prompt, text)}]
    if view == "refinements":  # no view of a dataset: what a round collects of judged responses
        sides = {"chosen": good, "rejected": bad} if i % 3 else {}
        return [{**row, "response": good, "judgment": Tiny().judge(prompt, bad) if sides else None, **sides}]
    return [row]


def job(
    out: Path,
    view: str,
    shelf: Path,
    *,
    seed: str = "replicate-0",
    prompts: int = 24,
    proxy: str = "rule",
    **given: Any,
) -> Job:
    """A job on the tiny world.

    `proxy` is what on-policy methods learn from: `rule`, the dataset's, or `model`, the reward model on the shelf.
    `given` may hold `emit`, `checkpoint_every`, `until`, `rows`, `inputs` (more of them), and knobs of the budget.
    """
    own = {name: given.pop(name) for name in ("emit", "checkpoint_every", "until", "rows", "inputs") if name in given}
    data = Tiny(prompts)
    out.mkdir(parents=True, exist_ok=True)
    inputs = {"start": shelf / START, "reference": shelf / REFERENCE}
    if proxy == "model":
        inputs["reward"] = shelf / REWARD
    inputs |= own.pop("inputs", {})
    rows = own.pop("rows", data.rows(view, "train"))
    rule = "total" if proxy == "rule" else None
    return Job(out, rows, data, Budget(**(BUDGET | given)), seed, inputs, rule=rule, **own)


def train(name: str, out: Path, shelf: Path, knobs: Mapping[str, Any] | None = None, **given: Any) -> list[Measurement]:
    """Train an algorithm by its name."""
    algorithm = registry.load("algorithms", name)(**(knobs or {}))
    found: list[Measurement] = algorithm.train(job(out, algorithm.requires().data, shelf, **given))
    return found


def fill(shelf: Path) -> None:
    """A pretrained start, its reference and a reward model, in a results folder."""
    train("pretrain", shelf / START, shelf, {"hidden": 16, "layers": 2, "heads": 2}, steps=20)
    rows = {view: Tiny().rows(view, "train") for view in ("pairs", "binary")}
    (shelf / REFERENCE).mkdir()
    write_reference(shelf / REFERENCE, shelf / START, rows, Budget(**BUDGET))
    train("reward", shelf / REWARD, shelf, {"learning_rate": 1e-2}, seed="proxy")
    # every trainer collects garbage, and would look each time through all that has been imported
    gc.collect()
    gc.freeze()


class Killed(BaseException):
    """Stands for the end of the process."""


@contextlib.contextmanager
def killed_within(step: int) -> Iterator[None]:
    """Whatever trains in here must die within an optimiser step, after its rollout was drawn."""
    from transformers import Trainer

    own = Trainer.training_step

    def dying(self: Any, *args: Any, **given: Any) -> Any:
        if self.state.global_step + 1 == step:
            raise Killed
        return own(self, *args, **given)

    Trainer.training_step = dying
    try:
        yield
    except Killed:
        return
    finally:
        Trainer.training_step = own
    raise AssertionError("it lived on")


def curves(out: Path) -> pd.Series:
    """The logged values of a run by step and metric."""
    table = pd.read_parquet(out / "curves.parquet")
    assert list(table.columns) == ["step", "metric", "value"]
    return table.set_index(["step", "metric"])["value"].sort_index()


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
