"""What tuning found: budgets, chosen knobs, how much of the gain stays on fresh seeds, and how hard it was to find."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from harness import keys
from harness.recipe import TUNED
from harness.report.page import Drawn, Section, pictures
from harness.report.sheet import GAP, Row, Sheet, Shown, count, interval, listed, make_frame, number
from harness.report.sheets import ID_MEANINGS, IDS

if TYPE_CHECKING:
    from harness.records import Tables
    from harness.report.compare import Comparison
    from harness.stats.sensitivity import Weight

_STUDIES = {
    **IDS,
    **{"study": "Int64", "trials": "Int64", "planned": "Int64", "failed": "Int64", "infeasible": "Int64"},
    **{"device_seconds": "Float64", "own_score": "Float64", "best_score": "Float64", "start_score": "Float64"},
    **{"chosen": "string", "at_edge": "string", "gain": "Float64", "confirmed": "Float64", "gold": "Float64"},
    **{"above_start": "Float64", "above_start_low": "Float64", "above_start_high": "Float64", "basin": "Float64"},
    **{"important": "string"},
}
_STUDY_MEANINGS = {
    **ID_MEANINGS,
    "study": "number of the study; each has seeds of its own",
    "trials": "finished trials, failed ones included",
    "planned": "trials planned, the same for all",
    "failed": "trials that diverged, ran out of memory or time: finished, with the worst score",
    "infeasible": "trials that finished above a limit, which cannot be chosen",
    "device_seconds": "what its trials cost: training, samples and grades",
    "own_score": "score of the recipe's own knobs, the first trial, on the tune prompts",
    "best_score": "score of the chosen trial on the tune prompts: the best of many, so too high; no result",
    "start_score": "score of the start on the tune prompts",
    "chosen": "the chosen knobs, or why there are none",
    "at_edge": "chosen knobs within 5 % of an end of their range: the optimum may lie beyond it",
    "gain": "chosen minus own score on the tune prompts, in raw units of the metric",
    "confirmed": "the same gain in selection reward with fresh seeds on the evaluation prompts",
    "gold": "the gain of tuning in gold reward with fresh seeds on the evaluation prompts, in sd of the start",
    "above_start": "share of random trials that beat the start",
    "above_start_low": "lower end of its 95 % interval (exact, Sterne)",
    "above_start_high": "upper end of it",
    "basin": "decades of learning rate that keep half of the best random trial's gain over the start",
    "important": "share of reaching the best quarter of random trials that each knob decides, approximate (PED-ANOVA), "
    "and the range of 90 % of resampled studies; or why that cannot be told",
}
_TRIALS = {
    **IDS,
    **{"study": "Int64", "trial": "Int64", "phase": "string", "status": "string", "cause": "string"},
    **{"score": "Float64", "feasible": "boolean", "chosen": "boolean", "device_seconds": "Float64"},
    **{"knobs": "string", "measured": "string"},
}
_TRIAL_MEANINGS = {
    **ID_MEANINGS,
    "study": "number of the study",
    "trial": "place in the study; 0 has the recipe's own knobs",
    "phase": "own, random or guided (proposed by the sampler)",
    "status": "done, failed, pruned (stopped half-way, below the median of its study) or open",
    "cause": "why it failed",
    "score": "selection score on the tune prompts; absent where it failed",
    "feasible": "true: it keeps all limits",
    "chosen": "true: its knobs are compared as the tuned contestant",
    "device_seconds": "of its training, samples and grade",
    "knobs": "its knobs, as JSON",
    "measured": "the metric and those with limits, as JSON",
}


@dataclass(frozen=True)
class Study:
    """One study with its trials, as plain rows."""

    row: dict[str, Any]
    trials: list[dict[str, Any]]
    space: dict[str, dict[str, Any]]

    @property
    def chosen(self) -> dict[str, Any] | None:
        """The chosen trial."""
        return next((trial for trial in self.trials if trial["chosen"]), None)

    @property
    def pruned(self) -> int:
        """Trials that were stopped at the look."""
        return sum(trial["status"] == "pruned" for trial in self.trials)

    @property
    def random(self) -> list[dict[str, Any]]:
        """Finished random trials: the independent ones; none where some were stopped early, which hides their ends."""
        if self.pruned:
            return []
        return [trial for trial in self.trials if trial["phase"] == "random" and trial["status"] != "open"]

    @property
    def weights(self) -> dict[str, Weight]:
        """How much each knob decides, by random trials; none where `unweighed` has a reason."""
        trials = tuple((keys.canonical(trial["knobs"]), trial["score"]) for trial in self.random)
        return _weights(trials, keys.canonical(self.space))

    @property
    def unweighed(self) -> str:
        """Why it is not told how much each knob decides; empty where it is."""
        from harness.stats.sensitivity import no_importance

        if self.pruned and len(self.space) > 1:
            return "trials were stopped early"
        return no_importance([trial["score"] for trial in self.random], self.space)


@lru_cache(maxsize=256)
def _weights(trials: tuple[tuple[str, float | None], ...], space: str) -> dict[str, Weight]:
    """Of knobs and scores, the former as JSON: kept, for the page and the files ask alike."""
    from harness.stats.sensitivity import importance

    return importance([(json.loads(knobs), score) for knobs, score in trials], json.loads(space))


def studies_of(tables: Tables, setting: str) -> list[Study]:
    """The studies of a setting."""
    from harness.report.sheet import rows

    found = []
    trials = [
        {**row, "knobs": json.loads(row["knobs"])} for row in rows(tables.trials[tables.trials["setting"] == setting])
    ]
    for row in rows(tables.studies[tables.studies["setting"] == setting]):
        own = [one for one in trials if (one["contestant"], one["study"]) == (row["contestant"], row["study"])]
        found.append(Study(row, own, json.loads(row["space"])))
    return found


def tuning_section(comparison: Comparison, tables: Tables, part: str) -> Section | None:
    """The section; None where nothing was tuned."""
    from harness.report.tuning_figures import charts

    studies = studies_of(tables, comparison.name)
    if not studies:
        return None
    asked = pictures(charts, studies, [study.weights for study in studies], part)
    figures = [Drawn(f"{name}{part}", question, how, asked) for name, (question, how) in FIGURES.items()]
    sheets = [studies_sheet([comparison], tables, part), trials_sheet(tables, comparison.name, part)]
    return Section(
        "tuning", "Tuning", _sentence(studies), points=_points(comparison, studies), figures=figures, sheets=sheets
    )


FIGURES = {
    "expected-best": (
        "What does the best of n random trials score?",
        "Expected best selection score on the tune prompts of n random trials, minus the start's (Tang et al.'s "
        "unbiased estimator; a failed trial counts as the start). Bands are approximate, and drawn from 50 random "
        "trials on. Below, the same by what the trials cost: the mean of the study's random ones for each.",
    ),
    "score-by-knob": (
        "How does the score depend on each knob?",
        "One dot per finished trial; the knobs differ together, so a cloud is not a curve.",
    ),
    "trials-by-knobs": (
        "Which knobs do good trials have in common?",
        "A panel per study, a line per trial, from its knobs to its score on the tune prompts; the darker, the better "
        "within its study. Numbers are the ends of an axis, logarithmic where the search is. Dashed: above a limit. "
        "Grey, dashed or dotted, without a score: failed or stopped early. Thick, with a star: chosen.",
    ),
    "importance": (
        "Which knobs decide whether a trial is good?",
        "Approximate. Bar: the share of reaching the best quarter of a study's random trials that a knob decides "
        "(PED-ANOVA); those of a study sum to 1. Black line: where 90 % of studies lie that are drawn again from the "
        "same trials. It is no confidence interval, and need not hold the bar's end. Of a study without a panel "
        "the table says why.",
    ),
}
"""The figures by their ids: the question that each answers, and how to read it."""


def _sentence(studies: list[Study]) -> str:
    names = dict.fromkeys(study.row["contestant"] for study in studies)
    total = sum(len(study.trials) for study in studies)
    return (
        f"Knobs of {count(len(names), 'contestant')} were chosen by {studies[0].row['metric']} on the tune prompts, in "
        f"{count(total, 'trial')}; scores on these prompts are no results."
    )


def _points(comparison: Comparison, studies: list[Study]) -> list[str]:
    found = []
    if told := unequal(studies):
        found.append(f"UNEQUAL BUDGETS: not all have the same number of finished trials ({told}).")
    if len({study.row["study"] for study in studies}) == 1:
        found.append(
            "One study each: verdicts on tuned contestants hold for the selected knobs. Two equal algorithms would be "
            "told apart too often, since their searches end at different knobs."
        )
    ends = [f"{study.row['contestant']} ({text})" for study in studies if (text := edges(study))]
    if ends:
        found.append(f"Chosen at the edge of their range, so that a wider one may hold better: {listed(ends)}.")
    stopped = sum(study.pruned for study in studies)
    if stopped:
        found.append(
            f"{count(stopped, 'trial')} stopped half-way, below the median of the study: what needs whole independent "
            "trials (expected best, share above the start, good decades, what matters) is not shown."
        )
    few = min((len(study.random) for study in studies), default=0)
    if few < 50 and not stopped:
        found.append(f"{few} random trials: too few for bands around the expected best.")
    return [*found, *_order(comparison, studies)]


def unequal(studies: list[Study]) -> str:
    """Each study's finished trials, where they are not the same for all; else nothing."""
    finished = [sum(trial["status"] != "open" for trial in study.trials) for study in studies]
    if len(set(finished)) < 2 and all(len(study.trials) == n for study, n in zip(studies, finished, strict=True)):
        return ""
    return listed([f"{study.row['contestant']} {n}" for study, n in zip(studies, finished, strict=True)])


def _order(comparison: Comparison, studies: list[Study]) -> list[str]:
    """Whether tuning has changed the order by gold."""
    from scipy import stats

    gold = _means(comparison, "gold")
    names = [name for name in dict.fromkeys(study.row["contestant"] for study in studies) if name in gold]
    if len(names) < 2:
        return []
    own = [gold[name] for name in names]
    tuned = [gold.get(f"{name} {TUNED}", gold[name]) for name in names]
    tau = float(stats.kendalltau(own, tuned).statistic)
    firsts = [names[max(range(len(names)), key=values.__getitem__)] for values in (own, tuned)]
    said = f"stays {firsts[0]}" if firsts[0] == firsts[1] else f"changes from {firsts[0]} to {firsts[1]}"
    return [
        f"Order of {len(names)} contestants by mean gold, own against tuned knobs: Kendall's tau {number(tau)} "
        f"(1: the same). The first {said}; whether it is better than the others, the verdicts say."
    ]


def edges(study: Study) -> str:
    """The chosen knobs that lie at an end of their range, and at which."""
    from harness.stats.sensitivity import at_edge

    knobs = study.chosen["knobs"] if study.chosen else {}
    ends = {name: at_edge(value, study.space[name]) for name, value in knobs.items()}
    return ", ".join(f"{name} {end}" for name, end in ends.items() if end)


def _means(comparison: Comparison, role: str) -> dict[str, float]:
    return {name: float(cube.values.mean()) for name, cube in comparison.cubes[role].by_contestant.items()}


def studies_sheet(comparisons: list[Comparison], tables: Tables, part: str = "") -> Sheet:
    """A row per study."""
    found = [_study(study, comparison) for comparison in comparisons for study in studies_of(tables, comparison.name)]
    shown = [
        Shown("contestant", lambda row: row["contestant"], kind="word"),
        Shown("study", lambda row: str(row["study"])),
        Shown("trials (failed, above a limit)", _trials),
        Shown("device-s", lambda row: number(row["device_seconds"], 0)),
        Shown("chosen knobs", lambda row: row["chosen"] or GAP, kind="word"),
        Shown("at the edge", lambda row: row["at_edge"] or "no", kind="word"),
        Shown("gain on tune prompts", lambda row: number(row["gain"], 3, sign=True)),
        Shown("… on fresh seeds", lambda row: number(row["confirmed"], 3, sign=True)),
        Shown("gold gain on fresh seeds", lambda row: number(row["gold"], sign=True)),
        Shown("trials above the start [95 %]", _above),
        Shown("good decades of learning rate", lambda row: number(row["basin"])),
        Shown("what matters [90 % of resampled]", lambda row: row["important"], kind="word"),
    ]
    caption = (
        "Each study: its budget, what it chose, and how much of the gain over the own knobs stays with fresh seeds on "
        "other prompts (raw units of the selection reward; gold in sd of the start)."
    )
    return Sheet("tuning", caption, make_frame(found, _STUDIES), _STUDY_MEANINGS, shown, part=part)


def _trials(row: Row) -> str:
    text = f"{row['trials']} ({row['failed']}, {row['infeasible']})"
    return text if row["trials"] == row["planned"] else f"{text} of {row['planned']}"


def _above(row: Row) -> str:
    return interval(row["above_start"], row["above_start_low"], row["above_start_high"])


def _study(study: Study, comparison: Comparison) -> dict[str, Any]:
    from harness.stats.sensitivity import basin_decades, share_above

    row, chosen, own = study.row, study.chosen, study.trials[0]
    start, scores = row["start"], [trial["score"] for trial in study.random]
    share = share_above(scores, start) if start is not None else None
    rate = study.space.get("learning_rate", {})
    infeasible = sum(trial["status"] == "done" and not trial["feasible"] for trial in study.trials)
    none = f"none: no trial {'kept the limits' if infeasible else 'has finished'}" if row["finished"] else None
    return {
        **{"setting": row["setting"], "contestant": row["contestant"], "study": row["study"]},
        **{"trials": sum(trial["status"] != "open" for trial in study.trials), "planned": row["planned"]},
        "failed": sum(trial["status"] == "failed" for trial in study.trials),
        "infeasible": infeasible,
        "device_seconds": sum(trial["device_seconds"] for trial in study.trials),
        **{"own_score": own["score"], "best_score": chosen["score"] if chosen else None, "start_score": start},
        "chosen": _told(chosen["knobs"]) if chosen else none,
        "at_edge": edges(study),
        "gain": _difference(chosen["score"] if chosen else None, own["score"]),
        **_confirmed(row["contestant"], comparison),
        **dict(zip(("above_start", "above_start_low", "above_start_high"), share or (), strict=False)),
        "basin": basin_decades(scores, start, rate["low"], rate["high"])
        if "low" in rate and start is not None
        else None,
        "important": _important(study),
    }


def _important(study: Study) -> str:
    told = (f"{name} {interval(one.value, one.low, one.high)}" for name, one in study.weights.items())
    return study.unweighed or ", ".join(told)


def _difference(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else one - other


def _told(knobs: dict[str, Any]) -> str:
    return ", ".join(f"{k} = {v:.3g}" if isinstance(v, float) else f"{k} = {v}" for k, v in knobs.items())


def _confirmed(name: str, comparison: Comparison) -> dict[str, float | None]:
    """What tuning gained on fresh seeds; nothing where the own knobs won."""
    found: dict[str, float | None] = {}
    for column, role in (("confirmed", "selection"), ("gold", "gold")):
        means = _means(comparison, role)
        scale = comparison.scales[role].sd if role == "gold" and role in comparison.scales else 1.0
        gain = _difference(means.get(f"{name} {TUNED}"), means.get(name))
        found[column] = None if gain is None else gain / scale
    return found


def trials_sheet(tables: Tables, setting: str = "", part: str = "") -> Sheet:
    """A row per trial."""
    from harness.report.sheet import rows

    found = [row for row in rows(tables.trials) if not setting or row["setting"] == setting]
    shown = [
        Shown("contestant", lambda row: row["contestant"], kind="word"),
        Shown("study", lambda row: str(row["study"])),
        Shown("trial", lambda row: f"{row['trial']}{' ★' if row['chosen'] else ''}"),
        Shown("phase", lambda row: row["phase"], kind="word"),
        Shown("knobs", lambda row: _told(json.loads(row["knobs"])), kind="word"),
        Shown("score", lambda row: number(row["score"], 3)),
        Shown("within limits", lambda row: "yes" if row["feasible"] else row["cause"] or "no", kind="word"),
        Shown("device-s", lambda row: number(row["device_seconds"], 1)),
    ]
    caption = "Every trial; ★ was chosen. Scores are on the tune prompts with the seed that was tuned on: no results."
    return Sheet("trials", caption, make_frame(found, _TRIALS), _TRIAL_MEANINGS, shown, folded=True, part=part)
