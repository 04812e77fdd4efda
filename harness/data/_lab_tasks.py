"""The lab's own lm-eval tasks: facts to choose and facts to say, on prompts of the split `test`."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path
from typing import Any

from harness.data._lab_prompts import Request, draw
from harness.data._lab_world import topics

CHOOSE, SAY = "lab_choose_fact", "lab_say_fact"
TASKS = (CHOOSE, SAY)
DOCUMENTS = 64
"""Documents of each task; each is a prompt that wishes for the fact, and no two are alike."""


def write_tasks(folder: Path, seed: int) -> None:
    """Write a YAML file and its documents for each task.

    Args:
        folder: where to; it must be there.
        seed: of the lab's prompts, which decides what belongs to `test`.
    """
    wished = [one for one in draw("test", DOCUMENTS * 5, seed) if any(wish.kind == "fact" for wish in one.wishes)]
    for task in TASKS:
        documents = [_document(one) for one in wished[:DOCUMENTS]]
        data = folder / f"{task}.jsonl"
        data.write_text("".join(json.dumps(document) + "\n" for document in documents), encoding="utf-8")
        settings = {**_common(task, data), **(_choose() if task == CHOOSE else _say())}
        (folder / f"{task}.yaml").write_text(json.dumps(settings, indent=1), encoding="utf-8")  # JSON is YAML


def _document(request: Request) -> dict[str, Any]:
    """The prompt, the true sentence and the false ones, in an order of the prompt's own."""
    text, about = request.text(), request.topic
    choices = [about.fact(value) for value in (about.truth, *about.lies)]
    random.Random(f"lab tasks {text}").shuffle(choices)
    return {"prompt": text, "choices": choices, "truth": about.fact(about.truth)}


def _common(task: str, data: Path) -> dict[str, Any]:
    return {
        "task": task,
        "dataset_path": "json",
        "dataset_kwargs": {
            "data_files": {"test": str(data.resolve())},
            "cache_dir": str(data.resolve().parent / "cache"),
        },
        "test_split": "test",
        "doc_to_text": "{{prompt}}",
        "metadata": {"version": 1},
    }


def _choose() -> dict[str, Any]:
    return {
        "output_type": "multiple_choice",
        "doc_to_choice": "{{choices}}",
        "doc_to_target": "{{choices.index(truth)}}",
        "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
    }


def _say() -> dict[str, Any]:
    """The first sentence of the form of a fact, true or false, about whatever topic, has to be the true one."""
    forms = sorted({re.escape(f"the {one.name} {one.relation} ") for one in topics()})
    return {
        "output_type": "generate_until",
        "doc_to_target": "{{truth}}",
        "generation_kwargs": {"until": [], "max_gen_toks": 48, "do_sample": False},
        "filter_list": [
            {
                "name": "first_fact",
                "filter": [
                    {"function": "regex", "regex_pattern": f"((?:{'|'.join(forms)})[a-z ]+ \\.)", "fallback": ""},
                    {"function": "take_first"},
                ],
            }
        ],
        "metric_list": [{"metric": "exact_match", "aggregation": "mean", "higher_is_better": True}],
    }
