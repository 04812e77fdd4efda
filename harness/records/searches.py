"""Rows of the tables of studies and trials, from what a search has left."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from harness import keys

_ID = {"setting": "str", "contestant": "str", "study": "int64"}
STUDIES = {
    **_ID,
    **{"algorithm": "str", "metric": "str", "planned": "int64", "device_seconds_cap": "float64", "start": "Float64"},
    **{"finished": "bool", "chosen": "Int64", "space": "str"},
}
TRIALS = {
    **_ID,
    **{"trial": "int64", "phase": "str", "status": "str", "cause": "str", "score": "Float64", "feasible": "bool"},
    **{"chosen": "bool", "device_seconds": "float64", "knobs": "str", "measured": "str"},
}


def studies(found: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """One row per study."""
    for study in found:
        own = {name: study[name] for name in STUDIES if name in study}
        yield {**own, "study": study["number"], "space": keys.canonical(study["space"])}


def trials(found: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """One row per trial, in the order in which they were asked."""
    for study in found:
        where = {"setting": study["setting"], "contestant": study["contestant"], "study": study["number"]}
        for trial in study["trials"]:
            own = {name: trial[name] for name in TRIALS if name in trial}
            texts = {name: keys.canonical(trial[name]) for name in ("knobs", "measured")}
            yield {**where, **own, **texts, "chosen": study["chosen"] == trial["trial"]}
