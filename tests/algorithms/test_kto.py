"""KTO: equal to the paper's formula, and its reference point behaves."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from checks import algorithm, close, gradients, kto_formula, numbers, reference_point_has_no_gradient, row_batch
from formulas import ROWS

KNOBS = {"beta": 0.25, "lambda_desirable": 1.3, "lambda_undesirable": 0.7}


@pytest.mark.parametrize("mismatched", [-4.0, 0.0, 1.75])
@pytest.mark.parametrize("knobs", [{}, KNOBS], ids=["default", "set"])
def test_loss_and_gradient_are_those_of_the_formula(mismatched: float, knobs: dict[str, float]) -> None:
    kto_formula(mismatched, **knobs)


def test_no_gradient_flows_through_the_reference_point() -> None:
    reference_point_has_no_gradient()


def test_the_reference_point_is_never_below_zero() -> None:
    close(algorithm("kto").losses(row_batch(-7.0)), algorithm("kto").losses(row_batch(0.0)).tolist())
    assert not torch.equal(algorithm("kto").losses(row_batch(7.0)), algorithm("kto").losses(row_batch(0.0)))


def test_at_the_reference_half_of_each_weight_is_lost() -> None:
    batch = row_batch(0.0)
    at = dataclasses.replace(batch, logp=batch.reference_logp.clone().requires_grad_())
    losses = algorithm("kto", **KNOBS).losses(at)
    close(losses, [(1.3 if row.good else 0.7) / 2 for row in ROWS])
    (slope,) = gradients(losses, at.logp)
    close(slope, [-1.3 * 0.25 / 4 if row.good else 0.7 * 0.25 / 4 for row in ROWS])


@pytest.mark.parametrize("good", [True, False])
def test_a_batch_of_one_class(good: bool) -> None:
    batch = row_batch(0.5)
    keep = batch.label == good
    rows = dataclasses.replace(
        batch, logp=batch.logp[keep], tokens=batch.tokens[keep], label=batch.label[keep],
        reference_logp=batch.reference_logp[keep],
    )  # fmt: skip
    close(algorithm("kto").losses(rows), algorithm("kto").losses(batch)[keep].tolist())


def test_loss_saturates_on_both_sides() -> None:
    batch = row_batch(0.0)
    far = dataclasses.replace(batch, logp=numbers(0.0, 0.0, -1e5, -1e5, 0.0), reference_logp=numbers(*[-1e4] * 5))
    close(algorithm("kto", **KNOBS).losses(far), [0.0, 0.7, 1.3, 0.0, 0.7])


def test_rewards_are_scaled_log_ratios() -> None:
    close(algorithm("kto", beta=0.25).rewards(row_batch(0.0)), [0.25 * (row.y - row.ref) for row in ROWS])
