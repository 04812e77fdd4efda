"""What no training could do is said by the plan, before anything is trained."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.errors import HarnessError
from harness.plan import Plan, expanded, make_plan
from harness.recipe import read_recipe


def planned(folder: Path, tables: str) -> Plan:
    path = folder / "r.toml"
    path.write_text(f'name = "x"\nreplicates = 1\n{tables}')
    return expanded(read_recipe(path, []))


def reason(folder: Path, tables: str) -> str:
    """Why the last contestant cannot run, or nothing."""
    return planned(folder, tables).cells[-1].reason


@pytest.mark.parametrize(
    ("tables", "said"),
    [
        ("[[algorithm]]\nname = 'grpo'\nsamples = 8", ""),
        (
            "[[algorithm]]\nname = 'grpo'\nsamples = 7",
            "grpo draws 2 · budget.batch · minibatches = 64 responses for a rollout; samples = 7 does not divide that, "
            "4 does",
        ),
        ("[[algorithm]]\nname = 'rloo'\nsamples = 3\nminibatches = 3", ""),
        (
            "[budget]\nbatch = 4\n[[algorithm]]\nname = 'ppo'\nsamples = 24\nminibatches = 2",
            "ppo draws 2 · budget.batch · minibatches = 16 responses for a rollout; samples = 24 does not divide that, "
            "16 does",
        ),
        ("[[algorithm]]\nname = 'online_dpo'\nsamples = 7", ""),
        ("[[algorithm]]\nname = 'ppo'\nvalue = 'reward'", ""),
        (
            "[reward.proxy]\nrule = 'total'\n[[algorithm]]\nname = 'ppo'\nvalue = 'reward'",
            "ppo begins its value model as the proxy, which is the dataset's rule 'total': use value = 'head'",
        ),
        ("[reward.proxy]\nrule = 'total'\n[[algorithm]]\nname = 'ppo'", ""),
    ],
)
def test_a_rollout_and_a_value_model_suit_the_recipe(tmp_path: Path, tables: str, said: str) -> None:
    assert reason(tmp_path, tables) == said


def test_best_of_n_is_not_planned_where_all_responses_are_the_same(tmp_path: Path) -> None:
    best = "[[algorithm]]\nname = 'best_of_n'\n"
    same = "chooses among responses that are all the same at evaluation.temperature = 0; set a temperature above 0"
    greedy = planned(tmp_path, f"[evaluation]\ntemperature = 0.0\n{best}[[algorithm]]\nname = 'dpo'")
    assert [cell.reason for cell in greedy.cells] == ["", f"best_of_n {same}", ""]
    assert "best_of_n" not in {cell.samples[None].procedure["name"] for cell in greedy.cells if not cell.reason}
    assert reason(tmp_path, f"[evaluation]\ntemperature = 0.5\n{best}") == ""
    path = tmp_path / "r.toml"
    path.write_text(f'name = "x"\n[evaluation]\ntemperature = 0.0\n{best}')
    with pytest.raises(HarnessError, match=same):
        make_plan(read_recipe(path, []))


def test_an_alpha_that_nothing_reads_is_the_recipes_mistake(tmp_path: Path) -> None:
    dpo = "[[algorithm]]\nname = 'dpo'\nalpha = 0.3\n"
    said = r"r.toml:3: dpo: alpha is 0.3, which divergence = 'reverse_kl' does not read; drop alpha, or set divergence"
    with pytest.raises(HarnessError, match=said):
        planned(tmp_path, dpo)
    assert reason(tmp_path, f"{dpo}divergence = 'alpha_divergence'") == ""
    with pytest.raises(HarnessError, match=r"dpo: alpha is 0.3, which divergence = 'forward_kl' does not read"):
        planned(tmp_path, f"{dpo}grid.divergence = ['alpha_divergence', 'forward_kl']")
