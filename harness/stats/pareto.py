"""Who is on the front of two aims: nobody is better in one and at least as good in the other."""

from __future__ import annotations

from collections.abc import Sequence


def front(costs: Sequence[float], gains: Sequence[float]) -> list[bool]:
    """Whether each point is on the front of low cost and high gain.

    A point is off it where another costs no more and gains no less, and is better in one of the two; equal points are
    on it together. Values are taken as they stand: that they are means with noise is for the caller to say.

    Args:
        costs: lower is better; infinite for what cannot be had.
        gains: higher is better; one for each cost.
    """
    points = list(zip(costs, gains, strict=True))
    return [
        not any(c <= cost and g >= gain and (c < cost or g > gain) for c, g in points) and cost != float("inf")
        for cost, gain in points
    ]
