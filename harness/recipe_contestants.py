"""Reads [[algorithm]]: contestants with their grids, labels and starts."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from harness import registry
from harness.errors import nearest
from harness.knobs import Value, coerce
from harness.recipe import STARTS, TUNED, Contestant, Part

if TYPE_CHECKING:
    from harness.recipe_reader import Reader

CONTINUED = "continued"
"""What a contestant is called after its name that is trained as a start is, and goes on from there."""


class ContestantReader:
    """Reads the tables for the recipe's reader, and collects every problem with its means."""

    def __init__(self, reader: Reader) -> None:
        self.reader, self.located, self.problems = reader, reader.located, reader.problems

    def read(self, starts: tuple[Part, ...]) -> tuple[Contestant, ...]:
        """All contestants, in the order of the tables. `starts` are those of the recipe."""
        tables = self.reader.tables("algorithm")
        if not tables:
            known = ", ".join(self._names())
            self.problems.add(
                self.located.where("algorithm"), f"a recipe needs at least one [[algorithm]] (known: {known})"
            )
        found: list[Contestant] = []
        names = [table.get("name") for table in tables]
        for place, given in enumerate(tables):
            found += self._expand(place, given, names, starts)
        self._unlike(found, starts)
        return tuple(found)

    def _unlike(self, found: list[Contestant], starts: tuple[Part, ...]) -> None:
        """Note contestants that are the cells of another one, or that tables could not tell from one, or a start."""
        labels, cells = {start.label: start.where for start in starts}, dict[tuple[object, ...], str]()
        for one in found:
            cell = _cell(one, starts)
            if cell in cells:
                self.problems.add(one.where, f"{one.label} is the same cell as another one ({cells[cell]})")
                continue
            cells[cell] = one.where
            if one.label in labels:
                why = f"'{one.label}' needs a label of its own: label = \"...\" (the other: {labels[one.label]})"
                self.problems.add(one.where, f"[[algorithm]] {why}")
            labels.setdefault(one.label, one.where)
        for label in [one.label for one in found] if "tune" in self.located.values else []:
            if (tuned := f"{label} {TUNED}") in labels:
                text = f"'{tuned}' is what '{label}' is called once it is tuned; it needs another label"
                self.problems.add(labels[tuned], text)

    @staticmethod
    def _names() -> list[str]:
        """Algorithms that can be contestants: those that make a policy from a start."""
        kinds = registry.loaded("algorithms").items()
        return [name for name, kind in kinds if kind.product == "policy" and kind.needs.start]

    def _expand(
        self, place: int, given: dict[str, Any], names: list[Any], starts: tuple[Part, ...]
    ) -> list[Contestant]:
        """All contestants of one [[algorithm]]: the product of its grid."""
        where = self.located.where("algorithm", place)
        name, start, label = given.pop("name", None), given.pop("start", ""), given.pop("label", None)
        if not self._known(name, start, place):
            return []
        fixed, axes = self._knobs(str(name), given, place)
        points = [dict(zip(axes, point, strict=True)) for point in itertools.product(*axes.values())]
        owner = registry.load("algorithms", str(name))
        self.reader.together(owner, str(name), [{**fixed, **point} for point in points], "algorithm", place)
        told = {**fixed} if names.count(name) > 1 and not label else {}
        usual = f"{name} {CONTINUED}" if name in [one.label for one in starts] else str(name)
        title = self.reader.label(label, usual, "algorithm", place)
        return [
            Contestant(
                _label(title, {**told, **point}, axes, str(start)), str(name), {**fixed, **point}, str(start), where
            )
            for point in points
        ]

    def _known(self, name: object, start: object, place: int) -> bool:
        """Whether there is such an algorithm; notes where there is none, or where it names a start that is none."""
        if name in registry.names("algorithms") and name not in registry.loaded("algorithms"):
            self.reader.plugin("algorithms", name, self.located.where("algorithm", place, "name"))
            return False
        if name not in self._names():
            hint = nearest(str(name), self._names())
            what = "[[algorithm]] needs a name" if name is None else f"there is no algorithm '{name}'{hint}"
            self.problems.add(
                self.located.where("algorithm", place, "name"), f"{what} (known: {', '.join(self._names())})"
            )
            return False
        if start and start not in STARTS:
            hint = nearest(str(start), STARTS)
            self.problems.add(
                self.located.where("algorithm", place, "start"),
                f"there is no start '{start}'{hint} (known: {', '.join(STARTS)})",
            )
        return True

    def _knobs(self, name: str, given: dict[str, Any], place: int) -> tuple[dict[str, Value], dict[str, list[Value]]]:
        """The knobs that are fixed, and those that are axes of the grid."""
        owner = registry.load("algorithms", name)
        grid = self.reader.table(given.pop("grid", {}), "algorithm", place, "grid")
        fixed = self.reader.coerce(owner, name, given, "algorithm", place, also=("name", "label", "start", "grid"))
        axes = {axis: self._axis(owner, name, axis, values, place) for axis, values in grid.items()}
        for axis in axes:
            if axis in fixed:
                self.problems.add(
                    self.located.where("algorithm", place, "grid", axis),
                    f"{name}.{axis} is both fixed and an axis of the grid",
                )
        return fixed, axes

    def _axis(self, owner: type, name: str, axis: str, values: object, place: int) -> list[Value]:
        where = self.located.where("algorithm", place, "grid", axis)
        if not isinstance(values, list) or not values:
            self.problems.add(where, f"{name}.grid.{axis} is {values!r}; an axis is a list of at least one value")
            return []
        found = [coerce(owner, name, {axis: value}, where, self.problems).get(axis) for value in values]
        right = [value for value in found if value is not None]
        for value in {value for value in right if right.count(value) > 1}:
            self.problems.add(where, f"{name}.grid.{axis} has {value} more than once")
        return list(dict.fromkeys(right))


def _cell(one: Contestant, starts: tuple[Part, ...]) -> tuple[object, ...]:
    """Equal for contestants that are the same in every setting: from which start in each, and with which knobs."""
    kind = registry.load("algorithms", one.algorithm)
    begun = tuple(one.start or kind.start or start.name for start in starts) or one.start
    return begun, kind(**one.knobs)


def _label(name: str, values: Mapping[str, Value], axes: Mapping[str, list[Value]], start: str) -> str:
    told = [f"{key}={_told(value, axes.get(key, []))}" for key, value in values.items()]
    return " ".join([name, *told, *([f"from {start}"] if start else [])])


def _told(value: Value, among: list[Value]) -> str:
    """A value in six digits, or in as many as tell it from others on its axis."""
    if not isinstance(value, float):
        return str(value)
    short = f"{value:g}"
    return repr(value) if sum(f"{other:g}" == short for other in among) > 1 else short
