"""What a file's rows mean: conversations, forms of text, votes, means, and the columns that a recipe names."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from test_data_files import ALL, ASKED, PAIR, TALK, lines, opened, said

from harness.data import EmptySplit
from harness.errors import HarnessError

GRADED = 'source = "files"\ngraded = "a.jsonl"\n'
TURN = [{"role": "system", "content": "Be brief."}]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))


def rows_of(folder: Path, records: list[Any], more: str = "", view: str = "pairs") -> list[dict[str, Any]]:
    lines(folder / "a.jsonl", records)
    return opened(folder, f'source = "a.jsonl"\nview = "{view}"\n{more}{ALL}').rows(view, "train")


def talk(before: list[Any], **more: Any) -> dict[str, Any]:
    """A pair whose sides are whole conversations."""
    return {"chosen": [*before, *said("Because.")], "rejected": [*before, *said("No.")], **more}


@pytest.mark.parametrize("header", [",prompt,chosen,rejected", ",prompt,chosen,rejected,"])
def test_a_column_without_a_name_is_not_read(tmp_path: Path, header: str) -> None:
    end = "," * header.endswith(",")
    (tmp_path / "a.csv").write_text(f"{header}\n0,Why?,Because.,No.{end}\n1,How?,So.,No.{end}\n")
    data: Any = opened(tmp_path, f'source = "a.csv"\n{ALL}')
    assert {row["prompt"][0]["content"] for row in data.rows("pairs", "train")} == {"Why?", "How?"}
    assert data.understood()["pairs"] == ({name: name for name in PAIR}, ["a column without a name"])


def test_a_system_turn_counts_beside_a_conversation(tmp_path: Path) -> None:
    named = 'columns = {system = "system"}\n'
    for record in (talk(ASKED), talk(ASKED, prompt="Why?"), talk([*TURN, *ASKED]), PAIR):
        (row,) = rows_of(tmp_path, [{**record, "system": "Be brief."}], named)
        assert row["prompt"] == TURN + ASKED
    with pytest.raises(HarnessError, match=r"has a column 'system' \('Be brief\.'\), which may be"):
        rows_of(tmp_path, [talk(ASKED, system="Be brief.")])
    with pytest.raises(HarnessError, match=r"has two system turns, system and one in the prompt \('Be brief\.'\)"):
        rows_of(tmp_path, [{**PAIR, "prompt": [*TURN, *ASKED], "system": "Be long."}], named)


def test_an_input_has_to_stand_in_the_conversation(tmp_path: Path) -> None:
    for last in ("Why?\n\nx = 1", "Given x = 1: why?"):
        asked = [{"role": "user", "content": last}]
        assert rows_of(tmp_path, [talk(asked, input="x = 1")])[0]["prompt"] == asked
    asked = [{"role": "user", "content": "Why?\n\nx = 1"}]
    assert rows_of(tmp_path, [talk(asked, prompt="Why?", input="x = 1")])[0]["prompt"] == asked
    with pytest.raises(HarnessError, match=r"lacks input, 'x = 1'; .* columns = \{input = ''\}"):
        rows_of(tmp_path, [talk(ASKED, prompt="Why?", input="x = 1")])
    assert rows_of(tmp_path, [talk(ASKED, input="x = 1")], 'columns = {input = ""}\n')[0]["prompt"] == ASKED


@pytest.mark.parametrize(
    ("prompt", "before", "whole"),
    [
        ([*TURN, *ASKED], ASKED, [*TURN, *ASKED]),
        (TALK, TALK[2:], TALK),
        ("Really?", TALK, TALK),
        (TALK, TALK, TALK),
        ("Why?", TALK, None),
        ([*TALK[:1], *said("What?"), TALK[2]], TALK, None),
    ],
)
def test_of_prompt_and_conversation_one_ends_with_the_other(
    tmp_path: Path, prompt: Any, before: list[Any], whole: list[Any] | None
) -> None:
    record = talk(before, prompt=prompt)
    if whole:
        assert rows_of(tmp_path, [record])[0]["prompt"] == whole
        return
    with pytest.raises(HarnessError, match=r"does not end with prompt, nor prompt with it; columns = \{prompt = ''\}"):
        rows_of(tmp_path, [record])
    assert rows_of(tmp_path, [record], "columns = {prompt = ''}\n")[0]["prompt"] == before


@pytest.mark.parametrize("view", ["rankings", "graded"])
def test_several_responses_answer_one_conversation(tmp_path: Path, view: str) -> None:
    more = 'pairs = "from graded"\n' if view == "graded" else ""
    shown, scores = ("pairs", {"scores": [2, 1]}) if more else ("rankings", {})

    def prompt(one: Any, other: Any, **asked: Any) -> Any:
        lines(tmp_path / "a.jsonl", [{**asked, "responses": [one, other], **scores}])
        return opened(tmp_path, f'source = "a.jsonl"\nview = "{view}"\n{more}{ALL}').rows(shown, "train")[0]["prompt"]

    a, b = said("a"), said("b")
    assert prompt([*TALK, *a], [*TALK, *b]) == TALK
    assert prompt([*TALK, *a], [*TALK, *b], prompt="Really?") == TALK
    for other in ([*ASKED, *b], "b", "Human: Who?\n\nAssistant: b"):
        with pytest.raises(HarnessError, match="responses do not answer the same prompt"):
            prompt([*TALK, *a], other, prompt="Really?")
    with pytest.raises(HarnessError, match="does not end with prompt"):
        prompt([*TALK, *a], [*TALK, *b], prompt="Who?")


@pytest.mark.parametrize(
    ("text", "turns"),
    [
        ('[ {"role": "user", "content": "Why?"} ]', ASKED),
        ("\n" + json.dumps(TALK, indent=2), TALK),
        ('{"from": "human", "value": "Why?"}', ASKED),
        *((text, [{"role": "user", "content": text}]) for text in ('[{"a": 1}]', "[Why]?", "{x", '{"from": "here"}')),
        *((f"{json.dumps(ASKED)}{end}", None) for end in (" is that JSON?",)),
    ],
)
def test_messages_in_a_text(tmp_path: Path, text: str, turns: list[Any] | None) -> None:
    expected = turns or [{"role": "user", "content": text}]
    assert rows_of(tmp_path, [{**PAIR, "prompt": text}])[0]["prompt"] == expected


def test_a_response_that_is_json_or_has_messages(tmp_path: Path) -> None:
    for answer in ('[{"name": "x"}]', "[{'a': 1}]", '{"name": "x", "role": "admin"}', "[]"):
        assert rows_of(tmp_path, [{**PAIR, "chosen": answer}])[0]["chosen"] == answer
    for answer in (json.dumps([*ASKED, *said("Because.")], indent=1), '{"role": "assistant", "content": "Because."}'):
        assert rows_of(tmp_path, [{"prompt": "Why?", "response": answer}], view="demonstrations")[0]["response"] == (
            "Because."
        )


@pytest.mark.parametrize("text", [str(ASKED), str(ASKED[0]), str(TALK).replace("},", "}\n"), json.dumps(TALK)[:-9]])
@pytest.mark.parametrize("column", ["prompt", "chosen"])
def test_messages_as_python_prints_them_are_told(tmp_path: Path, column: str, text: str) -> None:
    with pytest.raises(
        HarnessError, match=rf"line 1: {column} looks like messages, but is no JSON \(.*\); .* json\.dumps"
    ):
        rows_of(tmp_path, [{**PAIR, column: text}])


def test_votes_of_several_rankings_count_in_their_pairs(tmp_path: Path) -> None:
    """By hand: two of three put a before b; all put c last."""
    orders = ["abc", "abc", "bac"]
    lines(tmp_path / "a.jsonl", [{"prompt": "Why?", "responses": list(order)} for order in orders])
    data: Any = opened(tmp_path, f'source = "a.jsonl"\nview = "rankings"\npairs = "from rankings"\n{ALL}')
    pairs = {(row["chosen"], row["rejected"]) for row in data.rows("pairs", "train")}
    assert pairs == {("a", "b"), ("a", "c"), ("b", "c")}
    assert data.counts("pairs", "train")["ties"] == 0
    rankings = data.rows("rankings", "train")
    assert [set(row) for row in rankings] == [{"id", "prompt_id", "prompt", "responses"}] * 2
    alone = rows_of(tmp_path, [{"prompt": "Why?", "responses": list("abc")}], view="rankings")
    assert alone[0] in rankings, "an id says nothing of votes"


@pytest.mark.parametrize(
    ("view", "columns", "message"),
    [
        ("pairs", '{input = "contxt"}', r"a\.jsonl: columns says input = 'contxt', and no row has it .* 'context'\?"),
        ("pairs", '{system = "sytem"}', r"columns says system = 'sytem'"),
        ("pairs", '{prompt = "question"}', r"no row has it \(columns: chosen, context, prompt, rejected\)"),
        ("pairs", '{response = "context"}', r"r\.toml:\d+: columns has no field 'response' \(known of pairs: chosen,"),
        ("pairs", '{scores = "context"}', r"columns has no field 'scores'"),
        ("pairs", '{demonstrations = {response = "context"}}', r"columns\.demonstrations: no demonstrations are read"),
        ("pairs", '{pairs = {input = "contxt"}}', r"columns says input = 'contxt'"),
        ("pairs", '"chosen=better"', r"r\.toml:\d+: columns is 'chosen=better', which is no table; write one: columns"),
        ("pairs", '"[1]"', r"columns is '\[1\]', which is no table"),
        ("pairs", '["chosen"]', r"columns is \['chosen'\], which is no table"),
        ("pairs", """'{"choosen": "x"}'""", r"no field 'choosen'; did you mean 'chosen'"),
    ],
)
def test_columns_that_the_recipe_gets_wrong(tmp_path: Path, view: str, columns: str, message: str) -> None:
    with pytest.raises(HarnessError, match=message) as error:
        rows_of(tmp_path, [{**PAIR, "context": "x"}] * 2, f"columns = {columns}\n", view)
    assert len(str(error.value).split("\n")) == 1


def test_a_named_column_that_some_rows_or_views_have(tmp_path: Path) -> None:
    named = 'columns = {input = "context"}\n'
    more = {"role": "user", "content": "How?\n\nx"}
    rows = rows_of(tmp_path, [PAIR, {**PAIR, "prompt": "How?", "context": "x"}], named)
    assert sorted(row["prompt"][0]["content"] for row in rows) == ["How?\n\nx", "Why?"]
    lines(tmp_path / "d.jsonl", [{"prompt": "How?\n\nx", "response": "So."}])
    both = f'source = "files"\npairs = "a.jsonl"\ndemonstrations = "d.jsonl"\n{ALL}'
    assert opened(tmp_path, both + named).rows("demonstrations", "train")[0]["prompt"] == [more]
    with pytest.raises(HarnessError, match=r"d\.jsonl: columns says input = 'context'"):
        opened(tmp_path, f'{both}columns.demonstrations = {{input = "context"}}\n').rows("pairs", "train")


def test_columns_as_the_text_of_a_spec(tmp_path: Path) -> None:
    record = {"prompt": "Why?", "better": "Because.", "rejected": "No."}
    table = rows_of(tmp_path, [record], 'columns = {chosen = "better"}\n')
    assert rows_of(tmp_path, [record], """columns = '{"chosen":"better"}'\n""") == table


@pytest.mark.parametrize(
    ("more", "columns", "message"),
    [
        ({"ranks": [3, 1, 2]}, "", r"ranks \(\[3, 1, 2\]\) does not rise .* name the file as graded"),
        ({"rank": [1, 1, 2]}, "", r"rank \(.*\) does not rise"),
        ({"ratings": [1, 5, 2]}, "", r"ratings \(.*\) does not fall"),
        ({"ratings": [1, 5, 2]}, 'columns = {scores = "ratings"}\n', "has scores that do not fall"),
        ({"ratings": [1, 5, 2]}, 'columns = {scores = ""}\n', ""),
        ({"ranks": [1, 2, 3], "ratings": [9, 5, 2]}, "", ""),
        ({"ranks": [3, 1], "rank": "second", "ratings": ["a", "b", "a"]}, "", ""),
    ],
)
def test_ranks_beside_a_ranking(tmp_path: Path, more: dict[str, Any], columns: str, message: str) -> None:
    record = {"prompt": "Why?", "responses": ["x", "y", "z"], **more}
    if not message:
        assert rows_of(tmp_path, [record], columns, "rankings")[0]["responses"] == ["x", "y", "z"]
        return
    with pytest.raises(HarnessError, match=message):
        rows_of(tmp_path, [record], columns, "rankings")


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("quality", [3, 5], r"'quality' in responses \(\[3, 5\]\) does not fall .* name the file as graded"),
        ("quality", [5, 5.0], "'quality' in responses .* does not fall"),
        ("rank", [2, 1], "'rank' in responses .* does not rise"),
        ("score", [1, 2], "has scores that do not fall"),
        ("quality", [5, 3], ""),
        ("rank", [1, 2], ""),
        ("model", ["a", "b"], ""),
        ("safe", [True, False], ""),
        ("quality", [3, None], ""),
    ],
)
def test_numbers_beside_each_response_of_a_ranking(tmp_path: Path, name: str, values: list[Any], message: str) -> None:
    """They may be scores by a name that nobody knows."""
    responses = [{"text": text, name: value} for text, value in zip(("x", "y"), values, strict=True)]
    record = {"prompt": "Why?", "responses": responses}
    if not message:
        assert rows_of(tmp_path, [record], view="rankings")[0]["responses"] == ["x", "y"]
        return
    with pytest.raises(HarnessError, match=message):
        rows_of(tmp_path, [record], view="rankings")
    if name != "score":
        assert rows_of(tmp_path, [record], 'columns = {scores = ""}\n', "rankings")[0]["responses"] == ["x", "y"]


def test_transcripts_with_windows_line_ends(tmp_path: Path) -> None:
    text = "\r\n\r\nHuman: Why?\r\n\r\nAssistant: Eh?\r\n\r\nHuman: Really?\r\n\r\nAssistant:"
    assert rows_of(tmp_path, [{**PAIR, "prompt": text}])[0]["prompt"] == TALK
    assert rows_of(tmp_path, [{"chosen": f"{text} a", "rejected": f"{text} b"}])[0]["prompt"] == TALK
    with pytest.raises(HarnessError, match="rejected is empty: nothing stands after the last 'Assistant:'"):
        rows_of(tmp_path, [{"chosen": f"{text} a", "rejected": text}])


@pytest.mark.parametrize("text", ["Human: Why?\nAssistant:", "Human: Why?\n \nAssistant:", "Human: Why?\r\nAssistant:"])
def test_what_is_almost_a_transcript_is_told(tmp_path: Path, text: str) -> None:
    for column in ("prompt", "chosen"):
        with pytest.raises(HarnessError, match=rf"line 1: {column} is no transcript: an empty line has to stand"):
            rows_of(tmp_path, [{**PAIR, column: text}])
    with pytest.raises(HarnessError, match="responses is no transcript"):
        rows_of(tmp_path, [{"prompt": "Why?", "responses": ["a", f"{text} b"]}], view="rankings")
    asked = [{"role": "user", "content": text}]
    assert rows_of(tmp_path, [{**PAIR, "prompt": asked}])[0]["prompt"] == asked, "a message may hold any text"
    assert rows_of(tmp_path, [talk(asked, prompt=text)])[0]["prompt"] == asked, "the conversation says that it is meant"
    assert rows_of(tmp_path, [{**PAIR, "note": text}])[0]["prompt"] == ASKED


@pytest.mark.parametrize("text", ["Human: Why?", "\n\nHuman: Why?", "Human: Why?\n\nHuman: Really?"])
def test_a_transcript_without_an_answer_is_told(tmp_path: Path, text: str) -> None:
    """The policy would be asked `Human: Why?` within a turn of the user's."""
    for view, record in (("pairs", PAIR), ("demonstrations", {"response": "So."}), ("prompts", {})):
        with pytest.raises(
            HarnessError, match=r"line 1: prompt begins with 'Human:' and has no 'Assistant:', so it is"
        ):
            rows_of(tmp_path, [{**record, "prompt": text}], view=view)
    asked = [{"role": "user", "content": text}]
    assert rows_of(tmp_path, [{**PAIR, "prompt": asked}])[0]["prompt"] == asked, "a message may hold any text"
    assert rows_of(tmp_path, [talk(asked, prompt=text)])[0]["prompt"] == asked, "the conversation says that it is meant"
    assert rows_of(tmp_path, [{**PAIR, "prompt": f"Why? {text}"}])[0]["prompt"][0]["content"] == f"Why? {text}"
    assert rows_of(tmp_path, [{**PAIR, "chosen": text}])[0]["chosen"] == text, "a response is what was said"


@pytest.mark.parametrize(
    "scores", [[[0.1, 0.2, 0.3], 0.2], [[0.1, 0.1, 0.4], [0.1, 0.2, 0.3]], ["0.2", [0.3, "0.1"]], [1, 1.0]]
)
def test_equal_means_are_ties(tmp_path: Path, scores: list[Any]) -> None:
    lines(tmp_path / "a.jsonl", [{"prompt": "Why?", "responses": ["a", "b"], "scores": scores}])
    data: Any = opened(tmp_path, f'{GRADED}pairs = "from graded"\n{ALL}')
    with pytest.raises(EmptySplit, match="split 'train' has no pairs: its only row is a tie"):
        data.rows("pairs", "train")


def test_equal_means_over_rows_are_ties(tmp_path: Path) -> None:
    """By hand: of a the annotators' means are 1/3 and 2/3, of b 1/2."""
    given = [("a", [0, 0, 1]), ("a", [0, 1, 1]), ("b", 0.5), ("c", 0.6)]
    lines(tmp_path / "a.jsonl", [{"prompt": "Why?", "response": text, "score": score} for text, score in given])
    pairs = opened(tmp_path, f'{GRADED}pairs = "from graded"\n{ALL}').rows("pairs", "train")
    assert {(row["chosen"], row["rejected"]) for row in pairs} == {("c", "a"), ("c", "b")}


def test_no_judgment_where_nothing_is_better(tmp_path: Path) -> None:
    given = [("Why?", "a", 1), ("How?", "b", 1), ("How?", "c", 1), ("Who?", "d", 1), ("Who?", "e", 2)]
    lines(tmp_path / "a.jsonl", [{"prompt": p, "response": text, "score": score} for p, text, score in given])
    data: Any = opened(tmp_path, f'{GRADED}judgments = "from graded"\n{ALL}')
    assert {(row["response"], row["judgment"] is None) for row in data.rows("judgments", "train")} == {
        ("d", False),
        ("e", True),
    }
    assert data.changes("judgments", "train")["incomparable"] == 3
    lines(tmp_path / "a.jsonl", [{"prompt": "Why?", "response": "a", "score": 1}])
    with pytest.raises(EmptySplit, match="none of its prompts has two different scores"):
        opened(tmp_path, f'{GRADED}judgments = "from graded"\n{ALL}').rows("judgments", "train")


@pytest.mark.parametrize("name", ["text", "response", "completion", "output", "answer", "messages"])
@pytest.mark.parametrize("score", ["score", "overall_score"])
def test_responses_with_what_is_said_of_them(tmp_path: Path, name: str, score: str) -> None:
    def item(text: str, value: int) -> dict[str, Any]:
        return {"model": "m", name: [*ASKED, *said(text)] if name == "messages" else text, score: value}

    lines(tmp_path / "a.jsonl", [{"instruction": "Why?", "completions": [item("a", 3), item("b", 5)]}])
    named = f"columns = {{score = '{score}'}}\n"
    for more in ("", named):
        (row,) = opened(tmp_path, f'{GRADED}pairs = "from graded"\n{more}{ALL}').rows("pairs", "train")
        assert (row["prompt"], row["chosen"], row["rejected"]) == (ASKED, "b", "a")
    with pytest.raises(HarnessError, match="has scores that do not fall"):
        opened(tmp_path, f'source = "a.jsonl"\nview = "rankings"\n{ALL}').rows("rankings", "train")


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ({"reply": "a", "score": 1}, r"responses\[0\] is an object without a response \(keys: reply, score; known: "),
        ({"text": "a", "mark": 1}, r"responses\[0\] has no score or overall_score or helpfulness \(keys: text, mark\)"),
        ("a", r"responses\[0\] has no score or .*, and there is no column scores"),
        ({"text": "a", "score": None}, r"responses\[0\]\.score is None; it must be a finite number"),
    ],
)
def test_responses_without_a_text_or_a_score(tmp_path: Path, item: Any, message: str) -> None:
    lines(tmp_path / "a.jsonl", [{"prompt": "Why?", "responses": [item, {"text": "b", "score": 2}]}])
    with pytest.raises(HarnessError, match=message):
        opened(tmp_path, f'{GRADED}pairs = "from graded"\n{ALL}').rows("pairs", "train")


def test_scores_of_many_kinds(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    from harness.data._forms import BadRow, number

    given = [("a", Decimal("2.5")), ("b", Decimal("1.5"))]
    pq.write_table(
        pa.Table.from_pylist([{"prompt": "Why?", "response": r, "score": s} for r, s in given]), tmp_path / "a.parquet"
    )
    text = f'source = "files"\ngraded = "a.parquet"\npairs = "from graded"\n{ALL}'
    assert opened(tmp_path, text).rows("pairs", "train")[0]["chosen"] == "a"
    for wrong in (10**400, "9" * 400, Decimal("NaN"), Decimal("sNaN"), True, [], [None], float("inf"), "good", None):
        with pytest.raises(BadRow, match=r"score is .*; it must be a finite number"):
            number(wrong, "score")


def test_a_split_of_ties_says_so(tmp_path: Path) -> None:
    tie = {"prompt": "Why?", "response_a": "a", "response_b": "b", "preference": "tie"}
    lines(tmp_path / "a.jsonl", [tie, tie, {**tie, "prompt": "How?"}])
    data = opened(tmp_path, f'source = "a.jsonl"\nbinary = "from pairs"\n{ALL}')
    for view in ("pairs", "binary"):
        with pytest.raises(EmptySplit, match=f"split 'train' has no {view}: all 3 rows of it are ties"):
            data.rows(view, "train")
