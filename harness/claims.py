"""What a hypothesis is: a claim of somebody's, made falsifiable. A TOML table to a value, or what is wrong with it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from harness.errors import nearest

DIRECTIONS = ("above", "below")
_TEXT, _NAMES, _NUMBER = "text", "a list of names", "a number"
FIELDS = {
    **{"id": _TEXT, "source": _TEXT, "claim": _TEXT, "note": _TEXT, "tier": _TEXT, "not_run": _TEXT, "runs": _TEXT},
    **{"metric": _TEXT, "a": _NAMES, "b": _NAMES, "along": _TEXT, "against": _NUMBER, "direction": _TEXT},
    **{"delta": _NUMBER, "correlates": _TEXT},
}
_NEEDED = ("id", "claim", "metric", "direction", "delta")


@dataclass(frozen=True)
class Hypothesis:
    """A claim as data.

    Attributes:
        id: its name; the letter that an article's begins with is its family, over which p-values are adjusted.
        claim: in words.
        source: who says so, and where.
        note: what the articles or others say against it.
        tier: T0 is a by-product of any comparison, T1 of the main one, T2 needs recipes of its own.
        not_run: why it is tested by no run; empty where it can be.
        runs: the recipe that decides it.
        metric: `gold` (in sd of the start), a metric's name, `metric/role`, `seconds` or `memory` of training (log
            ratios), `curve:<name>` (mean of the last third of the steps minus that of the first), `spread:gold`
            (a run's distance to the contestant's median run), `sweep:<knob>` (log of the standard deviation of gold
            over a knob's values; `a` and `b` then name algorithms), or `widening` (how much z(proxy) − z(gold) grows
            for each √nat of KL on the way of training).
        correlates: a second metric: what is compared with `against` is then the rank correlation of both over the
            contestants `a`, within prompts where both have the same ones; of a curve, the correlation over runs.
        a: contestants by label, or by algorithm and then all of that algorithm; `every` one there is.
        b: what each of `a` is compared with; `start` is the setting's start.
        along: a knob as `algorithm.knob`, instead of `a` and `b`: the fitted change from its lowest to its highest
            value, values equally spaced.
        against: a number, instead of `b`.
        direction: which way the claim says that a minus b, or the change, lies from 0.
        delta: the difference that matters, above 0, in the metric's unit.
    """

    id: str
    claim: str
    source: str = ""
    note: str = ""
    tier: str = ""
    not_run: str = ""
    runs: str = ""
    metric: str = ""
    correlates: str = ""
    a: tuple[str, ...] = ()
    b: tuple[str, ...] = ()
    along: str = ""
    against: float | None = None
    direction: str = "above"
    delta: float = 0.0

    @property
    def family(self) -> str:
        """Claims of one article are one family."""
        return self.id[:1]

    @property
    def sign(self) -> int:
        """1 where the claim says above, else -1."""
        return 1 if self.direction == "above" else -1


def hypothesis(given: Mapping[str, Any], problem: Callable[[str, str], None]) -> Hypothesis | None:
    """One table as a value.

    Args:
        given: the table.
        problem: is told a key and what is wrong with it, once for each.

    Returns:
        None where anything is wrong.
    """
    wrong = 0
    for key, value in given.items():
        text = _wrong(key, value)
        if text:
            problem(key, text)
            wrong += 1
    if not given.get("not_run"):
        for key in _NEEDED:
            if key not in given:
                problem(key, f"[[hypothesis]] needs {key}")
                wrong += 1
        wrong += _wrong_sides(given, problem)
    if wrong:
        return None
    values: dict[str, Any] = {key: tuple(value) if FIELDS[key] == _NAMES else value for key, value in given.items()}
    return Hypothesis(**values)


def _wrong(key: str, value: Any) -> str:
    kind = FIELDS.get(key)
    if kind is None:
        return f"a hypothesis has no '{key}'{nearest(key, FIELDS)} (known: {', '.join(FIELDS)})"
    fits = {
        _TEXT: isinstance(value, str) and bool(value),
        _NAMES: isinstance(value, list) and bool(value) and all(isinstance(one, str) for one in value),
        _NUMBER: isinstance(value, int | float) and not isinstance(value, bool) and value == value,
    }[kind]
    if not fits:
        return f"hypothesis.{key} is {value!r}; it must be {kind}"
    if key == "direction" and value not in DIRECTIONS:
        return f"hypothesis.direction is {value!r}; it must be above or below"
    if key == "delta" and not 0 < value < float("inf"):
        return f"hypothesis.delta is {value!r}; it must be above 0"
    if key == "along" and (value.count(".") != 1 or not all(value.split("."))):
        return f"hypothesis.along is {value!r}; it must be algorithm.knob, for example dpo.beta"
    return ""


def _wrong_sides(given: Mapping[str, Any], problem: Callable[[str, str], None]) -> int:
    """How many things are wrong with what is compared with what."""
    sides = [key for key in ("b", "against", "along") if key in given]
    if len(sides) != 1:
        came = f"came {' and '.join(sides)}" if sides else "came none"
        problem("claim", f"a hypothesis has one of b (contestants), against (a number) and along (a knob); {came}")
        return 1
    if "correlates" in given and "against" not in given:
        problem("claim", "a hypothesis that correlates two metrics compares the correlation with a number: against")
        return 1
    if ("a" in given) == ("along" in given):
        problem("claim", "a hypothesis names its contestants a, or the knob along which they lie, not both")
        return 1
    return 0
