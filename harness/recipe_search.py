"""Reads [tune.search]: ranges of the recipe's own, by algorithm and knob."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness import registry
from harness.errors import HarnessError, nearest
from harness.knobs import Choice, Range, Uniform, Value, coerce, inside, knobs, ranges
from harness.recipe import Contestant

if TYPE_CHECKING:
    from harness.locate import Step
    from harness.recipe_reader import Reader

SHAPE = "{ low = 0.01, high = 1.0, log = true } or { choice = [0.1, 0.3] }"
Ranges = dict[str, dict[str, Range]]


class SearchReader:
    """Reads the tables for the recipe's reader, and collects every problem with its means."""

    def __init__(self, reader: Reader) -> None:
        self.located, self.problems = reader.located, reader.problems

    def read(self, given: object, contestants: tuple[Contestant, ...]) -> Ranges:
        """Ranges by algorithm and knob, each of which holds the knobs of the first trial."""
        if not isinstance(given, dict):
            self._add(f"tune.search is {given!r}; it must be a table for each algorithm")
            return {}
        found: Ranges = {}
        for algorithm, table in given.items():
            own = [one for one in contestants if one.algorithm == algorithm]
            if not own:
                self._add(_stranger(algorithm, contestants), algorithm)
            elif not isinstance(table, dict):
                text = f"tune.search.{algorithm} is {table!r}; it must be a table of knobs, each with {SHAPE}"
                self._add(text, algorithm)
            else:
                found[algorithm] = self._of(algorithm, table, own)
        for contestant in contestants:
            self._holds_own(contestant, found.get(contestant.algorithm, {}))
        return found

    def _add(self, text: str, *path: Step) -> None:
        self.problems.add(self.located.where("tune", "search", *path), text)

    def _of(self, algorithm: str, table: dict[str, object], contestants: list[Contestant]) -> dict[str, Range]:
        """The ranges of one algorithm."""
        found = {}
        for name, given in table.items():
            range_ = self._range(registry.load("algorithms", algorithm), algorithm, name, given)
            if range_ is None:
                continue
            found[name] = range_
            if all(name in one.knobs for one in contestants):
                fixed = ", ".join(dict.fromkeys(one.where for one in contestants))
                text = f"tune.search.{algorithm}.{name}: the recipe fixes {name} ({fixed}), so that it is not searched"
                self._add(f"{text}; leave out the range, or the value", algorithm, name)
        return found

    def _range(self, owner: type, algorithm: str, name: str, given: object) -> Range | None:
        path, label, declared = (algorithm, name), f"tune.search.{algorithm}.{name}", knobs(owner)
        if name not in declared:
            text = f"{algorithm} has no knob '{name}'{nearest(name, declared)} (knobs: {', '.join(declared)})"
            self._add(text, *path)
            return None
        if not isinstance(given, dict) or not (
            set(given) == {"choice"} or {"low", "high"} <= set(given) <= {"low", "high", "log"}
        ):
            self._add(f"{label} is {given!r}; it must be {SHAPE}", *path)
            return None
        values = given["choice"] if "choice" in given else [given["low"], given["high"]]
        if not isinstance(values, list) or not values:
            self._add(f"{label}.choice is {values!r}; it must be a list of at least one value", *path)
            return None
        where = self.located.where("tune", "search", *path)
        found = [coerce(owner, algorithm, {name: value}, where, self.problems).get(name) for value in values]
        right = [value for value in found if value is not None]
        if len(right) < len(found):
            return None
        return self._choice(label, right, *path) if "choice" in given else self._uniform(label, right, given, *path)

    def _choice(self, label: str, values: list[Value], *path: Step) -> Range | None:
        twice = next((value for value in values if values.count(value) > 1), None)
        if twice is not None:
            self._add(f"{label}.choice has {twice} more than once", *path)
            return None
        return Choice(tuple(values))

    def _uniform(self, label: str, ends: list[Value], given: dict[str, object], *path: Step) -> Range | None:
        log = given.get("log", False)
        if not isinstance(log, bool):
            self._add(f"{label}.log is {log!r}; it must be true or false", *path)
            return None
        if isinstance(ends[0], str | bool):
            self._add(f"{label} has low and high, and is no number; write {{ choice = [...] }}", *path)
            return None
        low, high = (float(end) for end in ends)
        if not low < high or (log and low <= 0):
            text = f"{label} goes from {low:g} to {high:g}; low must be below high, and above 0 on a log scale"
            self._add(text, *path)
            return None
        return Uniform(low, high, log)

    def _holds_own(self, contestant: Contestant, own: dict[str, Range]) -> None:
        """Every range holds the knobs of the first trial."""
        owner = registry.load("algorithms", contestant.algorithm)
        try:
            space = ranges(owner, contestant.knobs, own)
        except HarnessError as error:
            self.problems.add(contestant.where, f"{contestant.label}: {error} (tune.search.{contestant.algorithm})")
            return
        for name, range_ in space.items():
            value = knobs(owner)[name].default
            if not inside(range_, value):
                text = f"tune.search.{contestant.algorithm}.{name} is {range_}; it must hold the first trial's value"
                self._add(f"{text}, the default {value}", contestant.algorithm, name)


def _stranger(algorithm: str, contestants: tuple[Contestant, ...]) -> str:
    """Of a table for an algorithm that the recipe lacks; one that there is elsewhere is no misspelling."""
    names = sorted({one.algorithm for one in contestants})
    hint = "" if algorithm in registry.names("algorithms") else nearest(algorithm, names)
    return f"tune.search.{algorithm}: no [[algorithm]] of the recipe has that name{hint} (it has: {', '.join(names)})"
