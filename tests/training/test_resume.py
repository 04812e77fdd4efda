"""A run that was killed ends with the same weights and curves as one that was not."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import tiny

from harness import held, registry
from harness.provenance import Meter
from harness.training import checkpoints


@dataclass(frozen=True)
class Case:
    """A training that dies within its last step; by then it has left the checkpoints of two steps."""

    algorithm: str
    knobs: dict[str, Any] = field(default_factory=dict)
    given: dict[str, Any] = field(default_factory=dict)
    steps: int = 6
    every: int = 2
    left: tuple[int, int] = (2, 4)


FAST = {"learning_rate": 3e-3}
TWICE = {**FAST, "epochs": 2, "minibatches": 1}  # a rollout serves two steps
CASES = {
    "sft": Case("sft"),
    "dpo": Case("dpo"),
    "dpo bfloat16": Case("dpo", {"learning_rate": 1e-4}, {"precision": "bfloat16"}),
    "lora": Case("dpo", {}, {"lora_rank": 2}),
    "kto": Case("kto"),
    "cut": Case("cut", FAST),
    "reward": Case("reward"),
    "online_dpo": Case("online_dpo", FAST, {"proxy": "model"}),
    "reinforce": Case("reinforce", {"baseline": "running", **FAST}),
    "rloo": Case("rloo", {"minibatches": 2, **FAST}),
    "grpo": Case("grpo", {"epochs": 2, "minibatches": 2, **FAST}, steps=10, every=1, left=(4, 8)),
    "ppo": Case("ppo", {"kl_target": 0.05, "value_learning_rate": 1e-2, **FAST}, steps=10, every=6, left=(4, 8)),
    "ppo reward": Case("ppo", {"value": "reward", **TWICE}, {"proxy": "model"}, every=1),
    "ppo lora": Case("ppo", TWICE, {"lora_rank": 2, "precision": "bfloat16"}, every=3),
}
"""Where a rollout serves 2 or 4 steps, `every` need not suit: checkpoints fall between rollouts all the same."""


FEW = ("dpo", "reward", "cut", "ppo reward")
"""One of each road to a checkpoint."""


@pytest.fixture(scope="module")
def made(shelf: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], dict[str, Any]]:
    """Of a case an undisturbed run, and what a killed one left behind; each is made once."""
    return cache(lambda name: _made(name, shelf, tmp_path_factory.mktemp(name.replace(" ", "-"))))


@pytest.fixture
def case(made: Callable[[str], dict[str, Any]], name: str) -> dict[str, Any]:
    return made(name)


def _made(name: str, shelf: Path, root: Path) -> dict[str, Any]:
    one = CASES[name]
    given = {"steps": one.steps, "checkpoint_every": one.every, "emit": (1, 3), "max_response_tokens": 12, **one.given}
    spent = tiny.train(one.algorithm, root / "whole", shelf, one.knobs, **given)
    with tiny.killed_within(one.steps):
        tiny.train(one.algorithm, root / "left", shelf, one.knobs, **given)
    product = registry.load("algorithms", one.algorithm).product
    return {"case": one, "root": root, "product": product, "given": given, "spent": spent}


def finish(case: dict[str, Any], shelf: Path, out: Path) -> None:
    """Run on from what is in `out`, and compare with the undisturbed run."""
    one, whole, product = case["case"], case["root"] / "whole", case["product"]
    assert tiny.train(one.algorithm, out, shelf, one.knobs, **case["given"]) == case["spent"]
    assert tiny.same(out / product, whole / product)
    for step in (1, 3):
        assert tiny.same(out / f"{product}-step-{step}", whole / f"{product}-step-{step}")
        assert not tiny.same(out / f"{product}-step-{step}", whole / product)
    assert tiny.curves(out).equals(tiny.curves(whole))
    assert set(tiny.curves(out).index.get_level_values("step")) == set(range(1, one.steps + 1))
    assert sorted(path.name for path in out.iterdir()) == sorted(path.name for path in whole.iterdir())
    assert not (out / "checkpoints").exists()


def copy(case: dict[str, Any], tmp_path: Path) -> Path:
    return Path(shutil.copytree(case["root"] / "left", tmp_path / "left"))


def checkpoint(out: Path, step: int) -> Path:
    return out / "checkpoints" / f"checkpoint-{step}"


@pytest.mark.parametrize("name", CASES)
def test_a_killed_run_goes_on_from_its_checkpoint(case: dict[str, Any], shelf: Path, tmp_path: Path) -> None:
    out, left = copy(case, tmp_path), case["case"].left
    assert {path.name for path in (out / "checkpoints").glob("checkpoint-*")} == {f"checkpoint-{step}" for step in left}
    assert checkpoints.newest(out / "checkpoints") == checkpoint(out, left[1])
    finish(case, shelf, out)


@pytest.mark.parametrize("name", FEW)
def test_what_a_checkpoint_kept_is_part_of_what_the_stage_cost(
    case: dict[str, Any], shelf: Path, tmp_path: Path, name: str
) -> None:
    """An attempt that was cut off is no loss up to there; of a first part it is the first part's."""
    held.work.begin()
    finish(case, shelf, copy(case, tmp_path))
    meter = Meter()
    own, kept = held.work.so_far(), held.work.kept
    assert 0 < kept["cpu_seconds"] < own["cpu_seconds"]
    assert 0 < kept["seconds"] < own["seconds"]
    meter.start()
    assert "kept_device_seconds" not in meter.read()[1], "the next stage begins with nothing"
    held.work.go_on({"seconds": 5.0, "cpu_seconds": 4.0})
    cost = meter.read()[1]
    assert (cost["kept_device_seconds"], cost["kept_cpu_seconds"]) == (5.0, 4.0)
    held.work.begin()
    finish(case, shelf, Path(shutil.copytree(case["root"] / "left", tmp_path / "another stage")))
    assert held.work.kept["seconds"] == 0


@pytest.mark.parametrize("name", CASES)
def test_a_run_in_two_parts_is_the_same(case: dict[str, Any], shelf: Path, tmp_path: Path) -> None:
    """The first part stops where a checkpoint can fall, and what goes on from there has the weights of a whole run."""
    one, given, until = case["case"], {**case["given"], "emit": ()}, case["case"].left[1] + 1
    first, second = tmp_path / "first", tmp_path / "second"
    spent = tiny.train(one.algorithm, first, shelf, one.knobs, **given, until=until)
    stop = next(int(item.value) for item in spent if item.metric == "steps")
    assert stop == (until if "minibatches" not in one.knobs and one.algorithm != "ppo" else until - 1)
    assert not tiny.same(first / case["product"], case["root"] / "whole" / case["product"])
    assert tiny.train(one.algorithm, second, shelf, one.knobs, **given, inputs={"begun": first}) == case["spent"]
    assert tiny.same(second / case["product"], case["root"] / "whole" / case["product"])
    assert tiny.curves(second).equals(tiny.curves(case["root"] / "whole"))
    assert not (second / "checkpoints").exists()
    assert checkpoints.newest(first / "checkpoints") == checkpoint(first, stop)  # it is as it was


@pytest.mark.parametrize("name", FEW)
@pytest.mark.parametrize("trouble", ["killed as it stopped", "its product is gone"])
def test_a_first_part_that_is_made_again_stops_where_it_did(
    case: dict[str, Any], shelf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, trouble: str
) -> None:
    """The checkpoint that it stops at is there already, whole; and a run that begins there would never stop there."""
    one, given = case["case"], {**case["given"], "emit": (), "until": case["case"].left[1] + 1}
    first, again, product = tmp_path / "first", tmp_path / "again", case["product"]
    spent = tiny.train(one.algorithm, first, shelf, one.knobs, **given)
    stop = next(int(item.value) for item in spent if item.metric == "steps")
    if trouble == "its product is gone":
        tiny.train(one.algorithm, again, shelf, one.knobs, **given)
        shutil.rmtree(again / product)
    else:
        monkeypatch.setattr(checkpoints.Soon, "saved", dying_at(checkpoint(again, stop)))
        with pytest.raises(tiny.Killed):
            tiny.train(one.algorithm, again, shelf, one.knobs, **given)
        monkeypatch.undo()
    assert checkpoints.newest(again / "checkpoints") == checkpoint(again, stop)
    assert tiny.train(one.algorithm, again, shelf, one.knobs, **given) == spent
    assert tiny.same(again / product, first / product)
    assert tiny.curves(again).equals(tiny.curves(first))
    assert checkpoints.newest(again / "checkpoints") == checkpoint(again, stop)


def dying_at(sealed: Path) -> Callable[[Any], None]:
    """In place of `Soon.saved`: the process ends once this checkpoint is whole."""

    def saved(self: Any) -> None:
        if (sealed / checkpoints.MANIFEST).exists():
            raise tiny.Killed

    return saved


@pytest.mark.parametrize("name", FEW)
def test_a_truncated_checkpoint_is_not_loaded(case: dict[str, Any], shelf: Path, tmp_path: Path) -> None:
    out, left = copy(case, tmp_path), case["case"].left
    file = checkpoint(out, left[1]) / "optimizer.pt"
    file.write_bytes(file.read_bytes()[:-100])
    assert checkpoints.newest(out / "checkpoints") == checkpoint(out, left[0])
    finish(case, shelf, out)


@pytest.mark.parametrize("name", FEW)
def test_without_any_whole_checkpoint_it_begins_again(case: dict[str, Any], shelf: Path, tmp_path: Path) -> None:
    out = copy(case, tmp_path)
    for step in case["case"].left:
        (checkpoint(out, step) / checkpoints.MANIFEST).unlink()
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


def test_a_checkpoint_from_a_step_on_is_left_out(tmp_path: Path) -> None:
    for step in (4, 6, 8):
        (tmp_path / f"checkpoint-{step}").mkdir()
        checkpoints.seal(tmp_path / f"checkpoint-{step}")
    assert checkpoints.newest(tmp_path, below=6) == tmp_path / "checkpoint-4"
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-4"]


def test_no_checkpoint_is_no_error(tmp_path: Path) -> None:
    assert checkpoints.newest(tmp_path / "none") is None
