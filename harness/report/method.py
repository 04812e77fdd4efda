"""How the numbers came to be, with which code, and how to get them again."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.public import public
from harness.report.page import Code, Section
from harness.report.sheet import Sheet, Shown, count, listed, make_frame, number

if TYPE_CHECKING:
    from harness.plan import Plan
    from harness.records import Tables
    from harness.report.compare import Comparison, Scale


WORDS = {
    "start": "the policy that every contestant is held against, and that most begin from",
    "gold": "the reward that verdicts go by; whether training was kept apart from it stands under Reward-model trust",
    "oracle": "the dataset's own exact rule of how good a response is; not every dataset has one",
    "proxy": "the reward that training is given, and that a policy may learn to please more than gold",
    "selection": "the reward that knobs are chosen by",
    "start-sd": "the unit of gains: one standard deviation (sd) of the start's own scores",
    "margin": "the smallest difference that matters, as the recipe says",
    "top set": "the contestants that no other is significantly better than (●); which of them is best is not shown",
    "Holm": "a correction of p-values for the number of comparisons, so that chance seldom (5 %) makes any significant",
    "κ": "Cohen's kappa of two reward models' errors: 0 where they err independently, 1 where always on the same pairs",
    "KL": "how far a policy has moved from the start, in nats per response (Kullback-Leibler divergence)",
    "binary": "data: single responses, each labelled good or bad",
    "judgments": "data: single responses, each with words on what is wrong with it, or with none where all is well",
}
"""What a newcomer may not know, in the order in which one needs the other."""
_ALSO = {"start-sd": "|sd of the start"}
"""How else a word is written."""
_EXPLAIN = ("method", "dictionary")
"""Sections that use words in order to explain them."""


def words_of(sections: list[Section], more: list[str]) -> dict[str, str]:
    """The words of `WORDS` that a page uses, with their meanings.

    Args:
        sections: of the page.
        more: what else stands on it.
    """
    texts = [*more, *(text for section in sections if section.id not in _EXPLAIN for text in _texts(section))]
    patterns = {word: re.compile(rf"\b({word}{_ALSO.get(word, '')})\b", re.IGNORECASE) for word in WORDS}
    return {word: WORDS[word] for word, pattern in patterns.items() if any(map(pattern.search, texts))}


def _texts(section: Section) -> Iterator[str]:
    """What a section says; not what models wrote."""
    yield from (section.title, section.sentence, *section.points, *section.paragraphs)
    yield from (one.text for one in section.linked)
    yield from section.guide.values["gives"] if section.guide else ()
    for figure in section.figures:
        yield from (figure.question, figure.how_to_read)
    for sheet in section.sheets:
        yield from (sheet.caption, *(column.title for column in sheet.columns))
        yield from (text for row in sheet.texts for text in row)


def method_section(plan: Plan, tables: Tables, comparisons: list[Comparison], held_out: bool) -> Section:
    """The estimator, the families, the seeds, the code, and one command that repeats it all."""
    margin = number(plan.recipe.evaluation.margin)
    sentence = f"Differences count from {margin} sd of the start's gold reward; seeds and prompts are both sampled."
    return Section(
        "method",
        "Method, and how to reproduce this",
        sentence,
        points=_points(comparisons, margin, held_out) + _looks(plan.recipe.looks) + _limits(comparisons, tables),
        sheets=[versions_sheet(tables)],
        codes=[
            Code("Reproduce with one command", f"harness run {_shown_path(plan.recipe.path)}", open=True),
            Code("The recipe as it was written", public(plan.recipe.text)),
            Code("What it says with all defaults, inherited values and --set", _resolved(plan)),
        ],
    )


def _shown_path(path: Path) -> str:
    """The recipe's path, without the folders of whoever built the report."""
    return path.name if path.is_absolute() else str(path)


def _resolved(plan: Plan) -> str:
    """The recipe's values; what decides only where and how it is launched is left out."""
    values = {name: value for name, value in asdict(plan.recipe).items() if name not in ("text", "launch")}
    return public(json.dumps(_everywhere(values), indent=1, default=str, ensure_ascii=False))


def _everywhere(value: Any) -> Any:
    """Without where folders lie on this machine, which a hash names, and without places in the recipe's file."""
    if isinstance(value, Mapping):
        return {name: _everywhere(own) for name, own in value.items() if name not in ("path", "where")}
    return [_everywhere(own) for own in value] if isinstance(value, list | tuple) else value


def _points(comparisons: list[Comparison], margin: str, held_out: bool) -> list[str]:
    pairing = "Seeds are not paired: each contestant's runs are taken as independent."
    if all(comparison.paired for comparison in comparisons):
        pairing = "Seeds are paired: the contestants of a seed share start, data order and sampling noise."
    scales = [f"{one.name}: {_scale(one.scales['gold'])}" for one in comparisons if "gold" in one.scales]
    return [
        "A score is the mean over the samples of a prompt, in sd of the start: (raw − mean of the start) / sd of the "
        "start, over all of the start's seeds, prompts and samples; one scale per reward and setting. Gold: "
        + ("; ".join(scales) or "no scale yet")
        + ".",
        "Intervals and tests: runs crossed with prompts, both random; variance of seeds plus prompts minus their "
        "interaction, each part held against its own t quantile. Intervals are 95 %, not adjusted for the family. "
        + pairing,
        "Families: each contestant against the start (primary), and all pairs (secondary); p-values are adjusted by "
        "Holm within each family and setting. Better or worse: adjusted p below 0.05. Equivalent: both one-sided tests "
        f"reject a difference of {margin} or more. Otherwise: cannot separate.",
        "The top set holds every contestant that no other is significantly better than (Holm over all pairs); advice "
        "under constraints adjusts over the pairs of those that remain, since what leaves one out is never a score. "
        "More seeds or prompts: what would give power 0.8 for a difference of the margin at the family's level.",
        "Win rate: over all pairs of a contestant's and the start's samples for the same prompt and seed; soft is the "
        "mean of sigmoid(gold difference), hard the share of wins with ties as one half.",
        "A failed run counts as the start's own scores of that seed, and so as no gain, where at least one run of its "
        "contestant finished and the start's run of that seed did. A contestant of which no run finished has no scores "
        "and no verdict; the answer names it, and whose failed runs have no stand-in. gold_finished in the tables is "
        "over finished runs alone. Runs that wait are in no number.",
        "Gold is a held-out reward model: no training and no choice of knobs has seen it or its data."
        if held_out
        else "That no training and no choice of knobs has seen gold or its data is not shown; see Reward-model trust.",
        "The oracle, where there is one, is the dataset's exact rule.",
    ]


def _looks(looks: tuple[int, ...]) -> list[str]:
    """How seeds were added, where not all contestants have all of them."""
    if not looks:
        return []
    return [
        f"Looks were declared at {listed([str(look) for look in looks])} seeds: a contestant whose verdict against the "
        f"start is decided at one has no further seeds. All p-values of the families are multiplied by {len(looks)} "
        "(Bonferroni). Pairs are compared over the seeds that both have, so that pairs of early leavers see less."
    ]


def _limits(comparisons: list[Comparison], tables: Tables) -> list[str]:
    """How far the study reaches, and where it is not what was planned."""
    seen = [
        f"{one.name}: {count(one.planned, 'seed')}, {count(len(one.cubes['gold'].prompts), 'prompt')}"
        for one in comparisons
    ]
    statuses = tables.cells["status"].value_counts()
    left = [f"{statuses[what]} {what}" for what in ("failed", "blocked", "waiting", "cut") if what in statuses]
    lost = sum(one.left_out for one in comparisons)
    departures = [f"runs that have no scores: {', '.join(left)}"] if left else []
    departures += [f"{count(lost, 'prompt')} left out for want of a score"] if lost else []
    dirty = int(tables.made_by["dirty"].sum())
    departures += [f"{count(dirty, 'stage')} made by code with uncommitted changes"] if dirty else []
    return [
        f"Limits: what was seen is {'; '.join(seen)}. Other models, data, budgets and kinds of prompts may give "
        "another order.",
        f"Departures from what was planned: {'; '.join(departures) or 'none that the records show'}. How the "
        "algorithms differ from their papers stands in docs/algorithms.md.",
    ]


def _scale(scale: Scale) -> str:
    return f"mean {number(scale.mean, 3)}, sd {number(scale.sd, 3)} over {count(scale.n, 'response')} of the start"


def versions_sheet(tables: Tables) -> Sheet:
    """Which code, packages and machines made the records."""
    made_by = tables.made_by
    found = []
    for what, title in {
        "commit": "commit",
        "harness": "harness",
        "python": "Python",
        "host": "host",
        "device": "device",
    }.items():
        values = sorted({str(value) for value in made_by[what] if value})
        found.append({"what": title, "value": listed(values) if values else "not recorded"})
    dirty = int(made_by["dirty"].sum())
    found.append(
        {"what": "uncommitted changes", "value": f"in {dirty} of {count(len(made_by), 'stage')}" if dirty else "none"}
    )
    packages: dict[str, set[str]] = {}
    for text in made_by["packages"].unique():
        for name, version in json.loads(text).items():
            packages.setdefault(name, set()).add(str(version))
    found += [{"what": name, "value": listed(sorted(versions))} for name, versions in sorted(packages.items())]
    shown = [
        Shown("what", lambda row: row["what"], kind="word"),
        Shown("value", lambda row: row["value"], kind="prose"),
    ]
    frame = make_frame(found, {"what": "string", "value": "string"})
    meanings = {"what": "what is named", "value": "what the records say; several where they differ"}
    return Sheet("versions", "What made the records.", frame, meanings, shown, folded=True)


def dictionary_sheet(sheets: list[Sheet]) -> Sheet:
    """What every column of every table means."""
    found = [
        {"table": sheet.name, "column": name, "type": str(kind), "meaning": sheet.meanings[name]}
        for sheet in sheets
        if not sheet.view_of
        for name, kind in zip(map(str, sheet.frame.columns), sheet.frame.dtypes, strict=True)
    ]
    columns = ("table", "column", "type", "meaning")
    shown = [Shown(name, itemgetter(name), kind="prose" if name == "meaning" else "word") for name in columns]
    meanings = {
        "table": "a table's file",
        "column": "its column",
        "type": "its type",
        "meaning": "what it holds, with its unit",
    }
    return Sheet(
        "dictionary",
        "Columns of all tables.",
        make_frame(found, dict.fromkeys(columns, "string")),
        meanings,
        shown,
        folded=True,
    )
