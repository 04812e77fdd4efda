"""For somebody who has a CUDA device: `pytest -m gpu`. Nobody has run it yet."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from test_cli import TINY, harness


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_small_comparison_trains_on_the_device(precision: str, tmp_path: Path) -> None:
    import torch

    assert torch.cuda.is_available(), "no CUDA device here"
    (tmp_path / "tiny.toml").write_text(TINY)
    done = harness("run", "tiny.toml", "--set", f"budget.precision={precision}", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    costs = [json.loads(file.read_text())["cost"] for file in (tmp_path / "results").glob("train-*/record.json")]
    assert all(cost["peak_device_memory_bytes"] > 0 for cost in costs)
