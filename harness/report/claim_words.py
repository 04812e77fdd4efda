"""A claim and its comparisons in words: what was compared and how, and what there is to say of each result."""

from __future__ import annotations

from typing import TYPE_CHECKING

import harness.registry as registry
from harness.claims import COLLAPSE, GROUPS, NOT_WORSE, SAME_FOR_ALL, SUPERIOR
from harness.report.claim_metrics import CURVE, GROWTH, MARGIN, MEMORY, SECONDS, SPREAD, SWEEP, WIDENING, by_run
from harness.report.claim_tests import CONTRADICTED, EQUIVALENT, SUPPORTED, UNDECIDED
from harness.report.sheet import Row, count, listed

if TYPE_CHECKING:
    from harness.claims import Hypothesis

TESTS = {
    "superior": "superior: it differs from 0 as the claim says",
    "not_worse": "not_worse: it lies by less than delta on the other side",
    "equal": "equal: it differs from 0 by less than delta",
}
_UNITS = {
    "gold": "sd of the start",
    GROWTH: "sd of the start",
    SECONDS: "natural log of a ratio, of all that a policy rests on beyond the base model",
    MEMORY: "natural log of a ratio, of a policy's own training",
    WIDENING: "z of the proxy minus z of gold, for each √nat of KL",
    MARGIN: "nats",
    COLLAPSE: "share of a seed's runs",
}
_LEFT_OUT = {
    "failed": ("failed run", "left out"),
    "stand_ins": ("failed run", "in with the start's scores"),
    "unmatched": ("run", "left out, of a seed that the other side lacks"),
}
"""By column: what is told beside a verdict."""


NO_RATE = "seeds that would decide it cannot be told: no rate is so far from the one seen, or it takes over 10,000"


def remarks(row: Row) -> list[str]:
    """What there is to say of one comparison beside its numbers."""
    parts = [f"{count(row[key], what)} {fate}" for key, (what, fate) in _LEFT_OUT.items() if row[key]]
    if row["own_verdict"] == UNDECIDED:
        no_rate = row["metric"] == COLLAPSE and row["more_seeds"] is None
        parts.append(NO_RATE if no_rate else _more(row["more_seeds"], row["more_prompts"], row["delta"]))
    if row["own_verdict"] in (SUPPORTED, CONTRADICTED) and row["test"] == SUPERIOR and _within(row):
        parts.append(f"real but smaller than {row['delta']:g}")
    if row["own_verdict"] == SUPPORTED and row["test"] != SUPERIOR:
        parts.append(f"{_shown_by(row)} at {row['delta']:g}")
    if row["own_verdict"] == EQUIVALENT:
        parts.append(f"within ±{row['delta']:g}")
    return parts


def _shown_by(row: Row) -> str:
    """What a test of the margin has shown."""
    if row["test"] != NOT_WORSE:
        return "equal"
    return "not above 0 by more than the margin," if row["direction"] == "below" else "not worse"


def _within(row: Row) -> bool:
    return bool(max(-row["low"], row["high"]) < row["delta"])


def _more(seeds: int | None, prompts: int | None, delta: float) -> str:
    if seeds == 0:
        return f"a difference of {delta:g} would probably have been found"
    wanted = [f"+{count(seeds, 'seed')}"] if seeds else []
    wanted += [f"+{count(prompts, 'prompt')}"] if prompts else []
    return f"{' or '.join(wanted)} would decide at {delta:g}" if wanted else "neither seeds nor prompts alone decide it"


def compared(claim: Hypothesis) -> str:
    """What a claim compares with what."""
    a, b = (("each of " if len(names) > 1 else "") + listed(list(names)) for names in (claim.a, claim.b))
    if claim.along:
        return f"the change from the lowest to the highest value of {claim.along}"
    if claim.across:
        return f"how far {a} is ahead of the mean of all, in one setting minus in another"
    if claim.correlates:
        both, names = f"{claim.metric} with {claim.correlates}", listed(list(claim.a))
        if by_run(claim.metric):
            return f"the correlation of {both} over runs of {names}, each one's mean taken out, minus {claim.against:g}"
        return f"the rank correlation of {both} over {names}, minus {claim.against:g}"
    if claim.starts:
        return f"{a} from {claim.starts[0]} minus {b} from {claim.starts[1]}"
    if claim.against is not None:
        return f"{a} minus {claim.against:g}"
    if claim.contrast == GROUPS:
        return f"the mean of {listed(list(claim.a))} minus the mean of {listed(list(claim.b))}"
    return f"{a} minus {b}"


def unit(metric: str) -> str:
    """The unit of a claim's metric; empty where it has none."""
    if metric.startswith(SPREAD):
        own = unit(metric.removeprefix(SPREAD))
        return ", ".join(filter(None, ["distance of a run to the median run", own]))
    if metric.startswith(CURVE):
        return "as training logs it, the last third of the steps minus the first"
    if metric.startswith(SWEEP):
        return f"natural log of gold's sd over values of {metric.removeprefix(SWEEP)}"
    name = metric.partition("/")[0]
    known = name in registry.names("metrics")
    return _UNITS.get(metric) or (str(registry.load("metrics", name).unit) if known else "")


def measured(claim: Hypothesis) -> str:
    """The metric and its unit."""
    told = "" if claim.correlates else unit(claim.metric)
    return f"{claim.metric} ({told})" if told else claim.metric


def supposes(claim: Hypothesis) -> str:
    """What has to be so of the data for a claim's verdict to mean anything; empty where nothing has."""
    if claim.premise is None:
        return ""
    quantity, direction = claim.premise
    if direction == SAME_FOR_ALL:
        return f"all see as many {quantity} in training"
    return f"chosen responses are {'longer' if direction == 'above' else 'shorter'} than rejected ones in training"
