"""Pairs that the policy makes as it learns: the best and the worst of its own responses to a prompt."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.metrics import Measurement
from harness.training.on_policy import RolloutState, prompt_rows
from harness.training.pairs import PairObjective
from harness.training.road import train
from harness.training.rollouts import Roller
from harness.training.rows import order

if TYPE_CHECKING:
    import torch

    from harness.algorithms.online_dpo import OnlineDpo
    from harness.data import Row
    from harness.job import Job


class OnlinePairObjective(PairObjective):
    """Rows are prompts; K responses to each are drawn at every optimiser step, and two of them are trained on.

    A prompt whose responses are all worth the same counts in the step's total and teaches nothing.
    """

    def __init__(self, algorithm: OnlineDpo, roller: Roller, pad_id: int) -> None:
        super().__init__(algorithm, pad_id)
        self.roller, self.counts = roller, RolloutState(algorithm.kl_limit)

    def collate(self, rows: list[dict[str, Any]]) -> dict[str, Any]:
        """Rows of `place`, a place among the prompts."""
        import torch

        return {"place": torch.tensor([row["place"] for row in rows])}

    def prepare(self, batches: list[dict[str, Any]], trainer: Any) -> list[dict[str, Any]]:
        """Prompts to pairs of the policy's own responses."""
        import torch
        from accelerate import PartialState

        parts = [batch["place"].tolist() for batch in batches]
        step = trainer.state.global_step
        rank = PartialState(cpu=not torch.cuda.is_available()).process_index
        every = trainer.every_process([(rank, place) for part in parts for place in part])
        rollout = self.roller(trainer, str(step), [place for _, place in every])
        self.counts.count(rollout, step)
        k = rollout.samples
        own = iter([range(i * k, i * k + k) for i, (process, _) in enumerate(every) if process == rank])
        found = []
        for part in parts:
            groups = [next(own) for _ in part]  # by position: a prompt may come twice in a step, with other responses
            rows, decided = [], []
            for group in groups:
                best, worst = self._extremes(rollout, group)
                rows.append(self._pair(rollout, best, worst))
                decided.append(float(rollout.scores[best] > rollout.scores[worst]))
            places = [i for group in groups for i in group]
            found.append(super().collate(rows) | self._facts(rollout, places, k, decided))
        return found

    @staticmethod
    def _extremes(rollout: Any, group: range) -> tuple[int, int]:
        """The best and the worst of a prompt's responses; the first and the last of equals."""
        best = max(group, key=lambda i: float(rollout.scores[i]))
        worst = min(reversed(group), key=lambda i: float(rollout.scores[i]))
        return best, worst

    @staticmethod
    def _pair(rollout: Any, best: int, worst: int) -> dict[str, Any]:
        reference = rollout.reference_logps.sum(1)
        return {
            "prompt": rollout.prompts[best],
            "chosen": rollout.responses[best],
            "rejected": rollout.responses[worst],
            "reference_chosen": float(reference[best]),
            "reference_rejected": float(reference[worst]),
        }

    @staticmethod
    def _facts(rollout: Any, own: list[int], k: int, decided: list[float]) -> dict[str, Any]:
        """Means over the K responses to each prompt."""
        import torch

        values = {
            "score": rollout.scores,
            "kl": rollout.kl,
            "ended": rollout.ended.float(),
            "length": rollout.mask.float().sum(1),
        }
        means = {f"rollout_{name}": value[own].view(-1, k).mean(1) for name, value in values.items()}
        return {**means, "decided": torch.tensor(decided)}

    def weights(self, batch: dict[str, Any]) -> torch.Tensor | None:
        """Pairs of equal worth weigh nothing."""
        found: torch.Tensor = batch["decided"]
        return found

    def loss(self, outputs: Any, batch: dict[str, Any], totals: dict[str, Any]) -> tuple[torch.Tensor, dict[str, Any]]:
        """The loss of the pairs, and what the rollout was like."""
        loss, logs = super().loss(outputs, batch, totals)
        names = ("score", "kl", "ended", "length")
        logs |= {name: batch[f"rollout_{name}"].sum() / totals["rows"] for name in names}
        return loss, {**logs, "decided": batch["decided"].sum() / totals["rows"]}

    def save(self, folder: Path) -> None:
        """Keep the counts."""
        self.counts.save(folder)
        super().save(folder)

    def load(self, folder: Path) -> None:
        """Take the counts up again."""
        self.counts.load(folder)
        super().load(folder)


def train_online_pairs(algorithm: OnlineDpo, job: Job) -> list[Measurement]:
    """Train on pairs of the policy's own responses."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(job.inputs["start"] / "policy")
    rows, left_out = prompt_rows(tokenizer, job)

    def judged(asked: list[Row], texts: list[str]) -> list[float]:
        """1 for what the judge finds nothing wrong with, 0 for the rest."""
        both = zip(asked, texts, strict=True)
        return [float(job.dataset.judge(row["prompt"], text) is None) for row, text in both]

    roller = Roller(
        job,
        rows,
        tokenizer,
        samples=algorithm.samples,
        missing_end_penalty=algorithm.missing_end_penalty,
        reference=True,
        score=judged if algorithm.labeller == "judge" else None,
    )
    objective = OnlinePairObjective(algorithm, roller, int(tokenizer.pad_token_id or 0))
    places = [{"place": place} for place in range(len(rows))]
    indices = order(len(rows), job.budget.steps * job.budget.batch, job.seed("order"))
    found = train(job, places, objective, learning_rate=algorithm.learning_rate, indices=indices)
    kept = [Measurement("rows_left_out", left_out, 1, "rows"), Measurement("rows_available", len(rows), 1, "rows")]
    return (
        found + objective.counts.ledger(algorithm.samples, 2 / algorithm.samples, algorithm.labeller == "judge") + kept
    )
