"""Algorithms that learn from their own responses: every loss and credit once more, in plain floats, and what must hold.

The formulas are derived by hand from the papers and share no code with ours. The checks are functions, since the
tests call them and so do the mutants, each of which must fail the checks that its row names.
"""

from __future__ import annotations

import itertools
import math
import random
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from checks import algorithm
from torch import Tensor

from harness.algorithms._on_policy import leave_one_out
from harness.algorithms._ratios import clipped_token_losses
from harness.algorithms.grpo import group_advantages, kl_losses
from harness.algorithms.ppo import adapted, advantages_and_returns, token_rewards, whitened
from harness.algorithms.reinforce import score_function_losses
from harness.algorithms.rloo import sequence_ratio_losses
from harness.training.on_policy import PolicyBatch, explained_variance
from harness.training.rollouts import Rollout, off_grid, on_grid

TOLERANCE = 1e-8
CLIP = 0.2
STEP_ROWS, STEP_TOKENS, LIMIT = 10, 31, 16
"""Of the whole optimiser step, of which the batch is a part; and the most tokens that a response may have."""
GARBAGE = 0.7
"""What stands outside of the mask where a loss is to look at the mask."""


@dataclass(frozen=True)
class Token:
    """What is known of one token of a response."""

    logp: float
    old: float
    ref: float
    advantage: float
    entropy: float
    value: float
    old_value: float
    target: float


@dataclass(frozen=True)
class Response:
    """The prompt's tokens are not looked at; on the grid of a batch they stand before the response."""

    prompt: int
    tokens: tuple[Token, ...]
    score: float

    @property
    def advantage(self) -> float:
        """Of a method that has one for the whole response."""
        return self.tokens[0].advantage


def _responses() -> tuple[Response, ...]:
    draw = random.Random(119)

    def token() -> Token:
        old, value = draw.uniform(-3, -0.7), draw.uniform(-1, 1)
        return Token(
            old + draw.uniform(-0.6, 0.6), old, old + draw.uniform(-0.8, 0.8), draw.uniform(-2, 2),
            draw.uniform(0, 2), value, value + draw.uniform(-0.6, 0.6), draw.uniform(-1.5, 1.5),
        )  # fmt: skip

    shapes = ((3, 3), (2, 1), (1, 5), (2, 2), (3, 4), (1, 2))
    return tuple(Response(p, tuple(token() for _ in range(n)), draw.uniform(-2, 2)) for p, n in shapes)


RESPONSES = _responses()
LENGTHS = [len(response.tokens) for response in RESPONSES]
WIDTH = max(response.prompt - 1 + len(response.tokens) for response in RESPONSES) + 2
"""Entries of the batch's grid; entry t is about token t + 1, and the last two are padding in every row."""
LONGEST = max(LENGTHS)
Rows = list[list[float]]
"""One list per response, of a number for each of its tokens."""


def column(name: str) -> Rows:
    return [[getattr(token, name) for token in response.tokens] for response in RESPONSES]


def spread(values: Sequence[float]) -> Rows:
    """One value of each response to all of its tokens."""
    return [[value] * length for value, length in zip(values, LENGTHS, strict=True)]


def gridded(rows: Rows, outside: float = 0.0) -> Tensor:
    """(B, WIDTH): where the tokens stand in a batch."""
    grid = torch.full((len(rows), WIDTH), outside, dtype=torch.float64)
    for i, (response, row) in enumerate(zip(RESPONSES, rows, strict=True)):
        for t, value in enumerate(row):
            grid[i, response.prompt - 1 + t] = value
    return grid


def flushed(rows: Rows, outside: float = 0.0) -> Tensor:
    """(R, LONGEST): where the tokens stand in a rollout."""
    return torch.tensor([row + [outside] * (LONGEST - len(row)) for row in rows], dtype=torch.float64)


def batch(*, sequence: bool = False, outside: float = 0.0) -> PolicyBatch:
    """The responses as the road gives them; what a gradient flows into are leaves.

    Args:
        sequence: all tokens of a response have one advantage.
        outside: stands outside of the mask.
    """
    columns = {name: gridded(column(name), outside) for name in ("old", "ref", "old_value", "target", "advantage")}
    leaves = {name: gridded(column(name), outside).requires_grad_() for name in ("logp", "entropy", "value")}
    if sequence:
        columns["advantage"] = gridded(spread([response.advantage for response in RESPONSES]), outside)
    return PolicyBatch(
        leaves["logp"], gridded(spread([1.0] * len(RESPONSES))), columns["old"], columns["ref"], columns["advantage"],
        leaves["entropy"], leaves["value"], columns["old_value"], columns["target"], STEP_ROWS, STEP_TOKENS, LIMIT,
    )  # fmt: skip


def rollout(samples: int) -> Rollout:
    """The responses as they were drawn; the policy that drew them is the old one."""
    return Rollout(
        [[1] * response.prompt for response in RESPONSES],
        [[2] * length for length in LENGTHS],
        [""] * len(RESPONSES),
        torch.tensor(SCORES, dtype=torch.float64),
        torch.ones(len(RESPONSES), dtype=torch.bool),
        flushed(spread([1.0] * len(RESPONSES))).bool(),
        flushed(column("old")),
        flushed(column("ref")),
        flushed(column("old_value")),
        samples,
    )


SCORES = [response.score for response in RESPONSES]
KL = [sum(token.old - token.ref for token in response.tokens) for response in RESPONSES]


# --- formulas -------------------------------------------------------------------------------------------------------

Found = tuple[float, float]
"""A loss, and its derivative by the log-probability (or the value) that it is of."""


def clipped(ratio: float, advantage: float, clip: float = CLIP) -> Found:
    """The loss and its derivative by log ρ; the clip acts only where it makes the loss greater."""
    if advantage > 0 and ratio > 1 + clip:
        return -(1 + clip) * advantage, 0.0
    if advantage < 0 and ratio < 1 - clip:
        return -(1 - clip) * advantage, 0.0
    return -ratio * advantage, -ratio * advantage


def k3(token: Token, gradient: str) -> Found:
    """π_ref/π − log(π_ref/π) − 1, times π/π_old with `reverse`."""
    u = math.exp(token.ref) / math.exp(token.logp)
    estimate, slope = u - math.log(u) - 1, 1 - u
    if gradient == "plain":
        return estimate, slope
    ratio = math.exp(token.logp) / math.exp(token.old)
    return ratio * estimate, ratio * (estimate + slope)


def squared(token: Token, clip: float) -> Found:
    """The value loss and its derivative by the value."""
    free = (token.value - token.target) ** 2
    low, high = token.old_value - clip, token.old_value + clip
    near = min(max(token.value, low), high)
    if clip and (near - token.target) ** 2 > free:
        return 0.5 * (near - token.target) ** 2, 0.0  # a greater one is a clipped one, which does not move
    return 0.5 * free, token.value - token.target


def group_scaled(samples: int, scale: str) -> list[float]:
    """GRPO's advantages of the scores."""
    found = []
    for i, score in enumerate(SCORES):
        group = SCORES[i // samples * samples :][:samples]
        divisor = {"group": lambda g: statistics.stdev(g) + 1e-4, "batch": lambda _: statistics.stdev(SCORES) + 1e-4}
        found.append((score - statistics.fmean(group)) / divisor.get(scale, lambda _: 1.0)(group))
    return found


def without_own(rewards: list[float], samples: int) -> list[float]:
    """Each reward minus the mean of the others of its group."""
    found = []
    for i, reward in enumerate(rewards):
        first = i // samples * samples
        found.append(reward - statistics.fmean(rewards[j] for j in range(first, first + samples) if j != i))
    return found


def rewards_of_tokens(beta: float) -> Rows:
    """−β log(π/π_ref) on each token, and the score on the last."""
    rows = [[-beta * (token.old - token.ref) for token in response.tokens] for response in RESPONSES]
    return [[*row[:-1], row[-1] + score] for row, score in zip(rows, SCORES, strict=True)]


def summed_errors(rewards: Rows, values: Rows, discount: float, decay: float) -> Rows:
    """Σ_l (γλ)^l δ_{t+l} as a double sum."""
    found = []
    for row, value in zip(rewards, values, strict=True):
        ahead = [*value[1:], 0.0]
        errors = [r + discount * nxt - v for r, nxt, v in zip(row, ahead, value, strict=True)]
        n = len(row)
        found.append([sum((discount * decay) ** s * errors[t + s] for s in range(n - t)) for t in range(n)])
    return found


def standardised(rows: Rows) -> Rows:
    every = list(itertools.chain(*rows))
    mean, sd = statistics.fmean(every), math.sqrt(statistics.pvariance(every) + 1e-8)
    return [[(value - mean) / sd for value in row] for row in rows]


# --- checks ---------------------------------------------------------------------------------------------------------


def same(found: Tensor, expected: Tensor | list[float], tolerance: float = TOLERANCE) -> None:
    """Equal to 1e-8 in every entry, in float64."""
    wanted = torch.as_tensor(expected, dtype=torch.float64)
    assert found.dtype == torch.float64
    assert found.shape == wanted.shape
    worst = float((found.detach() - wanted).abs().max())
    assert worst < tolerance, f"off by {worst}: {found.tolist()} is not {wanted.tolist()}"


def slopes(losses: Tensor, *leaves: Tensor | None) -> list[Tensor]:
    """Gradients of the sum; 0 where a leaf has no part in it."""
    every = [leaf for leaf in leaves if leaf is not None]
    found = torch.autograd.grad(losses.sum(), every, allow_unused=True)
    return [torch.zeros_like(leaf) if slope is None else slope for leaf, slope in zip(every, found, strict=True)]


def per_response(
    formula: Callable[[Response], tuple[float, list[float]]], losses: Tensor, logps: Tensor, mask: Tensor | float = 1.0
) -> None:
    """A loss of each response, and its derivative by each of its log-probabilities.

    With `mask` inside of it alone: the road multiplies log-probabilities by it.
    """
    expected = [formula(response) for response in RESPONSES]
    same(losses, [loss for loss, _ in expected])
    same(slopes(losses, logps)[0] * mask, gridded([slope for _, slope in expected]))


def batch_has_every_case() -> None:
    """Ratios below, in and above the clip with both signs of the advantage, for tokens and for whole responses."""

    def case(log_ratio: float, advantage: float) -> tuple[int, bool]:
        return (math.exp(log_ratio) > 1 + CLIP) - (math.exp(log_ratio) < 1 - CLIP), advantage > 0

    tokens = [token for response in RESPONSES for token in response.tokens]
    assert len({case(token.logp - token.old, token.advantage) for token in tokens}) == 6
    assert len({case(sum(t.logp - t.old for t in r.tokens), r.advantage) for r in RESPONSES}) == 6
    moved = [(abs(t.value - t.old_value) > CLIP, squared(t, CLIP)[1] == 0) for t in tokens]
    assert set(moved) == {(False, False), (True, False), (True, True)}
    assert len(set(LENGTHS)) > 3
    assert min(SCORES) < 0 < max(SCORES)
    assert statistics.fmean(KL) > 0


def formula_of_reinforce() -> None:
    def formula(response: Response) -> tuple[float, list[float]]:
        total = sum(token.logp for token in response.tokens)
        return -response.advantage * total, [-response.advantage] * len(response.tokens)

    given = batch(sequence=True)
    per_response(formula, score_function_losses(given.logps, given.advantages), given.logps)
    per_response(formula, algorithm("reinforce").losses(given), given.logps)


def formula_of_rloo(clip: float = CLIP) -> None:
    def formula(response: Response) -> tuple[float, list[float]]:
        ratio = math.exp(sum(token.logp for token in response.tokens)) / math.exp(sum(t.old for t in response.tokens))
        loss, slope = clipped(ratio, response.advantage, clip)
        return loss, [slope] * len(response.tokens)

    given = batch(sequence=True)
    each = torch.tensor([response.advantage for response in RESPONSES], dtype=torch.float64)
    per_response(formula, sequence_ratio_losses(given.logps, given.old_logps, each, clip), given.logps, given.mask)
    per_response(formula, algorithm("rloo", clip=clip).losses(given), given.logps, given.mask)


def formula_of_clipped_tokens(clip: float = CLIP) -> None:
    found = batch()
    losses = clipped_token_losses(found.logps, found.old_logps, found.advantages, clip)
    expected = [[clipped(math.exp(t.logp - t.old), t.advantage, clip) for t in r.tokens] for r in RESPONSES]
    same(losses, gridded([[loss for loss, _ in row] for row in expected]))
    same(slopes(losses, found.logps)[0], gridded([[slope for _, slope in row] for row in expected]))


def formula_of_kl(gradient: str) -> None:
    given = batch()
    assert given.reference_logps is not None
    losses = kl_losses(given.logps, given.old_logps, given.reference_logps, gradient)
    expected = [[k3(token, gradient) for token in response.tokens] for response in RESPONSES]
    same(losses, gridded([[loss for loss, _ in row] for row in expected]))
    same(slopes(losses, given.logps)[0], gridded([[slope for _, slope in row] for row in expected]))


GRPO = tuple(itertools.product(("grpo", "dapo", "dr_grpo"), ("reverse", "plain"), (0.0, 0.3)))


def formula_of_grpo(normalise: str, gradient: str, beta: float) -> None:
    """Padding holds garbage, and counts for nothing."""

    def formula(response: Response) -> tuple[float, list[float]]:
        n = len(response.tokens)
        weight = {"grpo": 1 / n, "dapo": STEP_ROWS / STEP_TOKENS, "dr_grpo": 1 / LIMIT}[normalise]
        loss, rates = 0.0, []
        for token in response.tokens:
            gain, up = clipped(math.exp(token.logp - token.old), token.advantage)
            kl, away = k3(token, gradient)
            loss += weight * (gain + beta * kl)
            rates.append(weight * (up + beta * away))
        return loss, rates

    for outside in (0.0, GARBAGE):
        given = batch(outside=outside)
        method = algorithm("grpo", normalise=normalise, kl_gradient=gradient, beta=beta, clip=CLIP)
        per_response(formula, method.losses(given), given.logps)


PPO = {
    "policy": {"value_weight": 0.0, "entropy_weight": 0.0},
    "value": {"value_weight": 0.4, "entropy_weight": 0.0},
    "value without a clip": {"value_weight": 0.4, "entropy_weight": 0.0, "value_clip": 0.0},
    "entropy": {"value_weight": 0.0, "entropy_weight": 0.25},
    "all": {"value_weight": 0.3, "entropy_weight": 0.05, "value_clip": 0.35, "clip": 0.3},
}


def formula_of_ppo(name: str) -> None:
    """Padding holds garbage, and counts for nothing."""
    knobs = {"value_clip": CLIP, "clip": CLIP, **PPO[name]}
    weight = STEP_ROWS / STEP_TOKENS
    gains = [[clipped(math.exp(t.logp - t.old), t.advantage, knobs["clip"]) for t in r.tokens] for r in RESPONSES]
    errors = [[squared(token, knobs["value_clip"]) for token in response.tokens] for response in RESPONSES]
    expected = [
        weight
        * sum(
            gain + knobs["value_weight"] * error - knobs["entropy_weight"] * token.entropy
            for (gain, _), (error, _), token in zip(*parts, strict=True)
        )
        for parts in zip(gains, errors, (response.tokens for response in RESPONSES), strict=True)
    ]
    for outside in (0.0, GARBAGE):
        given = batch(outside=outside)
        losses = algorithm("ppo", **knobs).losses(given)
        same(losses, expected)
        policy, entropy, value = slopes(losses, given.logps, given.entropy, given.values)
        same(policy, gridded([[weight * slope for _, slope in row] for row in gains]))
        same(entropy, gridded(spread([-weight * knobs["entropy_weight"]] * len(RESPONSES))))
        same(value, gridded([[weight * knobs["value_weight"] * slope for _, slope in row] for row in errors]))


def step_of_ppo_is_its_token_mean() -> None:
    """Where the batch is the whole step, the road's mean over responses is the mean over tokens."""
    given = replace(batch(), step_rows=len(RESPONSES), step_tokens=sum(LENGTHS))
    losses = algorithm("ppo", value_weight=0.0, entropy_weight=0.0, clip=CLIP).losses(given)
    each = [clipped(math.exp(t.logp - t.old), t.advantage)[0] for r in RESPONSES for t in r.tokens]
    same(losses.sum() / given.step_rows, torch.tensor(statistics.fmean(each), dtype=torch.float64))


def kl_of_a_rollout() -> None:
    same(rollout(2).kl, KL)
    assert float(replace(rollout(2), reference_logps=None).kl.abs().sum()) == 0


def leave_one_out_formula() -> None:
    for samples in (2, 3, 6):
        same(leave_one_out(torch.tensor(SCORES, dtype=torch.float64), samples), without_own(SCORES, samples))


def group_formula(scale: str) -> None:
    for samples in (2, 3, 6):
        same(group_advantages(torch.tensor(SCORES, dtype=torch.float64), samples, scale), group_scaled(samples, scale))


def credit_of_reinforce(baseline: str) -> None:
    """Three rollouts, as the running baseline remembers all before."""
    method, state = algorithm("reinforce", beta=0.3, baseline=baseline), {}
    known = None
    for shift in (0.0, 1.5, -0.5):
        given = replace(rollout(1), scores=rollout(1).scores + shift)
        rewards = [score + shift - 0.3 * kl for score, kl in zip(SCORES, KL, strict=True)]
        mean = statistics.fmean(rewards)
        off = {"none": 0.0, "running": mean if known is None else known}.get(baseline, 0.0)
        expected = without_own(rewards, 6) if baseline == "batch" else [reward - off for reward in rewards]
        advantages, returns = method.credit(given, state)
        assert returns is None
        same(advantages, flushed(spread(expected)))
        known = mean if known is None else 0.9 * known + 0.1 * mean


def credit_of_rloo() -> None:
    rewards = [score - 0.3 * kl for score, kl in zip(SCORES, KL, strict=True)]
    for samples in (2, 3):
        advantages, returns = algorithm("rloo", beta=0.3).credit(rollout(samples), {})
        assert returns is None
        same(advantages, flushed(spread(without_own(rewards, samples))))


def credit_of_grpo(scale: str) -> None:
    """No KL in it."""
    for samples in (2, 3):
        advantages, returns = algorithm("grpo", beta=0.3, scale=scale).credit(rollout(samples), {})
        assert returns is None
        same(advantages, flushed(spread(group_scaled(samples, scale))))


def token_rewards_formula() -> None:
    given = rollout(1)
    assert given.reference_logps is not None
    mask = given.mask
    logps, reference = (flushed(column(name), GARBAGE * k) for k, name in ((1, "old"), (2, "ref")))
    same(token_rewards(given.scores, logps, reference, mask, 0.3), flushed(rewards_of_tokens(0.3)))


RATES = ((1.0, 1.0), (1.0, 0.95), (0.9, 0.5), (0.7, 0.0), (0.0, 0.9), (0.99, 0.97))


def gae_formula() -> None:
    """Padding of values and rewards holds garbage, and counts for nothing."""
    rewards, values = rewards_of_tokens(0.3), column("old_value")
    mask = rollout(1).mask
    for discount, decay in RATES:
        for outside in (0.0, GARBAGE):
            given = flushed(rewards, 2 * outside), flushed(values, outside), mask
            advantages, returns = advantages_and_returns(*given, discount, decay)
            expected = summed_errors(rewards, values, discount, decay)
            same(advantages, flushed(expected))
            found = [[a + v for a, v in zip(*rows, strict=True)] for rows in zip(expected, values, strict=True)]
            same(returns, flushed(found))


def whitened_formula() -> None:
    """Padding holds garbage, and counts for nothing."""
    for outside in (0.0, GARBAGE):
        same(
            whitened(flushed(column("advantage"), outside), rollout(1).mask), flushed(standardised(column("advantage")))
        )


def adapted_formula() -> None:
    cases = {6.0: 0.5, 6.6: 0.505, 5.4: 0.495, 60.0: 0.51, 0.0: 0.49, -3.0: 0.49, 7.2: 0.51, 4.8: 0.49}
    for kl, expected in cases.items():
        assert abs(adapted(0.5, kl, 6.0) - expected) < TOLERANCE


def credit_of_ppo(whiten: bool) -> None:
    """Two rollouts, of which the first adapts the second's β: a little, or as much as it may."""
    values, mean = column("old_value"), statistics.fmean(KL)
    for target, change in ((mean / 1.1, 1.01), (100 * mean, 0.98)):
        knobs = {"beta": 0.3, "discount": 0.97, "decay": 0.8, "kl_target": target, "whiten": whiten}
        method, state, beta = algorithm("ppo", **knobs), {}, 0.3
        for _ in range(2):
            advantages, returns = method.credit(rollout(1), state)
            expected = summed_errors(rewards_of_tokens(beta), values, 0.97, 0.8)
            same(advantages, flushed(standardised(expected) if whiten else expected))
            assert returns is not None
            found = [[a + v for a, v in zip(*rows, strict=True)] for rows in zip(expected, values, strict=True)]
            same(returns, flushed(found))
            beta *= change
            assert abs(state["beta"] - beta) < TOLERANCE


def credit_of_ppo_keeps_beta() -> None:
    state: dict[str, float] = {}
    algorithm("ppo", beta=0.3).credit(rollout(1), state)
    assert state == {"beta": 0.3, "beta_used": 0.3}


def explained_variance_formula() -> None:
    """Padding holds garbage, and counts for nothing."""
    values, targets = (list(itertools.chain(*column(name))) for name in ("value", "target"))
    left = statistics.variance([target - value for target, value in zip(targets, values, strict=True)])
    given = flushed(column("value"), GARBAGE), flushed(column("target"), -GARBAGE), rollout(1).mask
    assert abs(explained_variance(*given) - (1 - left / statistics.variance(targets))) < TOLERANCE
    assert explained_variance(given[0], torch.ones_like(given[1]), given[2]) == 0
    assert explained_variance(given[1], given[1], given[2]) == 1


SEQUENCES = [([1] * response.prompt, [2] * len(response.tokens)) for response in RESPONSES]


def grids_formula() -> None:
    """Entry t of a grid is about token t + 1; what stands elsewhere on it does not come back."""
    rows = column("logp")
    for outside in (0.0, GARBAGE):
        same(on_grid(flushed(rows, outside), SEQUENCES, WIDTH), gridded(rows))
        same(off_grid(gridded(rows, outside), SEQUENCES, LONGEST), flushed(rows))
    same(off_grid(on_grid(flushed(rows), SEQUENCES, WIDTH), SEQUENCES, LONGEST), flushed(rows))
    part = SEQUENCES[1:2]  # a part of a rollout has a narrower grid, and values as wide as the whole rollout's
    same(on_grid(flushed(rows)[1:2], part, 2), gridded(rows)[1:2, :2])
    same(off_grid(gridded(rows)[1:2, :2], part, LONGEST), flushed(rows)[1:2])


# --- identities -----------------------------------------------------------------------------------------------------


def at_the_old_policy(*, sequence: bool) -> PolicyBatch:
    """The responses before anything has moved: all ratios are 1."""
    given = batch(sequence=sequence)
    return replace(given, logps=given.old_logps.clone().requires_grad_())


def first_steps_are_reinforce() -> None:
    """At ratio 1 nothing is clipped, and PPO, RLOO and GRPO follow −A ∇log π, each by its own mean over tokens."""
    bare = {"value_weight": 0.0, "entropy_weight": 0.0}
    for name, knobs, sequence, weight in (
        ("rloo", {}, True, 1.0),
        ("ppo", bare, False, STEP_ROWS / STEP_TOKENS),
        ("grpo", {"normalise": "dapo", "beta": 0.0}, False, STEP_ROWS / STEP_TOKENS),
        ("grpo", {"normalise": "dr_grpo", "beta": 0.0}, False, 1 / LIMIT),
    ):
        given = at_the_old_policy(sequence=sequence)
        (expected,) = slopes(algorithm("reinforce").losses(given), given.logps)
        (found,) = slopes(algorithm(name, **knobs).losses(given), given.logps)
        same(found * given.mask, weight * expected)


def ppo_without_a_critic_is_reinforce() -> None:
    """γ = λ = 1 and values of 0: the first token of a response is credited with its score minus β·KL."""
    knobs = {"beta": 0.3, "discount": 1.0, "decay": 1.0, "whiten": False}
    blind = replace(rollout(1), values=flushed(spread([0.0] * len(RESPONSES))))
    advantages, _ = algorithm("ppo", **knobs).credit(blind, {})
    rewards, _ = algorithm("reinforce", beta=0.3, baseline="none").credit(blind, {})
    same(advantages[:, 0], rewards[:, 0])


def advantages_of_a_group_sum_to_zero() -> None:
    scores = torch.tensor(SCORES, dtype=torch.float64)
    for samples in (2, 3, 6):
        zeros = [0.0] * (6 // samples)
        same(leave_one_out(scores, samples).view(-1, samples).sum(1), zeros)
        for scale in ("group", "batch", "none"):
            same(group_advantages(scores, samples, scale).view(-1, samples).sum(1), zeros)


def leave_one_out_stretches_the_centred() -> None:
    """R − mean of the others = K/(K − 1) · (R − mean of all)."""
    scores = torch.tensor(SCORES, dtype=torch.float64)
    for samples in (2, 3, 6):
        same(leave_one_out(scores, samples), samples / (samples - 1) * group_advantages(scores, samples, "none"))


def shifts_and_scales_of_scores() -> None:
    """A group's own shift changes nothing; its own scale changes nothing with `group`, but for the 1e-4."""
    scores, samples = torch.tensor(SCORES, dtype=torch.float64), 3
    shift = torch.tensor([5.0, 5.0, 5.0, -9.0, -9.0, -9.0], dtype=torch.float64)
    for scale in ("group", "none"):
        same(group_advantages(scores + shift, samples, scale), group_advantages(scores, samples, scale))
    same(group_advantages(scores + 5, samples, "batch"), group_advantages(scores, samples, "batch"))
    same(leave_one_out(scores + shift, samples), leave_one_out(scores, samples))
    stretch = torch.tensor([100.0] * 3 + [1e4] * 3, dtype=torch.float64)
    great = group_advantages(stretch * scores, samples, "group")
    same(great, group_advantages(1e3 * stretch * scores, samples, "group"), 1e-5)
    same(group_advantages(scores, samples, "group"), great, 1e-3)
    same(group_advantages(torch.ones(6, dtype=torch.float64), samples, "group"), [0.0] * 6)


def grid_of_kl(gradient: str) -> tuple[Tensor, Tensor, Tensor]:
    """Its expectation over an enumerated softmax, and the two gradients that it may have: (found, reverse, forward)."""
    logits = torch.tensor([0.4, -1.2, 0.9, 0.0, -0.3], dtype=torch.float64, requires_grad=True)
    reference = torch.log_softmax(torch.tensor([-0.5, 0.3, 0.1, 1.1, -0.9], dtype=torch.float64), 0)
    logps = torch.log_softmax(logits, 0)
    own = logps.detach()
    losses = kl_losses(logps[:, None], own[:, None], reference[:, None], gradient)[:, 0]
    reverse = (logps.exp() * (logps - reference)).sum()
    forward = (reference.exp() * (reference - logps)).sum()
    same((own.exp() * losses).sum(), reverse.detach())
    return tuple(
        torch.autograd.grad(value, logits, retain_graph=True)[0]
        for value in ((own.exp() * losses).sum(), reverse, forward)
    )  # type: ignore[return-value]  # three, as many as it is made of


def gradient_of_kl(gradient: str) -> None:
    """Its value is KL(π ‖ π_ref) either way; its gradient is that of the KL of its name, and not of the other."""
    found, reverse, forward = grid_of_kl(gradient)
    right, wrong = (reverse, forward) if gradient == "reverse" else (forward, reverse)
    same(found, right)
    assert float((found - wrong).abs().max()) > 0.05


def corrected_kl_is_right_off_policy() -> None:
    """With `reverse` the responses may be of another policy."""
    logits = torch.tensor([0.4, -1.2, 0.9, 0.0, -0.3], dtype=torch.float64, requires_grad=True)
    old, reference = (
        torch.log_softmax(torch.tensor(values, dtype=torch.float64), 0)
        for values in ([1.0, 0.2, -0.4, 0.5, 0.0], [-0.5, 0.3, 0.1, 1.1, -0.9])
    )
    logps = torch.log_softmax(logits, 0)
    mean = (old.exp() * kl_losses(logps[:, None], old[:, None], reference[:, None], "reverse")[:, 0]).sum()
    kl = (logps.exp() * (logps - reference)).sum()
    same(mean, kl.detach())
    same(torch.autograd.grad(mean, logits, retain_graph=True)[0], torch.autograd.grad(kl, logits)[0])


def whole_reward_or_one_step() -> None:
    """GAE at (1, 1) is the rewards to come minus the value, and at (γ, 0) the error of one step."""
    rewards, values = rewards_of_tokens(0.3), column("old_value")
    given = flushed(rewards), flushed(values), rollout(1).mask
    to_come = [[sum(row[t:]) - value for t, value in enumerate(own)] for row, own in zip(rewards, values, strict=True)]
    same(advantages_and_returns(*given, 1.0, 1.0)[0], flushed(to_come))
    step = [
        [r + 0.9 * nxt - v for r, nxt, v in zip(row, [*own[1:], 0.0], own, strict=True)]
        for row, own in zip(rewards, values, strict=True)
    ]
    same(advantages_and_returns(*given, 0.9, 0.0)[0], flushed(step))


def perfect_values_leave_no_advantage() -> None:
    """Where values are the discounted rewards to come, every λ finds nothing to credit, and returns are the values."""
    rewards = rewards_of_tokens(0.3)
    values = [[sum(0.9**s * r for s, r in enumerate(row[t:])) for t in range(len(row))] for row in rewards]
    for decay in (0.0, 0.6, 1.0):
        advantages, returns = advantages_and_returns(flushed(rewards), flushed(values), rollout(1).mask, 0.9, decay)
        same(advantages, torch.zeros_like(advantages))
        same(returns, flushed(values))


def no_gradient_flows_into_a_credit() -> None:
    """What `losses` is given has no graph, whatever the rollout came from."""
    for name, knobs in (("reinforce", {}), ("rloo", {}), ("grpo", {}), ("ppo", {})):
        advantages, returns = algorithm(name, **knobs).credit(rollout(2), {})
        assert not advantages.requires_grad
        assert returns is None or not returns.requires_grad


CHECKS: dict[str, Callable[[], None]] = {
    "every case": batch_has_every_case,
    "formula of reinforce": formula_of_reinforce,
    "formula of rloo": formula_of_rloo,
    "formula of rloo wide": lambda: formula_of_rloo(0.5),
    "formula of clipped tokens": formula_of_clipped_tokens,
    "formula of clipped tokens narrow": lambda: formula_of_clipped_tokens(0.05),
    **{f"formula of kl {gradient}": (lambda g=gradient: formula_of_kl(g)) for gradient in ("reverse", "plain")},
    **{f"formula of grpo {n} {g} {b}": (lambda n=n, g=g, b=b: formula_of_grpo(n, g, b)) for n, g, b in GRPO},
    **{f"formula of ppo {name}": (lambda name=name: formula_of_ppo(name)) for name in PPO},
    "token mean of ppo": step_of_ppo_is_its_token_mean,
    "kl of a rollout": kl_of_a_rollout,
    "leave one out": leave_one_out_formula,
    **{f"group {scale}": (lambda s=scale: group_formula(s)) for scale in ("group", "batch", "none")},
    **{f"credit of reinforce {b}": (lambda b=b: credit_of_reinforce(b)) for b in ("batch", "running", "none")},
    "credit of rloo": credit_of_rloo,
    **{f"credit of grpo {scale}": (lambda s=scale: credit_of_grpo(s)) for scale in ("group", "batch", "none")},
    "token rewards": token_rewards_formula,
    "gae": gae_formula,
    "whitened": whitened_formula,
    "adapted": adapted_formula,
    "credit of ppo": lambda: credit_of_ppo(False),
    "credit of ppo whitened": lambda: credit_of_ppo(True),
    "credit of ppo keeps beta": credit_of_ppo_keeps_beta,
    "explained variance": explained_variance_formula,
    "grids": grids_formula,
    "first steps are reinforce": first_steps_are_reinforce,
    "ppo without a critic is reinforce": ppo_without_a_critic_is_reinforce,
    "advantages sum to zero": advantages_of_a_group_sum_to_zero,
    "leave one out stretches": leave_one_out_stretches_the_centred,
    "shifts and scales": shifts_and_scales_of_scores,
    **{f"gradient of kl {g}": (lambda g=g: gradient_of_kl(g)) for g in ("reverse", "plain")},
    "corrected kl off policy": corrected_kl_is_right_off_policy,
    "gae at its ends": whole_reward_or_one_step,
    "perfect values": perfect_values_leave_no_advantage,
}


# --- mutants --------------------------------------------------------------------------------------------------------

BASE, RATIOS = "harness.algorithms._on_policy", "harness.algorithms._ratios"
REINFORCE, RLOO, GRPO_FILE, PPO_FILE = (f"harness.algorithms.{name}" for name in ("reinforce", "rloo", "grpo", "ppo"))
FORWARD, ROAD, ROLLOUTS, VALUES = (
    f"harness.training.{name}" for name in ("forward", "on_policy", "rollouts", "values")
)
TOKENS = ["formula of clipped tokens", "formula of grpo grpo reverse 0.0", "formula of ppo policy"]
MIN = "torch.min(ratio * advantages, ratio.clamp(1 - clip, 1 + clip) * advantages)"

# as in test_mutants.py: where, what stands there, what the mutant has, and the checks of which each must fail
TABLE: list[tuple[str, str, str, str, list[str]]] = [
    # reward and baseline
    (BASE, "sequence_kl_rewards", "scores - beta", "scores + beta",
     ["credit of reinforce none", "credit of rloo", "step of rloo", "optimum of rloo 2", "optimum of reinforce batch", "unbiased reinforce none"]),
    (BASE, "sequence_kl_rewards", "beta * rollout.kl", "rollout.kl",
     ["credit of reinforce none", "credit of rloo", "step of rloo", "optimum of rloo 2"]),
    (BASE, "sequence_kl_rewards", " - beta * rollout.kl", "", ["credit of reinforce batch", "credit of rloo", "unbiased rloo 2"]),
    (BASE, "leave_one_out", "(groups.sum(1, keepdim=True) - groups) / (samples - 1)", "groups.mean(1, keepdim=True)",
     ["leave one out", "credit of rloo", "credit of reinforce batch", "leave one out stretches", "step of rloo", "unbiased rloo 3"]),
    (BASE, "leave_one_out", "(samples - 1)", "samples", ["leave one out", "credit of rloo", "advantages sum to zero", "step of rloo"]),
    (BASE, "leave_one_out", "groups - others", "others - groups",
     ["leave one out", "credit of rloo", "step of rloo", "optimum of rloo 2"]),
    (BASE, "leave_one_out", "rewards.view(-1, samples)", "rewards.view(samples, -1).T.contiguous()",
     ["leave one out", "credit of rloo", "step of rloo", "shifts and scales"]),
    (BASE, "over_tokens", "values[:, None] * mask", "values[:, None] * mask / mask.sum(1, keepdim=True)",
     ["credit of reinforce none", "credit of rloo", "credit of grpo group", "step of rloo"]),
    (BASE, "over_tokens", "values[:, None] * mask", "values[:, None].expand(mask.shape)",
     ["credit of reinforce none", "credit of rloo", "credit of grpo group"]),
    (ROLLOUTS, "Rollout.kl.func", "self.logps - self.reference_logps", "self.reference_logps - self.logps",
     ["kl of a rollout", "credit of rloo", "credit of ppo", "step of rloo", "optimum of rloo 2"]),
    (ROLLOUTS, "Rollout.kl.func", ".sum(1)", ".mean(1)", ["kl of a rollout", "credit of rloo", "step of rloo", "unbiased long rloo 2"]),
    (ROLLOUTS, "Roller.__call__", "scores - self.penalty * (~ended)", "scores - self.penalty * ended",
     ["step of rloo", "step of grpo", "ppo by hand"]),
    (ROLLOUTS, "Roller.__call__", "scores - self.penalty", "scores + self.penalty", ["step of rloo", "step of grpo", "ppo by hand"]),
    (ROLLOUTS, "Roller._reference", "else self._anchor.to(trainer.args.device)", "else trainer.model",
     ["step of rloo", "step of grpo", "ppo by hand"]),
    # REINFORCE
    (REINFORCE, "score_function_losses", "-(advantages", "(advantages", ["formula of reinforce", "optimum of reinforce none"]),
    (REINFORCE, "score_function_losses", ".sum(1)", ".mean(1)", ["formula of reinforce", "unbiased long reinforce none"]),
    (REINFORCE, "score_function_losses", "(advantages * logps).sum(1)", "advantages[:, 0] * logps.sum(1)", ["formula of reinforce"]),
    (REINFORCE, "Reinforce.credit", "leave_one_out(rewards, len(rewards))", "rewards - rewards.mean()",
     ["credit of reinforce batch", "unbiased reinforce batch"]),
    (REINFORCE, "Reinforce.credit", "leave_one_out(rewards, len(rewards))", "leave_one_out(rewards, 2)", ["credit of reinforce batch"]),
    (REINFORCE, "Reinforce.credit", "MEMORY * known + (1 - MEMORY) * mean", "mean", ["credit of reinforce running"]),
    (REINFORCE, "Reinforce.credit", "MEMORY * known + (1 - MEMORY) * mean", "(1 - MEMORY) * known + MEMORY * mean",
     ["credit of reinforce running"]),
    (REINFORCE, "Reinforce.credit", 'state.get("baseline", mean)', 'state.get("baseline", 0.0)', ["credit of reinforce running"]),
    (REINFORCE, "Reinforce.credit", "(known if", "(mean if", ["credit of reinforce running"]),
    (REINFORCE, "Reinforce.credit", 'self.baseline == "running"', 'self.baseline != "running"',
     ["credit of reinforce running", "credit of reinforce none"]),
    # the ratio of whole responses
    (RLOO, "sequence_ratio_losses", "logps - old_logps", "old_logps - logps",
     ["formula of rloo", "tensors of rloo", "step of rloo", "first steps are reinforce", "optimum of rloo 2"]),
    (RLOO, "sequence_ratio_losses", ".sum(1).clamp(max=MOST).exp()", ".mean(1).exp()", ["formula of rloo", "tensors of rloo", "step of rloo"]),
    (RLOO, "sequence_ratio_losses", ".sum(1).clamp(max=MOST).exp()", ".exp().sum(1)", ["formula of rloo", "tensors of rloo", "step of rloo"]),
    (RLOO, "sequence_ratio_losses", "return -torch", "return torch", ["formula of rloo", "tensors of rloo", "optimum of rloo 2"]),
    (RLOO, "sequence_ratio_losses", "torch.min(", "torch.max(", ["formula of rloo", "tensors of rloo", "step of rloo"]),
    (RLOO, "sequence_ratio_losses", MIN, "(ratio * advantages)", ["formula of rloo", "tensors of rloo", "step of rloo"]),
    (RLOO, "sequence_ratio_losses", MIN, "(ratio.clamp(1 - clip, 1 + clip) * advantages)", ["formula of rloo", "tensors of rloo"]),
    (RLOO, "sequence_ratio_losses", "clamp(1 - clip, 1 + clip)", "clamp(min=1 - clip)", ["formula of rloo", "tensors of rloo"]),
    (RLOO, "sequence_ratio_losses", "clamp(1 - clip, 1 + clip)", "clamp(max=1 + clip)", ["formula of rloo", "tensors of rloo"]),
    (RLOO, "Rloo.losses", "/ batch.mask.sum(1)", "/ batch.mask.shape[1]", ["formula of rloo", "tensors of rloo", "step of rloo"]),
    (RLOO, "Rloo.losses", " / batch.mask.sum(1)", "", ["formula of rloo", "tensors of rloo", "step of rloo"]),
    (RLOO, "Rloo.losses", "batch.logps, batch.old_logps", "batch.old_logps, batch.logps",
     ["formula of rloo", "tensors of rloo", "step of rloo"]),
    (RLOO, "Rloo.losses", "self.clip", "0.3", ["formula of rloo", "formula of rloo wide", "step of rloo"]),
    (RLOO, "Rloo.credit", "rollout.samples", "len(rewards)", ["credit of rloo", "step of rloo"]),
    # the ratio of tokens
    (RATIOS, "clipped_token_losses", "logps - old_logps", "old_logps - logps",
     [*TOKENS, "first steps are reinforce", "tensors of grpo", "ppo by hand", "optimum of ppo"]),
    (RATIOS, "clipped_token_losses", "return -torch", "return torch", [*TOKENS, "tensors of grpo", "ppo by hand", "optimum of ppo"]),
    (RATIOS, "clipped_token_losses", "torch.min(", "torch.max(", [*TOKENS, "tensors of grpo", "ppo by hand"]),
    (RATIOS, "clipped_token_losses", MIN, "(ratio * advantages)", [*TOKENS, "tensors of grpo", "ppo by hand"]),
    (RATIOS, "clipped_token_losses", MIN, "(ratio.clamp(1 - clip, 1 + clip) * advantages)", [*TOKENS, "tensors of grpo", "ppo by hand"]),
    (RATIOS, "clipped_token_losses", "clamp(1 - clip, 1 + clip)", "clamp(min=1 - clip)", [*TOKENS, "tensors of grpo", "ppo by hand"]),
    (RATIOS, "clipped_token_losses", "clamp(1 - clip, 1 + clip)", "clamp(max=1 + clip)", [*TOKENS, "tensors of grpo", "ppo by hand"]),
    (RATIOS, "clipped_token_losses", "(logps - old_logps).exp()", "(logps - old_logps).sum(1, keepdim=True).exp()",
     [*TOKENS, "tensors of grpo", "ppo by hand"]),
    # GRPO's advantages
    (GRPO_FILE, "group_advantages", "groups - groups.mean(1, keepdim=True)", "groups",
     ["group group", "group none", "credit of grpo group", "advantages sum to zero", "step of grpo", "rest of grpo group plain"]),
    (GRPO_FILE, "group_advantages", "groups - groups.mean(1, keepdim=True)", "groups - scores.mean()",
     ["group group", "group none", "credit of grpo batch", "shifts and scales", "step of grpo"]),
    (GRPO_FILE, "group_advantages", "groups.std(1, keepdim=True)", "groups.std(1, keepdim=True, correction=0)",
     ["group group", "credit of grpo group", "step of grpo", "rest of grpo group reverse"]),
    (GRPO_FILE, "group_advantages", "groups.std(1, keepdim=True)", "groups.square().mean(1, keepdim=True).sqrt()",
     ["group group", "shifts and scales", "step of grpo"]),
    (GRPO_FILE, "group_advantages", "groups.std(1, keepdim=True)", "groups.var(1, keepdim=True)",
     ["group group", "shifts and scales", "step of grpo"]),
    (GRPO_FILE, "group_advantages", "keepdim=True) + SMALL", "keepdim=True)", ["group group", "shifts and scales"]),
    (GRPO_FILE, "group_advantages", "scores.std()", "groups.std(1, keepdim=True)",
     ["group batch", "credit of grpo batch", "rest of grpo batch reverse"]),
    (GRPO_FILE, "group_advantages", "scores.std()", "centred.std()", ["group batch", "credit of grpo batch"]),
    (GRPO_FILE, "group_advantages", 'scale == "group"', 'scale != "batch"', ["group none", "rest of grpo none reverse"]),
    (GRPO_FILE, "Grpo.credit", "rollout.scores,", "rollout.scores - self.beta * rollout.kl,",
     ["credit of grpo none", "step of grpo", "rest of grpo none reverse"]),
    (GRPO_FILE, "Grpo.credit", "self.scale", '"group"', ["credit of grpo none", "credit of grpo batch", "rest of grpo none reverse"]),
    # GRPO's KL
    (GRPO_FILE, "kl_losses", "reference_logps - logps", "logps - reference_logps",
     ["formula of kl reverse", "formula of kl plain", "gradient of kl plain", "tensors of grpo", "rest of grpo none reverse"]),
    (GRPO_FILE, "kl_losses", "gap.exp() - gap - 1", "gap.exp() + gap - 1",
     ["formula of kl plain", "gradient of kl reverse", "tensors of grpo", "rest of grpo none reverse"]),
    (GRPO_FILE, "kl_losses", "gap.exp() - gap - 1", "gap.exp() - gap", ["formula of kl plain", "gradient of kl reverse", "tensors of grpo"]),
    (GRPO_FILE, "kl_losses", "gap.exp() - gap - 1", "-gap", ["formula of kl reverse", "gradient of kl plain", "rest of grpo none plain"]),
    (GRPO_FILE, "kl_losses", "gap.exp() - gap - 1", "gap.square() / 2", ["formula of kl plain", "gradient of kl reverse", "gradient of kl plain"]),
    (GRPO_FILE, "kl_losses", "(logps - old_logps).exp()", "(logps - reference_logps).exp()",
     ["formula of kl reverse", "gradient of kl reverse", "tensors of grpo", "rest of grpo none reverse"]),
    (GRPO_FILE, "kl_losses", "(logps - old_logps).exp()", "(logps - old_logps).detach().exp()",
     ["formula of kl reverse", "gradient of kl reverse", "corrected kl off policy", "rest of grpo group reverse"]),
    (GRPO_FILE, "kl_losses", "(logps - old_logps).exp()", "(old_logps - logps).exp()",
     ["formula of kl reverse", "gradient of kl reverse", "corrected kl off policy"]),
    (GRPO_FILE, "kl_losses", 'gradient == "reverse"', 'gradient != "reverse"',
     ["formula of kl reverse", "gradient of kl reverse", "gradient of kl plain", "tensors of grpo", "rest of grpo none plain"]),
    (GRPO_FILE, "Grpo.losses", "batch.logps, batch.old_logps, batch.reference_logps", "batch.logps, batch.reference_logps, batch.old_logps",
     ["formula of grpo grpo reverse 0.3", "tensors of grpo", "step of grpo", "rest of grpo none reverse"]),
    (GRPO_FILE, "Grpo.losses", "self.beta * kl", "kl", ["formula of grpo dapo plain 0.3", "tensors of grpo", "step of grpo"]),
    (GRPO_FILE, "Grpo.losses", "tokens + self", "tokens - self", ["formula of grpo grpo plain 0.3", "tensors of grpo", "step of grpo"]),
    # GRPO's mean
    (GRPO_FILE, "Grpo.losses", "sums / batch.mask.sum(1)", "sums / batch.mask.shape[1]",
     ["formula of grpo grpo reverse 0.0", "tensors of grpo", "step of grpo"]),
    (GRPO_FILE, "Grpo.losses", "(tokens * batch.mask).sum(1)", "tokens.sum(1)",
     ["formula of grpo grpo reverse 0.0", "formula of grpo dapo plain 0.3", "formula of grpo dr_grpo plain 0.0"]),
    (GRPO_FILE, "Grpo.losses", "batch.step_rows / batch.step_tokens", "len(batch.mask) / batch.mask.sum()",
     ["formula of grpo dapo reverse 0.0", "split of grpo dapo"]),
    (GRPO_FILE, "Grpo.losses", "* batch.step_rows / batch.step_tokens", "/ batch.step_tokens",
     ["formula of grpo dapo reverse 0.0", "tensors of grpo dapo", "step of grpo dapo"]),
    (GRPO_FILE, "Grpo.losses", "sums / batch.limit", "sums / batch.mask.shape[1]",
     ["formula of grpo dr_grpo reverse 0.0", "tensors of grpo dr_grpo", "step of grpo dr_grpo"]),
    (GRPO_FILE, "Grpo.losses", 'self.normalise == "dapo"', 'self.normalise != "dapo"',
     ["formula of grpo dapo reverse 0.0", "formula of grpo dr_grpo reverse 0.0", "step of grpo dapo", "step of grpo dr_grpo"]),
    # PPO's rewards
    (PPO_FILE, "token_rewards", "-beta * (", "beta * (", ["token rewards", "credit of ppo", "optimum of ppo", "ppo by hand"]),
    (PPO_FILE, "token_rewards", "-beta * (", "-(", ["token rewards", "credit of ppo", "optimum of ppo", "ppo by hand"]),
    (PPO_FILE, "token_rewards", "logps - reference_logps) * mask", "logps - reference_logps)", ["token rewards"]),
    (PPO_FILE, "token_rewards", "mask.sum(1).long() - 1", "mask.sum(1).long() * 0",
     ["token rewards", "credit of ppo", "ppo by hand", "optimum of ppo long"]),
    (PPO_FILE, "token_rewards", "mask.sum(1).long() - 1", "(mask.sum(1).long() - 2).clamp(min=0)", ["token rewards", "credit of ppo", "ppo by hand"]),
    (PPO_FILE, "token_rewards", "mask.sum(1).long() - 1", "mask.sum(1).long() * 0 + mask.shape[1] - 1",
     ["token rewards", "credit of ppo", "ppo without a critic is reinforce", "ppo by hand"]),
    (PPO_FILE, "token_rewards", "return rewards + ", "return rewards - ", ["token rewards", "credit of ppo", "optimum of ppo"]),
    (PPO_FILE, "Ppo.credit", "rollout.logps, rollout.reference_logps", "rollout.reference_logps, rollout.logps",
     ["credit of ppo", "ppo without a critic is reinforce", "ppo by hand", "optimum of ppo"]),
    # GAE
    (PPO_FILE, "advantages_and_returns", "discount * decay * carried", "discount * carried", ["gae", "gae at its ends", "credit of ppo", "ppo by hand"]),
    (PPO_FILE, "advantages_and_returns", "discount * decay * carried", "decay * carried", ["gae", "credit of ppo", "ppo by hand"]),
    (PPO_FILE, "advantages_and_returns", "discount * ahead", "ahead", ["gae", "gae at its ends", "perfect values", "ppo by hand"]),
    (PPO_FILE, "advantages_and_returns", "discount * ahead", "discount * decay * ahead", ["gae", "gae at its ends", "perfect values", "ppo by hand"]),
    (PPO_FILE, "advantages_and_returns", "values[:, 1:] * inside", "values[:, :-1] * inside",
     ["gae", "gae at its ends", "perfect values", "credit of ppo", "ppo by hand", "optimum of ppo long"]),
    (PPO_FILE, "advantages_and_returns", "values[:, 1:] * inside[:, 1:]", "values[:, 1:]", ["gae"]),
    (PPO_FILE, "advantages_and_returns", "ahead - values) * inside", "ahead - values)", ["gae"]),
    (PPO_FILE, "advantages_and_returns", "ahead - values)", "ahead + values)", ["gae", "perfect values", "credit of ppo", "optimum of ppo long"]),
    (PPO_FILE, "advantages_and_returns", "ahead - values)", "ahead)", ["gae", "perfect values", "credit of ppo", "ppo by hand"]),
    (PPO_FILE, "advantages_and_returns", "reversed(range(values.shape[1]))", "range(values.shape[1])", ["gae", "credit of ppo", "ppo by hand"]),
    (PPO_FILE, "advantages_and_returns", "(found + values) * inside", "found * inside", ["gae", "perfect values", "credit of ppo", "optimum of ppo"]),
    (PPO_FILE, "advantages_and_returns", "(found + values) * inside", "found + values", ["gae"]),
    (PPO_FILE, "Ppo.credit", "self.discount, self.decay", "self.decay, self.discount", ["credit of ppo", "ppo by hand"]),
    # whitening
    (PPO_FILE, "whitened", "values[mask]", "values", ["whitened", "credit of ppo whitened", "ppo by hand"]),
    (PPO_FILE, "whitened", "(values - own.mean())", "values", ["whitened", "credit of ppo whitened", "ppo by hand"]),
    (PPO_FILE, "whitened", "correction=0", "correction=1", ["whitened", "credit of ppo whitened"]),
    (PPO_FILE, "whitened", "own.var(correction=0)", "own.square().mean()", ["whitened", "credit of ppo whitened", "ppo by hand"]),
    (PPO_FILE, "whitened", ".sqrt()", "", ["whitened", "credit of ppo whitened", "ppo by hand"]),
    (PPO_FILE, "whitened", " * mask", "", ["whitened", "credit of ppo whitened"]),
    (PPO_FILE, "Ppo.credit", "if self.whiten else", "if not self.whiten else", ["credit of ppo", "credit of ppo whitened", "ppo by hand"]),
    # the coefficient
    (PPO_FILE, "adapted", "kl / target - 1", "1 - kl / target", ["adapted", "credit of ppo"]),
    (PPO_FILE, "adapted", "min(max(kl / target - 1, -ADAPT_MOST), ADAPT_MOST)", "(kl / target - 1)", ["adapted", "credit of ppo"]),
    (PPO_FILE, "adapted", "ADAPT * min", "min", ["adapted", "credit of ppo"]),
    (PPO_FILE, "adapted", "-ADAPT_MOST)", "0.0)", ["adapted", "credit of ppo"]),
    (PPO_FILE, "Ppo.credit", "rollout.mask, beta)", "rollout.mask, self.beta)", ["credit of ppo"]),
    (PPO_FILE, "Ppo.credit", "rollout.kl.mean()", "rollout.kl.sum()", ["credit of ppo"]),
    (PPO_FILE, "Ppo.credit", "if self.kl_target:", "if not self.kl_target:", ["credit of ppo"]),
    # PPO's loss
    (PPO_FILE, "value_token_losses", "torch.max(", "torch.min(", ["formula of ppo value", "ppo by hand"]),
    (PPO_FILE, "value_token_losses", "if clip:", "if False:", ["formula of ppo value", "formula of ppo all", "ppo by hand"]),
    (PPO_FILE, "value_token_losses", "if clip:", "if True:", ["formula of ppo value without a clip"]),
    (PPO_FILE, "value_token_losses", "torch.max(error, (near - returns).square())", "(near - returns).square()",
     ["formula of ppo value", "ppo by hand"]),
    (PPO_FILE, "value_token_losses", "(values - old_values).clamp", "(values - returns).clamp", ["formula of ppo value", "ppo by hand"]),
    (PPO_FILE, "value_token_losses", "0.5 * error", "error", ["formula of ppo value without a clip", "ppo by hand"]),
    (PPO_FILE, "value_token_losses", "(values - returns).square()", "(values - returns).abs()", ["formula of ppo value without a clip", "ppo by hand"]),
    (PPO_FILE, "Ppo.losses", "batch.values, batch.old_values, batch.returns, self", "batch.values, batch.returns, batch.old_values, self",
     ["formula of ppo value", "ppo by hand", "optimum of ppo"]),
    (PPO_FILE, "Ppo.losses", "self.value_clip)", "self.clip)", ["formula of ppo all", "ppo by hand"]),
    (PPO_FILE, "Ppo.losses", "self.value_weight * value", "value", ["formula of ppo policy", "formula of ppo value", "ppo by hand"]),
    (PPO_FILE, "Ppo.losses", "- self.entropy_weight", "+ self.entropy_weight", ["formula of ppo entropy", "ppo by hand", "entropy of ppo"]),
    (PPO_FILE, "Ppo.losses", "self.entropy_weight * batch.entropy", "batch.entropy", ["formula of ppo policy", "ppo by hand", "optimum of ppo"]),
    (PPO_FILE, "Ppo.losses", "(tokens * batch.mask).sum(1)", "tokens.sum(1)", ["formula of ppo policy", "formula of ppo entropy"]),
    (PPO_FILE, "Ppo.losses", "* batch.step_rows / batch.step_tokens", "/ batch.mask.sum(1)",
     ["formula of ppo policy", "token mean of ppo", "ppo by hand"]),
    (PPO_FILE, "Ppo.losses", "batch.step_rows / batch.step_tokens", "len(batch.mask) / batch.mask.sum()", ["formula of ppo policy", "split of ppo"]),
    (PPO_FILE, "Ppo.losses", "batch.logps, batch.old_logps", "batch.old_logps, batch.logps", ["formula of ppo policy", "ppo by hand"]),
    # the grid
    (ROLLOUTS, "_places", "len(prompt) - 1", "len(prompt)", ["grids", "step of rloo", "step of grpo", "ppo by hand"]),
    (ROLLOUTS, "_places", "steps < lengths", "steps <= lengths", ["grids", "step of rloo", "step of grpo", "ppo by hand"]),
    (ROLLOUTS, "off_grid", ".gather(1, inside) * mask", ".gather(1, inside)", ["grids"]),
    (ROLLOUTS, "on_grid", "values * mask", "values", ["grids"]),
    # the road
    (ROAD, "PolicyObjective.loss", 'batch.get("old_logps", logps.detach())', "logps.detach()", ["step of rloo", "step of grpo", "ppo by hand"]),
    (ROAD, "PolicyObjective.loss", '.sum() / totals["rows"]', ".mean()", ["split of reinforce", "split of rloo", "split of ppo", "split of grpo"]),
    (ROAD, "PolicyObjective.loss", 'totals["tokens"]', "int(mask.sum())", ["split of grpo dapo", "split of ppo"]),
    (ROAD, "PolicyObjective.loss", "max_response_tokens", "max_prompt_tokens + 1", ["step of grpo dr_grpo"]),
    (ROAD, "PolicyObjective.totals", '(batch["labels"][:, 1:] != -100)', 'batch["attention_mask"]', ["step of grpo dapo", "ppo by hand"]),
    (ROAD, "PolicyObjective._batch", "rollout.logps if self.again", "rollout.reference_logps if self.again",
     ["step of rloo", "step of grpo", "ppo by hand"]),
    (ROAD, "PolicyObjective._batch", '"reference_logps": rollout.reference_logps', '"reference_logps": rollout.logps', ["step of grpo"]),
    (ROAD, "PolicyObjective._batch", '"old_values": rollout.values', '"old_values": self.returns', ["ppo by hand"]),
    (ROAD, "PolicyObjective._batch", "on_grid(values[rows]", "on_grid(values[: len(rows)]", ["split of rloo", "split of ppo"]),
    (ROAD, "PolicyObjective.prepare", "self._batch([place - phase * self.size for place in part])", "self._batch(list(range(len(part))))",
     ["split of rloo", "split of ppo"]),
    (ROAD, "PolicyObjective.prepare", "if phase != self.phase:", "if True:", ["second rollout"]),
    (ROAD, "PolicyObjective._roll", "[phase * count : (phase + 1) * count]", "[:count]", ["second rollout"]),
    (ROAD, "PolicyObjective._roll", "explained_variance(rollout.values, self.returns", "explained_variance(self.returns, rollout.values",
     ["ppo by hand"]),
    (ROAD, "PolicyObjective._logs", "self.explained * len(policy.mask) / rows", "self.explained", ["split of ppo"]),
    (ROAD, "PolicyObjective._logs", "0.5 * error", "error", ["ppo by hand"]),
    (ROAD, "explained_variance", "values[mask], returns[mask]", "values.flatten(), returns.flatten()", ["explained variance"]),
    (ROAD, "explained_variance", "(wanted - own)", "own", ["explained variance"]),
    (ROAD, "explained_variance", "return 1 - float", "return float", ["explained variance"]),
    # what the value model reads
    (VALUES, "ValueModel._run", "values[:, :-1, 0]", "values[:, 1:, 0]", ["ppo by hand", "values of a reward model"]),
    (FORWARD, "scored_whole", "roll(-1, 1)", "roll(0, 1)", ["ppo by hand"]),
    (FORWARD, "scored_whole", "return [value[:, :-1] for value in found]", "return [value[:, 1:] for value in found]", ["ppo by hand"]),
    (VALUES, "_token_scores", "return log_probs, entropy", "return log_probs, -entropy", ["ppo by hand"]),
    (VALUES, "_token_scores", "return outputs.log_probs, outputs.entropy", "return outputs.log_probs, outputs.entropy.detach()", ["ppo with tiles"]),
    (VALUES, "_token_scores", "return outputs.log_probs, outputs.entropy", "return outputs.entropy, outputs.log_probs", ["ppo with tiles"]),
    (VALUES, "ValueModel._run", "given[0]", "given[0].roll(1, 1)", ["ppo by hand"]),
    (VALUES, "ValueModel._run", "given[0]", "given[0].detach()", ["ppo by hand"]),
]  # fmt: skip
