from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cache
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from synthetic import World, _score_table, fail, fill, make_cells, make_plan

import harness.registry as registry
from harness.plan import Cell, Plan
from harness.records import read
from harness.report import Answer, build, say
from harness.report.answer import points
from harness.report.compare import Comparison, Estimate
from harness.report.outputs import outputs_sheet
from harness.report.page import picture, script_json
from harness.report.sections import make_page
from harness.report.sheet import GAP, interval, number
from harness.report.sheets import main_sheet
from harness.report.stability import stability_sheet
from harness.report.standings import compare
from harness.stats.contrast import contrast
from harness.store import Store

GAINS = {"dpo": 2.0, "ipo": 2.0, "cpo": -1.5, "kto": 0.0}
WORLD = World(GAINS, prompts=30, samples=2)


@dataclass
class Page(HTMLParser):
    """The tables of a page by id, and all its text outside scripts."""

    tables: dict[str, list[list[str]]] = field(default_factory=dict)
    tags: list[str] = field(default_factory=list)
    _table: str = ""
    _cell: list[str] | None = None
    _heading: bool = False

    def __post_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag == "table":
            self._table = dict(attrs).get("id") or ""
            self.tables[self._table] = []
        elif tag == "tr":
            self._heading = dict(attrs).get("class") == "group"
            self.tables[self._table] += [] if self._heading else [[]]
        elif tag in ("td", "th") and not self._heading:
            self._cell = []

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th") and self._cell is not None:
            self.tables[self._table][-1].append("".join(self._cell))
            self._cell = None

    def handle_data(self, data: str) -> None:
        if self._cell is not None:
            self._cell.append(data)


def parsed(path: Path) -> Page:
    page = Page()
    page.feed(path.read_text())
    return page


def comparison(root: Path, world: World = WORLD, replicates: int = 4, **more: Any) -> tuple[Plan, Store]:
    """A finished comparison of the contestants that the world knows."""
    cells = make_cells(list(world.gains), replicates, **more.pop("cells", {}))
    fill(root, cells, world, skip=more.pop("skip", frozenset()))
    return make_plan(cells, replicates, **more), Store(root)


def usual(root: Path) -> tuple[Plan, Store]:
    return comparison(root)


def two_seeds(root: Path) -> tuple[Plan, Store]:
    return comparison(root, replicates=2)


def gappy(root: Path) -> tuple[Plan, Store]:
    return comparison(root, replace(WORLD, distinct=True), skip={("kto", 3)}, cells={"steps": (20,)})


def one_waits(root: Path) -> tuple[Plan, Store]:
    return comparison(root, skip={("kto", 3)})


State = Callable[[Path], tuple[Plan, Store]]


class Shared:
    """Comparisons that no test changes: each is made, compared and built once."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.made = cache(self._made)
        self.compared = cache(self._compared)
        self.built = cache(self._built)

    def _made(self, state: State) -> tuple[Plan, Store]:
        return state(self.root / state.__name__ / "results")

    def _compared(self, state: State) -> list[Comparison]:
        plan, store = self.made(state)
        return compare(plan, read(plan, store))

    def _built(self, state: State) -> Answer:
        return build(*self.made(state), self.out(state))

    def out(self, state: State) -> Path:
        return self.root / state.__name__ / "out"

    def standings(self, state: State) -> dict[str, Any]:
        return {row.name: row for row in self.compared(state)[0].standings}


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Shared:
    return Shared(tmp_path_factory.mktemp("shared"))


def standings(plan: Plan, store: Store) -> dict[str, Any]:
    return {row.name: row for row in compare(plan, read(plan, store))[0].standings}


def policy(plan: Plan, contestant: str, replicate: int) -> Any:
    return next(c.policy for c in plan.cells if (c.contestant, c.replicate) == (contestant, replicate))


def raw_scores(store: Store, plan: Plan, contestant: str, role: str = "gold") -> np.ndarray:
    """(S, P, K) as it was written."""
    found = []
    for cell in plan.cells:
        if cell.contestant == contestant and store.record(cell.grades[None].name):
            table = pq.read_table(store.folder(cell.grades[None].name) / "scores.parquet").to_pandas()
            own = table[(table["metric"] == "reward") & (table["role"] == role)]
            found.append(own.pivot(index="prompt_id", columns="k", values="value").to_numpy())
    return np.array(found)


# ---- numbers


def test_gain_and_win_rate_are_what_they_say_by_hand(shared: Shared) -> None:
    plan, store = shared.made(usual)
    start, dpo = raw_scores(store, plan, "sft"), raw_scores(store, plan, "dpo")
    row = shared.standings(usual)["dpo"]
    assert row.estimates["gold"].value == pytest.approx((dpo.mean() - start.mean()) / start.std())
    pairs = dpo[:, :, :, None] - start[:, :, None, :]
    assert row.estimates["soft_win"].value == pytest.approx((1 / (1 + np.exp(-pairs))).mean())
    assert row.estimates["hard_win"].value == pytest.approx((pairs > 0).mean())
    by_seed = (dpo.mean((1, 2)) - start.mean((1, 2))) / start.std()
    assert list(row.gain_by_seed.values()) == pytest.approx(list(by_seed))


def test_verdicts_find_what_was_planted_and_nothing_else(shared: Shared) -> None:
    found = shared.standings(usual)
    assert {name: row.verdict for name, row in found.items()} == {
        **{"dpo": "better", "ipo": "better", "cpo": "worse", "kto": "cannot separate", "sft": ""}
    }
    assert {name for name, row in found.items() if row.in_top_set} == {"dpo", "ipo"}
    assert found["kto"].more_seeds is not None


def test_another_unit_of_the_gold_reward_changes_no_gain_and_no_verdict(tmp_path: Path) -> None:
    plan, store = comparison(tmp_path)
    before = standings(plan, store)
    for cell in plan.cells:
        path = store.folder(cell.grades[None].name) / "scores.parquet"
        table = pq.read_table(path)
        pq.write_table(table.set_column(5, "value", pa.array(3 * table["value"].to_numpy() - 70)), path)
    after = standings(plan, store)
    for name, row in before.items():
        assert after[name].verdict == row.verdict
        for end in ("value", "low", "high"):
            assert getattr(after[name].estimates["gold"], end) == pytest.approx(getattr(row.estimates["gold"], end))


def test_a_failed_run_counts_as_the_start_and_is_never_an_advantage(tmp_path: Path) -> None:
    plan, store = comparison(tmp_path, skip={("cpo", 3), ("dpo", 3)})
    fail(tmp_path, policy(plan, "cpo", 3), "divergence")
    fail(tmp_path, policy(plan, "dpo", 3), "out of memory")
    found = standings(plan, store)
    assert (found["cpo"].done, found["cpo"].failed, found["cpo"].unfinished) == (3, 1, 0)
    finished, counted = (found["dpo"].estimates[name].value for name in ("gold_finished", "gold"))
    assert counted == pytest.approx(finished * 3 / 4)
    start, dpo = raw_scores(store, plan, "sft")[:3], raw_scores(store, plan, "dpo")
    won = (dpo[:, :, :, None] > start[:, :, None, :]).mean()
    assert found["dpo"].estimates["hard_win"].value == pytest.approx((3 * won + 0.5) / 4)


def test_a_run_that_waits_is_in_no_number(tmp_path: Path) -> None:
    plan, store = comparison(tmp_path, skip={("dpo", 3)})
    row = standings(plan, store)["dpo"]
    assert (row.done, row.failed, row.unfinished) == (3, 0, 1)
    assert row.estimates["gold"] == row.estimates["gold_finished"]
    assert sorted(row.gain_by_seed) == [0, 1, 2]


def test_a_prompt_that_one_run_lacks_is_left_out_for_all_and_counted(tmp_path: Path) -> None:
    plan, store = comparison(tmp_path)
    path = store.folder(plan.cells[1].grades[None].name) / "scores.parquet"
    table = pq.read_table(path).to_pandas()
    gone = (table["metric"] == "reward") & (table["prompt_id"] == "p5")
    pq.write_table(pa.Table.from_pandas(table[~gone], preserve_index=False), path)
    found = compare(plan, read(plan, store))[0]
    assert found.left_out == 1
    assert len(found.cubes["gold"].prompts) == 29
    assert "Left out for all" in build(plan, store, tmp_path / "out").text


def test_distance_is_the_root_of_the_runs_mean_kl(tmp_path: Path) -> None:
    plan, store = comparison(tmp_path, cells={"steps": (20,)}, replicates=2)
    points = compare(plan, read(plan, store))[0].frontier
    assert len(points) == 2 * (1 + 4 * 2)  # the start, and each contestant at step 20 and at the end
    dpo = next(p for p in points if (p["contestant"], p["replicate"], p["step"]) == ("dpo", 1, "final"))
    grade = next(c for c in plan.cells if (c.contestant, c.replicate) == ("dpo", 1)).grades[None]
    table = pq.read_table(store.folder(grade.name) / "scores.parquet").to_pandas()
    assert dpo["root_kl"] ** 2 == pytest.approx(table[table["metric"] == "kl"]["value"].mean())


def test_totals_count_each_stage_once_and_failed_attempts_too(tmp_path: Path) -> None:
    plan, store = comparison(tmp_path, skip={("dpo", 3)})
    fail(tmp_path, policy(plan, "dpo", 3), "timeout")
    build(plan, store, tmp_path / "out")
    totals = pd.read_csv(tmp_path / "out/tables/totals.csv").set_index("work")
    records = [store.record(stage.name) for stage in plan.stages()]
    spent = sum(found["cost"]["device_seconds"] for found in records if found)
    assert totals["device_seconds"]["all"] == pytest.approx(spent + 1.0)
    assert totals["device_seconds"].drop("all").sum() == pytest.approx(spent + 1.0)
    assert (totals["stages"]["train pretrain"], totals["stages"]["train sft"]) == (2, 4)


def test_the_matrix_turns_sign_and_mark(shared: Shared) -> None:
    page = parsed(shared.built(usual).path)
    head, *body = page.tables["table-matrix"]
    cell = {(row[0], name): text for row in body for name, text in zip(head, row, strict=True)}
    assert cell["dpo", "cpo"].endswith("▲")
    assert cell["dpo", "cpo"].startswith("+")
    assert cell["cpo", "dpo"] == cell["dpo", "cpo"].replace("+", "−").replace("▲", "▼")


# ---- words


def test_unpaired_seeds_give_the_same_gain_and_a_wider_interval(tmp_path: Path) -> None:
    world = World(GAINS, prompts=30, sd_shared=3.0)
    paired = standings(*comparison(tmp_path, world))["dpo"].estimates["gold"]
    plan, store = comparison(tmp_path, world, paired=False)
    unpaired = standings(plan, store)["dpo"].estimates["gold"]
    assert unpaired.value == pytest.approx(paired.value)
    assert unpaired.high - unpaired.low > paired.high - paired.low


def test_a_lone_winner_is_named_only_among_those_with_scores(tmp_path: Path) -> None:
    skip = {("ipo", r) for r in range(4)}
    text = build(*comparison(tmp_path, skip=skip), tmp_path / "out").text
    assert text.startswith(
        "dpo is significantly better on the gold reward than every other contestant that has scores."
    )


def test_equal_contestants_are_never_told_apart_by_their_raw_means(shared: Shared) -> None:
    first = shared.built(usual).text.splitlines()[0]
    assert "dpo" in first
    assert "ipo" in first
    assert "do not say which of them is best" in first


def test_the_answer_lists_gains_by_size_whatever_the_top_set_is(shared: Shared) -> None:
    one, tables = shared.compared(usual)[0], read(*shared.made(usual))
    rows = {row.name: row for row in one.standings}
    best = [
        replace(rows["dpo"], estimates={"gold": Estimate(0.4, 0.3, 0.5)}),
        replace(rows["ipo"], in_top_set=False, estimates={"gold": Estimate(0.6, 0.5, 0.7)}),
        *(
            replace(rows["cpo"], name=name, estimates={"gold": Estimate(gain)})
            for name, gain in (("c", -0.1), ("d", -0.9))
        ),
    ]
    told = [said.text for said in points(replace(one, standings=best), tables)]
    assert any("ipo +0.60 [+0.50, +0.70]; dpo +0.40" in text for text in told)
    assert "Worse than the start: d −0.90; c −0.10." in told


def test_the_answer_links_to_what_it_rests_on(shared: Shared) -> None:
    html = shared.built(usual).path.read_text().split('<section id="answer')[1].split("</ul>")[0]
    lines = re.findall(r"<li>(.*?)</li>", html)
    expected = {
        "Why: ": ["guide", "pairs"],
        "Better than the start": ["table-main-0"],
        "Worse than the start": ["table-main-0"],
        "Cannot be separated": ["pairs"],
        "Pairs within": ["pairs"],
        "The oracle has": ["table-main-0"],
        "Order of": ["stability"],
        "This holds": ["method"],
    }
    for begin, places in expected.items():
        (line,) = (line for line in lines if line.startswith(begin))
        assert re.findall(r'href="#([^"]+)"', line) == places, begin
    row, grade = re.findall(r'href="#([^"]+)">([^<]+)<', lines[0])
    assert grade == ("table-grade-0", "What the grade rests on")
    assert lines[0].startswith(f"Recommended without constraints: {row[1]} (")
    assert f'<tr id="{row[0]}"><td class="word">{row[1]}' in shared.built(usual).path.read_text()


def test_the_answer_names_better_worse_undecided_and_what_would_help(shared: Shared) -> None:
    lines = shared.built(usual).text.splitlines()
    assert any(line.startswith("Better than the start (sft)") and "dpo +" in line for line in lines)
    assert any(line.startswith("Worse than the start") and "cpo −" in line for line in lines)
    assert any("Cannot be separated from the start: kto." in line and "more seed" in line for line in lines)
    assert any("The oracle has the same sign as gold for all 3" in line for line in lines)


def test_an_oracle_that_disagrees_with_gold_is_said(tmp_path: Path) -> None:
    plan, store = comparison(tmp_path, World(GAINS, prompts=30, oracle_sign=-1.0))
    assert "The oracle disagrees with gold about" in build(plan, store, tmp_path / "out").text


def test_failures_and_waiting_runs_are_in_the_answer(tmp_path: Path) -> None:
    plan, store = comparison(tmp_path, skip={("kto", 3), ("cpo", 2)})
    fail(tmp_path, policy(plan, "kto", 3), "timeout")
    text = build(plan, store, tmp_path / "out").text
    assert "Failed: kto (1 run: timeout)." in text
    assert "Not finished: 1 of 20 runs." in text


# ---- every state of a comparison


def one_seed(root: Path) -> tuple[Plan, Store]:
    return comparison(root, replicates=1)


def start_is_missing(root: Path) -> tuple[Plan, Store]:
    plan, store = comparison(root, replicates=2)
    for cell in plan.cells:
        if cell.is_start:
            (store.folder(cell.grades[None].name) / "record.json").unlink()
    return plan, store


def all_failed(root: Path) -> tuple[Plan, Store]:
    plan, store = comparison(root, replicates=2, skip={(name, r) for name in GAINS for r in (0, 1)})
    for cell in plan.cells:
        if not cell.is_start:
            fail(root, cell.policy, "bug", "<b>boom</b> | pipe")
    return plan, store


def nothing_yet(root: Path) -> tuple[Plan, Store]:
    return make_plan(make_cells(["dpo", "kto"], 2), 2), Store(root)


def only_the_start(root: Path) -> tuple[Plan, Store]:
    return comparison(root, World({}), replicates=2)


def flat_gold(root: Path) -> tuple[Plan, Store]:
    return comparison(root, World({"dpo": 0.0}, sd_seed=0, sd_prompt=0, sd_cell=0, sd_sample=0), replicates=2)


def samples_are_gone(root: Path) -> tuple[Plan, Store]:
    plan, store = comparison(root, replicates=2)
    for path in root.glob("sample-*/samples.parquet"):
        path.unlink()
    return plan, store


def with_a_cut(root: Path) -> tuple[Plan, Store]:
    return comparison(root, replicates=2, cells={"cut": {"kto": "the data has no labels"}})


def two_settings(root: Path) -> tuple[Plan, Store]:
    cells: list[Cell] = []
    for model in ("small", "large"):
        cells += make_cells(list(GAINS), 3, model=model, steps=(20,))
    fill(root, cells, WORLD, skip={("kto", 2)})
    return make_plan(cells, 3), Store(root)


def no_start(root: Path) -> tuple[Plan, Store]:
    plan, store = comparison(root, replicates=2)
    return make_plan([cell for cell in plan.cells if not cell.is_start], 2), store


STATES = (
    no_start,
    one_seed,
    start_is_missing,
    all_failed,
    nothing_yet,
    only_the_start,
    flat_gold,
    with_a_cut,
    samples_are_gone,
    two_settings,
)


@pytest.mark.parametrize("state", STATES, ids=lambda state: state.__name__)
def test_a_report_of_any_state_is_whole_and_holds_no_nan(state: State, shared: Shared) -> None:
    answer, out = shared.built(state), shared.out(state)
    assert answer.text.strip()
    page = parsed(answer.path)
    assert {"runs", "dictionary"} <= {name.removeprefix("table-") for name in page.tables}
    assert all(len(table) > 1 for table in page.tables.values())  # a table without rows is in the files alone
    for text in (answer.text, (out / "report.md").read_text(), str(page.tables)):
        assert not re.search(r"\b(nan|NaN|None|<NA>|inf)\b", text)
    html = re.sub(r"<script.*?</script>", "", answer.path.read_text(), flags=re.DOTALL)
    ids = re.findall(r'\bid="([^"]+)"', html)
    assert len(set(ids)) == len(ids)
    assert set(re.findall(r'href="#([^"]+)"', html)) <= set(ids)
    for section in html.split('<section id="answer')[1:]:
        told = re.findall(r"<li>(.*?)</li>", section.split("</ul>")[0])
        assert all('<a href="#' in line for line in told), "each sentence links to what it rests on"
    for path in (out / "tables").glob("*.parquet"):
        table = pq.read_table(path)
        numbers = [column for column in table.columns if pa.types.is_floating(column.type)]
        assert not any(np.isnan(column.drop_null().to_numpy()).any() for column in numbers), path.name


def test_one_seed_gives_numbers_without_intervals_and_says_why(shared: Shared) -> None:
    row = shared.standings(one_seed)["dpo"]
    assert row.estimates["gold"].low is None
    assert "at least two seeds" in row.gap
    assert shared.built(one_seed).text.startswith("No verdict yet")


def test_without_the_start_there_is_no_gain_and_a_reason(shared: Shared) -> None:
    row = shared.standings(start_is_missing)["dpo"]
    assert "gold" not in row.estimates
    assert "the start (sft) has no gold scores yet" in row.gap
    assert row.estimates["length"].value > 0


def test_a_contestant_whose_runs_all_failed_gets_no_verdict(shared: Shared) -> None:
    row = shared.standings(all_failed)["dpo"]
    assert (row.verdict, row.in_top_set, row.failed) == ("", False, 2)
    assert "2 runs failed: bug" in row.gap


def test_settings_are_reported_apart(shared: Shared) -> None:
    text = shared.built(two_settings).text
    assert text.count("top set is dpo and ipo") + text.count("top set is ipo and dpo") == 2
    main = pd.read_parquet(shared.out(two_settings) / "tables/main.parquet")
    assert list(main["setting"].unique()) == ["small · lab · sft", "large · lab · sft"]
    assert len(main) == 2 * 5


# ---- formats


def test_html_markdown_csv_and_parquet_hold_the_same_numbers(shared: Shared) -> None:
    page, out = parsed(shared.built(one_waits).path), shared.out(one_waits)
    texts = (out / "report.md").read_text()
    heads, *body = page.tables["table-main-0"]
    shown = {row[0].removesuffix(" ●"): dict(zip(heads, row, strict=True)) for row in body}
    for read_twin in ("csv", "parquet"):
        twin = {"csv": pd.read_csv, "parquet": pd.read_parquet}[read_twin](out / f"tables/main.{read_twin}")
        assert len(twin) == len(shown) == 5
        for row in twin.to_dict("records"):
            low, high = (None if pd.isna(row[f"gold_{end}"]) else row[f"gold_{end}"] for end in ("low", "high"))
            assert shown[row["contestant"]]["gold gain, start-sd [95 %]"] == interval(row["gold"], low, high, sign=True)
            assert shown[row["contestant"]]["KL to start, nats"] == number(row["kl"])
            assert shown[row["contestant"]]["letters"] == row["letters"]
    lines = [re.split(r"(?<!\\)\|", line)[1:-1] for line in texts.splitlines() if line.startswith("|")]
    in_markdown = [[unescape(re.sub(r"\\(.)", r"\1", cell.strip())) for cell in line] for line in lines]
    page.tables.pop("", None)  # inside of a line that opens: Markdown has the listing's table
    for table in page.tables.values():
        for row in table[1:]:
            assert row in in_markdown


def test_csv_and_parquet_are_twins_and_every_column_is_explained(shared: Shared) -> None:
    shared.built(one_waits)
    folder = shared.out(one_waits) / "tables"
    words = pd.read_csv(folder / "dictionary.csv")
    names = sorted(path.stem for path in folder.glob("*.csv"))
    assert names == sorted(path.stem for path in folder.glob("*.parquet"))
    assert {"main", "pairs", "runs", "gaps", "costs", "curves", "prompts", "metrics"} <= set(names)
    for name in set(names) - {"dictionary"}:
        csv, parquet = pd.read_csv(folder / f"{name}.csv"), pd.read_parquet(folder / f"{name}.parquet")
        assert list(csv.columns) == list(parquet.columns) == list(words[words["table"] == name]["column"])
        assert len(csv) == len(parquet)
        for column in parquet.select_dtypes("number"):
            left, right = csv[column].astype("Float64"), parquet[column].astype("Float64")
            pd.testing.assert_series_equal(left, right, check_exact=True)
    assert words["meaning"].str.len().min() > 3


def test_the_prompt_table_gives_the_gain_again(shared: Shared) -> None:
    shared.built(usual)
    tables = shared.out(usual) / "tables"
    means = pd.read_csv(tables / "prompts.csv").groupby("contestant")["gold"].mean()
    main = pd.read_csv(tables / "main.csv").set_index("contestant")["gold"]
    assert (means - means["sft"]).to_dict() == pytest.approx(main.to_dict(), abs=1e-12)


def test_what_a_model_wrote_cannot_become_markup(tmp_path: Path) -> None:
    nasty = "</script><script>alert(1)</script> <img src=x onerror=alert(2)> ``` {{ 7 * 7 }} | **bold**"
    plan, store = comparison(tmp_path, World(GAINS, response=nasty), replicates=2)
    answer = build(plan, store, tmp_path / "out")
    page = parsed(answer.path)
    html = answer.path.read_text()
    assert "img" not in page.tags
    assert "<script>alert" not in html
    assert "&lt;script&gt;alert(1)" in html
    assert "{{ 7 * 7 }}" in html
    assert "````\n" + nasty in (tmp_path / "out/report.md").read_text()
    assert "</script" not in script_json({"a": "</script>"})


def test_the_page_asks_for_nothing_and_says_so(shared: Shared) -> None:
    html = shared.built(two_seeds).path.read_text()
    outside = re.sub(r"<script>.*?</script>", "", html, flags=re.DOTALL)
    assert "default-src 'none'" in outside
    assert not re.search(r"""(?:src|href)=["']?(?:https?:)?//""", outside)
    assert not re.search(r"<link|@import|url\(", outside)
    assert len(html) < 5_000_000


def test_a_report_goes_into_a_folder_below_the_one_at_hand(
    shared: Shared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process that writes its tables may have been begun elsewhere."""
    monkeypatch.chdir(tmp_path)
    build(*shared.made(two_seeds), Path("reports/one"))
    assert (tmp_path / "reports/one/tables/curves.csv").stat().st_size > 0


def test_equal_records_give_an_equal_report(shared: Shared, tmp_path: Path) -> None:
    first, second = shared.built(two_seeds), build(*shared.made(two_seeds), tmp_path / "b")
    assert first.text == second.text
    out = shared.out(two_seeds)
    for path in sorted(out.rglob("*.*")):
        assert path.read_bytes() == (tmp_path / "b" / path.relative_to(out)).read_bytes(), path.name


# ---- figures


@pytest.mark.parametrize("name", registry.names("report/figures"))
def test_each_figure_answers_a_question_on_full_and_gappy_tables(name: str, shared: Shared) -> None:
    figure = registry.load("report/figures", name)()
    assert figure.question.endswith("?")
    chart = figure.draw(shared.compared(gappy)[0])
    chart.to_dict(validate=True)  # against Vega-Lite's schema, which the page leaves out for its time
    made = picture(chart)
    assert made.spec
    assert made.svg.startswith("<svg")
    for contestant in ("dpo", "kto"):
        assert contestant in made.svg


@pytest.mark.parametrize("name", registry.names("report/figures"))
@pytest.mark.parametrize("state", STATES, ids=lambda state: state.__name__)
def test_each_figure_has_a_chart_or_a_reason_in_any_state(name: str, state: State, shared: Shared) -> None:
    figure = registry.load("report/figures", name)()
    chart = figure.draw(shared.compared(state)[0])
    if isinstance(chart, str):
        assert chart.endswith(".")
    else:
        assert "NaN" not in chart.to_json()  # it is checked against the schema of Vega-Lite, which the report spares


def test_numbers_are_written_for_people() -> None:
    assert number(-0.001) == "0.00"
    assert number(-1.5, sign=True) == "−1.50"
    assert number(None) == GAP
    assert interval(0.5, 0.25, 0.75) == "0.50 [0.25, 0.75]"
    assert interval(0.5, None, None) == "0.50"


def test_the_page_and_its_files_name_the_same_tables(shared: Shared) -> None:
    plan, store = shared.made(two_seeds)
    page, sheets = make_page(plan, store, read(plan, store))
    linked = {sheet.numbers for section in page.sections for sheet in section.sheets}
    assert linked <= {sheet.name for sheet in sheets}


# ---- order and reading


ORDER = [
    *("Answer", "Alarms", "Contestants", "All pairs", "Reward and distance", "Over-optimisation", "Quality and cost"),
    *("Cost of the study", "Stability of the order", "Length, diversity and degenerate outputs"),
    *("Preferences on labelled pairs", "Benchmarks and alignment tax", "Hypotheses of the articles"),
    *("Beside published numbers",),
    *("Which one for you?", "Reward-model trust", "Training", "Samples side by side", "All metrics"),
    *("Ledger of all runs", "Gaps", "What was alike, what differed", "What each was given"),
    *("Method, and how to reproduce this", "Data dictionary"),
]


def test_sections_stand_in_the_order_of_the_method_and_open_with_a_sentence(shared: Shared) -> None:
    lines = shared.built(usual).path.with_suffix(".md").read_text().splitlines()
    heads = [i for i, line in enumerate(lines) if line.startswith("## ")]
    assert [title for title in ORDER if f"## {title}" in lines] == [lines[i].removeprefix("## ") for i in heads]
    for i in heads:
        assert re.fullmatch(r"\*\*.{10,}[.?]\*\*", lines[i + 2]), lines[i]


def test_with_several_settings_each_kind_of_section_stays_together(tmp_path: Path) -> None:
    cells = [cell for model in ("small", "large") for cell in make_cells(["dpo"], 3, model=model)]
    fill(tmp_path, cells, WORLD)
    text = build(make_plan(cells, 3), Store(tmp_path), tmp_path / "out").path.with_suffix(".md").read_text()
    heads = [line.removeprefix("## ").split(" · ")[0] for line in text.splitlines() if line.startswith("## ")]
    assert heads[:5] == ["Answer", "Answer", "Alarms", "Contestants", "Contestants"]


def test_the_matrix_is_tinted_by_what_its_text_says(shared: Shared) -> None:
    html = shared.built(usual).path.read_text()
    body = html.split('id="table-matrix"')[1].split("</table>")[0]
    cells = re.findall(r'<td class="number([^"]*)">([^<]*)</td>', body)
    tints = {"up": 0, "down": 0}
    for tint, text in cells:
        for name, sign in (("up", "+"), ("down", "−")):
            if name in tint:
                assert text.startswith(sign)
                assert text[-1] in "▲▼=?", "readable without the tint"
                tints[name] += 1
    assert tints["up"] == tints["down"] > 4


def test_the_main_table_is_grouped_by_the_top_set(shared: Shared) -> None:
    text = shared.built(usual).path.with_suffix(".md").read_text()
    table = text.split("## Contestants")[1].split("\n## ")[0]
    first = [line.split("|")[1].strip() for line in table.splitlines() if line.startswith("|")][2:]
    assert first[0] == "**Top set: nothing is significantly better than these**"
    assert set(first[1:3]) == {"dpo ●", "ipo ●"}
    assert first[3] == "**Something is significantly better than these**"
    assert set(first[4:]) == {"kto", "sft", "cpo"}


def test_two_share_a_letter_where_their_pair_does_not_differ(shared: Shared) -> None:
    shared.built(usual)
    main, pairs = (pd.read_parquet(shared.out(usual) / "tables" / f"{name}.parquet") for name in ("main", "pairs"))
    spelled = dict(zip(main["contestant"], main["letters"], strict=True))
    found = pairs[pairs["family"] == "all"]
    assert found["verdict"].isin(["better", "worse"]).nunique() == 2
    for pair in found.itertuples():
        assert bool(set(spelled[pair.a]) & set(spelled[pair.b])) is (pair.verdict not in ("better", "worse"))
    assert "a" in spelled[main["contestant"].iloc[0]]


def test_no_letter_without_a_verdict(shared: Shared) -> None:
    shared.built(one_seed)
    assert pd.read_parquet(shared.out(one_seed) / "tables/main.parquet")["letters"].isna().all()


def test_the_main_table_has_diversity_where_it_was_measured(shared: Shared, tmp_path: Path) -> None:
    assert "distinct n-grams" not in shared.built(usual).path.with_suffix(".md").read_text().split("## All pairs")[0]
    plan, store = comparison(tmp_path, replace(WORLD, distinct=True))
    page = build(plan, store, tmp_path / "out").path.with_suffix(".md").read_text()
    main, outputs = (pd.read_parquet(tmp_path / f"out/tables/{name}.parquet") for name in ("main", "outputs"))
    columns = ["distinct", "distinct_low", "distinct_high"]
    assert main[columns].notna().all(axis=None)
    pd.testing.assert_frame_equal(main[columns], outputs[columns])
    assert "distinct n-grams |" in page.split("## All pairs")[0]


class Rich(World):
    """It has degenerate responses, and was held against the chosen ones."""

    def scores(self, cell: Cell, step: int | None) -> pa.Table:
        own = np.random.default_rng([cell.replicate, len(cell.contestant)])
        prompts = [f"p{p}" for p in range(self.prompts)]
        more = [
            _score_table(metric, role, level, prompts, [at] * self.prompts, values)
            for metric, role, level, at, values in (
                ("degenerate", "", "sample", 0, own.integers(0, 2, self.prompts).astype(float)),
                (
                    "soft_win_chosen",
                    "gold",
                    registry.load("metrics", "soft_win_chosen").level,
                    0,
                    own.random(self.prompts),
                ),
            )
        ]
        return pa.concat_tables([super().scores(cell, step), *more])


def test_the_main_table_repeats_the_other_tables_and_computes_nothing_anew(tmp_path: Path) -> None:
    plan, store = comparison(tmp_path, Rich(GAINS, prompts=20, samples=1))
    text = build(plan, store, tmp_path / "out").path.with_suffix(".md").read_text()
    main, outputs, stability = (
        pd.read_parquet(tmp_path / f"out/tables/{name}.parquet").set_index("contestant")
        for name in ("main", "outputs", "stability")
    )
    for other, names in ((outputs, ["length_ratio", "degenerate", "soft_win_chosen_gold"]),
                         (stability, ["seed_sd", "collapsed"])):  # fmt: skip
        assert main.loc["dpo", names].notna().all()
        pd.testing.assert_frame_equal(main[names], other[names].loc[main.index])
    assert main["tuning_device_seconds"].isna().all()
    head = next(line for line in text.splitlines() if line.startswith("| contestant | seeds done"))
    row = dict(
        zip(head.split("|"), next(x for x in text.splitlines() if x.startswith("| dpo")).split("|"), strict=True)
    )
    dpo = main.loc["dpo"]
    assert row[" degenerate, % "].strip() == f"{100 * dpo['degenerate']:.1f}"
    assert row[" failed or collapsed, % "].strip() == f"{100 * dpo['collapsed']:.0f}"
    assert row[" response tokens (× the start's) "].strip() == f"{dpo['length']:.1f} (× {dpo['length_ratio']:.2f})"
    assert "tuning" not in head


def test_the_main_table_has_tuning_where_something_was_tuned_and_no_metric_that_was_not_measured(
    shared: Shared,
) -> None:
    one, tables = shared.compared(usual)[0], read(*shared.made(usual))
    prices = [replace(price, tuning_seconds=21.0 * (price.name == "dpo")) for price in one.prices]
    one = replace(one, prices=tuple(prices))
    sheet = main_sheet([one], outputs_sheet([one], tables, ()), stability_sheet([one]))
    found = dict(zip(sheet.frame["contestant"], sheet.frame["tuning_device_seconds"], strict=True))
    assert found.pop("dpo") == 21.0
    assert all(pd.isna(seconds) for seconds in found.values())
    titles = [column.title for column in sheet.columns]
    assert "device-s of tuning" in titles
    assert not {"degenerate, %", "soft win against chosen"} & set(titles)


def test_the_interval_that_covers_together_is_wider_and_in_the_files(shared: Shared) -> None:
    shared.built(usual)
    pairs = pd.read_parquet(shared.out(usual) / "tables/pairs.parquet").set_index(["family", "a", "b"])
    one = shared.compared(usual)[0]
    for family, many in (("start", 4), ("all", 10)):
        low, high = contrast(one.runs["kto"].scores, one.runs["sft"].scores, paired=True).interval(0.05 / many)
        row = pairs.loc[(family, "kto", "sft")]
        assert (row["simultaneous_low"], row["simultaneous_high"]) == pytest.approx((low, high))
        assert row["simultaneous_low"] < row["low"] < row["high"] < row["simultaneous_high"]
    assert (
        "simultaneous"
        not in shared.built(usual).path.with_suffix(".md").read_text().split("## All pairs")[1].split("\n## ")[0]
    )


def test_the_section_on_training_says_whose_loss_rose(shared: Shared) -> None:
    one = shared.compared(usual)[0]
    assert "the loss ended no higher than it began for any contestant" in say.training(one)
    falling = (one.curves["metric"] == "loss") & (one.curves["contestant"] == "ipo")
    turned = one.curves.assign(value=one.curves["value"].where(~falling, -one.curves["value"]))
    assert "the loss ended higher than it began for ipo," in say.training(replace(one, curves=turned))


def test_the_section_on_distance_says_who_is_on_the_front(shared: Shared) -> None:
    one = shared.compared(usual)[0]
    told = say.reward_kl(one)
    found = {row.name: row for row in one.standings if row.name != one.start}
    for name in found:
        kl, gold = (found[name].estimates[of].value for of in ("kl", "gold"))
        beaten = gold < 0 or any(
            other.estimates["kl"].value < kl and other.estimates["gold"].value > gold for other in found.values()
        )
        assert (f"{name} (" in told) is not beaten
    losers = [row for row in one.standings if row.name in (one.start, "cpo")]
    assert "no contestant has more gold than the start (sft)" in say.reward_kl(replace(one, standings=losers))


def test_the_head_says_which_plan_code_devices_and_days(shared: Shared) -> None:
    made = [line for line in shared.built(usual).path.with_suffix(".md").read_text().splitlines() if "commit" in line]
    assert re.fullmatch(r"Plan [0-9a-f]{16}; commit abc1234; on cpu; 2026-11-01\.", made[0])


def test_legends_list_those_that_have_a_mark(tmp_path: Path) -> None:
    plan, store = comparison(tmp_path, skip={("kto", seed) for seed in range(4)})
    one = compare(plan, read(plan, store))[0]
    for name in ("reward_kl", "best_of_n", "quality_cost"):
        spec = registry.load("report/figures", name)().draw(one).to_json()
        listed = re.findall(r'"values": \[\s*("sft"[^\]]*)\]', spec)
        assert listed, name
        assert all("kto" not in names and "dpo" in names for names in listed)


def test_text_has_no_marks_of_markdown_in_the_page(shared: Shared) -> None:
    text = shared.built(usual).path.read_text().split("<script")[0]
    assert "`" not in text


def test_why_numbers_are_absent_is_said_above_the_tables_and_not_in_a_tall_column(shared: Shared) -> None:
    text = shared.built(usual).path.with_suffix(".md").read_text().split("## Length, diversity")[1].split("\n## ")[0]
    assert "- Absent for " in text
    assert "| gaps |" not in text
