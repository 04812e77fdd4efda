"""Knobs: default, valid range, search range and meaning of a parameter in one declaration."""

from __future__ import annotations

import contextlib
import math
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from functools import cache
from typing import Any, cast, get_type_hints

from harness.errors import HarnessError, Problems, nearest


@dataclass(frozen=True)
class Between:
    """Valid numbers: `low` to `high`, ends included unless `open_low` or `open_high`; never infinite or nan."""

    low: float = float("-inf")
    high: float = float("inf")
    open_low: bool = False
    open_high: bool = False

    def __contains__(self, value: object) -> bool:
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        if not abs(value) <= sys.float_info.max:  # nan is not either
            return False
        above = value > self.low if self.open_low else value >= self.low
        below = value < self.high if self.open_high else value <= self.high
        return above and below

    def __str__(self) -> str:
        opens = "(" if self.open_low or math.isinf(self.low) else "["
        closes = ")" if self.open_high or math.isinf(self.high) else "]"
        return f"{opens}{self.low:g}, {self.high:g}{closes}"


NUMBERS = Between()
"""Valid where nothing else is said of a number."""


def above(low: float) -> Between:
    """Valid numbers greater than `low`."""
    return Between(low=low, open_low=True, open_high=True)


@dataclass(frozen=True)
class OneOf:
    """Valid values: one of a list."""

    values: tuple[str | int | float | bool, ...]

    def __contains__(self, value: object) -> bool:
        return value in self.values

    def __str__(self) -> str:
        return "one of " + ", ".join(repr(value) for value in self.values)


@dataclass(frozen=True)
class Uniform:
    """Where the tuner searches: `low` to `high`, on a log scale where `log`."""

    low: float
    high: float
    log: bool = False

    def __str__(self) -> str:
        return f"{self.low:g} to {self.high:g}{' (log)' if self.log else ''}"


@dataclass(frozen=True)
class Choice:
    """What the tuner chooses from."""

    values: tuple[str | int | float | bool, ...]

    def __str__(self) -> str:
        return ", ".join(str(value) for value in self.values)


TYPES: dict[type, str] = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}
"""What messages call the type of a knob."""
Range = Uniform | Choice


@dataclass(frozen=True)
class By:
    """A range that depends on another knob, since the number means something else under each of its values."""

    knob: str
    ranges: tuple[tuple[str | int | float | bool, Range], ...]

    def __str__(self) -> str:
        return "; ".join(f"{range_} where {self.knob} = {value}" for value, range_ in self.ranges)


Search = Range | By | None
Valid = Between | OneOf | None
Value = str | int | float | bool


def knob(
    default: Value, *, doc: str, valid: Valid = None, search: Search = None, later: bool = False
) -> Any:  # a dataclass field
    """A field of a frozen dataclass that a recipe may set.

    Args:
        default: used where the recipe says nothing; its type is the knob's type.
        doc: what it means, in one line, with its unit.
        valid: refused outside.
        search: where the tuner looks; None where it is not tuned.
        later: the plug-in did without it at first, and does at its default what it did then; see `keyed`.
    """
    return field(default=default, metadata={"doc": doc, "valid": valid, "search": search, "later": later})


@dataclass(frozen=True)
class Knob:
    """One declared knob of a plug-in class."""

    name: str
    type: type
    default: Value
    doc: str
    valid: Valid
    search: Search


def knobs(owner: type) -> dict[str, Knob]:
    """All knobs that a plug-in class declares, in order."""
    return _knobs(owner)


def keyed(plugin: Any) -> dict[str, Value]:
    """All fields of a plug-in by name, as a key holds them.

    A knob that came `later` is left out at its default, so what was made before it was there keeps its name.
    """
    return {
        f.name: getattr(plugin, f.name)
        for f in fields(plugin)
        if not (f.metadata.get("later") and getattr(plugin, f.name) == f.default)
    }


@cache
def _knobs(owner: type) -> dict[str, Knob]:
    hints = get_type_hints(owner)
    return {
        f.name: Knob(
            f.name, hints[f.name], cast(Value, f.default), *(f.metadata[k] for k in ("doc", "valid", "search"))
        )
        for f in fields(owner)
        if "doc" in f.metadata
    }


def coerce(
    owner: type, label: str, given: dict[str, object], where: str, problems: Problems, also: Iterable[str] = ()
) -> dict[str, Any]:
    """Check values for knobs and bring them to the declared types (`1` and `1.0` are one value).

    Args:
        owner: the plug-in class.
        label: what messages call it, for example `dpo`.
        given: values by knob name.
        where: file and line for messages; `{}` in it is replaced by the knob's name.
        problems: collects everything that is wrong.
        also: keys of the same table that are read elsewhere, for the list of what there is.

    Returns:
        The accepted values, without defaults.
    """
    declared = knobs(owner)
    names = (*declared, *also)
    accepted: dict[str, Value] = {}
    for name, value in given.items():
        place = where.replace("{}", name)
        if name not in declared:
            known = ", ".join(names) or "none"
            problems.add(place, f"{label} has no knob '{name}'{nearest(name, names)} (knobs: {known})")
            continue
        item = declared[name]
        right = _as_type(value, item.type)
        valid = item.valid or (NUMBERS if item.type is float else None)
        if right is None:
            problems.add(place, f"{label}.{name} is {value!r}; it must be {TYPES[item.type]} ({item.doc})")
        elif valid is not None and right not in valid:
            problems.add(place, f"{label}.{name} is {value!r}; valid: {valid} ({item.doc})")
        else:
            accepted[name] = right
    return accepted


def _as_type(value: object, kind: type) -> Value | None:
    if kind is float and isinstance(value, int | float) and not isinstance(value, bool):
        with contextlib.suppress(OverflowError):  # a whole number of more digits than a float has room for
            return float(value)
        return None
    if kind is int and isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, str | int | float | bool) and type(value) is kind:
        return value
    return None


def ranges(owner: type, fixed: Mapping[str, Value], own: Mapping[str, Range] | None = None) -> dict[str, Range]:
    """What the tuner searches of a plug-in: its declared ranges but for knobs that are fixed, and a recipe's own.

    Args:
        owner: the plug-in class.
        fixed: knobs with a value of their own, which are not searched.
        own: ranges that stand in place of the declared ones, or are added to them.

    Raises:
        HarnessError: a range depends on a knob that is searched itself, or on a value that it says nothing about.
    """
    found: dict[str, Range] = {}
    for name, item in knobs(owner).items():
        search = (own or {}).get(name, item.search)
        if name in fixed or search is None:
            continue
        found[name] = _by(owner, name, search, fixed, own or {}) if isinstance(search, By) else search
    return found


def _by(owner: type, name: str, search: By, fixed: Mapping[str, Value], own: Mapping[str, Range]) -> Range:
    if search.knob in own and search.knob not in fixed:
        raise HarnessError(
            f"the range of '{name}' depends on '{search.knob}', which is searched too; give '{name}' one"
        )
    value = fixed.get(search.knob, knobs(owner)[search.knob].default)
    for known, range_ in search.ranges:
        if known == value:
            return range_
    raise HarnessError(f"'{name}' has no range where {search.knob} = {value!r}; give it one")


def inside(range_: Range, value: Value) -> bool:
    """Whether a value lies in a range."""
    if isinstance(range_, Choice):
        return value in range_.values
    return isinstance(value, int | float) and range_.low <= value <= range_.high
