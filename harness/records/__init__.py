"""Records to tidy tables: the only door from the results folder to the report.

Each table is long: a number that is not there is an absent row, and `gaps` says why. Reads records and
sample tables alone, never a model.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from harness.records.scores import Scores
from harness.records.shelf import FINAL, Shelf, setting_of

if TYPE_CHECKING:
    import pandas as pd

    from harness.plan import Plan
    from harness.store import Store

__all__ = ["FINAL", "Tables", "read", "setting_of"]


@dataclass(frozen=True)
class Tables:
    """Everything that a report reads, as pandas frames.

    Attributes:
        cells: one row per cell: `setting, model, dataset, start, contestant, algorithm, knobs, is_start,
            replicate, status` (done, failed, blocked, waiting or cut), the stage names `policy, sample, grade`, and
            `weights`, which tells the policies' weights apart (empty where they are not known), and `steps`, the
            optimiser steps of its own training over all rounds.
        gaps: one row per cell and step without scores: `..., step, status, stage, cause, error, hint`.
        measurements: numbers of the records: `..., step, kind, stage, metric, value, n, unit, better`.
        blocks: one value per sample, prompt or pair, in blocks; `scores` has them as a frame.
        pool: rewards of many responses of each start, for its best-of-n curve: columns as `scores`.
        no_pool: one row per start without them: `setting, contestant, replicate, error`.
        curves: what training logged: `..., step, metric, value`.
        costs: one row per stage that has run, and one for a failed attempt that is still known: `stage, kind, label,
            replicate, used_by, status, device, on_gpu, seconds, device_seconds, cpu_seconds, peak_memory_bytes,
            loaded_memory_bytes`.
        spent: what a cell cost: `..., part, device_seconds, worked_seconds, needed_memory_bytes,
            peak_device_memory_bytes`, `part` being `own` (training the policy), `with shared` (with all that it rests
            on), `base model` (of that, the model that all begin from), `beyond the base` (the rest of it) or
            `evaluation` (its samples, grades, judges and benchmarks). On a CPU `worked_seconds` are those of
            CPU time, which other work on the machine does not lengthen, and there is no device's memory (0).
        benchmarks: one value of each lm-eval metric for each document: columns as `scores`, `role` being the task.
        no_benchmarks: one row per policy and task without them: `..., task, status, stage, cause, error, hint`.
        no_judgments: one row per final policy and judge without judgments: `..., judge, status, stage, cause, error,
            hint`.
        made_by: one row per finished stage: `stage, commit, dirty, harness, python, host, device, packages, date` (the
            day on which it began).
        studies: one row per study of a search: `setting, contestant, algorithm, study, metric, planned,
            device_seconds_cap, start, finished, chosen, space` (`space` as JSON; `start` its score on the metric).
        trials: one row per trial: `setting, contestant, study, trial, phase, status, cause, score, feasible, chosen,
            device_seconds, knobs, measured` (the last two as JSON; a failed trial's score is null).
    """

    cells: pd.DataFrame
    gaps: pd.DataFrame
    measurements: pd.DataFrame
    blocks: Scores
    pool: pd.DataFrame
    no_pool: pd.DataFrame
    curves: pd.DataFrame
    costs: pd.DataFrame
    spent: pd.DataFrame
    made_by: pd.DataFrame
    studies: pd.DataFrame
    trials: pd.DataFrame
    benchmarks: pd.DataFrame
    no_benchmarks: pd.DataFrame
    no_judgments: pd.DataFrame

    @cached_property
    def algorithms(self) -> dict[str, dict[str, str]]:
        """The algorithm of each contestant, by setting, in the order of the cells."""
        found: dict[str, dict[str, str]] = {}
        for setting, name, algorithm in self.cells[["setting", "contestant", "algorithm"]].itertuples(index=False):
            found.setdefault(setting, {}).setdefault(name, algorithm)
        return found

    @cached_property
    def scores(self) -> pd.DataFrame:
        """Every value as a row, `..., step, metric, role, level, prompt_id, k, value`: large, not for the report."""
        return self.blocks.frame()


def read(plan: Plan, store: Store) -> Tables:
    """Read what a plan's stages have left in the results folder.

    Args:
        plan: the cells and their stages.
        store: where their folders are.

    Returns:
        The tables; a folder whose tables cannot be read is a gap with cause `bad data`, never an error.
    """
    from harness.records import rows, searches
    from harness.records.files import read_benchmarks, read_curves, read_pool, read_scores
    from harness.search.chosen import read_studies

    shelf, found = Shelf(plan, store), read_studies(store, plan.recipe)
    scores, curves = read_scores(shelf), read_curves(shelf)  # first: a table that cannot be read is a gap
    pool, no_pool = read_pool(shelf)
    benchmarks, no_benchmarks = read_benchmarks(shelf)
    return Tables(
        cells=rows.frame(rows.cells(shelf), rows.CELLS),
        gaps=rows.frame(rows.gaps(shelf), rows.GAPS),
        measurements=rows.frame(rows.measurements(shelf), rows.MEASUREMENTS),
        blocks=scores,
        pool=pool,
        no_pool=no_pool,
        curves=curves,
        costs=rows.frame(rows.costs(shelf), rows.COSTS),
        spent=rows.frame(rows.spent(shelf), rows.SPENT),
        made_by=rows.frame(rows.made_by(shelf), rows.MADE_BY),
        studies=rows.frame(searches.studies(found), searches.STUDIES),
        trials=rows.frame(searches.trials(found), searches.TRIALS),
        benchmarks=benchmarks,
        no_benchmarks=no_benchmarks,
        no_judgments=rows.frame(rows.no_judgments(shelf), rows.NO_JUDGMENTS),
    )
