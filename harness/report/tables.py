"""The files of the report's tables: CSV and parquet with the numbers in full, LaTeX as they are read."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harness.report.sheet import Sheet


def write(sheets: list[Sheet], folder: Path) -> None:
    """Write the files of tables.

    Args:
        sheets: the tables; one that is a view of another has no numbers of its own.
        folder: made if needed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for sheet in sheets:
        if not sheet.view_of:
            sheet.frame.to_csv(folder / f"{sheet.name}.csv", index=False, lineterminator="\n")
            sheet.frame.to_parquet(folder / f"{sheet.name}.parquet", index=False)
        if sheet.shown:
            (folder / f"{sheet.as_read}.tex").write_text(sheet.latex(), encoding="utf-8")
