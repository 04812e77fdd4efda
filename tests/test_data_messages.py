"""What is said of files that cannot be read: once, and with the advice that helps."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from test_data_files import ALL, PAIR, lines, opened

from harness.errors import HarnessError


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))


def said(folder: Path, name: str) -> list[str]:
    with pytest.raises(HarnessError) as error:
        opened(folder, f'source = "{name}"\n{ALL}').rows("pairs", "train")
    return str(error.value).split("\n")


def test_another_encoding_is_told_once_and_not_as_one_of_columns(tmp_path: Path) -> None:
    rows = [{**PAIR, "chosen": letter} for letter in "äöüéèàçñøåßþ"]
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    (tmp_path / "a.jsonl").write_text(text, encoding="cp1252")
    assert said(tmp_path, "a.jsonl") == [
        "none of the 12 rows of a.jsonl can be read as pairs:",
        "a.jsonl, lines 1, 2, 3 and 9 more: is not utf-8 (byte 0xe4); give the file's own encoding, for example "
        "encoding = 'cp1252'",
    ]
    (tmp_path / "b.jsonl").write_text(text, encoding="utf-16")
    advice = "give the file's own encoding, for example encoding = 'utf-16'"
    assert said(tmp_path, "b.jsonl") == [f"b.jsonl, line 1: is not utf-8 (byte 0xff); {advice}"]


@pytest.mark.parametrize("indent", [None, 1])
def test_a_json_list_that_is_named_jsonl(tmp_path: Path, indent: int | None) -> None:
    (tmp_path / "a.jsonl").write_text("\n" + json.dumps([PAIR] * 3, indent=indent))
    assert said(tmp_path, "a.jsonl") == [
        "a.jsonl, line 2: this is a JSON list, and JSONL has an object in each line; name the file .json"
    ]


def test_turns_without_an_empty_line_between_are_no_transcript(tmp_path: Path) -> None:
    row: dict[str, Any] = {side: f"Human: Why?\nAssistant: {side}" for side in ("chosen", "rejected")}
    lines(tmp_path / "a.jsonl", [row])
    (_, told) = said(tmp_path, "a.jsonl")
    assert told == (
        "a.jsonl, line 1: has no prompt, and chosen is no transcript: an empty line has to stand before each "
        "'Assistant:' and each later 'Human:'"
    )
