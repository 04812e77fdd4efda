from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from synthetic import World, fail, fill, make_cells, make_plan, record

from harness.plan import Cell
from harness.records import FINAL, Tables, read
from harness.stages import walk
from harness.store import Store

WORLD = World({"dpo": 1.0, "kto": 0.5})


def cell_of(cells: list[Cell], contestant: str, replicate: int) -> Cell:
    return next(cell for cell in cells if (cell.contestant, cell.replicate) == (contestant, replicate))


def tables_of(root: Path, cells: list[Cell], replicates: int = 2) -> Tables:
    return read(make_plan(cells, replicates), Store(root))


def test_a_finished_comparison_has_every_score_and_no_gap(tmp_path: Path) -> None:
    cells = make_cells(["dpo", "kto"], 2)
    fill(tmp_path, cells, WORLD)
    tables = tables_of(tmp_path, cells)
    assert tables.gaps.empty
    assert list(tables.cells["status"].unique()) == ["done"]
    assert len(tables.cells) == 6
    cell = cell_of(cells, "kto", 1)
    written = pq.read_table(tmp_path / cell.grades[None].name / "scores.parquet").to_pandas()
    found = tables.scores[(tables.scores["contestant"] == "kto") & (tables.scores["replicate"] == 1)]
    assert len(found) == len(written)
    for metric in written["metric"].unique():
        assert found[found["metric"] == metric]["value"].sum() == pytest.approx(
            written[written["metric"] == metric]["value"].sum()
        )
    assert len(tables.curves) == 6 * 120


def test_a_failed_policy_is_a_gap_with_cause_and_hint_and_the_rest_stays(tmp_path: Path) -> None:
    cells = make_cells(["dpo", "kto"], 2)
    fill(tmp_path, cells, WORLD, skip={("dpo", 1)})
    policy = cell_of(cells, "dpo", 1).policy
    fail(tmp_path, policy, "divergence", "loss is not finite at step 7", "lower the learning rate")
    gaps = tables_of(tmp_path, cells).gaps.to_dict("records")
    assert gaps == [
        {
            **{"setting": "lab · lab · sft", "contestant": "dpo", "replicate": 1, "step": FINAL, "status": "failed"},
            **{"stage": policy.name, "cause": "divergence", "error": "loss is not finite at step 7"},
            "hint": "lower the learning rate",
        }
    ]


def test_what_rests_on_a_failure_is_blocked_and_what_has_not_run_waits(tmp_path: Path) -> None:
    cells = make_cells(["dpo", "kto"], 2)
    fill(tmp_path, cells, WORLD, skip={("dpo", 0), ("kto", 0), ("dpo", 1)})
    reference = cell_of(cells, "dpo", 0).policy.inputs["reference"]
    fail(tmp_path, reference, "out of memory")
    status = tables_of(tmp_path, cells).cells.set_index(["contestant", "replicate"])["status"]
    assert status["dpo", 0] == status["kto", 0] == "blocked"
    assert status["dpo", 1] == "waiting"
    assert status["kto", 1] == status["sft", 0] == "done"


def test_a_failure_that_a_later_run_repaired_is_no_gap_but_its_cost_counts(tmp_path: Path) -> None:
    cells = make_cells(["dpo"], 1)
    fill(tmp_path, cells, WORLD)
    policy = cell_of(cells, "dpo", 0).policy
    record(tmp_path, policy, seconds=3.0, failed_device_seconds=1.0, curves=WORLD.curves())
    tables = tables_of(tmp_path, cells, 1)
    assert tables.gaps.empty
    own = tables.costs[tables.costs["stage"] == policy.name]
    assert sorted(zip(own["status"], own["device_seconds"], strict=True)) == [("done", 3.0), ("failed", 1.0)]


def test_a_cut_cell_has_its_reason_and_no_stage(tmp_path: Path) -> None:
    cells = make_cells(["dpo", "cut"], 1, cut={"cut": "the data has no judgments"})
    fill(tmp_path, cells, WORLD)
    tables = tables_of(tmp_path, cells, 1)
    assert tables.gaps[["contestant", "status", "error"]].to_dict("records") == [
        {"contestant": "cut", "status": "cut", "error": "the data has no judgments"}
    ]
    assert tables.cells.set_index("contestant")["policy"]["cut"] == ""


def test_a_shared_stage_is_one_row_and_each_cell_knows_its_share(tmp_path: Path) -> None:
    cells = make_cells(["dpo", "kto"], 2)
    fill(tmp_path, cells, WORLD)
    tables = tables_of(tmp_path, cells)
    many = [cell.pool for cell in cells if cell.pool]
    every = {stage.name for stage in walk([*(cell.grades[None] for cell in cells), *many])}
    assert sorted(tables.costs["stage"]) == sorted(every)
    base = next(stage for stage in walk([cells[0].policy]) if stage.spec["algorithm"]["name"] == "pretrain")
    assert int(tables.costs.set_index("stage")["used_by"][base.name]) == 6
    spent = tables.spent.set_index(["contestant", "replicate", "part"])["device_seconds"]
    assert spent["dpo", 0, "own"] == 3.0
    assert spent["dpo", 0, "with shared"] == 3 + 3 + 2 + 2  # dpo, sft, reference, pretraining
    assert spent["dpo", 0, "beyond the base"] == 3 + 3 + 2
    assert spent["dpo", 0, "base model"] == spent["sft", 0, "base model"] == 2  # the pretraining, which all share
    assert spent["dpo", 0, "evaluation"] == 2 + 2  # samples, grade


def test_emitted_steps_are_scored_and_missed_one_by_one(tmp_path: Path) -> None:
    cells = make_cells(["dpo"], 1, steps=(20, 40))
    fill(tmp_path, cells, WORLD)
    dpo = cell_of(cells, "dpo", 0)
    (tmp_path / dpo.grades[20].name / "record.json").unlink()
    tables = tables_of(tmp_path, cells, 1)
    assert sorted(tables.scores[tables.scores["contestant"] == "dpo"]["step"].unique()) == [FINAL, 40]
    assert list(tables.gaps["step"]) == [20]
    assert tables.cells.set_index("contestant")["status"]["dpo"] == "done"


@pytest.mark.parametrize("damage", ["truncated", "not finite"])
def test_scores_that_cannot_be_trusted_are_a_gap(tmp_path: Path, damage: str) -> None:
    cells = make_cells(["dpo", "kto"], 1)
    fill(tmp_path, cells, WORLD)
    path = tmp_path / cell_of(cells, "dpo", 0).grades[None].name / "scores.parquet"
    if damage == "truncated":
        path.write_bytes(path.read_bytes()[:200])
    else:
        table = pq.read_table(path)
        values = table["value"].to_numpy().copy()
        values[3] = np.nan
        pq.write_table(table.set_column(table.column_names.index("value"), "value", [values]), path)
    tables = tables_of(tmp_path, cells, 1)
    assert tables.gaps[["contestant", "status", "cause"]].to_dict("records") == [
        {"contestant": "dpo", "status": "failed", "cause": "bad data"}
    ]
    assert set(tables.scores["contestant"].astype(str)) == {"sft", "kto"}


def test_before_anything_has_run_the_tables_are_empty_and_every_cell_waits(tmp_path: Path) -> None:
    cells = make_cells(["dpo"], 2)
    tables = tables_of(tmp_path, cells)
    assert set(tables.cells["status"]) == {"waiting"}
    assert len(tables.gaps) == 4
    for frame in (tables.scores, tables.curves, tables.costs, tables.measurements, tables.spent, tables.made_by):
        assert frame.empty
        assert len(frame.columns) > 4


def test_no_table_holds_a_missing_value(tmp_path: Path) -> None:
    cells = make_cells(["dpo", "kto"], 2)
    fill(tmp_path, cells, WORLD, skip={("dpo", 1)})
    tables = tables_of(tmp_path, cells)
    frames = {name: getattr(tables, name) for name in (*vars(tables), "scores") if name != "blocks"}
    assert len(frames["scores"]) > 100
    for name, frame in frames.items():
        assert not frame.isna().to_numpy().any(), name


def test_reading_and_reporting_never_import_torch(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from synthetic import *\n"
        "from harness.report import build; from harness.store import Store\n"
        f"root = Path({str(tmp_path)!r}); cells = make_cells(['dpo'], 2)\n"
        "fill(root / 'r', cells, World({'dpo': 1.0}))\n"
        "build(make_plan(cells, 2), Store(root / 'r'), root / 'out')\n"
        "sys.exit(' '.join({'torch', 'transformers', 'trl', 'datasets'} & set(sys.modules)) or 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
        cwd=Path(__file__).parent,
    )
    assert done.returncode == 0, done.stderr


def test_an_attempt_that_was_cut_off_counts_up_to_its_checkpoint(tmp_path: Path) -> None:
    cells = make_cells(["dpo"], 2)
    fill(tmp_path, cells, WORLD)
    plan = make_plan(cells, 2)
    path = tmp_path / next(cell for cell in cells if cell.contestant == "dpo").policy.name / "record.json"
    found = json.loads(path.read_text())
    seen = []
    for kept in ({}, {"kept_device_seconds": 30.0, "kept_cpu_seconds": 20.0}):
        path.write_text(
            json.dumps({**found, "cost": {**found["cost"], "device_seconds": 10.0, "cpu_seconds": 8.0, **kept}})
        )
        spent = read(plan, Store(tmp_path)).spent
        own = spent[(spent["contestant"] == "dpo") & (spent["replicate"] == 0) & (spent["part"] == "own")].iloc[0]
        seen.append((own["device_seconds"], own["worked_seconds"]))
    (device, worked), (with_kept, worked_with_kept) = seen
    assert (with_kept - device, worked_with_kept - worked) == (30.0, 20.0)
