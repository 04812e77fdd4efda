"""An algorithm is one file: a toy loss in a folder of its own is known everywhere, and trains."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import tiny
from synthetic import World, fill, make_cells
from synthetic import make_plan as made_plan

from harness import registry
from harness.commands.listing import describe, show_list
from harness.errors import HarnessError
from harness.plan import make_plan
from harness.recipe import read_recipe
from harness.report import build
from harness.store import Store

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
    with pytest.raises(registry.PluginError, match=r"broken.py:1: RuntimeError: imported; a mistake in this plug-in"):
        registry.load("algorithms", "broken")


METRIC = "from harness.metrics import Metric\n"
WRONG = {
    "no class": ("algorithms", "x = 1", ": it defines no public class that derives from harness.algorithms.Algorithm"),
    "another kind": ("metrics", TOY, ": it defines no public class that derives from harness.metrics.Metric"),
    "two": (
        "algorithms", TOY + "class Other(Toy):\n    pass\n",
        r": a plug-in defines exactly one public class, this has 2 \(Toy, Other\); the name of a helper begins with an",
    ),
    "no method": ("algorithms", TOY.replace("def losses", "def loss"), ":10: class Toy lacks its method 'losses'$"),
    "no training": (
        "algorithms",
        "from dataclasses import dataclass\nfrom harness.algorithms import Algorithm, Needs\n@dataclass(frozen=True)\n"
        'class Toy(Algorithm):\n    needs = Needs(data="pairs")\n',
        r":3: class Toy lacks its method 'train' \(or 'rounds', or trains = False\)$",
    ),
    "no attribute": (
        "metrics", METRIC + 'class Bad(Metric):\n    unit = "x"\n',
        ":2: class Bad lacks its method 'values', 'better'$",
    ),
    "no decorator": (
        "algorithms", TOY.replace("@dataclass(frozen=True)\n", ""),
        r":10: class Toy lacks @dataclass\(frozen=True\) above it$",
    ),
    "no Python": ("data", "x = 1\ny = (\n", r":2: SyntaxError: '\(' was never closed; a mistake in this plug-in$"),
    "no such name": (
        "data", "import math\n\ndef f():\n    return nme\n\nf()\n",
        ":4: NameError: name 'nme' is not defined; a mistake in this plug-in$",
    ),
    "no such module": ("data", "import nowhere_at_all\n", ":1: ModuleNotFoundError: No module named 'nowhere_at_all';"),
    "an exit": ("data", "import sys\nsys.exit(3)\n", ":2: SystemExit: 3; a mistake in this plug-in$"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_a_file_that_is_wrong_is_told_in_one_line(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    kind, text, message = WRONG[case]
    file = tmp_path / kind / "wrong.py"
    file.parent.mkdir()
    file.write_text(text)
    monkeypatch.setenv("HARNESS_PLUGINS", str(tmp_path))
    with pytest.raises(registry.PluginError, match=f"^{file}{message}") as caught:
        registry.load(kind, "wrong")
    assert "\n" not in str(caught.value)
    for _ in range(2):
        assert set(registry.names(kind)) - set(registry.loaded(kind)) == {"wrong"}, "all others are there"
    assert capsys.readouterr().err == f"warning: {caught.value}; 'wrong' is left out\n", "once"


def test_a_recipe_that_does_not_use_it_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for kind in ("algorithms", "metrics", "data", "models"):
        (tmp_path / kind).mkdir()
        (tmp_path / kind / "broken.py").write_text("x = nme")
    monkeypatch.setenv("HARNESS_PLUGINS", str(tmp_path))
    recipe = tmp_path / "r.toml"
    recipe.write_text('name = "x"\n[[algorithm]]\nname = "dpo"\n')
    assert "broken" not in read_recipe(recipe).evaluation.metrics
    show_list("data", False)
    told = capsys.readouterr()
    assert (
        told.err.count("broken.py:1: NameError: name 'nme' is not defined; a mistake in this plug-in; 'broken' is") == 3
    )
    assert "lab: " in told.out
    recipe.write_text(
        'name = "x"\n[[dataset]]\nsource = "broken"\n[[model]]\nsource = "broken"\n'
        '[evaluation]\nmetrics = ["reward", "broken"]\n[[algorithm]]\nname = "broken"\n'
        '[[algorithm]]\nname = "dpo"\nbta = 1\n'
    )
    with pytest.raises(HarnessError) as caught:
        read_recipe(recipe)
    lines = str(caught.value).split("\n")
    for line, kind in ((3, "data"), (5, "models"), (7, "metrics"), (9, "algorithms")):
        told_there = f"{recipe}:{line}: {tmp_path}/{kind}/broken.py:1: NameError: name 'nme' is not defined; a mistake"
        assert any(one.startswith(told_there) for one in lines)
    assert any("did you mean 'beta'?" in line for line in lines), "with all other problems"


def test_a_report_is_built_without_a_figure_that_is_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "plug" / "report" / "figures").mkdir(parents=True)
    (tmp_path / "plug" / "report" / "figures" / "broken.py").write_text("x = nme")
    monkeypatch.setenv("HARNESS_PLUGINS", str(tmp_path / "plug"))
    cells = make_cells(["dpo"], 2)
    fill(tmp_path, cells, World({"dpo": 1.0}))
    build(made_plan(cells, 2), Store(tmp_path), tmp_path / "out")
    assert 'id="figure-forest"' in (tmp_path / "out" / "report.html").read_text()
    assert "broken.py:1: NameError: name 'nme' is not defined" in capsys.readouterr().err


def test_a_folder_that_gives_nothing_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "algorithm").mkdir()
    monkeypatch.setenv("HARNESS_PLUGINS", f"{tmp_path / 'nowhere'}{os.pathsep}{tmp_path}")
    assert registry.names("judges") == registry.names("judges") == ["endpoint", "local", "rule"]
    first, second = capsys.readouterr().err.splitlines()
    assert first == f"warning: HARNESS_PLUGINS: there is no folder {tmp_path}/nowhere, so nothing is taken from it"
    assert second.startswith(
        f"warning: HARNESS_PLUGINS: {tmp_path} has none of the folders in which plug-ins lie (algo"
    )


def test_an_exception_of_a_plug_in_is_its_own_mistake(tmp_path: Path) -> None:
    """Also where code of ours called it, and where what it called raised it."""
    (tmp_path / "plug" / "data").mkdir(parents=True)
    file = tmp_path / "plug" / "data" / "mine.py"
    file.write_text(
        "import json\nfrom harness.data.lab import Lab\n\nclass Mine(Lab):\n"
        '    def offers(self):\n        return json.loads("{")\n'
    )
    (tmp_path / "r.toml").write_text('name = "x"\n[[dataset]]\nsource = "mine"\n[[algorithm]]\nname = "dpo"\n')
    own = {**os.environ, "HARNESS_PLUGINS": str(tmp_path / "plug")}
    done = subprocess.run(
        [sys.executable, "-m", "harness", "plan", "r.toml"], check=False, cwd=tmp_path, env=own, capture_output=True,
        text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"{file}:6: JSONDecodeError: Expecting property name enclosed in double quotes: line 1")
    assert line.endswith("; a mistake in this plug-in")
    with pytest.raises(KeyError) as ours:
        raise KeyError("ours")
    assert registry.blame(ours.value) == ""


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(HarnessError, match=r"there is no algorithm 'dp0'; did you mean 'dpo'\?"):
        registry.load("algorithms", "dp0")
