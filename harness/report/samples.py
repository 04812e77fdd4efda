"""A few prompts, and what the start and each contestant responded to them, side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harness import keys
from harness.errors import HarnessError
from harness.report.page import Prompt, Side
from harness.report.sheet import count, number

if TYPE_CHECKING:
    from harness.plan import Cell, Plan
    from harness.records import Tables
    from harness.report.compare import Comparison
    from harness.store import Store

PROMPTS = 6
COLUMNS = ("prompt_id", "k", "response", "end", "token_ids")


def side_by_side(plan: Plan, store: Store, tables: Tables, comparison: Comparison) -> list[Prompt]:
    """Responses to a few prompts, drawn by hash and so the same for all; the first sample of the first shared seed.

    Args:
        plan: for the cells' stages.
        store: where their samples are.
        tables: for each response's gold reward.
        comparison: the setting.

    Returns:
        One entry per prompt; empty where no run has samples.
    """
    cells = _cells(plan, tables, comparison)
    if not cells:
        return []
    responses = {cell.contestant: found for cell in cells if (found := _responses(store, cell))}
    if not responses:
        return []
    prompts = sorted(set.intersection(*(set(found) for found in responses.values())), key=keys.key)[:PROMPTS]
    gold = comparison.gold_of_first_sample(cells[0].replicate)
    texts = _prompt_texts(cells[0], prompts)
    return [
        Prompt(
            prompt,
            texts.get(prompt, ""),
            [_side(name, found[prompt], gold.get((name, prompt))) for name, found in responses.items()],
        )
        for prompt in prompts
    ]


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


def _responses(store: Store, cell: Cell) -> dict[str, dict[str, Any]]:
    """The first sample of each prompt; nothing where the samples are no longer there."""
    import pyarrow.parquet as pq

    path = store.folder(cell.samples[None].name) / "samples.parquet"
    if not path.exists():
        return {}
    rows = pq.read_table(path, columns=list(COLUMNS), filters=[("k", "==", 0)]).to_pylist()
    return {row["prompt_id"]: row for row in rows}


def _side(contestant: str, row: dict[str, Any], gold: float | None) -> Side:
    score = "" if gold is None else f"gold {number(gold, sign=True)}, "
    cut = ", cut off" if row["end"] == "length" else ""
    return Side(contestant, row["response"], f"({score}{count(len(row['token_ids']), 'token')}{cut})")


def _prompt_texts(cell: Cell, prompts: list[str]) -> dict[str, str]:
    """The prompts' texts, from the dataset; none where this machine does not have it, since records must suffice."""
    from harness.stages import open_dataset

    sample = cell.samples[None]
    wanted = set(prompts)
    try:
        rows = open_dataset(sample.dataset).rows("prompts", sample.split)
    except (HarnessError, OSError, ImportError):
        return {}
    return {row["prompt_id"]: _text(row["prompt"]) for row in rows if row["prompt_id"] in wanted}


def _text(messages: list[dict[str, str]]) -> str:
    if len(messages) == 1:
        return messages[0]["content"]
    return "\n".join(f"{message['role']}: {message['content']}" for message in messages)
