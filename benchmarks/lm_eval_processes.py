"""Bench stages in one process against one lm_eval process per policy, on policies of the lab; results must be equal.

`python benchmarks/lm_eval_processes.py [policies]` (default 4). Both run the lab's two tasks with the chat template. The
policies' weights are random: what is timed is the asking.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

from harness.data.lab import Lab
from harness.inference.benchmarks import write_scores
from harness.inference.policy import save_policy
from harness.stages import Bench, dataset_spec
from harness.training.scratch import new_model, new_tokenizer

BATCH = 64


def main(policies: int) -> None:
    """Time both, and print seconds and the ratio."""
    root = Path(tempfile.mkdtemp())
    lab = Lab()
    (root / "tasks").mkdir()
    lab.write_tasks(root / "tasks")
    tokenizer = new_tokenizer(lab)
    for number in range(policies):
        model = new_model(tokenizer, hidden=128, layers=4, heads=4, seed=number, precision="float32")
        save_policy(model, tokenizer, root / f"train-{number}" / "policy")
    began = time.perf_counter()
    ours = [_stage(root, lab, number) for number in range(policies)]
    middle = time.perf_counter()
    theirs = [_process(root, lab, number) for number in range(policies)]
    seconds, other = middle - began, time.perf_counter() - middle
    if ours != theirs:
        raise SystemExit(f"the results differ: {ours} and {theirs}")
    print(
        f"{policies} policies: {seconds:.1f} s in stages, {other:.1f} s in processes, {other / seconds:.1f} times as fast"
    )


def _stage(root: Path, lab: Lab, number: int) -> dict[str, float]:
    stage = Bench({}, lm_eval=version("lm_eval"), tasks=list(lab.tasks), chat=True, batch=BATCH, threads=1,
                  source=dataset_spec("lab", {}))  # fmt: skip
    out = root / f"bench-{number}"
    out.mkdir()
    found = write_scores(out, root / f"train-{number}", lab, {}, stage)
    return {one.metric: one.value for one in found if not one.metric.endswith("/version")}


def _process(root: Path, lab: Lab, number: int) -> dict[str, float]:
    out = root / f"process-{number}"
    subprocess.run(
        [sys.executable, "-m", "lm_eval", "--model", "hf", "--include_path", str(root / "tasks"), "--device", "cpu",
         "--model_args", f"pretrained={root / f'train-{number}' / 'policy'},dtype=float32",
         "--tasks", ",".join(lab.tasks), "--batch_size", str(BATCH), "--apply_chat_template", "--output_path", str(out)],
        check=True, capture_output=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"},
    )  # fmt: skip
    results = json.loads(next(out.rglob("results_*.json")).read_text())["results"]
    return {
        f"{task}/{key.removesuffix(',none')}": value
        for task, values in sorted(results.items())
        for key, value in values.items()
        if "," in key and "_stderr" not in key
    }


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 4)
