"""Ours against TRL's own losses, wherever the installed TRL has one. It computes some in float32, hence 1e-5."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow.parquet as pq
import pytest
import tiny
import torch

from harness import registry
from harness.algorithms.cpo import contrastive_losses
from harness.algorithms.orpo import odds_ratio_losses
from harness.algorithms.simpo import average_losses

CHOSEN, REJECTED = torch.tensor([-12.0, -3.5, -0.01, -7.0]), torch.tensor([-11.0, -9.5, -18.0, -6.5])


def curve(folder: Path, metric: str) -> list[float]:
    rows = pq.read_table(folder / "curves.parquet").to_pylist()
    return [row["value"] for row in rows if row["metric"] == metric]


def trl_losses(shelf: Path, out: Path, loss: str, learning_rate: float, **config: Any) -> list[float]:
    """Losses that TRL's DPOTrainer logs on our rows, all of them in each step."""
    from datasets import Dataset
    from transformers import AutoTokenizer
    from trl import DPOConfig, DPOTrainer

    rows = tiny.Tiny(8).rows("pairs", "train")
    said = [
        {"prompt": row["prompt"], **{s: [{"role": "assistant", "content": row[s]}] for s in ("chosen", "rejected")}}
        for row in rows
    ]
    policy = shelf / tiny.START / "policy"
    args = DPOConfig(
        output_dir=str(out), max_steps=3, per_device_train_batch_size=8, learning_rate=learning_rate, warmup_steps=0,
        lr_scheduler_type="constant", use_cpu=True, bf16=False, activation_checkpointing=False, report_to="none",
        logging_steps=1, save_strategy="no", disable_tqdm=True, loss_type=[loss], **config,
    )  # fmt: skip
    tokenizer = AutoTokenizer.from_pretrained(policy)
    trainer = DPOTrainer(str(policy), args=args, train_dataset=Dataset.from_list(said), processing_class=tokenizer)
    trainer.train()
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


@pytest.mark.parametrize(
    ("name", "knobs", "loss", "config"),
    [
        ("dpo", {"beta": 0.3}, "sigmoid", {"beta": 0.3}),
        ("dpo", {"beta": 0.3, "variant": "hinge"}, "hinge", {"beta": 0.3}),
        ("dpo", {"beta": 0.3, "variant": "robust", "label_smoothing": 0.2}, "robust", {"beta": 0.3, "label_smoothing": 0.2}),
        ("dpo", {"beta": 2.0, "normalise": "tokens"}, "sigmoid_norm", {"beta": 2.0}),
        ("dpo", {"beta": 0.3, "divergence": "forward_kl"}, "sigmoid", {"beta": 0.3, "f_divergence_type": "forward_kl"}),
        ("dpo", {"beta": 0.3, "divergence": "js_divergence"}, "sigmoid", {"beta": 0.3, "f_divergence_type": "js_divergence"}),
        ("dpo", {"beta": 0.3, "divergence": "alpha_divergence", "alpha": 0.3}, "sigmoid",
         {"beta": 0.3, "f_divergence_type": "alpha_divergence", "f_alpha_divergence_coef": 0.7}),
        ("ipo", {"tau": 0.3, "normalise": "tokens"}, "ipo", {"beta": 0.3}),
    ],
    ids=["dpo", "hinge", "robust", "tokens", "forward", "js", "alpha", "ipo"],
)  # fmt: skip
def test_three_steps_of_training_are_those_of_the_stable_trainer(
    name: str, knobs: dict[str, Any], loss: str, config: dict[str, Any], shelf: Path, tmp_path: Path
) -> None:
    """The first loss, and the next two, which rest on gradients: 1 row in the wrong place would move them."""
    rate = 3e-3
    rows = tiny.Tiny(8).rows("pairs", "train")
    tiny.train(
        name, tmp_path / "ours", shelf, {**knobs, "learning_rate": rate},
        rows=rows, prompts=8, steps=3, batch=8, micro_batch=8, schedule="constant", warmup=0.0,
    )  # fmt: skip
    found = curve(tmp_path / "ours", "loss")
    assert found == pytest.approx(trl_losses(shelf, tmp_path / "trl", loss, rate, **config), abs=1e-5)


def fake(**given: Any) -> Any:
    return SimpleNamespace(accelerator=SimpleNamespace(device="cpu"), alpha=0.0, label_smoothing=0.0, **given)


def test_cpo_and_simpo_are_those_of_the_experimental_trainer() -> None:
    cpo = pytest.importorskip("trl.experimental.cpo", reason="TRL's experimental CPO is gone or hidden").CPOTrainer
    ours = contrastive_losses(CHOSEN, REJECTED, 0.3)
    assert torch.allclose(ours, cpo.cpo_loss(fake(loss_type="sigmoid", beta=0.3), CHOSEN, REJECTED)[0], atol=1e-5)
    margin = fake(loss_type="simpo", beta=2.5, simpo_gamma=2.5 * 0.55)
    assert torch.allclose(
        average_losses(CHOSEN, REJECTED, 2.5, 0.55), cpo.cpo_loss(margin, CHOSEN, REJECTED)[0], atol=1e-5
    )


def test_orpo_is_that_of_the_experimental_trainer() -> None:
    orpo = pytest.importorskip("trl.experimental.orpo", reason="TRL's experimental ORPO is gone or hidden").ORPOTrainer
    theirs = -orpo.odds_ratio_loss(fake(beta=1.0), CHOSEN, REJECTED)[0]
    assert torch.allclose(odds_ratio_losses(CHOSEN, REJECTED), theirs, atol=1e-5)


def test_every_algorithm_runs_without_trl_experimental(monkeypatch: pytest.MonkeyPatch) -> None:
    """Acceptance 10: nothing of ours imports what TRL may drop."""
    package = Path(registry.__file__).parent
    assert not [file for file in package.rglob("*.py") if "trl.experimental" in file.read_text()]
