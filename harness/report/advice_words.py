"""The advice in words: why this one, what it gains and costs, and what to beware of."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.report.advice import UNSEEN, Said, Wishes, lower_end
from harness.report.sheet import count, listed, mebibytes, named, number

if TYPE_CHECKING:
    from harness.report.candidates import Candidate

UNMEASURED = "no peak of memory was recorded"
OTHER_PROMPTS = {
    True: 'It was measured on prompts of other kinds than those of the training data (evaluation.split = "ood").',
    False: "Nothing was measured on other kinds of prompts than those of the training data.",
}
"""What is known of unseen prompts, by whether they were measured."""


def words(
    pick: Candidate,
    tied: list[Candidate],
    fit: list[Candidate],
    won: tuple[str, ...],
    decided: tuple[str, ...],
    wishes: Wishes,
) -> list[Said]:
    """All that is said of a pick.

    Args:
        pick: whom the advice names.
        tied: candidates that no other is significantly better than, best first.
        fit: all candidates that were measured.
        won: whom the pick is significantly better than.
        decided: what broke the tie.
        wishes: what the person has and needs.
    """
    standing = [Said(text, (pick.name,)) for text in standing_words(pick)]
    return [_choice(pick, tied, fit, won, decided), *standing, _cost(pick, wishes), *_cautions(pick, wishes)]


def _choice(
    pick: Candidate, tied: list[Candidate], fit: list[Candidate], won: tuple[str, ...], decided: tuple[str, ...]
) -> Said:
    if len(fit) == 1:
        return Said(f"{pick.name} is the only candidate left that has been measured.", (pick.name,))
    if set(won) >= {one.name for one in fit} - {pick.name}:
        return Said(f"{pick.name} is significantly better than every other candidate.", (pick.name,))
    if len(tied) == 1:
        return Said(f"{pick.name} scores best, and of every other candidate one is significantly better.", (pick.name,))
    names = [one.name for one in tied]
    rest = f"{names[0]} scores best, and the data cannot tell {named(names[1:])} from it"
    by = ", then ".join(decided) or "its observed mean alone, since nothing else tells them apart"
    return Said(f"{rest}; of these {pick.name} comes first by {by}.", tuple(names))


def standing_words(pick: Candidate) -> list[str]:
    """How a candidate stands, whatever the wishes: its gain, whether that is one, and how near the best it may be."""
    if pick.gold is None:
        return [f"{pick.name} has not been measured here."]
    if pick.is_start:
        return [f"{pick.name} is the start itself: nothing to train.", *_chance(pick)]
    value, low, high = pick.gold
    ends = "" if low is None or high is None else f" [95 %: {number(low, sign=True)} to {number(high, sign=True)}]"
    where = "above" if value >= 0 else "below"
    found = [f"Its gold reward is {number(abs(value))} sd of the start {where} the start's{ends}."]
    if value < 0:
        found.append("That is below the start: whoever has the start loses by taking this instead.")
    elif not lower_end(pick) > 0:
        found.append("It is not shown to be better than the start, which needs no further training.")
    return [*found, *_chance(pick)]


def _chance(pick: Candidate) -> list[str]:
    if pick.near_best is None:
        return []
    near = f"The chance that it is within the margin of the best of all contestants is about {number(pick.near_best)}"
    return [f"{near} (approximate; see the stability of the order)."]


def _cost(pick: Candidate, wishes: Wishes) -> Said:
    texts = [count(pick.models, "model") + " in memory at once"]
    if pick.answers != 1:
        texts.append(f"{number(pick.answers, 1)} tokens generated for each one returned")
    if pick.device_seconds is not None:
        tuning = f", {_hours(pick.tuning_seconds * wishes.scale)} of them for tuning" if pick.tuning_seconds else ""
        texts.append(f"{_hours(pick.device_seconds * wishes.scale)} with all that it rests on{tuning}")
    if pick.peak_memory_bytes is not None:
        texts.append(f"a peak of {mebibytes(pick.peak_memory_bytes * wishes.scale)}")
    return Said(f"It costs {', '.join(texts)}{wishes.stretched}.", (pick.name,))


def _cautions(pick: Candidate, wishes: Wishes) -> list[Said]:
    found = [Said(f"{doubt}, so that the grade is one lower.") for doubt in pick.doubts]
    if _lacks_start(pick, wishes):
        found.append(Said(start_words(pick), (pick.name,)))
    if wishes.memory_gb is not None and pick.peak_memory_bytes is None:
        found.append(Said(f"Whether {pick.name} fits into memory is not known: {UNMEASURED}.", (pick.name,)))
    if not pick.agrees:
        found.append(Said("Other rewards that no training has seen do not agree with gold on it.", (pick.name,)))
    if UNSEEN in wishes.needs:
        found.append(Said(OTHER_PROMPTS[pick.unseen]))
    return found


def _lacks_start(pick: Candidate, wishes: Wishes) -> bool:
    """Whether a candidate rests on a start that the person's data cannot make, and that is not said to be there."""
    return bool(wishes.data and not wishes.start and pick.start_view and pick.start_view not in wishes.views)


def start_words(pick: Candidate) -> str:
    """What to say of a start that the person's data cannot make."""
    return (
        f"It rests on the start {pick.start}, which trains on {pick.start_view}: the data give none, so that such a "
        "start must be there already."
    )


def left_out_words(left_out: dict[str, str]) -> list[Said]:
    """Who is left out, by reason."""
    found = []
    for why in dict.fromkeys(left_out.values()):
        names = tuple(name for name in left_out if left_out[name] == why)
        found.append(Said(f"Left out: {listed(list(names))}: {why}.", names))
    return found


def nobody_words(left_out: dict[str, str]) -> list[Said]:
    """Why nobody is picked."""
    if left_out:
        return [Said("No contestant that has been measured fits: relax a constraint.")]
    return [Said("No contestant has been measured yet.")]


def _hours(seconds: float) -> str:
    return f"{number(seconds, 0)} device-seconds" if seconds < 3600 else f"{number(seconds / 3600, 1)} device-hours"
