"""Maximum likelihood of token sequences: SFT on responses, pretraining on whole texts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harness.metrics import Measurement
from harness.models.scoring import pad
from harness.training.engine import Objective
from harness.training.road import train
from harness.training.rows import Encoder, fitting

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
            "entropy": outputs.entropy.detach().sum() / tokens,
            "token_accuracy": outputs.is_top1.sum() / tokens,
            "tokens": batch["attention_mask"].sum(),
        }
        return -outputs.log_probs.float().sum() / tokens, logs


def train_responses(job: Job, learning_rate: float, response: str, view: str) -> list[Measurement]:
    """Train on one response of each row.

    Args:
        job: what to train from and where to write.
        learning_rate: peak of the schedule.
        response: the field that holds the response: `response`, or `chosen` of a pair.
        view: the view of the rows.
    """
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(job.inputs["start"] / "policy")
    encoder = Encoder(tokenizer)
    kept, left_out = fitting(encoder, job.rows, view, job.budget)
    rows = [{"prompt": encoder.prompt(row), "response": encoder.response(row[response])} for row in kept]
    found = train(job, rows, Likelihood(tokenizer.pad_token_id), learning_rate=learning_rate)
    return found + ledger(job, [row["response"] for row in rows], rows, left_out, responses=1, labels=0)


def train_texts(
    job: Job, learning_rate: float, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
) -> list[Measurement]:
    """Train a fresh model on whole conversations: every token but the first is a target."""
    texts = [tokenizer.apply_chat_template(row["messages"], tokenize=True, return_dict=False) for row in job.rows]
    rows = [{"prompt": ids[:1], "response": ids[1:]} for ids in texts]
    objective = Likelihood(tokenizer.pad_token_id)
    found = train(job, rows, objective, learning_rate=learning_rate, model=model, tokenizer=tokenizer)
    return found + ledger(job, [row["response"] for row in rows], rows, 0, responses=1, labels=0)


def ledger(
    job: Job,
    trained: list[list[int]],
    rows: list[Any],
    left_out: int,
    *,
    responses: int,
    labels: int,
    per_prompt: int = 1,
) -> list[Measurement]:
    """What a run was given: prompts, responses and labels seen, tokens trained on, rows left out.

    Args:
        job: its budget and order.
        trained: for each row the token ids that are trained on.
        rows: the rows that fitted.
        left_out: rows that did not.
        responses: responses in a row.
        labels: labels in a row.
        per_prompt: rows that one prompt of the budget stands for.
    """
    from harness.training.rows import order

    seen = job.budget.steps * job.budget.batch * per_prompt
    used = order(len(rows), seen, job.seed("order"))
    tokens = sum(len(trained[i]) for i in used)
    return [
        Measurement("prompts_seen", job.budget.steps * job.budget.batch, 1, "prompts"),
        Measurement("rows_available", len(rows), 1, "rows"),
        Measurement("rows_left_out", left_out, 1, "rows"),
        Measurement("responses_seen", seen * responses, 1, "responses"),
        Measurement("labels_seen", seen * labels, 1, "labels"),
        Measurement("trained_tokens", tokens, 1, "tokens"),
    ]
