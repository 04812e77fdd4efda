"""New data from a policy: its responses to training prompts, labelled by an oracle, a reward model or a judge."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import HarnessError
from harness.metrics import Measurement
from harness.models.policy import load_policy
from harness.models.quiet import quiet
from harness.models.rendering import end_token, render_prompt
from harness.models.sampling import noise, sample
from harness.models.scoring import score

if TYPE_CHECKING:
    from harness.data import Dataset, Row
    from harness.stages import Collect

FILE = "rows.jsonl"
SCORED = ("pairs", "rankings")


def read_rows(folder: Path) -> list[Row]:
    """The rows that a Collect stage has written."""
    return [json.loads(line) for line in (folder / FILE).read_text(encoding="utf-8").split("\n") if line]


def write_rows(
    out: Path, inputs: dict[str, Path], rows: list[Row], dataset: Dataset, stage: Collect
) -> list[Measurement]:
    """Draw K responses to each prompt, label them, and write `rows.jsonl`.

    Equal responses to a prompt count once. Pairs are the best and the worst of a prompt, rankings all of them, best
    first; a prompt whose responses are all worth the same gives no pair and no ranking, and is counted.

    Raises:
        HarnessError: the labels asked for do not go with the view, or the dataset has no such labeller.
    """
    if (stage.view in SCORED) == (stage.labeller == "judge") or stage.view not in (*SCORED, "judgments"):
        raise HarnessError(
            f"{stage.labeller} cannot label {stage.view}: oracle and reward give pairs and rankings, a judge judgments"
        )
    quiet(stage.threads)
    texts = _responses(inputs["policy"], rows, stage)
    if stage.view == "judgments":
        found = [
            {**_common(row, k), "response": text, "judgment": dataset.judge(row["prompt"], text)}
            for row, own in zip(rows, texts, strict=True)
            for k, text in enumerate(own)
        ]
    else:
        found = _ranked(rows, texts, _values(inputs, rows, texts, dataset, stage), stage.view)
    (out / FILE).write_text("".join(json.dumps(row) + "\n" for row in found), encoding="utf-8")
    used = len({row["prompt_id"] for row in found})
    return [
        Measurement("rows", len(found), 1, "rows"),
        Measurement("prompts_without_rows", len(rows) - used, 1, "prompts", "lower"),
        Measurement("labels", sum(map(len, texts)), 1, "labels"),
    ]


def _common(row: Row, part: int) -> Row:
    return {"id": f"{row['id']}-{part}", "prompt_id": row["prompt_id"], "prompt": row["prompt"]}


def _responses(policy: Path, rows: list[Row], stage: Collect) -> list[list[str]]:
    """The distinct responses to each prompt."""
    model, tokenizer = load_policy(policy / "policy")
    places = [(row, k) for row in rows for k in range(stage.samples)]
    drawn = sample(
        model,
        [render_prompt(tokenizer, row["prompt"]) for row, _ in places],
        [noise(f"{stage.seed} collect", row["prompt_id"], k, stage.max_response_tokens) for row, k in places],
        end_id=end_token(tokenizer),
        pad_id=tokenizer.pad_token_id,
        temperature=stage.temperature,
        batch=stage.batch,
    )
    texts = tokenizer.batch_decode([one.token_ids for one in drawn], skip_special_tokens=True)
    k = stage.samples
    return [list(dict.fromkeys(texts[first : first + k])) for first in range(0, len(texts), k)]


def _values(
    inputs: dict[str, Path], rows: list[Row], texts: list[list[str]], dataset: Dataset, stage: Collect
) -> list[list[float]]:
    """What each response is worth to the labeller."""
    if stage.labeller == "oracle":
        return [
            [dataset.score(row["prompt"], text)["total"] for text in own] for row, own in zip(rows, texts, strict=True)
        ]
    if stage.labeller != "reward":
        raise HarnessError(f"there is no labeller '{stage.labeller}' (known: oracle, reward, judge)")
    flat = [(row["prompt"], text) for row, own in zip(rows, texts, strict=True) for text in own]
    scores = iter(score(inputs["reward"] / "reward", flat, stage.batch))
    return [[next(scores) for _ in own] for own in texts]


def _ranked(rows: list[Row], texts: list[list[str]], values: list[list[float]], view: str) -> list[Row]:
    found: list[Row] = []
    for row, own, worth in zip(rows, texts, values, strict=True):
        if min(worth) == max(worth):
            continue
        order = sorted(range(len(own)), key=lambda i: -worth[i])
        if view == "pairs":
            found.append({**_common(row, 0), "chosen": own[order[0]], "rejected": own[order[-1]]})
        else:
            found.append({**_common(row, 0), "responses": [own[i] for i in order]})
    return found
