"""The answer in words: what the verdicts say, what they do not, and what would help."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING

from harness.report.grade import in_words
from harness.report.places import Places
from harness.report.say import unscored
from harness.report.sheet import count, interval, listed, named, number
from harness.report.sheets import TURNED
from harness.report.stability import agreed

if TYPE_CHECKING:
    import pandas as pd

    from harness.records import Tables
    from harness.report.advice import Advice
    from harness.report.compare import Comparison, Pair, Standing
    from harness.report.page import Linked

POWER = 0.8
UNTUNED = "Nothing was tuned: another learning rate or strength may change the order."
NAMED = 6
"""So many contestants are named with their gains; the table has the others."""
SELECTED = "Tuned contestants have the knobs that their search selected; another search may select others."


def headline(comparison: Comparison) -> str:
    """One sentence: who is in the top set, or why nobody can be."""
    top = [row.name for row in comparison.standings if row.in_top_set]
    if len(comparison.contestants) < 2:
        return "There is nothing to compare with the start."
    if not top:
        return f"No verdict yet: {_why_none(comparison)}."
    others = "every other contestant"
    if any("gold" not in row.estimates for row in comparison.standings):
        others = "every other contestant that has scores"
    if len(top) == 1:
        who = f"The start ({top[0]})" if top[0] == comparison.start else top[0]
        if _beaten_by(top[0], comparison) >= {row.name for row in comparison.standings if "gold" in row.estimates} - {
            *top
        }:
            return f"{who} is significantly better on the gold reward than {others}."
        return f"{who} scores best on the gold reward, and of {others} one is significantly better."
    what = "all contestants" if len(top) == len(comparison.contestants) else listed(top)
    return f"On the gold reward the top set is {what}: the data do not say which of them is best."


def _beaten_by(name: str, comparison: Comparison) -> set[str]:
    """Whom a contestant is significantly better than, over all pairs."""
    own = [pair for pair in comparison.pairs if pair.family == "all" and pair.winner == name]
    return {pair.a for pair in own} | {pair.b for pair in own} - {name}


def _why_none(comparison: Comparison) -> str:
    if "gold" not in comparison.scales:
        return comparison.no_scale
    notes = [pair.note for pair in comparison.pairs if pair.note and not pair.verdict]
    return notes[0].rstrip(".") if notes else "no contestant has a finished run beside the start's"


def recommended(comparison: Comparison, advice: Advice, places: Places | None = None) -> list[Linked]:
    """Whom to take without constraints, the grade of that, and why it is no better; each with what it rests on."""
    places = places or Places()
    if not advice.pick:
        return places.linked(["No recommendation (grade D): nothing has been measured yet."], "gaps")
    low = [fact.doubt.lower() for fact in advice.facts if not fact.holds and advice.given == "B"]
    lower = [f"{fact.doubt.lower()} ({fact.seen})" for fact in comparison.facts if not fact.holds]
    found = [f"Not grade A, since {'; '.join(low)}."] if low and advice.grade != "A" else []
    found += [f"One letter lower for each of: {'; '.join(lower)}."] if lower else []
    pick = f"Recommended without constraints: {advice.pick} ({in_words(advice)})."
    return [
        *places.linked([pick], "grade", row=advice.pick),
        *places.linked(_against_gold(advice.pick, comparison), "main"),
        *places.linked([f"Why: {' '.join(advice.why)}"], "guide", "pairs"),
        *places.linked(found, "grade"),
    ]


def _against_gold(pick: str, comparison: Comparison) -> list[str]:
    """That the oracle puts whom gold recommends below the start, where it does."""
    known = next((row.estimates for row in comparison.standings if row.name == pick), {})
    if not {"gold", "oracle"} <= set(known):
        return []
    gold, oracle = known["gold"], known["oracle"]
    sure = oracle.high is not None and oracle.high < 0
    if not (sure or oracle.value < 0 < gold.value):
        return []
    told = f"gold {number(gold.value, sign=True)}, oracle {interval(oracle.value, oracle.low, oracle.high, sign=True)}"
    told += "; its interval reaches 0" * (oracle.high is not None and not sure)
    if gold.value <= 0:
        return [f"The oracle, which is the exact rule, puts it below the start too ({told})."]
    return [
        f"But the oracle, which is the exact rule, puts it below the start ({told}): do not take it on gold's word."
    ]


def points(comparison: Comparison, tables: Tables, places: Places | None = None) -> list[Linked]:
    """What the verdicts against the start say, the oracle's view, and what is missing; each with what it rests on."""
    places = places or Places()
    found = {
        "trust": _doubt(comparison),
        "main": _against_start(comparison),
        "pairs": [*_undecided(comparison), *_detectable(comparison)],
    }
    told = [one for kind, texts in found.items() for one in places.linked(texts, kind)]
    told += [*_oracle(comparison, places), *places.linked(_missing(comparison, tables), "gaps")]
    if any(row.verdict for row in comparison.standings):
        tuned = bool((tables.studies["setting"] == comparison.name).any())
        holds = "This holds for these knobs, budget, model and data. " + (SELECTED if tuned else UNTUNED)
        told += places.linked([holds], "tuning" if tuned else "method")
    return told


def _doubt(comparison: Comparison) -> list[str]:
    """Why the verdicts are worth less than they look."""
    return ["Every verdict below is one grade lower (†), since gold is in doubt."] if comparison.caveats else []


def _against_start(comparison: Comparison) -> list[str]:
    words = {
        "better": f"Better than the start ({comparison.start}), in sd of the start's gold reward: ",
        "worse": "Worse than the start: ",
        "equivalent": f"Equivalent to the start, within ±{number(comparison.margin)}: ",
    }
    found = []
    for verdict, opening in words.items():
        rows = [row for row in comparison.standings if row.verdict == verdict]
        rows.sort(key=lambda row: row.estimates["gold"].value, reverse=verdict != "worse")  # the farthest first
        if rows:
            rest = f"; and {len(rows) - NAMED} more" if len(rows) > NAMED else ""
            found.append(opening + "; ".join(_gain(row) for row in rows[:NAMED]) + f"{rest}.")
    return found


def _gain(row: Standing) -> str:
    gold = row.estimates["gold"]
    return f"{row.name} {interval(gold.value, gold.low, gold.high, sign=True)}"


def _undecided(comparison: Comparison) -> list[str]:
    """What could not be separated, from the start and within the top set, and what would be needed."""
    found = []
    pairs = [pair for pair in comparison.pairs if pair.verdict == "cannot separate"]
    primary = [pair for pair in pairs if pair.family == "start"]
    if primary:
        names = listed([pair.a for pair in primary])
        found.append(f"Cannot be separated from the start: {names}. {_needed(primary, comparison.margin)}")
    top = {row.name for row in comparison.standings if row.in_top_set}
    inside = [pair for pair in pairs if pair.family == "all" and {pair.a, pair.b} <= top]
    if inside and len(top) > 1:
        found.append(
            f"Pairs within the top set that cannot be separated: {len(inside)}. {_needed(inside, comparison.margin)}"
        )
    unknown = [pair for pair in comparison.pairs if pair.family == "start" and not pair.verdict]
    for note in dict.fromkeys(pair.note for pair in unknown if pair.note):
        names = listed([pair.a for pair in unknown if pair.note == note])
        found.append(f"No verdict on {names}: {note}")
    return found


def _needed(pairs: list[Pair], margin: float) -> str:
    """How many more seeds or prompts alone would see a difference of the margin, and for how many of the pairs."""
    ways = {"more seed": [pair.more_seeds for pair in pairs], "more test prompt": [pair.more_prompts for pair in pairs]}
    told = [way for what, needs in ways.items() if (way := _way(what, needs))]
    if all(pair.more_seeds == 0 for pair in pairs):
        return (
            f"A difference of {number(margin)} would probably have been found; if there is one, it is likely smaller."
        )
    if not told:
        return f"Neither more seeds nor more prompts alone would show a difference of {number(margin)} with power 0.8."
    open_pairs = [pair for pair in pairs if pair.more_seeds is None and pair.more_prompts is None]
    neither = f"; neither alone would do for {named(_spelled(open_pairs))}" if open_pairs else ""
    return f"To see a difference of {number(margin)} with power 0.8 it would take {' or '.join(told)}{neither}."


def _way(what: str, needs: list[int | None]) -> str:
    """How much more of one thing would do, where it would for any of the pairs."""
    known = [need for need in needs if need is not None]
    if not known:
        return ""
    several, some = len(set(known)) > 1, len(known) < len(needs)
    notes = [f"median {median(known):.0f}"] * several + [f"for {len(known)} of {len(needs)}"] * some
    return "up to " * several + count(max(known), what) + (f" ({', '.join(notes)})" if notes else "")


def _spelled(pairs: list[Pair]) -> list[str]:
    """The contestants that are held against the start, or both names of each pair."""
    return [pair.a if pair.family == "start" else f"{pair.a} against {pair.b}" for pair in pairs]


def _detectable(comparison: Comparison) -> list[str]:
    """The smallest true differences that this study finds, whatever it found."""
    told = []
    for family, words in (("start", "against the start"), ("all", "between two contestants")):
        known = sorted(
            one.detectable for one in comparison.pairs if one.family == family and one.detectable is not None
        )
        if known:
            middle, ends = number(median(known)), f"{number(known[0])} to {number(known[-1])}"
            told.append(f"{words} {middle} sd of the start" + (f" ({ends})" if len(known) > 1 else ""))
    if not told:
        return []
    return [
        f"The smallest true difference that this study finds with power {POWER}: {'; '.join(told)}; medians over the "
        "comparisons of a family, as the noise of these seeds and prompts has it."
    ]


def _oracle(comparison: Comparison, places: Places) -> list[Linked]:
    """Whether the exact reward agrees with the gold reward model, in sign and in order."""
    rows = [
        row for row in comparison.standings if {"gold", "oracle"} <= set(row.estimates) and row.name != comparison.start
    ]
    return [
        *places.linked(_signs(rows), "main"),
        *places.linked(_between(comparison), "pairs"),
        *places.linked(_sizes(rows), "main"),
        *places.linked(_order(comparison), "stability"),
    ]


def _signs(rows: list[Standing]) -> list[str]:
    """Whether the oracle has gold's sign, where gold separates a contestant from the start."""
    sure = [row for row in rows if row.verdict in ("better", "worse")]
    against = [row for row in sure if row.estimates["gold"].value * row.estimates["oracle"].value < 0]
    if against:
        texts = [f"{row.name} ({_both(row.estimates['gold'].value, row.estimates['oracle'].value)})" for row in against]
        return [f"The oracle disagrees with gold about {listed(texts)}: trust the oracle."]
    if not sure:
        return []
    return [f"The oracle has the same sign as gold for {_all_of(len(sure))} that gold separates from the start."]


def _sizes(rows: list[Standing]) -> list[str]:
    """How many gains are smaller by the oracle, those first that are losses by it."""
    gains = [(row.name, row.estimates["gold"].value, row.estimates["oracle"].value) for row in rows]
    gains = [one for one in gains if one[1] > 0]
    less = [(name, gold, oracle) for name, gold, oracle in gains if oracle < gold]
    if not less:
        return []
    lost = sorted((one for one in less if one[2] <= 0), key=lambda one: one[2])
    kept = [one for one in less if one[2] > 0]
    told = [f"no gain at all for {named([f'{name} ({_both(*both)})' for name, *both in lost])}"] if lost else []
    if kept:
        name, *both = max(kept, key=lambda one: one[1] / one[2])
        told.append(f"{'of the others ' * bool(lost)}in the largest ratio that of {name} ({_both(*both)})")
    are = "is" if len(less) == 1 else "are"
    return [f"By the oracle {len(less)} of {count(len(gains), 'gain')} {are} smaller than by gold: {'; '.join(told)}."]


def _order(comparison: Comparison) -> list[str]:
    """Whether gold and the oracle give one order."""
    order = agreed(comparison, "gold", "oracle")
    if order is None:
        return []
    return [
        f"Order of {order['contestants']} contestants, the start included, gold against oracle: Kendall's tau "
        f"{number(order['kendall'])} (1: the same)."
    ]


def _between(comparison: Comparison) -> list[str]:
    """Whether the oracle agrees with gold on which of two contestants is better, where gold separates them."""
    apart = [
        pair
        for pair in comparison.pairs
        if pair.family == "all" and "oracle" in pair.others and comparison.start not in (pair.a, pair.b)
    ]
    turned = sorted((pair for pair in apart if "oracle" in pair.turned), key=lambda pair: -_against(pair))
    if not apart:
        return []
    told = f"Between contestants gold separates {count(len(apart), 'pair')}, and the oracle has the other sign for"
    if not turned:
        return [f"{told} none."]
    texts = [
        f"{pair.winner} over {({pair.a, pair.b} - {pair.winner}).pop()} "
        f"({_both(abs(pair.difference or 0.0), -_against(pair))})"
        for pair in turned[:NAMED]
    ]
    rest = f", and {len(turned) - NAMED} more" if len(turned) > NAMED else ""
    return [f"{told} {len(turned)} ({TURNED}): {listed(texts)}{rest}. There, trust the oracle."]


def _against(pair: Pair) -> float:
    """How far the oracle puts the winner below the loser."""
    return abs(pair.others["oracle"].value)


def _both(gold: float, oracle: float) -> str:
    return f"gold {number(gold, sign=True)}, oracle {number(oracle, sign=True)}"


def _all_of(rows: int) -> str:
    return "the contestant" if rows == 1 else f"all {rows} contestants"


def _missing(comparison: Comparison, tables: Tables) -> list[str]:
    own = tables.cells[tables.cells["setting"] == comparison.name]
    gaps = tables.gaps[(tables.gaps["setting"] == comparison.name) & (tables.gaps["step"] == -1)]
    found = []
    failed = gaps[gaps["status"] == "failed"]
    if len(failed):
        texts = [
            f"{name} ({count(len(rows), 'run')}: {', '.join(sorted(set(rows['cause'])))})"
            for name, rows in failed.groupby("contestant", sort=False)
        ]
        found.append(f"Failed: {listed(texts)}. {' '.join(_stand_ins(failed, comparison))}")
    waiting = gaps[gaps["status"].isin(["waiting", "blocked"])]
    if len(waiting):
        found.append(
            f"Not finished: {len(waiting)} of {count(len(own), 'run')}. The verdicts are on what has finished."
        )
    for name, rows in gaps[gaps["status"] == "cut"].groupby("contestant", sort=False):
        found.append(f"Cannot run here: {name}: {rows['error'].iloc[0]}")
    return found + unscored(comparison, tables)


def _stand_ins(failed: pd.DataFrame, comparison: Comparison) -> list[str]:
    """What failed runs count as: the start's scores of their seed, where it has any and the contestant has a run."""
    if not comparison.runs:
        return [f"Nothing stands in for a failed run, since {comparison.no_scale}."]
    many = {str(name): int(runs) for name, runs in failed["contestant"].value_counts(sort=False).items()}
    alone = [name for name in many if not comparison.runs[name].replicates]
    stood = {name: len(comparison.runs[name].imputed) for name in many if name not in alone}
    counted = [f"{name} ({count(runs, 'run')})" for name, runs in stood.items() if runs]
    left = [f"{name} ({count(many[name] - runs, 'run')})" for name, runs in stood.items() if many[name] > runs]
    found = {
        "Counted with the start's scores of its seed, as a gain of nothing": counted,
        "Left out, since the start has no scores of that seed": left,
        "Without any run that has scores, and so without a verdict": alone,
    }
    return [f"{what}: {listed(names)}." for what, names in found.items() if names]
