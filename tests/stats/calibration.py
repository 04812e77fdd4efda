"""How often the estimator is right when the truth is known; prints the tables of docs/statistics.md.

Run it from the project's folder: `python tests/stats/calibration.py`. It takes about a minute.
"""

from __future__ import annotations

from dataclasses import fields
from functools import cache, lru_cache
from itertools import combinations
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from scipy import special, stats
from worlds import World, standard

from harness.report.claim_rates import Rates
from harness.stats.components import split
from harness.stats.contrast import Mean, contrast, summary
from harness.stats.parts import parts_of_difference
from harness.stats.power import Noise, more_prompts, more_seeds
from harness.stats.runs import rate, share_ends
from harness.stats.verdicts import holm

SEED = 20
REPS = 4000
PROMPTS = 100
SEEDS = (3, 5, 10)
WORLDS = {
    "seed .1, contestant × prompt .3": World(),
    "the same, seeds shared .15": World(shared=0.15),
    "no seed effect": World(seed=0.0),
    "no contestant × prompt": World(cross=0.0),
    "neither": World(seed=0.0, cross=0.0),
    "seed .5": World(seed=0.5, cross=0.0),
    "contestant × prompt .8": World(seed=0.05, cross=0.8),
    "seed .3, t with 4 df": World(seed=0.3, shape="t4"),
    "seed .3, two modes": World(seed=0.3, shape="bimodal"),
    "seed .3, 15 % collapse": World(seed=0.3, shape="collapse"),
}


FAMILY = World(seed=0.2, shared=0.1, cross=0.1)


@lru_cache(maxsize=1)
def two_equal(world, reps, runs):
    """Studies of two contestants, which are asked for twice in a row: paired, and not."""
    return world.studies(np.random.default_rng(SEED), 2, reps, runs, PROMPTS)


def coverage(world, runs, paired, reps=REPS):
    """Share of 95 % intervals that hold the true difference of 0; `runs`: S of both or one for each."""
    a, b = two_equal(world, reps, runs)
    parts = parts_of_difference(a, b, paired=paired)
    return float((np.abs(parts.difference) <= parts.half_width()).mean())


def found_by_looking(looks, times, reps=REPS):
    """Share of studies of equal contestants that are called different at any of the looks, p times `times`."""
    a, b = World().studies(np.random.default_rng(SEED), 2, reps, looks[-1], PROMPTS)
    called = np.zeros(reps, dtype=bool)
    for seeds in looks:
        called |= times * parts_of_difference(a[:, :seeds], b[:, :seeds], paired=True).p <= 0.05
    return float(called.mean())


def by_prompts_alone(d):
    """Known to be wrong: the usual standard error over prompts, of the paired differences of mean scores."""
    means = d.mean(1)
    return np.abs(means.mean(-1)) > 1.96 * means.std(-1, ddof=1) / means.shape[-1] ** 0.5


def pooled(d):
    """Known to be wrong: seeds x prompts as if they were that many independent measurements."""
    flat = d.reshape(len(d), -1)
    return np.abs(flat.mean(-1)) > 1.96 * flat.std(-1, ddof=1) / flat.shape[-1] ** 0.5


def bootstrapped(d):
    """Known to be wrong for few seeds: percentile bootstrap over runs."""
    runs = d.mean(-1)
    picks = np.random.default_rng(SEED).integers(0, runs.shape[1], (1000, runs.shape[1]))
    means = np.sort(runs[:, picks].mean(-1), axis=-1)
    return (means[:, 24] > 0) | (means[:, 975] < 0)


WRONG = {
    "standard error over prompts": by_prompts_alone,
    "seeds × prompts pooled": pooled,
    "percentile bootstrap": bootstrapped,
}


def false_positives(decide, runs, world=WORLDS["no contestant × prompt"], reps=REPS):
    """Share of studies of two equal contestants in which a wrong estimator sees a difference at 5 %."""
    a, b = world.studies(np.random.default_rng(SEED), 2, reps, runs, PROMPTS)
    return float(decide(a - b).mean())


def one_t(parts):
    """Known to be wrong in the tail: p by a single t with Satterthwaite's df, which 95 % intervals do not show."""
    variance = parts.seed + parts.extra
    df = variance**2 / (parts.seed**2 / parts.df_seed + parts.extra**2 / (parts.n_prompts - 1))
    return 2 * special.stdtr(df, -np.abs(parts.difference) / np.sqrt(variance))


def family_wise(runs, paired, *, adjust=True, unequal=False, p_of=lambda parts: parts.p, reps=1000, contestants=10):
    """Share of studies of ten equal contestants with any significant pair among all 45."""
    rng = np.random.default_rng(SEED)
    y = FAMILY.studies(rng, contestants, reps, runs, 40)
    if unequal:
        y = [own + (0.57 * rng.standard_normal((reps, runs, 1)) if i % 2 else 0.0) for i, own in enumerate(y)]
    p = np.stack([p_of(parts_of_difference(a, b, paired=paired)) for a, b in combinations(y, 2)], axis=-1)
    return float(((holm(p) if adjust else p) <= 0.05).any(-1).mean())


NEEDS = {  # true noise, margin, seeds and prompts now, comparisons in the family
    "seeds": (World(seed=0.3, cross=0.2), 0.25, 5, 200, 1),
    "seeds, 6 comparisons": (World(seed=0.3, cross=0.2), 0.25, 5, 200, 6),
    "prompts": (World(seed=0.05, cross=0.5), 0.2, 5, 40, 1),
    "prompts, 6 comparisons": (World(seed=0.05, cross=0.5), 0.2, 5, 40, 6),
}


def order_of_ten(spacing, runs, paired=True, reps=2000):
    """Of ten contestants `spacing` seed-sd apart: how often the top set holds the best, its size, and the raw tau.

    Nobody is in it whom another one is significantly better than, Holm over all pairs.
    """
    y = World(seed=0.2, cross=0.1).studies(np.random.default_rng(SEED), 10, reps, runs, 40)
    y = [own + 0.2 * spacing * i for i, own in enumerate(y)]
    pairs = list(combinations(range(10), 2))
    parts = [parts_of_difference(y[a], y[b], paired=paired) for a, b in pairs]
    found = holm(np.stack([one.p for one in parts], axis=-1)) <= 0.05
    beaten = np.zeros((reps, 10), bool)
    for place, ((a, b), one) in enumerate(zip(pairs, parts, strict=True)):
        beaten[:, a] |= found[:, place] & (one.difference < 0)
        beaten[:, b] |= found[:, place] & (one.difference > 0)
    tau = np.mean([np.sign(one.difference) == -1 for one in parts]) * 2 - 1
    return float((~beaten[:, 9]).mean()), float((~beaten).sum(1).mean()), float(tau)


def power_at_need(name, paired, reps=2000):
    """Simulated power at the number of seeds or prompts that would be printed for the world's true noise."""
    world, delta, runs, prompts, m = NEEDS[name]
    doubled = 2 if paired else 1
    run, cell = world.seed**2 * doubled, world.cell**2 * doubled
    noise = Noise(run, run * (not paired), cell, cell * (not paired), 2 * world.cross**2)
    now = (noise, delta, (runs, runs), prompts, 0.05 / m)
    if name.startswith("seeds"):
        runs += more_seeds(*now)
    else:
        prompts += more_prompts(*now)
    a, b = world.studies(np.random.default_rng(SEED), 2, reps, runs, prompts)
    return runs, prompts, float((parts_of_difference(a + delta, b, paired=paired).p <= 0.05 / m).mean())


def power_at_detectable(name, paired, reps=2000):
    """The difference that is said to be found with power .8 by the seeds and prompts at hand, and how often it is."""
    world, _, runs, prompts, m = NEEDS[name]
    doubled = 2 if paired else 1
    run, cell = world.seed**2 * doubled, world.cell**2 * doubled
    noise = Noise(run, run * (not paired), cell, cell * (not paired), 2 * world.cross**2)
    delta = noise.detectable((runs, runs), prompts, 0.05 / m)
    a, b = world.studies(np.random.default_rng(SEED), 2, reps, runs, prompts)
    return delta, float((parts_of_difference(a + delta, b, paired=paired).p <= 0.05 / m).mean())


COUNTS, CHANCES = (3, 5, 10, 20), (0.02, 0.1, 0.25, 0.5, 0.9)
EVENLY = np.linspace(0.005, 0.995, 100)
"""True shares, whatever they may be."""


def rate_covered(chance, runs):
    """The chance that the interval of a share of independent runs holds the true one: exact, no simulation."""
    ends = [rate(count, runs)[1:] for count in range(runs + 1)]
    return sum(p for p, (low, high) in zip(binomial(runs, chance), ends, strict=True) if low <= chance <= high)


def difference_covered(one, other, runs):
    """The same of the difference of two such shares."""
    p = np.outer(binomial(runs, one), binomial(runs, other))
    sides = [(1.0,) * bad + (0.0,) * (runs - bad) for bad in range(runs + 1)]
    found = {(a, b): Rates((sides[a], sides[b])) for a in range(runs + 1) for b in range(runs + 1)}
    return sum(p[at] for at, own in found.items() if own.low <= one - other <= own.high)


def rates_covered(runs):
    """The coverage of a share of so many runs: one number for each true share."""
    return [rate_covered(chance, runs) for chance in EVENLY]


def differences_covered(runs):
    """The same of the difference of two shares, for pairs of true ones."""
    return [difference_covered(one, other, runs) for one in EVENLY[::9] for other in EVENLY[::9]]


def binomial(n, chance):
    return stats.binom.pmf(range(n + 1), n, chance)


def share_covered(chance, runs, reps=2000, prompts=100):
    """Share of intervals of a share of responses that hold the true one: runs and prompts differ in their chances."""
    rng = np.random.default_rng(SEED)
    sizes = ((reps, runs, 1, 1), (reps, 1, prompts, 1), (reps, runs, prompts, 2))
    drawn = sum(sd * rng.standard_normal(size) for sd, size in zip((0.3, 0.7, 1.0), sizes, strict=True))
    cut = special.ndtri(chance) * (0.3**2 + 0.7**2 + 1.0) ** 0.5
    covered = []
    for study in (drawn < cut).mean(-1):
        found = summary(study)
        assert isinstance(found, Mean)
        inside = 0 < found.value < 1
        low, high = (
            share_ends(found.value, found.high - found.value, study.size * 2)
            if inside
            else rate(round(found.value * prompts), prompts)[1:]
        )
        covered.append(low <= chance <= high)
    return float(np.mean(covered))


def equivalent_at_margin(runs, paired, reps=REPS, delta=0.5):
    """Share of studies whose true difference is the margin itself that are called equivalent at 5 %."""
    a, b = World(cross=0.2).studies(np.random.default_rng(SEED), 2, reps, runs, 60)
    found = [contrast(x + delta, y, paired=paired).p_equivalent(delta) <= 0.05 for x, y in zip(a, b, strict=True)]
    return float(np.mean(found))


TRUTH = {  # standard deviations of what contestants share, and of what is each one's own
    **{("seed", True): 0.15, ("prompt", True): 1.0, ("cell", True): 0.3, ("response", True): 0.5},
    **{("seed", False): 0.3, ("prompt", False): 0.4, ("cell", False): 0.2, ("response", False): 0.7},
}
AXES = {"seed": "as", "prompt": "ap", "cell": "asp", "response": "aspk"}


@cache
def components_told(shape, *, paired, reps=2000):
    """By component: the true variance, and the estimates of studies.

    Six contestants, five seeds, ten prompts, three samples; unpaired, nothing but the prompts is shared.
    """
    rng, size = np.random.default_rng(SEED), {"a": 6, "s": 5, "p": 10, "k": 3}
    scores = np.zeros((reps, *size.values()))
    for (source, shared), sd in TRUTH.items():
        axes = AXES[source].replace("a", "") if shared and (paired or source == "prompt") else AXES[source]
        scores += sd * standard(rng, shape, (reps, *(n if name in axes else 1 for name, n in size.items())))
    found = {}
    for part in split(scores, paired=paired):
        truth = TRUTH[part.source, part.shared] ** 2
        if not paired and not part.shared and part.source != "prompt":  # a seed's effect is then each run's own
            truth += TRUTH[part.source, True] ** 2
        found[part.source, part.shared] = (truth, part.variance)
    return found


def components_rows():
    """By component: the truth, then mean and sd of the estimates, for two distributions."""
    told = [components_told(shape, paired=True) for shape in ("normal", "t4")]
    for source, shared in TRUTH:
        numbers = [number for one in told for number in (one[source, shared][1].mean(), one[source, shared][1].std())]
        yield [f"{source}, {'shared' if shared else 'own'}", TRUTH[source, shared] ** 2, *numbers]


POOL = Path(__file__).parents[2] / "benchmarks" / "pool.parquet"
METHODS, NAMES, DEALT = ("sft", "sft_chosen", "dpo", "kto", "simpo"), 10, 2000


@cache
def pool():
    """(60, P) gold scores of real runs, by method."""
    table = pq.read_table(POOL).to_pandas()
    return {name: np.stack(table[table["contestant"] == name]["gold"].to_list()).astype(float) for name in METHODS}


def dealt_from(runs):
    """(names, seeds, P), again and again: the runs of one method, dealt to names at random."""
    rng = np.random.default_rng(11)
    for _ in range(DEALT):
        yield runs[rng.permutation(len(runs))].reshape(NAMES, -1, runs.shape[1])


@cache
def told_apart(method, paired):
    """For each study, whether some pair of 45 is called different.

    Holm calls none different unless the most different pair is so at .05 / 45, which is all that has to be looked at.
    """
    pairs, called = np.array(list(combinations(range(NAMES), 2))), []
    for dealt in dealt_from(pool()[method]):
        parts = parts_of_difference(dealt[pairs[:, 0]], dealt[pairs[:, 1]], paired=paired)
        called.append(bool((np.abs(parts.difference) > parts.half_width(0.05 / len(pairs))).any()))
    return np.array(called)


def one_pair(runs, decide):
    """Share of studies in which the first two names differ, as `decide` finds from their scores."""
    return float(np.mean([decide(dealt[0], dealt[1]) for dealt in dealt_from(runs)]))


def by_both(a, b):
    """The estimator, unpaired, at 5 %."""
    parts = parts_of_difference(a, b, paired=False)
    return abs(float(parts.difference)) > float(parts.half_width(0.05))


def noise_of(runs, paired, halves=60):
    """The noise between two names that share the runs of one method, mean over ways to halve them."""
    rng, found = np.random.default_rng(5), []
    for _ in range(halves):
        a, b = np.split(rng.permutation(runs), 2)
        found.append(contrast(a, b, paired=paired).noise)
    return Noise(*(float(np.mean([getattr(one, part.name) for one in found])) for part in fields(Noise)))


@cache
def planted(method, paired):
    """For each study, whether a gain of one name is found that its seeds find with power .8 by the pool's noise."""
    runs = pool()[method]
    seeds = len(runs) // NAMES
    gain = noise_of(runs, paired).detectable((seeds, seeds), runs.shape[1], 0.05)
    return np.array([float(parts_of_difference(a + gain, b, paired=paired).p) <= 0.05 for a, b, *_ in dealt_from(runs)])


def tables():
    """The tables of docs/statistics.md, in Markdown, one string each."""
    unpaired = {name: [coverage(world, s, False) for s in SEEDS] for name, world in WORLDS.items()}
    paired = {name: [coverage(world, s, True) for s in SEEDS] for name, world in WORLDS.items()}
    yield table(
        [
            "world (sd of a prompt 1, of a cell .7)",
            *(f"unpaired S={s}" for s in SEEDS),
            *(f"paired S={s}" for s in SEEDS),
        ],
        [[name, *unpaired[name], *paired[name]] for name in WORLDS],
    )
    yield table(
        ["wrong estimator", *(f"S={s}" for s in SEEDS)],
        [[name, *(false_positives(decide, s) for s in SEEDS)] for name, decide in WRONG.items()],
    )
    kinds = {
        "unpaired, Holm": {"paired": False},
        "unpaired, Holm, half with three times the seed sd": {"paired": False, "unequal": True},
        "paired, Holm": {"paired": True},
        "paired, Holm on a single t (wrong)": {"paired": True, "p_of": one_t},
        "paired, no adjustment (wrong)": {"paired": True, "adjust": False},
    }
    yield table(
        ["ten equal contestants, 45 pairs", *(f"S={s}" for s in SEEDS)],
        [[name, *(family_wise(s, **kind) for s in SEEDS)] for name, kind in kinds.items()],
    )
    yield table(
        [
            "ten contestants, seed-sd apart",
            *(f"{what}, S={s}" for s in SEEDS for what in ("best in it", "size", "tau")),
        ],
        [
            [f"{spacing:g}", *(number for s in SEEDS for number in order_of_ten(spacing, s))]
            for spacing in (0.25, 0.5, 1, 2)
        ],
    )
    rows = []
    for name in NEEDS:
        for is_paired in (False, True):
            runs, prompts, power = power_at_need(name, is_paired)
            rows.append([name, "paired" if is_paired else "unpaired", str(runs), str(prompts), power])
    yield table(["more", "design", "S", "P", "simulated power"], rows)
    rows = []
    for name in NEEDS:
        for is_paired in (False, True):
            *_, runs, prompts, m = NEEDS[name]
            delta, power = power_at_detectable(name, is_paired)
            rows.append([f"of {m}", "paired" if is_paired else "unpaired", str(runs), str(prompts), delta, power])
    yield table(["one comparison", "design", "S", "P", "detectable", "simulated power"], rows)
    yield table(
        ["true share", *(f"of {n} runs" for n in COUNTS), *(f"of responses, S={s}" for s in SEEDS)],
        [
            [f"{chance:g}", *(rate_covered(chance, n) for n in COUNTS), *(share_covered(chance, s) for s in SEEDS)]
            for chance in CHANCES
        ],
    )
    kinds_of_share = {"a share": rates_covered, "a difference of two shares": differences_covered}
    yield table(
        ["over all true shares", *(f"{what}, of {n} runs" for n in COUNTS for what in ("least", "mean"))],
        [
            [name, *(number for n in COUNTS for number in (min(covered(n)), float(np.mean(covered(n)))))]
            for name, covered in kinds_of_share.items()
        ],
    )
    yield table(
        ["true difference = margin", *(f"S={s}" for s in SEEDS)],
        [[name, *(equivalent_at_margin(s, name == "paired") for s in SEEDS)] for name in ("unpaired", "paired")],
    )
    kinds_of = [f"{what}, {shape}" for shape in ("normal", "t with 4 df") for what in ("mean estimate", "its sd")]
    yield table(["component", "truth", *kinds_of], list(components_rows()))
    head = ["runs of", "some pair of 45 differs, paired", "the same, unpaired", "one pair differs, unpaired"]
    head += ["one pair, error bars over prompts alone (wrong)", "planted winner found, paired", "the same, unpaired"]
    yield table(
        head,
        [
            [
                name,
                *(float(told_apart(name, paired).mean()) for paired in (True, False)),
                one_pair(runs, by_both),
                one_pair(runs, lambda a, b: bool(by_prompts_alone((a - b)[None])[0])),
                *(float(planted(name, paired).mean()) for paired in (True, False)),
            ]
            for name, runs in pool().items()
        ],
    )


def table(head, rows):
    """A Markdown table; numbers with three digits."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(v if isinstance(v, str) else f"{v:.3f}" for v in line) + " |" for line in lines)


if __name__ == "__main__":
    print("\n\n".join(tables()))
