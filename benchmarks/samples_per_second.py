"""Responses per second of what trains on its own responses: ours against TRL's trainers, and PPO against RLOO.

    python benchmarks/samples_per_second.py [--model lab|10m] [--pairs 5] [--threads 1]

The start is a random model, whose responses nearly all run to the limit, so that every side generates, scores and
trains on as many tokens. The reward is the lab's rule on both sides. A run is timed from the end of its last warm-up
step to the end of its last step; the sides take turns, and ratios are medians over the turns with their range.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from steps_per_second import CLOCKS, SIZES, Bench, machine

Side = Callable[[Path], Callable[[], object]]  # from an empty folder to the run that is timed
PER_STEP = 2  # responses for each prompt of the budget
SIDES: dict[str, tuple[str, dict[str, Any]]] = {
    "rloo": ("rloo", {}),
    "grpo": ("grpo", {}),
    "reinforce": ("reinforce", {}),
    "ppo, head, one epoch": ("ppo", {"epochs": 1, "minibatches": 1}),
    "ppo, reward-sized network, one epoch": ("ppo", {"epochs": 1, "minibatches": 1, "value": "reward"}),
    "online_dpo, K = 2": ("online_dpo", {"samples": 2}),
}
COMPARED = {
    "ours / TRL's RLOOTrainer": ("rloo", "TRL rloo"),
    "ours / TRL's GRPOTrainer": ("grpo", "TRL grpo"),
    "ppo with a head / rloo": ("ppo, head, one epoch", "rloo"),
}
AIMS = {"ppo with a head / rloo": 0.8}


class Sampling(Bench):
    """The bench of `steps_per_second`, for jobs with a rule reward."""

    def ours(self, name: str, knobs: dict[str, Any], out: Path) -> Callable[[], object]:
        """A run of ours."""
        from dataclasses import replace

        from harness import registry

        algorithm = registry.load("algorithms", name)(**knobs)
        job = replace(self.job(algorithm, out), rule="total")
        if knobs.get("value") == "reward":
            job.inputs["reward"] = self.folder
        return lambda: algorithm.train(job)

    def theirs(self, name: str, out: Path) -> Callable[[], object]:
        """A run of TRL's trainer of that name, with the knobs that ours has by default."""
        import trl
        from datasets import Dataset
        from transformers import AutoTokenizer, PrinterCallback

        from harness import registry
        from harness.data.lab import Lab
        from harness.training.road import arguments

        algorithm = registry.load("algorithms", name)()
        job, lab = self.job(algorithm, out), Lab()
        policy = job.inputs["start"] / "policy"

        def worth(prompts: list[Any], completions: list[Any], **_: Any) -> list[float]:
            pairs = zip(prompts, completions, strict=True)
            return [lab.score(prompt, answer[0]["content"])["total"] for prompt, answer in pairs]

        given = arguments(job, algorithm.learning_rate, PER_STEP)
        for word in ("remove_unused_columns", "ddp_find_unused_parameters", "ddp_broadcast_buffers"):
            given.pop(word, None)
        given |= {"save_strategy": "no", "activation_checkpointing": False, "num_generations": algorithm.samples}
        given |= {"max_completion_length": job.budget.max_response_tokens, "beta": algorithm.beta, "temperature": 1.0}
        kind = {"rloo": "RLOO", "grpo": "GRPO"}[name]
        rows = Dataset.from_list([{"prompt": row["prompt"]} for row in job.rows])
        trainer = getattr(trl, f"{kind}Trainer")(
            model=str(policy),
            reward_funcs=worth,
            args=getattr(trl, f"{kind}Config")(**given),
            train_dataset=rows,
            processing_class=AutoTokenizer.from_pretrained(policy),
        )
        trainer.remove_callback(PrinterCallback)
        run: Callable[[], object] = trainer.train
        return run

    def speed(self, side: Side) -> float:
        """Responses per second."""
        with tempfile.TemporaryDirectory(dir=self.folder) as out:
            work = side(Path(out))
            self.ticks.clear()
            work()
        seconds = self.ticks[-1] - self.ticks[self.warmup - 1]
        return self.steps * self.given.batch * PER_STEP / seconds

    def measure(self) -> dict[str, list[float]]:
        """Every side once in each turn, in turning order."""
        sides: dict[str, Side] = {side: partial(self.ours, *what) for side, what in SIDES.items()}
        sides |= {f"TRL {name}": partial(self.theirs, name) for name in ("rloo", "grpo")}
        found: dict[str, list[float]] = {side: [] for side in sides}
        for turn in range(self.given.pairs):
            for side in list(sides)[:: -1 if turn % 2 else 1]:
                found[side].append(self.speed(sides[side]))
        return found

    def reward_model(self) -> None:
        """A reward model of the policy's size, for the value network."""
        from harness.inference.policy import load_policy
        from harness.training.rewards import _with_head

        model, tokenizer = _with_head(self.folder / "policy", "float32", 1)
        model.save_pretrained(self.folder / "reward")
        load_policy(self.folder / "policy")
        tokenizer.save_pretrained(self.folder / "reward")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", choices=SIZES, default="lab")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--clock", choices=CLOCKS, default="cpu")
    given = parser.parse_args()
    os.environ |= {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": str(given.threads), "TRL_EXPERIMENTAL_SILENCE": "1"}
    with tempfile.TemporaryDirectory() as name:
        bench = Sampling(given, Path(name))
        bench.reward_model()
        found = bench.measure()
        print(f"{machine(given.threads)}\n\n| side | responses per second |\n|---|---|")
        for side, speeds in found.items():
            print(f"| {side} | {median(speeds):.1f} |")
        print("\n| ratio | median | range | aim |\n|---|---|---|---|")
        for what, (one, other) in COMPARED.items():
            ratios = [a / b for a, b in zip(found[one], found[other], strict=True)]
            print(f"| {what} | {median(ratios):.2f} | {min(ratios):.2f} to {max(ratios):.2f} | {AIMS.get(what, '')} |")


if __name__ == "__main__":
    main()
