"""The primary estimator: the variance of a mean over runs crossed with prompts, in closed form.

Both runs and prompts are random: the answer is meant for other seeds and other prompts. Each run meets each prompt,
so that variances of run means and of prompt means both hold the noise of single cells, which is taken out once.

Everything works on leading axes too, so that thousands of simulated studies cost one call.

Source: Clark (1973), quasi-F for "language as a fixed effect". Checked in tests/stats/test_contrast.py by hand and
against statsmodels' two-way clusters, in tests/stats/test_calibration.py by simulation.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from harness.stats.bounds import Array, half_width, two_sided_p
from harness.stats.power import Noise


@dataclass(frozen=True)
class Parts:
    """A mean difference and the parts of its variance, for each study of the leading axes.

    Attributes:
        difference: a minus b, over runs and prompts.
        seed_a: variance of a's mean because runs differ; of the paired difference when paired.
        seed_b: the same of b; 0 when paired.
        prompt: variance because the difference differs between prompts; holds the cells' part once more.
        cell: the cells' part: what a run does on a prompt beyond run and prompt, sampling noise included.
        cell_a: a's share of `cell`.
        n_runs: runs of a and of b.
        n_prompts: P.
    """

    difference: Array
    seed_a: Array
    seed_b: Array
    prompt: Array
    cell: Array
    cell_a: Array
    n_runs: tuple[int, int]
    n_prompts: int

    @property
    def extra(self) -> Array:
        """The prompts' part without the cells' part that the seeds' part already holds; never below 0."""
        return np.maximum(self.prompt - self.cell, 0.0)

    @property
    def variance(self) -> Array:
        """Of the difference."""
        return self.seed + self.extra

    @property
    def seed(self) -> Array:
        """Of the difference, because runs differ."""
        return self.seed_a + self.seed_b

    @property
    def df_seed(self) -> Array:
        """Of `seed`: S - 1 when paired, else Welch's."""
        below = self.seed_a**2 / (self.n_runs[0] - 1) + self.seed_b**2 / (self.n_runs[1] - 1)
        fewest = np.full_like(below, min(self.n_runs) - 1)
        return np.divide(self.seed**2, below, out=fewest, where=below > 0)

    @property
    def p(self) -> Array:
        """Two-sided, of no difference; 1 where there is no variance at all."""
        return two_sided_p(np.abs(self.difference), self.seed, self.df_seed, self.extra, self.n_prompts - 1)

    def half_width(self, alpha: float = 0.05) -> Array:
        """Half of the 1 - alpha interval."""
        return half_width(self.seed, self.df_seed, self.extra, self.n_prompts - 1, alpha)

    def noise(self) -> Noise:
        """The parts of one study as variances of one run, one prompt and one cell; no leading axes here."""
        runs, prompts = self.n_runs, self.n_prompts
        cell_b = self.cell - self.cell_a
        return Noise(
            run_a=float(np.maximum(self.seed_a - self.cell_a, 0.0) * runs[0]),
            run_b=float(np.maximum(self.seed_b - cell_b, 0.0) * runs[1]),
            cell_a=float(self.cell_a * runs[0] * prompts),
            cell_b=float(cell_b * runs[1] * prompts),
            prompt=float(self.extra * prompts),
        )


def parts_of_difference(a: Array, b: Array, *, paired: bool) -> Parts:
    """Split the variance of mean(a) - mean(b).

    Args:
        a: (..., S_a, P) scores, the mean over the K samples of a prompt; S_a and P at least 2.
        b: (..., S_b, P), the same prompts; when paired the same seeds too.
        paired: compare seed by seed.
    """
    if paired:
        return parts_of_mean(a - b)
    runs_a, prompts_a, residual_a = _means(a)
    runs_b, prompts_b, residual_b = _means(b)
    cell_a = residual_a / a.shape[-2] / a.shape[-1]
    return Parts(
        difference=runs_a.mean(-1) - runs_b.mean(-1),
        seed_a=runs_a.var(-1, ddof=1) / a.shape[-2],
        seed_b=runs_b.var(-1, ddof=1) / b.shape[-2],
        prompt=(prompts_a - prompts_b).var(-1, ddof=1) / a.shape[-1],
        cell=cell_a + residual_b / b.shape[-2] / a.shape[-1],
        cell_a=cell_a,
        n_runs=(a.shape[-2], b.shape[-2]),
        n_prompts=a.shape[-1],
    )


def parts_of_mean(scores: Array) -> Parts:
    """Split the variance of the mean of one (..., S, P) array over runs and prompts."""
    runs, prompts, residual = _means(scores)
    n_runs, n_prompts = scores.shape[-2:]
    cell = residual / n_runs / n_prompts
    seed = runs.var(-1, ddof=1) / n_runs
    return Parts(
        difference=runs.mean(-1),
        seed_a=seed,
        seed_b=np.zeros_like(seed),
        prompt=prompts.var(-1, ddof=1) / n_prompts,
        cell=cell,
        cell_a=cell,
        n_runs=(n_runs, n_runs),
        n_prompts=n_prompts,
    )


def _means(y: Array) -> tuple[Array, Array, Array]:
    """Run means (..., S), prompt means (..., P), and the residual mean square of the two-way layout (...)."""
    runs, prompts = y.mean(-1), y.mean(-2)
    residual = y - runs[..., :, None] - prompts[..., None, :] + y.mean((-1, -2))[..., None, None]
    free = (y.shape[-2] - 1) * (y.shape[-1] - 1)
    return runs, prompts, (residual**2).sum((-1, -2)) / free
