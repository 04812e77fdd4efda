"""Real runs with a known truth: sixty runs of one method, called by ten names, are not to be told apart.

The runs are those of benchmarks/pool.toml. A simulated world has the noise that its author thought of; these have
what training really does to seeds and prompts. All studies go through arrays, which takes seconds; some go through
`verdicts`, and some the whole way of a report, by records: those are told the same.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from itertools import combinations, islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from calibration import (
    DEALT,
    METHODS,
    NAMES,
    by_both,
    by_prompts_alone,
    dealt_from,
    one_pair,
    planted,
    pool,
    told_apart,
)
from synthetic import World, fill, make_cells, make_plan, record

from harness.plan import Cell
from harness.records import read
from harness.report.standings import compare
from harness.stats.parts import parts_of_difference
from harness.stats.runs import Runs
from harness.stats.verdicts import Verdicts, holm, verdicts
from harness.store import Store

METHOD, MARGIN = "dpo", 0.1
DOCS = Path(__file__).parents[2] / "docs" / "statistics.md"
PAIRS = list(combinations(range(NAMES), 2))


@pytest.fixture(scope="module")
def runs() -> np.ndarray:
    """(60, P) gold scores of one method."""
    found: np.ndarray = pool()[METHOD]
    return found


def judged(dealt: np.ndarray, paired: bool, margin: float = MARGIN) -> Verdicts:
    named = {name_of(i): Runs(own, tuple(range(len(own)))) for i, own in enumerate(dealt)}
    return verdicts(named, name_of(0), margin, paired=paired)


def name_of(i: int) -> str:
    """The first name is the start's, which a report has."""
    return "sft" if i == 0 else f"dpo name-{i}"


@pytest.mark.parametrize("paired", [True, False])
@pytest.mark.parametrize("method", METHODS)
def test_one_method_by_ten_names_is_one_method(method: str, paired: bool) -> None:
    """All 45 pairs under Holm: some pair is called different in no more than 5 % of 2000 studies."""
    assert told_apart(method, paired).mean() <= 0.05


def test_error_bars_over_prompts_alone_call_it_more_often(runs: np.ndarray) -> None:
    """What evaluation tools print takes a run for its method; seeds and prompts together do not."""
    by_prompts = one_pair(runs, lambda a, b: bool(by_prompts_alone((a - b)[None])[0]))
    assert one_pair(runs, by_both) <= 0.06
    assert by_prompts > one_pair(runs, by_both) + 0.015


@pytest.mark.parametrize("paired", [True, False])
@pytest.mark.parametrize("method", METHODS)
def test_a_planted_winner_is_found_as_often_as_promised(method: str, paired: bool) -> None:
    """A gain that six seeds find with power .8 by the noise of the pool itself is found in about that share."""
    assert 0.75 <= planted(method, paired).mean() <= 0.85


@pytest.mark.parametrize("paired", [True, False])
def test_verdicts_tell_apart_what_the_arrays_do(runs: np.ndarray, paired: bool) -> None:
    """The studies in which some pair is told apart, and as many others, through `verdicts` itself."""
    found = told_apart(METHOD, paired)
    some = {*np.flatnonzero(found)[:4], *np.flatnonzero(~found)[:4]}
    assert len(some) == 8
    for study, dealt in enumerate(islice(dealt_from(runs), max(some) + 1)):
        if study in some:
            words = {one.word for one in judged(dealt, paired).pairs}
            assert bool(words & {"better", "worse"}) == found[study]


@dataclass(frozen=True)
class Dealt(World):
    """A world whose runs are the pool's, by the names that they were dealt to."""

    dealt: np.ndarray = field(default_factory=lambda: np.zeros((0, 0, 0)))

    def scores(self, cell: Cell, step: int | None) -> pa.Table:
        name = next(i for i in range(NAMES) if name_of(i) == cell.contestant)
        gold = self.dealt[name, cell.replicate]
        n = len(gold)
        ids: dict[str, Any] = {"metric": ["reward"] * n, "role": ["gold"] * n, "level": ["sample"] * n}
        ids |= {"prompt_id": [f"p{p}" for p in range(n)], "k": pa.array([0] * n, pa.int32())}
        return pa.table({**ids, "value": gold})


def test_records_and_the_report_tell_what_the_arrays_do(runs: np.ndarray, tmp_path: Path) -> None:
    """A null study, and one with a planted winner, from stages that are written and read, paired and not."""
    cells = make_cells([name_of(i) for i in range(1, NAMES)], runs.shape[0] // NAMES, best_of=0)
    for number, dealt in enumerate(islice(dealt_from(runs), 2)):
        dealt = dealt + np.where(np.arange(NAMES) == NAMES - 1, number * 1.0, 0.0)[:, None, None]
        fill(tmp_path / str(number), cells, Dealt({}, dealt=dealt))
        for paired in (True, False):
            plan = make_plan(cells, dealt.shape[1], margin=MARGIN, paired=paired)
            [one] = compare(plan, read(plan, Store(tmp_path / str(number))))
            own = judged(dealt, paired, MARGIN * one.scales["gold"].sd)
            told = {(pair.family, pair.a, pair.b): (pair.verdict, pair.p_holm) for pair in one.pairs}
            for family, pairs in (("start", own.start), ("all", own.pairs)):
                for pair in pairs:
                    word, p = told[family, pair.a, pair.b]
                    assert (word, p) == (pair.word, pytest.approx(pair.p_holm, rel=1e-6))
            best = {row.name for row in one.standings if row.in_top_set}
            assert best == ({name_of(NAMES - 1)} if number else {name_of(i) for i in range(NAMES)})


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("paired", [True, False])
def test_all_studies_go_the_whole_way_of_a_report(runs: np.ndarray, tmp_path: Path, paired: bool) -> None:
    """Each of the 2000 is written as records, read, compared and judged."""
    cells = make_cells([name_of(i) for i in range(1, NAMES)], runs.shape[0] // NAMES, best_of=0)
    plan, store, called = make_plan(cells, runs.shape[0] // NAMES, margin=MARGIN, paired=paired), Store(tmp_path), []
    fill(tmp_path, cells, Dealt({}, dealt=next(dealt_from(runs))))
    for dealt in dealt_from(runs):
        world = Dealt({}, dealt=dealt)
        for cell in cells:
            record(tmp_path, cell.grades[None], scores=world.scores(cell, None))
        [one] = compare(plan, read(plan, store))
        called.append(any(pair.winner for pair in one.pairs if pair.family == "all"))
    assert np.mean(called) <= 0.05
    assert called == told_apart(METHOD, paired).tolist()


def test_the_arrays_have_the_p_values_of_verdicts(runs: np.ndarray) -> None:
    pairs = np.array(PAIRS)
    for dealt in islice(dealt_from(runs), 3):
        found = {(one.a, one.b): one.p_holm for one in judged(dealt, False).pairs}
        p = holm(np.asarray(parts_of_difference(dealt[pairs[:, 0]], dealt[pairs[:, 1]], paired=False).p))
        for (i, j), own in zip(PAIRS, p, strict=True):
            a, b = name_of(i), name_of(j)
            assert found.get((a, b), found.get((b, a))) == pytest.approx(own)


def test_the_documented_table_is_this_one() -> None:
    text = DOCS.read_text(encoding="utf-8")
    [line] = re.findall(rf"^\| {METHOD} \|.*$", text, flags=re.MULTILINE)
    documented = [float(cell) for cell in line.strip("| ").split("|")[1:]]
    assert documented[:2] == pytest.approx([told_apart(METHOD, paired).mean() for paired in (True, False)], abs=0.0006)
    assert len(re.findall(rf"^\| (?:{'|'.join(METHODS)}) \|", text, flags=re.MULTILINE)) == len(METHODS)
    assert f"{DEALT} times" in text
