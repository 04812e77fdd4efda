from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from ample import ample
from synthetic import World, fill, make_cells, make_plan
from test_report import parsed

from harness.report import build
from harness.report.sheet import Sheet, Shown, make_frame, number, tex
from harness.store import Store

WORLD = World({"kto": 0.2}, prompts=10, samples=2)
UNDONE = {r"\textasciitilde{}": "~", r"\textasciicircum{}": "^", r"\textbackslash{}": "\\"}


def undone(text: str) -> str:
    """What LaTeX would print."""
    for command, mark in UNDONE.items():
        text = text.replace(command, mark)
    return re.sub(r"\\([&%$#_{}])", r"\1", text)


def cells(text: str) -> list[list[str]]:
    """The body of a longtable, as LaTeX would print it."""
    body = text.split("\\endlastfoot\n")[1].split("\\end{longtable}")[0]
    lines = [line.removesuffix(r" \\") for line in body.splitlines() if line.strip()]
    return [[undone(cell).strip() for cell in re.split(r"(?<!\\)&", line)] for line in lines]


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("ample")
    return build(*ample(root / "results"), root / "out").path.parent


LINKS = re.compile(
    r'<table id="([^"]*)">.*?href="tables/([^"]*).csv".*?href="tables/([^"]*).parquet".*?"tables/([^"]*)"'
)


def test_every_table_of_the_page_is_in_csv_parquet_and_latex(out: Path) -> None:
    page, text = parsed(out / "report.html").tables, (out / "report.html").read_text()
    page.pop("", None)  # inside of a line that opens: of the table whose listing it is in, see test_hypotheses.py
    files = {table: names for table, *names in LINKS.findall(text.replace("\n", " "))}
    assert set(files) == set(page)
    assert {"table-matrix", "table-outputs-greedy-0", "table-preference", "table-cards-0", "table-best_of_n-0",
            "table-benchmarks"} <= set(page)  # fmt: skip
    for table, (csv, parquet, latex) in files.items():
        shown = [[" ".join(cell.split()) for cell in row] for row in page[table][1:]]
        assert cells((out / "tables" / latex).read_text()) == shown, table
        plain, typed = pd.read_csv(out / f"tables/{csv}.csv"), pd.read_parquet(out / f"tables/{parquet}.parquet")
        assert list(plain.columns) == list(typed.columns)
        assert len(plain) == len(typed) >= 1


@pytest.mark.parametrize("view", ["matrix", "outputs-length-0", "outputs-diversity-0", "outputs-degenerate-0",
                                  "outputs-greedy-0", "preference", "cards-0", "best_of_n-0"])  # fmt: skip
def test_the_numbers_of_a_view_are_those_of_its_files(out: Path, view: str) -> None:
    text = (out / "report.html").read_text().replace("\n", " ")
    csv = next(csv for table, csv, *_ in LINKS.findall(text) if table == f"table-{view}")
    known = pd.read_csv(out / f"tables/{csv}.csv").select_dtypes("number").to_numpy().ravel()
    _, *body = parsed(out / "report.html").tables[f"table-{view}"]
    told = [cell for row in body for cell in row[1:] if re.fullmatch(r"[+−\d][^a-z]*", cell)]  # and not how to read it
    numbers = re.findall(r"(?<![\w.])[0-9][0-9,]*\.[0-9]+", " ".join(told))
    assert len(numbers) >= 5
    for one in numbers:
        off = np.nanmin(np.abs(np.abs(known) - float(one.replace(",", ""))))
        assert off <= 0.5 * 10.0 ** -len(one.split(".")[1]) + 1e-9, one


def test_best_of_n_has_a_row_for_each_n(out: Path) -> None:
    ns = [row[0] for row in cells((out / "tables/best_of_n-0.tex").read_text())]
    assert ns == ["1", "2", "4", "8"]


def test_rows_of_several_settings_say_of_which(tmp_path: Path) -> None:
    plan = make_plan([cell for model in ("small", "large") for cell in make_cells(["kto"], 2, model=model)], 2)
    fill(tmp_path, list(plan.cells), WORLD)
    tables = build(plan, Store(tmp_path), tmp_path / "out").path.parent / "tables"
    assert {row[0] for row in cells((tables / "main.tex").read_text())} == {"small · lab · sft", "large · lab · sft"}


@pytest.mark.parametrize("hostile", [r"\input{/etc/passwd}", "50 % of a_b & c^d ~ {e} $f$ #g", "two\nlines"])
def test_text_of_others_is_printed_and_never_run(hostile: str) -> None:
    frame = make_frame([{"who": hostile, "gain": None}], {"who": "string", "gain": "Float64"})
    shown = [Shown("who_", lambda row: row["who"], kind="prose"), Shown("gain", lambda row: number(row["gain"]))]
    text = Sheet("one", hostile, frame, {}, shown).latex()
    assert cells(text) == [[hostile.replace("\n", " "), "—"]]
    assert r"\input" not in text
    assert undone(tex(hostile)) == hostile.replace("\n", " ")


def test_a_table_without_rows_is_as_wide_as_its_columns() -> None:
    frame = make_frame([], {"who": "string", "gain": "Float64"})
    shown = [Shown("who", lambda row: row["who"], kind="word"), Shown("gain", lambda row: number(row["gain"]))]
    text = Sheet("one", "Nothing yet.", frame, {}, shown).latex()
    assert cells(text) == []
    assert r"\multicolumn{2}{r}" in text
