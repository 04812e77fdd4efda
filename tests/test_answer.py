"""What the answer says of who is best and of what the study can show."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from synthetic import World, fail, fill, make_cells, make_plan

from harness.plan import Plan
from harness.records import read
from harness.report import build
from harness.report.answer import _against_gold, _sizes, _undecided, headline
from harness.report.collapse import in_top_set
from harness.report.compare import Comparison, Estimate, Standing
from harness.report.method import WORDS, words_of
from harness.report.page import Guide, Linked, Section
from harness.report.places import Places
from harness.report.say import pairs as pairs_told
from harness.report.standings import compare
from harness.store import Store

WORLD = World({"dpo": 3.0, "kto": 0.0}, prompts=30, sd_seed=0.05)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Plan, Store]:
    root = tmp_path_factory.mktemp("answer")
    cells = make_cells(list(WORLD.gains), 5)
    fill(root, cells, WORLD)
    return make_plan(cells, 5), Store(root)


def test_who_scores_best_is_not_said_to_beat_whom_it_is_not_shown_to_beat(finished: tuple[Plan, Store]) -> None:
    comparison = compare(finished[0], read(*finished))[0]
    assert headline(comparison) == "dpo is significantly better on the gold reward than every other contestant."
    pairs = [
        replace(one, verdict="cannot separate") if {one.a, one.b} == {"dpo", "kto"} else one for one in comparison.pairs
    ]
    assert headline(replace(comparison, pairs=pairs)) == (
        "dpo scores best on the gold reward, and of every other contestant one is significantly better."
    )


def test_the_smallest_differences_and_the_seeds_above_are_told(finished: tuple[Plan, Store], tmp_path: Path) -> None:
    answer = build(*finished, tmp_path / "out").text
    pairs = pd.read_parquet(tmp_path / "out/tables/pairs.parquet")
    smallest = pairs[pairs["family"] == "start"]["detectable"]
    assert f"finds with power 0.8: against the start {smallest.median():.2f} sd of the start" in answer
    own = pairs[(pairs["family"] == "start") & (pairs["a"] == "dpo")].iloc[0]
    assert own["above"] == 1.0
    assert own["above_low"] == pytest.approx(0.5, abs=1e-6), "the exact interval of 5 of 5"


def test_answer_and_stability_have_one_tau(finished: tuple[Plan, Store], tmp_path: Path) -> None:
    answer = build(*finished, tmp_path / "out").text
    table = pd.read_csv(tmp_path / "out/tables/agreement.csv").set_index(["a", "b"])
    assert f"Kendall's tau {table.loc[('gold', 'oracle'), 'kendall']:.2f} (1: the same)" in answer


def _needing(comparison: Comparison, needs: list[tuple[int | None, int | None]]) -> list[str]:
    """The answer's points where the pairs with the start lack so many seeds and prompts."""
    start = [pair for pair in comparison.pairs if pair.family == "start"]
    own = [
        replace(start[0], a=f"m{i}", verdict="cannot separate", more_seeds=seeds, more_prompts=prompts)
        for i, (seeds, prompts) in enumerate(needs)
    ]
    return [text for text in _undecided(replace(comparison, pairs=own)) if "the start: m0" in text]


def test_what_would_help_some_pairs_is_told_and_whom_nothing_helps_alone(finished: tuple[Plan, Store]) -> None:
    comparison = compare(finished[0], read(*finished))[0]
    (mixed,) = _needing(comparison, [(14, 8000), (20, None), (None, 9000), (None, None)])
    assert mixed.endswith(
        "it would take up to 20 more seeds (median 17, for 2 of 4) or up to 9000 more test prompts (median 8500, for "
        "2 of 4); neither alone would do for m3."
    )
    (apart,) = _needing(comparison, [(14, None), (None, 9000)])
    assert apart.endswith("it would take 14 more seeds (for 1 of 2) or 9000 more test prompts (for 1 of 2).")
    (all_of_them,) = _needing(comparison, [(14, None), (20, None)])
    assert all_of_them.endswith("it would take up to 20 more seeds (median 17).")
    (none,) = _needing(comparison, [(None, None)])
    assert none.endswith("Neither more seeds nor more prompts alone would show a difference of 0.10 with power 0.8.")


def test_the_method_says_how_far_it_reaches_and_what_was_not_as_planned(
    finished: tuple[Plan, Store], tmp_path: Path
) -> None:
    method = build(*finished, tmp_path / "out").path.with_suffix(".md").read_text().split("## Method")[1]
    assert "Limits: what was seen is lab · lab · sft: 5 seeds, 30 prompts." in method
    assert "Departures from what was planned: none that the records show." in method
    cells = make_cells(["dpo"], 3)
    fill(tmp_path, cells, WORLD, skip={("dpo", 2)})
    method = build(make_plan(cells, 3), Store(tmp_path), tmp_path / "out").path.with_suffix(".md").read_text()
    assert "Departures from what was planned: runs that have no scores: 1 waiting." in method


def test_one_pair_differs(finished: tuple[Plan, Store]) -> None:
    comparison = compare(finished[0], read(*finished))[0]
    first, *rest = [pair for pair in comparison.pairs if pair.family == "all"]
    pairs = [replace(first, verdict="better"), *(replace(pair, verdict="cannot separate") for pair in rest)]
    assert pairs_told(replace(comparison, pairs=pairs)).startswith("Of 3 pairs: 1 differs, 0 are equivalent, 2 cannot")


def test_collapsed_runs_of_the_top_set_are_in_the_answer(finished: tuple[Plan, Store]) -> None:
    comparison = compare(finished[0], read(*finished))[0]
    assert not in_top_set(comparison)
    lost = [replace(row, collapsed=2 + row.in_top_set) for row in comparison.standings]
    told = in_top_set(replace(comparison, standings=lost))
    assert told.startswith("Runs in the top set that collapsed: dpo (3 of 5). A run collapsed where it failed, or more")


def test_a_contestant_called_like_a_section_does_not_take_its_links() -> None:
    where = Places(rows={"trust": "table-main-0-3"}, trust="trust-0")
    assert where.to("trust") == (("Reward-model trust", "trust-0"),)
    assert where.to("grade", row="trust") == (
        ("trust", "table-main-0-3"),
        ("What the grade rests on", "table-grade-0"),
    )
    assert where.to(row="nobody") == ()


# ---- failed runs


def _with_failures(root: Path, failed: dict[str, tuple[int, ...]]) -> str:
    """The answer where these runs of sft, dpo, kto and ipo failed, of four seeds each."""
    cells = make_cells(["dpo", "kto", "ipo"], 4)
    lost = {(name, seed) for name, seeds in failed.items() for seed in seeds}
    fill(root, cells, WORLD, skip=lost)
    for cell in cells:
        if (cell.contestant, cell.replicate) in lost:
            fail(root, cell.grades[None] if cell.is_start else cell.policy, "bug")
    return build(make_plan(cells, 4), Store(root), root / "out").text


def test_what_failed_runs_count_as_is_true_of_each(tmp_path: Path) -> None:
    answer = _with_failures(tmp_path, {"sft": (2,), "dpo": (2,), "kto": (3,), "ipo": (0, 1, 2, 3)})
    told = next(line for line in answer.splitlines() if line.startswith("Failed: "))
    assert told.split(". ", 1)[1] == (
        "Counted with the start's scores of its seed, as a gain of nothing: kto (1 run). "
        "Left out, since the start has no scores of that seed: sft (1 run) and dpo (1 run). "
        "Without any run that has scores, and so without a verdict: ipo."
    )
    method = (tmp_path / "out/report.md").read_text().split("## Method")[1]
    assert "A contestant of which no run finished has no scores and no verdict; the answer names it" in method
    assert "where at least one run of its contestant finished and the start's run of that seed did" in method


def test_without_a_start_nothing_stands_in_for_a_failed_run(tmp_path: Path) -> None:
    answer = _with_failures(tmp_path, {"sft": (0, 1, 2, 3), "kto": (3,)})
    assert "Nothing stands in for a failed run, since the start (sft) has no gold scores yet" in answer
    assert "gain of nothing" not in answer


# ---- gold and the oracle


def _standing(name: str, gold: float, oracle: Estimate) -> Standing:
    estimates = {"gold": Estimate(gold, gold - 0.1, gold + 0.1), "oracle": oracle}
    return Standing(name, name, "{}", 5, 5, 0, 0, estimates=estimates)


def test_every_gain_that_is_smaller_by_the_oracle_is_counted_the_worst_first() -> None:
    pairs = {"dpo": (0.52, -1.21), "kto": (0.4, 0.2), "ipo": (0.3, 0.25), "cpo": (0.2, 0.3), "base": (-0.08, -0.2)}
    rows = [_standing(name, gold, Estimate(oracle)) for name, (gold, oracle) in pairs.items()]
    assert _sizes(rows) == [
        "By the oracle 3 of 4 gains are smaller than by gold: no gain at all for dpo (gold +0.52, oracle −1.21); of "
        "the others in the largest ratio that of kto (gold +0.40, oracle +0.20)."
    ]
    assert _sizes(rows[:1]) == [
        "By the oracle 1 of 1 gain is smaller than by gold: no gain at all for dpo (gold +0.52, oracle −1.21)."
    ]
    assert _sizes(rows[1:2])[0].endswith("gold: in the largest ratio that of kto (gold +0.40, oracle +0.20).")
    assert _sizes(rows[3:]) == []


@pytest.mark.parametrize(
    ("gold", "oracle", "told"),
    [
        (0.52, Estimate(-1.21, -1.4, -1.0), "But the oracle, which is the exact rule, puts it below the start (gold "
         "+0.52, oracle −1.21 [−1.40, −1.00]): do not take it on gold's word."),
        (0.52, Estimate(-0.1, -0.3, 0.1), "But the oracle, which is the exact rule, puts it below the start (gold "
         "+0.52, oracle −0.10 [−0.30, +0.10]; its interval reaches 0): do not take it on gold's word."),
        (0.52, Estimate(-0.1), "But the oracle, which is the exact rule, puts it below the start (gold +0.52, oracle "
         "−0.10): do not take it on gold's word."),
        (-0.1, Estimate(-0.3, -0.4, -0.2), "The oracle, which is the exact rule, puts it below the start too (gold "
         "−0.10, oracle −0.30 [−0.40, −0.20])."),
        (-0.1, Estimate(-0.3, -0.8, 0.2), ""),
        (0.52, Estimate(0.1, -0.1, 0.3), ""),
    ],
)  # fmt: skip
def test_who_is_recommended_against_the_exact_rule(
    finished: tuple[Plan, Store], gold: float, oracle: Estimate, told: str
) -> None:
    comparison = compare(finished[0], read(*finished))[0]
    one = replace(comparison, standings=[_standing("dpo", gold, oracle)])
    assert _against_gold("dpo", one) == [told] * bool(told)


def test_the_answer_speaks_against_its_own_recommendation_at_once(tmp_path: Path) -> None:
    cells = make_cells(["dpo", "kto"], 5)
    fill(tmp_path, cells, replace(WORLD, oracle_sign=-1.0))
    _, pick, against, why, *_ = build(make_plan(cells, 5), Store(tmp_path), tmp_path / "out").text.splitlines()
    assert pick.startswith("Recommended without constraints: dpo")
    assert against.startswith("But the oracle, which is the exact rule, puts it below the start (gold +")
    assert why.startswith("Why: ")


# ---- the words that a newcomer may not know


def test_the_words_that_a_page_uses_stand_at_its_head(finished: tuple[Plan, Store], tmp_path: Path) -> None:
    path = build(*finished, tmp_path / "out").path
    html, text = path.read_text(), path.with_suffix(".md").read_text()
    head = html.split("<main>")[0]
    assert '<details class="words"><summary>Words used here</summary>' in head
    for word in ("gold", "oracle", "start-sd", "Holm", "top set"):
        assert f"<dt>{word}</dt>" in head, word
        assert text.index(f"- **{word}**: ") < text.index("## Answer"), word
    assert text.index("Words used here:") < text.index("- **gold**")


def test_only_words_that_are_used_are_explained() -> None:
    plain = Section("main", "Contestants", "Nothing golden, no proxying.", points=["1.2 sd of the start"])
    assert list(words_of([plain], [])) == ["start", "start-sd"]
    linked = Section("answer", "Answer", "", linked=[Linked("By Holm, the top set; κ 0.3.")])
    guide = Section("guide", "Guide", "", guide=Guide("guide", {"gives": {"binary": [], "judgments": []}}))
    assert list(words_of([linked, guide], ["gold is in doubt"])) == [
        *("gold", "top set", "Holm", "κ", "binary", "judgments")
    ]
    explains = Section("dictionary", "Data dictionary", "gold, oracle, proxy, selection")
    assert words_of([explains], []) == {}
    assert all("\n" not in meaning and len(meaning) < 130 for meaning in WORDS.values())
