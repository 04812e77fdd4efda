"""A run that was killed ends with the same weights and curves as one that was not."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import tiny
import torch

from harness import registry
from harness.training import checkpoints

STEPS = 6


class Killed(BaseException):
    """Stands for the end of the process."""


def killed(name: str, at: int, out: Path, shelf: Path, **given: Any) -> None:
    """Train as `tiny.train` would, and die within step `at`."""
    algorithm = registry.load("algorithms", name)()
    calls = []

    @dataclass(frozen=True)
    class Dying(type(algorithm)):  # type: ignore[misc]  # the class is chosen at run time
        def losses(self, *args: Any) -> torch.Tensor:
            calls.append(1)
            if len(calls) == at:
                raise Killed
            return super().losses(*args)

    with pytest.raises(Killed):
        Dying().train(tiny.job(out, algorithm.needs.data, shelf, **given))


def curves(out: Path) -> pd.DataFrame:
    table = pd.read_parquet(out / "curves.parquet")
    assert list(table.columns) == ["step", "metric", "value"]
    return table.sort_values(["step", "metric"], ignore_index=True)


@pytest.fixture(scope="module", params=["dpo", "kto", "reward", "lora"])
def case(request: pytest.FixtureRequest, shelf: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """An undisturbed run, and what a killed one left behind: checkpoints after steps 2 and 4."""
    root = tmp_path_factory.mktemp(request.param)
    name = "dpo" if request.param == "lora" else request.param
    given = {"steps": STEPS, "checkpoint_every": 2, "emit": (1, 3), "lora_rank": 2 * (request.param == "lora")}
    tiny.train(name, root / "whole", shelf, **given)
    killed(name, 6, root / "left", shelf, **given)
    return {"name": name, "root": root, "product": registry.load("algorithms", name).product, "given": given}


def finish(case: dict[str, Any], shelf: Path, out: Path) -> None:
    """Run on from what is in `out`, and compare with the undisturbed run."""
    tiny.train(case["name"], out, shelf, **case["given"])
    whole, product = case["root"] / "whole", case["product"]
    assert tiny.same(out / product, whole / product)
    for step in (1, 3):
        assert tiny.same(out / f"{product}-step-{step}", whole / f"{product}-step-{step}")
        assert not tiny.same(out / f"{product}-step-{step}", whole / product)
    pd.testing.assert_frame_equal(curves(out), curves(whole), check_exact=True)
    assert sorted(path.name for path in out.iterdir()) == sorted(path.name for path in whole.iterdir())
    assert not (out / "checkpoints").exists()


def copy(case: dict[str, Any], tmp_path: Path) -> Path:
    return Path(shutil.copytree(case["root"] / "left", tmp_path / "left"))


def test_a_killed_run_goes_on_from_its_checkpoint(case: dict[str, Any], shelf: Path, tmp_path: Path) -> None:
    out = copy(case, tmp_path)
    assert checkpoints.newest(out / "checkpoints") == out / "checkpoints" / "checkpoint-4"
    seen = set(curves(case["root"] / "whole")["step"])
    finish(case, shelf, out)
    assert seen == set(range(1, STEPS + 1))


def test_a_truncated_checkpoint_is_not_loaded(case: dict[str, Any], shelf: Path, tmp_path: Path) -> None:
    out = copy(case, tmp_path)
    file = out / "checkpoints" / "checkpoint-4" / "optimizer.pt"
    file.write_bytes(file.read_bytes()[:-100])
    assert checkpoints.newest(out / "checkpoints") == out / "checkpoints" / "checkpoint-2"
    finish(case, shelf, out)


def test_without_any_whole_checkpoint_it_begins_again(case: dict[str, Any], shelf: Path, tmp_path: Path) -> None:
    out = copy(case, tmp_path)
    for step in (2, 4):
        (out / "checkpoints" / f"checkpoint-{step}" / checkpoints.MANIFEST).unlink()
    finish(case, shelf, out)


@pytest.mark.parametrize("harm", ["missing", "changed", "extra", "unsealed", "half a manifest"])
def test_a_checkpoint_that_is_not_as_it_was_sealed_is_removed(tmp_path: Path, harm: str) -> None:
    for step in (9, 10):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        (folder / "weights").write_bytes(b"weights")
        (folder / "state").write_bytes(b"state")
        checkpoints.seal(folder)
    assert checkpoints.newest(tmp_path) == tmp_path / "checkpoint-10"
    manifest = tmp_path / "checkpoint-10" / checkpoints.MANIFEST
    if harm == "missing":
        (tmp_path / "checkpoint-10" / "state").unlink()
    elif harm == "changed":
        (tmp_path / "checkpoint-10" / "state").write_bytes(b"stale")
    elif harm == "extra":
        (tmp_path / "checkpoint-10" / "more").write_bytes(b"")
    elif harm == "unsealed":
        manifest.unlink()
    else:
        manifest.write_bytes(manifest.read_bytes()[:20])
    assert checkpoints.newest(tmp_path) == tmp_path / "checkpoint-9"
    assert not (tmp_path / "checkpoint-10").exists()


def test_no_checkpoint_is_no_error(tmp_path: Path) -> None:
    assert checkpoints.newest(tmp_path / "none") is None
