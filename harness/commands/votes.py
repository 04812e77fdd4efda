"""`harness sheet` and `harness votes`: people as judges."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

from harness import keys
from harness.errors import HarnessError
from harness.plan import Plan, make_plan
from harness.recipe import read_recipe
from harness.records.votes import COLUMNS, Item, agreement, items, read_votes, votes_file
from harness.report.page import TEMPLATES, script_json
from harness.stages import open_dataset
from harness.store import Store, write_whole


def write_sheet(recipe: Path, assignments: list[str], results: Path, reports: Path, prompts: int) -> None:
    """Write `<reports>/<name>/sheet.csv` and `sheet.html`.

    Raises:
        HarnessError: nothing has been sampled yet.
    """
    plan = make_plan(read_recipe(recipe, assignments))
    every = items(plan, Store(results))
    if not every:
        raise HarnessError(f"{recipe}: no contestant has samples to compare with the start's; run it first")
    wanted = set(sorted({item.prompt_id for item in every}, key=keys.key)[:prompts])
    chosen = sorted((item for item in every if item.prompt_id in wanted), key=lambda item: keys.key(item.id))
    texts, out = _texts(plan), reports / plan.recipe.name
    out.mkdir(parents=True, exist_ok=True)
    with (out / "sheet.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow((*COLUMNS, "prompt", "first", "second"))
        writer.writerows((item.id, "", "", texts[item.prompt_id], item.first, item.second) for item in chosen)
    shown = [_shown(item, texts) for item in chosen]
    page = (TEMPLATES / "sheet.html").read_text(encoding="utf-8").replace("ITEMS", script_json(shown))
    (out / "sheet.html").write_text(page, encoding="utf-8")
    print(f"{len(chosen)} comparisons on {len(wanted)} prompts: {out / 'sheet.html'} and {out / 'sheet.csv'}")
    print(f"Read the votes with: harness votes {recipe} votes.csv")


def _shown(item: Item, texts: dict[str, str]) -> dict[str, str]:
    return {"id": item.id, "prompt": texts[item.prompt_id], "first": item.first, "second": item.second}


def _texts(plan: Plan) -> dict[str, str]:
    """Every evaluation prompt in words."""
    found: dict[str, str] = {}
    seen = {json.dumps([s.dataset, s.split]): s for cell in plan.cells for s in cell.samples.values()}
    for sample in seen.values():
        for row in open_dataset(sample.dataset).rows("prompts", sample.split):
            found[row["prompt_id"]] = "\n".join(message["content"] for message in row["prompt"])
    return found


def take_votes(recipe: Path, assignments: list[str], results: Path, file: Path) -> None:
    """Check votes and keep them with those that were taken before; the report then shows them.

    Raises:
        HarnessError: with every line that is wrong; nothing is kept then.
    """
    plan, store = make_plan(read_recipe(recipe, assignments)), Store(results)
    known = {item.id for item in items(plan, store)}
    new, home = read_votes(file, known), votes_file(store, plan)
    before = _kept(home)
    changed = [f"{rater} on {id}" for (id, rater), vote in new.items() if before.get((id, rater), vote) != vote]
    if changed:
        raise HarnessError(f"{file}: {len(changed)} votes differ from earlier ones, for example of {changed[0]}")
    whole = {**before, **new}
    home.parent.mkdir(parents=True, exist_ok=True)
    write_whole(home, _as_csv(whole))
    print(f"{len(new)} votes read; {len(whole)} of {len({rater for _, rater in whole})} rater(s) in all")
    agreed = agreement(whole)
    print(f"Raters agree on {agreed[0]:.0%} of {agreed[1]} pairs." if agreed else "No comparison has two raters.")


def _as_csv(votes: dict[tuple[str, str], str]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows((id, rater, vote) for (id, rater), vote in votes.items())
    return text.getvalue()


def _kept(home: Path) -> dict[tuple[str, str], str]:
    if not home.exists():
        return {}
    with home.open(newline="", encoding="utf-8") as file:
        return {(row["id"], row["rater"]): row["vote"] for row in csv.DictReader(file)}
