"""From tables to comparisons: the start's scale, win rates, verdicts, and where each contestant stands."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, TypeAlias

import harness.records as records
import harness.registry as registry
from harness.records.scores import blocks_of
from harness.records.scores import runs as runs_of
from harness.report.best_of import best_of
from harness.report.collapse import collapsed
from harness.report.compare import ALPHA, ROLES, UNTRAINED, Comparison, Estimate, Pair, Scale, Standing, estimate
from harness.report.cubes import Cubes, cubes
from harness.report.length import NOTHING, at_equal_length, control
from harness.report.prices import priced
from harness.report.sheet import count, listed
from harness.report.tasks import over_all_tasks

if TYPE_CHECKING:
    import pandas as pd

    from harness.plan import Plan
    from harness.recipe import Evaluation
    from harness.records import Tables
    from harness.records.scores import Scores
    from harness.stats.runs import Runs
    from harness.stats.verdicts import Verdict, Verdicts

    Rewards: TypeAlias = dict[str, dict[str, Runs]]

DECIDED = ("better", "worse")
BESIDE = {"length": "sample", "kl": "sample", "distinct": "prompt"}
"""Metrics that stand beside the rewards, and what a value of each is of."""
PARTS = {"own": "own", "with shared": "shared", "base model": "base", "evaluation": "evaluation"}


def compare(plan: Plan, tables: Tables) -> list[Comparison]:
    """One comparison for each setting of a plan, in the plan's order.

    Args:
        plan: for the margin and whether seeds are paired.
        tables: what the records say.

    Returns:
        Comparisons, also of settings in which nothing has run.
    """
    evaluation = plan.recipe.evaluation
    return [
        priced(_setting(str(name), tables, evaluation, len(plan.recipe.looks) or 1), tables)
        for name in tables.cells["setting"].unique()
    ]


def _setting(name: str, tables: Tables, evaluation: Evaluation, looks: int) -> Comparison:
    import pandas as pd

    cells, blocks = tables.cells[tables.cells["setting"] == name], tables.blocks
    gaps = tables.gaps[(tables.gaps["setting"] == name) & (tables.gaps["step"] == records.FINAL)]
    no_pool = tables.no_pool[tables.no_pool["setting"] == name]
    start = next((str(one) for one in cells[cells["is_start"]]["contestant"]), "")
    contestants = sorted((str(one) for one in cells["contestant"].unique()), key=lambda one: one != start)
    pool = blocks_of(tables.pool[tables.pool["setting"] == name])
    found = {role: _rewards(blocks, name, role) for role in ROLES} | {
        metric: cubes(blocks.of(name, metric, "", level), blocks.prompts) for metric, level in BESIDE.items()
    }
    scales = {role: scale for role in ROLES if (scale := _scale(found[role], start)) is not None}
    failed = {
        str(contestant): [int(seed) for seed in rows["replicate"]]
        for contestant, rows in gaps[gaps["status"] == "failed"].groupby("contestant")
    }
    steps = sorted({block.step for block in blocks.of(name, step=None)} - {records.FINAL})
    columns = ["contestant", "replicate", "step", "metric", "role", "level", "value"]
    empty = Comparison(
        name=name,
        start=start,
        contestants=contestants,
        planned=int(cells["replicate"].nunique()),
        margin=evaluation.margin,
        paired=evaluation.paired,
        looks=looks,
        split=evaluation.split,
        base=next((str(one) for one in cells[cells["algorithm"] == "base"]["contestant"]), ""),
        plain=_plain(cells),
        scales=scales,
        no_scale=_no_scale(found["gold"], start) if "gold" not in scales else "",
        standings=[],
        pairs=[],
        run_means=pd.DataFrame(list(runs_of(blocks.of(name, step=None))), columns=columns),
        curves=tables.curves[tables.curves["setting"] == name],
        left_out=found["gold"].left_out,
        cubes=found,
        runs={},
        wins=_wins(found["gold"], start),
        controlled=control(found["gold"], found["length"], start, scales.get("gold")),
        best_of=best_of(pool, scales),
        no_best_of="; ".join(no_pool["error"].unique()),
        stages={step: {role: _rewards(blocks, name, role, step) for role in scales} for step in steps},
    )
    runs = _runs(empty, "gold", failed) if "gold" in scales else {}
    verdicts = _judge(runs, empty) if runs else None
    others = {role: _runs(empty, role, failed) for role in scales if role != "gold"}
    judged = replace(empty, runs=runs, pairs=_pairs(verdicts, others, empty.paired) if verdicts else [])
    standings = [_standing(one, judged, verdicts, cells, gaps, tables, failed, others) for one in contestants]
    lost, benched = collapsed(judged), over_all_tasks(judged, tables)
    standings = [
        replace(
            row,
            collapsed=len(lost[row.name]),
            estimates=row.estimates | ({"benchmarks": benched[row.name]} if row.name in benched else {}),
        )
        for row in standings
    ]
    standings.sort(key=lambda row: ("gold" not in row.estimates, not row.in_top_set, -_gain(row)))
    return replace(judged, standings=standings)


def _plain(cells: pd.DataFrame) -> frozenset[str]:
    """Contestants that are used by their plain prompt; so is one whose plug-in is not here, for all that is known."""
    known = registry.names("algorithms")
    others = {
        name
        for name in cells["algorithm"].unique()
        if name in known and not registry.load("algorithms", name)().is_plain
    }
    return frozenset(str(name) for name in cells.loc[~cells["algorithm"].isin(others), "contestant"])


def _rewards(blocks: Scores, setting: str, role: str, step: int = records.FINAL) -> Cubes:
    return cubes(blocks.of(setting, "reward", role, "sample", step), blocks.prompts)


def _gain(row: Standing) -> float:
    return row.estimates["gold"].value if "gold" in row.estimates else 0.0


def _scale(found: Cubes, start: str) -> Scale | None:
    own = found.by_contestant.get(start)
    if own is None or not own.values.std() > 0:
        return None
    return Scale(float(own.values.mean()), float(own.values.std()), own.values.size)


def _no_scale(found: Cubes, start: str) -> str:
    if not start:
        return "the start is no contestant of this setting, and everything is measured against it"
    if start in found.by_contestant:
        return f"all gold scores of the start ({start}) are equal, so that there is no scale to measure in"
    return f"the start ({start}) has no gold scores yet, and everything is measured against it"


def _runs(comparison: Comparison, role: str, failed: dict[str, list[int]]) -> dict[str, Runs]:
    """Each contestant's (S, P) rewards on the start's scale; failed runs count as the start."""
    import numpy as np

    from harness.stats.runs import Runs, with_failures

    found, scale = comparison.cubes[role], comparison.scales[role]
    none = Runs(np.zeros((0, len(found.prompts))), ())
    finished = {
        name: Runs((cube.prompts - scale.mean) / scale.sd, cube.replicates)
        for name, cube in found.by_contestant.items()
    }
    start = finished[comparison.start]
    return {
        name: with_failures(finished.get(name, none), failed.get(name, []) if name != comparison.start else [], start)
        for name in comparison.contestants
    }


def _judge(runs: dict[str, Runs], comparison: Comparison) -> Verdicts:
    from harness.stats.verdicts import verdicts

    return verdicts(dict(runs), comparison.start, comparison.margin, paired=comparison.paired, looks=comparison.looks)


def _pairs(verdicts: Verdicts, others: Rewards, paired: bool) -> list[Pair]:
    families = {"start": verdicts.start, "all": verdicts.pairs}
    untrained = {role: others[role] for role in UNTRAINED if role in others}
    pairs = [_pair(family, verdict) for family, found in families.items() for verdict in found]
    return [
        replace(
            pair,
            others=_differences(pair.a, pair.b, untrained, paired) if pair.verdict in DECIDED else {},
            opposed=_opposed(pair, untrained, paired),
        )
        for pair in pairs
    ]


def _opposed(pair: Pair, others: Rewards, paired: bool) -> tuple[str, ...]:
    """The rewards that turn a difference round which is significant in its family, or may be in a smaller one."""
    from harness.stats.runs import common

    if pair.verdict not in DECIDED and (pair.p is None or pair.p > ALPHA):
        return ()
    found = []
    for role, runs in others.items():
        one, two = common(runs[pair.a], runs[pair.b]) if paired else (runs[pair.a], runs[pair.b])
        if (
            one.scores.size
            and two.scores.size
            and (one.scores.mean() - two.scores.mean()) * (pair.difference or 0.0) < 0
        ):
            found.append(role)
    return tuple(found)


def _differences(a: str, b: str, others: Rewards, paired: bool) -> dict[str, Estimate]:
    """What other rewards say of a minus b."""
    from harness.stats.contrast import contrast
    from harness.stats.runs import common

    found = {}
    for role, runs in others.items():
        one, two = common(runs[a], runs[b]) if paired else (runs[a], runs[b])
        result = contrast(one.scores, two.scores, paired=paired)
        if result.difference is not None:
            found[role] = estimate(result)
    return found


def _pair(family: str, verdict: Verdict) -> Pair:
    from harness.stats.contrast import Undecidable

    result, need = verdict.result, verdict.need
    sure = None if isinstance(result, Undecidable) else result
    above, above_low, above_high = verdict.above or (None, None, None)
    together_low, together_high = verdict.simultaneous or (None, None)
    return Pair(
        family=family,
        a=verdict.a,
        b=verdict.b,
        difference=result.difference,
        low=sure.low if sure else None,
        high=sure.high if sure else None,
        p=sure.p if sure else None,
        p_holm=verdict.p_holm if sure else None,
        verdict=verdict.word if sure else "",
        seeds=min(result.n_runs),
        prompts=result.n_prompts,
        more_seeds=need.more_seeds if need else None,
        more_prompts=need.more_prompts if need else None,
        note="; ".join([*verdict.notes, *([need.note] if need else [])]),
        detectable=verdict.detectable,
        above=above,
        above_low=above_low,
        above_high=above_high,
        simultaneous_low=together_low,
        simultaneous_high=together_high,
    )


def _wins(gold: Cubes, start: str) -> dict[str, dict[str, Runs]]:
    """Soft and hard win rates against the start's samples of the same seed and prompt, of finished runs."""
    from harness.stats.runs import Runs
    from harness.stats.wins import hard_win, soft_win

    base = gold.by_contestant.get(start)
    found: dict[str, dict[str, Runs]] = {"soft": {}, "hard": {}}
    for name, cube in gold.by_contestant.items():
        shared = tuple(seed for seed in cube.replicates if base is not None and seed in base.replicates)
        if base is not None and shared and name != start:
            for kind, win in (("soft", soft_win), ("hard", hard_win)):
                found[kind][name] = Runs(win(cube.at(shared), base.at(shared)), shared)
    return found


def _standing(
    name: str,
    comparison: Comparison,
    verdicts: Verdicts | None,
    cells: pd.DataFrame,
    gaps: pd.DataFrame,
    tables: Tables,
    failed: dict[str, list[int]],
    others: Rewards,
) -> Standing:
    own = cells[cells["contestant"] == name]
    done, planned = int((own["status"] == "done").sum()), len(own)
    against_start = [pair for pair in comparison.pairs if pair.family == "start" and pair.a == name]
    pair = against_start[0] if against_start else None
    costs, unjudged = (
        table[(table["setting"] == comparison.name) & (table["contestant"] == name)]
        for table in (tables.spent, tables.no_judgments)
    )
    causes = gaps[gaps["contestant"] == name]
    in_top = verdicts is not None and name in verdicts.top_set and any(one.verdict for one in comparison.pairs)
    return Standing(
        name=name,
        algorithm=str(own["algorithm"].iloc[0]),
        knobs=str(own["knobs"].iloc[0]),
        planned=planned,
        done=done,
        failed=len(failed.get(name, [])),
        unfinished=planned - done - len(failed.get(name, [])),
        verdict=pair.verdict if pair else "",
        p_holm=pair.p_holm if pair else None,
        in_top_set=in_top,
        more_seeds=pair.more_seeds if pair else None,
        more_prompts=pair.more_prompts if pair else None,
        peak_memory_bytes=_peak(costs),
        gap=_gap(name, comparison, pair, causes, unjudged),
        estimates=_estimates(name, comparison, pair, verdicts, failed, others),
        gain_by_seed=_gain_by_seed(name, comparison),
        seconds={  # of work, which a busy machine does not lengthen
            column: float(costs[costs["part"] == part]["worked_seconds"].mean())
            for part, column in PARTS.items()
            if (costs["part"] == part).any()
        },
    )


def _peak(costs: pd.DataFrame) -> float | None:
    """The most memory that training a policy of a contestant, and what it rests on beyond the base, needs."""
    peak = float(costs.loc[costs["part"] == "beyond the base", "needed_memory_bytes"].max())
    return peak if peak > 0 else None  # where nothing is trained


def _gap(name: str, comparison: Comparison, pair: Pair | None, gaps: pd.DataFrame, unjudged: pd.DataFrame) -> str:
    """Why a number of this row is absent, or rests on fewer runs than planned."""
    texts = []
    for status, rows in gaps.groupby("status", sort=False):
        why = listed(sorted(set(rows["error" if status == "cut" else "cause"])))
        texts.append(f"{count(len(rows), 'run')} {status}" + ("" if why == status else f": {why}"))
    if pair is not None and not pair.verdict:
        texts.append(pair.note)
    for label, rows in unjudged[unjudged["status"] == "failed"].groupby("judge", sort=False):
        texts.append(f"judge {label}: {count(len(rows), 'run')} failed: {listed(sorted(set(rows['cause'])))}")
    if "gold" not in comparison.scales and name != comparison.start:
        texts.append(comparison.no_scale)
    measured = comparison.cubes["kl"].by_contestant
    if measured and name in comparison.cubes["gold"].by_contestant and name not in {*measured, *comparison.plain}:
        texts.append("no KL: its responses are not its policy's to the plain prompt")
    return "; ".join(text for text in texts if text)


def _estimates(
    name: str,
    comparison: Comparison,
    pair: Pair | None,
    verdicts: Verdicts | None,
    failed: dict[str, list[int]],
    others: Rewards,
) -> dict[str, Estimate]:
    from harness.stats.contrast import summary
    from harness.stats.runs import with_failures

    found: dict[str, Estimate] = {}
    base = comparison.cubes["gold"].by_contestant.get(comparison.start)
    start_seeds = base.replicates if base else ()
    if pair is not None and pair.difference is not None and verdicts is not None:
        found["gold"] = Estimate(pair.difference, pair.low, pair.high)
        finished = next(verdict.finished_only for verdict in verdicts.start if verdict.a == name)
        found |= (
            {"gold_finished": estimate(finished)}
            if finished and finished.difference is not None
            else {"gold_finished": found["gold"]}
        )
        found |= _differences(name, comparison.start, others, comparison.paired)  # shown beside gold, never judged
    elif name == comparison.start and "gold" in comparison.scales:  # by definition
        found |= {role: Estimate(0.0) for role in comparison.scales} | {"gold_finished": Estimate(0.0)}
        found |= {"soft_win": Estimate(0.5), "hard_win": Estimate(0.5)}
        found |= {kind: Estimate(nothing) for kind, nothing in NOTHING.items() if kind in comparison.controlled}
    for kind, wins in comparison.wins.items():
        if name in wins:
            lost = [seed for seed in failed.get(name, []) if seed in start_seeds]
            whole = with_failures(wins[name], lost, wins[name], 0.5)  # the start wins half against itself
            found[f"{kind}_win"] = estimate(summary(whole.scores), within=(0.0, 1.0))
    found |= at_equal_length(name, comparison, [seed for seed in failed.get(name, []) if seed in start_seeds])
    for metric in BESIDE:
        cube = comparison.cubes[metric].by_contestant.get(name)
        if cube is not None:
            found[metric] = estimate(summary(cube.prompts), within=(0.0, float("inf")))
    return found


def _gain_by_seed(name: str, comparison: Comparison) -> dict[int, float]:
    """Each finished run's gold against the start's: of the same seed where seeds are paired, else of all."""
    own, start = comparison.gold_by_seed.get(name, {}), comparison.gold_by_seed.get(comparison.start, {})
    if not comparison.paired:
        return dict(own)  # the start's mean is 0 on its own scale
    return {seed: value - start[seed] for seed, value in own.items() if seed in start}
