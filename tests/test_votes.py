"""People as judges: a blind sheet, votes that are checked, and their win rate in the report."""

from __future__ import annotations

import csv
import html
import json
import re
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from browser import needs_browser, visit, with_body_end
from typer.testing import CliRunner

from harness.cli import app
from harness.plan import Plan, make_plan
from harness.recipe import read_recipe
from harness.records import read
from harness.records.votes import agreement
from harness.report.judges import judges_sheet
from harness.report.standings import compare
from harness.store import Store

RECIPE = 'name = "x"\nreplicates = 2\n[[algorithm]]\nname = "dpo"\n[[algorithm]]\nname = "ipo"\n'
HOSTILE = "</script><img src=x onerror=\"document.title = 'taken'\"><b>"
COST = {"device_seconds": 1.0, "devices": 1, "device": "cpu"}


@pytest.fixture
def world(tmp_path: Path) -> tuple[Path, Plan, Store]:
    """A recipe whose samples are there, and nothing else."""
    path = tmp_path / "r.toml"
    path.write_text(RECIPE)
    plan, store = make_plan(read_recipe(path)), Store(tmp_path / "results")
    prompts = None
    for cell in plan.cells:
        stage = cell.samples[None]
        if prompts is None:
            from harness.stages import open_dataset

            prompts = [row["prompt_id"] for row in open_dataset(stage.dataset).rows("prompts", stage.split)][:3]
        rows = [{"prompt_id": p, "k": 0, "response": f"{HOSTILE} says {cell.contestant[::-1]}"} for p in prompts]
        folder = store.prepare(stage)
        pq.write_table(pa.Table.from_pylist(rows), folder / "samples.parquet")
        store.finish(stage.name, {"files": {}, "measurements": [], "made_by": {}, "cost": COST, "seconds": 1.0})
    return path, plan, store


def call(root: Path, *words: str) -> tuple[int, str]:
    places = {"sheet": ["--results", "results", "--reports", "reports"], "votes": ["--results", "results"]}[words[0]]
    full = [str(root / place) if not place.startswith("--") else place for place in places]
    found = CliRunner().invoke(app, [*words, *full])
    return found.exit_code, found.output + (str(found.exception) if found.exception else "")


def sheet(root: Path, recipe: Path) -> list[dict[str, str]]:
    code, text = call(root, "sheet", str(recipe), "--prompts", "3")
    assert code == 0, text
    with (root / "reports" / "x" / "sheet.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def vote(root: Path, recipe: Path, rows: list[tuple[str, str, str]], name: str = "votes.csv") -> tuple[int, str]:
    (root / name).write_text("id,rater,vote\n" + "".join(",".join(row) + "\n" for row in rows))
    return call(root, "votes", str(recipe), str(root / name))


def for_dpo(row: dict[str, str]) -> str:
    """A rater who likes dpo best, then the start."""
    order = [word for word in ("opd", "tfs", "opi") if word in row["first"] + row["second"]]
    return "first" if order[0] in row["first"] else "second"


def test_the_sheet_is_blind_shuffled_and_offline(world: tuple[Path, Plan, Store], tmp_path: Path) -> None:
    rows = sheet(tmp_path, world[0])
    assert len(rows) == 2 * 2 * 3
    assert len({row["id"] for row in rows}) == 12
    assert all(re.fullmatch("[0-9a-f]+", row["id"]) and row["prompt"] for row in rows)
    firsts = ["tfs" in row["first"] for row in rows]
    assert 0 < sum(firsts) < 12, "the start stands on both sides"
    page = (tmp_path / "reports" / "x" / "sheet.html").read_text()
    assert not re.search(r"https?://|<img|\bdpo\b|\bsft\b|replicate", page)
    assert page.count("</script>") == 2, "no response can end the script"
    assert all(row["id"] in page for row in rows)


def test_votes_are_a_metric(world: tuple[Path, Plan, Store], tmp_path: Path) -> None:
    path, plan, store = world
    rows = sheet(tmp_path, path)
    code, text = vote(tmp_path, path, [(row["id"], "ann", for_dpo(row)) for row in rows])
    assert code == 0, text
    assert "No comparison has two raters" in text
    code, text = vote(tmp_path, path, [(row["id"], "bob", "tie") for row in rows[:4]] + [(rows[5]["id"], "bob", "")])
    assert (code, "16 of 2 rater(s) in all" in text) == (0, True), text
    assert "agree on 0% of 4 pairs" in text
    tables = read(plan, store)
    people = tables.scores[tables.scores["role"] == "people"]
    assert len(people) == 12
    expected = {"dpo": 1.0, "ipo": 0.0}
    tied = {row["id"] for row in rows[:4]}
    halves = people[(people["value"] == 0.75) | (people["value"] == 0.25)]
    assert len(halves) == len(tied), "the mean of both raters"
    whole = people[(people["value"] == 1) | (people["value"] == 0)]
    assert all(expected[str(row.contestant)] == row.value for row in whole.itertuples())
    found = judges_sheet(compare(plan, tables), plan, store, tables).frame.set_index("contestant")
    assert list(found["judge"]) == ["people", "people"]
    assert found.loc["dpo", "win"] == pytest.approx(people[people["contestant"] == "dpo"]["value"].mean())
    assert found.loc["ipo", "win"] < 0.5 < found.loc["dpo", "win"]


def test_wrong_votes_are_told_all_at_once_and_not_kept(world: tuple[Path, Plan, Store], tmp_path: Path) -> None:
    path, _, _ = world
    one, two = (row["id"] for row in sheet(tmp_path, path)[:2])
    bad = [
        ("nobody", "ann", "first"),
        (one, "ann", "left"),
        (two, "", "tie"),
        (two, "bob", "tie"),
        (two, "bob", "first"),
    ]
    code, text = vote(tmp_path, path, bad)
    assert code != 0
    for part in ("csv:2: there is no comparison 'nobody'", "csv:3: the vote is 'left'", "csv:4: the rater is missing",
                 f"csv:6: 'bob' has voted on {two} before"):  # fmt: skip
        assert part in text
    assert not (tmp_path / "results" / "votes").exists()
    assert vote(tmp_path, path, [(one, "ann", "first")])[0] == 0
    assert vote(tmp_path, path, [(one, "ann", "first")])[0] == 0, "the same file may be read again"
    assert "differ from earlier ones" in vote(tmp_path, path, [(one, "ann", "second")])[1]


@pytest.mark.parametrize("rater", ["Zoë", "李", 'Doe, "Jo"', "C:\\users", "O'Hara; x"])
def test_a_rater_keeps_the_name_however_often_votes_are_read(
    world: tuple[Path, Plan, Store], tmp_path: Path, rater: str
) -> None:
    path, _, _ = world
    ids = [row["id"] for row in sheet(tmp_path, path)]
    for ann in (ids[:2], ids[2:3], ids[3:4]):
        assert vote(tmp_path, path, [(id, "ann", "tie") for id in ann])[0] == 0
        with (tmp_path / "named.csv").open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([("id", "rater", "vote"), *((id, rater, "tie") for id in ids[:2])])
        code, text = call(tmp_path, "votes", str(path), str(tmp_path / "named.csv"))
        assert (code, "2 votes read" in text, "of 2 rater(s) in all" in text) == (0, True, True), text
    assert "Raters agree on 100% of 2 pairs" in text
    with (tmp_path / "results" / "votes" / "x.csv").open(newline="", encoding="utf-8") as file:
        assert {row["rater"] for row in csv.DictReader(file)} == {"ann", rater}


def test_a_failed_grade_beside_votes_is_no_lost_run(world: tuple[Path, Plan, Store], tmp_path: Path) -> None:
    path, plan, store = world
    rows = sheet(tmp_path, path)
    vote(tmp_path, path, [(row["id"], "ann", for_dpo(row)) for row in rows])
    grade = next(cell.grades[None] for cell in plan.cells if cell.contestant == "dpo" and cell.replicate == 1)
    store.prepare(grade)
    store.fail(grade.name, {"cause": "network", "error": "the hub is away", "hint": ""})
    tables = read(plan, store)
    found = judges_sheet(compare(plan, tables), plan, store, tables).frame.set_index("contestant")
    assert (found.loc["dpo", "win"], found.loc["dpo", "runs"]) == (1.0, 2)


def test_agreement_is_over_pairs_of_raters() -> None:
    votes = {("a", "x"): "first", ("a", "y"): "first", ("a", "z"): "tie", ("b", "x"): "tie"}
    assert agreement(votes) == (1 / 3, 3)
    assert agreement({("a", "x"): "tie"}) is None


RATER = """<script>
const press = (key) => document.dispatchEvent(new KeyboardEvent("keydown", {key}));
press("s");
const unsigned = get("state").textContent;
get("rater").value = "ann";
items.forEach((item, i) => press(["1", "2", "0"][i % 3]));
press("ArrowLeft");
press("1");
const state = get("state").textContent;
URL.createObjectURL = (blob) => { blob.text().then((text) => {
  const told = document.createElement("pre");
  told.id = "told";
  told.textContent = JSON.stringify({text, unsigned, state});
  document.body.append(told);
}); return "#saved"; };
press("s");
</script>"""


@needs_browser
def test_what_is_voted_on_the_page_is_read_back(world: tuple[Path, Plan, Store], tmp_path: Path) -> None:
    """Keys in a real browser; the file that it would save goes through `harness votes`."""
    rows = {row["id"]: row for row in sheet(tmp_path, world[0])}
    page = tmp_path / "reports" / "x" / "sheet.html"
    seen = visit(with_body_end(page, tmp_path / "voted.html", RATER), tmp_path)
    assert (seen.console, seen.requests) == ("", [])
    found = re.search(r'<pre id="told">(.*?)</pre>', seen.dom, re.DOTALL)
    assert found is not None
    told = json.loads(html.unescape(found[1]))
    assert told["unsigned"] == "your name, without commas or quotes", "nothing is saved without a name"
    assert told["state"].endswith("12 of 12, 12 voted: tie")
    (tmp_path / "votes.csv").write_text(told["text"])
    voted = list(csv.DictReader(told["text"].splitlines()))
    assert {row["id"] for row in voted} == set(rows)
    expected = [["first", "second", "tie"][i % 3] for i in range(12)]
    expected[10] = "first"
    assert [row["vote"] for row in voted] == expected
    code, text = call(tmp_path, "votes", str(world[0]), str(tmp_path / "votes.csv"))
    assert (code, "12 votes read; 12 of 1 rater(s)" in text) == (0, True), text
    people = read(world[1], world[2]).scores.query("role == 'people'")
    own = [rows[row["id"]]["first"] for row in voted if row["vote"] == "first"]
    own += [rows[row["id"]]["second"] for row in voted if row["vote"] == "second"]
    assert people["value"].sum() == sum("tfs" not in text for text in own) + 0.5 * expected.count("tie")


@needs_browser
def test_a_response_is_text_and_never_markup(world: tuple[Path, Plan, Store], tmp_path: Path) -> None:
    sheet(tmp_path, world[0])
    page = tmp_path / "reports" / "x" / "sheet.html"
    seen = visit(page, tmp_path)
    assert (seen.console, seen.requests) == ("", [])
    assert "<title>Which response is better?</title>" in seen.dom
    first = re.search(r'<pre id="first">(.*?)</pre>', seen.dom, re.DOTALL)
    assert first is not None
    assert "&lt;/script&gt;&lt;img src=x onerror=" in first[1]
    assert "<img" not in seen.dom.partition("<script")[0]
