"""TRL's own trainer for each loss, on given rows in a given order: what `steps_per_second.py` times ours against."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trl_cell import turns


@dataclass(frozen=True)
class Given:
    """What a trainer of TRL is made from.

    Attributes:
        policy: folder of the start.
        rows: the rows that ours trains on, in the order in which it uses them.
        knobs: our algorithm, for its learning rate and its β.
        config: batch, steps, schedule and precision in transformers' words.
    """

    policy: Path
    rows: list[dict[str, Any]]
    knobs: Any
    config: dict[str, Any]

    def parts(self) -> dict[str, Any]:
        """Data set and tokenizer."""
        from datasets import Dataset
        from transformers import AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(self.policy)
        return {"train_dataset": Dataset.from_list([turns(row) for row in self.rows]), "processing_class": tokenizer}


Factory = Callable[[Given], Any]


def sft(given: Given) -> Any:
    """Prompt and completion, the prompt masked."""
    from trl import SFTConfig, SFTTrainer

    return SFTTrainer(str(given.policy), args=SFTConfig(**given.config), **given.parts())


def reward(given: Given) -> Any:
    """Bradley-Terry with the same centring term."""
    from trl import RewardConfig, RewardTrainer

    args = RewardConfig(center_rewards_coefficient=given.knobs.center, **given.config)
    return RewardTrainer(str(given.policy), args=args, **given.parts())


def dpo(loss: str, strength: str, precompute: bool) -> Factory:
    """DPOTrainer, with the knob that is its β."""

    def make(given: Given) -> Any:
        from trl import DPOConfig, DPOTrainer

        beta = getattr(given.knobs, strength)
        args = DPOConfig(loss_type=[loss], beta=beta, precompute_ref_log_probs=precompute, **given.config)
        return DPOTrainer(str(given.policy), args=args, **given.parts())

    return make


def kto(precompute: bool) -> Factory:
    """KTOTrainer; its mismatched partner is the batch's next response, ours the next by hash, so lengths are alike."""

    def make(given: Given) -> Any:
        from trl import KTOConfig, KTOTrainer

        args = KTOConfig(beta=given.knobs.beta, precompute_ref_log_probs=precompute, **given.config)
        return KTOTrainer(str(given.policy), args=args, **given.parts())

    return make


def cpo(given: Given) -> Any:
    """The experimental CPOTrainer."""
    return _cpo(given, beta=given.knobs.beta, cpo_alpha=given.knobs.alpha)


def simpo(given: Given) -> Any:
    """SimPO, which TRL has as a loss of CPOTrainer."""
    beta = given.knobs.beta
    return _cpo(given, loss_type="simpo", cpo_alpha=0.0, beta=beta, simpo_gamma=beta * given.knobs.gamma_over_beta)


def _cpo(given: Given, **own: Any) -> Any:
    from trl.experimental.cpo import CPOConfig, CPOTrainer

    return CPOTrainer(str(given.policy), args=CPOConfig(**own, **given.config), **given.parts())


def orpo(given: Given) -> Any:
    """The experimental ORPOTrainer."""
    from trl.experimental.orpo import ORPOConfig, ORPOTrainer

    args = ORPOConfig(beta=given.knobs.odds_weight, **given.config)
    return ORPOTrainer(str(given.policy), args=args, **given.parts())
