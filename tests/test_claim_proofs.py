"""Claims that need no scores: each identity's proof is a test that runs, and what holds by construction is counted."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
import torch
from torch import Tensor

from harness import registry
from harness.algorithms.dpo import Dpo
from harness.algorithms.ppo import Ppo
from harness.algorithms.reinforce import Reinforce, score_function_losses
from harness.report.claims import built_in
from harness.training.pairs import PairBatch
from harness.training.rollouts import Rollout

ROOT = Path(__file__).parents[1]
PROVED = [one for one in built_in() if one.proof]
T0 = "A03 A10 A16 A18 A19 A20 A24 A29 A36 A40 A50 A51 B01 B03 B04 C05 C06 D13 D23"
T1 = "A12 A13 A27 A41 A42 A45 A46 A47 A48 A49 C01"


@pytest.mark.parametrize("name", [*T0.split(), *T1.split()])
def test_no_claim_of_the_first_two_tiers_is_without_wiring(name: str) -> None:
    own = [one for one in built_in() if one.id.split("-")[0] == name]
    tier = "T0" if name in T0 else "T1"
    assert own
    assert {one.tier for one in own} == {tier}
    assert not [one.id for one in own if one.not_run]


def test_every_claim_has_a_tier_and_a_place_in_its_article() -> None:
    for one in built_in():
        assert one.tier in ("T0", "T1", "T2"), one.id
        assert one.source.startswith(f"article 00{'ABCD'.index(one.family)}, on "), one.id


@pytest.mark.parametrize("claim", PROVED, ids=lambda one: one.id)
def test_a_proof_is_a_test_of_this_suite_that_is_not_skipped(claim) -> None:
    path, name = claim.proof.split("::")
    assert path.startswith("tests/")
    assert Path(path).name != "test_long.py"
    body = ast.parse((ROOT / path).read_text(encoding="utf-8")).body
    (found,) = [node for node in body if isinstance(node, ast.FunctionDef) and node.name == name]
    assert name.startswith("test_")
    assert "skip" not in "".join(ast.unparse(one) for one in found.decorator_list)


def reinforced(reward: float, baseline: float) -> float:
    """How log π of a sampled token changes by a step on it alone."""
    logits = torch.tensor([0.3, -1.0, 0.8], dtype=torch.float64, requires_grad=True)

    def logp() -> Tensor:
        return torch.log_softmax(logits, 0)[1]

    mask = torch.ones(1, 1, dtype=torch.bool)
    given = Rollout([[0]], [[1]], [""], torch.tensor([reward]), mask[0], mask, logp().detach()[None, None],
                    None, None, 1)  # fmt: skip
    advantages, _ = Reinforce(baseline="running").credit(given, {"baseline": baseline})
    before = logp().item()
    score_function_losses(logp()[None, None], advantages).sum().backward()
    assert logits.grad is not None
    with torch.no_grad():
        logits -= 0.1 * logits.grad
    return logp().item() - before


def test_rewards_reinforce_or_suppress_by_their_side_of_the_baseline() -> None:
    """Above or below 0 only where the baseline is 0: with one of 2, a reward of 1 suppresses and −1 does so too."""
    for baseline in (-3.0, 0.0, 2.0):
        assert reinforced(baseline + 1, baseline) > 0
        assert reinforced(baseline - 1, baseline) < 0
    assert reinforced(1.0, 2.0) < 0
    assert reinforced(-1.0, -3.0) > 0


def test_dpo_does_not_see_responses_that_no_pair_holds() -> None:
    """Its loss is the same whatever part of the rest each uncovered response has, and its gradient there is 0."""
    start = torch.log_softmax(torch.tensor([0.1, 0.5, -0.2, 0.4], dtype=torch.float64), 0)
    one = torch.ones(1, dtype=torch.float64)

    def loss(logps: Tensor) -> Tensor:
        batch = PairBatch(logps[:1], logps[1:2], one, one, start[:1], start[1:2], 1, 1)
        return Dpo().losses(batch).sum()

    first, second = (torch.tensor([0.3, 0.2, *rest]).double().log() for rest in ((0.49, 0.01), (0.01, 0.49)))
    assert loss(first) == loss(second)
    logps = first.clone().requires_grad_()
    loss(logps).backward()
    assert logps.grad is not None
    assert logps.grad[2:].tolist() == [0.0, 0.0]
    assert (logps.grad[:2] != 0).all()


def test_rlhf_holds_more_models_than_direct_methods() -> None:
    (claim,) = [one for one in built_in() if one.id == "A16-models"]
    assert claim.settled is not None
    assert claim.settled[0] == "BY CONSTRUCTION"
    assert Ppo(value="reward").footprint().models == 4
    online = {name: registry.load("algorithms", name)().footprint().models for name in ("ppo", "rloo", "grpo")}
    direct = ("dpo", "ipo", "kto", "cpo", "orpo", "simpo")
    assert set(online.values()) == {3}
    assert {registry.load("algorithms", name)().footprint().models for name in direct} == {1}
