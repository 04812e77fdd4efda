"""Scores and training curves from the stages' parquet files: millions of rows, with text as categories."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, cast

from harness.records.rows import CURVES, NO_BENCHMARKS, NO_POOL, SCORES, frame
from harness.records.scores import Scores, blocks_of
from harness.records.shelf import FINAL, Shelf, cell_id, setting_of, steps, trainings
from harness.records.votes import people_rows

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from harness.plan import Cell
    from harness.stages import Bench, Stage

BASE = "base"
SCORE_TEXT = ("metric", "role", "level", "prompt_id")


def read_scores(shelf: Shelf) -> Scores:
    """All score tables of finished grades and judges, and people's votes."""
    found = Scores()
    for cell in shelf.plan.cells:
        for step in steps(cell):
            table = _parquet(cell.grades[step], "scores.parquet", SCORE_TEXT, shelf)
            if table is not None:
                found.add(table, cell_id(cell), FINAL if step is None else step)
        for label, stage in cell.judges.items():  # a judge's label is its role
            table = _parquet(stage, "scores.parquet", SCORE_TEXT, shelf)
            if table is not None:
                found.add(table, cell_id(cell), FINAL, role=label)
    people = list(people_rows(shelf.plan, shelf.store))
    if people:
        votes = blocks_of(frame(people, SCORES))
        for block in votes.blocks:
            found.take(block, votes.prompts)
    return found


def read_pool(shelf: Shelf) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Scores of the starts' many responses, and why some are not there."""
    import pyarrow as pa

    parts, missing = [], []
    for cell in shelf.plan.cells:
        if cell.is_start and not cell.reason:
            table = _parquet(cell.pool, "scores.parquet", SCORE_TEXT, shelf) if cell.pool else None
            if table is not None:
                parts.append(_with(table, {**cell_id(cell), "step": FINAL}))
            else:
                missing.append({**cell_id(cell), "error": _why_none(shelf, cell)})
    if not parts:
        return frame([], SCORES), frame(missing, NO_POOL)
    table = pa.concat_tables(parts).unify_dictionaries().select(list(SCORES))
    return cast("pd.DataFrame", table.to_pandas()), frame(missing, NO_POOL)


def _why_none(shelf: Shelf, cell: Cell) -> str:
    if cell.pool is None:
        return "evaluation.best_of is below 2, or there is no proxy reward to choose by"
    fate = shelf.fate_of(cell.pool, (*cell.own, cell.pool, cell.pool.inputs["sample"]))
    return f"{fate.status}: {fate.error}"


def read_benchmarks(shelf: Shelf) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Values of lm-eval tasks, of the bases too, and why some are not there."""
    import pyarrow as pa

    parts, missing = [], []
    for named, own, benches in _benched(shelf):
        for bench in benches:
            table = _parquet(bench, "scores.parquet", SCORE_TEXT, shelf)
            if table is not None:
                parts.append(_with(table, {**named, "step": FINAL}))
            else:
                fate = shelf.fate_of(bench, (*own, bench))
                missing += [{**named, "task": task, **vars(fate)} for task in bench.tasks]
    if not parts:
        return frame([], SCORES), frame(missing, NO_BENCHMARKS)
    table = pa.concat_tables(parts).unify_dictionaries().select(list(SCORES))
    return cast("pd.DataFrame", table.to_pandas()), frame(missing, NO_BENCHMARKS)


def _benched(shelf: Shelf) -> Iterator[tuple[dict[str, Any], tuple[Stage, ...], tuple[Bench, ...]]]:
    """What names a policy, its own stages, and its benchmarks; the base once in each setting that has others."""
    settings = {setting_of(cell): cell for cell in shelf.plan.cells}
    for cell in shelf.plan.cells:
        yield cell_id(cell), cell.own, cell.benches
    for name, cell in settings.items():
        if cell.start != BASE:
            base = shelf.plan.bases.get((cell.model, cell.dataset), ())
            yield {"setting": name, "contestant": BASE, "replicate": 0}, (), base


def read_curves(shelf: Shelf) -> pd.DataFrame:
    """All training curves of finished policies; values that are not finite are left out.

    Steps are counted over all rounds. A contestant that trains nothing has no curve: its start's is the start's.
    """
    import pyarrow as pa

    parts = []
    for cell in shelf.plan.cells:
        done = 0
        finished = not cell.reason and shelf.record(cell.policy) is not None
        for stage in trainings(cell) if finished else ():
            table = _parquet(stage, "curves.parquet", ("metric",), shelf, optional=True)
            if table is not None:
                parts.append(_with(_later(table, done), cell_id(cell)))
            done += int(stage.budget.get("steps", 0))
    if not parts:
        return frame([], CURVES)
    return cast("pd.DataFrame", pa.concat_tables(parts).unify_dictionaries().select(list(CURVES)).to_pandas())


def _later(table: pa.Table, steps: int) -> pa.Table:
    """A curve as it goes on after so many steps."""
    import pyarrow.compute as pc

    return table.set_column(table.column_names.index("step"), "step", pc.add(table["step"], steps))


def _parquet(
    stage: Stage, file: str, text: tuple[str, ...], shelf: Shelf, *, optional: bool = False
) -> pa.Table | None:
    """A table of a finished stage; one that cannot be read, or holds a number that is none, makes a gap."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    if shelf.record(stage) is None:
        return None
    path = shelf.store.folder(stage.name) / file
    if optional and not path.exists():
        return None
    try:
        with pq.ParquetFile(path, read_dictionary=list(text)) as opened:  # thrice as fast as a dataset of one file
            table = opened.read(use_threads=False)
        bad = table.num_rows - (pc.sum(pc.is_finite(table["value"])).as_py() or 0)
    except (OSError, pa.ArrowException, KeyError) as error:
        shelf.unreadable[stage.name] = f"{file} cannot be read: {error}".splitlines()[0]
        return None
    if bad and optional:
        return table.filter(pc.is_finite(table["value"]))
    if bad:
        shelf.unreadable[stage.name] = f"{file} holds {bad} value(s) that are not finite numbers"
        return None
    return table


def _with(table: pa.Table, values: dict[str, Any]) -> pa.Table:
    """The table with constant columns added, text as one category each; plain types for the rest."""
    import pyarrow as pa

    rows = table.num_rows
    for name, value in values.items():
        if isinstance(value, str):
            column = pa.DictionaryArray.from_arrays(pa.repeat(pa.scalar(0, pa.int32()), rows), pa.array([value]))
        else:
            column = pa.repeat(pa.scalar(value, pa.int64()), rows)
        if name not in table.column_names:
            table = table.append_column(name, column)
        elif name == "step":
            table = table.set_column(table.column_names.index(name), name, column)
    for name in ("step", "k"):
        if name in table.column_names:
            table = table.set_column(table.column_names.index(name), name, table[name].cast(pa.int64()))
    return table
