"""Tokens per second of sampling and scoring: ours against plain loops in the order of the prompts.

    python benchmarks/evaluation.py <finished results of a lab recipe> [--turns 3] [--prompts 200] [--samples 4]

The policy is a start (sft) of the results, the reward model their gold one. The plain loop calls transformers'
`generate` (sampling at temperature 1, KV cache) on as many responses at a time as ours, and a smaller batch, padded in
the order of the prompts; scoring calls the reward model on the responses in that order. Seconds are of the CPU, of one
thread, so that other work on the machine does not count; the sides take turns, and ratios are medians over the turns
with their range.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable
from pathlib import Path
from statistics import median
from time import process_time
from typing import Any

from steps_per_second import machine

AIM = 1.5


def stage(results: Path, algorithm: str, split: str) -> Path:
    """A finished training of an algorithm on a split."""
    for record in sorted(results.glob("train-*/record.json")):
        spec = json.loads(record.read_text())["spec"]
        if spec["algorithm"]["name"] == algorithm and spec["split"] == split:
            return record.parent
    raise SystemExit(f"{results} holds no finished {algorithm} on split '{split}'")


class Bench:
    """A policy, a reward model and the lab's test prompts."""

    def __init__(self, given: argparse.Namespace) -> None:
        from harness.data.lab import Lab
        from harness.inference.policy import load_policy
        from harness.inference.quiet import quiet
        from harness.inference.rendering import render_prompt
        from harness.inference.sampling import noise
        from harness.inference.scoring import RewardModel

        quiet(1)
        self.given = given
        self.model, self.tokenizer = load_policy(stage(given.results, "sft", "train") / "policy")
        self.reward = RewardModel(stage(given.results, "reward", "gold") / "reward")
        rows = Lab().rows("prompts", "test")[: given.prompts]
        asked = [(row, k) for row in rows for k in range(given.samples)]
        self.messages = [row["prompt"] for row, _ in asked]
        self.prompts = [render_prompt(self.tokenizer, row["prompt"]) for row, _ in asked]
        self.noise = [noise("benchmark", row["prompt_id"], k, given.limit) for row, k in asked]
        self.texts: list[str] = []

    def ours(self) -> int:
        """Response tokens of `harness.inference.sampling.sample`."""
        from harness.inference.sampling import sample

        found = sample(
            self.model, self.prompts, self.noise, end_id=self.tokenizer.eos_token_id,
            pad_id=self.tokenizer.pad_token_id, temperature=1.0, batch=self.given.batch,
        )  # fmt: skip
        self.texts = self.tokenizer.batch_decode([one.token_ids for one in found], skip_special_tokens=True)
        return sum(len(one.token_ids) for one in found)

    def generate(self, batch: int) -> int:
        """Response tokens of a loop of `generate` in the order of the prompts."""
        import torch

        self.tokenizer.padding_side = "left"
        tokens = 0
        for first in range(0, len(self.prompts), batch):
            inputs = self.tokenizer.pad({"input_ids": self.prompts[first : first + batch]}, return_tensors="pt")
            with torch.inference_mode():
                whole = self.model.generate(
                    **inputs, do_sample=True, temperature=1.0, top_k=0, top_p=1.0, max_new_tokens=self.given.limit,
                    eos_token_id=self.tokenizer.eos_token_id, pad_token_id=self.tokenizer.pad_token_id,
                )  # fmt: skip
            for row in whole[:, inputs["input_ids"].shape[1] :].tolist():
                end = self.tokenizer.eos_token_id
                tokens += row.index(end) + 1 if end in row else len(row)
        return tokens

    def score(self) -> int:
        """Tokens of the texts that `RewardModel.score` scores."""
        self.reward.score(list(zip(self.messages, self.texts, strict=True)), self.given.score_batch)
        return self.scored

    def score_in_order(self) -> int:
        """The same by the model itself, in the order of the prompts."""
        import torch

        tokenizer, model = self.reward.tokenizer, self.reward.model
        tokenizer.padding_side = "right"
        for first in range(0, len(self.texts), self.given.score_batch):
            part = slice(first, first + self.given.score_batch)
            inputs = tokenizer.pad(
                {"input_ids": [self._rendered(i) for i in range(len(self.texts))[part]]}, return_tensors="pt"
            )
            with torch.inference_mode():
                model(**inputs, use_cache=False).logits.squeeze(-1).tolist()
        return self.scored

    def _rendered(self, i: int) -> list[int]:
        from harness.inference.rendering import render_prompt, render_response

        tokenizer = self.reward.tokenizer
        return [*render_prompt(tokenizer, self.messages[i]), *render_response(tokenizer, self.texts[i])]

    @property
    def scored(self) -> int:
        return sum(len(ids) for ids in self.prompts) + sum(len(text.split()) + 1 for text in self.texts)


def speed(work: Callable[[], int]) -> float:
    began = process_time()
    tokens = work()
    return tokens / (process_time() - began)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("results", type=Path)
    for name, value in (
        ("turns", 3),
        ("prompts", 200),
        ("samples", 4),
        ("limit", 96),
        ("batch", 128),
        ("score_batch", 16),
    ):
        parser.add_argument(f"--{name}", type=int, default=value)
    given = parser.parse_args()
    os.environ |= {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    bench = Bench(given)
    bench.ours()  # warm
    sides: dict[str, Callable[[], Any]] = {
        "sampling, ours": bench.ours,
        f"sampling, generate, {given.batch} at a time": lambda: bench.generate(given.batch),
        "sampling, generate, 16 at a time": lambda: bench.generate(16),
        "scoring, ours": bench.score,
        f"scoring, in order, {given.score_batch} at a time": bench.score_in_order,
    }
    found: dict[str, list[float]] = {side: [] for side in sides}
    for turn in range(given.turns):
        for side in list(sides)[:: -1 if turn % 2 else 1]:
            found[side].append(speed(sides[side]))
    print(f"{machine(1)}\n\n| side | tokens per CPU second | ours / this | range | aim |\n|---|---|---|---|---|")
    for side, speeds in found.items():
        own = found[f"{side.split(',')[0]}, ours"]
        ratios = [a / b for a, b in zip(own, speeds, strict=True)]
        shown = (
            "| | | |" if speeds is own else f"| {median(ratios):.2f} | {min(ratios):.2f} to {max(ratios):.2f} | {AIM} |"
        )
        print(f"| {side} | {median(speeds):.0f} {shown}")


if __name__ == "__main__":
    main()
