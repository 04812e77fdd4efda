"""The report: an answer in words, and the tables and figures that it rests on; from records alone."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harness.plan import Plan
    from harness.store import Store


@dataclass(frozen=True)
class Answer:
    """What `harness run` ends with.

    Attributes:
        text: the answer in words, one sentence per line.
        path: the page.
    """

    text: str
    path: Path


def build(plan: Plan, store: Store, out: Path) -> Answer:
    """Write `report.html`, `report.md` and `tables/*.csv|parquet|tex` from what the plan's stages have left.

    It works on a finished comparison, on one with failed or missing cells, and before anything has run.

    Args:
        plan: what was to be run.
        store: the results folder; only records, scores, curves and samples are read.
        out: the folder of this report; made if needed, earlier files of a report are replaced.

    Returns:
        The answer in words and where the page lies.
    """
    from harness.records import read
    from harness.report import painter
    from harness.report.page import html, markdown
    from harness.report.sections import make_page
    from harness.report.tables import write
    from harness.report.twins import curves_sheet, measurements_sheet

    painter.begin()
    tables = read(plan, store)
    long = [curves_sheet(tables), measurements_sheet(tables)]
    written = [write(long, out / "tables")]  # they take longest, and wait for nothing
    page, sheets = make_page(plan, store, tables, long)
    written.append(write(sheets, out / "tables"))
    (out / "report.md").write_text(markdown(page), encoding="utf-8")
    path = out / "report.html"
    path.write_text(html(page), encoding="utf-8")
    for asked in written:
        asked.get()
    first = [section for section in page.sections if section.id.startswith("answer")]
    lines = [
        text
        for section in first
        for text in (
            *([f"{section.title}:"] if len(first) > 1 else []),
            section.sentence, *section.points, *(one.text for one in section.linked),
        )
    ]  # fmt: skip
    return Answer("\n".join(lines), path)
