"""Responses side by side: prompts drawn by hash, where judges or methods disagree most, and each contestant's worst."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from harness import keys
from harness.errors import HarnessError
from harness.report.page import Prompt, Samples, Side
from harness.report.sheet import count, number

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

    from harness.plan import Cell, Plan
    from harness.records import Tables
    from harness.report.compare import Comparison
    from harness.store import Store

DRAWN, DISPUTED, EXPLOITED = 10, 3, 5
"""Prompts drawn by hash, prompts on which methods differ most, responses on which proxy and gold do."""
COLUMNS = ["prompt_id", "k", "response", "end", "token_ids"]
Place = tuple[str, str, int]
"""A contestant, a prompt and the number of the sample."""


@dataclass(frozen=True)
class Responses:
    """One run's responses, of which few are read.

    Attributes:
        table: `COLUMNS`.
        places: their rows, by prompt and number.
    """

    table: pa.Table
    places: dict[tuple[str, int], int]

    def row(self, prompt: str, k: int) -> dict[str, Any]:
        """One of them."""
        found: dict[str, Any] = self.table.slice(self.places[prompt, k], 1).to_pylist()[0]
        return found


@dataclass
class Album:
    """The responses of one seed: their scores by role on the start's scale, and their texts once they are wanted.

    Attributes:
        names: contestants whose samples are there.
        prompts: those that all of them have.
        scores: each role's scores by contestant, (P, K), over `scored` prompts.
        scored: the prompts of each role's scores.
        rows: text, end and tokens of the responses.
    """

    names: list[str]
    prompts: list[str]
    scores: dict[str, dict[str, np.ndarray]] = field(default_factory=dict)
    scored: dict[str, tuple[str, ...]] = field(default_factory=dict)
    rows: dict[Place, dict[str, Any]] = field(default_factory=dict)

    def score(self, role: str, place: Place) -> float | None:
        """One response's score, where it has one."""
        name, prompt, k = place
        if role not in self.scores or name not in self.scores[role] or prompt not in self.scored[role]:
            return None
        return float(self.scores[role][name][self.scored[role].index(prompt), k])


def samples(plan: Plan, store: Store, tables: Tables, comparison: Comparison) -> list[Samples]:
    """Groups of prompts with responses of the replicate in which most contestants have finished.

    Args:
        plan: for the cells' stages.
        store: where their samples are.
        tables: for what has finished.
        comparison: the setting, for the scores.

    Returns:
        What was drawn by hash, then what was chosen, each group saying how; empty where no run has samples.
    """
    cells = _cells(plan, tables, comparison)
    tables_of = {cell.contestant: found for cell in cells if (found := _responses(store, cell)) is not None}
    if not tables_of:
        return []
    album = _album(comparison, cells[0].replicate, tables_of)
    start = comparison.start if comparison.start in album.names else ""
    drawn = [[(name, prompt, 0) for name in album.names] for prompt in sorted(album.prompts, key=keys.key)[:DRAWN]]
    groups = [
        (f"Drawn by hash, not chosen: the first response of seed {cells[0].replicate} to each of {len(drawn)} prompts.",
         drawn, False),
        ("Methods disagree most: prompts whose first responses gold scores most differently; the best, the worst and "
         "the start.", _disputed(album, start), True),
        ("Proxy and gold disagree most: responses that the proxy puts farthest above gold, beside the start's.",
         [_beside(place, start) for place in _exploited(album)], True),
        ("Each contestant's worst response by gold, beside the start's.",
         [_beside(place, start) for place in _worst(album)], True),
    ]  # fmt: skip
    wanted = {place for _, found, _ in groups for own in found for place in own}
    album.rows = {
        (name, prompt, k): tables_of[name].row(prompt, k)
        for name, prompt, k in wanted
        if (prompt, k) in tables_of[name].places
    }
    texts = _prompt_texts(cells[0], {prompt for _, prompt, _ in wanted})
    return [Samples(title, [_prompt(album, own, texts) for own in found], folded) for title, found, folded in groups
            if found]  # fmt: skip


def _album(comparison: Comparison, replicate: int, found: dict[str, Responses]) -> Album:
    prompts = sorted(set.intersection(*({prompt for prompt, _ in own.places} for own in found.values())))
    album = Album(list(found), prompts)
    for role in (role for role in ("gold", "proxy", "oracle") if role in comparison.scales):
        scale, cubes = comparison.scales[role], comparison.cubes[role]
        album.scored[role] = cubes.prompts
        album.scores[role] = {
            name: (cubes.by_contestant[name].at((replicate,))[0] - scale.mean) / scale.sd
            for name in found
            if name in cubes.by_contestant and replicate in cubes.by_contestant[name].replicates
        }
    return album


def _disputed(album: Album, start: str) -> list[list[Place]]:
    """Prompts with the largest range of gold over the contestants' first responses."""
    import numpy as np

    gold = album.scores.get("gold", {})
    if len(gold) < 3:
        return []
    names, first = list(gold), np.array([scores[:, 0] for scores in gold.values()])
    found = []
    for column in np.argsort(-np.ptp(first, axis=0), kind="stable")[:DISPUTED]:
        ends = [names[int(first[:, column].argmax())], names[int(first[:, column].argmin())]]
        found.append([(name, album.scored["gold"][column], 0) for name in dict.fromkeys([*ends, start]) if name])
    return found


def _exploited(album: Album) -> list[Place]:
    """The responses with the largest proxy minus gold, one for each prompt at most."""
    if not {"gold", "proxy"} <= set(album.scores) or album.scored["gold"] != album.scored["proxy"]:
        return []
    best: dict[str, tuple[float, Place]] = {}
    for name in album.scores["gold"].keys() & album.scores["proxy"].keys():
        gaps = album.scores["proxy"][name] - album.scores["gold"][name]
        for prompt, row in zip(album.scored["gold"], gaps, strict=True):
            k = int(row.argmax())
            best[prompt] = max(best.get(prompt, (float("-inf"), (name, prompt, k))), (float(row[k]), (name, prompt, k)))
    return [place for _, place in sorted(best.values(), reverse=True)[:EXPLOITED]]


def _worst(album: Album) -> list[Place]:
    """Each contestant's response with the lowest gold score."""
    found = []
    for name, scores in album.scores.get("gold", {}).items():
        row, k = divmod(int(scores.argmin()), scores.shape[1])
        found.append((name, album.scored["gold"][row], k))
    return found


def _beside(place: Place, start: str) -> list[Place]:
    """A response, and the start's first to the same prompt."""
    return list(dict.fromkeys([place, *([(start, place[1], 0)] if start else [])]))


def _prompt(album: Album, places: list[Place], texts: dict[str, str]) -> Prompt:
    prompt = places[0][1]
    return Prompt(prompt, texts.get(prompt, ""), [_side(album, place) for place in places if place in album.rows])


def _side(album: Album, place: Place) -> Side:
    row = album.rows[place]
    scores = {role: album.score(role, place) for role in ("gold", "proxy", "oracle")}
    told = [f"{role} {number(score, sign=True)}" for role, score in scores.items() if score is not None]
    cut = ", cut off" if row["end"] == "length" else ""
    return Side(place[0], row["response"], f"({', '.join([*told, count(len(row['token_ids']), 'token')])}{cut})")


def _cells(plan: Plan, tables: Tables, comparison: Comparison) -> list[Cell]:
    """The cells of the replicate in which most contestants have finished."""
    from harness.records import setting_of

    finished = tables.cells[(tables.cells["status"] == "done") & (tables.cells["setting"] == comparison.name)]
    if finished.empty:
        return []
    replicate = int(finished["replicate"].value_counts(sort=True).index[0])
    names = set(finished[finished["replicate"] == replicate]["contestant"])
    own = [cell for cell in plan.cells if setting_of(cell) == comparison.name and cell.replicate == replicate]
    order = {name: i for i, name in enumerate(comparison.contestants)}
    return sorted((cell for cell in own if cell.contestant in names), key=lambda cell: order[cell.contestant])


def _responses(store: Store, cell: Cell) -> Responses | None:
    """A run's responses; None where the samples are no longer there."""
    import pyarrow.parquet as pq

    path = store.folder(cell.samples[None].name) / "samples.parquet"
    if not path.exists():
        return None
    table = pq.read_table(path, columns=COLUMNS)
    places = zip(table["prompt_id"].to_pylist(), table["k"].to_pylist(), strict=True)
    return Responses(table, {place: row for row, place in enumerate(places)})


def _prompt_texts(cell: Cell, wanted: set[str]) -> dict[str, str]:
    """The prompts' texts, from the dataset; none where this machine does not have it, since records must suffice."""
    from harness.stages import open_dataset

    sample = cell.samples[None]
    try:
        rows = open_dataset(sample.dataset).rows("prompts", sample.split)
    except (HarnessError, OSError, ImportError):
        return {}
    return {row["prompt_id"]: _text(row["prompt"]) for row in rows if row["prompt_id"] in wanted}


def _text(messages: list[dict[str, str]]) -> str:
    if len(messages) == 1:
        return messages[0]["content"]
    return "\n".join(f"{message['role']}: {message['content']}" for message in messages)
