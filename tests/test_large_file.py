"""A file of 2 GB is streamed: no plan, no stage and no `harness data` holds more of it than the rows it asks for."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

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
print("rows", len(registry.load("data", part.name)(**part.knobs).rows("pairs", "train")))
"""
CLI = ["-m", "harness.cli"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A recipe and its file; both files, its own and the prepared one, are removed."""
    made = tmp_path_factory.mktemp("large")
    file = made / "large.jsonl"
    with file.open("w") as stream:
        for i in range(ROWS):
            row = {"prompt": f"Question {i}?", "chosen": f"Yes {i} {FILLER}", "rejected": f"No {i} {FILLER}"}
            stream.write(json.dumps(row) + "\n")
    (made / "large.toml").write_text(RECIPE)
    assert file.stat().st_size > 2e9
    yield made
    shutil.rmtree(made)


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(
    ("words", "expected"),
    [([*CLI, "plan", "large.toml"], ""), (["-c", READ], "rows "), ([*CLI, "data", "large.toml"], "pairs ")],
    ids=["plan", "a split", "data"],
)
def test_two_gigabytes_are_not_held(words: list[str], expected: str, folder: Path) -> None:
    environment = {**os.environ, "HARNESS_CACHE": str(folder / "cache"), "HF_HUB_OFFLINE": "1"}
    ran = subprocess.Popen([sys.executable, *words], cwd=folder, env=environment, stdout=subprocess.PIPE, text=True)
    assert ran.stdout
    said = ran.stdout.read()
    _, status, used = os.wait4(ran.pid, 0)
    ran.returncode = os.waitstatus_to_exitcode(status)
    assert ran.returncode == 0
    print(f"{used.ru_maxrss / 1024:.0f} MB, {used.ru_utime:.0f} s of CPU")
    if expected:
        counted = next(line for line in said.splitlines() if line.startswith(expected)).split()[1]
        assert 0.8 < int(counted) / (0.01 * ROWS) < 1.2
    assert used.ru_maxrss * 1024 < 0.4e9
