"""How often the importance of knobs is right when the truth is known; prints the table of docs/tuning.md.

Run it from the project's folder: `python tests/stats/knobs.py`. It takes about five minutes.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from calibration import table

from harness.stats.sensitivity import Weight, importance

SPACE: dict[str, dict[str, Any]] = {
    "a": {"low": 1e-3, "high": 1.0, "log": True},
    "b": {"low": 0.0, "high": 1.0},
    "c": {"choice": [1, 2]},
}
SIZES = (17, 20, 50, 100)
STUDIES = 200
LARGE = 5000
"""Trials of the study whose shares are taken as the truth."""


def smooth(knobs: dict[str, Any], noise: np.random.Generator) -> float:
    """One optimum; noise is a quarter of what scores differ by."""
    return -abs(math.log10(knobs["a"]) + 1.5) - 0.8 * abs(knobs["b"] - 0.5) + float(noise.normal(0, 0.3))


def failing(knobs: dict[str, Any], noise: np.random.Generator) -> float | None:
    """A large `a` fails; below, all three knobs have a part in it."""
    rate = math.log10(knobs["a"])
    if rate > -0.75:
        return None
    return rate + 2.0 * knobs["b"] + 0.5 * knobs["c"] + float(noise.normal(0, 0.3))


World = Callable[[dict[str, Any], np.random.Generator], float | None]
WORLDS: dict[str, World] = {"one optimum": smooth, "large values fail": failing}


def weighed(world: World, trials: int, seed: int) -> dict[str, Weight]:
    """Importance by one study."""
    draw = np.random.default_rng(seed)
    knobs = [
        {"a": float(10 ** draw.uniform(-3, 0)), "b": float(draw.random()), "c": int(draw.integers(1, 3))}
        for _ in range(trials)
    ]
    return importance([(own, world(own, draw)) for own in knobs], SPACE)


def rows() -> list[list[Any]]:
    """By world and knob: its share by a large study; for each size its mean share, and how often the range holds it."""
    found = []
    for name, world in WORLDS.items():
        truth = {knob: one.value for knob, one in weighed(world, LARGE, 0).items()}
        studies = {size: [weighed(world, size, seed) for seed in range(1, STUDIES + 1)] for size in SIZES}
        for knob in SPACE:
            line: list[Any] = [f"{name}: {knob}", truth[knob]]
            for some in studies.values():
                own = [one[knob] for one in some if one]
                line.append(float(np.mean([one.value for one in own])))
                line.append(float(np.mean([one.low <= truth[knob] <= one.high for one in own])))
            found.append(line)
    return found


if __name__ == "__main__":
    told = [text for size in SIZES for text in (f"mean of {size} trials", "its range holds the truth")]
    print(table(["knob", f"share by {LARGE} trials", *told], rows()))
