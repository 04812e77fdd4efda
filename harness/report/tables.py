"""The files of the report's tables: CSV and parquet with the numbers in full, LaTeX as they are read."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from harness.report import painter

if TYPE_CHECKING:
    import pandas as pd

    from harness.report.painter import Asked
    from harness.report.sheet import Sheet


def write(sheets: list[Sheet], folder: Path) -> Asked[None]:
    """Write the files of all tables; those with the numbers by the second process, which has them when asked is got.

    Args:
        sheets: the tables; one that is a view of another has no numbers of its own.
        folder: made if needed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    frames = {sheet.name: sheet.frame for sheet in sheets if not sheet.view_of}
    asked = painter.ask(_numbers, frames, folder.resolve())  # it was begun in a folder of its own, perhaps
    for sheet in sheets:
        if sheet.shown:
            (folder / f"{sheet.as_read}.tex").write_text(sheet.latex(), encoding="utf-8")
    return asked


def _numbers(frames: dict[str, pd.DataFrame], folder: Path) -> None:
    for name, frame in frames.items():
        frame.to_csv(folder / f"{name}.csv", index=False, lineterminator="\n")
        frame.to_parquet(folder / f"{name}.parquet", index=False)
