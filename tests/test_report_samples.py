"""Which responses the page shows: drawn by hash, disputed, exploited, and each contestant's worst."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from synthetic import World, fill, make_cells, make_plan

from harness import keys
from harness.plan import Plan
from harness.records import read
from harness.report import build
from harness.report.page import Samples
from harness.report.samples import DISPUTED, DRAWN, EXPLOITED, samples
from harness.report.standings import compare
from harness.store import Store

WORLD = World({"dpo": 1.0, "kto": -1.0}, prompts=15, way={0: (0.0, 1.0, 1.0)}, response="<b onclick=x>bold</b>")


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> tuple[Plan, Store, list[Samples]]:
    root = tmp_path_factory.mktemp("samples")
    cells = make_cells(list(WORLD.gains), 3)
    fill(root, cells, WORLD)
    plan, store = make_plan(cells, 3), Store(root)
    tables = read(plan, store)
    return plan, store, samples(plan, store, tables, compare(plan, tables)[0])


def scores(plan: Plan, store: Store, name: str, role: str) -> tuple[list[str], np.ndarray]:
    """Prompts and (P, K) scores of the first seed, on the start's scale."""
    found, starts = None, []
    for cell in plan.cells:
        table = pq.read_table(store.folder(cell.grades[None].name) / "scores.parquet").to_pandas()
        own = table[(table["metric"] == "reward") & (table["role"] == role)].pivot(
            index="prompt_id", columns="k", values="value"
        )
        if (cell.contestant, cell.replicate) == (name, 0):
            found = own
        if cell.is_start:
            starts.append(own.to_numpy())
    assert found is not None
    return list(found.index), (found.to_numpy() - np.mean(starts)) / np.std(starts)


def test_the_drawn_ones_are_drawn_by_hash_and_show_everybody(shown: tuple[Plan, Store, list[Samples]]) -> None:
    drawn = shown[2][0]
    assert not drawn.folded
    expected = sorted((f"p{i}" for i in range(15)), key=keys.key)[:DRAWN]
    assert [prompt.prompt_id for prompt in drawn.prompts] == expected
    assert all([side.contestant for side in prompt.sides] == ["sft", "dpo", "kto"] for prompt in drawn.prompts)


def test_methods_disagree_most_where_the_range_of_gold_is_largest(shown: tuple[Plan, Store, list[Samples]]) -> None:
    plan, store, groups = shown
    own = {name: scores(plan, store, name, "gold") for name in ("sft", "dpo", "kto")}
    first = np.array([values[:, 0] for _, values in own.values()])
    order = np.argsort(first.min(0) - first.max(0))[:DISPUTED]
    assert [prompt.prompt_id for prompt in groups[1].prompts] == [own["sft"][0][i] for i in order]
    top = groups[1].prompts[0]
    assert top.sides[0].contestant == list(own)[int(first[:, order[0]].argmax())]
    assert top.sides[1].contestant == list(own)[int(first[:, order[0]].argmin())]


def test_proxy_and_gold_disagree_most_where_the_proxy_is_farthest_ahead(
    shown: tuple[Plan, Store, list[Samples]],
) -> None:
    plan, store, groups = shown
    gaps = {}
    for name in ("sft", "dpo", "kto"):
        prompts, gold = scores(plan, store, name, "gold")
        ahead = scores(plan, store, name, "proxy")[1] - gold
        gaps |= {(name, prompt): row.max() for prompt, row in zip(prompts, ahead, strict=True)}
    best = {prompt: max((gap, name) for (name, own), gap in gaps.items() if own == prompt) for _, prompt in gaps}
    expected = sorted(best, key=lambda prompt: -best[prompt][0])[:EXPLOITED]
    assert [prompt.prompt_id for prompt in groups[2].prompts] == expected
    assert [prompt.sides[0].contestant for prompt in groups[2].prompts] == [best[prompt][1] for prompt in expected]
    assert all(", proxy " in prompt.sides[0].note for prompt in groups[2].prompts)


def test_each_contestants_worst_is_its_worst(shown: tuple[Plan, Store, list[Samples]]) -> None:
    plan, store, groups = shown
    found = {prompt.sides[0].contestant: prompt for prompt in groups[3].prompts}
    assert set(found) == {"sft", "dpo", "kto"}
    for name, prompt in found.items():
        prompts, gold = scores(plan, store, name, "gold")
        assert prompt.prompt_id == prompts[int(gold.min(axis=1).argmin())]
        assert f"gold {gold.min():+.2f}".replace("-", "−") in prompt.sides[0].note
        assert [side.contestant for side in prompt.sides] == (
            [name, "sft"] if name != "sft" else ["sft"] * len(prompt.sides)
        )


def test_markup_of_a_response_is_shown_and_not_obeyed(shown: tuple[Plan, Store, list[Samples]], tmp_path: Path) -> None:
    html = build(shown[0], shown[1], tmp_path / "out").path.read_text()
    assert "<b onclick" not in html
    assert html.count("&lt;b onclick=x&gt;bold&lt;/b&gt; of dpo to p") >= DRAWN
    assert "<details><summary>Methods disagree most" in html
