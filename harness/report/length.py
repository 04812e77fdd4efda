"""Gold gains and win rates at equal length, of every contestant against the start."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from harness.report.compare import Estimate, estimate

if TYPE_CHECKING:
    from harness.report.compare import Comparison, Scale
    from harness.report.cubes import Array, Cubes
    from harness.stats.length_control import Controlled

    Kinds: TypeAlias = dict[str, dict[str, tuple[tuple[int, ...], Controlled] | str]]

NOTHING = {"lc_gold": 0.0, "lc_soft_win": 0.5}
"""What is controlled, and what it is where nothing is gained."""


def control(gold: Cubes, length: Cubes, start: str, scale: Scale | None) -> Kinds:
    """By kind and contestant: the replicates and the controlled score, or why there is none.

    Args:
        gold: raw gold scores.
        length: response tokens.
        start: the contestant that all are held against.
        scale: the start's; gains are in its sd.
    """
    from scipy import special

    from harness.stats.length_control import length_controlled

    if scale is None or start not in gold.by_contestant:
        return {}
    if start not in length.by_contestant:
        return {kind: dict.fromkeys(gold.by_contestant, "response lengths were not measured") for kind in NOTHING}
    shared = [prompt for prompt in gold.prompts if prompt in set(length.prompts)]
    found: Kinds = {kind: {} for kind in NOTHING}
    for kind in NOTHING:
        pairs = {
            name: _pairs(name, start, gold, length, shared)
            for name in gold.by_contestant
            if name != start and name in length.by_contestant
        }
        scores = {
            name: special.expit(gain) if kind == "lc_soft_win" else gain / scale.sd
            for name, (_, gain, _) in pairs.items()
        }
        for name, (seeds, _, longer) in pairs.items():
            others = [values.mean((0, 2, 3)) for other, values in scores.items() if other != name]
            difficulty = sum(others[1:], others[0]) / len(others) if others else None
            result = length_controlled(scores[name], longer, difficulty, win=kind == "lc_soft_win")
            found[kind][name] = result if isinstance(result, str) else (seeds, result)
    return found


def _pairs(
    name: str, start: str, gold: Cubes, length: Cubes, prompts: list[str]
) -> tuple[tuple[int, ...], Array, Array]:
    """Seeds that both have; gold and token differences of all samples and all of the start's, (S, P, K, K)."""
    cubes = [found.by_contestant[who] for found in (gold, length) for who in (name, start)]
    seeds = tuple(seed for seed in cubes[0].replicates if all(seed in cube.replicates for cube in cubes))
    places = [[found.prompts.index(prompt) for prompt in prompts] for found in (gold, gold, length, length)]
    own, base, tokens, base_tokens = (cube.at(seeds)[:, columns] for cube, columns in zip(cubes, places, strict=True))
    return seeds, own[..., :, None] - base[..., None, :], tokens[..., :, None] - base_tokens[..., None, :]


def at_equal_length(name: str, comparison: Comparison, lost: list[int]) -> dict[str, Estimate]:
    """Gain and win rate at equal length; a failed run gains nothing."""
    from harness.stats.contrast import summary
    from harness.stats.runs import Runs, with_failures

    found = {}
    for kind, nothing in NOTHING.items():
        known = comparison.controlled.get(kind, {}).get(name)
        if known is not None and not isinstance(known, str):
            runs = Runs(known[1].scores, known[0])
            within = (0.0, 1.0) if kind == "lc_soft_win" else (float("-inf"), float("inf"))
            found[kind] = estimate(summary(with_failures(runs, lost, runs, nothing).scores), within)
    return found


def length_note(comparison: Comparison, name: str) -> str:
    """Why a contestant has no controlled score, or a warning where control moves its win rate far."""
    from harness.stats.length_control import APART

    found = comparison.controlled.get("lc_soft_win", {}).get(name)
    if isinstance(found, str):
        return found
    row = next(row for row in comparison.standings if row.name == name)
    if found is None or not {"soft_win", "lc_soft_win"} <= set(row.estimates):
        return ""
    apart = row.estimates["soft_win"].value - row.estimates["lc_soft_win"].value
    return f"length makes {apart:+.0%} of its win rate".replace("-", "−") if abs(apart) > APART else ""
