"""Everything that trains on pairs: one batch, one forward pass, and the algorithm's own loss."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness.inference.scoring import pad
from harness.metrics import Measurement
from harness.training.engine import Objective
from harness.training.reference import read_reference
from harness.training.road import train
from harness.training.rows import Encoder, fitting, order
from harness.training.sequences import ledger

if TYPE_CHECKING:
    import torch

    from harness.algorithms._pairs import PairAlgorithm
    from harness.job import Job


@dataclass(frozen=True)
class PairBatch:
    """Log-probabilities of a micro-batch of B pairs, sums over response tokens and the end token, in nats.

    Attributes:
        chosen_logp: (B,) under the policy.
        rejected_logp: (B,) under the policy.
        chosen_tokens: (B,) numbers of response tokens, the end token counted.
        rejected_tokens: (B,).
        reference_chosen_logp: (B,) under the frozen start, where the algorithm needs a reference.
        reference_rejected_logp: (B,).
        step_rows: pairs in the whole optimiser step, which this micro-batch is a part of.
        step_chosen_tokens: tokens of the chosen responses in the whole optimiser step.
    """

    chosen_logp: torch.Tensor
    rejected_logp: torch.Tensor
    chosen_tokens: torch.Tensor
    rejected_tokens: torch.Tensor
    reference_chosen_logp: torch.Tensor | None
    reference_rejected_logp: torch.Tensor | None
    step_rows: int
    step_chosen_tokens: int


class PairObjective(Objective):
    """Chosen and rejected of B pairs in one batch of 2B rows, chosen first."""

    def __init__(self, algorithm: PairAlgorithm, pad_id: int) -> None:
        self.algorithm, self.pad_id = algorithm, pad_id

    def collate(self, rows: list[dict[str, Any]]) -> dict[str, Any]:
        """Rows of `prompt`, `chosen`, `rejected` token ids, and the reference's log-probabilities."""
        import torch

        sequences = [(row["prompt"], row[side]) for side in ("chosen", "rejected") for row in rows]
        batch = pad(sequences, self.pad_id, torch.tensor)
        if self.algorithm.reference:
            sides = [[row["reference_chosen"] for row in rows], [row["reference_rejected"] for row in rows]]
            batch["reference"] = torch.tensor(sides, dtype=torch.float32)
        return batch

    def totals(self, batches: list[dict[str, Any]], trainer: Any) -> dict[str, Any]:
        """Pairs and chosen tokens of the step."""
        pairs = [len(batch["labels"]) // 2 for batch in batches]
        parts = zip(batches, pairs, strict=True)
        return {"rows": sum(pairs), "tokens": sum(int((b["labels"][:n, 1:] != -100).sum()) for b, n in parts)}

    def loss(self, outputs: Any, batch: dict[str, Any], totals: dict[str, Any]) -> tuple[torch.Tensor, dict[str, Any]]:
        """The algorithm's losses, summed and divided by the step's pairs."""
        logp = outputs.log_probs.float().sum(1)
        tokens = outputs.label_mask.sum(1)
        n = len(logp) // 2
        reference = batch.get("reference")
        pairs = PairBatch(
            logp[:n],
            logp[n:],
            tokens[:n],
            tokens[n:],
            None if reference is None else reference[0],
            None if reference is None else reference[1],
            totals["rows"],
            totals["tokens"],
        )
        losses = self.algorithm.losses(pairs)
        weights = self.weights(batch)
        loss = (losses if weights is None else losses * weights).sum() / totals["rows"]
        return loss, self._logs(outputs, batch, pairs)

    def weights(self, batch: dict[str, Any]) -> torch.Tensor | None:
        """How much each pair counts (B,); all alike where it is None."""
        return None

    def _logs(self, outputs: Any, batch: dict[str, Any], pairs: PairBatch) -> dict[str, Any]:
        chosen, rejected = (reward.detach() for reward in self.algorithm.rewards(pairs))
        right = (chosen > rejected).float() + 0.5 * (chosen == rejected).float()
        n, tokens = len(chosen), outputs.label_mask.sum(1)
        logits = outputs.mean_logits.sum(1) / tokens
        means = {
            "rewards/chosen": chosen,
            "rewards/rejected": rejected,
            "rewards/margins": chosen - rejected,
            "rewards/accuracies": right,
            "logps/chosen": pairs.chosen_logp.detach(),
            "logps/rejected": pairs.rejected_logp.detach(),
            "logits/chosen": logits[:n],
            "logits/rejected": logits[n:],
            "entropy": outputs.entropy.sum(1) / tokens / 2,
        }
        logs = {name: value.sum() / pairs.step_rows for name, value in means.items()}
        if pairs.reference_chosen_logp is not None and pairs.reference_rejected_logp is not None:
            # k1 on the data's responses: how far the policy has moved there, not the KL on its own samples
            moved = pairs.chosen_logp - pairs.reference_chosen_logp
            moved = moved + pairs.rejected_logp - pairs.reference_rejected_logp
            logs["logps/moved"] = moved.detach().sum() / (2 * pairs.step_rows)
        return {**logs, "tokens": batch["attention_mask"].sum()}


def train_pairs(algorithm: PairAlgorithm, job: Job) -> list[Measurement]:
    """Train an algorithm that reads pairs."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(job.inputs["start"] / "policy")
    encoder = Encoder(tokenizer)
    kept, left_out = fitting(encoder, job.rows, "pairs", job.budget)
    rows = [{"prompt": encoder.prompt(row), **_sides(encoder, row)} for row in kept]
    if algorithm.reference:
        reference = read_reference(job.inputs["reference"])
        for row, source in zip(rows, kept, strict=True):
            row["reference_chosen"] = reference(source["prompt_id"], source["chosen"])
            row["reference_rejected"] = reference(source["prompt_id"], source["rejected"])
    objective = PairObjective(algorithm, tokenizer.pad_token_id)
    found = train(job, rows, objective, learning_rate=algorithm.learning_rate)
    trained = [len(row["chosen"]) + len(row["rejected"]) for row in rows]
    read = [n + 2 * len(row["prompt"]) for n, row in zip(trained, rows, strict=True)]
    used = order(len(rows), job.budget.steps * job.budget.batch, job.seed("order"))
    chosen = sum(len(rows[i]["chosen"]) for i in used)
    given = ledger(job, trained, read, left_out, responses=2, labels=1)
    return [*found, *given, Measurement("chosen_tokens", chosen, 1, "tokens")]


def _sides(encoder: Encoder, row: dict[str, Any]) -> dict[str, Any]:
    return {side: encoder.response(row[side]) for side in ("chosen", "rejected")}
