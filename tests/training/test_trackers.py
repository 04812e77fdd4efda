"""Trackers follow a training run, change nothing of it, and cannot end it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import tiny

from harness.errors import HarnessError
from harness.recipe import read_recipe
from harness.training.trackers import ASKED, run_name


def recipe(folder: Path, launch: str) -> Any:
    path = folder / "r.toml"
    path.write_text(f'name = "x"\n[[algorithm]]\nname = "dpo"\n[launch]\n{launch}\n')
    return read_recipe(path)


def test_a_recipe_names_trackers_and_nothing_of_it_is_in_a_key(tmp_path: Path) -> None:
    from harness.plan import make_plan

    with_one = recipe(tmp_path, 'trackers = ["tensorboard"]')
    assert with_one.launch.trackers == ("tensorboard",)
    assert make_plan(with_one).stages() == make_plan(recipe(tmp_path, "")).stages()
    with pytest.raises(HarnessError, match=r"r\.toml:5: there is no tracker 'tensorbord'; did you mean 'tensorboard'"):
        recipe(tmp_path, 'trackers = ["tensorbord"]')
    with pytest.raises(HarnessError, match=r"launch.trackers is 'wandb'; it must be a list of names"):
        recipe(tmp_path, 'trackers = "wandb"')


def test_a_run_has_the_name_of_its_cell_and_its_key(tmp_path: Path) -> None:
    folder = tmp_path / "train-0123"
    folder.mkdir()
    knobs = {"beta": 0.3, "learning_rate": 1e-4}
    (folder / "spec.json").write_text(json.dumps({"algorithm": {"name": "dpo", "knobs": knobs}, "seed": "replicate-2"}))
    assert run_name(folder) == "dpo beta=0.3 replicate-2 train-0123"


def test_tensorboard_has_the_curves_and_the_weights_stay_the_same(
    shelf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    tiny.train("dpo", tmp_path / "plain", shelf)
    monkeypatch.setenv(ASKED, "tensorboard")
    tiny.train("dpo", tmp_path / "followed", shelf)
    one, other = (tiny.weights(tmp_path / name / "policy") for name in ("plain", "followed"))
    assert all((one[name] == other[name]).all() for name in one)
    files = list(tmp_path.rglob("events.out.tfevents.*"))
    assert files
    assert not list((tmp_path / "followed").rglob("events.*")), "no stage's output"
    events = EventAccumulator(str(files[0].parent))
    events.Reload()
    assert len(events.Scalars("train/loss")) > 1
    assert str(tmp_path).encode() not in files[0].read_bytes(), "where the output lies is nobody else's business"


@pytest.mark.parametrize("where", ["__init__", "on_train_begin", "on_log"])
def test_a_tracker_that_fails_fails_no_run(
    shelf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], where: str
) -> None:
    from transformers.integrations import integration_utils

    def broken(*_: Any, **__: Any) -> None:
        raise ConnectionError("no route to the tracker\nand more")

    kind = type("Broken", (integration_utils.TrainerCallback,), {where: broken})
    monkeypatch.setitem(integration_utils.INTEGRATION_TO_CALLBACK, "wandb", kind)
    monkeypatch.setenv(ASKED, "wandb")
    tiny.train("dpo", tmp_path / "out", shelf)
    assert (tmp_path / "out" / "policy").is_dir()
    told = capsys.readouterr().err
    assert told.count("tracker wandb is left out: ConnectionError: no route to the tracker") == 1
