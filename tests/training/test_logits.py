"""With a large vocabulary the logits of all tokens are never held, neither on the way forward nor back."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import LlamaConfig, LlamaForCausalLM, OPTConfig, OPTForCausalLM

from harness.training.forward import TILE, add_head, token_scores
from harness.training.values import ValueModel
from harness.training.whole_head import whole_scores

VOCABULARY, ROWS, TOKENS = 3 * TILE, 4, 24


class Largest(TorchDispatchMode):
    """The numbers in the largest tensor that is made."""

    found = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        for one in made if isinstance(made, tuple | list) else (made,):
            if isinstance(one, torch.Tensor):
                self.found = max(self.found, one.numel())
        return made


def policy() -> LlamaForCausalLM:
    torch.manual_seed(0)
    shape = {"hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 1}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=VOCABULARY, **shape))
    model.lm_head.requires_grad_(False)
    model.model.embed_tokens.requires_grad_(False)
    return model


def batch() -> dict[str, torch.Tensor]:
    ids = torch.arange(ROWS * TOKENS).view(ROWS, TOKENS)
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": ids}


def scored(model: Any) -> torch.Tensor:
    scores = token_scores(model, batch())
    return scores.log_probs.sum()


def valued(model: Any) -> torch.Tensor:
    values: Any = object.__new__(ValueModel)
    values.kind, values.module = "head", torch.nn.Linear(8, 1)
    scores = values.scores(model, batch())
    return (scores.log_probs + scores.entropy + scores.values).sum()


@pytest.mark.parametrize("loss", [scored, valued])
def test_no_tensor_holds_the_logits_of_all_tokens(monkeypatch: pytest.MonkeyPatch, loss: Any) -> None:
    monkeypatch.setattr("harness.training.forward.COPIES", 2)  # of a tile they are less than the whole vocabulary's
    model = policy()
    add_head(model)
    with Largest() as largest:
        loss(model).backward()
    assert largest.found <= ROWS * TOKENS * TILE


@pytest.mark.parametrize("copies", [0, 9])
def test_a_value_head_is_as_wide_as_what_the_vocabulary_is_read_from(
    monkeypatch: pytest.MonkeyPatch, copies: int
) -> None:
    """OPT of 350 million parameters projects its last layer from 1,024 to 512 numbers."""
    shape = {"hidden_size": 32, "word_embed_proj_dim": 16, "ffn_dim": 32, "num_hidden_layers": 1}
    config = OPTConfig(vocab_size=128, num_attention_heads=2, max_position_embeddings=64, **shape)
    monkeypatch.setattr("harness.training.values._config", lambda _: config)
    monkeypatch.setattr("harness.training.forward.COPIES", copies)
    job: Any = SimpleNamespace(seed=lambda _: 0)
    values, model = ValueModel("head", job), OPTForCausalLM(config)
    add_head(model)
    scores = values.scores(model, {name: ids.clamp(max=127) for name, ids in batch().items()})
    (scores.values + scores.log_probs).sum().backward()
    assert scores.values.shape == (ROWS, TOKENS - 1)
    assert values.module.weight.grad.abs().sum() > 0


class Whole(TorchDispatchMode):
    """Where tensors lie that hold the logits of all tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.found: set[int] = set()
        self.kept: list[torch.Tensor] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        for one in made if isinstance(made, tuple | list) else (made,):
            if isinstance(one, torch.Tensor) and one.untyped_storage().nbytes() >= 4 * ROWS * TOKENS * VOCABULARY:
                self.kept.append(one)  # else its place might be given to the next
                self.found.add(one.untyped_storage().data_ptr())
        return made


@pytest.mark.parametrize("loss", [scored, valued])
def test_logits_that_are_held_are_held_once(loss: Any) -> None:
    """In `policy` the weights of the vocabulary are smaller than the logits of all tokens."""
    with Whole() as whole:
        loss(policy()).backward()
    assert len(whole.found) == 1
    with Whole() as whole:
        torch.log_softmax(policy()(input_ids=batch()["input_ids"]).logits, -1).sum().backward()
    assert len(whole.found) >= 3


def test_scores_in_the_place_of_logits_and_their_gradient_are_those_of_the_formulas() -> None:
    torch.manual_seed(0)
    first = torch.randn(3, 5, 7, dtype=torch.float64, requires_grad=True)
    ids = torch.randint(0, 7, (3, 5))
    weights, others = torch.randn(2, 3, 5, dtype=torch.float64)
    logps = torch.log_softmax(first, -1)
    expected = logps.gather(-1, ids[..., None])[..., 0], -(logps.exp() * logps).sum(-1)
    ((expected[0] * weights).sum() + (expected[1] * others).sum()).backward()
    wanted, first.grad = first.grad, None
    found = whole_scores(first * 1.0, ids)
    for own, other in zip(found, (*expected, first.mean(-1)), strict=False):
        torch.testing.assert_close(own, other, atol=1e-12, rtol=0)
    assert torch.equal(found.is_top1, first.argmax(-1) == ids)
    assert not found.mean_logits.requires_grad
    loss = (found[0] * weights).sum() + (found[1] * others).sum()
    loss.backward(retain_graph=True)
    torch.testing.assert_close(first.grad, wanted, atol=1e-12, rtol=0)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_both_ways_say_the_same_of_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    given = batch()
    given["labels"] = given["labels"].clone()
    given["labels"][:, :5], given["labels"][1, 20:] = -100, -100
    found = []
    for copies in (9, 0):
        monkeypatch.setattr("harness.training.forward.COPIES", copies)
        model = policy()
        add_head(model)
        scores = token_scores(model, given)
        scores.log_probs.sum().backward()
        found.append([*vars(scores).values(), *(one.grad for one in model.parameters() if one.requires_grad)])
    for whole, tiled in zip(*found, strict=True):
        torch.testing.assert_close(whole, tiled, atol=2e-5, rtol=1e-4)


def test_the_logits_of_all_tokens_would_be_noticed() -> None:
    with Largest() as largest:
        policy()(input_ids=batch()["input_ids"]).logits.sum().backward()
    assert largest.found >= ROWS * TOKENS * VOCABULARY


def test_tiles_give_what_the_whole_vocabulary_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.training.forward.COPIES", 0)
    plain, tiled = policy(), policy()
    add_head(tiled)
    ids = batch()["input_ids"]
    found = token_scores(tiled, batch())
    logps = torch.log_softmax(plain(input_ids=ids).logits[:, :-1], -1)
    expected = logps.gather(-1, ids[:, 1:, None])[..., 0]
    torch.testing.assert_close(found.log_probs, expected, atol=1e-5, rtol=0)
    found.log_probs.sum().backward()
    expected.sum().backward()
    for own, other in zip(tiled.parameters(), plain.parameters(), strict=True):
        if own.requires_grad:
            torch.testing.assert_close(own.grad, other.grad, atol=1e-5, rtol=1e-4)
