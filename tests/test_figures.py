from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from statistics import median
from types import SimpleNamespace
from typing import Any, cast

import pytest
from synthetic import World, fill, make_cells, make_plan

import harness.registry as registry
from harness.records import read
from harness.report import say
from harness.report.collapse import collapsed
from harness.report.compare import Comparison, Estimate, Standing
from harness.report.figures import colour_scale, dash_scale, shape_scale
from harness.report.figures.quality_cost import _domain, _lifted
from harness.report.page import picture
from harness.report.standings import compare
from harness.store import Store


@pytest.mark.parametrize("place", [0, 5])
def test_no_two_of_32_contestants_look_alike(place: int) -> None:
    names = [f"m{i}" for i in range(32)]
    one = cast("Any", SimpleNamespace(contestants=names, start=names[place]))
    colours, shapes, dashes = colour_scale(one), shape_scale(names), dash_scale(names, one.start)
    for other in (shapes, dashes):
        assert colours.domain == other.domain == names
        looks = list(zip(colours.range, map(str, other.range), strict=True))
        assert len(set(looks)) == len(names)


def test_names_on_a_front_do_not_lie_upon_each_other_nor_beyond_the_axis() -> None:
    def at(name: str, cost: float, value: float) -> dict[str, Any]:
        return {"contestant": name, "cost": cost, "value": value, "low": value - 0.1, "high": value + 0.1}

    front = [at("a_long_name_of_one", 100.0, 0.0), at("near", 101.0, 0.01), at("far", 190.0, 0.02)]
    domain = _domain([row["cost"] for row in front], [row["contestant"] for row in front])
    assert domain[0] < 100.0 < 190.0 < domain[1]
    assert _lifted(front, domain, 200) == {"near"}
    assert _lifted([front[0], at("near", 101.0, 5.0)], domain, 200) == set()


# ---- what the figures show, by the rows that they are drawn from


def drawn(name: str, comparison: Comparison) -> list[list[dict[str, Any]]]:
    """The rows of a figure, once for all layers that share them."""
    spec = registry.load("report/figures", name)().draw(comparison).to_dict()
    found: list[list[dict[str, Any]]] = []
    for part in (spec, *spec["layer"]):
        rows = part.get("data", {}).get("values")
        found += [rows] if rows and rows not in found else []
    return found


def compared(root: Path, world: World, seeds: int = 4, **more: Any) -> Comparison:
    cells = make_cells(list(world.gains), seeds)
    fill(root, cells, world, skip=more.pop("skip", frozenset()))
    plan = make_plan(cells, seeds)
    return compare(plan, read(plan, Store(root)))[0]


def by_name(comparison: Comparison) -> dict[str, Standing]:
    return {row.name: row for row in comparison.standings}


GAINS = {"dpo": 2.0, "ipo": 1.0, "kto": -1.5}


def test_an_arrow_goes_from_the_win_rate_to_that_at_equal_length(tmp_path: Path) -> None:
    world = World(GAINS, prompts=30, samples=4, tokens_by_length={"ipo": 0.1})
    one = compared(tmp_path, world)
    rows = {row["contestant"]: row for layer in drawn("length", one) for row in layer if "contestant" in row}
    found = by_name(one)
    start = found["sft"].estimates["length"].value
    assert set(rows) == {"sft", "dpo", "ipo", "kto"}
    for name, row in rows.items():
        own = found[name].estimates
        assert row["ratio"] == pytest.approx(own["length"].value / start)
        assert (row["win"], row["controlled"]) == (own["soft_win"].value, own["lc_soft_win"].value)
    assert rows["ipo"]["ratio"] > 1.4
    assert rows["ipo"]["turn"] == 180, "it wins by length, so that its arrow points down"
    assert rows["sft"]["turn"] is None


def test_without_a_rate_at_equal_length_the_mark_stands_alone(tmp_path: Path) -> None:
    one = compared(tmp_path, World(GAINS, prompts=30))
    bare = [
        replace(row, estimates={name: own for name, own in row.estimates.items() if name != "lc_soft_win"})
        for row in one.standings
    ]
    one = replace(one, standings=bare)
    (rows,) = [layer for layer in drawn("length", one) if layer and "contestant" in layer[0]]
    assert {row["contestant"] for row in rows} == {"sft", *GAINS}
    assert [row["turn"] for row in rows] == [None] * 4
    unmeasured = [replace(row, estimates={}) for row in bare]
    assert "No contestant has both" in registry.load("report/figures", "length")().draw(
        replace(one, standings=unmeasured)
    )


def test_the_lines_of_the_start_are_in_the_figure_of_lengths_wherever_the_marks_are(tmp_path: Path) -> None:
    one = compared(tmp_path, World(GAINS, prompts=30))
    longer = {row.name: row.estimates | {"length": Estimate(60.0), "soft_win": Estimate(0.8)} for row in one.standings}
    longer["sft"] = {"length": Estimate(20.0)}
    bare = [replace(row, estimates={**longer[row.name], "lc_soft_win": Estimate(0.7)}) for row in one.standings]
    spec = registry.load("report/figures", "length")().draw(replace(one, standings=bare)).to_dict()
    marks = spec["layer"][-1]["encoding"]
    for channel, line in (("x", 1.0), ("y", 0.5)):
        low, high = marks[channel]["scale"]["domain"]
        assert low < line < high
    assert 1.0 in marks["x"]["axis"]["values"]


def test_a_run_that_has_one_of_both_is_not_in_the_large_mark_of_diversity(tmp_path: Path) -> None:
    one = compared(tmp_path, World(GAINS, prompts=20, distinct=True))
    whole = one.cubes["distinct"]
    dpo = whole.by_contestant["dpo"]
    less = replace(dpo, values=dpo.values[:3], replicates=dpo.replicates[:3])
    cubes = {**one.cubes, "distinct": replace(whole, by_contestant={**whole.by_contestant, "dpo": less})}
    rows = [row for layer in drawn("diversity", replace(one, cubes=cubes)) for row in layer]
    own = {row["run"]: row for row in rows if row["contestant"] == "dpo"}
    mean = own.pop("mean")
    assert list(own) == [f"seed {seed}" for seed in dpo.replicates[:3]]
    assert mean["root_kl"] ** 2 == pytest.approx(sum(row["root_kl"] ** 2 for row in own.values()) / 3)
    assert mean["root_kl"] ** 2 != pytest.approx(by_name(one)["dpo"].estimates["kl"].value), "the table has all four"
    told = registry.load("report/figures", "diversity").how_to_read
    assert "the table of contestants also counts runs that have one of the two alone" in told


def test_the_large_mark_of_diversity_is_what_the_main_table_says_where_every_run_has_both(tmp_path: Path) -> None:
    one = compared(tmp_path, World(GAINS, prompts=20, distinct=True))
    rows = [row for layer in drawn("diversity", one) for row in layer]
    means = {row["contestant"]: row for row in rows if row["run"] == "mean"}
    for name, row in by_name(one).items():
        assert means[name]["distinct"] == pytest.approx(row.estimates["distinct"].value)
        assert means[name]["root_kl"] ** 2 == pytest.approx(row.estimates["kl"].value)
        assert sum(row["contestant"] == name and row["run"] != "mean" for row in rows) == 4


def test_ranks_are_those_of_each_seed_on_the_seeds_that_all_have(tmp_path: Path) -> None:
    one = compared(tmp_path, World(GAINS, prompts=60, sd_seed=0.8), skip={("kto", 3)})
    dots, marks = (layer for layer in drawn("mean_rank", one) if layer and "rank" in layer[0])
    seen: dict[str, list[float]] = {}
    for row in dots:
        seen.setdefault(row["contestant"], []).append(row["rank"])
    for seed in range(3):  # seed 3 has no kto
        order = sorted(one.gold_by_seed, key=lambda name: -one.gold_by_seed[name][seed])
        assert {name: seen[name][seed] for name in seen} == {name: order.index(name) + 1 for name in order}
    assert {len(ranks) for ranks in seen.values()} == {3}
    assert [row["rank"] for row in marks] == sorted(sum(ranks) / 3 for ranks in seen.values())
    assert {row["contestant"]: row["letters"] for row in marks} == one.letters


def test_seeds_of_equal_rank_do_not_hide_each_other(tmp_path: Path) -> None:
    one = compared(tmp_path, World(GAINS, prompts=40, sd_seed=0.01))
    (dots,) = (layer for layer in drawn("mean_rank", one) if layer and "shift" in layer[0])
    own = [row for row in dots if row["contestant"] == "dpo"]
    assert [row["rank"] for row in own] == [1.0] * 4
    assert len({row["shift"] for row in own}) == 4
    assert sum(row["shift"] for row in own) == pytest.approx(0)
    assert all(abs(row["shift"]) <= 1 for row in own)


def test_the_front_of_reward_and_distance_is_that_of_its_sentence(tmp_path: Path) -> None:
    one = compared(tmp_path, World(GAINS, prompts=40))
    (front,) = (layer for layer in drawn("reward_kl", one) if layer and "replicate" not in layer[0])
    found = by_name(one)
    assert front[0]["contestant"] == "sft"
    assert "kto" not in [row["contestant"] for row in front], "it has less gold than the start"
    for row in front:
        own = found[row["contestant"]].estimates
        assert (row["gold"], row["root_kl"] ** 2) == pytest.approx((own["gold"].value, own["kl"].value))
        assert not any(
            other.estimates["kl"].value <= own["kl"].value and other.estimates["gold"].value > own["gold"].value
            for other in one.standings
        )
    told = say.reward_kl(one)
    assert all(f"{row['contestant']} (+{row['gold']:.2f} at" in told for row in front[1:])


def test_a_cross_lies_on_each_run_that_collapsed_and_on_no_other(tmp_path: Path) -> None:
    one = compared(tmp_path, World({"dpo": 2.0, "kto": -1.0}, prompts=40))
    lost = {(name, seed) for name, seeds in collapsed(replace(one, base="sft")).items() for seed in seeds}
    assert lost == {("kto", seed) for seed in range(4)}
    layers = drawn("reward_kl", replace(one, base="sft"))
    assert {(row["contestant"], row["replicate"]) for row in layers[-1]} == lost
    assert {(row["contestant"], row["replicate"]) for row in drawn("reward_kl", one)[-1]} > lost, "all runs: no cross"
    assert "cross" in registry.load("report/figures", "reward_kl").how_to_read


def test_one_seed_has_no_ranks_over_seeds(tmp_path: Path) -> None:
    told = registry.load("report/figures", "mean_rank")().draw(compared(tmp_path, World(GAINS), seeds=1))
    assert told == "Ranks over seeds take two contestants that share two seeds."


def test_a_price_per_seed_and_never_where_none_comes_there(tmp_path: Path) -> None:
    one = compared(tmp_path, World(GAINS, prompts=40))
    layers = drawn("cost_to_target", one)
    told = {row["contestant"]: row for layer in layers for row in layer if "seeds" in row}
    dots = [row for layer in layers for row in layer if "seed" in row]
    assert list(told)[-1] == "kto"
    assert (told["kto"]["seeds"], told["kto"]["cost"]) == ("never", None)
    assert "sft" not in told, "against itself the start wins half"
    for price in one.prices:
        if price.name in ("dpo", "ipo"):
            own = {row["seed"]: row["cost"] for row in dots if row["contestant"] == price.name}
            assert told[price.name]["seeds"] == f"{price.reached} of {price.tried}"
            assert len(own) == price.reached
            assert told[price.name]["cost"] == pytest.approx(median(own.values())) == price.to_target
    nobody = compared(tmp_path / "none", World({"kto": -1.5}, prompts=40))
    assert "60 % of pairs" in registry.load("report/figures", "cost_to_target")().draw(nobody)


@pytest.mark.parametrize("name", ["length", "diversity", "mean_rank", "cost_to_target"])
def test_of_23_contestants_each_is_in_the_figure(tmp_path: Path, name: str) -> None:
    gains = {f"method_{i}": 1.0 + i / 10 for i in range(22)}
    one = compared(tmp_path, World(gains, prompts=20, distinct=True), seeds=3)
    chart = registry.load("report/figures", name)().draw(one)
    chart.to_dict(validate=True)
    shown = picture(chart).svg
    assert all(f">{contestant}<" in shown for contestant in gains)


def test_a_mark_above_the_line_of_best_of_n_is_not_said_to_gain_more() -> None:
    """The line is drawn at the largest distance that best of n can have, so the true one may pass above the mark."""
    told = registry.load("report/figures", "best_of_n").how_to_read
    assert "Where the gold line rises, a mark below it gains less than best of n for its distance" in told
    assert "one above it need not gain more" in told
