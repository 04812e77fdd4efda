"""Where the noise of a study comes from: its variance components.

Contestants (a, fixed) are crossed with seeds (s) and prompts (p), and each cell holds K responses (k):

    score = mean of a  +  seed s  +  prompt p  +  cell sp  +  response spk          alike for all contestants
                       +  seed as +  prompt ap +  cell asp +  response aspk         each contestant's own

What is alike for all cancels in a difference between two contestants; their own four make its variance. What is alike
is in the contestants' mean, what is their own in the differences from it: each is split in the same way.

The estimators are those of analysis of variance (moments): a mean square minus another that is expected to be the same
but for the component. They are unbiased whatever the distributions, and so fall below 0 at times where there is little.

They have no intervals: those that are exact for normal noise cover too seldom where it has heavy tails.

Source: Searle, Casella and McCulloch (1992), Variance Components, ch. 4. Checked in tests/stats/test_components.py by
simulation, against statsmodels, and against `parts_of_difference`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

import numpy as np

from harness.stats.bounds import Array

SOURCES = {
    "seed": ("seeds",),
    "prompt": ("prompts",),
    "cell": ("seeds", "prompts"),
    "response": ("seeds", "prompts", "samples"),
}
"""What varies, and of what there must be more for less of it in a mean."""

LESS = {"seed": "cell", "prompt": "cell", "cell": "response"}
"""What a mean square holds beside its own component: all that another one is expected to be."""


@dataclass(frozen=True)
class Component:
    """One variance, in squared units of the score, for each study of the leading axes.

    Attributes:
        source: of `SOURCES`.
        shared: alike for all contestants.
        variance: of one seed, prompt, cell or response; unbiased, below 0 at times.
        many: how many of them a contestant's mean is over.
    """

    source: str
    shared: bool
    variance: Array
    many: int

    @property
    def in_difference(self) -> Array:
        """Its part of the variance of a difference between two contestants; a negative estimate counts as 0."""
        return np.maximum(self.variance, 0.0) * (0 if self.shared else 2 / self.many)


@dataclass(frozen=True)
class Components:
    """The components of one study.

    Attributes:
        parts: those that can be told.
        contestants: on which they are a mean.
        sizes: how many `seeds`, `prompts` and `samples`.
        left_out: contestants that lack seeds which the others have.
    """

    parts: tuple[Component, ...]
    contestants: tuple[str, ...]
    sizes: dict[str, int]
    left_out: tuple[str, ...]

    def share(self, part: Component) -> float:
        """Of the variance of a difference; 0 where that is 0."""
        whole = sum(float(one.in_difference) for one in self.parts)
        return float(part.in_difference) / whole if whole else 0.0

    def saved(self, what: str) -> float:
        """By which share that variance falls with twice as many `seeds`, `prompts` or `samples`."""
        return sum(self.share(one) for one in self.parts if what in SOURCES[one.source]) / 2


def components(scores: Mapping[str, tuple[tuple[int, ...], Array]], *, paired: bool) -> Components | None:
    """The components of a study, on contestants that have the same seeds.

    Args:
        scores: each contestant's replicates and (S, P, K) scores of its finished runs, all on the same prompts.
        paired: the contestants of a seed share start, order and noise.

    Returns:
        None with fewer than two contestants, seeds or prompts.
    """
    names, seeds = _balanced({name: own for name, (own, _) in scores.items()})
    if len(names) < 2 or len(seeds) < 2:
        return None
    cube = np.stack([scores[name][1][[scores[name][0].index(seed) for seed in seeds]] for name in names])
    if cube.shape[2] < 2:
        return None
    sizes = dict(zip(("seeds", "prompts", "samples"), cube.shape[1:], strict=True))
    return Components(split(cube, paired=paired), names, sizes, tuple(name for name in scores if name not in names))


def split(scores: Array, *, paired: bool) -> tuple[Component, ...]:
    """The components of (..., A, S, P, K) scores, the shared ones first; A, S and P are at least 2.

    With K = 1 a response cannot be told from its cell, and is in it. Unpaired, a seed is not the same one for two
    contestants, so that prompts alone are shared.
    """
    contestants, *shape = scores.shape[-4:]
    sizes = dict(zip(SOURCES["response"], shape, strict=True))
    mean = scores.mean(-4, keepdims=True)
    alike, own = _squares(mean * contestants**0.5, 1), _squares(scores - mean, contestants - 1)
    if not paired:
        own = _squares(scores, contestants) | {"prompt": own["prompt"]}
    found = []
    for name, axes in SOURCES.items():
        many = prod(sizes[axis] for axis in axes)
        each = prod(shape) / many  # how often a mean square holds its component
        if name in own and (paired or name == "prompt"):
            terms = [*_terms(alike, name, 1), *_terms(own, name, -1)]
            found.append(Component(name, True, _estimate(terms, each * contestants), many))
        if name in own:
            found.append(Component(name, False, _estimate(_terms(own, name, 1), each), many))
    return tuple(sorted(found, key=lambda one: not one.shared))


def _squares(y: Array, free: int) -> dict[str, Array]:
    """The mean square of each source within a contestant, over (A, S, P, K); `free` of the A are free to vary."""
    seeds, prompts, samples = y.shape[-3:]
    cells = y.mean(-1)
    by_seed, by_prompt = cells.mean(-1), cells.mean(-2)
    whole = by_seed.mean(-1)
    rest = cells - by_seed[..., :, None] - by_prompt[..., None, :] + whole[..., None, None]
    sums = {
        "seed": (prompts * samples * _sum((by_seed - whole[..., None])[..., None, None]), seeds - 1),
        "prompt": (seeds * samples * _sum((by_prompt - whole[..., None])[..., None, None]), prompts - 1),
        "cell": (samples * _sum(rest[..., None]), (seeds - 1) * (prompts - 1)),
        "response": (_sum(y - cells[..., None]), seeds * prompts * (samples - 1)),
    }
    return {name: total / (df * free) for name, (total, df) in sums.items() if df}


def _sum(deviations: Array) -> Array:
    """Of squares, over the last four axes."""
    found: Array = np.einsum("...aspk,...aspk->...", deviations, deviations)
    return found


def _terms(squares: dict[str, Array], name: str, sign: int) -> list[tuple[int, Array]]:
    """What is added and taken away for a component."""
    less = LESS.get(name)
    return [(sign, squares[name]), *([(-sign, squares[less])] if less in squares else [])]


def _estimate(terms: list[tuple[int, Array]], each: float) -> Array:
    """The sum of signed mean squares by `each`."""
    return sum((sign * square for sign, square in terms), start=np.zeros_like(terms[0][1])) / each


def _balanced(replicates: Mapping[str, tuple[int, ...]]) -> tuple[tuple[str, ...], list[int]]:
    """Contestants and seeds, all of which they have, that leave most degrees of freedom to their interaction.

    Tried are the seeds of each contestant, and those that all have.
    """
    every = [frozenset(own) for own in replicates.values()]
    choices = []
    for seeds in dict.fromkeys([*every, *([frozenset.intersection(*every)] if every else [])]):
        names = tuple(name for name, own in replicates.items() if seeds <= set(own))
        choices.append(((len(names) - 1) * (len(seeds) - 1), names, sorted(seeds)))
    _, names, seeds_ = max(choices, key=lambda choice: choice[0], default=(0, (), []))
    return names, seeds_
