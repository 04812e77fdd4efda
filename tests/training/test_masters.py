"""Weights of low precision learn what float32 weights learn, however small the updates."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch

from harness.stages import Train, from_spec
from harness.training.masters import step_in_float32

SMALL = 1e-5
"""A learning rate at which nine tenths of bfloat16's own updates are lost."""


def stepped(weight: torch.Tensor, gradients: list[torch.Tensor], masters: bool) -> Any:
    """A parameter and its optimiser after a step on each gradient."""
    parameter = torch.nn.Parameter(weight.clone())
    optimizer = torch.optim.AdamW([parameter], lr=SMALL, weight_decay=0.1)
    if masters:
        step_in_float32(optimizer)
    for gradient in gradients:
        parameter.grad = gradient.to(parameter.dtype)
        optimizer.step()
        optimizer.zero_grad()
    return parameter, optimizer


@pytest.fixture
def gradients() -> list[torch.Tensor]:
    """Numbers that bfloat16 holds, around a direction that they share."""
    torch.manual_seed(0)
    way = torch.randn(400)
    return [(way + torch.randn(400)).bfloat16().float() for _ in range(200)]


def test_a_weight_is_what_float32_would_be_rounded(gradients: list[torch.Tensor]) -> None:
    weight = (0.02 * torch.randn(400)).bfloat16()
    exact, _ = stepped(weight.float(), gradients, masters=False)
    own, optimizer = stepped(weight, gradients, masters=True)
    assert own.dtype == torch.bfloat16
    assert torch.equal(own, exact.bfloat16())
    assert torch.equal(optimizer.param_groups[0]["params"][0], exact)
    lost, _ = stepped(weight, gradients, masters=False)
    moved = (exact.detach() - weight.float()).abs().mean()
    assert (lost.detach().float() - exact.detach()).abs().mean() > 0.5 * moved


def test_masters_are_saved_and_loaded(gradients: list[torch.Tensor], tmp_path: Path) -> None:
    weight = (0.02 * torch.randn(400)).bfloat16()
    whole, _ = stepped(weight, gradients, masters=True)
    half, optimizer = stepped(weight, gradients[:100], masters=True)
    torch.save(optimizer.state_dict(), tmp_path / "optimizer.pt")
    again, other = stepped(half.detach(), [], masters=True)
    state = torch.load(tmp_path / "optimizer.pt", weights_only=True)
    kept = copy.deepcopy(state)
    other.load_state_dict(state)
    assert state.keys() == kept.keys()  # who loads keeps what is loaded
    for gradient in gradients[100:]:
        again.grad = gradient.bfloat16()
        other.step()
        other.zero_grad()
    assert torch.equal(again, whole)


def test_float32_weights_have_none() -> None:
    optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(3))])
    step_in_float32(optimizer)
    assert set(optimizer.state_dict()) == {"state", "param_groups"}


def moved(folder: Path, start: dict[str, torch.Tensor]) -> torch.Tensor:
    """How far all weights of a policy or reward model lie from where they began."""
    own = tiny.weights(folder)
    return torch.cat([(own[name].float() - start[name].float()).flatten() for name in start if name in own])


@pytest.mark.parametrize(("name", "product"), [("dpo", "policy"), ("reward", "reward")])
def test_a_training_moves_as_far_as_in_float32(shelf: Path, tmp_path: Path, name: str, product: str) -> None:
    start = {key: value.bfloat16() for key, value in tiny.weights(shelf / tiny.START / "policy").items()}
    found = {}
    for precision in ("float32", "bfloat16"):
        tiny.train(name, tmp_path / precision, shelf, {"learning_rate": 1e-4}, precision=precision, steps=40)
        found[precision] = moved(tmp_path / precision / product, start)
    along = float(found["bfloat16"] @ found["float32"] / found["float32"].square().sum())
    assert along == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize(
    ("budget", "masters"),
    [
        ({"precision": "float32", "lora_rank": 0}, None),
        ({"precision": "bfloat16", "lora_rank": 0}, "float32"),
        ({"precision": "bfloat16", "lora_rank": 4}, None),
    ],
)
def test_only_trainings_with_masters_have_another_key(budget: dict[str, Any], masters: str | None) -> None:
    given: dict[str, Any] = {"algorithm": {}, "split": "train", "seed": "replicate-0", "budget": budget}
    stage = Train({}, dataset={}, **given)
    assert stage.settings().get("masters") == masters
    assert from_spec(stage.spec, {}) == stage
    assert Train({}, dataset=None, **given).settings().get("masters") is None  # it is only loaded
