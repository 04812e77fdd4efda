"""REINFORCE, RLOO, GRPO and PPO: equal to the papers' formulas and to what is known of them, and mistakes are caught.

The checks and the mistakes stand in on_policy.py; TRL's losses and the optima, which are checks of the mistakes too, in
test_on_policy_trl.py and test_on_policy_optima.py.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from checks import algorithm
from mutants import mutated
from on_policy import CHECKS, PPO_FILE, TABLE, batch, rollout, same
from test_on_policy_optima import (
    LONG,
    SHORT,
    UNBIASED,
    optimum,
    optimum_of_ppo,
    optimum_with_entropy,
    rest_of_grpo,
    unbiased,
)
from test_on_policy_trl import (
    SPLIT,
    grpo_tensors_agree,
    ppo_by_hand,
    ppo_with_tiles,
    second_rollout,
    splits_agree,
    step_agrees,
    tensors_agree,
    values_of_a_reward_model,
)

from harness import registry
from harness.errors import HarnessError
from harness.knobs import OneOf, knobs

pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")

WIDER: dict[str, Callable[[Path], None]] = {
    "tensors of rloo": lambda _: tensors_agree("rloo", {"clip": 0.2}, moved=True),
    "tensors of grpo": lambda _: grpo_tensors_agree("grpo", "reverse", 0.3, moved=True),
    "tensors of grpo dapo": lambda _: grpo_tensors_agree("dapo", "reverse", 0.3, moved=True),
    "tensors of grpo dr_grpo": lambda _: grpo_tensors_agree("dr_grpo", "plain", 0.3, moved=True),
    "step of rloo": lambda shelf: step_agrees("rloo", shelf),
    "step of grpo": lambda shelf: step_agrees("grpo grpo reverse group 0.2 moved", shelf),
    "step of grpo dapo": lambda shelf: step_agrees("grpo dapo reverse none 0.2 moved", shelf),
    "step of grpo dr_grpo": lambda shelf: step_agrees("grpo dr_grpo plain none 0.2 moved", shelf),
    "ppo by hand": ppo_by_hand,
    "ppo with tiles": ppo_with_tiles,
    "values of a reward model": values_of_a_reward_model,
    "second rollout": second_rollout,
    **{f"split of {name}": (lambda shelf, name=name: splits_agree(shelf, name)) for name in SPLIT},
    **{
        f"optimum of {name}": (lambda _, name=name: optimum(SHORT, name))
        for name in ("rloo 2", "reinforce batch", "reinforce none")
    },
    "optimum of ppo": lambda _: optimum_of_ppo(SHORT, "one pass"),
    "optimum of ppo long": lambda _: optimum_of_ppo(LONG, "one pass"),
    "entropy of ppo": lambda _: optimum_with_entropy(),
    **{f"unbiased {name}": (lambda _, name=name: unbiased(SHORT, name)) for name in UNBIASED},
    **{f"unbiased long {name}": (lambda _, name=name: unbiased(LONG, name)) for name in UNBIASED},
    **{
        f"rest of grpo {scale} {gradient}": (lambda _, s=scale, g=gradient: rest_of_grpo(s, g))
        for scale in ("group", "batch", "none")
        for gradient in ("reverse", "plain")
    },
}
"""Checks that are tests of their own in their files, and that mutants must fail too."""


def check(name: str, shelf: Path) -> None:
    WIDER[name](shelf) if name in WIDER else CHECKS[name]()


@pytest.mark.parametrize("name", CHECKS)
def test_ours_is_that_of_the_formula(name: str) -> None:
    CHECKS[name]()


@pytest.mark.parametrize("name", sorted(WIDER.keys() & {name for row in TABLE for name in row[4]}))
def test_every_wider_check_passes_without_a_mutant(name: str, shelf: Path) -> None:
    WIDER[name](shelf)


def test_no_name_means_two_checks() -> None:
    assert not WIDER.keys() & CHECKS.keys()
    assert {name for row in TABLE for name in row[4]} <= WIDER.keys() | CHECKS.keys()


@pytest.mark.parametrize("row", TABLE, ids=lambda row: f"{row[0].split('.')[-1]}.{row[1]} {row[2]} as {row[3]}")
def test_every_mutant_is_caught(row: tuple[str, str, str, str, list[str]], shelf: Path) -> None:
    module, where, text, other, checks = row
    for name in checks:
        with mutated(module, where, text, other), pytest.raises(AssertionError):
            check(name, shelf)


def test_a_change_of_nothing_is_not_caught(shelf: Path) -> None:
    with mutated(PPO_FILE, "Ppo.losses", "self.value_weight * value", "value * self.value_weight"):
        check("formula of ppo all", shelf)
        check("ppo by hand", shelf)


def test_a_baseline_of_the_others_needs_others() -> None:
    one, two = (replace(rollout(1), scores=rollout(1).scores[:n], mask=rollout(1).mask[:n]) for n in (1, 2))
    parts = {n: {name: getattr(rollout(1), name)[:n] for name in ("logps", "reference_logps")} for n in (1, 2)}
    with pytest.raises(HarnessError, match="needs two responses in a step; use 'running'"):
        algorithm("reinforce").credit(replace(one, **parts[1]), {})
    algorithm("reinforce").credit(replace(two, **parts[2]), {})


def test_grpo_without_kl_needs_no_reference() -> None:
    given = batch()
    losses = algorithm("grpo", beta=0.0).losses(given).detach()
    same(algorithm("grpo", beta=0.3).losses(replace(given, reference_logps=None)), losses)


@pytest.mark.parametrize("name", ["values", "old_values", "returns"])
def test_ppo_says_that_it_needs_values(name: str) -> None:
    with pytest.raises(AssertionError, match="asks its batches for values"):
        algorithm("ppo").losses(replace(batch(), **{name: None}))


@pytest.mark.parametrize("name", ["values", "reference_logps"])
def test_ppo_says_what_it_needs_of_a_rollout(name: str) -> None:
    with pytest.raises(AssertionError, match="asks its rollouts for a reference and for values"):
        algorithm("ppo").credit(replace(rollout(1), **{name: None}), {})


def test_a_value_model_learns_by_a_rate_of_its_own() -> None:
    assert algorithm("ppo").value_learning_rate > 0


def test_every_value_of_every_choice_is_checked() -> None:
    """A new value of a knob in these files has no formula yet."""
    declared = {
        (name, knob.name): set(knob.valid.values)
        for name in ("reinforce", "rloo", "grpo", "ppo")
        for knob in knobs(registry.load("algorithms", name)).values()
        if isinstance(knob.valid, OneOf)
    }
    assert declared == {
        ("reinforce", "baseline"): {"batch", "running", "none"},
        ("grpo", "scale"): {"group", "batch", "none"},
        ("grpo", "normalise"): {"grpo", "dapo", "dr_grpo"},
        ("grpo", "kl_gradient"): {"reverse", "plain"},
        ("ppo", "value"): {"head", "reward"},
    }
