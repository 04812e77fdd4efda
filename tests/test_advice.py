from __future__ import annotations

import json
import re
from dataclasses import replace
from html import unescape
from itertools import chain, product
from pathlib import Path
from statistics import stdev
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from browser import needs_browser, visit, with_body_end
from synthetic import World, fill, make_cells, make_plan
from typer.testing import CliRunner

from harness.cli import app
from harness.plan import Plan
from harness.records import read
from harness.report import build
from harness.report.advice import (
    ALONE,
    GIVES,
    LOW_VARIANCE,
    NEEDS,
    UNSEEN,
    Said,
    Wishes,
    advise,
    advise_all,
    significantly_better,
)
from harness.report.advice_words import DOUBTED, beside_rows
from harness.report.articles import articles
from harness.report.candidates import Candidate, Lead, candidates
from harness.report.claims import built_in
from harness.report.grade import GRADES, in_words, weighed
from harness.report.page import script_json
from harness.report.places import Places
from harness.report.standings import compare
from harness.report.trust import trusts
from harness.stats.contrast import contrast
from harness.store import Store


def one(name: str, gain: float, **more: Any) -> Candidate:
    """A candidate that trains on pairs in 100 seconds with 1 GB, from an SFT start, and beats nobody."""
    given = {
        **{"view": "pairs", "reward": False, "judge": False, "models": 1, "start": "sft", "one_sign": True},
        **{"answers": 1.0, "device_seconds": 100.0, "peak_memory_bytes": 1e9, "seed_sd": 0.1, "collapsed": 0.0},
        **{"start_view": "demonstrations"},
    }
    return Candidate(name=name, gold=(gain, gain - 0.1, gain + 0.1), **(given | more))


def over(*names: str, clear: bool = False, p: float = 0.0, **more: Any) -> dict[str, Lead]:
    """These are below, with this p before any adjustment."""
    return {name: Lead(p, clear, **more) for name in names}


DPO = one("dpo", 0.5, ahead=over("sft", clear=True))
KTO = one("kto", 0.4, view="binary", device_seconds=60.0, seed_sd=0.3, ahead=over("sft"))
PPO = one("ppo", 0.6, view="prompts", reward=True, models=4, device_seconds=900.0, peak_memory_bytes=4e9)
CUT = one("cut", 0.3, view="judgments", seed_sd=0.01)
BEST = one("best_of_n", 0.9, view="prompts", reward=True, models=2, answers=8.0, device_seconds=1.0)
SFT = one("sft", 0.0, view="demonstrations", device_seconds=10.0, seed_sd=0.1, tried=5, is_start=True)
SFT = replace(SFT, gold=(0.0, 0.0, 0.0))
FIELD = [BEST, PPO, DPO, KTO, CUT, SFT]


def test_a_higher_mean_alone_wins_nothing() -> None:
    advice = advise([DPO, KTO], Wishes())
    assert advice.tied == ("dpo", "kto")
    assert (advice.pick, advice.grade) == ("kto", "C"), "the cheaper of the two"
    assert "the data cannot tell kto from it" in advice.said[0].text
    assert "of these kto comes first by device-seconds beyond the base model." in advice.said[0].text


def test_who_beats_all_others_is_taken_whatever_it_costs() -> None:
    winner = replace(PPO, ahead=over("dpo", "kto"))
    advice = advise([winner, DPO, KTO], Wishes())
    assert (advice.pick, advice.grade, advice.tied) == ("ppo", "B", ("ppo",))
    assert "significantly better than every other candidate" in advice.said[0].text


def test_whom_another_candidate_surely_beats_is_not_taken_for_its_price() -> None:
    noisy, cheap = replace(PPO, ahead={}), replace(KTO, ahead={}, device_seconds=1.0)
    advice = advise([noisy, replace(DPO, ahead=over("kto")), cheap], Wishes())
    assert (advice.pick, advice.tied) == ("dpo", ("ppo", "dpo"))
    alone = advise([replace(noisy, ahead=over("dpo")), replace(DPO, ahead=over("kto")), cheap], Wishes())
    assert (alone.pick, alone.tied, alone.grade) == ("ppo", ("ppo",), "C"), "it is not shown to be better than kto"
    assert "of every other candidate one is significantly better" in alone.said[0].text
    assert alone.facts[0].seen == "not shown against kto"


def test_where_gold_is_in_doubt_every_grade_is_one_lower_and_it_says_why() -> None:
    winner = replace(PPO, ahead=over("dpo", "kto", clear=True))
    for field, settings, grade in (([winner, DPO, KTO], 2, "B"), ([winner, DPO, KTO], 1, "C"), ([DPO, KTO], 1, "D")):
        advice = advise([replace(found, doubts=("Gold is in doubt",)) for found in field], Wishes(), settings)
        assert advice.grade == grade
        assert advice.pick == advise(field, Wishes(), settings).pick
        assert any("Gold is in doubt" in said.text for said in advice.said)


def test_grade_a_takes_two_settings_and_the_margin() -> None:
    winner = replace(PPO, ahead=over("dpo", "kto", clear=True))
    assert advise([winner, DPO, KTO], Wishes(), settings=2).grade == "A"
    assert advise([winner, DPO, KTO], Wishes(), settings=1).grade == "B"
    close = replace(winner, ahead=over("dpo", clear=True) | over("kto"))
    assert advise([close, DPO, KTO], Wishes(), settings=2).grade == "B"


def test_rewards_that_disagree_and_unseen_prompts_cap_the_grade() -> None:
    winner = replace(PPO, ahead=over("dpo", clear=True))
    assert advise([replace(winner, one_sign=False), DPO], Wishes(), settings=2).grade == "C"
    unseen = advise([winner, DPO], Wishes(needs=(UNSEEN,)), settings=2)
    assert unseen.grade == "C"
    assert any("Nothing was measured on other kinds of prompts" in said.text for said in unseen.said)
    measured = advise([replace(winner, unseen=True), DPO], Wishes(needs=(UNSEEN,)), settings=2)
    assert measured.grade == "A"
    assert any("was measured on prompts of other kinds" in said.text for said in measured.said)


def test_low_variance_breaks_the_tie_by_spread() -> None:
    steady = Wishes(needs=(LOW_VARIANCE,))
    assert advise([DPO, KTO], steady).pick == "dpo"
    assert advise([DPO, replace(DPO, name="ipo", collapsed=0.2, seed_sd=0.0)], steady).pick == "dpo"
    assert advise([DPO, KTO], steady).decided == ("the spread over seeds",)


def test_costs_within_a_tenth_and_spreads_within_twice_are_alike() -> None:
    """A little measured time decides nothing: then stability does, and then the lower end of the interval."""
    dear, cheap = replace(DPO, device_seconds=109.0), replace(KTO, device_seconds=100.0, seed_sd=0.19)
    advice = advise([dear, cheap], Wishes())
    assert (advice.pick, advice.decided) == ("dpo", ("the lower end of the interval of its gain",))
    wild = replace(cheap, seed_sd=0.21)
    assert advise([dear, wild], Wishes()).decided == ("the spread over seeds",)
    assert advise([replace(dear, device_seconds=111.0), wild], Wishes()).pick == "kto"
    assert advise([replace(dear, collapsed=0.2), cheap], Wishes()).decided == ("failed or collapsed runs",)


def test_a_mean_without_an_interval_decides_nothing_that_is_called_a_finding() -> None:
    found = [replace(each, gold=(gain, None, None)) for each, gain in ((DPO, 0.5), (replace(DPO, name="ipo"), 0.4))]
    advice = advise(found, Wishes())
    assert advice.decided == ()
    assert "by its observed mean alone, since nothing else tells them apart" in advice.said[0].text


def test_p_values_are_adjusted_over_the_pairs_of_the_candidates_that_remain() -> None:
    """p = .02 is nothing among 10 pairs and something alone; a p of a pair that left counts for nobody."""
    best = replace(DPO, ahead=over("kto", "ppo", "cut", "best_of_n", p=0.02))
    field = [best, KTO, PPO, CUT, BEST]
    assert advise(field, Wishes()).tied == ("best_of_n", "ppo", "dpo", "kto", "cut")
    advice = advise([best, KTO, replace(CUT, view="binary")], Wishes(data=("pairs",)))
    assert advice.tied == ("dpo", "kto", "cut"), "3 pairs: .06"
    advice = advise(field, Wishes(data=("pairs",), models=1))
    assert (advice.pick, advice.tied) == ("dpo", ("dpo",))
    assert "significantly better than every other candidate" in advice.said[0].text


def test_who_remains_without_a_score_stays_in_the_family() -> None:
    """A family is what was planned: a failure makes it no easier for the rest."""
    best = replace(DPO, ahead=over("kto", p=0.02))
    assert significantly_better([best, KTO])["dpo"] == ("kto",)
    assert significantly_better([best, KTO, replace(CUT, gold=None)])["dpo"] == ()
    assert advise([best, KTO, replace(CUT, gold=None)], Wishes()).tied == ("dpo", "kto")


def test_what_every_answer_costs_comes_before_what_training_cost_once() -> None:
    advice = advise([BEST, DPO], Wishes())
    assert (advice.pick, BEST.device_seconds) == ("dpo", 1.0)
    assert advice.decided == ("tokens generated per token returned",)


@pytest.mark.parametrize(
    ("wishes", "left"),
    [
        (Wishes(data=("pairs",)), {"best_of_n", "ppo", "dpo", "kto", "sft"}),
        (Wishes(data=("binary",)), {"kto", "sft"}),
        (Wishes(data=("judgments",)), {"cut", "sft"}),
        (Wishes(data=("reward",)), {"best_of_n", "ppo", "sft"}),
        (Wishes(data=("demonstrations", "reward")), {"best_of_n", "ppo", "sft"}),
        (Wishes(models=3), {"best_of_n", "dpo", "kto", "cut", "sft"}),
        (Wishes(memory_gb=2), {"best_of_n", "dpo", "kto", "cut", "sft"}),
        (Wishes(memory_gb=2, scale=3), {"sft"}),
        (Wishes(device_hours=0.02), {"best_of_n", "kto", "sft"}),
        (Wishes(device_hours=0.02, scale=0.1), {"best_of_n", "dpo", "kto", "cut", "sft"}),
        (Wishes(start="sft"), {"best_of_n", "ppo", "dpo", "kto", "cut", "sft"}),
        (Wishes(start="base"), set()),
    ],
)
def test_constraints_leave_out_with_a_reason(wishes: Wishes, left: set[str]) -> None:
    advice = advise(FIELD, wishes)
    assert {each.name for each in FIELD} - set(advice.left_out) == left
    assert all(advice.left_out.values())
    assert set(advice.tied) <= left
    named = {name for said in advice.said if said.text.startswith("Left out") for name in said.rows}
    assert named == set(advice.left_out), "every reason links to the rows that it is about"


BAD = {
    "below the start": {"gold": (-0.2, -0.3, -0.1)},
    "collapsed": {"collapsed": 1.0, "tried": 3},
}


@pytest.mark.parametrize("how", BAD)
def test_what_is_shown_to_be_bad_is_not_taken_for_its_price(how: str) -> None:
    cheap = replace(KTO, **{"name": "base", "device_seconds": 0.0, **BAD[how]})
    advice = advise([DPO, KTO, cheap], Wishes())
    assert (advice.pick, set(advice.tied)) == ("kto", {"dpo", "kto", "base"})
    why = {"below the start": "its own interval lies below the start", "collapsed": "3 of 3 runs failed or collapsed"}
    assert (
        Said(f"Shown to be bad, and so left out where the tie is broken: base ({why[how]}).", ("base",)) in advice.said
    )
    lone = advise([DPO, cheap], Wishes())
    assert (lone.pick, lone.decided) == ("dpo", (ALONE,))
    assert f"of these dpo comes first by {ALONE}." in lone.said[0].text


def test_who_is_far_behind_one_of_the_tie_is_not_taken_for_its_price() -> None:
    """Holm may leave a pair open of which the one is likely worse by more than the margin, looked at alone."""
    pairs = {"p": 0.03, "difference": 0.2, "low": 0.12, "high": 0.28}
    dear, near = replace(DPO, ahead=over("kto", clear=True, **pairs)), replace(CUT, device_seconds=80.0)
    advice = advise([dear, near, replace(KTO, ahead={})], Wishes())
    assert (advice.pick, set(advice.tied)) == ("cut", {"dpo", "kto", "cut"})
    told = "is ahead of them by more than the margin of 0.10 over the whole 95 % interval of that pair: kto."
    assert [said.rows for said in advice.said if said.text.endswith(told)] == [("kto",)]
    close = replace(dear, ahead=over("kto", **pairs))
    assert advise([close, near, replace(KTO, ahead={})], Wishes()).pick == "kto", "it may be near enough"


def test_a_minority_of_collapsed_runs_and_a_mean_below_the_start_prove_nothing_bad() -> None:
    unlucky = replace(KTO, gold=(-0.1, -0.3, 0.1), collapsed=0.4, tried=5)
    advice = advise([DPO, unlucky], Wishes())
    assert advice.pick == "kto"
    assert "2 of 5 runs failed or collapsed." in [said.text for said in advice.said]
    none = advise([replace(each, collapsed=1.0, tried=5) for each in (DPO, KTO)], Wishes())
    assert none.pick == "kto", "where all of a tie are bad, it is broken as ever"
    assert "5 of 5 runs failed or collapsed." in [said.text for said in none.said]


def test_the_start_is_always_there_to_be_taken() -> None:
    """It needs nothing, whatever it once trained on and took; only who begins from elsewhere does not have it."""
    better = replace(KTO, ahead={})
    advice = advise([better, SFT, replace(CUT, name="base", view="prompts", start="base")], Wishes(data=("binary",)))
    assert "sft" in advice.tied
    assert (advice.pick, advice.grade) == ("sft", "C"), "kto is not shown to be better than the start"
    said = [one.text for one in advice.said]
    assert "It trains on demonstrations: the data give none, so that such a start must be there already." in said
    assert any(
        text.startswith("Where it is not there yet, it costs 1 model in memory at once, 10 dev") for text in said
    )
    assert advise([better, SFT], Wishes(data=("binary",), memory_gb=1e-6, device_hours=1e-6)).pick == "sft"
    assert "sft" in advise([better, SFT], Wishes(start="base")).left_out
    free = {"device_seconds": 0.0, "gold": (-0.1, -0.2, 0.01), "seed_sd": 0.06, "ahead": {}}
    base = replace(KTO, name="base", view="prompts", **free)  # type: ignore[arg-type]  # of several fields
    assert advise([SFT, base], Wishes()).pick == "sft", "to take what is there costs no more than to take the base"


def test_who_is_alone_is_not_called_one_of_a_tie() -> None:
    alone = advise([KTO], Wishes())
    assert in_words(alone) == "grade C: since there is no other candidate to be better than"
    surely = replace(DPO, ahead=over("kto"))
    unbeaten = advise([replace(PPO, ahead=over("dpo")), surely, KTO], Wishes())
    assert in_words(unbeaten) == "grade C: since it is not shown to be better than every other"


def test_a_pick_beside_the_best_of_its_tie_is_told_in_numbers() -> None:
    """Holm does not separate them, and the chance to be as good is next to none: one sentence says why both hold."""
    lead = over("kto", p=0.02, difference=0.2, low=0.1, high=0.3, more_seeds=9, more_prompts=None)
    best, cheap = (
        replace(DPO, ahead=lead, seed_seconds=100.0),
        replace(KTO, near_best=0.0, seed_seconds=20.0, ahead=over("cut", p=0.5)),
    )
    advice = advise([best, cheap, replace(CUT, device_seconds=500.0)], Wishes())
    assert advice.pick == "kto"
    said = {one.text: one.rows for one in advice.said}
    told = (
        "In the mean dpo is 0.20 sd of the start above kto [95 %: 0.10 to 0.30]: p = 0.020 by itself, p = 0.060 by "
        "Holm over 3 pairs of candidates.",
        "Both hold: by itself this pair differs; among 3 pairs one may differ this much by luck, so that Holm does not "
        "separate the two.",
        "To find a difference of 0.10 between them with power 0.8, among all the study's pairs, it would take 9 more "
        "seeds of both, 1,080 device-seconds at most (more prompts alone would not do).",
    )
    assert all(said[text] == ("dpo", "kto") for text in told)
    unsure = replace(best, ahead=over("kto", p=0.2))
    assert not any(one.text.startswith("Both hold") for one in advise([unsure, cheap], Wishes()).said)


@pytest.mark.parametrize(
    ("need", "words"),
    [
        ({"equivalent": True}, "The two are equivalent: shown to be less than 0.10 apart."),
        ({"more_seeds": 0, "more_prompts": 0}, "would probably have been found"),
        ({}, "Neither more seeds nor more test prompts alone would show a difference of 0.10 between them"),
        ({"more_seeds": 1, "more_prompts": 9}, "take 1 more seed of both, 0 device-seconds at most, or 9 more test"),
        ({"more_prompts": 9}, "it would take 9 more test prompts (more seeds alone would not do)."),
    ],
)
def test_what_would_tell_two_of_a_tie_apart(need: dict[str, Any], words: str) -> None:
    advice = advise([replace(DPO, ahead=over("kto", p=0.2, **need)), KTO], Wishes())
    assert any(words in one.text for one in advice.said)


def test_low_variance_says_how_much_each_varies() -> None:
    def told(*field: Candidate) -> str:
        return " ".join(one.text for one in advise(list(field), Wishes(needs=(LOW_VARIANCE,))).said)

    spread = (
        "Over seeds the mean reward of dpo has an sd of 0.10; that of ipo and kto is from 0.11 to 0.30 (up to twice"
    )
    assert spread in told(DPO, KTO, replace(DPO, name="ipo", seed_sd=0.11, device_seconds=200.0))
    assert "that of kto is 0.30 (" in told(DPO, KTO)
    assert "How dpo varies over seeds is not known" in told(replace(DPO, seed_sd=None))
    assert "Over seeds" not in " ".join(one.text for one in advise([DPO, KTO], Wishes()).said)


def test_a_start_that_the_data_cannot_make_is_told() -> None:
    def told(wishes: Wishes) -> bool:
        return any(
            "rests on the start sft, which trains on demonstrations" in said.text for said in advise([KTO], wishes).said
        )

    assert told(Wishes(data=("binary",)))
    assert not told(Wishes(data=("binary",), start="sft")), "it is there already"
    assert not told(Wishes(data=("pairs",))), "the chosen responses serve as demonstrations"
    assert not told(Wishes())
    base = replace(KTO, name="orpo", start="base", start_view="")
    assert advise([KTO, base], Wishes(start="base")).left_out == {"kto": "begins from sft"}


@pytest.mark.parametrize(
    ("gold", "words"),
    [
        ((-0.08, -0.2, 0.04), "0.08 sd of the start below the start's [95 %: -0.20 to +0.04]"),
        ((-0.08, -0.2, 0.04), "not shown to be better than the start"),
        ((-0.08, -0.2, -0.01), "whoever has the start loses by taking this instead"),
        ((0.08, -0.04, 0.2), "not shown to be better than the start"),
        ((0.08, 0.02, 0.2), "0.08 sd of the start above the start's"),
    ],
)
def test_a_gain_is_called_what_it_is(gold: tuple[float, float, float], words: str) -> None:
    said = " ".join(one.text for one in advise([replace(DPO, gold=gold)], Wishes()).said).replace("−", "-")
    assert words in said
    assert ("not shown to be better" in said) == (gold[1] < 0 < gold[2])
    assert ("whoever has the start loses" in said) == (gold[2] < 0)


def test_the_chance_to_be_near_the_best_is_told_where_it_is_known() -> None:
    assert any(
        "is about 0.35 (approximate" in said.text for said in advise([replace(DPO, near_best=0.35)], Wishes()).said
    )
    assert not any("approximate" in said.text for said in advise([DPO], Wishes()).said)


def test_a_lowered_grade_says_what_the_verdicts_gave_and_what_lowered_it() -> None:
    winner = replace(PPO, ahead=over("dpo"), doubts=("Gold is in doubt",))
    words = in_words(advise([winner, DPO], Wishes()))
    assert words.startswith("grade C: the verdicts give B, significantly better than every other candidate")
    assert words.endswith("lowered by a letter for each of: gold is in doubt")
    assert "tie" not in words
    assert in_words(advise([replace(winner, doubts=()), DPO], Wishes())) == f"grade B: {GRADES['B']}"


def test_tuning_is_part_of_the_device_hours() -> None:
    tuned = replace(DPO, device_seconds=7300.0, tuning_seconds=7200.0)
    assert advise([tuned], Wishes(device_hours=2)).left_out == {"dpo": "took more than 2 device-hours"}
    assert any("2.0 device-hours of them for tuning" in said.text for said in advise([tuned], Wishes()).said)


def test_a_judge_is_asked_for_by_name() -> None:
    online = replace(CUT, name="cut_online", view="prompts", judge=True)
    assert "judge" in advise([online], Wishes(data=("judgments",))).left_out["cut_online"]
    assert not advise([online], Wishes(data=("judge",))).left_out


def test_nothing_fits_and_nothing_was_measured() -> None:
    none = advise(FIELD[:-1], Wishes(memory_gb=0.1))
    assert (none.pick, none.grade) == ("", "D")
    assert "relax a constraint" in none.said[0].text
    assert "No contestant has been measured yet" in advise([replace(DPO, gold=None)], Wishes()).said[0].text


def test_a_limit_on_memory_that_was_not_measured_is_no_promise() -> None:
    untrained = replace(BEST, peak_memory_bytes=None)
    assert any("fits into memory is not known" in said.text for said in advise([untrained], Wishes(memory_gb=1)).said)
    for field, wishes in (([untrained], Wishes()), ([DPO], Wishes(memory_gb=1))):
        assert not any("is not known" in said.text for said in advise(field, wishes).said)


def test_memory_and_time_of_a_larger_model_are_called_extrapolated() -> None:
    advice = advise([DPO], Wishes(scale=10))
    assert any("extrapolated: 10.0 times" in said.text for said in advice.said)


WORLD = World({"dpo": 1.0, "kto": 0.9, "ppo": 0.2, "cut": -0.5}, prompts=40, samples=2, sd_seed=0.05)


APART = {"gains": {"dpo": 0.8, "kto": 0.4, "ppo": -0.6}, "sd_seed": 0.3}
CLOSE = {"gains": {"dpo": 0.75, "kto": 0.5, "ppo": -0.6}, "sd_seed": 0.1}
NOISY = ({**APART, "seed": 4}, {**APART, "seed": 24}, {**CLOSE, "seed": 15})
"""Draws in which something of a tie is shown to be bad or far behind, and in which a pick that costs less is worse when
looked at alone."""


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Plan, Store]:
    """Two settings in which other contestants lead, and three with so much noise that there are ties of all kinds."""
    root = tmp_path_factory.mktemp("advice")
    cells = make_cells(list(WORLD.gains), 4)
    other = make_cells(["dpo", "kto", "ppo"], 4, model="other")
    fill(root, cells, WORLD)
    fill(root, other, replace(WORLD, gains={"dpo": 0.1, "kto": 1.5, "ppo": 1.4}))
    noisy = [make_cells(["dpo", "kto", "ppo"], 4, model=f"noisy-{place}") for place in range(len(NOISY))]
    for draw, own in zip(NOISY, noisy, strict=True):
        fill(root, own, replace(WORLD, **draw))
    return make_plan([*cells, *other, *chain(*noisy)], 4), Store(root)


def test_candidates_come_from_the_records(finished: tuple[Plan, Store]) -> None:
    tables = read(*finished)
    comparison = compare(finished[0], tables)[0]
    found = {each.name: each for each in candidates(comparison, tables)}
    assert set(found) == {"sft", *WORLD.gains}
    assert (found["ppo"].view, found["ppo"].reward, found["ppo"].models) == ("prompts", True, 3)
    assert found["cut"].view == "judgments"
    assert {each.start for each in found.values()} == {"sft"}
    assert (found["ppo"].start_view, found["sft"].start_view) == ("demonstrations", "demonstrations")
    assert found["dpo"].near_best == pytest.approx(comparison.ranks.near_best["dpo"] if comparison.ranks else None)
    won = significantly_better(list(found.values()))
    for pair in comparison.pairs:
        if pair.family == "all":
            assert (pair.b in won[pair.a]) == (pair.verdict == "better")
            assert (pair.a in won[pair.b]) == (pair.verdict == "worse")


def test_the_start_varies_over_seeds_as_others_do(finished: tuple[Plan, Store]) -> None:
    """Its gain is 0 by definition; what a person gets from it is not."""
    tables = read(*finished)
    comparison = compare(finished[0], tables)[0]
    for each in candidates(comparison, tables):
        assert each.seed_sd == pytest.approx(stdev(comparison.gold_by_seed[each.name].values()))
        assert (each.tried, each.margin) == (4, comparison.margin)


def test_costs_leave_out_the_base_model_that_all_rest_on(finished: tuple[Plan, Store]) -> None:
    tables = read(*finished)
    comparison = compare(finished[0], tables)[0]
    found = {each.name: each for each in candidates(comparison, tables)}
    assert found["sft"].device_seconds == 3
    assert found["dpo"].device_seconds == 3 + 3 + 2, "dpo, sft and the reference; not the pretraining"
    assert found["dpo"].seed_seconds == 8 + 2 + 2, "and its samples and grade"
    shared = {row.name: row.seconds["shared"] for row in comparison.standings}
    assert {shared[name] - (each.device_seconds or 0.0) for name, each in found.items()} == {2.0}


def test_leads_have_the_numbers_of_the_table_of_pairs(finished: tuple[Plan, Store]) -> None:
    tables = read(*finished)
    comparison = compare(finished[0], tables)[0]
    found = {each.name: each for each in candidates(comparison, tables)}
    family = [pair for pair in comparison.pairs if pair.family == "all"]
    assert {(pair.difference or 0.0) > 0 for pair in family} == {True, False}
    for pair in family:
        above, below = (pair.a, pair.b) if (pair.difference or 0.0) > 0 else (pair.b, pair.a)
        lead, sign = found[above].ahead[below], 1 if above == pair.a else -1
        assert lead.difference == pytest.approx(sign * (pair.difference or 0.0))
        assert {lead.low, lead.high} == {sign * (pair.low or 0.0), sign * (pair.high or 0.0)}
        assert lead.low < lead.difference < lead.high
        assert (lead.more_seeds, lead.equivalent) == (pair.more_seeds, pair.verdict == "equivalent")


def test_what_trains_nothing_needs_what_its_start_needs(finished: tuple[Plan, Store]) -> None:
    plan, store = finished
    cells = tuple(replace(cell, own=()) if cell.contestant == "ppo" else cell for cell in plan.cells)
    plan = replace(plan, cells=cells)
    tables = read(plan, store)
    found = {each.name: each for each in candidates(compare(plan, tables)[0], tables)}
    assert found["ppo"].peak_memory_bytes == found["sft"].peak_memory_bytes
    assert (found["ppo"].peak_memory_bytes or 0) >= 100 * 2**20, "so much it grew"
    assert "ppo" in advise(list(found.values()), Wishes(memory_gb=0.0001)).left_out


def test_tuning_and_the_split_of_the_prompts_reach_the_candidates(finished: tuple[Plan, Store]) -> None:
    plan, store = finished
    evaluation = replace(plan.recipe.evaluation, split="ood")
    tables = read(plan, store)
    comparison = compare(replace(plan, recipe=replace(plan.recipe, evaluation=evaluation)), tables)[0]
    tuned = replace(comparison, prices=tuple(replace(each, tuning_seconds=100.0) for each in comparison.prices))
    for before, after in zip(candidates(comparison, tables), candidates(tuned, tables), strict=True):
        assert before.unseen
        assert after.device_seconds == pytest.approx((before.device_seconds or 0.0) + 100)


def test_looks_multiply_the_p_values(finished: tuple[Plan, Store]) -> None:
    plan, store = finished
    tables = read(plan, store)
    comparison = compare(plan, tables)[0]
    once, thrice = (candidates(replace(comparison, looks=looks), tables) for looks in (1, 3))
    for a, b in zip(once, thrice, strict=True):
        assert {name: min(3 * lead.p, 1.0) for name, lead in a.ahead.items()} == pytest.approx(
            {name: lead.p for name, lead in b.ahead.items()}
        )


def test_equal_candidates_that_costs_leave_are_rarely_told_apart() -> None:
    """800 studies of eight equal contestants, four of them left by what they cost: any false difference in 5 %."""
    rng, wrong = np.random.default_rng(5), 0
    for _ in range(800):
        scores = rng.standard_normal((8, 5, 1)) + 0.1 * rng.standard_normal((8, 5, 20))
        kept = [int(place) for place in rng.permutation(8)[:4]]
        found = []
        for i in kept:
            pairs = {j: contrast(scores[i], scores[j], paired=True) for j in range(8) if j != i}
            ahead = {f"c{j}": Lead(x.p, clear=False) for j, x in pairs.items() if x.difference > 0}  # type: ignore[union-attr,operator]  # all have one
            found.append(one(f"c{i}", 0.0, ahead=ahead))
        wrong += any(significantly_better(found).values())
    assert wrong / 800 <= 0.05 + 2 * (0.05 * 0.95 / 800) ** 0.5


def test_the_articles_advice_stands_beside_this_studys_verdicts(finished: tuple[Plan, Store], tmp_path: Path) -> None:
    known = {claim.id for claim in built_in()}
    assert {claim for advice in articles() for claim in advice.claims} <= known
    html = build(*finished, tmp_path / "out").path.read_text()
    guide = html.split('<section id="guide')[1].split("</section>")[0]
    assert "Where compute is tight, take CPO or SimPO." in guide
    rows = pd.read_csv(tmp_path / "out/tables/articles.csv")
    judged = pd.read_csv(tmp_path / "out/tables/hypotheses.csv").groupby("id")["verdict"].first()
    assert (rows["verdict"].to_numpy() == judged[rows["claim"]].to_numpy()).all()
    assert len(rows["verdict"].unique()) > 1


ALL_WISHES = [
    Wishes(data=data, memory_gb=memory, device_hours=hours, models=models, scale=scale, needs=needs, start=start)
    for data, memory, hours, models, scale, needs, start in product(
        [(), *[(kind,) for kind in GIVES], ("binary", "judgments")],
        [None, 0.3, 1.0],
        [None, 0.002],
        [None, 1],
        [1.0, 5.0],
        [(), *[(need,) for need in NEEDS]],
        ["", "", "", "sft", "base"],
    )
][::29]
"""Every 29th of all combinations: 29 divides none of the numbers of choices, so each choice is among them."""


@needs_browser
def test_the_page_gives_the_advice_of_the_command(finished: tuple[Plan, Store], tmp_path: Path) -> None:
    page = build(*finished, tmp_path / "out").path
    asked = [vars(wishes) | {"data": list(wishes.data), "needs": list(wishes.needs)} for wishes in ALL_WISHES]
    script = (
        "<textarea id='said'></textarea><script>"
        "const forms = [...document.querySelectorAll('form.guide')];"
        "const values = forms.map((form) => JSON.parse(document.getElementById(form.id + '-values').textContent));"
        "const doubt = (own, many) => ({ ...own, "
        "candidates: own.candidates.map((one) => ({ ...one, doubts: Array(many).fill('x') })) });"
        f"const said = values.map((own) => {script_json(asked)}.map((wishes) => {{ const one = advise(own, wishes);"
        "return { pick: one.pick, grade: one.grade, tied: one.tied, decided: one.decided, "
        "left_out: [...one.leftOut.keys()], words: gradeInWords(one, own.words.grades), "
        "said: sentences(one, wishes, own) }; }));"
        "document.getElementById('said').textContent = JSON.stringify(said);"
        "const letters = new Set();"
        f"for (const own of values) for (const wishes of {script_json(asked)}) {{"
        "const plain = advise(doubt(own, 0), wishes);"
        "letters.add(plain.grade);"
        "for (const many of [1, 2, 5]) {"
        "const less = advise(doubt(own, many), wishes), place = Math.min(3, 'ABCD'.indexOf(plain.grade) + many);"
        "const right = plain.pick === less.pick && (!plain.pick || less.grade === 'ABCD'[place]);"
        "if (!right) console.error(plain, less); } }"
        "if (letters.size < 3) console.error('the wishes lead to grades ' + [...letters]);"
        "const before = forms[0].dataset.pick;"
        "forms[0].querySelector('input[value=prompts]').click();"
        "document.title = [forms.length, before, forms[0].dataset.pick, "
        "forms[0].querySelector('output a').getAttribute('href')].join(' ');"
        "</script>"
    )
    seen = visit(with_body_end(page, tmp_path / "asked.html", script), tmp_path)
    assert seen.console == ""
    told = json.loads(unescape(seen.dom.split('<textarea id="said">')[1].split("</textarea>")[0]))
    plan, store = finished
    tables = read(plan, store)
    comparisons = weighed(compare(plan, tables), plan, tables, trusts(plan, store))
    kinds: set[str] = set()
    values = re.findall(r'id="wishes[^"]*-values">(.*?)</script>', page.read_text())
    own_values = dict(zip((one.name for one in comparisons), map(json.loads, values), strict=True))
    for wishes, *both in zip(ALL_WISHES, *told, strict=True):
        found = advise_all(comparisons, tables, wishes)
        for comparison, own in zip(comparisons, both, strict=True):
            advice = found[comparison.name]
            expected = {"pick": advice.pick, "grade": advice.grade, "tied": list(advice.tied)}
            expected |= {"decided": list(advice.decided)}
            expected |= {"left_out": list(advice.left_out), "words": in_words(advice)}
            said = [{"text": one.text, "rows": list(one.rows), "table": one.table} for one in advice.said]
            assert own == expected | {"said": said}, wishes
            assert all(one.rows for one in advice.said if re.search(r"\d", one.text)), "numbers link to rows"
            own_places = own_values[comparison.name]["places"]
            assert all(one.rows or own_places[one.text] for one in advice.said), "and the rest to a place"
            kinds |= {one.text.split()[0] for one in advice.said}
            kinds |= {"behind" for one in advice.said if one.text.startswith("Left out where the tie is broken")}
    assert {"behind", "Left", "Shown", "In", "Both", "To", "Over", "Where", "It", "The", "No"} <= kinds
    picks = {own["pick"] for all_ in told for own in all_}
    assert {"dpo", "kto", "ppo", "sft", ""} <= picks, "the wishes lead to different picks"
    forms, before, after, link = seen.dom.split("<title>")[1].split("</title>")[0].split()
    assert (forms, after) == ("5", "sft")
    assert before != after
    assert f'id="{link.removeprefix("#")}"' in seen.dom


def test_each_sentence_of_the_page_links_to_what_it_rests_on(finished: tuple[Plan, Store], tmp_path: Path) -> None:
    html = build(*finished, tmp_path / "out").path.read_text()
    guide = html.split('<section id="guide')[1].split("<form")[0]
    lines = re.findall(r"<li>(.*?)</li>", guide)
    assert lines
    for line in lines:
        links = re.findall(r'href="#([^"]+)">([^<]+)<', line)
        assert links, line
        for place, name in links:
            row = html.split(f'<tr id="{place}">')[1].split("</tr>")[0] if f'<tr id="{place}">' in html else ""
            assert all(f">{part}" in row for part in name.split(" and ")) or f'id="{place}"' in html
            assert bool(row) is ("so that the grade is one lower" not in line)


def test_a_doubt_links_to_where_it_is_raised(finished: tuple[Plan, Store]) -> None:
    plan, store = finished
    tables = read(plan, store)
    one = weighed(compare(plan, tables), plan, tables, {})[0]
    assert {fact.doubt for fact in one.facts} == set(DOUBTED), "each doubt has its place"
    texts = beside_rows(fact.doubt for fact in one.facts)
    where = Places("-1", {}, "trust-0", tuned=True)
    assert where.to(texts["Gold is in doubt, so that the grade is one lower."]) == (("Reward-model trust", "trust-0"),)
    assert where.to(texts["Seeds are few, so that the grade is one lower."]) == (("Contestants", "table-main-1"),)
    assert Places().to("trust", "tuning") == (("What the grade rests on", "table-grade-0"), ("Method", "method"))


def test_the_command_names_every_wrong_wish(tmp_path: Path) -> None:
    recipe = str(Path(__file__).parents[1] / "recipes" / "compare_quick.toml")
    options = ["--data", "pears", "--need", "low-varianse", "--memory-gb", "0", "--scale", "-1", "--start", "sfd"]
    done = CliRunner().invoke(app, ["advise", recipe, "--results", str(tmp_path), *options])
    text = str(done.exception)
    assert "did you mean 'pairs'" in text
    assert "did you mean 'low-variance'" in text
    assert "--start 'sfd' is not known; did you mean 'sft'?" in text
    assert "--memory-gb must be above 0" in text
    assert "--scale must be above 0" in text


def test_the_command_before_anything_has_run(tmp_path: Path) -> None:
    recipe = str(Path(__file__).parents[1] / "recipes" / "compare_quick.toml")
    done = CliRunner().invoke(app, ["advise", recipe, "--results", str(tmp_path), "--json"])
    assert done.exit_code == 0
    told = json.loads(done.stdout)
    (found,) = told["settings"]
    assert (found["pick"], found["grade"]) == ("", "D")
    assert {word for one in told["articles"] for word in one["verdicts"].values()} == {"NOT RUN"}


def test_who_has_too_few_runs_to_be_compared_wins_no_tie() -> None:
    """That nobody was shown to be better than one bad run says nothing for it, cheap as it may be."""
    lucky = replace(KTO, gold=(-3.5, None, None), ahead={}, device_seconds=1.0)
    advice = advise([DPO, replace(PPO, ahead={}), lucky, SFT], Wishes())
    assert (advice.pick, advice.tied) == ("dpo", ("ppo", "dpo"))
    assert Said("Not ranked, with too few finished runs to be compared: kto.", ("kto",)) in advice.said
    winner = replace(DPO, ahead=over("sft", clear=True))
    alone = advise([winner, lucky, SFT], Wishes(), settings=2)
    assert (alone.pick, alone.given) == ("dpo", "C"), "it is not shown to be better than kto"
    lost = advise([winner, replace(lucky, gold=None, tried=5, collapsed=1.0), SFT], Wishes())
    assert any("Not ranked" in said.text and "kto" in said.rows for said in lost.said)
    assert lost.given == "B"


def test_other_rewards_count_for_the_leads_among_the_candidates_alone() -> None:
    field = [replace(DPO, ahead=over("kto", p=0.01) | over("cut", p=0.01, opposed=True)), KTO, CUT]
    assert "do not agree" in " ".join(said.text for said in advise(field, Wishes()).said)
    pairs = advise(field, Wishes(data=("pairs",)))
    assert "cut" in pairs.left_out
    assert pairs.given == "B"
    unsure = [replace(DPO, ahead=over("kto", p=0.2, opposed=True)), KTO]
    assert advise(unsure, Wishes()).facts[2].holds, "a difference that is not shown turns nothing round"


def test_the_chance_is_of_all_contestants_and_not_told_where_some_are_left_out() -> None:
    near = replace(DPO, near_best=0.35)
    assert any("0.35" in said.text for said in advise([near, replace(KTO, device_seconds=500.0)], Wishes()).said)
    assert not any("0.35" in said.text for said in advise([near, CUT], Wishes(data=("pairs",))).said)
    waiting = replace(CUT, gold=None)
    assert any("0.35" in said.text for said in advise([near, waiting], Wishes(data=("pairs",))).said)


def test_where_nothing_was_measured_no_constraint_is_to_blame() -> None:
    field = [replace(one, gold=None) for one in (DPO, CUT)]
    assert advise(field, Wishes(data=("pairs",))).said[0].text == "No contestant has been measured yet."
    assert advise([CUT], Wishes(data=("pairs",))).said[0].text.startswith("No contestant that has been measured fits")


def test_grade_a_takes_wins_for_two_models_or_datasets(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tie that it won on price elsewhere is no second finding, nor is another start of the same data."""
    winner, tie = [replace(DPO, ahead=over("kto", clear=True)), KTO], [DPO, replace(KTO, device_seconds=500.0)]
    fields = {"m · d · sft": winner, "m · d · base": winner, "m · other · sft": tie}

    def given(own: dict[str, list[Candidate]]) -> dict[str, str]:
        monkeypatch.setattr("harness.report.candidates.candidates", lambda one, _: own[one.name])
        settings = [SimpleNamespace(name=name) for name in own]
        return {name: advice.given for name, advice in advise_all(settings, None, Wishes()).items()}  # type: ignore[arg-type]  # all that it reads

    assert given(fields) == {"m · d · sft": "B", "m · d · base": "B", "m · other · sft": "C"}
    assert given({**fields, "m · other · sft": winner}) == dict.fromkeys(fields, "A")


def test_who_cannot_be_compared_beats_nobody() -> None:
    """One that shares no two seeds with the start may share them with others: it has pairs, and no interval."""
    thin = replace(PPO, gold=(0.9, None, None), ahead=over("dpo"))
    best = replace(DPO, ahead=over("sft", clear=True))
    advice = advise([thin, best, SFT], Wishes())
    assert (advice.pick, advice.tied, advice.given) == ("dpo", ("dpo",), "C")
    unranked = advise([replace(thin, gold=None), best, SFT], Wishes())
    assert unranked.pick == "dpo"
    both = advise([replace(thin, ahead=over("kto")), replace(best, ahead=over("ppo", "sft")), KTO, SFT], Wishes())
    assert not any("every other candidate" in said.text for said in both.said)
