"""One setting's comparison: every contestant against the start and against each other, from tables alone."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from harness.records import FINAL

if TYPE_CHECKING:
    import pandas as pd

    from harness.report.cubes import Cubes
    from harness.report.length import Kinds
    from harness.stats.components import Components
    from harness.stats.contrast import Mean, Result
    from harness.stats.ranks import Ranks
    from harness.stats.runs import Runs

ROLES = ("gold", "oracle", "selection", "proxy")


@dataclass(frozen=True)
class Scale:
    """The start's scores: what a reward is measured in.

    Attributes:
        mean: over all the start's runs, prompts and samples.
        sd: over the same; above 0.
        n: how many there are.
    """

    mean: float
    sd: float
    n: int


@dataclass(frozen=True)
class Estimate:
    """A number and its 95 % interval, where it has one."""

    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Best:
    """What the best of `n` responses of the start, as the proxy judges, gain by a reward, in sd of the start."""

    n: int
    role: str
    gain: Estimate
    kl: float
    seeds: int
    prompts: int


@dataclass(frozen=True)
class Fact:
    """A condition that a good grade rests on, which anybody can check.

    Attributes:
        condition: what must hold.
        holds: whether it does.
        seen: what was seen.
        doubt: what to call it where it does not hold.
    """

    condition: str
    holds: bool
    seen: str
    doubt: str


ALPHA = 0.05
"""Family-wise, of all verdicts."""
UNTRAINED = ("oracle", "selection")
"""Rewards beside gold that no training has seen."""


@dataclass(frozen=True)
class Pair:
    """One comparison on the gold reward: `a` minus `b`, in sd of the start; what each field means is in the tables.

    `others` has the same difference by the other rewards that no training has seen, where gold separates the two;
    `opposed` those of them by which it has the other sign, wherever p by itself is at most .05.
    """

    family: str
    a: str
    b: str
    difference: float | None
    low: float | None
    high: float | None
    p: float | None
    p_holm: float | None
    verdict: str
    seeds: int
    prompts: int
    more_seeds: int | None
    more_prompts: int | None
    note: str
    detectable: float | None = None
    above: float | None = None
    above_low: float | None = None
    above_high: float | None = None
    simultaneous_low: float | None = None
    simultaneous_high: float | None = None
    others: dict[str, Estimate] = field(default_factory=dict)
    opposed: tuple[str, ...] = ()

    @property
    def winner(self) -> str:
        """Which of the two is significantly better; empty where neither is."""
        return {"better": self.a, "worse": self.b}.get(self.verdict, "")

    @property
    def turned(self) -> list[str]:
        """The other rewards by which the difference has the other sign, where gold separates the two."""
        return [role for role in self.opposed if role in self.others]


@dataclass(frozen=True)
class Price:
    """What a contestant gains and what that costs, means over its seeds.

    Attributes:
        name: the contestant.
        gold: its gain, with its interval.
        device_seconds: of one policy with all that it rests on, of a CPU those of its work; None where not known.
        tuning_seconds: device-seconds of the searches for its knobs; 0 where there was none.
        peak_memory_bytes: a GPU's largest peak while training a policy and what it rests on beyond the base; None on a
            CPU, and where nothing is trained.
        answers: tokens generated for each token of a response that is returned.
        on_front: costs by which its means are on the front: those of `prices.FRONTS`.
        beaten_by: contestants that cost no more of anything and are significantly better.
        reached: seeds whose policy reached the target.
        tried: seeds that ended, in success or failure.
        target_by_seed: by graded seed, the device-seconds until its first graded policy that reaches the target,
            without tuning; infinite where none does.
        to_target: median over the tried seeds of the device-seconds until the target, without tuning; None where half
            or fewer reach it.
    """

    name: str
    gold: Estimate
    device_seconds: float | None
    tuning_seconds: float
    peak_memory_bytes: float | None
    answers: float
    on_front: tuple[str, ...] = ()
    beaten_by: tuple[str, ...] = ()
    reached: int = 0
    tried: int = 0
    target_by_seed: dict[int, float] = field(default_factory=dict)
    to_target: float | None = None


@dataclass(frozen=True)
class Standing:
    """What is known of one contestant."""

    name: str
    algorithm: str
    knobs: str
    planned: int
    done: int
    failed: int
    unfinished: int
    verdict: str = ""
    p_holm: float | None = None
    in_top_set: bool = False
    more_seeds: int | None = None
    more_prompts: int | None = None
    peak_memory_bytes: float | None = None
    gap: str = ""
    estimates: dict[str, Estimate] = field(default_factory=dict)
    gain_by_seed: dict[int, float] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    collapsed: int = 0


@dataclass(frozen=True, eq=False)
class Comparison:
    """All contestants of one setting.

    Attributes:
        name: the setting.
        start: the contestant that is the start itself.
        contestants: in the plan's order, the start first.
        planned: seeds planned.
        margin: delta, the difference that matters, in sd of the start's gold reward.
        looks: how often verdicts are looked at while seeds are added, 1 for once; p-values are multiplied by it.
        paired: seeds are compared one by one, since contestants share start, order and noise.
        scales: by role, where the start has scores that differ.
        no_scale: why there is none for gold, where there is none.
        standings: best gold gain first, then those without one.
        pairs: both families.
        run_means: mean of each metric for each run and step: `contestant, replicate, step, metric, role, level, value`.
        curves: what training logged.
        left_out: prompts without all gold scores, left out for all.
        cubes: scores by role or metric: `gold`, `oracle`, `selection`, `proxy`, `length`, `kl`, `distinct`.
        runs: gold rewards on the start's scale by contestant; a failed run stands in with the start's.
        wins: `soft` and `hard` win rates against the start by contestant, (S, P), of finished runs.
        controlled: gold gains and soft win rates at equal length, or why there are none; see `length.control`.
        best_of: what the start's best of n gains, for each n and reward.
        stages: scores by earlier step and role: the way that training took, where policies were graded on it.
        prices: what each contestant gains and costs, in the order of `standings`.
        no_best_of: why there is none of it, or why runs are missing.
        split: that of the evaluation prompts.
        base: the contestant that is the untrained base; empty where none is.
        plain: contestants whose responses are their policy's to the plain prompt; of the others, what is measured of
            the policy is not of its responses.
        caveats: why the verdicts are one grade lower; none where nothing is known against gold.
        facts: what the grade of any pick rests on here; see `grade.facts`.
    """

    name: str
    start: str
    contestants: list[str]
    planned: int
    margin: float
    paired: bool
    scales: dict[str, Scale]
    no_scale: str
    standings: list[Standing]
    pairs: list[Pair]
    run_means: pd.DataFrame
    curves: pd.DataFrame
    left_out: int
    cubes: dict[str, Cubes]
    runs: dict[str, Runs]
    wins: dict[str, dict[str, Runs]]
    controlled: Kinds
    best_of: list[Best]
    no_best_of: str
    caveats: tuple[str, ...] = ()
    looks: int = 1
    split: str = "test"
    base: str = ""
    plain: frozenset[str] = frozenset()
    facts: tuple[Fact, ...] = ()
    stages: dict[int, dict[str, Cubes]] = field(default_factory=dict)
    prices: tuple[Price, ...] = ()

    @cached_property
    def ranks(self) -> Ranks | None:
        """How stable the order by gold is; None where that cannot be told."""
        from harness.stats.ranks import ranks

        return ranks(self.runs, self.margin)

    @cached_property
    def letters(self) -> dict[str, str]:
        """Letters of all pairs on gold, of the contestants on whom there is any verdict; see `stats/letters.py`."""
        from harness.stats.letters import letters

        told = [pair for pair in self.pairs if pair.family == "all" and pair.verdict]
        known = {name for pair in told for name in (pair.a, pair.b)}
        names = [row.name for row in self.standings if row.name in known]
        return letters(names, [(pair.a, pair.b) for pair in told if pair.winner])

    @cached_property
    def components(self) -> Components | None:
        """Where the noise of gold on the start's scale comes from, by finished runs; None where that cannot be told."""
        from harness.stats.components import components

        found = self.cubes["gold"].by_contestant if "gold" in self.scales else {}
        scores = {name: (cube.replicates, self._z(cube.values)) for name, cube in found.items()}
        return components(scores, paired=self.paired)

    @cached_property
    def gold_by_seed(self) -> dict[str, dict[int, float]]:
        """Each run's mean gold reward on the start's scale, by contestant and seed."""
        return {
            name: {
                seed: float(value)
                for seed, value in zip(cube.replicates, self._z(cube.prompts.mean(axis=1)), strict=True)
            }
            for name, cube in self.cubes["gold"].by_contestant.items()
            if "gold" in self.scales
        }

    @cached_property
    def kl_front(self) -> list[Standing]:
        """Contestants of whom no other has, by means, more gold at less KL to the start; the nearest first."""
        from harness.stats.pareto import front

        known = [row for row in self.standings if {"kl", "gold"} <= set(row.estimates)]
        kls, gains = ([row.estimates[name].value for row in known] for name in ("kl", "gold"))
        on = [row for row, is_on in zip(known, front(kls, gains), strict=True) if is_on]
        return sorted(on, key=lambda row: row.estimates["kl"].value)

    @cached_property
    def frontier(self) -> list[dict[str, Any]]:
        """One point per run and graded step: gold on the start's scale, KL and its square root."""
        if "gold" not in self.scales or self.run_means.empty:
            return []
        wanted = self.run_means[self.run_means["level"] == "sample"]
        index = ["contestant", "replicate", "step"]
        gold = wanted[(wanted["metric"] == "reward") & (wanted["role"] == "gold")].set_index(index)["value"]
        kl = wanted[(wanted["metric"] == "kl") & (wanted["role"] == "")].set_index(index)["value"]
        both = gold.to_frame("gold").join(kl.rename("kl"), how="inner").reset_index()
        return [
            {
                **{"contestant": str(row["contestant"]), "replicate": int(row["replicate"])},
                **{"step": "final" if row["step"] == FINAL else str(row["step"])},
                **{"order": 1e12 if row["step"] == FINAL else float(row["step"]), "kl": float(row["kl"])},
                **{"gold": float(self._z(row["gold"])), "root_kl": max(float(row["kl"]), 0.0) ** 0.5},
            }
            for row in both.to_dict("records")
        ]

    def _z(self, raw: Any) -> Any:
        return (raw - self.scales["gold"].mean) / self.scales["gold"].sd


def estimate(result: Result | Mean, within: tuple[float, float] = (float("-inf"), float("inf"))) -> Estimate:
    """A result as a number with its interval, cut to the values that can be."""
    from harness.stats.contrast import Mean, Undecidable

    if isinstance(result, Undecidable):
        return Estimate(result.difference or 0.0)
    value = result.value if isinstance(result, Mean) else result.difference
    return Estimate(value, max(result.low, within[0]), min(result.high, within[1]))
