"""Everything that learns from the policy's own responses by a policy gradient: rollouts, credit, updates."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import HarnessError
from harness.inference.scoring import pad
from harness.metrics import Measurement
from harness.training.engine import Objective
from harness.training.road import train
from harness.training.rollouts import Roller, Rollout, on_grid
from harness.training.rows import Encoder, fitting_prompts, order

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerBase

    from harness.algorithms._on_policy import OnPolicyAlgorithm
    from harness.job import Job

STATE = "state.json"


@dataclass(frozen=True)
class PolicyBatch:
    """A micro-batch of B responses on the grid of its tokens; all (B, T) are 0 outside of the mask.

    Attributes:
        logps: (B, T) log-probabilities of response tokens under the policy, with gradient.
        mask: (B, T) 1 on response tokens, the end token counted.
        old_logps: (B, T) under the policy that gave the responses.
        reference_logps: (B, T) under the frozen anchor; None where the algorithm has no use for it.
        advantages: (B, T).
        entropy: (B, T) of the next-token distributions; with gradient where there is a value model.
        values: (B, T) what the value model expects before each token, with gradient; None without one.
        old_values: (B, T) what it expected at the rollout.
        returns: (B, T) what it should have expected.
        step_rows: responses of the whole optimiser step.
        step_tokens: their tokens.
        limit: the most tokens that a response may have.
    """

    logps: torch.Tensor
    mask: torch.Tensor
    old_logps: torch.Tensor
    reference_logps: torch.Tensor | None
    advantages: torch.Tensor
    entropy: torch.Tensor
    values: torch.Tensor | None
    old_values: torch.Tensor | None
    returns: torch.Tensor | None
    step_rows: int
    step_tokens: int
    limit: int


class RolloutState:
    """What is kept from rollout to rollout, and in checkpoints: counts for the ledger, and what a method adapts.

    Args:
        kl_limit: nats per response; a rollout whose mean log-ratio to the anchor is above it is an alarm; 0 for none.
    """

    def __init__(self, kl_limit: float) -> None:
        self.kl_limit = kl_limit
        self.kept: dict[str, float] = {}

    def count(self, rollout: Rollout, step: int) -> None:
        """Add a rollout that was drawn after `step` optimiser steps."""
        added = {"generated_tokens": sum(map(len, rollout.responses)), "responses": len(rollout.responses)}
        for name, value in added.items():
            self.kept[name] = self.kept.get(name, 0) + value
        kl = float(rollout.kl.mean())
        self.kept["kl_max"] = max(kl, self.kept.get("kl_max", kl))
        if 0 < self.kl_limit < kl:
            self.kept.setdefault("kl_alarm_step", step)

    def ledger(self, samples: int, passes: float, judged: bool = False) -> list[Measurement]:
        """What a run drew, K to a prompt, and trained on in so many passes; labelled by a judge, or scored."""
        kept = self.kept
        found = [
            Measurement("prompts", kept["responses"] / samples, 1, "prompts"),
            Measurement("responses", kept["responses"], 1, "responses"),
            Measurement("labels", kept["responses"] if judged else 0, 1, "labels"),
            Measurement("scored", 0 if judged else kept["responses"], 1, "responses"),
            Measurement("generated_tokens", kept["generated_tokens"], 1, "tokens"),
            Measurement("trained_tokens", kept["generated_tokens"] * passes, 1, "tokens"),
            Measurement("kl_max", kept["kl_max"], 1, "nats/response"),
        ]
        alarm = kept.get("kl_alarm_step")
        return found if alarm is None else [*found, Measurement("kl_alarm_step", alarm, 1, "step")]

    def save(self, folder: Path) -> None:
        """Into a checkpoint."""
        (folder / STATE).write_text(json.dumps(self.kept))

    def load(self, folder: Path) -> None:
        """Out of a checkpoint."""
        self.kept = json.loads((folder / STATE).read_text())


class PolicyObjective(Objective):
    """Rows are places in rollouts; the first step that needs a rollout draws it from the policy as it is then.

    Args:
        algorithm: its credit and its losses.
        roller: draws responses.
        prompts: the prompts of all rollouts, one after the other.
        size: responses of a rollout.
        pad_id: pads batches.
        values: the value model, where the algorithm has one.
    """

    def __init__(
        self, algorithm: OnPolicyAlgorithm, roller: Roller, prompts: list[int], size: int, pad_id: int, values: Any
    ) -> None:
        self.algorithm, self.roller, self.prompts, self.size, self.pad_id = algorithm, roller, prompts, size, pad_id
        self.values = values
        self.companion = values.module if values else None
        self.companion_learning_rate = algorithm.value_learning_rate
        self.phase = -1
        self.rollout: Rollout
        self.counts = RolloutState(algorithm.kl_limit)

    def collate(self, rows: list[dict[str, Any]]) -> dict[str, Any]:
        """Rows of `place`, a number over all rollouts."""
        import torch

        return {"place": torch.tensor([row["place"] for row in rows])}

    def prepare(self, batches: list[dict[str, Any]], trainer: Any) -> list[dict[str, Any]]:
        """Places to the tokens and credits of their responses, after a rollout where a new one is due."""
        places = [batch["place"].tolist() for batch in batches]
        phase = places[0][0] // self.size
        if phase != self.phase:
            self._roll(phase, trainer)
        return [self._batch([place - phase * self.size for place in part]) for part in places]

    def _roll(self, phase: int, trainer: Any) -> None:
        count = self.size // self.algorithm.samples
        prompts = self.prompts[phase * count : (phase + 1) * count]
        again = self.algorithm.epochs * self.algorithm.minibatches > 1 or self.values is not None
        rollout = self.roller(trainer, str(phase), prompts, self._forward(trainer) if again else None)
        self.advantages, self.returns = self.algorithm.credit(rollout, self.counts.kept)
        self.again, self.rollout, self.phase = again, rollout, phase
        self.counts.count(rollout, trainer.state.global_step)
        if rollout.values is not None and self.returns is not None:
            self.explained = explained_variance(rollout.values, self.returns, rollout.mask)

    def _forward(self, trainer: Any) -> Any:
        def forward(batch: dict[str, Any]) -> tuple[torch.Tensor, torch.Tensor | None]:
            found = self.forward(trainer.model, batch)
            return found.log_probs, getattr(found, "values", None)

        return forward

    def _batch(self, rows: list[int]) -> dict[str, Any]:
        import torch

        rollout = self.rollout
        part = [(rollout.prompts[i], rollout.responses[i]) for i in rows]
        batch = pad(part, self.pad_id, torch.tensor)
        width = batch["input_ids"].shape[1] - 1
        columns = {
            "advantages": self.advantages,
            "reference_logps": rollout.reference_logps,
            "old_logps": rollout.logps if self.again else None,
            "old_values": rollout.values,
            "returns": self.returns,
        }
        for name, values in columns.items():
            if values is not None:
                batch[name] = on_grid(values[rows], part, width)
        facts = {"score": rollout.scores, "kl": rollout.kl, "ended": rollout.ended.float()}
        batch |= {name: values[rows] for name, values in facts.items()}
        return batch

    def totals(self, batches: list[dict[str, Any]], trainer: Any) -> dict[str, Any]:
        """Responses and tokens of the step."""
        tokens = sum(int((batch["labels"][:, 1:] != -100).sum()) for batch in batches)
        return {"rows": sum(len(batch["labels"]) for batch in batches), "tokens": tokens}

    def forward(self, model: Any, inputs: dict[str, Any]) -> Any:
        """With a value model its values too."""
        return super().forward(model, inputs) if self.values is None else self.values.scores(model, inputs)

    def loss(self, outputs: Any, batch: dict[str, Any], totals: dict[str, Any]) -> tuple[torch.Tensor, dict[str, Any]]:
        """The algorithm's losses, summed and divided by the step's responses."""
        mask = outputs.label_mask.float()
        logps = outputs.log_probs.float()
        policy = PolicyBatch(
            logps,
            mask,
            batch.get("old_logps", logps.detach()),
            batch.get("reference_logps"),
            batch["advantages"],
            outputs.entropy,
            getattr(outputs, "values", None),
            batch.get("old_values"),
            batch.get("returns"),
            totals["rows"],
            totals["tokens"],
            self.roller.job.budget.max_response_tokens,
        )
        return self.algorithm.losses(policy).sum() / totals["rows"], self._logs(policy, batch)

    def _logs(self, policy: PolicyBatch, batch: dict[str, Any]) -> dict[str, Any]:
        """Of the responses of the step; `kl` is log π − log π_anchor of a response when it was drawn."""
        ratio = self.algorithm.ratios(policy).detach()
        rows, tokens = policy.step_rows, policy.step_tokens
        clip = getattr(self.algorithm, "clip", 0.0)
        clipped = ((ratio > 1 + clip) & (policy.advantages > 0)) | ((ratio < 1 - clip) & (policy.advantages < 0))
        sequence = {name: batch[name].sum() / rows for name in ("score", "kl", "ended")}
        token = {
            "entropy": (policy.entropy.detach() * policy.mask).sum() / tokens,
            "ratio": (ratio * policy.mask).sum() / tokens,
            "advantage": policy.advantages.sum() / tokens,
        }
        logs = {**sequence, **token, "length": policy.mask.sum() / rows}
        if clip:
            logs["clip_fraction"] = (clipped * policy.mask).sum() / tokens
        if policy.values is not None and policy.returns is not None:
            error = (policy.values.detach() - policy.returns).square() * policy.mask
            logs["value_loss"] = 0.5 * error.sum() / tokens
            logs["explained_variance"] = self.explained * len(policy.mask) / rows
        if "beta_used" in self.counts.kept:
            logs["beta"] = policy.mask.new_tensor(self.counts.kept["beta_used"]) * len(policy.mask) / rows
        return {**logs, "tokens": batch["attention_mask"].sum()}

    def save(self, folder: Path) -> None:
        """What a resumed run needs beside the policy."""
        self.counts.save(folder)
        super().save(folder)

    def load(self, folder: Path) -> None:
        """Take up what `save` has kept."""
        self.counts.load(folder)
        super().load(folder)


def explained_variance(values: torch.Tensor, returns: torch.Tensor, mask: torch.Tensor) -> float:
    """1 − Var(returns − values) / Var(returns) over response tokens; 0 where the returns do not vary."""
    own, wanted = values[mask], returns[mask]
    spread = float(wanted.var())
    return 1 - float((wanted - own).var()) / spread if spread > 0 else 0.0


def train_on_policy(algorithm: OnPolicyAlgorithm, job: Job) -> list[Measurement]:
    """Train an algorithm that learns from its own responses."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(job.inputs["start"] / "policy")
    rows, left_out = prompt_rows(tokenizer, job)
    per_step = job.budget.batch * algorithm.rows_per_prompt
    size = per_step * algorithm.minibatches
    if wrong := algorithm.unsuited(job.budget):
        raise HarnessError(f"{type(algorithm).__name__.lower()} {wrong}")
    updates = algorithm.epochs * algorithm.minibatches
    phases = -(-job.budget.steps // updates)
    prompts = order(len(rows), phases * size // algorithm.samples, job.seed("order"))
    roller = Roller(
        job, rows, tokenizer, samples=algorithm.samples, missing_end_penalty=algorithm.missing_end_penalty,
        reference=True,
    )  # fmt: skip
    values = _value_model(algorithm, job)
    objective = PolicyObjective(algorithm, roller, prompts, size, int(tokenizer.pad_token_id or 0), values)
    places = [{"place": place} for place in range(phases * size)]
    found = train(
        job,
        places,
        objective,
        learning_rate=algorithm.learning_rate,
        rows_per_prompt=algorithm.rows_per_prompt,
        indices=_passes(phases, size, algorithm.epochs, job.seed("passes"))[: job.budget.steps * per_step],
        aligned=updates,
    )
    kept = [Measurement("rows_left_out", left_out, 1, "rows"), Measurement("rows_available", len(rows), 1, "rows")]
    passes = job.budget.steps / (phases * algorithm.minibatches)  # `epochs`, but where the last rollout is cut short
    return found + objective.counts.ledger(algorithm.samples, passes) + kept


def _value_model(algorithm: OnPolicyAlgorithm, job: Job) -> Any:
    if not algorithm.value:
        return None
    from harness.training.values import ValueModel

    return ValueModel(algorithm.value, job)


def prompt_rows(tokenizer: PreTrainedTokenizerBase, job: Job) -> tuple[list[dict[str, Any]], int]:
    """Prompts that fit, each with `ids`, and how many were left out."""
    encoder = Encoder(tokenizer)
    kept, left_out = fitting_prompts(encoder, job.rows, job.budget)
    return [{**row, "ids": encoder.prompt(row)} for row in kept], left_out


def _passes(phases: int, size: int, epochs: int, seed: int) -> list[int]:
    """Places in order: each rollout `epochs` times, in a fresh seeded order each time."""
    import numpy as np

    random = np.random.default_rng(seed)
    found = [phase * size + random.permutation(size) for phase in range(phases) for _ in range(epochs)]
    return [int(place) for place in np.concatenate(found)]
