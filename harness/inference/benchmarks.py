"""lm-eval on a policy: one value of each metric for each document, in the shape of all scores."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from harness.errors import HarnessError
from harness.metrics import Measurement

if TYPE_CHECKING:
    from harness.data import Dataset, Row
    from harness.inference._lm_policy import PolicyLM
    from harness.stages import Bench

FILE, DOCUMENTS_FILE = "scores.parquet", "documents.parquet"
SCORES = ("metric", "role", "level", "prompt_id", "k", "value", "prompt_hash")
DOCUMENTS = ("role", "filter", "prompt_id", "prompt", "response", "target")


def write_scores(
    out: Path, policy: Path, source: Dataset | None, training: Mapping[str, Sequence[Row]], stage: Bench
) -> list[Measurement]:
    """Run a stage's tasks and write `scores.parquet` (columns `SCORES`) and `documents.parquet` (`DOCUMENTS`).

    `role` is the task, `level` is `document`, `prompt_id` lm-eval's hash of the document and its number. lm-eval's own
    caches are not used: its cache of answers knows requests, not weights.

    Args:
        out: where to write.
        policy: the folder of a Train stage.
        source: the dataset whose own tasks they are, or None.
        training: rows by what trains on them.
        stage: what to ask.

    Returns:
        Of each task and metric the mean over documents, as lm-eval gives it, and the task's own version.

    Raises:
        HarnessError: another lm-eval than the stage asks for; no such task; a document that was trained on.
    """
    if version("lm_eval") != stage.lm_eval:
        raise HarnessError(
            f"lm-eval is {version('lm_eval')} here, but the stage asks for {stage.lm_eval}; run the recipe again to "
            "make stages of the present version"
        )
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    from harness.inference._lm_policy import PolicyLM
    from harness.inference.opened import open_policy
    from harness.inference.quiet import quiet

    quiet(stage.threads)
    model, tokenizer = open_policy(policy / "policy")
    lm = PolicyLM(model, tokenizer, stage.batch, stage.chat, training)
    with TemporaryDirectory() as made:
        if source is not None:
            source.write_tasks(Path(made))
        found = evaluate(lm, stage, Path(made) if source is not None else _folder(stage))
    _write(_rows(found, lm), SCORES, out / FILE)
    _write(_documents(found), DOCUMENTS, out / DOCUMENTS_FILE)
    return _measurements(found)


def _folder(stage: Bench) -> Path | None:
    """Where the recipe's own tasks are; None for those that come with lm-eval."""
    if stage.path is None:
        return None
    from harness.inference.ready import folder_digest

    folder = Path(stage.path)
    if not folder.is_dir():
        raise HarnessError(f"the task folder {folder} is not there any more; run the recipe from where it is")
    if folder_digest(folder) != stage.sha256:
        raise HarnessError(f"the tasks in {folder} have changed since the recipe was read; run the recipe again")
    return folder


def evaluate(lm: PolicyLM, stage: Bench, folder: Path | None) -> dict[str, Any]:
    """What lm-eval finds, with every document.

    This is `simple_evaluate` of lm-eval without its half second of looking at the machine.
    """
    import random

    import numpy as np
    import torch
    from lm_eval.evaluator import evaluate as ask

    for seeded in (random.seed, np.random.seed, torch.manual_seed):
        seeded(0)
    found = ask(
        lm=lm,
        task_dict=_tasks(stage, folder),
        limit=stage.limit,
        apply_chat_template=stage.chat,
        fewshot_as_multiturn=stage.chat,
        bootstrap_iters=0,  # intervals are over runs and documents, and made in the report
        log_samples=True,
        verbosity=None,
    )
    if not found or not any(found["samples"].values()):
        raise HarnessError(f"lm-eval found no document in {', '.join(stage.tasks)}")
    return dict(found)


def _tasks(stage: Bench, folder: Path | None) -> Any:
    """Tasks and groups with their documents, and with as many examples before each as the stage wants.

    Raises:
        HarnessError: the documents cannot be had; a task fixes its examples, or runs code that a model wrote.
    """
    from lm_eval.tasks import TaskManager

    manager = TaskManager(include_path=str(folder) if folder else None, include_defaults=folder is None)
    try:
        loaded = manager.load(list(stage.tasks))
    except Exception as error:  # datasets and its hub client raise many kinds
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        raise HarnessError(
            f"the documents of {', '.join(stage.tasks)} cannot be had: {reason}. Tasks of lm-eval take theirs from the "
            "hub: is there a network, or have they been fetched before; tasks of your own name files that are there"
        ) from error
    for name, task in loaded["tasks"].items():
        if getattr(task, "UNSAFE_CODE", False):
            raise HarnessError(f"task '{name}' runs code that the model writes, which is not done here; leave it out")
        own = task.get_config("num_fewshot")
        if own == 0 and stage.shots:
            raise HarnessError(f"task '{name}' is asked without examples by its authors' rule; leave out shots for it")
        task.set_config(key="num_fewshot", value=(own or 0) if stage.shots is None else stage.shots)
        task.set_fewshot_seed(seed=0)
    return loaded


def _rows(found: dict[str, Any], lm: PolicyLM) -> list[dict[str, Any]]:
    """Values of metrics that are numbers of single documents."""
    rows = []
    for task, samples in sorted(found["samples"].items()):
        for sample in samples:
            where = _name(sample)
            told = lm.hash_of(_context(sample["arguments"]))
            for metric in sample["metrics"]:
                value = sample[metric]
                if isinstance(value, (int, float)) or hasattr(value, "item"):
                    name = _metric(metric, sample["filter"])
                    if not math.isfinite(float(value)):
                        raise FloatingPointError(f"{task}: {name} is {value} for document {where}")
                    row = {"metric": name, "role": task, "level": "document", "prompt_id": where, "k": -1}
                    rows.append({**row, "value": float(value), "prompt_hash": told})
    return rows


def _name(sample: dict[str, Any]) -> str:
    """A document's place and lm-eval's hash of it."""
    return f"{sample['doc_id']}-{sample['doc_hash'][:16]}"


def _documents(found: dict[str, Any]) -> list[dict[str, Any]]:
    """What was asked, answered and wanted; an answer to several choices is their log-probabilities, as JSON."""
    return [
        {
            **{"role": task, "filter": sample["filter"], "prompt_id": _name(sample)},
            **{"prompt": _context(sample["arguments"]), "target": str(sample["target"])},
            "response": json.dumps(sample["filtered_resps"], default=str),
        }
        for task, samples in sorted(found["samples"].items())
        for sample in samples
    ]


def _context(arguments: Any) -> str:
    """The prompt of a logged document: that of its first request."""
    first = next(iter(arguments.values())) if isinstance(arguments, dict) else arguments[0]
    return str(first["arg_0"] if isinstance(first, dict) else first[0])


def _metric(metric: str, filtered: str) -> str:
    return metric if filtered == "none" else f"{metric},{filtered}"


def _measurements(found: dict[str, Any]) -> list[Measurement]:
    made = []
    for task, values in sorted(found["results"].items()):
        counted = found["n-samples"].get(task, {}).get("effective", 0)
        for key, value in values.items():
            metric, _, filtered = key.partition(",")
            if filtered and not metric.endswith("_stderr") and not isinstance(value, str):
                better = found["higher_is_better"].get(task, {}).get(metric)
                sign = "" if better is None else "higher" if better else "lower"
                made.append(Measurement(f"{task}/{_metric(metric, filtered)}", float(value), int(counted), "", sign))
        if isinstance(found["versions"].get(task), (int, float)):
            made.append(Measurement(f"{task}/version", float(found["versions"][task]), 1))
    return made


def _write(rows: list[dict[str, Any]], columns: tuple[str, ...], path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    text = pa.dictionary(pa.int32(), pa.string())
    kinds = {"metric": text, "role": text, "level": text, "k": pa.int64(), "value": pa.float64()}
    schema = pa.schema([(name, kinds.get(name, pa.string())) for name in columns])
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), path)
