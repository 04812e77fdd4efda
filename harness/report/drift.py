"""Whether gold still judges well where contestants have gone: on their own samples, and outside of what it has seen."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from harness.report.compare import Estimate
from harness.report.outputs import share
from harness.report.sheet import Sheet, Shown, interval, make_frame
from harness.report.sheets import ID_MEANINGS, IDS
from harness.trust.card import mean

if TYPE_CHECKING:
    from harness.report.compare import Comparison
    from harness.report.cubes import Array
    from harness.report.trust import Trust

_NUMBERS = ("oracle_agreement", "outside")
_FRAME = {**IDS, **{f"{name}{end}": "Float64" for name in _NUMBERS for end in ("", "_low", "_high")}}
_MEANINGS = {
    **ID_MEANINGS,
    "oracle_agreement": "of two samples of one prompt and run between which the oracle sees a difference, how often "
    "gold orders them as it does, a tie counting a half; 0.5 is a coin; mean over seeds",
    "outside": "share of samples with a gold score outside of all that gold gives labelled pairs",
    **{
        f"{name}_{end}": f"{word} end of the 95 % interval of {name} ({over})"
        for name, over in zip(_NUMBERS, ("t over seeds", "a share's, over seeds and prompts"), strict=True)
        for end, word in (("low", "lower"), ("high", "upper"))
    },
}


def drift_sheet(trusts: Iterable[Trust], comparisons: list[Comparison], part: str = "") -> Sheet:
    """One row per contestant of the settings that have an audited gold model."""
    cards = {one.label: one.cards["gold"] for one in trusts if "gold" in one.cards}
    found = [
        row
        for one in comparisons
        for label, card in cards.items()
        if one.name.rpartition(" · ")[0] == label
        for row in _rows(one, card.reach)
    ]
    shown = [
        Shown("contestant", lambda row: row["contestant"], kind="word"),
        Shown("gold orders its samples as the oracle [95 %]", lambda row: _text(row, "oracle_agreement")),
        Shown("gold's scores outside those of labelled pairs [95 %]", lambda row: _text(row, "outside", 3)),
    ]
    caption = (
        "Where contestants have gone: a gold model that orders their own samples worse than the start's has drifted."
    )
    return Sheet("drift", caption, make_frame(found, _FRAME), _MEANINGS, shown, part=part)


def _text(row: Any, name: str, digits: int = 2) -> str:
    return interval(row[name], row[f"{name}_low"], row[f"{name}_high"], digits)


def _rows(one: Comparison, reach: tuple[float, float] | None) -> list[dict[str, Any]]:
    gold, oracle = one.cubes["gold"], one.cubes["oracle"]
    both = [prompt for prompt in gold.prompts if prompt in set(oracle.prompts)]
    places = [[own.prompts.index(prompt) for prompt in both] for own in (gold, oracle)]
    made = []
    for name in (name for name in one.contestants if name in gold.by_contestant):
        row: dict[str, Any] = {"setting": one.name, "contestant": name}
        cube, rule = gold.by_contestant[name], oracle.by_contestant.get(name)
        if rule is not None and both:
            shared = tuple(seed for seed in cube.replicates if seed in rule.replicates)
            runs = zip(cube.at(shared)[:, places[0]], rule.at(shared)[:, places[1]], strict=True)
            agreed = [right for own, told in runs if (right := agreement(own, told)) is not None]
            row |= _ends("oracle_agreement", _over_seeds(agreed)) if agreed else {}
        if reach is not None:
            low, high = reach
            beyond = ((cube.values < low) | (cube.values > high)).astype(float)
            row |= _ends("outside", share(replace(cube, values=beyond)))
        made.append(row)
    return made


def agreement(own: Array, told: Array) -> float | None:
    """Share of pairs of a prompt's samples, (P, K), in the order that `told` has; None where it tells none apart."""
    import numpy as np

    one, other = np.triu_indices(own.shape[1], 1)
    gaps, wanted = own[:, one] - own[:, other], told[:, one] - told[:, other]
    known = wanted != 0
    right = (gaps * wanted > 0) + 0.5 * (gaps == 0)
    return float(right[known].mean()) if known.any() else None


def _over_seeds(runs: list[float]) -> Estimate:
    """A mean over runs, kept to where a share can be; without an interval of fewer than two, or of runs all alike."""
    found = mean(runs) if len(set(runs)) > 1 else None
    return Estimate(found.value, max(found.low, 0.0), min(found.high, 1.0)) if found else Estimate(runs[0])


def _ends(name: str, found: Estimate) -> dict[str, float | None]:
    return {name: found.value, f"{name}_low": found.low, f"{name}_high": found.high}
