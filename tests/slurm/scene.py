"""A comparison whose contestants are bricks, in a real store: what happens to them, and what is said of it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from bricks import record, runs
from test_cli import inside

from harness.lease import newest
from harness.plan import make_plan
from harness.recipe import read_recipe
from harness.stages import Stage
from harness.store import Store

RECIPE = """
name = "scene"
replicates = {replicates}
launch = {{executor = "slurm", timeout_min = 5}}
dataset = [{{source = "lab", train = 8, evaluation = 8}}]
start = [{{name = "base"}}]
"""


class Scene:
    """Contestants called `a`, `b`, ... with knobs of bricks; the start is there, and what judges them never is.

    Args:
        folder: where recipe and results go.
        contestants: knobs of each.
        replicates: seeds of each.
    """

    def __init__(self, folder: Path, *contestants: dict[str, Any], replicates: int = 1) -> None:
        self.folder, self.results = folder, folder / "results"
        text = RECIPE.format(replicates=replicates)
        for label, knobs in zip("abcdef", contestants, strict=False):
            lines = (f"{name} = {json.dumps(value)}\n" for name, value in knobs.items())
            text += f'[[algorithm]]\nname = "steps"\nlabel = "{label}"\n{"".join(lines)}'
        (folder / "scene.toml").write_text(text)
        plan = make_plan(read_recipe(folder / "scene.toml"))
        self.stages: dict[str, Stage] = {f"{c.contestant} r{c.replicate}": c.own[0] for c in plan.cells if c.own}
        self.store = Store(self.results)
        self.store.prepare_all(self.stages.values())
        start = next(iter(self.stages.values())).inputs["start"]
        (self.results / start.name / "policy").mkdir()
        (self.results / start.name / "policy" / "weights").write_text("the start")
        made = {"spec": start.spec, "status": "done", "measurements": [], "seconds": 1.0, "made_by": {}}
        cost = {"device_seconds": 1.0, "devices": 1, "device": "cpu"}
        self.store.finish(start.name, {**made, "cost": cost, "files": self.store.outputs(start.name), "attempt": 1})

    def driver(self, *words: str) -> subprocess.Popen[bytes]:
        """A run of the contestants in a process of its own."""
        command = [sys.executable, str(Path(__file__).with_name("drive.py")), str(self.results), *(words or ("low",))]
        return subprocess.Popen(command, start_new_session=True)

    def asked(self, command: str, *words: str) -> str:
        """What a command says of it."""
        result = inside(command, "scene.toml", *words, cwd=self.folder)
        assert result.exit_code == 0, result.output
        return str(result.stdout)

    def status(self) -> dict[str, Any]:
        return dict(json.loads(self.asked("status", "--json")))

    def sheet(self, name: str) -> list[dict[str, Any]]:
        """Rows of a table of its report, as it was built last."""
        frame = pd.read_csv(self.folder / "reports" / "scene" / "tables" / f"{name}.csv", keep_default_na=False)
        return [{str(key): value for key, value in row.items()} for row in frame.to_dict("records")]

    def is_told(self, done: dict[str, int], failed: dict[str, tuple[str, str]]) -> None:
        """Check that status, logs and report say of every contestant what is true: nothing lost, nothing twice.

        Args:
            done: of each finished one, how often it was begun.
            failed: of each failed one its cause, and words for a person.
        """
        self.asked("report")
        status = self.status()
        assert {row["label"]: row["cause"] for row in status["failures"]} == {
            f"train {who}": cause for who, (cause, _) in failed.items()
        }
        assert (status["done"], "running" in status, "queued" in status) == (1 + len(done), False, False)
        assert ("blocked" in status) == bool(failed)
        assert set(done) | set(failed) == set(self.stages)
        for who, begun in done.items():
            self._done(who, begun)
        for who, told in failed.items():
            self._failed(who, *told)

    def _done(self, who: str, begun: int) -> None:
        name = self.stages[who].name
        assert runs(self.results)[name] == begun, who
        assert self.asked("logs", f"train {who}").startswith(f"train {who}: done, Slurm job ")
        said, rows = record(self.results, self.stages[who]), self._ledger(name)
        assert rows["done"] == pytest.approx(said["cost"]["device_seconds"])
        assert rows.get("failed", 0.0) == pytest.approx(said["failed_device_seconds"])
        assert ("failed" in rows) == (begun > 1), "an attempt that was lost has cost something"
        gap = self._gap(who)
        assert (gap["status"], gap["stage"] == name) == ("waiting", False), "it waits for what judges it"

    def _failed(self, who: str, cause: str, words: str) -> None:
        name = self.stages[who].name
        failure = self.store.failure(name)
        assert failure is not None
        job = newest(self.results / name)[1]["job"]
        assert (failure["cause"], failure["error"]) == (cause, f"Slurm job {job}: {words}")
        assert failure["attempt"] == 1, "it counts once, whoever has seen it"
        logs = self.asked("logs", f"train {who}")
        assert logs.startswith(f"train {who}: failed, Slurm job {job} [{name}]"), logs
        assert f"submitted/{job}_0_log.out <==" in logs, "what Slurm has to say is in the job's own log"
        assert self._ledger(name) == {"failed": pytest.approx(failure["cost"]["device_seconds"])}
        gap = self._gap(who)
        assert (gap["status"], gap["stage"], gap["cause"]) == ("failed", name, cause)
        assert gap["error"] == failure["error"]

    def _gap(self, who: str) -> dict[str, Any]:
        contestant, replicate = who.split(" r")
        (row,) = (
            row for row in self.sheet("gaps") if (row["contestant"], str(row["replicate"])) == (contestant, replicate)
        )
        return row

    def _ledger(self, name: str) -> dict[str, float]:
        """What a stage's success and its failures have cost; each has one row at most."""
        rows = [(row["status"], row["device_seconds"]) for row in self.sheet("costs") if row["stage"] == name]
        assert len(dict(rows)) == len(rows)
        return dict(rows)
