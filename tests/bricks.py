"""Walls of bricks (tests/plugins/algorithms/brick.py): graphs of stages that cost nothing, and drivers of their own.

`python bricks.py <results> <workers> [<stage>]` runs the big wall, or a prepared stage, as `harness run` would.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from harness.stages import Stage, Train, algorithm_spec, dataset_spec

HERE = Path(__file__).parent
PLUGINS = str(HERE / "plugins")
WAIT_SECONDS = 60.0


def brick(label: str, *below: Stage, **knobs: Any) -> Train:
    """A stage on top of others; the first of them is its start."""
    roles = ("start", "reference", "reward")
    return Train(
        dict(zip(roles, below, strict=False)),
        algorithm=algorithm_spec("brick", {"label": label, **knobs}),
        dataset=dataset_spec("nothing", {}),
        split="train",
        budget={},
        seed="replicate-0",
    )


def wall(width: int = 6, height: int = 4, seconds: float = 0.1) -> list[Stage]:
    """Rows of bricks, each on two of the row below, all of the first row on one; the top row."""
    row: list[Stage] = [brick("ground", seconds=seconds)]
    for level in range(height):
        row = [brick(f"{level}-{i}", row[i % len(row)], row[(i + 1) % len(row)], seconds=seconds) for i in range(width)]
    return row


def runs(results: Path) -> Counter[str]:
    """How often each stage was begun."""
    diary = results / "diary.txt"
    return Counter(diary.read_text().split()) if diary.exists() else Counter()


def record(results: Path, stage: Stage) -> dict[str, Any]:
    return dict(json.loads((results / stage.name / "record.json").read_text()))


def outputs(results: Path) -> dict[str, Any]:
    """What each finished stage made and measured."""
    found = {}
    for file in results.glob("*/record.json"):
        content = json.loads(file.read_text())
        found[file.parent.name] = (content["files"], content["measurements"])
    return found


def weights(results: Path, stage: Stage) -> Path:
    return results / stage.name / "policy" / "weights"


def driver(results: Path, workers: int = 2, *stage: str) -> subprocess.Popen[bytes]:
    """A run of the big wall, or of a prepared stage, in a process group of its own."""
    command = [sys.executable, str(HERE / "bricks.py"), str(results), str(workers), *stage]
    own = {**os.environ, "HARNESS_PLUGINS": PLUGINS, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, env=own, start_new_session=True, stderr=subprocess.PIPE)


def children(pid: int) -> list[int]:
    """Processes that a process has started."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def alive(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def until(condition: Callable[[], object], seconds: float = WAIT_SECONDS) -> None:
    """Wait for something to come true."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come true in time"
        time.sleep(0.01)


def main() -> None:
    from harness.dispatch import run
    from harness.executors.local import Local
    from harness.store import Store

    store, executor = Store(Path(sys.argv[1])), Local(workers=int(sys.argv[2]), cold=True)
    targets = [store.load(name) for name in sys.argv[3:]] or wall()
    summary = run(targets, store, executor, retries=0)
    sys.exit(1 if summary.failed else 0)


if __name__ == "__main__":
    main()
