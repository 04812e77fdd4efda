"""An algorithm is one file: a toy loss in a folder of its own is known everywhere, and trains."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiny

from harness import registry
from harness.commands.listing import describe
from harness.errors import HarnessError
from harness.plan import make_plan
from harness.recipe import read_recipe

TOY = '''
"""A toy: the chosen should be likelier than the rejected, and no more."""

from dataclasses import dataclass

from harness.algorithms._pairs import PairAlgorithm
from harness.knobs import Uniform, above, knob


@dataclass(frozen=True)
class Toy(PairAlgorithm):
    """max(0, margin − [log π(y_w) − log π(y_l)]), mean over pairs."""

    learning_rate: float = knob(1e-3, valid=above(0), doc="peak of the schedule")
    margin: float = knob(1.0, valid=above(0), search=Uniform(0.1, 10, log=True), doc="log-odds that are enough")

    def losses(self, batch):
        return (self.margin - (batch.chosen_logp - batch.rejected_logp)).relu()
'''


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "algorithms").mkdir()
    (tmp_path / "algorithms" / "toy.py").write_text(TOY)
    monkeypatch.setenv("HARNESS_PLUGINS", str(tmp_path))
    return tmp_path


def test_one_file_is_enough(toy: Path, shelf: Path) -> None:
    assert len(TOY.strip().splitlines()) < 40
    assert "toy" in registry.names("algorithms")
    assert describe("algorithms", "toy")["knobs"][1]["search"] == "0.1 to 10 (log)"
    recipe = toy / "r.toml"
    recipe.write_text('name = "x"\n[[algorithm]]\nname = "toy"\ngrid.margin = [1.0, 2.0]\n')
    assert {cell.contestant for cell in make_plan(read_recipe(recipe)).cells} == {"sft", "toy margin=1", "toy margin=2"}
    found = {m.metric: m.value for m in tiny.train("toy", toy / "out", shelf, steps=2)}
    assert found["steps"] == 2
    assert not tiny.same(toy / "out" / "policy", shelf / tiny.START / "policy")


def test_listing_imports_nothing(toy: Path) -> None:
    (toy / "algorithms" / "broken.py").write_text("raise RuntimeError('imported')")
    assert "broken" in registry.names("algorithms")
    with pytest.raises(RuntimeError, match="imported"):
        registry.load("algorithms", "broken")


def test_a_file_without_a_class_is_refused(toy: Path) -> None:
    (toy / "algorithms" / "empty.py").write_text("x = 1")
    with pytest.raises(HarnessError, match="exactly one public class, this has 0"):
        registry.load("algorithms", "empty")


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(HarnessError, match=r"there is no algorithm 'dp0'; did you mean 'dpo'\?"):
        registry.load("algorithms", "dp0")
