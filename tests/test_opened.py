"""A policy is loaded once for all that evaluates it in one process, and what is found does not depend on that."""

from __future__ import annotations

import shutil
from collections import Counter
from importlib.metadata import version
from pathlib import Path

import pytest
import torch
from bricks import PLUGINS, brick
from small import SmallData, grade_stage, sample_stage, save_small_policy, save_small_reward, train_stage

from harness.data.lab import Lab
from harness.execute import execute
from harness.inference import opened
from harness.inference.opened import close_policies, open_policy
from harness.inference.policy import load_policy
from harness.stages import Bench, Stage, grade, open_dataset, sample
from harness.store import Store

POLICY, START, GOLD = train_stage(), train_stage("replicate-1"), train_stage("gold")


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often the weights of each stage were loaded."""
    found: Counter[str] = Counter()

    def counting(folder: Path) -> object:
        found[folder.parent.name] += 1
        return load_policy(folder)

    monkeypatch.setattr(opened, "load_policy", counting)
    close_policies()
    return found


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """A policy, its start and a gold reward model, finished."""
    worlds = {"small": SmallData(), "lab": Lab(evaluation=8)}
    for module in (sample, grade):
        monkeypatch.setattr(module, "open_dataset", lambda spec: worlds.get(spec["source"]) or open_dataset(spec))
        monkeypatch.setattr(module, "trained_on", lambda stage, only=None: {})
    monkeypatch.setenv("HARNESS_PLUGINS", PLUGINS)
    found = Store(tmp_path)
    for number, stage in enumerate((POLICY, START, GOLD)):
        (save_small_reward if stage is GOLD else save_small_policy)(found.prepare(stage), seed=number)
        found.finish(stage.name, {"files": found.outputs(stage.name), "measurements": []})
    return found


def evaluation() -> list[Stage]:
    """All that reads a policy, in the order of a run."""
    sample, greedy = sample_stage(POLICY), sample_stage(POLICY, samples=1, temperature=0.0)
    grade = grade_stage(sample, START)
    grade = type(grade)({**grade.inputs, "greedy": greedy, "gold": GOLD}, **grade.settings())
    tasks = {"tasks": list(Lab().tasks), "limit": 2, "source": {"source": "lab"}}
    bench = Bench({"policy": POLICY}, lm_eval=version("lm_eval"), chat=True, batch=8, threads=1, **tasks)
    return [sample, greedy, grade, bench]


def run(store: Store, *asked: Stage) -> None:
    for stage in asked:
        store.prepare(stage)
        outcome = execute(store.root / stage.name)
        assert outcome.status == "done", outcome.error


def tables(store: Store) -> dict[str, bytes]:
    """All that evaluation has written."""
    return {str(path.relative_to(store.root)): path.read_bytes() for path in store.root.rglob("*.parquet")}


def test_one_load_serves_samples_grade_and_benchmark(store: Store, loads: Counter[str]) -> None:
    run(store, *evaluation())
    assert loads == {POLICY.name: 1, START.name: 1}


def test_what_was_kept_changes_no_number(store: Store, loads: Counter[str]) -> None:
    """Each stage by itself, and all together with the benchmark first, whose library sets up models in its way."""
    for stage in evaluation():
        close_policies()
        run(store, stage)
    alone = tables(store)
    sample, greedy, grade, bench = evaluation()
    for stage in (sample, greedy, grade, bench):
        shutil.rmtree(store.root / stage.name)
    close_policies()
    run(store, bench, greedy, sample, grade)
    assert tables(store) == alone
    assert len(alone) == 5


def test_what_trains_gets_the_memory(store: Store, loads: Counter[str]) -> None:
    sample, greedy, *_ = evaluation()
    run(store, sample, brick("trains"), greedy)
    assert loads == {POLICY.name: 2}


def test_a_failure_gives_the_memory_back(store: Store, loads: Counter[str], monkeypatch: pytest.MonkeyPatch) -> None:
    sample, greedy, *_ = evaluation()
    run(store, sample)
    monkeypatch.setattr("harness.inference.systems.sample", lambda *given, **more: 1 / 0)
    store.prepare(greedy)
    assert execute(store.root / greedy.name).status == "failed"
    monkeypatch.undo()
    assert not opened._kept


def test_other_weights_in_the_same_folder_are_read(store: Store, loads: Counter[str]) -> None:
    folder = store.root / POLICY.name / "policy"
    one, _ = open_policy(folder)
    assert open_policy(folder)[0] is one
    save_small_policy(store.root / POLICY.name, seed=7)
    other, _ = open_policy(folder)
    fresh, _ = load_policy(folder)
    assert all(torch.equal(a, b) for a, b in zip(other.parameters(), fresh.parameters(), strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(other.parameters(), one.parameters(), strict=True))


def test_a_tokenizer_is_the_callers_own(store: Store) -> None:
    folder = store.root / POLICY.name / "policy"
    _, one = open_policy(folder)
    one.padding_side = "left" if one.padding_side == "right" else "right"
    assert open_policy(folder)[1].padding_side != one.padding_side


def test_no_more_than_a_policy_and_its_start_are_kept(store: Store, loads: Counter[str]) -> None:
    third = save_small_policy(store.root / "third", seed=5)
    for folder in (store.root / POLICY.name, store.root / START.name, third, store.root / POLICY.name):
        open_policy(folder / "policy")
    assert loads[POLICY.name] == 2
