"""The trust card of one reward model: what its scores of texts with known worth say about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness import keys
from harness.trust.probes import PROBES, SAME

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from harness.trust.calibration import Calibration

COLUMNS = ("part", "name", "prompt_id", "item", "score", "tokens", "oracle")
"""Of the table of scores. `part` is `pairs` (items `chosen`, `rejected`), `probes` (items of `PROBES`; the original is
the pair of the same name), `same` (items of `SAME`), `rankings` (items `0`, the best, to `3`) or `samples` (items k).
`name` is the row's. `score` is null where the text is longer than the model can read, `oracle` where there is no rule.
"""
BEST_OF = 4
ROUNDING = 1e-12
"""A variance of sums that would be equal but for the rounding of numbers."""


@dataclass(frozen=True)
class Share:
    """A share with its 95 % interval: exact for independent texts, as of fewer where several are of one prompt."""

    value: float
    low: float
    high: float
    n: int


@dataclass(frozen=True)
class Mean:
    """A mean over prompts with its 95 % interval (t)."""

    value: float
    low: float
    high: float
    n: int


@dataclass(frozen=True)
class Card:
    """What is known of one reward model; None where the dataset has nothing to measure it on.

    Attributes:
        accuracy: share of labelled pairs in the right order, a tie counting a half.
        by_length: the same for thirds of the pairs by difference in length, from the smallest.
        longer_rejected: the same where the rejected response is the longer one.
        best_of_4: how often the best of four ranked responses is scored highest; 0.25 is chance.
        calibration: of the pairs.
        length_rank: within a prompt, Spearman's correlation of score and length over the start's samples.
        length_share: R² of Δr on tanh(Δ length / its sd), without an intercept: the share of the differences that
            length explains.
        probes: how often a chosen response is scored above a corruption of it.
        moved: by how much a change that means nothing moves the score of a chosen response, as a share of `spread`.
        spread: sd of the scores of one prompt's samples, mean over prompts, in the score's own unit.
        oracle_pairs: share of labelled pairs that it orders as the oracle does, where the oracle is not indifferent.
        oracle_rank: within a prompt, Spearman's correlation with the oracle over the start's samples.
        reach: its lowest and highest score of a labelled pair's responses.
        unreadable: texts that are longer than it can read, which are in no number above.
        texts: all of them.
    """

    accuracy: Share | None
    by_length: tuple[Share, ...]
    longer_rejected: Share | None
    best_of_4: Share | None
    calibration: Calibration | None
    length_rank: Mean | None
    length_share: float | None
    probes: dict[str, Share]
    moved: dict[str, Mean]
    spread: Mean | None
    oracle_pairs: Share | None
    oracle_rank: Mean | None
    reach: tuple[float, float] | None
    unreadable: int
    texts: int


def make_card(scores: pd.DataFrame) -> Card:
    """A card from a table of scores; see `COLUMNS`."""
    pairs, samples = labelled(scores), scores[(scores["part"] == "samples") & scores["score"].notna()]
    prompts = prompt_of(scores)
    right, gaps = pairs["right"], pairs["longer_by"]
    known = pairs[pairs["oracle_gap"].notna() & (pairs["oracle_gap"] != 0)]
    agree = (known["gap"] * known["oracle_gap"] > 0) + 0.5 * (known["gap"] == 0)
    spread = mean(list(samples.groupby("prompt_id", sort=True)["score"].std(ddof=1).dropna()))
    return Card(
        accuracy=share(right, prompts),
        by_length=tuple(
            found for part in _thirds(gaps.abs()) if (found := share(right.iloc[part], prompts)) is not None
        ),
        longer_rejected=share(right[gaps < 0], prompts),
        best_of_4=share(_best(scores), prompts),
        calibration=_calibration(pairs),
        length_rank=_within(samples, "tokens"),
        length_share=_length_share(pairs),
        probes={probe: found for probe in PROBES if (found := share(_beaten(scores, probe), prompts)) is not None},
        moved=_moved(scores, spread, prompts),
        spread=spread,
        oracle_pairs=share(agree, prompts),
        oracle_rank=_within(samples[samples["oracle"].notna()], "oracle"),
        reach=_reach(scores),
        unreadable=int(scores["score"].isna().sum()),
        texts=len(scores),
    )


_GAPS = {"gap": "score", "longer_by": "tokens", "oracle_gap": "oracle"}


def labelled(scores: pd.DataFrame) -> pd.DataFrame:
    """One row per pair that could be read: `gap` (chosen − rejected), `right`, `longer_by` (tokens), `oracle_gap`."""
    import pandas as pd

    pairs = scores[scores["part"] == "pairs"].set_index(["name", "item"])[["score", "tokens", "oracle"]]
    if pairs.empty:
        return scores.iloc[:0].assign(gap=0.0, right=0.0, longer_by=0.0, oracle_gap=0.0)
    one, other = (pairs.xs(item, level="item").astype(float) for item in ("chosen", "rejected"))
    found = pd.DataFrame({new: one[old] - other[old] for new, old in _GAPS.items()})
    found = found[found["gap"].notna()].sort_index()
    return found.assign(right=_order(found["gap"]))


def _order(gaps: pd.Series[float]) -> pd.Series[float]:
    """1 for above, a half for equal, 0 for below."""
    return (gaps > 0).astype(float) + 0.5 * (gaps == 0).astype(float)


def prompt_of(scores: pd.DataFrame) -> pd.Series[str]:
    """The prompt of each row, by its name."""
    return scores.drop_duplicates("name").set_index("name")["prompt_id"]


def share(values: pd.Series[Any], prompts: pd.Series[str]) -> Share | None:
    """The mean of values between 0 and 1 as a share; rows of one prompt need not be independent."""
    from statsmodels.stats.proportion import proportion_confint

    n = len(values)
    if n == 0:
        return None
    value, worth = float(values.mean()), _worth(values, prompts)
    low, high = proportion_confint(value * worth, worth, method="beta")
    return Share(value, float(low), float(high), n)


def _worth(values: pd.Series[float], prompts: pd.Series[str]) -> float:
    """How many independent rows a share is worth: by the spread of its prompts' sums (Korn and Graubard 1998)."""
    from scipy import special

    value, n = float(values.mean()), len(values)
    strayed = (values - value).groupby(prompts.reindex(values.index).fillna(values.index.to_series())).sum()
    many = len(strayed)
    variance = many / (many - 1) * float((strayed**2).sum()) / n**2 if many > 1 else 0.0
    if many == n or variance < ROUNDING:
        return float(many)
    wider = special.stdtrit(many - 1, 0.975) / special.ndtri(0.975)
    return min(value * (1 - value) / (variance * float(wider) ** 2), float(n))


def mean(values: list[float]) -> Mean | None:
    """A mean and its t interval; None for fewer than two values."""
    import numpy as np
    from scipy import special

    n = len(values)
    if n < 2:
        return None
    middle = float(np.mean(values))
    half = float(special.stdtrit(n - 1, 0.975) * np.std(values, ddof=1) / n**0.5)
    return Mean(middle, middle - half, middle + half, n)


def _thirds(values: pd.Series[float]) -> list[np.ndarray[Any, Any]]:
    """Places of the smallest, the middle and the largest values; equal ones in the order of their names."""
    import numpy as np

    order = np.argsort(values.to_numpy(), kind="stable")
    return np.array_split(order, 3) if len(values) >= 3 else []


def _best(scores: pd.DataFrame) -> pd.Series[float]:
    """1 for each ranking whose best has the highest score, 1 / m where m share it, else 0."""
    own = scores[scores["part"] == "rankings"]
    whole = own.pivot(index="name", columns="item", values="score").dropna()
    top = whole.eq(whole.max(axis=1), axis=0)
    return top["0"] / top.sum(axis=1) if len(whole) else whole.sum(axis=1)


def _beaten(scores: pd.DataFrame, probe: str) -> pd.Series[float]:
    """For each corrupted response whether the original has the higher score, a tie counting a half."""
    return _order(_lost(scores, "probes", probe))


def _moved(scores: pd.DataFrame, spread: Mean | None, prompts: pd.Series[str]) -> dict[str, Mean]:
    """Of each change that means nothing, how far it moves a score; none where there is no spread to measure it in."""
    if spread is None or spread.value == 0:
        return {}
    texts = {name: _lost(scores, "same", name).abs() / spread.value for name in SAME}
    means = {name: mean(list(own.groupby(prompts.reindex(own.index)).mean())) for name, own in texts.items()}
    return {name: found for name, found in means.items() if found is not None}


def _lost(scores: pd.DataFrame, part: str, item: str) -> pd.Series[float]:
    """The score of each chosen response minus that of what was made of it."""
    original = scores[(scores["part"] == "pairs") & (scores["item"] == "chosen")].set_index("name")["score"]
    made = scores[(scores["part"] == part) & (scores["item"] == item)].set_index("name")["score"]
    return (original.reindex(made.index) - made).dropna()


def _reach(scores: pd.DataFrame) -> tuple[float, float] | None:
    own = scores.loc[scores["part"] == "pairs", "score"].dropna()
    return (float(own.min()), float(own.max())) if len(own) else None


def _calibration(pairs: pd.DataFrame) -> Calibration | None:
    import numpy as np

    from harness.trust.calibration import calibrate

    if pairs.empty:
        return None
    first = np.array([int(keys.key(["first", name]), 16) % 2 == 0 for name in pairs.index])
    return calibrate(pairs["gap"].to_numpy(float), first)


def _length_share(pairs: pd.DataFrame) -> float | None:
    """R² of a line through the origin, so that it does not matter which response is called the first."""
    import numpy as np

    gaps, longer = pairs["gap"].to_numpy(float), pairs["longer_by"].to_numpy(float)
    size = float(np.sqrt(np.mean(longer**2))) if len(longer) else 0.0
    if size == 0 or not gaps.any():
        return None
    bent = np.tanh(longer / size)
    return float((gaps @ bent) ** 2 / ((bent @ bent) * (gaps @ gaps)))


def _within(samples: pd.DataFrame, column: str) -> Mean | None:
    """Spearman's correlation of the score with a column within each prompt of three samples in which both vary."""
    import pandas as pd

    prompts = samples["prompt_id"]
    both = samples[["score", column]].astype(float)
    ranks = both.groupby(prompts).rank()
    ranks -= ranks.groupby(prompts).transform("mean")
    x, y = ranks["score"], ranks[column]
    sums = pd.DataFrame({"n": 1, "xy": x * y, "xx": x**2, "yy": y**2}).groupby(prompts, sort=True).sum()
    sums = sums[(sums["n"] > 2) & (sums["xx"] > 0) & (sums["yy"] > 0)]
    return mean(list(sums["xy"] / (sums["xx"] * sums["yy"]) ** 0.5))
