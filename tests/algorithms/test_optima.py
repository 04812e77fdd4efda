"""On a world of five responses, all enumerated: the policy that a loss is least at is the one the paper says."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from checks import algorithm, numbers
from torch import Tensor

from harness.training.pairs import PairBatch

REWARD = numbers(0.0, 1.0, -0.5, 2.0, 0.25)
REFERENCE = torch.log_softmax(numbers(0.3, -1.0, 0.8, -2.0, 0.1), 0)
WINS = torch.sigmoid(REWARD[:, None] - REWARD[None, :])  # annotators who follow Bradley-Terry
LEFT, RIGHT = (index.flatten() for index in torch.meshgrid(torch.arange(5), torch.arange(5), indexing="ij"))


def best_policy(name: str, **knobs: Any) -> Tensor:
    """Log-probabilities at which the expected loss is least, over all pairs drawn alike and labelled by `WINS`."""
    logits = numbers(0.0, 0.0, 0.0, 0.0, 0.0, grad=True)
    optimiser = torch.optim.LBFGS(
        [logits], max_iter=500, tolerance_grad=1e-13, tolerance_change=0, line_search_fn="strong_wolfe"
    )
    one = torch.ones(len(LEFT), dtype=torch.float64)

    def step() -> Tensor:
        optimiser.zero_grad()
        logp = torch.log_softmax(logits, 0)
        batch = PairBatch(logp[LEFT], logp[RIGHT], one, one, REFERENCE[LEFT], REFERENCE[RIGHT], 1, 1)
        loss = (WINS.flatten() * algorithm(name, **knobs).losses(batch)).sum()
        loss.backward()
        return loss

    optimiser.step(step)
    return torch.log_softmax(logits.detach(), 0)


@pytest.mark.parametrize("beta", [0.5, 1.0, 2.0])
def test_dpo_is_best_at_the_reference_tilted_by_the_reward(beta: float) -> None:
    tilted = torch.log_softmax(REFERENCE + REWARD / beta, 0)
    assert float((best_policy("dpo", beta=beta).exp() - tilted.exp()).abs().max()) < 1e-6


@pytest.mark.parametrize("tau", [0.1, 0.5])
@pytest.mark.parametrize("normalise", ["tokens", "sum"])  # all responses are one token long here
def test_ipo_is_best_at_the_reference_tilted_by_the_win_rate(tau: float, normalise: str) -> None:
    tilted = torch.log_softmax(REFERENCE + WINS.mean(1) / tau, 0)
    found = best_policy("ipo", tau=tau, normalise=normalise)
    assert float((found.exp() - tilted.exp()).abs().max()) < 1e-6


def test_robust_dpo_finds_the_truth_behind_flipped_labels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("test_optima.WINS", 0.8 * WINS + 0.2 * (1 - WINS))
    tilted = torch.log_softmax(REFERENCE + REWARD, 0)
    robust = best_policy("dpo", beta=1.0, variant="robust", label_smoothing=0.2)
    assert float((robust.exp() - tilted.exp()).abs().max()) < 1e-6
    assert float((best_policy("dpo", beta=1.0).exp() - tilted.exp()).abs().max()) > 1e-2
