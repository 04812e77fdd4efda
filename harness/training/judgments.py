"""What trains on responses with a judgment in words: CUT and its kin."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness import keys
from harness.errors import HarnessError
from harness.inference.rendering import render_prompt
from harness.inference.scoring import pad
from harness.metrics import Measurement
from harness.training.engine import Objective
from harness.training.forward import token_scores
from harness.training.road import train
from harness.training.rollouts import off_grid
from harness.training.rows import Encoder, fitting
from harness.training.sequences import Likelihood, ledger

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from harness.algorithms.cut import Cut
    from harness.data import Dataset, Message, Row
    from harness.job import Job

ROUND = "data"
"""The input of a round: what was collected for it."""
Sequence = tuple[list[int], list[int]]
"""Token ids of a prompt and of a response."""


@dataclass(frozen=True)
class JudgedBatch:
    """A micro-batch of B judged responses; T is the longest response, and all (B, T) are 0 outside of the mask.

    Attributes:
        logps: (B, T) log p(y_t | x, y_<t), for blamed responses in the context that `misalign` names.
        judged_logps: (B, T) log p(y_t | x, j, y_<t) with the judgment in the prompt; 0 for responses without blame.
        mask: (B, T) 1 on response tokens, the end token counted.
        blamed: (B,) bool, whether the judgment finds something wrong.
        step_rows: responses of the whole optimiser step.
        step_blamed_tokens: tokens of its blamed responses.
        step_tokens: tokens of all its responses.
    """

    logps: torch.Tensor
    judged_logps: torch.Tensor
    mask: torch.Tensor
    blamed: torch.Tensor
    step_rows: int
    step_blamed_tokens: int
    step_tokens: int


class JudgedObjective(Objective):
    """Each response behind its plain prompt, and the blamed ones behind the prompt with the judgment too."""

    def __init__(self, algorithm: Cut, pad_id: int) -> None:
        self.algorithm, self.pad_id = algorithm, pad_id

    def collate(self, rows: list[dict[str, Any]]) -> dict[str, Any]:
        """Rows of `prompt`, `judged_prompt`, `response` token ids, and `blamed`."""
        import torch

        blamed = [row for row in rows if row["blamed"]]
        sequences = [(row["prompt"], row["response"]) for row in rows]
        sequences += [(row["judged_prompt"], row["response"]) for row in blamed]
        batch = pad(sequences, self.pad_id, torch.tensor)
        batch["first"] = torch.tensor([len(prompt) - 1 for prompt, _ in sequences])
        batch["lengths"] = torch.tensor([len(response) for _, response in sequences])
        batch["blamed"] = torch.tensor([row["blamed"] for row in rows])
        return batch

    def totals(self, batches: list[dict[str, Any]], trainer: Any) -> dict[str, Any]:
        """Responses and tokens of the step."""
        rows = [len(batch["blamed"]) for batch in batches]
        blamed = [int(batch["lengths"][: len(batch["blamed"])][batch["blamed"]].sum()) for batch in batches]
        tokens = [int(batch["lengths"][:n].sum()) for batch, n in zip(batches, rows, strict=True)]
        return {"rows": sum(rows), "blamed_tokens": sum(blamed), "tokens": sum(tokens)}

    def loss(self, outputs: Any, batch: dict[str, Any], totals: dict[str, Any]) -> tuple[torch.Tensor, dict[str, Any]]:
        """The algorithm's losses, summed and divided by the step's responses."""
        judged = judged_batch(outputs.log_probs.float(), batch, totals)
        losses, marked = self.algorithm.losses(judged)
        n = len(judged.mask)
        tokens = totals["tokens"]
        logs = {
            "marked": marked.sum() / max(1, totals["blamed_tokens"]),
            "blamed": judged.blamed.float().sum() / totals["rows"],
            "logps/plain": judged.logps.detach().sum() / tokens,
            "logps/judged": judged.judged_logps.detach().sum() / max(1, totals["blamed_tokens"]),
            "entropy": outputs.entropy[:n].sum() / tokens,
            "tokens": batch["attention_mask"].sum(),
        }
        return losses.sum() / totals["rows"], logs


def judged_batch(grid: torch.Tensor, batch: dict[str, Any], totals: dict[str, Any]) -> JudgedBatch:
    """From log-probabilities on a batch's grid to those of response tokens, side by side for both prompts."""
    import torch

    blamed = batch["blamed"]
    steps = torch.arange(int(batch["lengths"].max()), device=grid.device)[None]
    inside = steps < batch["lengths"][:, None]
    places = (batch["first"][:, None] + steps).clamp(max=grid.shape[1] - 1)
    found = grid.gather(1, places) * inside
    n = len(blamed)
    judged = torch.zeros_like(found[:n]).index_put((blamed.nonzero()[:, 0],), found[n:])
    counts = (totals["rows"], totals["blamed_tokens"], totals["tokens"])
    return JudgedBatch(found[:n], judged, inside[:n].float(), blamed, *counts)


def train_judged(algorithm: Cut, job: Job) -> list[Measurement]:
    """Train an algorithm that contrasts responses with and without their judgment.

    A round whose responses are all praised, so that none is kept, leaves the policy as it is.

    Raises:
        HarnessError: no response of the dataset is blamed, and so none is kept.
    """
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(job.inputs["start"] / "policy")
    fits, left_out = _fitting(tokenizer, job)
    kept, learning_rate = fewer_praised(fits, algorithm.praised_per_blamed), algorithm.learning_rate
    if not kept and ROUND in job.inputs:  # where all is praised there is nothing to learn: the policy stays as it is
        kept, learning_rate = fits, 0.0
    if not kept:
        raise HarnessError(
            f"no response of {len(fits)} is blamed: praised_per_blamed = {algorithm.praised_per_blamed} keeps none"
        )
    encoder = Encoder(tokenizer)
    rows = [_row(encoder, row, job.dataset, algorithm.misalign) for row in kept]
    objective = JudgedObjective(algorithm, int(tokenizer.pad_token_id or 0))
    found = train(job, rows, objective, learning_rate=learning_rate)
    trained = [len(row["response"]) * (1 + row["blamed"]) for row in rows]
    read = [
        n + len(row["prompt"]) + row["blamed"] * len(row["judged_prompt"]) for n, row in zip(trained, rows, strict=True)
    ]
    return found + ledger(job, trained, read, left_out, responses=1, labels=1)


def _row(encoder: Encoder, row: Row, dataset: Dataset, misalign: str) -> dict[str, Any]:
    blamed = row["judgment"] is not None
    praised = blamed and misalign == "positive_judgment"
    plain = render_prompt(encoder.tokenizer, dataset.judged(row["prompt"], None)) if praised else encoder.prompt(row)
    judged = render_prompt(encoder.tokenizer, dataset.judged(row["prompt"], row["judgment"])) if blamed else []
    response = encoder.response(row["response"])
    return {"prompt": plain, "judged_prompt": judged, "response": response, "blamed": blamed}


def fewer_praised(rows: list[Row], per_blamed: float) -> list[Row]:
    """At most so many rows without blame for each blamed one, chosen by a hash of their ids; all where it is 0."""
    praised = [row["id"] for row in rows if row["judgment"] is None]
    most = int(per_blamed * (len(rows) - len(praised))) if per_blamed else len(praised)
    kept = set(sorted(praised, key=lambda name: keys.key(str(name)))[:most])
    return [row for row in rows if row["judgment"] is not None or row["id"] in kept]


def _fitting(tokenizer: PreTrainedTokenizerBase, job: Job) -> tuple[list[Row], int]:
    """Rows whose prompt and response fit the budget, and whose longest conversation fits the model.

    None has a control token spelt out in its judgment either.

    Raises:
        HarnessError: there is none.
    """
    from transformers import AutoConfig

    from harness.inference.policy import base_folder

    encoder = Encoder(tokenizer)
    kept, left_out = fitting(encoder, job.rows, "judgments", job.budget)
    config = AutoConfig.from_pretrained(base_folder(job.inputs["start"] / "policy"))
    limit = int(config.get_text_config().max_position_embeddings) - job.budget.max_response_tokens
    longest = [(row, render_prompt(tokenizer, _longest(job.dataset, row))) for row in kept]
    short = [row for row, ids in longest if len(ids) <= limit and not encoder.control(ids, row["judgment"] or "")]
    if not short:
        raise HarnessError(
            f"none of {len(kept)} judged responses fits, with its prompt and judgment, the {limit} tokens that the "
            f"model reads beside budget.max_response_tokens = {job.budget.max_response_tokens}"
        )
    return short, left_out + len(kept) - len(short)


def _longest(dataset: Dataset, row: Row) -> list[Message]:
    return dataset.again(row["prompt"], row["response"], row["judgment"] or dataset.praise)


def train_sequences(job: Job, learning_rate: float, kind: str) -> list[Measurement]:
    """Maximum likelihood on sequences that are made of judged responses.

    Args:
        job: what to train from and where to write.
        learning_rate: peak of the schedule.
        kind: `hindsight`: the response behind the prompt with its judgment; `verdict`: the response behind the plain
            prompt, and its judgment behind both.
    """
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(job.inputs["start"] / "policy")
    kept, left_out = _fitting(tokenizer, job)
    encoder = Encoder(tokenizer)
    rows = [{"sequences": _sequences(encoder, row, job.dataset, kind)} for row in kept]
    objective = Several(int(tokenizer.pad_token_id or 0))
    found = train(job, rows, objective, learning_rate=learning_rate)
    trained = [sum(len(response) for _, response in row["sequences"]) for row in rows]
    read = [sum(len(prompt) + len(response) for prompt, response in row["sequences"]) for row in rows]
    return found + ledger(job, trained, read, left_out, responses=1, labels=1)


def _sequences(encoder: Encoder, row: Row, dataset: Dataset, kind: str) -> list[Sequence]:
    def rendered(prompt: list[Message]) -> list[int]:
        return render_prompt(encoder.tokenizer, prompt)

    response = encoder.response(row["response"])
    if kind == "hindsight":
        return [(rendered(dataset.judged(row["prompt"], row["judgment"])), response)]
    verdict = encoder.response(row["judgment"] or dataset.praise)
    return [(encoder.prompt(row), response), (rendered(dataset.verdict(row["prompt"], row["response"])), verdict)]


class Several(Likelihood):
    """The token mean over all sequences of the rows."""

    def collate(self, rows: list[dict[str, Any]]) -> dict[str, Any]:
        """Rows of `sequences`, each of prompt and response token ids."""
        import torch

        sequences = [(prompt, response) for row in rows for prompt, response in row["sequences"]]
        return pad(sequences, self.pad_id, torch.tensor)


def marked(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, dataset: Dataset, rows: list[Row], threshold: float
) -> list[list[bool]]:
    """Which tokens of blamed responses CUT calls inappropriate: p(y_t|x,j) > λ p(y_t|x); the end token is the last.

    Args:
        model: a policy with `harness.training.forward.add_head`.
        tokenizer: its tokenizer.
        dataset: renders judgments.
        rows: blamed rows of the view `judgments`.
        threshold: λ.
    """
    import torch

    encoder = Encoder(tokenizer)
    found = []
    with torch.inference_mode():
        for row in rows:
            response = encoder.response(row["response"])
            judged = render_prompt(tokenizer, dataset.judged(row["prompt"], row["judgment"]))
            part = [(encoder.prompt(row), response), (judged, response)]
            grid = token_scores(model, pad(part, int(tokenizer.pad_token_id or 0), torch.tensor)).log_probs
            plain, blamed = off_grid(grid, part, len(response))
            found.append((blamed - plain > math.log(threshold)).tolist())  # in logarithms, as in training
    return found


@dataclass(frozen=True)
class Agreement:
    """Marks against planted errors, over all rows together.

    Attributes:
        precision: share of marked tokens that stand in an error span.
        recall: share of the spans' tokens that are marked.
        found: share of spans with a marked token.
        false_alarms: share of tokens outside of spans, end tokens too, that are marked.
    """

    precision: float
    recall: float
    found: float
    false_alarms: float


def agreement(rows: list[Row], marks: list[list[bool]]) -> Agreement:
    """Compare marks with `error_spans`, for a tokenizer whose tokens are words.

    Args:
        rows: of the view `judgments`.
        marks: of `marked`, one list for each row.

    Raises:
        HarnessError: nothing is marked, or no row has an error span, so that there is nothing to take a share of.
    """
    spans = [own[first:last] for row, own in zip(rows, marks, strict=True) for first, last in row["error_spans"]]
    pairs = [
        (mark, any(first <= place < last for first, last in row["error_spans"]))
        for row, own in zip(rows, marks, strict=True)
        for place, mark in enumerate(own)
    ]
    inside, outside = [mark for mark, wrong in pairs if wrong], [mark for mark, wrong in pairs if not wrong]
    if not spans or not any(mark for mark, _ in pairs):
        raise HarnessError(f"{sum(mark for mark, _ in pairs)} marked tokens and {len(spans)} error spans: no share")
    return Agreement(
        precision=sum(inside) / (sum(inside) + sum(outside)),
        recall=sum(inside) / len(inside),
        found=sum(any(own) for own in spans) / len(spans),
        false_alarms=sum(outside) / len(outside),
    )
