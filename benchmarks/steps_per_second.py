"""Optimiser steps per second of what trains on a fixed data set: ours against TRL's own trainer for the same loss.

    python benchmarks/steps_per_second.py [--model lab|10m] [--pairs 5] [--only dpo,kto] [--threads 1]

Both sides get the same start, the same rows in the same order and batches, the same learning rate, schedule, clipping
and float32, and log as often. They run in this process one after the other, and the order turns round from pair to
pair. A run is timed from the end of its last warm-up step to the end of its last step: batching, forward, backward,
optimiser and logs count; loading, tokenising, saving and what is computed once beforehand do not. The ratio is ours to
TRL's, the median over the pairs with its range. On a busy machine `--clock cpu` counts this process's CPU time in place
of wall time. To add an algorithm, add it to `ENTRIES`.
"""

from __future__ import annotations

import argparse
import gc
import logging
import os
import platform
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import trl_trainers as trl
from trl_trainers import Factory, Given

if TYPE_CHECKING:
    from harness.job import Job

SIZES = {"lab": (128, 4, 4), "10m": (384, 5, 6)}
"""Hidden width, layers, heads."""
STEPS = {"lab": (5, 25), "10m": (2, 8)}
"""Warm-up steps, and steps that are timed."""
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
LIKE = "like for like"
"""Both have the reference computed beforehand, or neither has one."""
DEFAULT = "its default"
"""TRL runs its reference at every step; ours is computed beforehand."""


@dataclass(frozen=True)
class Rival:
    """A trainer of TRL, and the ratio of ours to it that we aim at, by model."""

    factory: Factory
    least: dict[str, float] = field(default_factory=lambda: {"lab": 0.97, "10m": 0.97})


@dataclass(frozen=True)
class Entry:
    """An algorithm of ours: what it is timed against, and the knobs that it gets."""

    rivals: dict[str, Rival]
    knobs: dict[str, Any] = field(default_factory=dict)


def against(same: Factory, default: Factory | None = None, lab: float = 0.0, ten: float = 0.0) -> Entry:
    """An entry: TRL with the same work, and where that is not its default its default, with what is aimed at there."""
    return Entry({LIKE: Rival(same)} | ({DEFAULT: Rival(default, {"lab": lab, "10m": ten})} if default else {}))


ENTRIES = {
    "sft": against(trl.sft),
    "reward": against(trl.reward),
    "dpo": against(trl.dpo("sigmoid", "beta", True), trl.dpo("sigmoid", "beta", False), 1.15, 1.25),
    "ipo": against(trl.dpo("ipo", "tau", True), trl.dpo("ipo", "tau", False), 1.15, 1.25),
    "cpo": against(trl.cpo),
    "kto": against(trl.kto(True), trl.kto(False), 1.3, 1.3),
    "orpo": against(trl.orpo),
    "simpo": against(trl.simpo),
}


class Bench:
    """A random start with its reference, and the runs that are timed from there."""

    def __init__(self, given: argparse.Namespace, folder: Path) -> None:
        from harness.inference.quiet import quiet

        quiet(given.threads)
        warmup, steps = STEPS[given.model]
        self.given, self.folder = given, folder
        self.warmup, self.steps = warmup, given.steps or steps
        self.ticks = ticks(CLOCKS[given.clock])
        self.parameters = self._start()

    def _start(self) -> int:
        """Write the start and its log-probabilities of the training responses; gives its number of parameters."""
        from harness.data.lab import Lab
        from harness.inference.policy import save_policy
        from harness.job import Budget
        from harness.training.reference import write_reference
        from harness.training.scratch import new_model, new_tokenizer

        lab, tokenizer = Lab(), new_tokenizer(Lab())
        model = new_model(tokenizer, *SIZES[self.given.model], seed=0, precision="float32")
        save_policy(model, tokenizer, self.folder / "policy")
        rows = {view: lab.rows(view, "train") for view in ("pairs", "binary")}
        write_reference(self.folder, self.folder, rows, Budget(threads=self.given.threads))
        return int(model.num_parameters())

    def job(self, algorithm: Any, out: Path) -> Job:
        """A job from the start."""
        from harness.data.lab import Lab
        from harness.job import Budget, Job

        steps, batch = self.warmup + self.steps, self.given.batch
        budget = Budget(steps=steps, batch=batch, micro_batch=batch, threads=self.given.threads)
        inputs = {"start": self.folder, "reference": self.folder}
        return Job(
            out,
            Lab().rows(algorithm.requires().data, "train"),
            Lab(),
            budget,
            "benchmark",
            inputs,
            checkpoint_every=steps + 1,
        )

    def timed(self, algorithm: Any, factory: Factory | None) -> float:
        """Steps per second of ours, or of a trainer of TRL."""
        with tempfile.TemporaryDirectory(dir=self.folder) as out:
            job = self.job(algorithm, Path(out))
            work = theirs(algorithm, job, factory) if factory else lambda: algorithm.train(job)
            gc.collect()
            self.ticks.clear()
            work()
        assert len(self.ticks) == self.warmup + self.steps
        return self.steps / (self.ticks[-1] - self.ticks[self.warmup - 1])

    def compared(self, name: str) -> list[str]:
        """The table's rows of an algorithm: every pair times ours once and each trainer of TRL once."""
        from harness import registry

        entry = ENTRIES[name]
        algorithm = registry.load("algorithms", name)(**entry.knobs)
        sides = {"ours": None, **{side: rival.factory for side, rival in entry.rivals.items()}}
        speeds: dict[str, list[float]] = {side: [] for side in sides}
        for pair in range(self.given.pairs):
            for side in list(sides)[:: -1 if pair % 2 else 1]:
                speeds[side].append(self.timed(algorithm, sides[side]))
        least = {side: rival.least[self.given.model] for side, rival in entry.rivals.items()}
        return [row(name, side, speeds["ours"], speeds[side], least[side]) for side in least]


def row(name: str, side: str, ours: list[float], other: list[float], least: float) -> str:
    """A row of the table, from the speeds of both sides by pair."""
    ratios = [own / their for own, their in zip(ours, other, strict=True)]
    met = "met" if median(ratios) >= least else "**missed**"
    cells = [f"`{name}`", side, f"{median(ours):.2f}", f"{median(other):.2f}", f"{median(ratios):.2f}"]
    return f"| {' | '.join([*cells, f'{min(ratios):.2f} to {max(ratios):.2f}', f'{least:g}', met])} |"


def ticks(clock: Callable[[], float]) -> list[float]:
    """A list that gets the time at the end of each step of every trainer that is made from here on."""
    from transformers import TrainerCallback, trainer

    found: list[float] = []

    class Clock(TrainerCallback):  # type: ignore[misc]  # transformers ships no types that mypy reads here
        def on_step_end(self, *_: Any, **__: Any) -> None:
            found.append(clock())

    trainer.DEFAULT_CALLBACKS.append(Clock)
    return found


def theirs(algorithm: Any, job: Job, factory: Factory) -> Callable[[], object]:
    """A trainer of TRL on the rows that ours would use, in their order."""
    from transformers import AutoTokenizer, PrinterCallback

    from harness.training.road import arguments
    from harness.training.rows import Encoder, fitting, order

    policy = job.inputs["start"] / "policy"
    kept, _ = fitting(Encoder(AutoTokenizer.from_pretrained(policy)), job.rows, algorithm.requires().data, job.budget)
    needed = job.budget.steps * job.budget.batch * algorithm.rows_per_prompt
    rows = [kept[i] for i in order(len(kept), needed, job.seed("order"))]
    same = arguments(job, algorithm.learning_rate, algorithm.rows_per_prompt)
    # what only our own road needs is left to TRL
    for name in ("remove_unused_columns", "ddp_find_unused_parameters", "ddp_broadcast_buffers"):
        del same[name]
    own = {"save_strategy": "no", "train_sampling_strategy": "sequential", "activation_checkpointing": False}
    trainer = factory(Given(policy, rows, algorithm, {**same, **own}))
    trainer.remove_callback(PrinterCallback)
    train: Callable[[], object] = trainer.train
    return train


def machine(threads: int) -> str:
    """Processor, cores, threads, load and versions."""
    about = Path("/proc/cpuinfo")
    lines = about.read_text().splitlines() if about.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    cores = f"{len(os.sched_getaffinity(0))} of {os.cpu_count()} cores" if hasattr(os, "sched_getaffinity") else ""
    versions = ", ".join(f"{name} {version(name)}" for name in ("torch", "trl", "transformers"))
    load = f"load {os.getloadavg()[0]:.1f}"
    return f"{names[0] if names else platform.processor()}, {cores}, {threads} threads, {load}, {versions}"


def options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", choices=SIZES, default="lab")
    parser.add_argument("--pairs", type=int, default=5, help="times that each side is run")
    parser.add_argument("--only", default=",".join(ENTRIES), help="algorithms, with commas between them")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--batch", type=int, default=16, help="prompts of an optimiser step; a pair counts once")
    parser.add_argument("--steps", type=int, default=0, help="steps that are timed; 0 for the model's own number")
    parser.add_argument("--clock", choices=CLOCKS, default="wall")
    return parser.parse_args()


def main() -> None:
    given = options()
    os.environ |= {"HF_HUB_OFFLINE": "1", "TQDM_DISABLE": "1", "OMP_NUM_THREADS": str(given.threads)}
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as name:
        bench = Bench(given, Path(name))
        print(f"{machine(given.threads)}\n")
        print(f"{given.model}: {bench.parameters / 1e6:.2f} million parameters, float32, batch {given.batch}.", end=" ")
        print(f"{given.pairs} pairs of {bench.steps} steps after {bench.warmup}, {given.clock} time.\n")
        print(
            "| algorithm | against TRL | ours, steps/s | TRL's, steps/s | ratio | range | aim | |\n" + "|---" * 8 + "|"
        )
        for algorithm in given.only.split(","):
            print(*bench.compared(algorithm), sep="\n", flush=True)


if __name__ == "__main__":
    main()
