"""Online DPO: which two of the policy's own responses are trained on, what they weigh, and what a run makes of them."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import tiny
import torch
from transformers import AutoTokenizer

from harness import registry
from harness.inference.policy import load_policy
from harness.training.forward import add_head
from harness.training.on_policy import prompt_rows
from harness.training.online_pairs import OnlinePairObjective
from harness.training.rollouts import Roller, Rollout

LIMIT = 8
FAST = {"learning_rate": 1e-2}
SHORT = {"max_response_tokens": LIMIT}


class Told(Roller):
    """A roller whose scores are told, K to a prompt."""

    told: list[list[float]]

    def __call__(self, *given: Any) -> Rollout:
        drawn = super().__call__(*given)
        drawn.scores.copy_(torch.tensor(self.told).flatten())
        self.drawn = drawn
        return drawn


def objective_of(shelf: Path, out: Path, told: list[list[float]], **knobs: Any) -> OnlinePairObjective:
    tokenizer = AutoTokenizer.from_pretrained(shelf / tiny.START / "policy")
    algorithm = registry.load("algorithms", "online_dpo")(samples=len(told[0]), **knobs)
    job = tiny.job(out, "prompts", shelf, **SHORT)
    rows, _ = prompt_rows(tokenizer, job)
    roller = Told(job, rows, tokenizer, samples=algorithm.samples, missing_end_penalty=0.0, reference=True)
    roller.told = told
    return OnlinePairObjective(algorithm, roller, int(tokenizer.pad_token_id))


def trainer_of(model: Any) -> Any:
    return SimpleNamespace(
        model=model,
        accelerator=SimpleNamespace(num_processes=1, process_index=0),
        args=SimpleNamespace(device=torch.device("cpu")),
        state=SimpleNamespace(global_step=0),
        every_process=lambda items: items,
    )


def start(shelf: Path) -> Any:
    model, _ = load_policy(shelf / tiny.START / "policy")
    add_head(model)
    return model


def prepared(objective: OnlinePairObjective, model: Any, parts: list[list[int]]) -> list[dict[str, Any]]:
    batches = [objective.collate([{"place": place} for place in part]) for part in parts]
    return objective.prepare(batches, trainer_of(model))


def sides(batch: dict[str, Any]) -> list[tuple[list[int], list[int]]]:
    """Chosen and rejected tokens of each pair of a batch."""
    rows = zip(batch["input_ids"], batch["labels"], strict=True)
    found = [ids[labels != -100].tolist() for ids, labels in rows]
    n = len(found) // 2
    return list(zip(found[:n], found[n:], strict=True))


def gradient(objective: OnlinePairObjective, model: Any, batches: list[dict[str, Any]]) -> tuple[float, torch.Tensor]:
    """The loss of an optimiser step of these micro-batches, and its gradient."""
    model.zero_grad()
    totals, loss = objective.totals(batches, None), 0.0
    for batch in batches:
        part, _ = objective.loss(objective.forward(model, batch), batch, totals)
        part.backward()
        loss += float(part.detach())
    return loss, torch.cat([weight.grad.flatten() for weight in model.parameters()])


def moved(model: Any) -> Any:
    torch.manual_seed(5)
    with torch.no_grad():
        for weight in model.parameters():
            weight += 0.03 * torch.randn_like(weight)
    return model


@pytest.mark.parametrize(
    ("worth", "best", "worst"),
    [
        ([0, 3, 1, 2], 1, 0),
        ([-1.5, -1, -2, -3], 1, 3),
        ([2, 2, 0, 0], 0, 3),
        ([0, 1, 0, 1], 1, 2),
        ([0.5, 0.5, 0.5, 0.5], 0, 3),
    ],
)
def test_a_pair_is_the_first_of_the_best_and_the_last_of_the_worst(
    shelf: Path, tmp_path: Path, worth: list[float], best: int, worst: int
) -> None:
    objective = objective_of(shelf, tmp_path, [worth, worth[::-1]])
    (batch,) = prepared(objective, start(shelf), [[3, 5]])
    drawn = objective.roller.drawn
    mirrored = 4 + worth[::-1].index(max(worth)), 7 - worth.index(min(worth))
    for i, (place, (first, last)) in enumerate(zip((3, 5), ((best, worst), mirrored), strict=True)):
        assert sides(batch)[i] == (drawn.responses[first], drawn.responses[last])
        reference = drawn.reference_logps.sum(1)
        assert batch["reference"][:, i].tolist() == pytest.approx([float(reference[first]), float(reference[last])])
        prompt = objective.roller.rows[place]["ids"]
        assert batch["input_ids"][i, : len(prompt)].tolist() == prompt
    assert batch["decided"].tolist() == [float(max(worth) > min(worth))] * 2


def test_a_prompt_that_comes_twice_in_a_step_gives_two_pairs(shelf: Path, tmp_path: Path) -> None:
    told = [[1.0, 0, 0], [0, 1.0, 0], [0, 0.5, 1.0], [0, 1.0, 0.5]]
    objective = objective_of(shelf, tmp_path, told)
    batches = prepared(objective, start(shelf), [[4, 6], [4, 4]])
    drawn = objective.roller.drawn
    found = [pair for batch in batches for pair in sides(batch)]
    places = [(0, 2), (4, 5), (8, 6), (10, 9)]
    assert found == [(drawn.responses[best], drawn.responses[worst]) for best, worst in places]
    assert len({str(found[i]) for i in (0, 2, 3)}) == 3, "each time with responses of its own"
    assert [float(v) for batch in batches for v in batch["rollout_score"]] == pytest.approx([1 / 3, 1 / 3, 0.5, 0.5])


def test_the_loss_is_that_of_dpo_on_the_pair(shelf: Path, tmp_path: Path) -> None:
    """Against plain transformers, one response after the other, and the formula."""
    objective = objective_of(shelf, tmp_path, [[0.0, 1.0], [1.0, 0.0], [1.0, 1.0]], beta=0.5)
    model, anchor = start(shelf), start(shelf)
    (batch,) = prepared(objective, model, [[0, 1, 2]])
    moved(model)

    def logp(of: Any, place: int, response: list[int]) -> float:
        prompt = objective.roller.rows[place]["ids"]
        with torch.no_grad():
            logps = of(torch.tensor([prompt + response])).logits[0].log_softmax(-1)
        return sum(float(logps[len(prompt) - 1 + t, token]) for t, token in enumerate(response))

    losses = []
    for place, pair in enumerate(sides(batch)[:2]):
        chosen, rejected = (logp(model, place, one) - logp(anchor, place, one) for one in pair)
        losses.append(math.log1p(math.exp(-0.5 * (chosen - rejected))))
    assert losses[0] != pytest.approx(math.log(2), abs=0.01)
    loss, _ = gradient(objective, model, [batch])
    assert loss == pytest.approx(sum(losses) / 3, abs=1e-4), "the third pair is of equals: it counts and weighs nothing"


def test_equals_count_in_the_total_and_teach_nothing(shelf: Path, tmp_path: Path) -> None:
    decided, equal = [[0.0, 1, 2], [2, 1, 0.0]], [[1.0, 1, 1], [0.0, 0, 0]]
    model = start(shelf)
    found = []
    for told, places in (([*decided, *equal], [0, 1, 2, 3]), (decided, [0, 1]), (equal, [2, 3])):
        objective = objective_of(shelf, tmp_path, told)
        found.append((objective, prepared(objective, model, [places])))
    moved(model)
    both, alone, none = (gradient(objective, model, batches)[1] for objective, batches in found)
    assert alone.norm() > 1e-3
    assert (both - alone / 2).norm() < 1e-6 * alone.norm()
    assert none.norm() == 0


@pytest.mark.parametrize(
    "parts", [[[0, 1, 2, 3], [4, 5, 6, 7]], [[0], [1, 2, 3, 4, 5], [6, 7]], [[i] for i in range(8)]]
)
def test_the_split_into_micro_batches_changes_no_gradient(shelf: Path, tmp_path: Path, parts: list[list[int]]) -> None:
    told = [[0.0, 1, 0], [1.0, 1, 1], [2, 1, 0.0], [0, 0, 1.0], [0.0, 0, 0], [3, 1, 2.0], [1, 0, 1.0], [0, 2, 1.0]]
    found = []
    for split in ([list(range(8))], parts):
        model = start(shelf)
        objective = objective_of(shelf, tmp_path, told)
        batches = prepared(objective, model, split)
        found.append(gradient(objective, moved(model), batches))
    (loss, whole), (other, split_up) = found
    assert loss == pytest.approx(other, rel=1e-5)
    assert whole.norm() > 1e-3
    assert (whole - split_up).norm() < 1e-5 * whole.norm()


# --- trainings ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("labeller", ["reward", "judge"])
def test_the_micro_batch_changes_no_policy(shelf: Path, tmp_path: Path, labeller: str) -> None:
    for split in (2, 8):
        given = {**SHORT, "micro_batch": split, "steps": 3}
        tiny.train("online_dpo", tmp_path / str(split), shelf, {"labeller": labeller, "learning_rate": 1e-3}, **given)
    one, other = (tiny.weights(tmp_path / str(split) / "policy") for split in (2, 8))
    begun = tiny.weights(shelf / tiny.START / "policy")
    far = max(float((one[name] - begun[name]).abs().max()) for name in one)
    assert far > 1e-3
    assert all(float((one[name] - other[name]).abs().max()) < 0.01 * far for name in one)


def test_a_judge_needs_no_proxy_and_is_pleased(shelf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[bool] = []

    def judge(self: Any, prompt: Any, response: str) -> str | None:
        said.append(response[:1] in ("b", "d"))
        return None if said[-1] else tiny.WORDS[1]

    monkeypatch.setattr(tiny.Tiny, "judge", judge)
    knobs = {"labeller": "judge", "missing_end_penalty": 0.0, "learning_rate": 3e-2}
    found = tiny.measured(tiny.train("online_dpo", tmp_path, shelf, knobs, steps=40, proxy="none", **SHORT))
    assert len(said) == found["labels"] == found["responses"] == 40 * 8 * 4
    assert found["scored"] == 0
    curves, steps = tiny.curves(tmp_path), [said[i : i + 32] for i in range(0, len(said), 32)]
    for step, right in enumerate(steps, 1):
        groups = [sum(right[i : i + 4]) for i in range(0, 32, 4)]
        assert curves[step, "score"] == pytest.approx(sum(right) / 32)
        assert curves[step, "decided"] == sum(0 < n < 4 for n in groups) / 8
    assert sum(map(sum, steps[-5:])) > sum(map(sum, steps[:5])) + 0.2 * 5 * 32


def test_more_prompts_to_a_step_than_there_are(shelf: Path, tmp_path: Path) -> None:
    given = {**SHORT, "prompts": 6, "batch": 16, "micro_batch": 4, "steps": 3}
    found = tiny.measured(tiny.train("online_dpo", tmp_path, shelf, FAST, **given))
    assert (found["prompts"], found["responses"], found["rows_available"]) == (48, 192, 6)
    assert not tiny.same(tmp_path / "policy", shelf / tiny.START / "policy")


@pytest.mark.parametrize(
    ("knobs", "given"),
    [
        ({"labeller": "judge"}, {"proxy": "none"}),
        ({"samples": 2, "kl_limit": 1e-6}, {"lora_rank": 2}),
    ],
    ids=["judge", "lora"],
)
def test_a_killed_run_ends_as_one_that_was_not(
    shelf: Path, tmp_path: Path, knobs: dict[str, Any], given: dict[str, Any]
) -> None:
    given = {**SHORT, **given, "steps": 5, "checkpoint_every": 2, "emit": (1,)}
    whole = tiny.train("online_dpo", tmp_path / "whole", shelf, {**FAST, **knobs}, **given)
    with tiny.killed_within(5):
        tiny.train("online_dpo", tmp_path / "left", shelf, {**FAST, **knobs}, **given)
    assert (tmp_path / "left" / "checkpoints" / "checkpoint-4").is_dir()
    assert tiny.train("online_dpo", tmp_path / "left", shelf, {**FAST, **knobs}, **given) == whole
    for name in ("policy", "policy-step-1"):
        assert tiny.same(tmp_path / "left" / name, tmp_path / "whole" / name)
    assert tiny.curves(tmp_path / "left").equals(tiny.curves(tmp_path / "whole"))
    assert tiny.measured(whole)["responses"] == 5 * 8 * knobs.get("samples", 4)
    assert ("kl_alarm_step" in tiny.measured(whole)) == ("kl_limit" in knobs)


def test_with_an_anchor_the_reference_is_not_the_start(shelf: Path, tmp_path: Path) -> None:
    """A round measures its KL to where the first round began."""
    tiny.train("online_dpo", tmp_path / "first", shelf, FAST, steps=8, **SHORT)
    further = {"start": tmp_path / "first"}
    for name, inputs in (("alone", further), ("anchored", {**further, "anchor": shelf / tiny.START})):
        tiny.train("online_dpo", tmp_path / name, shelf, FAST, steps=2, inputs=inputs, **SHORT)
    alone, anchored = (tiny.curves(tmp_path / name) for name in ("alone", "anchored"))
    assert alone[1, "kl"] == pytest.approx(0, abs=1e-4)
    assert anchored[1, "kl"] > 0.01
    assert alone[1, "score"] == anchored[1, "score"], "the same policy draws the same responses"
    assert alone[1, "loss"] != pytest.approx(anchored[1, "loss"])
