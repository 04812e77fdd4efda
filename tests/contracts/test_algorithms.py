"""What every algorithm promises, whoever wrote it: parametrised over the folder."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path

import pytest
import tiny

from harness import registry
from harness.data import VIEWS
from harness.knobs import Choice, Uniform, knobs

NAMES = registry.names("algorithms")
TRAINED = [name for name in NAMES if registry.load("algorithms", name).needs.start]
POLICIES = [name for name in TRAINED if registry.load("algorithms", name).product == "policy"]
SMALL = {"hidden": 16, "layers": 1, "heads": 2}


@pytest.mark.parametrize("name", NAMES)
def test_it_says_what_it_is(name: str) -> None:
    kind = registry.load("algorithms", name)
    assert len((inspect.getdoc(kind) or "").split()) > 10
    assert kind.needs.data in VIEWS
    assert kind.product in ("policy", "reward")
    assert kind.version >= 1
    if name != "pretrain":  # it comes from no paper
        assert kind.paper.arxiv[:4].isdigit()


@pytest.mark.parametrize("name", NAMES)
def test_the_docs_say_which_variant_it_is(name: str) -> None:
    assert f"`{name}`" in (Path(__file__).parents[2] / "docs" / "algorithms.md").read_text()


@pytest.mark.parametrize("name", NAMES)
def test_its_knobs_are_whole(name: str) -> None:
    declared = knobs(registry.load("algorithms", name))
    assert "learning_rate" in declared
    for knob in declared.values():
        assert knob.doc
        assert knob.valid is None or knob.default in knob.valid
        if isinstance(knob.search, Uniform):
            assert knob.search.low < knob.search.high
            assert knob.search.low in knob.valid
            assert knob.search.high in knob.valid
            assert knob.search.low <= knob.default <= knob.search.high
        if isinstance(knob.search, Choice):
            assert knob.default in knob.search.values


def trained(name: str, out: Path, shelf: Path, **given: object) -> Path:
    tiny.train(name, out, shelf, SMALL if name == "pretrain" else {}, steps=2, **given)
    return out


@pytest.mark.parametrize("name", NAMES)
def test_it_trains_saves_and_loads_with_plain_transformers(name: str, shelf: Path, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

    product = registry.load("algorithms", name).product
    folder = trained(name, tmp_path, shelf) / product
    loader = AutoModelForCausalLM if product == "policy" else AutoModelForSequenceClassification
    assert all(bool(p.isfinite().all()) for p in loader.from_pretrained(folder).parameters())
    assert AutoTokenizer.from_pretrained(folder).chat_template
    if name != "pretrain":
        assert not tiny.same(folder, shelf / tiny.START / "policy"), "it has moved"
    assert not (tmp_path / "checkpoints").exists()


@pytest.mark.parametrize("name", POLICIES)
def test_it_trains_with_lora_in_bfloat16(name: str, shelf: Path, tmp_path: Path) -> None:
    from harness.models.policy import load_policy

    out = trained(name, shelf / f"train-{name}-lora", shelf, lora_rank=2, precision="bfloat16")
    model, _ = load_policy(out / "policy")
    assert all(bool(p.isfinite().all()) for p in model.parameters())
    text = "".join(file.read_text() for file in (out / "policy").glob("*.json"))
    assert str(shelf) not in text, "no absolute path is saved"


@pytest.mark.parametrize("name", TRAINED)
def test_the_same_seed_gives_the_same_bits_and_another_seed_others(name: str, shelf: Path, tmp_path: Path) -> None:
    product = registry.load("algorithms", name).product
    once, again = (trained(name, tmp_path / run, shelf) / product for run in ("once", "again"))
    other = trained(name, tmp_path / "other", shelf, seed="replicate-1") / product
    assert tiny.same(once, again)
    assert not tiny.same(once, other)


def test_listing_algorithms_imports_nothing_heavy() -> None:
    code = (
        "import sys; from harness import registry;"
        "[registry.load('algorithms', n) for n in registry.names('algorithms')];"
        "heavy = {'torch', 'transformers', 'trl', 'peft', 'datasets', 'pandas', 'numpy'} & set(sys.modules);"
        "sys.exit(f'imported: {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
