"""The trust cards as tables and as a plot."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from harness.report.figures import REWARD_COLOURS, REWARD_DASHES, REWARD_SHAPES, WIDTH, inline, tips
from harness.report.page import Drawn, pictures
from harness.report.sheet import GAP, Sheet, Shown, interval, make_frame, number
from harness.trust.calibration import BINS
from harness.trust.probes import PROBES, SAME

if TYPE_CHECKING:
    from harness.report.trust import Trust
    from harness.trust.card import Card, Mean, Share

COLUMNS = {
    **{"setting": "string", "role": "string", "statistic": "string", "value": "Float64", "low": "Float64"},
    **{"high": "Float64", "n": "Int64"},
}
_MEANINGS = {
    "setting": "model · dataset",
    "role": "gold, selection or proxy (of the first seed)",
    "statistic": "what is measured; how to read it stands in the report",
    "value": "the number",
    "low": "lower end of its 95 % interval: Clopper and Pearson for shares, t over prompts for means",
    "high": "upper end of it",
    "n": "pairs, rankings, prompts or texts",
}
STATISTICS = {
    "accuracy": "labelled pairs in the right order; 0.5 is a coin",
    "accuracy, least difference in length": "the third of the pairs whose responses differ least in length",
    "accuracy, middle difference in length": "the middle third",
    "accuracy, most difference in length": "the third that differs most",
    "accuracy, longer is rejected": "pairs in which liking length is a mistake",
    "best of 4": "rankings whose best has the highest score; 0.25 is chance",
    "calibration slope": "of the logit of preference on the difference; 1 is calibrated, less is overconfident",
    "calibration intercept": "0 where only the scores tell who is preferred",
    "temperature": "T for which σ(difference / T) fits the labels best; 1 is calibrated",
    "expected calibration error": f"of the confidence, {BINS} bins of equal size; lower is better",
    "the same if calibrated": "what chance alone would give on so few pairs",
    "Brier score": "mean of (1 − σ(difference))²; 0.25 knows nothing",
    "log-loss, nats": "0.69 knows nothing",
    "score with length, rank correlation": "within a prompt, of the start's samples; 0 is indifferent to length",
    "differences explained by length, R²": "of a line on tanh(difference in length)",
    **{
        f"probe: {name}": f"chosen above {what}; it fails unless its whole interval is above 0.5"
        for name, what in PROBES.items()
    },
    **{f"moved by {name}": f"mean change of score by {what}, in spreads; 0 is sound" for name, what in SAME.items()},
    "spread within a prompt": "sd of the scores of the start's samples, in the model's own unit",
    "as the oracle, pairs": "pairs ordered as the oracle orders them",
    "as the oracle, rank correlation": "within a prompt, of the start's samples",
    "texts too long to read": "they are in no number here; nothing is cut",
}
"""Every statistic and how to read it."""


def rows_of(card: Card) -> Iterator[dict[str, Any]]:
    """The statistics that a card has."""
    sizes = ("least", "middle", "most")
    found: dict[str, Share | Mean | float | None] = {"accuracy": card.accuracy}
    found |= {f"accuracy, {size} difference in length": part for size, part in zip(sizes, card.by_length, strict=False)}
    found |= {"accuracy, longer is rejected": card.longer_rejected, "best of 4": card.best_of_4}
    if card.calibration:
        own = card.calibration
        found |= {
            "calibration slope": own.slope,
            "calibration intercept": own.intercept,
            "temperature": own.temperature,
            "expected calibration error": own.ece,
            "the same if calibrated": own.ece_if_calibrated,
            "Brier score": own.brier,
            "log-loss, nats": own.log_loss,
        }
    found |= {"score with length, rank correlation": card.length_rank}
    found |= {"differences explained by length, R²": card.length_share}
    found |= {f"probe: {name}": one for name, one in card.probes.items()}
    found |= {f"moved by {name}": one for name, one in card.moved.items()}
    found |= {"spread within a prompt": card.spread, "as the oracle, pairs": card.oracle_pairs}
    found |= {"as the oracle, rank correlation": card.oracle_rank}
    for name, one in found.items():
        if isinstance(one, float):
            yield {"statistic": name, "value": one}
        elif one is not None:
            yield {"statistic": name, **vars(one)}
    yield {"statistic": "texts too long to read", "value": float(card.unreadable), "n": card.texts}


def cards_sheet(found: dict[tuple[str, str], Trust]) -> Sheet:
    """All cards for the files: a row per setting, role and statistic."""
    rows = [
        {"setting": one.label, "role": role, **row}
        for one in found.values()
        for role, card in one.cards.items()
        for row in rows_of(card)
    ]
    return Sheet("trust", "Trust cards of the reward models.", make_frame(rows, COLUMNS), _MEANINGS)


def card_sheet(trust: Trust, part: str) -> Sheet:
    """The cards of one setting side by side."""
    by_role = {role: {row["statistic"]: row for row in rows_of(card)} for role, card in trust.cards.items()}
    rows = [
        {
            "statistic": name,
            "reads": reads,
            **{role: _text(own[name]) if name in own else GAP for role, own in by_role.items()},
        }
        for name, reads in STATISTICS.items()
        if any(name in own for own in by_role.values())
    ]
    frame = make_frame(rows, dict.fromkeys(("statistic", *by_role, "reads"), "string"))
    shown = [Shown("statistic", lambda row: row["statistic"], kind="word")]
    shown += [_column(role) for role in by_role]
    shown.append(Shown("how to read it", lambda row: row["reads"], kind="prose"))
    caption = "Trust cards: value [95 %] of each reward model; the proxy's is that of the first seed."
    return Sheet("cards", caption, frame, {}, shown, view_of="trust", part=part)


def _column(role: str) -> Shown:
    return Shown(role, lambda row: str(row[role]))


def _text(row: dict[str, Any]) -> str:
    if row["statistic"].startswith("texts"):
        return f"{number(row['value'], 0)} of {row['n']}"
    return interval(row["value"], row.get("low"), row.get("high"))


def checks_sheet(trusts: Iterable[Trust], part: str = "") -> Sheet:
    """The guarantees, ticked or crossed."""
    marks = {True: "✓", False: "✗", None: "?"}
    rows = [
        {"setting": trust.label, "guarantee": one.what, "shown": marks[one.passed], "seen": one.detail}
        for trust in trusts
        for one in trust.checks
    ]
    frame = make_frame(rows, dict.fromkeys(("setting", "guarantee", "shown", "seen"), "string"))
    shown = [
        Shown("guarantee", lambda row: row["guarantee"], kind="prose"),
        Shown("shown", lambda row: row["shown"], kind="word"),
        Shown("what was seen", lambda row: row["seen"], kind="prose"),
    ]
    meanings = {
        **{"setting": "model · dataset", "guarantee": "what has to hold"},
        **{"shown": "✓ it does, ✗ it does not, ? not known", "seen": "the evidence"},
    }
    return Sheet("separation", "What keeps the judge apart from training.", frame, meanings, shown, part=part)


LOOKS: dict[str, dict[str, Any]] = {"colour": REWARD_COLOURS, "dash": REWARD_DASHES, "shape": REWARD_SHAPES}


def reliability(trust: Trust, suffix: str) -> Drawn:
    """How often each reward model is right when it is so sure."""
    question = "Is a reward model right as often as it is sure?"
    how = (
        "x: mean confidence σ(|score difference|) of a bin of labelled pairs; y: share of them in the right order; the "
        f"line is what a calibrated model shows. {BINS} bins of equal size; points off the line by chance are usual."
    )
    id = f"reliability{suffix}"
    return Drawn(id, question, how, pictures(_reliability, id, trust))


def _reliability(id: str, trust: Trust) -> dict[str, Any]:
    points = [
        {"role": role, "confidence": sure, "right": right, "pairs": n}
        for role, card in trust.cards.items()
        if card.calibration
        for sure, right, n in card.calibration.bins
    ]
    if not points:
        return {id: "no reward model has been audited on labelled pairs"}
    import altair as alt

    line = alt.Chart(inline([{"x": 0.5, "y": 0.5}, {"x": 1.0, "y": 1.0}]))
    ideal = line.mark_line(color="#555555", strokeDash=[4, 4]).encode(alt.X("x:Q"), alt.Y("y:Q"))
    axis = alt.X("confidence:Q", title="confidence", scale=alt.Scale(domain=[0.5, 1.0]))
    numbers = [alt.Tooltip(f"{name}:Q", format=".3f") for name in ("confidence", "right")]
    roles = list(dict.fromkeys(str(row["role"]) for row in points))
    looks = {kind: alt.Scale(domain=roles, range=[of[role] for role in roles]) for kind, of in LOOKS.items()}
    base = alt.Chart(inline(points)).encode(
        x=axis,
        y=alt.Y("right:Q", title="share in the right order", scale=alt.Scale(domain=[0.0, 1.0])),
        color=alt.Color("role:N", title=None, scale=looks["colour"]),
        tooltip=tips("role:N", "pairs:Q", *numbers),
    )
    lines = base.mark_line().encode(strokeDash=alt.StrokeDash("role:N", title=None, scale=looks["dash"]))
    dots = base.mark_point(filled=True, size=45).encode(shape=alt.Shape("role:N", title=None, scale=looks["shape"]))
    return {id: alt.layer(ideal, lines, dots).properties(width=WIDTH, height=260)}
