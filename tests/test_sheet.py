from __future__ import annotations

import pytest

from harness.report.page import Page, Section, html, markdown
from harness.report.sheet import GAP, Sheet, Shown, make_frame, number


def sheet(oracle: list[float | None]) -> Sheet:
    found = [{"who": f"run {i}", "gold": None, "oracle": value} for i, value in enumerate(oracle)]
    frame = make_frame(found, {"who": "string", "gold": "Float64", "oracle": "Float64"})
    shown = [
        Shown("who", lambda row: row["who"], kind="word"),
        Shown("gold", lambda row: number(row["gold"])),
        Shown("oracle", lambda row: number(row["oracle"]), optional=True, shade=lambda row: row["oracle"]),
    ]
    return Sheet("one", "What was seen.", frame, {}, shown)


@pytest.mark.parametrize(("oracle", "titles"), [([None, None], 2), ([None, 1.0], 3)])
def test_an_optional_column_is_shown_where_a_row_has_something_and_others_always(
    oracle: list[float | None], titles: int
) -> None:
    one = sheet(oracle)
    assert [column.title for column in one.columns] == ["who", "gold", "oracle"][:titles]
    assert one.texts[0] == ["run 0", GAP, GAP][:titles]
    assert one.tinted == (titles == 3)
    for text in (one.latex(), *rendered(one)):
        assert ("oracle" in text) == (titles == 3)
    assert list(one.frame) == ["who", "gold", "oracle"]  # the files keep every column


def test_a_table_without_rows_is_on_no_page() -> None:
    assert all("What was seen." not in text for text in rendered(sheet([])))
    assert all("What was seen." in text for text in rendered(sheet([1.0])))


def rendered(one: Sheet) -> list[str]:
    page = Page("title", "", "", [Section("runs", "Runs", "A sentence.", sheets=[one])])
    return [html(page), markdown(page)]
