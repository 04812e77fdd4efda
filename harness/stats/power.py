"""How small a difference a number of seeds can show, and how many more seeds or prompts another one needs.

`harness plan` calls this on a login node, so that scipy and numpy are imported inside functions.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

POWER = 0.8
MOST_SEEDS = 10_000
MOST_PROMPTS = 10_000_000


@dataclass(frozen=True)
class Noise:
    """Where the noise of a difference comes from: variances of one unit each, in squared units of the score.

    Attributes:
        run_a: between runs of one contestant, on infinitely many prompts; between pairs of runs when paired.
        run_b: the same of the other; 0 when paired.
        cell_a: of one run on one prompt beyond what run and prompt explain; includes sampling noise.
        cell_b: the same of the other; 0 when paired.
        prompt: of the true difference between prompts.
    """

    run_a: float
    run_b: float
    cell_a: float
    cell_b: float
    prompt: float

    def power(self, delta: float, seeds: tuple[int, int], prompts: int, alpha: float) -> float:
        """Probability that a true difference of `delta` has a two-sided p of at most `alpha`.

        The mean over what the seeds' variance may come out as; the prompts' variance is taken as known.

        Args:
            delta: in units of the score.
            seeds: runs of each contestant, at least 2; when paired only the first counts.
            prompts: at least 2.
            alpha: of one comparison.
        """
        limit, se = self._limit(seeds, prompts, alpha)
        return _found(delta, limit, se) if se else float(delta != 0)

    def detectable(self, seeds: tuple[int, int], prompts: int, alpha: float, power: float = POWER) -> float:
        """The smallest true difference that these seeds and prompts find with this power; arguments as of `power`."""
        from scipy.optimize import brentq

        limit, se = self._limit(seeds, prompts, alpha)
        if not se:
            return 0.0
        high = se
        while _found(high, limit, se) < power:
            high *= 2
        return float(brentq(lambda delta: _found(delta, limit, se) - power, 0.0, high, rtol=1e-6))

    def _limit(self, seeds: tuple[int, int], prompts: int, alpha: float) -> tuple[NDArray[np.float64], float]:
        """From where a difference is significant, for each value of the seeds' variance; and the standard error."""
        import numpy as np
        from scipy import special

        a = (self.run_a + self.cell_a / prompts) / seeds[0]
        b = (self.run_b + self.cell_b / prompts) / seeds[1]
        x = self.prompt / prompts
        ends = (seeds[0] - 1, seeds[1] - 1)
        df: NDArray[np.float64] | float = float(ends[0])
        seed = a * _scaled_chi2(ends[0], 200)
        if b > 0:
            seed_a, seed_b = a * _scaled_chi2(ends[0], 12)[:, None], b * _scaled_chi2(ends[1], 12)
            seed = seed_a + seed_b
            df = seed**2 / (seed_a**2 / ends[0] + seed_b**2 / ends[1])
        limit = np.sqrt(
            special.stdtrit(df, alpha / 2) ** 2 * seed + special.stdtrit(float(prompts - 1), alpha / 2) ** 2 * x
        )
        return limit, math.sqrt(a + b + x)


def more_seeds(
    noise: Noise, delta: float, seeds: tuple[int, int], prompts: int, alpha: float, power: float = POWER
) -> int | None:
    """Fewest seeds to add to each contestant, prompts unchanged, to find `delta` with this power.

    Args:
        noise: where the noise comes from.
        delta: the difference that matters, above 0, in units of the score.
        seeds: runs of each contestant now.
        prompts: test prompts.
        alpha: two-sided; that of one comparison of its family, for example .05 / 6.
        power: wanted.

    Returns:
        0 where the seeds already suffice; None where seeds cannot help, because the prompts' part of the noise alone
        is too large (or more than 10,000 would be needed).
    """
    return _fewest(lambda n: noise.power(delta, (seeds[0] + n, seeds[1] + n), prompts, alpha) >= power, MOST_SEEDS)


def more_prompts(
    noise: Noise, delta: float, seeds: tuple[int, int], prompts: int, alpha: float, power: float = POWER
) -> int | None:
    """Fewest test prompts to add, seeds unchanged, to find `delta` with this power; otherwise as `more_seeds`.

    Returns:
        None where prompts cannot help, because the seeds' part of the noise alone is too large.
    """
    return _fewest(lambda n: noise.power(delta, seeds, prompts + n, alpha) >= power, MOST_PROMPTS)


def smallest_difference(
    n_seeds: int,
    n_comparisons: int,
    sd_seed: float = 1.0,
    *,
    paired: bool = True,
    alpha: float = 0.05,
    power: float = POWER,
) -> float | None:
    """The smallest true difference that these seeds show with this power, prompts and their noise left aside.

    Exact for normal run means: a noncentral t test at `alpha / n_comparisons`, two-sided.

    Args:
        n_seeds: runs of each contestant.
        n_comparisons: in the family.
        sd_seed: standard deviation between a contestant's runs; when paired, of the part that it does not share with
            the other, so that the difference of two runs has sd `sqrt(2) * sd_seed` either way.
        paired: seeds are compared one by one: df = S - 1, else 2S - 2.
        alpha: family-wise, two-sided.
        power: wanted.

    Returns:
        The difference in the unit of `sd_seed`; None with fewer than two seeds, which can show nothing.
    """
    if n_seeds < 2:
        return None
    se = sd_seed * math.sqrt(2 / n_seeds)
    df = float(n_seeds - 1 if paired else 2 * n_seeds - 2)
    low, high = 0.0, 1.0
    while _power(high, df, alpha / n_comparisons) < power:
        low, high = high, 2 * high
    while high - low > 1e-9 * high:
        middle = (low + high) / 2
        low, high = (low, middle) if _power(middle, df, alpha / n_comparisons) >= power else (middle, high)
    return high * se


def _found(delta: float, limit: NDArray[np.float64], se: float) -> float:
    """How often an estimate around `delta` lies beyond the limit, on either side."""
    from scipy import special

    return float((special.ndtr((delta - limit) / se) + special.ndtr((-delta - limit) / se)).mean())


@lru_cache(maxsize=1024)  # a search asks for the same few again and again
def _scaled_chi2(df: int, n: int) -> NDArray[np.float64]:
    """What a variance with these degrees of freedom may come out as, by share of the true one: n equally likely."""
    import numpy as np
    from scipy import special

    return cast("NDArray[np.float64]", special.gammaincinv(df / 2, (np.arange(n) + 0.5) / n) * 2 / df)


def _power(shift: float, df: float, alpha: float) -> float:
    """Of a two-sided t test whose statistic is centred at `shift` standard errors."""
    from scipy import special

    t = -special.stdtrit(df, alpha / 2)
    wrong_sign = float(special.nctdtr(df, shift, -t)) if shift < 5 else 0.0
    if math.isnan(wrong_sign):  # scipy has no value where it is below 1e-5
        wrong_sign = 0.0
    return float(1 - special.nctdtr(df, shift, t)) + wrong_sign


def _fewest(enough: Callable[[int], bool], most: int) -> int | None:
    """Fewest n of 0..most that is enough: doubled until it is, then halved in between.

    A limit would not do: more prompts may help up to a point and then cost degrees of freedom.
    """
    if enough(0):
        return 0
    low, high = 0, 1
    while not enough(high):
        low, high = high, 2 * high
        if high > most:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high
