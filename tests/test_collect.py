"""A round: respond, be labelled, train on what came of it; all of it stages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from harness.data import Message, Row
from harness.data.lab import Lab
from harness.errors import HarnessError
from harness.execute import execute
from harness.inference import collecting
from harness.inference.collecting import read_rows
from harness.inference.policy import load_policy
from harness.inference.rendering import end_token, render_prompt
from harness.inference.sampling import noise, sample
from harness.stages import Collect, Reference, Stage, Train, algorithm_spec, dataset_spec
from harness.store import Store

KNOBS = {"train": 24, "pretrain": 48, "evaluation": 8, "heldout": 8, "proxy": 8, "selection": 8, "gold": 8}
WORLD = dataset_spec("lab", KNOBS)
BUDGET: dict[str, Any] = {"steps": 2, "batch": 4, "micro_batch": 4, "max_response_tokens": 96}


LIMIT = 48


def base() -> Train:
    """A policy that ends about five of six responses within the limit."""
    small = algorithm_spec("pretrain", {"hidden": 32, "layers": 1, "heads": 2})
    budget = {**BUDGET, "steps": 120, "batch": 16, "micro_batch": 16}
    return Train({}, algorithm=small, dataset=WORLD, split="pretrain", budget=budget, seed="pretrain-0")


def reward() -> Train:
    return Train(
        {"start": base()},
        algorithm=algorithm_spec("reward", {}),
        dataset=WORLD,
        split="proxy",
        budget=BUDGET,
        seed="replicate-0",
    )


def collect(labeller: str, view: str, **changed: Any) -> Collect:
    inputs = {"policy": base()}
    if labeller == "reward" and "rule" not in changed:
        inputs["reward"] = reward()
    settings = {
        **{
            "split": "train",
            "prompts": 12,
            "samples": 4,
            "temperature": 1.0,
            "max_response_tokens": LIMIT,
            "batch": 16,
        },
        "max_prompt_tokens": 64,
        **{"labeller": labeller, "view": view, "seed": "replicate-0 round-1", "threads": 1, **changed},
    }
    return Collect(inputs, dataset=WORLD, **settings)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return Store(tmp_path_factory.mktemp("rounds"))


def make(store: Store, stage: Stage) -> Path:
    for needed in (*stage.inputs.values(), stage):
        for inner in needed.inputs.values():
            assert execute(store.prepare(inner)).status == "done"
        assert execute(store.prepare(needed)).status == "done"
    return store.folder(stage.name)


def measured(store: Store, stage: Stage) -> dict[str, float]:
    record = store.record(make(store, stage).name)
    assert record is not None
    return {m["metric"]: m["value"] for m in record["measurements"]}


@pytest.mark.parametrize("labeller", ["oracle", "reward", "annotators"])
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


class Thrice(Lab):
    """Three judged responses to each prompt."""

    def rows(self, view: str, split: str) -> list[Row]:
        rows = super().rows(view, split)
        several = [{**row, "id": f"{row['id']}-{k}"} for row in rows for k in range(3)]
        return several if view == "judgments" else rows


@pytest.mark.parametrize(("view", "labeller", "each"), [("refinements", "judge", 3), ("judgments", "judge", 1)])
@pytest.mark.parametrize("skip", [None, 5, 20])
def test_a_round_counts_prompts_and_takes_all_their_rows(
    view: str, labeller: str, each: int, skip: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a training on the same judged responses does: a round of n prompts has all rows of n prompts."""
    taken: list[Row] = []
    monkeypatch.setattr("harness.stages.sample.open_dataset", lambda _: Thrice(**KNOBS))
    monkeypatch.setattr(collecting, "write_rows", lambda _out, _inputs, rows, *_: taken.extend(rows) or [])
    collect(labeller, view, skip=skip).run(tmp_path, {}, 1)
    names = [row["prompt_id"] for row in Lab(**KNOBS).rows("prompts", "train")]
    first = skip or 0
    assert [row["prompt_id"] for row in taken] == [
        name for name in (names[first:] + names[:first])[:12] for _ in range(each)
    ]


# --- what is drawn --------------------------------------------------------------------------------------------------


def test_equal_responses_count_once(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = ["the fox .", "the fox .", None, "the lake ."]
    with monkeypatch.context() as patched:
        patched.setattr(collecting.Drawer, "draw", lambda _, asked: [said[k] for _, _, k in asked])
        found = {m.metric: m.value for m in collect("judge", "judgments").run(
            tmp_path, {"policy": make(store, base())}, 1)}  # fmt: skip
    rows = read_rows(tmp_path)
    assert [row["response"] for row in rows] == ["the fox .", "the lake ."] * 12
    assert (found["labels"], found["rows"], found["scored"]) == (24, 24, 0)
    several = collect("judge", "judgments")
    rows, found = read_rows(make(store, several)), measured(store, several)
    assert len({(row["prompt_id"], row["response"]) for row in rows}) == len(rows) == found["rows"] == found["labels"]
    assert len({row["id"] for row in rows}) == len(rows) > 30
    assert found["responses"] == 48


def test_what_the_limit_cut_off_is_left_out_and_counted(store: Store) -> None:
    """To train on it would teach to end there, or leave out its prompt."""
    short, long = (collect("judge", "judgments", max_response_tokens=limit) for limit in (12, 96))
    rows, found = read_rows(make(store, short)), measured(store, short)
    whole = {(row["prompt_id"], row["response"]) for row in read_rows(make(store, long))}
    assert {(row["prompt_id"], row["response"]) for row in rows} < whole, "noise of a longer limit begins alike"
    assert 0 < found["responses_cut_off"] < found["responses"] == 48
    assert found["rows"] <= 48 - found["responses_cut_off"]


def test_a_round_of_which_nothing_is_whole_says_so(store: Store, tmp_path: Path) -> None:
    stage = collect("judge", "judgments", max_response_tokens=1, prompts=2, samples=1, temperature=0.0)
    with pytest.raises(HarnessError, match="all 2 responses of this round were cut off at max_response_tokens = 1"):
        stage.run(tmp_path, {"policy": make(store, base())}, 1)
    assert not list(tmp_path.iterdir())


def test_prompts_that_training_would_leave_out_are_not_asked(store: Store, tmp_path: Path) -> None:
    folder = make(store, base())
    _, tokenizer = load_policy(folder / "policy")
    lengths = [len(render_prompt(tokenizer, row["prompt"])) for row in Lab(**KNOBS).rows("prompts", "train")[:12]]
    limit = sorted(lengths)[6]
    found = {m.metric: m.value for m in collect("judge", "judgments", max_prompt_tokens=limit).run(
        tmp_path, {"policy": folder}, 1)}  # fmt: skip
    assert found["prompts_too_long"] == sum(length > limit for length in lengths) > 0
    assert found["responses"] == 4 * (12 - found["prompts_too_long"])


def test_where_no_prompt_fits_that_is_what_is_said(store: Store, tmp_path: Path) -> None:
    stage = collect("judge", "judgments", max_prompt_tokens=1)
    with pytest.raises(
        HarnessError, match="none of 12 prompts is one to ask: they are longer than max_prompt_tokens = 1"
    ):
        stage.run(tmp_path, {"policy": make(store, base())}, 1)


def test_praised_rows_are_kept_where_every_second_try_is_cut_off(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(drawer: Any, asked: list[Any]) -> list[None]:
        drawer.drawn = drawer.cut_off = len(asked)
        return [None] * len(asked)

    monkeypatch.setattr(collecting.Drawer, "draw", none)
    collect("judge", "refinements").run(tmp_path, {"policy": make(store, base())}, 1)
    rows = read_rows(tmp_path)
    assert rows
    assert all(row["judgment"] is None for row in rows)


@pytest.mark.parametrize("changed", [{"batch": 5}, {"seed": "replicate-0 round-2"}, {"prompts": 5}], ids=str)
def test_responses_belong_to_the_round_and_the_prompt(store: Store, changed: dict[str, Any]) -> None:
    once, again = (read_rows(make(store, collect("judge", "judgments", **own))) for own in ({}, changed))
    if "seed" in changed:
        both = {row["response"] for row in once} & {row["response"] for row in again}
        assert max(map(len, both), default=0) < 20, "only what is short is said twice"
    else:
        assert again == once[: len(again)]
        assert len({row["prompt_id"] for row in again}) == changed.get("prompts", 12)


@pytest.mark.parametrize(
    ("skip", "prompts", "places"),
    [
        (None, 3, [0, 1, 2]),
        (21, 6, [21, 22, 23, 0, 1, 2]),
        (24, 3, [0, 1, 2]),
        (24 * 5 + 22, 4, [22, 23, 0, 1]),
        (6, 0, [*range(6, 24), *range(6)]),
        (20, 100, [*range(20, 24), *range(20)]),
    ],
)
def test_prompts_that_are_left_out_come_round_at_the_end(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, skip: int | None, prompts: int, places: list[int]
) -> None:
    given: list[Row] = []
    monkeypatch.setattr(collecting, "write_rows", lambda out, inputs, rows, *_: given.extend(rows) or [])
    collect("oracle", "pairs", skip=skip, prompts=prompts).run(tmp_path, {}, 1)
    every = Lab(**KNOBS).rows("prompts", "train")
    assert len(every) == 24
    assert given == [every[place] for place in places]


# --- how it is labelled ---------------------------------------------------------------------------------------------


def test_annotators_say_the_same_again(store: Store, tmp_path: Path) -> None:
    stage = collect("annotators", "rankings")
    rows = read_rows(make(store, stage))
    assert rows == read_rows(make(Store(tmp_path), stage))
    found = measured(store, stage)
    assert found["labels"] == sum(len(row["responses"]) for row in rows)
    assert found["scored"] == 0
    assert all(len(set(row["responses"])) == len(row["responses"]) > 1 for row in rows)


TEXTS = ["tea is hot .", "a cat", "a cat is an animal .", "you fool .", ". .", "the moon is cold ."]


def test_annotators_are_consistent(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two responses they prefer the same one, whichever is named first, and all neighbours were compared."""
    lab, row = Lab(**KNOBS), Lab(**KNOBS).rows("prompts", "train")[0]
    said: dict[frozenset[str], set[str]] = {}
    own = Lab.prefers

    def prefers(self: Lab, prompt: list[Message], first: str, second: str, seed: int) -> bool:
        likes = own(self, prompt, first, second, seed)
        said.setdefault(frozenset((first, second)), set()).add(first if likes else second)
        return likes

    monkeypatch.setattr(Lab, "prefers", prefers)
    found = []
    for place in range(20):
        said.clear()
        for texts in (TEXTS, TEXTS[::-1], sorted(TEXTS)):
            found.append(collecting._by_annotators(lab, f"replicate-0 round-{place}", row, texts))
            assert sorted(found[-1]) == sorted(TEXTS)
            assert all(said[frozenset(two)] == {two[0]} for two in zip(found[-1], found[-1][1:], strict=False))
        assert all(len(preferred) == 1 for preferred in said.values())
    assert len({tuple(ranked) for ranked in found}) > 5, "they have chances of their own in each round"


def test_annotators_mostly_prefer_what_is_better() -> None:
    lab, row = Lab(**KNOBS), Lab(**KNOBS).rows("prompts", "train")[0]
    prompt = row["prompt"]
    worth = sorted(TEXTS, key=lambda text: -lab.score(prompt, text)["total"])
    first = [collecting._by_annotators(lab, f"seed {i}", row, TEXTS) for i in range(50)]
    assert sum(ranked.index(worth[0]) < ranked.index(worth[-1]) for ranked in first) > 35


def test_a_prompt_whose_responses_are_equals_gives_no_pair(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    equal = Lab(**KNOBS).rows("prompts", "train")[:5]
    prompts = [row["prompt"] for row in equal]
    monkeypatch.setattr(Lab, "score", lambda self, prompt, text: {"total": 0.5 if prompt in prompts else len(text)})
    fresh = Store(tmp_path)
    for view in ("pairs", "rankings"):
        stage = collect("oracle", view)
        rows, found = read_rows(make(fresh, stage)), measured(fresh, stage)
        assert not {row["prompt_id"] for row in equal} & {row["prompt_id"] for row in rows}
        assert found["prompts_without_rows"] == 12 - len(rows) >= 5
        assert found["scored"] > 0 == found["labels"]


def test_of_equals_among_others_the_first_stands_for_all() -> None:
    row = Lab(**KNOBS).rows("prompts", "train")[0]
    levels = collecting._levels(["a", "b", "c", "d", "e"], [1.0, 2.0, 0.0, 2.0, 0.0])
    assert levels == [["b", "d"], ["a"], ["c", "e"]]
    (pair,), (ranking,) = (collecting._ranked([row], [levels], view) for view in ("pairs", "rankings"))
    assert (pair["chosen"], pair["rejected"]) == ("b", "c")
    assert ranking["responses"] == ["b", "a", "c"]
    assert "responses" not in pair
    assert pair["prompt_id"] == ranking["prompt_id"] == row["prompt_id"]
    assert pair["id"] == f"{row['id']}-0"
    assert collecting._ranked([row], [[["a", "b"]]], "pairs") == []


def test_a_rule_may_stand_in_place_of_the_reward_model(store: Store) -> None:
    oracle = read_rows(make(store, collect("oracle", "rankings")))
    assert read_rows(make(store, collect("reward", "rankings", rule="total"))) == oracle
    concise = read_rows(make(store, collect("reward", "rankings", rule="concise")))
    assert concise != oracle
    for row in concise:
        worth = [Lab(**KNOBS).score(row["prompt"], text)["concise"] for text in row["responses"]]
        assert worth == sorted(worth, reverse=True)


# --- refinements ----------------------------------------------------------------------------------------------------


def test_a_refinement_is_a_second_try_at_what_was_blamed(store: Store) -> None:
    stage = collect("judge", "refinements", samples=1)
    rows, found = read_rows(make(store, stage)), measured(store, stage)
    lab = Lab(**KNOBS)
    sources = lab.rows("judgments", "train")[:12]
    by_id = {row["id"]: row for row in rows}
    model, tokenizer = load_policy(store.folder(base().name) / "policy")
    blamed = [row["judgment"] is not None for row in sources]
    assert set(blamed) == {True, False}
    cut_off = 0
    for source in sources:
        row = by_id.get(f"{source['id']}-0", source)
        assert (row["prompt_id"], row["prompt"]) == (source["prompt_id"], source["prompt"])
        assert row["judgment"] == source["judgment"]
        if source["judgment"] is None:
            assert row is not source
            assert row["response"] == source["response"], "praised as it is"
            assert not {"chosen", "rejected"} & row.keys()
            continue
        talk = lab.again(source["prompt"], source["response"], source["judgment"])
        assert talk[-1]["content"].startswith(source["judgment"])
        (second,) = sample(
            model, [render_prompt(tokenizer, talk)], [noise(f"{stage.seed} collect", row["prompt_id"], 0, LIMIT)],
            end_id=end_token(tokenizer), pad_id=tokenizer.pad_token_id, temperature=1.0, batch=1,
        )  # fmt: skip
        if second.end == "length":
            cut_off += 1
            assert row is source, "a try that the limit cut off is none"
            continue
        assert row["response"] == tokenizer.decode(second.token_ids, skip_special_tokens=True)
        assert (row["chosen"], row["rejected"]) == (row["response"], source["response"])
    assert (found["responses"], found["responses_cut_off"]) == (sum(blamed), cut_off)
    assert found["rows"] == 12 - cut_off == len(rows)
    assert (found["prompts_without_rows"], found["scored"]) == (cut_off, 0)
    assert 0 < cut_off < sum(blamed)


def test_second_tries_at_several_responses_to_a_prompt_have_noise_of_their_own(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.stages.sample.open_dataset", lambda _: Thrice(**KNOBS))
    collect("judge", "refinements").run(tmp_path, {"policy": make(store, base())}, 1)
    tries: dict[str, list[str]] = {}
    for row in read_rows(tmp_path):
        if row["judgment"] is not None:
            tries.setdefault(row["prompt_id"], []).append(row["response"])
    several = [own for own in tries.values() if len(own) > 1]
    assert sum(len(set(own)) > 1 for own in several) >= 0.8 * len(several) > 2


def test_a_refinement_that_repeats_the_first_try_is_no_pair(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = {row["prompt_id"]: row["response"] for row in Lab(**KNOBS).rows("judgments", "train")}
    monkeypatch.setattr(collecting.Drawer, "draw", lambda _, asked: [said[row["prompt_id"]] for row, *_ in asked])
    collect("judge", "refinements").run(tmp_path, {"policy": make(store, base())}, 1)
    rows = read_rows(tmp_path)
    assert len(rows) == 12
    assert not [row for row in rows if "chosen" in row]


def test_the_reference_of_refinements_covers_their_pairs_alone(store: Store) -> None:
    data = collect("judge", "refinements", samples=1)
    make(store, data)
    names = ("prompts", "max_prompt_tokens", "max_response_tokens", "precision", "threads", "micro_batch")
    budget = {"prompts": 0, "max_prompt_tokens": 64, "max_response_tokens": 96, "precision": "float32"}
    reference = Reference(
        {"start": base(), "data": data}, dataset=WORLD, split="train", budget={**budget, "threads": 1, "micro_batch": 4}
    )
    assert set(reference.budget) == set(names)
    table = pq.read_table(make(store, reference) / "reference.parquet").to_pydict()
    pairs = [row for row in read_rows(store.folder(data.name)) if "chosen" in row]
    assert len(table["logp"]) == 2 * len(pairs) > 0
    assert set(table["prompt_id"]) == {row["prompt_id"] for row in pairs}
    cut = Train(
        {"start": base(), "data": data, "reference": reference}, algorithm=algorithm_spec("ilf_dpo", {}),
        dataset=WORLD, split="train", budget=BUDGET, seed="replicate-0",
    )  # fmt: skip
    assert measured(store, cut)["rows_available"] == len(pairs)


def test_where_nothing_was_refined_there_is_nothing_to_train_on(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    from harness.algorithms.ilf_dpo import IlfDpo
    from harness.job import Budget, Job

    rows = [{**row, "judgment": None} for row in Lab(**KNOBS).rows("judgments", "train")]
    with pytest.raises(HarnessError, match="no refinement differs from the response that it refines"):
        IlfDpo().train(Job(Path(), rows, Lab(**KNOBS), Budget(), "replicate-0"))


# --- joined ---------------------------------------------------------------------------------------------------------


def test_collected_rows_come_after_the_datasets_own_where_they_are_joined(store: Store) -> None:
    first = collect("annotators", "pairs")
    second = collect("annotators", "pairs", seed="replicate-0 round-2", skip=12)
    own = reward()
    settings = {**own.settings(), "seed": "replicate-0 round-2"}
    joined = Train({**own.inputs, "data-0": first, "data-1": second}, joined=True, **settings)
    alone = Train({**own.inputs, "data-0": first, "data-1": second}, **settings)
    counts = [len(read_rows(make(store, one))) for one in (first, second)]
    assert not {row["prompt_id"] for row in read_rows(store.folder(first.name))} & {
        row["prompt_id"] for row in read_rows(store.folder(second.name))
    }
    both = {"rows_available", "rows_left_out"}
    totals = [sum(measured(store, stage)[name] for name in both) for stage in (own, alone, joined)]
    assert totals == [8, sum(counts), 8 + sum(counts)]
