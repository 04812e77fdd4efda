"""What the page says of its judges: ticks and crosses, marks, the word held-out, a banner, a watermark."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from synthetic import World, fill, make_cells, make_plan, record
from test_trust_gate import world

from harness.held_out import Audits
from harness.plan import Plan
from harness.report import build
from harness.report.drift import agreement
from harness.report.trust import Trust, trust_points
from harness.report.trust_figures import _by_length, _map
from harness.stages import Audit, Ready, Separation, Stage, Train
from harness.store import Store
from harness.trust.card import make_card
from harness.trust.gate import Kappa

WORLD = World({"dpo": 3.0, "kto": 0.0})
CLEAN = {"one": ["policies and proxy"], "other": ["test"], "equal": [0], "near": [0], "of": [12], "example": [""],
         "apart": [True]}  # fmt: skip
APART = {"one": ["gold", "gold"], "other": ["proxy-0", "start-0"], "shared": [0, 0], "of": [9, 9], "example": ["", ""]}


@dataclass(frozen=True)
class Page:
    html: str
    text: str
    answer: str
    tables: Path

    def figure(self, id: str) -> dict[str, Any]:
        """A figure's specification, as the browser draws it."""
        found = re.search(rf'data-for="chart-{id}">(.*?)</script>', self.html)
        assert found, f"no figure {id}"
        return json.loads(found[1])

    @property
    def trust(self) -> str:
        return self.text.split("## Reward-model trust")[1].split("\n## ")[0]


def page(
    root: Path, scores: dict[str, pd.DataFrame] | None, prompts: dict | None = None, weights: dict | None = None,
    shared: tuple[str, ...] = (), ready: bool = False, gold_base: str = "pretrain-1", truth: World = WORLD,
) -> Page:  # fmt: skip
    """A report of a world in which dpo is better, with audits as given; without scores they have not run."""
    cells = make_cells(["dpo", "kto"], 5)
    fill(root, cells, truth)
    plan = audited(root, make_plan(cells, 5), "lab", scores, prompts, weights, shared, ready, gold_base)
    answer = build(plan, Store(root), root / "out")
    html, text = ((root / "out" / name).read_text() for name in ("report.html", "report.md"))
    return Page(html, text, answer.text, root / "out" / "tables")


def audited(
    root: Path, plan: Plan, model: str, scores: dict[str, pd.DataFrame] | None, prompts: dict | None = None,
    weights: dict | None = None, shared: tuple[str, ...] = (), ready: bool = False, gold_base: str = "pretrain-1",
) -> Plan:  # fmt: skip
    """The plan with the audits of a model, and their records."""
    cells = [cell for cell in plan.cells if cell.model == model]
    gold = cells[0].grades[None].inputs["gold"]
    start = cells[0].samples[None]
    assert isinstance(gold, Train)
    base = {"start": cells[0].policy.inputs["start"]}
    proxy: Stage = replace(gold, inputs=base, seed="replicate-0", split="proxy")
    if ready:
        proxy = Ready({}, source="owner/theirs", revision="f" * 40)
    if gold_base == "pretrain-0":
        gold = replace(gold, inputs=base)
    settings = {"dataset": {}, "pairs": 4, "probed": 2, "batch": 8, "threads": 1}
    cards = {
        role: Audit({"reward": own, "sample": start}, **settings) for role, own in (("gold", gold), ("proxy", proxy))
    }
    separation = Separation({"gold": gold, "proxy-0": proxy}, dataset={}, sets={})
    plan = Plan(
        replace(plan.recipe, shared_rewards=shared), plan.cells,
        {**plan.rewards, (model, "lab", 0): {"gold": gold, "proxy": proxy}},
        {**plan.audits, (model, "lab"): Audits(cards, separation)},
    )  # fmt: skip
    for role in cards if scores else ():
        record(root, cards[role], scores=pa.Table.from_pandas(scores[role]))
    if scores:
        frames = (pd.DataFrame(prompts or CLEAN), pd.DataFrame(weights or APART))
        record(root, separation, prompts=pa.Table.from_pandas(frames[0]), weights=pa.Table.from_pandas(frames[1]))
    return plan


Pages = Callable[[str], Page]


@pytest.fixture(scope="module")
def pages(sound: dict[str, pd.DataFrame], tmp_path_factory: pytest.TempPathFactory) -> Pages:
    """The page of a gold model that is sound, with one guarantee of `BROKEN` broken or none; each is made once."""
    return cache(lambda what: page(tmp_path_factory.mktemp("page"), sound, **BROKEN.get(what, {})))


@pytest.fixture(scope="module")
def sound() -> dict[str, pd.DataFrame]:
    return world(0, n=2400)


@pytest.fixture(scope="module")
def dependent() -> dict[str, pd.DataFrame]:
    return world(0.5)


def test_where_all_is_shown_gold_is_called_held_out_and_nothing_is_marked(pages: Pages) -> None:
    seen = pages("")
    assert "Gold is held-out, orders 0.75" in seen.trust
    assert "✗" not in seen.trust
    assert "| ✓ |" in seen.trust
    assert "†" not in seen.text.split("## Data dictionary")[0]
    assert '<p class="banner"' not in seen.html
    assert "Gold is a held-out reward model" in seen.text
    assert re.search(r"\| dpo ● .*▲ better \(p", seen.text)
    assert "dpo (grade B:" in seen.text


BROKEN = {
    "a prompt of the test": {"prompts": {**CLEAN, "equal": [1], "apart": [False], "example": ["what is it"]}},
    "too many near duplicates": {"prompts": {**CLEAN, "near": [3], "apart": [False], "example": ["what is it"]}},
    "a tensor": {"weights": {**APART, "shared": [0, 2], "example": ["", "layers.0"]}},
    "its base": {"gold_base": "pretrain-0"},
    "a role": {"shared": ("reward.proxy and reward.gold are one and the same model, theirs",)},
    "nobody knows": {"ready": True},
}


@pytest.mark.parametrize("what", BROKEN)
def test_where_a_guarantee_fails_the_word_is_not_used_and_verdicts_are_marked(pages: Pages, what: str) -> None:
    seen = pages(what)
    for text in (seen.html, seen.text, seen.answer):
        assert not re.search(r"held.out", text, re.IGNORECASE)
    assert ("| ? |" if what == "nobody knows" else "| ✗ |") in seen.trust
    assert '<p class="banner" role="alert">gold is not trustworthy or not independent' in seen.html
    assert re.search(r"\| dpo ● .*▲ better† \(p", seen.text)
    assert "dpo (grade C:" in seen.text
    assert "Gold is in doubt, so that the grade is one lower" in seen.text
    assert "one grade lower" in seen.answer
    assert ('class="watermark"' in seen.html) == (what == "a role")


def test_a_shared_reward_is_worn_as_a_watermark(pages: Pages) -> None:
    seen = pages("a role")
    assert '<div class="watermark" aria-hidden="true">Shared reward: reward.proxy and reward.gold are one' in seen.html
    assert "> **Shared reward: reward.proxy and reward.gold are one and the same model, theirs**" in seen.text


def test_a_gold_model_that_errs_with_the_proxy_lowers_every_verdict(tmp_path: Path, dependent: dict) -> None:
    seen = page(tmp_path, dependent)
    assert "err on the same hard pairs (κ 0.3" in seen.trust
    assert re.search(r"so many times as large as it is: 1\.5\d \[1\.\d+, 1\.\d+\]\. That is an estimate", seen.trust)
    assert re.search(r"\| dpo ● .*▲ better† \(p", seen.text)
    assert "dpo (grade C:" in seen.text
    assert not re.search(r"Gold is held.out", seen.text), "gold is not praised where it is doubted"


def test_before_the_audits_have_run_nothing_is_claimed(tmp_path: Path) -> None:
    seen = page(tmp_path, None)
    assert "Whether gold can be trusted is not known yet: the audit of gold has not run yet" in seen.trust
    assert not re.search(r"held.out", seen.text, re.IGNORECASE)
    assert "That no training and no choice of knobs has seen gold or its data is not shown" in seen.text


def test_gold_is_held_against_the_oracle_where_contestants_have_gone(pages: Pages) -> None:
    drift = pd.read_csv(pages("").tables / "drift.csv").set_index("contestant")
    assert set(drift.index) == {"sft", "dpo", "kto"}
    assert (drift["oracle_agreement"] > 0.9).all(), "the synthetic oracle is gold with a little noise"
    assert drift.loc["sft", "oracle_agreement_low"] < drift.loc["sft", "oracle_agreement"]
    assert drift.loc["dpo", ["oracle_agreement", "oracle_agreement_low"]].tolist() == [
        1.0,
        pytest.approx(np.nan, nan_ok=True),
    ]
    assert drift.loc["dpo", "outside"] > drift.loc["sft", "outside"], "its scores are higher than those of the pairs"
    assert (drift["outside_high"] > drift["outside"]).all(), "also where it was never outside"
    assert (drift["outside_low"] <= drift["outside"]).all()
    assert "Where contestants have gone" in pages("").trust


def test_agreement_with_the_oracle_by_hand() -> None:
    own = np.array([[1.0, 2.0, 3.0], [5.0, 5.0, 1.0]])
    told = np.array([[0.0, 1.0, 1.0], [2.0, 1.0, 1.0]])
    # first prompt: 1-2 right, 1-3 right, 2-3 not told apart; second: 1-2 tied, 1-3 right, 2-3 not told apart
    assert agreement(own, told) == pytest.approx((1 + 1 + 0.5 + 1) / 4)
    assert agreement(own, np.zeros((2, 3))) is None


def test_the_tables_hold_the_cards_and_the_guarantees(pages: Pages, sound: dict) -> None:
    seen = pages("")
    cards = pd.read_csv(seen.tables / "trust.csv")
    gold = cards[(cards["role"] == "gold") & (cards["statistic"] == "accuracy")].iloc[0]
    pairs = sound["gold"].pivot(index="name", columns="item", values="score")
    assert gold["value"] == pytest.approx(float(np.mean(pairs["chosen"] > pairs["rejected"])))
    assert gold["low"] < gold["value"] < gold["high"]
    assert set(pd.read_csv(seen.tables / "separation.csv")["shown"]) == {"✓"}
    assert 'id="chart-reliability"' in seen.html


def with_lengths(scores: dict[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """The same pairs, of which gold likes the longer response, by up to three times as much as what is good."""
    found = {}
    for role, table in scores.items():
        tokens = pd.Series(np.random.default_rng(7).integers(1, 40, table["name"].nunique()), table["name"].unique())
        longer = table["name"].map(tokens).where(table["item"] == "chosen", 20)
        liked = 0.15 * longer if role == "gold" else 0.0
        found[role] = table.assign(tokens=longer.to_numpy(), score=table["score"] + liked)
    return found


@pytest.fixture(scope="module")
def lengths(sound: dict[str, pd.DataFrame], tmp_path_factory: pytest.TempPathFactory) -> Page:
    """Responses of several lengths; training has pleased the proxy by 4 more than gold."""
    truth = replace(WORLD, way={0: (0.0, 4.0, 1.0)})
    return page(tmp_path_factory.mktemp("lengths"), with_lengths(sound), truth=truth)


def test_accuracy_is_drawn_by_length_as_it_stands_in_the_table(lengths: Page, sound: dict) -> None:
    pairs = with_lengths(sound)["gold"].pivot(index="name", columns="item", values=["score", "tokens"])
    right = pairs["score"]["chosen"] > pairs["score"]["rejected"]
    gap = pairs["tokens"]["chosen"] - pairs["tokens"]["rejected"]
    spec = lengths.figure("accuracy-by-length")
    points = {row["pairs"]: row for row in spec["layer"][2]["data"]["values"] if row["role"] == "gold"}
    assert list(points) == ["all", "least", "middle", "most", "longer rejected"]
    assert points["longer rejected"]["value"] == pytest.approx(right[gap < 0].mean())
    assert points["longer rejected"]["n"] == (gap < 0).sum()
    assert points["longer rejected"]["high"] < points["all"]["low"], "gold leans on length"
    table = pd.read_csv(lengths.tables / "trust.csv").set_index(["role", "statistic"])
    for third in ("least", "middle", "most"):
        row = table.loc[("gold", f"accuracy, {third} difference in length")]
        assert [points[third][end] for end in ("value", "low", "high")] == pytest.approx(
            list(row[["value", "low", "high"]])
        )
    assert {row["role"] for row in spec["layer"][2]["data"]["values"]} == {"gold", "proxy"}


def test_without_lengths_or_audits_there_is_no_figure_by_length(pages: Pages, tmp_path: Path) -> None:
    assert "accuracy-by-length" not in pages("").html, "all responses are equally long"
    assert "accuracy-by-length" not in page(tmp_path, None).html


def test_the_map_holds_every_response_and_shows_a_proxy_that_runs_ahead(lengths: Page) -> None:
    start, others = lengths.figure("proxy-gold")["concat"]
    seeds, prompts, samples = 5, WORLD.prompts, WORLD.samples
    for panel, policies in ((start, 1), (others, 2)):
        count = policies * seeds * prompts * samples
        squares = panel["layer"][0]["data"]["values"]
        assert sum(square["responses"] for square in squares) == count
        assert sum(square["share"] for square in squares) == pytest.approx(1, abs=0.01)
        assert panel["title"].endswith(f": {count} responses")
        [mean] = panel["layer"][2]["data"]["values"]
        inside = [one for one in squares if one["gold"] <= mean["gold"] <= one["gold_to"]]
        assert inside, "the axes are gold's and the proxy's, not the other way round"
        line = panel["layer"][1]["data"]["values"]
        assert all(end["gold"] == end["proxy"] for end in line)
    [at], [moved] = (panel["layer"][2]["data"]["values"] for panel in (start, others))
    assert (at["gold"], at["proxy"]) == pytest.approx((0, 0), abs=1e-9), "the start's own scale"
    assert moved["proxy"] > moved["gold"] + 1
    html = lengths.html
    assert html.index('id="trust"') < html.index('id="figure-proxy-gold"')
    assert re.search(r"how far they err alike is κ, [\d.−]+ \[", html)


def test_without_scores_of_the_proxy_there_is_no_map(pages: Pages) -> None:
    assert "proxy-gold" not in pages("").html
    assert 'id="chart-reliability"' in pages("").html


def test_the_figures_of_trust_keep_to_the_schema() -> None:
    points = [{"role": "gold", "pairs": "all", "value": 0.7, "low": 0.4, "high": 0.8, "n": 30}]
    square = {"gold": 0.0, "gold_to": 1.0, "proxy": 0.0, "proxy_to": 1.0, "responses": 2, "share": 1.0}
    panel = {"title": "the start", "squares": [square], "mean": [{"gold": 0.5, "proxy": 0.4}], "ends": [0.0, 1.0]}
    for chart in (*_by_length("a", points).values(), *_map("b", [panel]).values()):
        chart.to_dict(validate=True)  # the page leaves this out for its time


@pytest.mark.parametrize(("value", "told"), [(0.2512, "0.251 ["), (0.250001, "0.250001 ["), (0.25, "0.25 ["),
                                             (0.2499, "0.25 ["), (0.31, "0.31 [")])  # fmt: skip
def test_a_kappa_is_read_on_its_own_side_of_what_is_allowed(value: float, told: str) -> None:
    card = make_card(world(0.1)["gold"])
    point = trust_points(Trust("lab", cards={"gold": card}, kappa=Kappa(value, 0.1, 0.4, 50)))[0]
    assert f"hardest labelled pairs is {told}" in point
