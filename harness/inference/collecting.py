"""New data from a policy: its responses to training prompts, labelled by an oracle, a model, annotators or a judge."""

from __future__ import annotations

import json
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

    Equal responses to a prompt count once. Pairs are the best and the worst of a prompt, rankings all of them, best
    first; a prompt whose responses are all worth the same gives no pair and no ranking, and is counted. Refinements
    are second tries at judged responses; one that was judged well stays as it is.

    Raises:
        HarnessError: the labels asked for do not go with the view, or the dataset has no such labeller.
    """
    if stage.labeller not in MAKES.get(stage.view, ()):
        known = "; ".join(f"{view} by {', '.join(by)}" for view, by in MAKES.items())
        raise HarnessError(f"{stage.labeller} cannot label {stage.view} (what can be made: {known})")
    quiet(stage.threads)
    drawn = 0
    if stage.view == "refinements":
        found, drawn = _refined(inputs["policy"], rows, dataset, stage)
        labels = 0
    else:
        every = _draw(inputs["policy"], [(row, k) for row in rows for k in range(stage.samples)], None, stage)
        k, drawn = stage.samples, len(every)
        texts = [list(dict.fromkeys(every[first : first + k])) for first in range(0, drawn, k)]
        labels = sum(map(len, texts))
        if stage.view == "judgments":
            found = _judged(rows, texts, dataset)
        else:
            found = _ranked(rows, _labeller(inputs, dataset, stage)(rows, texts), stage.view)
    (out / FILE).write_text("".join(json.dumps(row) + "\n" for row in found), encoding="utf-8")
    asked, used = (len({row["prompt_id"] for row in own}) for own in (rows, found))
    return [
        Measurement("rows", len(found), 1, "rows"),
        Measurement("prompts_without_rows", asked - used, 1, "prompts", "lower"),
        Measurement("responses", drawn, 1, "responses"),
        Measurement("labels", labels if stage.labeller in ("annotators", "judge") else 0, 1, "labels"),
        Measurement("scored", 0 if stage.labeller in ("annotators", "judge") else labels, 1, "responses"),
    ]


def _common(row: Row, part: int) -> Row:
    return {"id": f"{row['id']}-{part}", "prompt_id": row["prompt_id"], "prompt": row["prompt"]}


def _draw(
    policy: Path, places: list[tuple[Row, int]], prompts: list[list[Message]] | None, stage: Collect
) -> list[str]:
    """A response to each row's prompt, or to another prompt in its place."""
    model, tokenizer = open_policy(policy / "policy")
    asked = prompts or [row["prompt"] for row, _ in places]
    drawn = sample(
        model,
        [render_prompt(tokenizer, prompt) for prompt in asked],
        [noise(f"{stage.seed} collect", row["prompt_id"], k, stage.max_response_tokens) for row, k in places],
        end_id=end_token(tokenizer),
        pad_id=tokenizer.pad_token_id,
        temperature=stage.temperature,
        batch=stage.batch,
    )
    texts: list[str] = tokenizer.batch_decode([one.token_ids for one in drawn], skip_special_tokens=True)
    return texts


def _judged(rows: list[Row], texts: list[list[str]], dataset: Dataset) -> list[Row]:
    return [
        {**_common(row, k), "response": text, "judgment": dataset.judge(row["prompt"], text)}
        for row, own in zip(rows, texts, strict=True)
        for k, text in enumerate(own)
    ]


def _refined(policy: Path, rows: list[Row], dataset: Dataset, stage: Collect) -> tuple[list[Row], int]:
    """Rows with `response`, the refinement; where it differs from the first try, also `chosen` and `rejected`."""
    blamed = [row for row in rows if row["judgment"] is not None]
    prompts = [dataset.again(row["prompt"], row["response"], row["judgment"]) for row in blamed]
    second = _draw(policy, [(row, 0) for row in blamed], prompts, stage) if blamed else []
    better = {row["id"]: text for row, text in zip(blamed, second, strict=True)}
    found = []
    for row in rows:
        text = better.get(row["id"], row["response"])
        sides = {"chosen": text, "rejected": row["response"]} if text != row["response"] else {}
        found.append({**_common(row, 0), "response": text, "judgment": row["judgment"], **sides})
    return found, len(blamed)


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
