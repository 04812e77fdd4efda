"""What quality costs: device-seconds, memory and tokens per response, the front, and the price of a target."""

from __future__ import annotations

from dataclasses import replace
from statistics import median
from typing import TYPE_CHECKING, Any

from harness.recipe import TUNED
from harness.records import FINAL
from harness.report.compare import Price

if TYPE_CHECKING:
    import pandas as pd

    from harness.records import Tables
    from harness.report.compare import Comparison, Standing

TARGET = 0.6
"""A run has reached the target where gold prefers its responses to the start's in at least this share of pairs."""
COSTS = ("device_seconds", "peak_memory_bytes", "answers")
ALONE = "alone"
"""Device-seconds without the search for its knobs: what one more policy with known knobs costs."""
FRONTS = ("device_seconds", ALONE, "peak_memory_bytes", "answers")


def priced(comparison: Comparison, tables: Tables) -> Comparison:
    """The comparison with a price for each contestant that has a gain."""
    answers, tuning = _answers(comparison, tables), _tuning(comparison, tables)
    memory = _memory(comparison, tables)
    target = _to_target(comparison, tables)
    found = [
        Price(
            name=row.name,
            gold=row.estimates["gold"],
            device_seconds=row.seconds.get("shared"),
            tuning_seconds=tuning.get(row.name, 0.0),
            peak_memory_bytes=memory.get(row.name),
            answers=answers.get(row.name, 1.0),
            **_reached(row, target.get(row.name, {})),
        )
        for row in comparison.standings
        if "gold" in row.estimates
    ]
    return replace(comparison, prices=tuple(_with_fronts(found, comparison)))


def cost_of(one: Price, kind: str) -> float:
    """A cost of `FRONTS`, infinite where it is not known; searches for knobs are part of the device-seconds."""
    value: float | None = getattr(one, "device_seconds" if kind == ALONE else kind)
    if value is None:
        return float("inf")
    return value + one.tuning_seconds if kind == "device_seconds" else value


def _with_fronts(found: list[Price], comparison: Comparison) -> list[Price]:
    from harness.stats.pareto import front

    gains = [one.gold.value for one in found]
    costs = {kind: [cost_of(one, kind) for one in found] for kind in FRONTS}
    known = [kind for kind in FRONTS if min(costs[kind], default=float("inf")) < float("inf")]
    fronts = {kind: front(costs[kind], gains) for kind in known}
    better = {(pair.a, pair.b) for pair in comparison.pairs if pair.family == "all" and pair.verdict == "better"}
    better |= {(pair.b, pair.a) for pair in comparison.pairs if pair.family == "all" and pair.verdict == "worse"}
    return [
        replace(
            one,
            on_front=tuple(kind for kind in known if fronts[kind][place]),
            beaten_by=tuple(
                other.name
                for other in found
                if (other.name, one.name) in better and all(cost_of(other, k) <= cost_of(one, k) for k in COSTS)
            ),
        )
        for place, one in enumerate(found)
    ]


def _memory(comparison: Comparison, tables: Tables) -> dict[str, float]:
    """A GPU's peak while a policy and what it rests on beyond the base are trained, by contestant.

    On a CPU memory is not compared: a process has what other stages left in it.
    """
    own = tables.spent[(tables.spent["setting"] == comparison.name) & (tables.spent["part"] == "beyond the base")]
    peaks = own.groupby("contestant")["peak_device_memory_bytes"].max()
    return {str(name): float(peak) for name, peak in peaks.items() if peak > 0}


def _answers(comparison: Comparison, tables: Tables) -> dict[str, float]:
    """By contestant: tokens generated for each token of a response, to the nearest hundredth; mean over its runs."""
    own = tables.measurements
    own = own[(own["setting"] == comparison.name) & (own["kind"] == "sample") & (own["step"] == FINAL)]
    means = own.groupby(["contestant", "metric"])["value"].mean().unstack()
    if not {"generated_tokens", "responses", "mean_length"} <= set(means.columns):
        return {}
    ratio = means["generated_tokens"] / (means["responses"] * means["mean_length"])
    return {str(name): round(float(value), 2) for name, value in ratio.dropna().items()}


def _tuning(comparison: Comparison, tables: Tables) -> dict[str, float]:
    """Device-seconds of the searches behind each tuned contestant."""
    own = tables.trials[tables.trials["setting"] == comparison.name]
    spent = own.groupby("contestant")["device_seconds"].sum()
    return {f"{name} {TUNED}": float(seconds) for name, seconds in spent.items()}


def _reached(row: Standing, by_seed: dict[int, float]) -> dict[str, Any]:
    """How many of the tried seeds reach the target, and at what cost the middle one does."""
    tried = row.done + row.failed
    costs = [*by_seed.values(), *[float("inf")] * (tried - len(by_seed))]
    middle = median(costs) if costs else float("inf")
    reached = sum(cost < float("inf") for cost in costs)
    to_target = middle if middle < float("inf") else None
    return {"tried": tried, "reached": reached, "target_by_seed": by_seed, "to_target": to_target}


def _to_target(comparison: Comparison, tables: Tables) -> dict[str, dict[int, float]]:
    """By contestant and seed: device-seconds until its first graded policy that reaches the target, else infinite.

    Of one training with all that it rests on; a search for knobs, which came before, is not in it. Between steps,
    training is taken to cost the same for each.
    """
    costs = _spent(comparison, tables)
    wins = {step: _wins(comparison, step) for step in [*sorted(comparison.stages), FINAL]}
    found: dict[str, dict[int, float]] = {}
    for (name, seed), (own, whole, steps) in costs.items():
        if name == comparison.start or (name, seed) not in wins[FINAL]:
            continue
        reached = [step for step, won in wins.items() if won.get((name, seed), 0.0) >= TARGET]
        share = reached[0] / steps if reached and reached[0] != FINAL and steps else 1.0
        found.setdefault(name, {})[seed] = whole - own + own * share if reached else float("inf")
    return found


def _spent(comparison: Comparison, tables: Tables) -> dict[tuple[str, int], tuple[float, float, int]]:
    """Device-seconds of training alone and with all that it rests on, and optimiser steps, by contestant and seed.

    On a CPU they are those in which it worked.
    """
    by = ["contestant", "replicate"]
    spent = tables.spent[tables.spent["setting"] == comparison.name]
    wide: pd.DataFrame = spent.pivot_table(index=by, columns="part", values="worked_seconds")
    if not {"own", "with shared"} <= set(wide.columns):
        return {}
    cells = tables.cells[tables.cells["setting"] == comparison.name].set_index(by)["steps"]
    wide = wide.dropna(subset=["own", "with shared"])
    return {
        (str(name), int(seed)): (float(own), float(whole), int(cells[(name, seed)]))
        for (name, seed), own, whole in zip(wide.index, wide["own"], wide["with shared"], strict=True)
    }


def _wins(comparison: Comparison, step: int) -> dict[tuple[str, int], float]:
    """Each run's hard win rate against its seed's start, by the policies at a step."""
    from harness.stats.wins import hard_win

    if step == FINAL:
        return {
            (name, seed): float(win)
            for name, runs in comparison.wins["hard"].items()
            for seed, win in zip(runs.replicates, runs.scores.mean(axis=1), strict=True)
        }
    gold, final = comparison.stages[step].get("gold"), comparison.cubes["gold"]
    base = final.by_contestant.get(comparison.start)
    if gold is None or base is None:
        return {}
    prompts = tuple(prompt for prompt in gold.prompts if prompt in set(final.prompts))
    found: dict[tuple[str, int], float] = {}
    for name, cube in gold.by_contestant.items():
        seeds = tuple(seed for seed in cube.replicates if seed in base.replicates)
        if seeds and prompts:
            own, start = gold.of(name, seeds, prompts), final.of(comparison.start, seeds, prompts)
            wins = hard_win(own, start).mean(axis=1)
            found |= {(name, seed): float(win) for seed, win in zip(seeds, wins, strict=True)}
    return found
