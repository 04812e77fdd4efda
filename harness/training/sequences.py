"""Maximum likelihood of token sequences: SFT on responses, pretraining on whole texts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harness.errors import HarnessError
from harness.inference.scoring import pad
from harness.metrics import Measurement
from harness.training.engine import Objective
from harness.training.road import positions_of, train
from harness.training.rows import Encoder, fitting, order

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from harness.job import Job


class Likelihood(Objective):
    """−Σ log π(y_t) over all trained tokens of the optimiser step, divided by their number: the token mean."""

    def __init__(self, pad_id: int) -> None:
        self.pad_id = pad_id

    def collate(self, rows: list[dict[str, Any]]) -> dict[str, Any]:
        """Rows of `prompt` and `response` token ids."""
        import torch

        return pad([(row["prompt"], row["response"]) for row in rows], self.pad_id, torch.tensor)

    def totals(self, batches: list[dict[str, Any]], trainer: Any) -> dict[str, Any]:
        """The step's trained tokens."""
        return {"tokens": sum(int((batch["labels"][:, 1:] != -100).sum()) for batch in batches)}

    def loss(self, outputs: Any, batch: dict[str, Any], totals: dict[str, Any]) -> tuple[torch.Tensor, dict[str, Any]]:
        """The token mean over the step, and the entropy and accuracy that go with it."""
        tokens = totals["tokens"]
        logs = {
            "entropy": outputs.entropy.sum() / tokens,
            "token_accuracy": outputs.is_top1.sum() / tokens,
            "tokens": batch["attention_mask"].sum(),
        }
        return -outputs.log_probs.float().sum() / tokens, logs


def train_responses(job: Job, learning_rate: float, response: str, view: str, labels: int = 0) -> list[Measurement]:
    """Train on one response of each row.

    Args:
        job: what to train from and where to write.
        learning_rate: peak of the schedule.
        response: the field that holds the response: `response`, or `chosen` of a pair.
        view: the view of the rows.
        labels: labels that a row has cost.
    """
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(job.inputs["start"] / "policy")
    encoder = Encoder(tokenizer)
    kept, left_out = fitting(encoder, job.rows, view, job.budget)
    rows = [{"prompt": encoder.prompt(row), "response": encoder.response(row[response])} for row in kept]
    found = train(job, rows, Likelihood(tokenizer.pad_token_id), learning_rate=learning_rate)
    return found + ledger(job, *_counts(rows), left_out, responses=1, labels=labels)


def train_texts(
    job: Job, learning_rate: float, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
) -> list[Measurement]:
    """Train a fresh model on whole conversations: every token but the first is a target.

    Raises:
        HarnessError: no text fits the model.
    """
    rendered = [tokenizer.apply_chat_template(row["messages"], tokenize=True, return_dict=False) for row in job.rows]
    rows = [{"prompt": ids[:1], "response": ids[1:]} for ids in rendered if len(ids) <= positions_of(model)]
    if not rows:
        raise HarnessError(f"none of {len(rendered)} texts fits the {positions_of(model)} tokens that the model reads")
    objective = Likelihood(tokenizer.pad_token_id)
    lengths = [len(row["response"]) for row in rows]
    found = train(job, rows, objective, learning_rate=learning_rate, model=model, tokenizer=tokenizer, lengths=lengths)
    return found + ledger(job, *_counts(rows), len(rendered) - len(rows), responses=1, labels=0)


def _counts(rows: list[dict[str, Any]]) -> tuple[list[int], list[int]]:
    """Tokens that each row is trained on, and tokens that it is read as."""
    trained = [len(row["response"]) for row in rows]
    return trained, [n + len(row["prompt"]) for n, row in zip(trained, rows, strict=True)]


def ledger(
    job: Job,
    trained: list[int],
    read: list[int],
    left_out: int,
    *,
    responses: int | list[int],
    labels: int | list[int],
    per_prompt: int = 1,
) -> list[Measurement]:
    """What a run was given: prompts, responses and labels, tokens trained on and read, rows left out.

    Args:
        job: its budget and order.
        trained: for each row that fitted, the tokens that its loss reads.
        read: for each of them, the tokens of one forward pass.
        left_out: rows that did not fit.
        responses: responses in a row, or in each.
        labels: labels in a row, or in each.
        per_prompt: rows that one prompt of the budget stands for.
    """
    prompts = job.budget.steps * job.budget.batch
    used = order(len(trained), prompts * per_prompt, job.seed("order"))
    counts = {
        "prompts": (prompts, "prompts"),
        "responses": (_sum(responses, used), "responses"),
        "labels": (_sum(labels, used), "labels"),
        "trained_tokens": (sum(trained[i] for i in used), "tokens"),
        "forward_tokens": (sum(read[i] for i in used), "tokens"),
        "rows_available": (len(trained), "rows"),
        "rows_left_out": (left_out, "rows"),
    }
    return [Measurement(name, value, 1, unit) for name, (value, unit) in counts.items()]


def _sum(each: int | list[int], used: list[int]) -> int:
    return len(used) * each if isinstance(each, int) else sum(each[i] for i in used)
