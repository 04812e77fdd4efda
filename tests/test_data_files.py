"""Files of every form, read through a recipe's [[dataset]] table."""

from __future__ import annotations

import csv
import errno
import gzip
import json
import os
import random
from pathlib import Path
from typing import Any

import pytest

from harness.data import Dataset, EmptySplit, _shelf
from harness.data._presets import PRESETS
from harness.data._splits import split_of
from harness.errors import HarnessError
from harness.recipe import read_recipe
from harness.stages import dataset_spec, open_dataset

ALL = "splits = {train = 1.0}\n"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))


def opened(folder: Path, text: str) -> Dataset:
    """The dataset of a recipe whose [[dataset]] table is `text`."""
    recipe = folder / "r.toml"
    recipe.write_text(f'name = "x"\n[[dataset]]\n{text}\n[[start]]\nname = "base"\n[[algorithm]]\nname = "dpo"\n')
    part = read_recipe(recipe).datasets[0]
    return open_dataset(dataset_spec(part.name, dict(part.knobs)))


def lines(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


PAIR = {"prompt": "Why?", "chosen": "Because.", "rejected": "No."}
ASKED = [{"role": "user", "content": "Why?"}]
TALK = [*ASKED, {"role": "assistant", "content": "Eh?"}, {"role": "user", "content": "Really?"}]
SAID = "\n\nHuman: Why?\n\nAssistant: Eh?\n\nHuman: Really?\n\nAssistant:"


def said(text: str) -> list[dict[str, str]]:
    return [{"role": "assistant", "content": text}]


@pytest.mark.parametrize(
    ("record", "prompt"),
    [
        (PAIR, ASKED),
        ({"prompt": ASKED, "chosen": said("Because."), "rejected": said("No.")}, ASKED),
        ({"chosen": [*TALK, *said("Because.")], "rejected": [*TALK, *said("No.")]}, TALK),
        ({"prompt": "Why?", "chosen": [*ASKED, *said("Because.")], "rejected": [*ASKED, *said("No.")]}, ASKED),
        ({"chosen": f"{SAID} Because.", "rejected": f"{SAID} No."}, TALK),
        (
            {
                "conversations": [{"from": "human", "value": "Why?"}],
                "chosen": {"from": "gpt", "value": "Because."},
                "rejected": {"from": "gpt", "value": "No."},
            },
            ASKED,
        ),
        ({"prompt": "Why?", "response_a": "No.", "response_b": "Because.", "preference": ["b", "a", "second"]}, ASKED),
        (
            {"system": None, "instruction": "Why?", "input": "x", "chosen": "Because.", "rejected": "No."},
            [{"role": "user", "content": "Why?\n\nx"}],
        ),
    ],
)
def test_a_pair_in_every_form(tmp_path: Path, record: dict[str, Any], prompt: list[Any]) -> None:
    lines(tmp_path / "a.jsonl", [record])
    row = opened(tmp_path, f'source = "a.jsonl"\n{ALL}').rows("pairs", "train")[0]
    assert (row["prompt"], row["chosen"], row["rejected"]) == (prompt, "Because.", "No.")


def test_a_system_column_is_read_as_the_recipe_says(tmp_path: Path) -> None:
    """In real data it is a turn of the system, or the name of the system that wrote the response."""
    lines(tmp_path / "a.jsonl", [{**PAIR, "system": "Be brief."}])
    for rule in ("", 'on_bad = "drop"\n'):
        with pytest.raises(
            HarnessError, match=r"a\.jsonl, line 1: has a column 'system' \('Be brief\.'\).*\{system = ''\}"
        ):
            opened(tmp_path, f'source = "a.jsonl"\n{rule}{ALL}').rows("pairs", "train")
    for column, turns in (("system", [{"role": "system", "content": "Be brief."}]), ("", [])):
        (row,) = opened(tmp_path, f'source = "a.jsonl"\ncolumns = {{system = "{column}"}}\n{ALL}').rows(
            "pairs", "train"
        )
        assert row["prompt"] == turns + ASKED


@pytest.mark.parametrize(("given", "good"), [([3, 2, 1], True), ([1, 2, 3], False), ([2, 2, 1], False), (None, True)])
@pytest.mark.parametrize("beside", [True, False])
def test_a_ranking_whose_scores_say_otherwise_is_none(
    tmp_path: Path, given: list[int] | None, good: bool, beside: bool
) -> None:
    texts = ["x", "y", "z"]
    row: dict[str, Any] = {"prompt": "Why?", "responses": texts}
    if given and beside:
        row["scores"] = given
    elif given:
        row["responses"] = [{"text": text, "score": score} for text, score in zip(texts, given, strict=True)]
    lines(tmp_path / "a.jsonl", [row])
    data = opened(tmp_path, f'source = "a.jsonl"\nview = "rankings"\n{ALL}')
    if good:
        assert data.rows("rankings", "train")[0]["responses"] == texts
    else:
        with pytest.raises(HarnessError, match=r"line 1: has scores that do not fall .* name the file as graded"):
            data.rows("rankings", "train")


def test_hub_presets_read_rows_of_their_shape(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Small rows written by us in the published schemas; the hub itself is not asked."""
    import datasets

    text = "What is it?\n<extra_id_1>Assistant\nA cat.\n<extra_id_1>User\nSure?"
    scores = {"correctness": 1, "coherence": 4, "complexity": 1, "verbosity": 1}
    shapes: dict[str, tuple[str, list[dict[str, Any]], dict[str, Any]]] = {
        "trl-lib/ultrafeedback_binarized": (
            "pairs",
            [
                {
                    "chosen": [*ASKED, *said("a")],
                    "rejected": [*ASKED, *said("b")],
                    "score_chosen": 8.0,
                    "score_rejected": 2.0,
                }
            ],
            {"prompt": ASKED, "chosen": "a", "rejected": "b"},
        ),
        "Anthropic/hh-rlhf": (
            "pairs",
            [{"chosen": f"{SAID} a", "rejected": f"{SAID} b"}],
            {"prompt": TALK, "chosen": "a", "rejected": "b"},
        ),
        "HuggingFaceH4/ultrafeedback_binarized": (
            "pairs",
            [
                {
                    "prompt": "Why?",
                    "prompt_id": "0123",
                    "chosen": [*ASKED, *said("a")],
                    "rejected": [*ASKED, *said("b")],
                    "messages": [*ASKED, *said("a")],
                    "score_chosen": 8.0,
                    "score_rejected": 2.0,
                }
            ],
            {"prompt": ASKED, "chosen": "a", "rejected": "b"},
        ),
        "trl-lib/hh-rlhf-helpful-base": (
            "pairs",
            [{"prompt": TALK, "chosen": said("a"), "rejected": said("b")}],
            {"prompt": TALK, "chosen": "a", "rejected": "b"},
        ),
        "trl-lib/kto-mix-14k": (
            "binary",
            [{"prompt": ASKED, "completion": said("a"), "label": False}],
            {"prompt": ASKED, "response": "a", "label": False},
        ),
        "nvidia/HelpSteer2": (
            "graded",
            [
                {"prompt": text, "response": r, "helpfulness": h, **scores}
                for r, h in (("Yes.", 4), ("No.", 2), ("Eh.", 2))
            ],
            {"grades": {"Yes.": 4.0, "No.": 2.0, "Eh.": 2.0}},
        ),
    }
    assert set(shapes) == set(PRESETS)
    for name, (view, rows, expected) in shapes.items():
        monkeypatch.setattr(datasets, "load_dataset", lambda *_, rows=rows, **__: datasets.Dataset.from_list(rows))
        extra = 'rankings = "from graded"\npairs = "from graded"\n' if view == "graded" else ""
        data = opened(tmp_path, f'source = "{name}"\n{extra}{ALL}')
        if view == "graded":
            assert [row["responses"] for row in data.rows("rankings", "train")] == [["Yes.", "Eh."]] or [
                row["responses"] for row in data.rows("rankings", "train")
            ] == [["Yes.", "No."]]
            assert {(r["chosen"], r["rejected"]) for r in data.rows("pairs", "train")} == {
                ("Yes.", "No."),
                ("Yes.", "Eh."),
            }
            assert [m["role"] for m in data.rows("prompts", "train")[0]["prompt"]] == ["user", "assistant", "user"]
        else:
            assert expected.items() <= data.rows(view, "train")[0].items()


def test_judgments_of_cut(tmp_path: Path) -> None:
    rows = [
        {"id": 0, "instruction": "Say hi.", "input": "", "output": "Hi.", "judgment": None},
        {"id": 1, "instruction": "Say it.", "input": "hello", "output": "Hi.", "judgment": "It says hi, not hello."},
    ]
    (tmp_path / "iter1.json").write_text(json.dumps(rows, indent=2))
    found = opened(tmp_path, f'source = "files"\njudgments = "iter1.json"\n{ALL}').rows("judgments", "train")
    assert {(row["prompt"][0]["content"], row["response"], row["judgment"]) for row in found} == {
        ("Say hi.", "Hi.", None),
        ("Say it.\n\nhello", "Hi.", "It says hi, not hello."),
    }


def test_formats_and_columns_give_the_same_rows(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [{"q": f'Why {i}?\nSay, "so".', "good": f"é {i}", "bad": f"no {i}"} for i in range(30)]
    lines(tmp_path / "a.jsonl", rows)
    (tmp_path / "a.json").write_text(json.dumps(rows))
    with gzip.open(tmp_path / "b.jsonl.gz", "wt") as out:
        out.write("".join(json.dumps(row) + "\n" for row in rows))
    for encoding, name in (("cp1252", "a.csv"), ("utf-8-sig", "b.csv")):
        with (tmp_path / name).open("w", newline="", encoding=encoding) as out:
            writer = csv.DictWriter(out, ["q", "good", "bad"])
            writer.writeheader()
            writer.writerows(rows)
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    columns = 'columns = {prompt = "q", chosen = "good", rejected = "bad"}\n'
    expected = opened(tmp_path, f'source = "a.jsonl"\n{columns}{ALL}').rows("pairs", "train")
    assert len(expected) == 30
    for name in ("a.json", "b.jsonl.gz", "b.csv", "a.parquet"):
        assert opened(tmp_path, f'source = "{name}"\n{columns}{ALL}').rows("pairs", "train") == expected
    text = f'source = "a.csv"\nencoding = "cp1252"\n{columns}{ALL}'
    assert opened(tmp_path, text).rows("pairs", "train") == expected
    with pytest.raises(HarnessError, match=r"a\.csv, line 3: is not utf-8 \(byte 0xe9\).*cp1252"):
        opened(tmp_path, f'source = "a.csv"\n{columns}{ALL}').rows("pairs", "train")


@pytest.mark.parametrize(
    ("view", "row", "shown"),
    [
        ("rankings", {"responses": ["x", "[y]"]}, "rankings"),
        ("rankings", {"responses": ["x", "y"], "scores": [2, 1.5]}, "rankings"),
        ("graded", {"responses": ["x", "y"], "scores": [[1, 2], 5]}, "pairs"),
        ("graded", {"responses": [{"text": "x", "score": 2}, {"text": "z", "score": 1}]}, "pairs"),
        ("pairs", {"response_a": "[1] x", "response_b": "y", "preference": ["a", "b", "a"]}, "pairs"),
        ("binary", {"response": "[x]", "label": [True, False, 1]}, "binary"),
    ],
)
def test_lists_stand_in_a_csv_as_json(tmp_path: Path, view: str, row: dict[str, Any], shown: str) -> None:
    row = {"prompt": "[Why]?", **row}
    lines(tmp_path / "a.jsonl", [row])
    with (tmp_path / "a.csv").open("w", newline="") as out:
        writer = csv.DictWriter(out, list(row))
        writer.writeheader()
        writer.writerow({name: value if isinstance(value, str) else json.dumps(value) for name, value in row.items()})
    made = f'view = "{view}"\n' + ('pairs = "from graded"\n' if view == "graded" else "")
    one, other = (
        opened(tmp_path, f'source = "a.{kind}"\n{made}{ALL}').rows(shown, "train") for kind in ("csv", "jsonl")
    )
    assert one == other


def test_a_list_in_a_csv_that_is_no_json(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("prompt,responses\nWhy?,\"['a', 'b']\"\n")
    with pytest.raises(HarnessError, match=r"responses is .*; it must be a list of responses, in a CSV as JSON: \["):
        opened(tmp_path, f'source = "a.csv"\nview = "rankings"\n{ALL}').rows("rankings", "train")


BAD = {
    "no column": {"prompt": "Why?", "chosen": "a"},
    "rejected is null": {**PAIR, "rejected": None},
    "chosen is empty": {**PAIR, "chosen": "  "},
    "are equal": {**PAIR, "rejected": "Because."},
    "chosen is a int": {**PAIR, "chosen": 3},
    "broken Unicode": {**PAIR, "chosen": "a \ud83d b"},
    "ends with a turn of the assistant": {**PAIR, "prompt": said("x")},
    "do not answer the same prompt": {"chosen": [*ASKED, *said("a")], "rejected": [*TALK, *said("b")]},
    "is empty: nothing stands after": {"chosen": f"{SAID} a", "rejected": SAID},
    "it must be an object": [1],
}


def test_every_bad_row_is_told_with_its_place(tmp_path: Path) -> None:
    path = lines(tmp_path / "a.jsonl", [PAIR, *BAD.values()])
    with path.open("ab") as out:
        out.write(b'{"prompt": "\xff"}\n{"prompt": "Why?", "cho')
    with pytest.raises(HarnessError) as error:
        opened(tmp_path, f'source = "a.jsonl"\n{ALL}').rows("pairs", "train")
    told = str(error.value).split("\n")
    for number, (line, part) in enumerate(zip(told, BAD, strict=False), 2):
        assert line.startswith(f"a.jsonl, line {number}: "), line
        assert part.replace("no column", "has no rejected") in line
    assert told[-2:] == ["... and 2 more", "on_bad = 'drop' leaves bad rows out and counts them"]
    kept: Any = opened(tmp_path, f'source = "a.jsonl"\non_bad = "drop"\n{ALL}')
    assert len(kept.rows("pairs", "train")) == 1
    assert kept.counts("pairs", "train")["bad"] == len(BAD) + 2
    assert "line 12: is not utf-8 (byte 0xff)" in str(kept.problems()[-2])
    assert "line 13: is cut in the middle" in str(kept.problems()[-1])


@pytest.mark.parametrize("rule", ["refuse", "drop"])
def test_a_file_without_a_column_is_told_once(tmp_path: Path, rule: str) -> None:
    lines(tmp_path / "a.jsonl", [{"q": f"Why {i}?", "Chosen": "a", "rejected": "b"} for i in range(200)])
    with pytest.raises(HarnessError) as error:
        opened(tmp_path, f'source = "a.jsonl"\non_bad = "{rule}"\n{ALL}').rows("pairs", "train")
    assert str(error.value).split("\n") == [
        "none of the 200 rows of a.jsonl can be read as pairs:",
        "a.jsonl, lines 1, 2, 3 and 197 more: has no chosen: no column chosen (columns: q, Chosen, rejected); did you "
        "mean 'Chosen'?",
        "where columns have other names, say so: columns.pairs = {prompt = 'question'}",
    ]


def test_rows_with_the_same_problem_stand_together(tmp_path: Path) -> None:
    empty, same = {**PAIR, "rejected": ""}, {**PAIR, "rejected": PAIR["chosen"]}
    lines(tmp_path / "a.jsonl", [PAIR, same, empty, PAIR, same, same])
    with pytest.raises(HarnessError) as error:
        opened(tmp_path, f'source = "a.jsonl"\n{ALL}').rows("pairs", "train")
    assert str(error.value).split("\n")[:2] == [
        "a.jsonl, lines 2, 5 and 6: chosen and rejected are equal",
        "a.jsonl, line 3: rejected is empty",
    ]


@pytest.mark.parametrize(
    ("name", "text"), [("a.jsonl", ""), ("a.csv", ""), ("a.csv", "prompt,chosen\n"), ("a.json", "[]")]
)
def test_a_file_without_rows(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(HarnessError, match=rf"^{name} has no rows$"):
        opened(tmp_path, f'source = "{name}"\n{ALL}').rows("pairs", "train")


def test_a_file_in_utf_16(tmp_path: Path) -> None:
    """In its bytes a letter such as U+0A0A looks like two newlines."""
    row = {**PAIR, "chosen": "one \u0a0a two\u0085 three"}
    (tmp_path / "a.jsonl").write_text(json.dumps(row, ensure_ascii=False) + "\n" + json.dumps(PAIR), encoding="utf-16")
    with pytest.raises(HarnessError, match=r"line 1: is not utf-8 \(byte 0xff\).*encoding = 'utf-16'"):
        opened(tmp_path, f'source = "a.jsonl"\n{ALL}').rows("pairs", "train")
    found = opened(tmp_path, f'source = "a.jsonl"\nencoding = "utf-16"\n{ALL}').rows("pairs", "train")
    assert {one["chosen"] for one in found} == {row["chosen"], PAIR["chosen"]}
    lines(tmp_path / "b.jsonl", [PAIR])
    with pytest.raises(HarnessError, match=r"b\.jsonl: is not utf-16"):
        opened(tmp_path, f'source = "b.jsonl"\nencoding = "utf-16"\n{ALL}').rows("pairs", "train")


def test_a_csv_with_another_separator(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("prompt;chosen;rejected\nWhy?;a;b\n")
    with pytest.raises(
        HarnessError, match=r"a\.csv: the header is one column, 'prompt;chosen;rejected'; .csv has commas"
    ):
        opened(tmp_path, f'source = "a.csv"\n{ALL}').rows("pairs", "train")


@pytest.mark.parametrize("damage", ["cut", "changed"])
def test_a_gzip_file_that_is_damaged(tmp_path: Path, damage: str) -> None:
    whole = gzip.compress("".join(json.dumps({**PAIR, "prompt": f"Why {i}?"}) + "\n" for i in range(99)).encode())
    middle = len(whole) // 2
    (tmp_path / "a.jsonl.gz").write_bytes(
        whole[:middle] if damage == "cut" else whole[:middle] + b"\xff" * 40 + whole[middle + 40 :]
    )
    with pytest.raises(HarnessError, match=r"a\.jsonl\.gz: the gzip file is damaged or cut in the middle"):
        opened(tmp_path, f'source = "a.jsonl.gz"\non_bad = "drop"\n{ALL}').rows("pairs", "train")


def test_a_next_line_character_ends_no_line(tmp_path: Path) -> None:
    row = {**PAIR, "chosen": "one\u0085two\u2028three"}
    (tmp_path / "a.jsonl").write_text(json.dumps(row, ensure_ascii=False) + "\n")
    assert opened(tmp_path, f'source = "a.jsonl"\n{ALL}').rows("pairs", "train")[0]["chosen"] == row["chosen"]


@pytest.mark.parametrize("text", ["[{", '[{"prompt": "Why?"}', '{"data": []}', '[{"prompt": "Why?", "a": tru}, {}]'])
def test_a_json_file_that_is_cut_or_no_list(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(HarnessError, match=r"a\.json: (row \d is cut in the middle|a JSON file must be a list)"):
        opened(tmp_path, f'source = "a.json"\non_bad = "drop"\n{ALL}').rows("pairs", "train")


def test_ties_and_annotators(tmp_path: Path) -> None:
    """By hand: two of three prefer x over y; one each of p and q is a tie; a graded tie gives no pair."""
    votes = [("x", "y"), ("y", "x"), ("x", "y"), ("p", "q"), ("q", "p")]
    lines(tmp_path / "a.jsonl", [{"prompt": "Why?", "chosen": a, "rejected": b} for a, b in votes])
    data: Any = opened(tmp_path, f'source = "a.jsonl"\n{ALL}')
    assert [(row["chosen"], row["rejected"]) for row in data.rows("pairs", "train")] == [("x", "y")]
    assert data.counts("pairs", "train") == {"ties": 1, "repeated": 3, "bad": 0}
    grades = {"responses": [{"text": t, "score": s} for t, s in (("a", [1, 3]), ("b", 2), ("c", 5))]}
    lines(tmp_path / "g.jsonl", [{"prompt": "Why?", **grades}])
    data = opened(
        tmp_path, f'source = "files"\ngraded = "g.jsonl"\npairs = "from graded"\nrankings = "from graded"\n{ALL}'
    )
    assert {(row["chosen"], row["rejected"]) for row in data.rows("pairs", "train")} == {("c", "a"), ("c", "b")}
    assert [row["responses"] for row in data.rows("rankings", "train")] == [["c", "a"]]
    assert data.counts("pairs", "train")["ties"] == data.counts("rankings", "train")["ties"] == 1


def test_pairs_to_labels_and_back(tmp_path: Path) -> None:
    pairs = [{"prompt": f"Why {i}?", "chosen": f"a {i}", "rejected": f"b {i}"} for i in range(20)]
    lines(tmp_path / "p.jsonl", pairs)
    there = opened(
        tmp_path, f'source = "files"\npairs = "p.jsonl"\nbinary = "from pairs"\njudgments = "from binary"\n{ALL}'
    )
    labelled = there.rows("binary", "train")
    assert sum(row["label"] for row in labelled) == 20
    assert len(labelled) == 40
    lines(
        tmp_path / "b.jsonl",
        [{"prompt": r["prompt"], "response": r["response"], "label": r["label"]} for r in labelled],
    )
    back = opened(tmp_path, f'source = "files"\nbinary = "b.jsonl"\npairs = "from binary"\n{ALL}').rows(
        "pairs", "train"
    )
    assert back == there.rows("pairs", "train")
    judged = there.rows("judgments", "train")
    assert all(row["template"] for row in judged)
    assert {row["response"][0]: row["judgment"] is None for row in judged} == {"a": True, "b": False}


GOOD, POOR = {"response": "g", "label": True}, {"response": "b", "label": False}
BY_HAND: dict[tuple[str, str], tuple[list[dict[str, Any]], list[dict[str, Any]]]] = {
    ("rankings", "graded"): (
        [{"responses": ["b", "g", "m"], "scores": [1, 3, 2]}],
        [{"responses": ["g", "m", "b"]}],
    ),
    ("pairs", "graded"): ([{"responses": ["b", "g"], "scores": [1, 3]}], [{"chosen": "g", "rejected": "b"}]),
    ("pairs", "rankings"): (
        [{"responses": ["g", "m", "b"]}],
        [{"chosen": c, "rejected": r} for c, r in (("g", "m"), ("g", "b"), ("m", "b"))],
    ),
    ("pairs", "binary"): ([GOOD, POOR], [{"chosen": "g", "rejected": "b"}]),
    ("binary", "pairs"): ([{"chosen": "g", "rejected": "b"}], [GOOD, POOR]),
    ("demonstrations", "pairs"): ([{"chosen": "g", "rejected": "b"}], [{"response": "g"}]),
    ("demonstrations", "binary"): ([GOOD, POOR], [{"response": "g"}]),
    ("judgments", "binary"): (
        [GOOD, POOR],
        [
            {"response": "g", "judgment": None, "template": True},
            {"response": "b", "judgment": "This response is not satisfactory.", "template": True},
        ],
    ),
    ("judgments", "graded"): (
        [{"responses": ["b", "g"], "scores": [1, 3.5]}],
        [
            {"response": "g", "judgment": None, "template": True},
            {
                "response": "b",
                "judgment": "This response is not satisfactory: another one was graded 2.5 higher.",
                "template": True,
            },
        ],
    ),
}
"""What each conversion makes of rows on one prompt, whose response g is good, m not so good, and b bad."""


@pytest.mark.parametrize(("view", "source"), BY_HAND, ids=lambda name: name)
def test_conversions_by_hand(tmp_path: Path, view: str, source: str) -> None:
    given, expected = BY_HAND[view, source]
    lines(tmp_path / "a.jsonl", [{"prompt": "Why?", **row} for row in given])
    data = opened(tmp_path, f'source = "a.jsonl"\nview = "{source}"\n{view} = "from {source}"\n{ALL}')
    found = [
        {name: row[name] for name in row if name not in ("id", "prompt_id", "prompt")}
        for row in data.rows(view, "train")
    ]
    assert sorted(map(str, found)) == sorted(map(str, expected))


def test_every_conversion_is_checked_by_hand() -> None:
    from harness.data._merge import CONVERSIONS

    assert set(BY_HAND) == set(CONVERSIONS)


def test_splits_depend_on_the_prompt_alone(tmp_path: Path) -> None:
    rows = [{**PAIR, "prompt": f"Why {i}?"} for i in range(400)]
    lines(tmp_path / "a.jsonl", rows)
    random.Random(0).shuffle(rows)
    lines(tmp_path / "b.jsonl", rows)
    one, other = (opened(tmp_path, f'source = "{name}.jsonl"\nbinary = "from pairs"') for name in "ab")
    seen: dict[str, str] = {}
    for split in ("train", "proxy", "selection", "gold", "tune", "test", "heldout"):
        assert one.rows("pairs", split) == other.rows("pairs", split)
        prompts = {row["prompt_id"] for row in one.rows("prompts", split)}
        assert prompts == {row["prompt_id"] for view in ("pairs", "binary") for row in one.rows(view, split)}
        assert not prompts & set(seen)
        seen |= dict.fromkeys(prompts, split)
    assert len(seen) == 400
    train = len(one.rows("prompts", "train"))
    assert 150 < train < 250  # a share of 0.5: five standard deviations are 50
    shares = {"train": 0.5, "test": 0.5}
    longer = [*ASKED, *said("x"), {"role": "user", "content": "And?"}]
    assert (
        split_of(ASKED, shares, {})
        == split_of([{"role": "user", "content": " why? "}], shares, {})
        == split_of(longer, shares, {})
    )
    with pytest.raises(HarnessError, match=r"split 'ood' has no pairs: its share is 0"):
        one.rows("pairs", "ood")


LONG = "Tell me in a few words which of the rivers of {} is the longest and where it meets the sea"


def test_near_duplicates_are_in_one_split(tmp_path: Path) -> None:
    own = [LONG.format(f"land{i} and of its {i} neighbours, the {i}th province included,") for i in range(60)]
    twins = [text.upper() + "?!" for text in own] + [f"Please: {text}" for text in own]
    lines(tmp_path / "a.jsonl", [{**PAIR, "prompt": text} for text in own + twins])
    data = opened(tmp_path, 'source = "a.jsonl"')
    place = {
        row["prompt"][0]["content"]: split
        for split in ("train", "proxy", "selection", "gold", "tune", "test", "heldout")
        for row in data.rows("pairs", split)
    }
    assert len(set(place.values())) > 3
    for text in own:
        assert place[text] == place[text.upper() + "?!"] == place[f"Please: {text}"]


PREAMBLE = " ".join(f"Rule {i} is that you always say {i * i}." for i in range(40))


def test_prompts_that_share_a_preamble_are_one_group_and_a_system_turn_parts_them(tmp_path: Path) -> None:
    asked = [f"{i} {i + 1} {i * i}" for i in range(60)]
    lines(tmp_path / "a.jsonl", [{**PAIR, "prompt": f"{PREAMBLE} {text}"} for text in asked])
    lines(tmp_path / "b.jsonl", [{**PAIR, "system": PREAMBLE, "prompt": text} for text in asked])
    whole: Any = opened(tmp_path, 'source = "a.jsonl"')
    splits = ("train", "proxy", "selection", "gold", "tune", "test", "heldout")
    own = next(split for split in splits if whole.parts().__next__().rows("pairs", split))
    told = (
        f"60 of 60 prompts are near duplicates of one another, in one group, which is in split '{own}' as a whole; "
        "where they share a preamble, put it into a system turn, since only the user's first turn is compared"
    )
    assert whole.alike() == told
    for split in splits:
        if split == own:
            assert len(whole.rows("pairs", split)) == 60
        else:
            with pytest.raises(EmptySplit) as refused:
                whole.rows("pairs", split)
            assert str(refused.value) == f"split '{split}' has no pairs: {told}"
    parted: Any = opened(tmp_path, 'source = "b.jsonl"\ncolumns = {system = "system"}')
    assert parted.alike() == ""
    assert sum(len(parted.rows("pairs", split)) for split in ("train", "proxy", "gold", "test")) > 40


def test_where_half_of_the_prompts_are_one_group_it_is_told_of_what_is_left(tmp_path: Path) -> None:
    same = [{**PAIR, "prompt": f"{PREAMBLE} {i}"} for i in range(30)]
    lines(tmp_path / "a.jsonl", same + [{**PAIR, "prompt": f"{i} is {i * i}"} for i in range(30)])
    half: Any = opened(tmp_path, 'source = "a.jsonl"')
    assert half.alike().startswith("30 of 60 prompts")
    lines(tmp_path / "b.jsonl", same + [{**PAIR, "prompt": f"{i} is {i * i}"} for i in range(31)])
    fewer: Any = opened(tmp_path, 'source = "b.jsonl"')
    assert fewer.alike() == ""


def test_a_cache_that_cannot_be_written_will_do_where_all_is_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(file: Path, value: dict[str, Any]) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(file))

    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text("{}")
    file = lines(tmp_path / "a.jsonl", [PAIR])
    folder, digest = _shelf.shelve_folder(model, ("config.json",)), _shelf.shelve(file)
    monkeypatch.setattr(_shelf, "_write", refuse)
    for _ in range(2):
        assert _shelf.shelve_folder(model, ("config.json",)) == folder
        assert _shelf.find_folder(folder) == model
        assert _shelf.shelve(file) == digest
        assert _shelf.find(digest) == file
        for one in (file, model / "config.json"):
            os.utime(one, ns=(1, 1))  # read again, the content is the same
    (model / "config.json").write_text("{ }")
    for unknown in (lambda: _shelf.shelve_folder(model, ("config.json",)), lambda: _shelf.shelve(lines(file, [1]))):
        with pytest.raises(HarnessError, match=r"(config\.json|a\.jsonl): Permission denied \(the cache is \$HARNESS"):
            unknown()
    (model / "config.json").write_text("{}")
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "another"))
    monkeypatch.setattr(_shelf, "shelve", lambda path: "0")
    with pytest.raises(HarnessError, match=r"model: Permission denied \(the cache is \$HARNESS_CACHE\)"):
        _shelf.shelve_folder(model, ("config.json",))


def test_what_is_known_is_not_written_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    drafts, plain = list[str](), Path.replace

    def replace(self: Path, target: Path) -> Path:
        drafts.append(self.name)
        return plain(self, target)

    monkeypatch.setattr(Path, "replace", replace)
    for _ in range(3):
        _shelf.find_folder(_shelf.shelve_folder(tmp_path / "model", ("config.json",)))
    assert len(drafts) == 3  # of the path, of the content, of the folder


def test_drafts_of_containers_with_one_cache_and_one_pid_differ(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the writing of a draft and its renaming the other one writes and renames its own."""
    plain, others = Path.replace, iter([lambda: _shelf._write(tmp_path / "x.json", {"of": "the other"})])

    def replace(self: Path, target: Path) -> Path:
        for other in others:
            other()
        return plain(self, target)

    monkeypatch.setattr(Path, "replace", replace)
    _shelf._write(tmp_path / "x.json", {"of": "this one"})
    assert json.loads((tmp_path / "x.json").read_text()) == {"of": "this one"}
    assert [file.name for file in tmp_path.iterdir()] == ["x.json"]


def test_the_search_for_near_duplicates_is_kept_and_changes_with_the_rows(tmp_path: Path) -> None:
    for name, twin in (("a", "Why then not?"), ("b", "why THEN not!")):
        lines(tmp_path / f"{name}.jsonl", [{**PAIR, "prompt": "Why then not"}, {**PAIR, "prompt": twin}])
        data = opened(tmp_path, f'source = "{name}.jsonl"\n{ALL}')
        assert len(data.rows("pairs", "train")) == 2
    kept = sorted((tmp_path / "cache" / "files").glob("near-*.json"))
    assert len(kept) == 2
    assert {"why then not?", "why then not!"} & set(json.loads(kept[0].read_text()) | json.loads(kept[1].read_text()))


def test_what_was_done_with_rows_is_counted(tmp_path: Path) -> None:
    good, bad = ({"prompt": "Why?", "response": text, "label": label} for text, label in (("a", True), ("b", False)))
    lines(tmp_path / "a.jsonl", [good, good, bad, {**bad, "response": ""}])
    text = f'source = "a.jsonl"\nview = "binary"\njudgments = "from binary"\non_bad = "drop"\n{ALL}'
    data = opened(tmp_path, text)
    assert dict(data.changes("binary", "train")) == {"bad": 1, "repeated": 1, "ties": 0, "converted": 0}
    assert dict(data.changes("judgments", "train")) == {"bad": 1, "repeated": 0, "converted": 2}
    assert data.changes("prompts", "train")["converted"] == 0


def test_conversions_are_in_the_record_and_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from harness.plan import make_plan
    from harness.stages import Train, train

    lines(tmp_path / "a.jsonl", [{"prompt": "Why?", "response": t, "label": t == "a"} for t in ("a", "b", "")])
    (tmp_path / "r.toml").write_text(
        'name = "x"\n[[algorithm]]\nname = "cut"\n[[start]]\nname = "base"\n[[model]]\nsource = "some/model"\n'
        '[[dataset]]\nsource = "a.jsonl"\nview = "binary"\njudgments = "from binary"\non_bad = "drop"\n'
        f"{ALL}[budget]\nprompts = 1\n"
    )
    stages = make_plan(read_recipe(tmp_path / "r.toml")).stages()
    stage = next(one for one in stages if isinstance(one, Train) and one.algorithm["name"] == "cut")
    kind = type(train.open_algorithm(stage.algorithm))
    monkeypatch.setattr(kind, "train", lambda self, job: [])
    made = stage.run(tmp_path, {}, 50)
    assert {one.metric: one.value for one in made} == {"rows_bad": 1, "rows_converted": 2}
    assert "judgments of split 'train': 1 rows bad, 2 rows converted" in capsys.readouterr().out


def test_all_views_have_the_same_prompts_unless_told_otherwise(tmp_path: Path) -> None:
    lines(tmp_path / "p.jsonl", [{**PAIR, "prompt": f"Why {i}?"} for i in range(10)])
    lines(tmp_path / "d.jsonl", [{"prompt": f"Why {i}?", "response": "x"} for i in range(5, 15)])
    text = f'source = "files"\npairs = "p.jsonl"\ndemonstrations = "d.jsonl"\n{ALL}'
    same, own = opened(tmp_path, text), opened(tmp_path, f"{text}same_prompts = false\n")
    lines(tmp_path / "q.jsonl", [{"prompt": f"Why {i}?"} for i in range(5, 15)])
    for rule, prompts in (("true", 10), ("false", 15)):
        text = f'source = "files"\npairs = "p.jsonl"\nprompts = "q.jsonl"\nsame_prompts = {rule}\n{ALL}'
        assert len(opened(tmp_path, text).rows("prompts", "train")) == prompts
    count = {data: [len(data.rows(v, "train")) for v in ("pairs", "demonstrations", "prompts")] for data in (same, own)}
    assert count == {same: [5, 5, 5], own: [10, 10, 15]}


def test_the_key_is_the_content_and_not_the_path(tmp_path: Path) -> None:
    lines(tmp_path / "a.jsonl", [PAIR])
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "other.jsonl").write_bytes((tmp_path / "a.jsonl").read_bytes())
    one, other = opened(tmp_path, 'source = "a.jsonl"'), opened(tmp_path, 'source = "elsewhere/other.jsonl"')
    assert one == other
    assert str(tmp_path) not in str(one)
    lines(tmp_path / "a.jsonl", [{**PAIR, "chosen": "So."}])
    assert opened(tmp_path, 'source = "a.jsonl"') != one
    (tmp_path / "elsewhere" / "other.jsonl").write_text("{}\n")
    with pytest.raises(HarnessError, match=r"other\.jsonl has changed since .* run the recipe again"):
        one.rows("pairs", "train")


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ('source = "b.jsonl"', r"r\.toml:\d+: there is no file 'b\.jsonl'"),
        ('source = "r.toml"', r"r\.toml:\d+: 'r\.toml' has no format that is read \(known: jsonl, json, csv"),
        ('source = "files"\npairs = "r.toml"', "'r.toml' has no format that is read"),
        ('source = "files"', "no data is given"),
        ('source = "a.jsonl"\ncolumns = {choosen = "x"}', "no field 'choosen'; did you mean 'chosen'"),
        ('source = "a.jsonl"\nsplits = {trian = 0.5}', "no split 'trian'; did you mean 'train'"),
        ('source = "a.jsonl"\nsplits = {train = 0.9, test = 0.2}', "sum to 1.1"),
        ('source = "a.jsonl"\nrankings = "from pairs"', "is no conversion.*'from graded'"),
        ('source = "a.jsonl"\njudgments = "from binary"', "no binary are given"),
        ('source = "a.jsonl"\nencoding = "utf-9"', "none that Python knows"),
        ('source = "a.jsonl"\non_bad = "keep"', "one of 'refuse', 'drop'"),
        ('source = "files"\npairs = "from binary"\nbinary = "from pairs"', "each made from the other"),
        ('source = "somebody/something"', "nothing is known of 'somebody/something'"),
    ],
)
def test_what_a_recipe_may_not_say(tmp_path: Path, table: str, message: str) -> None:
    lines(tmp_path / "a.jsonl", [PAIR])
    with pytest.raises(HarnessError, match=message):
        opened(tmp_path, table)


def test_the_bare_name_of_a_folder_or_of_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for place in (tmp_path / "own", tmp_path / "shared" / "theirs"):
        place.mkdir(parents=True)
    monkeypatch.setenv("HARNESS_DATA", str(tmp_path / "shared"))
    for name in ("own", "theirs"):
        with pytest.raises(HarnessError) as error:
            opened(tmp_path, f'source = "{name}"')
        told = f"'{name}' is a folder; name the files in it, as pairs = ['{name}/a.jsonl'] with source = 'files'"
        assert str(error.value).endswith(f"r.toml:2: {told}")
    known = r"and no data of that name \(known: files, hub, lab.*\)$"
    with pytest.raises(HarnessError, match=rf"there is no file 'nowhere' beside the recipe, .*, {known}"):
        opened(tmp_path, 'source = "nowhere"')
    with pytest.raises(HarnessError, match=r"there is no file 'a\.jsonl' beside .*shared\)$"):
        opened(tmp_path, 'source = "a.jsonl"')
    with pytest.raises(HarnessError, match=r"r\.toml:3: there is no data 'labs'; did you mean 'lab'\?"):
        opened(tmp_path, 'source = "labs"')


def test_a_dataset_of_the_hub_without_a_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    asked: list[tuple[Any, ...]] = []

    def refuse(*given: Any, **__: Any) -> None:
        asked.append(given)
        raise ConnectionError("Couldn't reach the Hub.\nmore")

    monkeypatch.setattr(datasets, "load_dataset", refuse)
    data = opened(tmp_path, 'source = "trl-lib/kto-mix-14k"')
    with pytest.raises(HarnessError, match=r"dataset 'trl-lib/kto-mix-14k' \(revision main\) cannot be had .*Couldn't"):
        data.rows("binary", "train")
    with pytest.raises(HarnessError, match=r"Couldn't reach the Hub\. Is the id right"):
        data.rows("binary", "test")
    assert len(asked) == 1, "it takes a minute to be refused"


def test_a_large_file_is_read_record_by_record(tmp_path: Path) -> None:
    """Peak memory while a JSON list of 8 MB is walked through stays a small part of it."""
    import tracemalloc

    from harness.data._read import records

    text = "x" * 4000
    with (tmp_path / "a.json").open("w") as out:
        out.write("[" + ",\n".join(json.dumps({"i": i, "text": text}) for i in range(2_000)) + "]")
    tracemalloc.start()
    assert sum(1 for _ in records(tmp_path / "a.json", "json", "utf-8", "a.json")) == 2_000
    assert tracemalloc.get_traced_memory()[1] < 1_500_000
    tracemalloc.stop()
