from __future__ import annotations

import re
from pathlib import Path

import pytest
from synthetic import World, fill, make_cells, make_plan
from test_report import parsed

from harness.report import build
from harness.report.sheet import Sheet, Shown, make_frame, number, tex
from harness.store import Store

WORLD = World({"dpo beta=0.1": 1.0, "kto": 0.2}, prompts=10, samples=2)
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


def test_the_tables_are_those_of_the_page(tmp_path: Path) -> None:
    plan = make_plan(make_cells(list(WORLD.gains), 3), 3)
    fill(tmp_path, list(plan.cells), WORLD)
    out = build(plan, Store(tmp_path), tmp_path / "out").path.parent
    page = parsed(out / "report.html").tables
    names = [name for name in page if name.startswith("table-") and (out / f"tables/{name[6:]}.tex").exists()]
    assert {"table-runs", "table-totals", "table-metrics"} <= set(names)
    for name in names:
        shown = [[" ".join(cell.split()) for cell in row] for row in page[name][1:]]
        assert cells((out / f"tables/{name[6:]}.tex").read_text()) == shown, name
    main = [[" ".join(cell.split()) for cell in row] for row in page["table-main-0"][1:]]
    assert cells((out / "tables/main.tex").read_text()) == main


@pytest.mark.parametrize("hostile", [r"\input{/etc/passwd}", "50 % of a_b & c^d ~ {e} $f$ #g", "two\nlines"])
def test_text_of_others_is_printed_and_never_run(hostile: str) -> None:
    frame = make_frame([{"who": hostile, "gain": None}], {"who": "string", "gain": "Float64"})
    shown = [Shown("who_", lambda row: row["who"], kind="prose"), Shown("gain", lambda row: number(row["gain"]))]
    text = Sheet("one", hostile, frame, {}, shown).latex()
    assert cells(text) == [[hostile.replace("\n", " "), "—"]]
    assert r"\input" not in text
    assert undone(tex(hostile)) == hostile.replace("\n", " ")
