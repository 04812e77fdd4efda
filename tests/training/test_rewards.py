"""Reward models from rankings, with truncation, with a cross-validation, and by dimension."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from statistics import stdev
from typing import Any

import pytest
import tiny
import torch
from test_collect import BUDGET, WORLD, base
from transformers import AutoTokenizer

from harness import registry
from harness.algorithms.reward import Reward
from harness.data import Row
from harness.errors import HarnessError, Problems
from harness.execute import execute
from harness.held import work
from harness.inference.scoring import score
from harness.knobs import coerce
from harness.stages import Train, algorithm_spec
from harness.store import Store
from harness.training import rewards
from harness.training.rewards import RewardObjective, truncated
from harness.training.rows import order

FAST = {"learning_rate": 1e-2}
TWO = {"clear": 1.0, "kind": 0.5}


def rankings(count: int = 24) -> list[Row]:
    """Rankings of two, three and four responses in turn."""
    return [
        {**row, "responses": row["responses"][: 2 + i % 3]}
        for i, row in enumerate(tiny.Tiny(count).rows("rankings", "train"))
    ]


def with_head(shelf: Path, heads: int = 1) -> Any:
    """A model with random heads, and its tokenizer."""
    torch.manual_seed(11)
    return rewards._with_head(shelf / tiny.START / "policy", "float32", heads)


def encoded(shelf: Path, tmp_path: Path, rows: list[Row], **knobs: Any) -> list[dict[str, Any]]:
    """Rows as they are trained on."""
    algorithm = Reward(**knobs)
    tokenizer = AutoTokenizer.from_pretrained(shelf / tiny.START / "policy")
    job = tiny.job(tmp_path, algorithm.data, shelf, rows=rows)
    return rewards._rows(algorithm, job, tokenizer)[0]


# rankings


def test_the_view_is_the_knobs() -> None:
    assert Reward().requires().data == "pairs"
    assert Reward(data="rankings").requires().data == "rankings"


def test_every_response_goes_through_the_model_once(shelf: Path, tmp_path: Path) -> None:
    model, tokenizer = with_head(shelf)
    rows = encoded(shelf, tmp_path, rankings(8), data="rankings")
    objective = RewardObjective(Reward(data="rankings"), tokenizer.pad_token_id)
    batch, seen = objective.collate(rows), []
    model.register_forward_pre_hook(lambda _, __, given: seen.append(len(given["input_ids"])), with_kwargs=True)
    with torch.no_grad():
        found = rewards._by_prompt(objective.forward(model, batch), batch["counts"])[..., 0]
        assert sum(seen) == sum(len(row["responses"]) for row in rows) == len(batch["input_ids"])
        for own, row in zip(found, rows, strict=True):
            ids = [torch.tensor([row["prompt"] + response]) for response in row["responses"]]
            alone = [float(model(input_ids=one).logits) for one in ids]
            assert own[: len(alone)].tolist() == pytest.approx(alone, abs=1e-6)
            assert not own[len(alone) :].any()


def test_responses_to_a_prompt_stand_together_in_the_batch(shelf: Path, tmp_path: Path) -> None:
    """Sums of floats depend on it, and so do the bits of every reward model that was published."""
    rows = encoded(shelf, tmp_path, tiny.Tiny(6).rows("pairs", "train"))
    batch = RewardObjective(Reward(), 0).collate(rows)
    texts = [row["prompt"] + row["responses"][side] for row in rows for side in (0, 1)]
    found = [
        ids[: sum(mask)]
        for ids, mask in zip(*(batch[n].tolist() for n in ("input_ids", "attention_mask")), strict=True)
    ]
    assert found == texts


@pytest.mark.parametrize("loss", ["bradley_terry", "margin", "plackett_luce"])
def test_neither_micro_batches_nor_order_change_the_gradient_of_rankings(
    shelf: Path, tmp_path: Path, loss: str
) -> None:
    model, tokenizer = with_head(shelf)
    algorithm = Reward(data="rankings", loss=loss, center=0.1)
    rows = encoded(shelf, tmp_path, rankings(8), data="rankings")
    objective = RewardObjective(algorithm, tokenizer.pad_token_id)

    def gradient(split: int, own: list[dict[str, Any]]) -> torch.Tensor:
        model.zero_grad()
        batches = [objective.collate(own[first : first + split]) for first in range(0, 8, split)]
        totals = objective.totals(batches, None)
        for batch in batches:
            objective.loss(objective.forward(model, batch), batch, totals)[0].backward()
        return torch.cat([weight.grad.flatten() for weight in model.parameters()])

    whole = gradient(8, rows)
    assert whole.norm() > 1e-3
    for other in (gradient(1, rows), gradient(4, rows), gradient(2, random.Random(4).sample(rows, 8))):
        assert (whole - other).norm() < 1e-6 * max(1.0, float(whole.norm()))


def test_rankings_of_two_are_pairs(shelf: Path, tmp_path: Path) -> None:
    pairs = tiny.Tiny().rows("pairs", "train")
    rows = [{**row, "responses": [row["chosen"], row["rejected"]]} for row in pairs]
    one = tiny.train("reward", tmp_path / "pairs", shelf, FAST, rows=pairs)
    for loss in ("bradley_terry", "plackett_luce"):
        found = tiny.train("reward", tmp_path / loss, shelf, {**FAST, "data": "rankings", "loss": loss}, rows=rows)
        assert tiny.measured(found) == pytest.approx(tiny.measured(one), abs=1e-6)
    assert tiny.same(tmp_path / "pairs" / "reward", tmp_path / "bradley_terry" / "reward")


def test_the_ledger_counts_responses_and_comparisons(shelf: Path, tmp_path: Path) -> None:
    rows = rankings()
    given = {"steps": 3, "micro_batch": 4}
    found = tiny.measured(tiny.train("reward", tmp_path / "out", shelf, {"data": "rankings"}, rows=rows, **given))
    job = tiny.job(tmp_path / "job", "rankings", shelf, rows=rows, **given)
    used = [rows[i] for i in order(len(rows), 24, job.seed("order"))]
    assert {len(row["responses"]) for row in used} == {2, 3, 4}
    tokens = sum(len(text.split()) + 1 for row in used for text in row["responses"])
    assert found["prompts"] == 24
    assert found["responses"] == sum(len(row["responses"]) for row in used)
    assert found["labels"] == sum(len(list(combinations(row["responses"], 2))) for row in used)
    assert found["trained_tokens"] == tokens
    assert found["forward_tokens"] > tokens


@pytest.mark.parametrize("loss", ["bradley_terry", "margin", "plackett_luce"])
def test_rankings_are_learnt(shelf: Path, tmp_path: Path, loss: str) -> None:
    rows = rankings()
    knobs = {**FAST, "data": "rankings", "loss": loss}
    tiny.train("reward", tmp_path, shelf, knobs, rows=rows, steps=200)
    right = pairs = 0
    values = iter(score(tmp_path / "reward", [(row["prompt"], text) for row in rows for text in row["responses"]], 8))
    for row in rows:
        own = [next(values) for _ in row["responses"]]
        right += sum(better > worse for better, worse in combinations(own, 2))
        pairs += len(list(combinations(own, 2)))
    assert right / pairs > 0.95


def test_a_ranking_of_one_is_refused(shelf: Path, tmp_path: Path) -> None:
    rows = rankings()
    rows[3]["responses"] = rows[3]["responses"][:1]
    with pytest.raises(HarnessError, match=rf"row {rows[3]['id']} ranks 1 responses"):
        tiny.train("reward", tmp_path, shelf, {"data": "rankings"}, rows=rows)


# truncation

END = 2


def test_a_cut_response_is_a_beginning_and_ends() -> None:
    responses = [[*range(10, 10 + n), END] for n in range(9)]
    for name in range(200):
        for own, cut in zip(responses, truncated(responses, 1.0, 5, str(name)), strict=True):
            assert cut[-1] == END
            assert cut[:-1] == own[: len(cut) - 1]
            assert len(cut) >= min(2, len(own)), "an empty response stays, and no other becomes empty"


def test_every_cut_happens() -> None:
    lengths = [len(truncated([[10, 11, 12, 13, END]], 1.0, 5, str(name))[0]) - 1 for name in range(400)]
    assert {kept: lengths.count(kept) > 60 for kept in (1, 2, 3, 4)} == dict.fromkeys((1, 2, 3, 4), True)


def test_a_share_of_the_rows_is_cut() -> None:
    long = [[*range(10, 60), END]] * 2
    cut = [truncated(long, 0.3, 5, str(name)) != long for name in range(2000)]
    assert 0.26 < sum(cut) / 2000 < 0.34
    assert not any(truncated(long, 0.0, 5, str(name)) != long for name in range(50))


def test_a_cut_belongs_to_its_row_and_the_replicate(shelf: Path, tmp_path: Path) -> None:
    rows = rankings()
    knobs = {"data": "rankings", "truncate": 0.7}
    first = encoded(shelf, tmp_path, rows, **knobs)
    assert encoded(shelf, tmp_path, rows, **knobs) == first
    assert encoded(shelf, tmp_path, rows[::-1], **knobs) == first[::-1]
    assert encoded(shelf, tmp_path, rows[5:9], **knobs) == first[5:9]
    assert first != encoded(shelf, tmp_path, rows, data="rankings")
    long = [[*range(10, 60), END]]
    assert truncated(long, 1.0, 5, "a") != truncated(long, 1.0, 6, "a")


def test_truncation_changes_training_alone(shelf: Path, tmp_path: Path) -> None:
    found = [tiny.train("reward", tmp_path / str(k), shelf, {"truncate": k}) for k in (0.0, 1.0)]
    whole, cut = (tiny.measured(one) for one in found)
    assert cut["trained_tokens"] < whole["trained_tokens"]
    assert cut["responses"] == whole["responses"]
    assert not tiny.same(tmp_path / "0.0" / "reward", tmp_path / "1.0" / "reward")


def test_held_out_responses_are_whole(shelf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[Any, str]] = []
    own = rewards.RewardModel.score
    monkeypatch.setattr(
        rewards.RewardModel, "score", lambda self, texts, batch: seen.extend(texts) or own(self, texts, batch)
    )
    tiny.train("reward", tmp_path, shelf, {"truncate": 1.0, "folds": 2})
    pairs = tiny.Tiny().rows("pairs", "train")
    assert sorted(text for _, text in seen) == sorted(row[side] for row in pairs for side in ("chosen", "rejected"))


# cross-validation

FOLDED = {**FAST, "folds": 3}


def two_a_prompt() -> list[Row]:
    """Pairs of which every two have a prompt in common."""
    rows = tiny.Tiny().rows("pairs", "train")
    return [{**row, "id": f"{row['id']}-{k}"} for row in rows for k in range(2)]


def folded(shelf: Path, out: Path, **given: Any) -> dict[str, float]:
    return tiny.measured(tiny.train("reward", out, shelf, FOLDED, rows=two_a_prompt(), **given))


def watch(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, list[Row]]]:
    """The folder and the rows of every training from now on."""
    seen: list[tuple[str, list[Row]]] = []
    own = rewards._train
    monkeypatch.setattr(rewards, "_train", lambda a, job: seen.append((job.out.name, job.rows)) or own(a, job))
    return seen


def die(monkeypatch: pytest.MonkeyPatch, name: str, call: int) -> Callable[[], None]:
    """Let a function of the module raise in place of its nth call; what is returned undoes it."""
    own, calls = getattr(rewards, name), []

    def dying(*args: Any) -> Any:
        calls.append(args)
        if len(calls) == call:
            raise tiny.Killed
        return own(*args)

    monkeypatch.setattr(rewards, name, dying)
    return lambda: monkeypatch.setattr(rewards, name, own)


def test_folds_are_disjoint_by_prompt(shelf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen, held_out = watch(monkeypatch), []
    own = rewards._right_pairs
    monkeypatch.setattr(rewards, "_right_pairs", lambda a, f, rows, b: held_out.append(rows) or own(a, f, rows, b))
    folded(shelf, tmp_path / "out")
    assert [name for name, _ in seen] == ["fold-0", "fold-1", "fold-2", "out"]
    every = two_a_prompt()
    assert seen[-1][1] == every, "the final model trains on everything"
    for (_, trained), held in zip(seen, held_out, strict=False):
        assert {row["prompt_id"] for row in trained}.isdisjoint(row["prompt_id"] for row in held)
        assert sorted(row["id"] for row in [*trained, *held]) == sorted(row["id"] for row in every)
    assert sorted(row["id"] for held in held_out for row in held) == sorted(row["id"] for row in every)


def test_the_accuracy_is_over_all_held_out_pairs(shelf: Path, tmp_path: Path) -> None:
    found = tiny.train("reward", tmp_path, shelf, FOLDED, rows=two_a_prompt(), steps=12)
    parts = [json.loads((tmp_path / f"fold-{n}.json").read_text()) for n in range(3)]
    accuracy, spread = (one for one in found if one.metric.startswith("cv_"))
    assert (accuracy.metric, accuracy.n, accuracy.better) == ("cv_accuracy", 48, "higher")
    assert accuracy.value == pytest.approx(sum(part["right"] for part in parts) / 48)
    assert sum(part["pairs"] for part in parts) == 48
    assert (spread.metric, spread.n) == ("cv_accuracy_sd", 3)
    assert spread.value == pytest.approx(stdev(part["right"] / part["pairs"] for part in parts))
    left = {"curves.parquet", "reward", "fold-0.json", "fold-1.json", "fold-2.json"}
    assert {path.name for path in tmp_path.iterdir()} == left, "no weights of a fold"


def test_a_folds_accuracy_is_that_of_a_model_without_it(shelf: Path, tmp_path: Path) -> None:
    folded(shelf, tmp_path / "all")
    rows = two_a_prompt()
    held = [row for row in rows if rewards._part(row, 3) == 1]
    others = [row for row in rows if rewards._part(row, 3) != 1]
    tiny.train("reward", tmp_path / "alone", shelf, FAST, rows=others)
    values = [
        score(tmp_path / "alone" / "reward", [(row["prompt"], row[side]) for side in ("chosen", "rejected")], 8)
        for row in held
    ]
    right = sum((a > b) + 0.5 * (a == b) for a, b in values)
    assert json.loads((tmp_path / "all" / "fold-1.json").read_text()) == {"right": right, "pairs": len(held)}


def test_a_held_out_tie_is_half_right(shelf: Path, tmp_path: Path) -> None:
    rows = [{**row, "rejected": row["chosen"]} for row in two_a_prompt()]
    found = tiny.measured(tiny.train("reward", tmp_path, shelf, FOLDED, rows=rows))
    assert (found["cv_accuracy"], found["cv_accuracy_sd"]) == (0.5, 0.0)


def test_a_cross_validation_changes_no_weight(shelf: Path, tmp_path: Path) -> None:
    folded(shelf, tmp_path / "folded")
    tiny.train("reward", tmp_path / "plain", shelf, FAST, rows=two_a_prompt())
    assert tiny.same(tmp_path / "folded" / "reward", tmp_path / "plain" / "reward")


@pytest.mark.parametrize(
    ("name", "call", "again"),
    [
        ("_train", 2, ["fold-1", "fold-2", "out"]),  # before the second fold has begun
        ("_right_pairs", 2, ["fold-2", "out"]),  # after its training, before it was measured
        ("_write_whole", 2, ["fold-2", "out"]),  # after it was measured, before that was written
        ("_train", 4, ["out"]),  # before the final model
    ],
)
def test_a_killed_cross_validation_goes_on(
    shelf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, call: int, again: list[str]
) -> None:
    whole = folded(shelf, tmp_path / "whole")
    undo = die(monkeypatch, name, call)
    with pytest.raises(tiny.Killed):
        folded(shelf, tmp_path / "out")
    undo()
    seen = watch(monkeypatch)
    assert folded(shelf, tmp_path / "out") == whole
    assert [where for where, _ in seen] == again
    assert tiny.same(tmp_path / "out" / "reward", tmp_path / "whole" / "reward")
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == sorted(
        p.name for p in (tmp_path / "whole").iterdir()
    )


def test_what_finished_folds_took_is_part_of_the_cost(
    shelf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own, out = rewards._train, tmp_path / "out"

    def dying(algorithm: Any, job: Any) -> Any:
        if job.out == out:
            raise tiny.Killed
        return own(algorithm, job)

    with monkeypatch.context() as killed:
        killed.setattr(rewards, "_train", dying)
        with pytest.raises(tiny.Killed):
            folded(shelf, out)
    work.begin()
    folded(shelf, out)
    assert 0 < work.kept["seconds"] < work.so_far()["seconds"]


def test_a_fold_that_was_killed_within_goes_on_from_its_checkpoint(shelf: Path, tmp_path: Path) -> None:
    given = {"steps": 6, "checkpoint_every": 2}
    whole = folded(shelf, tmp_path / "whole", **given)
    with tiny.killed_within(6):
        folded(shelf, tmp_path / "out", **given)
    fold = tmp_path / "out" / "checkpoints" / "fold-0"
    assert (fold / "checkpoints" / "checkpoint-4").is_dir()
    half = fold / "reward"  # as if it had died while it saved
    half.mkdir()
    (half / "config.json").write_text("{")
    assert folded(shelf, tmp_path / "out", **given) == whole
    assert tiny.same(tmp_path / "out" / "reward", tmp_path / "whole" / "reward")


def test_a_killed_stage_goes_on_with_its_cross_validation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever runs a stage clears its folder of all that an earlier attempt has left but for the checkpoints."""
    store = Store(tmp_path)
    stage = Train(
        {"start": base()},
        algorithm=algorithm_spec("reward", {"folds": 3}),
        dataset=WORLD,
        split="train",
        budget=BUDGET,
        seed="replicate-0",
    )
    assert execute(store.prepare(base())).status == "done"
    undo = die(monkeypatch, "_train", 3)
    with pytest.raises(tiny.Killed):
        execute(store.prepare(stage))
    undo()
    seen = watch(monkeypatch)
    assert execute(store.folder(stage.name)).status == "done"
    assert [where for where, _ in seen] == ["fold-2", stage.name]
    record = store.record(stage.name)
    assert record is not None
    assert {f"fold-{n}.json" for n in range(3)} < record["files"].keys()
    assert not (store.folder(stage.name) / "checkpoints").exists()


def test_a_fold_whose_weights_are_there_by_half_is_trained_again(
    shelf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = folded(shelf, tmp_path / "whole")
    undo = die(monkeypatch, "_right_pairs", 2)
    with pytest.raises(tiny.Killed):
        folded(shelf, tmp_path / "out")
    undo()
    weights = tmp_path / "out" / "checkpoints" / "fold-1" / "reward" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-8])  # as a loss of power leaves them
    seen = watch(monkeypatch)
    assert folded(shelf, tmp_path / "out") == whole
    assert [where for where, _ in seen] == ["fold-1", "fold-2", "out"]


def test_rankings_are_cross_validated_by_their_pairs(shelf: Path, tmp_path: Path) -> None:
    rows = rankings()
    found = tiny.train("reward", tmp_path, shelf, {**FOLDED, "data": "rankings"}, rows=rows)
    assert next(one.n for one in found if one.metric == "cv_accuracy") == sum((1, 3, 6)[i % 3] for i in range(24))


def test_what_does_not_fit_is_not_held_out_either(shelf: Path, tmp_path: Path) -> None:
    rows = two_a_prompt()
    rows[0]["chosen"] = " ".join(tiny.WORDS * 20)
    found = tiny.train("reward", tmp_path, shelf, FOLDED, rows=rows)
    assert tiny.measured(found)["rows_left_out"] == 2
    assert next(one.n for one in found if one.metric == "cv_accuracy") == 46


def test_more_folds_than_prompts_are_refused(shelf: Path, tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match=r"reward.folds is 20, too many for the prompts that there are"):
        tiny.train("reward", tmp_path, shelf, {"folds": 20}, rows=two_a_prompt()[:4])


@pytest.mark.parametrize(("folds", "refused"), [(0, False), (1, True), (2, False), (-2, True), (20, False)])
def test_one_fold_is_none(folds: int, refused: bool) -> None:
    problems = Problems()
    coerce(Reward, "reward", {"folds": folds}, "x.toml", problems)
    assert bool(problems.found) == refused


# dimensions


def two_sided(count: int = 96) -> list[Row]:
    """A response's first word says whether it is clear, its last whether it is kind; each by a word of two.

    A pair has the same word in one of the two places in a third of the rows, so that there is no label for it.
    """
    draw, rows = random.Random(8), []
    clear, kind = WORDS_OF["clear"], WORDS_OF["kind"]
    for i, row in enumerate(tiny.Tiny(count).rows("prompts", "train")):
        one, two = draw.choice([(0, 1), (1, 0)]), draw.choice([(0, 1), (1, 0)])
        one, two = (one, (two[0],) * 2) if i % 3 == 0 else ((one[0],) * 2, two) if i % 3 == 1 else (one, two)
        middle = [draw.choice(tiny.WORDS[20:]) for _ in range(2)]
        texts = [f"{clear[one[side]]} {middle[side]} {kind[two[side]]}" for side in (0, 1)]
        labels = {"clear": one[0] - one[1], "kind": two[0] - two[1]}
        rows.append({**row, "chosen": texts[0], "rejected": texts[1], "preferred": labels})
    return rows


WORDS_OF = {"clear": (tiny.WORDS[0], tiny.WORDS[1]), "kind": (tiny.WORDS[8], tiny.WORDS[9])}
"""The worse word, then the better."""


def test_the_combined_head_is_the_weighted_sum_of_the_heads(shelf: Path, tmp_path: Path) -> None:
    model, tokenizer = with_head(shelf, 3)
    weights = {"clear": 1.0, "kind": -0.5, "short": 2.25}
    combined = rewards._combined(model, weights)
    combined.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    rows = tiny.Tiny().rows("pairs", "train")
    ids = [
        torch.tensor([tokenizer.apply_chat_template(r["prompt"], add_generation_prompt=True, return_dict=False)])
        for r in rows
    ]
    with torch.no_grad():
        for one in ids:
            expected = sum(
                w * s for w, s in zip(weights.values(), model(input_ids=one).logits[0].tolist(), strict=True)
            )
            assert float(combined(input_ids=one).logits) == pytest.approx(expected, abs=1e-6)
    assert model.config.num_labels == 3, "the model that is trained on stays as it is"
    assert len(score(tmp_path, [(row["prompt"], row["chosen"]) for row in rows], 8)) == 24  # as any reader reads it


def test_heads_separate_dimensions(shelf: Path, tmp_path: Path) -> None:
    rows = two_sided()
    given = {"rows": rows, "steps": 120, "prompts": 96}
    for name, text in {"clear": "clear=1 kind=0", "kind": "clear=0 kind=1", "both": "clear=1 kind=0.5"}.items():
        tiny.train("reward", tmp_path / name, shelf, {**FAST, "dimensions": text}, **given)
    fresh = tiny.Tiny(40).rows("prompts", "test")
    for name, other in (("clear", "kind"), ("kind", "clear")):
        own, foreign = (separated(tmp_path / name / "reward", fresh, which) for which in (name, other))
        assert own > 0.95
        assert own > foreign
    values, weighted = (
        [score(tmp_path / n / "reward", texts_of(fresh), 8) for n in names] for names in (TWO, ["both"])
    )
    mixed = [a + 0.5 * b for a, b in zip(*values, strict=True)]  # what is trained is the same, whatever the weights
    assert weighted[0] == pytest.approx(mixed, abs=1e-4)
    last = tiny.curves(tmp_path / "both").loc[120]
    assert last["accuracies/clear"] > 0.95
    assert last["accuracies/kind"] > 0.95
    assert not [name for name in last.index if name.startswith(("right/", "share/"))]


def separated(folder: Path, prompts: list[Row], name: str) -> float:
    """How often the better word of a dimension has the higher score, all else being equal."""
    texts = []
    for row in prompts:
        for word in WORDS_OF[name]:
            words = {"clear": WORDS_OF["clear"][0], "kind": WORDS_OF["kind"][0], name: word}
            texts.append((row["prompt"], f"{words['clear']} {tiny.WORDS[25]} {words['kind']}"))
    values = score(folder, texts, 16)
    return sum(better > worse for worse, better in zip(values[::2], values[1::2], strict=True)) / len(prompts)


def texts_of(prompts: list[Row]) -> list[tuple[Any, str]]:
    return [(row["prompt"], f"{a} {b}") for row in prompts for a in WORDS_OF["clear"] for b in WORDS_OF["kind"]]


def test_a_pairs_loss_is_the_mean_over_its_labels() -> None:
    """Against plain floats; a pair without any label adds nothing."""
    import math

    objective = RewardObjective(Reward(dimensions="clear=1 kind=0.5", center=0.1), 0)
    scores = [[(1.5, -1.0), (0.5, 2.0)], [(0.25, 0.75), (-2.0, 1.0)], [(3.0, 1.0), (1.0, 2.0)]]
    labels = [[1, -1], [0, -1], [0, 0]]
    flat = torch.tensor([scores[row][side] for row in range(3) for side in (0, 1)], requires_grad=True)
    batch = {
        "by_dimension": torch.tensor(labels, dtype=torch.float32),
        "counts": torch.tensor([2, 2, 2]),
        "attention_mask": torch.ones(6, 1),
    }
    loss, logs = objective.loss(flat, batch, {"rows": 4})
    expected = 0.0
    for (chosen, rejected), own in zip(scores, labels, strict=True):
        parts = [
            math.log1p(math.exp(-label * (a - b))) + 0.1 * (a + b) ** 2
            for a, b, label in zip(chosen, rejected, own, strict=True)
            if label
        ]
        expected += sum(parts) / max(1, len(parts)) / 4
    assert float(loss.detach()) == pytest.approx(expected, abs=1e-6)
    (slopes,) = torch.autograd.grad(loss, flat)
    assert not slopes[[4, 5]].any()
    assert not slopes[[2, 3], 0].any()
    assert bool(slopes[[0, 1]].all())
    found = objective.summary({name: float(value) for name, value in logs.items()})
    assert found["accuracies/clear"] == 1.0  # of one pair
    assert found["accuracies/kind"] == 1.0  # of two: -1.0 < 2.0 and 0.75 < 1.0


def test_a_step_without_a_label_logs_no_accuracy() -> None:
    objective = RewardObjective(Reward(dimensions="clear=1"), 0)
    assert objective.summary({"share/clear": 0.0, "right/clear": 0.0, "loss": 1.0}) == {"loss": 1.0}


def test_the_ledger_counts_the_labels_of_all_dimensions(shelf: Path, tmp_path: Path) -> None:
    rows = two_sided(24)
    knobs = {"dimensions": "clear=1 kind=0.5"}
    found = tiny.measured(tiny.train("reward", tmp_path / "out", shelf, knobs, rows=rows, steps=2))
    used = order(24, 16, tiny.job(tmp_path / "job", "pairs", shelf).seed("order"))
    assert found["labels"] == sum(abs(label) for i in used for label in rows[i]["preferred"].values())
    assert found["responses"] == 32


def test_dimensions_resume_with_their_heads(shelf: Path, tmp_path: Path) -> None:
    given = {"rows": two_sided(24), "steps": 6, "checkpoint_every": 2}
    knobs = {**FAST, "dimensions": "clear=1 kind=0.5"}
    tiny.train("reward", tmp_path / "whole", shelf, knobs, **given)
    with tiny.killed_within(6):
        tiny.train("reward", tmp_path / "left", shelf, knobs, **given)
    tiny.train("reward", tmp_path / "left", shelf, knobs, **given)
    assert tiny.same(tmp_path / "left" / "reward", tmp_path / "whole" / "reward")
    assert tiny.curves(tmp_path / "left").equals(tiny.curves(tmp_path / "whole"))


@pytest.mark.parametrize(
    ("dimensions", "said"),
    [
        ("clear", "must look like 'helpful=1 harmless=0.5'"),
        ("clear=much", "must look like 'helpful=1 harmless=0.5'"),
        ("clear=nan", "must look like 'helpful=1 harmless=0.5'"),
        ("clear=inf", "must look like 'helpful=1 harmless=0.5'"),
        ("clear=1 clear=2", "names 'clear' twice"),
        ("clear=1 brief=1", r"asks for 'brief'; row train-0 has labels for clear, kind, none"),
        ("none=1", "asks for 'none', for which no row has a label other than 0"),
    ],
)
def test_dimensions_that_cannot_be_are_refused(shelf: Path, tmp_path: Path, dimensions: str, said: str) -> None:
    rows = [{**row, "preferred": {**row["preferred"], "none": 0}} for row in two_sided(24)]
    with pytest.raises(HarnessError, match=said):
        tiny.train("reward", tmp_path, shelf, {"dimensions": dimensions}, rows=rows)


def test_a_label_is_one_of_three(shelf: Path, tmp_path: Path) -> None:
    rows = two_sided(24)
    rows[5]["preferred"]["kind"] = 2
    with pytest.raises(HarnessError, match=r"row train-5 prefers 2 in 'kind'; it must be 1, -1, or 0 for no label"):
        tiny.train("reward", tmp_path, shelf, {"dimensions": "clear=1 kind=1"}, rows=rows)


def test_rows_without_labels_have_no_dimensions(shelf: Path, tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match=r"asks for 'clear'; row train-0 has labels for none at all"):
        tiny.train("reward", tmp_path / "pairs", shelf, {"dimensions": "clear=1"})


def test_knobs_come_after_those_that_were_there() -> None:
    """And none of them changes what a recipe without them trains."""
    from harness.knobs import knobs

    declared = knobs(registry.load("algorithms", "reward"))
    assert list(declared)[:2] == ["learning_rate", "center"]
    neutral = {"data": "pairs", "loss": "bradley_terry", "truncate": 0.0, "folds": 0, "dimensions": ""}
    assert {name: declared[name].default for name in neutral} == neutral
