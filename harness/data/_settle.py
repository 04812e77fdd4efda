"""What a recipe says of columns and conversions, checked before anything is read."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from harness import keys
from harness.data._merge import CONVERSIONS
from harness.data._views import FIELDS
from harness.errors import nearest

FROM = "from "
Settle = Callable[[str, str], None]
"""Notes a problem of a knob: its name, and what is wrong."""


def settle_columns(found: dict[str, Any], problem: Settle) -> None:
    """The table of columns as JSON, in which form it may have come."""
    given = found.get("columns", "")
    columns = _object(given) if isinstance(given, str) else given
    if not isinstance(columns, dict):
        del found["columns"]
        problem("columns", f"columns is {given!r}, which is no table; write one: columns = {{chosen = 'better'}}")
        return
    read = [view for view in FIELDS if found.get(view) and not str(found[view]).startswith(FROM)]
    _check_columns(columns, read or list(FIELDS), problem)
    if isinstance(given, dict):
        found["columns"] = keys.canonical(columns)


def _object(given: str) -> Any:
    try:
        return json.loads(given or "{}")
    except json.JSONDecodeError:
        return None


def _check_columns(columns: dict[str, Any], read: list[str], problem: Settle) -> None:
    for name, value in columns.items():
        if not isinstance(value, dict):
            _check_fields({name: value}, read, problem)
        elif name not in FIELDS:
            problem("columns", f"columns.{name}: there is no view '{name}'{nearest(name, FIELDS)}")
        elif name not in read:
            problem("columns", f"columns.{name}: no {name} are read here (what is read: {', '.join(read)})")
        else:
            _check_fields(value, [name], problem)


def _check_fields(columns: dict[str, Any], read: list[str], problem: Settle) -> None:
    known = sorted({field for view in read for field in FIELDS[view]})
    for field, column in columns.items():
        if field not in known:
            told = f"{nearest(field, known)} (known of {' and '.join(read)}: {', '.join(known)})"
            problem("columns", f"columns has no field '{field}'{told}")
        elif not isinstance(column, str):
            problem("columns", f"columns.{field} is {column!r}; it must be the name of a column")


def check_conversion(view: str, found: dict[str, Any], problem: Settle) -> None:
    source = found[view].removeprefix(FROM)
    able = [other for made, other in CONVERSIONS if made == view]
    if source not in able:
        what = ", ".join(f"'{FROM}{other}'" for other in able) or "none"
        problem(view, f"{view} = '{found[view]}' is no conversion (known: {what})")
    elif not found.get(source):
        problem(view, f"{view} = '{found[view]}', but no {source} are given")
    elif found[source] == f"{FROM}{view}":
        problem(view, f"{view} and {source} are each made from the other")
