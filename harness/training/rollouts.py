"""Rollouts: responses that the policy gives now, and what is known of each of their tokens."""

from __future__ import annotations

from collections import Counter
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from harness.inference.policy import load_policy
from harness.inference.proxy import Proxy
from harness.inference.rendering import end_token
from harness.inference.sampling import Sampled, noise, sample
from harness.inference.scoring import pad
from harness.training.forward import add_head, token_scores

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import torch
    from transformers import PreTrainedTokenizerBase

    from harness.data import Row
    from harness.job import Job


@dataclass(frozen=True)
class Rollout:
    """R responses that one policy gave; T is the length of the longest.

    Attributes:
        prompts: token ids of the prompt of each.
        responses: token ids of each, the end token counted where it came.
        texts: the responses without special tokens.
        scores: (R,) what the proxy gives, the penalty for a missing end taken off.
        ended: (R,) bool, whether the end token came before the limit.
        mask: (R, T) True on response tokens.
        logps: (R, T) of the policy that gave them, at temperature 1, in nats; 0 outside of the mask.
        reference_logps: (R, T) of the frozen anchor; None where it was not asked for.
        values: (R, T) what a value model expected before each token; None where there is none.
        samples: K; responses i·K to i·K + K − 1 are to the same prompt.
    """

    prompts: list[list[int]]
    responses: list[list[int]]
    texts: list[str]
    scores: torch.Tensor
    ended: torch.Tensor
    mask: torch.Tensor
    logps: torch.Tensor
    reference_logps: torch.Tensor | None
    values: torch.Tensor | None
    samples: int

    @cached_property
    def kl(self) -> torch.Tensor:
        """(R,) log π − log π_anchor of each response, whose mean estimates KL(π ‖ anchor) in nats; 0 without one."""
        if self.reference_logps is None:
            return self.scores.new_zeros(len(self.scores))
        return (self.logps - self.reference_logps).sum(1)


class Roller:
    """Draws responses from the policy under training and scores them.

    Args:
        job: has the proxy, the start and the seeds.
        rows: prompts, each with `ids`, its tokens.
        tokenizer: the policy's.
        samples: K, responses to a prompt.
        missing_end_penalty: taken off the score of a response that the length limit cut.
        reference: whether the anchor's log-probabilities are wanted.
        score: what responses are worth; the job's proxy where None.
    """

    def __init__(
        self, job: Job, rows: Sequence[Row], tokenizer: PreTrainedTokenizerBase, *, samples: int,
        missing_end_penalty: float, reference: bool, score: Callable[[list[Row], list[str]], list[float]] | None = None,
    ) -> None:  # fmt: skip
        self.job, self.rows, self.tokenizer = job, rows, tokenizer
        self.samples, self.penalty, self.reference = samples, missing_end_penalty, reference
        self.score = score or self._proxy_score

    def __call__(self, trainer: Any, name: str, prompts: Sequence[int], forward: Any = None) -> Rollout:
        """K responses to each prompt.

        Args:
            trainer: has the policy.
            name: of this rollout; with the prompt and k it fixes the sampling noise.
            prompts: places of prompts in `rows`.
            forward: scores (log-probabilities and values on the grid of a batch) by the forward pass of training;
                None takes the log-probabilities as they were sampled, and no values.
        """
        import torch

        places, drawn_before = [], Counter[int]()
        for i in prompts:  # a prompt that comes again has noise of its own
            places += [(self.rows[i], drawn_before[i] + k) for k in range(self.samples)]
            drawn_before[i] += self.samples
        drawn = self._draw(trainer, name, places)
        asked = [row["ids"] for row, _ in places]
        responses = [one.token_ids for one in drawn]
        texts = self.tokenizer.batch_decode(responses, skip_special_tokens=True)
        ended = torch.tensor([one.end == "eos" for one in drawn])
        scores = torch.tensor(self.score([row for row, _ in places], texts), dtype=torch.float32)
        mask = _padded([[1.0] * len(ids) for ids in responses]).bool()
        values = None
        if forward is None:
            logps = _padded([one.logps for one in drawn])
        else:
            logps, values = self._over(asked, responses, mask.shape[1], forward)
        reference = self._reference(trainer, asked, responses, mask.shape[1]) if self.reference else None
        scores = scores - self.penalty * (~ended).float()
        return Rollout(asked, responses, texts, scores, ended, mask, logps, reference, values, self.samples)

    def _draw(self, trainer: Any, name: str, places: list[tuple[Row, int]]) -> list[Sampled]:
        """Each process draws its share; all are given all."""
        from accelerate.utils import gather_object

        world, rank = trainer.accelerator.num_processes, trainer.accelerator.process_index
        mine = range(rank, len(places), world)
        limit = self.job.budget.max_response_tokens
        root = f"{self.job.seed_root} rollout {name}"
        drawn = sample(
            trainer.model,
            [places[i][0]["ids"] for i in mine],
            [noise(root, places[i][0]["prompt_id"], places[i][1], limit) for i in mine],
            end_id=end_token(self.tokenizer),
            pad_id=self.tokenizer.pad_token_id,
            temperature=1.0,
            batch=128,
        )
        if world == 1:
            return drawn
        every = dict(gather_object(list(zip(mine, drawn, strict=True))))
        return [every[i] for i in range(len(places))]

    @cached_property
    def _proxy(self) -> Proxy:
        import torch

        device = "cuda" if torch.cuda.is_available() else "cpu"
        return Proxy(self.job.dataset, self.job.rule, self.job.inputs.get("reward"), device)

    def _proxy_score(self, rows: list[Row], texts: list[str]) -> list[float]:
        return self._proxy.score([(row["prompt"], text) for row, text in zip(rows, texts, strict=True)], 16)

    @cached_property
    def _anchor(self) -> Any:
        model, _ = load_policy(
            self.job.inputs.get("anchor", self.job.inputs["start"]) / "policy", self.job.budget.precision
        )
        add_head(model)
        return model.requires_grad_(False)

    def _reference(
        self, trainer: Any, prompts: list[list[int]], responses: list[list[int]], width: int
    ) -> torch.Tensor:
        """(R, T) log-probabilities of the anchor; with LoRA on the anchor itself, of the model with its adapter off."""
        adapted = self.job.budget.lora_rank and "anchor" not in self.job.inputs
        model = trainer.model if adapted else self._anchor.to(trainer.args.device)

        def forward(batch: dict[str, Any]) -> tuple[torch.Tensor, None]:
            return token_scores(model, batch).log_probs, None

        with trainer.model.disable_adapter() if adapted else nullcontext():
            return self._over(prompts, responses, width, forward)[0]

    def _over(
        self, prompts: list[list[int]], responses: list[list[int]], width: int, forward: Any
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Run sequences through a model without gradient, and keep what it says of each response token (R, T)."""
        import torch

        logps, values = [], []
        device = "cuda" if torch.cuda.is_available() else "cpu"
        with torch.no_grad():
            for first in range(0, len(prompts), 64):
                part = list(zip(prompts[first : first + 64], responses[first : first + 64], strict=True))
                batch = {
                    k: v.to(device) for k, v in pad(part, int(self.tokenizer.pad_token_id or 0), torch.tensor).items()
                }
                logp, value = forward(batch)
                logps.append(off_grid(logp.float().cpu(), part, width))
                if value is not None:
                    values.append(off_grid(value.float().cpu(), part, width))
        return torch.cat(logps), torch.cat(values) if values else None


def _padded(rows: list[list[float]]) -> torch.Tensor:
    """Rows of numbers as (R, T), 0 where a row has ended."""
    import torch

    longest = max(map(len, rows))
    return torch.tensor([row + [0.0] * (longest - len(row)) for row in rows])


def off_grid(grid: torch.Tensor, sequences: Sequence[tuple[list[int], list[int]]], width: int) -> torch.Tensor:
    """From a batch's grid, in which entry t is about token t + 1, to response tokens (rows, width)."""
    places, mask = _places(sequences, width)
    inside = places.clamp(max=grid.shape[1] - 1)
    return grid.gather(1, inside) * mask


def on_grid(values: torch.Tensor, sequences: Sequence[tuple[list[int], list[int]]], width: int) -> torch.Tensor:
    """From response tokens (rows, T) to a batch's grid (rows, width), 0 elsewhere."""
    places, mask = _places(sequences, values.shape[1])
    grid = values.new_zeros(len(sequences), width)
    return grid.scatter_add(1, places.clamp(max=width - 1), values * mask)


def _places(sequences: Sequence[tuple[list[int], list[int]]], width: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Where on the grid each response token stands (rows, width), and whether there is one."""
    import torch

    first = torch.tensor([len(prompt) - 1 for prompt, _ in sequences])[:, None]
    lengths = torch.tensor([len(response) for _, response in sequences])[:, None]
    steps = torch.arange(width)[None]
    return first + steps, (steps < lengths).float()
