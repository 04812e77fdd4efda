"""KTO: equal to the paper's formula, its reference point behaves, and rows need not come in pairs."""

from __future__ import annotations

import dataclasses
import math
import random
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import tiny
import torch
from checks import algorithm, close, gradients, kto_formula, numbers, reference_point_has_no_gradient, row_batch
from formulas import ROWS, Labelled, kto
from parity import Watched, policy, slopes
from test_trl_parity import curve
from torch import Tensor

from harness.data import Row
from harness.inference.scoring import sequence_logp
from harness.job import Budget
from harness.training.forward import token_scores
from harness.training.reference import write_reference
from harness.training.rows import Encoder, with_partners
from harness.training.unpaired import UnpairedObjective

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


# really unpaired rows: one response to a prompt, one good for three bad, weighed so that the good count a little more
UNPAIRED = {"beta": 0.5, "lambda_desirable": 3.5, "lambda_undesirable": 1.0}


def unpaired() -> list[Row]:
    """24 prompts with a single response each: 6 of them desirable, 18 not."""
    both = tiny.Tiny(24).rows("binary", "train")
    return [both[2 * i + (i % 4 > 0)] for i in range(24)]


class World:
    """Tokenised rows without a pair among them, and a reference that the policy has left by known log-ratios."""

    def __init__(self, shelf: Path, moved: float) -> None:
        """`moved` is the mean log-ratio of the mismatched partners, about which they lie."""
        self.model, tokenizer = policy(shelf)
        self.pad_id, encoder = tokenizer.pad_token_id, Encoder(tokenizer)
        self.rows: list[dict[str, Any]] = [
            {"prompt": encoder.prompt(row), "label": row["label"]}
            | {name: encoder.response(row[name]) for name in ("response", "partner")}
            for row in with_partners(unpaired())
        ]
        self.ratios = [1.5 * math.sin(i) for i in range(24)]
        self.z = [moved + math.cos(math.pi * i) / 3 for i in range(24)]
        for name, key, ratios in (("response", "reference", self.ratios), ("partner", "reference_partner", self.z)):
            found = sequence_logp(self.model, [(row["prompt"], row[name]) for row in self.rows], self.pad_id, 24)
            for row, logp, ratio in zip(self.rows, found, ratios, strict=True):
                row[key] = logp - ratio

    def step(self, rows: list[dict[str, Any]], split: int, **knobs: float) -> tuple[float, float, Tensor]:
        """z0 before its cut, the loss and its gradient, of one optimiser step in micro-batches of `split` rows."""
        watched: Any = Watched(algorithm("kto", **knobs))
        objective = UnpairedObjective(watched, self.pad_id)
        batches = [objective.collate(rows[first : first + split]) for first in range(0, len(rows), split)]
        road = SimpleNamespace(model=self.model, forward=token_scores, args=SimpleNamespace(device=torch.device("cpu")))
        totals = objective.totals(batches, road)
        losses = [objective.loss(token_scores(self.model, batch), batch, totals)[0] for batch in batches]
        loss = torch.stack(losses).sum()
        assert len(watched.z) == len(batches)
        assert len(set(watched.z)) == 1, "every micro-batch is given the z0 of the whole step"
        return watched.z[0], float(loss.detach()), slopes(self.model, loss).double()


@pytest.fixture(scope="module", params=[1.25, -0.75], ids=["z0 above 0", "z0 cut at 0"])
def world(request: pytest.FixtureRequest, shelf: Path) -> World:
    return World(shelf, request.param)


def test_a_step_of_unpaired_rows_is_that_of_the_formula(world: World) -> None:
    """z0 is the mean over all partners of the step, and the loss is the mean over 6 good and 18 bad rows alike."""
    z, loss, _ = world.step(world.rows, 24, **UNPAIRED)
    assert z == pytest.approx(sum(world.z) / 24, abs=1e-5)
    rows = [Labelled(ratio, 1, row["label"], 0.0) for ratio, row in zip(world.ratios, world.rows, strict=True)]
    assert loss == pytest.approx(sum(kto(row, sum(world.z) / 24, 0.5, 3.5, 1.0)[0] for row in rows) / 24, abs=1e-5)


def test_unpaired_rows_have_partners_from_other_prompts_in_any_order() -> None:
    rows = unpaired()
    assert len({row["prompt_id"] for row in rows}) == len(rows) == 24
    assert sum(row["label"] for row in rows) == 6
    texts = {row["id"]: row["response"] for row in rows}
    partners = {row["id"]: row["partner"] for row in with_partners(rows)}
    assert sorted(partners.values()) == sorted(texts.values()), "each response is a partner once"
    assert all(partners[name] != text for name, text in texts.items())
    for seed in range(3):
        shuffled = random.Random(seed).sample(rows, 24)
        assert {row["id"]: row["partner"] for row in with_partners(shuffled)} == partners


@pytest.mark.parametrize("split", [24, 12, 7, 1])
@pytest.mark.parametrize("seed", [0, 1])
def test_neither_order_nor_split_changes_a_step_of_unpaired_rows(world: World, seed: int, split: int) -> None:
    """Also where a micro-batch holds one class only, or a single row, of which TRL could make no mismatched pair."""
    kl, loss, slope = world.step(world.rows, 24, **UNPAIRED)
    found = world.step(random.Random(seed).sample(world.rows, 24), split, **UNPAIRED)
    assert found[0] == pytest.approx(kl, abs=1e-6)
    assert found[1] == pytest.approx(loss, abs=1e-6)
    assert slope.norm() > 1e-2
    assert (found[2] - slope).norm() < 1e-6 * max(1.0, float(slope.norm()))


def test_each_lambda_weighs_its_own_class_and_no_other(world: World) -> None:
    def slope(good: float, bad: float) -> Tensor:
        return world.step(world.rows, 24, beta=0.5, lambda_desirable=good, lambda_undesirable=bad)[2]

    good, bad = slope(1.0, 0.0), slope(0.0, 1.0)
    whole = slope(3.5, 0.6)
    assert min(good.norm(), bad.norm()) > 1e-2
    assert (3.5 * good + 0.6 * bad - whole).norm() < 1e-6 * max(1.0, float(whole.norm()))


def test_a_run_on_unpaired_rows_starts_at_half_of_all_weights(tmp_path: Path, shelf: Path) -> None:
    """Along the whole road: all 24 rows in the first step, in micro-batches of 12, 6 and 2, to the same losses."""
    own = tmp_path / "shelf"
    own.mkdir()
    (own / tiny.START).symlink_to(shelf / tiny.START)
    (own / tiny.REFERENCE).mkdir()
    write_reference(own / tiny.REFERENCE, own / tiny.START, {"binary": unpaired()}, Budget(**tiny.BUDGET))
    knobs = {**UNPAIRED, "learning_rate": 3e-3}
    losses = []
    for micro_batch in (6, 3, 1):  # in prompts of the budget, each of which stands for two rows
        out = tmp_path / str(micro_batch)
        budget = {"prompts": 12, "steps": 3, "batch": 12, "micro_batch": micro_batch, "warmup": 0.0}
        tiny.train("kto", out, own, knobs, rows=unpaired(), schedule="constant", **budget)
        losses.append(curve(out, "loss"))
        assert curve(out, "kl")[0] == pytest.approx(0.0, abs=1e-5)
    assert losses[0][0] == pytest.approx((3.5 * 6 + 1.0 * 18) / 2 / 24, abs=1e-5)
    assert losses[0][2] < losses[0][0]
    assert losses[1] == pytest.approx(losses[0], abs=1e-5)
    assert losses[2] == pytest.approx(losses[0], abs=1e-5)
