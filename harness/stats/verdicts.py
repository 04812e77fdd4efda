"""Verdicts on all contestants: better, worse, equivalent or cannot separate, with Holm over each family.

Two families, tested apart: each contestant against the start (primary), and all pairs (secondary).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal, TypeAlias, cast

import numpy as np

from harness.stats.bounds import Array
from harness.stats.contrast import Contrast, Result, Undecidable, contrast
from harness.stats.power import POWER, more_prompts, more_seeds
from harness.stats.runs import Runs, as_runs, common, share_above

Word: TypeAlias = Literal["better", "worse", "equivalent", "cannot separate"]
Family: TypeAlias = Literal["start", "all"]


@dataclass(frozen=True)
class Need:
    """What would show a difference of the margin, if there is one, with power .8 at alpha / family size.

    An estimate from few seeds: at 5 the true number may be 3 times smaller or 8 times larger.

    Attributes:
        more_seeds: for each contestant, prompts unchanged; None where seeds cannot help.
        more_prompts: seeds unchanged; None where prompts cannot help.
        note: the same in words.
    """

    more_seeds: int | None
    more_prompts: int | None
    note: str


@dataclass(frozen=True)
class Verdict:
    """What can be said of one pair.

    Attributes:
        a: the contestant.
        b: what it is compared with; the start wherever the start is in the pair.
        word: better means that a's mean is above b's.
        result: the contrast a - b, or why there is none.
        p_holm: of no difference, adjusted over the family; 1 where there is no contrast.
        p_equivalent_holm: of a difference of at least the margin, adjusted over the family.
        simultaneous: interval that covers together with the rest of the family (Bonferroni, so a little wider than
            Holm's test); None where there is no contrast.
        need: for `cannot separate`, where it can be worked out.
        detectable: the smallest true difference that the family finds with power .8 at this pair's noise, each at
            alpha / family size; None where there is no contrast.
        above: how often a run of a scores above one of b; with its interval where the design pairs. None of no runs.
        finished_only: the contrast without stand-ins for failed runs; None where no run failed.
        notes: what a reader should be warned of.
    """

    a: str
    b: str
    word: Word
    result: Result
    p_holm: float
    p_equivalent_holm: float
    simultaneous: tuple[float, float] | None
    need: Need | None
    detectable: float | None
    above: tuple[float, float | None, float | None] | None
    finished_only: Result | None
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Verdicts:
    """Both families of one setting.

    Attributes:
        start: each contestant against the start, in the order given.
        pairs: all pairs, the start last.
        top_set: contestants that no other is significantly better than, in the order given; the data do not say
            which of them is best.
        delta: the margin.
        alpha: family-wise, of each family.
    """

    start: tuple[Verdict, ...]
    pairs: tuple[Verdict, ...]
    top_set: tuple[str, ...]
    delta: float
    alpha: float


def verdicts(
    scores: Mapping[str, Runs | Array],
    start: str,
    delta: float,
    *,
    paired: bool = True,
    alpha: float = 0.05,
    looks: int = 1,
) -> Verdicts:
    """Judge every contestant against the start, and all pairs.

    A difference that is significant under Holm is better or worse, however small; else two one-sided tests at the
    margin, Holm over the family too, may show it equivalent; else it cannot be separated. A pair without a contrast
    stays in its family as p = 1: a family is what was planned, and failures must not make it smaller.

    Args:
        scores: contestant to (S, P) scores over the same prompts; `Runs` where replicates are missing or failed.
        start: the name of the start, itself in `scores`.
        delta: the difference that matters, above 0, in the unit of the scores.
        paired: by the design; seeds are matched by replicate.
        alpha: family-wise.
        looks: how often the verdicts are looked at while seeds are added, as declared beforehand; all p-values are
            multiplied by it (Bonferroni), since whoever looks again and again finds something at last.

    Returns:
        Verdicts of both families and the top set.

    Raises:
        ValueError: for an unknown start, a margin that is not above 0, or arrays that do not fit.
    """
    runs = as_runs(scores)
    primary = against_start(runs, start, delta, paired=paired, alpha=alpha, looks=looks)
    names = [name for name in runs if name != start]
    pairs = _family(runs, list(combinations([*names, start], 2)), delta, paired, alpha, looks)
    return Verdicts(primary, pairs, _top_set(runs, pairs), delta, alpha)


def against_start(
    scores: Mapping[str, Runs | Array],
    start: str,
    delta: float,
    *,
    paired: bool = True,
    alpha: float = 0.05,
    looks: int = 1,
) -> tuple[Verdict, ...]:
    """The first family alone: every contestant against the start, in the order given; arguments as of `verdicts`."""
    runs = as_runs(scores)
    if start not in runs:
        raise ValueError(f"the start {start!r} is not among {', '.join(runs)}")
    if not delta > 0:
        raise ValueError(f"the margin must be above 0; came {delta}")
    return _family(runs, [(name, start) for name in runs if name != start], delta, paired, alpha, looks)


def top_set(scores: Mapping[str, Runs | Array], *, paired: bool = True, alpha: float = 0.05) -> tuple[str, ...]:
    """Contestants that no other is significantly better than, Holm over all pairs; often many of them.

    The one with the highest observed mean is always among them, and the truly best one unless a verdict is wrong. Who
    has too few runs to be compared with anybody is not, unless nobody can be compared: that nothing was shown against
    it says nothing for it.
    Holm over "the best against the rest" alone would be wrong: which one is best was chosen by looking.
    """
    runs = as_runs(scores)
    return _top_set(runs, _family(runs, list(combinations(runs, 2)), 1.0, paired, alpha))


def holm(p: Array | Sequence[float]) -> Array:
    """Holm's adjusted p-values along the last axis.

    Args:
        p: (..., m) of a family.

    Returns:
        (..., m), at most 1, in the order given; reject where at most alpha.
    """
    p = np.asarray(p, dtype=np.float64)
    m = p.shape[-1]
    order = np.argsort(p, axis=-1, kind="stable")
    stepped = np.take_along_axis(p, order, -1) * np.arange(m, 0, -1)
    adjusted = np.minimum(np.maximum.accumulate(stepped, axis=-1), 1.0)
    return cast("Array", np.take_along_axis(adjusted, np.argsort(order, axis=-1), -1))


def _top_set(runs: Mapping[str, Runs], pairs: Sequence[Verdict]) -> tuple[str, ...]:
    below = {pair.a for pair in pairs if pair.word == "worse"} | {pair.b for pair in pairs if pair.word == "better"}
    told = {name for pair in pairs if isinstance(pair.result, Contrast) for name in (pair.a, pair.b)}
    known = [name for name, own in runs.items() if len(own.scores) and (name in told or not told)]
    return tuple(name for name in known if name not in below)


def _family(
    runs: Mapping[str, Runs],
    names: Sequence[tuple[str, str]],
    delta: float,
    paired: bool,
    alpha: float,
    looks: int = 1,
) -> tuple[Verdict, ...]:
    found = [common(runs[a], runs[b]) if paired else (runs[a], runs[b]) for a, b in names]
    results = [contrast(a.scores, b.scores, paired=paired, alpha=alpha) for a, b in found]
    p = holm([result.p if isinstance(result, Contrast) else 1.0 for result in results])
    equivalent = holm([_p_equivalent(*pair, result, delta) for pair, result in zip(found, results, strict=True)])
    p, equivalent = np.minimum(looks * p, 1.0), np.minimum(looks * equivalent, 1.0)
    each = alpha / max(len(names), 1) / looks
    judged = []
    for (a, b), pair, result, p_one, p_same in zip(names, found, results, p, equivalent, strict=True):
        word = _word(result, float(p_one), float(p_same), alpha)
        judged.append(
            Verdict(
                a=a,
                b=b,
                word=word,
                result=result,
                p_holm=float(p_one),
                p_equivalent_holm=float(p_same),
                simultaneous=result.interval(each) if isinstance(result, Contrast) else None,
                detectable=_detectable(result, each),
                above=share_above(*pair, paired=paired),
                need=_need(result, delta, each) if word == "cannot separate" else None,
                finished_only=_finished_only(*pair, paired, alpha),
                notes=_notes(a, b, *pair, result, word, delta),
            )
        )
    return tuple(judged)


def _p_equivalent(a: Runs, b: Runs, result: Result, delta: float) -> float:
    """A stand-in is equal to the start by definition: it must not count as evidence of equivalence."""
    if isinstance(result, Undecidable) or a.imputed or b.imputed:
        return 1.0
    return result.p_equivalent(delta)


def _word(result: Result, p: float, p_equivalent: float, alpha: float) -> Word:
    if isinstance(result, Contrast) and p <= alpha:
        return "better" if result.difference > 0 else "worse"
    return "equivalent" if p_equivalent <= alpha else "cannot separate"


def _need(result: Result, delta: float, alpha: float) -> Need | None:
    if isinstance(result, Undecidable):
        return None
    now = (result.noise, delta, result.n_runs, result.n_prompts, alpha)
    seeds, prompts = more_seeds(*now), more_prompts(*now)
    if seeds == 0:
        note = f"a difference of {delta:g} would probably have been found; if there is one, it is likely smaller"
    else:
        by_seeds = "more seeds cannot help, the prompts' part of the noise alone is too large"
        by_prompts = "more prompts cannot help, the seeds' part of the noise alone is too large"
        by_seeds = by_seeds if seeds is None else f"about {seeds} more seeds would"
        by_prompts = by_prompts if prompts is None else f"about {prompts} more prompts would"
        note = f"to find a difference of {delta:g} with power {POWER:g}: {by_seeds}; {by_prompts}"
    return Need(seeds, prompts, note)


def _detectable(result: Result, alpha: float) -> float | None:
    if isinstance(result, Undecidable):
        return None
    return result.noise.detectable(result.n_runs, result.n_prompts, alpha)


def _finished_only(a: Runs, b: Runs, paired: bool, alpha: float) -> Result | None:
    if not (a.imputed or b.imputed):
        return None
    a, b = common(a.finished, b.finished) if paired else (a.finished, b.finished)
    return contrast(a.scores, b.scores, paired=paired, alpha=alpha)


def _notes(name_a: str, name_b: str, a: Runs, b: Runs, result: Result, word: Word, delta: float) -> tuple[str, ...]:
    notes = [result.reason] if isinstance(result, Undecidable) else list(result.notes)
    for name, own in ((name_a, a), (name_b, b)):
        if own.imputed:
            failed = f"{len(own.imputed)} of {len(own.replicates)} runs"
            notes.append(
                f"{failed} of {name} failed and count with a stand-in score, so that it cannot be called equivalent"
            )
    if word in ("better", "worse") and isinstance(result, Contrast) and max(-result.low, result.high) < delta:
        notes.append(f"the difference is real but smaller than the margin of {delta:g}")
    return tuple(notes)
