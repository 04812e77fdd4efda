"""The reward model's losses, on pairs and on rankings."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from checks import RANKED, SCORES, algorithm, close, numbers, ranking_formula, reward_formula

from harness.algorithms.reward import mean_over_pairs, weights_of
from harness.errors import HarnessError

TWO = torch.full((4,), 2)


@pytest.mark.parametrize("center", [0.0, 0.01, 0.3])
def test_loss_and_gradient_are_those_of_the_formula(center: float) -> None:
    reward_formula(center)


@pytest.mark.parametrize("loss", ["bradley_terry", "margin", "plackett_luce"])
def test_rankings_are_those_of_the_formula(loss: str) -> None:
    ranking_formula(loss)


def test_a_shift_of_all_scores_matters_to_the_centring_alone() -> None:
    scores = torch.stack([numbers(*own) for own in SCORES], 1)
    for loss in ("bradley_terry", "margin", "plackett_luce"):
        plain = algorithm("reward", center=0.0, loss=loss)
        close(plain.losses(scores + 5, TWO), plain.losses(scores, TWO).tolist())


def test_plackett_luce_of_two_is_bradley_terry() -> None:
    scores = torch.stack([numbers(*own) for own in SCORES], 1)
    pair, ranking = (algorithm("reward", loss=loss).losses(scores, TWO) for loss in ("bradley_terry", "plackett_luce"))
    close(ranking, pair.tolist())


def test_a_ranking_is_the_mean_of_its_pairs() -> None:
    own = RANKED[0]
    whole = algorithm("reward").losses(numbers(*own)[None], torch.tensor([4]))
    pairs = [(own[i], own[j]) for i in range(4) for j in range(i + 1, 4)]
    each = algorithm("reward").losses(torch.tensor(pairs, dtype=torch.float64), torch.full((6,), 2))
    close(whole, [float(each.mean())])


def test_equal_losses_of_all_pairs_are_their_own_mean() -> None:
    close(mean_over_pairs(numbers(0.25).expand(2, 4, 4), torch.tensor([4, 2])), [0.25, 0.25])


def test_the_best_scores_are_the_true_ones_up_to_a_shift() -> None:
    true = numbers(0.0, 1.0, -0.5, 2.0)
    wins = torch.sigmoid(true[:, None] - true[None, :])
    scores = numbers(0.0, 0.0, 0.0, 0.0, grad=True)
    settings: dict[str, float] = {"tolerance_grad": 1e-12, "tolerance_change": 0}
    optimiser = torch.optim.LBFGS([scores], max_iter=200, line_search_fn="strong_wolfe", **settings)
    left, right = torch.meshgrid(torch.arange(4), torch.arange(4), indexing="ij")

    def step() -> torch.Tensor:
        optimiser.zero_grad()
        both = torch.stack([scores[left.flatten()], scores[right.flatten()]], 1)
        losses = algorithm("reward", center=0.0).losses(both, torch.full((16,), 2))
        loss = (wins.flatten() * losses).sum()
        loss.backward()
        return loss

    optimiser.step(step)
    found = scores.detach() - scores.detach()[0]
    assert float((found - true).abs().max()) < 1e-6


def test_weights_of_dimensions_are_read_or_refused() -> None:
    assert weights_of("helpful=1 harmless=0.5") == {"helpful": 1.0, "harmless": 0.5}
    for wrong in ("helpful", "helpful=x", "=1", "helpful=inf"):
        with pytest.raises(HarnessError, match=r"must look like 'helpful=1 harmless=0\.5'"):
            weights_of(wrong)


def test_a_dimension_is_named_once() -> None:
    with pytest.raises(HarnessError, match="names 'helpful' twice"):
        weights_of("helpful=1 harmless=0.5 helpful=2")


def slopes_of(loss: torch.Tensor, scores: torch.Tensor) -> list[float]:
    """Of every score, one prompt after the other."""
    return [float(value) for value in torch.autograd.grad(loss, scores)[0].flatten()]


@pytest.mark.parametrize("loss", ["bradley_terry", "margin"])
def test_rankings_of_unequal_length_have_the_gradient_of_their_pairs(loss: str) -> None:
    """All in one batch, against each pair as a row of its own: what is padding has no part in either."""
    knobs = {"center": 0.2, "loss": loss, "margin": 0.8}
    width, counts = max(map(len, RANKED)), [len(own) for own in RANKED]
    padded = torch.tensor([[*own, *[9.0] * (width - len(own))] for own in RANKED], dtype=torch.float64)
    padded.requires_grad_()
    whole = algorithm("reward", data="rankings", **knobs).losses(padded, torch.tensor(counts))
    alone = numbers(*(score for own in RANKED for score in own), grad=True)
    means, first = [], 0
    for count in counts:
        pairs = [(first + i, first + j) for i in range(count) for j in range(i + 1, count)]
        means.append(
            algorithm("reward", **knobs).losses(alone[torch.tensor(pairs)], torch.full((len(pairs),), 2)).mean()
        )
        first += count
    close(whole, [float(mean.detach()) for mean in means])
    slopes = slopes_of(whole.sum(), padded)
    real = [place % width < counts[place // width] for place in range(len(slopes))]
    inside, beyond = (
        [value for value, is_real in zip(slopes, real, strict=True) if is_real is side] for side in (True, False)
    )
    close(numbers(*inside), slopes_of(torch.stack(means).sum(), alone))
    assert set(beyond) == {0.0}


def test_plackett_luce_of_two_has_bradley_terrys_gradient() -> None:
    found = []
    for loss in ("bradley_terry", "plackett_luce"):
        scores = torch.stack([numbers(*own) for own in SCORES], 1).requires_grad_()
        found.append(slopes_of(algorithm("reward", loss=loss).losses(scores, TWO).sum(), scores))
    close(numbers(*found[0]), found[1])


def test_ties_are_half_right() -> None:
    scores = numbers(2.0, 2.0, 1.0, 0.0, 5.0, 7.0, 9.0, 9.0).reshape(2, 4)
    found = algorithm("reward").accuracies(scores, torch.tensor([4, 2]))
    # of the first prompt's six pairs five are right and one is a tie; the second's only pair is the wrong way round
    assert found.tolist() == pytest.approx([5.5 / 6, 0.0])


@pytest.mark.parametrize("center", [None, 0.3])
def test_pairs_have_the_loss_and_gradient_of_trls_reward_trainer(center: float | None) -> None:
    from parity import trainer
    from trl import RewardTrainer

    scores = torch.tensor(SCORES, dtype=torch.float64).requires_grad_()  # chosen, then rejected, as TRL has them

    def model(**_: object) -> SimpleNamespace:
        return SimpleNamespace(logits=scores.flatten()[:, None])

    args = SimpleNamespace(center_rewards_coefficient=center)
    own = trainer(RewardTrainer, model=SimpleNamespace(training=False), args=args)
    theirs = own.compute_loss(model, {"attention_mask": torch.ones(8, 1)})
    ours = algorithm("reward", center=center or 0.0).losses(scores.t(), TWO).mean()
    close(ours[None], [float(theirs.detach())])
    close(numbers(*slopes_of(ours, scores)), slopes_of(theirs, scores))
