"""What holds for every file in `harness/metrics`: a new metric is tested by being there."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path

import pytest
from small import (
    BareData,
    SmallData,
    grade_stage,
    sample_stage,
    save_small_policy,
    save_small_reward,
    train_stage,
)

from harness import registry
from harness.inference.systems import write_samples
from harness.metrics import Metric
from harness.metrics._bench import GradeBench

NAMES = registry.names("metrics")


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    root = tmp_path_factory.mktemp("results")
    save_small_policy(root / "policy", seed=0)
    save_small_policy(root / "start", seed=1)
    save_small_reward(root / "gold", seed=2)
    rows = SmallData().rows("prompts", "test")
    for role, changed in (("sample", {}), ("greedy", {"temperature": 0.0, "samples": 1})):
        (root / role).mkdir()
        stage = sample_stage(train_stage(), **changed)
        write_samples(root / role, {"policy": root / "policy"}, rows, SmallData(), stage)
    return {role: root / role for role in ("policy", "start", "gold", "sample", "greedy")}


def bench(inputs, dataset) -> GradeBench:
    return GradeBench(inputs, dataset, grade_stage(sample_stage(train_stage()), train_stage("replicate-1")))


@pytest.fixture(scope="module")
def full(inputs) -> GradeBench:
    return bench(inputs, SmallData())


@pytest.mark.parametrize("name", NAMES)
def test_a_metric_says_what_it_is(name):
    metric = registry.load("metrics", name)
    assert issubclass(metric, Metric)
    assert metric.unit
    assert metric.better in ("higher", "lower", "")
    assert metric.level in ("sample", "prompt", "pair", "judgment", "corpus")
    assert metric.version >= 1
    assert len(metric.__doc__.split()) > 3


@pytest.mark.parametrize("name", NAMES)
def test_a_metric_gives_one_finite_value_for_each_response_or_pair(name, full):
    metric = registry.load("metrics", name)()
    places = {
        "sample": [(r.prompt_id, r.k) for r in full.responses],
        "prompt": [(prompt_id, -1) for prompt_id in full.by_prompt],
        "pair": [(pair["prompt_id"], -1) for pair in full.pairs],
        "judgment": [(one.prompt_id, -1) for one in full.blamed],
        "corpus": [("", -1)],
    }[metric.level]
    found = metric.values(full)
    assert found
    for role in {value.role for value in found}:
        own = [value for value in found if value.role == role]
        assert sorted((value.prompt_id, value.k) for value in own) == sorted(places)
        assert all(type(value.value) is float and math.isfinite(value.value) for value in own)


@pytest.mark.parametrize("name", NAMES)
def test_a_metric_is_documented(name):
    level = registry.load("metrics", name).level
    assert f"| `{name}` | {level} |" in (Path(__file__).parents[2] / "docs" / "metrics.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", NAMES)
def test_a_metric_gives_the_same_values_again(name, full, inputs):
    metric = registry.load("metrics", name)
    assert metric().values(full) == metric().values(bench(inputs, SmallData()))


@pytest.mark.parametrize(
    "name", [name for name in NAMES if registry.load("metrics", name).level in ("pair", "judgment")]
)
def test_a_metric_of_labelled_rows_gives_no_value_where_there_are_none(name, inputs):
    assert registry.load("metrics", name)().values(bench(inputs, BareData())) == []


def test_listing_metrics_imports_nothing_heavy():
    code = (
        "import sys; from harness import registry;"
        "[registry.load('metrics', n) for n in registry.names('metrics')];"
        "heavy = {'torch', 'transformers', 'pyarrow', 'pandas', 'numpy'} & set(sys.modules);"
        "sys.exit(f'imported: {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
