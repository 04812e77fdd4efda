"""The reward model's pairwise loss."""

from __future__ import annotations

import pytest
import torch
from checks import SCORES, algorithm, close, numbers, reward_formula


@pytest.mark.parametrize("center", [0.0, 0.01, 0.3])
def test_loss_and_gradient_are_those_of_the_formula(center: float) -> None:
    reward_formula(center)


def test_a_shift_of_all_scores_matters_to_the_centring_alone() -> None:
    chosen, rejected = (numbers(*scores) for scores in SCORES)
    plain = algorithm("reward", center=0.0)
    close(plain.losses(chosen + 5, rejected + 5), plain.losses(chosen, rejected).tolist())


def test_the_best_scores_are_the_true_ones_up_to_a_shift() -> None:
    true = numbers(0.0, 1.0, -0.5, 2.0)
    wins = torch.sigmoid(true[:, None] - true[None, :])
    scores = numbers(0.0, 0.0, 0.0, 0.0, grad=True)
    settings: dict[str, float] = {"tolerance_grad": 1e-12, "tolerance_change": 0}
    optimiser = torch.optim.LBFGS([scores], max_iter=200, line_search_fn="strong_wolfe", **settings)
    left, right = torch.meshgrid(torch.arange(4), torch.arange(4), indexing="ij")

    def step() -> torch.Tensor:
        optimiser.zero_grad()
        losses = algorithm("reward", center=0.0).losses(scores[left.flatten()], scores[right.flatten()])
        loss = (wins.flatten() * losses).sum()
        loss.backward()
        return loss

    optimiser.step(step)
    found = scores.detach() - scores.detach()[0]
    assert float((found - true).abs().max()) < 1e-6
