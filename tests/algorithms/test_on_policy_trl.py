"""RLOO and GRPO against TRL 1.16's own trainers: their losses on our tensors, and whole steps on the tiny policy.

A whole step goes our road on one side (rollout, credit, grid, loss), and through TRL's `_generate_and_score_completions`
and `_compute_loss` on the other; TRL is given the responses and their scores, and computes everything else. PPO, which
TRL 1.16 no longer has, is held to a step worked out here, in float64.
"""

from __future__ import annotations

import contextlib
import itertools
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

import pytest
import tiny
import torch
from checks import algorithm
from on_policy import CLIP, LENGTHS, LIMIT, RESPONSES, batch, column, flushed, gridded, slopes, spread
from parity import agree, plain_ids, policy, trainer
from torch import Tensor

from harness.inference.sampling import Sampled
from harness.inference.scoring import pad
from harness.training.on_policy import PolicyObjective
from harness.training.rollouts import Roller, Rollout, off_grid
from harness.training.values import ValueModel

pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")

SAMPLES, PROMPTS, PENALTY = 4, 3, 0.75
BETAS = (0.0, 0.3)
GRPO = tuple(itertools.product(("grpo", "dapo", "dr_grpo"), ("reverse", "plain"), BETAS))


def machine() -> SimpleNamespace:
    """An accelerator of one process."""
    return SimpleNamespace(
        device="cpu", num_processes=1, process_index=0, is_main_process=True, sync_gradients=True,
        gather=lambda value: value, gather_for_metrics=lambda value: value, reduce=lambda value, **_: value,
        autocast=contextlib.nullcontext,
    )  # fmt: skip


def theirs(name: str, **given: Any) -> Any:
    """TRL's trainer, never set up, in a step of one micro-batch for which it has drawn responses."""
    import trl

    arguments = {
        "use_bias_correction_kl": True, "delta": None, "steps_per_generation": 1, "gradient_accumulation_steps": 1,
        "per_device_train_batch_size": 64, "report_to": [], "gradient_checkpointing_kwargs": None,
    }  # fmt: skip
    own = {
        "accelerator": machine(), "epsilon_low": CLIP, "epsilon_high": CLIP, "num_generations": SAMPLES,
        "args": SimpleNamespace(**arguments | {k: given.pop(k) for k in list(given) if k in arguments}),
        "state": SimpleNamespace(global_step=0, num_input_tokens_seen=0), "pad_to_multiple_of": None,
        "mask_truncated_completions": False, "reward_funcs": [None], "reward_func_names": ["score"],
        "reward_weights": torch.ones(1), "_pending_extra_logs": {}, "_pending_metrics": {},
        "_logs": {"prompt": [], "completion": [], "rewards": {"score": []}, "advantages": [], "extra": {}},
    }  # fmt: skip
    if name == "grpo":
        own |= {
            "top_entropy_quantile": 1.0, "off_policy_mask_threshold": None, "importance_sampling_level": "token",
            "use_vllm": False, "_entropy_bonus_enabled": False, "current_gradient_accumulation_steps": 1,
            "environment_factories": None, "environments": None, "tools": None, "_is_vlm": False, "num_iterations": 1,
            "multi_objective_aggregation": "sum_then_normalize", "scale_rewards": "group",
        }  # fmt: skip
    else:
        own |= {"reward_clip_range": None, "normalize_advantages": False}
    return trainer({"grpo": trl.GRPOTrainer, "rloo": trl.RLOOTrainer}[name], **own | given)


# --- losses, on the tensors of on_policy.py -------------------------------------------------------------------------


def tensors(name: str, *, moved: bool, **config: Any) -> tuple[Tensor, Tensor]:
    """TRL's loss of the responses and its gradient by each token's log-probability (R, T); `moved` since the rollout."""
    mask = flushed(spread([1.0] * len(RESPONSES)))
    logps = (flushed(column("logp")) if moved else flushed(column("old"))).requires_grad_()
    own = theirs(name, model=SimpleNamespace(training=True), **config)
    own._get_per_token_logps_and_entropies = lambda *_, **__: (logps, torch.ones_like(mask), None)
    empty = torch.zeros(len(RESPONSES), 1, dtype=torch.long)
    inputs = {
        "prompt_ids": empty, "prompt_mask": empty, "completion_ids": mask.long(), "completion_mask": mask.long(),
        "ref_per_token_logps": flushed(column("ref")), "num_items_in_batch": mask.sum(),
        "advantages": torch.tensor([r.advantage for r in RESPONSES], dtype=torch.float64),
    }  # fmt: skip
    if name == "rloo":
        inputs["old_logps"] = flushed(column("old")).sum(1)
    elif moved:
        inputs["old_per_token_logps"] = flushed(column("old"))
    loss = own._compute_loss(own.model, inputs)
    return loss.detach(), slopes(loss, logps)[0]


def tensors_agree(name: str, knobs: dict[str, Any], *, moved: bool, **config: Any) -> None:
    """Ours is TRL's, its gradient too; what is no token of a response has none."""
    given = replace(batch(sequence=True), step_rows=len(RESPONSES), step_tokens=sum(LENGTHS))
    if not moved:
        given = replace(given, logps=given.old_logps.clone().requires_grad_())
    loss = algorithm(name, **knobs).losses(given).sum() / len(RESPONSES)
    expected, slope = tensors(name, moved=moved, **config)
    rows = [row[:length] for row, length in zip(slope.tolist(), LENGTHS, strict=True)]
    assert abs(float(loss.detach() - expected)) < 1e-8
    assert float((slopes(loss, given.logps)[0] * given.mask - gridded(rows)).abs().max()) < 1e-8
    assert float(slope.abs().max()) > 1e-2


def grpo_tensors_agree(normalise: str, gradient: str, beta: float, *, moved: bool) -> None:
    knobs = {"normalise": normalise, "kl_gradient": gradient, "beta": beta, "clip": CLIP}
    config = {"loss_type": normalise, "use_bias_correction_kl": gradient == "reverse", "beta": beta}
    tensors_agree("grpo", knobs, moved=moved, max_completion_length=LIMIT, **config)


@pytest.mark.parametrize("moved", [True, False])
@pytest.mark.parametrize(("normalise", "gradient", "beta"), GRPO)
def test_grpos_loss_is_that_of_trl(normalise: str, gradient: str, beta: float, moved: bool) -> None:
    grpo_tensors_agree(normalise, gradient, beta, moved=moved)


@pytest.mark.parametrize("moved", [True, False])
def test_rloos_loss_is_that_of_trl(moved: bool) -> None:
    tensors_agree("rloo", {"clip": CLIP}, moved=moved)


# --- whole steps, on the tiny policy --------------------------------------------------------------------------------


class Told(Roller):
    """A roller whose responses are given, which keeps what it was asked for."""

    drawn: list[Sampled]
    calls: list[tuple[str, list[int]]]

    def __call__(self, trainer: Any, name: str, prompts: Any, forward: Any = None) -> Rollout:
        self.calls.append((name, prompts))
        return super().__call__(trainer, name, prompts, forward)

    def _draw(self, trainer: Any, name: str, places: list[Any]) -> list[Sampled]:
        assert len(places) == len(self.drawn)
        return self.drawn


def nudge(model: Any, seed: int) -> None:
    """Move all weights a little, so that the policy is neither its anchor nor what gave the responses."""
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in model.parameters():
            weight += 0.03 * torch.randn(weight.shape, generator=draw)


def said(model: Any, tokenizer: Any, prompts: list[list[int]]) -> list[Sampled]:
    """K random responses to each prompt, every third without its end, with their log-probabilities."""
    draw = random.Random(3)
    found = []
    for i, prompt in enumerate(itertools.chain(*([prompt] * SAMPLES for prompt in prompts))):
        words = draw.choices(tiny.WORDS, k=draw.randint(1, 7))
        ids = [int(tokenizer.convert_tokens_to_ids(word)) for word in words]
        ids += [] if i % 3 == 2 else [int(tokenizer.eos_token_id)]
        with torch.no_grad():
            logits = model(torch.tensor([prompt + ids])).logits[0, len(prompt) - 1 : -1]
        logps = logits.log_softmax(-1).gather(1, torch.tensor(ids)[:, None])[:, 0].tolist()
        found.append(Sampled(ids, logps, "length" if i % 3 == 2 else "eos"))
    return found


def scores(count: int) -> list[float]:
    draw = random.Random(4)
    return [draw.uniform(-1, 3) for _ in range(count)]


def objective(
    shelf: Path, name: str, knobs: dict[str, Any], model: Any, tokenizer: Any, *, head: bool = False
) -> PolicyObjective:
    """Ours, with the responses that it is told; `head` for a value model on the policy."""
    method = algorithm(name, samples=SAMPLES, missing_end_penalty=PENALTY, **knobs)
    data = tiny.Tiny().rows("prompts", "train")[:PROMPTS]
    rows = [{**row, "ids": plain_ids(tokenizer, {**row, "response": ""}, "response")[0]} for row in data]
    with TemporaryDirectory() as folder:
        job = tiny.job(Path(folder), "prompts", shelf)
    roller = Told(
        job, rows, tokenizer, samples=SAMPLES, missing_end_penalty=PENALTY, reference=True,
        score=lambda asked, _: scores(len(asked)),
    )  # fmt: skip
    roller.calls = []
    roller.drawn = said(model, tokenizer, [row["ids"] for row in rows])
    values = ValueModel("head", job) if head else None
    return PolicyObjective(method, roller, list(range(PROMPTS)), PROMPTS * SAMPLES, int(tokenizer.pad_token_id), values)


def rolled(ours: PolicyObjective, model: Any, size: int = PROMPTS * SAMPLES) -> list[dict[str, Any]]:
    """The step's micro-batches, after a rollout."""
    road = SimpleNamespace(model=model, args=SimpleNamespace(device="cpu"), state=SimpleNamespace(global_step=0))
    every = [{"place": i} for i in range(PROMPTS * SAMPLES)]
    return ours.prepare([ours.collate(every[first : first + size]) for first in range(0, len(every), size)], road)


def losses(ours: PolicyObjective, model: Any, parts: list[dict[str, Any]]) -> tuple[Tensor, dict[str, float]]:
    """The loss of the step as the road has it, and what it logs."""
    totals = ours.totals(parts, None)
    found = [ours.loss(ours.forward(model, part), part, totals) for part in parts]
    logs = {name: sum(float(part[name]) for _, part in found) for name in found[0][1]}
    return torch.stack([loss for loss, _ in found]).sum(), logs


def worths(ours: PolicyObjective) -> list[float]:
    """Scores, less for a response that has no end."""
    drawn = ours.roller.drawn  # type: ignore[attr-defined]  # set by the test's own roller
    return [score - PENALTY * (one.end == "length") for score, one in zip(scores(len(drawn)), drawn, strict=True)]


def their_inputs(name: str, own: Any, ours: PolicyObjective, tokenizer: Any) -> dict[str, Tensor]:
    """What TRL makes of the same responses and scores: masks, log-probabilities, advantages."""
    drawn = ours.roller.drawn  # type: ignore[attr-defined]  # set by the test's own roller
    responses = [one.token_ids for one in drawn]
    prompts = list(itertools.chain(*([row["ids"]] * SAMPLES for row in ours.roller.rows)))
    texts = tokenizer.batch_decode(responses, skip_special_tokens=True)
    found = {"rloo": (prompts, responses, texts), "grpo": (prompts, responses, None, texts, None, {}, None, [])}
    own._generate = lambda _: found[name]
    own._tokenizer = own.processing_class = tokenizer
    own._calculate_rewards = lambda *_: torch.tensor(worths(ours))[:, None]
    inputs: dict[str, Tensor] = own._generate_and_score_completions([{"prompt": "?"} for _ in prompts])
    return inputs


def steps_agree(shelf: Path, name: str, knobs: dict[str, Any], *, moved: bool, **config: Any) -> None:
    """Advantages, loss and gradient of a step over the same responses; `moved` trains on an older policy's rollout."""
    model, tokenizer = policy(shelf)
    anchor, _ = policy(shelf)
    nudge(model, 1)
    ours = objective(shelf, name, {**knobs, "epochs": 2 if moved else 1}, model, tokenizer)
    parts = rolled(ours, model)
    own = theirs(
        name, model=model, ref_model=anchor, max_completion_length=ours.roller.job.budget.max_response_tokens, **config
    )
    if name == "grpo":
        own.num_iterations = 2 if moved else 1
    inputs = their_inputs(name, own, ours, tokenizer)
    assert ("old_per_token_logps" in inputs or "old_logps" in inputs) == (moved or name == "rloo")
    assert float((ours.advantages[:, 0] - inputs["advantages"]).abs().max()) < 1e-5
    assert float(inputs["advantages"].abs().max()) > 0.1
    if moved:
        nudge(model, 2)
    loss, logs = losses(ours, model, parts)
    assert not moved or 0.05 < logs["clip_fraction"] < 0.9
    agree(model, loss, own._compute_loss(model, inputs))


STEPS: dict[str, tuple[str, dict[str, Any], bool, dict[str, Any]]] = {
    "rloo": ("rloo", {"beta": 0.1, "clip": CLIP}, True, {"beta": 0.1}),
    "rloo first": ("rloo", {"beta": 0.1, "clip": CLIP}, False, {"beta": 0.1}),
    "rloo without KL": ("rloo", {"beta": 0.0, "clip": CLIP}, True, {"beta": 0.0}),
    **{
        f"grpo {normalise} {gradient} {scale} {beta} {'moved' if moved else 'first'}": (
            "grpo",
            {"normalise": normalise, "kl_gradient": gradient, "scale": scale, "beta": beta, "clip": CLIP},
            moved,
            {
                "loss_type": normalise,
                "use_bias_correction_kl": gradient == "reverse",
                "scale_rewards": scale,
                "beta": beta,
            },
        )
        for normalise, gradient, scale, beta, moved in (
            ("grpo", "reverse", "group", 0.2, True),
            ("grpo", "plain", "batch", 0.2, True),
            ("dapo", "reverse", "none", 0.2, True),
            ("dapo", "plain", "group", 0.2, False),
            ("dr_grpo", "reverse", "batch", 0.2, False),
            ("dr_grpo", "plain", "none", 0.2, True),
            ("grpo", "reverse", "group", 0.0, True),
        )
    },
}


def step_agrees(name: str, shelf: Path) -> None:
    kind, knobs, moved, config = STEPS[name]
    steps_agree(shelf, kind, knobs, moved=moved, **config)


@pytest.mark.parametrize("name", STEPS)
def test_a_step_of_our_road_is_that_of_trl(name: str, shelf: Path) -> None:
    step_agrees(name, shelf)


Spoken = tuple[Tensor, Tensor, Tensor]
"""Of one response, in float64: log-probabilities, entropies and values (T,)."""


def spoken(model: Any, head: Any, prompt: list[int], response: list[int]) -> Spoken:
    """What a policy and its head say of one response, without padding and without our road."""
    hidden = model.model(torch.tensor([prompt + response])).last_hidden_state[0, len(prompt) - 1 : -1]
    logps = model.lm_head(hidden).log_softmax(-1)
    values = hidden @ head.weight[0] + head.bias
    return logps.gather(1, torch.tensor(response)[:, None])[:, 0], -(logps.exp() * logps).sum(1), values


PPO = {
    "beta": 0.2, "clip": CLIP, "value_clip": 0.1, "value_weight": 0.5, "entropy_weight": 0.1, "discount": 0.98,
    "decay": 0.9, "epochs": 2, "minibatches": 1,
}  # fmt: skip


def credited(old: list[Spoken], anchor: list[Spoken], worth: list[float]) -> list[Tensor]:
    """GAE's advantages of each token, as a double sum."""
    found = []
    for (logps, _, values), (reference, _, _), score in zip(old, anchor, worth, strict=True):
        n = len(logps)
        rewards = [score * (t == n - 1) - PPO["beta"] * (logps[t] - reference[t]) for t in range(n)]
        ahead = [*values[1:], 0.0]
        errors = [rewards[t] + PPO["discount"] * ahead[t] - values[t] for t in range(n)]
        decay = PPO["discount"] * PPO["decay"]
        found.append(torch.stack([sum(decay**k * errors[t + k] for k in range(n - t)) for t in range(n)]))
    return found


def ppos_loss(credit: list[Tensor], old: list[Spoken], new: list[Spoken]) -> Tensor:
    """The mean over tokens, with advantages whitened over all of them."""
    every = torch.cat(credit)
    terms = []
    for advantages, (logps, _, values), (now, entropy, estimates) in zip(credit, old, new, strict=True):
        for t, advantage in enumerate((advantages - every.mean()) / every.std(correction=0)):
            ratio, wanted = (now[t] - logps[t]).exp(), advantages[t] + values[t]
            gain = torch.minimum(ratio * advantage, ratio.clip(1 - CLIP, 1 + CLIP) * advantage)
            near = values[t] + (estimates[t] - values[t]).clip(-PPO["value_clip"], PPO["value_clip"])
            error = torch.maximum((estimates[t] - wanted) ** 2, (near - wanted) ** 2)
            terms.append(-gain + PPO["value_weight"] / 2 * error - PPO["entropy_weight"] * entropy[t])
    return torch.stack(terms).mean()


def ppos_logs(credit: list[Tensor], old: list[Spoken], anchor: list[Spoken], new: list[Spoken]) -> dict[str, float]:
    """What the road logs of the step, over all tokens."""
    (logps, _, values), (reference, _, _), (now, entropy, estimates) = (
        [torch.cat(part) for part in zip(*said_by, strict=True)] for said_by in (old, anchor, new)
    )
    returns, ratio = torch.cat(credit) + values, (now - logps).exp()
    gain = torch.cat(credit) - torch.cat(credit).mean()  # whitening changes no sign but by the mean
    found = {
        "kl": (logps - reference).sum() / len(old),
        "length": torch.tensor(len(logps) / len(old)),
        "entropy": entropy.mean(),
        "ratio": ratio.mean(),
        "clip_fraction": ((ratio < 1 - CLIP) & (gain < 0) | (ratio > 1 + CLIP) & (gain > 0)).double().mean(),
        "advantage": torch.tensor(0.0),
        "value_loss": 0.5 * (estimates - returns).square().mean(),
        "explained_variance": 1 - (returns - values).var() / returns.var(),
        "beta": torch.tensor(PPO["beta"]),
    }
    return {name: value.item() for name, value in found.items()}


def ppo_by_hand(shelf: Path) -> None:
    """Loss and gradient, by the policy's weights and the head's, of a step on an older policy's rollout."""
    model, tokenizer = policy(shelf)
    anchor, _ = policy(shelf)
    nudge(model, 1)
    ours = objective(shelf, "ppo", PPO, model, tokenizer, head=True)
    head: Any = ours.companion
    nudge(head, 3)
    head.weight.data *= 10
    parts = rolled(ours, model)
    texts = list(zip(ours.rollout.prompts, ours.rollout.responses, strict=True))
    worth = worths(ours)

    def said_by(speaker: Any) -> list[Spoken]:
        return [spoken(speaker.double(), head.double(), *text) for text in texts]

    with torch.no_grad():
        before, at_anchor = said_by(model), said_by(anchor)
    model.float(), head.float()
    nudge(model, 2)
    nudge(head, 4)
    weights = [*model.parameters(), *head.parameters()]
    loss, logs = losses(ours, model, parts)
    found = torch.autograd.grad(loss, weights)
    assert 0.1 < logs["clip_fraction"] < 0.9
    after, credit = said_by(model), credited(before, at_anchor, worth)
    expected = ppos_loss(credit, before, after)
    assert abs(loss.item() - expected.item()) < 1e-5
    known = {"score": sum(worth) / len(worth), "ended": 2 / 3, **ppos_logs(credit, before, at_anchor, after)}
    assert {name: logs[name] for name in known} == pytest.approx(known, abs=1e-5)
    for ours_at, theirs_at in zip(found, torch.autograd.grad(expected, weights), strict=True):
        assert (ours_at - theirs_at).norm() < 1e-5 * max(1.0, float(theirs_at.norm()))


def ppo_with_tiles(shelf: Path) -> None:
    """The same where the logits are too many to be held."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("harness.training.forward.COPIES", 0)
        ppo_by_hand(shelf)


@pytest.mark.parametrize("by_hand", [ppo_by_hand, ppo_with_tiles])
def test_a_step_of_ppo_is_the_one_by_hand(by_hand: Callable[[Path], None], shelf: Path) -> None:
    by_hand(shelf)


def values_of_a_reward_model(shelf: Path) -> None:
    """A value model that began as a reward model expects, before a token, its score of what stands before it."""
    from transformers import LlamaConfig, LlamaForSequenceClassification

    model, tokenizer = policy(shelf)
    torch.manual_seed(5)
    config = LlamaConfig(**{**model.config.to_dict(), "num_labels": 1, "pad_token_id": tokenizer.pad_token_id})
    critic = LlamaForSequenceClassification(config)
    nudge(critic, 6)
    own: Any = object.__new__(ValueModel)
    own.kind, own.module = "reward", critic
    prompts = [[5, 6, 7], [8, 9], [5, 9, 6, 7]]
    responses = [[10, 11], [12, 13, 14, 15], [16]]
    given = list(zip(prompts, responses, strict=True))
    batch = pad(given, tokenizer.pad_token_id, torch.tensor)
    with torch.no_grad():
        found = own.scores(model, batch)
        values = off_grid(found.values, given, 4)
        for i, (prompt, response) in enumerate(given):
            for t in range(4):
                inside = t < len(response)
                expected = critic(torch.tensor([prompt + response[:t]])).logits[0, 0] if inside else torch.tensor(0.0)
                assert abs(float(values[i, t] - expected)) < 1e-5
    assert not found.values[batch["labels"][:, 1:] == -100].any()


def test_a_reward_models_value_is_its_score_of_what_stands_before(shelf: Path) -> None:
    values_of_a_reward_model(shelf)


def second_rollout(shelf: Path) -> None:
    """A second rollout is to prompts of its own, is drawn once, and serves its own steps, in any order."""
    model, tokenizer = policy(shelf)
    ours = objective(shelf, "rloo", {"epochs": 2}, model, tokenizer)
    ours.prompts, size = [0, 1, 2, 2, 0, 1], PROMPTS * SAMPLES
    road = SimpleNamespace(model=model, args=SimpleNamespace(device="cpu"), state=SimpleNamespace(global_step=0))
    for places in (range(size), range(size, 2 * size), range(2 * size - 1, size - 1, -1)):
        (part,) = ours.prepare([ours.collate([{"place": place} for place in places])], road)
    assert ours.roller.calls == [("0", [0, 1, 2]), ("1", [2, 0, 1])]  # type: ignore[attr-defined]
    asked = [ours.roller.rows[i]["ids"] for i in (1, 0, 2) for _ in range(SAMPLES)]
    assert [ids[: len(prompt)] for ids, prompt in zip(part["input_ids"].tolist(), asked, strict=True)] == asked
    assert part["score"].tolist() == list(reversed(ours.rollout.scores.tolist()))
    assert (part["advantages"].sum(1) - ours.advantages.sum(1).flip(0)).abs().max() < 1e-6
    assert (part["old_logps"].sum(1) - ours.rollout.logps.sum(1).flip(0)).abs().max() < 1e-4


def test_a_second_rollout_serves_its_own_steps(shelf: Path) -> None:
    second_rollout(shelf)


SPLIT = {
    "reinforce": {}, "rloo": {"epochs": 2}, "ppo": PPO, "grpo": {"epochs": 2}, "grpo dapo": {"normalise": "dapo"},
    "grpo dr_grpo": {"normalise": "dr_grpo"},
}  # fmt: skip


def splits_agree(shelf: Path, name: str) -> None:
    """One step of twelve responses has the loss, the gradient and the logs of six micro-batches of two."""
    found = []
    for size in (12, 2):
        model, tokenizer = policy(shelf)
        nudge(model, 1)
        kind = name.split()[0]
        ours = objective(shelf, kind, SPLIT[name], model, tokenizer, head=kind == "ppo")
        heads = [ours.companion] if kind == "ppo" else []
        for head in heads:
            nudge(head, 3)
        parts = rolled(ours, model, size)
        nudge(model, 2)
        loss, logs = losses(ours, model, parts)
        weights = [weight for module in (model, *heads) for weight in module.parameters()]
        found.append((loss, torch.cat([slope.flatten() for slope in torch.autograd.grad(loss, weights)]), logs))
    (whole, slope, logs), (split, other, others) = found
    assert abs(whole.item() - split.item()) < 1e-6
    assert (slope - other).norm() < 1e-6 * max(1.0, float(slope.norm()))
    assert others == pytest.approx(logs, abs=1e-5)


@pytest.mark.parametrize("name", SPLIT)
def test_a_step_does_not_depend_on_its_split(name: str, shelf: Path) -> None:
    splits_agree(shelf, name)
