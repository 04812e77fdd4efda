"""What every algorithm promises, whoever wrote it: parametrised over the folder."""

from __future__ import annotations

import inspect
import math
import re
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import tiny

from harness import registry
from harness.algorithms import Algorithm
from harness.algorithms._on_policy import OnPolicyAlgorithm
from harness.algorithms._pairs import PairAlgorithm
from harness.algorithms._unpaired import UnpairedAlgorithm
from harness.data import VIEWS
from harness.knobs import Choice, Uniform, knobs

NAMES = registry.names("algorithms")
KINDS = {name: registry.load("algorithms", name) for name in NAMES}
ROUNDS = {name: [one.train for one in KINDS[name]().rounds()] for name in NAMES}
IN_ROUNDS = [name for name in NAMES if ROUNDS[name]]
ON_COLLECTED = [name for name in IN_ROUNDS if name in ROUNDS[name]]
LOADED = [name for name in NAMES if not KINDS[name].needs.data]
TRAINED = [name for name in NAMES if KINDS[name].trains and not ROUNDS[name] and name not in LOADED] + ON_COLLECTED
FROM_A_START = [name for name in TRAINED if KINDS[name].needs.start]
SMALL: dict[str, dict[str, Any]] = {"pretrain": {"hidden": 16, "layers": 1, "heads": 2}}
ADAPTED = [name for name in FROM_A_START if KINDS[name].product == "policy"]
VARIANTS = [
    (name, rank, precision)
    for name in TRAINED
    for rank, precision in ((0, "float32"), (0, "bfloat16"), (2, "bfloat16"))
    if not rank or name in ADAPTED
]

REPEATED = ((0, "float32"), (2, "bfloat16"))
"""Of the variants, whole weights, and adapters with mixed numbers."""

LOGGED: dict[type[Algorithm], set[str]] = {
    Algorithm: {"loss", "grad_norm", "learning_rate", "tokens"},
    OnPolicyAlgorithm: {"score", "kl", "entropy", "length", "ended", "ratio", "advantage"},
    PairAlgorithm: {"rewards/chosen", "rewards/rejected", "rewards/margins", "rewards/accuracies", "entropy"},
    UnpairedAlgorithm: {"rewards/chosen", "rewards/rejected", "rewards/margins", "kl", "entropy", "logps/moved"},
}
"""Metrics of the curves that each family has, beside what each algorithm adds."""

SPENT = {"steps", "prompts", "responses", "labels", "trained_tokens", "rows_available", "rows_left_out"}
DRAWN = {"generated_tokens", "scored", "kl_max"}


@pytest.mark.parametrize("name", NAMES)
def test_it_says_what_it_is(name: str) -> None:
    kind = KINDS[name]
    said = inspect.getdoc(kind) or ""
    assert len(said.split()) > 10
    assert kind.needs.data in VIEWS or name in LOADED
    assert kind().requires().data in VIEWS or name in LOADED
    assert kind.product in ("policy", "reward")
    assert kind.version >= 1
    if kind.paper is None:
        assert "comes from no paper" in said
    else:
        assert re.fullmatch(r"\d{4}\.\d{4,5}|10\.\d{4,}/\S+", kind.paper.arxiv), (
            "an arXiv id, or a DOI where there is none"
        )


@pytest.mark.parametrize("name", NAMES)
def test_the_docs_say_which_variant_it_is(name: str) -> None:
    assert f"`{name}`" in (Path(__file__).parents[2] / "docs" / "algorithms.md").read_text()


@pytest.mark.parametrize("name", NAMES)
def test_its_knobs_are_whole(name: str) -> None:
    declared = knobs(KINDS[name])
    assert ("learning_rate" in declared) == (KINDS[name].trains and name not in LOADED)
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
            assert all(knob.valid is None or value in knob.valid for value in knob.search.values)


@pytest.mark.parametrize("name", NAMES)
def test_the_way_it_is_used_is_known(name: str) -> None:
    from harness.inference.systems import _procedure

    _procedure(KINDS[name]().procedure())


@pytest.mark.parametrize("name", IN_ROUNDS)
def test_its_rounds_can_be_run(name: str) -> None:
    from harness.inference.collecting import MAKES

    for one in KINDS[name]().rounds():
        assert one.train in NAMES
        registry.load("algorithms", one.train)(**one.knobs)
        assert not one.view or one.labeller in MAKES[one.view]
        assert one.view or not one.relabel


@cache
def trained(
    shelf: Path, name: str, run: str = "", seed: str = "replicate-0", rank: int = 0, precision: str = "float32"
) -> Path:
    """The folder of a training of four steps; the same arguments give the same run."""
    out = shelf / f"train-{name}-{run}{seed}-{rank}-{precision}"
    own: dict[str, Any] = {"lora_rank": rank, "precision": precision, "max_response_tokens": 12, "seed": seed}
    if name in ON_COLLECTED:
        own["rows"] = tiny.Tiny().rows("refinements", "train")
    found = tiny.measured(tiny.train(name, out, shelf, SMALL.get(name), **own))
    assert found.keys() >= SPENT | {"loss_first", "loss_last"}
    assert found["steps"] == tiny.BUDGET["steps"]
    assert all(found[what] > 0 for what in ("prompts", "responses", "trained_tokens", "rows_available"))
    if KINDS[name]().requires().data == "prompts":
        assert found.keys() >= DRAWN
    return out


@pytest.mark.parametrize(("name", "rank", "precision"), VARIANTS)
def test_it_trains_saves_and_loads_with_plain_transformers(name: str, rank: int, precision: str, shelf: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

    from harness.inference.policy import load_policy

    out, product = trained(shelf, name, rank=rank, precision=precision), KINDS[name].product
    folder = out / product
    assert AutoTokenizer.from_pretrained(folder).chat_template
    if rank:
        from peft import PeftModel

        start = AutoModelForCausalLM.from_pretrained(shelf / tiny.START / "policy")
        model, _ = load_policy(folder)
        plain = PeftModel.from_pretrained(start, folder).merge_and_unload()
        assert all(bool((a == b).all()) for a, b in zip(model.parameters(), plain.parameters(), strict=True))
    else:
        loader = AutoModelForCausalLM if product == "policy" else AutoModelForSequenceClassification
        model, loaded = loader.from_pretrained(folder, output_loading_info=True)
        assert not loaded["missing_keys"]
        assert {str(value.dtype) for value in tiny.weights(folder).values()} == {f"torch.{precision}"}
    assert all(bool(weight.isfinite().all()) for weight in model.parameters())
    if name in ADAPTED:
        start, _ = load_policy(shelf / tiny.START / "policy", precision)
        moved = [bool((a != b).any()) for a, b in zip(start.parameters(), model.parameters(), strict=True)]
        assert any(moved)
    assert sorted(path.name for path in out.iterdir()) == sorted(("curves.parquet", product))
    text = "".join(file.read_text() for file in folder.glob("*.json"))
    assert str(shelf) not in text, "no absolute path is saved"


@pytest.mark.parametrize("name", TRAINED)
def test_it_logs_what_its_family_does(name: str, shelf: Path) -> None:
    curves = tiny.curves(trained(shelf, name))
    logged = set(curves.index.get_level_values("metric"))
    for family, metrics in LOGGED.items():
        if issubclass(KINDS[name], family):
            assert logged >= metrics
    if KINDS[name].product == "policy":
        assert "entropy" in logged
    if getattr(KINDS[name](), "clip", 0):
        assert "clip_fraction" in logged
    if getattr(KINDS[name](), "value", ""):
        assert logged >= {"value_loss", "explained_variance"}
    assert set(curves.index.get_level_values("step")) == set(range(1, tiny.BUDGET["steps"] + 1))
    assert curves.map(math.isfinite).all()


@pytest.mark.parametrize("name", TRAINED)
def test_as_many_sequences_go_through_it_at_once_as_it_says(name: str, shelf: Path, tmp_path: Path) -> None:
    from torch import is_grad_enabled, nn
    from torch.nn.modules.module import register_module_forward_pre_hook

    read = [0]

    def count(module: nn.Module, given: tuple[Any, ...]) -> None:
        if isinstance(module, nn.Embedding) and is_grad_enabled():
            read.append(len(given[0]))

    own = {"rows": tiny.Tiny().rows("refinements", "train")} if name in ON_COLLECTED else {}
    hook = register_module_forward_pre_hook(count)
    try:
        tiny.train(name, tmp_path, shelf, SMALL.get(name), micro_batch=4, max_response_tokens=12, **own)
    finally:
        hook.remove()
    said = KINDS[name](**SMALL.get(name, {})).footprint().responses
    assert max(read) == 4 * said


@pytest.mark.parametrize(("name", "rank", "precision"), [one for one in VARIANTS if one[1:] in REPEATED])
def test_the_same_seed_gives_the_same_bits(name: str, rank: int, precision: str, shelf: Path) -> None:
    product = KINDS[name].product
    once, again = (trained(shelf, name, run, rank=rank, precision=precision) for run in ("", "again-"))
    assert tiny.same(once / product, again / product)
    assert tiny.curves(once).equals(tiny.curves(again))


@pytest.mark.parametrize("name", TRAINED)
def test_another_seed_gives_other_weights(name: str, shelf: Path) -> None:
    product = KINDS[name].product
    assert not tiny.same(trained(shelf, name) / product, trained(shelf, name, seed="replicate-1") / product)


def test_listing_algorithms_imports_nothing_heavy() -> None:
    code = (
        "import sys; from harness import registry;"
        "[registry.load('algorithms', n) for n in registry.names('algorithms')];"
        "heavy = {'torch', 'transformers', 'trl', 'peft', 'datasets', 'pandas', 'numpy'} & set(sys.modules);"
        "sys.exit(f'imported: {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
