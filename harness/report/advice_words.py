"""The advice in words: why this one, what it gains and costs, and what to beware of.

`WORDS` holds the sentences that depend on a person's wishes; the script of the page fills in the same ones, so that
page and command cannot say different things. The rest of the words is made here for both.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.report.advice import LOW_VARIANCE, MOST_COLLAPSED, UNSEEN, Choice, Said, Wishes, below_start
from harness.report.compare import ALPHA
from harness.report.sheet import chance, count, listed, mebibytes, named, number

if TYPE_CHECKING:
    from collections.abc import Iterable

    from harness.report.candidates import Candidate, Lead

WORDS = {
    "only": "{pick} is the only candidate left that has been measured.",
    "wins": "{pick} is significantly better than every other candidate: {others}.",
    "unbeaten": "{pick} scores best, and of every other candidate one is significantly better.",
    "tie": "{best} scores best, and the data cannot tell {others} from it; of these {pick} comes first by {by}.",
    "mean": "its observed mean alone, since nothing else tells them apart",
    "bad": "Shown to be bad, and so left out where the tie is broken: {bad}.",
    "behind": "Left out where the tie is broken, since another of the tie is ahead of them by more than the margin of "
    "{margin} over the whole 95 % interval of that pair: {behind}.",
    "thin": "Not ranked, with too few finished runs to be compared: {thin}.",
    "pair": "In the mean {above} is {difference} sd of the start above {below} [95 %: {low} to {high}]: p {p} by "
    "itself, p {adjusted} by Holm over {pairs} of candidates.",
    "both": "Both hold: by itself this pair differs; among {pairs} one may differ this much by luck, so that Holm does "
    "not separate the two.",
    "equivalent": "The two are equivalent: shown to be less than {margin} apart.",
    "found": "A difference of {margin} between them would probably have been found; if there is one, it is likely "
    "smaller.",
    "needed": "To find a difference of {margin} between them with power 0.8, among all the study's pairs, it would "
    "take {ways}.",
    "hopeless": "Neither more seeds nor more test prompts alone would show a difference of {margin} between them with "
    "power 0.8.",
    "seeds": "{seeds} of both, {hours} at most",
    "no_seeds": "{prompts} (more seeds alone would not do)",
    "no_prompts": "{seeds} (more prompts alone would not do)",
    "either": "{seeds}, or {prompts}",
    "spread": "Over seeds the mean reward of {pick} has an sd of {sd}; that of {others} is {range} (up to twice the "
    "least counts as alike).",
    "range": "from {low} to {high}",
    "no_spread": "How {pick} varies over seeds is not known: that takes two finished seeds.",
    "cost": "It costs {costs}{stretched}.",
    "start_cost": "Where it is not there yet, it costs {costs}{stretched}.",
    "answers": "{answers} tokens generated for each one returned",
    "seconds": "{hours} beyond the base model that all share",
    "tuning": ", {hours} of them for tuning",
    "memory": "about {memory} of memory while it trains",
    "unknown_memory": "Whether {pick} fits into memory is not known.",
    "left_out": "Left out: {names}: {why}.",
    "relax": "No contestant that has been measured fits: relax a constraint.",
    "nothing": "No contestant has been measured yet.",
}
OTHER_PROMPTS = {
    True: 'It was measured on prompts of other kinds than those of the training data (evaluation.split = "ood").',
    False: "Nothing was measured on other kinds of prompts than those of the training data.",
}
"""What is known of unseen prompts, by whether they were measured."""


def words(choice: Choice, wishes: Wishes) -> list[Said]:
    """All that is said of a pick."""
    pick = choice.pick
    steady = _spread(choice) if LOW_VARIANCE in wishes.needs else []
    standing = [Said(text, (pick.name,)) for text in standing_words(pick)]
    near = [Said(text, (pick.name,), "stability") for text in chance_words(pick) if choice.whole]
    return [*why_words(choice), *_rival(choice), *standing, *near, *steady, _cost(pick, wishes),
            *_cautions(choice, wishes)]  # fmt: skip


def why_words(choice: Choice) -> list[Said]:
    """Why it is this one, and who of a tie could not be."""
    return [_chosen(choice), *_aside(choice)]


def _say(kind: str, rows: Iterable[Candidate], table: str = "main", **values: str) -> Said:
    return Said(WORDS[kind].format(**values), tuple(one.name for one in rows), table)


def _chosen(choice: Choice) -> Said:
    pick, tied = choice.pick, choice.tied
    if len(tied) > 1:
        by = ", then ".join(choice.decided) or WORDS["mean"]
        rest = named([one.name for one in tied[1:]])
        return _say("tie", tied, best=tied[0].name, others=rest, pick=pick.name, by=by)
    others = [one for one in choice.fit if one is not pick]
    kind = "only" if not others else "wins" if {one.name for one in others} <= {*choice.won} else "unbeaten"
    return _say(kind, [pick, *others], pick=pick.name, others=named([one.name for one in others]))


def _aside(choice: Choice) -> list[Said]:
    """Who has no part in breaking a tie, and why."""
    bad, behind, thin = choice.bad, choice.behind, choice.thin
    texts = [f"{one.name} ({bad_words(one)})" for one in bad]
    names, margin = listed([one.name for one in behind]), number(choice.pick.margin)
    found = [_say("bad", bad, bad=listed(texts))] if bad else []
    found += [_say("behind", behind, behind=names, margin=margin)] if behind else []
    return found + ([_say("thin", thin, thin=listed([one.name for one in thin]))] if thin else [])


def bad_words(one: Candidate) -> str:
    """What is held against a candidate in a tie."""
    below = ["its own interval lies below the start"] if below_start(one) else []
    return "; ".join(below + ([_lost(one)] if one.collapsed > MOST_COLLAPSED else []))


def _lost(one: Candidate) -> str:
    return f"{round(one.collapsed * one.tried)} of {count(one.tried, 'run')} failed or collapsed"


def _rival(choice: Choice) -> list[Said]:
    """The pick beside the best of the tie, or the next best where it is that: what is known, and what would decide."""
    other = next((one for one in choice.tied if one is not choice.pick), None)
    if other is None:
        return []
    above, below = (choice.pick, other) if other.name in choice.pick.ahead else (other, choice.pick)
    return _pair(choice, above, below, above.ahead[below.name]) if below.name in above.ahead else []


def _pair(choice: Choice, above: Candidate, below: Candidate, lead: Lead) -> list[Said]:
    both, pairs = [above, below], count(choice.pairs, "pair")
    p = choice.p[above.name, below.name]
    ends = {"difference": number(lead.difference), "low": number(lead.low), "high": number(lead.high)}
    chances = {"p": p_words(lead.p), "adjusted": p_words(p), "pairs": pairs}
    found = [_say("pair", both, "pairs", above=above.name, below=below.name, **ends, **chances)]
    if lead.p <= ALPHA and below is choice.pick:
        found.append(_say("both", both, "pairs", pairs=pairs))
    return [*found, _needed(above, below, lead)]


def p_words(value: float) -> str:
    """`= 0.012` or `< 0.001`."""
    return chance(value).replace("<", "< ") if value < 0.001 else f"= {chance(value)}"


def _needed(above: Candidate, below: Candidate, lead: Lead) -> Said:
    both, margin = [above, below], number(above.margin)
    if lead.equivalent or lead.more_seeds == 0:
        return _say("equivalent" if lead.equivalent else "found", both, "pairs", margin=margin)
    if lead.more_seeds is None and lead.more_prompts is None:
        return _say("hopeless", both, "pairs", margin=margin)
    spent = sum(one.seed_seconds or 0.0 for one in both)
    seeds, prompts = lead.more_seeds or 0, count(lead.more_prompts, "more test prompt")
    many = WORDS["seeds"].format(seeds=count(seeds, "more seed"), hours=_hours(seeds * spent))
    kind = "no_seeds" if lead.more_seeds is None else "no_prompts" if lead.more_prompts is None else "either"
    return _say("needed", both, "pairs", margin=margin, ways=WORDS[kind].format(seeds=many, prompts=prompts))


def _spread(choice: Choice) -> list[Said]:
    """How the pick varies over seeds, and the others that could have been taken."""
    many = choice.sound if len(choice.sound) > 1 else choice.fit
    others = [one for one in many if one is not choice.pick and one.seed_sd is not None]
    if choice.pick.seed_sd is None:
        return [_say("no_spread", [choice.pick], "candidates", pick=choice.pick.name)]
    if not others:
        return []
    sds = sorted(one.seed_sd for one in others if one.seed_sd is not None)
    low, high = number(sds[0]), number(sds[-1])
    words = {"sd": number(choice.pick.seed_sd), "others": named([one.name for one in others])}
    words["range"] = low if low == high else WORDS["range"].format(low=low, high=high)
    return [_say("spread", [choice.pick, *others], "candidates", pick=choice.pick.name, **words)]


def standing_words(pick: Candidate) -> list[str]:
    """How a candidate stands, whatever the wishes: its gain, and whether that is one."""
    if pick.gold is None:
        return [f"{pick.name} has not been measured here."]
    lost = [f"{_lost(pick)}."] if pick.collapsed else []
    if pick.is_start:
        return [f"{pick.name} is the start itself: nothing to train.", *lost]
    value, low, high = pick.gold
    ends = "" if low is None or high is None else f" [95 %: {number(low, sign=True)} to {number(high, sign=True)}]"
    where = "above" if value >= 0 else "below"
    found = [f"Its gold reward is {number(abs(value))} sd of the start {where} the start's{ends}."]
    if below_start(pick):
        found.append("That is below the start: whoever has the start loses by taking this instead.")
    elif low is None or low <= 0:
        found.append("It is not shown to be better than the start, which needs no further training.")
    return [*found, *lost]


def chance_words(pick: Candidate) -> list[str]:
    """How near the best of all it may be."""
    if pick.near_best is None:
        return []
    near = f"The chance that it is within the margin of the best of all contestants is about {number(pick.near_best)}"
    return [f"{near} (approximate; see the stability of the order)."]


def _cost(pick: Candidate, wishes: Wishes) -> Said:
    texts = [count(pick.models, "model") + " in memory at once"]
    if pick.answers != 1:
        texts.append(WORDS["answers"].format(answers=number(pick.answers, 1)))
    if pick.device_seconds is not None:
        hours, search = (_hours(part * wishes.scale) for part in (pick.device_seconds, pick.tuning_seconds))
        tuning = WORDS["tuning"].format(hours=search) if pick.tuning_seconds else ""
        texts.append(WORDS["seconds"].format(hours=hours) + tuning)
    if pick.peak_memory_bytes is not None:
        texts.append(WORDS["memory"].format(memory=mebibytes(pick.peak_memory_bytes * wishes.scale)))
    kind = "start_cost" if pick.is_start else "cost"
    return _say(kind, [pick], "candidates", costs=", ".join(texts), stretched=wishes.stretched)


def _cautions(choice: Choice, wishes: Wishes) -> list[Said]:
    pick = choice.pick
    found = [Said(doubt_words(doubt)) for doubt in pick.doubts]
    if _lacks_start(pick, wishes):
        found.append(Said(start_words(pick), (pick.name,)))
    if wishes.memory_gb is not None and pick.peak_memory_bytes is None:
        found.append(_say("unknown_memory", [pick], "candidates", pick=pick.name))
    if not choice.agrees:
        found.append(Said(DISAGREE, (pick.name,)))
    if UNSEEN in wishes.needs:
        found.append(Said(OTHER_PROMPTS[pick.unseen]))
    return found


def doubt_words(doubt: str) -> str:
    """What to say of a fact of the setting that does not hold."""
    return f"{doubt}, so that the grade is one lower."


DOUBTED = {
    "Gold is in doubt": "trust",
    "Seeds are few": "main",
    "Runs are missing": "gaps",
    "Tuning budgets were not equal": "tuning",
    "An alarm is open": "alarms",
}
"""Where on the page to look after a doubt, by its name in `grade.facts`."""


def beside_rows(doubts: Iterable[str]) -> dict[str, str]:
    """The sentences that rest on no contestant's row, each with the kind of place that it rests on (`Places.to`)."""
    found = {doubt_words(doubt): DOUBTED.get(doubt, "grade") for doubt in doubts}
    found |= dict.fromkeys(OTHER_PROMPTS.values(), "grade")
    return {**found, WORDS["relax"]: "candidates", WORDS["nothing"]: "gaps"}


DISAGREE = "Other rewards that no training has seen do not agree with gold on it."


def _lacks_start(pick: Candidate, wishes: Wishes) -> bool:
    """Whether a candidate rests on a start that the person's data cannot make, and that is not said to be there."""
    return bool(wishes.data and not wishes.start and pick.start_view and pick.start_view not in wishes.views)


def start_words(pick: Candidate) -> str:
    """What to say of a start that the person's data cannot make."""
    rests = "It" if pick.is_start else f"It rests on the start {pick.start}, which"
    return f"{rests} trains on {pick.start_view}: the data give none, so that such a start must be there already."


def left_out_words(left_out: dict[str, str]) -> list[Said]:
    """Who is left out, by reason."""
    found = []
    for why in dict.fromkeys(left_out.values()):
        names = tuple(name for name in left_out if left_out[name] == why)
        found.append(Said(WORDS["left_out"].format(names=listed(list(names)), why=why), names, "candidates"))
    return found


def nobody_words(*, measured: bool) -> list[Said]:
    """Why nobody is picked: of those left out some were measured, or nobody was."""
    return [Said(WORDS["relax" if measured else "nothing"])]


def _hours(seconds: float) -> str:
    return f"{number(seconds, 0)} device-seconds" if seconds < 3600 else f"{number(seconds / 3600, 1)} device-hours"
