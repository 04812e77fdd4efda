"""The `[[hypothesis]]` tables of a recipe."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from harness import registry
from harness.claims import CURVE, EVERY, NUMBERED, SETTLED, SPREAD, START, SWEEP, Hypothesis, hypothesis
from harness.errors import nearest
from harness.judges._work import INCONSISTENT, SHOWN_FIRST, WIN
from harness.knobs import knobs
from harness.recipe import STARTS, TUNED, Recipe
from harness.recipe_metrics import roles_of, unknown, wrong_role

if TYPE_CHECKING:
    from harness.recipe_reader import Reader

JUDGED = (WIN, INCONSISTENT, SHOWN_FIRST)
LISTS, TEXTS = ("a", "b", "starts"), ("along", "metric", "correlates")
"""Keys whose values are names."""
Trouble = Iterator[tuple[str, str]]
"""Keys of a claim, and what is wrong with each."""


def read_hypotheses(reader: Reader, recipe: Recipe) -> tuple[Hypothesis, ...]:
    """All hypotheses; whatever is wrong with them is noted with the reader's problems.

    Args:
        reader: has the tables.
        recipe: what else the file says.
    """
    found: list[Hypothesis] = []
    for place, given in enumerate(reader.tables("hypothesis")):

        def problem(key: str, text: str, place: int = place) -> None:
            reader.problems.add(reader.located.where("hypothesis", place, key), text)

        one = hypothesis(given, problem)
        own = reader.located.where("hypothesis", place).startswith(f"{reader.path}:")
        claim = one or _its_names(given)
        for key, text in about_nobody(claim, recipe, own=own) if not claim.settled else ():
            problem(key, f"hypothesis.{key}: {text}")
        if one is None:
            continue
        if one.id in {other.id for other in found}:
            problem("id", f"hypothesis '{one.id}' is there twice; each needs an id of its own")
        found.append(one)
    return tuple(found)


def _its_names(given: Mapping[str, Any]) -> Hypothesis:
    """What a claim that is refused names, so that names which nobody has are told with all else that is wrong."""
    names: dict[str, Any] = {key: tuple(given[key]) for key in LISTS if _is_list(given.get(key))}
    names |= {key: given[key] for key in (*TEXTS, *SETTLED) if isinstance(given.get(key), str)}
    if [bool(part) for part in names.get("along", "").split(".")] != [True, True]:
        names.pop("along", None)
    return Hypothesis("", "", **names)


def _is_list(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(one, str) for one in value)


def about_nobody(claim: Hypothesis, recipe: Recipe, *, own: bool) -> Trouble:
    """Names of a claim that nobody and nothing has.

    Recipes that extend one another share their claims, and the report says which contestants a study would need: an
    algorithm that the recipe lacks is no mistake, and labels are looked for where the claim is the recipe's own.
    """
    if claim.metric.startswith(SWEEP):
        yield from _strange_sweep(claim)
    elif own and recipe.contestants:  # where none could be read, there is no telling
        yield from _strange_labels(claim, recipe)
    if claim.along:
        algorithm, knob = claim.along.split(".")
        if text := _no_number(algorithm, knob):
            yield "along", text
    for key, metric in (("metric", claim.metric), ("correlates", claim.correlates)):
        if text := _no_metric(metric) if metric else "":
            yield key, text


def _strange_sweep(claim: Hypothesis) -> Trouble:
    """Sides of which no algorithm has the knob that is swept."""
    knob = claim.metric.removeprefix(SWEEP)
    for key, names in (("a", claim.a), ("b", claim.b)):
        texts = [_no_number(name, knob) for name in names]
        if texts and all(texts):
            yield key, texts[0]


def _strange_labels(claim: Hypothesis, recipe: Recipe) -> Trouble:
    """Contestants and starts."""
    starts, labels = [one.label for one in recipe.starts], [one.label for one in recipe.contestants]
    tuned = [f"{label} {TUNED}" for label in labels] if recipe.tune else []
    known, algorithms = (EVERY, START, *starts, *labels, *tuned), registry.names("algorithms")
    for key, names in (("a", claim.a), ("b", claim.b)):
        for name in (name for name in names if name not in known and name not in algorithms):
            hint = nearest(name, (*known, *algorithms))
            yield key, f"there is no contestant '{name}'{hint} (known: {', '.join(known)}, and any algorithm)"
    begun = (*starts, *(name for name in STARTS if name not in starts))
    for name in (name for name in claim.starts if name not in begun):
        yield "starts", f"there is no start '{name}'{nearest(name, begun)} (known: {', '.join(begun)})"


def _no_number(algorithm: str, knob: str) -> str:
    """Why an algorithm has no such knob, or one that has no order; or nothing."""
    if algorithm not in (known := registry.names("algorithms")):
        return f"there is no algorithm '{algorithm}'{nearest(algorithm, known)} (known: {', '.join(known)})"
    declared = knobs(registry.load("algorithms", algorithm))
    numbers = [name for name, one in declared.items() if one.type in (int, float)]
    if knob in numbers:
        return ""
    what = "is no number" if knob in declared else f"is none of its knobs{nearest(knob, numbers)}"
    return f"'{knob}' of {algorithm} {what} (numbers: {', '.join(numbers) or 'none'})"


def _no_metric(metric: str) -> str:
    """Why nothing measures a claim's metric, or nothing."""
    if metric.startswith(SPREAD):
        return _no_metric(metric.removeprefix(SPREAD))
    if metric.startswith(CURVE):
        return "" if metric != CURVE else "it names no curve, such as curve:loss"
    name, _, role = metric.partition("/")
    if metric in NUMBERED or metric.startswith(SWEEP) or name in JUDGED:
        return ""
    return unknown(name, NUMBERED) or wrong_role(name, role, roles_of(name))
