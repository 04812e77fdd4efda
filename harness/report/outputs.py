"""What the responses are like: length, diversity, degenerate outputs, greedy responses, and the data's chosen ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import harness.registry as registry
from harness.report.compare import Estimate, estimate
from harness.report.cubes import Cube, Cubes, cubes
from harness.report.length import length_note
from harness.report.page import Section
from harness.report.sheet import Row, Sheet, Shown, interval, listed, make_frame, named, number
from harness.report.sheets import ID_MEANINGS, IDS

if TYPE_CHECKING:
    from harness.records import Tables
    from harness.records.scores import Scores
    from harness.report.compare import Comparison


@dataclass(frozen=True)
class Column:
    """A metric in the table.

    Attributes:
        metric: its name.
        role: the reward, where it is of one.
        title: its heading on the page.
        table: which of the section's tables it stands in.
        digits: decimals shown.
    """

    metric: str
    title: str
    table: str
    role: str = ""
    digits: int = 2

    @property
    def name(self) -> str:
        """Its column in the files."""
        return f"{self.metric}_{self.role}" if self.role else self.metric

    @property
    def kind(self) -> Any:
        """The metric."""
        return registry.load("metrics", self.metric)


COLUMNS = (
    Column("entropy", "entropy, nats/token", "diversity"),
    Column("distinct", "distinct n-grams of a prompt", "diversity"),
    Column("self_bleu", "self-BLEU of a prompt", "diversity", digits=1),
    Column("compression", "compression of a prompt", "diversity"),
    Column("distinct_across", "distinct n-grams across prompts", "diversity"),
    Column("self_bleu_across", "self-BLEU across prompts", "diversity", digits=1),
    Column("compression_across", "compression across prompts", "diversity"),
    Column("degenerate", "any of these", "degenerate", digits=3),
    Column("empty", "empty", "degenerate", digits=3),
    Column("truncated", "truncated", "degenerate", digits=3),
    Column("repetition", "repeated 4-grams", "degenerate", digits=3),
    Column("copied", "prompt copied", "degenerate", digits=3),
    Column("refusal", "refusal", "degenerate", digits=3),
    Column("repeated_span", "repeated span, words", "degenerate", digits=1),
    Column("greedy_length", "greedy tokens", "greedy", digits=1),
    Column("soft_win_chosen", "soft win rate against the chosen", "greedy", role="gold"),
    Column("hard_win_chosen", "wins against the chosen, gold", "greedy", role="gold"),
    Column("hard_win_chosen", "wins against the chosen, oracle", "greedy", role="oracle"),
    Column("bleu", "BLEU with the chosen", "greedy", digits=1),
    Column("rouge", "ROUGE-L with the chosen", "greedy"),
)
GREEDY = Column("greedy", "greedy gold gain, start-sd", "greedy", role="gold")
_OWN = ("length", "gold", "lc_gold", "soft_win", "lc_soft_win", GREEDY.name)
_NAMES = (*_OWN, *(column.name for column in COLUMNS))
_FRAME = {
    **IDS,
    **{f"{name}{end}": "Float64" for name in _NAMES for end in ("", "_low", "_high")},
    **{"length_ratio": "Float64", "note": "string", "gap": "string"},
}


def _meanings() -> dict[str, str]:
    words = {
        "length": "response tokens",
        "gold": "gold reward minus the start's, in start-sd",
        "lc_gold": "the same, predicted at equal length (see docs/statistics.md)",
        "soft_win": "mean chance that gold prefers a response to the start's",
        "lc_soft_win": "the same, predicted at equal length",
        GREEDY.name: "gold of the greedy response minus that of the start's greedy response, in start-sd",
    }
    for column in COLUMNS:
        said = " ".join((column.kind.__doc__ or "").split("\n\n")[0].split())
        words[column.name] = f"{said} ({column.kind.unit})" + (f", by {column.role}" if column.role else "")
    ends = {}
    for name in _NAMES:
        corpus = name.endswith("_across")
        for end, word, most in (("low", "lower end", "lowest"), ("high", "upper end", "highest")):
            ends[f"{name}_{end}"] = f"{most} {name} of a seed" if corpus else f"{word} of the 95 % interval of {name}"
    return {
        **ID_MEANINGS,
        **words,
        **ends,
        "length_ratio": "mean response tokens over the start's",
        "note": "why there is no score at equal length, or that length makes more than 0.1 of the win rate",
        "gap": "why numbers are absent",
    }


def outputs_section(comparison: Comparison, sheet: Sheet, part: str) -> Section:
    """Four views of one table, `outputs_sheet`: length, diversity, degenerate outputs, greedy responses."""
    whole = replace(sheet, frame=sheet.frame[sheet.frame["setting"] == comparison.name].reset_index(drop=True))
    sheets = [
        replace(whole, name=f"outputs-{name}", caption=caption, shown=_shown(name), view_of=whole.name, part=part)
        for name, caption in CAPTIONS.items()
    ]
    sentence = _sentence(whole, comparison)
    title = "Length, diversity and degenerate outputs"
    return Section("outputs", title, sentence, points=_absent(whole), sheets=sheets)


def _absent(sheet: Sheet) -> list[str]:
    """Why numbers are absent, once for all contestants that lack the same."""
    lacking = sheet.frame[sheet.frame["gap"].fillna("") != ""]
    return [f"Absent for {named(list(own['contestant']))}: {gap}." for gap, own in lacking.groupby("gap", sort=False)]


CAPTIONS = {
    "length": "Length, and what is gained other than through it. Length is a means too: read both numbers.",
    "diversity": "Diversity of the samples of a prompt, and across prompts (one number a run: mean [lowest, highest] "
    "over seeds, no interval). Self-BLEU and compression: higher is more alike.",
    "degenerate": "Shares of responses that are broken in some way; repeated 4-grams are a mean share.",
    "greedy": "Responses at temperature 0, and samples held against the data's chosen responses.",
}


def outputs_sheet(comparisons: list[Comparison], tables: Tables, asked: tuple[str, ...]) -> Sheet:
    """One row per contestant; a metric that was not measured is null, and `gap` says why.

    Args:
        comparisons: settings.
        tables: for the scores.
        asked: the recipe's metrics.
    """
    found = [row for one in comparisons for row in _rows(one, tables.blocks, asked)]
    return Sheet("outputs", "What the responses are like.", make_frame(found, _FRAME), _meanings())


def _shown(table: str) -> list[Shown]:
    columns = [
        Shown(column.title, _text(column.name, column.digits), optional=column.role == "oracle")
        for column in COLUMNS
        if column.table == table
    ]
    if table == "length":
        columns = [
            Shown("response tokens [95 %]", _text("length", 1)),
            Shown("of the start's", lambda row: number(row["length_ratio"])),
            Shown("gold gain, start-sd", _text("gold", sign=True)),
            Shown("gold gain at equal length", _text("lc_gold", sign=True)),
            Shown("soft win rate", _text("soft_win")),
            Shown("soft win rate at equal length", _text("lc_soft_win")),
            Shown("note", lambda row: row["note"] or "", kind="prose", optional=True),
        ]
    if table == "greedy":
        columns.insert(0, Shown(GREEDY.title, _text(GREEDY.name, sign=True)))
    return [Shown("contestant", lambda row: row["contestant"], kind="word"), *columns]


def _text(name: str, digits: int = 2, sign: bool = False) -> Callable[[Row], str]:
    return lambda row: interval(row[name], row[f"{name}_low"], row[f"{name}_high"], digits, sign)


def _rows(comparison: Comparison, scores: Scores, asked: tuple[str, ...]) -> list[dict[str, Any]]:
    measured = {column.name: _measured(column, comparison.name, scores) for column in COLUMNS}
    greedy = scores.of(comparison.name, "greedy", "gold", "prompt")
    measured[GREEDY.name] = _greedy_gain(comparison, cubes(greedy, scores.prompts)) if greedy else {}
    return [_row(comparison, standing.name, measured, asked) for standing in comparison.standings]


def _measured(column: Column, setting: str, scores: Scores) -> dict[str, Estimate]:
    """Each contestant's estimate: an interval over seeds and prompts, or the range over seeds of a run's number."""
    from statistics import fmean

    from harness.stats.contrast import summary

    blocks = scores.of(setting, column.metric, column.role, column.kind.level)
    if column.kind.level == "corpus":
        by_run: dict[str, list[float]] = {}
        for block in blocks:
            by_run.setdefault(block.contestant, []).append(block.mean)
        return {name: Estimate(fmean(one), min(one), max(one)) for name, one in by_run.items()}
    found = cubes(blocks, scores.prompts)
    if column.kind.unit == "share":
        return {name: share(cube) for name, cube in found.by_contestant.items()}
    return {
        name: estimate(summary(cube.prompts), within=(0.0, float("inf"))) for name, cube in found.by_contestant.items()
    }


def share(cube: Cube) -> Estimate:
    """A share of responses with its interval: over runs and prompts, or over prompts where it is 0 or 1."""
    from harness.stats.contrast import Mean, summary
    from harness.stats.runs import rate, share_ends

    value = float(cube.values.mean())
    if value in (0.0, 1.0):
        prompts = cube.values.shape[1]
        found = rate(round(value * prompts), prompts)
        return Estimate(*found) if found else Estimate(value)
    plain = summary(cube.prompts)
    if not isinstance(plain, Mean):
        return estimate(plain)
    return Estimate(value, *share_ends(value, plain.high - plain.value, cube.values.size))


def _greedy_gain(comparison: Comparison, found: Cubes) -> dict[str, Estimate]:
    """Gold of greedy responses against those of the start's same seed, in sd of the start's samples."""
    from harness.stats.contrast import contrast

    base = found.by_contestant.get(comparison.start)
    if base is None or "gold" not in comparison.scales:
        return {}
    gains = {comparison.start: Estimate(0.0)}
    for name, cube in found.by_contestant.items():
        seeds = tuple(seed for seed in cube.replicates if seed in base.replicates)
        if name != comparison.start and seeds:
            sides = (one.at(seeds)[..., 0] / comparison.scales["gold"].sd for one in (cube, base))
            result = contrast(*sides, paired=True)
            if result.difference is not None:
                gains[name] = estimate(result)
    return gains


def _row(
    comparison: Comparison, name: str, measured: dict[str, dict[str, Estimate]], asked: tuple[str, ...]
) -> dict[str, Any]:
    standing = next(row for row in comparison.standings if row.name == name)
    start = next((row for row in comparison.standings if row.name == comparison.start), standing)
    estimates = {key: value for key, value in standing.estimates.items() if key in _OWN}
    estimates |= {key: own[name] for key, own in measured.items() if name in own}
    values: dict[str, Any] = {"setting": comparison.name, "contestant": name, "note": length_note(comparison, name)}
    for key, one in estimates.items():
        values |= {key: one.value, f"{key}_low": one.low, f"{key}_high": one.high}
    if "length" in standing.estimates and "length" in start.estimates:
        values["length_ratio"] = standing.estimates["length"].value / start.estimates["length"].value
    known = [column for column in (GREEDY, *COLUMNS) if column.role != "oracle" or "oracle" in comparison.scales]
    absent = [column for column in known if column.name not in estimates]
    return {**values, "gap": _gap(absent, asked) if standing.done else standing.gap or "no finished run"}


def _gap(absent: list[Column], asked: tuple[str, ...]) -> str:
    """Why metrics are absent, those of one reason together."""
    by_reason: dict[str, list[str]] = {}
    for column in absent:
        reason = column.kind.absent if column.metric in asked else "not among evaluation.metrics"
        by_reason.setdefault(reason or "not measured", []).append(column.name)
    return "; ".join(f"{listed(names)}: {reason}" for reason, names in by_reason.items())


def _sentence(sheet: Sheet, comparison: Comparison) -> str:
    """Who is longest, who repeats itself most, and who is broken most often, against the start."""
    frame = sheet.frame.set_index("contestant")
    said = []
    for name, words, digits in (
        ("length_ratio", "Longest against the start: {} ({} times)", 2),
        ("self_bleu", "most alike within a prompt: {} (self-BLEU {})", 1),
        ("degenerate", "most often degenerate: {} ({} of responses)", 3),
    ):
        known = frame[name].drop(comparison.start, errors="ignore").dropna()
        if len(known):
            said.append(words.format(known.idxmax(), number(float(known.max()), digits)))
    text = "; ".join(said)
    return f"{text[:1].upper()}{text[1:]}." if said else "Nothing is known of the responses yet."
