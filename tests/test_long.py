"""What CI has no time for: `make test-long`.

A comparison that is killed again and again ends like one that is not; what CUT marks are the planted errors.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from test_cli import TINY

pytestmark = pytest.mark.long


def start(folder: Path, results: str) -> subprocess.Popen[bytes]:
    words = [
        "run",
        "tiny.toml",
        "--results",
        results,
        "--set",
        "launch.workers=2",
        "--set",
        "launch.checkpoint_every=1",
    ]
    command = [sys.executable, "-m", "harness.cli", *words]
    own = {**os.environ, "OMP_NUM_THREADS": "1"}
    quiet = subprocess.DEVNULL
    return subprocess.Popen(command, cwd=folder, env=own, stdout=quiet, stderr=quiet, start_new_session=True)


def records(results: Path) -> dict[str, dict[str, object]]:
    return {file.parent.name: json.loads(file.read_text()) for file in results.glob("*/record.json")}


@pytest.mark.timeout(1500)
def test_killed_ten_times_it_ends_the_same(tmp_path: Path) -> None:
    (tmp_path / "tiny.toml").write_text(TINY.replace("steps = 2", "steps = 6"))
    assert start(tmp_path, "calm").wait(timeout=400) == 0
    rng = random.Random(0)
    before: dict[str, dict[str, object]] = {}
    for _ in range(10):
        driver = start(tmp_path, "stormy")
        time.sleep(rng.uniform(4, 16))
        os.killpg(driver.pid, signal.SIGKILL)
        driver.wait()
        after = records(tmp_path / "stormy")
        assert {name: after[name] for name in before} == before, "what was finished was not touched again"
        before = after
    assert start(tmp_path, "stormy").wait(timeout=400) == 0
    for name in ("samples", "scores"):
        for file in (tmp_path / "calm").glob(f"*/{name}.parquet"):
            assert file.read_bytes() == (tmp_path / "stormy" / file.parent.name / file.name).read_bytes()
    calm, stormy = records(tmp_path / "calm"), records(tmp_path / "stormy")
    assert {name: r["measurements"] for name, r in calm.items()} == {
        name: r["measurements"] for name, r in stormy.items()
    }


@pytest.mark.timeout(3000)
def test_what_cut_marks_are_the_planted_errors(tmp_path: Path) -> None:
    """Where errors are wrong word by word; docs/algorithms.md has the control, which says what that shows."""
    script = Path(__file__).parents[1] / "benchmarks" / "cut_marks.py"
    own = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, script, tmp_path], check=True, env=own, capture_output=True, text=True, timeout=2900
    )
    rows = [[cell.strip(" |") for cell in line.split(" | ")] for line in done.stdout.splitlines()[2:]]
    (precision, recall), *_ = [(float(row[2]), float(row[3])) for row in rows if row[:2] == ["cut", "1.1"]]
    assert precision >= 0.8
    assert recall >= 0.6
