"""What a hypothesis is: a claim of somebody's, made falsifiable. A TOML table to a value, or what is wrong with it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from harness.errors import nearest
from harness.knobs import NUMBERS, above

SUPERIOR, NOT_WORSE, EQUAL = "superior", "not_worse", "equal"
PAIRS, GROUPS = "pairs", "groups"
EITHER, SETTINGS = "either", "settings"
COLLAPSE = "collapse"
EVERY, START = "every", "start"
"""Names of contestants that every study has."""
CURVE, SPREAD, SWEEP = "curve:", "spread:", "sweep:"
NUMBERED = ("gold", "seconds", "memory", "widening", "growth", "margin", COLLAPSE)
"""What claims are about beside the metrics of the metrics folder; before a colon what is made of something else."""
CHOSEN_LONGER, SAME_FOR_ALL = "chosen_minus_rejected_tokens", "equal"
PREMISES = {CHOSEN_LONGER: ("above", "below"), **dict.fromkeys(("prompts", "responses", "labels"), (SAME_FOR_ALL,))}
"""Quantities of the data of training that a claim may suppose something of, and the directions that each may have."""
WORDS = {
    "direction": ("above", "below", EITHER),
    "test": (SUPERIOR, NOT_WORSE, EQUAL),
    "contrast": (PAIRS, GROUPS),
    "across": (SETTINGS,),
}
SETTLED = {"proof": "PROVED", "by_construction": "BY CONSTRUCTION", "not_run": "NOT RUN"}
"""Keys that settle a claim without scores, and the verdict of each."""
_TEXT, _NAMES, _NUMBER, _PREMISE = "text", "a list of names", "a finite number", "a table of data and direction"
FIELDS = {
    **dict.fromkeys(("id", "source", "quote_zh", "claim", "note", "tier", *SETTLED, "runs", "metric"), _TEXT),
    **{"a": _NAMES, "b": _NAMES, "along": _TEXT, "against": _NUMBER, "starts": _NAMES, "correlates": _TEXT},
    "premise": _PREMISE,
    **{**dict.fromkeys(WORDS, _TEXT), "delta": _NUMBER},
}
_PREMISE_KEYS = ("data", "direction")
_NEEDED = ("id", "claim", "metric", "direction", "delta")


class Premise(NamedTuple):
    """What a claim supposes: which measured quantity of the data of training, and which way it lies.

    Attributes:
        quantity: `data` in a recipe: `chosen_minus_rejected_tokens`, the mean over the pairs that `a` trained on; or
            `prompts`, `responses` or `labels`, what a run of each contestant saw in training.
        direction: `above` or `below` 0; or `equal`, alike for all contestants that are named.
    """

    quantity: str
    direction: str


@dataclass(frozen=True)
class Hypothesis:
    """A claim as data.

    Attributes:
        id: its name; the letter that an article's begins with is its family, over which p-values are adjusted.
        claim: in words.
        source: who says so, and where.
        quote_zh: the claim's own words, where they are short.
        note: what the articles or others say against it.
        tier: T0 is a by-product of any comparison, T1 of the main one, T2 needs recipes of its own.
        proof: the test that proves an identity, as `file::function`; no scores are needed.
        by_construction: why it holds of the code, whatever the scores are.
        not_run: why it is tested by no run; empty where it can be.
        runs: the recipe that decides it.
        metric: `gold` (in sd of the start), a metric's name, `metric/role`, `seconds` or `memory` of training (log
            ratios; on a CPU seconds of CPU time, and no memory), `curve:<name>` (mean of the last third of the steps
            minus that of the first), `spread:gold` (a run's distance to the contestant's median run), `sweep:<knob>`
            (log of the standard deviation of gold over a knob's values; `a` and `b` then name algorithms), `widening`
            (how much z(proxy) − z(gold) grows for each √nat of KL on the way of training), `growth` (the fitted change
            of gold from a run's first graded policy to its last), `margin` (chosen_logp − rejected_logp of held-out
            pairs), or `collapse` (the share of runs that failed, degenerate, or are worse than the base).
        correlates: a second metric: what is compared with `against` is then the rank correlation of both over the
            contestants `a`, within prompts where both have the same ones; of a curve, the correlation over runs.
        a: contestants by label, or by algorithm and then all of that algorithm; `every` one there is.
        b: what each of `a` is compared with; `start` is the setting's start.
        along: a knob as `algorithm.knob`, instead of `a` and `b`: the fitted change from its lowest to its highest
            value, values equally spaced.
        against: a number, instead of `b`.
        starts: of `a` and of `b`, which are compared across settings that differ in their start alone.
        across: `settings`: how far each of `a` is ahead of their mean in one setting, minus the same in another.
        contrast: `pairs`, each of `a` with each of `b`; `groups`, the mean of all `a` with that of all `b`.
        test: `superior`: a minus b lies on the claim's side of 0; `not_worse`: not further than delta on the other;
            `equal`: within delta on both.
        direction: which way the claim says that a minus b, or the change, lies from 0; `either` across settings.
        delta: the difference that matters, above 0, in the metric's unit.
        premise: what has to be so for the verdict to mean anything; where it is not, the claim is not judged.
    """

    id: str
    claim: str
    source: str = ""
    quote_zh: str = ""
    note: str = ""
    tier: str = ""
    proof: str = ""
    by_construction: str = ""
    not_run: str = ""
    runs: str = ""
    metric: str = ""
    correlates: str = ""
    a: tuple[str, ...] = ()
    b: tuple[str, ...] = ()
    along: str = ""
    against: float | None = None
    starts: tuple[str, ...] = ()
    across: str = ""
    contrast: str = PAIRS
    test: str = SUPERIOR
    direction: str = "above"
    delta: float = 0.0
    premise: Premise | None = None

    @property
    def family(self) -> str:
        """Claims of one article are one family."""
        return self.id[:1]

    @property
    def sign(self) -> int:
        """-1 where the claim says below, else 1."""
        return -1 if self.direction == "below" else 1

    @property
    def settled(self) -> tuple[str, str] | None:
        """The verdict that needs no scores, and its reason; None where scores decide."""
        return next(((word, getattr(self, key)) for key, word in SETTLED.items() if getattr(self, key)), None)


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
    settled = [key for key in SETTLED if key in given]
    if len(settled) > 1:
        problem(settled[1], f"a hypothesis has one of {', '.join(SETTLED)}; came {' and '.join(settled)}")
        wrong += 1
    if not settled:
        for key in _NEEDED:
            if key not in given:
                problem(key, f"[[hypothesis]] needs {key}")
                wrong += 1
        wrong += _wrong_sides(given, problem)
    if wrong:
        return None
    return Hypothesis(**{key: _value(FIELDS[key], value) for key, value in given.items()})


def _value(kind: str, value: Any) -> Any:
    """A TOML value as the field holds it."""
    if kind == _PREMISE:
        return Premise(*(value[key] for key in _PREMISE_KEYS))
    return tuple(value) if kind == _NAMES else value


def _wrong(key: str, value: Any) -> str:
    kind = FIELDS.get(key)
    if kind is None:
        return f"a hypothesis has no '{key}'{nearest(key, FIELDS)} (known: {', '.join(FIELDS)})"
    if kind == _PREMISE:
        return _wrong_premise(value)
    fits = {
        _TEXT: isinstance(value, str) and bool(value),
        _NAMES: isinstance(value, list) and bool(value) and all(isinstance(one, str) for one in value),
        _NUMBER: value in NUMBERS,
    }[kind]
    if not fits:
        return f"hypothesis.{key} is {value!r}; it must be {kind}"
    if key in WORDS and value not in WORDS[key]:
        return f"hypothesis.{key} is {value!r}{nearest(value, WORDS[key])}; it must be {' or '.join(WORDS[key])}"
    if key == "delta" and value not in above(0):
        return f"hypothesis.delta is {value!r}; it must be above 0"
    if key == "along" and (value.count(".") != 1 or not all(value.split("."))):
        return f"hypothesis.along is {value!r}; it must be algorithm.knob, for example dpo.beta"
    return ""


def _wrong_premise(value: Any) -> str:
    """What is wrong with what a claim supposes."""
    if not isinstance(value, dict) or set(value) != set(_PREMISE_KEYS):
        example = f'{{data = "{CHOSEN_LONGER}", direction = "above"}}'
        return f"hypothesis.premise is {value!r}; it must be {_PREMISE}, for example {example}"
    quantity, direction = (value[key] for key in _PREMISE_KEYS)
    if quantity not in tuple(PREMISES):  # a list of TOML has no hash, which a look into a dictionary needs
        hint = nearest(str(quantity), PREMISES)
        return f"hypothesis.premise.data is {quantity!r}{hint}; it must be {' or '.join(PREMISES)}"
    if direction not in PREMISES[quantity]:
        wanted = " or ".join(PREMISES[quantity])
        return f"hypothesis.premise.direction is {direction!r}; of {quantity} it must be {wanted}"
    return ""


def _wrong_sides(given: Mapping[str, Any], problem: Callable[[str, str], None]) -> int:
    """How many things are wrong with what is compared with what."""
    found = _sides_trouble(given)
    if found:
        problem(*found)
    return int(found is not None)


def _sides_trouble(given: Mapping[str, Any]) -> tuple[str, str] | None:
    """The first thing that is wrong with what is compared with what, and the key to blame."""
    sides = [key for key in ("b", "against", "along", "across") if key in given]
    if len(sides) != 1:
        came = f"came {' and '.join(sides)}" if sides else "came none"
        wanted = "b (contestants), against (a number), along (a knob) and across (settings)"
        return "claim", f"a hypothesis has one of {wanted}; {came}"
    if "correlates" in given and "against" not in given:
        return "claim", "a hypothesis that correlates two metrics compares the correlation with a number: against"
    if str(given.get("metric")).startswith(SWEEP) and "b" not in given:
        return "metric", f"hypothesis.metric = '{SWEEP}<knob>' compares the algorithms a with those of b; b is missing"
    if ("a" in given) == ("along" in given):
        return "claim", "a hypothesis names its contestants a, or the knob along which they lie, not both"
    if given.get("contrast") == GROUPS and "b" not in given:
        return "contrast", "hypothesis.contrast = 'groups' compares the mean of a with that of b; b is missing"
    if isinstance(given.get("starts"), list) and (len(given["starts"]) != 2 or "b" not in given):
        return "starts", f"hypothesis.starts is {given['starts']!r}; it must be the start of a and the start of b"
    if ("starts" in given or "across" in given) and given.get("metric") != "gold":
        return "metric", f"hypothesis.metric is {given.get('metric')!r}; only gold is compared across settings"
    if "premise" in given and ("starts" in given or "across" in given):
        return "premise", "hypothesis.premise is about the data of one setting; starts and across compare settings"
    if ("across" in given) != (given.get("direction") == EITHER):
        return "direction", "hypothesis.direction = 'either' is for across = 'settings', and that for it alone"
    if given.get("metric") == COLLAPSE and ("b" not in given or given.get("test", SUPERIOR) != SUPERIOR):
        return "metric", "hypothesis.metric = 'collapse' compares rates of a and b, and tests whether they differ"
    return None
