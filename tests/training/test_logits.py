"""With a large vocabulary the logits of all tokens are never held, neither on the way forward nor back."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import LlamaConfig, LlamaForCausalLM

from harness.training.forward import TILE, add_head, token_scores
from harness.training.values import ValueModel

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
    monkeypatch.setattr("harness.training.values.HELD", ROWS * TOKENS * VOCABULARY - 1)
    model = policy()
    add_head(model)
    with Largest() as largest:
        loss(model).backward()
    assert largest.found <= ROWS * TOKENS * TILE


def test_the_logits_of_all_tokens_would_be_noticed() -> None:
    with Largest() as largest:
        policy()(input_ids=batch()["input_ids"]).logits.sum().backward()
    assert largest.found >= ROWS * TOKENS * VOCABULARY


def test_tiles_give_what_the_whole_vocabulary_gives() -> None:
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
