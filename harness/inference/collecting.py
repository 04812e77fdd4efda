"""New data from a policy: its responses to training prompts, labelled by an oracle, a model, annotators or a judge."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable
from functools import cmp_to_key
from pathlib import Path
from typing import TYPE_CHECKING

from harness import keys
from harness.errors import HarnessError
from harness.inference.opened import open_policy
from harness.inference.proxy import Proxy
from harness.inference.quiet import quiet
from harness.inference.rendering import end_token, render_prompt
from harness.inference.sampling import noise, sample
from harness.metrics import Measurement

if TYPE_CHECKING:
    from harness.data import Dataset, Message, Row
    from harness.stages import Collect

FILE = "rows.jsonl"
MAKES = {
    "pairs": ("oracle", "reward", "annotators"),
    "rankings": ("oracle", "reward", "annotators"),
    "judgments": ("judge",),
    "refinements": ("judge",),
}
"""Views that can be made, and who can label them."""


def read_rows(folder: Path) -> list[Row]:
    """The rows that a Collect stage has written."""
    return [json.loads(line) for line in (folder / FILE).read_text(encoding="utf-8").split("\n") if line]


def write_rows(
    out: Path, inputs: dict[str, Path], rows: list[Row], dataset: Dataset, stage: Collect
) -> list[Measurement]:
    """Draw responses, label them, and write `rows.jsonl`.

    What cannot be taught as it was said is left out and counted: prompts longer than the budget's or than the model
    reads, and responses that the limit cut off, which would be taught to end there. Equal responses to a prompt count
    once. Pairs are the best and the worst of a prompt, rankings all of them, best
    first; a prompt whose responses are all worth the same gives no pair and no ranking, and is counted. Refinements
    are second tries at judged responses; one that was judged well stays as it is.

    Raises:
        HarnessError: the labels asked for do not go with the view, the dataset has no such labeller, or nothing is
            left of what was drawn.
    """
    if stage.labeller not in MAKES.get(stage.view, ()):
        known = "; ".join(f"{view} by {', '.join(by)}" for view, by in MAKES.items())
        raise HarnessError(f"{stage.labeller} cannot label {stage.view} (what can be made: {known})")
    quiet(stage.threads)
    drawer = Drawer(inputs["policy"] / "policy", stage)
    fit = [row for row in rows if drawer.fits(row)]
    if not fit:
        raise HarnessError(
            f"none of {len(rows)} prompts is one to ask: they are longer than max_prompt_tokens = "
            f"{stage.max_prompt_tokens}, or than the model reads with a response of {stage.max_response_tokens} tokens"
        )
    if stage.view == "refinements":
        found, labels = _refined(fit, dataset, drawer), 0
    else:
        every = drawer.draw([(row, row["prompt"], k) for row in fit for k in range(stage.samples)])
        k = stage.samples
        texts = [_whole(every[first : first + k]) for first in range(0, len(every), k)]
        labels = sum(map(len, texts))
        if stage.view == "judgments":
            found = _judged(fit, texts, dataset)
        else:
            found = _ranked(fit, _labeller(inputs, dataset, stage)(fit, texts), stage.view)
    if not found:
        drawer.check()
    (out / FILE).write_text("".join(json.dumps(row) + "\n" for row in found), encoding="utf-8")
    asked, short, used = (len({row["prompt_id"] for row in own}) for own in (rows, fit, found))
    return [
        Measurement("rows", len(found), 1, "rows"),
        Measurement("prompts_without_rows", asked - used, 1, "prompts", "lower"),
        Measurement("prompts_too_long", asked - short, 1, "prompts", "lower"),
        Measurement("responses", drawer.drawn, 1, "responses"),
        Measurement("responses_cut_off", drawer.cut_off, 1, "responses", "lower"),
        Measurement("labels", labels if stage.labeller in ("annotators", "judge") else 0, 1, "labels"),
        Measurement("scored", 0 if stage.labeller in ("annotators", "judge") else labels, 1, "responses"),
    ]


def _common(row: Row, part: int) -> Row:
    return {"id": f"{row['id']}-{part}", "prompt_id": row["prompt_id"], "prompt": row["prompt"]}


class Drawer:
    """A policy that responds, and counts what of it is whole.

    Attributes:
        drawn: responses.
        cut_off: of them, those that the limit cut off.
    """

    def __init__(self, policy: Path, stage: Collect) -> None:
        self.drawn = self.cut_off = 0
        self._stage = stage
        self._model, self._tokenizer = open_policy(policy)
        positions = getattr(self._model.config.get_text_config(), "max_position_embeddings", None)
        self._room = math.inf if positions is None else positions - stage.max_response_tokens

    def fits(self, row: Row) -> bool:
        """Whether a row's prompt is one that the budget trains on, and the model can read with a response."""
        return len(self._ids(row["prompt"])) <= min(self._stage.max_prompt_tokens, self._room)

    def reads(self, prompt: list[Message]) -> bool:
        """Whether the model can read a prompt with a response."""
        return len(self._ids(prompt)) <= self._room

    def draw(self, asked: list[tuple[Row, list[Message], int]]) -> list[str | None]:
        """A response to each prompt, with the sampling noise of a row's prompt and a number; None for one cut off."""
        stage = self._stage
        drawn = sample(
            self._model,
            [self._ids(prompt) for _, prompt, _ in asked],
            [noise(f"{stage.seed} collect", row["prompt_id"], k, stage.max_response_tokens) for row, _, k in asked],
            end_id=end_token(self._tokenizer),
            pad_id=self._tokenizer.pad_token_id,
            temperature=stage.temperature,
            batch=stage.batch,
        )
        texts = self._tokenizer.batch_decode([one.token_ids for one in drawn], skip_special_tokens=True)
        found = [text if one.end == "eos" else None for one, text in zip(drawn, texts, strict=True)]
        self.drawn += len(found)
        self.cut_off += found.count(None)
        return found

    def check(self) -> None:
        """Raise where nothing is left since every response was cut off."""
        if self.drawn and self.cut_off == self.drawn:
            limit = self._stage.max_response_tokens
            raise HarnessError(
                f"all {self.drawn} responses of this round were cut off at max_response_tokens = {limit}, and one "
                "that was cut off would teach to end there; raise budget.max_response_tokens, or begin from a policy "
                "that ends its responses"
            )

    def _ids(self, prompt: list[Message]) -> list[int]:
        return render_prompt(self._tokenizer, prompt)


def _whole(responses: list[str | None]) -> list[str]:
    """Those that were not cut off, equal ones once."""
    return list(dict.fromkeys(one for one in responses if one is not None))


def _judged(rows: list[Row], texts: list[list[str]], dataset: Dataset) -> list[Row]:
    return [
        {**_common(row, k), "response": text, "judgment": dataset.judge(row["prompt"], text)}
        for row, own in zip(rows, texts, strict=True)
        for k, text in enumerate(own)
    ]


def _refined(rows: list[Row], dataset: Dataset, drawer: Drawer) -> list[Row]:
    """Rows with `response`, the refinement; where it differs from the first try, also `chosen` and `rejected`.

    A second try that was cut off is none, and a first try with too long a judgment cannot have one: their rows are
    left out.
    """
    asked: list[tuple[Row, list[Message], int]] = []
    tries = Counter[str]()  # of one prompt several responses may be blamed: each second try has noise of its own
    for row in (row for row in rows if row["judgment"] is not None):
        prompt = dataset.again(row["prompt"], row["response"], row["judgment"])
        if drawer.reads(prompt):
            asked.append((row, prompt, tries[row["prompt_id"]]))
            tries[row["prompt_id"]] += 1
    better = {row["id"]: text for (row, _, _), text in zip(asked, drawer.draw(asked), strict=True)}
    found = []
    for row in rows:
        text = row["response"] if row["judgment"] is None else better.get(row["id"])
        if text is not None:
            sides = {"chosen": text, "rejected": row["response"]} if text != row["response"] else {}
            found.append({**_common(row, 0), "response": text, "judgment": row["judgment"], **sides})
    return found


Levels = list[list[str]]
"""Responses to a prompt, best first, equal ones together."""


def _labeller(
    inputs: dict[str, Path], dataset: Dataset, stage: Collect
) -> Callable[[list[Row], list[list[str]]], list[Levels]]:
    if stage.labeller == "annotators":
        return lambda rows, texts: [
            [[text] for text in _by_annotators(dataset, stage.seed, row, own)]
            for row, own in zip(rows, texts, strict=True)
        ]
    if stage.labeller == "oracle":
        proxy = Proxy(dataset, stage.rule or "total", None)
    else:
        proxy = Proxy(dataset, stage.rule, inputs.get("reward"))

    def by_worth(rows: list[Row], texts: list[list[str]]) -> list[Levels]:
        flat = [(row["prompt"], text) for row, own in zip(rows, texts, strict=True) for text in own]
        worth = iter(proxy.score(flat, stage.batch))
        return [_levels(own, [next(worth) for _ in own]) for own in texts]

    return by_worth


def _levels(texts: list[str], worth: list[float]) -> Levels:
    levels = sorted(set(worth), reverse=True)
    return [[text for text, own in zip(texts, worth, strict=True) if own == level] for level in levels]


def _by_annotators(dataset: Dataset, seed: str, row: Row, texts: list[str]) -> list[str]:
    """Sorted by comparisons that annotators make as sorting asks for them, each with a chance of its own.

    Of two responses they say the same whichever of them sorting names first.
    """

    def compare(first: str, second: str) -> int:
        one, other = sorted((first, second))
        chance = keys.seed(seed, f"annotators {keys.key([row['prompt_id'], one, other])}")
        preferred = one if dataset.prefers(row["prompt"], one, other, chance) else other
        return -1 if preferred == first else 1

    return sorted(texts, key=cmp_to_key(compare))


def _ranked(rows: list[Row], ordered: list[Levels], view: str) -> list[Row]:
    """One response of each level: ties are no pairs."""
    found: list[Row] = []
    for row, levels in zip(rows, ordered, strict=True):
        best = [level[0] for level in levels]
        if len(best) > 1:
            sides = {"chosen": best[0], "rejected": best[-1]}
            found.append({**_common(row, 0), **(sides if view == "pairs" else {"responses": best})})
    return found
