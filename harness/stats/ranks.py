"""How stable an order is: over seeds, over judges, and if the whole study were made again.

The chances rest on draws of all contestants' means at once, from the noise that the scores show: each seed moves all
contestants together as it did (a multivariate t with S - 1 degrees of freedom), each prompt as well, with what the
seeds' part already holds taken out of the prompts'. They take no account of what is usual in other studies, and so
favour the contestant that was lucky; they are approximate, and no verdict rests on them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import numpy as np

from harness.stats.bounds import Array
from harness.stats.runs import Runs

DRAWS = 4000


@dataclass(frozen=True)
class Ranks:
    """What the noise leaves of an order.

    Attributes:
        best: by contestant, the chance that its true mean is the highest.
        near_best: the chance that it is at most the margin below the highest.
        again: Kendall's tau that the order would have, on average, with that of the same study made again.
        seeds: Kendall's tau between two seeds' orders, mean over all pairs of seeds.
        n_seeds: seeds that all contestants have.
        left_out: contestants with fewer than two finished or failed runs, of which no noise can be told.
    """

    best: dict[str, float]
    near_best: dict[str, float]
    again: float
    seeds: float
    n_seeds: int
    left_out: tuple[str, ...] = ()


def ranks(runs: Mapping[str, Runs], margin: float, seed: int = 0) -> Ranks | None:
    """How stable the order of contestants is, on the seeds that all of them have; who has fewer than two is left out.

    Args:
        runs: by contestant, on the same prompts.
        margin: how far below the best still counts as near it, in the unit of the scores.
        seed: of the draws.

    Returns:
        None with fewer than two contestants, two shared seeds or two prompts, from which no noise can be told.
    """
    left_out = tuple(name for name, own in runs.items() if len(own.replicates) < 2)
    runs = {name: own for name, own in runs.items() if name not in left_out}
    shared = _shared(runs)
    if len(runs) < 2 or len(shared) < 2:
        return None
    scores = np.stack([own.at(shared) for own in runs.values()])  # (C, S, P)
    if scores.shape[2] < 2:
        return None
    means = scores.mean((1, 2))
    noise = _noise(scores, np.random.default_rng(seed))
    draws = means + noise
    highest = draws.max(1, keepdims=True)
    return Ranks(
        best=dict(zip(runs, _share(draws == highest), strict=True)),
        near_best=dict(zip(runs, _share(draws >= highest - margin), strict=True)),
        again=float(kendall(means, _again(means, noise, scores)).mean()),
        seeds=_over_seeds(scores.mean(2).T),
        n_seeds=len(shared),
        left_out=left_out,
    )


def kendall(order: Array, others: Array) -> Array:
    """Kendall's tau-a: pairs in the same order minus pairs in the opposite order, by all pairs.

    Args:
        order: (C,) scores.
        others: (..., C) scores of the same contestants.

    Returns:
        (...) from -1 to 1; a tie in either counts for neither.
    """
    i, j = np.triu_indices(len(order), 1)
    return cast("Array", (np.sign(order[i] - order[j]) * np.sign(others[..., i] - others[..., j])).mean(-1))


def _shared(runs: Mapping[str, Runs]) -> list[int]:
    every = [set(own.replicates) for own in runs.values()]
    return sorted(set.intersection(*every)) if every else []


def _parts(scores: Array) -> tuple[Array, Array]:
    """By how much each seed (C, S) and each prompt (C, P) moves a contestant's mean, of many or few of them alike."""
    _, seeds, prompts = scores.shape
    centred = scores - scores.mean(0)  # what is alike for all contestants moves no order
    by_seed = centred.mean(2) - centred.mean((1, 2))[:, None]
    by_prompt = centred.mean(1) - centred.mean((1, 2))[:, None]
    rest = centred - centred.mean(2)[..., None] - centred.mean(1)[:, None] + centred.mean((1, 2))[:, None, None]
    in_both = (rest**2).sum() / ((seeds - 1) * (prompts - 1)) / seeds
    of_prompts = (by_prompt**2).sum() / (prompts - 1)
    kept = max(0.0, 1 - in_both / of_prompts) if of_prompts > 0 else 0.0
    return by_seed / (seeds * (seeds - 1)) ** 0.5, by_prompt * (kept / (prompts * (prompts - 1))) ** 0.5


def _noise(scores: Array, rng: np.random.Generator) -> Array:
    """(DRAWS, C): what the contestants' means are off by, jointly."""
    by_seed, by_prompt = _parts(scores)
    seeds, prompts = by_seed.shape[1], by_prompt.shape[1]
    spread = ((seeds - 1) / rng.chisquare(seeds - 1, (DRAWS, 1))) ** 0.5
    moved = spread * (rng.standard_normal((DRAWS, seeds)) @ by_seed.T)
    return cast("Array", moved + rng.standard_normal((DRAWS, prompts)) @ by_prompt.T)


def _again(means: Array, noise: Array, scores: Array) -> Array:
    """(DRAWS, C): means of the same study made again: the shrunk ones, off by what is not known of them and anew."""
    apart = means - means.mean()
    explained = sum(float((part**2).sum()) for part in _parts(scores))
    seen = float((apart**2).sum())
    kept = max(0.0, 1 - explained / seen) if seen > 0 else 0.0
    return cast("Array", kept * apart + (1 + kept) ** 0.5 * noise)


def _share(hits: Array) -> list[float]:
    return [float(value) for value in hits.mean(0)]


def _over_seeds(means: Array) -> float:
    """Mean Kendall's tau over all pairs of rows of (S, C)."""
    taus = [kendall(means[a], means[a + 1 :]) for a in range(len(means) - 1)]
    return float(np.concatenate(taus).mean())
