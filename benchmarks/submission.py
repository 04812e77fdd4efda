"""What Slurm costs: seconds until all is submitted, and seconds of overhead per job, on the suite's own cluster.

`python benchmarks/submission.py [stages]` needs the Debian packages of tests/slurm/cluster.py, and root.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "slurm")]
LENGTH = 4
"""Stages of a chain, as of a policy, its responses and their grades."""
CHAINS = 5


def submitted(count: int, results: Path) -> float:
    """Seconds from a run's start until all of so many stages are in the queue; they are cancelled then."""
    from bricks import brick

    from harness.dispatch import run
    from harness.executors.slurm import Slurm
    from harness.store import Store

    class Enough(Exception):
        pass

    took: list[float] = []

    class Submitting(Slurm):
        def flush(self) -> None:
            super().flush()
            took.append(time.monotonic() - began)
            assert len(list((results / ".slurm" / "jobs").glob("*.json"))) == count
            raise Enough

    row = [brick(str(number), seconds=0.0) for number in range(count)]
    began = time.monotonic()
    with contextlib.suppress(Enough):
        run(list(row), Store(results), Submitting(workers=count, timeout_min=5))
    return took[0]


def left_alone(results: Path) -> dict[str, float]:
    """Seconds of the whole command `harness run --detach` for the main recipe with eight seeds, all of it held."""
    settings = ["replicates=8", "launch.executor='slurm'", "launch.timeout_min=60", "launch.sbatch=['--hold']"]
    words = ["run", "--detach", str(ROOT / "recipes" / "compare_all.toml"), "--results", str(results), "--json"]
    command = [sys.executable, "-m", "harness.cli", *words, *(part for one in settings for part in ("--set", one))]
    began = time.monotonic()
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    seconds, left = time.monotonic() - began, json.loads(done.stdout)
    subprocess.run(["scancel", "--user", "root"], check=True)
    return {"seconds": seconds, "stages": len(left["submitted"]), "jobs and arrays": left["arrays"]}


def one_by_one(count: int, results: Path) -> float:
    """Seconds of one sbatch for each stage, with nothing else."""
    began = time.monotonic()
    numbers = []
    for _ in range(count):
        done = subprocess.run(
            ["sbatch", "--parsable", "--hold", "--output=/dev/null", "--wrap=true"],
            check=True,
            capture_output=True,
            text=True,
            cwd=results,
        )
        numbers.append(done.stdout.strip())
    seconds = time.monotonic() - began
    for first in range(0, count, 500):
        subprocess.run(["scancel", *numbers[first : first + 500]], check=True)
    return seconds


def chains(results: Path, bundle: int) -> float:
    """Seconds of chains of stages that do nothing, one after the other."""
    from bricks import brick

    from harness.dispatch import run
    from harness.executors.slurm import Slurm
    from harness.store import Store

    began = time.monotonic()
    for chain in range(CHAINS):
        stage = brick(f"{chain}-0")
        for level in range(1, LENGTH):
            stage = brick(f"{chain}-{level}", stage)
        executor = Slurm(timeout_min=5)
        executor.bundle = bundle
        summary = run([stage], Store(results), executor)
        assert len(summary.ran) == LENGTH
    return time.monotonic() - began


def bare_chains() -> float:
    """Seconds of as many jobs of one sbatch each that only import what a stage does, each waited for."""
    command = f"{sys.executable} -c 'import harness.execute'"
    began = time.monotonic()
    for _ in range(CHAINS * LENGTH):
        subprocess.run(["sbatch", "--wait", "--output=/dev/null", f"--wrap={command}"], check=True, capture_output=True)
    return time.monotonic() - began


def main(count: int) -> None:
    """Measure and print."""
    import cluster
    from bricks import PLUGINS

    with cluster.running() as found, tempfile.TemporaryDirectory(prefix="submission-") as folder:
        os.environ.update(found.environment, HARNESS_PLUGINS=PLUGINS, PYTHONPATH=str(ROOT), OMP_NUM_THREADS="1")
        home = Path(folder)
        for name in ("many", "plain", "bundled"):
            (home / name).mkdir()
        seconds = {
            "all submitted": submitted(count, home / "many"),
            "one sbatch each": one_by_one(count, home),
            "a stage, each its own job": chains(home / "plain", 1) / (CHAINS * LENGTH),
            f"a stage, {LENGTH} in a job": chains(home / "bundled", LENGTH) / (CHAINS * LENGTH),
            "a bare job of sbatch --wait": bare_chains() / (CHAINS * LENGTH),
        }
        print(json.dumps({"harness run --detach": left_alone(home / "alone")}))
        print(json.dumps({"stages": count, "load": os.getloadavg()[0], "seconds": seconds}, indent=1))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000)
