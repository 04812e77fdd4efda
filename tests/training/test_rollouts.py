"""Rollouts: what is drawn, what is known of each token, what it is worth, and what a training makes of it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import tiny
import torch
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

from harness.errors import HarnessError
from harness.inference.policy import load_policy
from harness.inference.sampling import noise, sample
from harness.inference.scoring import score
from harness.inference.systems import write_samples
from harness.stages import Sample
from harness.training.forward import add_head, token_scores
from harness.training.on_policy import PolicyObjective, prompt_rows
from harness.training.online_pairs import OnlinePairObjective
from harness.training.rollouts import Roller, Rollout
from harness.training.rows import Encoder
from harness.training.values import ValueModel

LIMIT = 8
PROMPTS = [0, 3, 5, 7]
SAMPLES = 3
FAST = {"learning_rate": 1e-2}


def policy(folder: Path, *, moved: float = 0.0) -> Any:
    """The start as the road trains it, or moved away from there."""
    model, _ = load_policy(folder / "policy")
    add_head(model)
    torch.manual_seed(1)
    with torch.no_grad():
        for weight in model.parameters():
            weight += moved * torch.randn_like(weight)
    return model


def adapted(folder: Path) -> Any:
    """The start with an adapter that is no longer 0."""
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(2)
    model = get_peft_model(policy(folder), LoraConfig(r=2, target_modules="all-linear", task_type="CAUSAL_LM"))
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                weight += 0.3 * torch.randn_like(weight)
    return model


def trainer(model: Any) -> Any:
    """As much of a trainer as a roller reads."""
    alone = SimpleNamespace(num_processes=1, process_index=0)
    return SimpleNamespace(model=model, accelerator=alone, args=SimpleNamespace(device=torch.device("cpu")))


def roller(shelf: Path, out: Path, *, penalty: float = 0.0, **given: Any) -> Roller:
    tokenizer = AutoTokenizer.from_pretrained(shelf / tiny.START / "policy")
    job = tiny.job(out, "prompts", shelf, max_response_tokens=LIMIT, **given)
    rows, _ = prompt_rows(tokenizer, job)
    return Roller(job, rows, tokenizer, samples=SAMPLES, missing_end_penalty=penalty, reference=True)


def by_hand(folder: Path, rollout: Rollout) -> torch.Tensor:
    """(R, T) log-probabilities by plain transformers, one response after the other."""
    return plain_logps(AutoModelForCausalLM.from_pretrained(folder / "policy"), rollout)


def plain_logps(model: Any, rollout: Rollout) -> torch.Tensor:
    found = torch.zeros(rollout.mask.shape)
    for i, (prompt, response) in enumerate(zip(rollout.prompts, rollout.responses, strict=True)):
        with torch.no_grad():
            logps = model(torch.tensor([prompt + response])).logits[0].log_softmax(-1)
        for t, token in enumerate(response):
            found[i, t] = logps[len(prompt) - 1 + t, token]
    return found


def forward_of(model: Any) -> Any:
    return lambda batch: (token_scores(model, batch).log_probs, None)


def test_responses_are_the_samplers(shelf: Path, tmp_path: Path) -> None:
    draw, model = roller(shelf, tmp_path), policy(shelf / tiny.START, moved=0.05)
    rollout = draw(trainer(model), "4", PROMPTS)
    rows = [row for i in PROMPTS for row in [tiny.Tiny().rows("prompts", "train")[i]] * SAMPLES]
    asked = [
        draw.tokenizer.apply_chat_template(r["prompt"], add_generation_prompt=True, return_dict=False) for r in rows
    ]
    root = "replicate-0 rollout 4"
    own = sample(
        model, asked, [noise(root, row["prompt_id"], place % SAMPLES, LIMIT) for place, row in enumerate(rows)],
        end_id=draw.tokenizer.eos_token_id, pad_id=draw.tokenizer.pad_token_id, temperature=1.0, batch=5,
    )  # fmt: skip
    assert rollout.prompts == asked
    assert rollout.responses == [one.token_ids for one in own]
    assert rollout.ended.tolist() == [one.end == "eos" for one in own]
    assert {True, False} == set(rollout.ended.tolist())
    assert rollout.mask.sum(1).tolist() == [len(one.token_ids) for one in own]
    assert len({tuple(ids) for ids in rollout.responses}) > len(PROMPTS)
    assert draw(trainer(model), "5", PROMPTS).responses != rollout.responses, "each rollout has noise of its own"


def test_a_prompt_that_comes_again_has_other_noise(shelf: Path, tmp_path: Path) -> None:
    rollout = roller(shelf, tmp_path)(trainer(policy(shelf / tiny.START)), "0", [4, 6, 4])
    alone = roller(shelf, tmp_path)(trainer(policy(shelf / tiny.START)), "0", [4])
    assert rollout.prompts[:SAMPLES] == rollout.prompts[-SAMPLES:]
    assert rollout.responses[:SAMPLES] == alone.responses
    assert rollout.responses[-SAMPLES:] != alone.responses


@pytest.mark.parametrize("kind", ["full", "lora"])
def test_log_probabilities_are_the_policys(shelf: Path, tmp_path: Path, kind: str) -> None:
    draw = roller(shelf, tmp_path, lora_rank=2 * (kind == "lora"))
    model = adapted(shelf / tiny.START) if kind == "lora" else policy(shelf / tiny.START, moved=0.05)
    sampled = draw(trainer(model), "0", PROMPTS)
    computed = draw(trainer(model), "0", PROMPTS, forward_of(model))
    assert computed.responses == sampled.responses
    assert torch.allclose(sampled.logps, plain_logps(model, sampled), atol=1e-4)
    assert torch.allclose(sampled.logps, computed.logps, atol=1e-4)
    for one in (sampled, computed):
        assert (one.logps[~one.mask] == 0).all()
        assert (one.logps[one.mask] < 0).all()


@pytest.mark.parametrize("kind", ["full", "lora", "lora on lora"])
def test_the_reference_is_the_start(shelf: Path, tmp_path: Path, kind: str) -> None:
    results, start = Path(shutil.copytree(shelf, tmp_path / "results")), tiny.START
    if kind == "lora on lora":
        start = "train-adapter"
        tiny.train("sft", results / start, results, FAST, lora_rank=2)
    inputs = {"start": results / start}
    draw = roller(results, tmp_path / "out", lora_rank=2 * kind.startswith("lora"), inputs=inputs)
    model = adapted(results / start) if kind.startswith("lora") else policy(results / start, moved=0.05)
    rollout = draw(trainer(model), "0", PROMPTS)
    expected = plain_logps(load_policy(results / start / "policy")[0], rollout)
    assert torch.allclose(rollout.reference_logps, expected, atol=1e-4)
    assert (rollout.logps - rollout.reference_logps).abs().max() > 0.05
    assert torch.allclose(rollout.kl, (rollout.logps - expected).sum(1), atol=1e-3)
    # the adapter is on again
    assert torch.allclose(draw(trainer(model), "0", PROMPTS).logps, rollout.logps, atol=1e-5)


@pytest.mark.parametrize("rank", [0, 2])
def test_an_anchor_takes_the_place_of_the_start(shelf: Path, tmp_path: Path, rank: int) -> None:
    tiny.train("sft", tmp_path / "train-anchor", shelf, FAST)
    draw = roller(shelf, tmp_path / "out", lora_rank=rank, inputs={"anchor": tmp_path / "train-anchor"})
    rollout = draw(trainer(adapted(shelf / tiny.START) if rank else policy(shelf / tiny.START)), "0", PROMPTS)
    assert torch.allclose(rollout.reference_logps, by_hand(tmp_path / "train-anchor", rollout), atol=1e-4)
    assert not torch.allclose(rollout.reference_logps, by_hand(shelf / tiny.START, rollout), atol=1e-2)


def test_a_rule_is_asked_about_the_words(shelf: Path, tmp_path: Path) -> None:
    draw = roller(shelf, tmp_path)
    rollout = draw(trainer(policy(shelf / tiny.START)), "0", PROMPTS)
    words = [draw.tokenizer.convert_ids_to_tokens(ids) for ids in rollout.responses]
    special = set(draw.tokenizer.all_special_tokens)
    assert rollout.texts == [" ".join(word for word in own if word not in special) for own in words]
    asked = [row["prompt"] for i in PROMPTS for row in [tiny.Tiny().rows("prompts", "train")[i]] * SAMPLES]
    worth = [tiny.Tiny().score(p, text)["total"] for p, text in zip(asked, rollout.texts, strict=True)]
    assert rollout.scores.tolist() == pytest.approx(worth)
    assert len(set(worth)) > 1


def test_the_reward_model_reads_what_grade_would_have_it_read(shelf: Path, tmp_path: Path) -> None:
    """The text of a response and the end token that closes it, whether or not the policy wrote one."""
    draw = roller(shelf, tmp_path, proxy="model")
    rollout = draw(trainer(policy(shelf / tiny.START)), "0", PROMPTS)
    asked = [row["prompt"] for i in PROMPTS for row in [tiny.Tiny().rows("prompts", "train")[i]] * SAMPLES]
    both = list(zip(asked, rollout.texts, strict=True))
    assert rollout.scores.tolist() == pytest.approx(score(shelf / tiny.REWARD / "reward", both, 5), abs=1e-5)
    model = AutoModelForSequenceClassification.from_pretrained(shelf / tiny.REWARD / "reward")
    for (prompt, text), found in zip(both, rollout.scores.tolist(), strict=True):
        turn = [*prompt, {"role": "assistant", "content": text}]
        ids = draw.tokenizer.apply_chat_template(turn, return_dict=False)
        assert ids[-1] == draw.tokenizer.eos_token_id
        assert found == pytest.approx(model(torch.tensor([ids])).logits.item(), abs=1e-5)
    assert {True, False} == set(rollout.ended.tolist())


def test_a_sample_of_the_same_noise_has_the_same_text(shelf: Path, tmp_path: Path) -> None:
    """What Grade scores are the texts of Sample; the roller's are made alike."""
    import pyarrow.parquet as pq

    rollout = roller(shelf, tmp_path)(trainer(policy(shelf / tiny.START)), "0", [0, 1, 2])
    stage = Sample(
        {}, dataset={}, split="train", prompts=3, samples=SAMPLES, temperature=1.0, max_response_tokens=LIMIT,
        procedure={"name": "plain"}, seed="replicate-0 rollout 0", batch=4, threads=1,
    )  # fmt: skip
    write_samples(tmp_path, {"policy": shelf / tiny.START}, tiny.Tiny(3).rows("prompts", "train"), tiny.Tiny(), stage)
    table = pq.read_table(tmp_path / "samples.parquet").to_pylist()
    assert [row["response"] for row in table] == rollout.texts
    assert [row["token_ids"] for row in table] == rollout.responses


def test_a_missing_end_is_penalised(shelf: Path, tmp_path: Path) -> None:
    model = trainer(policy(shelf / tiny.START))
    free, strict = (roller(shelf, tmp_path, penalty=penalty)(model, "0", PROMPTS) for penalty in (0.0, 1.5))
    assert (free.scores - strict.scores).tolist() == [0.0 if ended else 1.5 for ended in free.ended.tolist()]
    assert {0.0, 1.5} == set((free.scores - strict.scores).tolist())


# --- value models ---------------------------------------------------------------------------------------------------


def test_a_reward_models_values_are_its_scores_of_what_came_before(shelf: Path, tmp_path: Path) -> None:
    draw = roller(shelf, tmp_path, proxy="model")
    model, values = policy(shelf / tiny.START), ValueModel("reward", draw.job)

    def forward(batch: dict[str, Any]) -> Any:
        found = values.scores(model, batch)
        return found.log_probs, found.values

    rollout = draw(trainer(model), "0", PROMPTS, forward)
    plain = AutoModelForSequenceClassification.from_pretrained(shelf / tiny.REWARD / "reward")
    assert torch.allclose(rollout.logps, by_hand(shelf / tiny.START, rollout), atol=1e-4)
    for i, (prompt, response) in enumerate(zip(rollout.prompts, rollout.responses, strict=True)):
        for t in range(len(response)):
            with torch.no_grad():
                hidden = plain.base_model(torch.tensor([prompt + response[:t]])).last_hidden_state[0, -1]
                assert float(rollout.values[i, t]) == pytest.approx(float(plain.score(hidden)), abs=1e-4)
        assert (rollout.values[i, len(response) :] == 0).all()


@pytest.mark.parametrize("kind", ["head", "reward"])
def test_a_head_shares_the_policys_weights_and_a_reward_model_none(shelf: Path, tmp_path: Path, kind: str) -> None:
    draw = roller(shelf, tmp_path, proxy="model")
    model, values = policy(shelf / tiny.START), ValueModel(kind, draw.job)
    rollout = draw(trainer(model), "0", PROMPTS)
    ids = torch.tensor([rollout.prompts[0] + rollout.responses[0]])
    labels = ids.clone()
    labels[:, : len(rollout.prompts[0])] = -100
    found = values.scores(model, {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": labels})
    assert (found.values == 0).all() == (kind == "head"), "a head begins at 0"
    assert found.label_mask.sum() == len(rollout.responses[0])
    if kind == "head":
        torch.nn.init.ones_(values.module.weight)
        found = values.scores(model, {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": labels})
    found.values.square().sum().backward()
    reached = any(weight.grad is not None and bool((weight.grad != 0).any()) for weight in model.parameters())
    assert reached == (kind == "head")
    assert all(weight.grad is not None for weight in values.module.parameters())


@pytest.mark.parametrize("kind", ["head", "reward"])
def test_a_value_model_learns(shelf: Path, tmp_path: Path, kind: str) -> None:
    """In many passes over one rollout, the policy standing still."""
    knobs = {"value": kind, "learning_rate": 1e-9, "value_learning_rate": 1e-2, "value_clip": 0.0, "epochs": 30}
    tiny.train("ppo", tmp_path, shelf, {**knobs, "minibatches": 1}, steps=30, max_response_tokens=LIMIT, proxy="model")
    lost = tiny.curves(tmp_path).xs("value_loss", level="metric")
    assert lost[30] < 0.5 * lost[1]
    assert tiny.curves(tmp_path)[1, "explained_variance"] == pytest.approx(0, abs=1e-6) or kind == "reward"


# --- trainings ------------------------------------------------------------------------------------------------------


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Rollout]:
    """All rollouts that trainings of a test draw."""
    found: list[Rollout] = []
    own = Roller.__call__

    def watching(self: Roller, *args: Any) -> Rollout:
        found.append(own(self, *args))
        return found[-1]

    monkeypatch.setattr(Roller, "__call__", watching)
    return found


@pytest.mark.parametrize("name", ["grpo", "ppo", "online_dpo"])
def test_rollouts_are_the_same_whatever_the_micro_batch(
    shelf: Path, tmp_path: Path, drawn: list[Rollout], name: str
) -> None:
    for split in (1, 8):
        tiny.train(name, tmp_path / str(split), shelf, micro_batch=split, max_response_tokens=LIMIT, steps=3)
    half = len(drawn) // 2
    assert half == (1 if name == "ppo" else 3)
    for one, eight in zip(drawn[:half], drawn[half:], strict=True):
        assert one.texts == eight.texts
        assert torch.equal(one.scores, eight.scores)
        assert torch.allclose(one.logps, eight.logps, atol=1e-4)


def test_a_rollout_serves_each_response_in_each_epoch(
    shelf: Path, tmp_path: Path, drawn: list[Rollout], monkeypatch: pytest.MonkeyPatch
) -> None:
    used: list[list[int]] = []
    own = PolicyObjective._batch
    monkeypatch.setattr(PolicyObjective, "_batch", lambda self, rows: used.append(rows) or own(self, rows))
    knobs = {"epochs": 2, "minibatches": 2, "samples": 2, **FAST}
    found = tiny.measured(tiny.train("grpo", tmp_path, shelf, knobs, steps=10, warmup=0.0, max_response_tokens=LIMIT))
    assert [len(one.texts) for one in drawn] == [32, 32, 32]  # 2 · batch · minibatches, and a rollout serves 4 steps
    passes = [sorted(used[i] + used[i + 1]) for i in range(0, 10, 2)]
    assert passes == [list(range(32))] * 5
    assert used[0] != used[2] != used[4], "each pass has an order of its own"
    curves = tiny.curves(tmp_path)
    for step in range(1, 11):
        fresh = step % 4 == 1
        assert (abs(curves[step, "ratio"] - 1) < 1e-5) == fresh
        assert not fresh or curves[step, "clip_fraction"] == 0
    assert curves.xs("clip_fraction", level="metric").max() > 0
    assert found["generated_tokens"] == sum(len(ids) for one in drawn for ids in one.responses)
    assert found["responses"] == found["scored"] == 96
    assert found["prompts"] == 48
    assert found["trained_tokens"] == pytest.approx(found["generated_tokens"] * 160 / 96)  # ten steps of 16 responses


def test_curves_are_of_the_rollouts(shelf: Path, tmp_path: Path, drawn: list[Rollout]) -> None:
    tiny.train("rloo", tmp_path, shelf, FAST, max_response_tokens=LIMIT)
    curves = tiny.curves(tmp_path)
    assert len(drawn) == 4
    for step, one in enumerate(drawn, 1):
        lengths = one.mask.sum(1).float()
        expected = {"score": one.scores.mean(), "kl": one.kl.mean(), "ended": one.ended.float().mean()}
        for name, value in {**expected, "length": lengths.mean()}.items():
            assert curves[step, name] == pytest.approx(float(value), abs=1e-5)
    assert curves[1, "kl"] == pytest.approx(0, abs=1e-4)
    assert curves[4, "kl"] > 1e-3


@pytest.mark.parametrize("name", ["grpo", "ppo", "online_dpo"])
def test_an_alarm_is_the_first_step_whose_rollout_is_too_far(
    shelf: Path, tmp_path: Path, drawn: list[Rollout], name: str
) -> None:
    knobs = {**FAST, **({"epochs": 1, "minibatches": 1} if name == "ppo" else {})}
    given = {"steps": 8, "max_response_tokens": LIMIT}
    calm = tiny.measured(tiny.train(name, tmp_path / "calm", shelf, knobs, **given))
    assert "kl_alarm_step" not in calm
    far = [float(one.kl.mean()) for one in drawn]
    assert calm["kl_max"] == pytest.approx(max(far))
    limit = max(far) / 2  # a sampled KL may be below 0, and a limit may not
    assert limit > 0
    alarmed = tiny.measured(tiny.train(name, tmp_path / "far", shelf, {**knobs, "kl_limit": limit}, **given))
    assert alarmed["kl_alarm_step"] == next(step for step, kl in enumerate(far) if kl > limit)
    off = tiny.measured(tiny.train(name, tmp_path / "off", shelf, {**knobs, "kl_limit": 0.0}, **given))
    assert "kl_alarm_step" not in off


def test_adaptive_beta_moves_towards_its_target(shelf: Path, tmp_path: Path, drawn: list[Rollout]) -> None:
    knobs = {**FAST, "epochs": 1, "minibatches": 1, "beta": 0.1}
    given = {"steps": 6, "max_response_tokens": LIMIT}
    for target in (0.01, 1e6, 0.0):
        drawn.clear()
        tiny.train("ppo", tmp_path / str(target), shelf, {**knobs, "kl_target": target}, **given)
        beta, expected = tiny.curves(tmp_path / str(target)).xs("beta", level="metric"), 0.1
        for step, one in enumerate(drawn, 1):
            assert beta[step] == pytest.approx(expected, rel=1e-5), "logged as it was used"
            gap = max(-0.2, min(0.2, float(one.kl.mean()) / target - 1)) if target else 0.0
            expected *= 1 + 0.1 * gap
        # below the target until the policy has moved, and above it from then on
        assert {0.01: beta[6] > beta.min() < 0.1, 1e6: beta[6] == beta.min() < 0.1, 0.0: beta.min() == beta.max()}[
            target
        ]


@pytest.mark.parametrize("labeller", ["reward", "judge"])
def test_online_pairs_are_the_best_and_the_worst(
    shelf: Path, tmp_path: Path, drawn: list[Rollout], monkeypatch: pytest.MonkeyPatch, labeller: str
) -> None:
    made: list[dict[str, Any]] = []
    own = OnlinePairObjective.prepare
    monkeypatch.setattr(
        OnlinePairObjective, "prepare", lambda self, *given: made.extend(own(self, *given)) or made[-1:]
    )
    given = {"steps": 3, "max_response_tokens": LIMIT}
    found = tiny.measured(tiny.train("online_dpo", tmp_path, shelf, {"labeller": labeller, **FAST}, **given))
    assert (found["prompts"], found["responses"]) == (24, 96)
    assert (found["labels"], found["scored"]) == ((96, 0) if labeller == "judge" else (0, 96))
    tokenizer = AutoTokenizer.from_pretrained(shelf / tiny.START / "policy")
    asked = {tuple(Encoder(tokenizer).prompt(row)): row["prompt"] for row in tiny.Tiny().rows("prompts", "train")}
    for one, batch in zip(drawn, made, strict=True):
        judged = [tiny.Tiny().judge(asked[tuple(p)], t) is None for p, t in zip(one.prompts, one.texts, strict=True)]
        if labeller == "judge":
            assert one.scores.tolist() == [
                good - (not end) for good, end in zip(judged, one.ended.tolist(), strict=True)
            ]
        groups = one.scores.view(8, 4)
        sides = batch["input_ids"].view(2, 8, -1), batch["labels"].view(2, 8, -1)
        for i, worth in enumerate(groups.tolist()):
            for side, wanted in ((0, max(worth)), (1, min(worth))):
                ids, labels = sides[0][side, i], sides[1][side, i]
                own_ids = ids[labels != -100].tolist()
                places = [4 * i + k for k in range(4) if one.responses[4 * i + k] == own_ids]
                assert wanted in [float(one.scores[place]) for place in places]
                reference = one.reference_logps[places[0]].sum()
                assert float(batch["reference"][side, i]) == pytest.approx(float(reference), abs=1e-5)
        assert batch["decided"].tolist() == [float(max(worth) > min(worth)) for worth in groups.tolist()]


def test_responses_of_equal_worth_teach_nothing(shelf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiny.Tiny, "score", lambda *_: {"total": 1.0})
    for name, knobs in (("online_dpo", {}), ("grpo", {"beta": 0.0}), ("rloo", {"beta": 0.0})):
        knobs = {"missing_end_penalty": 0.0, **FAST, **knobs}
        tiny.train(name, tmp_path / name, shelf, knobs, max_response_tokens=LIMIT)
        assert tiny.same(tmp_path / name / "policy", shelf / tiny.START / "policy")


def test_it_learns_what_the_reward_asks_for(shelf: Path, tmp_path: Path) -> None:
    for name in ("grpo", "ppo", "rloo", "reinforce", "online_dpo"):
        tiny.train(name, tmp_path / name, shelf, FAST, steps=40, max_response_tokens=LIMIT)
        scores = tiny.curves(tmp_path / name).xs("score", level="metric")
        assert scores.iloc[-5:].mean() > scores.iloc[:5].mean() + 0.2


# --- refusals -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "knobs", "given", "said"),
    [
        ("grpo", {"samples": 3}, {}, r"= 16 responses for a rollout; samples = 3 does not divide that"),
        ("ppo", {"value": "reward"}, {}, r"here the proxy is a rule: use 'head'"),
        ("rloo", {}, {"proxy": "none"}, r"there is no proxy reward"),
        ("rloo", {}, {"max_prompt_tokens": 2}, r"none of 24 prompts fits max_prompt_tokens = 2"),
    ],
)
def test_what_cannot_be_is_refused(
    shelf: Path, tmp_path: Path, name: str, knobs: dict[str, Any], given: dict[str, Any], said: str
) -> None:
    with pytest.raises(HarnessError, match=said):
        tiny.train(name, tmp_path, shelf, knobs, **given)


def test_a_value_model_is_copied_from_a_reward_model_with_the_policys_tokens_and_template(
    shelf: Path, tmp_path: Path
) -> None:
    """It is given the policy's token ids, which have to be what it was trained on; their number alone does not tell."""

    def copied(name: str, change: Callable[[Path], None]) -> ValueModel:
        other = Path(shutil.copytree(shelf / tiny.REWARD, tmp_path / name))
        change(other / "reward")
        return ValueModel("reward", tiny.job(tmp_path / "out", "prompts", shelf, inputs={"reward": other}))

    def renamed(folder: Path) -> None:
        """The same words, each with the number of another one."""
        tokenizer = json.loads((folder / "tokenizer.json").read_text())
        vocabulary = tokenizer["model"]["vocab"]
        numbers = [vocabulary[word] for word in tiny.WORDS]
        vocabulary.update(zip(tiny.WORDS, numbers[::-1], strict=True))
        (folder / "tokenizer.json").write_text(json.dumps(tokenizer))

    def shown_otherwise(folder: Path) -> None:
        tokenizer = AutoTokenizer.from_pretrained(folder)
        tokenizer.chat_template = f"{tokenizer.chat_template} "
        tokenizer.save_pretrained(folder)

    def longer(folder: Path) -> None:
        """A reward model may know more tokens than the policy, such as one to pad with."""
        tokenizer = AutoTokenizer.from_pretrained(folder)
        tokenizer.add_special_tokens({"pad_token": "<other pad>"})
        tokenizer.save_pretrained(folder)

    assert copied("equal", lambda _: None).kind == "reward"
    assert copied("longer", longer).kind == "reward"
    with pytest.raises(HarnessError, match=r"40 differ \(token 7 is 'bak' of the policy, 'let' of the reward model\)"):
        copied("renamed", renamed)
    with pytest.raises(HarnessError, match=r"policy's chat template.*use 'head'"):
        copied("template", shown_otherwise)
