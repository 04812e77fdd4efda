"""Two processes that share each optimiser step train what one process does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from two_processes import CASES, RESUMED, ROUNDED, run

SCRIPT = Path(__file__).with_name("two_processes.py")


@pytest.fixture(scope="module")
def runs(shelf: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """All cases in one process and in two, at the same time."""
    out = tmp_path_factory.mktemp("processes")
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    with subprocess.Popen(
        [*torchrun, str(SCRIPT), str(shelf), str(out)],
        env={"GLOO_SOCKET_IFNAME": "lo", **os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as both:
        try:
            alone = {name: run(shelf, out / "alone", name) for name in (*CASES, *ROUNDED, "folds")}
            said, _ = both.communicate(timeout=120)
        except BaseException:
            both.terminate()  # it ends its workers
            raise
    assert both.returncode == 0, said
    return {"out": out, "alone": alone}


def folders(runs: dict[str, Any], name: str) -> tuple[Path, Path, Path]:
    """Of one process, and of the first and the second of two."""
    one, first, second = (runs["out"] / who / name.replace(" ", "-") for who in ("alone", "process-0", "process-1"))
    return one, first, second


@pytest.mark.parametrize("name", CASES)
def test_they_train_the_same_weights(runs: dict[str, Any], shelf: Path, name: str) -> None:
    one, two, _ = folders(runs, name)
    product = "reward" if CASES[name][0] == "reward" else "policy"
    start = tiny.weights(shelf / tiny.START / "policy")
    for kept in (product, f"{product}-step-2"):
        expected, found = tiny.weights(one / kept), tiny.weights(two / kept)
        assert expected.keys() == found.keys()
        assert max(float((expected[key] - found[key]).abs().max()) for key in expected) < 1e-5
        if product == "policy" and not CASES[name][2].get("lora_rank"):
            assert max(float((expected[key] - start[key]).abs().max()) for key in expected) > 1e-3


@pytest.mark.parametrize("name", ROUNDED)
def test_in_low_precision_they_go_the_way_that_one_goes(runs: dict[str, Any], shelf: Path, name: str) -> None:
    one, two, _ = folders(runs, name)
    start = tiny.weights(shelf / tiny.START / "policy")
    alone, both = (
        torch.cat([(own[key].double() - start[key].double()).flatten() for key in start])
        for own in (tiny.weights(folder / "policy") for folder in (one, two))
    )
    assert alone.norm() > 0.1
    assert (both - alone).norm() < 0.1 * alone.norm()


@pytest.mark.parametrize("name", CASES)
def test_they_log_and_report_the_same(runs: dict[str, Any], name: str) -> None:
    one, two, _ = folders(runs, name)
    expected, found = tiny.curves(one), tiny.curves(two)
    if ("rewards/accuracies") in expected.index.get_level_values("metric"):
        # at step 1 the policy is its reference, and rounding alone says which reward is greater
        expected, found = (table.drop((1, "rewards/accuracies")) for table in (expected, found))
    assert list(expected.index) == list(found.index)
    assert found.to_numpy() == pytest.approx(expected.to_numpy(), abs=1e-4, rel=1e-4)
    for who in ("process-0", "process-1"):
        reported = json.loads((runs["out"] / who / "measured.json").read_text())[name]
        assert reported == pytest.approx(runs["alone"][name], abs=1e-4, rel=1e-4)


@pytest.mark.parametrize("name", CASES)
def test_only_the_main_process_writes(runs: dict[str, Any], name: str) -> None:
    one, first, second = folders(runs, name)
    assert sorted(path.name for path in first.iterdir()) == sorted(path.name for path in one.iterdir())
    # of a checkpoint each process writes its own random state
    assert {path.name for path in second.rglob("*") if path.is_file()} == {"rng_state_1.pth"}


def test_they_share_a_cross_validation(runs: dict[str, Any]) -> None:
    for who in ("process-0", "process-1"):
        reported = json.loads((runs["out"] / who / "measured.json").read_text())["folds"]
        assert reported == pytest.approx(runs["alone"]["folds"], abs=1e-4)
        assert "cv_accuracy" in reported


def test_they_resume_to_the_bit(runs: dict[str, Any]) -> None:
    _, whole, _ = folders(runs, RESUMED)
    resumed = runs["out"] / "common" / whole.name
    for kept in ("policy", "policy-step-2"):
        assert tiny.same(resumed / kept, whole / kept)
    assert tiny.curves(resumed).equals(tiny.curves(whole))
    assert sorted(path.name for path in resumed.iterdir()) == sorted(path.name for path in whole.iterdir())
