"""Why the jobs of a comparison failed, and what helps, in the report; no cluster is needed (tests/fake_slurm.py)."""

from __future__ import annotations

import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from bricks import runs, until
from scene import Scene

from harness.causes import HINTS
from harness.dispatch import run
from harness.executors.slurm import Slurm
from harness.lease import newest

FIVE = {
    "a r0": ("out of memory", "memory", ""),
    "b r0": ("divergence", "divergence", ""),
    "c r0": ("plug-in", "bug", ""),
    "d r0": ("timeout", "hang", "TIMEOUT"),
    "e r0": ("node", "hang", "NODE_FAIL"),
}
"""Of each contestant the cause, what goes wrong in it, and how Slurm ends its job."""


def test_a_report_lists_five_classes_of_failures_with_a_hint_each(fake: Path, tmp_path: Path) -> None:
    knobs = [{"trouble": trouble, "seconds": float(n)} for n, (_, trouble, _) in enumerate(FIVE.values())]
    scene = Scene(tmp_path, *knobs)
    with ThreadPoolExecutor() as pool:
        running = pool.submit(run, [*scene.stages.values()], scene.store, Slurm(timeout_min=5), retries=0)
        for who in ("d r0", "e r0"):
            name = scene.stages[who].name
            until(lambda: runs(scene.results)[name])  # noqa: B023
            job = newest(scene.results / name)[1]["job"]
            subprocess.run([fake / "scancel", f"--as={FIVE[who][2]}", job], check=True)
        summary = running.result()
    causes = {who: cause for who, (cause, _, _) in FIVE.items()}
    assert summary.failed == {scene.stages[who].name: cause for who, cause in causes.items()}
    scene.asked("report")
    rows = {f"{row['contestant']} r{row['replicate']}": row for row in scene.sheet("gaps")}
    assert {who: rows[who]["cause"] for who in FIVE} == causes
    assert {who: rows[who]["hint"] for who in FIVE} == {who: HINTS[cause] for who, cause in causes.items()}
