"""What trains on single responses with a label, good or bad: KTO and its kin."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness.inference.scoring import pad
from harness.metrics import Measurement
from harness.training.engine import Objective
from harness.training.reference import read_reference
from harness.training.road import train
from harness.training.rows import Encoder, fitting, with_partners
from harness.training.sequences import ledger

if TYPE_CHECKING:
    import torch

    from harness.algorithms._unpaired import UnpairedAlgorithm
    from harness.job import Job


@dataclass(frozen=True)
class UnpairedBatch:
    """Log-probabilities of a micro-batch of B labelled responses, sums over tokens, in nats.

    Attributes:
        logp: (B,) under the policy.
        tokens: (B,) numbers of response tokens, the end token counted.
        label: (B,) bool, True where the response is desirable.
        reference_logp: (B,) under the frozen start.
        kl_mismatched: scalar without gradient: over the whole optimiser step, the mean of
            log π(y'|x) − log π_ref(y'|x) where y' is the row's mismatched partner.
        step_rows: rows of the whole optimiser step.
    """

    logp: torch.Tensor
    tokens: torch.Tensor
    label: torch.Tensor
    reference_logp: torch.Tensor
    kl_mismatched: torch.Tensor
    step_rows: int


class UnpairedObjective(Objective):
    """B labelled responses in a batch; their B mismatched partners beside it, for the reference point."""

    def __init__(self, algorithm: UnpairedAlgorithm, pad_id: int) -> None:
        self.algorithm, self.pad_id = algorithm, pad_id

    def collate(self, rows: list[dict[str, Any]]) -> dict[str, Any]:
        """Rows of `prompt`, `response`, `partner` token ids, `label`, and the reference's log-probabilities."""
        import torch

        batch = pad([(row["prompt"], row["response"]) for row in rows], self.pad_id, torch.tensor)
        partners = pad([(row["prompt"], row["partner"]) for row in rows], self.pad_id, torch.tensor)
        sides = [[row["reference"] for row in rows], [row["reference_partner"] for row in rows]]
        reference = torch.tensor(sides, dtype=torch.float32)
        label = torch.tensor([row["label"] for row in rows])
        return {**batch, "label": label, "reference": reference, "partners": partners}

    def totals(self, batches: list[dict[str, Any]], trainer: Any) -> dict[str, Any]:
        """The step's rows, and how far the policy has moved on all mismatched partners, without gradient."""
        import torch

        model, moved = trainer.model, []
        with torch.no_grad():
            for batch in batches:
                partners = {name: value.to(trainer.args.device) for name, value in batch["partners"].items()}
                logp = trainer.forward(model, partners).log_probs.float().sum(1)
                moved.append(logp - batch["reference"][1].to(logp.device))
        return {"rows": sum(len(batch["label"]) for batch in batches), "moved": torch.cat(moved).sum()}

    def loss(self, outputs: Any, batch: dict[str, Any], totals: dict[str, Any]) -> tuple[torch.Tensor, dict[str, Any]]:
        """The algorithm's losses, summed and divided by the step's rows."""
        import torch

        rows = UnpairedBatch(
            outputs.log_probs.float().sum(1),
            outputs.label_mask.sum(1),
            batch["label"],
            batch["reference"][0],
            torch.as_tensor(totals["moved"]) / totals["rows"],
            totals["rows"],
        )
        loss = self.algorithm.losses(rows).sum() / totals["rows"]
        return loss, self._logs(outputs, batch, rows)

    def _logs(self, outputs: Any, batch: dict[str, Any], rows: UnpairedBatch) -> dict[str, Any]:
        tokens, good = outputs.label_mask.sum(1), rows.label.float()
        own = {
            "rewards": self.algorithm.rewards(rows).detach(),
            "logps": rows.logp.detach(),
            "logits": outputs.mean_logits.sum(1) / tokens,
        }
        values = {"entropy": outputs.entropy.sum(1) / tokens, "logps/moved": (rows.logp - rows.reference_logp).detach()}
        # a step may hold none of a class, so each class is logged as a sum beside its share
        for side, member in (("chosen", good), ("rejected", 1 - good)):
            values |= {f"share/{side}": member} | {f"{name}/{side}": value * member for name, value in own.items()}
        logs = {name: value.sum() / rows.step_rows for name, value in values.items()}
        logs["kl"] = rows.kl_mismatched.clamp(min=0) * len(rows.logp) / rows.step_rows
        return {**logs, "tokens": batch["attention_mask"].sum() + batch["partners"]["attention_mask"].sum()}

    def summary(self, means: dict[str, float]) -> dict[str, float]:
        """Means over the rows of each class; `chosen` are the desirable, as other algorithms log them."""
        found = dict(means)
        for side in ("chosen", "rejected"):
            share = found.pop(f"share/{side}")
            for name in (f"rewards/{side}", f"logps/{side}", f"logits/{side}"):
                value = found.pop(name)
                found |= {name: value / share} if share else {}
        if "rewards/chosen" in found and "rewards/rejected" in found:
            found["rewards/margins"] = found["rewards/chosen"] - found["rewards/rejected"]
        return found


def train_unpaired(algorithm: UnpairedAlgorithm, job: Job) -> list[Measurement]:
    """Train an algorithm that reads labelled responses."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(job.inputs["start"] / "policy")
    encoder = Encoder(tokenizer)
    fit, left_out = fitting(encoder, job.rows, "binary", job.budget)
    kept = with_partners(fit)
    reference = read_reference(job.inputs["reference"])
    rows = [
        {
            "prompt": encoder.prompt(row),
            "response": encoder.response(row["response"]),
            "partner": encoder.response(row["partner"]),
            "label": row["label"],
            "reference": reference(row["prompt_id"], row["response"]),
            "reference_partner": reference(row["prompt_id"], row["partner"]),
        }
        for row in kept
    ]
    per_prompt = algorithm.rows_per_prompt
    objective = UnpairedObjective(algorithm, tokenizer.pad_token_id)
    found = train(job, rows, objective, learning_rate=algorithm.learning_rate, rows_per_prompt=per_prompt)
    trained = [len(row["response"]) for row in rows]
    read = [n + 2 * len(row["prompt"]) + len(row["partner"]) for n, row in zip(trained, rows, strict=True)]
    return found + ledger(job, trained, read, left_out, responses=1, labels=1, per_prompt=per_prompt)
