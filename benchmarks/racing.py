"""What looks save: a pool of real finished runs, drawn from 1,000 times, decided with all seeds and with looks.

    python benchmarks/racing.py

Each study draws ten of the pool's seeds without replacement. The full design gives all contestants ten; with looks at
five and ten, who is decided at five leaves. Costs are the measured device-seconds of the runs that a design needs, the
start's and what a seed shares included.
"""

from __future__ import annotations

import numpy as np
from pool import Pool, load

from harness.stats.runs import Runs
from harness.stats.verdicts import verdicts

STUDIES, SEED = 1000, 7
LOOKS = (5, 10)
MARGIN = 0.1


def words(pool: Pool, start: str, seeds: dict[str, np.ndarray], looks: int) -> dict[str, str]:
    """The verdict on each contestant against the start."""
    runs = {name: Runs(pool[name][own], tuple(range(len(own)))) for name, own in seeds.items()}
    return {one.a: one.word for one in verdicts(runs, start, MARGIN, looks=looks).start}


def raced(pool: Pool, start: str, drawn: np.ndarray) -> tuple[dict[str, str], dict[str, int]]:
    """Verdicts with looks, and the seeds that each contestant had."""
    had = dict.fromkeys(pool, LOOKS[0])
    open_ = set(pool)
    for look in LOOKS:
        had |= dict.fromkeys(open_, look)
        found = words(pool, start, {name: drawn[:count] for name, count in had.items()}, len(LOOKS))
        open_ = {name for name, word in found.items() if word == "cannot separate"}
        if not open_:
            break
        open_ |= {start}
    return found, had


def main() -> None:
    pool, seconds = load()
    start = next(iter(pool))
    rng, last = np.random.default_rng(SEED), LOOKS[-1]
    equal, costs, same = [], [], []
    for _ in range(STUDIES):
        drawn = rng.choice(len(pool[start]), last, replace=False)
        full = words(pool, start, dict.fromkeys(pool, drawn), 1)
        found, had = raced(pool, start, drawn)
        equal += [found[name] == word for name, word in full.items()]
        same.append(found == full)
        costs.append(sum(had[name] * seconds[name] for name in pool) / (last * sum(seconds.values())))
    print(f"{len(pool)} contestants, {len(pool[start])} seeds in the pool, looks at {LOOKS}, {STUDIES} studies")
    print(f"verdicts as with all seeds: {np.mean(equal):.3f}; all of a study's: {np.mean(same):.3f}")
    print(
        f"device-seconds of the full design: mean {np.mean(costs):.2f}, 95 % of studies below {np.quantile(costs, 0.95):.2f}"
    )


if __name__ == "__main__":
    main()
