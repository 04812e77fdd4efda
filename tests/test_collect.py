"""A round: respond, be labelled, train on what came of it; all of it stages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from harness.data.lab import Lab
from harness.errors import HarnessError
from harness.execute import execute
from harness.models.collecting import read_rows
from harness.stages import Collect, Train, algorithm_spec, dataset_spec
from harness.store import Store

KNOBS = {"train": 24, "pretrain": 48, "evaluation": 8, "heldout": 8, "proxy": 8, "selection": 8, "gold": 8}
WORLD = dataset_spec("lab", KNOBS)
BUDGET: dict[str, Any] = {"steps": 2, "batch": 4, "micro_batch": 4, "max_response_tokens": 96}


def base() -> Train:
    small = algorithm_spec("pretrain", {"hidden": 16, "layers": 1, "heads": 2})
    return Train({}, algorithm=small, dataset=WORLD, split="pretrain", budget=BUDGET, seed="pretrain-0")


def reward() -> Train:
    return Train(
        {"start": base()},
        algorithm=algorithm_spec("reward", {}),
        dataset=WORLD,
        split="proxy",
        budget=BUDGET,
        seed="replicate-0",
    )


def collect(labeller: str, view: str) -> Collect:
    inputs = {"policy": base(), **({"reward": reward()} if labeller == "reward" else {})}
    return Collect(
        inputs, dataset=WORLD, split="train", prompts=12, samples=4, temperature=1.0, max_response_tokens=24,
        labeller=labeller, view=view, seed="replicate-0 round-1", batch=16, threads=1,
    )  # fmt: skip


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return Store(tmp_path_factory.mktemp("rounds"))


def make(store: Store, stage: Collect | Train) -> Path:
    for needed in (*stage.inputs.values(), stage):
        for inner in needed.inputs.values():
            assert execute(store.prepare(inner)).status == "done"
        assert execute(store.prepare(needed)).status == "done"
    return store.folder(stage.name)


@pytest.mark.parametrize("labeller", ["oracle", "reward"])
def test_pairs_are_the_best_and_the_worst_of_a_prompt(labeller: str, store: Store) -> None:
    ranked = {row["prompt_id"]: row["responses"] for row in read_rows(make(store, collect(labeller, "rankings")))}
    pairs = read_rows(make(store, collect(labeller, "pairs")))
    assert pairs
    assert [(row["chosen"], row["rejected"]) for row in pairs] == [
        (ranked[row["prompt_id"]][0], ranked[row["prompt_id"]][-1]) for row in pairs
    ]
    if labeller == "oracle":
        for row in read_rows(store.folder(collect("oracle", "rankings").name)):
            worth = [Lab(**KNOBS).score(row["prompt"], text)["total"] for text in row["responses"]]
            assert worth == sorted(worth, reverse=True)


def test_judgments_are_the_judges(store: Store) -> None:
    rows = read_rows(make(store, collect("judge", "judgments")))
    assert rows
    assert all(row["judgment"] == Lab(**KNOBS).judge(row["prompt"], row["response"]) for row in rows)


def test_an_algorithm_trains_on_what_was_collected(store: Store) -> None:
    cpo = algorithm_spec("cpo", {})
    one = Train({"start": base()}, algorithm=cpo, dataset=WORLD, split="train", budget=BUDGET, seed="replicate-0")
    data = collect("oracle", "pairs")
    other = Train(
        {"start": base(), "data": data}, algorithm=cpo, dataset=WORLD, split="train", budget=BUDGET, seed="replicate-0"
    )
    assert one.name != other.name
    make(store, data)
    record = store.record(make(store, other).name)
    assert record is not None
    available = {m["metric"]: m["value"] for m in record["measurements"]}["rows_available"]
    assert available == len(read_rows(store.folder(data.name)))


def test_a_labeller_that_cannot_is_refused(store: Store, tmp_path: Path) -> None:
    for labeller, view in (("judge", "pairs"), ("oracle", "judgments"), ("oracle", "binary")):
        with pytest.raises(HarnessError, match=f"{labeller} cannot label {view}"):
            collect(labeller, view).run(tmp_path, {}, 1)
