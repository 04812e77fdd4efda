from __future__ import annotations

import json
from dataclasses import replace
from html import unescape
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from browser import needs_browser, visit, with_body_end
from synthetic import World, fill, make_cells, make_plan
from typer.testing import CliRunner

from harness.cli import app
from harness.plan import Plan
from harness.records import read
from harness.report import build
from harness.report.advice import GIVES, LOW_VARIANCE, NEEDS, UNSEEN, Candidate, Wishes, advise, advise_all, candidates
from harness.report.page import script_json
from harness.report.standings import compare
from harness.store import Store


def one(name: str, gain: float, **more: Any) -> Candidate:
    """A candidate that trains on pairs in 100 seconds with 1 GB, and beats nobody."""
    given = {
        **{"view": "pairs", "reward": False, "judge": False, "models": 1, "beats": (), "clear": (), "agrees": True},
        **{"answers": 1.0, "device_seconds": 100.0, "peak_memory_bytes": 1e9, "seed_sd": 0.1, "failed": 0.0},
    }
    return Candidate(name=name, gold=(gain, gain - 0.1, gain + 0.1), **(given | more))


DPO = one("dpo", 0.5, beats=("sft",), clear=("sft",))
KTO = one("kto", 0.4, view="binary", device_seconds=60.0, seed_sd=0.3, beats=("sft",))
PPO = one("ppo", 0.6, view="prompts", reward=True, models=4, device_seconds=900.0, peak_memory_bytes=4e9)
CUT = one("cut", 0.3, view="judgments", seed_sd=0.01)
BEST = one("best_of_n", 0.9, view="prompts", reward=True, models=2, answers=8.0, device_seconds=1.0)
SFT = replace(one("sft", 0.0, view="demonstrations", device_seconds=10.0, seed_sd=0.0), gold=(0.0, None, None))
FIELD = [BEST, PPO, DPO, KTO, CUT, SFT]


def test_a_higher_mean_alone_wins_nothing() -> None:
    advice = advise([DPO, KTO], Wishes())
    assert advice.tied == ("dpo", "kto")
    assert (advice.pick, advice.grade) == ("kto", "C"), "the cheaper of the two"
    assert "the data cannot tell kto from it" in advice.said[0].text
    assert "of these kto comes first by cost" in advice.said[0].text


def test_who_beats_all_others_is_taken_whatever_it_costs() -> None:
    winner = replace(PPO, beats=("dpo", "kto"))
    advice = advise([winner, DPO, KTO], Wishes())
    assert (advice.pick, advice.grade, advice.tied) == ("ppo", "B", ("ppo",))
    assert "significantly better than every other candidate" in advice.said[0].text


def test_whom_another_candidate_surely_beats_is_not_taken_for_its_price() -> None:
    noisy, cheap = replace(PPO, beats=()), replace(KTO, beats=(), device_seconds=1.0)
    advice = advise([noisy, replace(DPO, beats=("kto",)), cheap], Wishes())
    assert (advice.pick, advice.tied) == ("dpo", ("ppo", "dpo"))
    alone = advise([replace(noisy, beats=("dpo",)), replace(DPO, beats=("kto",)), cheap], Wishes())
    assert (alone.pick, alone.tied, alone.grade) == ("ppo", ("ppo",), "C"), "it is not shown to be better than kto"
    assert "of every other candidate one is significantly better" in alone.said[0].text
    assert alone.facts[0].seen == "not shown against kto"


def test_where_gold_is_in_doubt_every_grade_is_one_lower_and_it_says_why() -> None:
    winner = replace(PPO, beats=("dpo", "kto"), clear=("dpo", "kto"))
    for field, settings, grade in (([winner, DPO, KTO], 2, "B"), ([winner, DPO, KTO], 1, "C"), ([DPO, KTO], 1, "D")):
        advice = advise([replace(found, doubts=("Gold is in doubt",)) for found in field], Wishes(), settings)
        assert advice.grade == grade
        assert advice.pick == advise(field, Wishes(), settings).pick
        assert any("Gold is in doubt" in said.text for said in advice.said)


def test_grade_a_takes_two_settings_and_the_margin() -> None:
    winner = replace(PPO, beats=("dpo", "kto"), clear=("dpo", "kto"))
    assert advise([winner, DPO, KTO], Wishes(), settings=2).grade == "A"
    assert advise([winner, DPO, KTO], Wishes(), settings=1).grade == "B"
    assert advise([replace(winner, clear=("dpo",)), DPO, KTO], Wishes(), settings=2).grade == "B"


def test_rewards_that_disagree_and_unseen_prompts_cap_the_grade() -> None:
    winner = replace(PPO, beats=("dpo",), clear=("dpo",))
    assert advise([replace(winner, agrees=False), DPO], Wishes(), settings=2).grade == "C"
    unseen = advise([winner, DPO], Wishes(needs=(UNSEEN,)), settings=2)
    assert unseen.grade == "C"
    assert any("other kinds of prompts" in said.text for said in unseen.said)


def test_low_variance_breaks_the_tie_by_spread() -> None:
    assert advise([DPO, KTO], Wishes(needs=(LOW_VARIANCE,))).pick == "dpo"
    assert advise([DPO, replace(DPO, name="ipo", failed=0.2, seed_sd=0.0)], Wishes(needs=(LOW_VARIANCE,))).pick == "dpo"


def test_what_every_answer_costs_comes_before_what_training_cost_once() -> None:
    advice = advise([BEST, DPO], Wishes())
    assert (advice.pick, BEST.device_seconds) == ("dpo", 1.0)
    assert "by cost: tokens for every answer, then device-seconds" in advice.said[0].text


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
    ],
)
def test_constraints_leave_out_with_a_reason(wishes: Wishes, left: set[str]) -> None:
    advice = advise(FIELD, wishes)
    assert {each.name for each in FIELD} - set(advice.left_out) == left
    assert all(advice.left_out.values())
    assert set(advice.tied) <= left
    named = {name for said in advice.said if said.text.startswith("Left out") for name in said.rows}
    assert named == set(advice.left_out), "every reason links to the rows that it is about"


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
    for pair in comparison.pairs:
        if pair.family == "all":
            assert (pair.b in found[pair.a].beats) == (pair.verdict == "better")
            assert (pair.a in found[pair.b].beats) == (pair.verdict == "worse")


ALL_WISHES = [
    Wishes(data=data, memory_gb=memory, device_hours=hours, models=models, scale=scale, needs=needs)
    for data, memory, hours, models, scale, needs in product(
        [(), *[(kind,) for kind in GIVES], ("binary", "judgments")],
        [None, 0.3, 1.0],
        [None, 0.01],
        [None, 1],
        [1.0, 5.0],
        [(), *[(need,) for need in NEEDS]],
    )
][::7]
"""Every seventh of all combinations: 7 divides none of the numbers of choices, so each choice is among them."""


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
        "({ pick: one.pick, grade: one.grade, tied: one.tied, left_out: [...one.leftOut.keys()] }))));"
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
    options = ["--data", "pears", "--need", "low-varianse", "--memory-gb", "0", "--scale", "-1"]
    done = CliRunner().invoke(app, ["advise", recipe, "--results", str(tmp_path), *options])
    text = str(done.exception)
    assert "did you mean 'pairs'" in text
    assert "did you mean 'low-variance'" in text
    assert "--memory-gb must be above 0" in text
    assert "--scale must be above 0" in text


def test_the_command_before_anything_has_run(tmp_path: Path) -> None:
    recipe = str(Path(__file__).parents[1] / "recipes" / "compare_quick.toml")
    done = CliRunner().invoke(app, ["advise", recipe, "--results", str(tmp_path), "--json"])
    assert done.exit_code == 0
    (found,) = json.loads(done.stdout)
    assert (found["pick"], found["grade"]) == ("", "D")
