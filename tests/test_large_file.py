"""A file of 2 GB is streamed: neither a plan nor a stage holds more of it than the rows of its split."""

from __future__ import annotations

import json
import resource
import subprocess
import sys

import pytest

ROWS, FILLER = 400_000, "and then some more of it " * 100
RECIPE = """
name = "large"
replicates = 5
[[dataset]]
source = "files"
pairs = "large.jsonl"
splits = {train = 0.01, proxy = 0.01, selection = 0.01, gold = 0.01, heldout = 0.01, test = 0.95}
[[model]]
source = "nobody/nothing"
[[start]]
name = "sft_chosen"
[[algorithm]]
name = "dpo"
"""
READ = """
import sys
from pathlib import Path
from harness.recipe import read_recipe
from harness import registry
part = read_recipe(Path("large.toml")).datasets[0]
print(len(registry.load("data", part.name)(**part.knobs).rows("pairs", "train")))
"""


@pytest.mark.long
@pytest.mark.parametrize("words", [["-m", "harness.cli", "plan", "large.toml"], ["-c", READ]], ids=["plan", "a split"])
def test_two_gigabytes_are_not_held(
    words: list[str], tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path_factory.getbasetemp()
    monkeypatch.setenv("HARNESS_CACHE", str(folder / "cache"))
    file = folder / "large.jsonl"
    if not file.exists():
        with file.open("w") as stream:
            for i in range(ROWS):
                row = {"prompt": f"Question {i}?", "chosen": f"Yes {i} {FILLER}", "rejected": f"No {i} {FILLER}"}
                stream.write(json.dumps(row) + "\n")
        (folder / "large.toml").write_text(RECIPE)
    assert file.stat().st_size > 2e9
    done = subprocess.run([sys.executable, *words], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    if words[0] == "-c":
        assert 0.8 < int(done.stdout) / (0.01 * ROWS) < 1.2
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024 < 0.6e9
