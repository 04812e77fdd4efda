"""A training run on two nodes of a real Slurm, one process each, has the weights of one process."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import pytest
import tiny
from bricks import brick, record, runs, until
from cluster import Cluster
from test_cli import TINY

from harness.dispatch import run
from harness.executors.inline import Inline
from harness.executors.slurm import Slurm
from harness.plan import make_plan
from harness.recipe import read_recipe
from harness.stages import walk
from harness.store import Store

pytestmark = pytest.mark.timeout(240)
TWO_NODES = {"nodes": 2, "memory_gb": 1.9, "setup": ("export GLOO_SOCKET_IFNAME=lo", "sleep 1")}


def test_two_nodes_train_what_one_process_does(slurm: Cluster, tmp_path: Path) -> None:
    recipe = tmp_path / "tiny.toml"
    recipe.write_text(TINY)
    stages = make_plan(read_recipe(recipe)).stages()
    sft = next(stage for stage in stages if stage.spec.get("algorithm", {}).get("name") == "sft")
    one, two = tmp_path / "one", tmp_path / "two"
    run([needed for needed in walk([sft]) if needed != sft], Store(one), Inline())
    shutil.copytree(one, two)
    run([sft], Store(one), Inline())
    executor = Slurm(timeout_min=5, resources={"algorithms": {"sft": TWO_NODES}})
    assert run([sft], Store(two), executor, retries=0).ran == [sft.name]
    expected, found = (tiny.weights(results / sft.name / "policy") for results in (one, two))
    assert max(float((expected[key] - found[key]).abs().max()) for key in expected) < 1e-4
    start = tiny.weights(one / sft.inputs["start"].name / "policy")
    assert max(float((expected[key] - start[key]).abs().max()) for key in expected) > 1e-4, "it trains"
    cost = record(two, sft)["cost"]
    assert cost["device_seconds"] == 2 * (cost["idle_seconds"] + record(two, sft)["seconds"])
    assert cost["devices"] == 2
    assert cost["idle_seconds"] > 1, "two devices, also while Python starts"
    assert record(two, sft)["files"].keys() == record(one, sft)["files"].keys()
    (script,) = (two / ".slurm" / "submitted").glob("[0-9]*.sh")
    assert {"#SBATCH --nodes=2", "#SBATCH --ntasks-per-node=1"} <= set(script.read_text().splitlines())


def test_where_one_process_fails_the_stage_has_failed_and_the_others_are_ended(slurm: Cluster, tmp_path: Path) -> None:
    stage = brick("a", seconds=30.0, trouble="beside")
    began = time.monotonic()
    summary = run([stage], Store(tmp_path), Slurm(timeout_min=5, resources={"nodes": 2}), retries=0)
    assert summary.failed == {stage.name: "plug-in"}
    until(lambda: not slurm.run("squeue", "--noheader"))
    assert time.monotonic() - began < 25
    assert runs(tmp_path) == {stage.name: 2}, "both have begun, and neither again"
