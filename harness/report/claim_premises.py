"""What a claim supposes of the data of training, and whether it is so: by the records of its contestants' trainings."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import harness.registry as registry
from harness.claims import CHOSEN_LONGER
from harness.report.claim_scores import Scored, comparisons_of, contestants
from harness.report.given import apart, given_to_runs
from harness.report.sheet import listed, number

if TYPE_CHECKING:
    from harness.claims import Hypothesis
    from harness.records import Tables
    from harness.report.compare import Comparison

CHOSEN_ALONE = "sft_chosen"
"""Trains on the chosen responses of the pairs that others of its study train on: the same ones in the same order."""
_USED = ("prompts", "responses", "labels", "trained_tokens", "chosen_tokens", "rows_available")
_Runs = dict[int, dict[str, float]]
"""By replicate: what a training read, by the name of its measurement."""


@dataclass(frozen=True)
class Supposed:
    """Whether a premise holds, None where that is not known, and what is known in words."""

    holds: bool | None
    told: str


def supposing(claim: Hypothesis, tables: Tables, settings: list[Comparison]) -> list[Scored] | str:
    """All comparisons of a claim in all settings; where its premise fails they have no scores, but the reason.

    Returns:
        The comparisons, or why there can be none in this study.
    """
    found = comparisons_of(claim, tables, settings)
    if isinstance(found, str) or claim.premise is None:
        return found
    known = {one.name: supposed(claim, tables, one) for one in settings}
    return [_beside(one, known[one.setting], f"in {one.setting} " * (len(settings) > 1)) for one in found]


def _beside(scored: Scored, known: Supposed, where: str) -> Scored:
    if known.holds is None:
        return replace(scored, premise=known.told)
    if known.holds:
        return replace(scored, premise=f"its premise holds: {known.told}")
    return Scored(scored.setting, scored.label, why=f"{where}its premise fails: {known.told}", beside=True)


def supposed(claim: Hypothesis, tables: Tables, setting: Comparison) -> Supposed:
    """Whether a claim's premise holds in a setting."""
    assert claim.premise is not None
    sides = (claim.a or (claim.along.partition(".")[0],), claim.b)
    first, second = (contestants(side, tables, setting) for side in sides)
    if claim.premise.quantity == CHOSEN_LONGER:
        alone = contestants((CHOSEN_ALONE,), tables, setting)[:1]
        on_pairs = [name for name in first if _on_pairs(tables.algorithms[setting.name][name])]
        runs = _spent([*on_pairs, *alone], tables, setting)
        helper = runs.get(alone[0], {}) if alone else {}
        return _longer(claim.premise.direction, [runs.get(name, {}) for name in on_pairs], helper)
    names = list(dict.fromkeys([*first, *second]))
    return _alike(claim.premise.quantity, _spent(names, tables, setting), names)


def _on_pairs(algorithm: str) -> bool:
    """Whether an algorithm trains on pairs of the dataset, where this code still has it."""
    known = algorithm in registry.names("algorithms")
    return known and registry.load("algorithms", algorithm).needs.data == "pairs"


def _spent(names: list[str], tables: Tables, setting: Comparison) -> dict[str, _Runs]:
    """What finished runs read, by contestant."""
    own = tables.measurements
    own = own[(own["setting"] == setting.name) & own["contestant"].isin(names)]
    found: dict[str, _Runs] = {}
    for _, name, metric, seed, value in given_to_runs(own, _USED).reset_index().itertuples(index=False):
        found.setdefault(name, {}).setdefault(seed, {})[metric] = value
    return found


def _longer(direction: str, trained: list[_Runs], alone: _Runs) -> Supposed:
    """By how many tokens the chosen response is the longer one, mean over the pairs that were trained on."""
    known = [_gap(run, alone.get(seed, {})) for runs in trained for seed, run in runs.items()]
    gaps = [gap for gap in known if gap is not None]
    if not gaps:
        way = "longer" if direction == "above" else "shorter"
        return Supposed(None, f"whether chosen responses are {way} than rejected ones is not known here")
    gap = round(sum(gaps) / len(gaps), 2)
    way = "longer" if gap > 0 else "shorter"
    told = f"{number(abs(gap))} tokens {way} than" if gap else "as long as"
    return Supposed(gap > 0 if direction == "above" else gap < 0, f"chosen responses are {told} rejected ones")


def _gap(run: dict[str, float], alone: dict[str, float]) -> float | None:
    """Tokens, chosen minus rejected, for each pair of a run; None where its record does not tell.

    Records of before `chosen_tokens` are helped out by the run of their seed that has read the chosen responses alone.
    """
    same = all(name in run and alone.get(name) == run[name] for name in ("prompts", "rows_available"))
    chosen = run.get("chosen_tokens", alone.get("trained_tokens") if same else None)
    if chosen is None or not run.get("prompts") or "trained_tokens" not in run:
        return None
    return (2 * chosen - run["trained_tokens"]) / run["prompts"]


def _alike(quantity: str, runs: dict[str, _Runs], names: list[str]) -> Supposed:
    """Whether all contestants saw as many of these, mean over their runs."""
    seen = {name: [run[quantity] for run in runs.get(name, {}).values() if quantity in run] for name in names}
    if not all(seen.values()):
        return Supposed(None, f"whether all saw as many {quantity} is not known here")
    means = {name: sum(own) / len(own) for name, own in seen.items()}
    if not apart(means.values()):
        return Supposed(True, f"{number(max(means.values()), 0)} {quantity} seen in a run of each")
    told = [f"{number(mean, 0)} in a run of {name}" for name, mean in means.items()]
    return Supposed(False, f"{quantity} seen are {listed(told)}")
