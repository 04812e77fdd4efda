"""Real files as they are published: what was read of them, and what is odd about each (../shared/data/README.md)."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from test_data_files import opened

REAL = Path(os.environ.get("HARNESS_DATA") or Path(__file__).parents[2] / "shared" / "data")
QA, FACTORY, GRADED = "truthfulqa_split/dev_", "llamafactory_demo/", 'rankings = "from graded"\npairs = "from graded"\n'

FILES: list[tuple[str, str, str, dict[str, int], dict[str, int], dict[str, int]]] = [
    (
        "pairs", "ultrafeedback_1k/train_clean.jsonl", "", {"pairs": 994, "prompts": 994}, {},
        {"chosen and rejected are equal": 4, "chosen is empty": 1, "rejected is empty": 1},
    ),
    (
        "pairs", "hh_harmless_test/test.jsonl.gz", "", {"pairs": 2303, "prompts": 2301}, {},
        {
            "chosen and rejected do not answer the same prompt": 5,
            "chosen is empty: nothing stands after the last 'Assistant:'": 4,
        },
    ),
    (
        "graded", "topical_chat_kway/topical_chat_kway.jsonl", GRADED, {"pairs": 830, "rankings": 60, "prompts": 60},
        {"pairs ties": 65, "rankings ties": 59}, {},
    ),
    (
        "graded", "prometheus_graded/vicuna_eval_kway.jsonl", GRADED, {"pairs": 322, "rankings": 74, "prompts": 74},
        {"pairs ties": 158, "rankings ties": 119}, {},
    ),
    (
        "judgments", "prometheus_graded/vicuna_eval_judgments.jsonl", 'columns = {system = ""}\n',
        {"judgments": 320, "prompts": 80}, {}, {},
    ),
    (
        "judgments", "cut_iter/train-alpaca-sample-iter1.json", "",
        {"judgments": 1000, "prompts": 1000}, {"praised": 713}, {},
    ),
    ("pairs", f"{QA}pairs.jsonl", "", {"pairs": 1787, "prompts": 600}, {}, {"chosen is empty": 12}),
    (
        "graded", f"{QA}kway.jsonl", GRADED, {"pairs": 5289, "rankings": 588, "prompts": 588},
        {"pairs ties": 3526, "rankings ties": 2351},
        {f"responses[{place}] is empty": count for place, count in enumerate((2, 1, 1, 1, 3, 4))},
    ),
    ("binary", f"{QA}unpaired.jsonl", "", {"binary": 13303, "prompts": 600}, {}, {"completion is empty": 32}),
    ("demonstrations", f"{QA}sft.jsonl", "", {"demonstrations": 3976, "prompts": 600}, {}, {"completion is empty": 24}),
    ("prompts", f"{QA}mc.jsonl", "", {"prompts": 599}, {}, {}),
    ("pairs", f"{FACTORY}dpo_en_demo.json", "", {"pairs": 295, "prompts": 295}, {"pairs repeated": 5}, {}),
    ("binary", f"{FACTORY}kto_en_demo.json", "", {"binary": 300, "prompts": 297}, {}, {}),
    ("demonstrations", f"{FACTORY}identity.json", "", {"demonstrations": 91, "prompts": 89}, {}, {}),
]  # fmt: skip
"""View, file, what else the recipe says; rows by view, what else is counted, and what is wrong with how many rows."""


@pytest.mark.skipif(not REAL.is_dir(), reason="no real data in $HARNESS_DATA or ../shared/data")
@pytest.mark.parametrize(
    ("view", "file", "more", "rows", "counted", "problems"), FILES, ids=[file for _, file, *_ in FILES]
)
def test_real_rows(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    view: str,
    file: str,
    more: str,
    rows: dict[str, int],
    counted: dict[str, int],
    problems: dict[str, int],
) -> None:
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HARNESS_DATA", str(REAL))
    text = f'source = "files"\n{view} = "{file}"\n{more}on_bad = "drop"\nsplits = {{train = 1.0}}\n'
    data: Any = opened(tmp_path, text)
    found = {name: data.rows(name, "train") for name in data.offers()}
    assert {name: len(own) for name, own in found.items()} == rows
    assert Counter(bad.problem for bad in data.problems()) == problems
    seen = {f"{name} {what}": n for name in found for what, n in data.counts(name, "train").items() if what != "bad"}
    seen["praised"] = sum(row["judgment"] is None for row in found.get("judgments", []))
    assert {what: n for what, n in seen.items() if n} == counted
