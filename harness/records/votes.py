"""People as judges: what they compare, without a name on it, and their votes as scores."""

from __future__ import annotations

import csv
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from harness import keys
from harness.errors import HarnessError, Problems
from harness.records.shelf import cell_id

if TYPE_CHECKING:
    from harness.plan import Cell, Plan
    from harness.records.rows import Row
    from harness.store import Store

PEOPLE = "people"
CHOICES = ("first", "second", "tie")
COLUMNS = ("id", "rater", "vote")


@dataclass(frozen=True)
class Item:
    """One comparison of a contestant's first sample with the start's.

    Attributes:
        id: a hash; nothing of the contestant can be read in it.
        own_first: whether the contestant's response is shown first, which a hash decides.
    """

    id: str
    prompt_id: str
    first: str
    second: str
    own_first: bool
    cell: Cell


def items(plan: Plan, store: Store) -> list[Item]:
    """Every comparison that people may be asked about, of cells whose samples are there."""
    starts = {(c.model, c.dataset, c.start, c.replicate): c for c in plan.cells if c.is_start and not c.reason}
    found = []
    for cell in plan.cells:
        start = starts.get((cell.model, cell.dataset, cell.start, cell.replicate))
        if cell.is_start or cell.reason or start is None:
            continue
        names = [one.samples[None].name for one in (cell, start)]
        own, other = (_first_samples(store, name) for name in names)
        for prompt in sorted(own.keys() & other.keys()):
            name = keys.key(["people", *names, prompt])
            own_first = int(name[-1], 16) % 2 == 0
            sides = (own[prompt], other[prompt]) if own_first else (other[prompt], own[prompt])
            found.append(Item(name, prompt, *sides, own_first, cell))
    return found


def _first_samples(store: Store, name: str) -> dict[str, str]:
    import pyarrow.parquet as pq

    path = store.folder(name) / "samples.parquet"
    if not store.done(name) or not path.exists():
        return {}
    rows = pq.read_table(path, columns=["prompt_id", "response"], filters=[("k", "==", 0)]).to_pylist()
    return {row["prompt_id"]: row["response"] for row in rows}


def votes_file(store: Store, plan: Plan) -> Path:
    """Where the accepted votes of a recipe are kept."""
    return store.root / "votes" / f"{plan.recipe.name}.csv"


def read_votes(path: Path, known: set[str]) -> dict[tuple[str, str], str]:
    """Votes by comparison and rater.

    Raises:
        HarnessError: with every line that is wrong: an unknown id, a vote that is none, two votes of one rater.
    """
    problems, found = Problems(), dict[tuple[str, str], str]()
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            lines = [(reader.line_num, row) for row in reader]
            columns = reader.fieldnames or []
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise HarnessError(f"{path}: cannot be read ({error})") from error
    if not set(COLUMNS) <= set(columns):
        raise HarnessError(f"{path}:1: the columns are {', '.join(columns)}; they must be {', '.join(COLUMNS)}")
    for number, row in lines:
        where, (id, rater, vote) = f"{path}:{number}", ((row[name] or "").strip() for name in COLUMNS)
        if not vote:
            continue  # a row that was not filled in
        if id not in known:
            problems.add(where, f"there is no comparison '{id}' among this recipe's finished samples")
        if vote not in CHOICES:
            problems.add(where, f"the vote is '{vote}'; it must be {', '.join(CHOICES)}, or empty")
        if not rater:
            problems.add(where, "the rater is missing")
        if (id, rater) in found:
            problems.add(where, f"'{rater}' has voted on {id} before")
        found[id, rater] = vote
    problems.check()
    return found


def agreement(votes: dict[tuple[str, str], str]) -> tuple[float, int] | None:
    """Share of pairs of raters that agree, over all comparisons with several, and how many pairs; None without any."""
    by_id: dict[str, list[str]] = {}
    for (id, _), vote in votes.items():
        by_id.setdefault(id, []).append(vote)
    pairs = [a == b for own in by_id.values() for a, b in itertools.combinations(own, 2)]
    return (sum(pairs) / len(pairs), len(pairs)) if pairs else None


def people_rows(plan: Plan, store: Store) -> Iterator[Row]:
    """Accepted votes as scores: for each comparison the mean over its raters of 1, ½ or 0."""
    path = votes_file(store, plan)
    if not path.exists():
        return
    every = {item.id: item for item in items(plan, store)}
    by_id: dict[str, list[float]] = {}
    with path.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if row["id"] in every:  # others are of samples that this recipe no longer has
                won = (row["vote"] == "first") == every[row["id"]].own_first
                by_id.setdefault(row["id"], []).append(0.5 if row["vote"] == "tie" else float(won))
    for id, values in by_id.items():
        where = {"step": -1, "metric": "judge_win", "role": PEOPLE, "level": "prompt", "k": -1}
        yield {**cell_id(every[id].cell), **where, "prompt_id": every[id].prompt_id, "value": sum(values) / len(values)}
