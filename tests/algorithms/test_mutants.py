"""Mistakes that people make, planted in the shipped code: each must be caught by a check that passes without it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import tiny
from checks import kto_formula, pair_formula, ranking_formula, reference_point_has_no_gradient, reward_formula
from formulas import CASES
from mutants import mutated
from parity import dpo_trainer, kto_trainer, sft_by_hand, splits_agree

from harness.plan import make_plan
from harness.recipe import read_recipe
from harness.stages import Train


def starts_at_its_reference(shelf: Path) -> None:
    """The first step of DPO has loss log 2, and the policy has not moved: the reference is that of the start."""
    import pyarrow.parquet as pq

    with TemporaryDirectory() as folder:
        tiny.train("dpo", Path(folder), shelf, {"beta": 1.0}, steps=1)
        table = pq.read_table(Path(folder) / "curves.parquet").to_pylist()
    values = {row["metric"]: row["value"] for row in table}
    assert abs(values["loss"] - 0.6931472) < 1e-5
    assert abs(values["logps/moved"]) < 1e-5


def reference_is_of_the_start(_: Path) -> None:
    """The plan compares every policy with the start that it is trained from."""
    with TemporaryDirectory() as folder:
        recipe = Path(folder) / "r.toml"
        recipe.write_text('name = "x"\n[[algorithm]]\nname = "dpo"\n[[algorithm]]\nname = "kto"\nstart = "base"\n')
        plan = make_plan(read_recipe(recipe))
    trained = [s for s in plan.stages() if isinstance(s, Train) and "reference" in s.inputs]
    assert len(trained) == 10
    assert all(stage.inputs["reference"].inputs["start"] == stage.inputs["start"] for stage in trained)


def formula_of_kto(_: Path) -> None:
    for mismatched in (-4.0, 0.0, 1.75):
        kto_formula(mismatched, **KTO)


KTO = {"beta": 0.2, "lambda_desirable": 1.2, "lambda_undesirable": 0.8}
CHECKS: dict[str, Callable[[Path], None]] = {
    **{f"formula of {name}": (lambda _, name=name: pair_formula(name)) for name in CASES},
    "formula of kto": formula_of_kto,
    "formula of reward": lambda _: reward_formula(0.3),
    "formula of rankings": lambda _: [ranking_formula(loss) for loss in ("bradley_terry", "margin", "plackett_luce")],
    "z0 has no gradient": lambda _: reference_point_has_no_gradient(),
    "step of dpo": lambda shelf: dpo_trainer(shelf, "dpo", {}, loss_types=["sigmoid"], beta=0.1, label_smoothing=0.0),
    "step of ipo": lambda shelf: dpo_trainer(shelf, "ipo", {}, loss_types=["ipo"], beta=0.5, label_smoothing=0.0),
    "step of kto": lambda shelf: kto_trainer(shelf, KTO, 5.0, beta=0.2, desirable_weight=1.2, undesirable_weight=0.8),
    "sft by hand": sft_by_hand,
    "splits of dpo": lambda shelf: splits_agree(shelf, "dpo"),
    "splits of cpo": lambda shelf: splits_agree(shelf, "cpo"),
    "start of dpo": starts_at_its_reference,
    "plan": reference_is_of_the_start,
}

DPO, IPO, CPO, KTO_FILE = (f"harness.algorithms.{name}" for name in ("dpo", "ipo", "cpo", "kto"))
ORPO, SIMPO, REWARD = (f"harness.algorithms.{name}" for name in ("orpo", "simpo", "reward"))
PAIRS, UNPAIRED, SCORING = "harness.training.pairs", "harness.training.unpaired", "harness.inference.scoring"
BASE = "harness.algorithms._pairs"

# where, what stands there, what the mutant has, and the checks of which each must fail
TABLE: list[tuple[str, str, str, str, list[str]]] = [
    # the sign
    (DPO, "Dpo.losses", "chosen - rejected", "rejected - chosen", ["formula of dpo", "step of dpo"]),
    (DPO, "margin_losses", "right, flipped = -logsigmoid(margin)", "right, flipped = logsigmoid(margin)",
     ["formula of dpo", "step of dpo"]),
    (DPO, "margin_losses", "-logsigmoid(-margin)", "-logsigmoid(margin)", ["formula of dpo smoothed"]),
    (DPO, "margin_losses", "(1 - margin).relu()", "(1 + margin).relu()", ["formula of dpo hinge"]),
    (IPO, "squared_losses", "margin - 1", "margin + 1", ["formula of ipo", "step of ipo"]),
    (CPO, "contrastive_losses", "chosen_logp - rejected_logp", "rejected_logp - chosen_logp", ["formula of cpo"]),
    (CPO, "nll_losses", "return -chosen_logp\n", "return chosen_logp\n", ["formula of cpo sequence"]),
    (ORPO, "log_odds", "below - torch", "below + torch", ["formula of orpo"]),
    (ORPO, "odds_ratio_losses", "-logsigmoid", "logsigmoid", ["formula of orpo"]),
    (ORPO, "Orpo.losses", "-chosen + self", "chosen + self", ["formula of orpo"]),
    (SIMPO, "average_losses", "- gamma_over_beta", "+ gamma_over_beta", ["formula of simpo"]),
    (KTO_FILE, "prospect_losses", "beta * (z0 - log_ratio)", "beta * (log_ratio - z0)", ["formula of kto", "step of kto"]),
    (KTO_FILE, "prospect_losses", "label, desirable, undesirable", "label, undesirable, desirable",
     ["formula of kto", "step of kto"]),
    (REWARD, "pairwise_losses", "better - worse", "worse - better", ["formula of reward"]),
    (REWARD, "margin_losses", "better - worse", "worse - better", ["formula of rankings"]),
    (REWARD, "margin_losses", "margin - (better", "1 - (better", ["formula of rankings"]),
    (REWARD, "mean_over_pairs", "places[:, None] < places[None]", "places[:, None] <= places[None]", ["formula of rankings"]),
    (REWARD, "mean_over_pairs", "places[:, None] < places[None]", "places[:, None] > places[None]", ["formula of rankings"]),
    (REWARD, "mean_over_pairs", "places[None, None] < counts", "places[None, None] <= counts", ["formula of rankings"]),
    (REWARD, "mean_over_pairs", " / pairs.sum((1, 2))", "", ["formula of rankings"]),
    (REWARD, "plackett_luce_losses", "hidden.flip(1).logcumsumexp(1).flip(1)", "hidden.logcumsumexp(1)",
     ["formula of rankings"]),
    (REWARD, "plackett_luce_losses", "scores.masked_fill(~inside, -math.inf)", "scores", ["formula of rankings"]),
    # the mean for the sum, and the sum for the mean
    (PAIRS, "PairObjective.loss", "outputs.log_probs.float().sum(1)", "outputs.log_probs.float().mean(1)",
     ["step of dpo"]),
    (PAIRS, "PairObjective.loss", '.sum() / totals["rows"]', ".mean()", ["splits of dpo"]),
    (PAIRS, "PairObjective.totals", "sum(int((b", "max(int((b", ["splits of cpo"]),
    (UNPAIRED, "UnpairedObjective.totals", "torch.cat(moved).sum()", "torch.cat(moved).mean()", ["step of kto"]),
    (UNPAIRED, "UnpairedObjective.loss", 'torch.as_tensor(totals["moved"]) / totals["rows"]',
     'torch.as_tensor(totals["moved"])', ["step of kto"]),
    ("harness.training.sequences", "Likelihood.loss", "-outputs.log_probs.float().sum() / tokens",
     "-(outputs.log_probs.float().sum(1) / outputs.label_mask.sum(1)).sum() / 8", ["sft by hand"]),
    ("harness.training.sequences", "Likelihood.loss", "-outputs.log_probs", "outputs.log_probs", ["sft by hand"]),
    (IPO, "Ipo.rewards", 'self.normalise == "tokens"', 'self.normalise == "sum"',
     ["formula of ipo", "formula of ipo sum", "step of ipo"]),
    (SIMPO, "Simpo.losses", "batch.chosen_logp / batch.chosen_tokens", "batch.chosen_logp", ["formula of simpo"]),
    (ORPO, "Orpo.losses", "batch.rejected_logp / batch.rejected_tokens", "batch.rejected_logp", ["formula of orpo"]),
    (CPO, "nll_losses", "* step_rows / step_tokens", "/ chosen_tokens", ["formula of cpo"]),
    (CPO, "nll_losses", "* step_rows / step_tokens", "* len(chosen_logp) / step_tokens",
     ["formula of cpo", "splits of cpo"]),
    # a knob forgotten
    (DPO, "Dpo.rewards", "self.beta * chosen, self.beta * rejected", "chosen, rejected", ["formula of dpo", "step of dpo"]),
    (DPO, "margin_losses", "/ (1 - 2 * label_smoothing)", "", ["formula of dpo robust"]),
    (DPO, "margin_losses", "right + label_smoothing * flipped", "right", ["formula of dpo smoothed"]),
    (IPO, "squared_losses", "1 / (2 * tau)", "1 / tau", ["formula of ipo", "step of ipo"]),
    (CPO, "contrastive_losses", "beta * (", "(", ["formula of cpo"]),
    (CPO, "Cpo.losses", "self.alpha * nll", "nll", ["formula of cpo tokens"]),
    (ORPO, "Orpo.losses", "self.odds_weight * odds", "odds", ["formula of orpo"]),
    (ORPO, "Orpo.losses", "-chosen + self", "self", ["formula of orpo"]),
    (ORPO, "odds_ratio_losses", "log_odds(chosen) - log_odds(rejected)", "chosen - rejected", ["formula of orpo"]),
    (SIMPO, "average_losses", "beta * (chosen - rejected - gamma_over_beta)",
     "beta * (chosen - rejected) - gamma_over_beta", ["formula of simpo margin"]),
    (SIMPO, "average_losses", " - gamma_over_beta", "", ["formula of simpo"]),
    (KTO_FILE, "prospect_losses", "beta * (log_ratio - z0)", "log_ratio - z0", ["formula of kto", "step of kto"]),
    (KTO_FILE, "prospect_losses", "undesirable = lambda_undesirable", "undesirable = lambda_desirable",
     ["formula of kto", "step of kto"]),
    (REWARD, "centring_losses", "better + worse", "better - worse", ["formula of reward", "formula of rankings"]),
    (REWARD, "Reward.losses", "each, counts) + self.center * centred", "each, counts) + centred", ["formula of reward", "formula of rankings"]),
    # KTO's reference point
    (KTO_FILE, "prospect_losses", ".clamp(min=0)", "", ["formula of kto"]),
    (KTO_FILE, "prospect_losses", "reference_point.detach()", "reference_point", ["z0 has no gradient"]),
    (UNPAIRED, "UnpairedObjective.totals", '["partners"].items()', '.items() if name in batch["partners"]',
     ["step of kto"]),
    # the reference
    (BASE, "PairAlgorithm.rewards", "chosen = batch.chosen_logp - batch.reference_chosen_logp",
     "chosen = batch.chosen_logp", ["formula of dpo", "formula of ipo", "step of dpo", "start of dpo"]),
    (BASE, "PairAlgorithm.rewards", "chosen_logp - batch.reference_chosen", "chosen_logp - batch.reference_rejected",
     ["formula of dpo", "formula of ipo", "step of dpo", "start of dpo"]),
    (KTO_FILE, "Kto.losses", "batch.logp - batch.reference_logp", "batch.logp", ["formula of kto", "step of kto"]),
    (PAIRS, "train_pairs", 'reference(source["prompt_id"], source["rejected"])',
     'reference(source["prompt_id"], source["chosen"])', ["start of dpo"]),
    ("harness.layout", "Layout.reference", '{"start": start, **', '{"start": self.base(0), **', ["plan"]),
    ("harness.layout", "Layout._train", "self.reference(start, data)", 'self.reference(self.start(self.part("sft"), 0), data)', ["plan"]),
    # what is counted
    (SCORING, "pad", "[IGNORED] * len(prompt)", "prompt", ["step of ipo", "step of kto", "sft by hand"]),  # in DPO the prompt's cancel
    (SCORING, "pad", "response + [IGNORED] * gap", "response + [pad_id] * gap", ["step of dpo", "step of kto", "sft by hand"]),
    ("harness.inference.rendering", "render_response", ", end_token(tokenizer)]", "]", ["step of dpo", "step of kto", "sft by hand"]),
    ("harness.inference.rendering", "render_prompt", "tokenizer, prompt, True", "tokenizer, prompt, False",
     ["step of dpo", "step of kto"]),
    (PAIRS, "PairObjective.loss", "logp[:n],\n            logp[n:],", "logp[n:],\n            logp[:n],", ["step of dpo"]),
]  # fmt: skip


@pytest.mark.parametrize("name", CHECKS)
def test_every_check_passes_without_a_mutant(name: str, shelf: Path) -> None:
    CHECKS[name](shelf)


@pytest.mark.parametrize("row", TABLE, ids=lambda row: f"{row[0].split('.')[-1]}.{row[1]} {row[2]} as {row[3]}")
def test_every_mutant_is_caught(row: tuple[str, str, str, str, list[str]], shelf: Path) -> None:
    module, where, text, other, checks = row
    for name in checks:
        with mutated(module, where, text, other), pytest.raises(AssertionError):
            CHECKS[name](shelf)


def test_a_mutant_ends_with_its_block(shelf: Path) -> None:
    with mutated(DPO, "Dpo.losses", "chosen - rejected", "rejected - chosen"):
        pass
    CHECKS["formula of dpo"](shelf)


def test_a_change_of_nothing_is_not_caught(shelf: Path) -> None:
    with mutated(DPO, "Dpo.losses", "chosen - rejected", "chosen + -rejected"):
        CHECKS["formula of dpo"](shelf)
