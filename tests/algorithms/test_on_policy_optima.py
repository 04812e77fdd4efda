"""On worlds small enough to enumerate: the policy that learning from one's own responses ends at is the known one.

No sampling: every K-tuple of responses stands in the rollout once and weighs as much as it is likely, so a step follows
the exact expectation of the shipped credit and losses. Steps are natural: each logit's slope is divided by how likely
its token is to be drawn, which moves no resting point and gets there in a few dozen steps.
"""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import scipy.optimize
import torch
from checks import algorithm
from torch import Tensor

from harness.training.on_policy import PolicyBatch
from harness.training.rollouts import Rollout

NEAR = 1e-6
"""How far any response's probability may be from that of the known optimum."""


@dataclass(frozen=True)
class World:
    """Prompts whose responses are walks from node 0: at each node one of V tokens is drawn.

    Attributes:
        walks: of each response, the (node, token) that it goes through.
        scores: (P, responses).
        reference: (P, nodes, V) log-probabilities of the anchor.
    """

    walks: tuple[tuple[tuple[int, int], ...], ...]
    scores: Tensor
    reference: Tensor

    @property
    def mask(self) -> Tensor:
        """(responses, T)."""
        longest = max(map(len, self.walks))
        return torch.tensor([[t < len(walk) for t in range(longest)] for walk in self.walks])

    def tokens(self, values: Tensor) -> Tensor:
        """(P, nodes, V), or (P, nodes) values, to those of each token of each response (P, responses, T)."""
        longest = max(map(len, self.walks))
        padded = [[*walk, *[(0, 0)] * (longest - len(walk))] for walk in self.walks]
        nodes, chosen = torch.tensor(padded).unbind(-1)
        found = values[:, nodes] if values.dim() == 2 else values[:, nodes, chosen]
        return found * self.mask

    def logp(self, logps: Tensor) -> Tensor:
        """(P, responses) of whole responses."""
        return self.tokens(logps).sum(-1)

    def visits(self, logps: Tensor) -> Tensor:
        """(P, nodes, V) how likely a token is to be drawn in a response."""
        found = torch.zeros_like(logps)
        chances = self.logp(logps).exp()
        for i, walk in enumerate(self.walks):
            for node, token in walk:
                found[:, node, token] += chances[:, i]
        return found


def table(*rows: list[float]) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64)


SHORT = World(
    tuple(((0, token),) for token in range(4)),
    table([0.0, 1.0, -0.5, 0.7], [2.0, 0.1, 0.4, 0.5]),
    torch.log_softmax(table([0.3, -1.0, 0.8, 0.1], [-0.7, 0.2, 0.0, 0.5]), -1)[:, None],
)
"""Two prompts, four responses of one token each."""

LONG = World(
    (((0, 0),), *(((0, first), (first, token)) for first in (1, 2) for token in range(3))),
    table([0.6, 1.5, -1.0, 0.2, 0.0, 0.9, -0.6], [-0.4, 0.3, 1.1, 0.8, 1.4, -0.9, 0.5]),
    torch.log_softmax(
        table(
            [0.3, -1.0, 0.8], [0.1, 0.5, -0.2], [0.0, 0.7, -0.4], [-0.7, 0.2, 0.0], [0.5, -0.3, 0.4], [1.0, 0.0, 0.3]
        ),
        -1,
    ).view(2, 3, 3),
)
"""Token 0 ends a response at once, another is followed by one of three: seven responses of one or two tokens."""


def tilted(world: World, beta: float) -> Tensor:
    """π_ref exp(R/β) / Z over whole responses: the greatest E[R] − β·KL."""
    return torch.softmax(world.logp(world.reference) + world.scores / beta, -1)


class Learner:
    """A table of logits, and of values before each token, that an algorithm moves.

    Args:
        world: its prompts and responses.
        name: of the algorithm.
        groups: the prompts of the responses that are credited together; every tuple of responses to them is.
        knobs: of the algorithm.
    """

    def __init__(self, world: World, name: str, groups: list[tuple[int, ...]], **knobs: Any) -> None:
        self.world, self.method = world, algorithm(name, **knobs)
        self.samples = max(len([i for i in group if i == group[0]]) for group in groups)
        self.apart = "batch" in (knobs.get("baseline"), knobs.get("scale"))
        every = range(len(world.walks))
        rows = [
            list(zip(group, drawn, strict=True))
            for group in groups
            for drawn in itertools.product(every, repeat=len(group))
        ]
        self.places = torch.tensor(rows)  # (tuples, responses of a tuple, 2)
        self.logits = world.reference.clone().requires_grad_()
        self.values = torch.zeros(world.reference.shape[:2], dtype=torch.float64, requires_grad=True)
        self.state: dict[str, float] = {}

    @property
    def policy(self) -> Tensor:
        """(P, responses)."""
        return self.world.logp(torch.log_softmax(self.logits.detach(), -1)).exp()

    def rollout(self, logps: Tensor) -> Rollout:
        """All tuples in one."""
        prompts, responses = self.places.view(-1, 2).unbind(-1)
        take = (prompts, responses)
        return Rollout(
            [], [], [], self.world.scores[take], torch.ones(len(prompts)).bool(), self.world.mask[responses],
            self.world.tokens(logps)[take], self.world.tokens(self.world.reference)[take],
            self.world.tokens(self.values.detach())[take], self.samples,
        )  # fmt: skip

    def parts(self, whole: Rollout) -> Iterator[Rollout]:
        """Each tuple in one, where all that is drawn together is credited together."""
        names = ("scores", "ended", "mask", "logps", "reference_logps", "values")
        size = self.places.shape[1]
        for first in range(0, len(whole.scores), size):
            yield replace(whole, **{name: getattr(whole, name)[first : first + size] for name in names})

    def step(self, rate: float, passes: int = 1) -> None:
        """One rollout, and as many updates on it."""
        old = torch.log_softmax(self.logits.detach(), -1)
        whole = self.rollout(old)
        parts = list(self.parts(whole)) if self.apart else [whole]
        found = [self.method.credit(part, self.state) for part in parts]
        advantages, returns = torch.cat([part for part, _ in found]), found[0][1]
        prompts, responses = self.places.unbind(-1)
        chances = self.world.logp(old).exp()[prompts, responses].prod(1, keepdim=True).expand(prompts.shape).flatten()
        visits = self.world.visits(old)
        weights = chances / prompts.shape[1]  # the mean over the responses of a tuple
        take = (prompts.flatten(), responses.flatten())
        for _ in range(passes):
            logps = torch.log_softmax(self.logits, -1)
            entropy = -(logps.exp() * logps).sum(-1)
            given = PolicyBatch(
                self.world.tokens(logps)[take], whole.mask.double(), whole.logps, whole.reference_logps, advantages,
                self.world.tokens(entropy)[take], self.world.tokens(self.values)[take], whole.values, returns, 1, 1, 1,
            )  # fmt: skip
            loss = (weights * self.method.losses(given)).sum()
            slopes = torch.autograd.grad(loss, [self.logits, self.values], allow_unused=True)
            with torch.no_grad():
                self.logits -= rate * slopes[0] / visits
                if slopes[1] is not None:
                    self.values -= rate * slopes[1] / visits.sum(-1)

    def learn(self, rate: float, steps: int, passes: int = 1, shrink: float = 1.0) -> Tensor:
        for i in range(steps):
            self.step(rate * shrink**i, passes)
        return self.policy


def far(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).abs().max())


def alone(samples: int = 1) -> list[tuple[int, ...]]:
    """K responses to the one prompt, or to the other."""
    return [(0,) * samples, (1,) * samples]


# --- reward and KL in the advantage ----------------------------------------------------------------------------------

BETA = 0.5
KL_IN_REWARD: dict[str, tuple[str, list[tuple[int, ...]], dict[str, Any]]] = {
    "reinforce batch": ("reinforce", [(0, 1)], {"baseline": "batch"}),
    "reinforce running": ("reinforce", alone(), {"baseline": "running"}),
    "reinforce none": ("reinforce", alone(), {"baseline": "none"}),
    "rloo 2": ("rloo", alone(2), {}),
    "rloo 3": ("rloo", alone(3), {}),
}


def optimum(world: World, name: str, beta: float = BETA, passes: int = 1) -> None:
    """It ends at the reference tilted by the reward, which is far from where it began."""
    kind, groups, knobs = KL_IN_REWARD[name]
    learner = Learner(world, kind, groups, beta=beta, **knobs)
    best = tilted(world, beta)
    assert far(learner.policy, best) > 0.1
    assert far(learner.learn(0.8 / beta / passes, 80, passes), best) < NEAR


@pytest.mark.parametrize("beta", [0.3, 1.0])
@pytest.mark.parametrize("name", KL_IN_REWARD)
def test_reinforce_and_rloo_end_at_the_reference_tilted_by_the_reward(name: str, beta: float) -> None:
    optimum(SHORT, name, beta)


@pytest.mark.parametrize("name", ["reinforce batch", "rloo 2"])
def test_reinforce_and_rloo_do_so_over_responses_of_unequal_length(name: str) -> None:
    optimum(LONG, name)


def test_rloo_does_so_in_several_passes_over_a_rollout() -> None:
    optimum(SHORT, "rloo 2", passes=2)


def ppo(world: World, rate: float, steps: int, passes: int = 1, shrink: float = 1.0, **knobs: Any) -> Learner:
    given = {"beta": BETA, "entropy_weight": 0.0, "value_weight": 1.0, "whiten": False, **knobs}
    learner = Learner(world, "ppo", alone(), **given)
    learner.learn(rate, steps, passes, shrink)
    return learner


PPO = {
    "one pass": {"passes": 1},
    "several passes": {"passes": 4},
    "short sight": {"passes": 1, "decay": 0.5},
    "no value clip": {"passes": 1, "value_clip": 0.0},
}


def optimum_of_ppo(world: World, name: str) -> None:
    """The same optimum; and values at β log Z, what the best policy expects of what is to come."""
    learner = ppo(world, 0.5, 150, **PPO[name])
    assert far(learner.policy, tilted(world, BETA)) < NEAR
    worth = BETA * torch.logsumexp(world.logp(world.reference) + world.scores / BETA, -1)
    assert far(learner.values.detach()[:, 0], worth) < NEAR


@pytest.mark.parametrize("name", PPO)
@pytest.mark.parametrize("world", [SHORT, LONG], ids=["short", "long"])
def test_ppo_ends_at_the_reference_tilted_by_the_reward(world: World, name: str) -> None:
    optimum_of_ppo(world, name)


def test_whitened_ppo_does_so_as_its_steps_shrink() -> None:
    """Whitening keeps steps long where advantages vanish: without a schedule it goes round the optimum."""
    for world in (SHORT, LONG):
        assert far(ppo(world, 0.5, 200, shrink=0.95, whiten=True).policy, tilted(world, BETA)) < 1e-3
        assert far(ppo(world, 0.5, 200, whiten=True).policy, tilted(world, BETA)) > 1e-2


def optimum_with_entropy() -> None:
    """E[R] − β·KL + c·H is greatest at exp((R + β log π_ref) / (β + c)) / Z."""
    found = ppo(SHORT, 0.5, 150, entropy_weight=0.2).policy
    best = torch.softmax((SHORT.scores + BETA * SHORT.reference[:, 0]) / (BETA + 0.2), -1)
    assert far(found, best) < NEAR
    assert far(found, tilted(SHORT, BETA)) > 1e-2


def test_an_entropy_bonus_pulls_ppo_towards_all_responses_alike() -> None:
    optimum_with_entropy()


# --- advantages of a group, and KL in the loss -----------------------------------------------------------------------


def group_advantages(world: World, group: tuple[int, ...], scale: str) -> tuple[Any, Any, Any]:
    """Of every tuple of responses: (prompts, responses, advantages), each (tuples, responses of a tuple)."""
    rows = []
    for drawn in itertools.product(range(world.scores.shape[1]), repeat=len(group)):
        scores = [float(world.scores[place]) for place in zip(group, drawn, strict=True)]
        found = []
        for prompt, score in zip(group, scores, strict=True):
            own = [other for at, other in zip(group, scores, strict=True) if at == prompt]
            sd = {"group": own, "batch": scores}.get(scale)
            found.append((score - statistics.fmean(own)) / (statistics.stdev(sd) + 1e-4 if sd else 1.0))
        rows.append((group, drawn, found))
    prompts, responses, advantages = (np.array(part) for part in zip(*rows, strict=True))
    return prompts, responses, advantages


def at_rest(world: World, groups: list[tuple[int, ...]], scale: str, gradient: str, beta: float) -> list[Any]:
    """Policies (P, responses) at which GRPO's expected gradient is 0, by a root finder from two starts.

    With a(y) the mean advantage of y over all that may be drawn beside it: log π/π_ref − a/β is alike for all y where
    the KL's gradient is `reverse`; and π (β − a) = β π_ref where it is `plain`.
    """
    reference = world.reference[:, 0].numpy()
    tables = [group_advantages(world, group, scale) for group in groups]

    def slope(logits: Any) -> Any:
        logps = logits.reshape(reference.shape).clip(-50, 50)
        logps = logps - np.logaddexp.reduce(logps, 1, keepdims=True)
        policy = np.exp(logps)
        total, count = np.zeros((2, *reference.shape))
        for prompts, responses, advantages in tables:
            chances = policy[prompts, responses].prod(1, keepdims=True)
            np.add.at(total, (prompts, responses), chances * advantages)
            np.add.at(count, (prompts, responses), chances * np.ones_like(advantages))
        gains = total / count
        gap = logps - reference - gains / beta
        uneven = gap - gap.mean(1, keepdims=True)
        found = uneven if gradient == "reverse" else policy * (beta - gains) - beta * np.exp(reference)
        return (found + logits.reshape(reference.shape).sum(1, keepdims=True)).ravel()  # and logits that sum to 0

    found = [scipy.optimize.root(slope, start, tol=1e-12) for start in (reference.ravel(), np.zeros(reference.size))]
    raw = [np.exp(one.x.reshape(reference.shape)) for one in found if np.abs(slope(one.x)).max() < 1e-9]
    assert raw
    return [policy / policy.sum(1, keepdims=True) for policy in raw]


def rest_of_grpo(scale: str, gradient: str, samples: int = 2, beta: float = 1.0, **knobs: Any) -> Tensor:
    """It ends where its own expected gradient is 0, which is one place."""
    groups = [(0,) * samples + (1,) * samples] if scale == "batch" else alone(samples)
    learner = Learner(SHORT, "grpo", groups, beta=beta, scale=scale, kl_gradient=gradient, **knobs)
    found = learner.learn(0.5 * len(groups[0]) / samples / beta, 60)
    for rest in at_rest(SHORT, groups, scale, gradient, beta):
        assert far(found, torch.tensor(rest)) < NEAR
        assert far(torch.tensor(rest), SHORT.reference[:, 0].exp()) > 0.05
    return found


@pytest.mark.parametrize("samples", [2, 3])
@pytest.mark.parametrize("gradient", ["reverse", "plain"])
@pytest.mark.parametrize("scale", ["group", "none"])
def test_grpo_ends_where_its_own_gradient_vanishes(scale: str, gradient: str, samples: int) -> None:
    rest_of_grpo(scale, gradient, samples)


@pytest.mark.parametrize("gradient", ["reverse", "plain"])
def test_grpo_with_the_scale_of_the_batch_ends_where_its_own_gradient_vanishes(gradient: str) -> None:
    rest_of_grpo("batch", gradient)


@pytest.mark.parametrize("normalise", ["dapo", "dr_grpo"])
def test_grpos_mean_over_tokens_moves_nothing_where_each_response_is_one(normalise: str) -> None:
    assert far(rest_of_grpo("group", "reverse", normalise=normalise), rest_of_grpo("group", "reverse")) < NEAR


@pytest.mark.parametrize("samples", [2, 4])
def test_unscaled_grpo_ends_at_the_reference_tilted_by_a_share_of_the_reward(samples: int) -> None:
    """Its mean holds a response's own reward, so that (K − 1)/K of the reward is left: π_ref exp((1 − 1/K) R/β) / Z."""
    found = rest_of_grpo("none", "reverse", samples, 0.5)
    assert far(found, tilted(SHORT, 0.5 * samples / (samples - 1))) < NEAR
    assert far(found, tilted(SHORT, 0.5)) > 1e-2


@pytest.mark.parametrize("samples", [2, 4])
def test_unscaled_grpo_with_the_plain_gradient_ends_at_another_policy(samples: int) -> None:
    """At β π_ref / (β − (1 − 1/K)(R − V)) with V = E[R]: that of the forward KL, heavier in its tails."""
    beta, share = 1.0, 1 - 1 / samples
    found = rest_of_grpo("none", "plain", samples, beta)
    value = (found * SHORT.scores).sum(1, keepdim=True)
    best = beta * SHORT.reference[:, 0].exp() / (beta - share * (SHORT.scores - value))
    assert far(found, best) < NEAR
    assert far(best.sum(1), torch.ones(2)) < NEAR
    assert far(found, tilted(SHORT, beta / share)) > 1e-2


def test_over_longer_responses_grpos_kl_does_not_look_ahead() -> None:
    """Each token pays for its own KL alone: π(t|s) ∝ π_ref(t|s) exp((1 − 1/K) Q(s, t)/β), Q the score to come.

    The penalised reward's optimum has β log Z there, which counts the KL to come too. A per-token KL in the loss does
    not: its gradient is that of Σ_t KL(π(·|s_t) ‖ π_ref(·|s_t)) at the states that were visited, taken as given.
    """
    beta, share = 0.5, 0.5
    knobs = {"beta": beta, "scale": "none", "normalise": "dr_grpo"}
    found = Learner(LONG, "grpo", alone(2), **knobs).learn(0.5, 150)
    reference, scores = LONG.reference, LONG.scores
    later = [
        torch.softmax(reference[:, first] + share / beta * scores[:, 3 * first - 2 : 3 * first + 1], -1)
        for first in (1, 2)
    ]
    to_come = [(policy * scores[:, 3 * i + 1 : 3 * i + 4]).sum(-1) for i, policy in enumerate(later)]
    first = torch.softmax(reference[:, 0] + share / beta * torch.stack([scores[:, 0], *to_come], -1), -1)
    best = torch.cat([first[:, :1], first[:, 1:2] * later[0], first[:, 2:] * later[1]], -1)
    assert far(found, best) < NEAR
    assert far(best, tilted(LONG, beta / share)) > 1e-2


# --- unbiased ---------------------------------------------------------------------------------------------------------


def objective_slope(world: World, beta: float, share: float = 1.0) -> tuple[Tensor, Tensor]:
    """A policy away from the reference, and the gradient there of −share·E[R] + β·KL over whole responses."""
    logits = (world.reference * 0.3 + 0.4).detach()
    logits[..., 0] += 0.5
    logits.requires_grad_()
    logp = world.logp(torch.log_softmax(logits, -1))
    kl = logp - world.logp(world.reference)
    loss = (logp.exp() * (beta * kl - share * world.scores)).sum()
    return logits.detach().clone(), torch.autograd.grad(loss, logits)[0]


UNBIASED: dict[str, tuple[str, list[tuple[int, ...]], dict[str, Any], float]] = {
    **{name: (*parts, 1.0) for name, parts in KL_IN_REWARD.items() if name != "reinforce running"},
    "ppo": ("ppo", alone(), {"whiten": False, "decay": 1.0, "entropy_weight": 0.0, "value_weight": 0.0}, 1.0),
}


def unbiased(world: World, name: str) -> None:
    """The expected gradient of credit and loss is that of what is to be made great: E[R] − β·KL."""
    kind, groups, knobs, share = UNBIASED[name]
    learner = Learner(world, kind, groups, beta=BETA, **knobs)
    logits, expected = objective_slope(world, BETA, share)
    learner.logits = logits.clone().requires_grad_()
    visits = world.visits(torch.log_softmax(logits, -1))
    learner.step(1.0)
    found = (logits - learner.logits.detach()) * visits * len(set(groups[0]))
    assert far(found, expected) < 1e-12


@pytest.mark.parametrize("name", UNBIASED)
@pytest.mark.parametrize("world", [SHORT, LONG], ids=["short", "long"])
def test_the_expected_step_is_the_gradient_of_the_penalised_reward(world: World, name: str) -> None:
    unbiased(world, name)


@pytest.mark.parametrize("samples", [2, 3])
def test_unscaled_grpo_follows_a_share_of_the_reward(samples: int) -> None:
    learner = Learner(LONG, "grpo", alone(samples), beta=0.0, scale="none", normalise="dr_grpo")
    logits, expected = objective_slope(LONG, 0.0, 1 - 1 / samples)
    learner.logits = logits.clone().requires_grad_()
    visits = LONG.visits(torch.log_softmax(logits, -1))
    learner.step(1.0)
    assert far((logits - learner.logits.detach()) * visits, expected) < 1e-12
