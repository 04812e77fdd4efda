"""Simulated studies with a known truth: y = mean + seed + shared seed + prompt + contestant x prompt + cell."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class World:
    """Standard deviations of each source; `shape` is the distribution of the seeds' part."""

    seed: float = 0.1
    shared: float = 0.0
    cross: float = 0.3
    cell: float = 0.7
    prompt: float = 1.0
    shape: str = "normal"

    def studies(self, rng, contestants, reps, runs, prompts):
        """One (reps, S, P) array per contestant; all their true means are 0. `runs`: S of all, or one for each."""
        each = [runs] * contestants if isinstance(runs, int) else list(runs)
        easy = self.prompt * rng.standard_normal((reps, 1, prompts))
        shared = self.shared * rng.standard_normal((reps, max(each), 1))
        return [
            shared[:, :s]
            + easy
            + self.seed * standard(rng, self.shape, (reps, s, 1))
            + self.cross * rng.standard_normal((reps, 1, prompts))
            + self.cell * rng.standard_normal((reps, s, prompts))
            for s in each
        ]


def standard(rng, shape, size):
    """Draws with mean 0 and variance 1."""
    if shape == "normal":
        return rng.standard_normal(size)
    if shape == "t4":
        return rng.standard_t(4, size) / 2**0.5
    if shape == "bimodal":
        return 0.9 * rng.choice([-1.0, 1.0], size) + (1 - 0.81) ** 0.5 * rng.standard_normal(size)
    if shape == "collapse":  # 15 % of runs end 3 sd lower
        raw = rng.standard_normal(size) - 3.0 * (rng.random(size) < 0.15)
        return (raw + 0.45) / (1 + 9 * 0.15 * 0.85) ** 0.5
    raise ValueError(shape)
