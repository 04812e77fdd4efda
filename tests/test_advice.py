from __future__ import annotations

import json
from dataclasses import replace
from html import unescape
from itertools import product
from pathlib import Path
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
    GIVES,
    LOW_VARIANCE,
    NEEDS,
    UNSEEN,
    Wishes,
    advise,
    advise_all,
    significantly_better,
)
from harness.report.articles import articles
from harness.report.candidates import Candidate, Lead, candidates
from harness.report.claims import built_in
from harness.report.grade import GRADES, in_words
from harness.report.page import script_json
from harness.report.standings import compare
from harness.stats.contrast import contrast
from harness.store import Store


def one(name: str, gain: float, **more: Any) -> Candidate:
    """A candidate that trains on pairs in 100 seconds with 1 GB, from an SFT start, and beats nobody."""
    given = {
        **{"view": "pairs", "reward": False, "judge": False, "models": 1, "start": "sft", "agrees": True},
        **{"answers": 1.0, "device_seconds": 100.0, "peak_memory_bytes": 1e9, "seed_sd": 0.1, "collapsed": 0.0},
        **{"start_view": "demonstrations"},
    }
    return Candidate(name=name, gold=(gain, gain - 0.1, gain + 0.1), **(given | more))


def over(*names: str, clear: bool = False, p: float = 0.0) -> dict[str, Lead]:
    """These are below, with this p before any adjustment."""
    return {name: Lead(p, clear) for name in names}


DPO = one("dpo", 0.5, ahead=over("sft", clear=True))
KTO = one("kto", 0.4, view="binary", device_seconds=60.0, seed_sd=0.3, ahead=over("sft"))
PPO = one("ppo", 0.6, view="prompts", reward=True, models=4, device_seconds=900.0, peak_memory_bytes=4e9)
CUT = one("cut", 0.3, view="judgments", seed_sd=0.01)
BEST = one("best_of_n", 0.9, view="prompts", reward=True, models=2, answers=8.0, device_seconds=1.0)
SFT = replace(
    one("sft", 0.0, view="demonstrations", device_seconds=10.0, seed_sd=0.0), gold=(0.0, 0.0, 0.0), start_view=""
)
FIELD = [BEST, PPO, DPO, KTO, CUT, SFT]


def test_a_higher_mean_alone_wins_nothing() -> None:
    advice = advise([DPO, KTO], Wishes())
    assert advice.tied == ("dpo", "kto")
    assert (advice.pick, advice.grade) == ("kto", "C"), "the cheaper of the two"
    assert "the data cannot tell kto from it" in advice.said[0].text
    assert "of these kto comes first by device-seconds." in advice.said[0].text


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
    assert advise([replace(winner, agrees=False), DPO], Wishes(), settings=2).grade == "C"
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
        (Wishes(data=("binary",)), {"kto"}),
        (Wishes(data=("judgments",)), {"cut"}),
        (Wishes(data=("reward",)), {"best_of_n", "ppo"}),
        (Wishes(data=("demonstrations", "reward")), {"best_of_n", "ppo", "sft"}),
        (Wishes(models=3), {"best_of_n", "dpo", "kto", "cut", "sft"}),
        (Wishes(memory_gb=2), {"best_of_n", "dpo", "kto", "cut", "sft"}),
        (Wishes(memory_gb=2, scale=3), set()),
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
        ((-0.08, -0.2, 0.04), "whoever has the start loses by taking this instead"),
        ((0.08, -0.04, 0.2), "not shown to be better than the start"),
        ((0.08, 0.02, 0.2), "0.08 sd of the start above the start's"),
    ],
)
def test_a_gain_is_called_what_it_is(gold: tuple[float, float, float], words: str) -> None:
    said = " ".join(one.text for one in advise([replace(DPO, gold=gold)], Wishes()).said).replace("−", "-")
    assert words in said
    assert ("not shown to be better" in said) == (gold == (0.08, -0.04, 0.2))


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
    none = advise(FIELD, Wishes(memory_gb=0.1))
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


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Plan, Store]:
    """Two settings, in which other contestants lead."""
    root = tmp_path_factory.mktemp("advice")
    cells = make_cells(list(WORLD.gains), 4)
    other = make_cells(["dpo", "kto", "ppo"], 4, model="other")
    fill(root, cells, WORLD)
    fill(root, other, replace(WORLD, gains={"dpo": 0.1, "kto": 1.5, "ppo": 1.4}))
    return make_plan([*cells, *other], 4), Store(root)


def test_candidates_come_from_the_records(finished: tuple[Plan, Store]) -> None:
    tables = read(*finished)
    comparison = compare(finished[0], tables)[0]
    found = {each.name: each for each in candidates(comparison, tables)}
    assert set(found) == {"sft", *WORLD.gains}
    assert (found["ppo"].view, found["ppo"].reward, found["ppo"].models) == ("prompts", True, 3)
    assert found["cut"].view == "judgments"
    assert {each.start for each in found.values()} == {"sft"}
    assert (found["ppo"].start_view, found["sft"].start_view) == ("demonstrations", "")
    assert found["dpo"].near_best == pytest.approx(comparison.ranks.near_best["dpo"] if comparison.ranks else None)
    won = significantly_better(list(found.values()))
    for pair in comparison.pairs:
        if pair.family == "all":
            assert (pair.b in won[pair.a]) == (pair.verdict == "better")
            assert (pair.a in won[pair.b]) == (pair.verdict == "worse")


def test_what_trains_nothing_has_the_peak_of_its_sampling(finished: tuple[Plan, Store]) -> None:
    plan, store = finished
    cells = tuple(replace(cell, own=()) if cell.contestant == "ppo" else cell for cell in plan.cells)
    plan = replace(plan, cells=cells)
    tables = read(plan, store)
    found = {each.name: each for each in candidates(compare(plan, tables)[0], tables)}
    assert found["ppo"].peak_memory_bytes == 500 * 2**20
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
        [None, 0.01],
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
        f"const said = values.map((own) => {script_json(asked)}.map((wishes) => advise(doubt(own, 0), wishes)));"
        "document.getElementById('said').textContent = JSON.stringify(said.map((all) => all.map((one) => "
        "({ pick: one.pick, grade: one.grade, tied: one.tied, decided: one.decided, "
        "left_out: [...one.leftOut.keys()] }))));"
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
        "forms[0].querySelector('input[value=judgments]').click();"
        "document.title = [forms.length, before, forms[0].dataset.pick, "
        "forms[0].querySelector('output a').getAttribute('href')].join(' ');"
        "</script>"
    )
    seen = visit(with_body_end(page, tmp_path / "asked.html", script), tmp_path)
    assert seen.console == ""
    told = json.loads(unescape(seen.dom.split('<textarea id="said">')[1].split("</textarea>")[0]))
    tables = read(*finished)
    comparisons = compare(finished[0], tables)
    for wishes, *both in zip(ALL_WISHES, *told, strict=True):
        found = advise_all(comparisons, tables, wishes)
        for comparison, own in zip(comparisons, both, strict=True):
            advice = found[comparison.name]
            expected = {"pick": advice.pick, "grade": advice.grade, "tied": list(advice.tied)}
            expected |= {"decided": list(advice.decided)}
            assert own == expected | {"left_out": list(advice.left_out)}, wishes
    picks = {own["pick"] for all_ in told for own in all_}
    assert {"kto", "ppo", "cut", "sft", ""} <= picks, "the wishes lead to different picks"
    forms, before, after, link = seen.dom.split("<title>")[1].split("</title>")[0].split()
    assert (forms, after) == ("2", "cut")
    assert before != after
    assert f'id="{link.removeprefix("#")}"' in seen.dom


def test_each_sentence_of_the_page_links_to_rows_that_are_there(finished: tuple[Plan, Store], tmp_path: Path) -> None:
    html = build(*finished, tmp_path / "out").path.read_text()
    guide = html.split('<section id="guide')[1].split("<form")[0]
    links = [part.split('"')[0] for part in guide.split('href="#')[1:]]
    assert links
    for link in links:
        name = guide.split(f'href="#{link}">')[1].split("<")[0]
        row = html.split(f'<tr id="{link}">')[1].split("</tr>")[0]
        assert f">{name}" in row


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
