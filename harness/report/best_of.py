"""The start's best of n: what can be had at inference, from the proxy reward and without training."""

from __future__ import annotations

from operator import itemgetter
from typing import TYPE_CHECKING, Any

from harness.report.compare import ROLES, Best, estimate
from harness.report.cubes import cubes
from harness.report.sheet import Sheet, Shown, interval, make_frame, number
from harness.report.sheets import ID_MEANINGS

if TYPE_CHECKING:
    from harness.records.scores import Scores
    from harness.report.compare import Comparison, Scale

_FRAME = {
    **{"setting": "string", "n": "Int64", "reward": "string", "kl": "Float64"},
    **dict.fromkeys(("gain", "gain_low", "gain_high"), "Float64"),
    **{"seeds": "Int64", "prompts": "Int64"},
}
_MEANINGS = {
    "setting": ID_MEANINGS["setting"],
    "n": "responses of the start that the proxy chooses from",
    "reward": "what the chosen one is scored by",
    "kl": "log n − (n − 1)/n, the most that KL(best of n ‖ start) can be, in nats per response",
    "gain": "score of the chosen one minus the mean score of the same responses, in start-sd",
    "gain_low": "lower end of its 95 % interval over seeds and prompts",
    "gain_high": "upper end of it",
    "seeds": "starts",
    "prompts": "prompts, of the evaluation prompts",
}


def best_of(scores: Scores, scales: dict[str, Scale]) -> list[Best]:
    """Every n up to the number of responses, by every reward that the start has a scale for.

    Args:
        scores: rewards of the start's many responses, of one setting.
        scales: the start's, by reward.

    Returns:
        Gains over n = 1 on the same prompts, all n of a reward together; nothing without scores of the proxy.
    """
    from harness.stats.best_of_n import best_of_n, most_divergence
    from harness.stats.contrast import summary

    found = {role: cubes(scores.of(None, "reward", role, "sample"), scores.prompts) for role in ROLES}
    values = {role: next(iter(one.by_contestant.values())).values for role, one in found.items() if one.by_contestant}
    if "proxy" not in values:
        return []
    seeds, prompts, most = values["proxy"].shape
    gains = []
    for role, own in ((role, own) for role, own in values.items() if role in scales):
        for n in range(1, most + 1):
            gain = (best_of_n(values["proxy"], own, n) - own.mean(-1)) / scales[role].sd
            result = estimate(summary(gain))
            gains.append(Best(n, role, result, most_divergence(n), seeds, prompts))
    return gains


def best_of_sheet(comparisons: list[Comparison]) -> Sheet:
    """A row per n and reward, for the files."""
    found = [
        {
            **{"setting": comparison.name, "n": one.n, "reward": one.role, "kl": one.kl, "gain": one.gain.value},
            **{"gain_low": one.gain.low, "gain_high": one.gain.high, "seeds": one.seeds, "prompts": one.prompts},
        }
        for comparison in comparisons
        for one in comparison.best_of
    ]
    return Sheet("best_of_n", "The start's best of n as the proxy chooses.", make_frame(found, _FRAME), _MEANINGS)


def best_of_view(comparison: Comparison, part: str) -> Sheet:
    """A row per n, powers of two, and a column per reward."""
    by_n: dict[int, dict[str, Any]] = {}
    for one in comparison.best_of:
        if one.n & (one.n - 1) == 0:
            gain = interval(one.gain.value, one.gain.low, one.gain.high, sign=True)
            by_n.setdefault(one.n, {"n": one.n, "kl": one.kl})[one.role] = gain
    roles = list(dict.fromkeys(one.role for one in comparison.best_of))
    frame = make_frame(list(by_n.values()), {"n": "Int64", "kl": "Float64", **dict.fromkeys(roles, "string")})
    shown = [
        Shown("n", lambda row: str(row["n"])),
        Shown("KL at most, nats", lambda row: number(row["kl"])),
        *(Shown(f"{role} gain, start-sd [95 %]", itemgetter(role)) for role in roles),
    ]
    return Sheet("best_of_n", _caption(comparison), frame, {}, shown, view_of="best_of_n", part=part)


def _caption(comparison: Comparison) -> str:
    text = "The start's best of n as the proxy chooses, which trains nothing: what training must beat."
    return f"{text} Not complete: {comparison.no_best_of}." if comparison.no_best_of else text
