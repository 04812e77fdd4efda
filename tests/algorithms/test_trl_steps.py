"""One step of ours, loss and gradient by the model's weights, against TRL's own losses on the same tensors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from parity import cpo_trainer, dpo_trainer, kto_trainer, orpo_trainer

LOSSES = {"sigmoid": "sum", "hinge": "sum", "robust": "sum", "sigmoid_norm": "tokens"}
"""TRL's losses of a pair that take any divergence, and what their scores are divided by."""
KINDS = ("forward_kl", "js_divergence", "alpha_divergence")


def divergence(kind: str, loss: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Our knobs and TRL's configuration of the same loss: α is the paper's here, and 1 − α there."""
    variant = loss.removesuffix("_norm")
    eps = 0.2 if variant == "robust" else 0.0
    ours = {"beta": 0.3, "variant": variant, "label_smoothing": eps, "divergence": kind, "normalise": LOSSES[loss]}
    theirs = {"loss_types": [loss], "beta": 0.3, "label_smoothing": eps, "f_divergence_type": kind}
    if kind == "alpha_divergence":
        return {**ours, "alpha": 0.3}, {**theirs, "f_alpha_divergence_coef": 0.7}
    return ours, theirs


PAIRED: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "dpo": ({"beta": 0.3}, {"loss_types": ["sigmoid"], "beta": 0.3, "label_smoothing": 0.0}),
    "dpo hinge": ({"variant": "hinge"}, {"loss_types": ["hinge"], "beta": 0.1, "label_smoothing": 0.0}),
    "dpo robust": (
        {"variant": "robust", "label_smoothing": 0.2},
        {"loss_types": ["robust"], "beta": 0.1, "label_smoothing": 0.2},
    ),
    "dpo tokens": (
        {"beta": 2.0, "normalise": "tokens"},
        {"loss_types": ["sigmoid_norm"], "beta": 2.0, "label_smoothing": 0.0},
    ),
    **{f"dpo {kind} {loss}": divergence(kind, loss) for kind in KINDS for loss in LOSSES},
    "ipo": ({"tau": 0.4}, {"loss_types": ["ipo"], "beta": 0.4, "label_smoothing": 0.0}),
}


@pytest.mark.parametrize("name", PAIRED)
def test_dpo_and_ipo(name: str, shelf: Path) -> None:
    knobs, config = PAIRED[name]
    dpo_trainer(shelf, name.split()[0], knobs, **config)


@pytest.mark.parametrize("kl", [-5.0, 5.0])
def test_kto(kl: float, shelf: Path) -> None:
    knobs = {"beta": 0.2, "lambda_desirable": 1.2, "lambda_undesirable": 0.8}
    kto_trainer(shelf, knobs, kl, beta=0.2, desirable_weight=1.2, undesirable_weight=0.8)


@pytest.fixture
def experimental(monkeypatch: pytest.MonkeyPatch) -> None:
    """TRL's experimental trainers, which may be gone: then these losses rest on their formulas alone."""
    monkeypatch.setenv("TRL_EXPERIMENTAL_SILENCE", "1")
    pytest.importorskip("trl.experimental.cpo", reason="TRL's experimental CPO is gone or hidden")
    pytest.importorskip("trl.experimental.orpo", reason="TRL's experimental ORPO is gone or hidden")


@pytest.mark.usefixtures("experimental")
def test_cpo(shelf: Path) -> None:
    cpo_trainer(shelf, "cpo", {"beta": 0.3, "alpha": 0.7}, loss_type="sigmoid", beta=0.3, cpo_alpha=0.7)


@pytest.mark.usefixtures("experimental")
def test_simpo_in_its_authors_units(shelf: Path) -> None:
    knobs = {"beta": 2.5, "gamma_over_beta": 0.55}
    cpo_trainer(shelf, "simpo", knobs, loss_type="simpo", beta=2.5, cpo_alpha=0.0, simpo_gamma=1.375)


@pytest.mark.usefixtures("experimental")
def test_orpo(shelf: Path) -> None:
    orpo_trainer(shelf, 0.3)
