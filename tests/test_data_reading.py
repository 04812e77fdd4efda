"""Files that are not what they seem: nothing is left out, doubled or mistaken without a word."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
import tiny
from test_data_files import ALL, PAIR, lines, opened
from typer.testing import CliRunner

from harness.cli import app
from harness.data._read import records
from harness.data._record import Record
from harness.errors import HarnessError


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))


def read(path: Path, encoding: str = "utf-8") -> list[Record]:
    return list(records(path, path.name.partition(".")[2], encoding, path.name))


def refused(path: Path, encoding: str = "utf-8") -> str:
    with pytest.raises(HarnessError) as error:
        read(path, encoding)
    return str(error.value)


def settled(folder: Path, table: str) -> str:
    """What a recipe is told of its dataset, without the places."""
    with pytest.raises(HarnessError) as error:
        opened(folder, table)
    return str(error.value)


ONE = json.dumps(PAIR)
ALONE = "where its rows are the list under 'data', write that list alone into the file"
EITHER = "where its rows are the list under 'features' or 'rows', write that list alone into the file"
RESPONSES = "where its rows are the list under 'responses', write that list alone into the file"
ROW = "where it is itself a row, put it between [ and ]"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"[{ONE}]\n[{ONE}]", "the file goes on after its list, with '[{"),
        (
            f"[{ONE}], more",
            "the file goes on after its list, with ', more'; all rows have to stand in one list",
        ),
        (f"[{ONE}]" + " " * 70_000 + "]", "the file goes on after its list, with ']'"),
        (f"[{ONE}{ONE}]", 'after row 1 stands \'{"prompt": "Why?", "\'; a comma has to stand between two rows'),
        (f"[,{ONE}]", "there is a comma too many before row 1; one stands between two rows, none elsewhere"),
        (f"[{ONE},,{ONE}]", "there is a comma too many after row 1"),
        (f"[{ONE},]", "there is a comma too many after row 1"),
        (f"[{ONE},", "row 2 is cut in the middle or no JSON"),
        (f"[{ONE}", "row 2 is cut in the middle or no JSON"),
        (f"{ONE}\n{ONE}\n", "and its first line is a whole object; where each line is one, name it .jsonl"),
        (f'{{"data": [{ONE}]}}', f"; {ALONE}"),
        (f'{{\n "version": 1.0,\n "of": "a, b",\n "data": [\n  {ONE}\n ]\n}}', f"; {ALONE}"),
        (f'{{"data": [{", ".join([ONE] * 2000)}]}}\n', f"; {ALONE}"),
        (f"{ONE}\n", "which is one object; where that is a row, put it between [ and ]"),
        (f'{{"meta": {{"of": [1, {{}}]}}, "data": [{ONE}]}}', f"; {ALONE}; {ROW}"),
        (f'{{"features": [{{"name": "prompt"}}], "rows": [{ONE}], "partial": false}}', f"; {EITHER}; {ROW}"),
        ('{"responses": [{"text": "a"}, {"text": "b"}], "prompt": "Why?"}', f"; {RESPONSES}; {ROW}"),
        (
            '{"prompt": "Why?", "chosen": [{"content": "a", "role": "user"}]}',
            "which is one object; where that is a row",
        ),
        ('{"prompt": [{"role": "user", "content": "Why?"}], "chosen": "a"}', "where that is a row, put it between"),
    ],
)
def test_a_json_file_is_one_list_and_nothing_else(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "a.json").write_text(text)
    told = refused(tmp_path / "a.json")
    assert told.startswith("a.json: ")
    assert message in told
    assert ("name it .jsonl" in told) == ("name it .jsonl" in message), "the advice is given where it helps"


def test_of_a_large_json_file_that_is_no_list_the_beginning_tells(tmp_path: Path) -> None:
    rows = ", ".join([ONE] * (5_000_000 // len(ONE)))
    (tmp_path / "a.json").write_text(f'{{"meta": {{"of": [1]}}, "features": [{{}}], "rows": [{rows}], "more": [{{}}]}}')
    assert refused(tmp_path / "a.json").endswith(f"; {EITHER}"), "no row is that long"
    long = f'{{"text": {json.dumps(rows)}, "rows": [{ONE}]}}'
    (tmp_path / "a.json").write_text(long)
    assert refused(tmp_path / "a.json").endswith(f"; this begins {long[:20]!r}"), "what comes later is not looked at"


def test_white_space_is_no_row_however_long(tmp_path: Path) -> None:
    wide = " \n" * 40_000
    (tmp_path / "a.json").write_text(f"{wide}[{wide}{ONE}{wide},{wide}{ONE}{wide}]{wide}")
    assert [one.values for one in read(tmp_path / "a.json")] == [PAIR, PAIR]
    (tmp_path / "a.json").write_text(f"[{wide}]{wide}")
    assert read(tmp_path / "a.json") == []


def test_numbers_are_not_cut_where_the_file_is_read_in_parts(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("[" + ", ".join(["1234567"] * 30_000) + "]")
    assert len(read(tmp_path / "a.json")) == 30_000


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.parquet"])
def test_two_columns_of_one_name(tmp_path: Path, name: str) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    names = ["prompt", "chosen", "chosen", "rejected"]
    sign = "\t" if name == "a.tsv" else ","
    (tmp_path / name).write_text(sign.join(names) + "\n" + sign.join("qabc") + "\n")
    if name == "a.parquet":
        pq.write_table(pa.Table.from_arrays([pa.array([one]) for one in "qabc"], names=names), tmp_path / name)
    assert refused(tmp_path / name) == f"{name}: there are two columns 'chosen'; give each a name of its own"


def test_columns_without_a_name_do_no_harm(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("prompt,chosen,rejected,,\nWhy?,Because.,No.,,\n")
    assert len(opened(tmp_path, f'source = "a.csv"\n{ALL}').rows("pairs", "train")) == 1


@pytest.mark.parametrize("form", ["{}\n{}\n", "[{},{}]"])
def test_a_name_that_is_twice_in_an_object_is_a_bad_row(tmp_path: Path, form: str) -> None:
    path = tmp_path / ("a.json" if form.startswith("[") else "a.jsonl")
    path.write_text(form.format('{"prompt": "Why?", "chosen": "a", "chosen": "b", "rejected": "c"}', ONE))
    first, second = read(path)
    assert first.values is None
    assert first.problem == "has 'chosen' twice; each name must be there once"
    assert second.values == PAIR


TSV = "prompt\tchosen\trejected\n"


@pytest.mark.parametrize(
    "text",
    [
        'q1\ta1\t"b1\nq2\ta2\tb2"\nq3\ta3\tb3\n',
        'q\t"yes\tb\nq2\tc\td\nq3\te"\tf\n',
        'q\t"yes\tb\nq2\tc"\td\n',
        '"q\ta\tb\nq2"\tc\td\n',
    ],
)
def test_rows_that_a_quote_would_swallow(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.tsv").write_text(TSV + text)
    assert refused(tmp_path / "a.tsv") == (
        "a.tsv: row 1 has a quoted cell with a line that is itself a row, so rows may be lost in it; a cell that "
        "begins with a quote has to be quoted as a whole, its quotes doubled (where it is meant so, write the file as "
        "JSONL)"
    )


@pytest.mark.parametrize(
    "row",
    [
        ["two\nlines", "a", "b"],
        ["q", "two\nlines", "b"],
        ["q", "a", "two\nlines"],
        ["q", "def f():\n\treturn 1", "def f():\n\t\treturn 1\n\tend"],
        ['say "so"', '"so" is said', "b"],
    ],
)
def test_cells_of_a_tsv_that_are_quoted_as_a_whole(tmp_path: Path, row: list[str]) -> None:
    import csv

    with (tmp_path / "a.tsv").open("w", newline="") as out:
        csv.writer(out, delimiter="\t").writerows([TSV.split(), row])
    assert [list((one.values or {}).values()) for one in read(tmp_path / "a.tsv")] == [row]


@pytest.mark.parametrize(
    ("text", "why"), [('q\t"Hi" she said\tb\n', "expected after"), ('q\t"Hi\tb\n', "unexpected end")]
)
def test_a_quote_that_does_not_quote_a_whole_cell(tmp_path: Path, text: str, why: str) -> None:
    (tmp_path / "a.tsv").write_text(TSV + text)
    told = refused(tmp_path / "a.tsv")
    assert told.startswith("a.tsv: row 1 is no TSV (")
    assert why in told
    assert told.endswith("a cell that begins with a quote has to be quoted as a whole, its quotes doubled")


def test_prompts_without_a_letter_are_alike_only_where_they_are_equal(tmp_path: Path) -> None:
    from harness import near

    faces = [chr(0x1F600 + i) for i in range(24)]
    texts = [*faces, "?!", "...", "why not", "Why not?"]
    assert near.groups(lambda: texts) == {"Why not?": "Why not?", "why not": "Why not?"}
    lines(tmp_path / "a.jsonl", [{**PAIR, "prompt": face} for face in faces])
    data = opened(tmp_path, 'source = "a.jsonl"\nsplits = {train = 0.5, test = 0.5}')
    assert len(data.rows("pairs", "train")) + len(data.rows("pairs", "test")) == 24
    assert 4 <= len(data.rows("pairs", "train")) <= 20


CHINESE = (
    "请写一篇文章,谈谈城市公共交通的发展对居民日常生活和环境保护有什么影"
    "响,并结合你所在地区的实际情况举出两三个例子加以说明,字数不少于八百"
)
THAI = "กรุณาเขียนบทความเกี่ยวกับผลกระทบของระบบขนส่งสาธารณะต่อชีวิตประจำวันของผู้คนในเมืองใหญ่"


@pytest.mark.parametrize("text", [CHINESE, THAI, f"{CHINESE}({THAI})"], ids=["Chinese", "Thai", "both"])
def test_prompts_without_spaces_that_differ_by_a_character_are_in_one_split(tmp_path: Path, text: str) -> None:
    from harness import near

    other = text.replace("", "\0").split("\0")[1:-1]
    other[len(other) // 2] = "x"
    twins = ["".join(other), f"{text}吗", text.removesuffix(text[-1])]
    assert set(near.groups(lambda: [text, *twins])) == {text, *twins}
    assert not near.groups(lambda: [text, text[::-1]]), "their order counts"
    lines(tmp_path / "a.jsonl", [{**PAIR, "prompt": f"{one}{i * 7}"} for i in range(30) for one in (text, *twins)])
    data = opened(tmp_path, 'source = "a.jsonl"\nsplits = {train = 0.5, test = 0.5}')
    with pytest.raises(HarnessError, match="120 of 120 prompts are near duplicates of one another, in one group"):
        [data.rows("pairs", split) for split in ("train", "test")]


@pytest.mark.parametrize(
    "text",
    [
        "Why not?",
        "  Tell me: WHY not  ",
        "Warum nicht? Übung macht den Meister, Donaudampfschifffahrtsgesellschaft",
        "Почему бы и нет? Расскажи",
        "왜 안 되나요 알려 주세요",
        "Translate to English: 今天天气很好",
        "今天 天气 很好 我们 去 公园",
        "https://example.org/a_b?c=d",
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        "😀😀😀",
    ],
)
def test_shingles_of_all_other_texts_are_of_words(text: str) -> None:
    """Their splits are those of results that were published."""
    import re

    from harness.near import shingles

    words = re.findall(r"\w+", text.lower()) or [text.strip()]
    assert shingles(text) == {" ".join(words[i : i + 3]) for i in range(max(1, len(words) - 2))}


@pytest.mark.parametrize("how", ["snappy", "gzip", "zstd"])
def test_a_parquet_file_with_damaged_pages(tmp_path: Path, how: str) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = tmp_path / "a.parquet"
    pq.write_table(pa.Table.from_pylist([{**PAIR, "prompt": f"Why {i}?"} for i in range(500)]), path, compression=how)
    whole = path.read_bytes()
    path.write_bytes(whole[:60] + b"\xff" * 200 + whole[260:])
    assert refused(path).startswith("a.parquet: is no parquet file or is damaged after row 0 (")


def test_bytes_in_parquet_that_are_no_text_are_a_bad_row(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    broken = pa.array([b"ok", b"\xff\xfe", b"ok"], pa.binary()).view(pa.string())
    table = pa.table({"prompt": ["p1", "p2", "p3"], "chosen": broken, "rejected": ["x", "y", "z"]})
    pq.write_table(table, tmp_path / "a.parquet")
    first, second, third = read(tmp_path / "a.parquet")
    assert first.values == {"prompt": "p1", "chosen": "ok", "rejected": "x"}
    assert second == Record("row 2", None, "has text in column 'chosen' that is not utf-8 (byte 0xff)")
    assert third.values == {"prompt": "p3", "chosen": "ok", "rejected": "z"}


@pytest.mark.parametrize("kind", ["far", "nowhere"])
def test_dates_that_python_has_none_of_are_read_by_nobody(tmp_path: Path, kind: str) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    when = pa.timestamp("us") if kind == "far" else pa.timestamp("us", tz="Mars/Phobos")
    table = pa.table({**{name: [text] for name, text in PAIR.items()}, "t": pa.array([2**62], pa.int64()).cast(when)})
    pq.write_table(table, tmp_path / "a.parquet")
    (row,) = opened(tmp_path, f'source = "a.parquet"\n{ALL}').rows("pairs", "train")
    assert row["chosen"] == PAIR["chosen"]
    with pytest.raises(HarnessError, match=r"t is a TimestampType, .*; it must be text"):
        opened(tmp_path, f'source = "a.parquet"\ncolumns = {{chosen = "t"}}\n{ALL}').rows("pairs", "train")


@pytest.mark.parametrize("digits", [400, 5000])
@pytest.mark.parametrize("form", ["{}\n", "[{}]"])
def test_whole_numbers_that_are_too_long(tmp_path: Path, digits: int, form: str) -> None:
    name = "a.json" if form.startswith("[") else "a.jsonl"
    (tmp_path / name).write_text(form.format(ONE[:-1] + f', "n": {"9" * digits}}}'))
    (row,) = opened(tmp_path, f'source = "{name}"\n{ALL}').rows("pairs", "train")
    assert row["chosen"] == PAIR["chosen"]
    (tmp_path / name).write_text(form.format(f'{{"prompt": "q", "response": "a", "score": -{"9" * digits}}}'))
    data = opened(tmp_path, f'source = "{name}"\nview = "graded"\npairs = "from graded"\n{ALL}')
    with pytest.raises(HarnessError, match="score is -inf; it must be a finite number"):
        data.rows("pairs", "train")


@pytest.mark.parametrize("encoding", ["rot13", "hex", "undefined", r"utf-8\u0000", "utf-9"])
def test_what_is_no_encoding_of_text(tmp_path: Path, encoding: str) -> None:
    lines(tmp_path / "a.jsonl", [PAIR])
    told = settled(tmp_path, f'source = "a.jsonl"\nencoding = "{encoding}"')
    assert told.endswith("is none that Python knows for text, as 'utf-8' and 'cp1252' are")


@pytest.mark.parametrize("encoding", ["idna", "utf-7", "ascii"])
def test_a_line_that_an_odd_encoding_cannot_read_is_a_bad_row(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "a.jsonl").write_bytes('{"prompt": "é..é"}\n'.encode("latin-1"))
    (row,) = read(tmp_path / "a.jsonl", encoding)
    assert row.problem.startswith(f"is not {encoding} (")


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.csv", "a.jsonl.gz"])
def test_an_encoding_is_that_of_files_that_are_not_utf_8(tmp_path: Path, name: str) -> None:
    """A dataset has one, and files of several kinds."""
    kind = name.split(".")[1]
    row = {"prompt": "Où?", "response": "là"}
    text = {"csv": "prompt,response\nOù?,là\n", "json": json.dumps([row], ensure_ascii=False)}
    written = text.get(kind, json.dumps(row, ensure_ascii=False) + "\n")
    for place, encoding in enumerate(("utf-8", "cp1252")):
        data = written.encode(encoding)
        file = tmp_path / f"{place}{name}"
        file.write_bytes(gzip.compress(data) if name.endswith("gz") else data)
        assert [one.values for one in read(file, "cp1252")] == [row]


def test_letters_of_seven_bits_are_read_as_they_are_said_to_be(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes('{"prompt": "日本"}\n'.encode("iso2022_jp"))
    assert [one.values for one in read(tmp_path / "a.jsonl", "iso2022_jp")] == [{"prompt": "日本"}]


def test_paths_that_are_no_file_of_a_known_format(tmp_path: Path) -> None:
    for folder in ("d/e/f", "d.jsonl"):
        (tmp_path / folder).mkdir(parents=True)
    for file in ("d/a.txt", "d/e/f/a.txt"):
        (tmp_path / file).write_text(ONE)
    share = "splits = {train = 1.0}\ncolumns = {label = 'x'}\n"
    for given in ("d/e", "d/e/f", "d.jsonl", "./d", "d/e/"):
        (line,) = settled(tmp_path, f'source = "{given}"\nsplits = {{train = 1.0}}\n').split("\n")
        assert f"'{given}' is a folder; name the files in it, as pairs = ['{given.rstrip('/')}/a.jsonl']" in line
    for given in ("d/a.txt", "./d/a.txt", "d/e/f/a.txt"):
        (line,) = settled(tmp_path, f'source = "{given}"\nsplits = {{train = 1.0}}\n').split("\n")
        assert f"'{given}' has no format that is read (known: jsonl, json, csv, tsv, parquet;" in line
        assert line.endswith("; name it by what it holds, for example a.jsonl")
    (line,) = settled(tmp_path, f'source = "some/thing"\n{share}').split("\n")
    assert "nothing is known of 'some/thing'; say what a split holds, as pairs = 'train'" in line
    first, second = settled(tmp_path, 'source = "some/thing"\nsplits = {trian = 1.0}\n').split("\n")
    assert "nothing is known of 'some/thing'" in first
    assert "there is no split 'trian'; did you mean 'train'?" in second


def test_the_format_may_be_written_large_in_a_folder(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    lines(tmp_path / "d" / "A.JSONL", [PAIR])
    (tmp_path / "d" / "B.CSV.GZ").write_bytes(gzip.compress(b"prompt,chosen,rejected\nWhy?,Because.,No.\n"))
    one, other = (opened(tmp_path, f'source = "d/{name}"\n{ALL}') for name in ("A.JSONL", "B.CSV.GZ"))
    assert one.rows("pairs", "train") == other.rows("pairs", "train")


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.csv", "a.tsv"])
def test_a_binary_file_under_the_name_of_a_text(tmp_path: Path, name: str) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    kind = name.partition(".")[2]
    (tmp_path / name).write_bytes(gzip.compress(ONE.encode()))
    assert refused(tmp_path / name) == (
        f"{name}: this is a gzip file; one that is zipped once is read if it is named .{kind}.gz"
    )
    pq.write_table(pa.Table.from_pylist([PAIR]), tmp_path / name)
    assert refused(tmp_path / name) == f"{name}: this is a parquet file; name it .parquet"


def test_a_column_may_be_named_like_the_mark_of_parquet(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("PAR1,chosen\nq,a\n")
    assert read(tmp_path / "a.csv")[0].values == {"PAR1": "q", "chosen": "a"}


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"])
@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.csv"])
def test_wide_letters_without_a_mark(tmp_path: Path, encoding: str, name: str) -> None:
    row = {"prompt": "Où est-ce?", "chosen": "Ça, été", "rejected": "b"}
    text = {"a.json": f"[{json.dumps(row, ensure_ascii=False)}]", "a.jsonl": json.dumps(row, ensure_ascii=False) + "\n"}
    (tmp_path / name).write_bytes(text.get(name, 'prompt,chosen,rejected\nOù est-ce?,"Ça, été",b\n').encode(encoding))
    assert refused(tmp_path / name) == (
        f"{name}: is not utf-8 (there are bytes of 0 between its letters); give the file's own encoding, for example "
        f"encoding = '{encoding}'"
    )
    assert [one.values for one in read(tmp_path / name, encoding)] == [row]


def test_wide_letters_with_a_mark(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("prompt,chosen,rejected\nété,oui,non\n", encoding="utf-32")
    told = refused(tmp_path / "a.csv")
    assert told.endswith("is not utf-8 (byte 0xff); give the file's own encoding, for example encoding = 'utf-32'")
    assert len(read(tmp_path / "a.csv", "utf-32")) == 1


@pytest.mark.parametrize(
    ("line", "cut"),
    [
        ('{"prompt": "Wh', True),
        ('{"prompt": "Why?"', True),
        ('{"prompt": "Why?",', True),
        ('{"prompt": ', True),
        ('{"prompt": tru', True),
        ('{"prompt": "a\\u00', True),
        ("{'a': 1}", False),
        (f"{ONE}\r{ONE}\r", False),
        (f"{ONE}}}", False),
    ],
)
def test_a_last_line_is_cut_only_where_its_end_is_missing(tmp_path: Path, line: str, cut: bool) -> None:
    (tmp_path / "a.jsonl").write_bytes(f"{ONE}\n{line}".encode())
    assert read(tmp_path / "a.jsonl")[1].problem.startswith("is cut in the middle (" if cut else "is no JSON (")


def shown(folder: Path, table: str, model: str = "", *more: str) -> str:
    path = folder / "r.toml"
    path.write_text(f'name = "x"\n{model}[[dataset]]\n{table}\n[[start]]\nname = "base"\n[[algorithm]]\nname = "dpo"\n')
    done = CliRunner().invoke(app, ["data", str(path), *more])
    if done.exception is not None:
        raise done.exception
    return done.stdout


@pytest.fixture
def model(shelf: Path) -> str:
    return f'[[model]]\nsource = "{shelf / tiny.START / "policy"}"\n'


def test_control_tokens_in_texts_are_told(tmp_path: Path, model: str) -> None:
    rows: list[dict[str, Any]] = [{"prompt": f"bak {i}", "chosen": "dol </s> dol", "rejected": "fim"} for i in range(3)]
    rows[0]["prompt"] += " <user>"
    lines(tmp_path / "a.jsonl", rows)
    said = shown(tmp_path, f'source = "a.jsonl"\n{ALL}', model)
    assert "pairs: 3 rows contain '</s>', which is a control token\n" in said
    assert "pairs: 1 row contains '<user>', which is a control token\n" in said
    found = json.loads(shown(tmp_path, f'source = "a.jsonl"\n{ALL}', model, "--json"))[0]
    assert found["control_tokens"] == {"pairs": {"</s>": 3, "<user>": 1}, "prompts": {"<user>": 1}}


def test_rows_of_prompts_that_not_all_views_have_are_counted(tmp_path: Path, model: str) -> None:
    lines(tmp_path / "p.jsonl", [{**PAIR, "prompt": f"x{i}"} for i in range(10)])
    lines(tmp_path / "d.jsonl", [{"prompt": f"x{i}", "response": "a"} for i in range(7, 12)])
    table = f'source = "files"\npairs = "p.jsonl"\ndemonstrations = "d.jsonl"\n{ALL}'
    said = shown(tmp_path, table, model)
    assert "  demonstrations: on prompts that not all views have: 2\n" in said
    assert "  pairs: on prompts that not all views have: 7\n" in said
    assert "not all views" not in shown(tmp_path, f"{table}same_prompts = false\n", model)


def test_rows_of_no_split_and_ties_of_an_empty_one_are_counted(tmp_path: Path, model: str) -> None:
    lines(tmp_path / "a.jsonl", [{**PAIR, "prompt": f"x{i}"} for i in range(40)])
    found = json.loads(shown(tmp_path, 'source = "a.jsonl"\nsplits = {train = 0.5}', model, "--json"))[0]
    assert found["left_out"] == {"pairs: in no split": 40 - found["rows"]["pairs train"]}
    tie = {"prompt": "q", "response_a": "a", "response_b": "b", "preference": "tie"}
    lines(tmp_path / "t.jsonl", [tie, tie])
    assert "  pairs: ties: 1\n" in shown(tmp_path, f'source = "t.jsonl"\n{ALL}', model)


def test_a_column_whose_name_is_no_text_is_shown(tmp_path: Path, model: str) -> None:
    (tmp_path / "a.jsonl").write_text(ONE[:-1] + ', "\\ud800": 1}\n')
    assert "  pairs: prompt, chosen, rejected; not read: \\ud800\n" in shown(
        tmp_path, f'source = "a.jsonl"\n{ALL}', model
    )
    found = json.loads(shown(tmp_path, f'source = "a.jsonl"\n{ALL}', model, "--json"))[0]
    assert found["columns"]["pairs"]["left"] == ["\ud800"]


def test_data_without_a_model_for_it_are_told_all_but_lengths(tmp_path: Path) -> None:
    lines(tmp_path / "a.jsonl", [PAIR, {**PAIR, "prompt": None}])
    said = shown(tmp_path, f'source = "a.jsonl"\non_bad = "drop"\n{ALL}')
    assert said.startswith(
        "a.jsonl, read for lab, without a tokenizer, so lengths are not known: the lab's model reads the lab's words "
        "alone; name a [[model]] for a.jsonl\n\nColumns:\n  pairs: prompt, chosen, rejected\n"
    )
    assert "Bad rows, 1:\n  a.jsonl, line 2: prompt is null\n" in said
    assert "[chosen] user: Why?\n⟦Because.⟧\n" in said
    assert "tokens" not in said
    lines(tmp_path / "a.jsonl", [{**PAIR, "prompt": None}])
    with pytest.raises(HarnessError, match=r"^none of the 1 rows of a\.jsonl can be read as pairs:\na\.jsonl, line 1"):
        shown(tmp_path, f'source = "a.jsonl"\n{ALL}')
